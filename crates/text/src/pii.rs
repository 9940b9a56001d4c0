//! Personal data with a form that can be checked: addresses of mail and machines, telephone numbers, Chinese identity
//! numbers (by checksum) and payment cards (by Luhn's sum). Names and street addresses have no such form and are not found.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PiiKind {
    /// name@domain.tld; the domains reserved for examples (RFC 2606) are nobody's.
    Email,
    /// +country number; Chinese mobile (1[3-9] and 9 digits) and landline numbers (with area code and separator), and
    /// North American ones with separators.
    Phone,
    /// The 18 places of GB 11643-1999: region, date of birth, order, and a check digit modulo 11.
    IdNumber,
    /// IPv4 and IPv6, public addresses only.
    Ip,
    /// 13 to 19 digits of a known issuer with the right sum (ISO/IEC 7812).
    Card,
}

impl PiiKind {
    pub const ALL: [PiiKind; 5] = [Self::Email, Self::Phone, Self::IdNumber, Self::Ip, Self::Card];

    /// What stands in its place in a masked text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Email => "<EMAIL>",
            Self::Phone => "<PHONE>",
            Self::IdNumber => "<ID_NUMBER>",
            Self::Ip => "<IP>",
            Self::Card => "<CARD>",
        }
    }
}

/// One piece of personal data and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pii {
    pub kind: PiiKind,
    pub range: Range<usize>,
}

/// Finds personal data, from left to right and without overlaps, in time linear in the length of the text: whatever is
/// looked at from one place is bounded.
pub fn find_pii(text: &str) -> Vec<Pii> {
    let bytes = text.as_bytes();
    let mut found: Vec<Pii> = Vec::new();
    let mut position = 0;
    let mut free = 0; // the end of what was found last
    while position < bytes.len() {
        let hit = match bytes[position] {
            b'@' => email(bytes, position, free),
            b'0'..=b'9' | b'+' | b'(' | 0xEF | b':' | b'a'..=b'f' | b'A'..=b'F' if at_start(bytes, position, free) => {
                number(text, position)
            }
            _ => None,
        };
        if let Some(pii) = hit {
            position = pii.range.end.max(position + 1);
            free = pii.range.end;
            found.push(pii);
        } else {
            position += 1;
        }
    }
    found
}

/// Whether something may begin here: not in the middle of a word, nor after another group of a number (1.2.3.4.5).
fn at_start(bytes: &[u8], position: usize, free: usize) -> bool {
    if position == free || position == 0 {
        return true;
    }
    let before = bytes[position - 1];
    let follows = position - 1 == free; // a separator after what was found
    let in_number = !follows && b".-:".contains(&before) && position >= 2 && bytes[position - 2].is_ascii_digit();
    !is_word(before) && !in_number
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn email(bytes: &[u8], at: usize, free: usize) -> Option<Pii> {
    let is_local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
    let local = bytes[free..at].iter().rev().take(65).take_while(|b| is_local(b)).count();
    if local > 64 {
        return None; // RFC 5321
    }
    let start = at - local;
    let start = start + bytes[start..at].iter().take_while(|b| !b.is_ascii_alphanumeric()).count();
    if start == at || bytes[at - 1] == b'.' {
        return None;
    }
    let domain =
        bytes[at + 1..].iter().take(253).take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b)).count();
    let domain = &bytes[at + 1..at + 1 + domain];
    let trailing = domain.iter().rev().take_while(|b| !b.is_ascii_alphanumeric()).count();
    let domain = &domain[..domain.len() - trailing];
    let end = at + 1 + domain.len();
    let dot = domain.iter().rposition(|&b| b == b'.')?;
    let top = &domain[dot + 1..];
    let labels = domain.split(|&b| b == b'.').all(|l| !l.is_empty() && !l.starts_with(b"-") && !l.ends_with(b"-"));
    let good = (2..=24).contains(&top.len()) && top.iter().all(u8::is_ascii_alphabetic) && labels;
    let good = good && !bytes.get(end).is_some_and(|&b| is_word(b) || b == b'@');
    (good && !is_reserved(domain)).then_some(Pii { kind: PiiKind::Email, range: start..end })
}

