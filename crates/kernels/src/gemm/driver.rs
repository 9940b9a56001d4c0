//! Blocking and threads.
//!
//! A product is cut by its shape alone:
//! * the inner dimension into *blocks*. A micro-kernel sums one block in registers, and block after block is added to
//!   c; so the value of an element depends on the inner size alone, not on the other sizes, its position or the threads;
//! * one operand, the smaller one, is packed once for all threads, as much of it at a time as stays in the last cache:
//!   it is *shared*;
//! * the other into *tasks* of a few panels. A task packs its own part of it, block by block, into a buffer that stays
//!   in the second cache, and multiplies it with all that is shared. So the larger operand goes through memory once.
//!   Threads take tasks one by one.

use super::epilogue::Epilogue;
use super::kernel::{Kernel, RunTile, TILE, TILE_STRIDE, Tile};
use super::pack::{Lanes, Panels};
use super::packed::Packed;
use super::{Matrix, Threads};
use crate::cpu::Level;
use crate::precision::Precision;
use crate::values::{Output, Values};
use half::bf16;
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

/// Steps of the inner dimension in a block.
const BLOCK: usize = 384;
/// Words of the shared operand that are packed at a time, and the least steps of it.
const SHARED_WORDS: usize = 1 << 22;
const SHARED_STEPS: usize = 1024;
/// Lanes of a task's own operand, if that leaves enough tasks to go round.
const TASK_LANES: usize = 224;
const LEAST_TASK_LANES: usize = 64;
/// Tasks for each thread, so that none waits long at the end, and how few will do.
const TASKS: usize = 6;
const LEAST_TASKS: usize = 3;
/// Lanes and steps of a packing job where lanes are contiguous, and where steps are.
const WIDE_JOB: (usize, usize) = (1024, 64);
const DEEP_JOB: (usize, usize) = (64, BLOCK);
/// Rows of a result in bfloat16 that are computed at a time in f32, where that must be.
const STRIPE: usize = 512;
/// Multiplications below which a second thread costs more than it brings: waking the pool takes 5 to 20 microseconds.
const WORTH_THREADS: usize = 1 << 20;

/// The right-hand side of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Matrix(Matrix<'a>),
    Packed(&'a Packed),
}

/// `c = epilogue(a * b)`, or with `c +` before; a residual and `accumulate` exclude each other.
pub(super) struct Product<'a> {
    pub a: Matrix<'a>,
    pub b: Right<'a>,
    pub c: Output,
    pub c_stride: usize,
    pub accumulate: bool,
    pub epilogue: Epilogue<'a>,
}

// SAFETY: c is only used by `run`, whose caller vouches for it; tasks write disjoint parts.
unsafe impl Send for Product<'_> {}
// SAFETY: as above.
unsafe impl Sync for Product<'_> {}

/// Computes a product.
///
/// # Safety
/// The CPU must have the kernel's instructions. `c` must be valid for writes of all elements (for reads too when
/// accumulating), and nothing else may touch them meanwhile. Sizes must agree; a packed side must be of this kernel.
pub(super) unsafe fn run(kernel: &'static Kernel, product: &Product<'_>, threads: Threads) {
    if product.a.rows == 0 || product.b.size().1 == 0 {
        return;
    }
    let plan = Plan::new(kernel, product);
    if let (Output::Bf16(c), true) = (product.c, plan.blocks > 1) {
        // SAFETY: the caller's promise.
        return unsafe { run_in_stripes(kernel, product, c, threads) };
    }
    let small = plan.rows * plan.cols * plan.depth < WORTH_THREADS;
    if threads == Threads::One || small || rayon::current_num_threads() == 1 {
        // SAFETY: the caller's promise.
        unsafe { plan.run(false) }
    } else {
        // Entering the pool once is cheaper than at every step.
        // SAFETY: the caller's promise.
        rayon::scope(|_| unsafe { plan.run(true) });
    }
}

