//! Tensors (batch, heads, time, width) wherever they lie in memory.

use super::Attention;
use crate::cpu::Level;
use crate::gemm::Matrix;
use crate::values::{Output, Values, ValuesMut};
use std::marker::PhantomData;

/// A tensor (batch, heads, time, width) to read: element (b, h, t, c) is at
/// `b * strides[0] + h * strides[1] + t * strides[2] + c`.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// The memory, from the first element on.
    pub data: Values<'a>,
    /// Elements between sequences, heads and positions.
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// Head (b, h) as a matrix (time, width).
    pub(super) fn head(&self, b: usize, h: usize, time: usize, width: usize) -> Matrix<'a> {
        let start = b * self.strides[0] + h * self.strides[1];
        Matrix::strided(self.data.from(start), time, width, self.strides[2])
    }
}

/// Strides of a tensor lying as (batch, time, heads, width), the order in which the next linear layer reads it.
pub fn time_major(heads: usize, time: usize, width: usize) -> [usize; 3] {
    [time * heads * width, width, heads * width]
}

/// A tensor (batch, heads, time, width) to write: several threads write different rows of it, and several of them may
/// interleave in one buffer ([`Joined`]).
pub struct HeadsMut<'a> {
    start: Output,
    dims: [usize; 4],
    strides: [usize; 3],
    memory: PhantomData<&'a mut [f32]>,
}

impl<'a> HeadsMut<'a> {
    /// A tensor of `dims` in `data`, with `strides` as in [`Heads`].
    ///
    /// # Panics
    /// If it would reach beyond `data`, or two of its rows would overlap.
    pub fn new(data: impl Into<ValuesMut<'a>>, dims: [usize; 4], strides: [usize; 3]) -> Self {
        let data = data.into();
        check_rows(data.len(), dims, strides);
        HeadsMut { start: data.into(), dims, strides, memory: PhantomData }
    }

    /// All rows of a new tensor that lies as [`time_major`]; it must have room for them.
    pub(super) fn unwritten(start: Output, dims: [usize; 4]) -> Self {
        let [_, heads, time, width] = dims;
        HeadsMut { start, dims, strides: time_major(heads, time, width), memory: PhantomData }
    }

    /// (batch, heads, time, width)
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Writes row (b, h, t).
    ///
    /// # Safety
    /// No other thread may write that row meanwhile.
    #[inline]
    pub(super) unsafe fn write(&self, level: Level, b: usize, h: usize, t: usize, values: &[f32]) {
        let [batch, heads, time, width] = self.dims;
        assert!(b < batch && h < heads && t < time && values.len() == width, "row ({b}, {h}, {t}) of {:?}", self.dims);
        let at = b * self.strides[0] + h * self.strides[1] + t * self.strides[2];
        // SAFETY: construction checked that all rows lie inside the memory, which is borrowed mutably; the caller
        // vouches that nobody else writes this row.
        unsafe { self.start.from(at).write(level, values) }
    }
}

fn check_rows(len: usize, dims: [usize; 4], strides: [usize; 3]) {
    if dims.contains(&0) {
        return;
    }
    // From the inside out, each dimension must step over all that lies within it.
    let mut order: Vec<usize> = (0..3).filter(|d| dims[*d] > 1).collect();
    order.sort_by_key(|d| strides[*d]);
    let mut extent = dims[3];
    for d in order {
        assert!(strides[d] >= extent, "rows of {dims:?} with strides {strides:?} overlap");
        extent += (dims[d] - 1) * strides[d];
    }
    assert!(extent <= len, "{dims:?} with strides {strides:?} in {len} values");
}

/// Queries, keys and values side by side in the rows of one tensor (batch * time, (heads + 2 kv_heads) * head_dim), as
/// one linear layer writes them: all query heads, then all key heads, then all value heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Sequences.
    pub batch: usize,
    /// Positions.
    pub time: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads, and as many value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Joined {
    /// The tensor that `attention` would read.
    ///
    /// # Panics
    /// If it has not as many keys as queries.
    pub fn of(attention: &Attention<'_>) -> Joined {
        let Attention { batch, heads, kv_heads, queries, keys, head_dim, .. } = *attention;
        assert_eq!(queries, keys, "joined queries and keys");
        Joined { batch, time: queries, heads, kv_heads, head_dim }
    }

    /// Values of a row.
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Values of the whole tensor.
    pub fn len(&self) -> usize {
        self.batch * self.time * self.row()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn strides(&self) -> [usize; 3] {
        [self.time * self.row(), self.head_dim, self.row()]
    }

    /// Columns at which queries, keys and values begin, and their heads.
    fn parts(&self) -> [(usize, usize); 3] {
        let Joined { heads, kv_heads, head_dim, .. } = *self;
        [(0, heads), (heads * head_dim, kv_heads), ((heads + kv_heads) * head_dim, kv_heads)]
    }

    /// Queries, keys and values of `data`.
    ///
    /// # Panics
    /// If `data` is of another length.
    pub fn split<'a>(&self, data: impl Into<Values<'a>>) -> [Heads<'a>; 3] {
        let data = data.into();
        assert_eq!(data.len(), self.len(), "{self:?}");
        self.parts().map(|(column, _)| Heads { data: data.from(column), strides: self.strides() })
    }

    /// Queries, keys and values of `data` to write.
    ///
    /// # Panics
    /// If `data` is of another length.
    pub fn split_mut<'a>(&self, data: impl Into<ValuesMut<'a>>) -> [HeadsMut<'a>; 3] {
        let data = data.into();
        assert_eq!(data.len(), self.len(), "{self:?}");
        self.views(data.into())
    }

    /// The three parts of a tensor of this shape that begins at `start`: columns of their own in each row, so no two of
    /// their rows overlap.
    pub(super) fn views<'a>(&self, start: Output) -> [HeadsMut<'a>; 3] {
        self.parts().map(|(column, heads)| HeadsMut {
            start: start.from(column),
            dims: [self.batch, heads, self.time, self.head_dim],
            strides: self.strides(),
            memory: PhantomData,
        })
    }
}
