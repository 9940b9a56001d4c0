//! Stages shared among machines: the run that wants it cuts a stage's documents in parts and puts them below an address, works
//! on them like everybody, and goes on alone when all are done; `danlu data work ADDRESS` helps from anywhere.
//!
//! ```text
//! ADDRESS/run.json   whether a run is at work that may put more there
//! ADDRESS/clean/     the job of cleaning, as the room `work` lays it out, with
//!           shared/  files that all parts need
//!           input/   the parts
//! ADDRESS/encode/    the job of encoding, likewise
//! ```
//!
//! What is the same for all jobs is here; what is done to a part and how the parts become one again is in `clean.rs` and
//! `encode.rs`.

mod clean;
mod encode;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use danlu_data::{ChatConfig, CleanConfig, ProgressFn};
use danlu_work::{Bucket, Job, JobSpec, Output, Presence, RunWatch, TaskSpec, WorkError, WorkOptions, WorkSummary};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::encode::Encoding;
use crate::PipelineError;
use crate::graph::{Decision, Stage};

pub(crate) use clean::clean;
pub(crate) use encode::encode;

/// The folder in a stage's work folder for what is on its way.
const PARTS: &str = "parts";
/// In it, the documents in parts, until they are in the store.
const INPUT: &str = "input";
/// In the store and in a worker's folder, the files that all parts need.
const SHARED: &str = "shared";

/// How a run shares its stages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share<'a> {
    /// A folder, or `s3://`, `gs://`, `az://`.
    pub address: &'a str,
    /// Bytes of text in one part.
    pub part_bytes: u64,
    /// A worker that shows no sign of life for so long is taken for dead.
    pub lease_seconds: f64,
}

/// A run that shares stages, for those who wait for its next job.
pub(crate) struct Host {
    presence: Option<Presence>,
    /// The last stage to share.
    last: Option<Stage>,
}

impl Host {
    pub(crate) fn begin(share: Option<Share<'_>>, decisions: &[(Stage, Decision)]) -> Result<Self, PipelineError> {
        let shared = decisions.iter().rfind(|(stage, decision)| {
            matches!(stage, Stage::Clean | Stage::Tokenizer) && matches!(decision, Decision::Run { .. })
        });
        let last = shared.map(|(stage, _)| *stage);
        let presence = match (share, last) {
            (Some(share), Some(_)) => {
                let interval = Duration::try_from_secs_f64(share.lease_seconds / 4.0).unwrap_or(Duration::MAX);
                Some(Presence::begin(&Bucket::open(share.address)?, &WorkOptions::new().worker, interval)?)
            }
            _ => None,
        };
        Ok(Self { presence, last })
    }

    /// A stage is done: after the last one to share, workers need not wait for more.
    pub(crate) fn done(&mut self, stage: Stage) {
        if self.last == Some(stage) {
            self.presence = None;
        }
    }
}

/// A stage that a run shares.
#[derive(Clone, Copy)]
pub(crate) struct Sharing<'a> {
    pub share: Share<'a>,
    pub stage: Stage,
    /// The stage's work folder.
    pub work: &'a Path,
    pub stop: &'a AtomicBool,
    pub progress: &'a ProgressFn<'a>,
}

/// What all tasks of a job share.
#[derive(Debug, Serialize, Deserialize)]
struct Shared {
    /// Another version might do it otherwise.
    danlu_version: String,
    settings: Settings,
    /// Files that all parts need.
    files: Vec<Stored>,
}

/// What is done to each part, and how.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Settings {
    /// With the paths of files as they are in the store.
    Clean(Box<CleanConfig>),
    Encode(ChatConfig),
}

impl Settings {
    /// The names of jobs, in the order in which a run comes to them.
    const KINDS: [&str; 2] = ["clean", "encode"];

    fn kind(&self) -> &'static str {
        let [clean, encode] = Self::KINDS;
        match self {
            Self::Clean(_) => clean,
            Self::Encode(_) => encode,
        }
    }
}

/// Settings with all that they need at hand.
enum Hands {
    Clean(Box<CleanConfig>),
    Encode(Box<Encoding>),
}

impl Hands {
    /// `folder` holds the files that all parts need, as they are in the store.
    fn open(settings: Settings, folder: &Path) -> Result<Self, PipelineError> {
        Ok(match settings {
            Settings::Clean(config) => Self::Clean(Box::new(config.relative_to(folder))),
            Settings::Encode(chat) => Self::Encode(Box::new(Encoding::open(chat, &folder.join(SHARED))?)),
        })
    }

    /// Makes the files of one part in `out`. What the run is told of it, and what people are.
    fn work(&self, documents: &Path, out: &Path, progress: &ProgressFn<'_>) -> Result<(Value, String), PipelineError> {
        match self {
            Self::Clean(config) => clean::part(config, documents, out, progress),
            Self::Encode(encoding) => encoding.part(documents, out, progress),
        }
    }
}

