//! Killed at any instant, the next run goes on and ends with the same weights to the bit.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Place, stderr};

fn weights(place: &Place) -> Vec<u8> {
    std::fs::read(place.path("runs/latest/model/model.safetensors")).unwrap()
}

fn start(place: &Place) -> Child {
    let mut command = place.command(&["--threads", "2", "run", "tiny.toml"]);
    command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// Kills what `start` starts after ever longer times, until it gets through; returns how often that was. `whole` is what it
/// takes undisturbed, so that every part of it is hit.
fn kill_until_done(start: impl Fn() -> Child, whole: Duration) -> usize {
    let mut kills = 0;
    let mut patience = whole / 12;
    loop {
        let mut child = start();
        let deadline = Instant::now() + patience;
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() >= deadline => break None,
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        if let Some(status) = ended {
            assert!(status.success(), "{}", stderr(&child.wait_with_output().unwrap()));
            assert!(kills > 0, "nothing was killed; the test has tested nothing");
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        patience += whole / 20;
        assert!(kills < 60, "the run does not get on");
    }
}

#[test]
fn kill_nine_anywhere_changes_nothing() {
    let straight = Place::new();
    let begun = Instant::now();
    assert!(start(&straight).wait_with_output().unwrap().status.success());
    let whole = begun.elapsed();
    let killed = Place::new();
    let kills = kill_until_done(|| start(&killed), whole);
    assert!(weights(&straight) == weights(&killed), "{kills} kills changed the weights");
    let runs = killed.json(&["runs", "--json"]);
    assert_eq!(runs.as_array().unwrap().len(), 1, "a continued run is one run: {runs}");
    assert_eq!(runs[0]["state"], "done");
}

/// Everything that cleaning and tokenising can do at once.
const DATA: &str = r#"
keep_dropped = true
preset = ["chinese-web:zh"]

[[clean.transforms]]
kind = "mojibake"

[[clean.outliers]]
statistic = "mean_word_length(text)"
method = "iqr"
factor = 3.0
by = "language"

[clean.dedup]
near = { threshold = 0.7 }
lines = { min_chars = 40 }
substring = { min_bytes = 120 }
memory_mb = 64

[clean.decontaminate]
sets = [{ name = "questions", path = "questions.txt" }]

[augment]
share = 0.3

[[augment.steps]]
kind = "rotate"

[[augment.steps]]
kind = "homophones"

[mixture]
by = "source"
weights = { state-of-the-union = 1, tang-poems = 2 }
"#;

/// A place whose recipe has a few thousand documents, some of them twice.
fn place_with_much_data() -> Place {
    let place = Place::new();
    place.write_recipe(|text| {
        let more = text.replace("limit = 12", "limit = 60").replace("limit = 600", "limit = 4000");
        let again = more.replace("name = \"tiny\"", "name = \"data\"");
        let (keys, tables) = DATA.split_once("\n\n").unwrap();
        again.replace("[clean]\n", &format!("[clean]{keys}\n")) + tables
    });
    let item = "The people of the United States have every reason to be grateful to their representatives in Congress.";
    std::fs::write(place.path("questions.txt"), item).unwrap();
    place
}

/// All files of a stage's one artifact by their path within it.
fn files_of(place: &Place, stage: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = place.artifact_files();
    let of_stage: BTreeMap<PathBuf, Vec<u8>> = all.into_iter().filter(|(path, _)| path.starts_with(stage)).collect();
    let key = |path: &PathBuf| path.components().nth(1).map(|key| key.as_os_str().to_owned());
    let manifests = of_stage.keys().filter(|path| path.ends_with("manifest.json"));
    let done: Vec<OsString> = manifests.filter_map(key).collect();
    assert_eq!(done.len(), 1, "{done:?}");
    let folder = Path::new(stage).join(&done[0]);
    let within = |(path, bytes): (PathBuf, Vec<u8>)| Some((path.strip_prefix(&folder).ok()?.to_owned(), bytes));
    of_stage.into_iter().filter_map(within).collect()
}

#[test]
fn kill_nine_in_any_stage_of_the_data_changes_nothing() {
    let (straight, killed) = (place_with_much_data(), place_with_much_data());
    for stage in ["collect", "clean", "augment", "tokenizer"] {
        let start = |place: &Place| {
            let mut command = place.command(&["--threads", "2", "run", "tiny.toml", "--only", stage]);
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let begun = Instant::now();
        let output = start(&straight).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let kills = kill_until_done(|| start(&killed), begun.elapsed());
        let (expected, found) = (files_of(&straight, stage), files_of(&killed, stage));
        assert!(found.keys().eq(expected.keys()), "{stage}: {:?}, not {:?}", found.keys(), expected.keys());
        assert!(found == expected, "{kills} kills changed the files of {stage}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let place = Place::new();
    place.write_recipe(|text| {
        text.replace("steps = 40", "steps = 4000").replace("checkpoint_every = 5", "checkpoint_every = 0")
    });
    let child = start(&place);
    let checkpoints = || glob_any(&place.path("runs/artifacts/train"));
    let begun = Instant::now();
    while !checkpoints() {
        assert!(begun.elapsed() < Duration::from_secs(120), "training did not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("stopped by request in stage `train`"), "{text}");
    assert!(text.contains("hint: give the same command again"), "{text}");
    let plan = place.ok(&["run", "tiny.toml", "--dry-run"]);
    assert!(plan.contains("was stopped before its end; goes on"), "{plan}");
    assert_eq!(place.json(&["runs", "--json"])[0]["state"], "interrupted");
}

/// Whether training has a work folder.
#[cfg(unix)]
fn glob_any(folder: &std::path::Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else { return false };
    entries.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "partial")))
}
