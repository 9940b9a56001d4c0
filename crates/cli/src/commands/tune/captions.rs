//! What came of captions, as tables.

use danlu_tune::captions::{CaptionScores, Outcome};

use crate::output::{count, line, note, table};

pub fn show(outcome: &Outcome) {
    let (counts, scores) = (&outcome.pictures, &outcome.scores);
    for of in &scores.languages {
        let row = |what: &str, scores: &CaptionScores, bits: Option<f64>| {
            let bits = bits.map_or(String::new(), |bits| format!("{bits:.3}"));
            vec![what.to_owned(), format!("{:.2}", scores.chrf), format!("{:.2}%", 100.0 * scores.exact), bits]
        };
        let rows = [
            row("model", &of.model, Some(of.bits_per_byte)),
            row("model, shown another picture", &of.another_picture, Some(of.bits_per_byte_of_another)),
            row("caption of the nearest known picture", &of.nearest_picture, None),
        ];
        line(&format!("captions in {} of {} pictures", of.language, count(of.pictures)));
        line(&format!("{}\n", table(&["caption", "chrF", "exact", "bits per byte"], &rows).trim_end()));
    }
    for sample in &scores.samples {
        let (reference, caption, nearest) = (&sample.reference, &sample.caption, &sample.nearest);
        line(&format!(
            "  {}\n    reference  {reference}\n    caption    {caption}\n    nearest    {nearest}",
            sample.picture
        ));
    }
    line("");
    let losses = [
        ("records without a caption", counts.uncaptioned),
        ("pictures named twice", counts.repeated),
        ("captions without an end", scores.unfinished),
    ];
    for (what, number) in losses.into_iter().filter(|(_, number)| *number > 0) {
        note(&format!("{what}: {}", count(number)));
    }
    if let Some(first) = &counts.first_broken {
        note(&format!("pictures that could not be read: {}; the first: {first}", count(counts.broken)));
    }
    line(&format!("model: {}", outcome.model.display()));
    note("ask it: danlu caption MODEL PICTURE");
}
