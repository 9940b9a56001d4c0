//! Counts over lines and paragraphs.

use rustc_hash::FxHashSet;

/// Sums over the lines of a text. Blank lines count in `all` alone.
#[derive(Clone, Debug, Default)]
pub(super) struct LineCounts {
    /// Lines, blank ones too.
    pub all: usize,
    /// Lines with something on them.
    pub filled: usize,
    /// Line feeds.
    pub line_feeds: usize,
    /// Characters of the filled lines, line ends aside.
    pub chars: usize,
    /// Characters of the longest line.
    pub longest: usize,
    /// Lines that end as sentences do.
    pub ended: usize,
    /// Lines that end with an ellipsis.
    pub ellipsis: usize,
    /// Lines that begin with a bullet.
    pub bullets: usize,
    /// Length in characters of each filled line.
    pub lengths: Vec<u32>,
}

impl LineCounts {
    pub fn of(text: &str) -> Self {
        let mut counts = Self { line_feeds: memchr::memchr_iter(b'\n', text.as_bytes()).count(), ..Self::default() };
        for line in text.lines() {
            counts.all += 1;
            let solid = line.trim();
            if solid.is_empty() {
                continue;
            }
            let chars = line.chars().count();
            counts.filled += 1;
            counts.chars += chars;
            counts.longest = counts.longest.max(chars);
            counts.lengths.push(chars as u32);
            counts.ended += usize::from(ends_sentence(solid));
            counts.ellipsis += usize::from(solid.ends_with("...") || solid.ends_with('…'));
            counts.bullets += usize::from(solid.starts_with(BULLETS));
        }
        counts
    }
}

const BULLETS: [char; 9] = ['-', '•', '‣', '◦', '▪', '●', '■', '·', '・'];

/// Whether a mark ends a sentence.
pub(super) fn is_terminal(c: char) -> bool {
    matches!(
        c,
        '.' | '!'
            | '?'
            | '。'
            | '！'
            | '？'
            | '｡'
            | '．'
            | '‼'
            | '⁇'
            | '⁈'
            | '⁉'
            | '‽'
            | '؟'
            | '۔'
            | '।'
            | '॥'
            | '։'
            | '።'
            | '﹒'
            | '﹖'
            | '﹗'
            | '။'
            | '។'
    )
}

/// Whether a line ends as a sentence does: with a terminal mark, with "……", or with a Chinese one and what closes a quotation
/// after it. An English quotation mark after the dot does not count, as in FineWeb.
pub(super) fn ends_sentence(line: &str) -> bool {
    let Some(last) = line.chars().next_back() else { return false };
    if is_terminal(last) || line.ends_with("……") {
        return true;
    }
    let is_closer = |c| matches!(c, '”' | '’' | '」' | '』' | '）' | '】' | '》');
    let inside = line.trim_end_matches(is_closer);
    inside.len() < line.len() && (inside.ends_with(['。', '！', '？']) || inside.ends_with("……"))
}

/// Of a list of lines or paragraphs, those that say what an earlier one said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Duplicates {
    pub count: usize,
    /// Their characters.
    pub chars: usize,
}

impl Duplicates {
    pub fn among(items: &[&str]) -> Self {
        let mut seen: FxHashSet<&str> = FxHashSet::with_capacity_and_hasher(items.len(), Default::default());
        let mut found = Self::default();
        for item in items {
            if !seen.insert(item) {
                found.count += 1;
                found.chars += item.chars().count();
            }
        }
        found
    }
}
