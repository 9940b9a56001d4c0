//! Ablations: one recipe, a few variants of it, several seeds; what each variant changes, beside how much chance does.
//!
//! Each variant and seed is a recipe of its own, run as far as its evaluation. Stages whose configuration is the same are
//! made once and shared, so that only training and evaluation are repeated, and a stopped ablation goes on where it was.

use std::path::{Path, PathBuf};

use danlu_store::Workspace;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::PipelineError;
use crate::graph::{Graph, Selection, Stage};
use crate::observer::Observer;
use crate::recipe::{RecipeFile, parse_toml};
use crate::runner::{RunOptions, run};
use crate::stages::{EvaluateSummary, TrainSummary};

/// An ablation file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// Begins the names of its runs; letters, digits, `-` and `_`.
    pub name: String,
    /// The recipe that is varied, relative to this file.
    pub base: PathBuf,
    /// Seeds in the place of the recipe's, one run each.
    pub seeds: Vec<u64>,
    /// Keys of the recipe with other values in all variants: a shorter training, say.
    #[serde(default)]
    pub set: Table,
    /// The first one is what the others are compared with.
    pub variants: Vec<Variant>,
}

/// One way in which the recipe differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Keys of the recipe with other values: `set.train.weight_decay = 0.0`.
    #[serde(default)]
    pub set: Table,
}

/// What a variant came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantResult {
    pub name: String,
    /// Of each seed: bits per byte on the test split, then the best validation loss where there was validation.
    pub runs: Vec<(f64, Option<f64>)>,
    pub bits_per_byte: Spread,
    pub valid_loss: Option<Spread>,
    /// Bits per byte above the first variant's, seed by seed: what the seed does to both is taken out.
    pub difference: Spread,
}

/// Mean and standard deviation (over n - 1; 0 of a single one).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, deviation: (squares / (count - 1.0).max(1.0)).sqrt() }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4} ± {:.4}", self.mean, self.deviation)
    }
}

/// An ablation, checked, with a recipe for each variant (outer) and seed (inner).
#[derive(Clone, Debug)]
pub struct AblationFile {
    pub ablation: Ablation,
    pub recipes: Vec<Vec<RecipeFile>>,
}

impl AblationFile {
    /// Reads the file and its recipe, and checks every variant of it.
    ///
    /// # Errors
    /// What [`RecipeFile::load`] reports, of any variant too; no variant or seed; two variants of one name.
    pub fn load(path: &Path) -> Result<Self, PipelineError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| PipelineError::ReadRecipe { path: path.to_owned(), source })
        };
        let text = read(path)?;
        let ablation: Ablation = parse_toml(path, &text)?;
        check(path, &ablation)?;
        let base_path = path.parent().unwrap_or(Path::new("")).join(&ablation.base);
        let base_text = read(&base_path)?;
        let base: Table = parse_toml(&base_path, &base_text)?;
        let of = |variant: &Variant| -> Result<Vec<RecipeFile>, PipelineError> {
            let recipe = |seed: &u64| {
                let mut table = base.clone();
                merge(&mut table, &ablation.set);
                merge(&mut table, &variant.set);
                table.insert("name".into(), format!("{}-{}-{seed}", ablation.name, variant.name).into());
                table.insert("seed".into(), Value::Integer(*seed as i64));
                let merged = toml::to_string(&table).map_err(|error| PipelineError::Recipe {
                    path: base_path.clone(),
                    line: 1,
                    message: error.to_string(),
                    hint: None,
                })?;
                RecipeFile::parse(&base_path, merged)
            };
            ablation.seeds.iter().map(recipe).collect()
        };
        let recipes = ablation.variants.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self { ablation, recipes })
    }
}

fn check(path: &Path, ablation: &Ablation) -> Result<(), PipelineError> {
    let bad = |key: &str, message: String, hint: &str| {
        Err(PipelineError::Value { path: path.to_owned(), key: key.into(), message, hint: hint.into() })
    };
    if ablation.seeds.is_empty() || ablation.variants.is_empty() {
        return bad("seeds", "there is nothing to run".into(), "give `seeds` and [[variants]] at least one each");
    }
    if let Some(seed) = ablation.seeds.iter().find(|seed| i64::try_from(**seed).is_err()) {
        return bad("seeds", format!("{seed} is too large"), "take a seed below 2^63");
    }
    for (i, variant) in ablation.variants.iter().enumerate() {
        if ablation.variants[..i].iter().any(|other| other.name == variant.name) {
            return bad("variants.name", format!("two variants are named `{}`", variant.name), "rename one of them");
        }
    }
    Ok(())
}

