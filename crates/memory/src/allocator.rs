//! The process's allocator: mimalloc, and beside it an arena for the large blocks of training.

use crate::arena::{ALIGNMENT, Arena};
use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks from this size on come from the arena while pages are kept: mimalloc has pages of several MiB for each class of
/// sizes below its largest, and those weigh. A half and a whole MiB held more, 64 KiB no less (docs/log.md).
const LARGE: usize = 128 << 10;

/// The arena's address space: the first that the system grants, in bytes. No memory is behind it until it is touched.
const RESERVED: [u64; 3] = [1 << 40, 1 << 38, 1 << 36];

/// Reserved when pages are first kept; none where the system has no room for it.
static ARENA: OnceLock<Option<Arena>> = OnceLock::new();
/// Whether new large blocks come from the arena, and freed ones keep their pages.
static OPEN: AtomicBool = AtomicBool::new(false);

/// The allocator of danlu's programs, for `#[global_allocator]`.
///
/// mimalloc, except for large blocks while pages are kept ([`keep_pages`](crate::keep_pages)): those come from an arena
/// in which blocks of all sizes reuse each other's pages. Compared with others in docs/log.md.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// From now on new large blocks come from the arena, if there is one.
pub(crate) fn open_arena() {
    ARENA.get_or_init(|| RESERVED.into_iter().find_map(Arena::reserve));
    OPEN.store(true, Ordering::Relaxed);
}

/// No more blocks from the arena; its free pages go back to the system, and those of its blocks when they are freed.
pub(crate) fn close_arena() {
    OPEN.store(false, Ordering::Relaxed);
    if let Some(Some(arena)) = ARENA.get() {
        arena.discard_free();
    }
}

/// The arena, if a new block of this layout should come from it.
fn arena_for(layout: Layout) -> Option<&'static Arena> {
    let suits = layout.size() >= LARGE && layout.align() <= ALIGNMENT && OPEN.load(Ordering::Relaxed);
    if suits { ARENA.get()?.as_ref() } else { None }
}

/// The arena, if a block came from it. Its blocks are never smaller than [`LARGE`], so small ones cost one comparison.
fn arena_of(block: *const u8, layout: Layout) -> Option<&'static Arena> {
    if layout.size() < LARGE {
        return None;
    }
    ARENA.get()?.as_ref().filter(|arena| arena.owns(block))
}

// SAFETY: each block is mimalloc's or the arena's, and goes back to where it came from: `arena_of` tells by its address.
// Both give blocks of at least the size and alignment asked for that overlap no other, and neither unwinds. The arena's
// tables ask this allocator for memory while its lock is held, for nodes of a few hundred bytes: those are mimalloc's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = arena_for(layout).and_then(|arena| arena.alloc(layout.size())) {
            return block.as_ptr();
        }
        // SAFETY: the caller's promises, passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = arena_for(layout).and_then(|arena| arena.alloc_zeroed(layout.size())) {
            return block.as_ptr();
        }
        // SAFETY: the caller's promises, passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match arena_of(block, layout) {
            // SAFETY: the block is the arena's, has this layout's size and is given up.
            Some(arena) => unsafe { arena.free(block, layout.size(), OPEN.load(Ordering::Relaxed)) },
            // SAFETY: the caller's promises, passed on: the block is mimalloc's.
            None => unsafe { MiMalloc.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match arena_of(block, layout) {
            Some(arena) if new_size >= LARGE && arena.resize(block, layout.size(), new_size) => block,
            // SAFETY: the caller's promises, passed on: the block is mimalloc's, and may stay with it.
            None if arena_for(wanted).is_none() => unsafe { MiMalloc.realloc(block, layout, new_size) },
            // SAFETY: the caller's promises, passed on.
            _ => unsafe { self.relocate(block, layout, wanted) },
        }
    }
}

impl Allocator {
    /// A new block with the old one's content, which is freed; null, and the old one stays, when there is no memory.
    ///
    /// # Safety
    /// `block` must be this allocator's, of layout `old`; the size wanted must not be 0.
    #[cold]
    #[allow(unsafe_code)]
    unsafe fn relocate(&self, block: *mut u8, old: Layout, wanted: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size that is not 0; two living blocks do not overlap, and each has at least the
        // bytes copied; the old one is given up after that.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                block.copy_to_nonoverlapping(new, old.size().min(wanted.size()));
                self.dealloc(block, old);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests;
