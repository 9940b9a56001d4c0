//! A workspace in a temporary folder and the binary in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The recipe of these tests: the quickstart's corpora, little of them, and a model of two thin layers.
pub const RECIPE: &str = r#"
name = "tiny"
seed = 7

[[data.sources]]
name = "state-of-the-union"
path = "CORPORA/state-of-the-union.jsonl.zst"
limit = 12

[[data.sources]]
name = "tang-poems"
path = "CORPORA/tang-poems.jsonl.zst"
limit = 600

[clean]
min_chars = 16

[split]
valid = 0.05
test = 0.05

[tokenizer]
vocab_size = 800

[model]
layers = 2
hidden_size = 48
heads = 2
max_seq_len = 64
dropout = 0.1

[train]
steps = 40
batch_size = 4
seq_len = 64
learning_rate = 3e-3
warmup_steps = 4
valid_every = 10
valid_batches = 2
checkpoint_every = 5

[evaluate]
max_bytes = 20_000

[samples]
prompts = ["The people", "春"]
max_tokens = 12

[compress]
decode_tokens = 8
"#;

pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    /// A folder with the tiny recipe as `tiny.toml`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        place.write_recipe(|text| text.to_owned());
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `tiny.toml` after an edit of the usual text.
    pub fn write_recipe(&self, edit: impl FnOnce(&str) -> String) {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpora").canonicalize().unwrap();
        let text = edit(&RECIPE.replace("CORPORA", &corpora.to_string_lossy()));
        std::fs::write(self.path("tiny.toml"), text).unwrap();
    }

    /// All files of all artifacts by their path below `runs/artifacts`; of a manifest what is not a time.
    pub fn artifact_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.path("runs/artifacts");
        let mut paths = Vec::new();
        walk(&root, &mut paths);
        let file = |path: PathBuf| (path.strip_prefix(&root).unwrap().to_owned(), without_times(&path));
        paths.into_iter().map(file).collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_danlu"));
        command.args(args).current_dir(self.dir.path()).env_remove("DANLU_RUNS_DIR").env("NO_COLOR", "1");
        command
    }

    pub fn danlu(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs, expects success, returns standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.danlu(args);
        assert!(output.status.success(), "danlu {args:?} failed:\n{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Place::ok`], and reads the last line as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(args);
        let last = text.lines().last().unwrap_or_else(|| panic!("danlu {args:?} printed nothing"));
        serde_json::from_str(last).unwrap_or_else(|e| panic!("danlu {args:?}: {e} in {last}"))
    }

    /// Runs, expects the exit code, returns standard error.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.danlu(args);
        assert_eq!(output.status.code(), Some(code), "danlu {args:?}:\n{}", stderr(&output));
        stderr(&output).replace(&*self.dir.path().to_string_lossy(), "DIR")
    }
}

fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, all) } else { all.push(path) }
    }
}

/// What a file holds, of a manifest without the times.
fn without_times(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !path.ends_with("manifest.json") {
        return bytes;
    }
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    for time in ["created", "seconds"] {
        manifest.as_object_mut().unwrap().remove(time);
    }
    manifest.to_string().into_bytes()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub use danlu_testing::skip;
