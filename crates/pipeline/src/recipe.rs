//! A recipe: one TOML file that describes a whole life, and its resolution into plain structs.
//!
//! Every section is the config struct of the room it speaks to; its defaults stand there and nowhere else.

use std::path::{Path, PathBuf};

use danlu_data::{
    AugmentConfig, ChatConfig, CleanConfig, DataError, Missing, MixtureConfig, SourceConfig, SplitConfig,
};
use danlu_eval::EvalConfig;
use danlu_model::ModelConfig;
use danlu_text::{TokenizerConfig, language_codes, language_names};
use danlu_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::graph::{Decision, Stage};

/// A recipe with every value filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Names the run; letters, digits, `-` and `_`.
    pub name: String,
    /// One line for `danlu runs` and the report.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random: initial weights, order of batches, dropout, samples.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Where the text comes from.
    pub data: DataSection,
    /// What is repaired and what is dropped.
    #[serde(default)]
    pub clean: CleanConfig,
    /// Which share of the documents is kept for validation and test.
    #[serde(default)]
    pub split: SplitConfig,
    /// Changed copies of the documents to train on; none where there is no such section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// How much of each source training sees, and in which order; everything once, as it lies, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixture: Option<MixtureConfig>,
    /// The tokenizer trained on the cleaned text.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// Whose turns of conversations are learnt.
    #[serde(default)]
    pub chat: ChatConfig,
    /// The shape of the model.
    #[serde(default)]
    pub model: ModelConfig,
    /// How it is trained.
    #[serde(default)]
    pub train: TrainConfig,
    /// How it is scored on the test split.
    #[serde(default)]
    pub evaluate: EvalConfig,
    /// Text the finished model writes for the report.
    #[serde(default)]
    pub samples: SamplesSection,
    /// How it is made smaller.
    #[serde(default)]
    pub compress: CompressSection,
}

fn default_seed() -> u64 {
    42
}

/// `[data]`: the sources, in the order in which exact duplicates are resolved (the first one wins).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Files or globs, relative to the recipe.
    pub sources: Vec<SourceConfig>,
    /// Stop at the first malformed record instead of counting and skipping it.
    #[serde(default)]
    pub strict: bool,
}

/// `[samples]`: continuations written by the finished model, shown in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesSection {
    pub prompts: Vec<String>,
    pub max_tokens: usize,
    pub temperature: f64,
    pub top_p: f64,
}

impl Default for SamplesSection {
    fn default() -> Self {
        Self { prompts: Vec::new(), max_tokens: 80, temperature: 0.8, top_p: 0.95 }
    }
}

/// `[compress]`: the smaller form of the model and how its decoding speed is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressSection {
    /// `int8`: weight-only, per output channel, symmetric.
    pub method: CompressMethod,
    /// Tokens decoded (batch 1) for the speed before and after.
    pub decode_tokens: usize,
}

impl Default for CompressSection {
    fn default() -> Self {
        Self { method: CompressMethod::Int8, decode_tokens: 128 }
    }
}

/// The known ways to make a model smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressMethod {
    Int8,
}

/// A recipe together with the file it came from.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    pub path: PathBuf,
    /// The file's text as it was read.
    pub text: String,
    pub recipe: Recipe,
}

