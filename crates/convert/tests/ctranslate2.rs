//! Whisper as CTranslate2 writes it becomes the folder that it was made from; what is broken is named.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use danlu_convert::{ConvertError, Precision, import};
use danlu_weights::{Stored, tensors_of};
use serde_json::{Value, json};
use tempfile::tempdir;

/// A variable: its name, shape, number of its type, and bytes.
#[derive(Clone)]
struct Variable(String, Vec<u32>, u8, Vec<u8>);

impl Variable {
    fn floats(name: &str, shape: &[u64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Variable(name.into(), shape.iter().map(|n| *n as u32).collect(), 0, bytes)
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/encoder_decoders/whisper")
}

fn tensors() -> BTreeMap<String, Stored> {
    tensors_of(&golden()).unwrap().into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
}

fn file(specification: &str, variables: &[Variable]) -> Vec<u8> {
    let word = |x: usize| (x as u32).to_le_bytes().to_vec();
    let mut file = [word(6), string(specification), word(3), word(variables.len())].concat();
    for Variable(name, shape, kind, bytes) in variables {
        file.extend(string(name));
        file.push(shape.len() as u8);
        shape.iter().for_each(|n| file.extend(n.to_le_bytes()));
        file.push(*kind);
        file.extend(word(bytes.len()));
        file.extend(bytes);
    }
    file.extend(word(1));
    file.extend([string("decoder/projection/weight"), string("decoder/embeddings/weight")].concat());
    file
}

/// The golden folder's weights as CTranslate2's converter lays them out.
fn variables() -> Vec<Variable> {
    let tensors = tensors();
    let values = |name: &str| tensors[name].values().unwrap();
    let mut variables = Vec::new();
    let mut one = |theirs: &str, ours: &[String]| {
        // The first may be the keys' bias, which is none.
        let shape = &tensors[&ours[ours.len() - 1]].shape;
        let mut whole = shape.clone();
        whole[0] *= ours.len() as u64;
        let rows = ours.iter().flat_map(|name| match tensors.contains_key(name) {
            true => values(name),
            // The keys' bias that is none.
            false => vec![0.0; shape[0] as usize],
        });
        variables.push(Variable::floats(theirs, &whole, &rows.collect::<Vec<_>>()));
    };
    for stack in ["encoder", "decoder"] {
        let outer = format!("model.{stack}");
        one(&format!("{stack}/position_encodings/encodings"), &[format!("{outer}.embed_positions.weight")]);
        for (theirs, ours) in [("gamma", "weight"), ("beta", "bias")] {
            one(&format!("{stack}/layer_norm/{theirs}"), &[format!("{outer}.layer_norm.{ours}")]);
        }
        for layer in 0..2 {
            let (theirs, ours) = (format!("{stack}/layer_{layer}"), format!("{outer}.layers.{layer}"));
            let mut norms =
                vec![("self_attention/layer_norm", "self_attn_layer_norm"), ("ffn/layer_norm", "final_layer_norm")];
            let mut linears: Vec<(&str, &[&str])> = vec![
                ("self_attention/linear_0", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
                ("self_attention/linear_1", &["self_attn.out_proj"]),
                ("ffn/linear_0", &["fc1"]),
                ("ffn/linear_1", &["fc2"]),
            ];
            if stack == "decoder" {
                norms.push(("attention/layer_norm", "encoder_attn_layer_norm"));
                linears.push(("attention/linear_0", &["encoder_attn.q_proj"]));
                linears.push(("attention/linear_1", &["encoder_attn.k_proj", "encoder_attn.v_proj"]));
                linears.push(("attention/linear_2", &["encoder_attn.out_proj"]));
            }
            for (name, of) in norms {
                one(&format!("{theirs}/{name}/gamma"), &[format!("{ours}.{of}.weight")]);
                one(&format!("{theirs}/{name}/beta"), &[format!("{ours}.{of}.bias")]);
            }
            for (name, of) in linears {
                for last in ["weight", "bias"] {
                    let ours: Vec<String> = of.iter().map(|of| format!("{ours}.{of}.{last}")).collect();
                    one(&format!("{theirs}/{name}/{last}"), &ours);
                }
            }
        }
    }
    one("decoder/embeddings/weight", &["model.decoder.embed_tokens.weight".into()]);
    for name in ["conv1", "conv2"] {
        for last in ["weight", "bias"] {
            one(&format!("encoder/{name}/{last}"), &[format!("model.encoder.{name}.{last}")]);
        }
    }
    let setting = |name: &str, kind: u8, bytes: &[u8]| Variable(name.into(), Vec::new(), kind, bytes.to_vec());
    variables.push(setting("encoder/num_heads", 2, &[2, 0]));
    variables.push(setting("decoder/num_heads", 2, &[2, 0]));
    variables.push(setting("encoder/pre_norm", 1, &[1]));
    variables.push(setting("decoder/activation", 1, &[3]));
    variables.push(setting("decoder/alignment_layer", 2, &[255, 255]));
    variables
}

fn tokenizer() -> Value {
    let marks = ["<|endoftext|>", "<|startoftranscript|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"];
    let added: Vec<Value> =
        marks.iter().enumerate().map(|(id, mark)| json!({"id": id + 20, "content": mark, "special": true})).collect();
    let vocabulary: serde_json::Map<String, Value> =
        ('a'..='t').enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    json!({"version": "1.0", "added_tokens": added, "model": {"type": "BPE", "vocab": vocabulary, "merges": []}})
}

fn write(folder: &Path, file: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.bin"), file).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let settings = json!({"suppress_ids": [1, 2], "suppress_ids_begin": [3], "alignment_heads": [[1, 0]]});
    fs::write(folder.join("config.json"), settings.to_string()).unwrap();
}

fn quiet(_: usize, _: usize) {}

/// Imports a file, and says why not.
fn refused(file: &[u8]) -> String {
    let dir = tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    write(&from, file);
    let error = import(&from, &out, None, &quiet).unwrap_err();
    assert!(!out.exists(), "{error}");
    error.to_string()
}

#[test]
fn what_was_converted_comes_back_to_the_bit() {
    let dir = tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    write(&from, &file("WhisperSpec", &variables()));
    let imported = import(&from, &out, None, &quiet).unwrap();
    assert_eq!((imported.architecture.as_str(), imported.vocabulary), ("WhisperForConditionalGeneration", 25));
    let (found, want) = (tensors_of(&out).unwrap(), tensors());
    assert_eq!(found.len(), want.len());
    for tensor in &found {
        let same = &want[&tensor.name];
        assert_eq!((&tensor.shape, tensor.bytes().unwrap()), (&same.shape, same.bytes().unwrap()), "{}", tensor.name);
    }
    let read =
        |folder: &Path, name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let (config, told) = (read(&out, "config.json"), read(&golden(), "config.json"));
    for key in [
        "d_model",
        "encoder_layers",
        "decoder_layers",
        "encoder_attention_heads",
        "encoder_ffn_dim",
        "num_mel_bins",
        "max_source_positions",
        "max_target_positions",
        "vocab_size",
        "activation_function",
        "model_type",
    ] {
        assert_eq!(config[key], told[key], "{key}");
    }
    let generation = read(&out, "generation_config.json");
    assert_eq!((&generation["suppress_tokens"], &generation["begin_suppress_tokens"]), (&json!([1, 2]), &json!([3])));
    assert_eq!((&generation["is_multilingual"], &generation["decoder_start_token_id"]), (&json!(false), &json!(21)));
    assert!(matches!(import(&from, &out, None, &quiet), Err(ConvertError::File(_))), "it is there already");
}

#[test]
fn rows_of_whole_numbers_are_scaled_back() {
    let mut variables = variables();
    let at = variables.iter().position(|v| v.0 == "encoder/layer_0/ffn/linear_0/weight").unwrap();
    let Variable(name, shape, ..) = variables[at].clone();
    let numbers: Vec<u8> = (0..shape[0] * shape[1]).map(|i| (i % 251) as u8).collect();
    let scale: Vec<f32> = (0..shape[0]).map(|row| (row + 1) as f32 * 16.0).collect();
    variables[at] = Variable(name.clone(), shape.clone(), 1, numbers.clone());
    assert!(refused(&file("WhisperSpec", &variables)).contains("has no scale"));
    variables.push(Variable::floats(&format!("{name}_scale"), &[u64::from(shape[0])], &scale));
    let dir = tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    write(&from, &file("WhisperSpec", &variables));
    import(&from, &out, Some(Precision::F32), &quiet).unwrap();
    let found = tensors_of(&out).unwrap();
    let found =
        found.iter().find(|tensor| tensor.name == "model.encoder.layers.0.fc1.weight").unwrap().values().unwrap();
    let width = shape[1] as usize;
    let want: Vec<f32> = numbers.iter().enumerate().map(|(i, x)| f32::from(*x as i8) / scale[i / width]).collect();
    assert_eq!(found, want);
}

#[test]
fn what_is_broken_or_unknown_is_named() {
    let whole = file("WhisperSpec", &variables());
    for cut in (18..whole.len()).step_by(997).chain([whole.len() - 1]) {
        assert!(refused(&whole[..cut]).contains("ends within"), "{cut}");
    }
    assert!(refused(&file("TransformerSpec", &variables())).contains("TransformerSpec; danlu reads WhisperSpec"));
    let mut old = whole.clone();
    old[0] = 4;
    assert!(refused(&old).contains("binary version 4"));
    // Counts and lengths that the file cannot hold.
    let counted = 4 + 2 + 12 + 4;
    for lie in [u32::MAX, 1 << 20] {
        let mut lying = whole.clone();
        lying[counted..counted + 4].copy_from_slice(&lie.to_le_bytes());
        assert!(refused(&lying).contains("variables in"), "{lie}");
    }
    let change = |name: &str, change: &dyn Fn(&mut Variable)| {
        let mut variables = variables();
        change(variables.iter_mut().find(|v| v.0 == name).unwrap());
        refused(&file("WhisperSpec", &variables))
    };
    assert!(change("encoder/conv1/bias", &|v| v.1 = vec![u32::MAX; 4]).contains("bytes for"));
    assert!(change("encoder/conv1/bias", &|v| v.2 = 77).contains("type 77"));
    assert!(change("encoder/conv1/bias", &|v| v.0 = "encoder/conv9/bias".into()).contains("encoder/conv9/bias"));
    assert!(change("encoder/conv1/bias", &|v| v.0 = "encoder/conv2/bias".into()).contains("two variables"));
    assert!(change("encoder/num_heads", &|v| v.3 = vec![0, 0]).contains("num_heads"));
    assert!(change("encoder/pre_norm", &|v| v.3 = vec![0]).contains("pre_norm is 0"));
    assert!(
        change("decoder/embeddings/weight", &|v| v.0 = "decoder/embeddings/bias".into()).contains("decoder/embeddings")
    );
    let bias = |v: &mut Variable| v.3[16 * 4..][..4].copy_from_slice(&1f32.to_le_bytes());
    assert!(change("encoder/layer_1/self_attention/linear_0/bias", &bias).contains("bias of the keys"));
}
