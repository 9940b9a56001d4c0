//! One whole life, then what a second run does and does not do again.

use serde_json::Value;

use crate::harness::Place;

fn decisions(place: &Place, args: &[&str]) -> Vec<(String, String)> {
    let mut all = vec!["run", "tiny.toml", "--dry-run", "--json"];
    all.extend_from_slice(args);
    let plan = place.json(&all);
    let stages = plan["stages"].as_array().unwrap().iter();
    stages
        .map(|s| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            (text(&s["stage"]), text(&s["decision"]["action"]))
        })
        .collect()
}

fn running(place: &Place, args: &[&str]) -> Vec<String> {
    decisions(place, args).into_iter().filter(|(_, what)| what == "run").map(|(stage, _)| stage).collect()
}

#[test]
fn a_whole_life_and_then_only_what_changed() {
    let place = Place::new();
    assert_eq!(running(&place, &[]).len(), 7, "at first everything runs");
    let first = place.json(&["run", "tiny.toml", "--json"]);
    check_summary(&place, &first);
    check_commands(&place, &first);
    check_other_programs(&place, &first);

    // Again: nothing to do, the same run, the same figures.
    assert_eq!(running(&place, &[]), Vec::<String>::new());
    let second = place.json(&["run", "tiny.toml", "--json"]);
    assert_eq!(first, second);
    assert_eq!(place.json(&["runs", "--json"]).as_array().unwrap().len(), 1);

    // A changed section runs itself and what depends on it.
    place.write_recipe(|text| text.replace("max_bytes = 20_000", "max_bytes = 15_000"));
    assert_eq!(running(&place, &[]), ["evaluate", "compress", "report"]);
    let why = place.ok(&["run", "tiny.toml", "--dry-run"]);
    assert!(why.contains("evaluate.max_bytes (20000 -> 15000)"), "{why}");
    let third = place.json(&["run", "tiny.toml", "--json"]);
    assert_ne!(third["run"], first["run"]);
    assert_eq!(third["train"], first["train"], "training was not repeated");

    // --from and --only.
    assert_eq!(running(&place, &["--from", "train"]), ["train", "evaluate", "compress", "report"]);
    assert_eq!(running(&place, &["--only", "compress"]), ["compress"]);
    let weights = std::fs::read(place.path(first["model_dir"].as_str().unwrap()).join("model.safetensors")).unwrap();
    let again = place.json(&["run", "tiny.toml", "--from", "train", "--json"]);
    let retrained = std::fs::read(place.path(again["model_dir"].as_str().unwrap()).join("model.safetensors")).unwrap();
    assert!(weights == retrained, "training again gives the same weights to the bit");
}

fn check_summary(place: &Place, summary: &Value) {
    for path in [
        "/seconds/train",
        "/test/bits_per_byte",
        "/test/xz_bits_per_byte",
        "/test/unigram_bits_per_byte",
        "/int8/bits_per_byte",
        "/train/tokens_per_second",
        "/train/mfu",
    ] {
        let value = summary.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        assert!(value.is_finite() && value > 0.0, "{path} in {summary:#}");
    }
    let report = std::fs::read_to_string(place.path(summary["report"].as_str().unwrap())).unwrap();
    assert!(report.contains("<svg") && !report.contains("src=\"http"), "the report must stand alone");
    let model = place.path(summary["model_dir"].as_str().unwrap());
    for name in ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"] {
        assert!(model.join(name).is_file(), "{name} in the model folder");
    }
}

/// The commands that a newcomer types next.
fn check_commands(place: &Place, summary: &Value) {
    let run = summary["run"].as_str().unwrap();
    let model = summary["model_dir"].as_str().unwrap();
    let shown = place.json(&["show", run, "--json"]);
    assert_eq!(shown["summary"]["test"], summary["test"]);
    assert_eq!(shown["stages"].as_array().unwrap().len(), 7);

    let write = ["generate", model, "--prompt", "The people", "--max-tokens", "8", "--temperature", "0", "--json"];
    let once = place.json(&write);
    assert_eq!(once["text"], place.json(&write)["text"], "greedy writing is repeatable");
    assert!(once["completion_tokens"].as_u64().unwrap() <= 8);
    check_generation(place, model);
    let int8 = summary["int8"]["model_dir"].as_str().unwrap();
    assert!(place.ok(&["generate", int8, "--prompt", "春", "--max-tokens", "4"]).starts_with('春'));

    std::fs::write(place.path("text.txt"), "The people of the United States.\n").unwrap();
    let scores = place.json(&["eval", model, "--data", "text.txt", "--json"]);
    for key in ["loss", "perplexity", "bits_per_byte", "top1", "top5", "tokens", "bytes"] {
        assert!(scores[key].is_number(), "{key} in {scores}");
    }

    let steps = "[[steps]]\nkind = \"reverse\"\n[[steps]]\nkind = \"homophones\"\n";
    std::fs::write(place.path("changes.toml"), steps).unwrap();
    let costs = place.json(&["eval", model, "--data", "text.txt", "--augment", "changes.toml", "--json"]);
    assert_eq!((&costs[0]["kind"], &costs[0]["copies"]), (&"reverse".into(), &1.into()), "{costs}");
    assert_eq!(costs[0]["original"]["bits_per_byte"], scores["bits_per_byte"]);
    assert_ne!(costs[0]["changed"]["bits_per_byte"], scores["bits_per_byte"]);
    assert_eq!((&costs[1]["copies"], &costs[1]["skipped"]["no_chinese"]), (&0.into(), &1.into()), "{costs}");
    let table = place.ok(&["eval", model, "--data", "text.txt", "--augment", "changes.toml"]);
    assert!(table.contains("reverse, word") && table.contains("cost"), "{table}");

    let documents = place.ok(&["data", "show", run, "--source", "tang-poems", "--limit", "2"]);
    assert_eq!(documents.matches("--- ").count(), 2, "{documents}");
    let dropped = place.json(&["data", "show", run, "--reason", "any", "--limit", "1", "--json"]);
    assert!(dropped["reason"].is_string(), "{dropped}");
    let page = place.ok(&["report", run]);
    assert_eq!(page.lines().count(), 3, "a page and two cards: {page}");
    assert!(page.lines().all(|path| place.path(path).is_file()), "{page}");
    assert!(place.ok(&["plan", "tiny.toml"]).contains("parameters"));
    let explained = place.ok(&["recipe", "explain", "tiny.toml"]);
    assert!(explained.contains("train.learning_rate") && explained.contains("default"), "{explained}");
}

