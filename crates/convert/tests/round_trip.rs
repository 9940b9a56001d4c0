//! Folder to GGUF and back gives the same folder, whatever names, layouts and vocabularies it went through.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use danlu_convert::{ConvertError, Precision, export, export_folder, import, inspect};
use danlu_weights::Kind;
use danlu_weights::gguf::{Gguf, Metadata, Value, Writer};
use serde_json::{Value as Json, json};
use tempfile::tempdir;

const VOCABULARY: u64 = 8;

fn quiet(_: usize, _: usize) {}

/// Values that no two tensors share and every element type holds exactly.
fn values(count: u64, seed: u64) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 13) % 251) as f32 / 4.0 - 31.0).collect()
}

fn write_folder(folder: &Path, config: &Json, tensors: &[(&str, Vec<u64>)]) {
    fs::create_dir_all(folder).unwrap();
    let (mut table, mut data) = (serde_json::Map::new(), Vec::new());
    for (seed, (name, shape)) in tensors.iter().enumerate() {
        let begin = data.len();
        for x in values(shape.iter().product(), seed as u64) {
            data.extend(x.to_le_bytes());
        }
        table.insert((*name).into(), json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}));
    }
    let header = Json::Object(table).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    fs::write(folder.join("model.safetensors"), file).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let told = json!({"bos_token": null, "eos_token": "<|end|>", "chat_template": "{{ messages }}"});
    fs::write(folder.join("tokenizer_config.json"), told.to_string()).unwrap();
}

fn tokenizer() -> Json {
    json!({
        "added_tokens": [{"id": 5, "content": "<|end|>", "special": true}, {"id": 6, "content": "<a>", "special": false}],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4}, "merges": ["a b", ["Ġ", "ab"]]},
    })
}

fn llama(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "vocab_size": VOCABULARY,
        "tie_word_embeddings": true,
    });
    let tensors = vec![
        ("model.embed_tokens.weight", vec![VOCABULARY, 32]),
        ("model.norm.weight", vec![32]),
        ("model.layers.0.input_layernorm.weight", vec![32]),
        ("model.layers.0.self_attn.q_proj.weight", vec![32, 32]),
        ("model.layers.0.self_attn.k_proj.weight", vec![16, 32]),
        ("model.layers.0.self_attn.v_proj.weight", vec![16, 32]),
        ("model.layers.0.self_attn.o_proj.weight", vec![32, 32]),
        ("model.layers.0.post_attention_layernorm.weight", vec![32]),
        ("model.layers.0.mlp.gate_proj.weight", vec![64, 32]),
        ("model.layers.0.mlp.up_proj.weight", vec![64, 32]),
        ("model.layers.0.mlp.down_proj.weight", vec![32, 64]),
    ];
    write_folder(folder, &config, &tensors);
    tensors
}

