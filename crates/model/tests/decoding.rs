//! Beam search, contrastive and typical search, samples side by side, rules and constraints. Searches of transformers were
//! recorded by scripts/golden_generation.py.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::*;
use danlu_model::{
    BeamConfig, CausalLm, ContrastiveConfig, EarlyStopping, FinishReason, GenerateOptions, Generation, Hypothesis,
    LogitsConstraint, LogitsRules, ModelError, Sampler, SamplingConfig, State, Stepper, beam_search,
    contrastive_search, generate, generate_from, load, log_softmax,
};
use serde::Deserialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Record {
    searches: Vec<Search>,
    typical: Vec<Typical>,
}

#[derive(Deserialize)]
struct Search {
    model: String,
    settings: HashMap<String, serde_json::Value>,
    stop_tokens: Vec<u32>,
    max_tokens: usize,
    prompt: Vec<u32>,
    results: Vec<Found>,
    scores: Option<Vec<f64>>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Found {
    tokens: Vec<u32>,
    stopped: bool,
}

#[derive(Deserialize)]
struct Typical {
    typical_p: f32,
    temperature: f32,
    logits: Vec<f32>,
    kept: Vec<u32>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn record() -> Record {
    serde_json::from_slice(&std::fs::read(golden("generation.json")).unwrap()).unwrap()
}

fn models() -> HashMap<String, CausalLm> {
    let load = |name: &str| (name.to_string(), load(&golden(name), &Device::flex()).unwrap());
    ["llama_tied", "gpt2"].into_iter().map(load).collect()
}

impl Search {
    fn config(&self) -> BeamConfig {
        let number = |key: &str| self.settings.get(key).and_then(serde_json::Value::as_f64);
        let whole = |key: &str, otherwise: usize| number(key).map_or(otherwise, |x| x as usize);
        let early_stopping = match self.settings.get("early_stopping") {
            None => EarlyStopping::False,
            Some(serde_json::Value::Bool(true)) => EarlyStopping::True,
            Some(_) => EarlyStopping::Never,
        };
        BeamConfig {
            beams: whole("num_beams", 1),
            results: whole("num_return_sequences", 1),
            length_penalty: number("length_penalty").unwrap_or(1.0) as f32,
            early_stopping,
            max_tokens: self.max_tokens,
            repetition_penalty: number("repetition_penalty").unwrap_or(1.0) as f32,
            rules: LogitsRules {
                no_repeat_ngram_size: whole("no_repeat_ngram_size", 0),
                min_tokens: whole("min_new_tokens", 0),
                ..LogitsRules::default()
            },
        }
    }

    fn check(&self, found: &[Hypothesis]) {
        let what = format!("{} {:?} {:?}", self.model, self.settings, self.prompt);
        let tokens: Vec<Found> = found
            .iter()
            .map(|one| Found { tokens: one.tokens.clone(), stopped: one.finish == FinishReason::Stop })
            .collect();
        assert_eq!(tokens, self.results, "{what}");
        for (one, score) in found.iter().zip(self.scores.iter().flatten()) {
            assert!((one.score - score).abs() < 1e-4, "{what}: score {}, expected {score}", one.score);
        }
    }
}

#[test]
fn beam_search_finds_what_transformers_finds() {
    let models = models();
    let searches = record().searches;
    assert!(searches.iter().flat_map(|search| &search.results).filter(|found| found.stopped).count() > 20);
    for search in &searches {
        let model = &models[&search.model];
        let sources = vec![(State::new(model), search.prompt.clone())];
        search.check(&beam_search(model, sources, &search.stop_tokens, &search.config(), None).unwrap()[0]);
    }
}

#[test]
fn sources_searched_together_find_what_each_finds_alone() {
    let models = models();
    let searches = record().searches;
    let mut groups: HashMap<String, Vec<&Search>> = HashMap::new();
    for search in &searches {
        groups.entry(format!("{} {:?}", search.model, search.config())).or_default().push(search);
    }
    for group in groups.values() {
        assert!(group.len() > 1);
        let model = &models[&group[0].model];
        let sources = group.iter().map(|search| (State::new(model), search.prompt.clone())).collect();
        let found = beam_search(model, sources, &group[0].stop_tokens, &group[0].config(), None).unwrap();
        group.iter().zip(&found).for_each(|(search, found)| search.check(found));
    }
}

/// A model that counts its steps and rows.
struct Counted<'m>(&'m CausalLm, std::cell::RefCell<Vec<usize>>);

impl Stepper for Counted<'_> {
    fn vocab_size(&self) -> usize {
        Stepper::vocab_size(self.0)
    }

