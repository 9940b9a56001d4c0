//! Tiny encoder-decoders of every kind.

use super::VOCAB;
use burn::prelude::*;
use danlu_model::{Activation, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderKind, LossOptions, Seq2SeqInput};

fn tiny(architecture: EncoderDecoderKind) -> EncoderDecoderConfig {
    EncoderDecoderConfig {
        architecture,
        encoder_layers: 2,
        decoder_layers: 2,
        hidden_size: 16,
        heads: 2,
        ffn_size: Some(24),
        max_seq_len: 14,
        dropout: 0.2,
        attention_dropout: 0.2,
        activation_dropout: 0.2,
        ..EncoderDecoderConfig::default()
    }
}

/// Every kind, every activation and every form of head and loss at least once.
pub fn all_kinds() -> Vec<(&'static str, EncoderDecoderConfig, LossOptions)> {
    let plain = LossOptions::default();
    let smoothed = LossOptions { label_smoothing: 0.1, z_loss: 0.0 };
    let both = LossOptions { label_smoothing: 0.1, z_loss: 1e-2 };
    let t5 = EncoderDecoderConfig {
        heads: 3,
        head_dim: Some(6),
        relative_buckets: 8,
        relative_max_distance: 7,
        ..tiny(EncoderDecoderKind::T5)
    };
    vec![
        ("original, smoothed", tiny(EncoderDecoderKind::Marian), smoothed),
        (
            "marian, silu, bias of the logits",
            EncoderDecoderConfig {
                activation: Some(Activation::Silu),
                logits_bias: true,
                ..tiny(EncoderDecoderKind::Marian)
            },
            both,
        ),
        ("bart", tiny(EncoderDecoderKind::Bart), plain),
        (
            "mbart, one layer below, gelu",
            EncoderDecoderConfig {
                decoder_layers: 1,
                activation: Some(Activation::Gelu),
                ..tiny(EncoderDecoderKind::Mbart)
            },
            plain,
        ),
        ("t5, tied, relu", t5.clone(), smoothed),
        (
            "t5, own head, gelu with a gate",
            { EncoderDecoderConfig { activation: Some(Activation::Geglu), tied: Some(false), ..t5.clone() } },
            plain,
        ),
        (
            "mt5, tied, silu with a gate",
            {
                let architecture = EncoderDecoderKind::Mt5;
                EncoderDecoderConfig { architecture, activation: Some(Activation::Swiglu), tied: Some(true), ..t5 }
            },
            plain,
        ),
    ]
}

/// A model whose norms and biases are far from their start, so that every part has a say.
pub fn lively(config: &EncoderDecoderConfig, device: &Device) -> EncoderDecoder {
    let model = EncoderDecoder::new(config, VOCAB, 9, device).unwrap();
    let mut values = model.named_parameters().unwrap();
    for (i, (name, data)) in values.iter_mut().enumerate() {
        let shape = data.shape().to_vec();
        let of = |(j, x): (usize, &f32)| match shape.len() {
            1 => x + 0.3 * ((i * 31 + j * 17) % 13) as f32 / 13.0,
            // Matrices start large enough already.
            _ if name.contains("relative_bias") => x * 4.0,
            _ => *x,
        };
        let changed: Vec<f32> = data.as_slice::<f32>().unwrap().iter().enumerate().map(of).collect();
        *data = TensorData::new(changed, shape);
    }
    model.load_named(values).unwrap()
}

fn row(length: usize, seed: usize) -> Vec<u32> {
    (0..length).map(|i| ((i * i * 7 + i * 13 + seed * 29 + 5) % VOCAB) as u32).collect()
}

/// Three pairs, both sides of unequal lengths.
pub fn input() -> Seq2SeqInput {
    let rows = |lengths: [usize; 3], seed: usize| (0..3).map(|i| row(lengths[i], seed + i)).collect();
    Seq2SeqInput { input_ids: rows([7, 12, 3], 0), decoder_input_ids: rows([4, 2, 9], 5) }
}

/// What [`input`] is to learn; in places nothing.
pub fn labels() -> Vec<Vec<i32>> {
    vec![vec![3, 9, 60, -100], vec![-100, 0], vec![1, 2, 3, 60, 5, -100, 7, 8, 9]]
}
