//! Models of transformers that see, made once by scripts/golden_vision.py, and folders that come back the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use common::largest_difference;
use danlu_model::{
    Activation, Architecture, FeatureSelection, ImageProcessor, ImageSize, ModelError, Pixels, SaveOptions, Stepper,
    VisionInput, VisionLanguage, describe_vision_language,
};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ALL: [&str; 2] = ["llama", "qwen2_full"];

#[derive(Deserialize)]
struct Record {
    pictures: Vec<Vec<f32>>,
    texts: Vec<Vec<u32>>,
    features: Vec<Vec<f32>>,
    logits: Vec<Vec<Vec<f32>>>,
    greedy: Vec<u32>,
    labels: Vec<Vec<i32>>,
    /// Of each tensor its gradient's length, and its product with a zigzag.
    gradients: BTreeMap<String, [f64; 2]>,
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vision").join(name)
}

fn record(name: &str) -> Record {
    serde_json::from_slice(&std::fs::read(golden(name).join("record.json")).unwrap()).unwrap()
}

fn load(dir: &Path) -> Result<VisionLanguage, ModelError> {
    VisionLanguage::load(dir, &Device::flex())
}

fn input(record: &Record) -> VisionInput {
    let picture = |values: &Vec<f32>| Pixels { height: 12, width: 12, values: values.clone() };
    VisionInput { pictures: record.pictures.iter().map(picture).collect(), ids: record.texts.clone() }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn every_kind_says_what_transformers_says_of_pictures_and_texts() {
    for name in ALL {
        let (model, record) = (load(&golden(name)).unwrap(), record(name));
        let features = values(model.features(&input(&record).pictures, None).unwrap());
        let difference = largest_difference(&features, &record.features.concat());
        assert!(difference <= 1e-4, "{name}: features differ by {difference}");
        let logits = model.logits(&input(&record), None).unwrap();
        let [_, time, width] = logits.dims();
        for (found, want) in values(logits).chunks(time * width).zip(&record.logits) {
            let want = want.concat();
            let difference = largest_difference(&found[..want.len()], &want);
            assert!(difference <= 2e-5, "{name}: logits differ by {difference}");
        }
    }
}

#[test]
fn every_kind_continues_as_transformers_does() {
    for name in ALL {
        let (model, record) = (load(&golden(name)).unwrap(), record(name));
        let mut state = model.start(&input(&record).pictures[..1]).unwrap();
        let (mut next, mut written) = (record.texts[0].clone(), Vec::new());
        while written.len() < record.greedy.len() {
            let mut logits = model.step(&[&next], &mut [&mut state]).unwrap().remove(0);
            for banned in [model.special_tokens().eos[0], model.image_token()] {
                logits[banned as usize] = f32::NEG_INFINITY;
            }
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32;
            written.push(best);
            next = vec![best];
        }
        assert_eq!(written, record.greedy, "{name}");
    }
}

/// The gradients as a model of their own, whose folder has the names of transformers; where none arrives, zeros.
struct Gradients<'a>(&'a burn::tensor::Gradients);

impl ModuleMapper for Gradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = param.val().grad(self.0);
        param.map(|value| Tensor::from_inner(gradient.unwrap_or_else(|| value.inner().zeros_like())))
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for name in ALL {
        let record = record(name);
        let model = VisionLanguage::load(&golden(name), &Device::flex().autodiff()).unwrap();
        let gradients = model.loss_sum(&input(&record), &record.labels, None).unwrap().backward();
        let dir = tempfile::tempdir().unwrap();
        model.map(&mut Gradients(&gradients)).save(dir.path(), &SaveOptions::default()).unwrap();
        for (tensor, (_, _, bytes)) in tensors(dir.path()) {
            let values = bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
            let values: Vec<f64> = values.collect();
            let signs = (0..values.len()).map(|i| if (i * 7 + i / 3) % 5 < 2 { 1.0 } else { -1.0 });
            let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            let zigzag: f64 = values.iter().zip(signs).map(|(x, sign)| x * sign).sum();
            // Layers after the one that is read have none.
            let Some([want_length, want_zigzag]) = record.gradients.get(&tensor) else {
                assert!(length == 0.0 && tensor.starts_with("vision_tower."), "{name}: {tensor}: {length}");
                continue;
            };
            // The sum of n numbers of this length is at most sqrt(n) times as long.
            let unit = want_length.max(1.0) * 1e-4;
            let off = [(length - want_length).abs(), (zigzag - want_zigzag).abs() / (values.len() as f64).sqrt()];
            assert!(off.iter().all(|x| *x < unit), "{name}: {tensor}: {length} and {zigzag}, not {want_length}");
        }
        let all = tensors(dir.path());
        assert!(record.gradients.keys().all(|tensor| all.contains_key(tensor)), "{name}");
    }
}

