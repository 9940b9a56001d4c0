//! Whether a run is at work at an address, for those who wait for its next job.

use std::time::{Duration, Instant};

use crate::claim::{Claim, Held};
use crate::job::{read_json, to_json};
use crate::{Bucket, WorkError};

const RUN: &str = "run.json";

/// A run that puts jobs below an address, one after another: for as long as this lives, more may come. A process that is
/// killed says nothing more; the run that goes on for it says so anew.
pub struct Presence(Option<Held>);

impl Presence {
    /// Shows a run, by a name of its own, to those who wait, with a sign of life every `interval`.
    pub fn begin(bucket: &Bucket, run: &str, interval: Duration) -> Result<Self, WorkError> {
        let sign = Claim::new(run);
        bucket.write(RUN, to_json(&sign))?;
        Ok(Self(Some(Held::keep(bucket.clone(), RUN.into(), 0, sign, interval))))
    }
}

impl Drop for Presence {
    /// Says that nothing more comes.
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.release();
        }
    }
}

/// What this process has seen of the run at an address, and since when.
#[derive(Debug, Default)]
pub struct RunWatch {
    seen: Option<(Claim, Instant)>,
}

impl RunWatch {
    /// Whether the run may put more jobs there: it has begun and not ended, and a sign of life is no older than `patience`,
    /// as far as this process has watched.
    ///
    /// To be asked before looking for jobs: what a run puts there, it puts there before it ends.
    pub fn expects_more(&mut self, bucket: &Bucket, patience: Duration) -> Result<bool, WorkError> {
        let Some(sign) = read_json::<Claim>(bucket, RUN)? else { return Ok(false) };
        let (now, released) = (Instant::now(), sign.released);
        let since = match &self.seen {
            Some((seen, since)) if *seen == sign => *since,
            _ => {
                self.seen = Some((sign, now));
                now
            }
        };
        Ok(!released && now.duration_since(since) < patience)
    }
}
