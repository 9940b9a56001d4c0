#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{COLLECTED_FILE, DataError, Document, DocumentWriter, read_documents};

const ENGLISH: &str = "The quick fox ran home. It didn't stop! Was it \"tired\"? Nobody knew.\n\nThe next day came.";
const CHINESE: &str = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少？\n\n今天的天气很好。我们去公园散步。";

fn documents() -> Vec<Document> {
    let document = |text: &str, language: &str| Document { language: language.into(), ..Document::new(text, "s") };
    vec![document(ENGLISH, "en"), document(CHINESE, "zh"), document("word", "en")]
}

fn config(steps: Value) -> AugmentConfig {
    serde_json::from_value(json!({ "steps": steps })).unwrap()
}

/// A file of documents, with the ending that danlu gives them.
fn file(base: &Path, name: &str) -> PathBuf {
    base.join(COLLECTED_FILE.replacen("documents", name, 1))
}

/// The documents that come out of `documents`, and the summary.
fn run_on(documents: &[Document], config: &AugmentConfig, seed: u64, base: &Path) -> (Vec<Document>, AugmentSummary) {
    let (input, out) = (file(base, "in"), file(base, "out"));
    let mut writer = DocumentWriter::create(&input).unwrap();
    documents.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    let shout = |text: &str| Ok(text.to_uppercase() + "啊");
    let config = AugmentConfig { seed, ..config.clone() };
    let summary = augment(&input, &config, base, Some(&shout), &out, &|_| {}).unwrap();
    (read_documents(&out).unwrap().map(Result::unwrap).collect(), summary)
}

fn run(steps: Value, seed: u64) -> (Vec<Document>, AugmentSummary) {
    run_on(&documents(), &config(steps), seed, tempfile::tempdir().unwrap().path())
}

/// The copies' texts.
fn copies(steps: Value, seed: u64) -> Vec<String> {
    let copies = run(steps, seed).0.into_iter().filter(|document| document.metadata.contains_key(AUGMENT_KEY));
    copies.map(|document| document.text).collect()
}

#[test]
fn copies_follow_their_originals_and_say_how_they_were_made() {
    let (out, summary) = run(json!([{ "kind": "rotate" }, { "kind": "keyboard", "rate": 1.0 }]), 7);
    let kinds: Vec<_> = out.iter().map(|d| d.metadata.get(AUGMENT_KEY).map(|label| label["kind"].clone())).collect();
    let expect = [None, Some("rotate"), Some("keyboard"), None, Some("rotate"), None, Some("keyboard")];
    assert_eq!(kinds, expect.map(|kind| kind.map(Value::from)));
    assert_eq!(out[1].metadata[AUGMENTED_FROM_KEY], out[0].id);
    assert_eq!((out[1].metadata[AUGMENT_KEY]["units"].clone(), out[1].language.as_str()), (json!(5), "en"));
    assert_eq!(out[1].id, Document::new(out[1].text.as_str(), "s").id);
    assert_eq!((summary.documents, summary.augmented, summary.copies), (3, 3, 4));
    assert_eq!(summary.kinds["rotate"].skipped, [("too_short".to_string(), 1)].into());
    assert_eq!(summary.kinds["keyboard"].skipped, [("no_letters".to_string(), 1)].into());
    assert!(summary.kinds["keyboard"].mean_edit_ratio > 0.5, "{summary:?}");
    // Copies are not copied again.
    let (_, again) = run_on(&out, &config(json!([{ "kind": "rotate" }])), 7, tempfile::tempdir().unwrap().path());
    assert_eq!(again.passed, [("is_a_copy".to_string(), 4)].into());
}