#[test]
fn settings_are_those_of_the_folders() {
    let (llama, vocab_size) = describe_vision_language(&golden("llama")).unwrap().unwrap();
    assert_eq!((vocab_size, llama.feature_layer, llama.features), (53, -2, FeatureSelection::Default));
    assert_eq!((llama.vision.activation, llama.projector_activation), (Activation::QuickGelu, Activation::GeluErf));
    assert_eq!((llama.places(), llama.text.tied, llama.text.architecture), (9, false, Architecture::Llama));
    let (qwen2, _) = describe_vision_language(&golden("qwen2_full")).unwrap().unwrap();
    assert_eq!((qwen2.places(), qwen2.text.tied, qwen2.projector_bias), (10, true, false));
    assert_eq!((qwen2.vision.activation, qwen2.vision.norm_eps), (Activation::GeluErf, 1e-3));
    assert_eq!(load(&golden("llama")).unwrap().image_token(), 5);
    let other = golden("../encoder_decoders/bart");
    assert!(describe_vision_language(&other).unwrap().is_none());
}

/// Name, element type, shape and bytes.
fn tensors(dir: &Path) -> BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let entry = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(entry).collect()
}

#[test]
fn folders_come_back_the_same_to_the_bit() {
    for name in ALL {
        let (first, second, third) = (golden(name), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        load(&first).unwrap().save(second.path(), &SaveOptions::default()).unwrap();
        let model = load(second.path()).unwrap();
        model.save(third.path(), &SaveOptions::default()).unwrap();
        let hub = |name: String| name.replace("vision_tower.", "vision_tower.vision_model.");
        let of_first: BTreeMap<_, _> = tensors(&first).into_iter().map(|(name, t)| (hub(name), t)).collect();
        assert!(of_first == tensors(second.path()), "{name}");
        for file in ["config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"] {
            let read = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
            assert_eq!(read(second.path()), read(third.path()), "{name}: {file}");
        }
        let json =
            |dir: &Path| serde_json::from_slice::<Value>(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
        let (theirs, ours) = (json(&first), json(second.path()));
        for key in ["image_token_index", "image_seq_length", "vision_feature_layer", "tie_word_embeddings"] {
            assert_eq!(theirs[key], ours[key], "{name}: {key}");
        }
        for part in ["vision_config", "text_config"] {
            for (key, value) in theirs[part].as_object().unwrap() {
                let told = ours[part].get(key);
                // Where no window slides, this says nothing.
                let idle = key == "max_window_layers";
                assert!(
                    idle || told.is_none() || told == Some(value),
                    "{name}: {part}.{key}: {told:?}, theirs {value}"
                );
            }
        }
        assert_eq!(*model.config(), load(&first).unwrap().config().resolved(), "{name}");
    }
}

/// A copy of a golden folder with another config.json, and what comes of it.
fn changed(name: &str, change: &dyn Fn(&mut Value)) -> Result<VisionLanguage, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden(name).join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut json = serde_json::from_slice(&std::fs::read(golden(name).join("config.json")).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    load(dir.path())
}

#[test]
fn what_danlu_has_not_is_named() {
    let cases: [(&str, Value, &str); 9] = [
        ("vision_feature_layer", json!([-2, -1]), "one whole number"),
        ("vision_feature_layer", json!(9), "from -4 to 3"),
        ("vision_feature_select_strategy", json!("none"), "\"default\" or \"full\""),
        ("projector_hidden_act", json!("mish"), "one of \"quick_gelu\""),
        ("image_token_index", json!(53), "a token of the vocabulary of 53"),
        ("vision_config", json!({"model_type": "siglip_vision_model"}), "clip_vision_model"),
        ("vision_config", json!(null), "a table of settings"),
        ("text_config", json!({"model_type": "gpt_neox"}), "unknown architecture"),
        ("model_type", json!("llava_next"), "unknown architecture"),
    ];
    for (key, value, expected) in cases {
        let error = changed("llama", &|json| json[key] = value.clone()).unwrap_err();
        assert!(error.to_string().contains(expected), "{key}: {error}");
    }
    let error = changed("llama", &|json| json["vision_config"]["patch_size"] = json!(6)).unwrap_err();
    assert!(matches!(error, ModelError::WrongShape { .. }), "{error}");
    let error = changed("llama", &|json| json["vision_config"]["num_hidden_layers"] = json!(2)).unwrap_err();
    assert!(matches!(error, ModelError::UnexpectedTensor { .. }), "{error}");
    let error = changed("llama", &|json| json["text_config"]["num_hidden_layers"] = json!(3)).unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
}

#[test]
fn pixels_are_those_of_transformers() {
    let record: Value = serde_json::from_slice(&std::fs::read(golden("pixels.json")).unwrap()).unwrap();
    for case in record["cases"].as_array().unwrap() {
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let (height, width) = (count("height"), count("width"));
        let pixel = |at: usize| {
            let (y, x, c) = (at / 3 / width, at / 3 % width, at % 3);
            ((x * x * 3 + y * 13 + c * 71 + x * y * 5) % 256) as u8
        };
        let rgb: Vec<u8> = (0..height * width * 3).map(pixel).collect();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("preprocessor_config.json"), case["settings"].to_string()).unwrap();
        let processor = ImageProcessor::load(dir.path()).unwrap().unwrap();
        let pixels = processor.pixels(height, width, &rgb).unwrap();
        assert_eq!(json!([3, pixels.height, pixels.width]), case["shape"]);
        let want: Vec<f32> = case["pixels"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        // They were written with five digits; a byte more or less would be 0.0037 at least.
        let difference = largest_difference(&pixels.values, &want);
        assert!(difference <= 1e-5, "{height} x {width}: {difference}");
    }
}

#[test]
fn settings_of_pictures_come_back_and_wrong_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preprocessor_config.json");
    assert_eq!(ImageProcessor::load(dir.path()).unwrap(), None);
    std::fs::write(&path, "{}").unwrap();
    assert_eq!(ImageProcessor::load(dir.path()).unwrap(), Some(ImageProcessor::clip(224)));
    std::fs::write(&path, r#"{"size": 336, "crop_size": {"height": 300, "width": 310}, "do_normalize": false}"#)
        .unwrap();
    let read = ImageProcessor::load(dir.path()).unwrap().unwrap();
    assert_eq!((read.resize, read.crop), (Some(ImageSize::ShortestEdge(336)), Some([300, 310])));
    assert_eq!(read.normalize, None);
    for (settings, key) in [
        (json!({"resample": 2}), "resample"),
        (json!({"do_pad": true}), "do_pad"),
        (json!({"size": {"longest_edge": 3}}), "size"),
        (json!({"size": 0}), "size"),
        (json!({"crop_size": "large"}), "crop_size"),
        (json!({"image_mean": [1.0]}), "image_mean"),
        (json!({"image_std": [1.0, 0.0, 1.0]}), "image_std"),
    ] {
        std::fs::write(&path, settings.to_string()).unwrap();
        let error = ImageProcessor::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("`{key}`")), "{key}: {error}");
    }
    let clip = ImageProcessor::clip(8);
    assert!(clip.pixels(2, 2, &[0; 11]).is_err() && clip.pixels(0, 2, &[]).is_err());
    // A line of pixels takes no memory beyond the middle that is kept of it.
    assert_eq!(clip.pixels(1, 40_000, &vec![7; 120_000]).unwrap().values.len(), 3 * 64);
}
