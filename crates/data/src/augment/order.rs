//! The same units in another order.

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

use super::random::Random;
use super::run::{Made, Skip};
use super::units::{rearrange, sentence_places, words};
use super::{ReverseUnit, RotateUnit};

pub(super) fn rotate(text: &str, unit: RotateUnit, random: &mut Random) -> Result<Made, Skip> {
    let places = match unit {
        RotateUnit::Sentence => sentence_places(text),
        RotateUnit::Word => words(text),
    };
    let count = places.len();
    if count < 2 {
        return Err(Skip::TooShort);
    }
    let by = 1 + random.below(count - 1);
    let text = rearrange(text, &places, (0..count).map(|index| (index + by) % count));
    Ok(Made::new(text, json!({ "unit": name(unit), "by": by, "units": count })))
}

pub(super) fn reverse(text: &str, unit: ReverseUnit) -> Result<Made, Skip> {
    let reversed = match unit {
        ReverseUnit::Character => text.graphemes(true).rev().collect(),
        ReverseUnit::Word => reverse_units(text, &words(text))?,
        ReverseUnit::Sentence => reverse_units(text, &sentence_places(text))?,
    };
    Ok(Made::new(reversed, json!({ "unit": name(unit) })))
}

fn reverse_units(text: &str, places: &[std::ops::Range<usize>]) -> Result<String, Skip> {
    if places.len() < 2 {
        return Err(Skip::TooShort);
    }
    Ok(rearrange(text, places, (0..places.len()).rev()))
}

/// As a recipe says it.
fn name(unit: impl serde::Serialize) -> Value {
    serde_json::to_value(unit).unwrap_or_default()
}
