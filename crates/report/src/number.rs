//! Figures for people: few digits, grouped thousands, units.

/// `12345678` as `12,345,678`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three significant digits with a suffix for thousands, millions, ...: `1234567` as `1.23M`, `950` as `950`.
pub fn compact(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let mut scaled = value;
    for suffix in ["", "k", "M", "B", "T"] {
        // 999.5 would be written as 1000.
        if scaled.abs() < 999.5 || suffix == "T" {
            return format!("{}{suffix}", trim_zeros(&significant(scaled, 3)));
        }
        scaled /= 1000.0;
    }
    significant(value, 3)
}

/// A size in bytes in units of 1024: `3.4 MiB`.
pub fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.5 {
            return if unit == "B" { format!("{value} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// A time span: `0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        let minutes = (whole + 30) / 60;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// `value` with so many significant digits and no exponent between 1e-4 and 1e15; `–` when it is not finite.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.max(1);
    let magnitude = value.abs();
    if !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.*e}", digits - 1);
    }
    let decimals = |value: f64| (digits as i32 - 1 - value.abs().log10().floor() as i32).max(0) as usize;
    // Rounding may carry into one digit more (9.999 -> 10.00), so the digits are counted after it.
    let rounded: f64 = format!("{value:.*}", decimals(value)).parse().unwrap_or(value);
    let decimals = if rounded == 0.0 { decimals(value) } else { decimals(rounded) };
    format!("{value:.decimals$}")
}

/// A share of the whole: `0.1234` as `12.3%`.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1}%", share * 100.0) } else { "–".to_owned() }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') && !text.contains('e') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_write_them() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(grouped(0), "0");
        check(grouped(999), "999");
        check(grouped(12_345_678), "12,345,678");
        check(compact(950.0), "950");
        check(compact(1_234_567.0), "1.23M");
        check(compact(999_999.0), "1M");
        check(compact(-1500.0), "-1.5k");
        check(compact(0.0), "0");
        check(bytes(512), "512 B");
        check(bytes(3_565_158), "3.4 MiB");
        check(duration(0.4), "0.40 s");
        check(duration(9.999), "10.0 s");
        check(duration(185.2), "3 min 05 s");
        check(duration(3599.7), "1 h 00 min");
        check(duration(7620.0), "2 h 07 min");
        check(significant(9.9996, 4), "10.00");
        check(significant(0.012345, 3), "0.0123");
        check(significant(123456.0, 3), "123456");
        check(significant(1e-9, 3), "1.00e-9");
        check(percent(0.1234), "12.3%");
        for odd in [f64::NAN, f64::INFINITY] {
            check(significant(odd, 3), "–");
            check(compact(odd), "–");
            check(duration(odd), "–");
            check(percent(odd), "–");
        }
    }
}
