//! Folders: round trips, determinism, and what is said of damaged ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use burn::prelude::*;
use common::*;
use danlu_model::{
    Architecture, CONFIG_FILE, CausalLm, EncoderDecoder, GENERATION_CONFIG_FILE, LayerType, MemoryNeeds, ModelConfig,
    ModelError, ModelKind, RopeScaling, SaveOptions, SpecialTokens, State, Stepper, WEIGHTS_FILE, describe, load, save,
};
use serde_json::{Value, json};
use std::path::Path;

fn saved(config: &ModelConfig) -> (tempfile::TempDir, CausalLm) {
    let dir = tempfile::tempdir().unwrap();
    let model = lively(config, 5);
    let special = SpecialTokens { bos: Some(0), eos: vec![0, 2], ..SpecialTokens::default() };
    save(&model, dir.path(), &SaveOptions { special_tokens: Some(special) }).unwrap();
    (dir, model)
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut json);
    std::fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

/// Rewrites the weights after a change to the tensors (name -> shape, values).
fn edit_weights(dir: &Path, edit: impl FnOnce(&mut std::collections::BTreeMap<String, (Vec<usize>, Vec<f32>)>)) {
    let path = dir.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, (t.shape().to_vec(), bytemuck::pod_collect_to_vec::<u8, f32>(t.data()))))
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, (shape, values))| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
        (name, view.unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn failure(dir: &Path) -> ModelError {
    let error = load(dir, &Device::flex()).unwrap_err();
    assert!(error.to_string().contains(dir.to_str().unwrap()), "no path in: {error}");
    error
}

#[test]
fn every_kind_comes_back_with_identical_logits_settings_and_bytes() {
    for (what, config) in all_kinds() {
        let (dir, model) = saved(&ModelConfig { dropout: 0.1, ..config });
        let again = load(dir.path(), &Device::flex()).unwrap();
        let sequence = tokens(20, 1);
        assert_eq!(full_logits(&model, &sequence), full_logits(&again, &sequence), "{what}");
        let mut settings = again.config().clone();
        settings.architecture = model.config().architecture;
        assert_eq!(settings.resolved(), *model.config(), "{what}");
        assert_eq!(again.special_tokens().eos, [0, 2]);
        let second = tempfile::tempdir().unwrap();
        save(&again, second.path(), &SaveOptions::default()).unwrap();
        for file in [CONFIG_FILE, GENERATION_CONFIG_FILE, WEIGHTS_FILE] {
            let (a, b) =
                (std::fs::read(dir.path().join(file)).unwrap(), std::fs::read(second.path().join(file)).unwrap());
            assert_eq!(a, b, "{what}: {file}");
        }
    }
}

#[test]
fn int8_folders_come_back_with_identical_logits() {
    for (what, config) in all_kinds() {
        let model = lively(&config, 6).quantized().unwrap();
        let dir = tempfile::tempdir().unwrap();
        save(&model, dir.path(), &SaveOptions::default()).unwrap();
        let again = load(dir.path(), &Device::flex()).unwrap();
        let sequence = tokens(20, 1);
        assert_eq!(full_logits(&model, &sequence), full_logits(&again, &sequence), "{what}");
    }
}

#[test]
fn a_missing_folder_or_file_is_named() {
    let error = failure(Path::new("/nonexistent/model"));
    assert!(error.to_string().contains("config.json"), "{error}");
    assert!(error.hint().is_some());
    let (dir, _) = saved(&tiny());
    std::fs::remove_file(dir.path().join(WEIGHTS_FILE)).unwrap();
    assert!(failure(dir.path()).to_string().contains("model.safetensors"));
}

#[test]
fn missing_and_unexpected_tensors_are_named() {
    let (dir, _) = saved(&tiny());
    edit_weights(dir.path(), |t| drop(t.remove("model.layers.1.mlp.up_proj.weight").unwrap()));
    let error = failure(dir.path());
    assert!(
        error.to_string().ends_with("tensor `model.layers.1.mlp.up_proj.weight` is missing, expected shape [40, 24]"),
        "{error}"
    );

    let (dir, _) = saved(&tiny_gpt2());
    edit_weights(dir.path(), |t| drop(t.remove("transformer.h.0.attn.c_attn.weight").unwrap()));
    let error = failure(dir.path());
    assert!(
        error.to_string().ends_with("tensor `transformer.h.0.attn.c_attn.weight` is missing, expected shape [24, 72]"),
        "{error}"
    );

    let (dir, _) = saved(&tiny());
    edit_weights(dir.path(), |t| {
        drop(t.insert("model.layers.0.self_attn.q_norm.weight".into(), (vec![2], vec![1.0, 1.0])))
    });
    let error = failure(dir.path());
    assert!(
        matches!(&error, ModelError::UnexpectedTensor { tensor, .. } if tensor == "model.layers.0.self_attn.q_norm.weight"),
        "{error}"
    );
}

#[test]
fn wrong_shapes_say_what_was_expected_and_found() {
    let (dir, _) = saved(&tiny());
    edit_json(&dir.path().join(CONFIG_FILE), |c| c["intermediate_size"] = json!(48));
    let error = failure(dir.path());
    assert!(error.to_string().contains("has shape [40, 24], expected [48, 24]"), "{error}");
}

#[test]
fn damaged_numbers_and_files_are_refused() {
    let (dir, _) = saved(&tiny());
    edit_weights(dir.path(), |t| t.get_mut("model.norm.weight").unwrap().1[3] = f32::NAN);
    let error = failure(dir.path());
    assert!(error.to_string().contains("tensor `model.norm.weight` holds NaN at element 3"), "{error}");

    let (dir, _) = saved(&tiny());
    let path = dir.path().join(WEIGHTS_FILE);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = failure(dir.path());
        assert!(matches!(error, ModelError::Safetensors { .. }), "{length}: {error}");
    }
    std::fs::write(dir.path().join(CONFIG_FILE), "{\"architectures\": [").unwrap();
    assert!(matches!(failure(dir.path()), ModelError::Json { .. }));
}

