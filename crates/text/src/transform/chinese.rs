//! Traditional and Simplified Chinese by the dictionaries of OpenCC (longest phrase first, then single characters).

use std::borrow::Cow;
use std::sync::LazyLock;

use ferrous_opencc::OpenCC;
use ferrous_opencc::config::BuiltinConfig;
use serde::{Deserialize, Serialize};

use crate::characters::is_han;

/// Whose forms of the Traditional characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraditionalRegion {
    /// OpenCC's own standard.
    #[default]
    Standard,
    /// The forms of Taiwan (裡, 著), not its vocabulary.
    Taiwan,
    /// The forms of Hong Kong.
    HongKong,
}

/// The dictionaries lie in the program; `None` would mean that they were built without one of these.
type Converter = LazyLock<Option<OpenCC>>;

static TO_SIMPLIFIED: Converter = LazyLock::new(|| OpenCC::from_config(BuiltinConfig::T2s).ok());
static TO_STANDARD: Converter = LazyLock::new(|| OpenCC::from_config(BuiltinConfig::S2t).ok());
static TO_TAIWAN: Converter = LazyLock::new(|| OpenCC::from_config(BuiltinConfig::S2tw).ok());
static TO_HONG_KONG: Converter = LazyLock::new(|| OpenCC::from_config(BuiltinConfig::S2hk).ok());

pub(super) fn simplify(text: &str) -> Cow<'_, str> {
    convert(text, &TO_SIMPLIFIED)
}

pub(super) fn traditional(text: &str, region: TraditionalRegion) -> Cow<'_, str> {
    let converter = match region {
        TraditionalRegion::Standard => &TO_STANDARD,
        TraditionalRegion::Taiwan => &TO_TAIWAN,
        TraditionalRegion::HongKong => &TO_HONG_KONG,
    };
    convert(text, converter)
}

fn convert<'a>(text: &'a str, converter: &Converter) -> Cow<'a, str> {
    match converter.as_ref() {
        Some(converter) if text.contains(is_han) => match converter.convert(text) {
            converted if converted == text => Cow::Borrowed(text),
            converted => Cow::Owned(converted),
        },
        _ => Cow::Borrowed(text),
    }
}