/// RFC 2606.
fn is_reserved(domain: &[u8]) -> bool {
    let domain = domain.to_ascii_lowercase();
    let is = |name: &[u8]| domain == name || domain.ends_with(&[b".", name].concat());
    [&b"example.com"[..], b"example.net", b"example.org", b"example", b"test", b"invalid", b"localhost"]
        .iter()
        .any(|n| is(n))
}

/// Tries what begins with a digit, a sign or a hexadecimal letter; the more certain comes first.
fn number(text: &str, start: usize) -> Option<Pii> {
    let run = Run::at(text, start);
    let pii = |kind, length| Pii { kind, range: start..start + length };
    let tries: [(PiiKind, fn(&Run<'_>) -> Option<usize>); 6] = [
        (PiiKind::Ip, ipv6),
        (PiiKind::Ip, ipv4),
        (PiiKind::IdNumber, id_number),
        (PiiKind::Card, card),
        (PiiKind::Phone, phone_cn),
        (PiiKind::Phone, phone_abroad),
    ];
    tries.into_iter().find_map(|(kind, find)| find(&run).map(|length| pii(kind, length)))
}

/// The text from a place on, with the bounded piece that a number may fill.
struct Run<'a> {
    rest: &'a [u8],
}

impl<'a> Run<'a> {
    const LONGEST: usize = 48;

    fn at(text: &'a str, start: usize) -> Self {
        Self { rest: &text.as_bytes()[start..] }
    }

    /// How many bytes from the beginning satisfy `is`, at most [`LONGEST`](Self::LONGEST).
    fn length(&self, is: impl Fn(u8) -> bool) -> usize {
        self.rest.iter().take(Self::LONGEST).take_while(|&&b| is(b)).count()
    }

    fn str(&self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.rest.get(..length)?).ok()
    }

    /// Whether a number may end there: no word goes on, and it is not the name in an address of mail.
    fn ends_at(&self, length: usize) -> bool {
        !self.rest.get(length).is_some_and(|&b| is_word(b) || b == b'@')
    }
}

