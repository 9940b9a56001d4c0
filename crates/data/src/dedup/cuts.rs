//! Parts of documents that are cut because they occurred before.

use std::ops::Range;

use super::DuplicateKind;

/// A part of a document that occurred before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub row: u64,
    /// Bytes of the text, on character boundaries.
    pub bytes: Range<usize>,
    pub kind: DuplicateKind,
    /// The row that keeps the first occurrence.
    pub first: u64,
}

/// Adds `new` cuts to `cuts`, which are sorted and do not overlap: what is cut already is not cut, or counted, again.
pub(super) fn add(cuts: Vec<Cut>, mut new: Vec<Cut>) -> Vec<Cut> {
    new.sort_unstable_by_key(|cut| (cut.row, cut.bytes.start, cut.bytes.end));
    let mut all = Vec::with_capacity(cuts.len() + new.len());
    let (mut old, mut at) = (cuts.into_iter().peekable(), (0, 0));
    for mut cut in new {
        // `at` is how far this row is covered by what has been taken.
        if at.0 != cut.row {
            at = (cut.row, 0);
        }
        while let Some(known) = old.next_if(|known| (known.row, known.bytes.start) < (cut.row, cut.bytes.end)) {
            if known.row == cut.row {
                let from = cut.bytes.start.max(at.1);
                if from < known.bytes.start {
                    all.push(Cut { bytes: from..known.bytes.start, ..cut.clone() });
                }
                at.1 = at.1.max(known.bytes.end);
            }
            all.push(known);
        }
        cut.bytes.start = cut.bytes.start.max(at.1);
        if cut.bytes.start < cut.bytes.end {
            at.1 = cut.bytes.end;
            all.push(cut);
        }
    }
    all.extend(old);
    all
}

/// The text without the cuts, and without white space at its end if that has become its end.
pub(super) fn apply<'a>(text: &str, cuts: impl Iterator<Item = &'a Cut>) -> String {
    let (mut left, mut at) = (String::with_capacity(text.len()), 0);
    for cut in cuts {
        left.push_str(text.get(at..cut.bytes.start).unwrap_or_default());
        at = cut.bytes.end;
    }
    left.push_str(text.get(at..).unwrap_or_default());
    left.truncate(left.trim_end().len());
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(row: u64, bytes: Range<usize>) -> Cut {
        Cut { row, bytes, kind: DuplicateKind::Line, first: 0 }
    }

    fn spans(cuts: &[Cut]) -> Vec<(u64, Range<usize>)> {
        cuts.iter().map(|cut| (cut.row, cut.bytes.clone())).collect()
    }

    #[test]
    fn only_what_is_not_cut_yet_is_added() {
        let old = vec![cut(1, 10..20), cut(1, 30..40), cut(2, 0..5)];
        let new = vec![cut(3, 0..9), cut(1, 5..35), cut(1, 32..50), cut(2, 1..4)];
        let expected = [(1, 5..10), (1, 10..20), (1, 20..30), (1, 30..40), (1, 40..50), (2, 0..5), (3, 0..9)].to_vec();
        assert_eq!(spans(&add(old, new)), expected);
    }

    proptest::proptest! {
        /// Against marking byte by byte.
        #[test]
        fn cuts_cover_what_either_covers_once(
            old in proptest::collection::vec((0u64..3, 0usize..30, 1usize..9), 0..8),
            new in proptest::collection::vec((0u64..3, 0usize..30, 1usize..9), 0..8),
        ) {
            let cuts = |spans: &[(u64, usize, usize)]| spans.iter().map(|&(row, from, len)| cut(row, from..from + len)).collect();
            let merged = add(add(Vec::new(), cuts(&old)), cuts(&new));
            let mut covered = [[0; 40]; 3];
            for cut in &merged {
                cut.bytes.clone().for_each(|at| covered[cut.row as usize][at] += 1);
            }
            for row in 0..3u64 {
                for at in 0..40 {
                    let wanted = old.iter().chain(&new).any(|&(r, from, len)| r == row && (from..from + len).contains(&at));
                    proptest::prop_assert_eq!(covered[row as usize][at], u8::from(wanted));
                }
            }
            proptest::prop_assert!(merged.is_sorted_by_key(|cut| (cut.row, cut.bytes.start)));
        }
    }

    #[test]
    fn what_is_left_ends_without_white_space() {
        let text = "一行\n二行\n三行";
        assert_eq!(apply(text, [cut(0, 7..14)].iter()), "一行\n三行");
        assert_eq!(apply(text, [cut(0, 14..20)].iter()), "一行\n二行");
        assert_eq!(apply(text, [cut(0, 0..20)].iter()), "");
    }
}
