//! How much memory the process holds.

/// The most memory that this process has held at once, in bytes; none where the system does not tell (it is `VmHWM` of
/// Linux's `/proc/self/status`).
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_rises_with_what_is_touched_and_never_falls() {
        let before = peak_resident_bytes().unwrap();
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let with = peak_resident_bytes().unwrap();
        assert!(with >= before + (48 << 20), "{before} {with}");
        drop(touched);
        assert!(peak_resident_bytes().unwrap() >= with);
    }
}
