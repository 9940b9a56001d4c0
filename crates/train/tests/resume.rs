//! A run that was stopped, killed or damaged ends with the weights of an uninterrupted one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Fixture, Recorder, weights};
use danlu_train::{Ending, Finish, Silent, TrainError};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const STEPS: u64 = 40;

fn config() -> danlu_train::TrainConfig {
    danlu_train::TrainConfig { steps: STEPS, checkpoint_every: 3, ..common::config() }
}

/// Hashes of the model folder's weights and of the last checkpoint's tensors.
fn trained(fixture: &Fixture, work: &Path) -> Vec<String> {
    let outcome = fixture.train(config(), work, &mut Silent).unwrap();
    assert_eq!(outcome.ending, Ending::Finished(Finish::AllSteps));
    weights(work, STEPS)
}

#[test]
fn stopped_at_any_step_and_gone_on_it_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    let straight = trained(&fixture, &fixture.path("straight"));
    for stops in [vec![1], vec![3, 4, 17], (1..STEPS).step_by(7).collect::<Vec<_>>()] {
        let work = fixture.path(&format!("stopped-{}", stops.len()));
        for at in stops {
            let stop = AtomicBool::new(false);
            let mut recorder = Recorder { stop_at: Some((at, &stop)), ..Recorder::default() };
            let outcome = fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
            assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, at));
            assert!(!work.join("model").exists());
        }
        assert_eq!(trained(&fixture, &work), straight);
    }
}

/// The same for every optimiser, whose states must all be in the checkpoint, and with a loss of more terms.
#[test]
fn every_optimizer_goes_on_with_the_same_bits() {
    use danlu_train::OptimizerKind::{Adafactor, Adam, AdamW, Lion, Muon, Sgd};
    let fixture = Fixture::new();
    let mut ends = Vec::new();
    let kinds = [(AdamW, 0.9), (Adam, 0.9), (Sgd, 0.0), (Sgd, 0.9), (Lion, 0.9), (Adafactor, 0.9), (Muon, 0.95)];
    for (optimizer, momentum) in kinds {
        let config = || danlu_train::TrainConfig {
            optimizer,
            momentum,
            label_smoothing: 0.1,
            z_loss: 1e-3,
            steps: 12,
            learning_rate: 1e-3,
            ..config()
        };
        let name = format!("{optimizer:?}-{momentum}");
        let straight = fixture.path(&format!("{name}-straight"));
        let outcome = fixture.train(config(), &straight, &mut Silent).unwrap();
        assert_eq!(outcome.ending, Ending::Finished(Finish::AllSteps), "{name}");
        let work = fixture.path(&name);
        for at in [1, 7] {
            let stop = AtomicBool::new(false);
            let mut recorder = Recorder { stop_at: Some((at, &stop)), ..Recorder::default() };
            let outcome = fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
            assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, at), "{name}");
        }
        fixture.train(config(), &work, &mut Silent).unwrap();
        assert_eq!(weights(&work, 12), weights(&straight, 12), "{name}");
        ends.push(weights(&work, 12));
    }
    for (i, end) in ends.iter().enumerate() {
        assert!(ends[..i].iter().all(|other| other[0] != end[0]), "two optimisers with one result");
    }
}

