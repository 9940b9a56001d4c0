//! The process's allocator.

/// The allocator of danlu's programs, for `#[global_allocator]`. Compared with the system's and jemalloc in docs/log.md.
pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc 3 (its `mimalloc.h`), which the binding does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// From now on, freed pages stay with this process, unless the variable `MIMALLOC_PURGE_DELAY` says what to do with them.
///
/// Every training step frees and asks for the same large buffers. By default mimalloc hands freed pages back to the
/// system after 10 ms, and the system clears each again on its next first touch, at a fraction of the memory's speed.
/// The peak is the same either way; what changes is that memory is not handed back between peaks.
pub fn keep_pages() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    // SAFETY: sets a number in mimalloc's table of options, which exists from the start of the program and may be
    // changed at any time by any thread; an index that a version does not know is ignored by the library.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    /// Also catches a version of mimalloc whose options are numbered otherwise: its default here is not -1.
    #[test]
    fn the_option_is_the_one_meant() {
        // SAFETY: reads a number in mimalloc's table of options.
        #[allow(unsafe_code)]
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
            return; // the variable stands above all
        }
        assert!(matches!(delay(), 10 | 1000), "mimalloc's default of the purge delay: {}", delay());
        keep_pages();
        assert_eq!(delay(), -1);
    }
}
