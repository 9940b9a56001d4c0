//! The house's floors: a crate uses only crates on lower floors, and `unsafe` stays in its two rooms.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors of ARCHITECTURE.md. A new room must be given its floor here and there.
const FLOORS: &[(u32, &[&str])] = &[
    (0, &["kernels", "memory", "store", "formats", "report", "spark", "testing", "text", "weights", "work"]),
    (1, &["convert", "ops", "sql"]),
    (2, &["data", "model"]),
    (3, &["train", "eval", "compress", "serve"]),
    (4, &["tune"]),
    (5, &["bench", "pipeline"]),
    (6, &["cli"]),
];

/// The rooms whose business is memory that Rust cannot check.
const UNSAFE_ROOMS: &[&str] = &["kernels", "memory"];

fn crates_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn floor_of(room: &str) -> u32 {
    let found = FLOORS.iter().find(|(_, rooms)| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("crates/{room} has no floor: give it one in ARCHITECTURE.md and in this test")).0
}

/// `room -> rooms it depends on`, as the manifests say (tests may look upwards, products may not).
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(crates_dir()).unwrap() {
        let dir = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(dir.join("Cargo.toml")) else { continue };
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let uses = ["dependencies", "build-dependencies"]
            .iter()
            .filter_map(|section| manifest.get(*section)?.as_table())
            .flat_map(|table| table.keys())
            .filter_map(|name| name.strip_prefix("danlu-").map(str::to_owned))
            .collect();
        all.insert(dir.file_name().unwrap().to_string_lossy().into_owned(), uses);
    }
    all
}

#[test]
fn a_crate_uses_only_lower_floors() {
    let all = dependencies();
    assert!(all.len() >= 13, "found only {} crates", all.len());
    for (room, uses) in &all {
        for used in uses {
            assert!(
                floor_of(used) < floor_of(room),
                "crates/{room} (floor {}) must not use crates/{used} (floor {})",
                floor_of(room),
                floor_of(used)
            );
        }
    }
}

#[test]
fn every_floor_is_a_room_that_exists() {
    let all = dependencies();
    for room in FLOORS.iter().flat_map(|(_, rooms)| *rooms) {
        assert!(all.contains_key(*room), "ARCHITECTURE.md and this test name crates/{room}, which is not there");
    }
}

#[test]
fn unsafe_stays_in_its_rooms() {
    for room in dependencies().keys().filter(|room| !UNSAFE_ROOMS.contains(&room.as_str())) {
        let manifest = std::fs::read_to_string(crates_dir().join(room).join("Cargo.toml")).unwrap();
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits, "crates/{room} must inherit the workspace's lints (unsafe_code = forbid)");
    }
    let root = std::fs::read_to_string(crates_dir().parent().unwrap().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}

#[test]
fn the_architecture_page_names_every_room() {
    let page = std::fs::read_to_string(crates_dir().parent().unwrap().join("ARCHITECTURE.md")).unwrap();
    for room in dependencies().keys() {
        assert!(page.contains(&format!("`{room}`")), "ARCHITECTURE.md does not name `{room}`");
    }
}
