//! Killed at any instant, the next run goes on and ends with the same weights to the bit.

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

#[test]
fn kill_nine_anywhere_changes_nothing() {
    let straight = Place::new();
    let begun = Instant::now();
    assert!(start(&straight).wait_with_output().unwrap().status.success());
    let whole = begun.elapsed();

    // Kill after ever longer times, until a run gets through: every stage is hit, training more than once.
    let killed = Place::new();
    let mut kills = 0;
    let mut patience = whole / 12;
    loop {
        let mut child = start(&killed);
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
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        patience += whole / 20;
        assert!(kills < 60, "the run does not get on");
    }
    assert!(kills > 0, "no run was killed; the test has tested nothing");
    assert!(weights(&straight) == weights(&killed), "{kills} kills changed the weights");
    let runs = killed.json(&["runs", "--json"]);
    assert_eq!(runs.as_array().unwrap().len(), 1, "a continued run is one run: {runs}");
    assert_eq!(runs[0]["state"], "done");
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
