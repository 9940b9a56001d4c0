//! Which documents are evaluated when there is a cap.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use danlu_data::{DataError, Document};
use serde::{Deserialize, Serialize};

use crate::{EvalConfig, EvalError};

/// How much of what was offered was evaluated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    pub documents_offered: u64,
    pub bytes_offered: u64,
    pub documents_scored: u64,
    pub bytes_scored: u64,
    /// Documents without a single token; they count in `documents_offered` only.
    pub documents_empty: u64,
    /// Documents whose tokens do not spell the text back (a tokenizer with
    /// `<unk>` or normalisation): their bits per byte are not to be trusted.
    pub documents_not_round_trip: u64,
    /// Records of the file that could not be read; always 0 for documents given as such.
    pub records_unreadable: u64,
    /// The rule by which documents were left out; absent when none were.
    pub rule: Option<String>,
}

/// The documents a cap lets through.
#[derive(Debug, Default)]
pub struct Chosen {
    /// In the order in which they were offered.
    pub documents: Vec<Document>,
    pub documents_offered: u64,
    pub bytes_offered: u64,
}

/// Chooses documents by ascending content id until `max_documents` are there or
/// `max_bytes` of text are reached (the document that reaches it is included).
///
/// Ids are content hashes, so this is a fair sample of all languages and sources
/// however the documents are ordered, and the same one every time. Memory: the
/// chosen documents and one more; the rest only passes by.
pub fn choose(
    documents: impl IntoIterator<Item = Result<Document, DataError>>,
    config: &EvalConfig,
) -> Result<Chosen, EvalError> {
    let mut chooser = Chooser::new(config);
    for document in documents {
        chooser.push(document?);
    }
    Ok(chooser.finish())
}

/// [`choose`], document by document.
pub(crate) struct Chooser {
    max_documents: u64,
    max_bytes: u64,
    heap: BinaryHeap<Candidate>,
    held_bytes: u64,
    documents_offered: u64,
    bytes_offered: u64,
}

impl Chooser {
    pub fn new(config: &EvalConfig) -> Self {
        Self {
            max_documents: config.max_documents.unwrap_or(u64::MAX),
            max_bytes: config.max_bytes.unwrap_or(u64::MAX),
            heap: BinaryHeap::new(),
            held_bytes: 0,
            documents_offered: 0,
            bytes_offered: 0,
        }
    }

    pub fn push(&mut self, document: Document) {
        let bytes = document.text.len() as u64;
        self.heap.push(Candidate { order: self.documents_offered, document });
        self.documents_offered += 1;
        self.bytes_offered += bytes;
        self.held_bytes += bytes;
        // The greatest id goes while the others alone satisfy a cap.
        while let Some(last) = self.heap.peek() {
            let rest = self.held_bytes - last.document.text.len() as u64;
            if self.heap.len() as u64 <= self.max_documents && rest < self.max_bytes {
                break;
            }
            self.held_bytes = rest;
            self.heap.pop();
        }
    }

    pub fn finish(self) -> Chosen {
        let mut kept = self.heap.into_vec();
        kept.sort_by_key(|candidate| candidate.order);
        Chosen {
            documents: kept.into_iter().map(|candidate| candidate.document).collect(),
            documents_offered: self.documents_offered,
            bytes_offered: self.bytes_offered,
        }
    }
}

/// The rule in words, for the result.
pub(crate) fn rule(config: &EvalConfig) -> String {
    let mut limits = Vec::new();
    if let Some(max) = config.max_documents {
        limits.push(format!("{max} documents"));
    }
    if let Some(max) = config.max_bytes {
        limits.push(format!("{max} bytes"));
    }
    format!("by ascending content id up to {}", limits.join(" or "))
}

struct Candidate {
    order: u64,
    document: Document,
}

impl Candidate {
    fn key(&self) -> (&str, u64) {
        (&self.document.id, self.order)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Candidate {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::document;

    fn ids(chosen: &Chosen) -> Vec<&str> {
        chosen.documents.iter().map(|d| d.id.as_str()).collect()
    }

    fn offered() -> Vec<Document> {
        [("d", "dddd"), ("a", "aaaa"), ("c", "cccc"), ("b", "bbbb")]
            .map(|(id, text)| Document { id: id.into(), ..document(text, "en", "s") })
            .to_vec()
    }

    #[test]
    fn smallest_ids_in_the_offered_order() {
        let config = EvalConfig { max_documents: Some(2), ..EvalConfig::default() };
        let chosen = choose(offered().into_iter().map(Ok), &config).unwrap();
        assert_eq!(ids(&chosen), ["a", "b"]);
        assert_eq!((chosen.documents_offered, chosen.bytes_offered), (4, 16));
        let mut reversed = offered();
        reversed.reverse();
        let again = choose(reversed.into_iter().map(Ok), &config).unwrap();
        assert_eq!(ids(&again), ["b", "a"]);
    }

    #[test]
    fn the_document_that_reaches_the_byte_cap_is_included() {
        for (max_bytes, expected) in [(1, 1), (4, 1), (5, 2), (12, 3), (13, 4), (99, 4)] {
            let config = EvalConfig { max_bytes: Some(max_bytes), ..EvalConfig::default() };
            let chosen = choose(offered().into_iter().map(Ok), &config).unwrap();
            assert_eq!(chosen.documents.len(), expected, "max_bytes {max_bytes}");
        }
    }
}
