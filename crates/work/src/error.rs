use crate::job::done_name;

/// What can go wrong between a job and its workers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    #[error("{address}: not an address of a store: {message}")]
    BadAddress { address: String, message: String },
    #[error("{address}: this danlu was built without {scheme}:// stores")]
    NoSuchStore { address: String, scheme: String },
    #[error("cannot {action} {name} in {address}")]
    Store { action: &'static str, name: String, address: String, source: Box<object_store::Error> },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("{address} holds no job")]
    NoJob { address: String },
    #[error("{address} holds another job ({found}, not {wanted})")]
    AnotherJob { address: String, found: String, wanted: String },
    #[error("{name} in {address} is damaged: {message}")]
    Damaged { name: String, address: String, message: String },
    #[error("task {task} failed {failures} times; the last time on {worker}: {message}")]
    TaskFailed { task: String, failures: usize, worker: String, message: String },
    #[error("{open} of {tasks} tasks are not done")]
    Unfinished { open: usize, tasks: usize },
}

impl WorkError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadAddress { .. } => {
                "give a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX".into()
            }
            Self::NoSuchStore { .. } => "build danlu with `--features object-store`".into(),
            Self::Store { source, .. } if matches!(**source, object_store::Error::NotFound { .. }) => {
                "check the address; a bucket must exist beforehand".into()
            }
            Self::Store { .. } => {
                "check the address and the credentials in the environment; what is done stays done".into()
            }
            Self::Io { .. } => return None,
            Self::NoJob { .. } => "make the job first, or check the address".into(),
            Self::AnotherJob { .. } => "give each job an address of its own".into(),
            Self::Damaged { name, .. } => {
                // A result counts for as long as what is done names it.
                let task = name.strip_prefix("results/").and_then(|rest| rest.split_once('/'));
                let counts = task.map_or(name.clone(), |(task, _)| done_name(task));
                format!("delete {counts} there and run a worker again: it is made anew")
            }
            Self::TaskFailed { .. } => "mend the cause, delete the job's failures/ and start workers again".into(),
            Self::Unfinished { .. } => "start a worker, or wait for those that run".into(),
        })
    }
}
