//! Runs what once crashed a fuzz target (`fuzz/crashers/TARGET/*`), the seeds of the targets (`fuzz/seeds`), whole and changed,
//! and the committed pages and articles through the fuzz targets as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../fuzz/changes.rs"]
mod changes;
#[path = "../../../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    all.sort();
    all
}

/// Sound files of each target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (folder, ends): (PathBuf, &[&str]) = match target {
        "html" => (tests.join("pages"), &["html"]),
        "wikitext" => (tests.join("wikitext"), &["wiki"]),
        "picture" => (tests.join("pictures"), &["png", "jpg"]),
        _ => (tests.join("../../../fuzz/seeds").join(target), &[]),
    };
    let fits = |path: &&PathBuf| match path.extension().and_then(|end| end.to_str()) {
        Some(end) => ends.contains(&end),
        None => ends.is_empty(),
    };
    files(&folder).iter().filter(fits).map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn old_crashers_and_seeds_do_not_crash() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    assert!(root.join("targets.rs").is_file());
    // Those of crates/convert, too.
    let targets = files(&root.join("fuzz_targets"));
    let names: Vec<_> = targets.iter().filter_map(|path| path.file_stem()).collect();
    for kind in ["crashers", "seeds"] {
        for dir in std::fs::read_dir(root.join(kind)).into_iter().flatten() {
            let name = dir.unwrap().file_name();
            assert!(names.contains(&name.as_os_str()), "{kind}/{} is of no target", name.display());
        }
        for (name, target) in targets::TARGETS {
            for file in files(&root.join(kind).join(name)) {
                target(&std::fs::read(&file).unwrap());
            }
        }
    }
}

#[test]
fn every_target_takes_every_committed_text_cut_anywhere() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files: Vec<PathBuf> = [files(&tests.join("pages")), files(&tests.join("wikitext"))].concat();
    assert!(files.len() >= 8);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 20) {
            targets::TARGETS.iter().for_each(|(_, target)| target(&bytes[cut..]));
            targets::TARGETS.iter().for_each(|(_, target)| target(&bytes[..cut]));
        }
    }
}

#[test]
fn pictures_and_sounds_cut_anywhere_do_not_crash() {
    for name in ["picture", "sound"] {
        let (_, target) = targets::TARGETS.iter().find(|(other, _)| *other == name).unwrap();
        for seed in seeds(name) {
            (0..seed.len()).step_by(1 + seed.len() / 60).for_each(|cut| target(&seed[..cut]));
            (0..seed.len()).step_by(1 + seed.len() / 60).for_each(|cut| target(&seed[cut..]));
        }
    }
}

#[test]
fn changed_files_do_not_crash() {
    for (number, (name, target)) in targets::TARGETS.iter().enumerate() {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        // Pages and articles are long.
        let runs = if ["picture", "sound"].contains(name) { 3000 } else { 200 };
        changes::run(number, name, *target, &seeds, runs);
    }
}
