use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::pii::checks_out;
use crate::{PiiKind, find_pii};

/// What stands in the place of personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PiiReplacement {
    /// `<EMAIL>`, `<PHONE>`, `<ID_NUMBER>`, `<IP>`, `<CARD>`.
    #[default]
    Label,
    /// A value of the same shape that belongs to nobody, the same for the same original: mail at example.com and
    /// addresses from the ranges kept for documentation; numbers that no office gives out (a Chinese mobile number that
    /// begins with 12, a wrong check digit).
    Fake,
}

pub(super) fn all_kinds() -> Vec<PiiKind> {
    PiiKind::ALL.into()
}

pub(super) fn mask<'a>(text: &'a str, kinds: &[PiiKind], replacement: PiiReplacement) -> Cow<'a, str> {
    let mut out = String::new();
    let mut copied = 0;
    for pii in find_pii(text).into_iter().filter(|pii| kinds.contains(&pii.kind)) {
        out.push_str(&text[copied..pii.range.start]);
        match replacement {
            PiiReplacement::Label => out.push_str(pii.kind.label()),
            PiiReplacement::Fake => out.push_str(&fake(pii.kind, &text[pii.range.clone()])),
        }
        copied = pii.range.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn fake(kind: PiiKind, original: &str) -> String {
    let hash = *blake3::hash(original.as_bytes()).as_bytes();
    match kind {
        PiiKind::Email => {
            format!("user{:05}@example.com", u32::from_le_bytes([hash[0], hash[1], hash[2], 0]) % 100_000)
        }
        PiiKind::Ip if original.contains(':') => format!("2001:db8::{:x}", u16::from_le_bytes([hash[0], hash[1]])),
        PiiKind::Ip => format!("192.0.2.{}", hash[0]),
        PiiKind::Phone => phone(original, &hash),
        PiiKind::IdNumber => wrong_check(original, &digits(original, &hash, 6)),
        PiiKind::Card => wrong_check(original, &digits(original, &hash, 4)),
    }
}

/// The digits after the first `kept` replaced by digits of the hash; all else stays.
fn digits(original: &str, hash: &[u8; 32], kept: usize) -> String {
    let mut seen = 0;
    let change = |c: char| {
        seen += usize::from(c.is_ascii_digit());
        let digit = hash[seen % 32] % 10;
        if c.is_ascii_digit() && seen > kept { char::from(b'0' + digit) } else { c }
    };
    original.chars().map(change).collect()
}

/// The same shape; the place that no number has is the second digit of a mobile number, the country, or the first digit
/// after the area.
fn phone(original: &str, hash: &[u8; 32]) -> String {
    let mut fake = digits(original, hash, 0).into_bytes();
    let place =
        |wanted: usize| original.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(i, _)| i).nth(wanted);
    let mut set = |wanted: usize, digit: u8| {
        if let Some(index) = place(wanted) {
            fake[index] = digit;
        }
    };
    (0..4).for_each(|place| set(place, b'0'));
    let mobile = original.starts_with('1') && original.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if mobile {
        set(0, b'1');
        set(1, b'2');
    }
    String::from_utf8(fake).unwrap_or_default()
}

/// The fake with its last digit moved on until its check fails.
fn wrong_check(original: &str, fake: &str) -> String {
    let head = &fake[..fake.len() - 1];
    let last = fake.bytes().last().filter(u8::is_ascii_digit).unwrap_or(b'0');
    let candidates = (0..10).map(|step| format!("{head}{}", char::from(b'0' + (last - b'0' + step) % 10)));
    candidates.into_iter().find(|candidate| candidate != original && !checks_out(candidate)).unwrap_or_default()
}
