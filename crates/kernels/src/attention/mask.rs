//! Who sees whom, and how that cuts a block of queries into pieces of work.

use super::{Attention, KEYS, QUERIES, STEP};

/// Which keys a query sees: those that all parts allow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mask<'a> {
    /// How many keys before a query's own position it sees, `None` for all.
    pub before: Option<usize>,
    /// How many keys after its own position it sees, `None` for all. 0 is causal.
    pub after: Option<usize>,
    /// Keys that nobody sees.
    pub padding: Padding<'a>,
    /// Documents packed into one sequence: a query sees keys of its own document only.
    pub segments: Option<Segments<'a>>,
}

impl Mask<'_> {
    /// Every query sees every key.
    pub fn none() -> Self {
        Mask::default()
    }

    /// A query sees its own position and all before it.
    pub fn causal() -> Self {
        Mask { after: Some(0), ..Mask::default() }
    }

    /// A query sees its own position and those before it, `width` in all (Beltagy et al. 2020, "Longformer").
    pub fn causal_window(width: usize) -> Self {
        // A window of nothing would be a mask of nothing; its own position is always inside.
        Mask { before: Some(width.saturating_sub(1)), after: Some(0), ..Mask::default() }
    }

    /// A query sees positions at most `width` away from its own.
    pub fn window(width: usize) -> Self {
        Mask { before: Some(width), after: Some(width), ..Mask::default() }
    }

    pub(super) fn check(&self, a: &Attention<'_>) {
        match self.padding {
            Padding::None => {}
            Padding::Lengths(lengths) => {
                assert!(
                    lengths.len() == a.batch && lengths.iter().all(|n| *n <= a.keys),
                    "lengths {lengths:?} of {} x {} keys",
                    a.batch,
                    a.keys
                );
            }
            Padding::Keys(seen) => assert_eq!(seen.len(), a.batch * a.keys, "key mask"),
        }
        if let Some(Segments { queries, keys }) = self.segments {
            let fits = queries.len() == a.batch * a.queries && keys.len() == a.batch * a.keys;
            assert!(fits, "segments of {} queries and {} keys", queries.len(), keys.len());
        }
    }
}

/// Keys that no query of their sequence sees, because they only fill it up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Padding<'a> {
    /// All keys are real.
    #[default]
    None,
    /// Real keys at the start of each sequence, (batch).
    Lengths(&'a [usize]),
    /// Whether each key is real, (batch, keys).
    Keys(&'a [bool]),
}

/// Document numbers of the positions of packed sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segments<'a> {
    /// (batch, queries)
    pub queries: &'a [i32],
    /// (batch, keys)
    pub keys: &'a [i32],
}

/// A rectangle of scores of a block of queries: keys `key..key + keys` and queries `first..end` of the block, all but
/// `key` multiples of [`STEP`] (and `key` too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) key: usize,
    pub(super) keys: usize,
    pub(super) first: usize,
    pub(super) end: usize,
    /// Some of its scores are hidden.
    pub(super) mixed: bool,
}

/// The mask of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    queries: usize,
    /// Real keys lie before this.
    pub(super) keys: usize,
    /// Key position of query 0.
    offset: i64,
    before: i64,
    after: i64,
    seen: Option<&'a [bool]>,
    segments: Option<Segments<'a>>,
}

/// Far enough to see everything, with room for additions.
const ALL: i64 = i64::MAX / 4;

impl<'a> Sequence<'a> {
    pub(super) fn new(a: &Attention<'a>, b: usize) -> Self {
        let reach = |n: Option<usize>| n.map_or(ALL, |n| i64::try_from(n).unwrap_or(ALL).min(ALL));
        Sequence {
            queries: a.queries,
            keys: match a.mask.padding {
                Padding::Lengths(lengths) => lengths[b],
                _ => a.keys,
            },
            offset: a.keys as i64 - a.queries as i64,
            before: reach(a.mask.before),
            after: reach(a.mask.after),
            seen: match a.mask.padding {
                Padding::Keys(seen) => Some(&seen[b * a.keys..][..a.keys]),
                _ => None,
            },
            segments: a.mask.segments.map(|s| Segments {
                queries: &s.queries[b * a.queries..][..a.queries],
                keys: &s.keys[b * a.keys..][..a.keys],
            }),
        }
    }

