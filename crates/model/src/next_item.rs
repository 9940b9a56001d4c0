//! What comes next of a history of items: a language model whose tokens are the items of a catalogue (SASRec, Kang and
//! McAuley 2018; GRU4Rec, Hidasi et al. 2016). Its head scores the whole catalogue, and its loss is the cross-entropy over it.

use crate::{CausalLm, ModelError, State};
use std::cmp::Ordering;
use std::collections::HashSet;

/// What may be recommended, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextItemConfig {
    /// Items in a list, at most.
    pub count: usize,
    /// Whether an item of the history may come again.
    pub repeat: bool,
    /// Tokens that are no items, such as the end of a text.
    pub excluded: Vec<u32>,
}

impl Default for NextItemConfig {
    fn default() -> Self {
        NextItemConfig { count: 10, repeat: false, excluded: Vec::new() }
    }
}

/// An item of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredItem {
    pub item: u32,
    /// Natural logarithm of its probability among those that may be recommended.
    pub log_probability: f32,
}

impl CausalLm {
    /// The likeliest next items of each history, the best first; of equal ones the lower number.
    ///
    /// * `histories`: items from the oldest to the newest; of more than the context holds, the newest count
    ///
    /// # Errors
    /// As [`CausalLm::step`]; [`ModelError::NoTokens`] for an empty history.
    pub fn next_items(
        &self,
        histories: &[&[u32]],
        config: &NextItemConfig,
    ) -> Result<Vec<Vec<ScoredItem>>, ModelError> {
        let context = self.config().max_seq_len;
        let read: Vec<&[u32]> = histories.iter().map(|items| &items[items.len().saturating_sub(context)..]).collect();
        let mut states: Vec<State> = read.iter().map(|_| State::new(self)).collect();
        let logits = self.step(&read, &mut states.iter_mut().collect::<Vec<_>>())?;
        let excluded: HashSet<u32> = config.excluded.iter().copied().collect();
        let lists = logits.iter().zip(histories).map(|(logits, history)| {
            let mut left_out = excluded.clone();
            if !config.repeat {
                left_out.extend(*history);
            }
            best(logits, &left_out, config.count)
        });
        Ok(lists.collect())
    }
}

fn best(logits: &[f32], left_out: &HashSet<u32>, count: usize) -> Vec<ScoredItem> {
    let mut items: Vec<(u32, f32)> =
        (0u32..).zip(logits).filter(|(item, _)| !left_out.contains(item)).map(|(item, x)| (item, *x)).collect();
    let largest = items.iter().fold(f32::NEG_INFINITY, |most, (_, x)| most.max(*x));
    let total: f64 = items.iter().map(|(_, x)| f64::from(x - largest).exp()).sum();
    let order = |a: &(u32, f32), b: &(u32, f32)| -> Ordering { b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) };
    if count < items.len() {
        items.select_nth_unstable_by(count, order);
        items.truncate(count);
    }
    items.sort_unstable_by(order);
    let log_probability = |x: f32| (f64::from(x - largest) - total.ln()) as f32;
    items.into_iter().map(|(item, x)| ScoredItem { item, log_probability: log_probability(x) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_ordered_and_leaves_out_what_it_must() {
        let logits = [0.5, 2.0, -1.0, 2.0, 0.0, 7.0];
        let items = |left_out: &[u32], count| -> Vec<u32> {
            best(&logits, &left_out.iter().copied().collect(), count).iter().map(|item| item.item).collect()
        };
        assert_eq!(items(&[], 3), [5, 1, 3]);
        assert_eq!(items(&[5, 1], 2), [3, 0]);
        assert_eq!(items(&[5], 99), [1, 3, 0, 4, 2]);
        assert!(items(&[0, 1, 2, 3, 4, 5], 4).is_empty() && items(&[], 0).is_empty());
        let all = best(&logits, &HashSet::from([5]), 99);
        let sum: f64 = all.iter().map(|item| f64::from(item.log_probability).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
}