/// [`run`] for a result in bfloat16 whose sums do not fit into one block: a few rows at a time in f32, then rounded.
///
/// # Safety
/// See [`run`]; `c` is the product's.
unsafe fn run_in_stripes(kernel: &'static Kernel, product: &Product<'_>, c: *mut bf16, threads: Threads) {
    assert!(!product.accumulate, "sums are not kept in bfloat16");
    let (rows, cols) = (product.a.rows, product.b.size().1);
    let mut stripe = vec![0f32; STRIPE.min(rows) * cols];
    for first in (0..rows).step_by(STRIPE) {
        let count = STRIPE.min(rows - first);
        let (a, residual) = (product.a.rows(first, count), product.epilogue.residual);
        let epilogue = Epilogue { residual: residual.map(|r| r.rows(first, count)), ..product.epilogue };
        let part = Product { a, c: Output::F32(stripe.as_mut_ptr()), c_stride: cols, epilogue, ..*product };
        // SAFETY: the stripe has room for these rows; the caller vouches for the rest, and that c has them too.
        unsafe {
            run(kernel, &part, threads);
            for (i, row) in stripe.chunks_exact(cols).take(count).enumerate() {
                Output::Bf16(c.add((first + i) * product.c_stride)).write(Level::best(), row);
            }
        }
    }
}

/// Runs `job` for 0..jobs, each once; on all threads if `parallel`.
fn for_each(jobs: usize, parallel: bool, job: impl Fn(usize) + Sync) {
    if !parallel || jobs < 2 {
        return (0..jobs).for_each(job);
    }
    let next = AtomicUsize::new(0);
    let workers = rayon::current_num_threads().min(jobs);
    (0..workers).into_par_iter().with_max_len(1).for_each(|_| {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= jobs {
                break;
            }
            job(i);
        }
    });
}

/// Part `i` of `parts` nearly equal ones of `range`.
fn part(range: &Range<usize>, i: usize, parts: usize) -> Range<usize> {
    range.start + range.len() * i / parts..range.start + range.len() * (i + 1) / parts
}

/// `0..total` in nearly equal parts of at most `most`.
fn parts(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = total.div_ceil(most).max(1);
    (0..count).map(move |i| part(&(0..total), i, count))
}

/// Steps of a block for an inner dimension of `steps`: nearly equal blocks, so that none is short.
fn block_steps(steps: usize) -> usize {
    steps.div_ceil(steps.div_ceil(BLOCK).max(1)).max(1)
}

/// One operand as lanes (rows of the left one, columns of the right one), packed in panels.
struct Side<'a> {
    from: Right<'a>,
    /// Lanes, lanes of a panel, and words per step of a panel.
    lanes: usize,
    panel_lanes: usize,
    width: usize,
    panels: usize,
}

impl<'a> Side<'a> {
    /// The rows of `a`, in panels of nearly equal height.
    fn left(kernel: &Kernel, a: Matrix<'a>) -> Self {
        let panel_lanes = a.rows.div_ceil(a.rows.div_ceil(kernel.rows()).max(1)).max(1);
        let panels = a.rows.div_ceil(panel_lanes);
        Side { from: Right::Matrix(a), lanes: a.rows, panel_lanes, width: kernel.a_width, panels }
    }

    fn right(kernel: &Kernel, b: Right<'a>) -> Self {
        let lanes = b.size().1;
        // As rows are lanes on the left side, columns become rows here.
        let from = match b {
            Right::Matrix(b) => Right::Matrix(b.transposed()),
            packed => packed,
        };
        Side { from, lanes, panel_lanes: kernel.cols, width: kernel.cols, panels: lanes.div_ceil(kernel.cols) }
    }

    fn is_packed(&self) -> bool {
        matches!(self.from, Right::Packed(_))
    }

    /// Whether lanes, rather than steps, lie next to each other.
    fn is_wide(&self) -> bool {
        matches!(self.from, Right::Matrix(m) if m.row_stride == 1)
    }

