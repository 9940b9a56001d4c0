//! What the commands look like, word for word. After a wanted change: `INSTA_UPDATE=always cargo test -p danlu --release`.

use crate::harness::Place;

#[test]
fn help_teaches() {
    let place = Place::new();
    insta::assert_snapshot!("help", place.ok(&["--help"]));
    insta::assert_snapshot!("help_bench", place.ok(&["bench", "--help"]));
    insta::assert_snapshot!("help_run", place.ok(&["run", "--help"]));
    insta::assert_snapshot!("help_generate", place.ok(&["generate", "--help"]));
    insta::assert_snapshot!("help_embed", place.ok(&["embed", "--help"]));
    insta::assert_snapshot!("help_classify", place.ok(&["classify", "--help"]));
    insta::assert_snapshot!("help_serve", place.ok(&["serve", "--help"]));
}

#[test]
fn a_dry_run_says_what_and_why() {
    let place = Place::new();
    insta::assert_snapshot!("dry_run", place.ok(&["run", "tiny.toml", "--dry-run"]));
    place.ok(&["run", "tiny.toml", "--only", "collect"]);
    place.write_recipe(|text| text.replace("limit = 600", "limit = 500"));
    let changed = place.ok(&["run", "tiny.toml", "--dry-run"]);
    insta::assert_snapshot!("dry_run_changed", changed);
}

#[test]
fn a_recipe_is_explained() {
    let place = Place::new();
    let text = place.ok(&["recipe", "explain", "tiny.toml"]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("corpora")).collect();
    insta::assert_snapshot!("explain", lines.join("\n"));
}

#[test]
fn no_runs_yet() {
    insta::assert_snapshot!(Place::new().ok(&["runs"]), @"no runs yet; `danlu run recipes/quickstart.toml` makes the first");
}
