use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{CurriculumConfig, MixtureConfig};
use crate::DataError;
use crate::document::fraction;
use crate::permutation::mix;

/// What a mixture must know of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureItem {
    /// An index into the names of the groups.
    pub group: u32,
    /// End-of-text token included.
    pub tokens: u64,
    /// What a curriculum orders by; NaN, which comes last, where the document has no such number.
    pub key: f64,
}

/// A mixture worked out: which documents, how often, in which order.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Indices into the documents, in the order of training.
    pub order: Vec<u32>,
    /// Where each stage begins in `order`; one 0 without a curriculum.
    pub stages: Vec<usize>,
    pub summary: MixtureSummary,
}

/// What was wanted and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MixtureSummary {
    pub groups: Vec<MixtureRow>,
    /// Tokens that were wanted in all.
    pub tokens_wanted: u64,
    /// Tokens there are, with repeats. Fewer than wanted where every group has reached `max_epochs`.
    pub tokens: u64,
    /// Documents, with repeats.
    pub documents: u64,
    /// Documents without a number to order by, which come last.
    pub without_key: u64,
    pub stages: usize,
}

/// One group of a mixture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MixtureRow {
    pub name: String,
    /// What there is to choose from.
    pub available_documents: u64,
    pub available_tokens: u64,
    /// The share of tokens that weights and temperature ask for.
    pub target: f64,
    /// The share after caps, as realised.
    pub realised: f64,
    /// With repeats.
    pub documents: u64,
    pub tokens: u64,
    /// How often its tokens are seen on average.
    pub epochs: f64,
    /// Whether `max_epochs` held it back.
    pub capped: bool,
}

impl Mixture {
    /// Works out a mixture. Pure: the same items, names and config give the same order.
    ///
    /// # Errors
    /// Values that make no sense, a weight for a group that does not exist, a group without a weight where others have
    /// one, nothing left to train on.
    pub fn plan(items: &[MixtureItem], names: &[String], config: &MixtureConfig) -> Result<Self, DataError> {
        config.check()?;
        let mut rows = available(items, names);
        set_targets(&mut rows, config)?;
        let reachable: u64 = rows.iter().filter(|row| row.target > 0.0).map(|row| row.available_tokens).sum();
        let wanted = config.tokens.unwrap_or(reachable);
        let budgets = budgets(&mut rows, wanted as f64, config.max_epochs);
        let mut chosen = choose(items, &budgets, config.seed);
        let stages = arrange(&mut chosen, items, config);
        let order: Vec<u32> = chosen.iter().map(|one| one.document).collect();
        if order.is_empty() {
            let explanation = "the mixture leaves no document; see [mixture] weights, max_epochs and tokens".into();
            return Err(DataError::EmptyCorpus { explanation });
        }
        let summary = realised(rows, items, &order, wanted, stages.len());
        Ok(Self { order, stages, summary })
    }
}

fn available(items: &[MixtureItem], names: &[String]) -> Vec<MixtureRow> {
    let mut rows: Vec<MixtureRow> =
        names.iter().map(|name| MixtureRow { name: name.clone(), ..Default::default() }).collect();
    for item in items {
        if let Some(row) = rows.get_mut(item.group as usize) {
            row.available_documents += 1;
            row.available_tokens += item.tokens;
        }
    }
    rows
}

/// Shares from weights, or from the tokens there are, with the temperature.
fn set_targets(rows: &mut [MixtureRow], config: &MixtureConfig) -> Result<(), DataError> {
    check_names(rows, &config.weights)?;
    let weight = |row: &MixtureRow| match config.weights.get(&row.name) {
        Some(&weight) if row.available_tokens > 0 => weight,
        None if config.weights.is_empty() => row.available_tokens as f64,
        _ => 0.0,
    };
    let all: f64 = rows.iter().map(weight).sum();
    let flat = |row: &MixtureRow| (weight(row) / all).powf(1.0 / config.temperature);
    let sum: f64 = rows.iter().map(flat).sum();
    let targets: Vec<f64> = rows.iter().map(|row| if sum > 0.0 { flat(row) / sum } else { 0.0 }).collect();
    rows.iter_mut().zip(targets).for_each(|(row, target)| row.target = target);
    Ok(())
}