#[test]
fn unknown_architectures_and_settings_are_refused() {
    let cases: [(&str, Value, &str); 7] = [
        (
            "architectures",
            json!(["MambaForCausalLM"]),
            "unknown architecture `MambaForCausalLM`, expected one of LlamaForCausalLM, GPT2LMHeadModel",
        ),
        ("hidden_act", json!("relu"), "`hidden_act` is \"relu\", expected \"silu\""),
        ("rope_parameters", json!({"rope_type": "yarn"}), "rope_type"),
        ("num_hidden_layers", json!(-3), "`num_hidden_layers` is -3, expected a whole number"),
        ("hidden_size", json!(null), "`hidden_size` is null, expected a whole number"),
        ("vocab_size", json!("many"), "`vocab_size` is \"many\""),
        ("quantization_config", json!({"quant_method": "gptq"}), "compressed-tensors"),
    ];
    for (key, value, expected) in cases {
        let (dir, _) = saved(&tiny());
        edit_json(&dir.path().join(CONFIG_FILE), |c| c[key] = value);
        let error = failure(dir.path());
        assert!(error.to_string().contains(expected), "{key}: {error}");
    }
    let (dir, _) = saved(&tiny());
    edit_json(&dir.path().join(CONFIG_FILE), |c| c["num_attention_heads"] = json!(1_000_000_000_000_u64));
    let error = load(dir.path(), &Device::flex()).unwrap_err();
    assert!(matches!(error, ModelError::InvalidConfig { key: "heads", .. }), "{error}");
}

