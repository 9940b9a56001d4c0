//! Cleaning by rules, missing values and outliers: what is kept, why the rest is not, and what is measured.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use common::{CHINESE, ENGLISH, quiet, write_documents};
use danlu_data::{
    CleanConfig, DataError, Dedup, Document, Funnel, Missing, OutlierConfig, OutlierGroup, OutlierMethod, OutlierSide,
    RuleConfig, ShowFilter, Shown, SplitConfig, StatisticsKept, clean, preset_names, preset_text, read_documents, show,
};
use danlu_text::{
    Analysis, ClassifierConfig, Example, FunctionKind, LinearClassifier, NgramConfig, NgramModel, text_functions,
};
use serde_json::json;

const ALL_TRAIN: SplitConfig = SplitConfig { valid: 0.0, test: 0.0 };

fn config(text: &str) -> CleanConfig {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}"))
}

fn run(dir: &Path, documents: &[Document], config: &CleanConfig) -> Result<Funnel, DataError> {
    let collected = write_documents(dir, documents);
    clean(&collected, config, &ALL_TRAIN, &dir.join("clean"), &quiet)
}

fn shown(dir: &Path, split: &str) -> Vec<Shown> {
    show(&dir.join("clean"), &ShowFilter { split: Some(split.into()), ..ShowFilter::default() }).unwrap()
}

fn document(text: impl Into<String>, source: &str) -> Document {
    Document::new(text, source)
}

fn mixed() -> Vec<Document> {
    let english = "Home\nNews\nHome\nNews\nAbout the people of the United States";
    let chinese = "首页\n新闻\n首页\n新闻\n本站版权所有，请勿转载。";
    let mut all = vec![document(ENGLISH, "a"), document(CHINESE, "b"), document(english, "a"), document(chinese, "b")];
    all.push(document("Read more at https://example.org and www.example.com or https://a.org", "a"));
    all[0].metadata.insert("score".into(), json!(0.9));
    all[1].metadata.insert("score".into(), json!(0.1));
    all
}

const RULES: &str = r#"
max_repeated_line_ratio = 1.0
max_symbol_ratio = 1.0

[[rules]]
name = "menu"
drop_if = "dup_line_ratio(text) > 0.3"

[[rules]]
name = "links"
drop_if = "url_count(text) >= 3 AND source = 'a'"

[[rules]]
name = "low_score"
drop_if = "meta_number(metadata, 'score') < 0.5"
"#;

#[test]
fn documents_are_dropped_by_the_rules_of_a_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let funnel = run(dir.path(), &mixed(), &config(RULES)).unwrap();
    let why: Vec<(String, String, String)> = shown(dir.path(), "dropped")
        .into_iter()
        .map(|s| (s.document.source, s.reason.unwrap(), s.detail.unwrap()))
        .collect();
    let expect = [
        ("a", "menu", "dup_line_ratio(text) > 0.3: dup_line_ratio = 0.4"),
        ("b", "menu", "dup_line_ratio(text) > 0.3: dup_line_ratio = 0.4"),
        ("a", "links", "url_count(text) >= 3 AND source = 'a': source = \"a\", url_count = 3"),
        ("b", "low_score", "meta_number(metadata, 'score') < 0.5"),
    ];
    let mut expect = expect.map(|(source, reason, detail)| (source.to_owned(), reason.to_owned(), detail.to_owned()));
    let mut why = why;
    why.sort();
    expect.sort();
    assert_eq!(why, expect);
    let kept = shown(dir.path(), "train");
    assert_eq!(kept.len(), 1);
    let step = |name: &str| funnel.steps.iter().find(|step| step.step == name).unwrap();
    assert_eq!((step("menu").entered.documents, step("menu").kept.documents), (5, 3));
    assert_eq!((step("links").entered.documents, step("links").kept.documents), (3, 2));
    assert_eq!((step("low_score").entered.documents, step("low_score").kept.documents), (2, 1));
    assert_eq!(funnel.reasons()["menu"].documents, 2);
    let mut entered = funnel.collected.documents;
    for step in &funnel.steps {
        let dropped: u64 = step.dropped.iter().map(|row| row.count.documents).sum();
        assert_eq!((step.entered.documents, step.kept.documents), (entered, entered - dropped), "{}", step.step);
        entered = step.kept.documents;
    }
}

