use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// `[mixture]`: what training sees of each group of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureConfig {
    /// What makes a group: `source`, `language`, or a column of the metadata.
    pub by: String,
    /// Relative weights of all groups, by tokens; 0 leaves a group out. Empty: as many tokens as each group has.
    pub weights: BTreeMap<String, f64>,
    /// T flattens the shares: each is raised to 1/T, and they are made to sum to 1 again. 1 changes nothing, more brings
    /// small groups up.
    pub temperature: f64,
    /// No group is seen more often than this; what it would have got beyond goes to the others.
    pub max_epochs: f64,
    /// Tokens in all, end-of-text tokens included; as many as the groups hold when not given.
    pub tokens: Option<u64>,
    /// Seed of the order and of the choice of documents that are seen once more than others.
    pub seed: u64,
    /// Easy first: an order in stages.
    pub curriculum: Option<CurriculumConfig>,
}

/// `[mixture.curriculum]`: documents in the order of a number, in stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurriculumConfig {
    /// A statistic of the documents, a column of the metadata, or `char_count`.
    pub order_by: String,
    /// From small to large.
    pub ascending: bool,
    /// Stages of equal size. Within one, documents come in random order.
    pub stages: usize,
    /// The share of documents that are put into a stage at random, so that none holds one kind alone.
    pub mixing: f64,
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self {
            by: "source".into(),
            weights: BTreeMap::new(),
            temperature: 1.0,
            max_epochs: 4.0,
            tokens: None,
            seed: 0,
            curriculum: None,
        }
    }
}

impl Default for CurriculumConfig {
    fn default() -> Self {
        Self { order_by: "char_count".into(), ascending: true, stages: 4, mixing: 0.1 }
    }
}

impl MixtureConfig {
    /// # Errors
    /// A value that makes no sense.
    pub fn check(&self) -> Result<(), DataError> {
        let bad = |key, message: String| Err(DataError::BadConfig { key, message });
        if let Some((name, weight)) = self.weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0)) {
            return bad("mixture.weights", format!("the weight of {name:?} must be at least 0, and is {weight}"));
        }
        if !self.weights.is_empty() && self.weights.values().sum::<f64>() <= 0.0 {
            return bad("mixture.weights", "all weights are 0".into());
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return bad("mixture.temperature", format!("must be above 0, and is {}", self.temperature));
        }
        if !(self.max_epochs > 0.0 && self.max_epochs.is_finite()) {
            return bad("mixture.max_epochs", format!("must be above 0, and is {}", self.max_epochs));
        }
        if self.tokens == Some(0) {
            return bad("mixture.tokens", "must be at least 1".into());
        }
        let Some(curriculum) = &self.curriculum else { return Ok(()) };
        if !(1..=1000).contains(&curriculum.stages) {
            return bad(
                "mixture.curriculum.stages",
                format!("must lie between 1 and 1000, and is {}", curriculum.stages),
            );
        }
        if !(0.0..=1.0).contains(&curriculum.mixing) {
            return bad("mixture.curriculum.mixing", format!("must lie between 0 and 1, and is {}", curriculum.mixing));
        }
        Ok(())
    }
}
