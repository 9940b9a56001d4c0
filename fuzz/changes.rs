//! Changes to sound files, the same in every run: what stands in for a fuzzer where there is none.

use std::time::{Duration, Instant};

/// xorshift64*: the same changes in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end.max(1)
    }

    /// Bytes set, numbers made extreme, stretches doubled, moved and taken away.
    pub fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let length = self.below(1 + 16.min(bytes.len() - at));
        match self.below(7) {
            0 => bytes[at] = self.below(256) as u8,
            1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at..at + length].fill([0, 0xff, 0x7f, 0x80][self.below(4)]),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => bytes.truncate(at.max(1)),
            _ => {
                let from = self.below(bytes.len() - length);
                bytes.copy_within(from..from + length, at);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

/// Whether a target is to run: each, or those of the list `DANLU_FUZZ_TARGETS` (`"jsonl,csv"`).
fn is_wanted(name: &str) -> bool {
    std::env::var("DANLU_FUZZ_TARGETS").map_or(true, |wanted| wanted.split(',').any(|wanted| wanted.trim() == name))
}

/// Runs a target on changed seeds: `runs` of them, or for as many seconds as `DANLU_FUZZ_SECONDS` says.
///
/// * `number`: of the target, which decides about its changes
pub fn run(number: usize, name: &str, target: fn(&[u8]), seeds: &[Vec<u8>], runs: u64) {
    if !is_wanted(name) {
        return;
    }
    let seconds = std::env::var("DANLU_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let mut random = Random(0x9E37_79B9 + number as u64);
    let (begin, mut done) = (Instant::now(), 0u64);
    while seconds.map_or(done < runs, |seconds| begin.elapsed() < Duration::from_secs(seconds)) {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        (0..=random.below(6)).for_each(|_| random.change(&mut bytes));
        if seconds.is_some() {
            // What ends the process is found here.
            std::fs::write(std::env::temp_dir().join(format!("danlu-fuzz-{name}-last")), &bytes)
                .expect("a temporary file");
        }
        target(&bytes);
        done += 1;
    }
    eprintln!("{name}: {done} changed files");
}