#[test]
fn what_was_measured_stays_with_the_originals_and_conversations_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (file(dir.path(), "in"), file(dir.path(), "out"));
    let mut writer = DocumentWriter::with_statistics(&input, &["word_count".into()]).unwrap();
    let mut measured = Document::new(ENGLISH, "s");
    measured.statistics.insert("word_count".into(), 17.0);
    let mut spoken = Document::new("user: one two\n\nassistant: three", "s");
    spoken.metadata.insert("messages".into(), json!([{ "role": "user", "content": "one two" }]));
    // As a table that was written before comes back when it is read as a source.
    let mut read_back = Document::new("went one two three", "s");
    read_back.metadata.insert("metadata".into(), json!({ AUGMENTED_FROM_KEY: "0123" }).to_string().into());
    let mut rated = Document::new("user: one two\n\nchosen: three\n\nrejected: four", "s");
    for name in ["prompt", "chosen", "rejected"] {
        rated.metadata.insert(name.into(), json!([{ "role": "user", "content": "one two" }]));
    }
    for document in [&measured, &spoken, &read_back, &rated] {
        writer.write(document).unwrap();
    }
    writer.finish().unwrap();
    let reverse = config(json!([{ "kind": "reverse" }]));
    let summary = augment(&input, &reverse, dir.path(), None, &out, &|_| {}).unwrap();
    assert_eq!(summary.passed, [("conversation".to_string(), 2), ("is_a_copy".to_string(), 1)].into());
    let out: Vec<Document> = read_documents(&out).unwrap().map(Result::unwrap).collect();
    assert_eq!((out.len(), out[0].statistics["word_count"], out[1].statistics.len()), (5, 17.0, 0));
}

#[test]
fn the_files_that_copies_depend_on() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    ["t.tsv", "f.ttf", "pictures/a.png", "pictures/deep/a.txt", "m1/model.safetensors", "other.txt"]
        .into_iter()
        .for_each(write);
    let mut config = config(json!([
        { "kind": "synonyms", "table": "t.tsv" }, { "kind": "render", "font": "f.ttf" },
        { "kind": "insert_images", "from": "pictures" }, { "kind": "rotate" }, { "kind": "back_translate" },
    ]));
    assert!(config.translates() && config.translators(dir.path()).is_none());
    (config.there, config.back) = (Some("m1".into()), Some("m1".into()));
    let files = config.files(dir.path()).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["f.ttf", "m1/model.safetensors", "pictures/a.png", "pictures/deep/a.txt", "t.tsv"]);
    let told = json!({ "model": "m1", "prompt": "English: {text}" });
    config.back = Some(serde_json::from_value(told.clone()).unwrap());
    assert_eq!(config.files(dir.path()).unwrap(), files, "one model for both ways is one file");
    assert_eq!(config.translators(dir.path()).unwrap().1.folder(), dir.path().join("m1"));
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!((&written["there"], &written["back"]), (&json!("m1"), &told));
    config.back = Some("none".into());
    let error = config.files(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("augment.back: there is no ") && error.contains("none"), "{error}");
}

#[test]
fn rotations_keep_what_stands_between() {
    let sentences =
        ["The quick fox ran home.", "It didn't stop!", "Was it \"tired\"?", "Nobody knew.", "The next day came."];
    let rotated = |by: usize| {
        let s = |index: usize| sentences[(index + by) % 5];
        format!("{} {} {} {}\n\n{}", s(0), s(1), s(2), s(3), s(4))
    };
    let made: Vec<String> = (0..30).map(|seed| copies(json!([{ "kind": "rotate" }]), seed).swap_remove(0)).collect();
    for by in 1..5 {
        assert!(made.contains(&rotated(by)), "by {by}: {made:?}");
    }
    assert!(made.iter().all(|text| (1..5).any(|by| *text == rotated(by))));
    let words = run_on(
        &[Document::new("one two, three.", "s"), Document::new("今天的天气", "s")],
        &config(json!([{ "kind": "rotate", "unit": "word" }])),
        1,
        tempfile::tempdir().unwrap().path(),
    )
    .0;
    assert!(["two three, one.", "three one, two."].contains(&words[1].text.as_str()), "{}", words[1].text);
    assert!(["的天气今天", "天气今天的"].contains(&words[3].text.as_str()), "{}", words[3].text);
}

