//! Stages shared with processes that come, die and are killed give what one process gives.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Place, stderr};

/// The one artifact of a stage.
fn artifact(place: &Place, stage: &str) -> PathBuf {
    let all: Vec<PathBuf> = std::fs::read_dir(place.path("runs/artifacts").join(stage))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.json").exists())
        .collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// What two runs must have alike, to the byte.
fn files_of(place: &Place, stage: &str) -> Vec<Vec<u8>> {
    let names: &[&str] = match stage {
        "clean" => &["train.parquet", "valid.parquet", "test.parquet", "funnel.json", "signatures.danlu"],
        _ => &["train.tokens", "valid.tokens", "test.tokens", "tokenizer/tokenizer.json"],
    };
    names.iter().map(|name| std::fs::read(artifact(place, stage).join(name)).unwrap()).collect()
}

/// A place whose recipe looks for near duplicates, with the results of these stages.
fn place(stages: &[&str]) -> Place {
    let place = Place::new();
    let dedup = "min_chars = 16\n[clean.dedup]\nsave_signatures = true\nnear = {}\nlines = {}\n";
    place.write_recipe(|text| text.replace("min_chars = 16", dedup));
    for stage in stages {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
    place
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where the work is shared: a folder of the place, or a bucket.
struct Shared {
    place: Place,
    #[cfg(feature = "object-store")]
    store: Option<danlu_testing::ObjectStore>,
}

impl Shared {
    fn folder(place: Place) -> Self {
        Self {
            place,
            #[cfg(feature = "object-store")]
            store: None,
        }
    }

    #[cfg(feature = "object-store")]
    fn bucket(place: Place, store: danlu_testing::ObjectStore) -> Self {
        Self { place, store: Some(store) }
    }

    #[cfg(feature = "object-store")]
    fn address(&self) -> &'static str {
        if self.store.is_some() { "s3://bucket/shared" } else { "shared" }
    }

    #[cfg(not(feature = "object-store"))]
    fn address(&self) -> &'static str {
        "shared"
    }

    /// Objects whose names begin with `name/`.
    fn count(&self, name: &str) -> usize {
        #[cfg(feature = "object-store")]
        if let Some(store) = &self.store {
            return store.names(&format!("shared/{name}")).len();
        }
        std::fs::read_dir(self.place.path(&format!("shared/{name}"))).map_or(0, Iterator::count)
    }

    fn has(&self, name: &str) -> bool {
        #[cfg(feature = "object-store")]
        if let Some(store) = &self.store {
            return !store.names(&format!("shared/{name}")).is_empty();
        }
        self.place.path(&format!("shared/{name}")).exists()
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.place.command(&[&["--threads", "1"], args].concat());
        #[cfg(feature = "object-store")]
        command.envs(self.store.iter().flat_map(danlu_testing::ObjectStore::variables));
        command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn worker(&self) -> Child {
        self.start(&["data", "work", self.address()])
    }

    /// A run of one stage, or of all.
    fn run(&self, stage: Option<&str>) -> Child {
        let only = stage.map_or(Vec::new(), |stage| vec!["--only", stage]);
        let share = ["--share", self.address(), "--part-mb", "0.01", "--lease", "1"];
        self.start(&[&["run", "tiny.toml"], &only[..], &share[..]].concat())
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The run itself is killed when the job is there, and the first worker when it has claimed something; then two more
/// workers come, and the run goes on.
fn check_that_kills_change_nothing(shared: &Shared, stage: &str, job: &str) {
    let stages = ["collect", "clean", "tokenizer"];
    let last = stages.iter().position(|known| *known == stage).unwrap();
    let alone = place(&stages[..=last]);
    let first = shared.run(Some(stage));
    wait_for("the job was not made", || shared.has(&format!("{job}/job.json")));
    kill(first);
    let claims = format!("{job}/claims");
    let before = shared.count(&claims);
    let doomed = shared.worker();
    wait_for("the worker claimed nothing", || shared.count(&claims) > before);
    kill(doomed);
    let helpers = [shared.worker(), shared.worker()];
    let ended = shared.run(Some(stage)).wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    for helper in helpers {
        let output = helper.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let parts = shared.count(&format!("{job}/done"));
    assert!(parts > 10, "{parts} parts");
    assert!(files_of(&alone, stage) == files_of(&shared.place, stage), "the shared stage gave other files");
    assert!(!artifact(&shared.place, stage).join("parts").exists(), "parts were left behind");
}

#[test]
fn shared_cleaning_gives_the_same_files_though_workers_are_killed() {
    let shared = Shared::folder(place(&["collect"]));
    check_that_kills_change_nothing(&shared, "clean", "clean");
    let done = std::fs::read_to_string(shared.place.path("shared/clean/done/part-00000.json")).unwrap();
    assert!(done.contains("sketches.danlu"), "the run computed the signatures by itself: {done}");
}

#[test]
fn shared_encoding_gives_the_same_files_though_workers_are_killed() {
    check_that_kills_change_nothing(&Shared::folder(place(&["collect", "clean"])), "tokenizer", "encode");
}

#[test]
#[cfg(feature = "object-store")]
fn stages_shared_through_a_bucket_give_the_same_files_though_workers_are_killed() {
    match danlu_testing::ObjectStore::start() {
        Ok(store) => {
            let shared = Shared::bucket(place(&["collect"]), store);
            check_that_kills_change_nothing(&shared, "clean", "clean");
            check_that_kills_change_nothing(&shared, "tokenizer", "encode");
        }
        Err(reason) => danlu_testing::skip("stages_shared_through_a_bucket", &reason),
    }
}

/// The run is killed as soon as it shares the second job: the worker that came for the first goes on with that, and leaves when
/// the run that goes on says that there is no more.
#[test]
fn one_worker_serves_all_that_a_run_shares() {
    let alone = place(&["collect", "clean", "tokenizer"]);
    let shared = Shared::folder(place(&["collect"]));
    let first = shared.run(None);
    wait_for("the run did not say that it is there", || shared.has("run.json"));
    let worker = shared.worker();
    wait_for("nothing was shared for encoding", || shared.has("encode/job.json"));
    kill(first);
    let parts = shared.count("encode/input");
    assert!(parts > 10, "{parts} parts");
    wait_for("the worker did not go on with encoding", || shared.count("encode/done") == parts);
    let ended = shared.run(Some("tokenizer")).wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("train-000"), "{}", stderr(&output));
    for stage in ["clean", "tokenizer"] {
        assert!(files_of(&alone, stage) == files_of(&shared.place, stage), "{stage} gave other files");
    }
    // Nothing is left to do, and nobody is there who would share more.
    assert!(shared.place.json(&["data", "work", "shared", "--json"])["done"] == 0);
}

#[test]
fn a_worker_of_another_version_refuses() {
    let place = place(&["collect"]);
    place.ok(&["run", "tiny.toml", "--only", "clean", "--share", "shared"]);
    let path = place.path("shared/clean/job.json");
    let ours = format!("\"danlu_version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(&ours), "{text}");
    std::fs::write(&path, text.replace(&ours, "\"danlu_version\": \"0.0.0\"")).unwrap();
    let error = place.fails(1, &["data", "work", "shared"]);
    assert!(error.contains("of danlu 0.0.0") && error.contains("the same danlu"), "{error}");
}

#[test]
fn a_damaged_result_is_noticed_and_can_be_made_anew() {
    let place = place(&["collect"]);
    let clean = ["run", "tiny.toml", "--only", "clean", "--share", "shared", "--lease", "1"];
    place.ok(&clean);
    let expect = files_of(&place, "clean");
    for name in ["kept.parquet", "sketches.danlu"] {
        let results = place.path("shared/clean/results/part-00000");
        let workers = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path().join(name));
        for file in workers.filter(|file| file.exists()) {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
        let error = place.fails(1, &clean);
        assert!(error.contains("is damaged") && error.contains("delete done/part-00000.json"), "{error}");
        std::fs::remove_file(place.path("shared/clean/done/part-00000.json")).unwrap();
        place.ok(&clean);
        assert!(files_of(&place, "clean") == expect, "what was made anew is not the same");
    }
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
