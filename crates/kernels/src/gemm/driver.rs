//! Blocking and threads.
//!
//! A product is cut three times, by its shape alone:
//! * the inner dimension into *blocks*. A micro-kernel sums one block in registers, and block after block is added to
//!   c; so the value of an element depends on the inner size alone, not on the other sizes, its position or the threads;
//! * everything into *super-blocks* whose packed operands stay in the last cache. All threads pack one, then all
//!   multiply it;
//! * a super-block of c into *tasks* whose operands stay in the second cache. Threads take them one by one.

use super::epilogue::Epilogue;
use super::kernel::{Kernel, Tile};
use super::pack::{Lanes, Panels};
use super::packed::Packed;
use super::{Matrix, Threads};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::LocalKey;

/// Steps of the inner dimension in a block.
const BLOCK: usize = 384;
/// Steps in a super-block.
const SUPER: usize = 2048;
/// Words of packed operands in a super-block, left and right.
const LEFT_WORDS: usize = 1 << 21;
const RIGHT_WORDS: usize = 1 << 22;
/// Panels of each operand in a task, and tasks that a super-block is cut into if it is large enough.
const TASK_PANELS: usize = 8;
const TASKS: usize = 32;
/// Panels of one packing job.
const PACK_PANELS: usize = 4;
/// Multiplications below which a second thread costs more than it brings: waking the pool takes 5 to 20 microseconds.
const WORTH_THREADS: usize = 1 << 20;

/// The right-hand side of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    Matrix(Matrix<'a>),
    Packed(&'a Packed),
}