#[test]
fn reversals() {
    let reversed = |unit: &str, text: &str| {
        let config = config(json!([{ "kind": "reverse", "unit": unit }]));
        run_on(&[Document::new(text, "s")], &config, 0, tempfile::tempdir().unwrap().path()).0.swap_remove(1).text
    };
    assert_eq!(reversed("character", "cafe\u{301} 春眠👩\u{200D}🚀"), "👩\u{200D}🚀眠春 e\u{301}fac");
    assert_eq!(reversed("word", "We don't know, do we?"), "we do know, don't We?");
    // 今天 的 天气 ， 很 好: jieba takes 很 and 好 for two words.
    assert_eq!(reversed("word", "今天的天气，很好。"), "好很天气，的今天。");
    assert_eq!(
        reversed("sentence", CHINESE),
        "我们去公园散步。今天的天气很好。\n\n夜来风雨声，花落知多少？春眠不觉晓，处处闻啼鸟。"
    );
}

#[test]
fn easy_edits() {
    let words = |text: &str| danlu_text::Analysis::new(text).words().len();
    for seed in 0..20 {
        for text in copies(json!([{ "kind": "delete", "rate": 0.5 }]), seed) {
            let original = if text.contains(char::is_alphabetic) && text.is_ascii() { ENGLISH } else { CHINESE };
            assert!(words(&text) < words(original) && words(&text) > 0, "{text}");
        }
        for (text, original) in copies(json!([{ "kind": "swap", "rate": 0.3 }]), seed).iter().zip([ENGLISH, CHINESE]) {
            let sorted = |text: &str| {
                let mut chars: Vec<char> = text.chars().collect();
                chars.sort_unstable();
                chars
            };
            assert_eq!(sorted(text), sorted(original));
        }
    }
    let all = copies(json!([{ "kind": "delete", "rate": 1.0 }]), 1);
    assert!(
        all.iter().all(|text| danlu_text::Analysis::new(text).words().len() <= 2),
        "one written word stays: {all:?}"
    );
}

#[test]
fn synonyms_from_a_table() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s.tsv"), "quick\tfast\nthe\tzzz\nhome\thouse\n天气\t气候\n散步\t漫步\n").unwrap();
    let replace = config(json!([{ "kind": "synonyms", "rate": 1.0, "table": "s.tsv" }]));
    let (out, summary) = run_on(&documents(), &replace, 3, dir.path());
    assert_eq!(out[1].text, ENGLISH.replace("quick", "fast").replace("home", "house"));
    assert_eq!(out[3].text, CHINESE.replace("天气", "气候").replace("散步", "漫步"));
    assert_eq!(summary.kinds["synonyms"].skipped, [("no_synonyms".to_string(), 1)].into());
    let insert = config(json!([{ "kind": "insert", "rate": 0.1, "table": "s.tsv" }]));
    let (out, _) = run_on(&documents(), &insert, 3, dir.path());
    let inserted = |text: &str, words: [&str; 2]| words.iter().map(|word| text.matches(word).count()).sum::<usize>();
    assert_eq!(inserted(&out[1].text, ["fast", "house"]), 2);
    assert_eq!(
        inserted(&out[3].text, ["气候", "漫步"]),
        out[3].metadata[AUGMENT_KEY]["words"].as_u64().unwrap() as usize
    );
}

#[test]
fn noise() {
    let (out, summary) = run(json!([{ "kind": "homophones", "rate": 1.0 }]), 5);
    let changed = out[2].text.chars().zip(CHINESE.chars()).filter(|(a, b)| a != b).count();
    assert_eq!(out[2].text.chars().count(), CHINESE.chars().count());
    assert!(changed > 20, "{}", out[2].text);
    assert!(out[2].text.chars().zip(CHINESE.chars()).all(|(a, b)| danlu_text::is_cjk(b) || a == b));
    assert_eq!(summary.kinds["homophones"].skipped, [("no_chinese".to_string(), 2)].into());
    let slips = copies(json!([{ "kind": "keyboard", "rate": 0.1 }]), 5);
    assert_ne!(slips[0], ENGLISH);
    assert!(slips[0].len().abs_diff(ENGLISH.len()) < 20);
}

