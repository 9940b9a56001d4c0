//! Paragraphs and lines that occurred before, word for word.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::conversation::Conversation;
use crate::{DataError, ProgressFn};

use super::cuts::Cut;
use super::scan::for_chunks;
use super::shuffle::Groups;
use super::{Budget, DuplicateKind, RepeatConfig};

/// A part of a text: where it lies, with the white space that goes with it when it is cut, and what is compared.
struct Part<'a> {
    bytes: Range<usize>,
    text: &'a str,
}

/// All repeated paragraphs (`DuplicateKind::Paragraph`) or lines but the first of each, in documents that stay.
/// Conversations, which nothing is cut from, are not looked at.
pub(super) fn repeats(
    documents: &Path,
    kind: DuplicateKind,
    config: RepeatConfig,
    dropped: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<(Vec<Cut>, u64), DataError> {
    let mut groups = Groups::<6>::new(budget, "repeats", 3)?;
    for_chunks(documents, kind.name(), progress, |first, chunk| {
        let records: Vec<Vec<[u32; 6]>> = (first..first + chunk.len() as u32)
            .into_par_iter()
            .zip(&chunk)
            .map(|(row, document)| {
                if dropped[row as usize] || Conversation::of(document).is_some() {
                    Vec::new()
                } else {
                    records(row, &document.text, kind, config.min_chars)
                }
            })
            .collect();
        records.into_iter().flatten().try_for_each(|record| groups.push(record))
    })?;
    let sorted = groups.finish()?;
    let (mut merge, mut cuts) = (sorted.read()?, Vec::new());
    let mut last: Option<([u32; 3], u64)> = None;
    while let Some([a, b, c, row, start, end]) = merge.next()? {
        match last {
            Some((hash, first)) if hash == [a, b, c] => {
                cuts.push(Cut { row: row.into(), bytes: start as usize..end as usize, kind, first });
            }
            _ => last = Some(([a, b, c], u64::from(row))),
        }
    }
    Ok((cuts, sorted.bytes_on_disk()))
}

/// 96 bits of hash (no two of 10^11 different parts agree but by an accident of 1 in 10^7), row, start and end: in the
/// order of these, the first occurrence comes first.
fn records(row: u32, text: &str, kind: DuplicateKind, min_chars: usize) -> Vec<[u32; 6]> {
    let parts = if kind == DuplicateKind::Line { lines(text) } else { paragraphs(text) };
    let long = parts.into_iter().filter(|part| part.text.chars().nth(min_chars - 1).is_some());
    long.map(|Part { bytes, text }| {
        let hash = blake3::hash(text.as_bytes());
        let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| hash.as_bytes()[4 * i + byte]));
        [word(0), word(1), word(2), row, bytes.start as u32, bytes.end as u32]
    })
    .collect()
}

fn lines(text: &str) -> Vec<Part<'_>> {
    let mut at = 0;
    text.split_inclusive('\n')
        .map(|line| {
            let start = at;
            at += line.len();
            Part { bytes: start..at, text: line.trim() }
        })
        .collect()
}

/// Runs of lines between blank lines, each with the blank lines after it.
fn paragraphs(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut start, mut end) = (Vec::<Part<'_>>::new(), 0, 0);
    let mut blank = true;
    for line in lines(text) {
        let begins = blank && !line.text.is_empty();
        if begins && end > start {
            parts.push(Part { bytes: start..end, text: text[start..end].trim() });
            start = end;
        }
        (blank, end) = (line.text.is_empty(), line.bytes.end);
    }
    if end > start {
        parts.push(Part { bytes: start..end, text: text[start..end].trim() });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: Vec<Part<'_>>, text: &str, expect: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> = parts.iter().map(|part| (&text[part.bytes.clone()], part.text)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_part_is_cut_with_the_white_space_after_it() {
        let text = "a b\nc\n\n \n春眠\n";
        check(paragraphs(text), text, &[("a b\nc\n\n \n", "a b\nc"), ("春眠\n", "春眠")]);
        check(lines(text), text, &[("a b\n", "a b"), ("c\n", "c"), ("\n", ""), (" \n", ""), ("春眠\n", "春眠")]);
        check(paragraphs(""), "", &[]);
    }

    #[test]
    fn length_is_in_characters() {
        let long = |text: &str, min| records(0, text, DuplicateKind::Line, min).len();
        assert_eq!([long(" 春眠不 ", 3), long("春眠不", 4), long("abc\nab", 3)], [1, 0, 1]);
    }
}