/// Noise, averages, frozen parameters and the plateau's memory are all in the checkpoint, or need not be.
#[test]
fn every_regulariser_goes_on_with_the_same_bits() {
    use danlu_train::{AverageConfig, AverageKind, NoiseConfig, ParameterGroup, PlateauConfig, ScheduleKind};
    let fixture = Fixture::new();
    let frozen = |pattern: &str| ParameterGroup { pattern: pattern.into(), frozen: true, ..ParameterGroup::default() };
    let mut ends = Vec::new();
    for average in [AverageKind::None, AverageKind::Ema, AverageKind::Swa] {
        for recompute in [danlu_model::Recompute::None, danlu_model::Recompute::Block] {
            let config = || danlu_train::TrainConfig {
                average: AverageConfig { kind: average, start: 0.3, every: 2, ..AverageConfig::default() },
                gradient_noise: NoiseConfig { scale: 1e-4, ..NoiseConfig::default() },
                l1: 1e-5,
                l2: 1e-4,
                groups: vec![frozen("layers.0.self_attn.*"), frozen("model.norm*")],
                schedule: ScheduleKind::Plateau,
                // Every validation is a disappointment.
                plateau: PlateauConfig { factor: 0.7, patience: 0, threshold: 0.9 },
                valid_every: 3,
                recompute,
                steps: 14,
                ..config()
            };
            let straight = fixture.path(&format!("{average:?}-{recompute:?}-straight"));
            let mut recorder = Recorder::default();
            fixture.train(config(), &straight, &mut recorder).unwrap();
            let rates: Vec<f64> = recorder.steps.iter().map(|info| info.learning_rate).collect();
            assert!(rates[13] < 0.7 * rates[6] && recorder.events[0].contains("0.7 of the schedule"), "{rates:?}");
            let work = fixture.path(&format!("{average:?}-{recompute:?}"));
            for at in [2, 5, 8, 10] {
                let stop = AtomicBool::new(false);
                let mut recorder = Recorder { stop_at: Some((at, &stop)), ..Recorder::default() };
                let outcome = fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
                assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, at));
            }
            fixture.train(config(), &work, &mut Silent).unwrap();
            assert_eq!(weights(&work, 14), weights(&straight, 14), "{average:?} {recompute:?}");
            ends.push(weights(&work, 14));
        }
    }
    for pair in ends.chunks(2) {
        assert_eq!(pair[0], pair[1], "recomputation changes nothing");
    }
    // The averages change what is published, not what is trained.
    assert!(ends[0][0] != ends[2][0] && ends[2][0] != ends[4][0] && ends[0][1] == ends[2][1]);
}

#[test]
fn a_group_that_matches_nothing_is_an_error() {
    let fixture = Fixture::new();
    let group = danlu_train::ParameterGroup { pattern: "embed_token".into(), ..Default::default() };
    let config = danlu_train::TrainConfig { groups: vec![group], ..config() };
    let error = fixture.train(config, &fixture.path("w"), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("`embed_token`"), "{error}");
}

#[test]
fn stopped_before_the_first_step_it_begins_anew() {
    let fixture = Fixture::new();
    let stop = AtomicBool::new(true);
    let outcome = fixture.train_until(config(), &fixture.path("w"), &mut Silent, &stop).unwrap();
    assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, 0));
    assert_eq!(trained(&fixture, &fixture.path("w")), trained(&fixture, &fixture.path("x")));
}

#[test]
fn a_finished_run_is_finished_again_without_a_step() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    let first = trained(&fixture, &work);
    let mut recorder = Recorder::default();
    let outcome = fixture.train(config(), &work, &mut recorder).unwrap();
    assert_eq!(outcome.ending, Ending::Finished(Finish::AllSteps));
    assert!(recorder.steps.is_empty());
    assert!(outcome.tokens_per_second > 0.0 && outcome.last_loss.is_some());
    assert_eq!(weights(&work, STEPS), first);
}

