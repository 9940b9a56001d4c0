//! GPT-2's table of printable stand-ins for the 256 bytes, in which vocabularies are written.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The character that stands for each byte: printable Latin-1 bytes are themselves, the others are numbered from U+0100
/// in order.
pub(crate) static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut shifted = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte if printable(byte) => char::from(byte),
        _ => shifted.next().unwrap_or_default(),
    })
});

static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| CHARS.iter().copied().zip(0..=255).collect());

/// The bytes that a token of the vocabulary stands for; nothing where a character of it is not in the table.
pub(crate) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|c| BYTES.get(&c).copied()).collect()
}

/// `bytes` as a vocabulary writes them.
pub(crate) fn written(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| CHARS[byte as usize]).collect()
}
