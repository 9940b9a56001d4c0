use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Bucket, WorkError};

const JOB: &str = "job.json";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What kind of work it is, for those who do it: `clean`, `encode`.
    pub kind: String,
    /// What all tasks share.
    pub config: Value,
    pub tasks: Vec<TaskSpec>,
    /// A claim without a sign of life for so long may be taken over.
    pub lease_seconds: f64,
}

/// One piece of it, independent of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Unique in the job; letters, digits, `-` and `_`.
    pub name: String,
    pub input: Value,
}

/// What one task left; `done/TASK.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoneTask {
    pub worker: String,
    pub seconds: f64,
    pub summary: Value,
    pub files: Vec<DoneFile>,
}

/// One file of a task's results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneFile {
    /// As the task called it.
    pub name: String,
    /// Where it lies in the store.
    pub object: String,
    pub bytes: u64,
    /// BLAKE3 in hex.
    pub hash: String,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    pub tasks: usize,
    pub done: usize,
    /// Not done, but claimed at least once; whether its worker lives is seen only by waiting.
    pub claimed: usize,
    /// Failed attempts.
    pub failures: usize,
}

/// A job in its store.
#[derive(Clone, Debug)]
pub struct Job {
    bucket: Bucket,
    spec: JobSpec,
}

impl Job {
    /// Puts a job into the store. One that is there already goes on if it is the same.
    ///
    /// # Errors
    /// [`WorkError::AnotherJob`] if it is not.
    pub fn create(bucket: Bucket, spec: JobSpec) -> Result<Self, WorkError> {
        if bucket.create(JOB, to_json(&spec))? {
            return Ok(Self { bucket, spec });
        }
        let found = Self::open(bucket)?;
        if found.spec == spec {
            return Ok(found);
        }
        let describe = |spec: &JobSpec| format!("{} with {} tasks", spec.kind, spec.tasks.len());
        let (found_text, wanted) = (describe(&found.spec), describe(&spec));
        Err(WorkError::AnotherJob { address: found.bucket.address().into(), found: found_text, wanted })
    }

    pub fn open(bucket: Bucket) -> Result<Self, WorkError> {
        match read_json(&bucket, JOB)? {
            Some(spec) => Ok(Self { bucket, spec }),
            None => Err(WorkError::NoJob { address: bucket.address().into() }),
        }
    }

    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The tasks that are done, and what they left.
    ///
    /// # Errors
    /// [`WorkError::Unfinished`] while any is not.
    pub fn results(&self) -> Result<Vec<(TaskSpec, DoneTask)>, WorkError> {
        let done = self.done()?;
        let open = self.spec.tasks.iter().filter(|task| !done.contains(&task.name)).count();
        if open > 0 {
            return Err(WorkError::Unfinished { open, tasks: self.spec.tasks.len() });
        }
        let read = |task: &TaskSpec| {
            let name = done_name(&task.name);
            let missing = || WorkError::NoJob { address: self.bucket.address().into() };
            Ok((task.clone(), read_json(&self.bucket, &name)?.ok_or_else(missing)?))
        };
        self.spec.tasks.iter().map(read).collect()
    }

    pub fn status(&self) -> Result<JobStatus, WorkError> {
        let done = self.done()?;
        let claims = self.claims()?;
        Ok(JobStatus {
            tasks: self.spec.tasks.len(),
            done: done.len(),
            claimed: claims.keys().filter(|task| !done.contains(*task)).count(),
            failures: self.bucket.list("failures")?.len(),
        })
    }

    /// Names of the tasks that are done.
    pub(crate) fn done(&self) -> Result<std::collections::BTreeSet<String>, WorkError> {
        let names = self.bucket.list("done")?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix("done/")?.strip_suffix(".json"))
            .map(String::from)
            .collect())
    }

    /// The number of the newest claim of each task that has one.
    pub(crate) fn claims(&self) -> Result<BTreeMap<String, u32>, WorkError> {
        let mut newest = BTreeMap::new();
        for name in self.bucket.list("claims")? {
            let Some((task, number)) = name.strip_prefix("claims/").and_then(|name| name.split_once('/')) else {
                continue;
            };
            if let Ok(number) = number.parse::<u32>() {
                let entry = newest.entry(task.to_owned()).or_insert(number);
                *entry = number.max(*entry);
            }
        }
        Ok(newest)
    }
}

pub(crate) fn done_name(task: &str) -> String {
    format!("done/{task}.json")
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Plain structs with string keys always have a JSON form.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

pub(crate) fn read_json<T: DeserializeOwned>(bucket: &Bucket, name: &str) -> Result<Option<T>, WorkError> {
    let Some(bytes) = bucket.read(name)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| WorkError::Damaged {
        name: name.into(),
        address: bucket.address().into(),
        message: e.to_string(),
    })
}