#[test]
fn statistics_are_kept_with_the_documents() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &mixed(), &config(RULES)).unwrap();
    let kept = shown(dir.path(), "train").remove(0).document;
    assert_eq!(Vec::from_iter(kept.statistics), [("dup_line_ratio".to_owned(), 0.0), ("url_count".to_owned(), 0.0)]);
    let dropped = shown(dir.path(), "dropped");
    let menu = &dropped.iter().find(|shown| shown.reason.as_deref() == Some("menu")).unwrap().document;
    assert_eq!(
        Vec::from_iter(menu.statistics.clone()),
        [("dup_line_ratio".to_owned(), 0.4)],
        "the rest was not needed"
    );
    let all = CleanConfig { statistics: StatisticsKept::All, ..config(RULES) };
    run(dir.path(), &mixed(), &all).unwrap();
    for shown in shown(dir.path(), "dropped") {
        assert_eq!(shown.document.statistics.len(), 2, "{shown:?}");
    }
}

/// Every function of a text as a statistic: what the table holds is what the function says.
#[test]
fn the_tables_statistics_are_what_the_functions_say() {
    let dir = tempfile::tempdir().unwrap();
    let numbers: Vec<_> = text_functions().iter().filter(|f| !matches!(f.kind, FunctionKind::Text(_))).collect();
    let mut all = config("max_repeated_line_ratio = 1.0");
    all.rules = numbers
        .iter()
        .map(|f| {
            let call = match f.kind {
                FunctionKind::NumberWith { .. } => format!("{}(text, 2)", f.name),
                _ => format!("{}(text)", f.name),
            };
            RuleConfig { name: f.name.into(), drop_if: format!("{call} < -1") }
        })
        .collect();
    run(dir.path(), &mixed(), &all).unwrap();
    let kept = shown(dir.path(), "train");
    assert_eq!(kept.len(), 5);
    for document in kept.into_iter().map(|shown| shown.document) {
        let analysis = Analysis::new(&document.text);
        for function in &numbers {
            let (column, direct) = match function.kind {
                FunctionKind::Number(call) => (function.name.to_owned(), call(&analysis)),
                FunctionKind::NumberWith { call, .. } => (format!("{}_2", function.name), call(&analysis, 2.0)),
                FunctionKind::Text(_) => continue,
            };
            assert_eq!(document.statistics.get(&column), Some(&direct), "{column}");
        }
    }
}