/// A file in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    name: String,
    hash: String,
}

impl Stored {
    fn new(name: String, path: &Path) -> Result<Self, PipelineError> {
        Ok(Self { name, hash: danlu_store::hash::of_file(path)?.to_string() })
    }
}

/// A file here and its name in the store.
type Named = (String, PathBuf);

impl Sharing<'_> {
    fn parts(&self) -> PathBuf {
        self.work.join(PARTS)
    }

    /// Removes what a killed process left.
    fn begin(&self) -> Result<(), PipelineError> {
        clear(self.work)?;
        Ok(make_folder(&self.parts())?)
    }

    /// The documents in parts, each with the name of its task.
    fn cut(&self, documents: &Path, name: &str) -> Result<Vec<Named>, PipelineError> {
        let folder = self.parts().join(INPUT).join(name);
        make_folder(&folder)?;
        let paths = danlu_data::split_documents(documents, self.share.part_bytes, &folder)?;
        Ok(paths.into_iter().enumerate().map(|(number, path)| (format!("{name}-{number:05}"), path)).collect())
    }

    /// Has a job done, with whoever else works at the address: for each part, in order, the folder of its files and what is told
    /// of it.
    fn carry_out<T: DeserializeOwned>(
        &self,
        settings: Settings,
        files: Vec<Named>,
        parts: Vec<Named>,
    ) -> Result<Vec<(PathBuf, T)>, PipelineError> {
        let job = self.create(settings, files, parts)?;
        help(&job, &WorkOptions::new(), &self.parts(), self.stop, self.progress, &|_| {})?;
        if self.stop.load(Ordering::Relaxed) {
            let detail = format!("what is done at {} stays done", job.bucket().address());
            return Err(PipelineError::Interrupted { stage: self.stage, detail });
        }
        fetch(&job, &self.parts())
    }

    /// Puts everything that workers need into the store, the job itself last. A job that is there already goes on, if it is the
    /// same.
    fn create(&self, settings: Settings, files: Vec<Named>, parts: Vec<Named>) -> Result<Job, PipelineError> {
        let bucket = Bucket::open(self.share.address)?.below(settings.kind());
        let (mut uploads, mut tasks, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for (name, path) in files {
            let file = Stored::new(format!("{SHARED}/{name}"), &path)?;
            uploads.push((path, file.name.clone()));
            stored.push(file);
        }
        for (name, path) in parts {
            let input = Stored::new(format!("input/{name}.parquet"), &path)?;
            tasks.push(TaskSpec { name, input: json(&input)? });
            uploads.push((path, input.name));
        }
        let kind = settings.kind().into();
        let shared = Shared { danlu_version: env!("CARGO_PKG_VERSION").into(), settings, files: stored };
        let spec = JobSpec { kind, config: json(&shared)?, tasks, lease_seconds: self.share.lease_seconds };
        match Job::open(bucket.clone()) {
            Err(WorkError::NoJob { .. }) => {
                for (path, name) in &uploads {
                    bucket.upload(path, name)?;
                }
            }
            Ok(_) => {} // `create` says whether it is this one
            Err(error) => return Err(error.into()),
        }
        let job = Job::create(bucket, spec)?;
        remove(&self.parts().join(INPUT))?;
        Ok(job)
    }
}

