//! When documents were written, as far as their metadata says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields that are looked at, in this order, when none is named.
const TIME_FIELDS: [&str; 9] =
    ["time", "timestamp", "date", "published", "created", "created_at", "created_utc", "updated", "year"];

/// The dates of the documents that have one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeRange {
    /// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, as exact as the documents say.
    pub first: String,
    pub last: String,
    /// Documents with a date.
    pub documents: u64,
    pub by_year: BTreeMap<String, u64>,
}

impl TimeRange {
    pub(super) fn add(&mut self, date: &str) {
        if self.documents == 0 || date < self.first.as_str() {
            self.first = date.into();
        }
        if date > self.last.as_str() {
            self.last = date.into();
        }
        self.documents += 1;
        *self.by_year.entry(date.get(..4).unwrap_or(date).into()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.documents == 0 {
            return;
        }
        if self.documents == 0 || other.first < self.first {
            self.first.clone_from(&other.first);
        }
        if other.last > self.last {
            self.last.clone_from(&other.last);
        }
        self.documents += other.documents;
        for (year, count) in &other.by_year {
            *self.by_year.entry(year.clone()).or_default() += count;
        }
    }
}

/// The date that a document's metadata gives, in UTC where it is a moment.
pub(super) fn date_of(metadata: &Map<String, Value>, field: Option<&str>) -> Option<String> {
    match field {
        Some(field) => date(metadata.get(field)?),
        None => TIME_FIELDS.iter().find_map(|field| date(metadata.get(*field)?)),
    }
}

/// A year, an ISO 8601 date or moment, an RFC 2822 moment, or seconds or milliseconds since 1970.
fn date(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => date_of_text(text.trim()),
        Value::Number(number) => date_of_number(number.as_f64()?),
        _ => None,
    }
}

fn date_of_text(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    if digits(0, 4) && (bytes.len() == 4 || bytes.get(4) == Some(&b'-')) {
        let end = match () {
            () if digits(5, 7) && bytes.get(7) == Some(&b'-') && digits(8, 10) => 10,
            () if digits(5, 7) => 7,
            () if bytes.len() == 4 => 4,
            () => return None,
        };
        return text.get(..end).map(str::to_owned);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return date_of_number(seconds);
    }
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().to_string().get(..10)?.to_owned())
}

fn date_of_number(number: f64) -> Option<String> {
    if number.fract() == 0.0 && (1000.0..3000.0).contains(&number) {
        return Some(format!("{number:.0}"));
    }
    // Seconds until the year 2286, milliseconds from 2001 on.
    let seconds = if number.abs() >= 1e12 { number / 1e3 } else { number };
    if !(1e8..1e10).contains(&seconds) {
        return None; // a count, a version, an id: not a date
    }
    let moment = jiff::Timestamp::from_second(seconds as i64).ok()?;
    Some(moment.to_string().get(..10)?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_of_all_kinds() {
        let check = |value: Value, expect: Option<&str>| assert_eq!(date(&value).as_deref(), expect, "{value}");
        check(json!("1998"), Some("1998"));
        check(json!(1998), Some("1998"));
        check(json!("2024-02"), Some("2024-02"));
        check(json!("2024-02-29T23:59:59+08:00"), Some("2024-02-29"));
        check(json!(1_700_000_000), Some("2023-11-14"));
        check(json!(1_700_000_000_123u64), Some("2023-11-14"));
        check(json!("1700000000"), Some("2023-11-14"));
        check(json!("Tue, 14 Nov 2023 23:13:20 +0100"), Some("2023-11-14"));
        for none in
            [json!("long ago"), json!(7), json!("12345-x"), json!("1998-x"), json!(null), json!([1998]), json!("")]
        {
            check(none, None);
        }
    }

    #[test]
    fn ranges_grow_and_merge() {
        let (mut one, mut other) = (TimeRange::default(), TimeRange::default());
        ["2001-05-01", "1999"].iter().for_each(|date| one.add(date));
        other.add("2020-01");
        one.merge(&other);
        one.merge(&TimeRange::default());
        assert_eq!((one.first.as_str(), one.last.as_str(), one.documents), ("1999", "2020-01", 3));
        assert_eq!(one.by_year["2001"], 1);
        let metadata = json!({ "line": 3, "date": "2011-11-11", "year": 1900 });
        assert_eq!(metadata.as_object().and_then(|m| date_of(m, None)).as_deref(), Some("2011-11-11"));
        assert_eq!(metadata.as_object().and_then(|m| date_of(m, Some("year"))).as_deref(), Some("1900"));
    }
}
