//! What came of a classification, as tables.

use danlu_eval::{ClassificationScores, Quality};
use danlu_tune::classification::Outcome;

use crate::output::{count, line, note, table};

pub fn show(outcome: &Outcome) {
    let (scores, baseline) = (&outcome.scores.model, &outcome.scores.baseline);
    let mut rows = Vec::new();
    for (name, scores) in [("model", scores), ("bag of words", &baseline.bag_of_words)] {
        rows.push(row(name, "all, macro mean", Some(scores.accuracy), scores.macro_, scores.examples));
        for class in &scores.classes {
            rows.push(row(name, &class.label, None, class.quality, class.support));
        }
    }
    rows.push(vec!["most frequent label".into(), String::new(), percent(baseline.majority)]);
    line(table(&["what", "label", "accuracy", "precision", "recall", "F1", "examples"], &rows).trim_end());
    line(&format!("\n{}", confusion(scores)));
    line(&format!("model: {}", outcome.model.display()));
    note("ask it: danlu classify MODEL --text \"...\"");
}

fn row(what: &str, label: &str, accuracy: Option<f64>, quality: Quality, examples: u64) -> Vec<String> {
    let Quality { precision, recall, f1 } = quality;
    let accuracy = accuracy.map_or(String::new(), percent);
    vec![what.into(), label.into(), accuracy, percent(precision), percent(recall), percent(f1), count(examples)]
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Rows are what examples are, columns what the model said.
fn confusion(scores: &ClassificationScores) -> String {
    let labels: Vec<&str> = scores.classes.iter().map(|class| class.label.as_str()).collect();
    let header: Vec<&str> = std::iter::once("is \\ said").chain(labels.iter().copied()).collect();
    let rows: Vec<Vec<String>> = labels
        .iter()
        .zip(&scores.confusion)
        .map(|(label, row)| std::iter::once((*label).to_owned()).chain(row.iter().map(|n| count(*n))).collect())
        .collect();
    table(&header, &rows)
}
