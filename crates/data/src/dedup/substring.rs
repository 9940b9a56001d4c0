//! Spans of text that occurred before, wherever they begin and end.
//!
//! Three readings: the first takes samples of every text such that a span that repeats shares one with its earlier
//! occurrence (winnowing, Schleimer et al. 2003); what shares one is all that the second reading collects; a suffix array
//! over that, a small part of the corpus as a rule, then finds the repeated spans exactly (Lee et al. 2022).

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::ngrams::mix;
use crate::{DataError, ProgressFn};

use super::cuts::Cut;
use super::scan::for_chunks;
use super::shuffle::Groups;
use super::sorter::{Merge, Sorted, Sorter};
use super::{Budget, DuplicateKind};

/// Ends every region; no UTF-8 text contains it, so no repeated span reaches from one region into the next.
const END: u8 = 0xFF;
/// Memory for each byte of the collected regions: the text, and three arrays of 4 bytes.
const BYTES_EACH: u64 = 13;

/// All spans of at least `min_bytes` that occurred before, in the documents that stay.
///
/// # Errors
/// When the regions that repeat are more than memory holds.
pub(super) fn repeats(
    documents: &Path,
    min_bytes: usize,
    dropped: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<(Vec<Cut>, u64), DataError> {
    let (shared, spilled) = shared_samples(documents, min_bytes, dropped, budget, progress)?;
    let regions = collect(documents, &shared, min_bytes, budget, progress)?;
    Ok((regions.cuts(min_bytes), spilled + shared.bytes_on_disk()))
}

/// Rows and places of the samples that occur more than once, in order.
fn shared_samples(
    documents: &Path,
    min_bytes: usize,
    dropped: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<(Sorted<2>, u64), DataError> {
    let mut samples = Groups::<4>::new(budget, "samples", 2)?;
    for_chunks(documents, "substring", progress, |first, chunk| {
        let of_each: Vec<Vec<(u64, u32)>> = (first..first + chunk.len() as u32)
            .into_par_iter()
            .zip(&chunk)
            .map(
                |(row, document)| {
                    if dropped[row as usize] { Vec::new() } else { winnow(document.text.as_bytes(), min_bytes) }
                },
            )
            .collect();
        (first..).zip(of_each).try_for_each(|(row, of_one)| {
            of_one.into_iter().try_for_each(|(hash, at)| samples.push([(hash >> 32) as u32, hash as u32, row, at]))
        })
    })?;
    let samples = samples.finish()?;
    let mut shared = Sorter::<2>::new(budget.part, budget.file("shared"));
    let (mut merge, mut told) = (samples.read()?, false);
    let mut last: Option<([u32; 2], [u32; 2])> = None;
    while let Some([high, low, row, at]) = merge.next()? {
        match last {
            Some((hash, before)) if hash == [high, low] => {
                if !told {
                    shared.push(before)?;
                }
                shared.push([row, at])?;
                told = true;
            }
            _ => told = false,
        }
        last = Some(([high, low], [row, at]));
    }
    let spilled = samples.bytes_on_disk();
    Ok((shared.finish()?, spilled))
}

/// The sizes of winnowing: hashes are of so many bytes, and one is taken of so many in a row.
fn winnowing(min_bytes: usize) -> (usize, usize) {
    let gram = min_bytes / 2;
    (gram, min_bytes - gram + 1)
}

/// Hashes of some of the text's byte n-grams, and where they begin: of every `window` n-grams in a row the least, the
/// last one if there are several. Two texts with `min_bytes` bytes in common have a sample of these in common.
fn winnow(text: &[u8], min_bytes: usize) -> Vec<(u64, u32)> {
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    let (gram, window) = winnowing(min_bytes);
    let lead = (0..gram).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let (mut samples, mut least): (Vec<(u64, u32)>, VecDeque<(u64, u32)>) = (Vec::new(), VecDeque::new());
    let mut rolling = 0u64;
    for (end, &byte) in text.iter().enumerate() {
        rolling = rolling.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1);
        if end >= gram {
            rolling = rolling.wrapping_sub(lead.wrapping_mul(u64::from(text[end - gram]) + 1));
        }
        if end + 1 < gram {
            continue;
        }
        let (hash, at) = (mix(rolling), end + 1 - gram);
        while least.pop_back_if(|&mut (known, _)| known >= hash).is_some() {}
        least.push_back((hash, at as u32));
        while least.pop_front_if(|&mut (_, place)| place as usize + window <= at).is_some() {}
        if at + 1 >= window
            && let Some(&sample) = least.front()
            && samples.last() != Some(&sample)
        {
            samples.push(sample);
        }
    }
    samples
}

/// Parts of documents, one after another, each followed by [`END`].
#[derive(Default)]
struct Regions {
    text: Vec<u8>,
    /// Where a region begins in `text`, its row, and where it begins there.
    begins: Vec<(u32, u32, u32)>,
}

/// Collects the surroundings of shared samples: every repeated span lies within one region as a whole.
fn collect(
    documents: &Path,
    shared: &Sorted<2>,
    min_bytes: usize,
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<Regions, DataError> {
    let limit = (budget.suffix_bytes / BYTES_EACH).min(i32::MAX as u64 - 1);
    let (mut regions, mut needed) = (Regions::default(), 0u64);
    let mut samples = Samples { merge: shared.read()?, next: None };
    samples.advance()?;
    for_chunks(documents, "substring", progress, |first, chunk| {
        for (row, document) in (first..).zip(&chunk) {
            for span in samples.of_row(row, document.text.len(), min_bytes)? {
                let span = whole_characters(&document.text, span);
                needed += span.len() as u64 + 1;
                if needed <= limit {
                    regions.begins.push((regions.text.len() as u32, row, span.start as u32));
                    regions.text.extend_from_slice(&document.text.as_bytes()[span]);
                    regions.text.push(END);
                }
            }
        }
        Ok(())
    })?;
    if needed > limit {
        let message = format!(
            "{} MB of text share samples, of which a suffix array takes {} MB at least: raise clean.dedup.memory_mb to {}, \
             raise clean.dedup.substring.min_bytes, or drop near duplicates first with [clean.dedup.near]",
            needed / 1_000_000,
            needed * BYTES_EACH / 1_000_000,
            budget.memory_mb_for(needed * BYTES_EACH)
        );
        return Err(DataError::BadConfig { key: "clean.dedup.substring", message });
    }
    Ok(regions)
}

/// Shared samples, read row by row.
struct Samples<'a> {
    merge: Merge<'a, 2>,
    next: Option<[u32; 2]>,
}

impl Samples<'_> {
    fn advance(&mut self) -> Result<(), DataError> {
        self.next = self.merge.next()?;
        Ok(())
    }

    /// The surroundings of this row's samples, as far as a span of `min_bytes` around them can reach, joined.
    fn of_row(&mut self, row: u32, len: usize, min_bytes: usize) -> Result<Vec<Range<usize>>, DataError> {
        let (gram, window) = winnowing(min_bytes);
        let mut spans: Vec<Range<usize>> = Vec::new();
        while let Some([_, at]) = self.next.filter(|sample| sample[0] == row) {
            let at = at as usize;
            let span = (at + 1).saturating_sub(window)..(at + gram + window - 1).min(len);
            match spans.last_mut() {
                Some(last) if span.start <= last.end => last.end = span.end,
                _ => spans.push(span),
            }
            self.advance()?;
        }
        Ok(spans)
    }
}

