//! Models that see: gradients of every parameter against finite differences, steps against the whole pass, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::gradients::{check_slopes, gradients, value};
use common::{VOCAB, largest_difference, tokens};
use danlu_model::{
    Activation, Architecture, BeamConfig, DropoutKey, FeatureSelection, GenerateOptions, LogitsRules, LossOptions,
    ModelConfig, ModelError, Pixels, Precision, SamplingConfig, State, Stepper, VisionConfig, VisionInput,
    VisionLanguage, VisionLanguageConfig, beam_search, generate_from,
};
use std::ops::ControlFlow;

const IMAGE: u32 = 60;
const KEY: DropoutKey = DropoutKey { seed: 1, step: 5, first_sequence: 0 };

fn tiny() -> VisionLanguageConfig {
    let vision = VisionConfig {
        layers: 2,
        hidden_size: 12,
        heads: 2,
        ffn_size: Some(20),
        image_size: 4,
        patch_size: 2,
        dropout: 0.2,
        ..VisionConfig::default()
    };
    VisionLanguageConfig { vision, text: ModelConfig { dropout: 0.2, ..common::tiny() }, ..Default::default() }
}

fn kinds() -> Vec<(&'static str, VisionLanguageConfig)> {
    let qwen3 = ModelConfig { architecture: Architecture::Qwen3, tied: false, ..tiny().text };
    vec![
        ("llama, patches of the last layer but one", tiny()),
        ("qwen3, all of the last layer", {
            let vision = VisionConfig { activation: Activation::GeluErf, ..tiny().vision };
            let (text, features) = (qwen3, FeatureSelection::Full);
            VisionLanguageConfig { vision, text, features, feature_layer: -1, projector_bias: false, ..tiny() }
        }),
    ]
}

/// A model whose weights are far from their start, so that every part has a say.
fn lively(config: &VisionLanguageConfig, device: &Device) -> VisionLanguage {
    let model = VisionLanguage::new(config, VOCAB, IMAGE, 9, device).unwrap();
    let mut values = model.named_parameters().unwrap();
    for (i, data) in values.values_mut().enumerate() {
        let shape = data.shape().to_vec();
        let of = |(j, x): (usize, &f32)| match shape.len() {
            1 => x + 0.3 * ((i * 31 + j * 17) % 13) as f32 / 13.0,
            _ => x * 10.0,
        };
        let changed: Vec<f32> = data.as_slice::<f32>().unwrap().iter().enumerate().map(of).collect();
        *data = TensorData::new(changed, shape);
    }
    model.load_named(values).unwrap()
}

fn picture(seed: usize) -> Pixels {
    let values = (0..48).map(|i| ((i * 7 + i * i + seed * 5) % 13) as f32 / 6.0 - 1.0).collect();
    Pixels { height: 4, width: 4, values }
}

/// A text of words alone, without the picture's token.
fn words(count: usize, seed: usize) -> Vec<u32> {
    tokens(count, seed).into_iter().map(|id| id % IMAGE).collect()
}

/// A text with one picture, one with two, one with none.
fn input(model: &VisionLanguage) -> VisionInput {
    let of = |parts: &[&[u32]]| model.expanded(&parts.concat());
    let (a, b, c, d) = (words(3, 1), words(2, 2), words(1, 3), words(6, 4));
    let ids = vec![of(&[&a, &[IMAGE], &b]), of(&[&[IMAGE], &c, &[IMAGE], &b]), d];
    VisionInput { pictures: (0..3).map(picture).collect(), ids }
}

/// What is to follow each token of a text; of pictures, nothing.
fn labels(input: &VisionInput) -> Vec<Vec<i32>> {
    let label = |id: &u32| if *id == IMAGE { -100 } else { *id as i32 };
    input.ids.iter().map(|ids| ids[1..].iter().map(label).chain([7]).collect()).collect()
}

fn loss(model: &VisionLanguage, dropout: Option<DropoutKey>) -> Tensor<1> {
    let input = input(model);
    model.loss_sum(&input, &labels(&input), dropout).unwrap()
}

