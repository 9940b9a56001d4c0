//! What is done to a product before it leaves the registers or the cache.

/// What follows a product `y` of (rows, cols): `y + bias + residual`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// A row-major matrix of the product's shape, without gaps.
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// What a product without an epilogue but with its bias still lacks.
    pub(super) fn finish(&self, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(self.residual.unwrap_or(&[])) {
            *y += x;
        }
    }

    /// # Panics
    /// If a length contradicts the shape.
    pub(super) fn check(&self, rows: usize, cols: usize) {
        assert!(self.bias.is_none_or(|b| b.len() == cols), "bias of {cols}");
        assert!(self.residual.is_none_or(|r| r.len() == rows * cols), "residual of {rows} x {cols}");
    }
}
