//! Slips of the fingers.

use serde_json::json;

use super::random::Random;
use super::run::{Made, Skip};

/// The keys around each letter of a QWERTY keyboard.
fn neighbours(letter: char) -> &'static str {
    match letter.to_ascii_lowercase() {
        'q' => "wa",
        'w' => "qeas",
        'e' => "wrsd",
        'r' => "etdf",
        't' => "ryfg",
        'y' => "tugh",
        'u' => "yihj",
        'i' => "uojk",
        'o' => "ipkl",
        'p' => "ol",
        'a' => "qwsz",
        's' => "weadzx",
        'd' => "ersfxc",
        'f' => "rtdgcv",
        'g' => "tyfhvb",
        'h' => "yugjbn",
        'j' => "uihknm",
        'k' => "iojlm",
        'l' => "opk",
        'z' => "asx",
        'x' => "sdzc",
        'c' => "dfxv",
        'v' => "fgcb",
        'b' => "ghvn",
        'n' => "hjbm",
        'm' => "jkn",
        _ => "",
    }
}

pub(super) fn keyboard(text: &str, rate: f64, random: &mut Random) -> Result<Made, Skip> {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut letters, mut slips) = (0, 0);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        letters += usize::from(c.is_ascii_alphabetic());
        if !c.is_ascii_alphabetic() || !random.chance(rate) {
            out.push(c);
            continue;
        }
        slips += 1;
        let beside = neighbour(c, random);
        match (random.below(4), characters.peek().copied()) {
            (0, _) => out.push(beside),
            (1, _) => out.extend([c, beside]),
            (2, Some(next)) if next.is_ascii_alphabetic() && next != c => {
                characters.next();
                letters += 1;
                out.extend([next, c]);
            }
            (2, _) => out.push(beside),
            _ => {} // left out
        }
    }
    if letters == 0 {
        return Err(Skip::NoLetters);
    }
    Ok(Made::new(out, json!({ "rate": rate, "slips": slips })))
}

fn neighbour(letter: char, random: &mut Random) -> char {
    let keys = neighbours(letter).as_bytes();
    let key = random.pick(keys).map_or(letter, |&key| char::from(key));
    if letter.is_ascii_uppercase() { key.to_ascii_uppercase() } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_mutual() {
        for a in 'a'..='z' {
            assert!(!neighbours(a).is_empty() && !neighbours(a).contains(a));
            for b in neighbours(a).chars() {
                assert!(neighbours(b).contains(a), "{a} is beside {b}");
            }
        }
    }
}