/// Nothing is left out silently: with weights, every group must have one.
fn check_names(rows: &[MixtureRow], weights: &BTreeMap<String, f64>) -> Result<(), DataError> {
    if weights.is_empty() {
        return Ok(());
    }
    let quoted = |names: Vec<&str>| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let unknown: Vec<&str> = weights.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
    let missing: Vec<&str> = known.iter().copied().filter(|name| !weights.contains_key(*name)).collect();
    let message = match () {
        () if !unknown.is_empty() => format!("no documents of {}; there are {}", quoted(unknown), quoted(known)),
        () if !missing.is_empty() => {
            format!("no weight for {}; give each a weight, or 0 to leave it out", quoted(missing))
        }
        () => return Ok(()),
    };
    Err(DataError::BadConfig { key: "mixture.weights", message })
}

/// Tokens for each group: its share of `wanted`, up to the cap; what a capped group leaves goes to the others in
/// proportion to their shares, until nobody is above the cap.
fn budgets(rows: &mut [MixtureRow], wanted: f64, max_epochs: f64) -> Vec<f64> {
    let cap = |row: &MixtureRow| max_epochs * row.available_tokens as f64;
    loop {
        let fixed: f64 = rows.iter().filter(|row| row.capped).map(cap).sum();
        let open: f64 = rows.iter().filter(|row| !row.capped).map(|row| row.target).sum();
        let left = (wanted - fixed).max(0.0);
        let share = |row: &MixtureRow| if open > 0.0 { left * row.target / open } else { 0.0 };
        // A hair above the cap is rounding, not a wish.
        let over: Vec<bool> = rows.iter().map(|row| !row.capped && share(row) > cap(row) * (1.0 + 1e-9)).collect();
        if !over.contains(&true) {
            return rows.iter().map(|row| if row.capped { cap(row) } else { share(row) }).collect();
        }
        rows.iter_mut().zip(over).for_each(|(row, over)| row.capped |= over);
    }
}

/// A document as it is seen once.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    document: u32,
    /// Where it falls at random.
    place: u64,
}

/// Every document as often as its group's budget has whole epochs, and once more for as many as fill the rest.
fn choose(items: &[MixtureItem], budgets: &[f64], seed: u64) -> Vec<Chosen> {
    let mut available = vec![0u64; budgets.len()];
    items.iter().for_each(|item| available[item.group as usize] += item.tokens);
    let epochs: Vec<f64> =
        budgets.iter().zip(&available).map(|(&b, &a)| if a > 0 { b / a as f64 } else { 0.0 }).collect();
    let mut left: Vec<f64> =
        epochs.iter().zip(&available).map(|(&e, &a)| (e - (e + 1e-9).floor()).max(0.0) * a as f64).collect();
    let mut by_chance: Vec<u32> = (0..items.len() as u32).collect();
    by_chance.sort_unstable_by_key(|&document| (mix(seed ^ mix(u64::from(document) << 1)), document));
    let mut chosen = Vec::new();
    for document in by_chance {
        let item = &items[document as usize];
        let group = item.group as usize;
        let mut times = (epochs[group] + 1e-9).floor() as u64;
        // The one that would go further beyond the budget than it now falls short stays out.
        if left[group] >= item.tokens as f64 / 2.0 && left[group] > 0.0 {
            left[group] -= item.tokens as f64;
            times += 1;
        }
        chosen.extend((0..times).map(|pass| {
            let place = mix(seed ^ mix((u64::from(document) << 1 | 1).wrapping_add(pass << 33)));
            Chosen { document, place }
        }));
    }
    chosen
}

