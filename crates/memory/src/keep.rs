//! Freed pages that stay with the process while it trains.

use crate::allocator::{close_arena, open_arena};
use std::ffi::c_long;
use std::sync::{Mutex, PoisonError};

/// `mi_option_purge_delay` of mimalloc 3 (its `mimalloc.h`), which the binding does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Pages are never handed back.
const NEVER: c_long = -1;

/// How many [`KeptPages`] live, and mimalloc's purge delay before the first of them.
static KEEPERS: Mutex<(usize, c_long)> = Mutex::new((0, 0));

/// While one of these lives, freed pages stay with the process. See [`keep_pages`].
#[derive(Debug)]
#[must_use = "pages are kept while this lives"]
pub struct KeptPages(());

/// Freed pages stay with this process while the result lives; when the last is dropped, they go back to the system.
///
/// Every training step frees and asks for the same large buffers. By default freed pages go back to the system after a
/// moment, and it clears each again on its next first touch, at a fraction of the memory's speed. Meanwhile large blocks
/// come from an arena in which all sizes share their pages, so that what is kept is little more than what was live at the
/// worst moment. A variable `MIMALLOC_PURGE_DELAY` stands above this for blocks outside the arena.
pub fn keep_pages() -> KeptPages {
    let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
    if keepers.0 == 0 {
        keepers.1 = purge_delay();
        set_purge_delay(NEVER);
        open_arena();
    }
    keepers.0 += 1;
    KeptPages(())
}

impl Drop for KeptPages {
    fn drop(&mut self) {
        let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.0 -= 1;
        if keepers.0 == 0 {
            close_arena();
            set_purge_delay(keepers.1);
            // SAFETY: frees pages that no block is on; any thread may call it at any time.
            #[allow(unsafe_code)]
            unsafe {
                libmimalloc_sys::mi_collect(true);
            }
        }
    }
}

fn purge_delay() -> c_long {
    // SAFETY: reads a number in mimalloc's table of options, which exists from the start of the program.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_get(PURGE_DELAY)
    }
}

fn set_purge_delay(delay: c_long) {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    // SAFETY: sets a number in that table, which any thread may do at any time; an index that a version does not know is
    // ignored by the library.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, delay);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whether pages are kept is one for the whole process: tests that look at it take turns.
    pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also catches a version of mimalloc whose options are numbered otherwise: its default here is not -1.
    #[test]
    fn the_option_is_the_one_meant_and_comes_back() {
        let _alone = alone();
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
            return; // the variable stands above all
        }
        let before = purge_delay();
        assert!(matches!(before, 10 | 1000), "mimalloc's default of the purge delay: {before}");
        let (first, second) = (keep_pages(), keep_pages());
        drop(first);
        assert_eq!(purge_delay(), NEVER, "the second still lives");
        drop(second);
        assert_eq!(purge_delay(), before);
    }
}
