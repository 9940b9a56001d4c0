//! Whether a model in another form is still the same model.

use std::path::Path;

use burn::tensor::Device;
use danlu_model::CausalLm;
use danlu_text::Tokenizer;
use danlu_weights::Kind;
use serde::Serialize;

use crate::EvalError;
use crate::evaluate::logits;
use crate::score::Inputs;

/// What both models are asked to go on with: prose, code, numbers and a conversation, English and Chinese.
pub const PROMPTS: [&str; 12] = [
    "The capital of France is",
    "def add(a, b):\n    return",
    "春眠不觉晓，处处闻",
    "Once upon a time, in 1984, there were 3 dogs.",
    "Q: What is 12 + 30?\nA:",
    "I'm sure they've gone; we'll see.",
    "人工智能是计算机科学的一个分支，它",
    "user: 你好，请介绍一下北京。\nassistant:",
    "Four score and seven years ago our fathers brought forth on this continent",
    "{\"name\": \"danlu\", \"version\": [0, 1, 0]}",
    "水的化学式是H2O，二氧化碳是",
    "It was the best of times, it was the worst of times, it was the age of wisdom",
];

/// How far two models are from each other, over every position of the prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Those that had a token.
    pub prompts: usize,
    pub positions: usize,
    /// Prompts that the two tokenizers encode differently.
    pub other_ids: usize,
    /// The largest difference of two logits.
    pub max_logit_error: f64,
    /// The largest difference in standard deviations of the original's logits at that position.
    pub max_relative_error: f64,
    /// Share of positions where both have the same likeliest token.
    pub top1: f64,
    /// KL divergence of the other's distribution from the original's, in nats, the mean over positions.
    pub kl: f64,
}

/// What the precision of a form allows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    pub max_relative_error: f64,
    pub kl: f64,
}

impl Tolerance {
    /// The same weights to the bit.
    pub const EXACT: Self = Self { max_relative_error: 0.0, kl: 0.0 };

    /// For matrices stored as `kind`. How far rounded weights move logits depends on the model, so the bounds leave room:
    /// they are several times what was measured (docs/log.md), and far below what a wrong layout does, which is an error
    /// of more than one standard deviation.
    pub fn of(kind: Kind) -> Self {
        let (max_relative_error, kl) = match kind {
            Kind::F32 => (1e-3, 1e-6),
            Kind::F16 => (0.05, 1e-4),
            Kind::Bf16 => (0.25, 1e-3),
            Kind::Q8_0 => (0.5, 1e-2),
            _ => (5.0, 0.5),
        };
        Self { max_relative_error, kl }
    }
}

impl Agreement {
    /// What is beyond a tolerance, in words; `None` if nothing is.
    pub fn fault(&self, tolerance: &Tolerance) -> Option<String> {
        if self.other_ids > 0 {
            return Some(format!("{} of {} prompts have other token ids", self.other_ids, self.prompts));
        }
        let Tolerance { max_relative_error, kl } = *tolerance;
        // Not "greater than": a figure that is no number is beyond every bound.
        let within = |found: f64, bound: f64| found <= bound;
        if !within(self.max_relative_error, max_relative_error) {
            let found = self.max_relative_error;
            return Some(format!("logits differ by {found:.3e} standard deviations, more than {max_relative_error:e}"));
        }
        (!within(self.kl, kl)).then(|| format!("the KL divergence is {:.3e}, more than {kl:e}", self.kl))
    }
}

/// Runs two folders on [`PROMPTS`], one after the other, and compares their logits.
///
/// # Errors
/// Folders that cannot be loaded, vocabularies of different sizes, prompts that have no token in common with the model.
pub fn compare_folders(original: &Path, other: &Path, device: &Device) -> Result<Agreement, EvalError> {
    let (tokenizer, again) = (Tokenizer::from_dir(original)?, Tokenizer::from_dir(other)?);
    let mut prompts = Vec::new();
    let mut other_ids = 0;
    for prompt in PROMPTS {
        let ids = tokenizer.encode(prompt)?;
        if !ids.is_empty() {
            other_ids += usize::from(again.encode(prompt)? != ids);
            prompts.push(ids);
        }
    }
    let model = danlu_model::load(original, device)?;
    let size = model.vocab_size();
    prompts.iter_mut().for_each(|ids| ids.truncate(model.config().max_seq_len));
    let want = all_logits(&model, &prompts)?;
    drop(model);
    let model = danlu_model::load(other, device)?;
    if model.vocab_size() != size {
        let found = format!("a vocabulary of {} tokens, and the original's has {size}", model.vocab_size());
        return Err(EvalError::WrongModel { path: other.into(), found, expected: "the same" });
    }
    let got = all_logits(&model, &prompts)?;
    let mut sums = Sums::default();
    for (want, got) in want.iter().zip(&got) {
        want.chunks_exact(size).zip(got.chunks_exact(size)).for_each(|(a, b)| sums.add(a, b));
    }
    if sums.positions == 0 {
        return Err(EvalError::NothingToScore { seen: PROMPTS.len() as u64 });
    }
    Ok(sums.agreement(prompts.len(), other_ids))
}