/// One layer of a family that descends from Llama: its own keys, whether its norms are four, and other tensors of its own.
fn descendant(
    folder: &Path,
    own: &Json,
    four_norms: bool,
    more: &[(&'static str, u64)],
) -> Vec<(&'static str, Vec<u64>)> {
    let mut tensors = llama(folder);
    tensors.extend(more.iter().map(|(name, width)| (*name, vec![*width])));
    if four_norms {
        for name in ["pre_feedforward", "post_feedforward"] {
            let name = match name {
                "pre_feedforward" => "model.layers.0.pre_feedforward_layernorm.weight",
                _ => "model.layers.0.post_feedforward_layernorm.weight",
            };
            tensors.push((name, vec![32]));
        }
    }
    let mut config = json_of(&folder.join("config.json"));
    for (key, value) in own.as_object().unwrap() {
        config[key] = value.clone();
    }
    write_folder(folder, &config, &tensors);
    tensors
}

fn qwen2(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let own = json!({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": false});
    let biases = [
        ("model.layers.0.self_attn.q_proj.bias", 32),
        ("model.layers.0.self_attn.k_proj.bias", 16),
        ("model.layers.0.self_attn.v_proj.bias", 16),
    ];
    descendant(folder, &own, false, &biases)
}

const HEAD_NORMS: [(&str, u64); 2] =
    [("model.layers.0.self_attn.q_norm.weight", 8), ("model.layers.0.self_attn.k_norm.weight", 8)];

fn qwen3(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let own = json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": false});
    descendant(folder, &own, false, &HEAD_NORMS)
}

fn mixtral(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let mut tensors = llama(folder);
    tensors.retain(|(name, _)| !name.contains(".mlp."));
    let expert = [
        ("model.layers.0.block_sparse_moe.gate.weight", vec![3, 32]),
        ("model.layers.0.block_sparse_moe.experts.0.w1.weight", vec![64, 32]),
        ("model.layers.0.block_sparse_moe.experts.0.w2.weight", vec![32, 64]),
        ("model.layers.0.block_sparse_moe.experts.0.w3.weight", vec![64, 32]),
        ("model.layers.0.block_sparse_moe.experts.1.w1.weight", vec![64, 32]),
        ("model.layers.0.block_sparse_moe.experts.1.w2.weight", vec![32, 64]),
        ("model.layers.0.block_sparse_moe.experts.1.w3.weight", vec![64, 32]),
        ("model.layers.0.block_sparse_moe.experts.2.w1.weight", vec![64, 32]),
        ("model.layers.0.block_sparse_moe.experts.2.w2.weight", vec![32, 64]),
        ("model.layers.0.block_sparse_moe.experts.2.w3.weight", vec![64, 32]),
    ];
    tensors.extend(expert);
    let mut config = json_of(&folder.join("config.json"));
    let own = json!({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 3,
        "num_experts_per_tok": 2, "sliding_window": null,
    });
    for (key, value) in own.as_object().unwrap() {
        config[key] = value.clone();
    }
    write_folder(folder, &config, &tensors);
    tensors
}

fn gemma(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let own = json!({
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh",
    });
    descendant(folder, &own, false, &[])
}

fn gemma2(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let own = json!({
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 8, "sliding_window": 16, "attn_logit_softcapping": 20.0,
        "final_logit_softcapping": 10.0,
    });
    descendant(folder, &own, true, &[])
}

fn gemma3(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let own = json!({
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 8, "sliding_window": 16, "attn_logit_softcapping": null,
        "final_logit_softcapping": null, "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20_000.0},
        },
    });
    descendant(folder, &own, true, &HEAD_NORMS)
}

fn gpt2(folder: &Path) -> Vec<(&'static str, Vec<u64>)> {
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4,
        "n_positions": 16, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "vocab_size": VOCABULARY,
    });
    let tensors = vec![
        ("transformer.wte.weight", vec![VOCABULARY, 32]),
        ("transformer.wpe.weight", vec![16, 32]),
        ("transformer.ln_f.weight", vec![32]),
        ("transformer.ln_f.bias", vec![32]),
        ("transformer.h.0.ln_1.weight", vec![32]),
        ("transformer.h.0.ln_1.bias", vec![32]),
        ("transformer.h.0.attn.c_attn.weight", vec![32, 96]),
        ("transformer.h.0.attn.c_attn.bias", vec![96]),
        ("transformer.h.0.attn.c_proj.weight", vec![32, 32]),
        ("transformer.h.0.attn.c_proj.bias", vec![32]),
        ("transformer.h.0.ln_2.weight", vec![32]),
        ("transformer.h.0.ln_2.bias", vec![32]),
        ("transformer.h.0.mlp.c_fc.weight", vec![32, 128]),
        ("transformer.h.0.mlp.c_fc.bias", vec![128]),
        ("transformer.h.0.mlp.c_proj.weight", vec![128, 32]),
        ("transformer.h.0.mlp.c_proj.bias", vec![32]),
    ];
    write_folder(folder, &config, &tensors);
    tensors
}

fn json_of(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The values of a safetensors file by name, f32.
fn weights(path: &Path) -> std::collections::BTreeMap<String, (Vec<u64>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let table: Json = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut all = std::collections::BTreeMap::new();
    for (name, entry) in table.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let at = |i: usize| 8 + length + entry["data_offsets"][i].as_u64().unwrap() as usize;
        let values = bytes[at(0)..at(1)].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let shape = entry["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        all.insert(name.clone(), (shape, values));
    }
    all
}

#[test]
fn folders_come_back_as_they_were() {
    for make in [llama, mixtral, gpt2, qwen2, qwen3, gemma, gemma2, gemma3] {
        let temporary = tempdir().unwrap();
        let [first, file, second, again] =
            ["first", "model.gguf", "second", "again.gguf"].map(|n| temporary.path().join(n));
        let tensors = make(&first);
        let exported = export(&first, &file, Kind::F32, &quiet).unwrap();
        assert!(exported.left_f16.is_empty());
        assert_eq!(exported.parameters, tensors.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum::<u64>());
        let imported = import(&file, &second, None, &quiet).unwrap();
        assert_eq!((imported.vocabulary as u64, imported.chat_template), (VOCABULARY, true));

        assert_eq!(weights(&first.join("model.safetensors")), weights(&second.join("model.safetensors")));
        let (before, after) = (json_of(&first.join("config.json")), json_of(&second.join("config.json")));
        for (key, value) in before.as_object().unwrap() {
            let same = after[key] == *value || after[key].as_f64().zip(value.as_f64()).is_some_and(|(a, b)| a == b);
            assert!(same, "{key}: {} became {}", value, after[key]);
        }
        assert_eq!(after["eos_token_id"], 5);
        let (before, after) = (json_of(&first.join("tokenizer.json")), json_of(&second.join("tokenizer.json")));
        for (token, id) in before["model"]["vocab"].as_object().unwrap() {
            assert_eq!(after["model"]["vocab"][token], *id);
        }
        assert_eq!(after["model"]["merges"], json!([["a", "b"], ["Ġ", "ab"]]));
        assert_eq!(after["added_tokens"][0]["special"], true);
        assert_eq!(
            (&after["added_tokens"][1]["content"], &after["added_tokens"][1]["special"]),
            (&json!("<a>"), &json!(false))
        );
        assert_eq!(after["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
        assert_eq!(fs::read_to_string(second.join("chat_template.jinja")).unwrap(), "{{ messages }}");

        // And once more: the file of the folder that was imported holds the same tensors.
        export(&second, &again, Kind::F32, &quiet).unwrap();
        let (one, other) = (Gguf::open(&file).unwrap(), Gguf::open(&again).unwrap());
        for tensor in &one.tensors {
            let same = other.tensor(&tensor.name).unwrap();
            assert_eq!((&tensor.shape, one.bytes(tensor).unwrap()), (&same.shape, other.bytes(same).unwrap()));
        }
    }
}

#[test]
fn queries_are_stored_pair_by_pair_and_conv1d_is_turned() {
    let temporary = tempdir().unwrap();
    let (folder, file) = (temporary.path().join("m"), temporary.path().join("m.gguf"));
    llama(&folder);
    export(&folder, &file, Kind::F32, &quiet).unwrap();
    let gguf = Gguf::open(&file).unwrap();
    let query = gguf.values(gguf.tensor("blk.0.attn_q.weight").unwrap()).unwrap();
    let plain = &weights(&folder.join("model.safetensors"))["model.layers.0.self_attn.q_proj.weight"].1;
    // Head 1 begins at row 8; its rows 0 and 4 are its first pair.
    assert_eq!(query[8 * 32..9 * 32], plain[8 * 32..9 * 32]);
    assert_eq!(query[9 * 32..10 * 32], plain[12 * 32..13 * 32]);

    let (folder, file) = (temporary.path().join("g"), temporary.path().join("g.gguf"));
    gpt2(&folder);
    export(&folder, &file, Kind::Q8_0, &quiet).unwrap();
    let gguf = Gguf::open(&file).unwrap();
    let up = gguf.tensor("blk.0.ffn_up.weight").unwrap();
    assert_eq!((up.shape.as_slice(), up.kind), (&[128, 32][..], Kind::Q8_0));
    assert_eq!(gguf.tensor("position_embd.weight").unwrap().kind, Kind::F32);
    let plain = &weights(&folder.join("model.safetensors"))["transformer.h.0.mlp.c_fc.weight"].1;
    let got = gguf.values(up).unwrap();
    assert!((got[32 + 3] - plain[3 * 128 + 1]).abs() < 0.2, "{} for {}", got[32 + 3], plain[3 * 128 + 1]);
}

#[test]
fn gemma_norms_hold_one_more_in_gguf_and_what_gguf_cannot_say_is_refused() {
    let temporary = tempdir().unwrap();
    let (folder, file) = (temporary.path().join("m"), temporary.path().join("m.gguf"));
    gemma2(&folder);
    export(&folder, &file, Kind::F32, &quiet).unwrap();
    let gguf = Gguf::open(&file).unwrap();
    let plain = &weights(&folder.join("model.safetensors"))["model.layers.0.pre_feedforward_layernorm.weight"].1;
    let moved: Vec<f32> = plain.iter().map(|x| x + 1.0).collect();
    assert_eq!(gguf.values(gguf.tensor("blk.0.ffn_norm.weight").unwrap()).unwrap(), moved);
    let change = |make: fn(&Path) -> Vec<(&'static str, Vec<u64>)>, key: &str, value: Json| {
        make(&folder);
        let mut config = json_of(&folder.join("config.json"));
        config[key] = value;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        refused(export(&folder, &temporary.path().join("no.gguf"), Kind::F32, &quiet).unwrap_err())
    };
    assert!(change(gemma2, "query_pre_attn_scalar", json!(9)).contains("here it is 8 in GGUF"));
    assert!(change(gemma2, "layer_types", json!(["full_attention"])).contains("all layers slide but one in 2"));
    assert!(change(gemma2, "final_logit_softcapping", json!(null)).contains("gemma2 cannot say"));
    assert!(change(qwen2, "use_sliding_window", json!(true)).contains("no sliding windows"));
    assert!(change(qwen3, "rope_scaling", json!({"rope_type": "linear"})).contains("has no factor"));
}

#[test]
fn experts_are_one_tensor_in_gguf_and_lack_none() {
    let temporary = tempdir().unwrap();
    let (folder, file) = (temporary.path().join("m"), temporary.path().join("m.gguf"));
    let tensors = mixtral(&folder);
    export(&folder, &file, Kind::Q8_0, &quiet).unwrap();
    let gguf = Gguf::open(&file).unwrap();
    let gate = gguf.tensor("blk.0.ffn_gate_exps.weight").unwrap();
    assert_eq!((gate.shape.as_slice(), gate.kind), (&[3, 64, 32][..], Kind::Q8_0));
    assert_eq!(gguf.tensor("blk.0.ffn_gate_inp.weight").unwrap().kind, Kind::F32);
    assert_eq!(gguf.metadata.count("llama.expert_used_count"), Some(2));
    let plain = weights(&folder.join("model.safetensors"));
    let second = &plain["model.layers.0.block_sparse_moe.experts.1.w1.weight"].1;
    let part = gguf.part(gate, 1, 3).unwrap();
    assert!(part.iter().zip(second).all(|(a, b)| (a - b).abs() < 0.2));
    assert_eq!(part, gguf.values(gate).unwrap()[64 * 32..2 * 64 * 32]);

    let config = json_of(&folder.join("config.json"));
    let without = |lost: &str| {
        let left: Vec<_> = tensors.iter().filter(|(name, _)| !name.ends_with(lost)).cloned().collect();
        write_folder(&folder, &config, &left);
        refused(export(&folder, &file, Kind::F32, &quiet).unwrap_err())
    };
    assert!(without("experts.1.w1.weight").contains("is not that of the next expert"));
    assert!(without("experts.2.w3.weight").contains("2 of 3 experts have a matrix for \"blk.0.ffn_up_exps.weight\""));
}

#[test]
fn mistral_is_gguf_s_llama_but_for_its_window() {
    let temporary = tempdir().unwrap();
    let (folder, file) = (temporary.path().join("m"), temporary.path().join("m.gguf"));
    let write = |window: Json| {
        llama(&folder);
        let mut config = json_of(&folder.join("config.json"));
        config["model_type"] = json!("mistral");
        config["sliding_window"] = window;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        export(&folder, &file, Kind::F32, &quiet)
    };
    assert!(refused(write(json!(64)).unwrap_err()).contains("GGUF's llama sees all of 128 positions"));
    for window in [json!(null), json!(128)] {
        assert_eq!(write(window).unwrap().architecture, "llama");
    }
    let back = temporary.path().join("back");
    import(&file, &back, None, &quiet).unwrap();
    assert_eq!(json_of(&back.join("config.json"))["model_type"], "llama");
    assert_eq!(weights(&folder.join("model.safetensors")), weights(&back.join("model.safetensors")));
}

/// A checkpoint of PyTorch with the tensors of a safetensors file, all of them in one storage.
fn to_pytorch(folder: &Path) {
    let path = folder.join("model.safetensors");
    let all = weights(&path);
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let int = |n: u64| [&b"J"[..], &(n as u32).to_le_bytes()].concat();
    let tuple = |items: &[u64]| {
        [b"(".to_vec(), items.iter().flat_map(|n| int(*n)).collect::<Vec<u8>>(), b"t".to_vec()].concat()
    };
    let (mut pickle, mut storage) = (b"\x80\x02}(".to_vec(), Vec::new());
    for (name, (shape, values)) in &all {
        let strides: Vec<u64> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(9)].concat());
        pickle.extend([b"tQ".to_vec(), int(storage.len() as u64 / 4), tuple(shape), tuple(&strides)].concat());
        pickle.extend(b"\x89NtR");
        values.iter().for_each(|x| storage.extend(x.to_le_bytes()));
    }
    pickle.extend(b"u.");
    let mut zip = zip::ZipWriter::new(fs::File::create(folder.join("pytorch_model.bin")).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("x/data.pkl", &pickle), ("x/data/0", &storage)] {
        zip.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut zip, bytes).unwrap();
    }
    zip.finish().unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn a_folder_of_pytorch_becomes_one_of_safetensors() {
    let temporary = tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    llama(&at("first"));
    fs::write(at("first").join("notes.md"), "not taken along").unwrap();
    fs::create_dir(at("first").join("1_Pooling")).unwrap();
    fs::write(at("first").join("1_Pooling/config.json"), "{}").unwrap();
    let before = weights(&at("first/model.safetensors"));
    export(&at("first"), &at("before.gguf"), Kind::F32, &quiet).unwrap();
    to_pytorch(&at("first"));
    let done = import(&at("first"), &at("second"), None, &quiet).unwrap();
    assert_eq!((done.architecture.as_str(), done.vocabulary, done.chat_template), ("LlamaForCausalLM", 7, true));
    assert_eq!(done.kinds, [("F32".to_owned(), 11)]);
    assert_eq!(weights(&at("second/model.safetensors")), before);
    for (name, there) in
        [("tokenizer.json", true), ("1_Pooling/config.json", true), ("notes.md", false), ("pytorch_model.bin", false)]
    {
        assert_eq!(at("second").join(name).exists(), there, "{name}");
    }
    assert_eq!(json_of(&at("first/config.json")), json_of(&at("second/config.json")));
    // What reads a folder's tensors reads PyTorch's, too.
    export(&at("first"), &at("after.gguf"), Kind::F32, &quiet).unwrap();
    let names = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace("first", "");
    assert_eq!(names(fs::read(at("before.gguf")).unwrap()), names(fs::read(at("after.gguf")).unwrap()));
    assert_eq!(inspect(&at("first")).unwrap().tensors.len(), 11);
    assert_eq!(inspect(&at("first/pytorch_model.bin")).unwrap().form, "PyTorch");

    import(&at("first"), &at("half"), Some(Precision::Bf16), &quiet).unwrap();
    let half = inspect(&at("half")).unwrap();
    assert!(half.tensors.iter().all(|tensor| tensor.kind == "BF16"));
    let there = import(&at("first"), &at("half"), None, &quiet).unwrap_err();
    assert_eq!(there.hint().as_deref(), Some("choose another --out, or remove it"));
}

#[test]
fn an_exported_folder_is_the_model_and_danlu_s_own_kind_is_refused() {
    let temporary = tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    qwen3(&at("m"));
    let done = export_folder(&at("m"), &at("out"), None, &quiet).unwrap();
    assert_eq!(done.bytes, fs::metadata(at("out/model.safetensors")).unwrap().len());
    assert_eq!(weights(&at("m/model.safetensors")), weights(&at("out/model.safetensors")));
    let change = |key: &str, value: Json, precision| {
        qwen3(&at("m"));
        let mut config = json_of(&at("m/config.json"));
        config[key] = value;
        fs::write(at("m/config.json"), config.to_string()).unwrap();
        refused(export_folder(&at("m"), &at("no"), precision, &quiet).unwrap_err())
    };
    assert!(change("architectures", json!(["DanluForCausalLM"]), None).contains("only danlu loads it"));
    assert!(change("quantization_config", json!({}), Some(Precision::F16)).contains("the weights are quantised"));
    assert!(!at("no").exists());
}

/// SentencePiece inside GGUF: the same ids on both sides, and the same file again.
#[test]
fn pieces_go_through_gguf() {
    for (name, told) in [("bpe", json!({})), ("bpe_plain", json!({})), ("bpe_own", json!({}))] {
        let temporary = tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.model"));
        let tensors = llama(&at("m"));
        let tokenizer = danlu_convert::tokenizer::tokenizer_json(&model, &told).unwrap();
        let size = tokenizer["model"]["vocab"].as_object().unwrap().len() as u64;
        let mut config = json_of(&at("m/config.json"));
        config["vocab_size"] = json!(size);
        let mut tensors = tensors;
        tensors[0].1[0] = size;
        write_folder(&at("m"), &config, &tensors);
        fs::write(at("m/tokenizer.json"), tokenizer.to_string()).unwrap();
        fs::write(at("m/tokenizer_config.json"), json!({"bos_token": "<s>", "eos_token": "</s>"}).to_string()).unwrap();
        let exported = export(&at("m"), &at("m.gguf"), Kind::F32, &quiet);
        if name == "bpe_own" {
            // It has no bytes to fall back on, which llama.cpp takes for granted.
            assert!(exported.unwrap_err().to_string().contains("llama.cpp has no name for its split of text"));
            continue;
        }
        exported.unwrap();
        import(&at("m.gguf"), &at("n"), None, &quiet).unwrap();
        let [one, other] = ["m", "n"].map(|name| danlu_text::Tokenizer::from_dir(&at(name)).unwrap());
        for text in ["Hello  world", "春眠不觉晓，处处闻啼鸟。", "don't 123\n x", "🚀"] {
            assert_eq!(one.encode(text).unwrap(), other.encode(text).unwrap(), "{name} {text:?}");
        }
        export(&at("n"), &at("n.gguf"), Kind::F32, &quiet).unwrap();
        let [one, other] = ["m.gguf", "n.gguf"].map(|name| Gguf::open(&at(name)).unwrap());
        for key in
            ["tokenizer.ggml.model", "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.tokens"]
        {
            assert_eq!(one.metadata.get(key), other.metadata.get(key), "{name} {key}");
        }
    }
}

#[test]
fn a_look_into_a_file_reads_no_weights() {
    let temporary = tempdir().unwrap();
    let (folder, file) = (temporary.path().join("m"), temporary.path().join("m.gguf"));
    let tensors = llama(&folder);
    export(&folder, &file, Kind::Q4_0, &quiet).unwrap();
    for path in [folder.clone(), file, folder.join("model.safetensors")] {
        let seen = inspect(&path).unwrap();
        assert_eq!(seen.tensors.len(), tensors.len(), "{}", seen.form);
        assert_eq!(seen.parameters(), tensors.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum::<u64>());
    }
    let seen = inspect(&folder).unwrap();
    assert_eq!((seen.tokenizer.as_deref(), seen.vocabulary), (Some("BPE"), Some(5)));
    assert_eq!(seen.architecture.as_deref(), Some("LlamaForCausalLM"));
}

fn refused(error: ConvertError) -> String {
    error.to_string().rsplit_once(": ").map_or_else(|| error.to_string(), |(_, what)| what.to_owned())
}

/// The file with another list of tensors, of no particular values.
fn with_tensors(from: &Path, to: &Path, change: &dyn Fn(&mut Vec<(String, Vec<u64>, Kind)>)) {
    let gguf = Gguf::open(from).unwrap();
    let mut plan: Vec<_> = gguf.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), t.kind)).collect();
    change(&mut plan);
    let mut writer = Writer::begin(Vec::new(), to, &gguf.metadata, &plan).unwrap();
    for (name, shape, _) in &plan {
        writer.tensor(name, &vec![0.5; shape.iter().product::<u64>() as usize]).unwrap();
    }
    fs::write(to, writer.finish().unwrap()).unwrap();
}

