//! `danlu data show RUN`, and what the other data commands share.

pub mod augment;
mod input;
pub mod provenance;
pub mod report;
pub mod sql;
pub mod train;
pub mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use danlu_data::{ChatConfig, Document, Encoder, FUNNEL_FILE, LossMask, ShowFilter, Shown, stated_licenses};
use danlu_pipeline::{Graph, RECIPE_PATH_FILE, Recipe, RecipeFile, Stage, TOKENIZER_FOLDER, parse_toml};
use danlu_store::{Artifact, Manifest, Workspace};
use danlu_text::{ChatTemplate, Tokenizer};

use crate::Usage;
use crate::args::{DataShowArgs, Global};
use crate::output::{coloured, count, line, note, print};

pub fn show(global: &Global, args: &DataShowArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    let documents = if args.augmented { augmented(&workspace, &args.run)? } else { looked_at(&workspace, &args.run)? };
    let dropped = args.reason.is_some();
    let filter = ShowFilter {
        split: Some(if dropped { "dropped".into() } else { args.split.clone() }),
        source: args.source.clone(),
        language: args.language.clone(),
        reason: args.reason.clone().filter(|r| r != "any"),
        id: None,
        contains: args.contains.clone(),
        limit: Some(args.limit),
    };
    let found = danlu_data::show(&documents.path, &filter)?;
    if found.is_empty() {
        note("no document matches; leave a filter out, or look at the funnel in the report");
    }
    let masks = if args.masked { Some(Masks::of(&workspace, &args.run)?) } else { None };
    for shown in &found {
        if let Some(masks) = &masks {
            heading(shown);
            masks.render(&shown.document)?;
        } else if args.json {
            line(&serde_json::to_string(shown)?);
        } else {
            render(shown, args.chars);
        }
    }
    Ok(())
}

/// What the clean stage left for a run or a recipe.
fn cleaned(workspace: &Workspace, run: &str) -> anyhow::Result<Artifact> {
    stage_artifact(workspace, run, Stage::Clean)?.ok_or_else(|| not_cleaned(run))
}

fn not_cleaned(run: &str) -> anyhow::Error {
    let hint = "`danlu run RECIPE --only collect`, then `--only clean`, makes them";
    Usage::new(format!("{run}: its documents have not been cleaned yet"), hint).into()
}

/// What the clean stage left for a run or a recipe, to look at: where it failed in the end, because nothing or too little was
/// kept, what it had written until then.
fn looked_at(workspace: &Workspace, run: &str) -> anyhow::Result<Artifact> {
    let [clean, collect] = stage_keys(workspace, run, [Stage::Clean, Stage::Collect])?;
    if let Some(cleaned) = finished(workspace, Stage::Clean, &clean)? {
        return Ok(cleaned);
    }
    let failed = failed_cleaning(workspace, clean, collect)?.ok_or_else(|| not_cleaned(run))?;
    note(&format!("{run}: its cleaning failed; this is what it had written"));
    Ok(failed)
}

fn failed_cleaning(workspace: &Workspace, key: String, collect: String) -> anyhow::Result<Option<Artifact>> {
    let store = workspace.artifacts();
    if key.is_empty() || !store.work_in_progress(Stage::Clean.name(), &key) {
        return Ok(None);
    }
    let path = store.work_dir(Stage::Clean.name(), &key)?;
    if !path.join(FUNNEL_FILE).is_file() {
        return Ok(None);
    }
    let mut inputs = BTreeMap::from([(Stage::Collect.name().to_owned(), collect)]);
    inputs.retain(|_, key| !key.is_empty());
    let manifest = Manifest {
        stage: Stage::Clean.name().into(),
        key,
        inputs,
        config: serde_json::Value::Null,
        created: String::new(),
        seconds: 0.0,
        danlu_version: env!("CARGO_PKG_VERSION").into(),
        summary: serde_json::Value::Null,
        content: String::new(),
    };
    Ok(Some(Artifact { path, manifest }))
}

/// What the augment stage left for a run or a recipe.
fn augmented(workspace: &Workspace, run: &str) -> anyhow::Result<Artifact> {
    let hint = "its recipe needs a section [augment]; then `danlu run RECIPE --only augment` makes them";
    stage_artifact(workspace, run, Stage::Augment)?
        .ok_or_else(|| Usage::new(format!("{run}: no copies of its documents have been made"), hint).into())
}

/// What a stage left for a run or a recipe, where it has.
fn stage_artifact(workspace: &Workspace, run: &str, stage: Stage) -> anyhow::Result<Option<Artifact>> {
    let [key] = stage_keys(workspace, run, [stage])?;
    finished(workspace, stage, &key)
}