/// Puts the chosen documents in order and gives the beginnings of the stages.
fn arrange(chosen: &mut [Chosen], items: &[MixtureItem], config: &MixtureConfig) -> Vec<usize> {
    let by_place = |one: &Chosen| (one.place, one.document);
    let Some(curriculum) = &config.curriculum else {
        chosen.sort_unstable_by_key(by_place);
        return vec![0];
    };
    let key = |one: &Chosen| items[one.document as usize].key;
    chosen.sort_unstable_by(|a, b| by_key(key(a), key(b), curriculum.ascending).then(by_place(a).cmp(&by_place(b))));
    let stages = stage_of(chosen, items, curriculum, config.seed);
    let mut staged: Vec<(usize, Chosen)> = stages.into_iter().zip(chosen.iter().copied()).collect();
    staged.sort_unstable_by_key(|(stage, one)| (*stage, by_place(one)));
    let begins = (0..curriculum.stages).map(|stage| staged.partition_point(|(of, _)| *of < stage)).collect();
    chosen.iter_mut().zip(staged).for_each(|(slot, (_, one))| *slot = one);
    begins
}

/// Numbers in order, what is none last.
fn by_key(a: f64, b: f64, ascending: bool) -> std::cmp::Ordering {
    let order = match (a.is_nan(), b.is_nan()) {
        (false, false) if ascending => a.total_cmp(&b),
        (false, false) => b.total_cmp(&a),
        (a, b) => a.cmp(&b),
    };
    if a == b { std::cmp::Ordering::Equal } else { order }
}

/// The stage of each document of a sorted list: equal parts by tokens, but for the share that is strewn at random.
fn stage_of(sorted: &[Chosen], items: &[MixtureItem], curriculum: &CurriculumConfig, seed: u64) -> Vec<usize> {
    let tokens = |one: &Chosen| items[one.document as usize].tokens;
    let all: u64 = sorted.iter().map(tokens).sum();
    let mut passed = 0u64;
    let stage = |one: &Chosen| {
        let middle = passed + tokens(one) / 2;
        passed += tokens(one);
        let own = (middle as u128 * curriculum.stages as u128 / all.max(1) as u128) as usize;
        let draw = mix(one.place ^ mix(seed));
        let strewn = fraction(u128::from(draw) << 64) < curriculum.mixing;
        if strewn { (mix(draw) % curriculum.stages as u64) as usize } else { own.min(curriculum.stages - 1) }
    };
    sorted.iter().map(stage).collect()
}

