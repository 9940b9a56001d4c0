//! Evaluation of real, tiny, untrained models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use danlu_data::{Document, TranslatorModel};
use danlu_eval::{BackTranslator, EvalConfig, EvalError, Evaluation, evaluate, evaluate_path};
use danlu_model::{CausalLm, ModelConfig, Positions};
use danlu_text::{Tokenizer, TokenizerConfig};

const TEXTS: [&str; 5] = [
    "床前明月光，疑是地上霜。",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "x",
    "",
    "Call me <|endoftext|> by name.",
];

fn tokenizer() -> Tokenizer {
    // No merges: the 256 bytes and the special tokens.
    let config = TokenizerConfig { vocab_size: 259, ..TokenizerConfig::default() };
    Tokenizer::train(TEXTS.iter(), &config).unwrap()
}

fn model(tokenizer: &Tokenizer) -> CausalLm {
    let config = ModelConfig { layers: 2, hidden_size: 16, heads: 2, max_seq_len: 128, ..ModelConfig::default() };
    CausalLm::new(&config, tokenizer.vocab_size(), 1, &Device::flex()).unwrap()
}

fn documents() -> Vec<Document> {
    let language = |text: &str| if text.starts_with('床') { "zh" } else { "en" };
    TEXTS.iter().map(|text| Document { language: language(text).into(), ..Document::new(*text, "fixture") }).collect()
}

fn run(model: &CausalLm, tokenizer: &Tokenizer, config: &EvalConfig) -> Result<Evaluation, EvalError> {
    evaluate(model, tokenizer, documents().into_iter().map(Ok), config, &mut |_| {})
}

/// The sum of nats over a document by the model's own training loss.
fn nats_by_loss(model: &CausalLm, tokenizer: &Tokenizer, text: &str) -> f64 {
    let targets: Vec<i32> = tokenizer.encode_literal(text).unwrap().iter().map(|&id| id as i32).collect();
    let mut inputs = vec![tokenizer.eos_id() as i32];
    inputs.extend(&targets[..targets.len() - 1]);
    let (n, device) = (targets.len(), model.device());
    let inputs: Tensor<2, Int> = Tensor::from_data(TensorData::new(inputs, [1, n]), &device);
    let targets: Tensor<1, Int> = Tensor::from_data(TensorData::new(targets, [n]), &device);
    f64::from(
        model.loss_sum(inputs, targets, Default::default()).into_data_as::<f32>().try_into_vec::<f32>().unwrap()[0],
    )
}

fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * b.abs(), "{a} against {b}");
}

#[test]
fn the_training_loss_of_each_document_gives_the_same_figures() {
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    let result = run(&model, &tokenizer, &EvalConfig::default()).unwrap();
    let texts = TEXTS.iter().filter(|text| !text.is_empty());
    let nats: f64 = texts.clone().map(|text| nats_by_loss(&model, &tokenizer, text)).sum();
    let bytes: usize = texts.map(|text| text.len()).sum();
    // Byte tokens: as many tokens as bytes, the written-out special token included.
    assert_eq!((result.overall.tokens, result.overall.bytes), (bytes as u64, bytes as u64));
    close(result.overall.loss, nats / bytes as f64, 1e-6);
    close(result.overall.perplexity, (nats / bytes as f64).exp(), 1e-5);
    close(result.overall.bits_per_byte, nats / std::f64::consts::LN_2 / bytes as f64, 1e-6);
    let zh = nats_by_loss(&model, &tokenizer, TEXTS[0]);
    close(result.by_language["zh"].loss * result.by_language["zh"].tokens as f64, zh, 1e-6);
    assert_eq!((result.coverage.documents_scored, result.coverage.documents_empty), (4, 1));
    assert_eq!(result.coverage.documents_not_round_trip, 0);
    assert_eq!(result.coverage.rule, None);
}

