//! The codebooks in a setup header of Vorbis (Vorbis I specification, 3.2.1), as far as it takes to know how large they are.

/// More entries than the codebooks of any encoder have.
const MOST_ENTRIES: u32 = 1 << 18;
/// More numbers than they stand for.
const MOST_NUMBERS: u64 = 1 << 22;

/// Whether the codebooks of a setup header, without its first seven bytes, are no larger than codebooks are. What is broken
/// otherwise is not looked at.
pub(super) fn tables_fit(header: &[u8]) -> bool {
    let mut bits = Bits { bytes: header, at: 0 };
    let books = bits.take(8).map_or(0, |n| n + 1);
    (0..books).map_while(|_| book(&mut bits)).all(|fits| fits)
}

/// Whether the next codebook fits; `None` where it is no codebook.
fn book(bits: &mut Bits<'_>) -> Option<bool> {
    if bits.take(24)? != 0x0056_4342 {
        return None;
    }
    let (dimensions, entries) = (bits.take(16)?, bits.take(24)?);
    if entries > MOST_ENTRIES {
        return Some(false);
    }
    lengths(bits, entries)?;
    let kind = bits.take(4)?;
    if kind == 0 {
        return Some(true);
    }
    let numbers = u64::from(dimensions) * u64::from(entries);
    if dimensions == 0 || numbers > MOST_NUMBERS {
        return Some(false);
    }
    bits.skip(64);
    let width = u64::from(bits.take(4)?) + 1;
    bits.skip(1);
    let values = if kind == 1 { root(entries, dimensions) } else { numbers };
    bits.skip(width * values);
    Some(true)
}

/// Goes past the lengths of the codewords.
fn lengths(bits: &mut Bits<'_>, entries: u32) -> Option<()> {
    if bits.take(1)? == 0 {
        let sparse = bits.take(1)? == 1;
        for _ in 0..entries {
            if !sparse || bits.take(1)? == 1 {
                bits.skip(5);
            }
        }
        return Some(());
    }
    bits.skip(5);
    let mut done = 0;
    // So many codewords of one bit more each time, up to 32 bits.
    for _ in 0..32 {
        if done < entries {
            done += bits.take(32 - (entries - done).leading_zeros())?;
        }
    }
    (done == entries).then_some(())
}

/// The largest whole number of which this power is no more than `entries`.
fn root(entries: u32, dimensions: u32) -> u64 {
    let fits = |value: u64| {
        let mut power = 1u64;
        (0..dimensions).all(|_| {
            power = power.saturating_mul(value);
            power <= u64::from(entries)
        })
    };
    (1..=u64::from(entries)).take_while(|value| fits(*value)).last().unwrap_or(0)
}

/// Bits from the lowest one of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    /// So many bits, 32 at most; nothing at the end.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for place in 0..count {
            let byte = self.bytes.get(usize::try_from(self.at / 8).ok()?)?;
            number |= u32::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(number)
    }

    fn skip(&mut self, count: u64) {
        self.at = self.at.saturating_add(count);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A header of these fields, each of so many bits.
    fn header(fields: &[(u64, u32)]) -> Vec<u8> {
        let (mut bytes, mut at) = (Vec::new(), 0);
        for (value, width) in fields {
            for place in 0..*width {
                if at % 8 == 0 {
                    bytes.push(0);
                }
                *bytes.last_mut().unwrap() |= ((value >> place & 1) as u8) << (at % 8);
                at += 1;
            }
        }
        bytes
    }

    const SYNC: (u64, u32) = (0x0056_4342, 24);

    #[test]
    fn books_are_counted_whatever_their_lengths_are_written_as() {
        // Two books: four codewords of two bits each in order, with one value of four bits for each of two dimensions; and two of
        // three codewords, sparse. The second alone is too large, and is found.
        let ordered = [SYNC, (2, 16), (4, 24), (1, 1), (1, 5), (4, 3), (1, 4), (0, 64), (3, 4), (0, 1), (0, 8)];
        let sparse = [SYNC, (1, 16), (3, 24), (0, 1), (1, 1), (1, 1), (7, 5), (0, 1), (1, 1), (7, 5), (0, 4)];
        let large = [SYNC, (65_535, 16), (1 << 17, 24), (1, 1), (16, 5), (1 << 17, 18), (1, 4), (0, 64)];
        let of =
            |books: &[&[(u64, u32)]]| header(&[&[(books.len() as u64 - 1, 8)], books.concat().as_slice()].concat());
        assert!(tables_fit(&of(&[&ordered, &sparse])));
        assert!(!tables_fit(&of(&[&ordered, &large])));
        assert!(!tables_fit(&of(&[&sparse, &ordered, &large])));
        assert!(!tables_fit(&of(&[&[SYNC, (1, 16), ((1 << 24) - 1, 24)]])));
        assert!(!tables_fit(&of(&[&[SYNC, (0, 16), (1, 24), (0, 2), (0, 5), (1, 4), (0, 64)]])));
        // What is cut is for the decoder to say.
        let whole = of(&[&ordered, &sparse]);
        assert!((0..whole.len()).all(|cut| tables_fit(&whole[..cut])));
    }

    #[test]
    fn roots_are_whole() {
        for (entries, dimensions, expect) in
            [(4, 2, 2), (8, 2, 2), (9, 2, 3), (27, 3, 3), (26, 3, 2), (1, 9, 1), (5, 1, 5), (0, 1, 0)]
        {
            assert_eq!(root(entries, dimensions), expect, "{entries} {dimensions}");
        }
    }
}
