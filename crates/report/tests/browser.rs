//! The page in a real browser: its script runs under its own security policy and chooses the language.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use danlu_report::{Block, LineChart, Page, Section, Series, T};
use danlu_testing::skip;

/// The page's elements after the script has run, in a browser of that language; none where there is no browser.
fn rendered(page: &Path, language: &str) -> Option<String> {
    let profile = tempfile::tempdir().unwrap();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let output = names.iter().find_map(|name| {
        Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
            .args([format!("--user-data-dir={}", profile.path().display()), format!("--accept-lang={language}")])
            .arg(format!("file://{}", page.display()))
            .output()
            .ok()
    })?;
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_script_chooses_the_language_and_makes_charts_answer() {
    let chart = LineChart {
        title: T::new("Loss", "损失"),
        series: vec![Series {
            name: "train".into(),
            points: (1..50).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect(),
        }],
        ..LineChart::default()
    };
    let section = Section::new(T::new("Training", "训练")).block(Block::LineChart(chart));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.html");
    fs::write(&path, Page::new(T::new("A title", "标题")).section(section).html()).unwrap();

    let Some(chinese) = rendered(&path, "zh-CN") else {
        return skip("the_script_chooses_the_language_and_makes_charts_answer", "no chromium");
    };
    assert!(chinese.contains("<title>标题</title>") && chinese.contains("data-lang=\"zh\""), "{chinese}");
    // The script came to its end: the toggles are shown, and both drawings have their cursor.
    assert!(chinese.contains("<span class=\"toggles\">"));
    assert_eq!(chinese.matches("<g class=\"cursor\"").count(), 2);

    let english = rendered(&path, "en-US").unwrap();
    assert!(english.contains("<title>A title</title>") && english.contains("data-lang=\"en\""));
}
