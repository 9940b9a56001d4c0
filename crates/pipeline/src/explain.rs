//! `danlu recipe explain`: every key of a recipe, its value, and whether the recipe or a default gave it.

use serde_json::Value;

use crate::recipe::RecipeFile;

/// One line of the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedKey {
    /// Dotted, as in `train.learning_rate`.
    pub key: String,
    pub value: String,
    /// True when the recipe says it, false when it is the default.
    pub from_recipe: bool,
}

/// Explains every leaf of the resolved recipe, in the order of its sections.
pub fn explain(file: &RecipeFile) -> Vec<ExplainedKey> {
    let said: Value = toml::from_str(&file.text).unwrap_or(Value::Null);
    let mut resolved = serde_json::to_value(&file.recipe).unwrap_or(Value::Null);
    if let Some(model) = resolved["model"].as_object_mut() {
        let had = file.recipe.model.settings();
        model.retain(|key, _| had.contains_key(key));
    }
    let mut keys = Vec::new();
    walk("", &resolved, Some(&said), &mut keys);
    keys
}

fn walk(path: &str, value: &Value, said: Option<&Value>, out: &mut Vec<ExplainedKey>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                walk(&below(key), value, said.and_then(|s| s.get(key)), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, item) in items.iter().enumerate() {
                walk(&format!("{path}[{i}]"), item, said.and_then(|s| s.get(i)), out);
            }
        }
        leaf => out.push(ExplainedKey {
            key: path.to_owned(),
            value: if leaf.is_null() { "not set".into() } else { leaf.to_string() },
            from_recipe: said.is_some(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn says_where_each_value_comes_from() {
        let text = "name = \"t\"\n[[data.sources]]\nname = \"a\"\npath = \"a.txt\"\n[train]\nsteps = 700\n";
        let file = RecipeFile::parse(Path::new("t.toml"), text.into()).unwrap();
        let keys = explain(&file);
        let find = |key: &str| keys.iter().find(|k| k.key == key).unwrap_or_else(|| panic!("{key} in {keys:?}"));
        assert_eq!(
            find("train.steps"),
            &ExplainedKey { key: "train.steps".into(), value: "700".into(), from_recipe: true }
        );
        assert!(!find("train.batch_size").from_recipe);
        assert!(find("data.sources[0].path").from_recipe);
        assert_eq!(find("seed").value, "42");
    }
}
