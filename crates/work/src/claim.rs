//! Who works on what: claims, their signs of life, and taking over from the dead.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::job::{Job, read_json, to_json};
use crate::{Bucket, WorkError};

/// The content of `claims/TASK/NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) worker: String,
    /// Goes up as long as the worker lives.
    pub(crate) beat: u64,
    /// The worker gave the task back.
    pub(crate) released: bool,
}

impl Claim {
    pub(crate) fn new(worker: &str) -> Self {
        Self { worker: worker.into(), beat: 0, released: false }
    }
}

/// What this worker has seen of others' claims: when each was first seen in its present state.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: HashMap<String, (u32, u64, Instant)>,
}

impl Watch {
    /// Tries to claim a task whose newest claim has the number `newest`.
    pub(crate) fn claim(
        &mut self,
        job: &Job,
        task: &str,
        newest: Option<u32>,
        worker: &str,
    ) -> Result<Option<Held>, WorkError> {
        let bucket = job.bucket();
        let number = match newest {
            None => 0,
            Some(newest) if self.is_free(job, task, newest)? => newest + 1,
            Some(_) => return Ok(None),
        };
        let (name, claim) = (claim_name(task, number), Claim::new(worker));
        if !bucket.create(&name, to_json(&claim))? {
            return Ok(None); // somebody was faster
        }
        let interval = Duration::from_secs_f64(job.spec().lease_seconds / 4.0);
        Ok(Some(Held::keep(bucket.clone(), name, number, claim, interval)))
    }

    /// Whether a claim was given back, or has not changed for a whole lease under this worker's eyes.
    fn is_free(&mut self, job: &Job, task: &str, number: u32) -> Result<bool, WorkError> {
        let claim: Option<Claim> = read_json(job.bucket(), &claim_name(task, number))?;
        let Some(claim) = claim else { return Ok(false) };
        let now = Instant::now();
        let seen = self.seen.entry(task.into()).or_insert((number, claim.beat, now));
        if (seen.0, seen.1) != (number, claim.beat) {
            *seen = (number, claim.beat, now);
        }
        Ok(claim.released || now.duration_since(seen.2).as_secs_f64() > job.spec().lease_seconds)
    }
}

fn claim_name(task: &str, number: u32) -> String {
    format!("claims/{task}/{number:06}")
}

/// A claim of this worker, kept alive until it is dropped.
pub(crate) struct Held {
    pub(crate) number: u32,
    end: Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    pub(crate) fn keep(bucket: Bucket, name: String, number: u32, mut claim: Claim, interval: Duration) -> Self {
        let (end, ended) = channel::<bool>();
        let thread = std::thread::spawn(move || {
            loop {
                let release = match ended.recv_timeout(interval) {
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(true) => true,
                    Ok(false) | Err(RecvTimeoutError::Disconnected) => return,
                };
                claim = Claim { beat: claim.beat + 1, released: release, ..claim };
                // A missed sign of life is no harm: at worst another worker does the same work.
                if let Err(error) = bucket.write(&name, to_json(&claim)) {
                    tracing::warn!("{name}: {error}");
                }
                if release {
                    return;
                }
            }
        });
        Self { number, end, thread: Some(thread) }
    }

    /// Gives the task back at once, so that others need not wait for the lease.
    pub(crate) fn release(self) {
        let _ = self.end.send(true);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.end.send(false);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
