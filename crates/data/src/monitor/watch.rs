//! What counts as drift.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Thresholds beyond which a delivery has drifted: the table `[watch]` of a TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Largest population stability index of a statistic. 0.1 is commonly read as a small shift, 0.25 as a large one.
    pub psi: f64,
    /// Largest Kolmogorov-Smirnov distance of a statistic, 0 to 1.
    pub ks: f64,
    /// Largest change of documents and of bytes, as a share of the accepted ones: 0.5 is half as many to half as many
    /// again.
    pub volume: f64,
    /// Largest population stability index of the shares of sources, and of languages.
    pub share_psi: f64,
    /// Largest Jensen-Shannon divergence of a language's words, in bits, 0 to 1.
    pub vocabulary: f64,
    /// How much the share of repeated texts may rise: 0.05 is five points in a hundred.
    pub repeats: f64,
    /// How much the share of records that cannot be read may rise.
    pub problems: f64,
    /// Whether sources and languages may appear that the accepted delivery had not.
    pub allow_new: bool,
    /// Whether sources and languages may be missing.
    pub allow_vanished: bool,
    /// Groups with fewer documents than this on either side are not judged by themselves.
    pub min_documents: u64,
    /// Vocabularies with fewer words than this on either side are not judged.
    pub min_words: u64,
    /// A distance counts only where chance alone would exceed it less often than this, so that small deliveries do not
    /// raise false alarms. 1 judges by the thresholds alone.
    pub significance: f64,
    /// Other thresholds for some statistics: `[watch.statistics.char_count]`.
    pub statistics: BTreeMap<String, StatisticLimits>,
}

/// Thresholds of one statistic; those not given are the general ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatisticLimits {
    pub psi: Option<f64>,
    pub ks: Option<f64>,
    /// Whether to leave this statistic alone.
    pub ignore: bool,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            psi: 0.2,
            ks: 0.1,
            volume: 0.5,
            share_psi: 0.2,
            vocabulary: 0.1,
            repeats: 0.05,
            problems: 0.01,
            allow_new: false,
            allow_vanished: false,
            min_documents: 50,
            min_words: 10_000,
            significance: 0.001,
            statistics: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchFile {
    watch: WatchConfig,
}

impl WatchConfig {
    /// Reads the table `[watch]` of a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a threshold that makes no sense.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(|e| DataError::io("read", path, e))?;
        let file: WatchFile = toml::from_str(&text).map_err(|e| DataError::BadThresholds {
            path: path.into(),
            message: e.to_string().trim_end().to_owned(),
        })?;
        file.watch.check()?;
        Ok(file.watch)
    }

    /// # Errors
    /// A threshold that makes no sense.
    pub fn check(&self) -> Result<(), DataError> {
        let positive = [
            ("watch.psi", self.psi),
            ("watch.ks", self.ks),
            ("watch.volume", self.volume),
            ("watch.share_psi", self.share_psi),
            ("watch.vocabulary", self.vocabulary),
            ("watch.repeats", self.repeats),
            ("watch.problems", self.problems),
        ];
        let own = self.statistics.values().flat_map(|limits| [limits.psi, limits.ks]).flatten();
        for (key, value) in positive.into_iter().chain(own.map(|value| ("watch.statistics", value))) {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(DataError::BadConfig { key, message: format!("must be at least 0, and is {value}") });
            }
        }
        if !(self.significance > 0.0 && self.significance <= 1.0) {
            let message = format!("must be above 0 and at most 1, and is {}", self.significance);
            return Err(DataError::BadConfig { key: "watch.significance", message });
        }
        Ok(())
    }

    /// The limits of PSI and KS for a statistic; none where it is left alone.
    pub(super) fn limits(&self, statistic: &str) -> Option<(f64, f64)> {
        let own = self.statistics.get(statistic).copied().unwrap_or_default();
        (!own.ignore).then_some((own.psi.unwrap_or(self.psi), own.ks.unwrap_or(self.ks)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<WatchConfig, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watch.toml");
        std::fs::write(&path, text).unwrap();
        WatchConfig::load(&path)
    }

    #[test]
    fn what_is_not_given_keeps_its_default() {
        let config =
            load("[watch]\npsi = 0.3\n[watch.statistics.char_count]\nks = 0.5\n[watch.statistics.x]\nignore = true")
                .unwrap();
        assert_eq!((config.psi, config.ks), (0.3, WatchConfig::default().ks));
        assert_eq!(config.limits("char_count"), Some((0.3, 0.5)));
        assert_eq!(config.limits("x"), None);
    }

    #[test]
    fn mistakes_are_named() {
        let said = |text: &str| load(text).unwrap_err().to_string();
        assert!(said("[watch]\npsy = 1").contains("psy"));
        assert!(said("[watch]\npsi = -1").contains("watch.psi"));
        assert!(said("[watch]\nsignificance = 0").contains("watch.significance"));
        assert!(said("").contains("watch"));
        assert!(matches!(WatchConfig::load(Path::new("nowhere.toml")), Err(DataError::Io { .. })));
    }
}
