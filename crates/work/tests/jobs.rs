//! Jobs are done once, whoever works on them and whoever dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use danlu_work::{Bucket, Job, JobSpec, JobStatus, Output, Presence, RunWatch, TaskSpec, WorkError, WorkOptions, work};
use serde_json::json;

fn spec(tasks: usize, lease_seconds: f64) -> JobSpec {
    let task = |i: usize| TaskSpec { name: format!("part-{i:03}"), input: json!(i) };
    JobSpec { kind: "square".into(), config: json!({}), tasks: (0..tasks).map(task).collect(), lease_seconds }
}

fn job(dir: &Path, tasks: usize, lease_seconds: f64) -> Job {
    Job::create(Bucket::open(dir.join("job").to_str().unwrap()).unwrap(), spec(tasks, lease_seconds)).unwrap()
}

fn options(worker: &str) -> WorkOptions {
    WorkOptions { worker: worker.into(), poll: Duration::from_millis(5), max_failures: 3 }
}

/// Writes the square of a task's number into a file.
fn square(dir: &Path, worker: &str, task: &TaskSpec) -> Output {
    let path = dir.join(format!("{worker}-{}", task.name));
    let value = task.input.as_u64().unwrap().pow(2);
    std::fs::write(&path, value.to_string()).unwrap();
    Output { files: vec![("square.txt".into(), path)], summary: json!(value) }
}

/// What all tasks left, fetched and checked.
fn squares(job: &Job, dir: &Path) -> Vec<String> {
    let fetch = |(_, done): (TaskSpec, danlu_work::DoneTask)| {
        let path = dir.join("fetched");
        job.bucket().download(&done.files[0].object, &path, &done.files[0].hash).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    job.results().unwrap().into_iter().map(fetch).collect()
}

fn expected(tasks: usize) -> Vec<String> {
    (0..tasks).map(|i| (i * i).to_string()).collect()
}

#[test]
fn many_workers_do_each_task_once() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 40, 60.0);
    let runs = AtomicUsize::new(0);
    let totals: Vec<_> = std::thread::scope(|scope| {
        let start = |name: &'static str| {
            let (job, dir, runs) = (job.clone(), dir.path(), &runs);
            scope.spawn(move || {
                let mut task = |task: &TaskSpec| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    Ok(square(dir, name, task))
                };
                work(&job, &options(name), &AtomicBool::new(false), &mut task).unwrap()
            })
        };
        let workers: Vec<_> = ["a", "b", "c", "d"].map(start).into_iter().collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(totals.iter().map(|t| t.done).sum::<usize>(), 40);
    assert_eq!(runs.load(Ordering::Relaxed), 40, "with a long lease nothing is done twice");
    assert_eq!(squares(&job, dir.path()), expected(40));
    assert_eq!(job.status().unwrap(), JobStatus { tasks: 40, done: 40, claimed: 0, failures: 0 });
}

#[test]
fn a_dead_workers_task_is_taken_over_and_its_late_result_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 2, 0.2);
    // A worker that claimed a task and was killed: its claim is there, and nothing follows.
    let dead = json!({ "worker": "dead", "beat": 3, "released": false });
    assert!(job.bucket().create("claims/part-001/000000", dead.to_string().into_bytes()).unwrap());
    let mut task = |task: &TaskSpec| Ok(square(dir.path(), "alive", task));
    let summary = work(&job, &options("alive"), &AtomicBool::new(false), &mut task).unwrap();
    assert_eq!((summary.done, summary.taken_over), (2, 1));
    // It was not dead after all: it commits late, and nothing changes.
    assert!(!job.bucket().create("done/part-001.json", b"{}".to_vec()).unwrap());
    assert_eq!(squares(&job, dir.path()), expected(2));
}

#[test]
fn a_living_workers_claim_outlasts_many_leases() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 1, 0.1);
    let runs = AtomicUsize::new(0);
    let finished = AtomicBool::new(false);
    let begun = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let (slow_job, dir, runs, finished, begun) = (job.clone(), dir.path(), &runs, &finished, &begun);
        scope.spawn(move || {
            let mut task = |task: &TaskSpec| {
                runs.fetch_add(1, Ordering::Relaxed);
                begun.wait();
                std::thread::sleep(Duration::from_millis(600));
                Ok(square(dir, "slow", task))
            };
            work(&slow_job, &options("slow"), &AtomicBool::new(false), &mut task).unwrap();
            finished.store(true, Ordering::Relaxed);
        });
        begun.wait();
        let mut task = |task: &TaskSpec| Ok(square(dir, "eager", task));
        let summary = work(&job, &options("eager"), &AtomicBool::new(false), &mut task).unwrap();
        assert_eq!(summary.done + summary.beaten, 0, "the eager worker took a living worker's task");
    });
    assert!(finished.load(Ordering::Relaxed));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[test]
