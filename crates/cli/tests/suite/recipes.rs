//! Every recipe of `recipes/` in a shortened form: little text, a thin model, a few steps; the whole way to the report.

use std::path::Path;

use toml::{Table, Value};

use crate::harness::Place;

/// Sets keys of a section that is there.
fn shorten(recipe: &mut Table, section: &str, keys: &[(&str, Value)]) {
    let Some(Value::Table(table)) = recipe.get_mut(section) else { return };
    for (key, value) in keys {
        table.insert((*key).into(), value.clone());
    }
}

/// Whole words of the settings stay; sizes shrink.
fn shortened(text: &str) -> String {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpora").canonicalize().unwrap();
    let mut recipe: Table = text.parse().unwrap();
    for source in recipe["data"]["sources"].as_array_mut().unwrap() {
        let source = source.as_table_mut().unwrap();
        let file = Path::new(source["path"].as_str().unwrap()).file_name().unwrap().to_owned();
        let limit = if source["name"].as_str() == Some("tang-poems") { 300 } else { 8 };
        source.insert("path".into(), corpora.join(file).to_str().unwrap().into());
        source.insert("limit".into(), limit.into());
    }
    shorten(&mut recipe, "split", &[("valid", 0.05.into()), ("test", 0.05.into())]);
    shorten(&mut recipe, "tokenizer", &[("vocab_size", 600.into())]);
    shorten(&mut recipe, "model", &[("layers", 2.into()), ("hidden_size", 32.into()), ("max_seq_len", 64.into())]);
    if recipe["model"].get("embedding_size").is_some() {
        shorten(&mut recipe, "model", &[("embedding_size", 16.into())]);
    }
    let few = [("steps", 6), ("batch_size", 4), ("seq_len", 32), ("warmup_steps", 2), ("valid_every", 3)];
    let few = few.map(|(key, value)| (key, Value::from(value)));
    shorten(&mut recipe, "train", &few);
    shorten(&mut recipe, "train", &[("valid_batches", 2.into()), ("checkpoint_every", 3.into())]);
    shorten(&mut recipe, "samples", &[("max_tokens", 6.into())]);
    for (section, key, value) in [("evaluate", "max_bytes", 5000), ("compress", "decode_tokens", 4)] {
        recipe.entry(section).or_insert_with(|| Value::Table(Table::new()));
        shorten(&mut recipe, section, &[(key, value.into())]);
    }
    toml::to_string(&recipe).unwrap()
}

/// The recipes of language models that come with danlu, by name. Ablations and tasks have other sections.
fn language_models() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut recipes: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().into(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let other = |text: &str| {
        ["variants", "task", "pretrain"].iter().any(|key| text.parse::<Table>().unwrap().contains_key(*key))
    };
    recipes.retain(|(_, text)| !other(text));
    recipes.sort();
    recipes
}

#[test]
fn every_recipe_runs_and_the_models_stand_side_by_side() {
    let place = Place::new();
    let mut runs = Vec::new();
    for (name, text) in language_models() {
        std::fs::write(place.path(&format!("{name}.toml")), shortened(&text)).unwrap();
        let summary = place.json(&["run", &format!("{name}.toml"), "--json"]);
        for path in ["/test/bits_per_byte", "/int8/bits_per_byte", "/train/tokens_per_second"] {
            let value = summary.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
            assert!(value.is_finite() && value > 0.0, "{name}: {path} in {summary:#}");
        }
        let model = summary["model_dir"].as_str().unwrap();
        let write = ["generate", model, "--prompt", "The people", "--max-tokens", "6", "--temperature", "0", "--json"];
        let written = place.json(&write);
        assert_eq!(written["text"], place.json(&write)["text"], "{name}");
        assert!(written["completion_tokens"].as_u64().unwrap() <= 6);
        let seen = place.json(&["inspect", model, "--json"]);
        assert_eq!(seen["parameters"], summary["train"]["parameters"], "{name}");
        runs.push(summary["run"].as_str().unwrap().to_owned());
    }
    let names: Vec<&str> = runs.iter().map(String::as_str).collect();
    let table = place.ok(&[&["runs"], &names[..]].concat());
    for architecture in ["llama", "lstm", "gru", "rnn"] {
        assert!(table.contains(architecture), "{table}");
    }
    assert_eq!(table.lines().count(), names.len() + 1, "{table}");
    let sorted = place.json(&[&["runs", "--json"], &names[..]].concat());
    let scores: Vec<f64> =
        sorted.as_array().unwrap().iter().map(|run| run["test"]["bits_per_byte"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted() && scores.len() == names.len(), "{scores:?}");
}

/// A key of the other kind of model is refused by name, before anything is trained.
#[test]
fn keys_of_transformers_are_refused_for_recurrent_models() {
    let place = Place::new();
    place.write_recipe(|text| text.replace("[model]", "[model]\narchitecture = \"lstm\""));
    let said = place.fails(1, &["plan", "tiny.toml"]);
    assert!(said.contains("heads") && said.contains("lstm"), "{said}");
}
