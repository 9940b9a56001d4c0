//! `f64` in JSON without losing a bit. `serde_json` reads decimal numbers fast and may miss the
//! last bit, and JSON has no infinity; so exact values are written as strings, in the shortest
//! form that Rust's own parser reads back exactly.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: Error>(text: &str) -> Result<f64, E> {
    text.parse().map_err(|_| E::custom(format!("`{text}` is not a number")))
}

/// The same for a sequence of numbers.
pub mod sequence {
    use super::{Deserialize, Deserializer, Serializer};
    use std::collections::VecDeque;

    pub fn serialize<S: Serializer>(values: &VecDeque<f64>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(values.iter().map(f64::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<VecDeque<f64>, D::Error> {
        Vec::<String>::deserialize(d)?.iter().map(|text| super::parse(text)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] f64);

    proptest! {
        #[test]
        fn every_bit_survives(value in any::<f64>()) {
            let text = serde_json::to_string(&One(value)).unwrap();
            let back = serde_json::from_str::<One>(&text).unwrap().0;
            prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