#[test]
fn every_golden_folder_is_described_as_what_loads_it() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seen = std::collections::BTreeMap::new();
    for inner in ["", "encoders", "encoder_decoders", "vision"] {
        for entry in std::fs::read_dir(golden.join(inner)).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join(CONFIG_FILE).exists() {
                let described = describe(&folder).unwrap();
                let expected = match described.kind {
                    ModelKind::Language(_) => "",
                    ModelKind::Encoder(_) => "encoders",
                    ModelKind::EncoderDecoder(_) => "encoder_decoders",
                    ModelKind::VisionLanguage(_) => "vision",
                };
                assert_eq!(inner, expected, "{}", folder.display());
                assert!(described.vocab_size > 8 && !described.int8, "{described:?}");
                *seen.entry(inner).or_insert(0) += 1;
            }
        }
    }
    assert!(seen.len() == 4 && seen.values().sum::<usize>() >= 35, "{seen:?}");
    // What no loader knows is told with what any of them does, whichever was asked.
    let (dir, _) = saved(&tiny());
    for (architecture, model_type) in
        [(json!(["BertForNextSentencePrediction"]), "bert"), (json!(["Phi3ForCausalLM"]), "phi3"), (json!([]), "opt")]
    {
        edit_json(&dir.path().join(CONFIG_FILE), |c| {
            c["architectures"] = architecture.clone();
            c["model_type"] = json!(model_type);
        });
        let said = describe(dir.path()).unwrap_err().to_string();
        for known in ["Qwen3ForCausalLM", "BertForMaskedLM", "WhisperForConditionalGeneration", "LlavaFor"] {
            assert!(said.contains("unknown architecture") && said.contains(known), "{said}");
        }
    }
    edit_json(&dir.path().join(CONFIG_FILE), |c| {
        c.as_object_mut().unwrap().retain(|key, _| key != "architectures" && key != "model_type");
    });
    let said = describe(dir.path()).unwrap_err().to_string();
    assert!(
        said.contains("config.json: unknown architecture (none named), expected one of LlamaForCausalLM"),
        "{said}"
    );
}

/// Name, element type and elements of each tensor in a folder's file.
fn listed(dir: &Path) -> Vec<(String, String, u64)> {
    let bytes = std::fs::read(dir.join(WEIGHTS_FILE)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let one = |(name, t): (String, safetensors::tensor::TensorView<'_>)| {
        (name, format!("{:?}", t.dtype()), t.shape().iter().product::<usize>() as u64)
    };
    file.tensors().into_iter().map(one).collect()
}

fn needs(dir: &Path) -> MemoryNeeds {
    let listed = listed(dir);
    describe(dir).unwrap().memory(listed.iter().map(|(name, kind, n)| (name.as_str(), kind.as_str(), *n)))
}

#[test]
fn memory_is_what_weights_and_states_take() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["llama_bf16", "llama_untied", "gpt2", "qwen3", "gemma2", "mixtral", "lstm", "gru"] {
        let dir = golden.join(name);
        let needs = needs(&dir);
        let model = load(&dir, &Device::flex()).unwrap();
        let numbers = |p: &danlu_model::ParameterInfo| p.shape.iter().product::<usize>() as u64;
        assert_eq!(needs.weights, 4 * model.parameters().iter().map(numbers).sum::<u64>(), "{name}");
        let sequence = needs.sequence.unwrap();
        let mut state = State::new(&model);
        for held in 1..=3 {
            model.step(&[&[held as u32]], &mut [&mut state]).unwrap();
            assert_eq!(state.bytes() as u64, sequence.fixed + held * sequence.per_token, "{name}");
        }
        let context = model.config().cell().is_none().then_some(state.capacity());
        assert_eq!(sequence.max_tokens, context, "{name}");
        assert!(sequence.most() > 0 && !needs.int8, "{name}");
    }
    // In int8: a byte a weight, and a scale a row.
    let (dir, model) = saved(&ModelConfig { tied: false, ..tiny() });
    let dense = needs(dir.path());
    save(&model.quantized().unwrap(), dir.path(), &SaveOptions::default()).unwrap();
    let int8 = needs(dir.path());
    let listed = listed(dir.path());
    let of = |kind: &str| listed.iter().filter(|(_, of, _)| of == kind).map(|(.., n)| n).sum::<u64>();
    assert_eq!((int8.int8, int8.weights), (true, of("I8") + 4 * of("F32")));
    assert!(of("I8") > 0 && int8.weights < dense.weights && int8.sequence == dense.sequence);
}

