//! The spans of a sequence of units that occurred before in it, by a suffix array.
//!
//! A unit is `width` bytes. Suffixes are sorted as bytes, and only those that begin with a unit are looked at: two of them
//! have as many units in common as whole units among their common bytes, whichever order units are sorted in.

use std::ops::Range;

/// A unit of these bytes ends every region, so that no span reaches from one into the next.
pub(super) const END: u8 = 0xFF;

/// The longest sequence in bytes that can be sorted.
pub(super) const MOST_BYTES: u64 = i32::MAX as u64 - 1;

/// Memory for each unit at the worst moment: the unit itself, the sorted suffix of each of its bytes, and its two
/// neighbours.
pub(super) const fn bytes_each(width: usize) -> u64 {
    (width + 4 * width + 8) as u64
}

/// Spans of at least `min` units that occurred before, joined where they overlap, in order; each with a place from which
/// its beginning is repeated. All are counted in units. Occurrences may overlap: of "ababab" the last four bytes occurred
/// before.
///
/// This is the longest previous factor of each place (Crochemore and Ilie 2008): of all places before it, those next to
/// it in the order of suffixes have most in common with it. Places leave that order from the last to the first.
pub(super) fn earlier_occurrences(text: &[u8], width: usize, min: usize) -> Vec<(Range<usize>, usize)> {
    let count = text.len() / width;
    let (mut before, mut after) = neighbours(text, width);
    let mut common = common_prefixes(text, width, &before);
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    let mut end = count;
    for place in (0..count).rev() {
        if is_end(&text[place * width..][..width]) {
            end = place;
        }
        let (left, right) = (before[place], after[place]);
        let with_left = common[place];
        let with_right = if right == NONE { 0 } else { common[right as usize] };
        let (len, earlier) = if with_left >= with_right { (with_left, left) } else { (with_right, right) };
        let until = end.min(place + len as usize);
        if until >= place + min {
            match spans.last_mut() {
                Some((span, source)) if until >= span.start => {
                    *span = place..span.end.max(until);
                    *source = earlier as usize;
                }
                _ => spans.push((place..until, earlier as usize)),
            }
        }
        if left != NONE {
            after[left as usize] = right;
        }
        if right != NONE {
            before[right as usize] = left;
            common[right as usize] = with_left.min(with_right);
        }
    }
    spans.reverse();
    spans
}

pub(super) fn is_end(unit: &[u8]) -> bool {
    unit.iter().all(|&byte| byte == END)
}

/// Stands where there is no neighbour.
const NONE: u32 = u32::MAX;

/// For each place, the places whose suffixes come before and after it in lexicographic order.
fn neighbours(text: &[u8], width: usize) -> (Vec<u32>, Vec<u32>) {
    let mut suffixes = vec![0i32; text.len()];
    divsufsort::sort_in_place(text, &mut suffixes);
    let count = text.len() / width;
    let (mut before, mut after) = (vec![NONE; count], vec![NONE; count]);
    let mut last = NONE;
    for place in suffixes.iter().map(|&suffix| suffix as usize).filter(|suffix| suffix.is_multiple_of(width)) {
        let place = place / width;
        before[place] = last;
        if last != NONE {
            after[last as usize] = place as u32;
        }
        last = place as u32;
    }
    (before, after)
}

/// How many units each suffix has in common with the one before it (Kärkkäinen, Manzini and Puglisi 2009).
fn common_prefixes(text: &[u8], width: usize, before: &[u32]) -> Vec<u32> {
    let mut len = 0usize;
    let common = before.iter().enumerate().map(|(place, &other)| {
        if other == NONE {
            len = 0;
            return 0;
        }
        let (ours, theirs) = (&text[(place + len) * width..], &text[(other as usize + len) * width..]);
        len += ours.iter().zip(theirs).take_while(|(a, b)| a == b).count() / width;
        let found = len as u32;
        len = len.saturating_sub(1);
        found
    });
    common.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks every unit that a span of at least `min` units covers that also begins further left.
    fn brute_force(units: &[&[u8]], min: usize) -> Vec<bool> {
        let mut marked = vec![false; units.len()];
        for at in 0..units.len() {
            let end = (at..units.len()).find(|&place| is_end(units[place])).unwrap_or(units.len());
            for earlier in 0..at {
                let len = (at..end).zip(earlier..).take_while(|&(a, b)| units[a] == units[b]).count();
                if len >= min {
                    marked[at..at + len].fill(true);
                }
            }
        }
        marked
    }

    /// Units that look alike where they are not aligned, and the end of a region.
    const ALPHABETS: [[&[u8]; 4]; 4] = [
        [b"a", b"b", b"c", &[END]],
        [&[0, 0], &[0, 1], &[1, 0], &[END; 2]],
        [&[0, 0, 0], &[0, 0, 1], &[1, 0, 0], &[END; 3]],
        [&[0, 0, 0, 0], &[0, 1, 0, 1], &[1, 0, 1, 0], &[END; 4]],
    ];

    proptest::proptest! {
        #[test]
        fn repeated_spans_are_those_of_brute_force(
            letters in proptest::collection::vec(0usize..4, 0..120), min in 1usize..9, width in 1usize..=4,
        ) {
            let units: Vec<&[u8]> = letters.iter().map(|&letter| ALPHABETS[width - 1][letter]).collect();
            let mut marked = vec![false; units.len()];
            let spans = earlier_occurrences(&units.concat(), width, min);
            for (span, earlier) in &spans {
                marked[span.clone()].fill(true);
                proptest::prop_assert!(*earlier < span.start);
                proptest::prop_assert_eq!(&units[*earlier..earlier + min], &units[span.start..span.start + min]);
            }
            proptest::prop_assert_eq!(marked, brute_force(&units, min));
            proptest::prop_assert!(spans.windows(2).all(|pair| pair[0].0.end < pair[1].0.start));
        }
    }

    #[test]
    fn overlapping_occurrences_leave_the_first() {
        assert_eq!(earlier_occurrences(b"xababab", 1, 2), [(3..7, 1)]);
        assert_eq!(earlier_occurrences(b"0x1a1b1a1b1a1b", 2, 2), [(3..7, 1)]);
        assert!(earlier_occurrences(b"", 1, 2).is_empty());
    }
}
