//! What changed between two deliveries, and whether it is too much.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, psi};
use super::snapshot::{Snapshot, SnapshotGroup};
use super::watch::WatchConfig;
use crate::Count;

/// Words told of each vocabulary that is compared.
const WORDS_TOLD: usize = 12;

/// What changed from an accepted snapshot to a new one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub accepted: Count,
    pub delivered: Count,
    /// Population stability index of the shares of documents by source, and by language.
    pub source_psi: f64,
    pub language_psi: f64,
    pub sources: Vec<ShareShift>,
    pub languages: Vec<ShareShift>,
    pub statistics: Vec<StatisticDrift>,
    pub vocabularies: Vec<VocabularyDrift>,
    /// Share of repeated texts before and after.
    pub repeats: (f64, f64),
    /// Share of unreadable records before and after.
    pub problems: (f64, f64),
    /// Groups too small to be judged by themselves, in words.
    pub not_judged: Vec<String>,
    /// Why the new delivery should not be taken as it is; empty when it may.
    pub violations: Vec<Violation>,
}

/// One threshold that is exceeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The key of [`WatchConfig`] that speaks of it.
    pub threshold: String,
    /// Of what: `all`, `source poems`, `language zh`.
    pub subject: String,
    /// Of a statistic, its name.
    pub statistic: Option<String>,
    pub value: f64,
    pub limit: f64,
    /// The same in a sentence.
    pub reason: String,
}

/// How much of all documents one source or language is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareShift {
    pub name: String,
    pub accepted: u64,
    pub delivered: u64,
}

/// How one statistic's distribution moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatisticDrift {
    pub statistic: String,
    /// `all`, `source NAME` or `language CODE`.
    pub subject: String,
    /// Documents on both sides.
    pub counts: (u64, u64),
    pub psi: f64,
    pub ks: f64,
    pub psi_limit: f64,
    pub ks_limit: f64,
    pub mean: (f64, f64),
    /// 10%, 50% and 90% quantiles before and after.
    pub quantiles: ([f64; 3], [f64; 3]),
}

/// How one language's words moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VocabularyDrift {
    pub language: String,
    /// Jensen-Shannon divergence in bits.
    pub words: f64,
    pub ngrams: f64,
    /// Those whose share changed most: (word, share before, share after).
    pub shifts: Vec<(String, f64, f64)>,
}

/// Compares `delivered` with `accepted`.
pub fn drift(accepted: &Snapshot, delivered: &Snapshot, config: &WatchConfig) -> Drift {
    let mut comparison = Comparison { accepted, delivered, config, drift: Drift::default() };
    comparison.volume();
    comparison.shares();
    comparison.statistics();
    comparison.vocabularies();
    comparison.repeats_and_problems();
    comparison.drift
}

struct Comparison<'a> {
    accepted: &'a Snapshot,
    delivered: &'a Snapshot,
    config: &'a WatchConfig,
    drift: Drift,
}

