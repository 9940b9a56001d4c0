#![allow(clippy::unwrap_used, unsafe_code)]
use super::*;
use proptest::prelude::*;

const LENGTH: usize = 8 << 20;

fn arena() -> Arena {
    Arena::reserve(LENGTH as u64).unwrap()
}

fn all_free(arena: &Arena) -> bool {
    arena.state().free.iter().eq([(0, LENGTH / GRANULE)])
}

/// A block filled with a byte of its own.
struct Block {
    start: NonNull<u8>,
    size: usize,
    mark: u8,
}

impl Block {
    fn new(arena: &Arena, size: usize, mark: u8, zeroed: bool) -> Option<Self> {
        let start = if zeroed { arena.alloc_zeroed(size)? } else { arena.alloc(size)? };
        assert!(arena.owns(start.as_ptr()) && start.addr().get() % ALIGNMENT == 0);
        let block = Self { start, size, mark };
        if zeroed {
            assert!(block.bytes().iter().all(|&byte| byte == 0), "a zeroed block holds zeros");
        }
        block.fill(0..size);
        Some(block)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is alive, its `size` bytes are initialised: pages of a map hold zeros at first.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    fn fill(&self, range: std::ops::Range<usize>) {
        // SAFETY: the block is alive and this one's alone, the range within it.
        unsafe { self.start.add(range.start).write_bytes(self.mark, range.len()) };
    }

    fn resize(&mut self, arena: &Arena, size: usize) {
        if arena.resize(self.start.as_ptr(), self.size, size) {
            let old = std::mem::replace(&mut self.size, size);
            self.fill(old.min(size)..size);
        }
    }

    fn check(&self) {
        assert!(self.bytes().iter().all(|&byte| byte == self.mark), "block {} is intact", self.mark);
    }

    fn free(self, arena: &Arena, keep: bool) {
        self.check();
        // SAFETY: the block is this arena's, of that size, and given up.
        unsafe { arena.free(self.start.as_ptr(), self.size, keep) };
    }
}

#[derive(Clone, Debug)]
enum Step {
    Alloc { size: usize, zeroed: bool },
    Resize { which: prop::sample::Index, size: usize },
    Free { which: prop::sample::Index, keep: bool },
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![1..5 * GRANULE, (1usize..30).prop_map(|granules| granules * GRANULE)];
    let which = any::<prop::sample::Index>;
    prop_oneof![
        4 => (size(), any::<bool>()).prop_map(|(size, zeroed)| Step::Alloc { size, zeroed }),
        2 => (which(), size()).prop_map(|(which, size)| Step::Resize { which, size }),
        3 => (which(), any::<bool>()).prop_map(|(which, keep)| Step::Free { which, keep }),
        1 => Just(Step::Discard),
    ]
}

/// Makes the steps, and frees at the end what is left.
fn act(arena: &Arena, steps: &[Step]) {
    let mut blocks: Vec<Block> = Vec::new();
    for (mark, step) in (1u8..).zip(steps) {
        match step {
            Step::Alloc { size, zeroed } => blocks.extend(Block::new(arena, *size, mark, *zeroed)),
            Step::Resize { which, size } if !blocks.is_empty() => {
                let which = which.index(blocks.len());
                blocks[which].resize(arena, *size);
            }
            Step::Free { which, keep } if !blocks.is_empty() => {
                blocks.swap_remove(which.index(blocks.len())).free(arena, *keep);
            }
            Step::Discard => arena.discard_free(),
            _ => {}
        }
    }
    blocks.into_iter().for_each(|block| block.free(arena, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks keep their contents whatever happens to others, on one thread and on three at once; and in the end all of
    /// the range is one run again.
    #[test]
    fn contents_stay_and_the_range_comes_back(plans in prop::collection::vec(prop::collection::vec(step(), 1..40), 3)) {
        let arena = arena();
        act(&arena, &plans[0]);
        prop_assert!(all_free(&arena));
        std::thread::scope(|scope| {
            for plan in &plans {
                scope.spawn(|| act(&arena, plan));
            }
        });
        prop_assert!(all_free(&arena));
    }
}

#[test]
fn a_full_arena_gives_nothing() {
    let arena = arena();
    let all = Block::new(&arena, LENGTH, 1, true).unwrap();
    assert!(arena.alloc(1).is_none());
    assert!(!arena.resize(all.start.as_ptr(), LENGTH, LENGTH + 1));
    all.free(&arena, true);
    assert!(arena.alloc(LENGTH + 1).is_none());
    assert!(all_free(&arena));
}

#[test]
fn discarded_pages_are_zero_and_kept_ones_are_not() {
    let arena = arena();
    for keep in [true, false] {
        let block = Block::new(&arena, GRANULE, 7, false).unwrap();
        let start = block.start;
        block.free(&arena, keep);
        let again = arena.alloc(GRANULE).unwrap();
        assert_eq!(again, start, "the best fit, and the lowest");
        // SAFETY: the block is alive, and its bytes were written above or are a fresh page's zeros.
        assert_eq!(unsafe { again.read() }, if keep { 7 } else { 0 });
        // SAFETY: as above, and given up.
        unsafe { arena.free(again.as_ptr(), GRANULE, false) };
    }
}

#[test]
fn more_than_the_address_space_is_refused() {
    assert!(Arena::reserve(1 << 60).is_none());
}
