//! The scoring loop, apart from any model: windows, batches, sums.

use rayon::prelude::*;

use crate::choose::Coverage;
use crate::scores::{Groups, Tally, token_cost};
use crate::windows::{Window, windows};
use crate::{EvalError, Progress, WindowSize};

/// Tokens held before they are sorted by length and scored. A constant, so that
/// what is summed in which order depends on the documents alone.
const CHUNK_TOKENS: usize = 1 << 18;

/// Greatest size of one batch's logits on the host; a single window may exceed it.
const LOGIT_BYTES: usize = 256 << 20;

/// A batch of windows, padded on the right to `cols` (harmless under causal attention).
pub(crate) struct Inputs<'a> {
    /// Row-major (rows, cols).
    pub ids: &'a [u32],
    pub rows: usize,
    pub cols: usize,
    /// Indices into `ids` of the positions whose logits are asked for, ascending.
    pub wanted: &'a [usize],
}

/// What the loop needs to know of the model and the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub window: WindowSize,
    pub batch_size: usize,
    pub vocab_size: usize,
    /// Id of the document boundary, the context of every first token.
    pub boundary: u32,
}

/// A document ready to be scored.
pub(crate) struct Encoded {
    pub id: String,
    pub language: String,
    pub source: String,
    pub bytes: u64,
    pub tokens: Vec<u32>,
}

/// Scores documents through `forward`, which turns a batch of ids into the logits
/// of the wanted positions, row-major (wanted, vocab_size).
pub(crate) struct Scorer<'a, F> {
    shape: Shape,
    forward: F,
    progress: &'a mut dyn FnMut(&Progress),
    report: Progress,
    pending: Vec<Pending>,
    pending_tokens: usize,
    pub groups: Groups,
    pub coverage: Coverage,
}

struct Pending {
    document: Encoded,
    /// The boundary and the tokens.
    sequence: Vec<u32>,
    tally: Tally,
}

/// A window of `pending[document]`.
struct Job {
    document: usize,
    window: Window,
}