fn ipv6(run: &Run<'_>) -> Option<usize> {
    let length = run.length(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    let length = run.str(length)?.trim_end_matches(['.', ':']).len();
    let text = run.str(length)?;
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    if groups < 3 || !text.bytes().any(|b| b.is_ascii_digit()) || !run.ends_at(length) {
        return None;
    }
    let address: Ipv6Addr = text.parse().ok()?;
    let [first, second, ..] = address.segments();
    let private =
        address.is_loopback() || address.is_multicast() || first & 0xFE00 == 0xFC00 || first & 0xFFC0 == 0xFE80;
    (!private && (first, second) != (0x2001, 0xDB8)).then_some(length)
}

fn ipv4(run: &Run<'_>) -> Option<usize> {
    let length = run.length(|b| b.is_ascii_digit() || b == b'.');
    let text = run.str(length)?.trim_end_matches('.');
    let address: Ipv4Addr = text.parse().ok()?;
    let [first, ..] = address.octets();
    let nobody = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || first == 0
        || first >= 240;
    (!nobody && run.ends_at(text.len())).then_some(text.len())
}

fn id_number(run: &Run<'_>) -> Option<usize> {
    let digits = run.length(|b| b.is_ascii_digit());
    let check = run.rest.get(17)?;
    let length_fits = digits == 18 || (digits == 17 && matches!(check, b'X' | b'x'));
    (length_fits && run.ends_at(18) && is_id_number(run.rest.get(..18)?)).then_some(18)
}

/// GB 11643-1999: 6 places of region, 8 of birth, 3 of order, and the check digit of ISO 7064 MOD 11-2.
fn is_id_number(digits: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let value = |range: Range<usize>| digits[range].iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    let (province, year, month, day) = (value(0..2), value(6..10), value(10..12), value(12..14));
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let dated = (1850..2100).contains(&year) && (1..=12).contains(&month) && (1..=days).contains(&day);
    let sum: u32 = WEIGHTS.iter().zip(digits).map(|(weight, b)| weight * u32::from(b - b'0')).sum();
    let check = b"10X98765432"[(sum % 11) as usize];
    (11..=91).contains(&province) && dated && check == digits[17].to_ascii_uppercase()
}

fn card(run: &Run<'_>) -> Option<usize> {
    let mut digits: Vec<u8> = Vec::with_capacity(19);
    let mut end = 0;
    let separator = run.rest.iter().take(7).find(|b| !b.is_ascii_digit()).copied().filter(|b| b" -".contains(b));
    for (index, &b) in run.rest.iter().take(Run::LONGEST).enumerate() {
        if b.is_ascii_digit() {
            digits.push(b - b'0');
            end = index + 1;
        } else if Some(b) != separator || !run.rest.get(index + 1).is_some_and(u8::is_ascii_digit) {
            break;
        }
    }
    let groups = run.rest[..end].split(|b| Some(*b) == separator).all(|group| group.len() >= 2);
    (run.ends_at(end) && groups && is_issued(&digits) && luhn(&digits)).then_some(end)
}

/// Whether an issuer gives out such numbers: Visa, Mastercard, American Express, UnionPay, Discover, JCB, Diners.
fn is_issued(digits: &[u8]) -> bool {
    let head = |n: usize| digits.iter().take(n).fold(0u32, |value, &d| value * 10 + u32::from(d));
    match digits.len() {
        13 => head(1) == 4,
        14 => matches!(head(2), 36 | 38 | 39) || (300..=305).contains(&head(3)),
        15 => matches!(head(2), 34 | 37),
        16 => {
            head(1) == 4
                || (51..=55).contains(&head(2))
                || (2221..=2720).contains(&head(4))
                || head(2) == 62
                || head(4) == 6011
                || head(2) == 65
                || (3528..=3589).contains(&head(4))
        }
        17..=19 => head(2) == 62,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &d)| match u32::from(d) * (1 + index as u32 % 2) {
            value if value > 9 => value - 9,
            value => value,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A mobile or landline number of the mainland, with or without the country's code.
fn phone_cn(run: &Run<'_>) -> Option<usize> {
    let mut digits = Digits::new(run);
    if digits.literal("+86") || digits.literal("0086") {
        digits.separator();
    }
    if let Some(end) = digits.clone().mobile_cn().filter(|&end| run.ends_at(end)) {
        return Some(end);
    }
    digits.landline_cn().filter(|&end| run.ends_at(end))
}

/// `+` and 7 to 15 digits (E.164), or a North American number with separators.
fn phone_abroad(run: &Run<'_>) -> Option<usize> {
    let mut digits = Digits::new(run);
    if digits.literal("+") {
        return digits.international().filter(|&end| run.ends_at(end));
    }
    if digits.literal("1") && !digits.separator() {
        return None;
    }
    digits.north_american().filter(|&end| run.ends_at(end))
}

/// Reads a telephone number piece by piece.
#[derive(Clone)]
struct Digits<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Digits<'a> {
    fn new(run: &Run<'a>) -> Self {
        Self { rest: run.rest, read: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.rest.get(self.read + ahead).copied()
    }

    fn literal(&mut self, text: &str) -> bool {
        let is = self.rest[self.read..].starts_with(text.as_bytes());
        self.read += if is { text.len() } else { 0 };
        is
    }

    /// One separator: a space, a hyphen or a full stop.
    fn separator(&mut self) -> bool {
        let is = self.peek(0).is_some_and(|b| b" -.".contains(&b));
        self.read += usize::from(is);
        is
    }

    /// Exactly `count` digits, of which `first` must accept the first.
    fn group(&mut self, count: usize, first: impl Fn(u8) -> bool) -> Option<()> {
        let group = self.rest.get(self.read..self.read + count)?;
        let good = group.iter().all(u8::is_ascii_digit) && first(group[0]);
        self.read += if good { count } else { 0 };
        good.then_some(())
    }

    /// 1[3-9], then 9 digits, separated 3-4-4 or not at all.
    fn mobile_cn(mut self) -> Option<usize> {
        self.group(3, |b| b == b'1')?;
        if !(b'3'..=b'9').contains(&self.rest[self.read - 2]) {
            return None;
        }
        let separated = self.separator();
        self.group(4, |_| true)?;
        if separated && !self.separator() {
            return None;
        }
        self.group(4, |_| true)?;
        Some(self.read)
    }

    /// Area code (010, 0755; without its 0 after +86) and 7 or 8 digits, with a separator or brackets between them.
    fn landline_cn(mut self) -> Option<usize> {
        let abroad = self.read > 0;
        let bracket = self.literal("(") || self.literal("（");
        let code = self.rest[self.read..].iter().take(5).take_while(|b| b.is_ascii_digit()).count();
        let zero = self.peek(0) == Some(b'0');
        let second = self.peek(usize::from(zero))?;
        let national = code.checked_sub(usize::from(zero))?;
        if !(zero || abroad) || !(2..=3).contains(&national) || !(b'1'..=b'9').contains(&second) {
            return None;
        }
        self.read += code;
        let closed = self.literal(")") || self.literal("）");
        if bracket != closed || !(self.separator() || closed) {
            return None;
        }
        self.group(4, |b| (b'2'..=b'8').contains(&b))?;
        if self.separator() || self.group(4, |_| true).is_none() {
            return self.group(4, |_| true).or_else(|| self.group(3, |_| true)).map(|()| self.read);
        }
        Some(self.read)
    }

    fn international(mut self) -> Option<usize> {
        if !matches!(self.peek(0), Some(b'1'..=b'9')) {
            return None;
        }
        let (mut count, mut end, mut open) = (0, 0, false);
        while self.read < Run::LONGEST {
            match self.peek(0) {
                Some(b'0'..=b'9') => {
                    count += 1;
                    end = if open { end } else { self.read + 1 };
                }
                Some(b'(') if !open => open = true,
                Some(b')') if open => open = false,
                Some(b' ' | b'-' | b'.') if self.peek(1).is_some_and(|b| b.is_ascii_digit() || b == b'(') => {}
                _ => break,
            }
            self.read += 1;
        }
        ((7..=15).contains(&count) && !open).then_some(end)
    }

    /// (212) 555-1234, 212-555-1234, 212.555.1234: area and exchange begin with 2 to 9.
    fn north_american(mut self) -> Option<usize> {
        let is_first = |b: u8| (b'2'..=b'9').contains(&b);
        let bracket = self.literal("(");
        self.group(3, is_first)?;
        let closed = bracket && self.literal(")");
        let separated = self.separator();
        if bracket != closed || !(separated || closed) {
            return None;
        }
        let exchange = self.read;
        self.group(3, is_first)?;
        let separated = self.separator();
        self.group(4, |_| true)?;
        // 555-01xx is kept for fiction.
        let fiction = self.rest[exchange..].starts_with(b"555") && self.rest[self.read - 4..].starts_with(b"01");
        (separated && !fiction).then_some(self.read)
    }
}

/// Whether a text of digits has a right check digit, as an identity number or as a card.
pub(crate) fn checks_out(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
    let bytes = text.as_bytes();
    luhn(&digits) || bytes.len() == 18 && bytes[..17].iter().all(u8::is_ascii_digit) && is_id_number(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kinds and texts that are found, as "kind:text".
    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> =
            find_pii(text).into_iter().map(|pii| format!("{}{}", pii.kind.label(), &text[pii.range])).collect();
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn email() {
        check("Write to jane.doe+x@mail.corp.co.uk, please.", &["<EMAIL>jane.doe+x@mail.corp.co.uk"]);
        check("邮箱：zhang_san@163.com。谢谢", &["<EMAIL>zhang_san@163.com"]);
        check("13812345678@qq.com", &["<EMAIL>13812345678@qq.com"]);
        check("(a@b.io)...<x@y.org>", &["<EMAIL>a@b.io", "<EMAIL>x@y.org"]);
        check("me@example.com, a@@b.com, @handle, a@b, a@b.c1, x.@y.com, me@-a.com, me@host.test", &[]);
    }

    #[test]
    fn phone() {
        check(
            "手机13812345678，或 138-1234-5678、+86 139 1234 5678。",
            &["<PHONE>13812345678", "<PHONE>138-1234-5678", "<PHONE>+86 139 1234 5678"],
        );
        check(
            "电话：010-62345678，（0755）2345678，+86-21-62345678转8",
            &["<PHONE>010-62345678", "<PHONE>（0755）2345678", "<PHONE>+86-21-62345678"],
        );
        check(
            "Call (212) 736-5000, 212-736-5000 or 1-212-736-5000.",
            &["<PHONE>(212) 736-5000", "<PHONE>212-736-5000", "<PHONE>1-212-736-5000"],
        );
        check("+44 20 7946 0958; +49 (0)30 901820", &["<PHONE>+44 20 7946 0958", "<PHONE>+49 (0)30 901820"]);
        check("12345678901, 1381234567, 138123456789, 2024-10-11, 10-20-3000, 1999.5.12, x13812345678", &[]);
        check("In 2019-2020 3.14159265 and 5 + 123 and ISBN 978-7-02-000220-7; (212) 555-0123", &[]);
    }

    #[test]
    fn id_number() {
        // The example of GB 11643-1999 itself, and one with X.
        check("身份证11010519491231002X。", &["<ID_NUMBER>11010519491231002X"]);
        check("号码440524188001010014", &["<ID_NUMBER>440524188001010014"]);
        check("110105194912310021 440524188013010014 44052418800101001 4405241880010100140", &[]);
    }

    #[test]
    fn ip() {
        check("from 8.8.8.8 to 114.114.114.114:53.", &["<IP>8.8.8.8", "<IP>114.114.114.114"]);
        check(
            "IPv6 2400:3200::1 或 2001:4860:4860:0:0:0:0:8888。",
            &["<IP>2400:3200::1", "<IP>2001:4860:4860:0:0:0:0:8888"],
        );
        check("192.168.1.1, 127.0.0.1, v8.8.8.8, 1.2.3.4.5, 300.1.1.1, 12:30:45, std::fmt, a::b, ::1, fe80::1:2", &[]);
    }

    #[test]
    fn card() {
        check(
            "Visa 4111 1111 1111 1111, amex 378282246310005",
            &["<CARD>4111 1111 1111 1111", "<CARD>378282246310005"],
        );
        check("银联卡6222021234567890129", &[]);
        check("银联卡6222021234567890128", &["<CARD>6222021234567890128"]);
        check("4111 1111 1111 1112, 1234567812345670, 0000000000000000", &[]);
    }

    proptest! {
        #[test]
        fn ranges_are_in_order_and_on_boundaries(text in any::<String>()) {
            ordered(&text)?;
        }

        #[test]
        fn of_numbers_too(text in "[0-9a-fx@.:+() （）春-]{0,80}") {
            ordered(&text)?;
        }
    }

    fn ordered(text: &str) -> Result<(), TestCaseError> {
        let mut last = 0;
        for Pii { range, .. } in find_pii(text) {
            prop_assert!(range.start >= last && range.start < range.end);
            prop_assert!(text.get(range.clone()).is_some_and(|found| found.chars().any(|c| c.is_ascii_alphanumeric())));
            last = range.end;
        }
        Ok(())
    }
}