impl Comparison<'_> {
    fn violate(&mut self, threshold: &str, subject: &str, value: f64, limit: f64, reason: String) {
        let (threshold, subject) = (threshold.into(), subject.into());
        self.drift.violations.push(Violation { threshold, subject, statistic: None, value, limit, reason });
    }

    fn volume(&mut self) {
        let (before, after) = (self.accepted.total, self.delivered.total);
        self.drift.accepted = before;
        self.drift.delivered = after;
        let limit = self.config.volume;
        for (what, before, after) in
            [("documents", before.documents, after.documents), ("bytes", before.bytes, after.bytes)]
        {
            let change = after as f64 / before.max(1) as f64 - 1.0;
            if change.abs() > limit {
                let sign = if change < 0.0 { "fewer" } else { "more" };
                let reason = format!(
                    "{after} {what} instead of {before}: {:.0}% {sign}, and {:.0}% are allowed",
                    change.abs() * 100.0,
                    limit * 100.0
                );
                self.violate("volume", what, change, limit, reason);
            }
        }
    }

    fn shares(&mut self) {
        let (accepted, delivered) = (self.accepted, self.delivered);
        if self.sources_have_names() {
            let (psi, shifts) = self.share_of("source", accepted.by_source(), delivered.by_source());
            (self.drift.source_psi, self.drift.sources) = (psi, shifts);
        } else {
            let told = "sources: called after files on one side, and no name is on both (--source gives one)";
            self.drift.not_judged.push(told.into());
        }
        let (psi, shifts) = self.share_of("language", accepted.by_language(), delivered.by_language());
        (self.drift.language_psi, self.drift.languages) = (psi, shifts);
    }

    /// Whether a source is known by its name. Files are called as somebody likes; where no name of theirs is known, they are
    /// not new sources.
    fn sources_have_names(&self) -> bool {
        let (accepted, delivered) = (self.accepted, self.delivered);
        let known = delivered.by_source();
        !(accepted.named_after_files || delivered.named_after_files)
            || accepted.by_source().keys().any(|name| known.contains_key(name))
    }

    fn share_of(
        &mut self,
        what: &str,
        before: BTreeMap<&str, Count>,
        after: BTreeMap<&str, Count>,
    ) -> (f64, Vec<ShareShift>) {
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        let documents = |of: &BTreeMap<&str, Count>, name: &str| of.get(name).map_or(0, |count| count.documents);
        let shift = |name: &&str| ShareShift {
            name: (*name).to_owned(),
            accepted: documents(&before, name),
            delivered: documents(&after, name),
        };
        let shifts: Vec<ShareShift> = names.iter().map(shift).collect();
        for shift in &shifts {
            let subject = format!("{what} {}", shift.name);
            // A stray document of another language is no news where languages are guessed.
            let few = self.config.min_documents;
            if shift.accepted == 0 && !self.config.allow_new && (what == "source" || shift.delivered >= few) {
                let reason = format!("{subject} is new, with {} documents", shift.delivered);
                self.violate("allow_new", &subject, shift.delivered as f64, 0.0, reason);
            }
            if shift.delivered == 0 && !self.config.allow_vanished && (what == "source" || shift.accepted >= few) {
                let reason = format!("{subject} has vanished; it had {} documents", shift.accepted);
                self.violate("allow_vanished", &subject, shift.accepted as f64, 0.0, reason);
            }
        }
        let counts = |of: fn(&ShareShift) -> u64| shifts.iter().map(of).collect::<Vec<_>>();
        let (p, q) = (counts(|shift| shift.accepted), counts(|shift| shift.delivered));
        let value = psi(&p, &q);
        let limit = self.config.share_psi.max(psi_of_chance(self.config.significance, p.len(), sum(&p), sum(&q)));
        if value > limit {
            let share = |part: u64, all: u64| part as f64 / all.max(1) as f64 * 100.0;
            let moved = shifts.iter().max_by(|a, b| {
                let by = |s: &ShareShift| (share(s.accepted, sum(&p)) - share(s.delivered, sum(&q))).abs();
                by(a).total_cmp(&by(b))
            });
            let most = moved.map_or(String::new(), |shift| {
                format!(
                    "; most {}: from {:.1}% to {:.1}% of the documents",
                    shift.name,
                    share(shift.accepted, sum(&p)),
                    share(shift.delivered, sum(&q))
                )
            });
            let reason = format!("the shares of the {what}s moved: PSI {value:.3}, above {limit:.3}{most}");
            self.violate("share_psi", &format!("{what}s"), value, limit, reason);
        }
        (value, shifts)
    }

    fn statistics(&mut self) {
        let (accepted, delivered) = (self.accepted, self.delivered);
        let names: BTreeSet<&String> = accepted.groups.iter().flat_map(|group| group.statistics.keys()).collect();
        let mut subjects: Vec<(String, Box<dyn Fn(&SnapshotGroup) -> bool>)> =
            vec![("all".into(), Box::new(|_: &SnapshotGroup| true))];
        for name in accepted.by_source().into_keys().map(str::to_owned) {
            subjects.push((format!("source {name}"), Box::new(move |group: &SnapshotGroup| group.source == name)));
        }
        for name in accepted.by_language().into_keys().map(str::to_owned) {
            subjects.push((format!("language {name}"), Box::new(move |group: &SnapshotGroup| group.language == name)));
        }
        for (subject, wanted) in &subjects {
            let documents = |of: &Snapshot| -> u64 {
                of.groups.iter().filter(|group| wanted(group)).map(|group| group.count.documents).sum()
            };
            let counts = (documents(accepted), documents(delivered));
            if counts.0.min(counts.1) < self.config.min_documents {
                if counts.1 > 0 {
                    let told = format!("{subject}: {} and {} documents are too few to compare", counts.0, counts.1);
                    self.drift.not_judged.push(told);
                }
                continue;
            }
            for &statistic in &names {
                let before = accepted.distribution(statistic, wanted);
                let after = delivered.distribution(statistic, wanted);
                self.statistic(statistic, subject, &before, &after);
            }
        }
    }

    fn statistic(&mut self, statistic: &str, subject: &str, before: &Distribution, after: &Distribution) {
        let Some((psi_limit, ks_limit)) = self.config.limits(statistic) else { return };
        if before.count == 0 || after.count == 0 {
            let told = format!("{subject}: no {statistic} on one side");
            self.drift.not_judged.push(told);
            return;
        }
        let ((psi, bins), ks) = (before.psi(after), before.ks(after));
        let significance = self.config.significance;
        let found = StatisticDrift {
            statistic: statistic.into(),
            subject: subject.into(),
            counts: (before.count, after.count),
            psi,
            ks,
            psi_limit: psi_limit.max(psi_of_chance(significance, bins, before.count, after.count)),
            ks_limit: ks_limit.max(ks_of_chance(significance, before.count, after.count)),
            mean: (before.mean(), after.mean()),
            quantiles: (deciles(before), deciles(after)),
        };
        let moved = format!(
            "median {} -> {}, 90% below {} -> {}",
            figure(found.quantiles.0[1]),
            figure(found.quantiles.1[1]),
            figure(found.quantiles.0[2]),
            figure(found.quantiles.1[2])
        );
        for (threshold, value, limit, name) in
            [("psi", psi, found.psi_limit, "PSI"), ("ks", ks, found.ks_limit, "KS distance")]
        {
            if value > limit {
                let reason = format!("{statistic} of {subject} moved: {name} {value:.3}, above {limit:.3} ({moved})");
                let (threshold, subject, statistic) = (threshold.into(), subject.into(), Some(statistic.into()));
                self.drift.violations.push(Violation { threshold, subject, statistic, value, limit, reason });
            }
        }
        self.drift.statistics.push(found);
    }

    fn vocabularies(&mut self) {
        for (language, before) in &self.accepted.vocabularies {
            let Some(after) = self.delivered.vocabularies.get(language) else { continue };
            let (few, least) = (before.words.total.min(after.words.total), self.config.min_words);
            if few < least {
                let told = format!("words of language {language}: {few} words on one side, fewer than {least}");
                self.drift.not_judged.push(told);
                continue;
            }
            let value = before.words.divergence(&after.words);
            let ngrams = before.ngrams.divergence(&after.ngrams);
            let shifts = before.words.shifts(&after.words, WORDS_TOLD);
            let limit = self.config.vocabulary;
            if value > limit {
                let most: Vec<&str> = shifts.iter().take(5).map(|(word, ..)| word.as_str()).collect();
                let reason = format!(
                    "the words of language {language} moved: Jensen-Shannon divergence {value:.3}, above {limit}; most: {}",
                    most.join(", ")
                );
                self.violate("vocabulary", &format!("language {language}"), value, limit, reason);
            }
            self.drift.vocabularies.push(VocabularyDrift { language: language.clone(), words: value, ngrams, shifts });
        }
    }

    fn repeats_and_problems(&mut self) {
        self.drift.repeats = (self.accepted.repeats.share(), self.delivered.repeats.share());
        self.drift.problems = (self.accepted.problem_share(), self.delivered.problem_share());
        for (threshold, what, (before, after), limit) in [
            ("repeats", "texts that repeat another document", self.drift.repeats, self.config.repeats),
            ("problems", "records that cannot be read", self.drift.problems, self.config.problems),
        ] {
            if after - before > limit {
                let reason = format!(
                    "{what}: from {:.1}% to {:.1}%, and a rise of {:.1} points is allowed",
                    before * 100.0,
                    after * 100.0,
                    limit * 100.0
                );
                self.violate(threshold, "all", after - before, limit, reason);
            }
        }
    }
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn deciles(of: &Distribution) -> [f64; 3] {
    [0.1, 0.5, 0.9].map(|q| of.quantile(q))
}