    /// Asks for part `i` of `parts` of what packing these panels over these values will read: it comes into the second
    /// cache while the block before is multiplied.
    fn prefetch(&self, panels: &Range<usize>, (first, depth): (usize, usize), i: usize, parts: usize) {
        let Right::Matrix(m) = self.from else { return };
        let lane = panels.start * self.panel_lanes;
        let lanes = (panels.end * self.panel_lanes).min(self.lanes) - lane;
        let size = m.data.precision().bytes();
        let start = m.address(lane, first);
        let (rows, length, stride) =
            if m.col_stride == 1 { (lanes, depth, m.row_stride) } else { (depth, lanes, m.col_stride) };
        for row in part(&(0..rows), i, parts) {
            for at in (0..length * size).step_by(64) {
                prefetch(start.wrapping_add(row * stride * size + at));
            }
        }
    }

    /// Packs panels over `depth` values of the inner dimension from `first` on.
    ///
    /// # Safety
    /// `to` must have room for the panels at that stride; the CPU must have the kernel's instructions.
    unsafe fn pack(
        &self,
        kernel: &Kernel,
        panels: Range<usize>,
        first: usize,
        depth: usize,
        to: *mut u32,
        stride: usize,
    ) {
        let Right::Matrix(m) = self.from else { return };
        let lane = panels.start * self.panel_lanes;
        let lanes = (panels.end * self.panel_lanes).min(self.lanes) - lane;
        let to = Panels { start: to, stride, lanes: self.panel_lanes, width: self.width };
        let at = m.offset(lane, first);
        // SAFETY: `Matrix` has checked its bounds; the caller vouches for the rest.
        unsafe {
            match m.data {
                Values::F32(data) => (kernel.pack)(&lanes_of(&m, data.as_ptr().wrapping_add(at), lanes, depth), &to),
                Values::Bf16(data) => {
                    (kernel.pack_bf16)(&lanes_of(&m, data.as_ptr().wrapping_add(at), lanes, depth), &to);
                }
            }
        }
    }
}

/// Rows of `m` as lanes, from `start` on.
fn lanes_of<T>(m: &Matrix<'_>, start: *const T, lanes: usize, depth: usize) -> Lanes<T> {
    Lanes { start, lane_stride: m.row_stride, depth_stride: m.col_stride, lanes, depth }
}

/// Asks for a line to come into the second cache.
#[inline(always)]
fn prefetch(_at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, of the base instruction set, that never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(_at.cast()) }
    }
}

impl Right<'_> {
    /// Inner size and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        match self {
            Right::Matrix(b) => (b.rows, b.cols),
            Right::Packed(b) => (b.rows, b.cols),
        }
    }
}

/// How a product is cut.
struct Plan<'a> {
    product: &'a Product<'a>,
    kernel: &'static Kernel,
    rows: usize,
    cols: usize,
    depth: usize,
    /// Steps of the inner dimension, and of a block.
    steps: usize,
    block: usize,
    blocks: usize,
    shared: Side<'a>,
    own: Side<'a>,
    /// Whether the shared operand is the left one.
    left_shared: bool,
    /// Blocks and panels of the shared operand that are packed at a time.
    shared_blocks: usize,
    shared_panels: usize,
    /// Where tasks read their rows as they lie.
    direct: Option<Direct<'a>>,
}

/// Rows of the left operand that need no packing: they are in the kernel's words already, step after step.
#[derive(Clone, Copy)]
struct Direct<'a> {
    tiles: &'static [RunTile],
    rows: Matrix<'a>,
    /// Bytes from row to row.
    row: usize,
}

impl<'a> Direct<'a> {
    /// Bytes after which addresses share a set of the first cache, and the most of a tile's rows that may.
    const SETS: usize = 4096;
    const ROWS_IN_A_SET: usize = 8;

