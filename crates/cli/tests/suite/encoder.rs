//! Encoders: texts to vectors and to labels, and what is said when they cannot.

use std::path::{Path, PathBuf};

use danlu_model::{
    Encoder, EncoderConfig, EncoderDecoder, EncoderDecoderConfig, EncoderInput, HeadConfig, Pooling, Problem,
    SaveOptions, SentenceConfig,
};
use danlu_text::EncoderTokenizer;
use serde_json::{Value, json};

use crate::harness::Place;

const TEXTS: [&str; 4] = ["the running model", "春眠不觉晓，处处闻啼鸟。", "a", "naïve models, 2026!"];

/// A small BERT with the tokenizer of crates/text's tests.
fn model(place: &Place, head: HeadConfig, sentence: Option<SentenceConfig>) -> (PathBuf, Encoder) {
    let dir = place.path("encoder");
    let config =
        EncoderConfig { layers: 2, hidden_size: 16, heads: 2, max_seq_len: 16, head, ..EncoderConfig::default() };
    let model = Encoder::new(&config, 67, 5, &danlu_pipeline::select_device("flex").unwrap()).unwrap();
    model.save(&dir, sentence.as_ref()).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../text/tests/golden/wordpiece");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tokenizer.join(file), dir.join(file)).unwrap();
    }
    (dir, model)
}

fn sequence(problem: Problem) -> HeadConfig {
    HeadConfig::SequenceClassification { labels: ["bad", "fair", "good"].map(String::from).to_vec(), problem }
}

fn input(dir: &Path, text: &str) -> EncoderInput {
    let encoded = EncoderTokenizer::from_dir(dir).unwrap().encode(text, 16).unwrap();
    EncoderInput::of(vec![encoded.ids])
}

fn write_lines(place: &Place, name: &str, records: &[Value]) {
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    std::fs::write(place.path(name), text).unwrap();
}