/// Three significant digits for a sentence.
fn figure(value: f64) -> String {
    danlu_report::number::significant(value, 3)
}

/// The Kolmogorov-Smirnov distance that two samples of one distribution exceed with this probability, for large samples:
/// sqrt(-ln(a / 2) / 2) sqrt((n + m) / (n m)) (Smirnov 1939).
fn ks_of_chance(significance: f64, n: u64, m: u64) -> f64 {
    (-(significance / 2.0).ln() / 2.0).max(0.0).sqrt() * pooled(n, m).sqrt()
}

/// The stability index that two samples of one distribution exceed with this probability: a chi-square quantile with
/// bins - 1 degrees of freedom, times 1/n + 1/m (Yurdakul 2018, "Statistical properties of the population stability
/// index").
fn psi_of_chance(significance: f64, bins: usize, n: u64, m: u64) -> f64 {
    if bins < 2 {
        return 0.0;
    }
    // Wilson and Hilferty's cube (1931): within 1% from two degrees of freedom on.
    let df = (bins - 1) as f64;
    let spread = 2.0 / (9.0 * df);
    df * (1.0 - spread + upper_normal(significance) * spread.sqrt()).max(0.0).powi(3) * pooled(n, m)
}

fn pooled(n: u64, m: u64) -> f64 {
    1.0 / n.max(1) as f64 + 1.0 / m.max(1) as f64
}

