//! How good translations are: BLEU (Papineni et al. 2002) and chrF (Popović 2015, 2017), by the definitions of sacreBLEU
//! (Post 2018) with its usual settings, so that figures can stand beside published ones.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Longest n-grams of words in BLEU.
const BLEU_ORDER: usize = 4;
/// Longest n-grams of characters in chrF.
const CHRF_ORDER: usize = 6;
/// Longest n-grams of words in chrF++.
const CHRF_WORD_ORDER: usize = 2;
/// How much more recall counts than precision in chrF, squared.
const CHRF_FACTOR: f64 = 4.0;

/// What BLEU takes for a word, as sacreBLEU calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BleuTokenizer {
    /// Words and punctuation, as the campaigns of WMT have it (mteval-v13a).
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Each Chinese character is a word.
    Zh,
    /// Each character is a word.
    Char,
}

impl BleuTokenizer {
    /// The usual one for texts in `language` (ISO 639-1).
    pub fn of(language: &str) -> Self {
        match language.split('-').next() {
            Some("zh") => Self::Zh,
            _ => Self::V13a,
        }
    }

    fn words(self, text: &str) -> Vec<String> {
        let text = text.trim_end_matches(is_space);
        let spaced = match self {
            Self::V13a => western(&format!(" {} ", plain(text))),
            Self::Zh => {
                let mut spaced = String::with_capacity(3 * text.len());
                for c in text.trim_start_matches(is_space).chars() {
                    match is_chinese(c) {
                        true => spaced.extend([' ', c, ' ']),
                        false => spaced.push(c),
                    }
                }
                western(&spaced)
            }
            Self::Char => text.chars().flat_map(|c| [c, ' ']).collect(),
        };
        spaced.split(is_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

/// BLEU of a whole test set and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bleu {
    /// From 0 to 100.
    pub score: f64,
    /// Share of n-grams that a reference has, for 1 to 4 words, in percent; smoothed where it would be 0.
    pub precisions: [f64; BLEU_ORDER],
    /// What translations that are too short lose.
    pub brevity_penalty: f64,
    /// Words in the translations, and in the references of the closest length.
    pub words: u64,
    pub reference_words: u64,
    pub tokenizer: BleuTokenizer,
}

/// The figures of a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TranslationScores {
    pub segments: u64,
    pub bleu: Bleu,
    /// F-score of n-grams of 1 to 6 characters, from 0 to 100.
    pub chrf: f64,
    /// With n-grams of one and two words beside them (chrF++).
    pub chrf_plus_plus: f64,
}

/// Scores translations; `references` holds at least one for each.
///
/// `None` if there is nothing to score, or not at least one reference for each translation.
pub fn score_translations<H, R>(
    translations: &[H],
    references: &[Vec<R>],
    tokenizer: BleuTokenizer,
) -> Option<TranslationScores>
where
    H: AsRef<str>,
    R: AsRef<str>,
{
    let fits = translations.len() == references.len() && references.iter().all(|of| !of.is_empty());
    if translations.is_empty() || !fits {
        return None;
    }
    let (mut bleu, mut chrf, mut chrf_plus_plus) =
        (BleuCounts::default(), ChrfCounts::new(0), ChrfCounts::new(CHRF_WORD_ORDER));
    for (translation, references) in translations.iter().zip(references) {
        let references: Vec<&str> = references.iter().map(AsRef::as_ref).collect();
        bleu.add(translation.as_ref(), &references, tokenizer);
        chrf.add(translation.as_ref(), &references);
        chrf_plus_plus.add(translation.as_ref(), &references);
    }
    Some(TranslationScores {
        segments: translations.len() as u64,
        bleu: bleu.score(tokenizer),
        chrf: chrf.score(),
        chrf_plus_plus: chrf_plus_plus.score(),
    })
}

/// N-grams by how often they occur.
fn counted<T: Hash + Eq>(items: impl Iterator<Item = T>) -> HashMap<T, u64> {
    let mut counts = HashMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

#[derive(Debug, Default)]
struct BleuCounts {
    hits: [u64; BLEU_ORDER],
    all: [u64; BLEU_ORDER],
    words: u64,
    reference_words: u64,
}

impl BleuCounts {
    fn add(&mut self, translation: &str, references: &[&str], tokenizer: BleuTokenizer) {
        let words = tokenizer.words(translation);
        let references: Vec<Vec<String>> = references.iter().map(|text| tokenizer.words(text)).collect();
        let closest = references.iter().map(Vec::len).min_by_key(|len| (len.abs_diff(words.len()), *len));
        self.words += words.len() as u64;
        self.reference_words += closest.unwrap_or(0) as u64;
        for order in 1..=BLEU_ORDER {
            let references: Vec<_> = references.iter().map(|words| counted(words.windows(order))).collect();
            for (gram, count) in counted(words.windows(order)) {
                let most = references.iter().filter_map(|grams| grams.get(gram)).max();
                self.hits[order - 1] += count.min(most.copied().unwrap_or(0));
                self.all[order - 1] += count;
            }
        }
    }

    fn score(&self, tokenizer: BleuTokenizer) -> Bleu {
        let (words, reference_words) = (self.words, self.reference_words);
        let brevity_penalty = match words {
            0 if reference_words > 0 => 0.0,
            _ if words < reference_words => (1.0 - reference_words as f64 / words as f64).exp(),
            _ => 1.0,
        };
        let mut precisions = [0.0; BLEU_ORDER];
        let mut score = 0.0;
        if self.hits.iter().any(|hits| *hits > 0) {
            // Orders without a hit count for half a hit, a quarter, ... (Chen and Cherry 2014, method 3).
            let mut halves = 1.0;
            for ((precision, hits), all) in precisions.iter_mut().zip(self.hits).zip(self.all).take_while(|of| of.1 > 0)
            {
                if hits == 0 {
                    halves *= 2.0;
                }
                *precision = 100.0 * if hits == 0 { 1.0 / halves } else { hits as f64 } / all as f64;
            }
            let log = precisions.iter().map(|p| if *p > 0.0 { p.ln() } else { f64::NEG_INFINITY }).sum::<f64>();
            score = brevity_penalty * (log / BLEU_ORDER as f64).exp();
        }
        Bleu { score, precisions, brevity_penalty, words, reference_words, tokenizer }
    }
}

/// N-grams of a translation, of its best reference, and in both, by order: characters first, then words.
#[derive(Debug)]
struct ChrfCounts {
    orders: Vec<[u64; 3]>,
    word_order: usize,
}

impl ChrfCounts {
    fn new(word_order: usize) -> Self {
        ChrfCounts { orders: vec![[0; 3]; CHRF_ORDER + word_order], word_order }
    }

    fn add(&mut self, translation: &str, references: &[&str]) {
        let translation = Grams::new(translation);
        let mut best: Option<(f64, Vec<[u64; 3]>)> = None;
        for reference in references {
            let reference = Grams::new(reference);
            let mut counts: Vec<_> =
                (1..=CHRF_ORDER).map(|n| shared(&translation.characters, &reference.characters, n)).collect();
            counts.extend((1..=self.word_order).map(|n| shared(&translation.words, &reference.words, n)));
            let score = f_score(&counts);
            if best.as_ref().is_none_or(|(best, _)| score > *best) {
                best = Some((score, counts));
            }
        }
        let (_, counts) = best.unwrap_or_default();
        self.orders.iter_mut().zip(counts).for_each(|(sum, counts)| (0..3).for_each(|i| sum[i] += counts[i]));
    }

    fn score(&self) -> f64 {
        f_score(&self.orders)
    }
}

/// A text as chrF reads it.
struct Grams {
    /// Without white space.
    characters: Vec<char>,
    /// Punctuation at a word's end, or else at its beginning, is a word of its own.
    words: Vec<String>,
}

impl Grams {
    fn new(text: &str) -> Self {
        let characters = text.chars().filter(|c| !is_space(*c)).collect();
        let mut words = Vec::new();
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            let ends = (word.chars().next(), word.chars().next_back());
            match ends {
                (_, Some(last)) if last.is_ascii_punctuation() && word.len() > 1 => {
                    let (rest, last) = word.split_at(word.len() - last.len_utf8());
                    words.extend([rest.to_owned(), last.to_owned()]);
                }
                (Some(first), _) if first.is_ascii_punctuation() && word.len() > 1 => {
                    let (first, rest) = word.split_at(first.len_utf8());
                    words.extend([first.to_owned(), rest.to_owned()]);
                }
                _ => words.push(word.to_owned()),
            }
        }
        Grams { characters, words }
    }
}

/// N-grams of a translation, of a reference, and in both. Where the reference has none, those of the translation do not count.
fn shared<T: Hash + Eq>(translation: &[T], reference: &[T], order: usize) -> [u64; 3] {
    let of_reference = counted(reference.windows(order));
    let all = |items: &[T]| (items.len() + 1).saturating_sub(order) as u64;
    let hits = counted(translation.windows(order)).into_iter().map(|(gram, count)| match of_reference.get(gram) {
        Some(most) => count.min(*most),
        None => 0,
    });
    let held = if of_reference.is_empty() { 0 } else { all(translation) };
    [held, all(reference), hits.sum()]
}

/// Of mean precision and mean recall over the orders that both sides have n-grams of.
fn f_score(orders: &[[u64; 3]]) -> f64 {
    let both: Vec<_> =
        orders.iter().filter(|[of_translation, of_reference, _]| *of_translation > 0 && *of_reference > 0).collect();
    let mean =
        |side: usize| both.iter().map(|order| order[2] as f64 / order[side] as f64).sum::<f64>() / both.len() as f64;
    let (precision, recall) = (mean(0), mean(1));
    match precision + recall > 0.0 {
        true => 100.0 * (1.0 + CHRF_FACTOR) * precision * recall / (CHRF_FACTOR * precision + recall),
        false => 0.0,
    }
}

/// White space as Python has it, which has four control characters more than Unicode.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn plain(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

/// Punctuation as words of its own; full stops, commas and dashes within numbers stay.
fn western(text: &str) -> String {
    #[expect(clippy::unwrap_used, reason = "the patterns are constants that the tests compile")]
    static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        [
            (Regex::new(r"([{-~\[-` -&(-+:-@/])").unwrap(), " $1 "),
            (Regex::new(r"([^0-9])([.,])").unwrap(), "$1 $2 "),
            (Regex::new(r"([.,])([^0-9])").unwrap(), " $1 $2"),
            (Regex::new(r"([0-9])(-)").unwrap(), "$1 $2 "),
        ]
    });
    RULES.iter().fold(text.to_owned(), |text, (pattern, by)| pattern.replace_all(&text, *by).into_owned())
}

