//! `danlu import` and `export --verify`: every family's logits after the way through another format.

use std::path::{Path, PathBuf};

use danlu_model::{EncoderDecoder, EncoderDecoderConfig, SaveOptions, SpecialTokens};
use serde_json::{Value, json};

use crate::harness::Place;

/// A tokenizer of so many tokens: letters, signs and the end of a text.
fn tokenizer(size: usize) -> Value {
    let letters = "Ġetaoinshrdlucmfwypvbgkqjxz.,:;'?TIHOWABCDEFQ0123456789+(){}\"[]_-=%/";
    let end = size - 1;
    let vocabulary: serde_json::Map<String, Value> =
        letters.chars().take(end).enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    assert_eq!(vocabulary.len(), end);
    json!({
        "added_tokens": [{
            "id": end, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

/// A folder of the golden models with a tokenizer.
fn model(place: &Place, name: &str, change: &[(&str, Value)]) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name);
    let folder = place.path(name);
    std::fs::create_dir(&folder).unwrap();
    for file in ["generation_config.json", "model.safetensors"] {
        if golden.join(file).exists() {
            std::fs::copy(golden.join(file), folder.join(file)).unwrap();
        }
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(golden.join("config.json")).unwrap()).unwrap();
    for (key, value) in change {
        config[key] = value.clone();
    }
    let size = config["vocab_size"].as_u64().unwrap() as usize;
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer(size).to_string()).unwrap();
    folder
}

#[test]
fn every_family_gives_the_same_logits_after_gguf_and_as_a_folder() {
    let place = Place::new();
    let whole = [("sliding_window", Value::Null)];
    let families: [(&str, &[(&str, Value)]); 10] = [
        ("llama_tied", &[]),
        ("llama_untied", &[]),
        ("rope_linear", &[]),
        ("mistral", &whole),
        ("mixtral", &whole),
        ("gpt2", &[]),
        ("qwen2", &[]),
        ("qwen3", &[]),
        ("gemma", &[]),
        ("gemma2", &[("query_pre_attn_scalar", json!(16))]),
    ];
    for (name, change) in families {
        model(&place, name, change);
        let mut args = vec!["export", name, "--out", "out.gguf", "--kind", "f32", "--verify", "--json"];
        let said = place.json(&args);
        let verified = &said["verified"];
        assert_eq!(verified["holds"], true, "{name} {said:#}");
        assert!(verified["positions"].as_u64().unwrap() > 100 && verified["top1"] == 1.0, "{name} {verified}");
        let folder = format!("{name}-hf");
        args = vec!["export", name, "--format", "hf", "--out", &folder, "--verify", "--json"];
        let verified = &place.json(&args)["verified"];
        assert_eq!((&verified["max_logit_error"], &verified["holds"]), (&json!(0.0), &json!(true)), "{name}");
    }
    let shown = place.ok(&["export", "qwen3", "--out", "half.gguf", "--verify"]);
    assert!(shown.contains("largest logit error") && shown.contains("KL divergence, nats"), "{shown}");
    assert!(
        place.fails(2, &["export", "qwen3", "--format", "hf", "--out", "x", "--kind", "q4_0"]).contains("hint: use")
    );
    assert!(!place.path("x").exists());
}

#[test]
fn a_model_that_came_out_another_is_told() {
    let place = Place::new();
    // Values beyond the largest of f16 become infinite.
    let folder = model(&place, "llama_tied", &[]);
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let said = place.fails(1, &["export", "llama_tied", "--out", "out.gguf", "--kind", "q4_0", "--verify"]);
    assert!(said.contains("out.gguf") || said.contains("element"), "{said}");
}

#[test]
fn pytorch_is_named_with_the_remedy_where_safetensors_are_wanted() {
    let place = Place::new();
    let folder = model(&place, "llama_tied", &[]);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/tests/golden");
    std::fs::copy(golden.join("code.bin"), folder.join("pytorch_model.bin")).unwrap();
    let said = place.fails(1, &["generate", "llama_tied", "--prompt", "a"]);
    assert!(
        said.contains("is a checkpoint of PyTorch") && said.contains("hint: make a folder of safetensors"),
        "{said}"
    );
    let said = place.fails(1, &["import", "llama_tied", "--out", "out"]);
    assert!(said.contains("a pickle with code in it: it asks for posix.system") && said.contains("hint: "), "{said}");
    assert!(!place.path("out").exists());
    std::fs::copy(golden.join("old.bin"), folder.join("pytorch_model.bin")).unwrap();
    assert!(place.fails(1, &["import", "llama_tied", "--out", "out"]).contains("hint: save it again in Python"));
}

#[test]
fn folders_of_models_that_danlu_cannot_load_are_not_copied() {
    let place = Place::new();
    let change = |change: &[(&str, Value)]| {
        let _ = std::fs::remove_dir_all(place.path("llama_tied"));
        model(&place, "llama_tied", change);
    };
    let both = |said: &dyn Fn(String)| {
        said(place.fails(1, &["import", "llama_tied", "--out", "out"]));
        said(place.fails(1, &["export", "llama_tied", "--format", "hf", "--out", "out"]));
        assert!(!place.path("out").exists() && !place.path("out.part").exists());
    };
    change(&[("architectures", json!(["FalconForCausalLM"])), ("model_type", json!("falcon"))]);
    both(&|said| {
        assert!(said.contains("llama_tied/config.json: unknown architecture `FalconForCausalLM`"), "{said}");
        // One of each kind of model.
        for known in ["LlamaForCausalLM", "BertModel", "MarianMTModel", "LlavaForConditionalGeneration"] {
            assert!(said.contains(known), "{said}");
        }
        assert!(said.contains("hint: use a model of one of these"), "{said}");
    });
    change(&[("architectures", Value::Null), ("model_type", Value::Null)]);
    both(&|said| assert!(said.contains("config.json: unknown architecture (none named)"), "{said}"));
    change(&[("hidden_act", json!("relu"))]);
    both(&|said| assert!(said.contains("`hidden_act` is \"relu\", expected \"silu\""), "{said}"));
    // What a family is called is enough.
    change(&[("architectures", Value::Null), ("model_type", json!("llama"))]);
    place.ok(&["import", "llama_tied", "--out", "out"]);
}

#[test]
fn inspect_tells_the_memory_of_a_loaded_model() {
    let place = Place::new();
    model(&place, "llama_tied", &[]);
    let of = |path: &str| place.json(&["inspect", path, "--json"]);
    let seen = of("llama_tied");
    let memory = seen["memory"].clone();
    let count = |key: &str| seen["settings"][key].as_str().unwrap().parse::<u64>().unwrap();
    let parameters = seen["parameters"].as_u64().unwrap();
    assert_eq!((memory["weights"].as_u64(), &memory["int8"]), (Some(4 * parameters), &json!(false)), "{memory}");
    let per_token = 2 * 4 * count("num_hidden_layers") * count("num_key_value_heads") * count("head_dim");
    assert_eq!((memory["per_token"].as_u64(), memory["fixed"].as_u64()), (Some(per_token), Some(0)), "{memory}");
    assert_eq!(memory["max_tokens"].as_u64(), Some(count("max_position_embeddings")));
    // A file that is quantised takes after import what the folder does.
    place.ok(&["export", "llama_tied", "--out", "small.gguf", "--kind", "q8_0"]);
    let small = of("small.gguf");
    assert_eq!(small["memory"], memory);
    assert!(small["bytes"].as_u64().unwrap() < 4 * parameters);
    let shown = place.ok(&["inspect", "small.gguf"]);
    assert!(
        shown.contains("in memory after import: ") && shown.contains("of weights in f32; for each sequence "),
        "{shown}"
    );
    let shown = place.ok(&["inspect", "llama_tied"]);
    assert!(shown.contains("in memory: ") && shown.contains("a token, ") && shown.contains(" tokens\n"), "{shown}");
    // Of what danlu does not load, the rest is told all the same.
    model(&place, "lstm", &[]);
    let shown = place.ok(&["inspect", "lstm"]);
    assert!(shown.contains("for each sequence ") && shown.contains(", however long"), "{shown}");
    model(&place, "qwen2", &[("architectures", json!(["FalconForCausalLM"]))]);
    assert_eq!(of("qwen2")["memory"], Value::Null);
    assert!(!place.ok(&["inspect", "qwen2"]).contains("in memory"));
}

/// A Marian as it is published, with neither safetensors' tokenizer nor a tokenizer.json: taken over, it translates.
#[test]
fn a_marian_folder_gets_its_tokenizers_and_translates() {
    let place = Place::new();
    let folder = place.path("marian");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../convert/tests/golden/vocabularies/marian");
    let vocabulary: Value = serde_json::from_slice(&std::fs::read(golden.join("vocab.json")).unwrap()).unwrap();
    let size = vocabulary.as_object().unwrap().len();
    let config = EncoderDecoderConfig { hidden_size: 16, heads: 2, max_seq_len: 24, ..EncoderDecoderConfig::default() };
    let device = danlu_pipeline::select_device("flex").unwrap();
    let special =
        SpecialTokens { bos: None, eos: vec![0], pad: Some(size as u32 - 1), decoder_start: Some(size as u32 - 1) };
    let model = EncoderDecoder::new(&config, size, 5, &device).unwrap();
    model.save(&folder, &SaveOptions { special_tokens: Some(special) }).unwrap();
    std::fs::write(place.path("texts.jsonl"), json!({"text": "the people"}).to_string()).unwrap();
    let said = place.fails(1, &["translate", "marian", "--data", "texts.jsonl"]);
    assert!(said.contains("tokenizer.json"), "{said}");
    for name in ["source.spm", "target.spm", "vocab.json"] {
        std::fs::copy(golden.join(name), folder.join(name)).unwrap();
    }
    let said = place.ok(&["import", "marian", "--out", "mine"]);
    assert!(said.contains("MarianMTModel") && said.contains(&format!("{size} tokens")), "{said}");
    // What danlu reads, and what transformers does.
    for name in ["tokenizer.json", "target_tokenizer.json", "source.spm", "target.spm", "vocab.json"] {
        assert!(place.path("mine").join(name).is_file(), "{name}");
    }
    let done = place.json(&["translate", "mine", "--data", "texts.jsonl"]);
    assert!(done["text"] == "the people" && done["translation"].is_string(), "{done}");
    // Without a tokenizer it says so.
    for name in ["source.spm", "target.spm", "vocab.json"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    let said = place.ok(&["import", "marian", "--out", "bare"]);
    assert!(said.contains("no tokenizer that danlu knows"), "{said}");
}
