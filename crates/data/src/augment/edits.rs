//! Easy data augmentation (Wei & Zou 2019) on the words of both languages.

use std::ops::Range;

use danlu_text::{is_cjk, is_stopword};
use serde_json::json;

use super::lexicon::Lexicon;
use super::random::Random;
use super::run::{Made, Skip};
use super::units::{rearrange, words};

pub(super) fn delete(text: &str, rate: f64, random: &mut Random) -> Result<Made, Skip> {
    let places = words(text);
    if places.len() < 2 {
        return Err(Skip::TooShort);
    }
    let mut gone: Vec<bool> = places.iter().map(|_| random.chance(rate)).collect();
    if gone.iter().all(|gone| *gone) {
        gone[random.below(places.len())] = false; // one word stays
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (place, _) in places.iter().zip(&gone).filter(|(_, gone)| **gone) {
        out.push_str(&text[copied..place.start]);
        copied = place.end;
        if (out.is_empty() || out.ends_with(char::is_whitespace)) && text[copied..].starts_with(' ') {
            copied += 1;
        }
    }
    out.push_str(&text[copied..]);
    let deleted = gone.iter().filter(|gone| **gone).count();
    Ok(Made::new(out, json!({ "rate": rate, "words": deleted })))
}

pub(super) fn swap(text: &str, rate: f64, random: &mut Random) -> Result<Made, Skip> {
    let places = words(text);
    if places.len() < 2 {
        return Err(Skip::TooShort);
    }
    let pairs = times(rate, places.len());
    let mut order: Vec<usize> = (0..places.len()).collect();
    for _ in 0..pairs {
        let first = random.below(places.len());
        let second = (first + 1 + random.below(places.len() - 1)) % places.len();
        order.swap(first, second);
    }
    Ok(Made::new(rearrange(text, &places, order.into_iter()), json!({ "rate": rate, "pairs": pairs })))
}

/// At least one: a short text would never change otherwise.
fn times(rate: f64, words: usize) -> usize {
    ((rate * words as f64).round() as usize).max(1)
}

pub(super) fn insert(text: &str, rate: f64, lexicon: &Lexicon, random: &mut Random) -> Result<Made, Skip> {
    let places = words(text);
    let known = with_synonyms(text, &places, lexicon);
    if known.is_empty() {
        return Err(Skip::NoSynonyms);
    }
    let count = times(rate, places.len());
    // By the word after which it goes; the sort is stable.
    let mut insertions: Vec<(usize, &str)> = Vec::with_capacity(count);
    for _ in 0..count {
        let synonyms = random.pick(&known).map_or(&[][..], |(_, synonyms)| *synonyms);
        if let Some(synonym) = random.pick(synonyms) {
            insertions.push((random.below(places.len()), synonym.as_str()));
        }
    }
    insertions.sort_by_key(|(after, _)| *after);
    let mut out = String::with_capacity(text.len() + count * 8);
    let mut copied = 0;
    for (after, synonym) in insertions {
        let end = places[after].end;
        out.push_str(&text[copied..end]);
        copied = end;
        if !(out.ends_with(is_cjk) && synonym.starts_with(is_cjk)) {
            out.push(' ');
        }
        out.push_str(synonym);
    }
    out.push_str(&text[copied..]);
    Ok(Made::new(out, json!({ "rate": rate, "words": count })))
}

pub(super) fn synonyms(text: &str, rate: f64, lexicon: &Lexicon, random: &mut Random) -> Result<Made, Skip> {
    let known = with_synonyms(text, &words(text), lexicon);
    if known.is_empty() {
        return Err(Skip::NoSynonyms);
    }
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut replaced) = (0, 0);
    for (place, synonyms) in known {
        // Two draws for each, so that one word's lot does not shift another's.
        let (chosen, synonym) = (random.chance(rate), random.pick(synonyms));
        if let (true, Some(synonym)) = (chosen, synonym) {
            out.push_str(&text[copied..place.start]);
            out.push_str(&in_the_case_of(&text[place.clone()], synonym));
            copied = place.end;
            replaced += 1;
        }
    }
    out.push_str(&text[copied..]);
    Ok(Made::new(out, json!({ "rate": rate, "words": replaced })))
}

/// The words that are no function words and have synonyms.
fn with_synonyms<'a>(text: &str, places: &[Range<usize>], lexicon: &'a Lexicon) -> Vec<(Range<usize>, &'a [String])> {
    let known = places.iter().filter_map(|place| {
        let word = &text[place.clone()];
        let synonyms = lexicon.synonyms(word)?;
        (!is_stopword(word)).then_some((place.clone(), synonyms))
    });
    known.collect()
}

/// Capitalised or in capitals like the word it replaces.
fn in_the_case_of(word: &str, synonym: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().is_some_and(char::is_uppercase);
    let rest = letters.clone().any(char::is_alphabetic) && !letters.any(char::is_lowercase);
    if first && rest {
        return synonym.to_uppercase();
    }
    let mut out = synonym.chars();
    match out.next() {
        Some(initial) if first => initial.to_uppercase().chain(out).collect(),
        _ => synonym.into(),
    }
}