#[test]
fn every_parameter_has_its_gradient() {
    for (what, config) in kinds() {
        let smoothed = LossOptions { label_smoothing: 0.1, z_loss: 1e-2 };
        let model = lively(&config, &Device::flex().autodiff()).with_loss(smoothed);
        let unreached: &[&str] = match config.feature_layer {
            -2 => &["vision.post_norm", "vision.layers.1."],
            _ => &["vision.post_norm"],
        };
        for dropout in [None, Some(KEY)] {
            let (plain, gradients) = (model.valid(), gradients(&model, model.parameters(), loss(&model, dropout)));
            let with = |values| value(loss(&plain.clone().load_named(values).unwrap(), dropout));
            check_slopes(what, &plain.named_parameters().unwrap(), &gradients, &with, unreached);
        }
    }
}

#[test]
fn dropout_is_a_function_of_its_key_and_bf16_is_near() {
    for (what, config) in kinds() {
        let model = lively(&config, &Device::flex());
        let loss = |model: &VisionLanguage, key| value(loss(model, key));
        assert_eq!(loss(&model, Some(KEY)), loss(&model, Some(KEY)), "{what}");
        assert_ne!(loss(&model, Some(KEY)), loss(&model, None), "{what}");
        assert_ne!(loss(&model, Some(KEY)), loss(&model, Some(DropoutKey { step: 6, ..KEY })), "{what}");
        // The rate of each part alone.
        let vision = VisionConfig { dropout: 0.0, ..config.vision.clone() };
        let deaf = lively(&VisionLanguageConfig { vision: vision.clone(), ..config.clone() }, &Device::flex());
        let text = ModelConfig { dropout: 0.0, ..config.text.clone() };
        let blind = lively(&VisionLanguageConfig { text: text.clone(), ..config.clone() }, &Device::flex());
        let none = lively(&VisionLanguageConfig { text, vision, ..config }, &Device::flex());
        let all = [&deaf, &blind].map(|model| loss(model, Some(KEY)));
        assert!(all.iter().all(|found| *found != loss(&none, None)) && all[0] != all[1], "{what}");
        assert_eq!(loss(&none, Some(KEY)), loss(&none, None), "{what}");
        let (want, found) = (loss(&model, None), loss(&model.clone().with_precision(Precision::Bf16), None));
        assert!(want != found && (want - found).abs() < 0.03 * want.abs(), "{what}: {found}, f32 {want}");
    }
}

#[test]
fn a_split_batch_has_the_loss_of_the_whole_and_pictures_matter() {
    for (what, config) in kinds() {
        let model = lively(&config, &Device::flex());
        let (whole, all) = (value(loss(&model, None)), input(&model));
        let one = |text: usize, pictures: std::ops::Range<usize>| {
            let part = VisionInput { pictures: all.pictures[pictures].to_vec(), ids: vec![all.ids[text].clone()] };
            value(model.loss_sum(&part, &labels(&part), None).unwrap())
        };
        let parts = one(0, 0..1) + one(1, 1..3) + one(2, 0..0);
        assert!((parts - whole).abs() < 1e-5 * whole.abs(), "{what}: {parts}, whole {whole}");
        assert_ne!(one(0, 0..1), one(0, 1..2), "{what}");
    }
}

