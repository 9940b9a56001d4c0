//! What people get wrong, and what they are told: the cause by name, and one line with the remedy.

use crate::harness::Place;

/// The error's lines, without the temporary folder's name.
fn told(place: &Place, code: i32, args: &[&str]) -> String {
    let text = place.fails(code, args);
    let at = text.find("error:").unwrap_or_else(|| panic!("no error line in: {text}"));
    text[at..].trim_end().to_owned()
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let place = Place::new();
    place.write_recipe(|text| text.replace("learning_rate", "learning_rat"));
    let text = told(&place, 1, &["run", "tiny.toml"]);
    assert!(text.contains("tiny.toml:36: unknown key `learning_rat`"), "{text}");
    assert!(text.contains("hint: did you mean `learning_rate`?"), "{text}");
}

#[test]
fn a_missing_recipe_stage_device_or_run_is_named() {
    let place = Place::new();
    insta::assert_snapshot!(told(&place, 1, &["run", "none.toml"]), @r"
    error: cannot read the recipe none.toml
      because: No such file or directory (os error 2)
    hint: give the path of a recipe, for example recipes/quickstart.toml
    ");
    let stage = place.fails(2, &["run", "tiny.toml", "--from", "trian"]);
    assert!(stage.contains("did you mean `train`?"), "{stage}");
    insta::assert_snapshot!(told(&place, 1, &["--device", "cuda", "run", "tiny.toml"]), @r"
    error: device `cuda`: this build of danlu does not have it
    hint: build with `cargo build --release --features cuda`, or leave out --device to use the CPU
    ");
    let run = told(&place, 1, &["show", "nothing"]);
    assert!(run.contains("nothing") && run.contains("hint:"), "{run}");
    insta::assert_snapshot!(told(&place, 2, &["--threads", "0", "runs"]), @r"
    error: --threads 0 leaves nobody to work
    hint: leave it out to use all cores
    ");
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let place = Place::new();
    place.write_recipe(|text| text.replace("tang-poems.jsonl.zst", "song-poems.jsonl.zst"));
    let text = told(&place, 1, &["run", "tiny.toml"]);
    assert!(text.contains("song-poems.jsonl.zst") && text.contains("hint:"), "{text}");
}

#[test]
fn a_stage_alone_needs_its_inputs() {
    let place = Place::new();
    let text = told(&place, 1, &["run", "tiny.toml", "--only", "train"]);
    assert!(text.contains("stage `train` needs the result of `tokenizer`"), "{text}");
    assert!(text.contains("hint: run `danlu run RECIPE --only tokenizer` first"), "{text}");
}

/// A recipe whose one source is `file`, with the given content.
fn place_with(file: &str, content: &[u8]) -> Place {
    let place = Place::new();
    std::fs::write(place.path(file), content).unwrap();
    let text = format!("name = \"bad\"\n[[data.sources]]\nname = \"s\"\npath = \"{file}\"\n");
    std::fs::write(place.path("tiny.toml"), text).unwrap();
    place
}

#[test]
fn malformed_records_are_counted_and_named_and_strict_stops() {
    let content = b"{\"text\": \"a first document of some length\"}\n{\"text\": oops}\n{\"text\": \"a third one, long enough\"}\n";
    let place = place_with("a.jsonl", content);
    let output = place.danlu(&["run", "tiny.toml", "--only", "collect"]);
    let text = crate::harness::stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("a.jsonl:2") && text.contains("1 records could not be read"), "{text}");
    let strict = told(&place, 1, &["run", "tiny.toml", "--strict"]);
    assert!(strict.contains("a.jsonl") && strict.contains('2'), "{strict}");
}

#[test]
fn broken_text_and_parquet_are_named() {
    let place = place_with("a.txt", b"good start \xff\xfe broken");
    let text = told(&place, 1, &["run", "tiny.toml", "--strict"]);
    assert!(text.contains("a.txt") && text.to_lowercase().contains("utf-8"), "{text}");
    let place = place_with("a.parquet", b"PAR1 this is no parquet file");
    let text = told(&place, 1, &["run", "tiny.toml", "--strict"]);
    assert!(text.contains("a.parquet"), "{text}");
}

#[test]
fn an_empty_corpus_and_a_vocabulary_too_large_say_so() {
    let place = place_with("a.txt", b"");
    let text = told(&place, 1, &["run", "tiny.toml"]);
    assert!(text.contains("hint:"), "{text}");

    let place = Place::new();
    place.write_recipe(|text| text.replace("vocab_size = 800", "vocab_size = 500000"));
    let text = told(&place, 1, &["run", "tiny.toml"]);
    assert!(text.contains("500000") && text.contains("hint:"), "{text}");
}

#[test]
fn a_damaged_model_folder_names_the_tensor() {
    let place = Place::new();
    for stage in ["collect", "clean", "tokenizer", "train"] {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
    let trained = std::fs::read_dir(place.path("runs/artifacts/train")).unwrap();
    let artifact = trained.map(|e| e.unwrap().path()).find(|p| p.extension().is_none()).unwrap();
    let model = place.path("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(artifact.join("model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let long = "the people ".repeat(200);
    let text = told(&place, 1, &["generate", "model", "--prompt", &long]);
    assert!(text.contains("64") && text.contains("hint:"), "a prompt longer than the context: {text}");

    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let wrong = config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    assert_ne!(config, wrong);
    std::fs::write(model.join("config.json"), wrong).unwrap();
    let text = told(&place, 1, &["generate", "model", "--prompt", "a"]);
    assert!(text.contains("model.layers.2."), "{text}");

    std::fs::write(model.join("config.json"), config).unwrap();
    let weights = std::fs::read(model.join("model.safetensors")).unwrap();
    std::fs::write(model.join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let text = told(&place, 1, &["generate", "model", "--prompt", "a"]);
    assert!(text.contains("model.safetensors") && text.contains("hint:"), "{text}");
}
