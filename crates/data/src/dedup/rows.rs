use std::cmp::Ordering;
use std::collections::HashMap;

use danlu_memory::Column;

use crate::{DataError, Document};

use super::{Budget, KeepRule, append};

/// What is known of every document, in memory or on disk; a document is its row, counted from 0.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) ids: Column<u128>,
    pub(super) bytes: Column<u32>,
    sources: Column<u16>,
    pub(super) source_names: Vec<String>,
    source_numbers: HashMap<String, u16>,
    /// The column of [`KeepRule::Best`]; empty with the other rules.
    values: Column<f64>,
    keep: KeepRule,
}

impl Rows {
    /// Bytes for each document, marks of later steps included.
    pub(super) const BYTES_EACH: u64 = 44;

    pub(super) fn new(keep: KeepRule, budget: &Budget) -> Self {
        Self {
            ids: budget.column("ids"),
            bytes: budget.column("bytes"),
            sources: budget.column("sources"),
            values: budget.column("values"),
            keep,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn push(&mut self, document: &Document) -> Result<(), DataError> {
        let source = match self.source_numbers.get(&document.source) {
            Some(&number) => number,
            None => {
                let number = u16::try_from(self.source_names.len()).map_err(|_| DataError::BadConfig {
                    key: "data.sources",
                    message: "more than 65536 sources".into(),
                })?;
                self.source_names.push(document.source.clone());
                self.source_numbers.insert(document.source.clone(), number);
                number
            }
        };
        append(&mut self.ids, document.id_number())?;
        append(&mut self.bytes, document.text.len().min(u32::MAX as usize) as u32)?;
        append(&mut self.sources, source)?;
        if let KeepRule::Best(column) = &self.keep {
            let value = document.metadata.get(column).and_then(serde_json::Value::as_f64);
            append(&mut self.values, value.unwrap_or(f64::NEG_INFINITY))?;
        }
        Ok(())
    }

    pub(super) fn source(&self, row: u32) -> &str {
        &self.source_names[usize::from(self.sources[row as usize])]
    }

    /// Orders copies, the one to keep first.
    pub(super) fn order(&self, a: u32, b: u32) -> Ordering {
        let (i, j) = (a as usize, b as usize);
        let better = match self.keep {
            KeepRule::First => Ordering::Equal,
            KeepRule::Longest => self.bytes[j].cmp(&self.bytes[i]),
            KeepRule::Best(_) => self.values[j].total_cmp(&self.values[i]),
        };
        better.then(a.cmp(&b))
    }
}
