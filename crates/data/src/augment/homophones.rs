//! Chinese characters that sound alike.

use std::collections::HashMap;
use std::sync::LazyLock;

use encoding_rs::GBK;
use pinyin::ToPinyin;
use serde_json::json;

use super::random::Random;
use super::run::{Made, Skip};

/// Common characters by syllable, with its tone and without.
static BY_SOUND: LazyLock<HashMap<&'static str, Vec<char>>> = LazyLock::new(|| {
    let mut by_sound: HashMap<&str, Vec<char>> = HashMap::new();
    for c in common_characters() {
        if let Some(sound) = c.to_pinyin() {
            by_sound.entry(sound.with_tone()).or_default().push(c);
            if sound.plain() != sound.with_tone() {
                by_sound.entry(sound.plain()).or_default().push(c);
            }
        }
    }
    by_sound
});

/// Level 1 of GB 2312: the 3,755 characters that are in common use.
fn common_characters() -> Vec<char> {
    let codes = (0xB0..=0xD7u8).flat_map(|lead| (0xA1..=0xFEu8).map(move |trail| [lead, trail]));
    let decoded =
        codes.filter(|code| *code < [0xD7, 0xFA]).map(|code| GBK.decode_without_bom_handling(&code).0.chars().next());
    decoded.flatten().collect()
}

pub(super) fn homophones(text: &str, rate: f64, same_tone: bool, random: &mut Random) -> Result<Made, Skip> {
    let mut out = String::with_capacity(text.len());
    let (mut able, mut replaced) = (0, 0);
    for c in text.chars() {
        let others = others(c, same_tone);
        able += usize::from(!others.is_empty());
        let chosen = !others.is_empty() && random.chance(rate);
        match random.pick(&others).filter(|_| chosen) {
            Some(other) => {
                out.push(*other);
                replaced += 1;
            }
            None => out.push(c),
        }
    }
    if able == 0 {
        return Err(Skip::NoChinese);
    }
    Ok(Made::new(out, json!({ "rate": rate, "same_tone": same_tone, "characters": replaced })))
}

fn others(c: char, same_tone: bool) -> Vec<char> {
    let Some(sound) = c.to_pinyin() else { return Vec::new() };
    let sound = if same_tone { sound.with_tone() } else { sound.plain() };
    BY_SOUND.get(sound).map_or_else(Vec::new, |all| all.iter().copied().filter(|other| *other != c).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds() {
        assert_eq!(common_characters().len(), 3755);
        assert!(others('他', true).contains(&'她') && !others('他', true).contains(&'他'));
        assert!(others('妈', false).contains(&'马') && !others('妈', true).contains(&'马'));
        assert!(others('a', true).is_empty() && others('，', true).is_empty());
    }
}