impl RecipeFile {
    /// Reads, parses and checks a recipe.
    ///
    /// # Errors
    /// A missing file, invalid TOML, an unknown key (with the nearest known one), a value that cannot work.
    pub fn load(path: &Path) -> Result<Self, PipelineError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PipelineError::ReadRecipe { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// As [`RecipeFile::load`], of text already read.
    pub fn parse(path: &Path, text: String) -> Result<Self, PipelineError> {
        let recipe: Recipe = parse_toml(path, &text)?;
        let file = Self { path: path.to_owned(), text, recipe };
        file.check()?;
        Ok(file)
    }

    /// The folder that relative source paths start from.
    pub fn base(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn check(&self) -> Result<(), PipelineError> {
        let r = &self.recipe;
        let legal = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if r.name.is_empty() || !r.name.chars().all(legal) {
            return Err(self.value(
                "name",
                format!("`{}` cannot name a folder", r.name),
                "use letters, digits, - and _",
            ));
        }
        if r.data.sources.is_empty() {
            return Err(self.value(
                "data.sources",
                "no source is given".into(),
                "add a [[data.sources]] with a name and a path",
            ));
        }
        for (i, source) in r.data.sources.iter().enumerate() {
            if r.data.sources[..i].iter().any(|s| s.name == source.name) {
                return Err(self.value(
                    "data.sources",
                    format!("two sources are named `{}`", source.name),
                    "give each source a name of its own",
                ));
            }
        }
        if r.train.seq_len > r.model.max_seq_len {
            return Err(self.value(
                "train.seq_len",
                format!("{} is longer than model.max_seq_len = {}", r.train.seq_len, r.model.max_seq_len),
                "raise model.max_seq_len or lower train.seq_len",
            ));
        }
        if r.split.test <= 0.0 {
            return Err(self.value(
                "split.test",
                "there would be nothing to evaluate on".into(),
                "give the test split a share, such as 0.02",
            ));
        }
        if let Some(empty) = r.samples.prompts.iter().position(|p| p.is_empty()) {
            return Err(self.value(
                "samples.prompts",
                format!("prompt {} is empty", empty + 1),
                "write some text, or leave it out",
            ));
        }
        let cleaning = "docs/cleaning.md has the keys of [clean] with examples";
        r.clean.check().map_err(|e| self.refused(&e, "clean", cleaning))?;
        self.check_languages()?;
        if let Some(augment) = &r.augment {
            self.check_augment(augment)?;
        }
        if let Some(mixture) = &r.mixture {
            mixture.check()?;
            self.check_weights(mixture)?;
        }
        // The rest of what training would refuse, before an hour of data work.
        danlu_train::plan_for(&r.train, &r.model, r.tokenizer.vocab_size, 1.0)?;
        Ok(())
    }

    /// Refuses sources that a language model is not trained on, if one of these stages makes tokens of them. To collect and to
    /// clean them alone is no mistake.
    ///
    /// # Errors
    /// [`PipelineError::Value`] with the name of the source.
    pub fn check_stages(&self, decisions: &[(Stage, Decision)]) -> Result<(), PipelineError> {
        let tokens = |(stage, decision): &(Stage, Decision)| {
            *stage == Stage::Tokenizer && matches!(decision, Decision::Run { .. })
        };
        if decisions.iter().any(tokens) { self.check_trained() } else { Ok(()) }
    }

    /// As [`RecipeFile::check_stages`], whatever the stages.
    ///
    /// # Errors
    /// [`PipelineError::Value`] with the name of the source.
    pub fn check_trained(&self) -> Result<(), PipelineError> {
        self.recipe.data.sources.iter().try_for_each(|source| match source.preferences() {
            Some(error) => Err(self.value("data.sources", error.to_string(), &error.hint().unwrap_or_default())),
            None => Ok(()),
        })
    }

    /// That documents may be in every language that is wanted: a name in the place of a code would drop them all.
    fn check_languages(&self) -> Result<(), PipelineError> {
        let r = &self.recipe;
        if r.data.sources.iter().any(|source| source.language_field.is_some()) {
            return Ok(()); // whatever the records say
        }
        let stated = r.data.sources.iter().filter_map(|source| source.language.as_deref());
        let filled = r.clean.missing.get("language").and_then(|missing| match missing {
            Missing::Fill(code) => code.as_str(),
            Missing::Infer | Missing::Drop => None,
        });
        let mut known: Vec<&str> = language_codes().collect();
        known.extend(stated.chain(filled));
        let Some(unknown) = r.clean.languages.iter().find(|code| !known.contains(&code.as_str())) else {
            return Ok(());
        };
        let hint = match nearest(unknown, language_names().map(|(_, name)| name)) {
            Some(near) => {
                let code = language_names().find(|(_, name)| *name == near).map_or("und", |(code, _)| code);
                format!("did you mean `{code}` ({near})? known are {}", known.join(", "))
            }
            None => format!("known are {}", known.join(", ")),
        };
        Err(self.value("clean.languages", format!("no document can be in the language {unknown:?}"), &hint))
    }

    /// That the weights are those of sources, where it is sources that are weighed.
    fn check_weights(&self, mixture: &MixtureConfig) -> Result<(), PipelineError> {
        if mixture.by != "source" {
            return Ok(());
        }
        let names = || self.recipe.data.sources.iter().map(|source| source.name.as_str());
        let Some(unknown) = mixture.weights.keys().find(|name| !names().any(|known| known == name.as_str())) else {
            return Ok(());
        };
        let known = names().collect::<Vec<_>>().join(", ");
        let hint = match nearest(unknown, names()) {
            Some(near) => format!("did you mean `{near}`? the sources are {known}"),
            None => format!("the sources are {known}"),
        };
        Err(self.value("mixture.weights", format!("there is no source `{unknown}`"), &hint))
    }

    fn check_augment(&self, augment: &AugmentConfig) -> Result<(), PipelineError> {
        let keys = "docs/training-data.md has the keys of [augment] with examples";
        augment.check().map_err(|e| self.refused(&e, "augment", keys))?;
        if augment.translates() && augment.translators(self.base()).is_none() {
            return Err(self.value(
                "augment.steps",
                "back_translate needs two translators".into(),
                "name the folders of two models: [augment] there = MODEL and back = MODEL",
            ));
        }
        Ok(())
    }

    /// What the data room says of a section, in this file's name. Its messages begin with the key, where they know it.
    fn refused(&self, error: &DataError, section: &str, hint: &str) -> PipelineError {
        let said = error.to_string();
        let (key, message) = said.split_once(": ").unwrap_or((section, &said));
        self.value(key, message.to_owned(), &error.hint().unwrap_or_else(|| hint.into()))
    }

    fn value(&self, key: &str, message: String, hint: &str) -> PipelineError {
        PipelineError::Value { path: self.path.clone(), key: key.into(), message, hint: hint.into() }
    }
}

/// Reads TOML into a config struct; `path` is for messages.
///
/// # Errors
/// [`PipelineError::Recipe`] with the line and, for an unknown key or value, the nearest known one.
pub fn parse_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, PipelineError> {
    toml::from_str(text).map_err(|e| explain_toml_error(path, text, &e))
}

/// Turns serde's message into one that names the line and, for an unknown key, the nearest known one.
fn explain_toml_error(path: &Path, text: &str, error: &toml::de::Error) -> PipelineError {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().lines().next().unwrap_or("invalid recipe").to_owned();
    let (message, hint) = match unknown_and_expected(&message) {
        Some((unknown, expected)) => {
            let nearest = nearest(&unknown, expected.iter().map(String::as_str));
            let hint = match nearest {
                Some(name) => format!("did you mean `{name}`? known here: {}", expected.join(", ")),
                None => format!("known here: {}", expected.join(", ")),
            };
            let what = if message.starts_with("unknown variant") { "value" } else { "key" };
            (format!("unknown {what} `{unknown}`"), Some(hint))
        }
        None => (message, Some("recipes/quickstart.toml shows every section; `danlu recipe explain` prints the keys of one that parses".into())),
    };
    PipelineError::Recipe { path: path.to_owned(), line, message, hint }
}

/// Takes serde's "unknown field `a`, expected one of `b`, `c`" apart.
fn unknown_and_expected(message: &str) -> Option<(String, Vec<String>)> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let unknown = quoted.next()?;
    Some((unknown, quoted.collect()))
}

/// The name in `known` that is most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"t\"\n[[data.sources]]\nname = \"a\"\npath = \"a.txt\"\n";

