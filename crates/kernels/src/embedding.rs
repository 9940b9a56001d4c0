//! Rows of a table by index, and the sum of gradients back into the table.

use rayon::prelude::*;

/// Rows of `table` (entries, dim) named by `ids`: (ids, dim).
///
/// # Panics
/// If an id is not below the number of entries.
pub fn gather(table: &[f32], dim: usize, ids: &[i64]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(ids.len() * dim);
    for id in ids {
        rows.extend_from_slice(&table[row(*id, dim, table.len())]);
    }
    rows
}

/// Gradient of [`gather`] to the table: row `ids[i]` receives row i of `g`, in order of i. Threads divide the columns,
/// so repeated ids always add in the same order.
///
/// # Panics
/// If an id is not below `entries` or `g` is not (ids, dim).
pub fn scatter_add(g: &[f32], dim: usize, ids: &[i64], entries: usize) -> Vec<f32> {
    assert_eq!(g.len(), ids.len() * dim, "gradient of {} rows of {dim}", ids.len());
    let mut table = vec![0f32; entries * dim];
    let len = table.len();
    let columns = Columns(table.as_mut_ptr());
    const BLOCK: usize = 128;
    (0..dim.div_ceil(BLOCK)).into_par_iter().for_each(|b| {
        let (first, width) = (b * BLOCK, BLOCK.min(dim - b * BLOCK));
        for (i, id) in ids.iter().enumerate() {
            let start = row(*id, dim, len).start + first;
            // SAFETY: `row` checks that the row lies inside the table; the columns of this block are this task's alone.
            let to = unsafe { std::slice::from_raw_parts_mut(columns.at(start), width) };
            to.iter_mut().zip(&g[i * dim + first..]).for_each(|(t, g)| *t += g);
        }
    });
    table
}

struct Columns(*mut f32);

// SAFETY: each task writes its own columns only.
unsafe impl Sync for Columns {}

impl Columns {
    /// Pointer to element `i`; the caller has checked that it is inside.
    fn at(&self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

fn row(id: i64, dim: usize, len: usize) -> std::ops::Range<usize> {
    assert!(id >= 0 && (id as usize + 1) * dim <= len, "id {id} in a table of {} rows", len / dim.max(1));
    id as usize * dim..(id as usize + 1) * dim
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, matrix};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn gather_and_its_gradient(entries in 1usize..20, dim in 1usize..300, ids in prop::collection::vec(0i64..1000, 0..30), seed: u64) {
            let ids: Vec<i64> = ids.into_iter().map(|i| i % entries as i64).collect();
            let (table, g) = (matrix(entries * dim, seed), matrix(ids.len() * dim, seed ^ 1));
            let rows = gather(&table, dim, &ids);
            let mut want = vec![0f64; entries * dim];
            for (i, id) in ids.iter().enumerate() {
                let at = *id as usize * dim;
                prop_assert_eq!(&rows[i * dim..(i + 1) * dim], &table[at..at + dim]);
                for c in 0..dim {
                    want[at + c] += f64::from(g[i * dim + c]);
                }
            }
            assert_close(&scatter_add(&g, dim, &ids, entries), &want, 1e-5);
        }
    }

    #[test]
    #[should_panic(expected = "id 4 in a table of 4 rows")]
    fn an_id_beyond_the_table_is_named() {
        gather(&[0.0; 8], 2, &[0, 4]);
    }
}
