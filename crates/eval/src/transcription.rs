//! How good transcripts are: word and character error rate, by the least number of edits (Levenshtein 1966).

use serde::{Deserialize, Serialize};

/// What edits are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptUnit {
    /// Words between white space: the word error rate (WER).
    Word,
    /// Characters without white space: the character error rate (CER), for Chinese.
    Character,
}

/// The figures of a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TranscriptScores {
    pub transcripts: u64,
    pub unit: TranscriptUnit,
    /// Edits over the references' units; more than 1 where a transcript says much more than was said.
    pub error_rate: f64,
    /// Units of the references.
    pub reference_units: u64,
    pub hits: u64,
    pub substitutions: u64,
    /// Units of the references that the transcripts leave out.
    pub deletions: u64,
    /// Units of the transcripts that nobody said.
    pub insertions: u64,
}

/// Edits of all transcripts over units of all references, as jiwer has it.
///
/// `None` if there is not one reference for each transcript, or the references hold no unit.
pub fn score_transcripts<T: AsRef<str>, R: AsRef<str>>(
    transcripts: &[T],
    references: &[R],
    unit: TranscriptUnit,
) -> Option<TranscriptScores> {
    if transcripts.len() != references.len() {
        return None;
    }
    let mut sum = Edits::default();
    for (said, truth) in transcripts.iter().zip(references) {
        let edits = match unit {
            TranscriptUnit::Word => edits(&words(truth.as_ref()), &words(said.as_ref())),
            TranscriptUnit::Character => edits(&characters(truth.as_ref()), &characters(said.as_ref())),
        };
        sum.hits += edits.hits;
        sum.substitutions += edits.substitutions;
        sum.deletions += edits.deletions;
        sum.insertions += edits.insertions;
    }
    let Edits { hits, substitutions, deletions, insertions } = sum;
    let reference_units = hits + substitutions + deletions;
    let error_rate = (substitutions + deletions + insertions) as f64 / reference_units as f64;
    (reference_units > 0).then_some(TranscriptScores {
        transcripts: transcripts.len() as u64,
        unit,
        error_rate,
        reference_units,
        hits,
        substitutions,
        deletions,
        insertions,
    })
}

/// A transcript without what is a matter of spelling: lower case, no punctuation but apostrophes within words, one space
/// between words.
pub fn plain_transcript(text: &str) -> String {
    let lower: Vec<char> = text.to_lowercase().chars().map(|c| if c == '’' { '\'' } else { c }).collect();
    let letter = |at: Option<usize>| at.and_then(|at| lower.get(at)).is_some_and(|c| c.is_alphanumeric());
    let kept = lower.iter().enumerate().map(|(at, c)| match c {
        '\'' if letter(at.checked_sub(1)) && letter(Some(at + 1)) => *c,
        c if c.is_alphanumeric() => *c,
        _ => ' ',
    });
    kept.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn characters(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Edits {
    hits: u64,
    substitutions: u64,
    deletions: u64,
    insertions: u64,
}

/// One of the shortest ways from `truth` to `said`; of equally long ones the one with most hits.
fn edits<T: PartialEq>(truth: &[T], said: &[T]) -> Edits {
    // Of each prefix of `said`, the edits from the part of `truth` read so far.
    let mut row: Vec<Edits> =
        (0..=said.len()).map(|insertions| Edits { insertions: insertions as u64, ..Edits::default() }).collect();
    for unit in truth {
        let mut corner = row[0];
        row[0].deletions += 1;
        for (at, word) in said.iter().enumerate() {
            let (left, above) = (row[at], row[at + 1]);
            let across = match unit == word {
                true => Edits { hits: corner.hits + 1, ..corner },
                false => Edits { substitutions: corner.substitutions + 1, ..corner },
            };
            let down = Edits { deletions: above.deletions + 1, ..above };
            let over = Edits { insertions: left.insertions + 1, ..left };
            let cost = |e: &Edits| (e.substitutions + e.deletions + e.insertions, u64::MAX - e.hits);
            corner = above;
            row[at + 1] = [across, down, over].into_iter().min_by_key(cost).unwrap_or_default();
        }
    }
    row.pop().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        transcripts: Vec<String>,
        references: Vec<String>,
        word: [f64; 5],
        character: [f64; 5],
    }

    /// The figures of jiwer; scripts/golden_transcription.py made the file.
    #[test]
    fn the_figures_are_those_of_jiwer() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/golden/transcription.json")).unwrap();
        assert!(cases.len() >= 3);
        for case in &cases {
            for (unit, figures) in [(TranscriptUnit::Word, case.word), (TranscriptUnit::Character, case.character)] {
                let [rate, hits, substitutions, deletions, insertions] = figures;
                let scores = score_transcripts(&case.transcripts, &case.references, unit).unwrap();
                assert!((scores.error_rate - rate).abs() < 1e-12, "{unit:?}: {scores:?} {figures:?}");
                // How edits part into kinds may differ among shortest ways; their sum and what follows from it may not.
                let all = scores.substitutions + scores.deletions + scores.insertions;
                assert_eq!(all as f64, substitutions + deletions + insertions);
                assert!(scores.hits as f64 >= hits, "{unit:?}: {scores:?} {figures:?}");
            }
        }
    }

    #[test]
    fn edits_are_counted_by_kind() {
        let scores = score_transcripts(&["the cat sat down now"], &["the bat sat now"], TranscriptUnit::Word).unwrap();
        let kinds = (scores.hits, scores.substitutions, scores.deletions, scores.insertions);
        assert_eq!((kinds, scores.error_rate), ((3, 1, 0, 1), 0.5));
        let scores = score_transcripts(&["今天天好"], &["今 天天气好"], TranscriptUnit::Character).unwrap();
        assert_eq!((scores.deletions, scores.error_rate), (1, 0.2));
        assert_eq!(score_transcripts(&["a"], &[" "], TranscriptUnit::Word), None);
        assert_eq!(score_transcripts(&["a"], &["a", "b"], TranscriptUnit::Word), None);
    }

    #[test]
    fn plain_is_what_was_said() {
        assert_eq!(plain_transcript(" Don’t -- stop, 'NOW'! 你好。"), "don't stop now 你好");
    }
}
