//! `danlu data`: what it prints of functions and presets, and `report`, `watch`, `show`, `trace` and `forget` on a run's
//! documents.

use crate::harness::Place;
use crate::threads;

fn cleaned() -> Place {
    let place = Place::new();
    for stage in ["collect", "clean", "tokenizer"] {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
    place
}

#[test]
fn a_report_is_a_page_json_and_a_snapshot() {
    let place = cleaned();
    let told = place.ok(&["data", "report", "tiny.toml", "--out", "page.html", "--snapshot", "s.json"]);
    assert!(
        told.contains("source tang-poems") && told.contains("language zh") && told.contains("char_count"),
        "{told}"
    );
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("tang-poems") && page.contains("数据卡") && page.contains("danlu data report tiny.toml"));
    let report = place.json(&["data", "report", "tiny.toml", "--against", "s.json", "--json"]);
    assert_eq!(report["drift"]["violations"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["funnel"]["kept"]["documents"], report["snapshot"]["total"]["documents"]);
    assert!(report["card"]["sources"][0]["hashes"].as_object().is_some_and(|hashes| !hashes.is_empty()));
    assert!(page.contains("Documents of tang-poems without a known license"));
}

/// A licence is stated in the report without anything being made again.
#[test]
fn a_license_of_the_recipe_is_in_the_report_at_once() {
    let place = cleaned();
    place.write_recipe(|text| text.replace("limit = 600", "limit = 600\nlicense = \"MIT\""));
    let report = place.json(&["data", "report", "tiny.toml", "--json"]);
    assert_eq!(report["card"]["sources"][1]["license"], "MIT");
    let poems = report["card"]["licenses"].as_array().unwrap().iter().find(|card| card["source"] == "tang-poems");
    assert_eq!((&poems.unwrap()["license"], &poems.unwrap()["stated_by"]), (&"MIT".into(), &"recipe".into()));
}

#[test]
fn a_delivery_that_drifts_fails_with_reasons() {
    let place = cleaned();
    place.ok(&["data", "report", "tiny.toml", "--snapshot", "accepted.json"]);
    place.ok(&["data", "watch", "tiny.toml", "--accepted", "accepted.json"]);
    std::fs::write(place.path("new.jsonl"), "{\"text\": \"Quite another text, and only one.\"}\n".repeat(80)).unwrap();
    let watch = ["data", "watch", "new.jsonl", "--accepted", "accepted.json"];
    let output = place.danlu(&watch);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    // A file is a source that is known by its name only where somebody named it.
    assert!(told.contains("texts that repeat") && told.contains("not judged: sources"), "{told}");
    assert!(!told.contains("source new"), "{told}");
    let output = place.danlu(&[&watch[..], &["--source", "new"]].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("- source new is new") && told.contains("- source tang-poems has vanished"), "{told}");
    place.fails(1, &[&watch[..], &["--json"]].concat());
    std::fs::write(place.path("limits.toml"), "[watch]\npsy = 1\n").unwrap();
    assert!(place.fails(2, &[&watch[..], &["--thresholds", "limits.toml"]].concat()).contains("psy"));
    place.fails(2, &["data", "watch", "new.jsonl"]);
    // 1 says that the data has drifted, and nothing else.
    place.fails(2, &["data", "watch", "nowhere.jsonl", "--accepted", "accepted.json"]);
    place.fails(2, &["data", "watch", "new.jsonl", "--accepted", "nowhere.json"]);
    place.fails(2, &["data", "watch", "new.jsonl", "--accepted", "no-such-run"]);
}

/// A recipe over files of 600 letters, of which cleaning drops two of three; `broken` records of the last cannot be read.
fn letters(place: &Place, name: &str, broken: usize) {
    let text = |i: usize| match i % 3 {
        0 => format!("Dear Anna, letter {i} of many came on the {} of May and told of rain.", 1 + i % 28),
        1 => format!("{i}"),
        _ => format!("{i} ###### ****** ====== ------ ~~~~~~ ++++++ ////// ||||||"),
    };
    let lines: String = (0..600).map(|i| serde_json::json!({ "text": text(i) }).to_string() + "\n").collect();
    std::fs::write(place.path(&format!("{name}.jsonl")), lines + &"{broken\n".repeat(broken)).unwrap();
    let recipe = format!(
        "name = \"{name}\"\n[[data.sources]]\nname = \"letters\"\npath = \"{name}.jsonl\"\nlanguage = \"en\"\n\
         [split]\nvalid = 0.1\ntest = 0.1\n"
    );
    std::fs::write(place.path(&format!("{name}.toml")), recipe).unwrap();
    for stage in ["collect", "clean"] {
        place.ok(&["run", &format!("{name}.toml"), "--only", stage]);
    }
}

/// The files that a run was made of have not drifted from it, whatever cleaning did and whatever they are called.
#[test]
fn files_are_compared_with_what_a_run_collected() {
    let place = Place::new();
    letters(&place, "may", 0);
    std::fs::copy(place.path("may.jsonl"), place.path("june.jsonl")).unwrap();
    let told = place.ok(&["data", "watch", "june.jsonl", "--accepted", "may.toml"]);
    assert!(told.contains("600 documents against 600 accepted"), "{told}");
    let told = place.ok(&["data", "watch", "may.toml", "--accepted", "june.jsonl"]);
    assert!(told.contains("600 documents against 600 accepted"), "{told}");
    // A report is about what was kept, and compares what was collected.
    let report = place.json(&["data", "report", "may.toml", "--against", "june.jsonl", "--json"]);
    assert_eq!(report["drift"]["violations"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["snapshot"]["total"]["documents"], report["funnel"]["kept"]["documents"]);
    assert_eq!(report["drift"]["delivered"]["documents"], 600);
    let kept = report["funnel"]["kept"]["documents"].as_u64().unwrap();
    assert!(kept < 300, "{kept} documents are kept: cleaning does nothing here, and any comparison would do");
    // What is longer throughout has drifted, and only that is told.
    let long =
        std::fs::read_to_string(place.path("may.jsonl")).unwrap().replace("\"}", " And so on, and so on, for long.\"}");
    std::fs::write(place.path("july.jsonl"), long).unwrap();
    let output = place.danlu(&["data", "watch", "july.jsonl", "--accepted", "may.toml"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("char_count of all moved") && !told.contains("source july"), "{told}");
}

/// Cleaning that kept nothing, or too little for all splits, can be looked at, and the error says what to do.
#[test]
fn a_cleaning_that_failed_can_be_looked_at() {
    let place = Place::new();
    let lines: String = (0..12)
        .map(|i| {
            format!(
                "{{\"text\": \"Letter {i} came on a rainy day of May, and told of rain.\"}}\n{{\"text\": \"{i}\"}}\n"
            )
        })
        .collect();
    std::fs::write(place.path("letters.jsonl"), lines).unwrap();
    let recipe = |tail: &str| {
        let text = "name = \"few\"\n[[data.sources]]\nname = \"letters\"\npath = \"letters.jsonl\"\n";
        std::fs::write(place.path("few.toml"), format!("{text}{tail}")).unwrap();
    };
    recipe("[clean]\nmin_chars = 1000\n");
    place.ok(&["run", "few.toml", "--only", "collect"]);
    let told = place.fails(1, &["run", "few.toml", "--only", "clean"]);
    assert!(told.contains("all 24 documents were dropped (too_short 24)") && told.contains("--reason any"), "{told}");
    let told = place.ok(&["data", "show", "few.toml", "--reason", "any"]);
    assert!(told.contains("dropped by length: too_short") && told.contains("Letter 0 came"), "{told}");
    let report = place.json(&["data", "report", "few.toml", "--json"]);
    assert_eq!(
        (&report["funnel"]["kept"]["documents"], report["dropped"][0]["reason"].as_str()),
        (&0.into(), Some("too_short"))
    );
    let told = place.ok(&["data", "sql", "few.toml", "SELECT count(*) AS n FROM dropped"]);
    assert!(told.contains("24"), "{told}");

    recipe("[split]\nvalid = 1e-9\ntest = 1e-9\n");
    let told = place.fails(1, &["run", "few.toml", "--only", "clean"]);
    assert!(told.contains("split is empty: none of 12 kept documents"), "{told}");
    assert!(place.ok(&["data", "show", "few.toml", "--split", "train"]).contains("came on a rainy day"));
    let report = place.json(&["data", "report", "few.toml", "--json"]);
    assert_eq!(report["snapshot"]["total"]["documents"], 12);
    // The shares that the hint names do.
    let shares = told.split_once("`[split] ").unwrap().1.split_once('`').unwrap().0;
    recipe(&format!("[split]\n{}\n", shares.replace(", ", "\n")));
    place.ok(&["run", "few.toml", "--only", "clean"]);
}

/// JSON is documents unless it is a snapshot, and a recipe names its newest run.
#[test]
fn what_is_named_is_found() {
    let place = Place::new();
    std::fs::write(place.path("list.json"), "[{\"text\": \"The first of two.\"}, {\"text\": \"The second of two.\"}]")
        .unwrap();
    let told = place.json(&["data", "report", "list.json", "--json"]);
    assert_eq!(told["snapshot"]["total"]["documents"], 2);
    assert!(place.fails(2, &["show", "tiny.toml"]).contains("no run of tiny.toml yet"));
    place.ok(&["run", "tiny.toml", "--only", "collect"]);
    assert_eq!(place.json(&["show", "tiny.toml", "--json"])["id"], place.json(&["show", "latest", "--json"])["id"]);
}

/// Of a source with many broken records a few are told, once, and then how many there were.
#[test]
fn broken_records_are_told_once_and_not_all() {
    let place = Place::new();
    let recipe = "name = \"broken\"\n[[data.sources]]\nname = \"letters\"\npath = \"letters.jsonl\"\n";
    std::fs::write(place.path("broken.toml"), recipe).unwrap();
    std::fs::write(
        place.path("letters.jsonl"),
        "{\"text\": \"Only this one.\"}\n".to_owned() + &"{broken\n".repeat(40),
    )
    .unwrap();
    for args in [&["run", "broken.toml", "--only", "collect"][..], &["data", "report", "letters.jsonl"]] {
        let told = crate::harness::stderr(&place.danlu(args));
        assert_eq!(told.matches("letters.jsonl:2:").count(), 1, "{told}");
        assert_eq!(told.matches("letters.jsonl:").count(), 5, "{told}");
        assert!(told.contains("40 records in all"), "{told}");
    }
}

#[test]
fn records_that_a_run_could_not_read_are_judged() {
    let place = Place::new();
    letters(&place, "may", 0);
    letters(&place, "june", 300);
    let output = place.danlu(&["data", "watch", "june.toml", "--accepted", "may.toml"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let reasons: Vec<&str> = told.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(matches!(reasons[..], [one] if one.contains("cannot be read: from 0.0% to 33.3%")), "{told}");
    place.ok(&["data", "watch", "may.toml", "--accepted", "june.toml"]);
}

#[test]
fn a_document_is_traced_and_forgotten() {
    let place = cleaned();
    let shown: serde_json::Value =
        serde_json::from_str(place.ok(&["data", "show", "tiny.toml", "--limit", "1", "--json"]).trim()).unwrap();
    let id = shown["id"].as_str().unwrap();
    let told = place.ok(&["data", "trace", "tiny.toml", &id[..12]]);
    assert!(told.contains("kept        in train") && told.contains("train.tokens: document 0"), "{told}");
    let plan = place.ok(&["data", "forget", "tiny.toml", "--id", id, "--dry-run"]);
    assert!(plan.contains("would forget") && place.ok(&["data", "trace", "tiny.toml", id]).contains("kept"), "{plan}");
    let told = place.ok(&["data", "forget", "tiny.toml", "--id", id, "--reason", "their wish"]);
    assert!(told.contains("removed     1 documents"), "{told}");
    let traced = place.ok(&["data", "trace", "tiny.toml", id]);
    assert!(traced.contains("forgotten") && traced.contains("their wish"), "{traced}");
    place.ok(&["data", "report", "tiny.toml"]); // reads what collecting counted, too
    assert!(place.fails(2, &["data", "forget", "tiny.toml"]).contains("--id or --where"));
    assert!(place.fails(2, &["data", "forget", "tiny.toml", "--where", "sauce=x"]).contains("source=NAME"));
    let again = place.json(&["run", "tiny.toml", "--only", "collect", "--json"]);
    assert!(again.is_object());
    assert!(place.ok(&["data", "show", "tiny.toml", "--split", "train", "--limit", "1"]).contains("---"));
}

#[test]
fn presets_are_printed_as_files_of_rules() {
    let place = Place::new();
    let names = place.ok(&["data", "preset"]);
    assert_eq!(names.lines().collect::<Vec<_>>(), ["gopher", "c4", "fineweb", "chinese-web"]);
    for name in names.lines() {
        let text = place.ok(&["data", "preset", name]);
        let rules = text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{name}: {e}"));
        let rules = rules["rules"].as_array().unwrap();
        assert!(rules.len() > 2 && rules.iter().all(|rule| rule["drop_if"].is_str()), "{name}: {rules:?}");
        assert!(text.starts_with("# ") && text.contains("arXiv"), "{name} says where it is from");
        // What is printed can be put into a recipe as rules of one's own.
        let own = text.replace("[[rules]]", "[[clean.rules]]");
        place.write_recipe(|recipe| recipe.replace("[split]", &format!("{own}\n[split]")));
        place.ok(&["run", "tiny.toml", "--dry-run"]);
    }
    let error = place.fails(2, &["data", "preset", "gofer"]);
    assert!(error.contains("gofer") && error.contains("gopher, c4, fineweb, chinese-web"), "{error}");
}

#[test]
fn every_function_that_is_listed_can_be_asked() {
    let place = cleaned();
    let told = place.ok(&["data", "functions"]);
    for said in [
        "dup_ngram_ratio(text, n)\n    ",
        "char_count(text)\n    Length in characters",
        "perplexity(text), quality(text)",
    ] {
        assert!(told.contains(said), "{said}");
    }
    let listed: Vec<serde_json::Value> =
        place.ok(&["data", "functions", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len() * 2 + 2, told.lines().count());
    let calls = listed.iter().map(|function| {
        let call = function["call"].as_str().unwrap();
        let call = call.split_once(", ").map_or(call.to_owned(), |(call, _)| format!("{call}, 2)"));
        format!("{call} AS {}", function["name"].as_str().unwrap())
    });
    let sql = format!("SELECT {} FROM train LIMIT 1", calls.collect::<Vec<_>>().join(", "));
    let row = place.json(&["data", "sql", "tiny.toml", &sql, "--json"]);
    assert_eq!(row.as_object().map(|row| row.len()), Some(listed.len()), "{row}");
}

/// A query has the models and the list of the run, from wherever it is asked and by whatever the run is called.
#[test]
fn a_query_has_the_models_of_the_run() {
    let place = Place::new();
    std::fs::create_dir(place.path("recipes")).unwrap();
    let lines: String =
        (0..600).map(|i| format!("{{\"text\": \"Letter {i} is full of gobbledygook and told of rain.\"}}\n")).collect();
    std::fs::write(place.path("recipes/letters.jsonl"), lines).unwrap();
    std::fs::write(place.path("recipes/words.txt"), "gobbledygook\n").unwrap();
    place.ok(&["data", "train", "perplexity", "--data", "recipes/letters.jsonl", "--out", "recipes/ngram.bin"]);
    std::fs::write(
        place.path("recipes/letters.toml"),
        "name = \"letters\"\n[[data.sources]]\nname = \"letters\"\npath = \"letters.jsonl\"\n\
         [clean.models]\nperplexity = \"ngram.bin\"\ntoxicity = \"words.txt\"\n",
    )
    .unwrap();
    for stage in ["collect", "clean"] {
        place.ok(&["run", "recipes/letters.toml", "--only", stage]);
    }
    let sql = "SELECT min(perplexity(text)) AS p, min(toxicity_words(text)) AS t FROM train";
    for run in ["recipes/letters.toml", "latest"] {
        let row = place.json(&["data", "sql", run, sql, "--json"]);
        assert!(row["p"].as_f64().is_some_and(|p| p > 1.0) && row["t"] == 1.0, "{run}: {row}");
    }
    // A query that asks for none of them needs none of them.
    std::fs::remove_file(place.path("recipes/ngram.bin")).unwrap();
    place.ok(&["data", "sql", "latest", "SELECT count(*) AS n FROM train"]);
    place.fails(1, &["data", "sql", "latest", sql]);
}

#[test]
fn masked_documents_show_what_is_learnt() {
    let place = threads::made("2");
    let shown = place.ok(&["data", "show", "tiny.toml", "--masked", "--source", "chats", "--limit", "1"]);
    let (asked, learnt) = shown.split_once("assistant\n\u{27e6}").unwrap_or_else(|| panic!("{shown}"));
    assert!(
        asked.starts_with("--- ") && asked.contains("<|im_start|>user\nSay w") && !asked.contains('\u{27e6}'),
        "{shown}"
    );
    // The answer and the marker that ends it, and nothing after that.
    assert!(learnt.starts_with('w') && learnt.contains("<|im_end|>\u{27e7}"), "{shown}");
    assert_eq!(shown.matches('\u{27e6}').count(), 1, "{shown}");
    let plain = place.ok(&["data", "show", "tiny.toml", "--masked", "--source", "tang-poems", "--limit", "1"]);
    let (_, text) = plain.split_once('\n').unwrap();
    assert!(text.starts_with('\u{27e6}') && text.trim_end().ends_with("<|endoftext|>\u{27e7}"), "{plain}");
    let fresh = Place::new();
    for stage in ["collect", "clean"] {
        fresh.ok(&["run", "tiny.toml", "--only", stage]);
    }
    let error = fresh.fails(2, &["data", "show", "tiny.toml", "--masked"]);
    assert!(error.contains("no token shards yet") && error.contains("hint:"), "{error}");
}

#[test]
fn the_words_of_a_list_are_part_of_the_key() {
    let place = Place::new();
    std::fs::write(place.path("words.txt"), "gobbledygook\n").unwrap();
    let section = "[clean.models]\ntoxicity = \"words.txt\"\n\n[[clean.rules]]\nname = \"toxic\"\n\
        drop_if = \"toxicity_words(text) > 0\"\n\n[split]";
    place.write_recipe(|text| text.replace("[split]", section));
    for stage in ["collect", "clean"] {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
    let decided = || {
        let plan = place.json(&["run", "tiny.toml", "--dry-run", "--json"]);
        let stages = plan["stages"].as_array().unwrap().iter();
        stages
            .filter(|stage| stage["stage"] == "clean")
            .map(|stage| stage["decision"]["action"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(decided(), ["reuse"]);
    std::fs::write(place.path("words.txt"), "春風\n").unwrap();
    assert_eq!(decided(), ["run"]);
    place.ok(&["run", "tiny.toml", "--only", "clean"]);
    let shown = place.ok(&["data", "show", "tiny.toml", "--reason", "toxic", "--limit", "1", "--chars", "0"]);
    assert!(shown.contains("dropped by toxic") && shown.contains("春風"), "{shown}");
}

#[test]
fn copies_are_made_by_a_stage_of_the_recipe() {
    let place = Place::new();
    let steps = "[[augment.steps]]\nkind = \"rotate\"\n[[augment.steps]]\nkind = \"homophones\"\n";
    place.write_recipe(|text| format!("{text}\n[augment]\nshare = 0.5\n{steps}"));
    for stage in ["collect", "clean", "augment", "tokenizer"] {
        place.ok(&["run", "tiny.toml", "--only", stage]);
    }
    let plan = place.ok(&["run", "tiny.toml", "--dry-run"]);
    assert!(plan.contains("\naugment    reuse") && plan.contains("\ntrain      run"), "{plan}");
    let run = place.json(&["runs", "--json"])[0]["id"].as_str().unwrap().to_owned();
    let shown = place.ok(&["show", &run]);
    for figure in ["augment.copies", "augment.kinds.rotate.made", "augment.kinds.homophones.skipped.no_chinese"] {
        assert!(shown.contains(figure), "{figure} in {shown}");
    }
    let explained = place.ok(&["recipe", "explain", "tiny.toml"]);
    assert!(explained.contains("augment.share") && explained.contains("augment.steps[1].same_tone"), "{explained}");

    let show = ["data", "show", "tiny.toml", "--source", "tang-poems", "--limit", "1000", "--json"];
    let (documents, augmented) = (place.ok(&show), place.ok(&[&show[..], &["--augmented"]].concat()));
    assert!(augmented.lines().count() > documents.lines().count() && augmented.contains("\"augmented_from\""));
    assert!(!documents.contains("\"augmented_from\""));
    for split in ["valid", "test"] {
        assert!(!place.ok(&[&show[..], &["--split", split]].concat()).contains("\"augmented_from\""), "{split}");
    }

    let page = place.ok(&["report", &run]);
    let page = std::fs::read_to_string(place.path(page.lines().next().unwrap())).unwrap();
    assert!(page.contains("Copies to train on") && page.contains("no chinese"));
    place.write_recipe(str::to_owned);
    assert!(place.fails(1, &["run", "tiny.toml", "--from", "augment"]).contains("add a section [augment]"));
    assert!(!place.ok(&["run", "tiny.toml", "--dry-run"]).contains("augment"));
}

/// `danlu data sql --engine`: the same question, the same answer, by a server of Spark Connect.
#[test]
fn a_cluster_answers_as_this_process_does() {
    let sail = match danlu_testing::Sail::start() {
        Ok(sail) => sail,
        Err(reason) => return danlu_testing::skip("a_cluster_answers_as_this_process_does", &reason),
    };
    let place = Place::new();
    letters(&place, "may", 0);
    let sql = "SELECT source, count(*) AS n, sum(length(text)) AS long FROM train GROUP BY source ORDER BY source";
    let ask = ["data", "sql", "may.toml", sql, "--json"];
    let here = place.ok(&ask);
    assert!(here.contains("\"n\":"), "{here}");
    assert_eq!(place.ok(&[&ask[..], &["--engine", &sail.address()]].concat()), here);
    let lost = place.fails(1, &[&ask[..], &["--engine", "spark://127.0.0.1:1"]].concat());
    assert!(lost.contains("spark://127.0.0.1:1"), "{lost}");
}