/// `c = a * b`, or `c += a * b`, and what follows.
pub(super) struct Product<'a> {
    pub a: Matrix<'a>,
    pub b: Right<'a>,
    pub c: *mut f32,
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
    let plan = Plan::new(kernel, product);
    if plan.rows == 0 || plan.cols == 0 {
        return;
    }
    let small = plan.rows * plan.cols * plan.depth < WORTH_THREADS;
    if threads == Threads::One || small || rayon::current_num_threads() == 1 {
        // SAFETY: the caller's promise.
        unsafe { plan.run(product, false) }
    } else {
        // Entering the pool once is cheaper than at every super-block.
        // SAFETY: the caller's promise.
        rayon::scope(|_| unsafe { plan.run(product, true) });
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
fn parts(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let count = total.div_ceil(most).max(1);
    (0..count).map(move |i| part(&(0..total), i, count))
}

/// How a product is cut.
pub(super) struct Plan {
    kernel: &'static Kernel,
    rows: usize,
    cols: usize,
    depth: usize,
    /// Steps of the inner dimension, and of a block.
    steps: usize,
    block: usize,
    blocks: usize,
    /// Rows of a left panel, all but the last.
    height: usize,
    left_panels: usize,
    right_panels: usize,
    /// Blocks, left panels and right panels of a super-block at most.
    super_blocks: usize,
    super_left: usize,
    super_right: usize,
}

impl Plan {
    fn new(kernel: &'static Kernel, product: &Product<'_>) -> Plan {
        let (depth, cols) = match product.b {
            Right::Matrix(b) => (b.rows, b.cols),
            Right::Packed(b) => (b.rows, b.cols),
        };
        let rows = product.a.rows;
        let steps = depth.div_ceil(kernel.values_per_step);
        let block = block_steps(steps);
        // An inner size of zero is one empty block, which writes what an empty sum is.
        let blocks = steps.div_ceil(block).max(1);
        let super_blocks = (SUPER / block).max(1);
        let super_steps = (super_blocks * block).min(steps).max(1);
        let height = rows.div_ceil(rows.div_ceil(kernel.rows()).max(1)).max(1);
        let super_right = match product.b {
            Right::Matrix(_) => RIGHT_WORDS / (super_steps * kernel.cols),
            Right::Packed(_) => usize::MAX,
        };
        Plan {
            kernel,
            rows,
            cols,
            depth,
            steps,
            block,
            blocks,
            height,
            left_panels: rows.div_ceil(height),
            right_panels: cols.div_ceil(kernel.cols),
            super_blocks,
            super_left: (LEFT_WORDS / (super_steps * kernel.a_width)).max(TASK_PANELS),
            super_right: super_right.max(TASK_PANELS),
        }
    }

    /// # Safety
    /// See [`run`].
    unsafe fn run(&self, product: &Product<'_>, parallel: bool) {
        let super_steps = (self.super_blocks * self.block).min(self.steps);
        let left_words = self.super_left.min(self.left_panels) * super_steps * self.kernel.a_width;
        let left = Buffer::take(&LEFT, left_words);
        let right = match product.b {
            Right::Matrix(_) => {
                Buffer::take(&RIGHT, self.super_right.min(self.right_panels) * super_steps * self.kernel.cols)
            }
            Right::Packed(_) => Buffer::take(&RIGHT, 0),
        };
        let mut left_holds = None;
        for right_panels in parts(self.right_panels, self.super_right) {
            for blocks in parts(self.blocks, self.super_blocks) {
                let mut right_missing = matches!(product.b, Right::Matrix(_));
                for left_panels in parts(self.left_panels, self.super_left) {
                    let left_missing = left_holds != Some((blocks.start, left_panels.start));
                    left_holds = Some((blocks.start, left_panels.start));
                    let block = Super {
                        plan: self,
                        product,
                        left: left.start(),
                        right: right.start(),
                        blocks: blocks.clone(),
                        left_panels,
                        right_panels: right_panels.clone(),
                    };
                    // SAFETY: the buffers have room for one super-block; the caller vouches for the rest.
                    unsafe {
                        block.pack(left_missing, right_missing, parallel);
                        block.multiply(parallel);
                    }
                    right_missing = false;
                }
            }
        }
        left.give_back(&LEFT);
        right.give_back(&RIGHT);
    }
}

/// Steps of a block for an inner dimension of `steps`: nearly equal blocks, so that none is short.
fn block_steps(steps: usize) -> usize {
    steps.div_ceil(steps.div_ceil(BLOCK).max(1)).max(1)
}

/// One super-block: panels and blocks by their number in the whole product.
struct Super<'a> {
    plan: &'a Plan,
    product: &'a Product<'a>,
    left: *mut u32,
    right: *mut u32,
    blocks: Range<usize>,
    left_panels: Range<usize>,
    right_panels: Range<usize>,
}

// SAFETY: packing jobs and tasks write disjoint parts of the buffers and of c.
unsafe impl Sync for Super<'_> {}

