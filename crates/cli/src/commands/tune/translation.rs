//! What came of a translation, as tables.

use danlu_tune::translation::Outcome;

use crate::output::{count, line, note};

pub fn show(outcome: &Outcome) {
    let scores = &outcome.scores;
    super::super::translate::show(&[("model", &scores.model), ("copy of the source", &scores.copy)]);
    for sample in &scores.samples {
        line(&format!(
            "\n  source       {}\n  reference    {}\n  translation  {}",
            sample.source, sample.reference, sample.translation
        ));
    }
    line("");
    for (what, number) in [("texts cut to the model's context", scores.cut), ("unfinished", scores.unfinished)] {
        if number > 0 {
            note(&format!("{what}: {}", count(number)));
        }
    }
    line(&format!("model: {}", outcome.model.display()));
    note("ask it: danlu translate MODEL --text \"...\"");
}
