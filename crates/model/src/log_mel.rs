//! The front of Whisper: from sound to the logarithms of its power in mel bands (Radford et al. 2023), as transformers'
//! `WhisperFeatureExtractor` computes them.

use crate::ModelError;
use crate::config::check;
use crate::layers::read;
use burn::prelude::*;
use danlu_ops::Precision;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Samples of sound in a second.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples of one window, and of its Fourier transform.
const WINDOW: usize = 400;
/// Samples from one frame to the next: 100 frames in a second.
pub const HOP: usize = 160;
/// Frequencies from 0 to half the sample rate.
const FREQUENCIES: usize = WINDOW / 2 + 1;

/// What sound is turned into: of each frame the power in each band, as logarithms within 8 decades of the loudest, scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogMel {
    /// Bands.
    pub bands: usize,
    /// (frames, bands)
    pub values: Vec<f32>,
}

impl LogMel {
    /// Frames of 10 milliseconds.
    pub fn frames(&self) -> usize {
        self.values.len().checked_div(self.bands).unwrap_or(0)
    }

    /// Of sound in one channel at [`SAMPLE_RATE`], with samples from -1 to 1; it is cut off, or filled up with silence, to
    /// `frames`.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for no or more than 128 bands, or no frames; [`ModelError::WrongInput`] for samples that
    /// are not finite; [`ModelError::Device`].
    pub fn of(samples: &[f32], bands: usize, frames: usize) -> Result<Self, ModelError> {
        check((1..=128).contains(&bands), "bands", bands, || "a whole number from 1 to 128".to_string())?;
        check((2..=1 << 20).contains(&frames), "frames", frames, || "a whole number from 2 to 1048576".to_string())?;
        if let Some(sample) = samples.iter().find(|sample| !sample.is_finite()) {
            let (found, expected) = (sample.to_string(), "finite numbers".to_string());
            return Err(ModelError::WrongInput { what: "samples", found, expected });
        }
        let device = Device::flex();
        let windows = Tensor::<2>::from_data(TensorData::new(windows(samples, frames), [frames, WINDOW]), &device);
        let waves = Tensor::<2>::from_data(TensorData::new(waves(), [2 * FREQUENCIES, WINDOW]), &device);
        let parts = danlu_ops::linear(windows, waves, None, Precision::F32);
        let squares = parts.square();
        let power = squares.clone().narrow(1, 0, FREQUENCIES) + squares.narrow(1, FREQUENCIES, FREQUENCIES);
        let filters = Tensor::<2>::from_data(TensorData::new(filters(bands), [bands, FREQUENCIES]), &device);
        let mut values = read(danlu_ops::linear(power, filters, None, Precision::F32))?;
        values.iter_mut().for_each(|x| *x = x.max(1e-10).log10());
        let floor = values.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)) - 8.0;
        values.iter_mut().for_each(|x| *x = (x.max(floor) + 4.0) / 4.0);
        Ok(LogMel { bands, values })
    }
}

/// The sound around each frame's middle under Hann's window; beyond both ends it goes on as its mirror image.
fn windows(samples: &[f32], frames: usize) -> Vec<f32> {
    let length = (frames * HOP) as i64;
    let window: Vec<f32> = (0..WINDOW).map(|i| (0.5 - 0.5 * (TAU * i as f64 / WINDOW as f64).cos()) as f32).collect();
    let at = |position: i64| {
        let mirrored = if position < 0 { -position } else { position };
        let mirrored = if mirrored >= length { 2 * (length - 1) - mirrored } else { mirrored };
        // Filled up with silence before it is mirrored.
        usize::try_from(mirrored).ok().and_then(|i| samples.get(i)).copied().unwrap_or(0.0)
    };
    let frame = |f: usize| {
        let first = (f * HOP) as i64 - (WINDOW / 2) as i64;
        window.iter().enumerate().map(move |(i, w)| w * at(first + i as i64))
    };
    (0..frames).flat_map(frame).collect()
}

/// Cosines, then sines, of every frequency, (2 * FREQUENCIES, WINDOW).
fn waves() -> Vec<f32> {
    let wave = |f: fn(f64) -> f64, k: usize| {
        // The product modulo the window keeps the angle exact.
        (0..WINDOW).map(move |i| f(TAU * (k * i % WINDOW) as f64 / WINDOW as f64) as f32)
    };
    let all = |f: fn(f64) -> f64| (0..FREQUENCIES).flat_map(move |k| wave(f, k));
    all(f64::cos).chain(all(f64::sin)).collect()
}

/// Slaney's scale: even up to 1000 Hz, logarithmic above.
fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
}

/// The other way.
fn mel(hertz: f64) -> f64 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

/// Overlapping triangles of equal area, evenly spread over Slaney's scale, (bands, FREQUENCIES).
fn filters(bands: usize) -> Vec<f32> {
    let top = SAMPLE_RATE as f64 / 2.0;
    let corner = |i: usize| hertz(mel(top) * i as f64 / (bands + 1) as f64);
    let band = |b: usize| {
        let (low, middle, high) = (corner(b), corner(b + 1), corner(b + 2));
        (0..FREQUENCIES).map(move |k| {
            let f = top * k as f64 / (FREQUENCIES - 1) as f64;
            let slopes = ((f - low) / (middle - low)).min((high - f) / (high - middle));
            (slopes.max(0.0) * 2.0 / (high - low)) as f32
        })
    };
    (0..bands).flat_map(band).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_lies_in_its_band_at_its_time() {
        let tone: Vec<f32> =
            (0..SAMPLE_RATE / 2).map(|i| (TAU * 440.0 * i as f64 / SAMPLE_RATE as f64).sin() as f32).collect();
        let seen = LogMel::of(&tone, 80, 100).unwrap();
        assert_eq!((seen.frames(), seen.bands), (100, 80));
        let loudest = |frame: usize| {
            let row = &seen.values[frame * 80..(frame + 1) * 80];
            (0..80).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()
        };
        let corner = |i: usize| hertz(mel(8000.0) * i as f64 / 81.0);
        let band = loudest(20);
        assert!(corner(band) < 440.0 && 440.0 < corner(band + 2), "band {band}");
        // Silence is at the floor, 8 decades below the loudest: 2 in the scaled values.
        let top = seen.values.iter().copied().fold(f32::MIN, f32::max);
        assert!((top - seen.values[80 * 80] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_heard_is_refused() {
        assert!(LogMel::of(&[0.0, f32::NAN], 80, 10).is_err());
        assert!(LogMel::of(&[0.0], 0, 10).is_err());
        assert!(LogMel::of(&[0.0], 80, 0).is_err());
        let silence = LogMel::of(&[], 80, 10).unwrap();
        assert!(silence.values.iter().all(|x| *x == -1.5));
    }

    #[test]
    fn filters_have_equal_areas() {
        let filters = filters(80);
        for band in filters.chunks(FREQUENCIES).skip(60) {
            // Hertz per step times the sum: about the area of a triangle that many frequencies lie in, 1.
            let area: f32 = band.iter().sum::<f32>() * 40.0;
            assert!((area - 1.0).abs() < 0.01, "{area}");
        }
    }
}