#[test]
fn what_translates_is_passed_in() {
    let (out, _) = run(json!([{ "kind": "back_translate", "label": "x" }]), 0);
    assert_eq!(
        (out[1].text.as_str(), &out[1].metadata[AUGMENT_KEY]["via"]),
        (&*(ENGLISH.to_uppercase() + "啊"), &json!("x"))
    );
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Document> = (0..30).map(|i| Document::new(format!("text {i}"), "s")).collect();
    run_on(&many, &config(json!([{ "kind": "rotate", "unit": "word" }])), 0, dir.path());
    let back = config(json!([{ "kind": "back_translate" }]));
    let (input, out) = (file(dir.path(), "in"), file(dir.path(), "never"));
    let fail = |_: &str| Err("connection refused".to_string());
    let error = augment(&input, &back, dir.path(), Some(&fail), &out, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("connection refused") && error.contains("30 times"), "{error}");
    assert!(!out.exists());
    let error = augment(&input, &back, dir.path(), None, &out, &|_| {}).unwrap_err();
    assert!(matches!(error, DataError::BadConfig { .. }));
    let some = |text: &str| if text.contains('7') { Err("too hot".to_string()) } else { Ok(text.to_uppercase()) };
    let summary = augment(&input, &back, dir.path(), Some(&some), &out, &|_| {}).unwrap();
    let count = &summary.kinds["back_translate"];
    assert_eq!((count.made, count.skipped["translation_failed"]), (27, 3));
    assert!(count.failure.as_ref().is_some_and(|failure| failure.contains("too hot")));
}

fn images(dir: &Path) {
    for name in ["a.png", "red_fox.jpg", "park.webp"] {
        std::fs::write(dir.join(name), "not looked into").unwrap();
    }
    std::fs::write(dir.join("park.txt"), "公园里的天气\n").unwrap();
    std::fs::write(dir.join("notes.md"), "no image").unwrap();
}

#[test]
fn images_between_paragraphs_by_lot() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path());
    let (out, _) =
        run_on(&documents(), &config(json!([{ "kind": "insert_images", "from": ".", "count": 5 }])), 1, dir.path());
    let copy = &out[1];
    let listed: Vec<&str> = copy.metadata["images"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(copy.text.matches("<image>").count(), 3);
    let captions: Vec<&str> = copy.text.lines().filter_map(|line| line.strip_prefix("<image>")).collect();
    let caption_of = |path: &&str| match *path {
        "./a.png" => "a",
        "./red_fox.jpg" => "red fox",
        "./park.webp" => "公园里的天气",
        other => panic!("{other}"),
    };
    assert_eq!(captions, listed.iter().map(caption_of).collect::<Vec<_>>());
    let without: Vec<&str> = copy.text.split("\n\n").filter(|part| !part.starts_with("<image>")).collect();
    assert_eq!(without.join("\n\n"), ENGLISH);
}

#[test]
fn images_by_the_words_of_their_captions() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path());
    let rows = "image,caption\na.png,A blue whale\nred_fox.jpg,The red fox\npark.webp,天气和公园\n";
    std::fs::write(dir.path().join("t.csv"), rows).unwrap();
    let step = json!([{ "kind": "insert_images", "from": "t.csv", "place": "caption_words", "between": "sentences" }]);
    let (out, summary) = run_on(&documents(), &config(step.clone()), 1, dir.path());
    assert_eq!(out[1].text, ENGLISH.replace("home. ", "home.\n<image>The red fox\n"));
    assert_eq!(out[1].metadata["images"], json!(["red_fox.jpg"]));
    assert_eq!(out[3].text, CHINESE.replace("很好。", "很好。\n<image>天气和公园\n"));
    assert_eq!(summary.kinds["insert_images"].skipped, [("no_image_fits".to_string(), 1)].into());
    std::fs::write(dir.path().join("t.csv"), "image,caption\na.png,A\nnone.png,B\n").unwrap();
    let base = dir.path();
    let fails =
        |step: Value| augment(&file(base, "in"), &config(step), base, None, &file(base, "o"), &|_| {}).unwrap_err();
    assert!(matches!(fails(step), DataError::BadRecord { line: Some(3), .. }));
    std::fs::write(base.join("t.jsonl"), "{\"image\": \"a.png\"}\n").unwrap();
    let error = fails(json!([{ "kind": "insert_images", "from": "t.jsonl" }]));
    assert!(error.to_string().contains("t.jsonl:1") && error.to_string().contains("caption"), "{error}");
    std::fs::create_dir(base.join("empty")).unwrap();
    assert!(matches!(fails(json!([{ "kind": "insert_images", "from": "empty" }])), DataError::BadConfig { .. }));
}