    /// If the kernel can, the words are those that packing would make, and the rows spread over the cache's sets.
    fn of(kernel: &'static Kernel, a: Matrix<'a>) -> Option<Direct<'a>> {
        let tiles = kernel.direct?;
        let precision = if kernel.values_per_step == 2 { Precision::Bf16 } else { Precision::F32 };
        let row = a.row_stride * precision.bytes();
        let whole = a.cols.is_multiple_of(kernel.values_per_step) && row.is_multiple_of(4);
        let same_set = Self::SETS / (1 << row.trailing_zeros().min(Self::SETS.trailing_zeros()));
        let fits = a.data.precision() == precision && a.col_stride == 1 && whole;
        let spread = tiles.len().div_ceil(same_set) <= Self::ROWS_IN_A_SET;
        (fits && spread).then(|| Direct { tiles, rows: a, row })
    }

    /// The rows' words in a block, as far as [`Words::at`] may be asked: panels of rows, one block.
    fn words(&self, plan: &Plan<'_>, block: usize) -> Words {
        let step = plan.steps_of(block).0;
        let start = self.rows.address(0, step * plan.kernel.values_per_step).cast();
        Words { start, panel: 0, step, stride: plan.own.panel_lanes * self.row / 4, width: 0 }
    }
}

impl<'a> Plan<'a> {
    fn new(kernel: &'static Kernel, product: &'a Product<'a>) -> Self {
        let (depth, cols) = product.b.size();
        let rows = product.a.rows;
        let steps = depth.div_ceil(kernel.values_per_step);
        let block = block_steps(steps);
        // An inner size of zero is one empty block, which writes what an empty sum is.
        let blocks = steps.div_ceil(block).max(1);
        let (left, right) = (Side::left(kernel, product.a), Side::right(kernel, product.b));
        // What is packed already costs nothing to share or to own: with few rows, tasks must divide the columns.
        let left_shared = if right.is_packed() { rows <= TASK_LANES } else { rows <= cols };
        let (shared, own) = if left_shared { (left, right) } else { (right, left) };
        let (shared_blocks, shared_panels) = if shared.is_packed() {
            (blocks, shared.panels)
        } else {
            let per_step = (shared.panels * shared.width).max(1);
            let most_steps = (SHARED_WORDS / per_step).max(SHARED_STEPS);
            let shared_blocks = (most_steps / block).clamp(1, blocks);
            let words = shared_blocks * block * shared.width;
            (shared_blocks, (SHARED_WORDS / words).clamp(1, shared.panels))
        };
        Plan {
            product,
            kernel,
            rows,
            cols,
            depth,
            steps,
            block,
            blocks,
            shared,
            own,
            left_shared,
            shared_blocks,
            shared_panels,
            direct: if left_shared { None } else { Direct::of(kernel, product.a) },
        }
    }

    /// First step and number of steps of a block.
    fn steps_of(&self, block: usize) -> (usize, usize) {
        let first = block * self.block;
        (first, self.block.min(self.steps - first))
    }

    /// The values of the inner dimension in these steps: the first and how many.
    fn values_of(&self, first: usize, steps: usize) -> (usize, usize) {
        let value = first * self.kernel.values_per_step;
        (value, (steps * self.kernel.values_per_step).min(self.depth - value))
    }

    /// # Safety
    /// See [`run`].
    unsafe fn run(&self, parallel: bool) {
        let words = if self.shared.is_packed() {
            0
        } else {
            self.shared_panels * (self.shared_blocks * self.block).min(self.steps) * self.shared.width
        };
        let buffer = Buffer::with_room(SHARED.lock().unwrap_or_else(PoisonError::into_inner).pop(), words);
        for panels in parts(self.shared.panels, self.shared_panels) {
            for blocks in parts(self.blocks, self.shared_blocks) {
                let pass = Pass { plan: self, buffer: buffer.start(), blocks, panels: panels.clone() };
                // SAFETY: the buffer has room for these panels and blocks; the caller vouches for the rest.
                unsafe {
                    pass.pack(parallel);
                    pass.multiply(parallel);
                }
            }
        }
        SHARED.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.0);
    }
}

/// Words of an operand over some blocks, and how to find a panel of it in a block.
#[derive(Clone, Copy)]
struct Words {
    start: *const u32,
    /// Number of the first panel and of the first step that are there.
    panel: usize,
    step: usize,
    /// Words from panel to panel.
    stride: usize,
    width: usize,
}

