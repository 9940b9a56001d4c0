//! What a process holds while pages are kept and after: alone in its process, for nothing else may touch memory meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use danlu_memory::{Allocator, keep_pages};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const SIZE: usize = 64 << 20;
/// Tables, stacks and huge pages.
const OTHERS: usize = SIZE / 2;

#[test]
fn pages_stay_while_kept_and_go_back_after() {
    let kept = keep_pages();
    let before = resident();
    let outlives = std::hint::black_box(vec![1u8; SIZE]);
    drop(std::hint::black_box(vec![1u8; SIZE]));
    assert!(resident() > before + 2 * SIZE - OTHERS, "kept");
    // Smaller ones and a larger one find room in what the freed one left, and in each other's.
    for size in [SIZE / 3, SIZE / 2, SIZE / 7, SIZE + SIZE / 8] {
        drop(std::hint::black_box(vec![1u8; size]));
    }
    assert!(resident() < before + 2 * SIZE + OTHERS, "all sizes share their pages");
    drop(kept);
    assert!(resident() < before + SIZE + OTHERS, "given back");
    assert!(outlives.iter().all(|&byte| byte == 1));
    drop(outlives);
    assert!(resident() < before + OTHERS, "given back when it was freed, after the last keeper");
}

/// Bytes of memory that this process holds now.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}
