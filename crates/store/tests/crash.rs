//! What a process leaves behind when it is killed at any instant, and when the disk is full.
//!
//! The tests start this very binary again as a child (the ignored tests below, chosen by name) and end it with SIGKILL
//! while it writes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use danlu_store::{Artifact, Manifest, MetricsWriter, RunDb, RunState, StoreError, Workspace, atomic, hash};
use danlu_testing::skip;
use serde_json::json;

/// Held by each test. A child holds copies of all open files between its fork and its exec, so that a file which another
/// test has just removed would for a moment still take space on the small disk.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const FOLDER: &str = "DANLU_TEST_FOLDER";

/// Starts the ignored test `name` of this binary on `folder`.
fn child(name: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the child has said `begun` and then `progress` lines more, lets it work for `after`, and kills it. All
/// lines that it said after `begun` come back.
fn kill_at_work(mut child: Child, progress: usize, after: Duration) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The test harness itself prints other lines first, the last of them without an end.
    assert!(lines.by_ref().any(|line| line.unwrap().ends_with("begun")), "the child ended early");
    let mut said: Vec<String> = lines.by_ref().take(progress).map(Result::unwrap).collect();
    assert_eq!(said.len(), progress, "the child ended early");
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines.map_while(Result::ok));
    said
}

fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os(FOLDER).unwrap())
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// How far to let a child come, so that kills fall on different instants: lines said, and time after the last.
fn instants() -> impl Iterator<Item = (usize, Duration)> {
    (0u64..).map(|i| ((i % 4) as usize, Duration::from_micros(i * 7_919 % 6_000)))
}

/// Contents that tell whether they are whole: a number, 40,000 bytes that follow from it, and a hash.
fn sealed(number: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(40_000).collect();
    let seal = hash::of_bytes(&bytes).to_string();
    bytes.extend(seal.as_bytes());
    bytes
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes.len() == 40_064 && hash::of_bytes(&bytes[..40_000]).as_str().as_bytes() == &bytes[40_000..]
}

#[test]
#[ignore = "the child of killed_while_writing_a_file"]
fn child_writes_a_file() {
    let path = folder().join("state");
    atomic::write_bytes(&path, &sealed(0)).unwrap();
    say("begun");
    for number in 1.. {
        atomic::write_bytes(&path, &sealed(number)).unwrap();
        say(&number.to_string());
    }
}

#[test]
fn killed_while_writing_a_file() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for (progress, delay) in instants().take(25) {
        let said = kill_at_work(child("child_writes_a_file", dir.path()), progress, delay);
        let bytes = fs::read(dir.path().join("state")).unwrap();
        assert!(is_sealed(&bytes), "half-written after {progress} and {delay:?}");
        // What the child was told to be written is there, or what it wrote after.
        let found = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        if let Some(last) = said.last().and_then(|line| line.parse::<u64>().ok()) {
            assert!(found == last || found == last + 1, "found {found}, was told {last}");
            written += last;
        }
    }
    assert!(written > 0, "no child came to write");
    atomic::remove_leftovers(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

fn manifest(key: &str) -> Manifest {
    Manifest {
        stage: "train".into(),
        key: key.into(),
        inputs: Default::default(),
        config: json!({}),
        created: danlu_store::now_rfc3339(),
        seconds: 0.0,
        danlu_version: "test".into(),
        summary: json!(null),
        content: String::new(),
    }
}

#[test]
#[ignore = "the child of killed_while_publishing_artifacts"]
fn child_publishes_artifacts() {
    let store = Workspace::open(&folder()).unwrap().artifacts();
    say("begun");
    for number in 0u64.. {
        let key = hash::of_bytes(&number.to_le_bytes()).to_string();
        if store.find("train", &key).unwrap().is_some() {
            continue;
        }
        let work = store.work_dir("train", &key).unwrap();
        atomic::write_bytes(&work.join("model/weights"), &sealed(number)).unwrap();
        atomic::write_bytes(&work.join("log"), b"done").unwrap();
        store.publish(&work, manifest(&key)).unwrap();
        say(&key);
    }
}

#[test]
fn killed_while_publishing_artifacts() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = Workspace::open(dir.path()).unwrap().artifacts();
    let mut told = Vec::new();
    for (progress, delay) in instants().take(25) {
        let said = kill_at_work(child("child_publishes_artifacts", dir.path()), progress, delay);
        told.extend(said.into_iter().filter(|line| line.len() == 64));
        for artifact in store.list("train").unwrap() {
            artifact.verify().unwrap();
            assert!(is_sealed(&fs::read(artifact.path.join("model/weights")).unwrap()));
        }
    }
    assert!(!told.is_empty(), "no child came to publish");
    for key in told {
        assert!(store.find("train", &key).unwrap().is_some(), "a published artifact is gone: {key}");
    }
}

#[test]
#[ignore = "the child of killed_while_writing_the_database"]
fn child_writes_the_database() {
    let workspace = Workspace::open(&folder()).unwrap();
    let db = workspace.db().unwrap();
    let (_id, _lock) = workspace.begin_run(&db, "killed", "").unwrap();
    let series = std::process::id().to_string();
    let writer = MetricsWriter::start(&workspace.db_path(), &series, Some(&folder().join("tensorboard"))).unwrap();
    say("begun");
    for step in 0.. {
        // One transaction holds both or neither.
        writer.log(step, &[("a", step as f64), ("b", step as f64)]);
        if step % 8 == 7 {
            writer.flush().unwrap();
            say(&format!("{series} {step}"));
        }
    }
}

