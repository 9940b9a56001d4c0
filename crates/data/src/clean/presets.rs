//! Presets: lists of rules that come with danlu, as files that a user can read, print and change.

use serde::Deserialize;

use super::RuleConfig;
use crate::DataError;

/// The presets by name.
const PRESETS: [(&str, &str); 4] = [
    ("gopher", include_str!("presets/gopher.toml")),
    ("c4", include_str!("presets/c4.toml")),
    ("fineweb", include_str!("presets/fineweb.toml")),
    ("chinese-web", include_str!("presets/chinese-web.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    rules: Vec<RuleConfig>,
}

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.into_iter().map(|(name, _)| name)
}

/// A preset as TOML: `[[rules]]`, each with its name, its condition and comments that say where it is from.
///
/// # Errors
/// A name that is not one of them.
pub fn preset_text(name: &str) -> Result<&'static str, DataError> {
    let found = PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    found.ok_or_else(|| {
        let known = preset_names().collect::<Vec<_>>().join(", ");
        DataError::BadConfig { key: "clean.preset", message: format!("{name:?} is none of {known}") }
    })
}

/// A preset of a recipe, `"gopher"` or `"gopher:en"`: its name, and the languages whose documents it asks.
struct Chosen<'a> {
    name: &'a str,
    /// All documents when none.
    languages: Vec<&'a str>,
}

impl<'a> Chosen<'a> {
    fn parse(written: &'a str) -> Result<Self, DataError> {
        let Some((name, language)) = written.split_once(':') else {
            return Ok(Self { name: written, languages: Vec::new() });
        };
        if language.is_empty() || !language.bytes().all(|b| b.is_ascii_lowercase()) {
            let message =
                format!("{written:?}: after the colon stands a language such as \"en\" or \"zh\" (ISO 639-1)");
            return Err(DataError::BadConfig { key: "clean.preset", message });
        }
        Ok(Self { name, languages: vec![language] })
    }

    /// The rules, asked of documents in the languages only.
    fn rules(&self) -> Result<Vec<RuleConfig>, DataError> {
        let name = self.name;
        let preset: Result<Preset, _> = toml::from_str(preset_text(name)?);
        let preset =
            preset.map_err(|e| DataError::BadConfig { key: "clean.preset", message: format!("{name}: {e}") })?;
        let mut rules = preset.rules;
        if !self.languages.is_empty() {
            let list = self.languages.iter().map(|code| format!("'{code}'")).collect::<Vec<_>>().join(", ");
            for rule in &mut rules {
                rule.drop_if = format!("language IN ({list}) AND ({})", rule.drop_if);
            }
        }
        Ok(rules)
    }
}

/// The presets in their order, each once: `["gopher:en", "gopher:de"]` is gopher for both languages, and one that is
/// also named without a language asks every document.
fn chosen(presets: &[String]) -> Result<Vec<Chosen<'_>>, DataError> {
    let mut all: Vec<Chosen<'_>> = Vec::new();
    for written in presets {
        let next = Chosen::parse(written)?;
        match all.iter_mut().find(|other| other.name == next.name) {
            None => all.push(next),
            Some(same) if same.languages.is_empty() || next.languages.is_empty() => same.languages.clear(),
            Some(same) => same.languages.extend(next.languages),
        }
    }
    Ok(all)
}

/// The rules of the presets, then the recipe's own; one that has a preset rule's name takes its place, or, when its
/// condition is empty, takes it away.
pub(super) fn expand(presets: &[String], own: &[RuleConfig]) -> Result<Vec<RuleConfig>, DataError> {
    let mut rules: Vec<RuleConfig> = Vec::new();
    for preset in chosen(presets)? {
        for rule in preset.rules()? {
            match rules.iter().find(|other| other.name == rule.name) {
                Some(same) if same.drop_if == rule.drop_if => {}
                Some(_) if own.iter().any(|own| own.name == rule.name) => {}
                Some(_) => {
                    let message =
                        format!("two presets have a rule {:?}; write the one you mean in [[clean.rules]]", rule.name);
                    return Err(DataError::BadConfig { key: "clean.preset", message });
                }
                None => rules.push(rule),
            }
        }
    }
    let presets = rules.len();
    for rule in own {
        match rules[..presets].iter_mut().find(|other| other.name == rule.name) {
            Some(preset) => preset.drop_if.clone_from(&rule.drop_if),
            None if rule.drop_if.trim().is_empty() => {
                let message =
                    format!("the rule {:?} is empty, and no preset has one of this name to switch off", rule.name);
                return Err(DataError::BadConfig { key: "clean.rules", message });
            }
            None => rules.push(rule.clone()),
        }
    }
    let mut index = 0;
    rules.retain(|rule| {
        index += 1;
        index > presets || !rule.drop_if.trim().is_empty()
    });
    Ok(rules)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(name: &str, drop_if: &str) -> RuleConfig {
        RuleConfig { name: name.into(), drop_if: drop_if.into() }
    }

    #[test]
    fn own_rules_replace_a_presets_rule_or_switch_it_off() {
        let all = expand(&["gopher".into()], &[]).unwrap();
        assert!(all.len() > 5, "{all:?}");
        let (first, second) = (all[0].name.as_str(), all[1].name.as_str());
        let own = [rule(second, "char_count(text) < 5"), rule(first, " "), rule("mine", "text = 'a'")];
        let changed = expand(&["gopher".into()], &own).unwrap();
        assert_eq!(changed.len(), all.len());
        assert_eq!(changed[0], own[0]);
        assert_eq!(changed.last(), Some(&own[2]));
        assert_eq!(changed[1..all.len() - 1], all[2..]);
    }

    #[test]
    fn an_unknown_preset_is_named_with_the_known_ones() {
        let error = expand(&["gofer".into()], &[]).unwrap_err();
        assert_eq!(error.to_string(), "clean.preset: \"gofer\" is none of gopher, c4, fineweb, chinese-web");
    }

    #[test]
    fn nothing_can_be_switched_off_that_is_not_there() {
        let error = expand(&["c4".into()], &[rule("mine", "")]).unwrap_err();
        assert!(error.to_string().contains("\"mine\" is empty"), "{error}");
    }

    #[test]
    fn a_preset_asks_the_languages_that_are_named_with_it() {
        let [plain, english, both] = [&["c4"][..], &["c4:en"], &["c4:en", "c4:de"]]
            .map(|list| list.iter().map(|p| (*p).into()).collect::<Vec<_>>());
        let plain = expand(&plain, &[]).unwrap();
        for (scoped, condition) in [(english, "language IN ('en')"), (both.clone(), "language IN ('en', 'de')")] {
            let scoped = expand(&scoped, &[]).unwrap();
            assert_eq!(scoped.len(), plain.len());
            for (scoped, plain) in scoped.iter().zip(&plain) {
                assert_eq!(scoped.name, plain.name);
                assert_eq!(scoped.drop_if, format!("{condition} AND ({})", plain.drop_if));
            }
        }
        let everyone = [both, vec!["c4".into()]].concat();
        assert_eq!(expand(&everyone, &[]).unwrap(), plain);
        let error = expand(&["c4:English".into()], &[]).unwrap_err();
        assert!(error.to_string().contains("ISO 639-1"), "{error}");
    }

    #[test]
    fn the_same_preset_twice_is_the_same_once() {
        assert_eq!(expand(&["c4".into(), "c4".into()], &[]).unwrap(), expand(&["c4".into()], &[]).unwrap());
    }
}
