//! The most that a process held: alone in its process, for other tests' peaks are the same figure.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use danlu_memory::peak_resident_bytes;

#[test]
fn the_peak_rises_with_what_is_touched_and_never_falls() {
    let before = peak_resident_bytes().unwrap();
    let touched = std::hint::black_box(vec![1u8; 64 << 20]);
    let with = peak_resident_bytes().unwrap();
    assert!(with >= before + (48 << 20), "{before} {with}");
    drop(touched);
    // Linux counts by processor, and adds the counts up coarsely: by tens of pages for each.
    let after = peak_resident_bytes().unwrap();
    assert!(after >= with - (4 << 20), "{after} {with}");
}