/// The logits of every position of each prompt.
fn all_logits(model: &CausalLm, prompts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EvalError> {
    let of = |ids: &Vec<u32>| {
        let vocab_size = model.vocab_size();
        if let Some(&token) = ids.iter().find(|id| **id as usize >= vocab_size) {
            let document = "a prompt of the comparison".into();
            return Err(EvalError::OutsideVocabulary { document, token, vocab_size });
        }
        let wanted: Vec<usize> = (0..ids.len()).collect();
        logits(model, &Inputs { ids, rows: 1, cols: ids.len(), wanted: &wanted })
    };
    prompts.iter().map(of).collect()
}

#[derive(Debug, Default)]
struct Sums {
    positions: usize,
    same: usize,
    max_error: f64,
    max_relative: f64,
    kl: f64,
}

impl Sums {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        let mean = a.iter().map(|x| f64::from(*x)).sum::<f64>() / a.len() as f64;
        let variance = a.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / a.len() as f64;
        // f64::max would hide what is no number.
        let larger = |x: f64, y: f64| if x.is_nan() || x > y { x } else { y };
        let error = a.iter().zip(b).fold(0.0, |most, (x, y)| larger(f64::from(x - y).abs(), most));
        let relative = if error == 0.0 { 0.0 } else { error / variance.sqrt() };
        self.max_error = larger(error, self.max_error);
        self.max_relative = larger(relative, self.max_relative);
        self.same += usize::from(largest(a) == largest(b));
        let (p, q) = (log_softmax(a), log_softmax(b));
        self.kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        self.positions += 1;
    }

    fn agreement(&self, prompts: usize, other_ids: usize) -> Agreement {
        let positions = self.positions as f64;
        Agreement {
            prompts,
            positions: self.positions,
            other_ids,
            max_logit_error: self.max_error,
            max_relative_error: self.max_relative,
            top1: self.same as f64 / positions,
            // Rounding takes it below zero by some 1e-17.
            kl: if self.kl < 0.0 { 0.0 } else { self.kl / positions },
        }
    }
}

fn largest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    logits.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &[f32], b: &[f32]) -> Agreement {
        let mut sums = Sums::default();
        sums.add(a, b);
        sums.agreement(1, 0)
    }

    #[test]
    fn figures_by_hand() {
        let same = compare(&[1.0, 3.0], &[1.0, 3.0]);
        assert_eq!((same.max_logit_error, same.max_relative_error, same.top1, same.kl), (0.0, 0.0, 1.0, 0.0));
        assert_eq!(same.fault(&Tolerance::EXACT), None);
        // Mean 0, standard deviation 1; p = 0.8808, q = 0.5: KL = ln 2 - H(p).
        let other = compare(&[1.0, -1.0], &[0.0, 0.5]);
        assert_eq!((other.max_logit_error, other.max_relative_error, other.top1), (1.5, 1.5, 0.0));
        let (p, q) = (1.0 / (1.0 + (-2.0f64).exp()), 1.0 / (1.0 + 0.5f64.exp()));
        let kl = p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        assert!((other.kl - kl).abs() < 1e-6, "{} {kl}", other.kl);
        assert!(
            other.fault(&Tolerance::of(Kind::Q8_0)).is_some_and(|said| said.contains("1.500e0 standard deviations"))
        );
        let broken = compare(&[1.0, -1.0], &[f32::NAN, -1.0]);
        assert!(broken.fault(&Tolerance { max_relative_error: f64::INFINITY, kl: f64::INFINITY }).is_some());
        let ids = Agreement { other_ids: 2, ..same };
        assert!(ids.fault(&Tolerance::EXACT).is_some_and(|said| said.contains("2 of 1 prompts")));
    }
}