#[test]
fn a_skipped_batch_stays_skipped_over_a_stop() {
    let fixture = Fixture::new();
    let poison = |recorder: &mut Recorder<'_>| recorder.bad_groups = vec![10, 11, 20];
    let mut recorder = Recorder::default();
    poison(&mut recorder);
    let outcome = fixture.train(config(), &fixture.path("straight"), &mut recorder).unwrap();
    assert_eq!(outcome.skipped, [10, 11, 20]);
    let straight = weights(&fixture.path("straight"), STEPS);

    let work = fixture.path("stopped");
    for at in [11, 14, 19, 25] {
        let stop = AtomicBool::new(false);
        let mut recorder = Recorder { stop_at: Some((at, &stop)), ..Recorder::default() };
        poison(&mut recorder);
        let outcome = fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
        assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, at));
    }
    let mut recorder = Recorder::default();
    poison(&mut recorder);
    let outcome = fixture.train(config(), &work, &mut recorder).unwrap();
    assert_eq!(outcome.skipped, [10, 11, 20]);
    assert_eq!(weights(&work, STEPS), straight);
    assert_ne!(trained(&fixture, &fixture.path("healthy")), straight);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_end_is_the_same() {
    let fixture = Fixture::new();
    let straight = trained(&fixture, &fixture.path("straight"));
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("flipped", |step| common::flip_a_byte(&step.join("model.safetensors"))),
        ("moments", |step| common::flip_a_byte(&step.join("optimizer.safetensors"))),
        ("cut", |step| common::cut(&step.join("model.safetensors"))),
        ("state", |step| {
            let path = step.join("state.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("\"tokens\": ", "\"tokens\": 1")).unwrap();
        }),
        ("missing", |step| fs::remove_file(step.join("optimizer.safetensors")).unwrap()),
    ];
    for (name, damage) in damages {
        let work = fixture.path(name);
        let stop = AtomicBool::new(false);
        let mut recorder = Recorder { stop_at: Some((17, &stop)), ..Recorder::default() };
        fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
        damage(&work.join("checkpoints/step-000017"));

        let mut recorder = Recorder::default();
        let outcome = fixture.train(config(), &work, &mut recorder).unwrap();
        assert_eq!(outcome.first_step, 15, "{name}");
        let told = recorder.events.iter().any(|e| e.contains("step-000017 is damaged"));
        assert!(told, "{name}: {:?}", recorder.events);
        assert_eq!(weights(&work, STEPS), straight, "{name}");
    }
}

#[test]
fn with_every_checkpoint_damaged_it_begins_anew() {
    let fixture = Fixture::new();
    let straight = trained(&fixture, &fixture.path("straight"));
    let work = fixture.path("w");
    let stop = AtomicBool::new(false);
    let mut recorder = Recorder { stop_at: Some((8, &stop)), ..Recorder::default() };
    fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();
    for step in ["step-000006", "step-000008"] {
        common::cut(&work.join("checkpoints").join(step).join("state.json"));
    }
    let outcome = fixture.train(config(), &work, &mut Silent).unwrap();
    assert_eq!(outcome.first_step, 0);
    assert_eq!(weights(&work, STEPS), straight);
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let fixture = Fixture::new();
    let work = fixture.path("w");
    trained(&fixture, &work);
    let other = danlu_train::TrainConfig { learning_rate: 1e-5, ..config() };
    let error = fixture.train(other, &work, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { what, .. } if what == "the settings"));
    assert!(error.hint().unwrap().contains("start over"));
    // What only decides what is kept or shown may change.
    let same = danlu_train::TrainConfig { keep_checkpoints: 5, log_every: 9, ..config() };
    fixture.train(same, &work, &mut Silent).unwrap();
}

// ---- kill -9: a child process trains, and is killed at random instants ----

const CHILD: &str = "DANLU_TRAIN_TEST_FOLDER";

/// Not a test of its own: what the child processes of the tests below run.
#[test]
#[ignore = "run by the other tests as a child process"]
fn child() {
    let folder = std::env::var(CHILD).expect("only the other tests start this");
    let fixture = Fixture::at(Path::new(&folder));
    let work = fixture.path("work");
    if let Err(error) = fixture.train(config(), &work, &mut Silent) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        fs::write(fixture.path("error"), format!("{error}: {cause:?}: {:?}", error.hint())).unwrap();
        std::process::exit(3);
    }
}

fn start_child(folder: &Path) -> Child {
    child_command(folder).spawn().unwrap()
}

