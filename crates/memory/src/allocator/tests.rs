#![allow(clippy::unwrap_used, unsafe_code)]
use super::*;
use crate::keep::tests::alone;
use crate::keep_pages;
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// A block filled with a byte of its own.
struct Block {
    start: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(layout: Layout, mark: u8, zeroed: bool) -> Self {
        // SAFETY: the layout's size is not 0.
        let start = unsafe { if zeroed { ALLOCATOR.alloc_zeroed(layout) } else { ALLOCATOR.alloc(layout) } };
        assert!(!start.is_null() && start.addr().is_multiple_of(layout.align()));
        let block = Self { start, layout, mark };
        if zeroed {
            block.check(0, layout.size());
        }
        block.fill();
        block
    }

    fn fill(&self) {
        // SAFETY: the block is alive, this one's alone and has so many bytes.
        unsafe { self.start.write_bytes(self.mark, self.layout.size()) };
    }

    fn check(&self, expected: u8, size: usize) {
        // SAFETY: the block is alive and so many of its bytes were written.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, size) };
        assert!(bytes.iter().all(|&byte| byte == expected), "{:?} of mark {}", self.layout, self.mark);
    }

    fn resize(&mut self, size: usize) {
        self.check(self.mark, self.layout.size());
        // SAFETY: the block is alive and of that layout; the new size is not 0.
        self.start = unsafe { ALLOCATOR.realloc(self.start, self.layout, size) };
        assert!(!self.start.is_null() && self.start.addr().is_multiple_of(self.layout.align()));
        self.check(self.mark, self.layout.size().min(size));
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        self.fill();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.check(self.mark, self.layout.size());
        // SAFETY: the block is alive and of that layout, and is given up.
        unsafe { ALLOCATOR.dealloc(self.start, self.layout) };
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        size: usize,
        align: usize,
        zeroed: bool,
    },
    Resize {
        which: prop::sample::Index,
        size: usize,
    },
    Free {
        which: prop::sample::Index,
    },
    /// Opens the arena for everyone, or takes that back.
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![1usize..2000, LARGE - 2..LARGE + 3, 1..4 * LARGE];
    let align = (0u32..15).prop_map(|power| 1usize << power);
    let which = any::<prop::sample::Index>;
    prop_oneof![
        4 => (size(), align, any::<bool>()).prop_map(|(size, align, zeroed)| Step::Alloc { size, align, zeroed }),
        3 => (which(), size()).prop_map(|(which, size)| Step::Resize { which, size }),
        2 => which().prop_map(|which| Step::Free { which }),
        1 => Just(Step::Keep),
    ]
}

fn act(steps: &[Step]) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut kept = None;
    for (mark, step) in (1u8..).zip(steps) {
        match step {
            Step::Alloc { size, align, zeroed } => {
                blocks.push(Block::new(Layout::from_size_align(*size, *align).unwrap(), mark, *zeroed));
            }
            Step::Resize { which, size } if !blocks.is_empty() => {
                let which = which.index(blocks.len());
                blocks[which].resize(*size);
            }
            Step::Free { which } if !blocks.is_empty() => drop(blocks.swap_remove(which.index(blocks.len()))),
            Step::Keep => kept = if kept.is_some() { None } else { Some(keep_pages()) },
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks of all sizes and alignments keep their contents, also when they are resized from mimalloc's sizes to the
    /// arena's and back, while the arena is opened and closed and other threads do the same.
    #[test]
    fn contents_stay(plans in prop::collection::vec(prop::collection::vec(step(), 1..40), 3)) {
        let _alone = alone();
        std::thread::scope(|scope| {
            for plan in &plans {
                scope.spawn(|| act(plan));
            }
        });
    }
}

/// Where blocks come from, and that moving one between the two keeps its content, is what the steps above rest on.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[test]
fn large_blocks_are_the_arenas_while_pages_are_kept() {
    let _alone = alone();
    let of_arena = |block: &Block| arena_of(block.start, block.layout).is_some();
    let large = Layout::from_size_align(LARGE, 64).unwrap();
    let before = Block::new(large, 1, false);
    assert!(!of_arena(&before), "nobody keeps pages");
    let kept = keep_pages();
    let mut block = Block::new(large, 2, false);
    assert!(of_arena(&block));
    assert!(!of_arena(&Block::new(Layout::from_size_align(LARGE, 2 * ALIGNMENT).unwrap(), 3, false)), "alignment");
    block.resize(LARGE - 1);
    assert!(!of_arena(&block), "too small");
    block.resize(3 * LARGE);
    assert!(of_arena(&block));
    drop(kept);
    block.resize(2 * LARGE);
    assert!(of_arena(&block), "shorter where it lies");
    block.resize(40 * LARGE);
    drop(before);
}
