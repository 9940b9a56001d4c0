//! Generation, one token at a time, with what earlier tokens left: keys and values, or recurrent states.

use crate::machine::peak_gflops;
use crate::timing::geometric_mean;
use crate::workload::mix;
use crate::{BenchError, Machine, Precision, Spread, Workload, peak_rss_bytes};
use burn::prelude::*;
use danlu_model::{CausalLm, State};
use serde::Serialize;
use std::time::Instant;

/// Sequences decoded together.
const BATCHES: [usize; 2] = [1, 8];
const WARM_UP: usize = 4;

/// How long the sequences are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeSettings {
    pub workload: Workload,
    /// Tokens before the first decoded one.
    pub prompt: usize,
    /// Tokens decoded of each sequence, those of the warm-up not counted.
    pub tokens: usize,
}

impl DecodeSettings {
    /// A quarter of the context as the prompt, half of it decoded.
    pub fn of(workload: Workload) -> Self {
        DecodeSettings { workload, prompt: workload.seq_len() / 4, tokens: workload.seq_len() / 2 }
    }
}

/// One form of the weights with one batch size.
#[derive(Clone, Debug, Serialize)]
pub struct DecodeCase {
    /// `f32` or `int8`
    pub weights: &'static str,
    pub batch: usize,
    /// Tokens of all sequences per second, at the median step.
    pub tokens_per_second: f64,
    pub spread: Spread,
}

/// All cases.
#[derive(Clone, Debug, Serialize)]
pub struct DecodeFigures {
    #[serde(flatten)]
    pub machine: Machine,
    pub model: Workload,
    pub parameters: usize,
    pub prompt: usize,
    pub tokens: usize,
    pub cases: Vec<DecodeCase>,
    /// Geometric mean over the cases in f32 of 2 operations per weight and token by the CPU's peak. Low by nature: a
    /// step reads every weight for a few operations.
    pub fraction_of_peak: Option<f64>,
    /// Of the process when the cases in f32 were done.
    pub peak_rss_bytes: Option<u64>,
}

/// Decodes greedily with f32 weights and with int8 weights.
///
/// # Errors
/// What the model reports.
pub fn decode(settings: DecodeSettings, device: &Device) -> Result<DecodeFigures, BenchError> {
    let DecodeSettings { workload, prompt, tokens } = settings;
    let mut figures = DecodeFigures {
        machine: Machine::here(),
        model: workload,
        parameters: 0,
        prompt,
        tokens,
        cases: Vec::new(),
        fraction_of_peak: None,
        peak_rss_bytes: None,
    };
    let config = workload.config();
    let peak = (*device == Device::flex()).then(|| peak_gflops(Precision::F32));
    let model = CausalLm::new(&config, workload.vocab_size(), 1, device)?;
    figures.parameters = model.num_params();
    figures.cases = cases("f32", &model, settings)?;
    figures.peak_rss_bytes = peak_rss_bytes();
    // A token of an empty context needs no attention: a third of what training it takes.
    let operations = config.flops_per_token(workload.vocab_size(), 0) / 3.0;
    let rates: Vec<f64> = figures.cases.iter().map(|case| case.tokens_per_second * operations / 1e9).collect();
    figures.fraction_of_peak = geometric_mean(&rates).zip(peak).map(|(rate, peak)| rate / peak);
    figures.cases.extend(cases("int8", &model.quantized()?, settings)?);
    Ok(figures)
}

fn cases(weights: &'static str, model: &CausalLm, settings: DecodeSettings) -> Result<Vec<DecodeCase>, BenchError> {
    let case = |batch: usize| {
        let spread = Spread::of_rates(batch as f64, &steps(model, settings, batch)?);
        Ok(DecodeCase { weights, batch, tokens_per_second: spread.median, spread })
    };
    BATCHES.into_iter().map(case).collect()
}

/// Seconds of each decoding step.
fn steps(model: &CausalLm, settings: DecodeSettings, batch: usize) -> Result<Vec<f64>, BenchError> {
    let vocab = model.vocab_size() as u64;
    let mut states: Vec<State> = (0..batch).map(|_| State::new(model)).collect();
    let mut states: Vec<&mut State> = states.iter_mut().collect();
    let id = |sequence: usize, i: usize| (mix((sequence << 20 | i) as u64) % vocab) as u32;
    let prompts: Vec<Vec<u32>> =
        (0..batch).map(|sequence| (0..settings.prompt).map(|i| id(sequence, i)).collect()).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut next = likeliest(&model.step(&prompts, &mut states)?);
    let mut seconds = Vec::with_capacity(settings.tokens);
    for step in 0..WARM_UP + settings.tokens {
        let begun = Instant::now();
        let tokens: Vec<&[u32]> = next.chunks(1).collect();
        next = likeliest(&model.step(&tokens, &mut states)?);
        if step >= WARM_UP {
            seconds.push(begun.elapsed().as_secs_f64().max(1e-9));
        }
    }
    Ok(seconds)
}

/// The most probable token of each sequence.
fn likeliest(logits: &[Vec<f32>]) -> Vec<u32> {
    let best = |row: &Vec<f32>| {
        let pick = |best: (usize, f32), (i, x): (usize, &f32)| if *x > best.1 { (i, *x) } else { best };
        row.iter().enumerate().fold((0, f32::NEG_INFINITY), pick).0 as u32
    };
    logits.iter().map(best).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_case_decodes_its_tokens() {
        let figures = decode(DecodeSettings::of(Workload::Xs), &Device::flex()).unwrap();
        let cases: Vec<(&str, usize)> = figures.cases.iter().map(|c| (c.weights, c.batch)).collect();
        assert_eq!(cases, [("f32", 1), ("f32", 8), ("int8", 1), ("int8", 8)]);
        assert!(figures.cases.iter().all(|case| case.spread.samples == 8 && case.tokens_per_second > 0.0));
    }

    #[test]
    fn the_likeliest_token_wins_and_the_first_of_equals() {
        assert_eq!(likeliest(&[vec![0.0, 3.0, 1.0], vec![2.0, 2.0, f32::NAN]]), [1, 0]);
    }
}