    fn load(extra: &str) -> Result<RecipeFile, PipelineError> {
        RecipeFile::parse(Path::new("dir/t.toml"), format!("{SMALL}{extra}"))
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let file = load("").unwrap();
        assert_eq!(file.recipe.seed, 42);
        assert_eq!(file.recipe.train, TrainConfig::default());
        assert_eq!(file.base(), Path::new("dir"));
    }

    #[test]
    fn unknown_key_names_line_and_nearest() {
        let error = load("[train]\nlearning_rat = 0.1\n").unwrap_err();
        assert_eq!(error.to_string(), "dir/t.toml:6: unknown key `learning_rat`");
        assert!(error.hint().unwrap().starts_with("did you mean `learning_rate`?"), "{:?}", error.hint());
    }

    #[test]
    fn mistakes_in_augment_are_told_with_their_key() {
        let said = |section: &str| {
            let error = load(&format!("[augment]\n{section}")).unwrap_err();
            format!("{error} ({})", error.hint().unwrap_or_default())
        };
        let step = "[[augment.steps]]\nkind = \"rotate\"\n";
        let unknown = said(&format!("shar = 0.5\n{step}"));
        assert!(unknown.starts_with("dir/t.toml:6: unknown key `shar` (did you mean `share`?"), "{unknown}");
        let unknown = said(&format!("{step}unti = \"word\"\n"));
        assert!(unknown.contains("unknown key `unti`") && unknown.contains("unit"), "{unknown}");
        let kind = said("[[augment.steps]]\nkind = \"rotat\"\n");
        assert!(kind.contains("unknown value `rotat` (did you mean `rotate`?"), "{kind}");
        let none = said("share = 0.5\n");
        assert!(none.contains("augment.steps: there is no step") && none.contains("training-data.md"), "{none}");
        assert!(said(&format!("share = 2.0\n{step}")).contains("augment.share: must lie between 0 and 1"));
        let models = said("[[augment.steps]]\nkind = \"back_translate\"\n");
        assert!(models.contains("needs two translators") && models.contains("there = MODEL"), "{models}");
        let resolved = load(&format!("[augment]\nshare = 0.5\n{step}")).unwrap().recipe;
        assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&resolved).unwrap()).unwrap(), resolved);
    }

    #[test]
    fn a_source_of_preferences_is_refused_where_tokens_are_made() {
        for form in ["preference", "kto"] {
            let source = format!("[[data.sources]]\nname = \"rated\"\npath = \"b.jsonl\"\nchat = \"{form}\"\n");
            let file = load(&source).unwrap();
            let skipped = (Stage::Tokenizer, Decision::Skip);
            let run = |stage| (stage, Decision::Run { why: "--only".into() });
            file.check_stages(&[run(Stage::Collect), run(Stage::Clean), skipped]).unwrap();
            let error = file.check_stages(&[run(Stage::Tokenizer)]).unwrap_err();
            let told = format!("data.sources: source \"rated\" has answers to choose between (chat = \"{form}\")");
            assert!(error.to_string().contains(&told), "{error}");
            assert!(error.hint().unwrap().contains("chat = \"messages\""), "{:?}", error.hint());
        }
        load("").unwrap().check_trained().unwrap();
    }

    #[test]
    fn languages_are_named_by_their_codes() {
        let said = |section: &str| load(section).map_err(|e| format!("{e} ({})", e.hint().unwrap_or_default()));
        let error = said("[clean]\nlanguages = [\"en\", \"Chinese\"]\n").unwrap_err();
        assert!(error.contains("clean.languages: no document can be in the language \"Chinese\""), "{error}");
        assert!(error.contains("did you mean `zh` (Chinese)?"), "{error}");
        assert!(said("[clean]\nlanguages = [\"ZH\"]\n").unwrap_err().contains("known are"));
        assert!(said("[clean]\nlanguages = [\"en\", \"zh\", \"und\"]\n").is_ok());
        // What a source says of itself goes.
        assert!(said("language = \"lzh\"\n[clean]\nlanguages = [\"lzh\"]\n").is_ok());
        assert!(said("language_field = \"l\"\n[clean]\nlanguages = [\"Chinese\"]\n").is_ok());
        assert!(said("[clean]\nlanguages = [\"xx\"]\n[clean.missing]\nlanguage = { fill = \"xx\" }\n").is_ok());
    }

    #[test]
    fn weights_of_a_mixture_are_those_of_sources() {
        let error =
            load("[[data.sources]]\nname = \"poems\"\npath = \"b.txt\"\n[mixture.weights]\npoem = 1\n").unwrap_err();
        assert!(error.to_string().contains("mixture.weights: there is no source `poem`"), "{error}");
        assert!(error.hint().unwrap().starts_with("did you mean `poems`?"), "{:?}", error.hint());
        assert!(load("[mixture.weights]\na = 1\n").is_ok());
        assert!(load("[mixture]\nby = \"language\"\n[mixture.weights]\nen = 1\n").is_ok(), "only documents know");
    }

    #[test]
    fn context_shorter_than_training_windows_is_refused() {
        let error = load("[model]\nmax_seq_len = 64\n[train]\nseq_len = 128\n").unwrap_err();
        assert!(error.to_string().contains("train.seq_len"), "{error}");
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let error = load("[[data.sources]]\nname = \"a\"\npath = \"b.txt\"\n").unwrap_err();
        assert!(error.to_string().contains("two sources"), "{error}");
    }

    #[test]
    fn resolved_recipe_reads_back_as_itself() {
        let recipe = load("[train]\nsteps = 700\n").unwrap().recipe;
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
    }
}
