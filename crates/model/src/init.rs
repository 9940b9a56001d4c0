//! Where a model's weights come from when it is built: a random start here, a file in `weights`.

use crate::{ModelConfig, ModelError};
use danlu_ops::Int8Weight;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How a parameter starts when training from nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Start {
    Zeros,
    Ones,
    /// Ones from the first index up to the second, zeros elsewhere.
    OnesWithin(usize, usize),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Whisper's table of places.
    Sinusoids,
}

/// Gives parameters by name. `name` is danlu's own, which is also that of Hugging Face's Llama; shapes are (out, in)
/// for linear layers.
pub(crate) trait Source {
    /// The values of a parameter in row-major order.
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError>;

    /// The weight of a linear layer in int8, where that is the form it has.
    fn int8(&mut self, name: &str, out: usize, inp: usize) -> Result<Option<Int8Weight>, ModelError>;
}

/// Gives the parameters of a model that is a part of another, whose names begin with `prefix`.
pub(crate) struct Prefixed<'a, S> {
    pub(crate) prefix: &'static str,
    pub(crate) source: &'a mut S,
}

impl<S: Source> Source for Prefixed<'_, S> {
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError> {
        self.source.values(&format!("{}{name}", self.prefix), shape, start)
    }

    fn int8(&mut self, name: &str, out: usize, inp: usize) -> Result<Option<Int8Weight>, ModelError> {
        self.source.int8(&format!("{}{name}", self.prefix), out, inp)
    }
}

/// Random start: the same values for one seed on every device, whatever the order of the calls.
pub(crate) struct RandomSource {
    pub(crate) seed: u64,
}

impl RandomSource {
    /// Standard deviation of all weights but the residual projections.
    pub(crate) const STD: f64 = 0.02;

    /// GPT-2's scaling of the layers that write to the residual stream, of which there are two per layer.
    pub(crate) fn residual_std(config: &ModelConfig) -> f64 {
        Self::STD / (2.0 * config.layers as f64).sqrt()
    }
}

impl Source for RandomSource {
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError> {
        let count = shape.iter().product();
        Ok(match start {
            Start::Zeros => vec![0.0; count],
            Start::Ones => vec![1.0; count],
            Start::OnesWithin(from, to) => (0..count).map(|i| f32::from((from..to).contains(&i))).collect(),
            Start::Sinusoids => match shape {
                [places, width] => crate::encoder_decoder::sound_table(*places, *width),
                _ => vec![0.0; count],
            },
            Start::Normal(std) => normal(self.seed, name, count, std),
        })
    }

    fn int8(&mut self, _: &str, _: usize, _: usize) -> Result<Option<Int8Weight>, ModelError> {
        Ok(None)
    }
}

/// Normal numbers by Box and Muller's method, from a stream of its own per parameter.
fn normal(seed: u64, name: &str, count: usize, std: f64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(name));
    let mut uniform = || ((rng.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = std * (-2.0 * uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
        values.push((radius * cos) as f32);
        values.push((radius * sin) as f32);
    }
    values.truncate(count);
    values
}

/// The 64-bit FNV-1a hash: fixed for all time, unlike the standard library's.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_its_moments_and_depends_on_seed_and_name() {
        let values = normal(3, "a", 100_001, 0.02);
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 3e-4, "{mean}");
        assert!((variance.sqrt() / 0.02 - 1.0).abs() < 0.02, "{}", variance.sqrt());
        assert_eq!(normal(3, "a", 10, 0.02), values[..10]);
        assert_ne!(normal(4, "a", 10, 0.02), values[..10]);
        assert_ne!(normal(3, "b", 10, 0.02), values[..10]);
    }

    /// A model once trained from a seed must start from the same numbers in every later version.
    #[test]
    fn first_values_are_fixed() {
        let first: Vec<u32> = normal(0, "model.embed_tokens.weight", 3, 0.02).iter().map(|x| x.to_bits()).collect();
        assert_eq!(first, [3_160_294_066, 1_026_273_512, 993_815_530]);
    }
}