    fn step(&self, tokens: &[&[u32]], states: &mut [&mut State]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.1.borrow_mut().push(tokens.len());
        self.0.step(tokens, states)
    }
}

#[test]
fn all_beams_of_a_step_go_through_the_model_together_and_end_with_the_context() {
    for (what, config) in [("llama", tiny()), ("gru", tiny_recurrent(danlu_model::Architecture::Gru))] {
        let model = lively(&config, 3);
        let counted = Counted(&model, Default::default());
        let sources = || vec![(State::new(&model), tokens(4, 1)), (State::new(&model), tokens(7, 2))];
        let config = BeamConfig { beams: 3, results: 3, max_tokens: 60, ..BeamConfig::default() };
        let found = beam_search(&counted, sources(), &[], &config, None).unwrap();
        let rows = counted.1.into_inner();
        assert_eq!((rows[0], rows[1]), (2, 6), "{what}");
        if what == "gru" {
            assert!(found.iter().flatten().all(|one| one.tokens.len() == 60 && one.finish == FinishReason::Length));
            continue;
        }
        for (found, prompt) in found.iter().zip([4, 7]) {
            // The last token is said, not read.
            assert!(found.iter().all(|one| one.tokens.len() == 32 - prompt + 1));
            assert!(found.iter().all(|one| one.finish == FinishReason::ContextFull));
        }
        assert_eq!(rows[28], 3, "{what}: the longer source has ended");
    }
}

#[test]
fn searches_refuse_what_they_cannot_do() {
    let model = lively(&tiny(), 3);
    let with = |config: BeamConfig| beam_search(&model, vec![(State::new(&model), vec![1])], &[], &config, None);
    let key = |error: ModelError| match error {
        ModelError::InvalidSampling { key, .. } => key,
        other => panic!("{other}"),
    };
    let base = BeamConfig::default;
    assert_eq!(key(with(BeamConfig { beams: 0, ..base() }).unwrap_err()), "beams");
    assert_eq!(key(with(BeamConfig { beams: 100_000, ..base() }).unwrap_err()), "beams");
    assert_eq!(key(with(BeamConfig { results: 5, ..base() }).unwrap_err()), "results");
    assert_eq!(key(with(BeamConfig { length_penalty: f32::NAN, ..base() }).unwrap_err()), "length_penalty");
    assert_eq!(key(with(BeamConfig { max_tokens: 0, ..base() }).unwrap_err()), "max_tokens");
    let full = beam_search(&model, vec![(State::new(&model), tokens(32, 1))], &[], &base(), None).unwrap_err();
    assert!(matches!(full, ModelError::ContextFull { held: 32, .. }), "{full}");
    // More beams than the vocabulary has tokens, and rules that soon forbid every token.
    let (beams, rules) = (200, LogitsRules { no_repeat_ngram_size: 1, ..LogitsRules::default() });
    let found = with(BeamConfig { beams, results: 2, max_tokens: 5, rules, ..base() }).unwrap();
    assert_eq!(found[0].len(), 2);
    let all = LogitsRules { min_tokens: 9, ..LogitsRules::default() };
    let stop: Vec<u32> = (0..VOCAB as u32).collect();
    let config = BeamConfig { rules: all, ..base() };
    let found = beam_search(&model, vec![(State::new(&model), vec![1])], &stop, &config, None).unwrap();
    assert_eq!((found[0].len(), found[0][0].tokens.len()), (1, 0));
}

#[test]
fn typical_sampling_keeps_what_transformers_keeps() {
    for case in record().typical {
        let (typical_p, temperature) = (case.typical_p, case.temperature);
        let sampler = Sampler::new(SamplingConfig { typical_p, temperature, ..SamplingConfig::default() });
        let mut kept: Vec<u32> = sampler.distribution(&case.logits, &[]).into_iter().map(|(token, _)| token).collect();
        kept.sort_unstable();
        assert_eq!(kept, case.kept, "typical_p {typical_p}");
    }
}