#[test]
fn tensors_that_are_missing_too_many_or_of_another_shape_are_named() {
    let temporary = tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let tensors = llama(&at("m"));
    export(&at("m"), &at("m.gguf"), Kind::F32, &quiet).unwrap();
    let said = |change: &dyn Fn(&mut Vec<(String, Vec<u64>, Kind)>)| {
        with_tensors(&at("m.gguf"), &at("n.gguf"), change);
        let said = import(&at("n.gguf"), &at("out"), None, &quiet).unwrap_err().to_string();
        assert!(said.contains("n.gguf") && !at("out").exists(), "{said}");
        said
    };
    for name in ["blk.0.attn_q.weight", "output_norm.weight", "token_embd.weight"] {
        let said = said(&|all| all.retain(|(other, ..)| other != name));
        assert!(said.ends_with(&format!("the tensor {name:?} is missing")), "{said}");
    }
    let more = |name: &str| {
        let name = name.to_owned();
        said(&move |all| all.push((name.clone(), vec![16, 32], Kind::F32)))
    };
    assert!(more("blk.0.strange.weight").contains("no tensor \"blk.0.strange.weight\" that danlu knows"));
    for name in ["blk.1.attn_v.weight", "blk.99999999999999999999.attn_v.weight"] {
        assert!(more(name).ends_with(&format!("the tensor {name:?} of a model of 1 layers")), "{}", more(name));
    }
    for rows in [0, 3, 4, 12] {
        let of = |tensor: &'static str| {
            said(&move |all| {
                all.iter_mut().filter(|(name, ..)| name == tensor).for_each(|(_, shape, _)| shape[0] = rows)
            })
        };
        let query = of("blk.0.attn_q.weight");
        assert!(query.ends_with("has no whole pairs of rows for each of 4 heads, 2 for keys"), "{query}");
    }
    // The same in a folder.
    let mut tensors = tensors;
    tensors[3].1[0] = 4;
    write_folder(&at("m"), &json_of(&at("m/config.json")), &tensors);
    let said = export(&at("m"), &at("no.gguf"), Kind::F32, &quiet).unwrap_err().to_string();
    assert!(said.contains("q_proj.weight\" of [4, 32] has no whole pairs of rows"), "{said}");
    assert!(!at("no.gguf").exists());
}