#[test]
fn memory_of_a_source_and_of_a_picture_counts_once_a_sequence() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["marian", "bart", "t5"] {
        let dir = golden.join("encoder_decoders").join(name);
        let model = EncoderDecoder::load(&dir, &Device::flex()).unwrap();
        let longest = model.config().max_seq_len;
        let sequence = needs(&dir).sequence.unwrap();
        let mut state = model.start(&vec![1; longest]).unwrap();
        assert_eq!(state.bytes() as u64, sequence.fixed, "{name}");
        model.step(&[&[1, 2]], &mut [&mut state]).unwrap();
        assert_eq!(state.bytes() as u64, sequence.fixed + 2 * sequence.per_token, "{name}");
        let numbers = |p: &danlu_model::ParameterInfo| p.shape.iter().product::<usize>() as u64;
        let weights = 4 * model.parameters().iter().map(numbers).sum::<u64>();
        // The file has a bias of the logits that is none.
        let bias = if name == "t5" { 0 } else { 4 * model.vocab_size() as u64 };
        assert!([weights, weights + bias].contains(&needs(&dir).weights), "{name}");
    }
    let dir = golden.join("vision/llama");
    let sequence = needs(&dir).sequence.unwrap();
    let (config, _) = danlu_model::describe_vision_language(&dir).unwrap().unwrap();
    assert_eq!(sequence.fixed, 4 * (config.places() * config.text.hidden_size) as u64);
    assert!(needs(&golden.join("encoders/bert_pooler")).sequence.is_none());
}

/// What belongs to one family, where it is changed into what danlu does not have.
#[test]
fn settings_of_families_that_cannot_be_are_named() {
    let of = |architecture| ModelConfig { architecture, sliding_window: Some(4), ..tiny() };
    let [qwen2, qwen3, gemma2, gemma3] =
        [Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma2, Architecture::Gemma3].map(of);
    let linear = json!({"rope_type": "linear", "factor": 2.0});
    let cases: [(&ModelConfig, &str, Value, &str); 18] = [
        (&tiny(), "rope_parameters", json!({"rope_type": "longrope", "factor": 2.0}), "\"yarn\" or \"llama3\""),
        (&tiny(), "rope_parameters", json!({"rope_type": "linear", "factor": 2.0, "odd": 1}), "with its own keys"),
        (&tiny(), "rope_parameters", json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "factor of 1"),
        (&tiny(), "rope_parameters", json!({"full_attention": {"rope_type": "default"}}), "one table for all layers"),
        (&tiny(), "rope_parameters", json!("linear"), "rope_type"),
        (&tiny(), "rope_scaling", json!({"type": "linear"}), "`rope_scaling` is"),
        (&tiny(), "partial_rotary_factor", json!(0.25), "`partial_rotary_factor` is 0.25, expected 1"),
        (&qwen2, "use_sliding_window", json!("yes"), "expected true or false"),
        (&qwen2, "layer_types", json!(["linear_attention", "full_attention"]), "a list of \"full_attention\""),
        (&qwen2, "num_key_value_heads", json!(null), "`num_key_value_heads` is null, expected a whole number"),
        (&qwen3, "attention_bias", json!(true), "`attention_bias` is true, expected false"),
        (&gemma2, "hidden_activation", json!("gelu"), "expected \"gelu_pytorch_tanh\""),
        (&gemma2, "attn_logit_softcapping", json!("high"), "expected a number"),
        (&gemma2, "sliding_window", json!(null), "`sliding_window` is null, expected a whole number above 0"),
        (&gemma3, "attn_logit_softcapping", json!(50.0), "`attn_logit_softcapping` is 50.0, expected null"),
        (&gemma3, "use_bidirectional_attention", json!(true), "expected false"),
        (&gemma3, "rope_parameters", json!({"sliding_attention": linear}), "sliding_attention with rope_type"),
        (&gemma3, "model_type", json!("gemma3"), ""),
    ];
    for (config, key, value, expected) in cases {
        let (dir, _) = saved(config);
        edit_json(&dir.path().join(CONFIG_FILE), |c| c[key] = value);
        if expected.is_empty() {
            edit_json(&dir.path().join(CONFIG_FILE), |c| c["architectures"] = json!(null));
            assert!(matches!(failure(dir.path()), ModelError::UnknownArchitecture { .. }));
            continue;
        }
        let error = failure(dir.path());
        assert!(error.to_string().contains(expected), "{key}: {error}");
    }
}

