//! `danlu data report`, `watch`, `trace` and `forget` on a run's documents.

use crate::harness::Place;

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
    assert!(told.contains("- source new is new") && told.contains("- source tang-poems has vanished"), "{told}");
    place.fails(1, &[&watch[..], &["--json"]].concat());
    std::fs::write(place.path("limits.toml"), "[watch]\npsy = 1\n").unwrap();
    assert!(place.fails(2, &[&watch[..], &["--thresholds", "limits.toml"]].concat()).contains("psy"));
    place.fails(2, &["data", "watch", "new.jsonl"]);
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
    assert!(place.fails(2, &["data", "forget", "tiny.toml"]).contains("--id or --where"));
    assert!(place.fails(2, &["data", "forget", "tiny.toml", "--where", "sauce=x"]).contains("source=NAME"));
    let again = place.json(&["run", "tiny.toml", "--only", "collect", "--json"]);
    assert!(again.is_object());
    assert!(place.ok(&["data", "show", "tiny.toml", "--split", "train", "--limit", "1"]).contains("---"));
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