fn whole_characters(text: &str, mut span: Range<usize>) -> Range<usize> {
    while !text.is_char_boundary(span.start) {
        span.start -= 1;
    }
    while !text.is_char_boundary(span.end) {
        span.end += 1;
    }
    span
}

impl Regions {
    fn cuts(&self, min_bytes: usize) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        for (span, earlier) in earlier_occurrences(&self.text, min_bytes) {
            let (begin, row, offset) = self.region(span.start);
            let place = offset as usize + (span.start - begin as usize);
            let first = u64::from(self.region(earlier).1);
            let bytes = place..place + span.len();
            cuts.push(Cut { row: row.into(), bytes, kind: DuplicateKind::Substring, first });
        }
        cuts.iter_mut().for_each(|cut| self.shrink(cut));
        cuts.retain(|cut| !cut.bytes.is_empty());
        cuts
    }

    fn region(&self, at: usize) -> (u32, u32, u32) {
        self.begins[self.begins.partition_point(|&(begin, _, _)| begin as usize <= at) - 1]
    }

    /// Takes back a cut's ends to character boundaries.
    fn shrink(&self, cut: &mut Cut) {
        let of_cut =
            |&(_, row, offset): &(u32, u32, u32)| (u64::from(row), offset as usize) <= (cut.row, cut.bytes.start);
        let (begin, _, offset) = self.begins[self.begins.partition_point(of_cut) - 1];
        let byte = |place: usize| self.text[begin as usize + place - offset as usize];
        let inside = |place: usize| byte(place) & 0xC0 == 0x80;
        while inside(cut.bytes.start) {
            cut.bytes.start += 1;
        }
        while inside(cut.bytes.end) {
            cut.bytes.end -= 1;
        }
    }
}

