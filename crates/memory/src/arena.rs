//! Large blocks from one range of address space, whose freed pages stay.

use crate::runs::FreeRuns;
use memmap2::{MmapOptions, MmapRaw};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What blocks are cut in: a multiple of every system's page. On models S, M and L it costs 0.2 to 0.4% over 4 KiB.
const GRANULE: usize = 64 << 10;
/// What every block is aligned to: the smallest page.
pub(crate) const ALIGNMENT: usize = 4 << 10;

/// A range of address space out of which blocks are given, always the best fit.
///
/// The system puts memory behind a page when it is first touched; the pages of a freed block stay for the next block
/// there, whatever its size. Tables stand beside, in memory of the program's general allocator, never within blocks.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapRaw,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: FreeRuns,
    /// Granules from here on were never part of a block: they hold zeros.
    fresh: usize,
}

impl Arena {
    /// Reserves `length` bytes of address space, rounded down to whole granules; none where the system refuses.
    pub fn reserve(length: u64) -> Option<Self> {
        // Elsewhere an anonymous mapping takes memory, or room for it, at once.
        if !cfg!(target_os = "linux") {
            return None;
        }
        let granules = usize::try_from(length).ok()? / GRANULE;
        let map = MmapOptions::new().len(granules * GRANULE).no_reserve_swap().map_anon().ok()?;
        // Fewer and faster first touches; without such pages it is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let state = Mutex::new(State { free: FreeRuns::new(granules), fresh: 0 });
        Some(Self { map: MmapRaw::from(map), state })
    }

    /// Whether a block was given out by this arena.
    pub fn owns(&self, block: *const u8) -> bool {
        block.addr().wrapping_sub(self.map.as_ptr().addr()) < self.map.len()
    }

    /// A block of `size` bytes, aligned to [`ALIGNMENT`], with any content; none when no free run is long enough.
    pub fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        self.take(size).map(|(block, _)| block)
    }

    /// The same, full of zeros.
    pub fn alloc_zeroed(&self, size: usize) -> Option<NonNull<u8>> {
        let (block, used) = self.take(size)?;
        // SAFETY: the block is the caller's alone and has at least `size` bytes.
        #[allow(unsafe_code)]
        unsafe {
            block.write_bytes(0, used.min(size));
        }
        Some(block)
    }

    /// A block and how many bytes of its beginning may hold something other than zeros.
    fn take(&self, size: usize) -> Option<(NonNull<u8>, usize)> {
        let granules = size.div_ceil(GRANULE);
        let mut state = self.state();
        let start = state.free.take(granules)?;
        let used = state.fresh.saturating_sub(start);
        state.fresh = state.fresh.max(start + granules);
        let block = NonNull::new(self.map.as_mut_ptr().wrapping_add(start * GRANULE))?;
        Some((block, used * GRANULE))
    }

    /// Makes a block longer or shorter where it lies; false, and nothing changed, when its neighbour is in the way.
    ///
    /// The block must be this arena's, of `old` bytes.
    pub fn resize(&self, block: *const u8, old: usize, new: usize) -> bool {
        let (start, old, new) = (self.granule(block), old.div_ceil(GRANULE), new.div_ceil(GRANULE));
        let mut state = self.state();
        if new < old {
            state.free.give(start + new, old - new);
        } else if new > old {
            if !state.free.take_at(start + old, new - old) {
                return false;
            }
            state.fresh = state.fresh.max(start + new);
        }
        true
    }

    /// Frees a block. With `keep` its pages stay with the arena, else they go back to the system.
    ///
    /// # Safety
    /// The block must be this arena's, of `size` bytes, and is no longer used.
    #[allow(unsafe_code)]
    pub unsafe fn free(&self, block: *const u8, size: usize, keep: bool) {
        let (start, granules) = (self.granule(block), size.div_ceil(GRANULE));
        if !keep {
            // SAFETY: nothing uses these granules: the caller has given them up, and they are not free yet.
            unsafe { self.discard(start, granules) };
        }
        self.state().free.give(start, granules);
    }

    /// Gives the pages of all free runs back to the system.
    pub fn discard_free(&self) {
        let state = self.state();
        for (start, length) in state.free.iter() {
            let touched = (start + length).min(state.fresh).saturating_sub(start);
            // SAFETY: these granules are free, and stay so while the lock is held.
            #[allow(unsafe_code)]
            unsafe {
                self.discard(start, touched);
            }
        }
    }

    /// # Safety
    /// Nothing may use these granules, nor begin to before this returns: they are all zeros after it.
    #[allow(unsafe_code)]
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
    unsafe fn discard(&self, start: usize, granules: usize) {
        #[cfg(target_os = "linux")]
        if granules > 0 {
            // A failure leaves the pages where they are, which harms nobody.
            // SAFETY: the range lies within the map, is private to this process and not in use.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start * GRANULE, granules * GRANULE)
            };
        }
    }

    fn granule(&self, block: *const u8) -> usize {
        (block.addr() - self.map.as_ptr().addr()) / GRANULE
    }

    /// The tables' own memory comes from the program's allocator while this is held: in blocks far too small for an arena.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