/// Puts `changes` into `table`; tables are merged, everything else is replaced.
fn merge(table: &mut Table, changes: &Table) {
    for (key, value) in changes {
        match (table.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// As far as an ablation runs each recipe.
const STAGES: [Stage; 6] =
    [Stage::Collect, Stage::Clean, Stage::Augment, Stage::Tokenizer, Stage::Train, Stage::Evaluate];

/// Runs what was not run before, and says what it came to.
///
/// # Errors
/// Whatever a stage meets, a request to stop among them; the same call goes on from there.
pub fn ablate(
    file: &AblationFile,
    workspace: &Workspace,
    options: &RunOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<VariantResult>, PipelineError> {
    let mut all = Vec::new();
    for recipes in &file.recipes {
        let runs = recipes.iter().map(|recipe| run_one(recipe, workspace, options, observer));
        all.push(runs.collect::<Result<Vec<_>, _>>()?);
    }
    let first: Vec<f64> = all.first().into_iter().flatten().map(|run| run.0).collect();
    let result = |(variant, runs): (&Variant, Vec<(f64, Option<f64>)>)| {
        let bits: Vec<f64> = runs.iter().map(|run| run.0).collect();
        let losses: Vec<f64> = runs.iter().filter_map(|run| run.1).collect();
        let differences: Vec<f64> = bits.iter().zip(&first).map(|(bits, first)| bits - first).collect();
        VariantResult {
            name: variant.name.clone(),
            bits_per_byte: Spread::of(&bits),
            valid_loss: (losses.len() == runs.len()).then(|| Spread::of(&losses)),
            difference: Spread::of(&differences),
            runs,
        }
    };
    Ok(file.ablation.variants.iter().zip(all).map(result).collect())
}

/// Bits per byte and the best validation loss of one recipe.
fn run_one(
    file: &RecipeFile,
    workspace: &Workspace,
    options: &RunOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<(f64, Option<f64>), PipelineError> {
    let graph = Graph::of(file)?;
    let store = workspace.artifacts();
    for stage in STAGES.into_iter().filter(|stage| graph.has(*stage)) {
        if store.find(stage.name(), &graph.node(stage)?.key)?.is_none() {
            let selection = Selection { from: None, only: Some(stage) };
            let options = RunOptions { selection, device: options.device.clone(), ..*options };
            run(file, workspace, &options, observer)?;
        }
    }
    let train: TrainSummary = summary(workspace, &graph, Stage::Train)?;
    let evaluate: EvaluateSummary = summary(workspace, &graph, Stage::Evaluate)?;
    Ok((evaluate.evaluation.overall.bits_per_byte, train.best_valid_loss))
}

fn summary<T: serde::de::DeserializeOwned>(
    workspace: &Workspace,
    graph: &Graph,
    stage: Stage,
) -> Result<T, PipelineError> {
    let artifact = crate::graph::require(graph, &workspace.artifacts(), stage, stage)?;
    serde_json::from_value(artifact.manifest.summary)
        .map_err(|error| PipelineError::Artifact { path: artifact.path, message: error.to_string() })
}

/// The results as a Markdown table.
pub fn markdown(results: &[VariantResult]) -> String {
    let row = |result: &VariantResult| {
        vec![
            result.name.clone(),
            result.runs.len().to_string(),
            result.bits_per_byte.to_string(),
            result.difference.to_string(),
            result.valid_loss.map_or("-".into(), |loss| loss.to_string()),
        ]
    };
    let headers = ["variant", "seeds", "test bits per byte", "above the first", "best validation loss"];
    danlu_report::markdown_table(&headers, &results.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BASE: &str = "name = \"t\"\n[[data.sources]]\nname = \"a\"\npath = \"a.txt\"\n[train]\nsteps = 700\n";

    fn load(text: &str) -> Result<AblationFile, PipelineError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("base.toml"), BASE).unwrap();
        std::fs::write(dir.path().join("ablation.toml"), text).unwrap();
        AblationFile::load(&dir.path().join("ablation.toml"))
    }

    #[test]
    fn variants_are_recipes_of_their_own() {
        let text = "name = \"reg\"\nbase = \"base.toml\"\nseeds = [1, 2]\nset.train.batch_size = 3\n[[variants]]\nname = \"none\"\n\
            [[variants]]\nname = \"ema\"\nset.train.average.kind = \"ema\"\nset.model.dropout = 0.2\n";
        let file = load(text).unwrap();
        assert_eq!((file.recipes.len(), file.recipes[1].len()), (2, 2));
        let recipe = &file.recipes[1][1].recipe;
        assert_eq!((recipe.name.as_str(), recipe.seed, recipe.train.steps), ("reg-ema-2", 2, 700));
        assert_eq!(recipe.train.batch_size, 3);
        assert_eq!((recipe.train.average.kind, recipe.model.dropout), (danlu_train::AverageKind::Ema, 0.2));
        assert_eq!(file.recipes[0][0].recipe.model.dropout, danlu_model::ModelConfig::default().dropout);
    }

    #[test]
    fn bad_files_are_told() {
        let head = "name = \"reg\"\nbase = \"base.toml\"\nseeds = [1]\n";
        let error = |text: &str| load(text).unwrap_err().to_string();
        let twice = format!("{head}[[variants]]\nname = \"a\"\n[[variants]]\nname = \"a\"\n");
        assert!(error(&twice).contains("two variants are named `a`"));
        let unknown = format!("{head}[[variants]]\nname = \"a\"\nset.train.drop_out = 1\n");
        assert!(error(&unknown).contains("unknown key `drop_out`"), "{}", error(&unknown));
        assert!(error("name = \"reg\"\nbase = \"base.toml\"\nseeds = []\nvariants = []\n").contains("nothing to run"));
        assert!(
            error("name = \"reg\"\nbase = \"no.toml\"\nseeds = [1]\n[[variants]]\nname = \"a\"\n").contains("no.toml")
        );
    }

    #[test]
    fn spreads_are_over_seeds() {
        let spread = Spread::of(&[1.0, 2.0, 6.0]);
        assert_eq!((spread.mean, spread.deviation), (3.0, 7.0f64.sqrt()));
        assert_eq!(Spread::of(&[2.0]).deviation, 0.0);
    }
}
