//! Cleaning shared among machines: the run that wants it puts the collected documents in parts at an address, works on
//! them like everybody, and goes on alone when all are done; `danlu data work ADDRESS` helps from anywhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use danlu_data::{CleanConfig, Dedup, Funnel, Part, ProgressFn, SplitConfig};
use danlu_report::number::grouped;
use danlu_work::{Bucket, Job, JobSpec, Output, TaskSpec, WorkError, WorkOptions, WorkSummary};
use serde::{Deserialize, Serialize};

use crate::PipelineError;

const KIND: &str = "clean";
/// How a run shares its cleaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share<'a> {
    /// A folder, or `s3://`, `gs://`, `az://`.
    pub address: &'a str,
    /// Bytes of text in one part.
    pub part_bytes: u64,
    /// A worker that shows no sign of life for so long is taken for dead.
    pub lease_seconds: f64,
}

/// What all tasks of a job share.
#[derive(Debug, Serialize, Deserialize)]
struct Shared {
    /// Another version might clean otherwise.
    danlu_version: String,
    clean: CleanConfig,
    /// Files that the rules need, by the paths that `clean` has for them.
    files: Vec<Stored>,
}

/// A file in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    name: String,
    hash: String,
}

/// Cleans `collected` as [`danlu_data::clean`] does, with whoever else works at the shared address. `work` holds what is on its
/// way and, in the end, the result.
pub(crate) fn clean(
    collected: &Path,
    config: &CleanConfig,
    split: &SplitConfig,
    share: Share<'_>,
    work: &Path,
    stop: &AtomicBool,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, PipelineError> {
    let parts = work.join("parts");
    let job = create(collected, config, share, &parts)?;
    help(&job, &WorkOptions::new(), &parts, stop, progress, &|_| {})?;
    if stop.load(Ordering::Relaxed) {
        let detail = format!("what is done at {} stays done", share.address);
        return Err(PipelineError::Interrupted { stage: crate::Stage::Clean, detail });
    }
    let parts_done = fetch(&job, &parts)?;
    let funnel = danlu_data::clean_parts(&parts_done, config, split, work, progress)?;
    remove(&parts)?;
    Ok(funnel)
}

/// Works on the job at `address` until it is done or `stop` is set, and tells of each part. What is on its way lies in
/// `folder`.
///
/// # Errors
/// [`WorkError::NoJob`], and a job of another version of danlu.
pub fn work(
    address: &str,
    options: &WorkOptions,
    folder: &Path,
    stop: &AtomicBool,
    tell: &dyn Fn(&str),
) -> Result<WorkSummary, PipelineError> {
    let quiet = |_: danlu_data::Progress<'_>| {};
    help(&Job::open(Bucket::open(address)?)?, options, folder, stop, &quiet, tell)
}

/// Cuts the documents and puts everything that workers need into the store, the job itself last. A job that is there
/// already goes on, if it is the same.
fn create(collected: &Path, config: &CleanConfig, share: Share<'_>, parts: &Path) -> Result<Job, PipelineError> {
    let bucket = Bucket::open(share.address)?;
    remove(parts)?; // of a process that was killed
    make_folder(parts)?;
    // Duplicates and evaluation sets are looked for in the end, by the run itself.
    let mut clean = CleanConfig { dedup: Dedup::Exact(false), decontaminate: None, ..config.clone() };
    let models = [
        ("shared/perplexity", &mut clean.models.perplexity),
        ("shared/quality", &mut clean.models.quality),
        ("shared/toxicity", &mut clean.models.toxicity),
    ];
    let mut uploads: Vec<(PathBuf, Stored)> = Vec::new();
    for (name, path) in models {
        if let Some(path) = path {
            uploads.push((path.clone(), stored(path, name)?));
            *path = name.into();
        }
    }
    let files = uploads.iter().map(|(_, file)| file.clone()).collect();
    let mut tasks = Vec::new();
    for (number, path) in danlu_data::split_documents(collected, share.part_bytes, parts)?.into_iter().enumerate() {
        let name = format!("part-{number:05}");
        let input = stored(&path, &format!("input/{name}.parquet"))?;
        tasks.push(TaskSpec { name, input: json(&input)? });
        uploads.push((path, input));
    }
    let shared = Shared { danlu_version: env!("CARGO_PKG_VERSION").into(), clean, files };
    let spec = JobSpec { kind: KIND.into(), config: json(&shared)?, tasks, lease_seconds: share.lease_seconds };
    match Job::open(bucket.clone()) {
        Err(WorkError::NoJob { .. }) => {
            for (path, file) in &uploads {
                bucket.upload(path, &file.name)?;
            }
        }
        Ok(_) => {} // `create` says whether it is this one
        Err(error) => return Err(error.into()),
    }
    Ok(Job::create(bucket, spec)?)
}

/// A file as it will be called in the store.
fn stored(path: &Path, name: &str) -> Result<Stored, PipelineError> {
    Ok(Stored { name: name.into(), hash: danlu_store::hash::of_file(path)?.to_string() })
}

fn help(
    job: &Job,
    options: &WorkOptions,
    folder: &Path,
    stop: &AtomicBool,
    progress: &ProgressFn<'_>,
    tell: &dyn Fn(&str),
) -> Result<WorkSummary, PipelineError> {
    let ours = env!("CARGO_PKG_VERSION");
    let not_ours = |message: String| PipelineError::ForeignJob { address: job.bucket().address().into(), message };
    if job.spec().kind != KIND {
        return Err(not_ours(format!("it is of the kind {:?}, which this danlu does not know", job.spec().kind)));
    }
    let shared: Shared =
        serde_json::from_value(job.spec().config.clone()).map_err(|e| not_ours(format!("its settings: {e}")))?;
    if shared.danlu_version != ours {
        return Err(not_ours(format!("it is of danlu {}, and this is danlu {ours}", shared.danlu_version)));
    }
    make_folder(&folder.join("shared"))?;
    for file in &shared.files {
        job.bucket().download(&file.name, &folder.join(&file.name), &file.hash)?;
    }
    let clean = shared.clean.relative_to(folder);
    let mut one = |task: &TaskSpec| {
        let made = clean_task(job.bucket(), task, &clean, folder, progress);
        match &made {
            Ok((_, left)) => tell(&format!("{}: {left}", task.name)),
            Err(error) => tell(&format!("{}: {error}", task.name)),
        }
        let made = made.map(|(output, _)| output);
        made.map_err(|error| error.hint().map_or(error.to_string(), |hint| format!("{error} (hint: {hint})")))
    };
    Ok(danlu_work::work(job, options, stop, &mut one)?)
}

/// Cleans one part into a folder of its own, and says what is left of it.
fn clean_task(
    bucket: &Bucket,
    task: &TaskSpec,
    config: &CleanConfig,
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
    let summary = danlu_data::clean_part(&documents, config, &out, progress)?;
    std::fs::remove_file(&documents).map_err(|source| io("remove", &documents, source))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&out).map_err(|source| io("read", &out, source))? {
        let path = entry.map_err(|source| io("read", &out, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, path));
    }
    files.sort();
    let kept = summary.steps.last().map_or(summary.collected, |step| step.kept);
    let left = format!("{} of {} documents kept", grouped(kept.documents), grouped(summary.collected.documents));
    Ok((Output { files, summary: json(&summary)? }, left))
}

/// Brings the results of all tasks here.
fn fetch(job: &Job, folder: &Path) -> Result<Vec<Part>, PipelineError> {
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
        parts.push(Part { folder: place, summary });
    }
    Ok(parts)
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, PipelineError> {
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
