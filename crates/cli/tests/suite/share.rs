//! Cleaning shared with processes that come, die and are killed gives what one process gives.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Place, stderr};

/// The one artifact of the clean stage.
fn cleaned(place: &Place) -> PathBuf {
    let all: Vec<PathBuf> = std::fs::read_dir(place.path("runs/artifacts/clean"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.json").exists())
        .collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn files_of(place: &Place) -> Vec<Vec<u8>> {
    let names = ["train.parquet", "valid.parquet", "test.parquet", "funnel.json"];
    names.iter().map(|name| std::fs::read(cleaned(place).join(name)).unwrap()).collect()
}

fn worker(place: &Place) -> Child {
    let mut command = place.command(&["--threads", "1", "data", "work", "shared", "--json"]);
    command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn shared_cleaning_gives_the_same_files_though_workers_are_killed() {
    let alone = Place::new();
    for stage in ["collect", "clean"] {
        alone.ok(&["run", "tiny.toml", "--only", stage]);
    }
    let shared = Place::new();
    shared.ok(&["run", "tiny.toml", "--only", "collect"]);
    let share = ["--share", "shared", "--part-mb", "0.01", "--lease", "1"];
    let run = || {
        let args = [&["--threads", "1", "run", "tiny.toml", "--only", "clean"][..], &share[..]].concat();
        shared.command(&args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    };
    // The run itself is killed when the job is there, and the first worker when it has claimed something.
    let mut first = run();
    wait_for("the job was not made", || shared.path("shared/job.json").exists());
    first.kill().unwrap();
    first.wait().unwrap();
    let claims = || std::fs::read_dir(shared.path("shared/claims")).map_or(0, Iterator::count);
    let before = claims();
    let mut doomed = worker(&shared);
    wait_for("the worker claimed nothing", || claims() > before);
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    // Two more come, and the run goes on.
    let helpers = [worker(&shared), worker(&shared)];
    let ended = run().wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    for helper in helpers {
        let output = helper.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let parts = std::fs::read_dir(shared.path("shared/done")).unwrap().count();
    assert!(parts > 10, "{parts} parts");
    assert!(files_of(&alone) == files_of(&shared), "the shared cleaning gave other documents");
}

#[test]
fn an_address_without_a_job_and_one_with_another_are_refused() {
    let place = Place::new();
    let error = place.fails(1, &["data", "work", "nothing"]);
    assert!(error.contains("nothing holds no job") && error.contains("hint:"), "{error}");
    for stage in ["collect", "clean"] {
        place.ok(&["run", "tiny.toml", "--only", stage, "--share", "shared"]);
    }
    place.write_recipe(|text| text.replace("min_chars = 16", "min_chars = 17"));
    let error = place.fails(1, &["run", "tiny.toml", "--only", "clean", "--share", "shared"]);
    assert!(error.contains("holds another job") && error.contains("address of its own"), "{error}");
}
