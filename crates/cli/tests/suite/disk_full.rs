//! A full disk: a clear error, nothing finished is lost, and with room again the run goes on.

use std::path::Path;
use std::process::Command;

use crate::harness::{Place, skip};

struct Mount(std::path::PathBuf);

impl Mount {
    fn new(path: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path).status();
        status.is_ok_and(|s| s.success()).then(|| Self(path.to_owned()))
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_finished() {
    let place = Place::new();
    let Some(mount) = Mount::new(&place.path("small"), "1500k") else {
        return skip("a_full_disk_loses_nothing_that_was_finished", "mounting a tmpfs needs root");
    };
    let text = place.fails(1, &["--runs-dir", "small/runs", "run", "tiny.toml"]);
    assert!(text.contains("hint:") && text.to_lowercase().contains("space"), "{text}");
    let stages = std::fs::read_dir(place.path("small/runs/artifacts")).map_or(0, Iterator::count);
    assert!(stages > 0, "some stage was at work");
    mount.grow("64m");
    let summary = place.json(&["--runs-dir", "small/runs", "run", "tiny.toml", "--json"]);
    assert!(summary["test"]["bits_per_byte"].as_f64().unwrap() > 0.0);
}