#[test]
fn presets_are_rules_that_compile() {
    for name in preset_names() {
        let text = preset_text(name).unwrap();
        assert!(text.contains("[[rules]]"), "{name}");
        let config = CleanConfig { preset: vec![name.into()], ..CleanConfig::default() };
        config.check().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let all = CleanConfig { preset: preset_names().map(String::from).collect(), ..CleanConfig::default() };
    all.check().unwrap();
}

/// The words of the recipe's list count, and those that ship do not.
#[test]
fn a_list_of_the_recipe_takes_the_place_of_the_one_that_ships() {
    let dir = tempfile::tempdir().unwrap();
    let rule = "[[rules]]\nname = \"toxic\"\ndrop_if = \"toxicity_words(text) > 0\"\n";
    let documents = [
        document("What the fuck, said the bargee.", "shipped"),
        document("The Gobbledygook of lawyers is endless.", "own"),
        document("他说这是胡言乱语，没有人相信。", "own"),
        document("A gobbledygookish tongue is something else.", "neither"),
    ];
    let dropped = |recipe: &CleanConfig| -> Vec<(String, f64)> {
        run(dir.path(), &documents, recipe).unwrap();
        let dropped = shown(dir.path(), "dropped").into_iter().map(|shown| shown.document);
        dropped.map(|document| (document.source, document.statistics["toxicity_words"])).collect()
    };
    assert_eq!(dropped(&config(rule)), [("shipped".to_owned(), 1.0)]);
    std::fs::write(dir.path().join("words.txt"), "# mine\ngobbledygook\n胡言乱语\n").unwrap();
    let recipe = config(&format!("{rule}[models]\ntoxicity = \"words.txt\"\n")).relative_to(dir.path());
    assert_eq!(dropped(&recipe), [("own".to_owned(), 1.0), ("own".to_owned(), 1.0)]);
    assert_eq!(recipe.files(Path::new("")), [dir.path().join("words.txt")]);
    std::fs::write(dir.path().join("words.txt"), "# nothing\n\n").unwrap();
    let error = run(dir.path(), &documents, &recipe).unwrap_err();
    assert!(error.to_string().starts_with("clean.models.toxicity: there is no word in"), "{error}");
    std::fs::remove_file(dir.path().join("words.txt")).unwrap();
    let error = run(dir.path(), &documents, &recipe).unwrap_err();
    assert!(error.to_string().contains("words.txt"), "{error}");
}

/// Models trained on a text find it likely, and of its kind.
#[test]
fn models_of_the_recipe_score_texts() {
    let dir = tempfile::tempdir().unwrap();
    let (perplexity, quality) = (dir.path().join("ngram.bin"), dir.path().join("quality.bin"));
    NgramModel::train([ENGLISH], &NgramConfig::default()).unwrap().save(&perplexity).unwrap();
    let examples = |text, label| Example { text, label };
    let examples = [examples(ENGLISH, "good"), examples("buy now click here cheap pills casino", "bad")].repeat(20);
    LinearClassifier::train(&examples, "good", &ClassifierConfig::default()).unwrap().save(&quality).unwrap();
    let recipe = config(
        "[models]\nperplexity = \"ngram.bin\"\nquality = \"quality.bin\"\n\
         [[rules]]\nname = \"low_quality\"\ndrop_if = \"quality(text) < 0.5\"\n\
         [[rules]]\nname = \"unlikely\"\ndrop_if = \"perplexity(text) < 0\"\n",
    );
    let recipe = recipe.relative_to(dir.path());
    let spam = "buy now click here cheap pills casino buy now";
    let funnel = run(dir.path(), &[document(ENGLISH, "a"), document(spam, "a")], &recipe).unwrap();
    assert_eq!((funnel.kept.documents, funnel.reasons()["low_quality"].documents), (1, 1));
    let kept = shown(dir.path(), "train").remove(0).document;
    let (model, classifier) = (NgramModel::load(&perplexity).unwrap(), LinearClassifier::load(&quality).unwrap());
    let analysis = Analysis::new(&kept.text);
    assert_eq!(kept.statistics["perplexity"], model.perplexity(&analysis));
    assert_eq!(kept.statistics["quality"], classifier.score(&analysis));
    std::fs::remove_file(&quality).unwrap();
    let error = run(dir.path(), &mixed(), &recipe).unwrap_err();
    assert!(error.to_string().contains("quality.bin"), "{error}");
}

#[test]
fn missing_values_follow_the_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let mut documents = mixed();
    documents[2].language = "en".into();
    let recipe = config(
        "max_repeated_line_ratio = 1.0\n[missing]\nlanguage = { fill = \"xx\" }\nscore = \"drop\"\nlicense = { fill = \"cc0\" }",
    );
    let funnel = run(dir.path(), &documents, &recipe).unwrap();
    assert_eq!(funnel.reasons()["missing_score"].documents, 3);
    for document in shown(dir.path(), "train").into_iter().map(|shown| shown.document) {
        assert_eq!((document.language.as_str(), &document.metadata["license"]), ("xx", &json!("cc0")));
    }
    let inferred = run(dir.path(), &documents, &config("[missing]\nlanguage = \"infer\"")).unwrap();
    assert!(inferred.by_language().contains_key("zh"));
    let dropped =
        run(dir.path(), &documents, &config("max_repeated_line_ratio = 1.0\n[missing]\nlanguage = \"drop\"")).unwrap();
    assert_eq!((dropped.kept.documents, dropped.reasons()["missing_language"].documents), (1, 4));
}

/// Twenty-one texts of 10 to 30 words in each language and one of 300.
fn lengths() -> Vec<Document> {
    let mut documents = Vec::new();
    for i in (10..=30).chain([300]) {
        let mut english = document(format!("{} and number {i} it is", "the people ".repeat(i / 2)), "a");
        english.language = "en".into();
        let mut chinese = document(format!("{}第{i}首", "春眠不覺曉".repeat(i)), "b");
        chinese.language = "zh".into();
        documents.extend([english, chinese]);
    }
    documents
}