fn near(found: &[f32], want: &[f32]) {
    assert_eq!(found.len(), want.len());
    assert!(found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, expected {want:?}");
}

#[test]
fn vectors_are_the_models_in_the_order_of_the_texts() {
    let place = Place::new();
    let (dir, model) = model(&place, HeadConfig::Pooler, None);
    let records: Vec<Value> =
        (0..70).map(|i| json!({"text": format!("{} {}", TEXTS[i % 4], "a ".repeat(i % 5))})).collect();
    write_lines(&place, "texts.jsonl", &records);
    let said = place.json(&["embed", "encoder", "--data", "texts.jsonl", "--batch", "4", "--out", "v.npy", "--json"]);
    assert_eq!((&said["texts"], &said["dimensions"], &said["pooling"]), (&json!(70), &json!(16), &json!("mean")));
    let bytes = std::fs::read(place.path("v.npy")).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let head = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!((10 + head).is_multiple_of(64) && bytes[10 + head - 1] == b'\n');
    let header = String::from_utf8_lossy(&bytes[10..10 + head]);
    assert_eq!(header.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (70, 16), }");
    let values: Vec<f32> =
        bytes[10 + head..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(values.len(), 70 * 16);
    place.ok(&["embed", "encoder", "--data", "texts.jsonl", "--out", "v.jsonl"]);
    let lines = std::fs::read_to_string(place.path("v.jsonl")).unwrap();
    for (at, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["index"], at);
        let text = records[at]["text"].as_str().unwrap();
        assert_eq!(line["text"].as_str().unwrap().trim_end(), text.trim_end());
        let found: Vec<f32> =
            line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let want = model.embed(&input(&dir, text), Pooling::Mean, true, None).unwrap();
        near(&found, &want.into_data().try_into_vec::<f32>().unwrap());
        near(&found, &values[at * 16..at * 16 + 16]);
    }
    assert_eq!(lines.lines().count(), 70);
}

#[test]
fn a_folder_says_its_own_pooling_and_length_and_options_go_before() {
    let place = Place::new();
    let sentence = SentenceConfig { pooling: Pooling::Cls, normalize: false, max_seq_len: Some(6) };
    let (dir, model) = model(&place, HeadConfig::Pooler, Some(sentence));
    let text = "the model running, the model";
    let output = place.danlu(&["embed", "encoder", "--text", text]);
    let told = crate::harness::stderr(&output);
    assert!(told.contains("texts cut to 6 tokens: 1; tokens that were not read: 3"), "{told}");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["tokens_cut"], 3);
    let found: Vec<f32> = line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    let mut ids = input(&dir, text);
    ids.ids[0] = [&ids.ids[0][..5], &[3]].concat();
    let want =
        |pooling, normalize| model.embed(&ids, pooling, normalize, None).unwrap().into_data().try_into_vec::<f32>();
    near(&found, &want(Pooling::Cls, false).unwrap());
    let line: Value =
        serde_json::from_str(&place.ok(&["embed", "encoder", "--text", text, "--pooling", "mean"])).unwrap();
    let found: Vec<f32> = line["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    near(&found, &want(Pooling::Mean, false).unwrap());
    let line: Value =
        serde_json::from_str(&place.ok(&["embed", "encoder", "--text", text, "--max-tokens", "99"])).unwrap();
    assert_eq!(line["tokens_cut"], Value::Null);
}

#[test]
fn labels_are_the_models_and_figures_those_of_the_labels() {
    let place = Place::new();
    let (dir, model) = model(&place, sequence(Problem::SingleLabel), None);
    let line: Value = serde_json::from_str(&place.ok(&["classify", "encoder", "--text", TEXTS[1]])).unwrap();
    let logits = model.logits(&input(&dir, TEXTS[1]), None).unwrap().into_data().try_into_vec::<f32>().unwrap();
    let best = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    assert_eq!(line["label"], ["bad", "fair", "good"][best]);
    let sum: f32 = logits.iter().map(|x| x.exp()).sum();
    for (name, x) in ["bad", "fair", "good"].iter().zip(&logits) {
        let p = line["probabilities"][name].as_f64().unwrap() as f32;
        assert!((p - x.exp() / sum).abs() < 1e-6, "{name}: {p}");
    }
    // The true label of each text is what the model says, but for the last two records.
    let said = |text: &str| -> Value {
        let line: Value = serde_json::from_str(&place.ok(&["classify", "encoder", "--text", text])).unwrap();
        line["label"].clone()
    };
    let mut records: Vec<Value> = TEXTS.iter().map(|text| json!({"text": text, "truth": said(text)})).collect();
    let wrong = if records[0]["truth"] == "bad" { 1 } else { 0 };
    records.push(json!({"text": TEXTS[0], "truth": wrong}));
    records.push(json!({"text": TEXTS[0]}));
    write_lines(&place, "test.jsonl", &records);
    let args = ["classify", "encoder", "--data", "test.jsonl", "--label-field", "truth", "--out", "said.jsonl"];
    let summary = place.json(&[&args[..], &["--json"]].concat());
    assert_eq!((&summary["scores"]["accuracy"], &summary["scores"]["examples"]), (&json!(0.8), &json!(5)));
    assert_eq!(summary["records_unlabelled"], 1);
    let lines = std::fs::read_to_string(place.path("said.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 6);
    let shown = place.ok(&args[..6]);
    assert!(shown.starts_with("accuracy 80.00% of 5 examples\nclass"), "{shown}");
    assert!(shown.contains("macro average") && shown.contains("class \\ guess"), "{shown}");
}

#[test]
fn several_labels_and_numbers() {
    let place = Place::new();
    model(&place, sequence(Problem::MultiLabel), None);
    let line: Value = serde_json::from_str(&place.ok(&["classify", "encoder", "--text", "a"])).unwrap();
    let set = |name: &str| line["labels"].as_array().unwrap().contains(&json!(name));
    for (name, p) in line["probabilities"].as_object().unwrap() {
        assert_eq!(set(name), p.as_f64().unwrap() >= 0.5, "{line}");
    }
    write_lines(
        &place,
        "test.jsonl",
        &[json!({"text": "a", "truth": line["labels"]}), json!({"text": "a", "truth": []})],
    );
    let args = ["classify", "encoder", "--data", "test.jsonl", "--label-field", "truth", "--json"];
    let accuracy = if line["labels"] == json!([]) { 1.0 } else { 0.5 };
    assert_eq!(place.json(&args)["scores"]["accuracy"], accuracy);
    model(&place, sequence(Problem::Regression), None);
    let line: Value = serde_json::from_str(&place.ok(&["classify", "encoder", "--text", "a"])).unwrap();
    assert!(line["values"]["good"].is_f64(), "{line}");
}

#[test]
fn what_cannot_be_is_named() {
    let place = Place::new();
    let (dir, _) = model(&place, HeadConfig::Pooler, None);
    let told = |code, args: &[&str]| {
        let text = place.fails(code, args);
        text[text.find("error:").unwrap()..].trim_end().to_owned()
    };
    insta::assert_snapshot!(told(2, &["classify", "encoder", "--text", "a"]), @r"
    error: encoder holds no sequence classifier
    hint: for vectors of texts use `danlu embed`
    ");
    insta::assert_snapshot!(told(2, &["embed", "encoder", "--text", "a", "--out", "v.csv"]), @r"
    error: --out ends neither in .jsonl nor in .npy
    hint: name the file vectors.npy
    ");
    insta::assert_snapshot!(told(1, &["embed", "encoder", "--text", "a", "--max-tokens", "2"]), @r"
    error: 2 tokens have no room for a text beside 2 special tokens
    hint: allow 3 tokens or more
    ");
    assert!(place.fails(2, &["embed", "encoder"]).contains("--data"));
    assert!(place.fails(2, &["embed", "encoder", "--text", "a", "--pooling", "max"]).contains("known: mean, cls"));
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/gpt2");
    let text = told(1, &["embed", &decoder.to_string_lossy(), "--text", "a"]);
    assert!(text.contains("expected an encoder") && text.contains("hint: `danlu inspect"), "{text}");
    std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
    let text = told(1, &["embed", "encoder", "--text", "a", "--out", "v.jsonl"]);
    assert!(text.contains("tokenizer.json") && text.contains("hint:"), "{text}");
    assert!(!place.path("v.jsonl").exists());
    model(&place, sequence(Problem::SingleLabel), None);
    write_lines(&place, "test.jsonl", &[json!({"text": "a", "truth": "best"})]);
    let text = told(2, &["classify", "encoder", "--data", "test.jsonl", "--label-field", "truth"]);
    assert!(text.contains("the label \"best\" of record 1 is none of the model's: bad, fair, good"), "{text}");
}

#[test]
fn inspect_shows_an_encoder() {
    let place = Place::new();
    let (_, encoder) = model(&place, sequence(Problem::SingleLabel), None);
    let seen = place.json(&["inspect", "encoder", "--json"]);
    assert_eq!(seen["architecture"], "BertForSequenceClassification");
    assert_eq!(seen["parameters"], encoder.num_params());
    assert_eq!((&seen["tokenizer"], &seen["vocabulary"]), (&json!("WordPiece"), &json!(67)));
    let shown = place.ok(&["inspect", "encoder"]);
    assert!(shown.contains("labels: bad, fair, good") && shown.contains("head: sequence classification"), "{shown}");
}

#[test]
fn inspect_shows_an_encoder_decoder() {
    let place = Place::new();
    let config = EncoderDecoderConfig { hidden_size: 16, heads: 2, max_seq_len: 16, ..EncoderDecoderConfig::default() };
    let model = EncoderDecoder::new(&config, 67, 5, &danlu_pipeline::select_device("flex").unwrap()).unwrap();
    model.save(&place.path("pair"), &SaveOptions::default()).unwrap();
    let seen = place.json(&["inspect", "pair", "--json"]);
    assert_eq!(seen["architecture"], "MarianMTModel");
    // The bias of the logits lies there, too, as zeros.
    assert_eq!(seen["parameters"], model.num_params() + 67);
    assert_eq!(seen["encoder_decoder"]["activation"], "relu");
    let shown = place.ok(&["inspect", "pair"]);
    assert!(
        shown.contains("encoder-decoder: 6 and 6 layers of 16, 2 heads, sources of 16 tokens, targets of 16"),
        "{shown}"
    );
}
