//! The words met last and their tokens.

/// Longer words are not kept.
pub(super) const LONGEST: usize = 24;
/// Words of more tokens are not kept.
const MOST_IDS: usize = 9;
/// 2 MB in all.
const SLOTS: usize = 1 << 15;

/// A word of up to [`LONGEST`] bytes, padded with zeros.
pub(super) type Key = [u64; 3];

/// One word has one place; a new one puts the old one out. Bounded, and a look-up reads one cache line.
pub(super) struct Cache {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    key: Key,
    /// Of the word, in bytes; 0 in an empty slot.
    length: u8,
    count: u8,
    ids: [u32; MOST_IDS],
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot { key: [0; 3], length: 0, count: 0, ids: [0; MOST_IDS] }; SLOTS] }
    }

    /// The tokens of `text[start..end]`, which has up to [`LONGEST`] bytes and at least one; `encode` finds those of a
    /// new word.
    #[inline]
    pub(super) fn get(
        &mut self,
        text: &[u8],
        start: usize,
        end: usize,
        out: &mut Vec<u32>,
        encode: impl FnOnce(&mut Vec<u32>),
    ) {
        let (key, length) = (key(text, start, end), (end - start) as u8);
        let slot = &mut self.slots[place(key, length)];
        if slot.length == length && slot.key == key {
            out.extend_from_slice(&slot.ids[..usize::from(slot.count).min(MOST_IDS)]);
            return;
        }
        let before = out.len();
        encode(out);
        let new = &out[before..];
        if new.len() <= MOST_IDS {
            (slot.key, slot.length, slot.count) = (key, length, new.len() as u8);
            slot.ids[..new.len()].copy_from_slice(new);
        }
    }
}

#[inline]
fn place(key: Key, length: u8) -> usize {
    let wide = u128::from(key[0] ^ 0x9E37_79B9_7F4A_7C15) * u128::from(key[1] ^ 0xD6E8_FEB8_6659_FD93);
    let mixed = (wide as u64 ^ (wide >> 64) as u64 ^ key[2]).wrapping_add(u64::from(length));
    (mixed.wrapping_mul(0xA076_1D64_78BD_642F) >> (64 - SLOTS.ilog2())) as usize
}

/// Reads 24 bytes where the text has them, and forgets those after the word.
#[inline]
fn key(text: &[u8], start: usize, end: usize) -> Key {
    let length = end - start;
    let window: [u8; LONGEST] = match text.get(start..start + LONGEST).and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => bytes,
        None => {
            let mut bytes = [0; LONGEST];
            bytes[..length].copy_from_slice(&text[start..end]);
            bytes
        }
    };
    std::array::from_fn(|i| {
        let part: [u8; 8] = std::array::from_fn(|byte| window[i * 8 + byte]);
        u64::from_le_bytes(part) & MASKS[length][i]
    })
}

/// The bits of a key that a word of each length fills.
const MASKS: [Key; LONGEST + 1] = {
    let mut masks = [[0; 3]; LONGEST + 1];
    let mut length = 0;
    while length <= LONGEST {
        let mut byte = 0;
        while byte < length {
            masks[length][byte / 8] |= 0xff << (byte % 8 * 8);
            byte += 1;
        }
        length += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_bytes_of_the_word_alone() {
        let text = b"the quick brown fox jumps over the lazy dog";
        for start in 0..text.len() {
            for end in start + 1..=text.len().min(start + LONGEST) {
                let mut alone = [0; LONGEST];
                alone[..end - start].copy_from_slice(&text[start..end]);
                assert_eq!(key(text, start, end), key(&alone, 0, end - start), "{start} {end}");
                let bytes: Vec<u8> = key(text, start, end).iter().flat_map(|part| part.to_le_bytes()).collect();
                assert_eq!(bytes, alone);
            }
        }
    }

    #[test]
    fn a_word_is_found_again_and_a_longer_one_with_zeros_is_another() {
        let mut cache = Cache::new();
        let mut out = Vec::new();
        cache.get(b"ab", 0, 2, &mut out, |out| out.push(7));
        cache.get(b"ab", 0, 2, &mut out, |out| out.push(8));
        cache.get(b"ab\0", 0, 3, &mut out, |out| out.push(9));
        cache.get(b"many", 0, 4, &mut out, |out| out.extend([0; MOST_IDS + 1]));
        cache.get(b"many", 0, 4, &mut out, |out| out.push(1));
        assert_eq!(out, [&[7, 7, 9][..], &[0; MOST_IDS + 1], &[1]].concat());
    }
}