impl<'a, F> Scorer<'a, F>
where
    F: FnMut(&Inputs<'_>) -> Result<Vec<f32>, EvalError>,
{
    pub fn new(shape: Shape, forward: F, progress: &'a mut dyn FnMut(&Progress)) -> Self {
        Self {
            shape,
            forward,
            progress,
            report: Progress::default(),
            pending: Vec::new(),
            pending_tokens: 0,
            groups: Groups::default(),
            coverage: Coverage::default(),
        }
    }

    pub fn push(&mut self, mut document: Encoded) -> Result<(), EvalError> {
        if document.tokens.is_empty() {
            self.coverage.documents_empty += 1;
            return Ok(());
        }
        if let Some(&token) = document.tokens.iter().find(|&&t| t as usize >= self.shape.vocab_size) {
            let vocab_size = self.shape.vocab_size;
            return Err(EvalError::OutsideVocabulary { document: document.id, token, vocab_size });
        }
        self.coverage.documents_scored += 1;
        self.coverage.bytes_scored += document.bytes;
        self.report.documents_read += 1;
        self.report.tokens_read += document.tokens.len() as u64;
        self.pending_tokens += document.tokens.len();
        let mut sequence = Vec::with_capacity(document.tokens.len() + 1);
        sequence.push(self.shape.boundary);
        sequence.append(&mut document.tokens);
        let tally = Tally { bytes: document.bytes, documents: 1, ..Tally::default() };
        self.pending.push(Pending { document, sequence, tally });
        if self.pending_tokens >= CHUNK_TOKENS { self.flush() } else { Ok(()) }
    }

    /// Scores what is pending. Call it once more after the last `push`.
    pub fn flush(&mut self) -> Result<(), EvalError> {
        let jobs = self.jobs();
        let mut rest = jobs.as_slice();
        while let Some(first) = rest.first() {
            let rows = self.rows(first.window.len).min(rest.len());
            let (batch, later) = rest.split_at(rows);
            self.score_batch(batch)?;
            rest = later;
        }
        for pending in self.pending.drain(..) {
            let Encoded { language, source, .. } = &pending.document;
            self.groups.add(language, source, &pending.tally);
        }
        self.pending_tokens = 0;
        Ok(())
    }

    /// All windows of the pending documents, longest first. The sort is stable, so
    /// the windows of one document stay in order and its sum runs in token order.
    fn jobs(&self) -> Vec<Job> {
        let WindowSize { seq_len, stride } = self.shape.window;
        let mut jobs: Vec<Job> = self
            .pending
            .iter()
            .enumerate()
            .flat_map(|(document, pending)| {
                windows(pending.sequence.len() - 1, seq_len, stride)
                    .into_iter()
                    .map(move |window| Job { document, window })
            })
            .collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.window.len));
        jobs
    }

    /// How many windows of `len` inputs go into one batch.
    fn rows(&self, len: usize) -> usize {
        let by_tokens = self.shape.batch_size * self.shape.window.seq_len / len;
        let by_memory = LOGIT_BYTES / (len * self.shape.vocab_size * size_of::<f32>());
        by_tokens.min(by_memory).max(1)
    }

    fn score_batch(&mut self, batch: &[Job]) -> Result<(), EvalError> {
        let cols = batch.iter().map(|job| job.window.len).max().unwrap_or(0);
        let mut ids = vec![self.shape.boundary; batch.len() * cols];
        let mut wanted = Vec::with_capacity(ids.len());
        for (row, job) in batch.iter().enumerate() {
            let Window { start, len, scored_from } = job.window;
            let first = row * cols;
            let sequence = &self.pending[job.document].sequence;
            ids[first..first + len].copy_from_slice(&sequence[start..start + len]);
            wanted.extend(first + scored_from..first + len);
        }
        let inputs = Inputs { ids: &ids, rows: batch.len(), cols, wanted: &wanted };
        let logits = (self.forward)(&inputs)?;
        let expected = wanted.len() * self.shape.vocab_size;
        if logits.len() != expected {
            return Err(EvalError::LogitShape { expected, actual: logits.len() });
        }
        let mut rest = logits.as_slice();
        for job in batch {
            let scored = job.window.len - job.window.scored_from;
            let (own, later) = rest.split_at(scored * self.shape.vocab_size);
            self.score_window(job, own)?;
            rest = later;
        }
        (self.progress)(&self.report);
        Ok(())
    }

    /// Adds the scored positions of one window, whose logits are (scored, vocab_size).
    fn score_window(&mut self, job: &Job, logits: &[f32]) -> Result<(), EvalError> {
        let Window { start, len, scored_from } = job.window;
        let vocab_size = self.shape.vocab_size;
        let pending = &mut self.pending[job.document];
        let targets = &pending.sequence[start + scored_from + 1..=start + len];
        let costs: Vec<_> =
            logits.par_chunks_exact(vocab_size).zip(targets).map(|(row, &target)| token_cost(row, target)).collect();
        for (offset, cost) in costs.into_iter().enumerate() {
            let Some((nats, rank)) = cost else {
                let document = pending.document.id.clone();
                return Err(EvalError::NotFinite { document, position: start + scored_from + offset });
            };
            pending.tally.add(nats, rank);
        }
        self.report.tokens_scored += (len - scored_from) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const VOCAB: usize = 7;

    fn shape(seq_len: usize, stride: usize, batch_size: usize) -> Shape {
        Shape { window: WindowSize { seq_len, stride }, batch_size, vocab_size: VOCAB, boundary: 0 }
    }

    fn encoded(id: usize, tokens: &[u32]) -> Encoded {
        Encoded {
            id: id.to_string(),
            language: if id.is_multiple_of(2) { "en" } else { "zh" }.into(),
            source: "s".into(),
            bytes: 3 * tokens.len() as u64,
            tokens: tokens.to_vec(),
        }
    }

    fn run(
        shape: Shape,
        documents: &[Vec<u32>],
        forward: impl FnMut(&Inputs<'_>) -> Result<Vec<f32>, EvalError>,
    ) -> Result<Groups, EvalError> {
        let mut ignore = |_: &Progress| {};
        let mut scorer = Scorer::new(shape, forward, &mut ignore);
        for (id, tokens) in documents.iter().enumerate() {
            scorer.push(encoded(id, tokens))?;
        }
        scorer.flush()?;
        Ok(scorer.groups)
    }

    /// A causal stand-in for a model: the logits at a position are a fixed
    /// function of the `memory` inputs up to it.
    fn causal(memory: usize) -> impl FnMut(&Inputs<'_>) -> Result<Vec<f32>, EvalError> {
        move |inputs| {
            let mut logits = Vec::new();
            for &at in inputs.wanted {
                let row = at - at % inputs.cols;
                let seen = &inputs.ids[(at + 1).saturating_sub(memory).max(row)..=at];
                let state = seen.iter().fold(1u32, |s, &t| s.wrapping_mul(31).wrapping_add(t + 1));
                logits.extend((0..VOCAB as u32).map(|v| ((state ^ (v * 2_654_435)) % 101) as f32 / 25.0));
            }
            Ok(logits)
        }
    }

    fn documents() -> Vec<Vec<u32>> {
        (0..23usize).map(|n| (0..(n * 7) % 19).map(|i| ((i * i + n) % (VOCAB - 1) + 1) as u32).collect()).collect()
    }

    #[test]
    fn two_documents_by_hand() {
        // One logit vector everywhere: shares 1/8, 1/4, 5/8 over three tokens.
        let shares = [0.125f64, 0.25, 0.625];
        let forward = |inputs: &Inputs<'_>| {
            let row = shares.map(|s| s.ln() as f32);
            Ok(inputs.wanted.iter().flat_map(|_| row).collect())
        };
        let shape = Shape { vocab_size: 3, ..shape(4, 2, 2) };
        let groups = run(shape, &[vec![2, 1], vec![2, 2, 0]], forward).unwrap();
        let scores = groups.overall.scores().unwrap();
        let nats = -(3.0 * 0.625f64.ln() + 0.25f64.ln() + 0.125f64.ln());
        assert!((scores.loss - nats / 5.0).abs() < 1e-7);
        assert!((scores.bits_per_byte - nats / std::f64::consts::LN_2 / 15.0).abs() < 1e-7);
        assert_eq!((scores.top1, scores.top5), (0.6, 1.0));
        assert_eq!((scores.tokens, scores.bytes, scores.documents), (5, 15, 2));
        let zh = groups.by_language["zh"].scores().unwrap();
        assert_eq!((zh.tokens, zh.bytes), (3, 9));
        assert!((zh.loss + (2.0 * 0.625f64.ln() + 0.125f64.ln()) / 3.0).abs() < 1e-7);
    }

    #[test]
    fn uniform_logits_cost_ln_v() {
        let forward = |inputs: &Inputs<'_>| Ok(vec![0.0; inputs.wanted.len() * VOCAB]);
        let groups = run(shape(5, 2, 3), &documents(), forward).unwrap();
        let scores = groups.overall.scores().unwrap();
        assert!((scores.loss - (VOCAB as f64).ln()).abs() < 1e-12);
        assert!((scores.perplexity - VOCAB as f64).abs() < 1e-10);
    }

    #[test]
    fn batch_size_changes_no_bit() {
        let documents = documents();
        let one = run(shape(6, 3, 1), &documents, causal(6)).unwrap();
        for batch_size in [2, 3, 16, 1000] {
            let many = run(shape(6, 3, batch_size), &documents, causal(6)).unwrap();
            assert_eq!(one.overall, many.overall);
            assert_eq!(one.by_language, many.by_language);
        }
    }

    #[test]
    fn windows_change_nothing_while_the_memory_fits_the_kept_context() {
        // The stand-in remembers 3 inputs; windows of 8 with stride 6 always keep 2 + 1.
        let documents = documents();
        let whole = run(shape(64, 64, 4), &documents, causal(3)).unwrap();
        let cut = run(shape(8, 6, 4), &documents, causal(3)).unwrap();
        assert_eq!(whole.overall, cut.overall);
        let blind = run(shape(8, 8, 4), &documents, causal(3)).unwrap();
        assert_ne!(whole.overall.nats, blind.overall.nats);
        assert_eq!(whole.overall.tokens, blind.overall.tokens);
    }

    #[test]
    fn bad_models_are_named() {
        let nan = run(shape(4, 2, 1), &[vec![1, 2]], |i: &Inputs<'_>| Ok(vec![f32::NAN; i.wanted.len() * VOCAB]));
        assert!(matches!(nan, Err(EvalError::NotFinite { position: 0, .. })));
        let short = run(shape(4, 2, 1), &[vec![1, 2]], |_: &Inputs<'_>| Ok(vec![0.0; 3]));
        assert!(matches!(short, Err(EvalError::LogitShape { expected: 14, actual: 3 })));
        let outside = run(shape(4, 2, 1), &[vec![1, 7]], causal(1));
        assert!(matches!(outside, Err(EvalError::OutsideVocabulary { token: 7, vocab_size: 7, .. })));
    }

    #[test]
    fn progress_reaches_all_tokens() {
        let documents = documents();
        let total: usize = documents.iter().map(Vec::len).sum();
        let mut last = Progress::default();
        let mut keep = |p: &Progress| last = *p;
        let mut scorer = Scorer::new(shape(6, 3, 2), causal(6), &mut keep);
        for (id, tokens) in documents.iter().enumerate() {
            scorer.push(encoded(id, tokens)).unwrap();
        }
        scorer.flush().unwrap();
        assert_eq!(scorer.coverage.documents_empty, 2);
        assert_eq!(scorer.coverage.documents_scored, 21);
        assert_eq!((last.tokens_scored, last.tokens_read), (total as u64, total as u64));
    }
}
