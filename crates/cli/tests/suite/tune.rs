//! The recipe of a task in a shortened form: a few made reviews, a thin model, a few steps, and the classifier that comes
//! out.

use std::path::Path;

use toml::{Table, Value};

use crate::harness::Place;

fn shortened() -> String {
    shortened_sentiment("sentiment.toml")
}

fn shortened_sentiment(file: &str) -> String {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(file);
    let mut recipe: Table = std::fs::read_to_string(recipe).unwrap().parse().unwrap();
    recipe["data"]["sources"][0]["path"] = "reviews.jsonl".into();
    for (key, share) in [("valid", 0.2), ("test", 0.2)] {
        recipe["data"][key] = share.into();
    }
    recipe["model"]["hidden_size"] = 32.into();
    recipe["tokenizer"]["vocab_size"] = 100.into();
    let short = [("steps", 4), ("warmup_steps", 1), ("batch_size", 4), ("seq_len", 16), ("valid_every", 2)];
    for (key, value) in short {
        recipe["train"][key] = Value::from(value);
        recipe["pretrain"]["train"][key] = Value::from(value);
    }
    toml::to_string(&recipe).unwrap()
}

fn write_reviews(place: &Place) {
    let reviews = (0..60).map(|i| {
        let (label, text) = if i % 2 == 0 { ("positive", "很好，喜欢") } else { ("negative", "不好，失望") };
        format!("{{\"text\": \"第{i}本书{text}\", \"label\": \"{label}\"}}")
    });
    std::fs::write(place.path("reviews.jsonl"), reviews.collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn recurrent_layers_take_the_place_of_a_transformer() {
    let place = Place::new();
    write_reviews(&place);
    std::fs::write(place.path("task.toml"), shortened_sentiment("sentiment-lstm.toml")).unwrap();
    let outcome = place.json(&["tune", "task.toml", "--json"]);
    let model = outcome["model"].as_str().unwrap();
    assert_eq!(place.json(&["inspect", model, "--json"])["architecture"], "DanluLstmEncoderForSequenceClassification");
    let said = place.ok(&["classify", model, "--text", "很好，喜欢"]);
    assert!(said.contains("positive") || said.contains("negative"), "{said}");
    let exported = place.fails(1, &["export", model, "--format", "hf", "--out", "out"]);
    assert!(exported.contains("only danlu loads it"), "{exported}");
}

#[test]
fn the_sentiment_recipe_makes_a_classifier_with_scores() {
    let place = Place::new();
    write_reviews(&place);
    std::fs::write(place.path("task.toml"), shortened()).unwrap();
    let outcome = place.json(&["tune", "task.toml", "--json"]);
    assert_eq!(outcome["examples"]["read"], 60);
    let bag = outcome["scores"]["baseline"]["bag_of_words"]["accuracy"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&bag), "{outcome:#}");
    let classes = outcome["scores"]["model"]["classes"].as_array().unwrap();
    assert_eq!(
        classes.iter().map(|class| class["label"].as_str().unwrap()).collect::<Vec<_>>(),
        ["negative", "positive"]
    );

    let model = outcome["model"].as_str().unwrap();
    let seen = place.json(&["inspect", model, "--json"]);
    assert_eq!(seen["parameters"], outcome["training"]["tune"]["parameters"]);
    let table = place.ok(&["tune", "task.toml"]);
    assert!(
        table.contains("bag of words") && table.contains("most frequent label") && table.contains(model),
        "{table}"
    );
    let said = place.ok(&["classify", model, "--text", "很好，喜欢"]);
    assert!(said.contains("positive") || said.contains("negative"), "{said}");
}

#[test]
fn a_wrong_key_is_named_with_the_nearest() {
    let place = Place::new();
    std::fs::write(place.path("task.toml"), shortened().replace("valid_batches", "valid_batch")).unwrap();
    let said = place.fails(1, &["tune", "task.toml"]);
    assert!(said.contains("unknown key `valid_batch`") && said.contains("did you mean `valid_batches`"), "{said}");
    std::fs::write(place.path("task.toml"), shortened()).unwrap();
    assert!(place.fails(1, &["tune", "task.toml"]).contains("reviews.jsonl"));
    assert!(place.fails(2, &["tune", "nothing.toml"]).contains("nothing.toml"));
}

fn shortened_translation() -> String {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/translation.toml");
    let mut recipe: Table = std::fs::read_to_string(recipe).unwrap().parse().unwrap();
    recipe["data"]["sources"][0]["path"] = "pairs.jsonl".into();
    for (key, share) in [("valid", 0.2), ("test", 0.2)] {
        recipe["data"][key] = share.into();
    }
    for (key, value) in
        [("hidden_size", 32), ("heads", 2), ("ffn_size", 64), ("encoder_layers", 1), ("decoder_layers", 1)]
    {
        recipe["model"][key] = value.into();
    }
    recipe["tokenizer"]["vocab_size"] = 280.into();
    let short = [("steps", 4), ("warmup_steps", 1), ("batch_size", 4), ("valid_every", 2)];
    for (key, value) in short {
        recipe["train"][key] = Value::from(value);
    }
    recipe["translate"]["max_tokens"] = 8.into();
    toml::to_string(&recipe).unwrap()
}

#[test]
fn the_translation_recipe_makes_a_translator_with_scores() {
    let place = Place::new();
    let pairs = (0..40).map(|i| format!("{{\"en\": \"Open the file {i}.\", \"zh\": \"打开文件 {i}。\"}}"));
    std::fs::write(place.path("pairs.jsonl"), pairs.collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(place.path("task.toml"), shortened_translation()).unwrap();
    let outcome = place.json(&["tune", "task.toml", "--json"]);
    assert_eq!(outcome["pairs"]["read"], 40);
    assert_eq!(outcome["scores"]["copy"]["bleu"]["tokenizer"], "zh");
    let model = outcome["model"].as_str().unwrap();
    let table = place.ok(&["tune", "task.toml"]);
    assert!(table.contains("copy of the source") && table.contains("打开文件") && table.contains(model), "{table}");

    // A model that says nothing whole leaves every sentence as it was: the copies are counted as unchanged.
    std::fs::write(place.path("back.toml"), "[[steps]]\nkind = \"back_translate\"\n").unwrap();
    let source = "[[data.sources]]\nname = \"help\"\npath = \"pairs.jsonl\"\ntext_field = \"en\"\n";
    let split = "[clean]\nmin_chars = 1\n[split]\nvalid = 0.2\ntest = 0.2\n";
    std::fs::write(place.path("help.toml"), format!("name = \"help\"\n{source}{split}")).unwrap();
    for stage in ["collect", "clean"] {
        place.ok(&["run", "help.toml", "--only", stage]);
    }
    let copy = ["data", "augment", "help.toml", "--config", "back.toml", "--out", "copies.parquet", "--json"];
    let made = place.json(&[&copy[..], &["--there", model, "--back", model]].concat());
    let kind = &made["kinds"]["back_translate"];
    let skipped: u64 = kind["skipped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let documents = made["documents"].as_u64().unwrap();
    assert!(documents > 10 && kind["made"].as_u64().unwrap() + skipped == documents, "{made}");
    assert!(place.fails(1, &copy).contains("--there"), "without translators");
    assert!(place.fails(2, &[&copy[..], &["--there", model]].concat()).contains("--back"));

    // The same as a stage of the recipe; what the models hold is part of its key.
    let step = "[[augment.steps]]\nkind = \"back_translate\"\n";
    let augmented = format!("name = \"help\"\n{source}{split}[augment]\nthere = {model:?}\nback = {model:?}\n{step}");
    std::fs::write(place.path("help.toml"), augmented).unwrap();
    let ran = place.json(&["run", "help.toml", "--only", "augment", "--json"]);
    let counts = |told: &serde_json::Value| {
        let kind = &told["kinds"]["back_translate"];
        [&told["documents"], &told["copies"], &kind["made"], &kind["skipped"]].map(Clone::clone)
    };
    assert_eq!(counts(&ran["augment"]), counts(&made));
    let what =
        |place: &Place| place.json(&["run", "help.toml", "--dry-run", "--json"])["stages"][2]["decision"].clone();
    assert_eq!(what(&place)["action"], "reuse");
    std::fs::write(place.path(model).join("note.txt"), "another model").unwrap();
    assert!(what(&place)["why"].as_str().unwrap().contains("note.txt"), "{}", what(&place));
    std::fs::write(place.path("help.toml"), format!("name = \"help\"\n{source}{split}[augment]\n{step}")).unwrap();
    let told = place.fails(1, &["run", "help.toml", "--dry-run"]);
    assert!(told.contains("needs two translators") && told.contains("there = MODEL"), "{told}");

    let said = place.json(&["translate", model, "--text", "Open the file 3.", "--max-new-tokens", "4"]);
    assert!(said["translation"].is_string(), "{said}");
    let scores = place.json(&[
        "translate",
        model,
        "--data",
        "pairs.jsonl",
        "--text-field",
        "en",
        "--target-field",
        "zh",
        "--target-language",
        "zh",
        "--beams",
        "1",
        "--max-new-tokens",
        "4",
        "--json",
    ]);
    assert_eq!(scores["texts"], 40);
    assert!(scores["scores"]["chrf"].is_number(), "{scores}");
    let wrong = place.fails(1, &["translate", model, "--text", "x", "--beams", "0"]);
    assert!(wrong.contains("`beams`") || wrong.contains("beams"), "{wrong}");
}

fn shortened_captions() -> String {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/captions.toml");
    let mut recipe: Table = std::fs::read_to_string(recipe).unwrap().parse().unwrap();
    recipe["data"]["sources"][0]["path"] = "pictures.jsonl".into();
    recipe["data"]["folder"] = "".into();
    for (key, share) in [("valid", 0.2), ("test", 0.2)] {
        recipe["data"][key] = share.into();
    }
    for part in ["vision", "text"] {
        for (key, value) in [("hidden_size", 32), ("layers", 1)] {
            recipe["model"][part][key] = value.into();
        }
    }
    recipe["tokenizer"]["vocab_size"] = 266.into();
    let short = [("steps", 4), ("warmup_steps", 1), ("batch_size", 4), ("valid_every", 2)];
    for (key, value) in short {
        recipe["train"][key] = Value::from(value);
    }
    recipe["caption"]["max_tokens"] = 8.into();
    toml::to_string(&recipe).unwrap()
}

#[test]
fn the_captions_recipe_makes_a_model_that_names_pictures() {
    let place = Place::new();
    // One picture of formats' tests under many names.
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/pictures/rgba.png");
    let lines = (0..40).map(|i| {
        std::fs::copy(&picture, place.path(&format!("{i}.png"))).unwrap();
        format!("{{\"image\": \"{i}.png\", \"en\": \"picture {i}\", \"zh\": \"图片 {i}\", \"group\": \"{}\"}}", i / 2)
    });
    std::fs::write(place.path("pictures.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(place.path("task.toml"), shortened_captions()).unwrap();
    let outcome = place.json(&["tune", "task.toml", "--json"]);
    assert_eq!(outcome["pictures"]["read"], 40);
    let languages = outcome["scores"]["languages"].as_array().unwrap();
    assert_eq!(languages.iter().map(|of| of["language"].as_str().unwrap()).collect::<Vec<_>>(), ["en", "zh"]);
    let model = outcome["model"].as_str().unwrap();
    let table = place.ok(&["tune", "task.toml"]);
    assert!(
        table.contains("shown another picture") && table.contains("nearest known") && table.contains(model),
        "{table}"
    );

    let seen = place.json(&["inspect", model, "--json"]);
    assert_eq!(seen["parameters"], outcome["training"]["tune"]["parameters"]);
    assert_eq!(seen["vision_language"]["vision"]["image_size"], 64);
    assert!(place.ok(&["inspect", model]).contains("64 places in the text"));
    let said = place.ok(&["caption", model, "0.png", "1.png", "--max-new-tokens", "3", "--json"]);
    let said: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[1]["language"] == "zh" && said[1]["caption"].is_string() && said[0]["picture"] == "0.png", "{said:?}");
    let prompt = ["caption", model, "0.png", "--prompt", "<image>?", "--results", "2", "--max-new-tokens", "3"];
    assert_eq!(place.ok(&prompt).lines().count(), 2);

    assert!(place.fails(1, &["caption", model, "nothing.png"]).contains("nothing.png"));
    std::fs::write(place.path("text.png"), "no picture").unwrap();
    let wrong = place.fails(1, &["caption", model, "text.png"]);
    assert!(wrong.contains("text.png") && wrong.contains("neither PNG nor JPEG") && wrong.contains("hint"), "{wrong}");
    let blind = place.fails(1, &["caption", model, "0.png", "--prompt", "what?"]);
    assert!(blind.contains("<image> once"), "{blind}");
}