/// Spans of at least `min_bytes` bytes that occurred before, joined where they overlap, in order; each with a place from
/// which its beginning is repeated. Occurrences may overlap: of "ababab" the last four bytes occurred before.
///
/// This is the longest previous factor of each place (Crochemore and Ilie 2008): of all places before it, those next to
/// it in the order of suffixes have most in common with it. Places leave that order from the last to the first.
fn earlier_occurrences(text: &[u8], min_bytes: usize) -> Vec<(Range<usize>, usize)> {
    let (mut before, mut after) = neighbours(text);
    let mut common = common_prefixes(text, &before);
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    let mut end = text.len();
    for place in (0..text.len()).rev() {
        if text[place] == END {
            end = place;
        }
        let (left, right) = (before[place], after[place]);
        let with_left = common[place];
        let with_right = if right == NONE { 0 } else { common[right as usize] };
        let (len, earlier) = if with_left >= with_right { (with_left, left) } else { (with_right, right) };
        let until = end.min(place + len as usize);
        if until >= place + min_bytes {
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

/// Stands where there is no neighbour.
const NONE: u32 = u32::MAX;

/// For each place, the places whose suffixes come before and after it in lexicographic order.
fn neighbours(text: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let mut suffixes = vec![0i32; text.len()];
    divsufsort::sort_in_place(text, &mut suffixes);
    let (mut before, mut after) = (vec![NONE; text.len()], vec![NONE; text.len()]);
    for pair in suffixes.windows(2) {
        before[pair[1] as usize] = pair[0] as u32;
        after[pair[0] as usize] = pair[1] as u32;
    }
    (before, after)
}

/// How many bytes each suffix has in common with the one before it (Kärkkäinen, Manzini and Puglisi 2009).
fn common_prefixes(text: &[u8], before: &[u32]) -> Vec<u32> {
    let mut len = 0usize;
    let common = before.iter().enumerate().map(|(place, &other)| {
        if other == NONE {
            len = 0;
            return 0;
        }
        let (ours, theirs) = (&text[place + len..], &text[other as usize + len..]);
        len += ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let found = len as u32;
        len = len.saturating_sub(1);
        found
    });
    common.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks every byte that a span of at least `min` bytes covers that also begins further left.
    fn brute_force(text: &[u8], min: usize) -> Vec<bool> {
        let mut marked = vec![false; text.len()];
        for at in 0..text.len() {
            let end = (at..text.len()).find(|&place| text[place] == END).unwrap_or(text.len());
            for earlier in 0..at {
                let len = (at..end).zip(earlier..).take_while(|&(a, b)| text[a] == text[b]).count();
                if len >= min {
                    marked[at..at + len].fill(true);
                }
            }
        }
        marked
    }

    proptest::proptest! {
        #[test]
        fn repeated_spans_are_those_of_brute_force(
            letters in proptest::collection::vec(0usize..4, 0..120), min in 1usize..9,
        ) {
            let text: Vec<u8> = letters.iter().map(|&letter| [b'a', b'b', b'c', END][letter]).collect();
            let mut marked = vec![false; text.len()];
            let spans = earlier_occurrences(&text, min);
            for (span, earlier) in &spans {
                marked[span.clone()].fill(true);
                proptest::prop_assert!(*earlier < span.start);
                proptest::prop_assert_eq!(&text[*earlier..earlier + min], &text[span.start..span.start + min]);
            }
            proptest::prop_assert_eq!(marked, brute_force(&text, min));
            proptest::prop_assert!(spans.windows(2).all(|pair| pair[0].0.end < pair[1].0.start));
        }

        /// What two texts have in common lies, in both, within the surroundings of a shared sample.
        #[test]
        fn a_common_span_shares_a_sample(
            common in "[a-c]{40,80}", before in "[a-d]{0,50}", other in "[a-d]{0,50}", after in "[a-d]{0,50}",
        ) {
            let (one, two) = (format!("{before}{common}{after}"), format!("{other}{common}{before}"));
            let [one, two] = [one, two].map(|text| winnow(text.as_bytes(), 40));
            let inside = |at: u32, lead: &str| (lead.len()..=lead.len() + common.len() - 20).contains(&(at as usize));
            let shared = one.iter().any(|a| inside(a.1, &before) && two.iter().any(|b| a.0 == b.0 && inside(b.1, &other)));
            proptest::prop_assert!(shared);
        }
    }

    #[test]
    fn overlapping_occurrences_leave_the_first() {
        assert_eq!(earlier_occurrences(b"xababab", 2), [(3..7, 1)]);
        assert!(earlier_occurrences(b"", 2).is_empty());
    }
}