/// Chinese as sacreBLEU has it. Its list holds U+2001 to U+2A6D, dashes and quotation marks among them, where it means
/// extension B (its Python writes `\u20000`); figures stay comparable only if we count as it does.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}'
        | '\u{fa70}'..='\u{fad9}' | '\u{2001}'..='\u{2a6d}' | '\u{2f81}'..='\u{2fa1}' | '\u{ff00}'..='\u{ffef}'
        | '\u{2e80}'..='\u{2eff}' | '\u{3000}'..='\u{303f}' | '\u{31c0}'..='\u{31ef}' | '\u{2f00}'..='\u{2fdf}'
        | '\u{2ff0}'..='\u{2fff}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' | '\u{fe10}'..='\u{fe1f}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{33ff}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        translations: Vec<String>,
        references: Vec<Vec<String>>,
        tokenizer: BleuTokenizer,
        bleu: f64,
        precisions: [f64; 4],
        brevity_penalty: f64,
        words: u64,
        reference_words: u64,
        chrf: f64,
        chrf_plus_plus: f64,
    }

    /// The figures of sacreBLEU; scripts/golden_translation.py made the file.
    #[test]
    fn the_figures_are_those_of_sacrebleu() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/golden/translation.json")).unwrap();
        assert!(cases.len() >= 9);
        for (at, case) in cases.iter().enumerate() {
            let scores = score_translations(&case.translations, &case.references, case.tokenizer).unwrap();
            let near = |name: &str, ours: f64, theirs: f64| {
                assert!((ours - theirs).abs() < 1e-9, "{at}: {name} {ours} {theirs}")
            };
            near("BLEU", scores.bleu.score, case.bleu);
            near("brevity penalty", scores.bleu.brevity_penalty, case.brevity_penalty);
            scores.bleu.precisions.iter().zip(case.precisions).for_each(|(a, b)| near("precision", *a, b));
            assert_eq!((scores.bleu.words, scores.bleu.reference_words), (case.words, case.reference_words), "{at}");
            near("chrF", scores.chrf, case.chrf);
            near("chrF++", scores.chrf_plus_plus, case.chrf_plus_plus);
        }
    }

    #[test]
    fn what_cannot_be_scored_is_none() {
        let none: [&str; 0] = [];
        assert_eq!(score_translations(&none, &Vec::<Vec<&str>>::new(), BleuTokenizer::Zh), None);
        assert_eq!(score_translations(&["a"], &[Vec::<&str>::new()], BleuTokenizer::Zh), None);
        assert_eq!(score_translations(&["a", "b"], &[vec!["a"]], BleuTokenizer::Zh), None);
    }

    #[test]
    fn the_tokenizer_follows_the_language() {
        assert_eq!(BleuTokenizer::of("zh-CN"), BleuTokenizer::Zh);
        assert_eq!(BleuTokenizer::of("de"), BleuTokenizer::V13a);
    }
}