#[test]
fn what_cannot_be_taken_over_is_named_and_leaves_nothing() {
    let temporary = tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let gguf = |name: &str, set: &[(&str, Value)], tensors: &[(String, Vec<u64>, Kind)]| {
        let mut metadata = Metadata::default();
        set.iter().for_each(|(key, value)| metadata.set(*key, value.clone()));
        let path = at(name);
        let mut writer = Writer::begin(Vec::new(), &path, &metadata, tensors).unwrap();
        for (name, shape, _) in tensors {
            writer.tensor(name, &vec![0.0; shape.iter().product::<u64>() as usize]).unwrap();
        }
        fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    };
    let try_import = |path: &Path| import(path, &at("out"), None, &quiet).unwrap_err().to_string();
    let strange = gguf("strange.gguf", &[("general.architecture", Value::Text("mamba".into()))], &[]);
    assert!(
        try_import(&strange)
            .contains("the architecture \"mamba\"; danlu imports llama, gpt2, qwen2, qwen3, gemma, gemma2 and gemma3")
    );
    assert!(try_import(&gguf("empty.gguf", &[], &[])).contains("general.architecture is missing"));
    let bare = gguf("bare.gguf", &[("general.architecture", Value::Text("gpt2".into()))], &[]);
    assert!(try_import(&bare).contains("gpt2.attention.head_count is missing"));

    let folder = at("model");
    llama(&folder);
    fs::write(at("there"), "x").unwrap();
    export(&folder, &at("model.gguf"), Kind::F32, &quiet).unwrap();
    let there = import(&at("model.gguf"), &at("there"), None, &quiet).unwrap_err();
    assert!(there.to_string().contains("there"), "{there}");
    let bytes = fs::read(at("model.gguf")).unwrap();
    fs::write(at("cut.gguf"), &bytes[..bytes.len() - 4000]).unwrap();
    assert!(try_import(&at("cut.gguf")).contains("it is not whole"));

    let change = |key: &str, value: Json| {
        llama(&folder);
        let mut config = json_of(&folder.join("config.json"));
        config[key] = value;
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        refused(export(&folder, &at("no.gguf"), Kind::F32, &quiet).unwrap_err())
    };
    assert!(change("model_type", json!("mamba")).contains("\"mamba\" cannot be written as GGUF"));
    assert!(change("rope_scaling", json!({"type": "yarn"})).contains("of type \"yarn\""));
    assert!(change("vocab_size", json!(3)).contains("and the model 3 tokens"));
    assert!(!at("no.gguf").exists() && !at("out").exists() && !at("out.part").exists());
}
