//! ToUnicode CMaps (ISO 32000-1, 9.10.3): from character codes to text.

use std::collections::HashMap;

/// Entries of one font; a font has at most 65,536 glyphs.
const MAX_ENTRIES: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct CMap {
    /// By number of bytes and code.
    entries: HashMap<(usize, u32), String>,
    /// The lengths that codes have.
    pub(super) lengths: Vec<usize>,
}

enum Token<'a> {
    Hex(Vec<u8>),
    Word(&'a [u8]),
    Open,
    Close,
}

impl CMap {
    pub(super) fn parse(data: &[u8]) -> Self {
        let mut cmap = Self::default();
        let mut tokens = Tokens(data);
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(b"begincodespacerange") => cmap.code_spaces(&mut tokens),
                Token::Word(b"beginbfchar") => cmap.characters(&mut tokens),
                Token::Word(b"beginbfrange") => cmap.ranges(&mut tokens),
                _ => {}
            }
        }
        cmap
    }

    pub(super) fn get(&self, length: usize, code: u32) -> Option<&str> {
        self.entries.get(&(length, code)).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn code_spaces(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(low)) = tokens.next() {
            if !self.lengths.contains(&low.len()) && (1..=4).contains(&low.len()) {
                self.lengths.push(low.len());
            }
            tokens.next();
        }
        self.lengths.sort_unstable();
    }

    fn characters(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(code)) = tokens.next() {
            if let Some(Token::Hex(text)) = tokens.next() {
                self.put(code.len(), number(&code), utf16(&text));
            }
        }
    }

    fn ranges(&mut self, tokens: &mut Tokens<'_>) {
        while let Some(Token::Hex(low)) = tokens.next() {
            let Some(Token::Hex(high)) = tokens.next() else { return };
            let codes = number(&low)..=number(&high).min(number(&low).saturating_add(0xFFFF));
            match tokens.next() {
                Some(Token::Hex(first)) => {
                    // The last unit counts up.
                    for (step, code) in (0u32..).zip(codes) {
                        self.put(low.len(), code, utf16(&counted(&first, step)));
                    }
                }
                Some(Token::Open) => {
                    for code in codes {
                        let Some(Token::Hex(text)) = tokens.next() else { break };
                        self.put(low.len(), code, utf16(&text));
                    }
                }
                _ => return,
            }
        }
    }

    fn put(&mut self, length: usize, code: u32, text: String) {
        if self.entries.len() < MAX_ENTRIES && !text.is_empty() {
            self.entries.insert((length, code), text);
        }
    }
}

fn counted(first: &[u8], step: u32) -> Vec<u8> {
    let mut out = first.to_vec();
    let mut carry = step;
    for byte in out.iter_mut().rev().take(2) {
        let sum = u32::from(*byte) + (carry & 0xFF);
        *byte = sum as u8;
        carry = (carry >> 8) + (sum >> 8);
    }
    out
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, &byte| number << 8 | u32::from(byte))
}

fn utf16(bytes: &[u8]) -> String {
    if let [byte] = bytes {
        return char::from(*byte).to_string();
    }
    let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let text = char::decode_utf16(units.take(32)).filter_map(Result::ok);
    text.filter(|c| *c != '\0').collect()
}

/// The words of a CMap; PostScript's comments, names and numbers are passed over.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.0 = self.0.trim_ascii_start();
            let (&first, rest) = self.0.split_first()?;
            match first {
                b'%' => {
                    self.0 = &rest[rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())..]
                }
                b'[' | b']' => {
                    self.0 = rest;
                    return Some(if first == b'[' { Token::Open } else { Token::Close });
                }
                b'<' if !rest.starts_with(b"<") => {
                    let end = rest.iter().position(|&byte| byte == b'>').unwrap_or(rest.len());
                    self.0 = &rest[(end + 1).min(rest.len())..];
                    return Some(Token::Hex(hex(&rest[..end])));
                }
                _ => {
                    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"<>[]%/".contains(byte);
                    let end = 1 + rest.iter().position(is_end).unwrap_or(rest.len());
                    let word = &self.0[..end];
                    self.0 = &self.0[end..];
                    return Some(Token::Word(word));
                }
            }
        }
    }
}

fn hex(digits: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> =
        digits.iter().filter_map(|&digit| char::from(digit).to_digit(16)).map(|digit| digit as u8).take(256).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::CMap;

    #[test]
    fn characters_and_ranges() {
        let cmap = CMap::parse(
            b"/CIDInit /ProcSet findresource begin 1 begincodespacerange <0000> <FFFF> endcodespacerange\n\
            2 beginbfchar <0003> <0020> <0004> <00660069> endbfchar % comment <0009> <0041>\n\
            2 beginbfrange <0010> <0012> <4E2D> <0020> <0021> [<0061> <D842DFB7>] endbfrange end",
        );
        let all = [(3, " "), (4, "fi"), (0x10, "中"), (0x11, "丮"), (0x12, "丯"), (0x20, "a"), (0x21, "𠮷")];
        for (code, text) in all {
            assert_eq!(cmap.get(2, code), Some(text));
        }
        assert_eq!((cmap.get(2, 9), cmap.lengths.as_slice()), (None, &[2][..]));
    }
}
