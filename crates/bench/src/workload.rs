//! The workloads: fixed shapes that stand for the kinds of work people do.

use danlu_model::{Architecture, ModelConfig, Precision};
use serde::{Serialize, Serializer};
use std::str::FromStr;

/// A precision in JSON: its name.
pub(crate) fn precision_name<S: Serializer>(precision: &Precision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(precision.name())
}

/// A model, a batch and a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Too small to tell anything about speed: for trying the tools out.
    Xs,
    /// GPT-2-shaped: 6 layers, width 384, 6 heads, 16 sequences of 256, vocabulary 8192.
    S,
    /// GPT-2's own size: 12 layers, width 768, 12 heads, 4 sequences of 256, vocabulary 50257.
    M,
    /// Llama-shaped: 8 layers, width 512, 8 heads on 2 key heads, 4 sequences of 1024, vocabulary 32000.
    L,
    /// LSTM of 2 layers, width 512, 32 sequences of 128, vocabulary 8192.
    Lstm,
    /// GRU of the same shape.
    Gru,
}

impl Workload {
    /// All of them, smallest first.
    pub const ALL: [Workload; 6] = [Workload::Xs, Workload::S, Workload::M, Workload::L, Workload::Lstm, Workload::Gru];

    /// `XS`, `S`, `M`, `L`, `LSTM`, `GRU`.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Xs => "XS",
            Workload::S => "S",
            Workload::M => "M",
            Workload::L => "L",
            Workload::Lstm => "LSTM",
            Workload::Gru => "GRU",
        }
    }

    /// Sequences in a batch.
    pub fn batch(self) -> usize {
        match self {
            Workload::Xs => 2,
            Workload::S => 16,
            Workload::M | Workload::L => 4,
            Workload::Lstm | Workload::Gru => 32,
        }
    }

    /// Tokens in a sequence.
    pub fn seq_len(self) -> usize {
        match self {
            Workload::Xs => 16,
            Workload::S | Workload::M => 256,
            Workload::L => 1024,
            Workload::Lstm | Workload::Gru => 128,
        }
    }

    /// Tokens that the model knows.
    pub fn vocab_size(self) -> usize {
        match self {
            Workload::Xs => 96,
            Workload::S | Workload::Lstm | Workload::Gru => 8192,
            Workload::M => 50257,
            Workload::L => 32000,
        }
    }

    /// Tokens of one training step.
    pub fn tokens_per_step(self) -> usize {
        self.batch() * self.seq_len()
    }

    /// The model it trains.
    pub fn config(self) -> ModelConfig {
        match self {
            Workload::Xs => self.gpt2(2, 32, 2),
            Workload::S => self.gpt2(6, 384, 6),
            Workload::M => self.gpt2(12, 768, 12),
            Workload::L => ModelConfig {
                layers: 8,
                hidden_size: 512,
                heads: 8,
                kv_heads: Some(2),
                max_seq_len: self.seq_len(),
                tied: false,
                ..ModelConfig::default()
            },
            Workload::Lstm => self.recurrent(Architecture::Lstm),
            Workload::Gru => self.recurrent(Architecture::Gru),
        }
    }

    fn recurrent(self, architecture: Architecture) -> ModelConfig {
        ModelConfig {
            architecture,
            layers: 2,
            hidden_size: 512,
            max_seq_len: self.seq_len(),
            tied: false,
            ..ModelConfig::default()
        }
    }

    fn gpt2(self, layers: usize, hidden_size: usize, heads: usize) -> ModelConfig {
        ModelConfig {
            architecture: Architecture::Gpt2,
            layers,
            hidden_size,
            heads,
            max_seq_len: self.seq_len(),
            tied: false,
            ..ModelConfig::default()
        }
    }

    /// See [`ModelConfig::flops_per_token`].
    pub fn flops_per_token(self) -> f64 {
        self.config().flops_per_token(self.vocab_size(), self.seq_len())
    }

    /// Random token ids, the same for the same `seed`.
    pub(crate) fn tokens(self, seed: u64) -> Vec<u32> {
        let vocab = self.vocab_size() as u64;
        (0..self.tokens_per_step() as u64).map(|i| (mix(seed << 32 | i) % vocab) as u32).collect()
    }
}

/// SplitMix64's output function (Steele et al. 2014).
pub(crate) fn mix(seed: u64) -> u64 {
    let x = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Numbers between -1 and 1, the same for the same `seed`.
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    (0..count as u64).map(|i| (mix(seed << 40 | i) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Workload::ALL.into_iter().find(|workload| workload.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("known: {}", Workload::ALL.map(Workload::name).join(", ")))
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().to_lowercase().parse(), Ok(workload));
        }
        assert!("XXL".parse::<Workload>().is_err_and(|known| known.contains("LSTM")));
    }

    #[test]
    fn sizes_are_those_that_the_page_states() {
        let parameters = |workload: Workload| workload.config().parameter_counts(workload.vocab_size()).total();
        assert_eq!(parameters(Workload::S), 17_037_312);
        assert_eq!(parameters(Workload::M), 162_447_360);
        assert_eq!((parameters(Workload::Lstm), parameters(Workload::Gru)), (12_591_104, 11_540_480));
        assert_eq!(Workload::S.tokens_per_step(), 4096);
        // 2 layers of 4 gates over an input and a state of 512, and the head, forward and twice backward.
        assert_eq!(Workload::Lstm.flops_per_token(), 6.0 * (2.0 * 4.0 * 2.0 * 512.0 * 512.0 + 512.0 * 8192.0));
    }

    #[test]
    fn tokens_are_in_the_vocabulary_and_differ_by_seed() {
        let (a, b) = (Workload::Xs.tokens(1), Workload::Xs.tokens(2));
        assert!(a.iter().all(|id| *id < 96) && a != b && a == Workload::Xs.tokens(1));
        let spread = values(1, 1000);
        assert!(spread.iter().all(|x| (-1.0..1.0).contains(x)) && spread.iter().sum::<f32>().abs() < 100.0);
    }
}