impl Super<'_> {
    /// First step and number of steps of a block.
    fn steps(&self, block: usize) -> (usize, usize) {
        let first = block * self.plan.block;
        (first, self.plan.block.min(self.plan.steps - first))
    }

    /// Steps of this super-block.
    fn depth(&self) -> usize {
        let (last, count) = self.steps(self.blocks.end - 1);
        last + count - self.blocks.start * self.plan.block
    }

    /// Packs what is missing of the operands: a job is a few panels over one block.
    ///
    /// # Safety
    /// See [`run`]; the buffers must have room.
    unsafe fn pack(&self, left: bool, right: bool, parallel: bool) {
        let left_groups = if left { self.left_panels.len().div_ceil(PACK_PANELS) } else { 0 };
        let right_groups = if right { self.right_panels.len().div_ceil(PACK_PANELS) } else { 0 };
        let groups = left_groups + right_groups;
        for_each(groups * self.blocks.len(), parallel, |job| {
            let (group, block) = (job % groups, self.blocks.start + job / groups);
            let of = |panels: &Range<usize>, group: usize| {
                let first = panels.start + group * PACK_PANELS;
                first..(first + PACK_PANELS).min(panels.end)
            };
            // SAFETY: the caller's promise; each job has panels and steps of its own.
            unsafe {
                if group < right_groups {
                    self.pack_right(of(&self.right_panels, group), block);
                } else {
                    self.pack_left(of(&self.left_panels, group - right_groups), block);
                }
            }
        });
    }

    unsafe fn pack_left(&self, panels: Range<usize>, block: usize) {
        let (plan, a) = (self.plan, self.product.a);
        let (first, steps) = self.steps(block);
        let value = first * plan.kernel.values_per_step;
        let row = panels.start * plan.height;
        let from = Lanes {
            start: a.at(row, value),
            lane_stride: a.row_stride,
            depth_stride: a.col_stride,
            lanes: (panels.end * plan.height).min(plan.rows) - row,
            depth: (steps * plan.kernel.values_per_step).min(plan.depth - value),
        };
        let to = Panels {
            start: self.left_panel(panels.start, block).cast_mut(),
            stride: self.depth() * plan.kernel.a_width,
            lanes: plan.height,
            width: plan.kernel.a_width,
        };
        // SAFETY: `Matrix` has checked the bounds of a; the buffer holds the super-block's panels.
        unsafe { (plan.kernel.pack)(&from, &to) }
    }

    unsafe fn pack_right(&self, panels: Range<usize>, block: usize) {
        let Right::Matrix(b) = self.product.b else { return };
        let (plan, kernel) = (self.plan, self.plan.kernel);
        let (first, steps) = self.steps(block);
        let value = first * kernel.values_per_step;
        let to = Panels {
            start: self.right_panel(panels.start, block).cast_mut(),
            stride: self.depth() * kernel.cols,
            lanes: kernel.cols,
            width: kernel.cols,
        };
        let depth = (steps * kernel.values_per_step).min(plan.depth - value);
        let from =
            Lanes::of_columns(b, panels.start * kernel.cols..(panels.end * kernel.cols).min(plan.cols), value, depth);
        // SAFETY: as in `pack_left`.
        unsafe { (kernel.pack)(&from, &to) }
    }

    /// Where the left panel's words of a block are.
    fn left_panel(&self, panel: usize, block: usize) -> *const u32 {
        let step = (block - self.blocks.start) * self.plan.block;
        let panel = panel - self.left_panels.start;
        self.left.wrapping_add((panel * self.depth() + step) * self.plan.kernel.a_width)
    }

    /// Where the right panel's words of a block are.
    fn right_panel(&self, panel: usize, block: usize) -> *const u32 {
        match self.product.b {
            Right::Packed(b) => b.panel(panel).wrapping_add(block * self.plan.block * self.plan.kernel.cols),
            Right::Matrix(_) => {
                let step = (block - self.blocks.start) * self.plan.block;
                let panel = panel - self.right_panels.start;
                self.right.wrapping_add((panel * self.depth() + step) * self.plan.kernel.cols)
            }
        }
    }

    /// # Safety
    /// See [`run`]; the operands must be packed.
    unsafe fn multiply(&self, parallel: bool) {
        let (down, across) = grid(self.left_panels.len(), self.right_panels.len());
        for_each(down * across, parallel, |task| {
            let left = part(&self.left_panels, task % down, down);
            let right = part(&self.right_panels, task / down, across);
            // SAFETY: the caller's promise; tasks have disjoint parts of c.
            unsafe { self.task(left, right) }
        });
    }

    unsafe fn task(&self, left: Range<usize>, right: Range<usize>) {
        let plan = self.plan;
        for block in self.blocks.clone() {
            for j in right.clone() {
                let col = j * plan.kernel.cols;
                let mut tile = self.tile(block, col);
                tile.b = self.right_panel(j, block);
                for i in left.clone() {
                    let row = i * plan.height;
                    let rows = plan.height.min(plan.rows - row);
                    let at = row * self.product.c_stride + col;
                    tile.a = self.left_panel(i, block);
                    tile.c = self.product.c.wrapping_add(at);
                    if block > 0 || self.product.accumulate {
                        (tile.add, tile.add_stride) = (tile.c, self.product.c_stride);
                    } else if let Some(residual) = self.product.epilogue.residual {
                        (tile.add, tile.add_stride) =
                            (residual.as_ptr().wrapping_add(row * plan.cols + col), plan.cols);
                    }
                    // SAFETY: the panels are packed, and the tile lies inside c.
                    unsafe { plan.kernel.tiles[rows - 1](&tile) };
                }
            }
        }
    }

    /// The tiles of a column panel over a block, without their rows.
    fn tile(&self, block: usize, col: usize) -> Tile {
        let bias = match self.product.epilogue.bias {
            Some(bias) if block == 0 => bias.as_ptr().wrapping_add(col),
            _ => std::ptr::null(),
        };
        Tile {
            a: std::ptr::null(),
            b: std::ptr::null(),
            steps: self.steps(block).1,
            c: std::ptr::null_mut(),
            c_stride: self.product.c_stride,
            cols: self.plan.kernel.cols.min(self.plan.cols - col),
            bias,
            add: std::ptr::null(),
            add_stride: 0,
        }
    }
}