#[test]
fn batch_size_and_spare_context_change_nothing_but_rounding() {
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    let base = run(&model, &tokenizer, &EvalConfig { batch_size: 1, ..EvalConfig::default() }).unwrap();
    for (batch_size, seq_len) in [(3, 128), (64, 128), (2, 120)] {
        let config = EvalConfig { batch_size, seq_len: Some(seq_len), ..EvalConfig::default() };
        let other = run(&model, &tokenizer, &config).unwrap();
        close(other.overall.loss, base.overall.loss, 1e-6);
        assert_eq!(other.overall.tokens, base.overall.tokens);
    }
    let cut = EvalConfig { seq_len: Some(16), stride: Some(5), ..EvalConfig::default() };
    let cut = run(&model, &tokenizer, &cut).unwrap();
    assert_eq!(cut.overall.tokens, base.overall.tokens);
    assert_ne!(cut.overall.loss, base.overall.loss);
}

#[test]
fn a_model_without_weights_costs_ln_v_a_token() {
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    let zeros = model.named_parameters().unwrap().into_iter().map(|(name, data)| {
        let zero = TensorData::zeros::<f32, _>(data.shape().clone());
        (name, zero)
    });
    let model = model.clone().load_named(zeros.collect()).unwrap();
    let result = run(&model, &tokenizer, &EvalConfig::default()).unwrap();
    close(result.overall.loss, (tokenizer.vocab_size() as f64).ln(), 1e-9);
    close(result.overall.bits_per_byte, (tokenizer.vocab_size() as f64).log2(), 1e-9);
}

#[test]
fn the_json_has_the_figures_at_its_top_and_reads_back() {
    let tokenizer = tokenizer();
    let config = EvalConfig { max_documents: Some(2), ..EvalConfig::default() };
    let result = run(&model(&tokenizer), &tokenizer, &config).unwrap();
    let json = serde_json::to_value(&result).unwrap();
    for key in ["loss", "perplexity", "bits_per_byte", "top1", "top5"] {
        assert!(json[key].is_f64(), "{key}");
    }
    assert!(json["tokens"].is_u64() && json["bytes"].is_u64());
    let again: Evaluation = serde_json::from_value(json).unwrap();
    assert_eq!((&again.coverage, again.overall.tokens), (&result.coverage, result.overall.tokens));
    close(again.overall.loss, result.overall.loss, 1e-15);
    assert_eq!(result.coverage.documents_offered, 5);
    assert_eq!(result.coverage.rule.as_deref(), Some("by ascending content id up to 2 documents"));
}

/// Nothing but windows changes where positions have no end; scaled angles change the figures, and at the length of
/// training nothing is scaled.
#[test]
fn lengths_beyond_training_are_scored_by_each_way_of_going_on() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    tokenizer.save(dir.path()).unwrap();
    let text = dir.path().join("a.txt");
    std::fs::write(&text, TEXTS[1].repeat(3)).unwrap();
    let source =
        danlu_data::SourceConfig { name: "a".into(), path: text.to_string_lossy().into_owned(), ..Default::default() };
    let report = |positions| {
        let config =
            ModelConfig { layers: 2, hidden_size: 16, heads: 2, max_seq_len: 32, positions, ..Default::default() };
        let model = CausalLm::new(&config, tokenizer.vocab_size(), 1, &Device::flex()).unwrap();
        danlu_model::save(&model, dir.path(), &Default::default()).unwrap();
        let config = EvalConfig::default();
        danlu_eval::length_report(dir.path(), &source, "".as_ref(), &Device::flex(), &config, &mut |_| {})
    };
    let rope = report(None).unwrap();
    let lines: Vec<_> = rope.iter().map(|line| (line.seq_len, line.positions)).collect();
    let ways = ["as trained", "linear", "dynamic", "yarn"];
    let want: Vec<_> =
        [(32, "as trained")].into_iter().chain(ways.map(|w| (64, w))).chain(ways.map(|w| (128, w))).collect();
    assert_eq!(lines, want);
    assert!(rope.iter().all(|line| line.scores.tokens == rope[0].scores.tokens && line.scores.loss.is_finite()));
    for (i, line) in rope.iter().enumerate() {
        let twins = rope[..i].iter().filter(|other| other.scores.loss == line.scores.loss).count();
        assert_eq!(twins, 0, "{} at {}", line.positions, line.seq_len);
    }
    let plain = evaluate_path(dir.path(), &text, &Device::flex(), &EvalConfig::default(), &mut |_| {}).unwrap();
    assert_eq!(plain.overall, rope[0].scores);
    assert_eq!(report(Some(Positions::Alibi)).unwrap().len(), 3);
    let error = report(Some(Positions::Learned)).unwrap_err();
    assert!(error.to_string().contains("positions") || format!("{error:?}").contains("at most 32 tokens"), "{error}");
}

