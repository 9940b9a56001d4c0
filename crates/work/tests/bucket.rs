//! What jobs stand on, asked of a real S3 server: an object is created once, whoever is first; files come back whole.
#![cfg(feature = "object-store")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use danlu_testing::{ObjectStore, skip};
use danlu_work::{Bucket, WorkError};

const CHILD: &str = "DANLU_TEST_BUCKET_CHILD";

/// What the child process of the next test runs: it finds the store by its environment.
#[test]
fn uses_the_environments_store() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let bucket = Bucket::open("s3://bucket/job").unwrap();
    assert!(bucket.list("claims").unwrap().is_empty());

    // Of many at once exactly one creates an object.
    let created = std::thread::scope(|scope| {
        let create = |worker: usize| {
            let bucket = bucket.clone();
            scope.spawn(move || bucket.create("claims/part/000000", worker.to_string().into_bytes()).unwrap())
        };
        let all: Vec<_> = (0..8).map(create).collect();
        all.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
    });
    assert_eq!(created, 1);
    assert_eq!(bucket.list("claims").unwrap(), ["claims/part/000000"]);
    bucket.write("claims/part/000000", b"alive".to_vec()).unwrap();
    assert_eq!(bucket.read("claims/part/000000").unwrap().as_deref(), Some(&b"alive"[..]));
    assert_eq!(bucket.read("claims/none").unwrap(), None);

    // A file of several parts, and one of none.
    for (name, size) in [("large", 20 << 20), ("empty", 0)] {
        let (there, back) = (dir.join(name), dir.join(format!("{name}-back")));
        let content: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::write(&there, &content).unwrap();
        let (bytes, hash) = bucket.upload(&there, &format!("results/{name}")).unwrap();
        assert_eq!(bytes, size as u64);
        bucket.download(&format!("results/{name}"), &back, &hash).unwrap();
        assert!(std::fs::read(&back).unwrap() == content, "{name}");
    }
    let other = blake3_of(b"something else");
    let damaged = bucket.download("results/large", &dir.join("damaged"), &other);
    assert!(matches!(damaged, Err(WorkError::Damaged { .. })) && !dir.join("damaged").exists());
    bucket.delete("results/large").unwrap();
    bucket.delete("results/large").unwrap();
    assert_eq!(bucket.list("results").unwrap(), ["results/empty"]);
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn a_bucket_of_a_real_server_does_what_jobs_need() {
    let store = match ObjectStore::start() {
        Ok(store) => store,
        Err(reason) => return skip("a_bucket_of_a_real_server_does_what_jobs_need", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "uses_the_environments_store"])
        .env(CHILD, dir.path())
        .envs(store.variables())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}