/// Every way of generating, from the command line.
fn check_generation(place: &Place, model: &str) {
    let base = ["generate", model, "--prompt", "The people", "--seed", "5", "--json", "--max-tokens"];
    let lines = |more: &[&str]| -> Vec<Value> {
        let text = place.ok(&[&base[..], more].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let samples = lines(&["12", "-n", "3", "--typical-p", "0.9", "--no-repeat-ngram-size", "2", "--min-tokens", "3"]);
    assert_eq!(samples.iter().map(|one| one["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(samples.iter().all(|one| one["completion_tokens"].as_u64().unwrap() >= 3));
    let best = lines(&["6", "--beams", "4", "-n", "2", "--length-penalty", "0", "--early-stopping", "never"]);
    assert!(best.len() == 2 && best[0]["score"].as_f64() >= best[1]["score"].as_f64(), "{best:?}");
    let greedy = lines(&["6", "--temperature", "0"]).remove(0);
    let contrastive = lines(&["6", "--contrastive", "0", "--top-k", "3"]).remove(0);
    assert_eq!(contrastive["text"], greedy["text"], "without its penalty it is greedy search");

    let regex = lines(&["12", "--regex", "(春|花){2}"]).remove(0);
    assert!(["春春", "春花", "花春", "花花"].iter().any(|text| regex["text"] == *text), "{regex}");
    std::fs::write(
        place.path("schema.json"),
        r#"{"enum": [{"a": 1}, {"b": 2}], "x-guidance": {"whitespace_flexible": false}}"#,
    )
    .unwrap();
    let json = lines(&["30", "--json-schema", "schema.json"]).remove(0);
    let written: Value = serde_json::from_str(json["text"].as_str().unwrap()).unwrap();
    assert!(written == serde_json::json!({"a": 1}) || written == serde_json::json!({"b": 2}), "{json}");
    std::fs::write(place.path("sums.lark"), "start: \"1\" (\"+\" \"1\")~2\n").unwrap();
    assert_eq!(lines(&["30", "--grammar", "sums.lark"])[0]["text"], "1+1+1");

    let fails = |code: i32, more: &[&str]| place.fails(code, &[&base[..], more].concat());
    assert!(fails(1, &["6", "--regex", "("]).contains("grammar cannot be used"));
    assert!(fails(1, &["6", "--json-schema", "none.json"]).contains("none.json"));
    assert!(fails(1, &["6", "--beams", "100000"]).contains("`beams`"));
    assert!(fails(1, &["6", "-n", "0"]).contains("--samples"));
    assert!(fails(1, &["6", "--typical-p", "2"]).contains("`typical_p`"));
    assert!(fails(2, &["6", "--beams", "2", "--contrastive", "0.6"]).contains("--contrastive"));
    let formed = place.json(&[&base[..], &["6", "--beams", "2", "--regex", "[ab]{2}"]].concat());
    assert!(["aa", "ab", "ba", "bb"].contains(&formed["text"].as_str().unwrap()), "{formed}");
    assert!(fails(2, &["6", "--logit-bias", "five"]).contains("42=-5"));
}

/// As GGUF and back: the same weights, the same words. An int8 folder and a second import are refused.
fn check_other_programs(place: &Place, summary: &Value) {
    let model = summary["model_dir"].as_str().unwrap();
    let written = place.json(&["export", model, "--out", "model.gguf", "--kind", "f32", "--json"]);
    let parameters = &written["parameters"];
    let seen = place.json(&["inspect", "model.gguf", "--json"]);
    assert_eq!((&seen["parameters"], &seen["tokenizer"]), (parameters, &"gpt2 smollm".into()), "{seen:#}");
    assert!(place.ok(&["inspect", model, "--tensors"]).contains("model.embed_tokens.weight"));
    let taken = place.json(&["import", "model.gguf", "--out", "again", "--json"]);
    assert_eq!((&taken["parameters"], &taken["chat_template"]), (parameters, &true.into()), "{taken:#}");
    let words = |model: &str| {
        let write =
            ["generate", model, "--prompt", "春眠 people", "--max-tokens", "12", "--temperature", "0", "--json"];
        place.json(&write)["text"].clone()
    };
    assert_eq!(words("again"), words(model));
    assert!(place.fails(1, &["import", "model.gguf", "--out", "again"]).contains("hint: choose another --out"));
    let int8 = summary["int8"]["model_dir"].as_str().unwrap();
    let refused = place.fails(1, &["export", int8, "--out", "int8.gguf"]);
    assert!(refused.contains("export the model they were made from"), "{refused}");
    let bytes = std::fs::read(place.path("model.gguf")).unwrap();
    std::fs::write(place.path("cut.gguf"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(place.fails(1, &["import", "cut.gguf", "--out", "cut"]).contains("hint: fetch the file again"));
}