#[test]
fn steps_say_what_the_whole_pass_says() {
    for (what, config) in kinds() {
        let model = lively(&config, &Device::flex());
        let all = input(&model);
        let logits = model.logits(&all, None).unwrap();
        let [_, time, width] = logits.dims();
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        let mut states = [
            model.start(&all.pictures[..1]).unwrap(),
            model.start(&all.pictures[1..]).unwrap(),
            model.start(&[]).unwrap(),
        ];
        // In pieces that cut through pictures, with a step back in between.
        let mut at = [0; 3];
        for piece in [2, 1, 4, 30] {
            for _ in 0..2 {
                let pieces: Vec<&[u32]> =
                    all.ids.iter().zip(at).map(|(ids, at)| &ids[at..(at + piece).min(ids.len())]).collect();
                let open: Vec<usize> = (0..3).filter(|i| !pieces[*i].is_empty()).collect();
                let tokens: Vec<&[u32]> = open.iter().map(|i| pieces[*i]).collect();
                let running = states.iter_mut().enumerate().filter(|(i, _)| open.contains(i)).map(|(_, state)| state);
                let found = model.step(&tokens, &mut running.collect::<Vec<_>>()).unwrap();
                for (i, found) in open.iter().zip(found) {
                    let row = i * time + at[*i] + pieces[*i].len() - 1;
                    let difference = largest_difference(&found, &logits[row * width..(row + 1) * width]);
                    assert!(difference < 2e-5, "{what}: text {i} at {}: {difference}", at[*i]);
                }
                states.iter_mut().zip(at).for_each(|(state, at)| state.truncate(at).unwrap());
            }
            let next = |i: usize| (at[i] + piece).min(all.ids[i].len());
            let ends = [next(0), next(1), next(2)];
            for i in (0..3).filter(|i| ends[*i] > at[*i]) {
                model.step(&[&all.ids[i][at[i]..ends[i]]], &mut [&mut states[i]]).unwrap();
            }
            at = ends;
        }
        assert_eq!(at.to_vec(), all.ids.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

#[test]
fn one_picture_is_read_once_for_samples_and_beams() {
    let model = lively(&tiny(), &Device::flex());
    let prompt = model.expanded(&[1, IMAGE, 2]);
    let state = model.start(&[picture(4)]).unwrap();
    let options = GenerateOptions {
        sampling: SamplingConfig { temperature: 1.0, ..SamplingConfig::default() },
        rules: LogitsRules { logit_bias: vec![(IMAGE, -1e9)], ..LogitsRules::default() },
        max_tokens: 5,
        stop_tokens: vec![],
        samples: 3,
    };
    let said = |state: &State| {
        generate_from(&model, state.clone(), &prompt, &options, None, |_, _| ControlFlow::Continue(())).unwrap()
    };
    let first = said(&state);
    assert!(first.len() == 3 && first == said(&state), "{first:?}");
    let each = model.start_each(&[picture(3), picture(4)]).unwrap();
    assert_eq!(said(&each[1]), first);
    assert!(said(&each[0]) != first && each[1].bytes() == 4 * 24 * 4);
    let config = BeamConfig { beams: 3, max_tokens: 4, ..BeamConfig::default() };
    let beams = beam_search(&model, vec![(state, prompt)], &[], &config, None).unwrap();
    assert_eq!(beams[0][0].tokens.len(), 4);
}

#[test]
fn wrong_inputs_are_named() {
    let model = lively(&tiny(), &Device::flex());
    let refused = |change: &dyn Fn(&mut VisionInput)| {
        let mut input = input(&model);
        change(&mut input);
        model.logits(&input, None).unwrap_err().to_string()
    };
    let error = refused(&|input| input.pictures.truncate(2));
    assert_eq!(error, "places of pictures: 12, expected 8");
    let error = refused(&|input| input.ids[0].retain(|id| *id != IMAGE));
    assert_eq!(error, "places of pictures: 8, expected 12");
    let error = refused(&|input| input.ids[0].insert(0, IMAGE));
    assert!(error.contains("5 in text 0, expected a multiple of 4"), "{error}");
    let error = refused(&|input| input.pictures[1].width = 3);
    assert!(error.contains("3 x 4, expected 4 x 4"), "{error}");
    let error = refused(&|input| input.pictures[1].values.truncate(9));
    assert!(error.contains("values of a picture: 9, expected 48"), "{error}");
    let error = refused(&|input| input.ids[2][0] = 61);
    assert!(error.contains("outside the vocabulary"), "{error}");
    let error = refused(&|input| input.ids[2] = vec![0; 33]);
    assert!(error.contains("context full"), "{error}");
    assert!(model.features(&[], None).is_err());
    let labels = model.loss_sum(&input(&model), &[vec![]], None).unwrap_err().to_string();
    assert!(labels.contains("sequences of labels"), "{labels}");
    // More places than the text has pictures, or a state that knows of none.
    let mut state = model.start(&[picture(0)]).unwrap();
    let error = model.step(&[&[IMAGE; 5]], &mut [&mut state]).unwrap_err();
    assert!(error.to_string().contains("5 in text 0, expected at most the 4"), "{error}");
    assert!(state.is_empty() && model.step(&[&[IMAGE; 4]], &mut [&mut state]).is_ok());
    let mut blind = State::new(&model.language);
    assert!(matches!(model.step(&[&[1]], &mut [&mut blind]).unwrap_err(), ModelError::StateMismatch { sequence: 0 }));
}
