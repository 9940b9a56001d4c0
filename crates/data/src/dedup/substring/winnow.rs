use std::collections::VecDeque;

use crate::ngrams::mix;

/// The hash of some units in a row, and the unit that they begin at.
pub(super) type Sample = (u64, u32);

/// The sizes of winnowing (Schleimer et al. 2003): hashes are of so many units, and one is taken of so many in a row.
pub(super) fn winnowing(min: usize) -> (usize, usize) {
    let gram = min / 2;
    (gram, min - gram + 1)
}

/// Hashes of some of the text's n-grams of units: of every `window` n-grams in a row the least, the last one if there are
/// several. Two texts with `min` units in common have a sample of these in common.
pub(super) fn winnow<U: Copy + Into<u64>>(text: &[U], min: usize) -> Vec<Sample> {
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    let (gram, window) = winnowing(min);
    let lead = (0..gram).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let (mut samples, mut least): (Vec<Sample>, VecDeque<Sample>) = (Vec::new(), VecDeque::new());
    let mut rolling = 0u64;
    for (end, &unit) in text.iter().enumerate() {
        rolling = rolling.wrapping_mul(BASE).wrapping_add(unit.into() + 1);
        if end >= gram {
            rolling = rolling.wrapping_sub(lead.wrapping_mul(text[end - gram].into() + 1));
        }
        if end + 1 < gram {
            continue;
        }
        let (hash, at) = (mix(rolling), end + 1 - gram);
        while least.pop_back_if(|&mut (known, _)| known >= hash).is_some() {}
        least.push_back((hash, at as u32));
        while least.pop_front_if(|&mut (_, place)| place as usize + window <= at).is_some() {}
        if at + 1 >= window
            && let Some(&sample) = least.front()
            && samples.last() != Some(&sample)
        {
            samples.push(sample);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// What two texts have in common lies, in both, within the surroundings of a shared sample, whatever the units.
        #[test]
        fn a_common_span_shares_a_sample(
            common in "[a-c]{40,80}", before in "[a-d]{0,50}", other in "[a-d]{0,50}", after in "[a-d]{0,50}",
        ) {
            let texts = [format!("{before}{common}{after}"), format!("{other}{common}{before}")];
            let [of_bytes, of_tokens] = [
                texts.clone().map(|text| winnow(text.as_bytes(), 40)),
                texts.map(|text| winnow(&text.bytes().map(|byte| u32::from(byte) * 700).collect::<Vec<_>>(), 40)),
            ];
            let inside = |at: u32, lead: &str| (lead.len()..=lead.len() + common.len() - 20).contains(&(at as usize));
            for [one, two] in [of_bytes, of_tokens] {
                let shared = |a: &Sample| two.iter().any(|b| a.0 == b.0 && inside(b.1, &other));
                proptest::prop_assert!(one.iter().any(|a| inside(a.1, &before) && shared(a)));
            }
        }
    }

    #[test]
    fn a_text_below_the_shortest_span_has_no_sample() {
        assert!(winnow(&[1u32; 39], 40).is_empty() && winnow::<u8>(&[], 40).is_empty());
        assert_eq!(winnow(&[1u32; 40], 40).len(), 1);
    }
}
