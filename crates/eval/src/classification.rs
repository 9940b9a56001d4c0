//! How good guesses of classes are: accuracy, precision, recall, F1 and the confusion matrix.

use serde::{Deserialize, Serialize};

/// Precision `tp / (tp + fp)`, recall `tp / (tp + fn)` and F1 `2 tp / (2 tp + fp + fn)`, each 0 where its denominator is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// The figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    pub label: String,
    #[serde(flatten)]
    pub quality: Quality,
    /// Examples that are of this class.
    pub support: u64,
}

/// What guesses were worth, by the definitions of scikit-learn (`zero_division=0`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationScores {
    pub examples: u64,
    /// Share of examples guessed right; with several labels at once, right in all of them.
    pub accuracy: f64,
    /// Of all classes' counts together. With one label each, all three are the accuracy.
    pub micro: Quality,
    /// Mean over the classes.
    #[serde(rename = "macro")]
    pub macro_: Quality,
    /// Mean over the classes by their support.
    pub weighted: Quality,
    pub classes: Vec<ClassScores>,
    /// Examples by class (rows) and guess (columns); empty with several labels at once.
    pub confusion: Vec<Vec<u64>>,
}

/// True and false guesses of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hits: u64,
    /// Guessed, and not so.
    false_alarms: u64,
    missed: u64,
}

impl Counts {
    fn quality(self) -> Quality {
        let share = |of: u64, all: u64| if all == 0 { 0.0 } else { of as f64 / all as f64 };
        let Counts { hits, false_alarms, missed } = self;
        Quality {
            precision: share(hits, hits + false_alarms),
            recall: share(hits, hits + missed),
            f1: share(2 * hits, 2 * hits + false_alarms + missed),
        }
    }
}

/// Scores of guesses of one class each, as numbers below that of the labels.
///
/// `None` if there is no example, the two are not as many, or a number is no label's.
pub fn score_classes(labels: &[String], truth: &[usize], guesses: &[usize]) -> Option<ClassificationScores> {
    let classes = labels.len();
    let known = truth.iter().chain(guesses).all(|class| *class < classes);
    if truth.is_empty() || truth.len() != guesses.len() || !known {
        return None;
    }
    let mut confusion = vec![vec![0u64; classes]; classes];
    truth.iter().zip(guesses).for_each(|(truth, guess)| confusion[*truth][*guess] += 1);
    let column = |class: usize| confusion.iter().map(|row| row[class]).sum::<u64>();
    let counts = |class: usize| {
        let (hits, own) = (confusion[class][class], confusion[class].iter().sum::<u64>());
        Counts { hits, false_alarms: column(class) - hits, missed: own - hits }
    };
    let counts: Vec<Counts> = (0..classes).map(counts).collect();
    let right = counts.iter().map(|count| count.hits).sum();
    Some(scores(labels, &counts, right, truth.len() as u64, confusion))
}

/// Scores of guesses of any number of labels each.
///
/// `None` if there is no example, or not one flag for each label.
pub fn score_labels(labels: &[String], truth: &[Vec<bool>], guesses: &[Vec<bool>]) -> Option<ClassificationScores> {
    let fits = truth.iter().chain(guesses).all(|flags| flags.len() == labels.len());
    if truth.is_empty() || truth.len() != guesses.len() || !fits {
        return None;
    }
    let mut counts = vec![Counts::default(); labels.len()];
    let mut right = 0;
    for (truth, guess) in truth.iter().zip(guesses) {
        right += u64::from(truth == guess);
        for ((count, truth), guess) in counts.iter_mut().zip(truth).zip(guess) {
            count.hits += u64::from(*truth && *guess);
            count.false_alarms += u64::from(!truth && *guess);
            count.missed += u64::from(*truth && !guess);
        }
    }
    Some(scores(labels, &counts, right, truth.len() as u64, Vec::new()))
}