/// A font of our own in which letters are rectangles: A 400 x 700 of 1000 units, 春 900 x 800.
const BLOCKS: &[u8] = include_bytes!("testdata/blocks.ttf");

/// Width, height, and the share of dark pixels.
fn picture(file: &Path) -> (u32, u32, f64) {
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let dark: f64 = pixels.iter().map(|&pixel| 1.0 - f64::from(pixel) / 255.0).sum();
    (info.width, info.height, dark)
}

#[test]
fn rendered_text_is_turned() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("blocks.ttf"), BLOCKS).unwrap();
    let texts = [Document::new("A A b. 春眠", "s"), Document::new("Zebra", "s")];
    let draw = |degrees: f64| {
        let step =
            json!([{ "kind": "render", "font": "blocks.ttf", "size": 100.0, "width": 400, "max_degrees": degrees }]);
        run_on(&texts, &config(step), 2, dir.path())
    };
    let (out, summary) = draw(0.0);
    assert_eq!(out[1].text, "<image>\nA A b. 春眠");
    assert_eq!(summary.kinds["render"].skipped, [("no_glyphs".to_string(), 1)].into());
    let drawn = dir.path().join(out[1].metadata["images"][0].as_str().unwrap());
    // Two lines (A A b. and 春眠) of 110 pixels and margins of 50; areas in pixels of the rectangles.
    let (width, height, dark) = picture(&drawn);
    assert_eq!((width, height), (400, 320));
    let areas = 2.0 * 40.0 * 70.0 + 20.0 * 70.0 + 10.0 * 10.0 + 90.0 * 80.0 + 80.0 * 80.0;
    assert!((dark - areas).abs() < areas * 0.01, "{dark} is not {areas}");
    let (out, _) = draw(30.0);
    let degrees = out[1].metadata[AUGMENT_KEY]["degrees"].as_f64().unwrap();
    let (turned_width, turned_height, turned_dark) = picture(&drawn);
    let radians = degrees.to_radians();
    let expect = 400.0 * radians.cos().abs() + 320.0 * radians.sin().abs();
    assert!(degrees.abs() > 0.1 && degrees.abs() <= 30.0);
    assert!((f64::from(turned_width) - expect).abs() <= 1.0, "{turned_width} {expect}");
    assert!(turned_height > 320 && (turned_dark - areas).abs() < areas * 0.02, "{turned_dark}");
    std::fs::write(dir.path().join("blocks.ttf"), "no font").unwrap();
    let step = config(json!([{ "kind": "render", "font": "blocks.ttf" }]));
    let error = augment(&file(dir.path(), "in"), &step, dir.path(), None, &dir.path().join("o"), &|_| {});
    assert!(error.unwrap_err().to_string().contains("blocks.ttf is not a TrueType"));
}

#[test]
fn shares_languages_and_lots() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Document> = (0..400)
        .map(|i| Document { language: ["en", "zh"][i % 2].into(), ..Document::new(format!("one two three {i}"), "s") })
        .collect();
    let mut config = config(json!([{ "kind": "reverse", "unit": "character" }, { "kind": "reverse", "unit": "word" }]));
    config.share = 0.25;
    config.only_languages = vec!["en".into()];
    config.choose = Choose::One;
    let (out, summary) = run_on(&many, &config, 11, dir.path());
    assert_eq!(summary.passed["language"], 200);
    assert!((30..70).contains(&summary.augmented), "{summary:?}");
    assert_eq!(out.len() as u64, 400 + summary.copies);
    let by_word = out.iter().filter(|document| document.metadata.get(AUGMENT_KEY).is_some_and(|l| l["unit"] == "word"));
    assert!((5..60).contains(&by_word.count()));
    // The same seed gives the same copies wherever a document stands, another seed others.
    let (again, _) = run_on(&many, &config, 11, dir.path());
    assert_eq!(again, out);
    let ids = |documents: &[Document]| {
        let mut ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
        ids.sort();
        ids
    };
    let backwards: Vec<Document> = many.iter().rev().cloned().collect();
    assert_eq!(ids(&run_on(&backwards, &config, 11, dir.path()).0), ids(&out));
    assert_ne!(ids(&run_on(&many, &config, 12, dir.path()).0), ids(&out));
}

