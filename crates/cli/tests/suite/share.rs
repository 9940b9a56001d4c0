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
    fn folder() -> Self {
        Self {
            place: Place::new(),
            #[cfg(feature = "object-store")]
            store: None,
        }
    }

    #[cfg(feature = "object-store")]
    fn bucket(store: danlu_testing::ObjectStore) -> Self {
        Self { place: Place::new(), store: Some(store) }
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

    fn has_job(&self) -> bool {
        #[cfg(feature = "object-store")]
        if let Some(store) = &self.store {
            return !store.names("shared/job.json").is_empty();
        }
        self.place.path("shared/job.json").exists()
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

    fn run(&self) -> Child {
        let address = self.address();
        self.start(&["run", "tiny.toml", "--only", "clean", "--share", address, "--part-mb", "0.01", "--lease", "1"])
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The run itself is killed when the job is there, and the first worker when it has claimed something; then two more
/// workers come, and the run goes on.
fn check_that_kills_change_nothing(shared: &Shared) {
    let alone = Place::new();
    for stage in ["collect", "clean"] {
        alone.ok(&["run", "tiny.toml", "--only", stage]);
    }
    shared.place.ok(&["run", "tiny.toml", "--only", "collect"]);
    let first = shared.run();
    wait_for("the job was not made", || shared.has_job());
    kill(first);
    let before = shared.count("claims");
    let doomed = shared.worker();
    wait_for("the worker claimed nothing", || shared.count("claims") > before);
    kill(doomed);
    let helpers = [shared.worker(), shared.worker()];
    let ended = shared.run().wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", stderr(&ended));
    for helper in helpers {
        let output = helper.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let parts = shared.count("done");
    assert!(parts > 10, "{parts} parts");
    assert!(files_of(&alone) == files_of(&shared.place), "the shared cleaning gave other documents");
}

#[test]
fn shared_cleaning_gives_the_same_files_though_workers_are_killed() {
    check_that_kills_change_nothing(&Shared::folder());
}

#[test]
#[cfg(feature = "object-store")]
fn shared_cleaning_through_a_bucket_gives_the_same_files_though_workers_are_killed() {
    match danlu_testing::ObjectStore::start() {
        Ok(store) => check_that_kills_change_nothing(&Shared::bucket(store)),
        Err(reason) => danlu_testing::skip("shared_cleaning_through_a_bucket", &reason),
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
