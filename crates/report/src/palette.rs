//! The colours, in one place: they become CSS variables, and a test holds their contrast.

use std::fmt::Write;

/// (CSS variable, light, dark). The accent is cinnabar, which the furnace of the name refines.
const COLOURS: &[(&str, &str, &str)] = &[
    ("paper", "#fcfbf8", "#16181b"),
    ("panel", "#f4f2ec", "#1e2125"),
    ("ink", "#1f2126", "#e3e1dc"),
    ("muted", "#5d6067", "#a2a6ad"),
    ("rule", "#dcd9d1", "#33373d"),
    ("accent", "#a63520", "#ea8b77"),
    ("bar", "#8b919a", "#7b828c"),
    ("s0", "#b03a22", "#ea8b77"),
    ("s1", "#23648f", "#7db4e0"),
    ("s2", "#8a600c", "#dcb25c"),
    ("s3", "#35754e", "#84c49b"),
    ("s4", "#77509a", "#c5a5e2"),
    ("s5", "#62666d", "#aaaeb4"),
];

/// How many colours series have before they begin again.
pub(crate) const SERIES_COLOURS: usize = 6;

/// The rules that define the variables, dark by the reader's system or by the toggle.
pub(crate) fn css() -> String {
    let variables = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        COLOURS.iter().fold(String::new(), |mut out, colour| {
            // Writing to a string cannot fail.
            let _ = write!(out, "--{}:{};", colour.0, pick(colour));
            out
        })
    };
    let (light, dark) = (variables(|colour| colour.1), variables(|colour| colour.2));
    format!(
        ":root{{color-scheme:light;{light}}}\n\
         @media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n\
         :root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Relative luminance as WCAG 2.1 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_lines_stand_out_in_both_themes() {
        assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
        let of = |name: &str| *COLOURS.iter().find(|colour| colour.0 == name).unwrap();
        for (name, light, dark) in COLOURS.iter().filter(|c| !["paper", "panel", "rule", "bar"].contains(&c.0)) {
            for ground in ["paper", "panel"] {
                // WCAG AA for text; series need only 3 but their names in legends are text.
                assert!(contrast(light, of(ground).1) >= 4.5, "{name} on light {ground}");
                assert!(contrast(dark, of(ground).2) >= 4.5, "{name} on dark {ground}");
            }
        }
        // Bars are shapes, for which 3 is enough.
        assert!(contrast(of("bar").1, of("paper").1) >= 3.0);
        assert!(contrast(of("bar").2, of("paper").2) >= 3.0);
        assert!(contrast(of("ink").1, of("paper").1) >= 12.0);
        assert!(contrast(of("ink").2, of("paper").2) >= 12.0);
    }

    #[test]
    fn every_series_has_its_colour() {
        for i in 0..SERIES_COLOURS {
            assert!(css().contains(&format!("--s{i}:")));
        }
    }
}
