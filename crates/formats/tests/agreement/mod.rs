//! How far a text agrees with the one that was expected.

use std::collections::HashMap;

/// The harmonic mean of the shares of words that two texts have in common (F1); a Chinese character is a word.
pub fn f1(text: &str, expect: &str) -> f64 {
    let mut left: HashMap<String, usize> = HashMap::new();
    let (words, expected) = (words(text), words(expect));
    let all = words.len() + expected.len();
    for word in expected {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0_u32;
    for word in words {
        if let Some(count) = left.get_mut(&word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if all == 0 { 1.0 } else { 2.0 * f64::from(common) / all as f64 }
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.chars() {
        let is_chinese = ('\u{2E80}'..='\u{9FFF}').contains(&c) || c >= '\u{F900}';
        if is_chinese || !c.is_alphanumeric() {
            words.push(if c.is_whitespace() { String::new() } else { c.to_string() });
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Fails unless the text is the expected one, and says how much of it is, and where the first difference lies.
pub fn check(name: &str, text: &str, expect: &str) {
    let expect = expect.trim_end();
    let difference = text.lines().zip(expect.lines()).enumerate().find(|(_, (is, should))| is != should);
    assert!(text == expect, "{name}: F1 {:.4}; first different line (from 0): {difference:#?}", f1(text, expect));
}