/// A chat model translates both ways. What has no room in it stays as it was, and so does what is not answered to the end.
#[test]
fn a_chat_model_is_told_to_translate() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    danlu_model::save(&model(&tokenizer), dir.path(), &Default::default()).unwrap();
    tokenizer.save(dir.path()).unwrap();
    let told = |prompt: &str| -> TranslatorModel {
        serde_json::from_value(serde_json::json!({ "model": dir.path(), "prompt": prompt })).unwrap()
    };
    let load = || {
        let (there, back) = (told("Chinese: {text}"), told("English: {text}"));
        BackTranslator::load(&there, &back, Default::default(), &Device::flex())
    };
    let both = load().unwrap();
    let long = format!("  {}. ", "word ".repeat(60).trim());
    assert_eq!(both.paraphrase(&long).unwrap(), long, "more than the 128 tokens of the model");
    let short = " Hello <|im_end|> there. ";
    let once = both.paraphrase(short).unwrap();
    assert!(once.starts_with(' ') && once.ends_with(' ') && once.trim().len() > 1, "{once:?}");
    assert_eq!(both.paraphrase(short).unwrap(), once);

    let config = dir.path().join("tokenizer_config.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("chat_template").expect("no chat template to take away");
    std::fs::write(&config, value.to_string()).unwrap();
    let error = load().unwrap_err();
    assert!(error.to_string().contains("without a chat template"), "{error}");
}

#[test]
fn a_folder_on_files_of_several_formats() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    danlu_model::save(&model, dir.path(), &Default::default()).unwrap();
    tokenizer.save(dir.path()).unwrap();
    let score = |data: &std::path::Path, config: &EvalConfig| {
        evaluate_path(dir.path(), data, &Device::flex(), config, &mut |_| {})
    };

    let text = dir.path().join("a.txt");
    std::fs::write(&text, TEXTS[1]).unwrap();
    let plain = score(&text, &EvalConfig::default()).unwrap();
    close(plain.overall.loss * plain.overall.tokens as f64, nats_by_loss(&model, &tokenizer, TEXTS[1]), 1e-5);
    assert_eq!(plain.by_language.keys().collect::<Vec<_>>(), ["en"]);

    let lines = dir.path().join("b.jsonl");
    let good = serde_json::json!({"text": TEXTS[1], "source": "novel", "language": "fr"});
    std::fs::write(&lines, format!("{good}\n{{\"text\": \n")).unwrap();
    let counted = score(&lines, &EvalConfig::default()).unwrap();
    assert_eq!(counted.overall, plain.overall);
    assert_eq!(counted.coverage.records_unreadable, 1);
    assert!(counted.by_source.contains_key("novel") && counted.by_language.contains_key("fr"));

    let strict = score(&lines, &EvalConfig { strict: true, ..EvalConfig::default() }).unwrap_err();
    assert!(strict.to_string().contains("b.jsonl:2"), "{strict}");
    std::fs::write(&text, "").unwrap();
    let empty = score(&text, &EvalConfig::default()).unwrap_err();
    assert!(matches!(empty, EvalError::NothingToScore { .. }), "{empty}");
    assert!(empty.hint().is_some());
    let long = score(&lines, &EvalConfig { seq_len: Some(129), ..EvalConfig::default() }).unwrap_err();
    assert!(long.to_string().contains("129") && long.to_string().contains("128"), "{long}");
    assert!(score(&dir.path().join("none.txt"), &EvalConfig::default()).is_err());
}
