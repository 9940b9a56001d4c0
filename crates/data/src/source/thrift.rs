//! Thrift's compact protocol, as far as the metadata of Parquet has to be gone over: nothing is kept, and no length is
//! believed beyond the bytes that are there.

/// Structures within each other; Parquet has about eight.
const MAX_DEPTH: u8 = 40;

/// The kind of a value, as the protocol numbers them.
pub(super) type Kind = u8;
pub(super) const TRUE: Kind = 1;
pub(super) const FALSE: Kind = 2;
pub(super) const I32: Kind = 5;
pub(super) const LIST: Kind = 9;
pub(super) const STRUCT: Kind = 12;

/// Why bytes cannot be gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// They end within a value, or a value claims more than there is.
    Short,
    Broken(&'static str),
}

pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far it has come.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Odd> {
        let byte = self.bytes.get(self.at).copied().ok_or(Odd::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn go_over(&mut self, count: u64) -> Result<(), Odd> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(Odd::Short);
        }
        self.at += count as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Odd> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Odd::Broken("a number of more than 64 bits"))
    }

    pub(super) fn integer(&mut self) -> Result<i64, Odd> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Goes over a structure; `field` takes or skips the value of each field, told its number and kind.
    pub(super) fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, Kind) -> Result<(), Odd>) -> Result<(), Odd> {
        let mut number = 0i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0F;
            if kind == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.integer()? as i16,
                step => number.wrapping_add(i16::from(step)),
            };
            field(self, number, kind)?;
        }
    }

    /// The number and the kind of a list's elements.
    pub(super) fn list(&mut self) -> Result<(u64, Kind), Odd> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        // Each takes a byte at least.
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(Odd::Short);
        }
        Ok((count, head & 0x0F))
    }

    pub(super) fn skip(&mut self, kind: Kind) -> Result<(), Odd> {
        self.skip_within(kind, 0)
    }

    fn skip_within(&mut self, kind: Kind, depth: u8) -> Result<(), Odd> {
        if depth > MAX_DEPTH {
            return Err(Odd::Broken("structures too deep within each other"));
        }
        match kind {
            TRUE | FALSE => Ok(()), // the kind is the value
            3 => self.go_over(1),
            4..=6 => self.varint().map(drop),
            7 => self.go_over(8),
            8 => {
                let length = self.varint()?;
                self.go_over(length)
            }
            LIST | 10 => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth + 1))
            }
            11 => self.skip_map(depth + 1),
            STRUCT => self.fields(|thrift, _, kind| thrift.skip_within(kind, depth + 1)),
            13 => self.go_over(16),
            _ => Err(Odd::Broken("a value of no known kind")),
        }
    }

    /// Within lists and maps a truth value is a byte.
    fn skip_element(&mut self, kind: Kind, depth: u8) -> Result<(), Odd> {
        if matches!(kind, TRUE | FALSE) { self.go_over(1) } else { self.skip_within(kind, depth) }
    }

    fn skip_map(&mut self, depth: u8) -> Result<(), Odd> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        for _ in 0..count {
            self.skip_element(kinds >> 4, depth)?;
            self.skip_element(kinds & 0x0F, depth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{LIST, Odd, STRUCT, Thrift};

    #[test]
    fn values_are_gone_over_within_their_bytes() {
        // {1: -3, 2: "ab", 4: [true, false], 20: {1: 7}}
        let bytes = [0x15, 5, 0x18, 2, b'a', b'b', 0x29, 0x21, 1, 2, 0x0C, 40, 0x15, 14, 0, 0];
        let mut thrift = Thrift::new(&bytes);
        let mut seen = Vec::new();
        thrift
            .fields(|thrift, number, kind| {
                seen.push(number);
                if number == 1 {
                    assert_eq!(thrift.integer()?, -3);
                    return Ok(());
                }
                thrift.skip(kind)
            })
            .unwrap();
        assert_eq!((seen, thrift.position()), (vec![1, 2, 4, 20], bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(Thrift::new(&bytes[..cut]).skip(STRUCT), Err(Odd::Short), "{cut}");
        }
        // A list of 2^28 structures in six bytes, and lists without end within each other.
        assert_eq!(Thrift::new(&[0xFC, 0x80, 0x80, 0x80, 0x80, 1]).skip(LIST), Err(Odd::Short));
        assert!(matches!(Thrift::new(&[0x19; 100]).skip(LIST), Err(Odd::Broken(_))));
    }
}
