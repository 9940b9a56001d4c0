//! Texts that a model is asked about: read in parts, and what came of them written whole.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use danlu_data::{Document, Progress, SourceConfig, TextSplit};
use serde_json::{Map, Value, json};

use crate::args::TextsArgs;
use crate::output::{count, note};
use crate::progress::data_progress;

/// So many batches are read before they are computed, so that texts of like length meet.
const BATCHES_AT_ONCE: usize = 16;

/// What happened to the texts.
#[derive(Default)]
pub(super) struct Account {
    pub(super) texts: u64,
    pub(super) tokens: u64,
    pub(super) texts_cut: u64,
    pub(super) tokens_cut: u64,
    pub(super) unreadable: u64,
}

impl Account {
    /// * `tokens`: read in all
    /// * `cut`: of each text how many tokens were cut off
    pub(super) fn add(&mut self, tokens: u64, cut: &[usize]) {
        self.texts += cut.len() as u64;
        self.tokens += tokens;
        self.texts_cut += cut.iter().filter(|cut| **cut > 0).count() as u64;
        self.tokens_cut += cut.iter().sum::<usize>() as u64;
    }

    /// What was lost, for people.
    pub(super) fn say_losses(&self, max_len: usize) {
        if self.texts_cut > 0 {
            note(&format!(
                "texts cut to {max_len} tokens: {}; tokens that were not read: {}",
                count(self.texts_cut),
                count(self.tokens_cut)
            ));
        }
        if self.unreadable > 0 {
            note(&format!("records skipped because they could not be read: {}", count(self.unreadable)));
        }
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let fields = [
            ("texts", self.texts),
            ("tokens", self.tokens),
            ("texts_cut", self.texts_cut),
            ("tokens_cut", self.tokens_cut),
            ("records_unreadable", self.unreadable),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    }
}

/// Hands on the texts in their order, some batches at a time.
pub(super) fn each_part(
    args: &TextsArgs,
    label_field: Option<&str>,
    account: &mut Account,
    take: &mut dyn FnMut(&[Document], &mut Account) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(path) = &args.data else {
        let documents: Vec<Document> = args.text.iter().map(|text| Document::new(text, "")).collect();
        return take(&documents, account);
    };
    let source = SourceConfig {
        name: "data".into(),
        path: path.clone(),
        text_field: args.text_field.clone(),
        label_field: label_field.map(str::to_owned),
        split: TextSplit::Paragraph,
        ..SourceConfig::default()
    };
    let progress = data_progress();
    let mut waiting: Vec<Document> = Vec::new();
    // The reader's sink knows only its room's errors, so ours wait outside.
    let mut failed = None;
    danlu_data::read_source(&source, Path::new("."), &mut |record| {
        match record {
            Ok(document) => waiting.push(document),
            Err(problem) => {
                note(&format!("skipped: {problem}"));
                account.unreadable += 1;
            }
        }
        if waiting.len() < args.batch.saturating_mul(BATCHES_AT_ONCE) {
            return Ok(ControlFlow::Continue(()));
        }
        let done = take(&waiting, account);
        waiting.clear();
        progress(Progress { label: "read", done: account.texts, total: None, unit: "texts" });
        if let Err(error) = done {
            failed = Some(error);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match failed {
        Some(error) => Err(error),
        None if waiting.is_empty() => Ok(()),
        None => take(&waiting, account),
    }
}

/// Runs `fill` on a file that appears whole or not at all, or on standard output.
pub(super) fn written(
    path: Option<&Path>,
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(path) = path else {
        let mut out = io::stdout().lock();
        return fill(&mut out).and_then(|()| Ok(out.flush()?));
    };
    let mut failed = None;
    let result = danlu_store::atomic::write_with(path, |out| {
        fill(out).map_err(|error| {
            failed = Some(error);
            io::Error::other("what was to be written did not come")
        })
    });
    match failed {
        Some(error) => Err(error),
        None => result.with_context(|| format!("cannot write {}", path.display())),
    }
}
