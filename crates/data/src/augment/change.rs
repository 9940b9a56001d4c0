//! How much a copy differs from its original.

/// Measured on so many characters at the beginning of both: the work grows with their square.
const MEASURED_CHARS: usize = 1000;

/// Edit distance (insertions, deletions, substitutions of characters) by the length of the longer, 0 to 1, at the
/// beginning of both texts.
pub(super) fn edit_ratio(before: &str, after: &str) -> f64 {
    let head = |text: &str| text.chars().take(MEASURED_CHARS).collect::<Vec<_>>();
    let (before, after) = (head(before), head(after));
    let longer = before.len().max(after.len());
    if longer == 0 { 0.0 } else { strsim::generic_levenshtein(&before, &after) as f64 / longer as f64 }
}

#[cfg(test)]
mod tests {
    use super::edit_ratio;

    #[test]
    fn ratios() {
        assert_eq!(edit_ratio("", ""), 0.0);
        assert_eq!(edit_ratio("春眠不觉", "春眠不觉"), 0.0);
        assert_eq!(edit_ratio("春眠不觉", "春民不觉"), 0.25);
        assert_eq!(edit_ratio("", "ab"), 1.0);
    }
}
