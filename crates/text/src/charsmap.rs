//! SentencePiece's table of characters (`precompiled_charsmap`), as far as it takes to know that it may be used. The crate that
//! applies it takes the table's word for all of its sizes and places:
//!
//! ```text
//! bytes of the trie, u32   the trie, a double array (Aoe 1989, "Darts") of u32   texts, each ending in a zero
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// Whether a table is whole: every step of its trie stays within it, and every text that it names begins where a character does.
///
/// # Errors
/// What is wrong with it.
pub fn check_charsmap(bytes: &[u8]) -> Result<(), &'static str> {
    let (size, rest) = bytes.split_first_chunk().ok_or("a table of characters without its size")?;
    let size = u32::from_le_bytes(*size) as usize;
    let (trie, texts) = rest.split_at_checked(size).ok_or("a table of characters that is shorter than it says")?;
    let texts = std::str::from_utf8(texts).map_err(|_| "a table of characters whose texts are not UTF-8")?;
    let units: Vec<u32> =
        trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    if !size.is_multiple_of(4) || units.is_empty() {
        return Err("a table of characters without a trie");
    }
    let outside = "a table of characters that points outside itself";
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(units[0])];
    while let Some(node) = open.pop() {
        if node | 0xff >= units.len() {
            return Err(outside);
        }
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        for byte in 1..=0xff {
            let at = node ^ byte;
            let unit = units[at];
            if unit & (1 << 31 | 0xff) != byte as u32 {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let text = units.get(next).ok_or(outside)? & !(1 << 31);
                if !texts.is_char_boundary(text as usize) {
                    return Err(outside);
                }
            }
            open.push(next);
        }
    }
    Ok(())
}

fn offset(unit: u32) -> usize {
    (unit as usize >> 10) << ((unit & 1 << 9) >> 6)
}

/// [`check_charsmap`] of all tables in a tokenizer.json.
pub(crate) fn check_json(json: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Outline {
        #[serde(default)]
        normalizer: Value,
    }
    match serde_json::from_str(json) {
        Ok(Outline { normalizer }) => check_steps(&normalizer),
        Err(_) => Ok(()), // which is for the crate to say
    }
}

fn check_steps(step: &Value) -> Result<(), String> {
    if let Some(table) = step["precompiled_charsmap"].as_str() {
        let bytes = STANDARD.decode(table).map_err(|error| format!("precompiled_charsmap: {error}"))?;
        check_charsmap(&bytes)?;
    }
    step["normalizers"].as_array().into_iter().flatten().try_for_each(check_steps)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A table that makes "b" of "a": the root's children begin at 256, that of "a" has its value at 512.
    fn table() -> Vec<u8> {
        let mut units = vec![0u32; 768];
        units[0] = 256 << 10;
        let a = 256 ^ usize::from(b'a');
        units[a] = ((a ^ 512) as u32) << 10 | 1 << 8 | u32::from(b'a');
        units[512] = 1 << 31 | 1;
        let trie = units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, "é\0b\0".as_bytes()].concat()
    }

    fn json(table: &[u8]) -> String {
        let step = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(table)});
        serde_json::json!({"normalizer": {"type": "Sequence", "normalizers": [step]}}).to_string()
    }

    #[test]
    fn a_table_that_points_within_itself_may_be_used() {
        assert_eq!(
            check_charsmap(&table()),
            Err("a table of characters that points outside itself"),
            "1 is within the é"
        );
        let mut sound = table();
        let at = 4 + 4 * 512;
        sound[at] = 3;
        assert_eq!(check_charsmap(&sound), Ok(()));
        assert_eq!(check_json(&json(&sound)), Ok(()));
        let applied = spelled(&sound, "a☃a");
        assert_eq!(applied, "b☃b");
    }

    /// What the crate makes of a text.
    fn spelled(table: &[u8], text: &str) -> String {
        use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
        let step = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(table)});
        let step: NormalizerWrapper = serde_json::from_value(step).unwrap();
        let mut normalized = NormalizedString::from(text);
        step.normalize(&mut normalized).unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn what_is_beyond_is_told() {
        let mut sound = table();
        sound[4 + 4 * 512] = 3;
        let says = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
            let mut table = sound.clone();
            change(&mut table);
            let said = check_charsmap(&table).unwrap_err();
            assert!(said.contains(what), "{said}");
            assert!(check_json(&json(&table)).unwrap_err().contains(what));
        };
        says(&|table| table.truncate(3), "without its size");
        says(&|table| table[3] = 0xff, "shorter than it says");
        says(&|table| table[..4].fill(0), "not UTF-8");
        says(&|table| *table = vec![0; 8], "without a trie");
        says(&|table| table[4..8].copy_from_slice(&(800u32 << 10).to_le_bytes()), "outside itself");
        says(&|table| table[4 + 4 * 512 + 1] = 1, "outside itself");
        assert!(check_json(r#"{"normalizer": {"precompiled_charsmap": "*"}}"#).unwrap_err().contains("charsmap"));
        assert_eq!(check_json("no JSON"), Ok(()));
    }
}