#[test]
fn values_of_new_settings_are_checked_in_folders_too() {
    let mixtral = ModelConfig { architecture: Architecture::Mixtral, ..tiny_experts() };
    let qwen2 = ModelConfig { architecture: Architecture::Qwen2, sliding_window: Some(4), ..tiny() };
    let cases: [(&ModelConfig, &str, Value, &str); 5] = [
        (&mixtral, "num_experts_per_tok", json!(5), "experts_per_token"),
        (&mixtral, "num_local_experts", json!(1_000_000), "experts"),
        (&mixtral, "router_aux_loss_coef", json!(-1.0), "router_aux_loss_coef"),
        (&qwen2, "layer_types", json!(["full_attention"]), "layer_types"),
        (&qwen2, "rope_parameters", json!({"rope_type": "linear", "factor": 0.0}), "rope_scaling"),
    ];
    for (config, key, value, named) in cases {
        let (dir, _) = saved(config);
        edit_json(&dir.path().join(CONFIG_FILE), |c| c[key] = value);
        match load(dir.path(), &Device::flex()) {
            Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, named),
            other => panic!("{named}: {other:?}"),
        }
    }
}

#[test]
fn missing_tensors_of_families_are_named() {
    let of = |architecture| ModelConfig { architecture, ..tiny_experts() };
    for (config, tensor) in [
        (of(Architecture::Mixtral), "model.layers.1.block_sparse_moe.experts.3.w2.weight"),
        (of(Architecture::Mixtral), "model.layers.0.block_sparse_moe.gate.weight"),
        (ModelConfig { experts: None, ..of(Architecture::Qwen3) }, "model.layers.0.self_attn.k_norm.weight"),
        (ModelConfig { experts: None, ..of(Architecture::Gemma2) }, "model.layers.1.post_feedforward_layernorm.weight"),
        (ModelConfig { experts: None, ..of(Architecture::Qwen2) }, "model.layers.1.self_attn.v_proj.bias"),
    ] {
        let (dir, _) = saved(&config);
        edit_weights(dir.path(), |tensors| drop(tensors.remove(tensor).unwrap()));
        let error = failure(dir.path()).to_string();
        assert!(error.contains(&format!("tensor `{tensor}` is missing")), "{error}");
    }
}

