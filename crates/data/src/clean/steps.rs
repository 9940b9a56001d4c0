//! The steps of the standard cleaning. Bytes counted in the funnel are those of the text as a step leaves it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use danlu_text::{Transform, detect_language, normalize};
use serde_json::Value;

use super::{CleanConfig, Missing, Outcome, Reason, Step};
use crate::Document;
use crate::conversation::{Conversation, change_turns};

/// The steps that a configuration asks for before its rules, in order.
pub(super) fn steps(config: &CleanConfig) -> Vec<Box<dyn Step>> {
    let (before, after): (Vec<Change>, Vec<Change>) =
        Change::all(&config.transforms).into_iter().partition(|change| change.transform.before_repair());
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    steps.extend(before.into_iter().map(|change| Box::new(change) as Box<dyn Step>));
    steps.push(Box::new(Repair));
    if !config.missing.is_empty() {
        steps.push(Box::new(MissingValues { policies: config.missing.clone() }));
    }
    steps.extend(after.into_iter().map(|change| Box::new(change) as Box<dyn Step>));
    steps.push(Box::new(IdentifyLanguage { wanted: config.languages.clone() }));
    steps.push(Box::new(Length { min: config.min_chars, max: config.max_chars }));
    steps.push(Box::new(Symbols { max_ratio: config.max_symbol_ratio }));
    steps.push(Box::new(RepeatedLines { max_ratio: config.max_repeated_line_ratio }));
    steps
}

fn drop(document: Document, code: impl Into<Cow<'static, str>>, detail: String) -> Outcome {
    Outcome::Drop { document, reason: Reason::new(code, detail) }
}

/// Changes a text, or what is said in each turn of a conversation. `change` gives nothing where it changes nothing; what of
/// a text or a turn is left by it must be something, which `nothing_left` says of one where it is not.
fn changed(mut document: Document, change: &dyn Fn(&str) -> Option<String>, nothing_left: &str) -> Outcome {
    if Conversation::of(&document).is_some() {
        return match change_turns(&mut document, change, nothing_left) {
            Ok(()) => Outcome::Keep(document),
            Err(reason) => Outcome::Drop { document, reason },
        };
    }
    match change(&document.text) {
        Some(text) if text.trim().is_empty() => drop(document, "empty", nothing_left.into()),
        Some(text) => {
            document.set_text(text);
            Outcome::Keep(document)
        }
        None => Outcome::Keep(document),
    }
}

/// Unicode and white space repair; see [`normalize`].
struct Repair;

impl Step for Repair {
    fn name(&self) -> &str {
        "repair"
    }

    fn apply(&self, document: Document) -> Outcome {
        // A text that was empty before is dropped, too.
        let repaired = |text: &str| Some(normalize(text)).filter(|new| new != text || new.is_empty());
        changed(document, &repaired, "nothing but white space and control characters")
    }
}

/// A change of the text that the recipe asks for.
struct Change {
    transform: Transform,
    name: String,
}

impl Change {
    /// Steps are named after their kinds; the second of a kind has a 2 after it.
    fn all(transforms: &[Transform]) -> Vec<Self> {
        let of = |(index, transform): (usize, &Transform)| {
            let earlier = transforms[..index].iter().filter(|other| other.name() == transform.name()).count();
            let number = if earlier == 0 { String::new() } else { format!("_{}", earlier + 1) };
            Self { transform: transform.clone(), name: format!("transform_{}{number}", transform.name()) }
        };
        transforms.iter().enumerate().map(of).collect()
    }
}

impl Step for Change {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, document: Document) -> Outcome {
        let transformed = |text: &str| match self.transform.apply(text) {
            Cow::Borrowed(same) if same.len() == text.len() => None,
            new => Some(new.into_owned()).filter(|new| new != text),
        };
        changed(document, &transformed, &format!("nothing is left after {}", self.transform.name()))
    }
}

/// What becomes of documents without a language or without some field of their metadata.
struct MissingValues {
    policies: BTreeMap<String, Missing>,
}

impl Step for MissingValues {
    fn name(&self) -> &str {
        "missing"
    }

    fn apply(&self, mut document: Document) -> Outcome {
        for (field, policy) in &self.policies {
            if !is_missing(&document, field) {
                continue;
            }
            match policy {
                Missing::Infer => {} // the next step but one does
                Missing::Drop => return drop(document, format!("missing_{field}"), format!("there is no {field}")),
                Missing::Fill(value) => fill(&mut document, field, value),
            }
        }
        Outcome::Keep(document)
    }
}

fn is_missing(document: &Document, field: &str) -> bool {
    if field == "language" {
        return document.language.trim().is_empty();
    }
    match document.metadata.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(_) => false,
    }
}

fn fill(document: &mut Document, field: &str, value: &Value) {
    if field == "language" {
        document.language = value.as_str().unwrap_or_default().into();
    } else {
        document.metadata.insert(field.into(), value.clone());
    }
}

/// Fills in the language where the source does not say it.
struct IdentifyLanguage {
    wanted: Vec<String>,
}