    /// Whether key `j` is real.
    pub(super) fn real(&self, j: usize) -> bool {
        j < self.keys && self.seen.is_none_or(|seen| seen[j])
    }

    /// Keys `start..end` that the band leaves to queries `first..=last`, `start` a multiple of [`STEP`].
    pub(super) fn reach(&self, first: usize, last: usize) -> (usize, usize) {
        let start = (first as i64 + self.offset - self.before).clamp(0, self.keys as i64) as usize;
        let end = (last as i64 + self.offset + self.after + 1).clamp(0, self.keys as i64) as usize;
        (start / STEP * STEP, end)
    }

    /// Queries `first..=last` of the block at `q0`, relative to it, that the band lets see key `j`.
    pub(super) fn seers(&self, j: usize, q0: usize) -> (i32, i32) {
        let position = j as i64 - self.offset - q0 as i64;
        let clamp = |i: i64| i.clamp(-1, QUERIES as i64) as i32;
        (clamp(position - self.after), clamp(position + self.before))
    }

    /// Key position of query `i`.
    pub(super) fn position(&self, i: usize) -> i64 {
        i as i64 + self.offset
    }

    pub(super) fn segments(&self) -> Option<Segments<'a>> {
        self.segments
    }

    /// Cuts the scores of queries `q0..q0 + count` into `pieces`, in the order of keys.
    pub(super) fn pieces(&self, q0: usize, count: usize, pieces: &mut Vec<Piece>) {
        pieces.clear();
        debug_assert!(count <= QUERIES && q0 + count <= self.queries);
        let groups: [Group; QUERIES / STEP] = std::array::from_fn(|g| self.group(q0 + count, q0 + g * STEP));
        let groups = &groups[..count.div_ceil(STEP)];
        let (start, end) = self.reach(q0, q0 + count - 1);
        for key in (start..end).step_by(STEP) {
            let Some(piece) = self.chunk(key, groups) else { continue };
            match pieces.last_mut() {
                Some(last)
                    if last.key + last.keys == key
                        && last.keys < KEYS
                        && last.first == piece.first
                        && last.end == piece.end =>
                {
                    last.keys += STEP;
                    last.mixed |= piece.mixed;
                }
                _ => pieces.push(piece),
            }
        }
    }

    fn group(&self, end: usize, first: usize) -> Group {
        let last = (first + STEP).min(end).max(first + 1) - 1;
        let segments = match self.segments {
            Some(s) if first < end => range(&s.queries[first..=last]),
            _ => (0, 0),
        };
        let (first, last) = (self.position(first), self.position(last));
        Group {
            low: first - self.before,
            high: last + self.after,
            all_from: last - self.before,
            all_to: first + self.after,
            segments,
        }
    }

    /// The 16 keys at `key` against the groups of queries.
    fn chunk(&self, key: usize, groups: &[Group]) -> Option<Piece> {
        let end = (key + STEP).min(self.keys);
        let real = (key..end).filter(|j| self.real(*j)).count();
        if real == 0 {
            return None;
        }
        let segments = self.segments.map_or((0, 0), |s| range(&s.keys[key..end]));
        let (from, to) = (key as i64, end as i64 - 1);
        let sees =
            |g: &Group| g.high >= from && g.low <= to && g.segments.0 <= segments.1 && segments.0 <= g.segments.1;
        let first = groups.iter().position(sees)?;
        let last = groups.iter().rposition(sees)?;
        let whole =
            |g: &Group| g.all_from <= from && g.all_to >= to && g.segments == segments && segments.0 == segments.1;
        let mixed = real < STEP || !groups[first..=last].iter().all(whole);
        Some(Piece { key, keys: STEP, first: first * STEP, end: (last + 1) * STEP, mixed })
    }
}

/// What 16 queries see: some of them keys `low..=high`, all of them `all_from..=all_to`.
struct Group {
    low: i64,
    high: i64,
    all_from: i64,
    all_to: i64,
    segments: (i32, i32),
}

fn range(ids: &[i32]) -> (i32, i32) {
    ids.iter().fold((i32::MAX, i32::MIN), |(low, high), id| (low.min(*id), high.max(*id)))
}