impl Words {
    fn at(&self, panel: usize, step: usize) -> *const u32 {
        self.start.wrapping_add((panel - self.panel) * self.stride + (step - self.step) * self.width)
    }
}

/// Some panels of the shared operand over some blocks, with all of the other.
struct Pass<'a> {
    plan: &'a Plan<'a>,
    buffer: *mut u32,
    blocks: Range<usize>,
    panels: Range<usize>,
}

// SAFETY: packing jobs and tasks write disjoint parts of the buffer and of c.
unsafe impl Sync for Pass<'_> {}

impl Pass<'_> {
    /// First step and number of steps.
    fn steps(&self) -> (usize, usize) {
        let first = self.plan.steps_of(self.blocks.start).0;
        let (last, count) = self.plan.steps_of(self.blocks.end - 1);
        (first, last + count - first)
    }

    fn shared(&self) -> Words {
        let side = &self.plan.shared;
        if let Right::Packed(packed) = side.from {
            return packed.words();
        }
        let (step, steps) = self.steps();
        Words { start: self.buffer, panel: self.panels.start, step, stride: steps * side.width, width: side.width }
    }

    /// Packs the shared operand: a job is some panels over some steps.
    ///
    /// # Safety
    /// See [`run`]; the buffer must have room.
    unsafe fn pack(&self, parallel: bool) {
        let (plan, side) = (self.plan, &self.plan.shared);
        if side.is_packed() {
            return;
        }
        let (lanes, deep) = if side.is_wide() { WIDE_JOB } else { DEEP_JOB };
        let (first, steps) = self.steps();
        let across = self.panels.len().div_ceil((lanes / side.panel_lanes).max(1));
        let down = steps.div_ceil(deep);
        for_each(across * down, parallel, |job| {
            let panels = part(&self.panels, job % across, across);
            let step = first + job / across * deep;
            let (value, depth) = plan.values_of(step, deep.min(first + steps - step));
            let words = self.shared();
            let to = words.at(panels.start, step).cast_mut();
            // SAFETY: the caller's promise; each job has panels and steps of its own.
            unsafe { side.pack(plan.kernel, panels, value, depth, to, words.stride) }
        });
    }

    /// # Safety
    /// See [`run`]; the shared operand must be packed.
    unsafe fn multiply(&self, parallel: bool) {
        let (down, across) = self.tasks(parallel);
        let own_of = |task: usize| part(&(0..self.plan.own.panels), task % down, down);
        // Which task a thread takes next is open; this is likeliest, and a wrong guess still fills the last cache.
        let step = if parallel { rayon::current_num_threads() } else { 1 };
        for_each(down * across, parallel, |task| {
            let following = (task + step < down * across).then(|| own_of(task + step));
            // SAFETY: the caller's promise; tasks have disjoint parts of c.
            unsafe { self.task(own_of(task), part(&self.panels, task / down, across), following) }
        });
    }

    /// Parts of the task's own operand and of the shared one: no sum crosses tasks, so that their number may depend on the
    /// threads. Few lanes of its own make a task pack, and its partner stream by, for too little work; so where there are
    /// few tasks the shared operand is divided too, for which each part of the other is packed again.
    fn tasks(&self, parallel: bool) -> (usize, usize) {
        let side = &self.plan.own;
        let most = side.panels.div_ceil((LEAST_TASK_LANES / side.panel_lanes).max(1));
        let least = side.panels.div_ceil((TASK_LANES / side.panel_lanes).max(1));
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        let down = (TASKS * threads).clamp(least, most).next_multiple_of(threads).min(side.panels);
        let across = (LEAST_TASKS * threads).div_ceil(down).min(self.panels.len());
        (down, if parallel { across } else { 1 })
    }

    /// # Safety
    /// See [`run`]; the shared operand must be packed, and nobody else may have these parts.
    unsafe fn task(&self, own: Range<usize>, shared: Range<usize>, following: Option<Range<usize>>) {
        let (plan, side) = (self.plan, &self.plan.own);
        let needed = if side.is_packed() || plan.direct.is_some() { 0 } else { own.len() * plan.block * side.width };
        let buffer = Buffer::take(&OWN, needed);
        for block in self.blocks.clone() {
            let (step, steps) = plan.steps_of(block);
            let words = if let Right::Packed(packed) = side.from {
                packed.words()
            } else if let Some(direct) = plan.direct {
                direct.words(plan, block)
            } else {
                let (value, depth) = plan.values_of(step, steps);
                let stride = steps * side.width;
                // SAFETY: the buffer is large enough and this task's alone.
                unsafe { side.pack(plan.kernel, own.clone(), value, depth, buffer.start(), stride) };
                Words { start: buffer.start(), panel: own.start, step, stride, width: side.width }
            };
            // SAFETY: both operands are packed; the caller vouches for c.
            unsafe { self.block(block, own.clone(), words, shared.clone(), following.as_ref()) };
        }
        buffer.give_back(&OWN);
    }

    /// One block of a task: for each shared panel, all of the task's own. Meanwhile what this thread packs next comes
    /// nearer: the task's next block, or the first one of the task that follows.
    ///
    /// # Safety
    /// As [`Pass::task`]; `words` must hold the panels `own` of the block.
    unsafe fn block(
        &self,
        block: usize,
        own: Range<usize>,
        words: Words,
        shared: Range<usize>,
        following: Option<&Range<usize>>,
    ) {
        let (plan, partner) = (self.plan, self.shared());
        let (step, steps) = plan.steps_of(block);
        let last = block + 1 == self.blocks.end;
        let next = if last { following.map(|own| (own, self.blocks.start)) } else { Some((&own, block + 1)) };
        let next = next.map(|(own, block)| {
            let (step, steps) = plan.steps_of(block);
            (own, plan.values_of(step, steps))
        });
        let tiles = shared.len() * own.len();
        let mut tile_number = 0;
        for panel in shared.clone() {
            let theirs = partner.at(panel, step);
            for own in own.clone() {
                // A little with each tile: more at once would wait for the lines that are on their way.
                if let Some((own, values)) = next {
                    plan.own.prefetch(own, values, tile_number, tiles);
                }
                tile_number += 1;
                let ours = words.at(own, step);
                let tile = if plan.left_shared {
                    Place {
                        row: panel * plan.shared.panel_lanes,
                        height: plan.shared.panel_lanes,
                        col: own * plan.kernel.cols,
                        a: theirs,
                        b: ours,
                    }
                } else {
                    Place {
                        row: own * plan.own.panel_lanes,
                        height: plan.own.panel_lanes,
                        col: panel * plan.kernel.cols,
                        a: ours,
                        b: theirs,
                    }
                };
                // SAFETY: the panels are packed; the caller vouches for c.
                unsafe { self.tile(block, steps, &tile) };
            }
        }
    }

    #[inline(always)]
    unsafe fn tile(&self, block: usize, steps: usize, place: &Place) {
        let (plan, product) = (self.plan, self.plan.product);
        let &Place { row, height, col, a, b } = place;
        let (rows, cols) = (height.min(plan.rows - row), plan.kernel.cols.min(plan.cols - col));
        let (mut bias, mut add, mut add_stride) = (std::ptr::null(), std::ptr::null(), 0);
        if let (0, Some(values)) = (block, product.epilogue.bias) {
            bias = values.as_ptr().wrapping_add(col);
        }
        let at = row * product.c_stride + col;
        let mut apart = MaybeUninit::<Apart>::uninit();
        let (c, c_stride) = match product.c {
            Output::F32(c) => (c.wrapping_add(at), product.c_stride),
            Output::Bf16(_) => (apart.as_mut_ptr().cast::<f32>(), TILE_STRIDE),
        };
        if block > 0 || product.accumulate {
            (add, add_stride) = (c.cast_const(), c_stride);
        } else if let Some(residual) = product.epilogue.residual {
            (add, add_stride) = (residual.address(row, col).cast(), residual.row_stride);
        }
        let (tiles, a_row) = plan.direct.map_or((plan.kernel.tiles, 0), |direct| (direct.tiles, direct.row));
        let tile = Tile { a, a_row, b, steps, c, c_stride, cols, bias, add, add_stride };
        // SAFETY: the caller's promise; what is added to is f32, and a tile in bfloat16 has but one block.
        unsafe {
            tiles[rows - 1](&tile);
            if let (Some(activation), true) = (product.epilogue.activation, block + 1 == plan.blocks) {
                activation.apply_rows(Level::best(), c, c_stride, rows, cols);
            }
            if let Output::Bf16(to) = product.c {
                (plan.kernel.store)(c, rows, cols, to.add(at), product.c_stride);
            }
        }
    }
}

