//! From one sample rate to another, by a windowed sinc as a bank of filters, one for each place between two samples
//! (Crochiere and Rabiner 1983, "Multirate Digital Signal Processing").

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 32.0;
/// What of the frequencies that both rates can have is kept; above, the filter falls off.
const KEPT: f64 = 0.94;
/// Kaiser's window with this parameter keeps everything else 90 decibels below.
const BETA: f64 = 9.0;
/// Rates whose filters would be more than these are refused.
const MOST_PHASES: u32 = 48_000;
const MOST_TAPS: usize = 1 << 14;

pub(super) struct Resampler {
    /// (phases, taps): of each place between two samples what each sample around it counts.
    filters: Vec<f32>,
    taps: usize,
    phases: u64,
    /// The step from one output to the next, in phases.
    step: u64,
    /// Samples that a filter still needs, the first of them being number `first - taps / 2` of the input.
    held: Vec<f32>,
    first: u64,
    seen: u64,
    made: u64,
}

impl Resampler {
    /// `None` for rates that are too far apart, or have too little in common.
    pub(super) fn new(from: u32, to: u32) -> Option<Self> {
        let common = gcd(from, to);
        let (phases, step) = (to / common, from / common);
        let cutoff = (f64::from(to) / f64::from(from)).min(1.0) * KEPT;
        let half = (CROSSINGS / cutoff).ceil() as usize;
        let taps = 2 * half;
        if phases > MOST_PHASES || taps > MOST_TAPS || phases as usize * taps > 1 << 24 {
            return None;
        }
        let filter = |phase: u32| {
            let place = f64::from(phase) / f64::from(phases);
            let weight = move |tap: usize| {
                let distance = tap as f64 - (half as f64 - 1.0) - place;
                cutoff * sinc(cutoff * distance) * kaiser(distance / half as f64)
            };
            let weights: Vec<f64> = (0..taps).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(move |weight| (weight / sum) as f32)
        };
        Some(Resampler {
            filters: (0..phases).flat_map(filter).collect(),
            taps,
            phases: u64::from(phases),
            step: u64::from(step),
            // Silence before the beginning.
            held: vec![0.0; half - 1],
            first: 0,
            seen: 0,
            made: 0,
        })
    }

    /// Adds to `out` what the samples so far tell.
    pub(super) fn take(&mut self, samples: impl Iterator<Item = f32>, out: &mut Vec<f32>) {
        let before = self.held.len();
        self.held.extend(samples);
        self.seen += (self.held.len() - before) as u64;
        self.run(u64::MAX, out);
    }

    /// Adds the rest: in all as many as last as long as the input.
    pub(super) fn finish(mut self, out: &mut Vec<f32>) {
        let all = (self.seen * self.phases).div_ceil(self.step);
        self.held.extend(std::iter::repeat_n(0.0, self.taps));
        self.run(all, out);
    }

    fn run(&mut self, most: u64, out: &mut Vec<f32>) {
        while self.made < most {
            let at = self.made * self.step;
            // The sample at or before the output's place, and the place behind it.
            let (sample, phase) = (at / self.phases, (at % self.phases) as usize);
            let start = (sample - self.first) as usize;
            let Some(window) = self.held.get(start..start + self.taps) else { break };
            let filter = &self.filters[phase * self.taps..(phase + 1) * self.taps];
            out.push(window.iter().zip(filter).map(|(x, weight)| x * weight).sum());
            self.made += 1;
        }
        let next = self.made * self.step / self.phases;
        let done = ((next - self.first) as usize).min(self.held.len());
        self.held.drain(..done);
        self.first += done as u64;
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-12 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Kaiser's window, over -1 to 1.
fn kaiser(x: f64) -> f64 {
    if x.abs() > 1.0 { 0.0 } else { bessel(BETA * (1.0 - x * x).sqrt()) / bessel(BETA) }
}

/// The modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-12 * sum {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Whatever the parts in which it comes.
    #[test]
    fn parts_make_the_same_whole() {
        let input: Vec<f32> = (0..5000).map(|i| ((i * i) % 97) as f32 / 97.0).collect();
        let run = |part: usize| {
            let (mut resampler, mut out) = (Resampler::new(44_100, 16_000).unwrap(), Vec::new());
            input.chunks(part).for_each(|part| resampler.take(part.iter().copied(), &mut out));
            resampler.finish(&mut out);
            out
        };
        let whole = run(5000);
        assert_eq!(whole.len(), (5000 * 160usize).div_ceil(441));
        assert!(run(1) == whole && run(333) == whole);
    }

    #[test]
    fn what_stays_the_same_stays_the_same() {
        let (mut resampler, mut out) = (Resampler::new(8_000, 16_000).unwrap(), Vec::new());
        resampler.take(std::iter::repeat_n(0.5, 1000), &mut out);
        resampler.finish(&mut out);
        assert_eq!(out.len(), 2000);
        assert!(out[200..1800].iter().all(|x| (x - 0.5).abs() < 1e-6));
    }

    #[test]
    fn rates_with_nothing_in_common_are_refused() {
        assert!(Resampler::new(4_294_967_291, 16_000).is_none());
        assert!(Resampler::new(1, 16_000).is_some());
        assert!(Resampler::new(15_999, 16_000).is_some());
    }
}