/// The number that a standard normal variable exceeds with this probability, to 0.00045 (Abramowitz and Stegun, 26.2.23).
fn upper_normal(probability: f64) -> f64 {
    let p = probability.clamp(1e-300, 1.0 - 1e-16);
    let (tail, sign) = if p > 0.5 { (1.0 - p, -1.0) } else { (p, 1.0) };
    let t = (-2.0 * tail.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    sign * (t - numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_tables() {
        let close = |found: f64, expect: f64, by: f64| assert!((found - expect).abs() < by, "{found} {expect}");
        close(upper_normal(0.001), 3.0902, 5e-4);
        close(upper_normal(0.975), -1.96, 5e-4);
        // Chi-square 0.999 with 9 degrees of freedom: 27.877; 0.95 with 4: 9.488.
        // Wilson and Hilferty's approximation gives 28.06 for the first.
        close(psi_of_chance(0.001, 10, 1, 1) / 2.0, 27.877, 0.2);
        close(psi_of_chance(0.05, 5, 1, 1) / 2.0, 9.488, 0.05);
        // 1.36 sqrt(2 / n) at 5%.
        close(ks_of_chance(0.05, 100, 100), 1.358 * 0.02f64.sqrt(), 1e-3);
        assert!(psi_of_chance(1.0, 10, 100, 100) < 1e-6 || psi_of_chance(1.0, 10, 100, 100) < 0.05);
    }
}