#[test]
fn killed_while_writing_the_database() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(dir.path()).unwrap();
    let mut flushed = 0;
    for (count, (progress, delay)) in instants().take(15).enumerate() {
        let said = kill_at_work(child("child_writes_the_database", dir.path()), progress, delay);
        let db = workspace.db().unwrap();
        if let Some((series, step)) = said.last().and_then(|line| line.split_once(' ')) {
            let step: u64 = step.parse().unwrap();
            let (a, b) = (db.metrics(series, "a").unwrap(), db.metrics(series, "b").unwrap());
            assert_eq!(a, b);
            assert!(a.len() as u64 > step, "{} rows, but step {step} was flushed", a.len());
            flushed += 1;
        }
        assert_eq!(workspace.mark_interrupted(&db).unwrap().len(), 1);
        assert_eq!(db.runs().unwrap().iter().filter(|run| run.state == RunState::Interrupted).count(), count + 1);
    }
    assert!(flushed > 0, "no child came to write");
    let check = rusqlite::Connection::open(workspace.db_path()).unwrap();
    let verdict: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
#[ignore = "the child of two_processes_write_the_database"]
fn child_shares_the_database() {
    let path = folder().join("danlu.db");
    let series = std::process::id().to_string();
    let db = RunDb::open(&path).unwrap();
    let writer = MetricsWriter::start(&path, &series, None).unwrap();
    for step in 0..400 {
        writer.log(step, &[("loss", 1.0)]);
        if step % 10 == 0 {
            writer.flush().unwrap();
            db.begin_run("shared", "").unwrap();
        }
    }
    writer.finish().unwrap();
    say(&format!("series {series}"));
}

#[test]
fn two_processes_write_the_database() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..2).map(|_| child("child_shares_the_database", dir.path())).collect();
    let db = RunDb::open(&dir.path().join("danlu.db")).unwrap();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let series = text.lines().find_map(|line| Some(line.split_once("series ")?.1)).unwrap();
        assert_eq!(db.metrics(series, "loss").unwrap().len(), 400);
    }
    assert_eq!(db.runs().unwrap().len(), 80);
}

/// A file system of 2 MiB; unmounted on drop.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// None where this process may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "danlu-test"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path()).status();
    }
}

/// A small disk, or none, and the test is told to be skipped.
fn small_disk(test: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::mount();
    if disk.is_none() {
        skip(test, "mounting a tmpfs needs root");
    }
    disk
}

fn assert_no_space(error: &StoreError) {
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("free some space"));
}

fn publish(workspace: &Workspace, key: &str, bytes: usize) -> Result<Artifact, StoreError> {
    let store = workspace.artifacts();
    let work = store.work_dir("train", key)?;
    atomic::write_with(&work.join("weights"), |out| {
        (0..bytes / 1000).try_for_each(|i| out.write_all(&[i as u8; 1000]))
    })?;
    store.publish(&work, manifest(key))
}

#[test]
fn a_full_disk_loses_no_artifact() {
    let _alone = alone();
    let Some(disk) = small_disk("a_full_disk_loses_no_artifact") else { return };
    let workspace = Workspace::open(&disk.dir.path().join("runs")).unwrap();
    let first = publish(&workspace, "first", 400_000).unwrap();

    let big = workspace.root().join("big");
    assert_no_space(&atomic::write_bytes(&big, &vec![1; 4 << 20]).unwrap_err());
    assert!(!big.exists(), "nothing half-written has the final name");
    assert_eq!(fs::read_dir(workspace.root()).unwrap().count(), 1, "nothing is left aside");

    assert_no_space(&publish(&workspace, "second", 4 << 20).unwrap_err());
    assert_eq!(workspace.artifacts().find("train", "second").unwrap(), None);
    assert_eq!(workspace.artifacts().find("train", "first").unwrap(), Some(first.clone()));
    first.verify().unwrap();

    // With space again (here: less to write), the same stage ends well.
    publish(&workspace, "second", 400_000).unwrap().verify().unwrap();
}

#[test]
fn a_full_disk_spares_the_database() {
    let _alone = alone();
    let Some(disk) = small_disk("a_full_disk_spares_the_database") else { return };
    let workspace = Workspace::open(&disk.dir.path().join("runs")).unwrap();
    let db = workspace.db().unwrap();
    let id = db.begin_run("before", "").unwrap();
    let filler = disk.dir.path().join("filler");
    let writer = MetricsWriter::start(&workspace.db_path(), "key", None).unwrap();
    writer.log(0, &[("loss", 1.0)]);
    writer.flush().unwrap();

    // Fill what is left, to the last page.
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    assert_no_space(&db.begin_run("does not fit", &"x".repeat(100_000)).unwrap_err());
    for step in 1..2000 {
        writer.log(step, &[("loss", 1.0)]);
    }
    assert_no_space(&writer.flush().unwrap_err());
    assert_eq!(db.run(&id).unwrap().name, "before");

    // The rows that had to wait are written once there is space.
    drop(file);
    fs::remove_file(&filler).unwrap();
    writer.finish().unwrap();
    assert_eq!(db.metrics("key", "loss").unwrap().len(), 2000);
    assert_eq!(db.runs().unwrap().len(), 1);
}