fn a_failing_task_is_tried_again_and_then_ends_the_work_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 3, 60.0);
    let mut attempts = 0;
    let mut task = |task: &TaskSpec| {
        if task.name == "part-001" {
            attempts += 1;
            return Err(format!("broken {attempts}"));
        }
        Ok(square(dir.path(), "a", task))
    };
    let error = work(&job, &options("a"), &AtomicBool::new(false), &mut task).unwrap_err();
    assert!(matches!(&error, WorkError::TaskFailed { failures: 3, .. }), "{error}");
    assert!(error.to_string().contains("part-001") && error.to_string().contains("broken"), "{error}");
    assert!(matches!(job.results(), Err(WorkError::Unfinished { .. })));
}

#[test]
fn another_job_at_the_same_address_is_refused_and_the_same_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = job(dir.path(), 2, 60.0);
    assert_eq!(job(dir.path(), 2, 60.0).spec(), first.spec());
    let bucket = Bucket::open(dir.path().join("job").to_str().unwrap()).unwrap();
    let error = Job::create(bucket, spec(3, 60.0)).unwrap_err();
    assert!(matches!(error, WorkError::AnotherJob { .. }) && error.hint().is_some(), "{error}");
}

#[test]
fn damaged_results_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 1, 60.0);
    let mut task = |task: &TaskSpec| Ok(square(dir.path(), "a", task));
    work(&job, &options("a"), &AtomicBool::new(false), &mut task).unwrap();
    let (_, done) = job.results().unwrap().remove(0);
    job.bucket().write(&done.files[0].object, b"1".to_vec()).unwrap();
    let error = job.bucket().download(&done.files[0].object, &dir.path().join("x"), &done.files[0].hash).unwrap_err();
    assert!(matches!(error, WorkError::Damaged { .. }), "{error}");
    assert!(!dir.path().join("x").exists());
    // The remedy is one: what it names deleted, a worker makes it anew.
    assert!(error.hint().unwrap().contains("delete done/part-000.json"), "{error:?}");
    job.bucket().delete("done/part-000.json").unwrap();
    job.bucket().delete("claims/part-000/000000").unwrap(); // as if a lease had gone by
    work(&job, &options("b"), &AtomicBool::new(false), &mut task).unwrap();
    assert_eq!(squares(&job, dir.path()), expected(1));
}

#[test]
fn jobs_below_one_address_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(dir.path().to_str().unwrap()).unwrap();
    let first = Job::create(bucket.below("first"), spec(2, 60.0)).unwrap();
    let second = Job::create(bucket.below("second"), spec(3, 60.0)).unwrap();
    let mut task = |task: &TaskSpec| Ok(square(dir.path(), "a", task));
    work(&second, &options("a"), &AtomicBool::new(false), &mut task).unwrap();
    assert_eq!(second.status().unwrap(), JobStatus { tasks: 3, done: 3, claimed: 0, failures: 0 });
    assert_eq!(first.status().unwrap(), JobStatus { tasks: 2, ..JobStatus::default() });
    assert_eq!(squares(&second, dir.path()), expected(3));
    let error = Job::open(bucket).unwrap_err();
    assert!(matches!(error, WorkError::NoJob { .. }), "{error}");
}

#[test]
fn more_is_expected_of_a_run_until_it_ends_or_is_silent_for_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(dir.path().to_str().unwrap()).unwrap();
    let (long, mut watch) = (Duration::from_secs(600), RunWatch::default());
    assert!(!watch.expects_more(&bucket, long).unwrap(), "nobody is there");
    // A run that was killed: what it said last stays, and is believed for as long as one has patience.
    let sign = |run: &str| json!({ "worker": run, "beat": 3, "released": false }).to_string().into_bytes();
    bucket.write("run.json", sign("dead")).unwrap();
    assert!(watch.expects_more(&bucket, long).unwrap());
    assert!(!watch.expects_more(&bucket, Duration::ZERO).unwrap());
    // The run that goes on for it is known by its name; a short interval makes its beats count.
    let run = Presence::begin(&bucket, "alive", Duration::from_millis(1)).unwrap();
    let first = bucket.read("run.json").unwrap();
    while bucket.read("run.json").unwrap() == first {
        std::thread::yield_now();
    }
    assert!(watch.expects_more(&bucket, long).unwrap());
    drop(run);
    assert!(!watch.expects_more(&bucket, long).unwrap(), "it has ended");
    bucket.write("run.json", sign("again")).unwrap();
    assert!(watch.expects_more(&bucket, long).unwrap());
}

#[test]
fn a_cloud_that_is_not_built_in_names_its_feature() {
    if cfg!(feature = "object-store") {
        return;
    }
    let error = Bucket::open("s3://bucket/job").unwrap_err();
    assert!(matches!(error, WorkError::NoSuchStore { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--features object-store"));
    assert!(matches!(Bucket::open("nonsense://x").unwrap_err(), WorkError::BadAddress { .. }));
}