/// Contrastive search by whole forward passes and the formula of Su et al. 2022.
fn contrastive_reference(model: &CausalLm, prompt: &[u32], top_k: usize, alpha: f32, count: usize) -> Vec<u32> {
    let hidden = |tokens: &[u32]| {
        let data = model.hidden(ids(tokens), Default::default()).into_data();
        let values = data.as_slice::<f32>().unwrap().to_vec();
        let width = values.len() / tokens.len();
        values.chunks(width).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let mut sequence = prompt.to_vec();
    for _ in 0..count {
        let log_probabilities = log_softmax(full_logits(model, &sequence).last().unwrap());
        let mut order: Vec<usize> = (0..log_probabilities.len()).collect();
        order.sort_by(|a, b| log_probabilities[*b].total_cmp(&log_probabilities[*a]));
        let score = |token: usize| {
            let longer: Vec<u32> = sequence.iter().copied().chain([token as u32]).collect();
            let rows = hidden(&longer);
            let (last, before) = rows.split_last().unwrap();
            let likeness = before.iter().map(|row| cosine(row, last)).fold(f32::NEG_INFINITY, f32::max);
            (1.0 - alpha) * log_probabilities[token].exp() - alpha * likeness
        };
        let scored: Vec<(usize, f32)> = order[..top_k].iter().map(|token| (*token, score(*token))).collect();
        let best = scored.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
        sequence.push(best as u32);
    }
    sequence.split_off(prompt.len())
}

#[test]
fn contrastive_search_follows_its_formula_for_every_kind() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 5);
        let prompt = tokens(4, 2);
        let expected = contrastive_reference(&model, &prompt, 4, 0.6, 8);
        let config = ContrastiveConfig { max_tokens: 8, ..ContrastiveConfig::default() };
        let run = |config: &ContrastiveConfig, stop: &[u32]| {
            contrastive_search(&model, State::new(&model), &prompt, stop, config, None, |_| ControlFlow::Continue(()))
        };
        let found = run(&config, &[]).unwrap();
        assert_eq!(found, Generation { tokens: expected.clone(), finish: FinishReason::Length }, "{what}");
        let until = expected.iter().position(|token| *token == expected[5]).unwrap();
        let found = run(&config, &[expected[5]]).unwrap();
        assert_eq!(found, Generation { tokens: expected[..until].to_vec(), finish: FinishReason::Stop }, "{what}");
        // Without the penalty it is greedy search.
        let greedy = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
        let greedy = generate(&model, &prompt, &greedy, 8, &[], |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(run(&ContrastiveConfig { penalty_alpha: 0.0, ..config.clone() }, &[]).unwrap(), greedy, "{what}");
        assert!(run(&ContrastiveConfig { top_k: 0, ..config.clone() }, &[]).is_err());
        assert!(run(&ContrastiveConfig { penalty_alpha: 1.5, ..config }, &[]).is_err());
    }
}

#[test]
fn a_model_without_hidden_states_says_so() {
    let model = lively(&tiny(), 3);
    let counted = Counted(&model, Default::default());
    let config = ContrastiveConfig::default();
    let none =
        contrastive_search(&counted, State::new(&model), &[1], &[], &config, None, |_| ControlFlow::Continue(()));
    let error = none.unwrap_err();
    assert!(matches!(error, ModelError::NoHiddenStates), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn hidden_rows_are_those_of_the_forward_pass_and_change_no_logits() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 6);
        let (first, second) = (tokens(7, 1), tokens(3, 2));
        let (mut a, mut b) = (State::new(&model), State::new(&model));
        let stepped = model.step_with_hidden(&[&first, &second], &mut [&mut a, &mut b]).unwrap();
        let (mut c, mut d) = (State::new(&model), State::new(&model));
        let plain = model.step(&[&first, &second], &mut [&mut c, &mut d]).unwrap();
        for ((stepped, plain), tokens) in stepped.iter().zip(&plain).zip([&first, &second]) {
            assert_eq!(&stepped.logits, plain, "{what}");
            let whole = model.hidden(ids(tokens), Default::default()).into_data();
            assert!(largest_difference(&stepped.hidden, whole.as_slice::<f32>().unwrap()) < 1e-4, "{what}");
        }
    }
}

fn options(samples: usize) -> GenerateOptions {
    let sampling = SamplingConfig { temperature: 1.3, seed: 40, ..SamplingConfig::default() };
    GenerateOptions { sampling, rules: LogitsRules::default(), max_tokens: 12, stop_tokens: vec![5, 9, 13], samples }
}