fn child_command(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child"]).env(CHILD, folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn two_processes_train_the_same_bits() {
    let hashes: Vec<_> = (0..2)
        .map(|_| {
            let fixture = Fixture::new();
            assert!(start_child(&fixture.path("")).wait().unwrap().success());
            weights(&fixture.path("work"), STEPS)
        })
        .collect();
    assert_eq!(hashes[0], hashes[1]);
    let fixture = Fixture::new();
    assert_eq!(trained(&fixture, &fixture.path("here")), hashes[0]);
}

#[test]
fn killed_at_random_instants_it_ends_with_the_same_bits() {
    let fixture = Fixture::new();
    let straight = trained(&fixture, &fixture.path("straight"));
    let mut random = common::Random(0x5eed);
    let (mut all_kills, mut while_writing) = (0, 0);
    for round in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        Fixture::at(folder.path());
        let work = folder.path().join("work");
        let mut kills = 0;
        loop {
            let mut child = start_child(folder.path());
            // The first and every other kill wait for a checkpoint being written, however fast
            // the machine is; the rest come at any time.
            let ended = if kills % 2 == 0 {
                wait_for_partial(&mut child, &work, random.below(2000))
            } else {
                wait(&mut child, Duration::from_millis(random.below(300)))
            };
            if let Some(success) = ended {
                assert!(success, "{:?}", fs::read_to_string(folder.path().join("error")));
                break;
            }
            child.kill().unwrap(); // SIGKILL
            child.wait().unwrap();
            kills += 1;
            while_writing += u32::from(is_writing(&work));
            if kills >= 12 {
                assert!(start_child(folder.path()).wait().unwrap().success());
                break;
            }
        }
        all_kills += kills;
        assert_eq!(weights(&work, STEPS), straight, "round {round}, {kills} kills");
    }
    assert!(while_writing > 0, "none of {all_kills} kills came while a checkpoint was written");
}

/// Whether a checkpoint is half-written, or was when its process died.
fn is_writing(work: &Path) -> bool {
    fs::read_dir(work.join("checkpoints"))
        .is_ok_and(|entries| entries.flatten().any(|e| e.file_name().to_string_lossy().ends_with(".partial")))
}

/// Whether the child ended by itself within `time`, and if so, well.
fn wait(child: &mut Child, time: Duration) -> Option<bool> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        std::thread::yield_now();
    }
    None
}

/// Waits until a checkpoint is being written, and then `microseconds` more.
fn wait_for_partial(child: &mut Child, work: &Path, microseconds: u64) -> Option<bool> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        if is_writing(work) {
            return wait(child, Duration::from_micros(microseconds));
        }
    }
    None
}

// ---- disk full ----

/// The child trains where files may not grow beyond `blocks` of 512 bytes: the system refuses the
/// write as it does on a full disk, and needs no privileges for it.
#[cfg(unix)]
#[test]
fn without_room_for_a_checkpoint_the_error_says_so_and_the_one_before_is_intact() {
    let fixture = Fixture::new();
    let folder = fixture.path("");
    let work = fixture.path("work");
    let stop = AtomicBool::new(false);
    let mut recorder = Recorder { stop_at: Some((7, &stop)), ..Recorder::default() };
    fixture.train_until(config(), &work, &mut recorder, &stop).unwrap();

    let program = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --ignored --exact child"])
        .arg(program)
        .env(CHILD, &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    let error = fs::read_to_string(fixture.path("error")).unwrap();
    assert!(error.contains("the checkpoint of step"), "{error}");
    assert!(error.contains("intact"), "{error}");
    let left: Vec<_> = common::names(&work.join("checkpoints"));
    assert!(left.iter().all(|name| !name.ends_with(".partial")), "{left:?}");

    // With room again it goes on from the checkpoint before.
    let mut recorder = Recorder::default();
    let outcome = fixture.train(config(), &work, &mut recorder).unwrap();
    assert_eq!(outcome.first_step, 7);
    let straight = trained(&fixture, &fixture.path("straight"));
    assert_eq!(weights(&work, STEPS), straight);
}