/// A tile that is not computed in its place.
#[repr(align(64))]
struct Apart(#[allow(dead_code)] [f32; TILE]);

/// Where a tile lies in c, and its panels.
struct Place {
    row: usize,
    /// Rows of a panel; at the bottom there may be fewer.
    height: usize,
    col: usize,
    a: *const u32,
    b: *const u32,
}

/// Packs all of `b`: panel after panel, each over the whole inner dimension.
pub(super) fn pack_whole(kernel: &'static Kernel, b: Matrix<'_>) -> Vec<Line> {
    let side = Side::right(kernel, Right::Matrix(b));
    let stride = b.rows.div_ceil(kernel.values_per_step) * side.width;
    let mut data = vec![Line([0; 16]); (side.panels * stride).div_ceil(16)];
    let start = Start(data.as_mut_ptr().cast::<u32>());
    let panels = if side.is_wide() { WIDE_JOB.0 / side.panel_lanes } else { DEEP_JOB.0 / side.panel_lanes };
    let jobs = if b.rows == 0 { 0 } else { side.panels.div_ceil(panels) };
    for_each(jobs, b.rows * b.cols > WORTH_THREADS / 16, |job| {
        let panels = part(&(0..side.panels), job, jobs);
        let to = start.get().wrapping_add(panels.start * stride);
        // SAFETY: each job has panels of its own.
        unsafe { side.pack(kernel, panels, 0, b.rows, to, stride) }
    });
    data
}

impl Packed {
    fn words(&self) -> Words {
        let width = self.kernel.cols;
        let stride = self.rows.div_ceil(self.kernel.values_per_step) * width;
        Words { start: self.data.as_ptr().cast(), panel: 0, step: 0, stride, width }
    }
}

struct Start(*mut u32);

// SAFETY: jobs write disjoint panels.
unsafe impl Sync for Start {}

impl Start {
    fn get(&self) -> *mut u32 {
        self.0
    }
}

/// A cache line of packed words.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(#[allow(dead_code)] [u32; 16]);

/// Buffers of shared operands that are not in use: as many as products have run at the same time, which in training is
/// one, whichever thread runs it.
static SHARED: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Packed words of one product, kept between products: fresh memory costs more than packing. A thread's own is taken out
/// while in use, since a thread that waits for others may meanwhile run another product.
struct Buffer(Vec<Line>);

impl Buffer {
    fn take(kept: &'static LocalKey<Cell<Vec<Line>>>, words: usize) -> Buffer {
        Buffer::with_room(Some(kept.take()), words)
    }

    fn with_room(lines: Option<Vec<Line>>, words: usize) -> Buffer {
        let mut lines = lines.unwrap_or_default();
        let needed = words.div_ceil(16);
        if lines.capacity() < needed {
            lines = Vec::with_capacity(needed);
        }
        Buffer(lines)
    }

    fn start(&self) -> *mut u32 {
        self.0.as_ptr().cast_mut().cast()
    }

    fn give_back(self, kept: &'static LocalKey<Cell<Vec<Line>>>) {
        let other = kept.take();
        kept.set(if other.capacity() > self.0.capacity() { other } else { self.0 });
    }
}
