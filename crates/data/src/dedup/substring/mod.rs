//! Spans of text that occurred before, wherever they begin and end: spans of bytes, or of a tokenizer's tokens.
//!
//! Three readings: the first takes samples of every text such that a span that repeats shares one with its earlier
//! occurrence (`winnow.rs`); what shares one is all that the second reading collects; a suffix array over that, a small
//! part of the corpus as a rule, then finds the repeated spans exactly (`suffixes.rs`; Lee et al. 2022). What a span is
//! made of only `units.rs` knows.

mod suffixes;
#[cfg(test)]
mod tests;
mod units;
mod winnow;

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use self::suffixes::{END, MOST_BYTES, bytes_each, earlier_occurrences};
use self::units::Piece;
pub(super) use self::units::Units;
use self::winnow::{Sample, winnowing};
use super::cuts::Cut;
use super::scan::for_chunks;
use super::shuffle::Groups;
use super::sorter::{Merge, Sorted, Sorter};
use super::{Budget, DuplicateKind};
use crate::conversation::Conversation;
use crate::{DataError, ProgressFn};

/// What a search found.
pub(super) struct Repeats {
    pub(super) cuts: Vec<Cut>,
    /// Bytes that went to disk.
    pub(super) spilled: u64,
    /// Documents that could not be searched, because the tokens do not spell their text.
    pub(super) not_spelled: u64,
}