#[test]
fn outliers_are_dropped_by_thresholds_of_their_language() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = config("max_repeated_line_ratio = 1.0");
    recipe.outliers = vec![OutlierConfig {
        statistic: "char_count(text)".into(),
        method: OutlierMethod::Mad,
        factor: None,
        side: OutlierSide::High,
        by: Some(OutlierGroup::Language),
    }];
    let funnel = run(dir.path(), &lengths(), &recipe).unwrap();
    assert_eq!((funnel.kept.documents, funnel.reasons()["outlier_char_count"].documents), (42, 2));
    let groups: Vec<(&str, u64, u64)> =
        funnel.outliers.iter().map(|t| (t.group.as_str(), t.documents, t.dropped)).collect();
    assert_eq!(groups, [("en", 22, 1), ("zh", 22, 1)]);
    // 5 characters a repetition and 4 more: 54 to 154, and 1505. The median of 22 values lies between 104 and 109.
    let chinese = &funnel.outliers[1];
    assert_eq!((chinese.quantiles[0], chinese.center, chinese.quantiles[4]), (54.0, 106.5, 1505.0));
    assert!(chinese.low.is_none() && (154.0..1505.0).contains(&chinese.high.unwrap()), "{chinese:?}");
    for shown in shown(dir.path(), "dropped") {
        assert_eq!(shown.step.as_deref(), Some("outliers"));
        let detail = shown.detail.unwrap();
        assert!(detail.starts_with("char_count = ") && detail.contains(", above "), "{detail}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path().join("clean")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "work files were left: {left:?}");
    recipe.outliers[0].by = None;
    let together = run(dir.path(), &lengths(), &recipe).unwrap();
    assert_eq!(together.outliers.len(), 1);
    assert_eq!((together.outliers[0].group.as_str(), together.outliers[0].documents), ("", 44));
}

/// Of two texts that differ in one word the first stays, and the statistics of what stays are there.
#[test]
fn near_duplicates_go_in_a_pass_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let changed = ENGLISH.replace("lawless", "unruly");
    let documents = [
        document(ENGLISH, "a"),
        document(CHINESE, "a"),
        document(changed, "b"),
        document(CHINESE, "b"),
        document(ENGLISH, "b"),
    ];
    let rule = "[[rules]]\nname = \"short\"\ndrop_if = \"char_count(text) < 5\"\n";
    let recipe = config(&format!("{rule}[dedup]\n[dedup.near]\nthreshold = 0.5\nrows = 2\nbands = 50\n"));
    let funnel = run(dir.path(), &documents, &recipe).unwrap();
    let reasons: Vec<(String, u64)> =
        funnel.reasons().into_iter().map(|(reason, count)| (reason, count.documents)).collect();
    assert_eq!(reasons, [("duplicate".to_owned(), 2), ("near_duplicate".to_owned(), 1)]);
    assert_eq!(funnel.duplicates.unwrap().documents, 5);
    let kept: Vec<(String, f64)> = shown(dir.path(), "train")
        .into_iter()
        .map(|s| (s.document.source, s.document.statistics["char_count"]))
        .collect();
    let chars = |text: &str| text.chars().count() as f64;
    assert_eq!(kept, [("a".to_owned(), chars(ENGLISH)), ("a".to_owned(), chars(CHINESE))]);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("clean")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "work files were left: {left:?}");
}

/// Paragraphs that occurred before are cut, and what was measured is measured anew.
#[test]
fn statistics_follow_a_text_that_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let own = "Nothing of this paragraph was ever said before.";
    let documents = [document(format!("{ENGLISH}\n\n{CHINESE}"), "a"), document(format!("{ENGLISH}\n\n{own}"), "a")];
    let rule = "[[rules]]\nname = \"short\"\ndrop_if = \"char_count(text) < 5\"\n";
    let recipe = config(&format!("{rule}[dedup.paragraphs]\nmin_chars = 20\n"));
    let funnel = run(dir.path(), &documents, &recipe).unwrap();
    let last = funnel.steps.last().unwrap();
    assert_eq!((last.step.as_str(), last.changed, funnel.kept.documents), ("duplicates", 1, 2));
    let kept = shown(dir.path(), "train").remove(1).document;
    assert_eq!(kept.text, own);
    assert_eq!(kept.statistics["char_count"], own.chars().count() as f64);
}