impl Step for IdentifyLanguage {
    fn name(&self) -> &str {
        "language"
    }

    fn apply(&self, mut document: Document) -> Outcome {
        if document.language.is_empty() {
            document.language = detect_language(&document.text).code;
        }
        if self.wanted.is_empty() || self.wanted.contains(&document.language) {
            return Outcome::Keep(document);
        }
        let detail = format!("{}, not one of {}", document.language, self.wanted.join(", "));
        drop(document, "unwanted_language", detail)
    }
}

struct Length {
    min: usize,
    max: usize,
}

impl Step for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn apply(&self, document: Document) -> Outcome {
        let chars = document.text.chars().count();
        if chars < self.min {
            drop(document, "too_short", format!("{chars} characters, fewer than {}", self.min))
        } else if chars > self.max {
            drop(document, "too_long", format!("{chars} characters, more than {}", self.max))
        } else {
            Outcome::Keep(document)
        }
    }
}

/// Tables of figures, rules and rubble: text that is mostly neither letters nor digits.
struct Symbols {
    max_ratio: f64,
}

impl Step for Symbols {
    fn name(&self) -> &str {
        "symbols"
    }

    fn apply(&self, document: Document) -> Outcome {
        let (mut all, mut symbols) = (0u64, 0u64);
        for c in document.text.chars().filter(|c| !c.is_whitespace()) {
            all += 1;
            symbols += u64::from(!c.is_alphanumeric());
        }
        let ratio = symbols as f64 / all.max(1) as f64;
        if ratio > self.max_ratio {
            let detail = format!(
                "{:.0}% are neither letters nor digits, more than {:.0}%",
                ratio * 100.0,
                self.max_ratio * 100.0
            );
            return drop(document, "too_many_symbols", detail);
        }
        Outcome::Keep(document)
    }
}

/// Menus, boilerplate and stuck printers: lines that say what an earlier line said (Rae et al. 2021, "Gopher", A.1.1).
struct RepeatedLines {
    max_ratio: f64,
}

impl Step for RepeatedLines {
    fn name(&self) -> &str {
        "repeated_lines"
    }

    fn apply(&self, document: Document) -> Outcome {
        let mut seen = HashSet::new();
        let (mut all, mut repeated) = (0u64, 0u64);
        for line in document.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            all += line.len() as u64;
            if !seen.insert(line) {
                repeated += line.len() as u64;
            }
        }
        let ratio = repeated as f64 / all.max(1) as f64;
        if ratio > self.max_ratio {
            let detail = format!("{:.0}% in repeated lines, more than {:.0}%", ratio * 100.0, self.max_ratio * 100.0);
            return drop(document, "repeated_lines", detail);
        }
        Outcome::Keep(document)
    }
}

/// Exact deduplication across sources: of documents with the same text the first stays. It must see the documents in their
/// order. The table of hashes takes 17 bytes a slot and is between 7/16 and 7/8 full: 20 to 39 bytes a document.
pub(super) struct Duplicates {
    seen: HashSet<u128>,
    /// What the table may take, also in the moment in which it grows. It is not changed any more once it is full.
    bytes: u64,
}

/// What is known of a document when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    Again,
    /// None of those in the table, which is full: the first of its text, or a copy of one that came since.
    Unknown,
}

impl Duplicates {
    pub(super) const NAME: &'static str = "duplicates";

    pub(super) fn new(bytes: u64) -> Self {
        Self { seen: HashSet::new(), bytes }
    }

    pub(super) fn see(&mut self, document: &Document) -> Seen {
        let id = document.id_number();
        match self.is_full() {
            true if self.seen.contains(&id) => Seen::Again,
            true => Seen::Unknown,
            false if self.seen.insert(id) => Seen::First,
            false => Seen::Again,
        }
    }

    /// A table grows into one of twice its size, and both are there for the moment.
    fn is_full(&self) -> bool {
        const SLOT_BYTES: u64 = 17;
        let slots = self.seen.capacity() as u64 * 8 / 7;
        self.seen.len() == self.seen.capacity() && 3 * SLOT_BYTES * slots > self.bytes
    }