/// Works on the jobs below `address`, those that come later too, until the run says that there are no more, or shows no sign of
/// life for `idle`, or `stop` is set; tells of each part. What is on its way lies in `folder`.
///
/// # Errors
/// [`WorkError::NoJob`] where there is neither a job nor a run that is at work, and a job of another version of danlu.
pub fn work(
    address: &str,
    idle: Duration,
    options: &WorkOptions,
    folder: &Path,
    stop: &AtomicBool,
    tell: &dyn Fn(&str),
) -> Result<WorkSummary, PipelineError> {
    let quiet = |_: danlu_data::Progress<'_>| {};
    let no_job = || WorkError::NoJob { address: address.into() };
    let bucket = Bucket::find(address)?.ok_or_else(no_job)?;
    let (mut run, mut total, mut worked) = (RunWatch::default(), WorkSummary::default(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        // Asked before the jobs: what a run puts there, it puts there before it ends.
        let more = run.expects_more(&bucket, idle)?;
        match next_job(&bucket, &worked)? {
            Some((kind, job)) => {
                total.grow(&help(&job, options, &folder.join(kind), stop, &quiet, tell)?);
                worked.push(kind);
            }
            None if more => std::thread::sleep(options.poll),
            None if worked.is_empty() => return Err(no_job().into()),
            None => break,
        }
    }
    Ok(total)
}

/// The first job that is there and not among `worked`.
fn next_job(bucket: &Bucket, worked: &[&'static str]) -> Result<Option<(&'static str, Job)>, WorkError> {
    for kind in Settings::KINDS {
        if worked.contains(&kind) {
            continue;
        }
        match Job::open(bucket.below(kind)) {
            Err(WorkError::NoJob { .. }) => {}
            job => return job.map(|job| Some((kind, job))),
        }
    }
    Ok(None)
}

/// Works on one job until all its tasks are done or `stop` is set.
fn help(
    job: &Job,
    options: &WorkOptions,
    folder: &Path,
    stop: &AtomicBool,
    progress: &ProgressFn<'_>,
    tell: &dyn Fn(&str),
) -> Result<WorkSummary, PipelineError> {
    let shared = shared_of(job)?;
    make_folder(&folder.join(SHARED))?;
    for file in &shared.files {
        job.bucket().download(&file.name, &folder.join(&file.name), &file.hash)?;
    }
    let hands = Hands::open(shared.settings, folder)?;
    let mut one = |task: &TaskSpec| {
        let made = work_on(job.bucket(), task, &hands, folder, progress);
        match &made {
            Ok((_, left)) => tell(&format!("{}: {left}", task.name)),
            Err(error) => tell(&format!("{}: {error}", task.name)),
        }
        let made = made.map(|(output, _)| output);
        made.map_err(|error| error.hint().map_or(error.to_string(), |hint| format!("{error} (hint: {hint})")))
    };
    Ok(danlu_work::work(job, options, stop, &mut one)?)
}

/// What the tasks of a job share, if this danlu made it.
fn shared_of(job: &Job) -> Result<Shared, PipelineError> {
    let not_ours = |message: String| PipelineError::ForeignJob { address: job.bucket().address().into(), message };
    let (config, ours) = (&job.spec().config, env!("CARGO_PKG_VERSION"));
    let theirs = config["danlu_version"].as_str().unwrap_or_default();
    if theirs != ours {
        return Err(not_ours(format!("it is of danlu {theirs}, and this is danlu {ours}")));
    }
    serde_json::from_value(config.clone()).map_err(|e| not_ours(format!("its settings: {e}")))
}

/// Does one part in a folder of its own.
fn work_on(
    bucket: &Bucket,
    task: &TaskSpec,
    hands: &Hands,
    folder: &Path,
    progress: &ProgressFn<'_>,
) -> Result<(Output, String), PipelineError> {
    let input: Stored = serde_json::from_value(task.input.clone())
        .map_err(|e| PipelineError::Artifact { path: task.name.clone().into(), message: e.to_string() })?;
    let out = folder.join(format!("{}.work", task.name));
    remove(&out)?;
    make_folder(&out)?;
    let documents = out.join("input.parquet");
    bucket.download(&input.name, &documents, &input.hash)?;
    let (summary, left) = hands.work(&documents, &out, progress)?;
    std::fs::remove_file(&documents).map_err(|source| io("remove", &documents, source))?;
    Ok((Output { files: files_of(&out)?, summary }, left))
}

/// Brings the results of all tasks here.
fn fetch<T: DeserializeOwned>(job: &Job, folder: &Path) -> Result<Vec<(PathBuf, T)>, PipelineError> {
    let mut parts = Vec::new();
    for (task, done) in job.results()? {
        let place = folder.join(&task.name);
        make_folder(&place)?;
        for file in &done.files {
            job.bucket().download(&file.object, &place.join(&file.name), &file.hash)?;
        }
        let summary = serde_json::from_value(done.summary).map_err(|e| WorkError::Damaged {
            name: format!("done/{}.json", task.name),
            address: job.bucket().address().into(),
            message: e.to_string(),
        })?;
        parts.push((place, summary));
    }
    Ok(parts)
}

/// Removes what a shared stage that was stopped has left in its work folder.
pub(crate) fn clear(work: &Path) -> Result<(), PipelineError> {
    Ok(remove(&work.join(PARTS))?)
}

/// The files in a folder by their names, in order.
fn files_of(folder: &Path) -> Result<Vec<Named>, WorkError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| io("read", folder, source))? {
        let path = entry.map_err(|source| io("read", folder, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, path));
    }
    files.sort();
    Ok(files)
}

fn json(value: &impl Serialize) -> Result<Value, PipelineError> {
    serde_json::to_value(value).map_err(|e| PipelineError::Artifact { path: "job.json".into(), message: e.to_string() })
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> WorkError {
    WorkError::Io { action, path: PathBuf::from(path), source }
}

fn make_folder(path: &Path) -> Result<(), WorkError> {
    std::fs::create_dir_all(path).map_err(|source| io("create", path, source))
}

fn remove(path: &Path) -> Result<(), WorkError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path, source)),
        _ => Ok(()),
    }
}