fn scores(
    labels: &[String],
    counts: &[Counts],
    right: u64,
    examples: u64,
    confusion: Vec<Vec<u64>>,
) -> ClassificationScores {
    let sum = |part: fn(&Counts) -> u64| counts.iter().map(part).sum();
    let all = Counts { hits: sum(|c| c.hits), false_alarms: sum(|c| c.false_alarms), missed: sum(|c| c.missed) };
    let class = |(label, count): (&String, &Counts)| ClassScores {
        label: label.clone(),
        quality: count.quality(),
        support: count.hits + count.missed,
    };
    let classes: Vec<ClassScores> = labels.iter().zip(counts).map(class).collect();
    // With one class each, scikit-learn leaves out a class that is neither there nor guessed.
    let met = |at: &usize| confusion.is_empty() || counts[*at].hits + counts[*at].false_alarms + counts[*at].missed > 0;
    let met: Vec<&ClassScores> = (0..classes.len()).filter(met).map(|at| &classes[at]).collect();
    let mean = |weight: fn(&ClassScores) -> f64| {
        let total: f64 = met.iter().map(|class| weight(class)).sum();
        let of = |part: fn(&Quality) -> f64| match total > 0.0 {
            true => met.iter().map(|class| weight(class) * part(&class.quality)).sum::<f64>() / total,
            false => 0.0,
        };
        Quality { precision: of(|q| q.precision), recall: of(|q| q.recall), f1: of(|q| q.f1) }
    };
    let (macro_, weighted) = (mean(|_| 1.0), mean(|class| class.support as f64));
    let accuracy = right as f64 / examples as f64;
    ClassificationScores { examples, accuracy, micro: all.quality(), macro_, weighted, classes, confusion }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn near(found: Quality, [precision, recall, f1]: [f64; 3]) {
        let off = [found.precision - precision, found.recall - recall, found.f1 - f1];
        assert!(off.iter().all(|off| off.abs() < 1e-12), "{found:?}, expected {precision} {recall} {f1}");
    }

    #[test]
    fn a_worked_example_of_three_classes() {
        // a: 3 of 4 found and one false alarm; b: 1 of 2, two false alarms; c: 0 of 1, none guessed.
        let (truth, guesses) = ([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 0, 1]);
        let scores = score_classes(&labels(&["a", "b", "c"]), &truth, &guesses).unwrap();
        assert_eq!(scores.confusion, [[3, 1, 0], [1, 1, 0], [0, 1, 0]]);
        assert_eq!((scores.examples, scores.accuracy), (7, 4.0 / 7.0));
        near(scores.classes[0].quality, [3.0 / 4.0, 3.0 / 4.0, 3.0 / 4.0]);
        near(scores.classes[1].quality, [1.0 / 3.0, 1.0 / 2.0, 2.0 / 5.0]);
        near(scores.classes[2].quality, [0.0, 0.0, 0.0]);
        assert_eq!(scores.classes.iter().map(|class| class.support).collect::<Vec<_>>(), [4, 2, 1]);
        near(scores.micro, [4.0 / 7.0; 3]);
        near(scores.macro_, [13.0 / 36.0, 5.0 / 12.0, 23.0 / 60.0]);
        near(scores.weighted, [(3.0 + 2.0 / 3.0) / 7.0, 4.0 / 7.0, (3.0 + 0.8) / 7.0]);
    }

    #[test]
    fn a_worked_example_of_several_labels() {
        let truth = [vec![true, false], vec![true, true], vec![false, false]];
        let guesses = [vec![true, true], vec![true, true], vec![false, false]];
        let scores = score_labels(&labels(&["x", "y"]), &truth, &guesses).unwrap();
        assert_eq!(scores.accuracy, 2.0 / 3.0);
        near(scores.classes[0].quality, [1.0, 1.0, 1.0]);
        near(scores.classes[1].quality, [0.5, 1.0, 2.0 / 3.0]);
        near(scores.micro, [0.75, 1.0, 6.0 / 7.0]);
        near(scores.macro_, [0.75, 1.0, 5.0 / 6.0]);
        assert!(scores.confusion.is_empty());
    }

    /// The figures of scikit-learn on random guesses; scripts/golden_metrics.py made the file.
    #[test]
    fn figures_are_those_of_scikit_learn() {
        #[derive(Deserialize)]
        struct Case {
            labels: Vec<String>,
            truth: Vec<usize>,
            guesses: Vec<usize>,
            truth_flags: Vec<Vec<bool>>,
            guessed_flags: Vec<Vec<bool>>,
            accuracy: f64,
            confusion: Vec<Vec<u64>>,
            classes: Vec<[f64; 3]>,
            micro: [f64; 3],
            r#macro: [f64; 3],
            weighted: [f64; 3],
        }
        let text = include_str!("../tests/golden/classification.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 6);
        for case in cases {
            let scores = match case.truth.is_empty() {
                false => score_classes(&case.labels, &case.truth, &case.guesses).unwrap(),
                true => score_labels(&case.labels, &case.truth_flags, &case.guessed_flags).unwrap(),
            };
            assert!((scores.accuracy - case.accuracy).abs() < 1e-12);
            assert_eq!(scores.confusion, case.confusion);
            for (class, want) in scores.classes.iter().zip(case.classes) {
                near(class.quality, want);
            }
            near(scores.micro, case.micro);
            near(scores.macro_, case.r#macro);
            near(scores.weighted, case.weighted);
        }
    }

    #[test]
    fn nothing_is_no_score() {
        let labels = labels(&["a", "b"]);
        assert_eq!(score_classes(&labels, &[], &[]), None);
        assert_eq!(score_classes(&labels, &[0], &[2]), None);
        assert_eq!(score_classes(&labels, &[0, 1], &[1]), None);
        assert_eq!(score_labels(&labels, &[vec![true]], &[vec![true]]), None);
    }
}
