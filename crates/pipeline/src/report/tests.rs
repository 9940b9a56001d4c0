#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixture::full;
use super::summary::{Tone, findings};
use super::*;

/// Compares with `golden/NAME`; `DANLU_UPDATE_GOLDEN=1` writes it anew.
fn check(name: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden").join(name);
    if std::env::var_os("DANLU_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == actual {
        return;
    }
    let (line, (want, got)) = expected
        .lines()
        .chain(std::iter::repeat("<end>"))
        .zip(actual.lines().chain(std::iter::repeat("<end>")))
        .enumerate()
        .find(|(_, (want, got))| want != got)
        .unwrap();
    panic!("{name} line {}:\n  golden {want}\n  now    {got}\n(DANLU_UPDATE_GOLDEN=1 accepts)", line + 1);
}

#[test]
fn model_card_is_golden() {
    check("card.md", &model_card(&full()));
}

/// What a reader sees of the page: the text between the tags, one line each.
fn visible(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html.split_once("<body").map_or(html, |(_, body)| body);
    while let Some((_, after)) = rest.split_once('>') {
        let (words, next) = after.split_once('<').unwrap_or((after, ""));
        if next.starts_with("/script") || next.starts_with("/style") || next.starts_with("/title") {
            rest = next;
            continue;
        }
        let words = words.trim();
        if !words.is_empty() {
            text.push_str(words);
            text.push('\n');
        }
        rest = next;
    }
    text
}

#[test]
fn page_text_is_golden() {
    let page = html(&full());
    // To look at it in a browser: DANLU_FIXTURE_PAGE=page.html
    if let Some(path) = std::env::var_os("DANLU_FIXTURE_PAGE") {
        std::fs::write(path, &page).unwrap();
    }
    check("page.txt", &visible(&page));
}

#[test]
fn the_page_is_one_file_without_network_and_escapes_texts() {
    let page = html(&full());
    for forbidden in ["src=\"http", "href=\"http", "url(http", "@import", "stylesheet", "<script>alert", "<b>sentence"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("&lt;script&gt;alert"));
    assert!(page.contains("prefers-color-scheme"));
    assert!(page.contains("每字节比特"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn a_report_of_nothing_still_makes_a_page_and_a_card() {
    let empty = RunReport::default();
    assert!(html(&empty).contains("not evaluated"));
    assert!(model_card(&empty).starts_with("---\nlicense: \"unknown\"\n"));
}

#[test]
fn the_report_survives_json() {
    let report = full();
    let json = serde_json::to_string(&report).unwrap();
    let again: RunReport = serde_json::from_str(&json).unwrap();
    // serde_json may miss the last bit of an f64, which no figure shows.
    assert_eq!(html(&again), html(&report));
    assert_eq!(model_card(&again), model_card(&report));
}

#[test]
fn a_loss_that_was_never_measured_survives_json() {
    let mut report = full();
    report.training.as_mut().unwrap().best_valid_loss = f64::NAN;
    let json = serde_json::to_string(&report).unwrap();
    let again: RunReport = serde_json::from_str(&json).unwrap();
    assert!(again.training.unwrap().best_valid_loss.is_nan());
}

fn tones(report: &RunReport) -> Vec<Tone> {
    findings(report).iter().map(|finding| finding.tone).collect()
}

#[test]
fn the_verdict_follows_the_figures() {
    use Tone::{Bad, Good, Neutral};
    assert_eq!(tones(&full()), [Good, Good, Neutral, Good]);

    let mut worse = full();
    worse.evaluation.as_mut().unwrap().scores.overall.bits_per_byte = 2.6;
    assert_eq!(tones(&worse), [Bad, Bad, Neutral, Good]);
    assert!(findings(&worse)[0].text.en.contains("does not beat"));

    let mut harmed = full();
    harmed.compression.as_mut().unwrap().bits_per_byte_after = 1.9;
    assert_eq!(tones(&harmed), [Good, Good, Neutral, Bad]);

    let mut overfit = full();
    let training = overfit.training.as_mut().unwrap();
    training.events.clear();
    training.curves.valid_loss.push((1000.0, 5.0));
    assert_eq!(tones(&overfit), [Good, Good, Neutral, Good]);
    assert!(findings(&overfit)[2].text.en.contains("rose again after step 900"));

    let mut failed = full();
    failed.run.state = "failed".into();
    failed.evaluation = None;
    assert_eq!(tones(&failed)[..2], [Bad, Neutral]);
}