    pub(super) fn reason() -> Reason {
        Reason::new("duplicate", "the same text as an earlier document")
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The code of the reason for which `step` drops `text`; empty when it is kept.
    fn fate(step: &dyn Step, text: &str) -> String {
        match step.apply(Document::new(text, "s")) {
            Outcome::Keep(_) => String::new(),
            Outcome::Drop { reason, .. } => reason.code.into_owned(),
        }
    }

    fn check(step: &dyn Step, text: &str, expect: &str) {
        assert_eq!(fate(step, text), expect, "{} on {text:?}", step.name());
    }

    #[test]
    fn limits_are_inclusive() {
        let length = Length { min: 3, max: 5 };
        for (text, expect) in [("春眠", "too_short"), ("春眠不", ""), ("abcde", ""), ("abcdef", "too_long")] {
            check(&length, text, expect);
        }
        let symbols = Symbols { max_ratio: 0.5 };
        for (text, expect) in [("a-", ""), ("a--", "too_many_symbols"), ("a \n\n b", ""), ("□□春", "too_many_symbols")]
        {
            check(&symbols, text, expect);
        }
        let repeated = RepeatedLines { max_ratio: 0.5 };
        for (text, expect) in [("ab\nab", ""), ("ab\nab\nab", "repeated_lines"), ("ab\n\n\nba", ""), ("one line", "")] {
            check(&repeated, text, expect);
        }
    }

    #[test]
    fn repair_renames_the_document_by_its_new_text() {
        check(&Repair, " \u{FEFF}\r\n", "empty");
        let Outcome::Keep(document) = Repair.apply(Document::new("a\r\nb ", "s")) else { panic!("dropped") };
        assert_eq!(document, Document::new("a\nb", "s"));
    }

    #[test]
    fn language_is_identified_unless_the_source_says_it() {
        let step = IdentifyLanguage { wanted: vec!["zh".into()] };
        check(&step, "秦川雄帝宅，函谷壯皇居。", "");
        check(
            &step,
            "It is a truth universally acknowledged, that a single man must be in want of a wife.",
            "unwanted_language",
        );
        let mut document = Document::new("It is a truth universally acknowledged", "s");
        document.language = "zh".into();
        assert!(matches!(step.apply(document), Outcome::Keep(_)));
    }

    #[test]
    fn only_the_first_of_equal_texts_is_kept() {
        let mut duplicates = Duplicates::new(1 << 20);
        let mut first = |text: &str| duplicates.see(&Document::new(text, "s")) == Seen::First;
        assert_eq!(["a", "b", "a", "a "].map(&mut first), [true, true, false, true]);
    }

    #[test]
    fn a_full_table_knows_what_it_has_and_takes_no_more() {
        let mut duplicates = Duplicates::new(2000);
        let documents: Vec<Document> = (0..200).map(|n| Document::new(format!("document {n}"), "s")).collect();
        let all: Vec<Seen> = documents.iter().map(|document| duplicates.see(document)).collect();
        let full = all.iter().position(|seen| *seen == Seen::Unknown).unwrap();
        assert!(full > 10 && 17 * full < 2000, "{full}");
        assert!(all[..full].iter().all(|seen| *seen == Seen::First));
        for (number, document) in documents.iter().enumerate() {
            assert_eq!(duplicates.see(document), if number < full { Seen::Again } else { Seen::Unknown });
        }
    }

    #[test]
    fn changes_are_named_and_counted_by_kind() {
        let transforms: Vec<Transform> = serde_json::from_value(json!([
            { "kind": "urls" }, { "kind": "mojibake" }, { "kind": "urls", "replacement": "URL" }, { "kind": "simplify" }
        ]))
        .unwrap();
        let config = CleanConfig { transforms, ..CleanConfig::default() };
        let steps = steps(&config);
        let names: Vec<&str> = steps.iter().map(|step| step.name()).take(5).collect();
        assert_eq!(names, ["transform_mojibake", "repair", "transform_urls", "transform_urls_2", "transform_simplify"]);
        check(steps[2].as_ref(), "https://example.org/a", "empty");
        let Outcome::Keep(document) = steps[4].apply(Document::new("春眠不覺曉", "s")) else { panic!("dropped") };
        assert_eq!(document, Document::new("春眠不觉晓", "s"));
        let Outcome::Keep(same) = steps[4].apply(Document::new("plain", "s")) else { panic!("dropped") };
        assert_eq!(same, Document::new("plain", "s"));
    }

    #[test]
    fn missing_values_are_filled_or_drop_the_document() {
        let policies = [
            ("language", Missing::Fill("zh".into())),
            ("score", Missing::Fill(1.into())),
            ("url", Missing::Drop),
            ("a", Missing::Drop),
        ];
        let step = MissingValues { policies: policies.map(|(field, policy)| (field.to_owned(), policy)).into() };
        let with = |metadata: serde_json::Value| {
            let mut document = Document::new("春眠不覺曉", "s");
            document.metadata = metadata.as_object().cloned().unwrap_or_default();
            step.apply(document)
        };
        let Outcome::Keep(kept) = with(json!({ "url": "u", "a": 0, "score": null })) else { panic!("dropped") };
        assert_eq!((kept.language.as_str(), &kept.metadata["score"]), ("zh", &json!(1)));
        let Outcome::Keep(kept) = with(json!({ "url": "u", "a": false, "score": 7 })) else { panic!("dropped") };
        assert_eq!(kept.metadata["score"], json!(7));
        for (metadata, code) in [
            (json!({ "url": " \u{3000}", "a": 1 }), "missing_url"),
            (json!({ "a": null, "url": "u" }), "missing_a"),
            (json!({}), "missing_a"),
        ] {
            let Outcome::Drop { reason, .. } = with(metadata) else { panic!("kept") };
            assert_eq!(reason.code, code);
        }
        let infer = MissingValues { policies: [("language".to_owned(), Missing::Infer)].into() };
        check(&infer, "a", "");
        let drop = MissingValues { policies: [("language".to_owned(), Missing::Drop)].into() };
        check(&drop, "a", "missing_language");
    }
}