#[test]
fn evaluation_sets_are_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let line = |text: &str| json!({ "text": text }).to_string() + "\n";
    std::fs::write(dir.path().join("test.jsonl"), line(ENGLISH) + &line(CHINESE)).unwrap();
    let documents = [
        document(format!("A quotation. {ENGLISH}"), "a"),
        document(format!("引文：{CHINESE}"), "b"),
        document("Something else altogether, of which no test has ever heard a word.", "a"),
    ];
    let set = "[[decontaminate.sets]]\nname = \"exam\"\npath = \"test.jsonl\"\n";
    let recipe = config(set).relative_to(dir.path());
    assert!(recipe.files(Path::new("")).is_empty());
    let states = recipe.set_states(Path::new("")).unwrap();
    assert_eq!(states[0].keys().collect::<Vec<_>>(), ["test.jsonl"]);
    let funnel = run(dir.path(), &documents, &recipe).unwrap();
    assert_eq!((funnel.kept.documents, funnel.reasons()["contaminated"].documents), (1, 2));
    let list: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("clean/contamination.json")).unwrap()).unwrap();
    assert_eq!((&list["contaminated"], list["hits"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(list["hits"][0]["item"], "exam test.jsonl:1");
    // Each of several paths starts from the recipe, as those of a source do.
    let several = config("[[decontaminate.sets]]\nname = \"exam\"\npaths = [\"test.jsonl\"]\n").relative_to(dir.path());
    assert_eq!(run(dir.path(), &documents, &several).unwrap().reasons()["contaminated"].documents, 2);
    let database = rusqlite::Connection::open(dir.path().join("exam.db")).unwrap();
    database.execute("CREATE TABLE exam (text TEXT)", []).unwrap();
    database.execute("INSERT INTO exam VALUES (?)", rusqlite::params![ENGLISH]).unwrap();
    drop(database);
    let table =
        "[[decontaminate.sets]]\nname = \"exam\"\npath = \"sqlite:exam.db\"\nquery = \"SELECT text FROM exam\"\n";
    let table = config(table).relative_to(dir.path());
    assert_eq!(run(dir.path(), &documents, &table).unwrap().reasons()["contaminated"].documents, 1);
    let missing = config("[[decontaminate.sets]]\nname = \"exam\"\npath = \"nowhere.jsonl\"\n");
    assert!(matches!(run(dir.path(), &documents, &missing), Err(DataError::NoFiles { .. })));
}

/// The address of a page with this body. Its server ends with the tests.
fn page(body: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let (head, length) = ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:", body.len());
            let _ = write!(&stream, "{head} {length}\r\n\r\n{body}"); // whoever asked may have gone
        }
    });
    format!("http://{address}/exam.jsonl")
}

/// A set on the web is fetched from its address, and kept in the recipe's folder where the recipe says so.
#[test]
fn an_evaluation_set_may_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let url = page(json!({ "text": ENGLISH }).to_string() + "\n");
    let set = format!(
        "[[decontaminate.sets]]\nname = \"exam\"\npath = \"{url}\"\n\
         [decontaminate.sets.http]\nrobots = false\ncache = \"web\"\n"
    );
    let recipe = config(&set).relative_to(dir.path());
    let documents =
        [document(format!("A quotation. {ENGLISH}"), "a"), document("Quite another text than that one.", "a")];
    let funnel = run(dir.path(), &documents, &recipe).unwrap();
    assert_eq!((funnel.kept.documents, funnel.reasons()["contaminated"].documents), (1, 1));
    assert!(dir.path().join("web").is_dir());
}

#[test]
fn the_same_documents_give_the_same_files_on_any_number_of_threads() {
    let text = format!(
        "{RULES}\n[[outliers]]\nstatistic = \"mean_word_length(text)\"\nmethod = \"zscore\"\nfactor = 1.0\nby = \"source\"\n"
    );
    let recipe = config(&text);
    let mut documents = lengths();
    documents.extend(mixed());
    documents.extend((0..3000).map(|i| document(format!("{ENGLISH} {i} {}", "x".repeat(i % 97)), "c")));
    let contents = |threads: usize| -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(dir.path(), &documents, &recipe)).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(dir.path().join("clean")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    };
    let one = contents(1);
    assert_eq!(one.len(), 5);
    assert!(one == contents(2) && one == contents(3));
}