/// Hub folders of transformers 4 have other keys for the same settings.
#[test]
fn older_keys_mean_the_same() {
    let config = ModelConfig {
        architecture: Architecture::Gemma3,
        layers: 6,
        sliding_window: Some(4),
        rope_theta: 5e4,
        rope_scaling: Some(RopeScaling::Linear { factor: 8.0 }),
        ..tiny()
    };
    let (dir, model) = saved(&config);
    edit_json(&dir.path().join(CONFIG_FILE), |c| {
        let keys = c.as_object_mut().unwrap();
        keys.remove("rope_parameters").unwrap();
        keys.remove("layer_types").unwrap();
        keys.insert("rope_scaling".into(), json!({"type": "linear", "factor": 8.0}));
        keys.insert("sliding_window_pattern".into(), json!(6));
    });
    let again = load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(again.config(), model.config());
    let qwen2 = ModelConfig { architecture: Architecture::Qwen2, layers: 3, sliding_window: Some(4), ..tiny() };
    let types = vec![LayerType::FullAttention, LayerType::SlidingAttention, LayerType::SlidingAttention];
    let (dir, model) = saved(&ModelConfig { layer_types: Some(types), ..qwen2 });
    edit_json(&dir.path().join(CONFIG_FILE), |c| {
        let keys = c.as_object_mut().unwrap();
        keys.remove("layer_types").unwrap();
        keys.insert("max_window_layers".into(), json!(1));
    });
    assert_eq!(load(dir.path(), &Device::flex()).unwrap().config(), model.config());
}

#[test]
fn gpt2_folders_of_the_hub_load_without_prefix_and_with_old_buffers() {
    let (dir, model) = saved(&tiny_gpt2());
    edit_weights(dir.path(), |tensors| {
        let bare = std::mem::take(tensors).into_iter().map(|(name, t)| (name.replace("transformer.", ""), t));
        tensors.extend(bare);
        tensors.insert("h.0.attn.bias".into(), (vec![1, 1, 2, 2], vec![1.0, 0.0, 1.0, 1.0]));
    });
    let again = load(dir.path(), &Device::flex()).unwrap();
    let sequence = tokens(9, 1);
    assert_eq!(full_logits(&model, &sequence), full_logits(&again, &sequence));
}

#[test]
fn weights_in_several_files_load_and_stay_within_their_folder() {
    let (dir, model) = saved(&tiny());
    let (first, second) = (dir.path().join("model-1.safetensors"), dir.path().join("model-2.safetensors"));
    std::fs::copy(dir.path().join(WEIGHTS_FILE), &second).unwrap();
    let is_embedding = |name: &String| name.contains("embed_tokens");
    edit_weights(dir.path(), |t| t.retain(|name, _| is_embedding(name)));
    std::fs::rename(dir.path().join(WEIGHTS_FILE), &first).unwrap();
    std::fs::rename(&second, dir.path().join(WEIGHTS_FILE)).unwrap();
    edit_weights(dir.path(), |t| t.retain(|name, _| !is_embedding(name)));
    std::fs::rename(dir.path().join(WEIGHTS_FILE), &second).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    let map = |other: &str| json!({"weight_map": {"model.embed_tokens.weight": "model-1.safetensors", "model.norm.weight": other}});
    std::fs::write(&index, map("model-2.safetensors").to_string()).unwrap();
    let again = load(dir.path(), &Device::flex()).unwrap();
    assert_eq!(full_logits(&model, &tokens(9, 1)), full_logits(&again, &tokens(9, 1)));

    for bad in ["../model-2.safetensors", "/etc/passwd", ""] {
        std::fs::write(&index, map(bad).to_string()).unwrap();
        assert!(failure(dir.path()).to_string().contains("names of files in the same folder"), "{bad}");
    }
}

#[test]
fn a_folder_loaded_on_an_autodiff_device_goes_on_learning() {
    let (dir, _) = saved(&tiny());
    let device = Device::flex().autodiff();
    let model = load(dir.path(), &device).unwrap();
    let inputs = Tensor::from_data(TensorData::new(vec![1, 2, 3, 4], [2, 2]), &device);
    let targets = Tensor::from_data(TensorData::new(vec![2, 3, 4, 5], [4]), &device);
    let gradients = model.loss_sum(inputs, targets, Default::default()).backward();
    assert!(model.model.embed_tokens().weight.val().grad(&gradients).is_some());
}