#[test]
fn samples_side_by_side_are_those_of_their_seeds() {
    let model = lively(&tiny(), 7);
    let prompt = tokens(5, 2);
    let mut seen = vec![Vec::new(); 5];
    let found = generate_from(&model, State::new(&model), &prompt, &options(5), None, |index, token| {
        seen[index].push(token);
        if index == 3 && seen[3].len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    for (index, one) in found.iter().enumerate() {
        assert_eq!(one.tokens, seen[index]);
        let sampling = SamplingConfig { seed: 40 + index as u64, ..options(1).sampling };
        let alone = generate(&model, &prompt, &sampling, 12, &[5, 9, 13], |_| ControlFlow::Continue(())).unwrap();
        match index {
            3 => assert_eq!((&one.tokens[..], one.finish), (&alone.tokens[..2], FinishReason::Cancelled)),
            _ => assert_eq!(one, &alone, "sample {index}"),
        }
    }
    let none = generate_from(&model, State::new(&model), &prompt, &options(0), None, |_, _| ControlFlow::Continue(()));
    assert!(matches!(none.unwrap_err(), ModelError::InvalidSampling { key: "samples", .. }));
}

#[test]
fn rules_hold_while_generating() {
    let model = lively(&tiny(), 7);
    let run = |rules: LogitsRules, stop: Vec<u32>| {
        let options = GenerateOptions { rules, stop_tokens: stop, max_tokens: 20, ..options(1) };
        generate_from(&model, State::new(&model), &[1, 2], &options, None, |_, _| ControlFlow::Continue(())).unwrap()
    };
    let every: Vec<u32> = (0..VOCAB as u32).filter(|token| token % 3 > 0).collect();
    let early = run(LogitsRules::default(), every.clone()).remove(0);
    assert!(early.tokens.len() < 10, "a stop token is likely: {early:?}");
    let late = run(LogitsRules { min_tokens: 10, ..Default::default() }, every).remove(0);
    assert!(late.tokens.len() >= 10);
    let varied = run(LogitsRules { no_repeat_ngram_size: 1, ..Default::default() }, vec![]).remove(0);
    let mut all = varied.tokens.clone();
    all.extend([1, 2]);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), varied.tokens.len() + 2, "no token twice, nor one of the prompt");
    let biased = run(LogitsRules { logit_bias: vec![(17, 1000.0)], ..Default::default() }, vec![]).remove(0);
    assert_eq!(biased.tokens, [17; 20]);
    let spread = LogitsRules { logit_bias: vec![(17, 1000.0)], presence_penalty: 2000.0, ..Default::default() };
    assert_eq!(run(spread, vec![]).remove(0).tokens.iter().filter(|token| **token == 17).count(), 1);
}

/// Allows the tokens of one text in order, then the stop token 0.
#[derive(Clone)]
struct Only(Vec<u32>, usize);

impl LogitsConstraint for Only {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ModelError> {
        let allowed = self.0.get(self.1).copied().unwrap_or(0);
        for (token, logit) in logits.iter_mut().enumerate() {
            if token as u32 != allowed {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn commit(&mut self, token: u32) -> Result<(), ModelError> {
        assert_eq!(token, self.0[self.1]);
        self.1 += 1;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.1 == self.0.len()
    }

    fn fork(&self) -> Box<dyn LogitsConstraint> {
        Box::new(self.clone())
    }
}

#[test]
fn a_constraint_wins_over_model_and_rules() {
    let model = lively(&tiny(), 7);
    let only = Only(vec![7, 7, 7, 8, 7, 7], 0);
    let rules = LogitsRules { no_repeat_ngram_size: 2, min_tokens: 11, ..LogitsRules::default() };
    let options = GenerateOptions { rules: rules.clone(), stop_tokens: vec![0], ..options(3) };
    let whole = Generation { tokens: only.0.clone(), finish: FinishReason::Stop };
    let run =
        generate_from(&model, State::new(&model), &[1, 2], &options, Some(&only), |_, _| ControlFlow::Continue(()));
    assert_eq!(run.unwrap(), vec![whole.clone(); 3]);
    let config = ContrastiveConfig { rules, ..ContrastiveConfig::default() };
    let state = State::new(&model);
    let found = contrastive_search(&model, state, &[1, 2], &[0], &config, Some(&only), |_| ControlFlow::Continue(()));
    assert_eq!(found.unwrap(), whole);
}