#[test]
fn wrong_configurations_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let rule = |drop_if: &str| CleanConfig {
        rules: vec![RuleConfig { name: "r".into(), drop_if: drop_if.into() }],
        ..CleanConfig::default()
    };
    let missing = |field: &str, policy: Missing| CleanConfig {
        missing: [(field.to_owned(), policy)].into(),
        ..CleanConfig::default()
    };
    let outlier = |statistic: &str, factor: f64| CleanConfig {
        outliers: vec![OutlierConfig {
            statistic: statistic.into(),
            method: OutlierMethod::Iqr,
            factor: Some(factor),
            side: OutlierSide::Both,
            by: None,
        }],
        ..CleanConfig::default()
    };
    for (config, says) in [
        (
            rule("dup_line_rato(text) > 1"),
            "clean.rules: rule \"r\": drop_if, character 1: there is no function \"dup_line_rato\"",
        ),
        (rule("quality(text) < 0.5"), "quality(text) needs a model"),
        (rule(""), "\"r\" is empty"),
        (
            CleanConfig { preset: vec!["gophre".into()], ..CleanConfig::default() },
            "clean.preset: \"gophre\" is none of",
        ),
        (missing("score", Missing::Infer), "score cannot be inferred"),
        (missing("text", Missing::Drop), "text is never missing"),
        (missing("language", Missing::Fill(json!(3))), "language is filled with a code"),
        (outlier("char_count(text)", -1.0), "factor of char_count(text) must be above 0"),
        (outlier("char_count(text) > 3", 1.0), "not a number measured of a text"),
    ] {
        let error = run(dir.path(), &mixed(), &config).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!dir.path().join("clean").exists(), "something was written before the configuration was checked");
    }
    for (text, says) in [
        ("dedup = 3", "true, false or a table"),
        ("[dedup]\nexcat = true", "unknown field `excat`"),
        ("dedup = true\nmin_char = 3", "unknown field `min_char`"),
    ] {
        let error = toml::from_str::<CleanConfig>(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(config("dedup = false").dedup, Dedup::Exact(false));
    let usual = config("[dedup]\nnear = true\nlines = true\nsimhash = false\nsubstring = true\n");
    assert_eq!(usual, config("[dedup.near]\n[dedup.lines]\n[dedup.substring]\n"));
    let json = serde_json::to_string(&usual).unwrap();
    assert_eq!(serde_json::from_str::<CleanConfig>(&json).unwrap(), usual);
    let number = toml::from_str::<CleanConfig>("[dedup]\nnear = 0.8").unwrap_err();
    assert!(number.to_string().contains("true, false or a table"), "{number}");
    let unknown = toml::from_str::<CleanConfig>("[dedup.near]\ntreshold = 0.8").unwrap_err();
    assert!(unknown.to_string().contains("threshold"), "{unknown}");
    let unknown = toml::from_str::<CleanConfig>("[[rules]]\nname = \"a\"\ndropif = \"x\"").unwrap_err();
    assert!(unknown.to_string().contains("dropif"), "{unknown}");
}

#[test]
fn a_configuration_is_read_back_as_it_was_written() {
    let text = format!(
        "{RULES}\n[models]\nquality = \"q.bin\"\n[missing]\nlanguage = \"infer\"\na = {{ fill = 3 }}\n[[outliers]]\nstatistic = \"word_count(text)\"\n"
    );
    let config = config(&text);
    assert_eq!(toml::from_str::<CleanConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<CleanConfig>(&json).unwrap(), config);
    assert_eq!(config.files(Path::new("/r")), [Path::new("/r/q.bin")]);
    let search =
        self::config("[dedup]\nagainst = [\"old.danlu\"]\n[dedup.substring]\ntokenizer = \"t/tokenizer.json\"\n");
    let files = ["/r/old.danlu", "/r/t/tokenizer.json"].map(Path::new);
    assert_eq!(search.files(Path::new("/r")), files);
}

#[test]
fn leftovers_of_a_killed_process_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("clean/clean.work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("pass-0.parquet"), "half of a table").unwrap();
    run(dir.path(), &mixed(), &config(RULES)).unwrap();
    assert!(!work.exists());
    assert!(read_documents(&dir.path().join("clean/train.parquet")).unwrap().all(|d| d.is_ok()));
}