/// Tasks down and across for a super-block of so many panels: at most [`TASK_PANELS`] panels a side, and smaller ones
/// where that gives too few tasks to go round.
fn grid(left: usize, right: usize) -> (usize, usize) {
    let (mut tall, mut wide) = (TASK_PANELS, TASK_PANELS);
    while left.div_ceil(tall) * right.div_ceil(wide) < TASKS && tall * wide > 4 {
        if tall.min(left) > wide.min(right) {
            tall /= 2
        } else {
            wide /= 2
        }
        if tall == 0 || wide == 0 {
            return (left, right);
        }
    }
    (left.div_ceil(tall), right.div_ceil(wide))
}

impl<'a> Lanes {
    /// Columns of a right-hand matrix, from row `first` on.
    fn of_columns(b: Matrix<'a>, columns: Range<usize>, first: usize, depth: usize) -> Lanes {
        Lanes {
            start: b.at(first, columns.start),
            lane_stride: b.col_stride,
            depth_stride: b.row_stride,
            lanes: columns.len(),
            depth,
        }
    }
}

/// Packs all of `b`: panel after panel, each over the whole inner dimension.
pub(super) fn pack_whole(kernel: &'static Kernel, b: Matrix<'_>) -> Vec<Line> {
    let steps = b.rows.div_ceil(kernel.values_per_step);
    let panel_words = steps * kernel.cols;
    let panels = b.cols.div_ceil(kernel.cols);
    let mut data = vec![Line([0; 16]); (panels * panel_words).div_ceil(16)];
    let start = Shared(data.as_mut_ptr().cast::<u32>());
    if steps == 0 {
        return data;
    }
    for_each(panels, b.rows * b.cols > WORTH_THREADS / 16, |panel| {
        let columns = panel * kernel.cols..((panel + 1) * kernel.cols).min(b.cols);
        let to = Panels {
            start: start.get().wrapping_add(panel * panel_words),
            stride: panel_words,
            lanes: kernel.cols,
            width: kernel.cols,
        };
        // SAFETY: each job has a panel of its own, and `Matrix` has checked the bounds of b.
        unsafe { (kernel.pack)(&Lanes::of_columns(b, columns, 0, b.rows), &to) }
    });
    data
}

struct Shared(*mut u32);

// SAFETY: jobs write disjoint panels.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(&self) -> *mut u32 {
        self.0
    }
}

/// A cache line of packed words.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(#[allow(dead_code)] [u32; 16]);

thread_local! {
    static LEFT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Packed words of one product, kept by the thread between products: fresh memory costs more than packing. It is taken
/// out while in use, since a thread that waits for others may meanwhile run another product.
struct Buffer(Vec<Line>);

impl Buffer {
    fn take(kept: &'static LocalKey<Cell<Vec<Line>>>, words: usize) -> Buffer {
        let mut lines = kept.take();
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