fn realised(
    mut rows: Vec<MixtureRow>,
    items: &[MixtureItem],
    order: &[u32],
    tokens_wanted: u64,
    stages: usize,
) -> MixtureSummary {
    let mut without_key = 0;
    for &document in order {
        let item = &items[document as usize];
        let row = &mut rows[item.group as usize];
        row.documents += 1;
        row.tokens += item.tokens;
        without_key += u64::from(stages > 1 && item.key.is_nan());
    }
    let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
    for row in &mut rows {
        row.realised = row.tokens as f64 / tokens.max(1) as f64;
        row.epochs = row.tokens as f64 / row.available_tokens.max(1) as f64;
    }
    MixtureSummary { groups: rows, tokens_wanted, tokens, documents: order.len() as u64, without_key, stages }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `sizes[group]` = (documents, tokens each).
    fn items(sizes: &[(usize, u64)]) -> (Vec<MixtureItem>, Vec<String>) {
        let mut items = Vec::new();
        for (group, &(count, tokens)) in sizes.iter().enumerate() {
            items.extend((0..count).map(|i| MixtureItem { group: group as u32, tokens, key: i as f64 }));
        }
        (items, (0..sizes.len()).map(|group| format!("g{group}")).collect())
    }

    fn plan(sizes: &[(usize, u64)], config: &MixtureConfig) -> Result<Mixture, DataError> {
        let (items, names) = items(sizes);
        Mixture::plan(&items, &names, config)
    }

    fn weights(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
    }

    #[test]
    fn without_wishes_everything_is_seen_once() {
        let mixture = plan(&[(30, 10), (5, 100)], &MixtureConfig::default()).unwrap();
        let mut order = mixture.order.clone();
        assert_ne!(order, (0..35).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..35).collect::<Vec<_>>());
        assert!(mixture.summary.groups.iter().all(|row| row.epochs == 1.0 && !row.capped));
        assert_eq!(mixture.stages, [0]);
    }

    #[test]
    fn shares_are_those_that_were_asked_for() {
        let config = MixtureConfig { weights: weights(&[("g0", 3.0), ("g1", 1.0)]), ..Default::default() };
        // 400 tokens there, 300 of them wanted of g0, which has 100: three epochs.
        let mixture = plan(&[(10, 10), (30, 10)], &config).unwrap();
        let [g0, g1] = &mixture.summary.groups[..] else { unreachable!() };
        assert_eq!((g0.tokens, g1.tokens, g0.epochs), (300, 100, 3.0));
        assert!((0..10).all(|document| mixture.order.iter().filter(|&&d| d == document).count() == 3));
    }

    #[test]
    fn a_capped_group_leaves_its_rest_to_the_others() {
        let all = weights(&[("g0", 8.0), ("g1", 1.0), ("g2", 1.0)]);
        let config = MixtureConfig { weights: all, max_epochs: 2.0, tokens: Some(1000), ..Default::default() };
        let mixture = plan(&[(10, 10), (100, 10), (100, 10)], &config).unwrap();
        let tokens: Vec<u64> = mixture.summary.groups.iter().map(|row| row.tokens).collect();
        assert_eq!(tokens, [200, 400, 400]);
        assert_eq!(mixture.summary.groups.iter().map(|row| row.capped).collect::<Vec<_>>(), [true, false, false]);
        // All capped: there is no more to be had.
        let short = MixtureConfig { max_epochs: 1.0, tokens: Some(5000), ..config };
        let summary = plan(&[(10, 10), (100, 10), (100, 10)], &short).unwrap().summary;
        assert_eq!((summary.tokens, summary.tokens_wanted), (2100, 5000));
    }

    #[test]
    fn temperature_by_hand() {
        // 900 and 100 tokens: at T = 2 the shares are sqrt(0.9) : sqrt(0.1) = 3 : 1.
        let config = MixtureConfig { temperature: 2.0, ..Default::default() };
        let mixture = plan(&[(90, 10), (10, 10)], &config).unwrap();
        let targets: Vec<f64> = mixture.summary.groups.iter().map(|row| row.target).collect();
        assert!((targets[0] - 0.75).abs() < 1e-12 && (targets[1] - 0.25).abs() < 1e-12, "{targets:?}");
        assert_eq!(mixture.summary.groups.iter().map(|row| row.tokens).collect::<Vec<_>>(), [750, 250]);
    }

    #[test]
    fn a_curriculum_goes_up_in_stages() {
        let curriculum = CurriculumConfig { stages: 4, mixing: 0.0, ..Default::default() };
        let config = MixtureConfig { curriculum: Some(curriculum.clone()), ..Default::default() };
        let mixture = plan(&[(40, 10)], &config).unwrap();
        assert_eq!(mixture.stages, [0, 10, 20, 30]);
        for (stage, documents) in mixture.order.chunks(10).enumerate() {
            let mut sorted = documents.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (stage as u32 * 10..stage as u32 * 10 + 10).collect::<Vec<_>>());
            assert_ne!(sorted, documents, "documents of a stage are shuffled");
        }
        let down = CurriculumConfig { ascending: false, ..curriculum.clone() };
        let falling = plan(&[(40, 10)], &MixtureConfig { curriculum: Some(down), ..Default::default() }).unwrap();
        assert!(falling.order[..10].iter().all(|&document| document >= 30));
        // With mixing, about a tenth lies elsewhere.
        let mixed = CurriculumConfig { mixing: 0.4, ..curriculum };
        let mixture = plan(&[(4000, 10)], &MixtureConfig { curriculum: Some(mixed), ..Default::default() }).unwrap();
        let first = &mixture.order[..mixture.stages[1]];
        let strangers = first.iter().filter(|&&document| document >= 1000).count() as f64 / first.len() as f64;
        assert!((0.25..0.35).contains(&strangers), "{strangers}"); // 0.4 strewn, a quarter of them at home
    }

    #[test]
    fn documents_without_a_number_come_last() {
        let (mut items, names) = items(&[(8, 10)]);
        items[0].key = f64::NAN;
        let curriculum = CurriculumConfig { stages: 8, mixing: 0.0, ..Default::default() };
        for ascending in [true, false] {
            let curriculum = Some(CurriculumConfig { ascending, ..curriculum.clone() });
            let mixture = Mixture::plan(&items, &names, &MixtureConfig { curriculum, ..Default::default() }).unwrap();
            assert_eq!((mixture.order[7], mixture.summary.without_key), (0, 1));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let said = |config: MixtureConfig| plan(&[(3, 10), (3, 10)], &config).unwrap_err().to_string();
        let with = |all: &[(&str, f64)]| MixtureConfig { weights: weights(all), ..Default::default() };
        assert!(said(with(&[("g0", 1.0)])).contains("no weight for \"g1\""));
        assert!(said(with(&[("g0", 1.0), ("g1", 1.0), ("g3", 1.0)])).contains("\"g3\""));
        assert!(said(with(&[("g0", -1.0)])).contains("\"g0\""));
        assert!(said(with(&[("g0", 0.0), ("g1", 0.0)])).contains("all weights are 0"));
        assert!(said(MixtureConfig { temperature: 0.0, ..Default::default() }).contains("mixture.temperature"));
        assert!(said(MixtureConfig { max_epochs: f64::NAN, ..Default::default() }).contains("mixture.max_epochs"));
        assert!(said(MixtureConfig { max_epochs: 1e-9, ..Default::default() }).contains("no document"));
    }

    proptest! {
        #[test]
        fn shares_are_met_to_a_document_and_caps_are_kept(
            sizes in prop::collection::vec((1usize..60, 1u64..50), 1..5),
            wishes in prop::collection::vec(0.0f64..5.0, 5),
            tokens in 1u64..20_000,
            max_epochs in 0.3f64..5.0,
            seed: u64,
        ) {
            let names = (0..sizes.len()).map(|group| format!("g{group}"));
            let weights: BTreeMap<String, f64> = names.zip(wishes.iter().map(|w| w + 0.01)).collect();
            let config = MixtureConfig { weights, max_epochs, tokens: Some(tokens), seed, ..Default::default() };
            let Ok(mixture) = plan(&sizes, &config) else { return Ok(()) };
            let summary = &mixture.summary;
            for (row, &(_, each)) in summary.groups.iter().zip(&sizes) {
                prop_assert!(row.tokens as f64 <= max_epochs * row.available_tokens as f64 + each as f64 / 2.0 + 1e-6);
            }
            // Groups that are not capped stand to each other as their weights do, to half a document each.
            let open: Vec<_> = summary.groups.iter().zip(&sizes).filter(|(row, _)| !row.capped).collect();
            if let [(a, (_, each_a)), (b, (_, each_b)), ..] = open[..] {
                let per_share = a.tokens as f64 / a.target;
                let slack = *each_a.max(each_b) as f64 / 2.0 * (1.0 / a.target + 1.0 / b.target);
                prop_assert!((b.tokens as f64 / b.target - per_share).abs() <= slack + 1e-6, "{summary:?}");
            }
            prop_assert_eq!(mixture, plan(&sizes, &config).unwrap());
        }
    }
}