/// All spans that occurred before, in the documents that stay.
///
/// # Errors
/// When the regions that repeat are more than memory holds.
pub(super) fn repeats(
    documents: &Path,
    units: &Units,
    dropped: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<Repeats, DataError> {
    let (samples, not_spelled) = sample(documents, units, dropped, budget, progress)?;
    let spilled = samples.bytes_on_disk();
    let shared = shared(samples, budget)?;
    let spilled = spilled + shared.bytes_on_disk();
    let regions = collect(documents, units, &shared, budget, progress)?;
    drop(shared); // the suffix array needs its memory
    if not_spelled > 0 {
        tracing::warn!(
            "{not_spelled} documents were not searched for repeated spans: the tokenizer changes their text (its \
             normaliser or unknown characters), so that its tokens have no places in it"
        );
    }
    Ok(Repeats { cuts: regions.cuts(units), spilled, not_spelled })
}

/// The samples of all documents that stay and are no conversations: the two halves of the hash, row and place. And how many documents have none
/// because the tokens do not spell them.
fn sample(
    documents: &Path,
    units: &Units,
    dropped: &[bool],
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<(Sorted<4>, u64), DataError> {
    let mut samples = Groups::<4>::new(budget, "samples", 2)?;
    let mut not_spelled = 0;
    for_chunks(documents, "substring", progress, |first, chunk| {
        let of_each: Vec<Option<Vec<Sample>>> = (first..first + chunk.len() as u32)
            .into_par_iter()
            .zip(&chunk)
            .map(|(row, document)| match dropped[row as usize] || Conversation::of(document).is_some() {
                true => Ok(Some(Vec::new())),
                false => units.samples(&document.text),
            })
            .collect::<Result<_, DataError>>()?;
        for (row, of_one) in (first..).zip(of_each) {
            not_spelled += u64::from(of_one.is_none());
            for (hash, at) in of_one.into_iter().flatten() {
                samples.push([(hash >> 32) as u32, hash as u32, row, at])?;
            }
        }
        Ok(())
    })?;
    Ok((samples.finish()?, not_spelled))
}

/// Rows and places of the samples that occur more than once, in order.
fn shared(samples: Sorted<4>, budget: &Budget) -> Result<Sorted<2>, DataError> {
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
    shared.finish()
}

/// Collects the surroundings of shared samples: every repeated span lies within one region as a whole.
fn collect(
    documents: &Path,
    units: &Units,
    shared: &Sorted<2>,
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<Regions, DataError> {
    let mut regions = Regions::new(units.width, budget.suffix_bytes);
    let mut samples = Samples { merge: shared.read()?, next: None };
    samples.advance()?;
    for_chunks(documents, "substring", progress, |first, chunk| {
        let mut wanted = Vec::new();
        for (row, document) in (first..).zip(&chunk) {
            let spans = samples.of_row(row, units.min)?;
            if !spans.is_empty() {
                wanted.push((row, &document.text, spans));
            }
        }
        let found: Vec<(u32, Vec<Piece>)> = wanted
            .into_par_iter()
            .map(|(row, text, spans)| Ok((row, units.pieces(text, spans)?)))
            .collect::<Result<_, DataError>>()?;
        for (row, pieces) in found {
            pieces.into_iter().for_each(|piece| regions.push(row, piece));
        }
        Ok(())
    })?;
    regions.finish(units, budget)
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

    /// The surroundings of this row's samples, as far as a span of `min` units around them can reach, joined. The last
    /// may reach beyond the text.
    fn of_row(&mut self, row: u32, min: usize) -> Result<Vec<Range<usize>>, DataError> {
        let (gram, window) = winnowing(min);
        let mut spans: Vec<Range<usize>> = Vec::new();
        while let Some([_, at]) = self.next.filter(|sample| sample[0] == row) {
            let at = at as usize;
            let span = (at + 1).saturating_sub(window)..at + gram + window - 1;
            match spans.last_mut() {
                Some(last) if span.start <= last.end => last.end = span.end,
                _ => spans.push(span),
            }
            self.advance()?;
        }
        Ok(spans)
    }
}

/// Parts of documents, one after another, each followed by a unit of [`END`].
struct Regions {
    /// All units, as far as they fit.
    text: Vec<u8>,
    table: Vec<Region>,
    /// Bytes of a unit.
    width: usize,
    /// What the suffix array may take, in bytes.
    limit: u64,
    /// Units and regions, also those that did not fit.
    needed: (u64, u64),
}

struct Region {
    /// Its first unit in the text of all.
    begin: u32,
    row: u32,
    /// The byte of its document at which it begins, in what the units spell.
    at: u32,
}

impl Regions {
    fn new(width: usize, limit: u64) -> Self {
        Self { text: Vec::new(), table: Vec::new(), width, limit, needed: (0, 0) }
    }

    fn push(&mut self, row: u32, piece: Piece) {
        self.needed.0 += (piece.units.len() / self.width) as u64 + 1;
        self.needed.1 += 1;
        if self.memory() <= self.limit && self.sorted() <= MOST_BYTES {
            let begin = (self.text.len() / self.width) as u32;
            self.table.push(Region { begin, row, at: piece.at as u32 });
            self.text.extend_from_slice(&piece.units);
            self.text.extend(std::iter::repeat_n(END, self.width));
        }
    }

    /// Bytes that the suffix array and all that belongs to it take.
    fn memory(&self) -> u64 {
        self.needed.0 * bytes_each(self.width) + self.needed.1 * size_of::<Region>() as u64
    }

    /// Bytes to sort.
    fn sorted(&self) -> u64 {
        self.needed.0 * self.width as u64
    }

    fn finish(mut self, units: &Units, budget: &Budget) -> Result<Self, DataError> {
        if self.memory() <= self.limit && self.sorted() <= MOST_BYTES {
            self.text.shrink_to_fit();
            self.table.shrink_to_fit();
            return Ok(self);
        }
        let (name, key) = units.names();
        let remedy = match self.sorted() > MOST_BYTES {
            true => String::new(), // no memory would help
            false => format!("raise clean.dedup.memory_mb to {}, ", budget.memory_mb_for(self.memory())),
        };
        let message = format!(
            "{:.1} million {name} share samples, of which a suffix array takes {} MB at least: {remedy}raise \
             clean.dedup.substring.{key}, or drop near duplicates first with [clean.dedup.near]",
            self.needed.0 as f64 / 1e6,
            self.memory() / 1_000_000,
        );
        Err(DataError::BadConfig { key: "clean.dedup.substring", message })
    }

    fn cuts(&self, units: &Units) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        let mut places = Places { region: usize::MAX, unit: 0, at: 0 };
        for (span, earlier) in earlier_occurrences(&self.text, self.width, units.min) {
            let (region, span) = (self.region(span.start), self.shrunk(span, units));
            let [start, end] = [span.start, span.end].map(|unit| places.of(self, units, region, unit));
            if start < end {
                let first = u64::from(self.table[self.region(earlier)].row);
                let (row, kind) = (u64::from(self.table[region].row), DuplicateKind::Substring);
                cuts.push(Cut { row, bytes: start..end, kind, first });
            }
        }
        cuts
    }

    fn region(&self, unit: usize) -> usize {
        self.table.partition_point(|region| region.begin as usize <= unit) - 1
    }

    fn units(&self, span: Range<usize>) -> &[u8] {
        &self.text[span.start * self.width..span.end * self.width]
    }

    /// Takes back a span's ends until they lie between characters.
    fn shrunk(&self, span: Range<usize>, units: &Units) -> Range<usize> {
        let inside = |unit: usize| !units.begins_character(self.units(unit..unit + 1));
        let Range { mut start, mut end } = span;
        while start < end && inside(start) {
            start += 1;
        }
        while start < end && inside(end) {
            end -= 1;
        }
        start..end
    }
}

/// Goes along the units of the regions and knows at which byte of its document each begins.
struct Places {
    region: usize,
    unit: usize,
    /// In what the units spell.
    at: usize,
}

impl Places {
    /// Regions, and units within one, must be asked for in order: bytes are counted once.
    fn of(&mut self, regions: &Regions, units: &Units, region: usize, unit: usize) -> usize {
        if region != self.region {
            let Region { begin, at, .. } = regions.table[region];
            *self = Self { region, unit: begin as usize, at: at as usize };
        }
        self.at += units.spelled_len(regions.units(self.unit..unit));
        self.unit = unit;
        units.place(self.at)
    }
}
