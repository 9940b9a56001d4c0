use jiff::civil::{Date, DateTime};
use jiff::fmt::{rfc2822, strtime};
use jiff::{SignedDuration, Timestamp};

/// A date in one spelling: `2024-05-06T07:08:09Z` where the zone is known, otherwise `2024-05-06T07:08:09` or
/// `2024-05-06`. Reads ISO 8601, RFC 2822 and what Chinese and English pages usually write; `None` for anything else.
pub(crate) fn iso(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(seconds(time));
    }
    if let Ok(time) = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text) {
        return Some(seconds(time));
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        return Some(date.to_string());
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return Some(time.round(jiff::Unit::Second).unwrap_or(time).to_string());
    }
    const WITH_ZONE: &[&str] =
        &["%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M%z", "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %T %z"];
    const WITH_TIME: &[&str] =
        &["%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y年%m月%d日 %H:%M:%S", "%Y年%m月%d日 %H:%M", "%Y-%m-%d %H:%M"];
    const DATES: &[&str] =
        &["%Y/%m/%d", "%Y年%m月%d日", "%Y.%m.%d", "%Y%m%d", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y"];
    let parsed = |format: &&str| strtime::parse(*format, text).ok();
    let zoned = WITH_ZONE.iter().filter_map(parsed).find_map(|time| time.to_timestamp().ok());
    let timed = || WITH_TIME.iter().filter_map(parsed).find_map(|time| time.to_datetime().ok());
    let dated = || DATES.iter().filter_map(parsed).find_map(|time| time.to_date().ok());
    zoned.map(seconds).or_else(|| Some(timed()?.to_string())).or_else(|| Some(dated()?.to_string()))
}

/// The same from seconds since 1970.
pub(crate) fn from_seconds(count: i64) -> Option<String> {
    Timestamp::from_second(count).ok().map(seconds)
}

fn seconds(time: Timestamp) -> String {
    let whole = time - SignedDuration::from_nanos(i64::from(time.subsec_nanosecond()));
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::{from_seconds, iso};
    use proptest::prelude::*;

    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(iso(text).as_deref(), expect, "{text:?}");
    }

    #[test]
    fn spellings() {
        check("2024-05-06T07:08:09Z", Some("2024-05-06T07:08:09Z"));
        check("2024-05-06T07:08:09.123+08:00", Some("2024-05-05T23:08:09Z"));
        check("Mon, 06 May 2024 07:08:09 GMT", Some("2024-05-06T07:08:09Z"));
        check("Tue, 06 May 2024 07:08:09 +0200", Some("2024-05-06T05:08:09Z"));
        check("2024-05-06", Some("2024-05-06"));
        check("2024-05-06 07:08:09", Some("2024-05-06T07:08:09"));
        check(" 2024/05/06 07:08 ", Some("2024-05-06T07:08:00"));
        check("2024年5月6日", Some("2024-05-06"));
        check("2024年05月06日 07:08", Some("2024-05-06T07:08:00"));
        check("May 6, 2024", Some("2024-05-06"));
        check("6 May 2024", Some("2024-05-06"));
        check("Mon May 06 07:08:09 +0000 2024", Some("2024-05-06T07:08:09Z"));
        check("yesterday", None);
        check("", None);
        assert_eq!(from_seconds(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(from_seconds(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}", count in any::<i64>()) {
            let _ = (iso(&text), from_seconds(count));
        }
    }
}
