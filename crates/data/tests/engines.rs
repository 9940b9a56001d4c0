//! Duplicates found by an SQL engine, in this process and on clusters, are those found by our own sorting.
#![cfg(feature = "spark")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use danlu_data::{
    DedupConfig, Document, DocumentWriter, Duplicates, NearConfig, RepeatConfig, SubstringConfig, find_duplicates,
};
use danlu_testing::{ObjectStore, Sail, SparkCluster, skip};

/// Texts of made-up words and of Chinese characters: every fourth nearly a copy of the one before, every seventh the same
/// as the one before, and a line that many have.
fn write_documents(path: &Path, count: u64) {
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut writer = DocumentWriter::create(path).unwrap();
    let mut text = String::new();
    for row in 0..count {
        let unit = |number: u64| match row / 4 % 2 {
            0 => format!("w{number} "),
            _ => char::from_u32(0x4E00 + number as u32).unwrap().to_string(),
        };
        match row {
            _ if row % 7 == 6 => {}
            _ if row % 4 == 3 => text.insert_str(0, &unit(next(4000))),
            _ => {
                text = (0..60 + next(20)).map(|_| unit(next(4000))).collect();
                if row % 5 == 0 {
                    text += &format!("\n\nA line that many documents have in common, number {}.\n", row % 3);
                }
            }
        }
        writer.write(&Document::new(text.as_str(), ["one", "two"][row as usize % 2])).unwrap();
    }
    writer.finish().unwrap();
}

fn config(engine: Option<&str>, exchange: Option<&str>) -> DedupConfig {
    DedupConfig {
        near: Some(NearConfig::default()),
        lines: Some(RepeatConfig { min_chars: 30 }),
        substring: Some(SubstringConfig { min_bytes: 80, ..SubstringConfig::default() }),
        engine: engine.map(String::from),
        exchange: exchange.map(String::from),
        ..DedupConfig::default()
    }
}

fn search(dir: &Path, config: &DedupConfig) -> Duplicates {
    let work = dir.join("work");
    let found = find_duplicates(&dir.join("documents.parquet"), config, &work, &|_| {}).unwrap();
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0, "files were left");
    found
}

#[track_caller]
fn assert_same(found: &Duplicates, expected: &Duplicates) {
    assert!(expected.drops.len() > 100 && expected.cuts.len() > 100, "the test has little to find");
    assert!(found.drops == expected.drops, "other documents are dropped");
    assert!(found.cuts == expected.cuts, "other parts are cut");
}

#[test]
fn datafusion_finds_what_our_own_sorting_finds() {
    let dir = tempfile::tempdir().unwrap();
    write_documents(&dir.path().join("documents.parquet"), 2000);
    let expected = search(dir.path(), &config(None, None));
    assert_same(&search(dir.path(), &config(Some("datafusion"), None)), &expected);
    let exchange = dir.path().join("exchange");
    assert_same(&search(dir.path(), &config(Some("datafusion"), exchange.to_str())), &expected);
    assert_eq!(std::fs::read_dir(&exchange).unwrap().count(), 0, "files were left");
}

#[test]
fn sail_finds_what_our_own_sorting_finds() {
    let sail = match Sail::start() {
        Ok(sail) => sail,
        Err(reason) => return skip("sail_finds_what_our_own_sorting_finds", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    write_documents(&dir.path().join("documents.parquet"), 2000);
    let expected = search(dir.path(), &config(None, None));
    assert_same(&search(dir.path(), &config(Some(&sail.address()), None)), &expected);
}

/// What the child process of the next test runs: a search that finds the store by its environment.
#[test]
fn searches_by_way_of_the_environments_store() {
    let (Some(dir), Some(engine)) = (std::env::var_os(CHILD), std::env::var(ENGINE).ok()) else { return };
    let dir = Path::new(&dir);
    let expected = search(dir, &config(None, None));
    assert_same(&search(dir, &config(Some(&engine), Some("s3://bucket/exchange"))), &expected);
}

const CHILD: &str = "DANLU_TEST_EXCHANGE_CHILD";
const ENGINE: &str = "DANLU_TEST_EXCHANGE_ENGINE";

/// A cluster that sees no disk of ours, but the same bucket.
#[test]
fn records_reach_a_cluster_through_a_bucket() {
    let store = match ObjectStore::start() {
        Ok(store) => store,
        Err(reason) => return skip("records_reach_a_cluster_through_a_bucket", &reason),
    };
    let sail = match Sail::with(&store.variables()) {
        Ok(sail) => sail,
        Err(reason) => return skip("records_reach_a_cluster_through_a_bucket", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    write_documents(&dir.path().join("documents.parquet"), 1000);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "searches_by_way_of_the_environments_store"])
        .env(CHILD, dir.path())
        .env(ENGINE, sail.address())
        .envs(store.variables())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

/// A real cluster loses an executor in the middle of the work: Spark runs what it had again, and nothing is different.
#[test]
fn spark_gives_the_same_though_an_executor_is_killed() {
    let cluster = match SparkCluster::start() {
        Ok(cluster) => cluster,
        Err(reason) => return skip("spark_gives_the_same_though_an_executor_is_killed", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    write_documents(&dir.path().join("documents.parquet"), 20_000);
    let expected = search(dir.path(), &config(None, None));
    let config = config(Some(&cluster.address()), None);
    let found = std::thread::scope(|scope| {
        let searching = scope.spawn(|| search(dir.path(), &config));
        cluster.kill_an_executor_at_work().unwrap();
        searching.join().unwrap()
    });
    assert_same(&found, &expected);
    assert!(cluster.lost_executors().unwrap() > 0, "the executor was not lost");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write_documents(&dir.path().join("documents.parquet"), 10);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config(Some(&format!("spark://127.0.0.1:{unused}")), None);
    let error = find_duplicates(&dir.path().join("documents.parquet"), &config, dir.path(), &|_| {}).err().unwrap();
    let (message, hint) = (error.to_string(), error.hint().unwrap());
    assert!(message.contains(&format!("127.0.0.1:{unused}")) && hint.contains("start one"), "{message} {hint}");
}