#[test]
fn any_number_of_threads_writes_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<Document> = (0..200).map(|i| Document::new(format!("{ENGLISH} {i} {CHINESE}"), "s")).collect();
    let steps = json!([{ "kind": "swap" }, { "kind": "homophones" }, { "kind": "keyboard" }, { "kind": "delete" }]);
    let written = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (_, summary) = pool.install(|| run_on(&many, &config(steps.clone()), 4, dir.path()));
        (std::fs::read(file(dir.path(), "out")).unwrap(), summary)
    };
    assert!(written(1) == written(3));
}

#[test]
fn bad_configurations_name_the_key() {
    let check = |config: Value, key: &str| {
        let error = serde_json::from_value::<AugmentConfig>(config).unwrap().check().unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    };
    check(json!({}), "augment.steps:");
    check(json!({ "share": 1.5, "steps": [{ "kind": "swap" }] }), "augment.share:");
    check(json!({ "copies": 0, "steps": [{ "kind": "swap" }] }), "augment.copies:");
    check(json!({ "there": "a", "steps": [{ "kind": "back_translate" }] }), "augment.back:");
    let told = json!({ "model": "m", "prompt": "Translate into English." });
    check(json!({ "there": told, "back": "a", "steps": [{ "kind": "back_translate" }] }), "augment.there:");
    let unknown = serde_json::from_value::<AugmentConfig>(json!({ "there": { "model": "m", "promt": "x" } }));
    assert!(unknown.unwrap_err().to_string().contains("prompt"));
    check(json!({ "steps": [{ "kind": "swap", "rate": 0.0 }] }), "augment.steps.rate:");
    check(json!({ "steps": [{ "kind": "render", "size": 1.0 }] }), "augment.steps.size:");
    assert!(serde_json::from_value::<Augmentation>(json!({ "kind": "swap", "rte": 0.1 })).is_err());
    let mixed = Augmentation::Synonyms { rate: 0.1, wordnet: None, table: None };
    let error = augment(
        Path::new("none"),
        &AugmentConfig { steps: vec![mixed], ..Default::default() },
        Path::new("."),
        None,
        Path::new("out"),
        &|_| {},
    );
    assert!(error.unwrap_err().to_string().contains("wordnet-base"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_bounded_and_harmless(text in "([a-zA-Z' .!?,<>-]|[春眠不觉晓的了。，！？…“”]|\n|\\PC){0,60}", seed: u64) {
        let steps = json!([
            { "kind": "rotate" }, { "kind": "rotate", "unit": "word" }, { "kind": "reverse", "unit": "character" },
            { "kind": "reverse" }, { "kind": "reverse", "unit": "sentence" }, { "kind": "delete", "rate": 0.4 },
            { "kind": "swap", "rate": 0.4 }, { "kind": "homophones", "rate": 0.4 }, { "kind": "keyboard", "rate": 0.4 },
        ]);
        let (out, summary) = run_on(&[Document::new(text.as_str(), "s")], &config(steps), seed, tempfile::tempdir().unwrap().path());
        prop_assert_eq!(&out[0].text, &text);
        prop_assert_eq!(out.len() as u64, 1 + summary.copies);
        let skipped: u64 = summary.kinds.values().flat_map(|count| count.skipped.values()).sum();
        prop_assert_eq!(summary.copies + skipped, 9);
        for copy in &out[1..] {
            prop_assert!(copy.text.len() <= 2 * text.len() && copy.text != text);
            prop_assert_eq!(&copy.metadata[AUGMENTED_FROM_KEY], &out[0].id);
        }
    }
}