fn finished(workspace: &Workspace, stage: Stage, key: &str) -> anyhow::Result<Option<Artifact>> {
    Ok(if key.is_empty() { None } else { workspace.artifacts().find(stage.name(), key)? })
}

/// The keys of stages of a run or a recipe; empty where the run has not come to one. All at once: those of a recipe take a look
/// at all its sources.
fn stage_keys<const N: usize>(workspace: &Workspace, run: &str, stages: [Stage; N]) -> anyhow::Result<[String; N]> {
    if run.ends_with(".toml") {
        let graph = Graph::of(&RecipeFile::load(Path::new(run))?)?;
        let mut keys = [const { String::new() }; N];
        for (key, stage) in keys.iter_mut().zip(stages) {
            key.clone_from(&graph.node(stage)?.key);
        }
        return Ok(keys);
    }
    let db = workspace.db()?;
    let done = db.stages(&db.run(run)?.id)?;
    let key = |stage: Stage| done.iter().find(|s| s.stage == stage.name()).map(|s| s.key.clone());
    Ok(stages.map(|stage| key(stage).unwrap_or_default()))
}

/// The licences that a run, or a recipe, states of its sources.
fn licenses(workspace: &Workspace, run: &str) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(stated_licenses(&recipe_of(workspace, run)?.0.data.sources))
}

/// The recipe of a run, or the one that is named, and the folder that its paths start from.
fn recipe_of(workspace: &Workspace, run: &str) -> anyhow::Result<(Recipe, PathBuf)> {
    if run.ends_with(".toml") {
        let file = RecipeFile::load(Path::new(run))?;
        let base = file.base().to_owned();
        return Ok((file.recipe, base));
    }
    let run = workspace.db()?.run(run)?;
    let folder = workspace.run_dir(&run.id);
    // Not there of a run that did not end: its recipe may still lie where the command is given.
    let path = std::fs::read_to_string(folder.join(RECIPE_PATH_FILE)).unwrap_or_default();
    let base = Path::new(&path).parent().unwrap_or(Path::new("")).to_owned();
    Ok((parse_toml(&folder, &run.recipe)?, base))
}

/// What turns a run's documents into tokens with and without a loss.
struct Masks {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    chat: ChatConfig,
}

impl Masks {
    fn of(workspace: &Workspace, run: &str) -> anyhow::Result<Self> {
        let hint = "`danlu run RECIPE --only tokenizer` makes them";
        let Artifact { path, manifest } = stage_artifact(workspace, run, Stage::Tokenizer)?
            .ok_or_else(|| Usage::new(format!("{run}: it has no token shards yet"), hint))?;
        let chat = manifest.config.get("chat").cloned().map(serde_json::from_value).transpose()?.unwrap_or_default();
        let folder = path.join(TOKENIZER_FOLDER);
        Ok(Self { tokenizer: Tokenizer::from_dir(&folder)?, template: ChatTemplate::from_dir(&folder)?, chat })
    }

    fn render(&self, document: &Document) -> anyhow::Result<()> {
        let encoder = Encoder { tokenizer: &self.tokenizer, template: self.template.as_ref(), chat: &self.chat };
        let encoded = encoder.encode(document)?;
        let learnt = |at: usize| match &encoded.mask {
            LossMask::All => true,
            LossMask::Some(mask) => mask[at],
        };
        let (open, close) = if coloured() { ("\x1b[32m", "\x1b[0m") } else { ("\u{27e6}", "\u{27e7}") };
        let mut at = 0;
        while at < encoded.tokens.len() {
            let same = (at..encoded.tokens.len()).take_while(|&i| learnt(i) == learnt(at)).count();
            let text = self.tokenizer.decode(&encoded.tokens[at..at + same]);
            print(&if learnt(at) { format!("{open}{text}{close}") } else { text });
            at += same;
        }
        line("\n");
        Ok(())
    }
}

fn render(shown: &Shown, chars: usize) {
    heading(shown);
    let d = &shown.document;
    match d.text.char_indices().nth(chars) {
        Some((cut, _)) if chars > 0 => line(&format!("{} ...", &d.text[..cut])),
        _ => line(&d.text),
    }
    line("");
}

fn heading(shown: &Shown) {
    let d = &shown.document;
    let why = match (&shown.step, &shown.reason) {
        (Some(step), Some(reason)) => {
            format!("  dropped by {step}: {reason} ({})", shown.detail.as_deref().unwrap_or_default())
        }
        _ => String::new(),
    };
    line(&format!(
        "--- {}  {}  {}  {}  {} bytes{why}",
        d.id,
        d.source,
        d.language,
        shown.split,
        count(d.text.len() as u64)
    ));
}
