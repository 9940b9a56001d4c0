use std::time::{SystemTime, UNIX_EPOCH};

/// The present moment as RFC 3339 in UTC, to the microsecond: `2026-01-31T12:00:00.123456Z`. Strings of this form sort by
/// time.
pub fn now_rfc3339() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn fixed_width_utc() {
        let now = super::now_rfc3339();
        assert_eq!(now.len(), "2026-01-31T12:00:00.123456Z".len(), "{now}");
        assert!(now.ends_with('Z'));
        let parsed: jiff::Timestamp = now.parse().unwrap();
        assert!((parsed.as_microsecond() as f64 / 1e6 - super::unix_seconds()).abs() < 60.0);
    }
}
