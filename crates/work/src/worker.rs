use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claim::{Held, Watch};
use crate::job::{done_name, read_json, to_json};
use crate::{DoneFile, DoneTask, Job, TaskSpec, WorkError};

/// What a task leaves.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Local files by the names that they shall have.
    pub files: Vec<(String, PathBuf)>,
    pub summary: Value,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkOptions {
    /// Names this worker among all: host, process and a random part.
    pub worker: String,
    /// How long to wait when all open tasks are claimed by others.
    pub poll: Duration,
    /// A task that has failed so often, anywhere, ends the work.
    pub max_failures: usize,
}

impl WorkOptions {
    /// For this process.
    pub fn new() -> Self {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mixed = blake3::hash(format!("{} {:?}", std::process::id(), time).as_bytes()).to_hex();
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "host".into());
        let legal: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
        let worker = format!("{legal}-{}-{}", std::process::id(), &mixed[..8]);
        Self { worker, poll: Duration::from_secs(2), max_failures: 3 }
    }
}

impl Default for WorkOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What one worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkSummary {
    /// Tasks whose results by this worker count.
    pub done: usize,
    /// Tasks that it did, but another was first to commit.
    pub beaten: usize,
    pub failed: usize,
    /// Tasks taken over from workers that showed no sign of life.
    pub taken_over: usize,
}

impl WorkSummary {
    /// Adds what was done of another job.
    pub fn grow(&mut self, other: &Self) {
        self.done += other.done;
        self.beaten += other.beaten;
        self.failed += other.failed;
        self.taken_over += other.taken_over;
    }
}

/// The content of `failures/TASK/WORKER-NUMBER.json`.
#[derive(Debug, Serialize, Deserialize)]
struct FailedTask {
    worker: String,
    message: String,
}

/// Works on open tasks until all are done or `stop` is set. `task` makes one task's files; its error fails the task, not
/// the worker.
///
/// # Errors
/// What the store reports, and [`WorkError::TaskFailed`] when a task fails again and again.
pub fn work(
    job: &Job,
    options: &WorkOptions,
    stop: &AtomicBool,
    task: &mut dyn FnMut(&TaskSpec) -> Result<Output, String>,
) -> Result<WorkSummary, WorkError> {
    let mut worker = Worker { job, options, watch: Watch::default(), summary: WorkSummary::default() };
    while !stop.load(Ordering::Relaxed) {
        match worker.next()? {
            Next::Do(spec, held) => worker.run(spec, held, task)?,
            Next::Wait => std::thread::sleep(options.poll),
            Next::Finished => break,
        }
    }
    Ok(worker.summary)
}

enum Next<'a> {
    Do(&'a TaskSpec, Held),
    Wait,
    Finished,
}

struct Worker<'a> {
    job: &'a Job,
    options: &'a WorkOptions,
    watch: Watch,
    summary: WorkSummary,
}

impl<'a> Worker<'a> {
    /// The first open task that can be claimed. Each worker begins at another place, so that they seldom meet.
    fn next(&mut self) -> Result<Next<'a>, WorkError> {
        let (done, claims) = (self.job.done()?, self.job.claims()?);
        let tasks = &self.job.spec().tasks;
        let first = blake3::hash(self.options.worker.as_bytes()).as_bytes()[0] as usize % tasks.len().max(1);
        let mut open = false;
        for task in tasks[first..].iter().chain(&tasks[..first]).filter(|task| !done.contains(&task.name)) {
            open = true;
            let newest = claims.get(&task.name).copied();
            if let Some(held) = self.watch.claim(self.job, &task.name, newest, &self.options.worker)? {
                self.summary.taken_over += usize::from(newest.is_some());
                return Ok(Next::Do(task, held));
            }
        }
        Ok(if open { Next::Wait } else { Next::Finished })
    }

    fn run(
        &mut self,
        spec: &TaskSpec,
        held: Held,
        task: &mut dyn FnMut(&TaskSpec) -> Result<Output, String>,
    ) -> Result<(), WorkError> {
        let start = Instant::now();
        let place = format!("{}-{:06}", self.options.worker, held.number);
        match task(spec) {
            Ok(output) => self.commit(spec, &place, output, start.elapsed().as_secs_f64()),
            Err(message) => {
                held.release();
                self.fail(spec, &place, message)
            }
        }
    }

    fn commit(&mut self, spec: &TaskSpec, place: &str, output: Output, seconds: f64) -> Result<(), WorkError> {
        let bucket = self.job.bucket();
        let mut files = Vec::new();
        for (name, path) in output.files {
            let object = format!("results/{}/{place}/{name}", spec.name);
            let (bytes, hash) = bucket.upload(&path, &object)?;
            files.push(DoneFile { name, object, bytes, hash });
        }
        let done = DoneTask { worker: self.options.worker.clone(), seconds, summary: output.summary, files };
        if bucket.create(&done_name(&spec.name), to_json(&done))? {
            self.summary.done += 1;
            return Ok(());
        }
        self.summary.beaten += 1;
        done.files.iter().try_for_each(|file| bucket.delete(&file.object))
    }

    fn fail(&mut self, spec: &TaskSpec, place: &str, message: String) -> Result<(), WorkError> {
        self.summary.failed += 1;
        tracing::warn!("task {}: {message}", spec.name);
        let bucket = self.job.bucket();
        let failed = FailedTask { worker: self.options.worker.clone(), message };
        bucket.write(&format!("failures/{}/{place}.json", spec.name), to_json(&failed))?;
        let all = bucket.list(&format!("failures/{}", spec.name))?;
        if all.len() < self.options.max_failures {
            return Ok(());
        }
        let last: Option<FailedTask> = all.last().map(|name| read_json(bucket, name)).transpose()?.flatten();
        let FailedTask { worker, message } = last.unwrap_or(failed);
        Err(WorkError::TaskFailed { task: spec.name.clone(), failures: all.len(), worker, message })
    }
}
