//! Figures of lists of recommendations (Järvelin and Kekäläinen 2002 for NDCG; Kang and McAuley 2018 for the protocol: one
//! item is to be found, ranked among the whole catalogue).

use serde::Serialize;

/// How well lists hold what came next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RankingScores {
    /// Lists scored.
    pub lists: usize,
    /// Share of lists that hold the item; as there is one, recall at `k`, too.
    pub hit_rate: f64,
    /// Mean of `1 / log2(1 + rank)` of the item, 0 where the list lacks it.
    pub ndcg: f64,
    /// Mean of `1 / rank`, 0 where the list lacks the item.
    pub mrr: f64,
    /// Share of the catalogue's items that stand in any list.
    pub coverage: f64,
}

/// Scores the first `k` places of each list.
///
/// * `lists`: items, the best first, none twice
/// * `next`: what came next, one for each list
/// * `catalogue`: number of items that there are
///
/// # Panics
/// If there is not one item for each list.
pub fn score_rankings(lists: &[Vec<u32>], next: &[u32], k: usize, catalogue: usize) -> RankingScores {
    assert_eq!(lists.len(), next.len(), "one item for each list");
    if lists.is_empty() {
        return RankingScores::default();
    }
    let top = |list: &'_ Vec<u32>| list.len().min(k);
    let ranks = lists.iter().zip(next).filter_map(|(list, item)| list[..top(list)].iter().position(|x| x == item));
    let ranks: Vec<f64> = ranks.map(|place| (place + 1) as f64).collect();
    let mean = |value: &dyn Fn(f64) -> f64| ranks.iter().map(|rank| value(*rank)).sum::<f64>() / lists.len() as f64;
    let shown: std::collections::HashSet<u32> =
        lists.iter().flat_map(|list| list[..top(list)].iter().copied()).collect();
    RankingScores {
        lists: lists.len(),
        hit_rate: mean(&|_| 1.0),
        ndcg: mean(&|rank| 1.0 / (1.0 + rank).log2()),
        mrr: mean(&|rank| 1.0 / rank),
        coverage: shown.len() as f64 / catalogue.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_worked_example() {
        let lists = vec![vec![3, 1, 2], vec![5, 3, 4], vec![1, 2, 3], vec![]];
        let scores = score_rankings(&lists, &[3, 4, 9, 1], 3, 10);
        // Found at ranks 1 and 3, twice not at all.
        assert_eq!((scores.lists, scores.hit_rate), (4, 0.5));
        assert!((scores.ndcg - (1.0 + 0.5) / 4.0).abs() < 1e-12);
        assert!((scores.mrr - (1.0 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
        assert_eq!(scores.coverage, 0.5);
        let first = score_rankings(&lists, &[3, 4, 9, 1], 1, 10);
        assert_eq!((first.hit_rate, first.ndcg, first.mrr, first.coverage), (0.25, 0.25, 0.25, 0.3));
        assert_eq!(score_rankings(&[], &[], 3, 10), RankingScores::default());
    }
}
