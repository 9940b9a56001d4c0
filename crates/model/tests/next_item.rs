//! Lists of next items: the head's own order, without what is left out, of a history of any length.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use danlu_model::{Architecture, ModelError, NextItemConfig};

#[test]
fn lists_are_the_order_of_the_logits_for_attention_and_recurrence() {
    for config in [tiny(), tiny_recurrent(Architecture::Gru)] {
        let model = lively(&config, 4);
        let histories = [tokens(9, 1), tokens(3, 2)];
        let read: Vec<&[u32]> = histories.iter().map(Vec::as_slice).collect();
        let options = NextItemConfig { count: 5, excluded: vec![7], ..NextItemConfig::default() };
        let lists = model.next_items(&read, &options).unwrap();
        for (list, history) in lists.iter().zip(&histories) {
            let logits = full_logits(&model, history).pop().unwrap();
            let mut order: Vec<u32> = (0..VOCAB as u32).filter(|item| *item != 7 && !history.contains(item)).collect();
            order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
            assert_eq!(list.iter().map(|item| item.item).collect::<Vec<_>>(), order[..5]);
            let apart = logits[order[0] as usize] - logits[order[1] as usize];
            assert!((list[0].log_probability - list[1].log_probability - apart).abs() < 1e-4);
        }
        let again = NextItemConfig { count: VOCAB, repeat: true, ..NextItemConfig::default() };
        assert_eq!(model.next_items(&read, &again).unwrap()[0].len(), VOCAB);
    }
}

#[test]
fn of_a_long_history_the_newest_items_count_and_an_empty_one_is_refused() {
    let model = lively(&tiny(), 4);
    let long = tokens(50, 3);
    let options = NextItemConfig { repeat: true, ..NextItemConfig::default() };
    assert_eq!(model.next_items(&[&long], &options).unwrap(), model.next_items(&[&long[50 - 32..]], &options).unwrap());
    assert!(matches!(model.next_items(&[&[]], &options), Err(ModelError::NoTokens { sequence: 0 })));
}
