//! Whole documents put together into rows of fixed length.
//!
//! Best-fit decreasing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling"): the longest pieces come first,
//! and each goes into the fullest row that still has room. A document is cut only where it is longer than a row. Equal
//! lengths keep the order of the shard, so the rows are a pure function of the documents' lengths.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::Shard;

/// Rows of pieces: 16 bytes of memory for each piece.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pieces: Vec<Piece>,
    /// Where each row's pieces begin; one more than there are rows.
    rows: Vec<u64>,
}

/// A run of tokens to be learnt, all of one document.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u64,
    length: u32,
}

impl Packed {
    /// Rows of `seq_len` targets from all documents of `shard`, and where the stages of a curriculum begin and the last
    /// one ends. Documents of different stages share no row.
    pub(super) fn new(shard: &Shard, seq_len: usize) -> (Self, Vec<u64>) {
        let pieces: Vec<Piece> = shard.documents().flat_map(|document| cut(document.tokens, seq_len)).collect();
        let begins = if shard.stages().len() < 2 { &[0][..] } else { shard.stages() };
        let (mut row_of, mut rows, mut stages) = (Vec::with_capacity(pieces.len()), 0, Vec::new());
        for number in 0..begins.len() {
            let from = if number == 0 { 0 } else { pieces.partition_point(|piece| piece.start < begins[number]) };
            let to = begins.get(number + 1).map_or(pieces.len(), |end| pieces.partition_point(|p| p.start < *end));
            let (of_stage, count) = best_fit(&pieces[from..to], seq_len);
            row_of.extend(of_stage.iter().map(|row| row + rows as u32));
            stages.push(rows as u64);
            rows += count;
        }
        stages.push(rows as u64);
        let stages = if begins.len() < 2 { Vec::new() } else { stages };
        (Self::of(&pieces, &row_of, rows), stages)
    }

    fn of(pieces: &[Piece], row_of: &[u32], rows: usize) -> Self {
        let mut starts = vec![0u64; rows + 1];
        for &row in row_of {
            starts[row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        // Within a row pieces stand in the order of the shard.
        let mut next = starts.clone();
        let mut sorted = vec![Piece { start: 0, length: 0 }; pieces.len()];
        for (piece, &row) in pieces.iter().zip(row_of) {
            sorted[next[row as usize] as usize] = *piece;
            next[row as usize] += 1;
        }
        Self { pieces: sorted, rows: starts }
    }

    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64 - 1
    }

    /// The pieces of a row, as ranges of the shard's tokens.
    pub(super) fn row(&self, row: u64) -> impl Iterator<Item = Range<usize>> {
        let [from, to] = [self.rows[row as usize], self.rows[row as usize + 1]];
        self.pieces[from as usize..to as usize].iter().map(|p| p.start as usize..p.start as usize + p.length as usize)
    }
}

fn cut(document: Range<usize>, seq_len: usize) -> impl Iterator<Item = Piece> {
    document.clone().step_by(seq_len).map(move |start| {
        let length = (document.end - start).min(seq_len);
        Piece { start: start as u64, length: length as u32 }
    })
}

/// The row of each piece, and how many rows there are.
fn best_fit(pieces: &[Piece], seq_len: usize) -> (Vec<u32>, usize) {
    let mut order: Vec<u32> = (0..pieces.len() as u32).collect();
    order.sort_by_key(|&piece| std::cmp::Reverse(pieces[piece as usize].length));
    let mut row_of = vec![0u32; pieces.len()];
    let mut rows = 0usize;
    // Open rows by what is left in them, and which amounts have any.
    let mut open: Vec<Vec<u32>> = vec![Vec::new(); seq_len + 1];
    let mut amounts: BTreeSet<usize> = BTreeSet::new();
    for piece in order {
        let length = pieces[piece as usize].length as usize;
        let (row, left) = match amounts.range(length..).next().copied() {
            Some(left) => (open[left].pop(), left),
            None => (None, seq_len),
        };
        if left < seq_len && open[left].is_empty() {
            amounts.remove(&left);
        }
        let row = row.unwrap_or_else(|| {
            rows += 1;
            rows as u32 - 1
        });
        row_of[piece as usize] = row;
        let left = left - length;
        if left > 0 {
            open[left].push(row);
            amounts.insert(left);
        }
    }
    (row_of, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(lengths: &[u32]) -> Vec<Piece> {
        lengths.iter().map(|&length| Piece { start: 0, length }).collect()
    }

    #[test]
    fn each_piece_goes_where_least_is_left() {
        // By hand: 7 and 6 open rows of 10; 4 fits exactly beside 6, 3 beside 7; 2 needs a row of its own.
        let (rows, count) = best_fit(&pieces(&[3, 7, 2, 6, 4]), 10);
        assert_eq!((rows, count), (vec![0, 0, 2, 1, 1], 3));
    }

    proptest! {
        #[test]
        fn no_row_overflows_and_first_fit_is_not_beaten_by_much(
            lengths in proptest::collection::vec(1u32..=32, 0..200),
        ) {
            let (row_of, rows) = best_fit(&pieces(&lengths), 32);
            let mut filled = vec![0; rows];
            for (row, length) in row_of.iter().zip(&lengths) {
                filled[*row as usize] += length;
            }
            prop_assert!(filled.iter().all(|&n| (1..=32).contains(&n)));
            // Best-fit decreasing needs at most 11/9 of the optimum and one row (Johnson 1973).
            let least = lengths.iter().sum::<u32>().div_ceil(32) as usize;
            let large = lengths.iter().filter(|&&n| n > 16).count();
            prop_assert!(rows <= 2 * least.max(large) + 1);
        }
    }
}
