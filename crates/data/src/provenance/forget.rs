use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use danlu_store::{Artifact, ArtifactStore, MANIFEST_FILE, StoreError, Workspace, atomic, now_rfc3339};
use danlu_text::Tokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lineage::{ArtifactRef, Lineage, ModelRef, TRAIN, name};
use super::select::{Selected, Selection, Table};
use super::tombstones::{self, Tombstone};
use crate::document::content_id;
use crate::files::{document_files, read_rows, rewrite_table};
use crate::shard::ShardWriter;
use crate::{
    Count, DataError, Document, DropRow, FUNNEL_FILE, Funnel, Progress, ProgressFn, Shard, ShardSummary, StepFunnel,
};

/// Lies in a workspace while documents are being forgotten, and says what is still to be done.
const JOURNAL_FILE: &str = "forgetting.json";
const JOURNAL_VERSION: u32 = 1;
/// The step, and the reason, under which the funnel counts forgotten documents.
pub(crate) const FORGOTTEN: &str = "forgotten";
/// The end of the names of token shards, and the folder of the tokenizer beside them.
const SHARD_EXTENSION: &str = "tokens";
const TOKENIZER_DIR: &str = "tokenizer";

/// What forgetting will do; also the journal by which a killed one goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgetPlan {
    version: u32,
    /// RFC 3339; token shards that are written again bear it as their time, so that what was trained on them is seen to be
    /// older.
    pub time: String,
    /// Every id that the documents have or had, before and after cleaning.
    pub documents: Vec<Tombstone>,
    /// What is written again, with the documents in each of its tables.
    pub artifacts: Vec<PlannedArtifact>,
    /// The models that saw the documents.
    pub models: Vec<ModelRef>,
    /// What else was made from them and may quote them, such as reports. Not touched; `danlu run` makes them again.
    pub derived: Vec<ArtifactRef>,
}

/// An artifact to write again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedArtifact {
    #[serde(flatten)]
    pub artifact: ArtifactRef,
    /// Table -> documents to remove.
    pub tables: BTreeMap<String, u64>,
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    pub time: String,
    pub documents: Vec<Tombstone>,
    pub files: Vec<ForgottenFile>,
    pub models: Vec<ModelRef>,
    pub derived: Vec<ArtifactRef>,
}

/// A table or token shard that documents were removed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgottenFile {
    pub path: PathBuf,
    pub documents: u64,
    /// Of a token shard, end-of-text tokens included.
    pub tokens: Option<u64>,
    /// Documents that should have been in a shard and were not found, because its tokens do not spell their text.
    pub missing: u64,
}

/// Removes documents from every table and token shard that goes back to the same collected documents as the artifact
/// `clean`, whatever recipe made it. Tombstones come first, so that nothing comes back; a killed run of this goes on when it
/// is called again (for any documents), or by [`pending_forget`].
///
/// # Errors
/// No such document; another process at work on one of the artifacts; those of the disk.
pub fn forget(
    workspace: &Workspace,
    clean: &Artifact,
    selection: &Selection,
    reason: &str,
    progress: &ProgressFn<'_>,
) -> Result<Forgotten, DataError> {
    pending_forget(workspace, progress)?;
    // The artifact may have been written again just now.
    let manifest = &clean.manifest;
    let clean = workspace.artifacts().find(&manifest.stage, &manifest.key)?.unwrap_or_else(|| clean.clone());
    let plan = plan_forget(workspace, &clean, selection, reason)?;
    carry_out(workspace, &plan, &mut |done, all| {
        progress(Progress { label: "forget", done, total: Some(all), unit: "artifacts" });
        Ok(())
    })
}

/// Goes on with a forgetting that was killed; `None` where there is none.
pub fn pending_forget(workspace: &Workspace, progress: &ProgressFn<'_>) -> Result<Option<Forgotten>, DataError> {
    let path = workspace.root().join(JOURNAL_FILE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|e| DataError::io("read", &path, e))?,
    };
    let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
    let plan: ForgetPlan = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if plan.version != JOURNAL_VERSION {
        return Err(damaged(format!("it is of version {}", plan.version)).into());
    }
    carry_out(workspace, &plan, &mut |done, all| {
        progress(Progress { label: "forget", done, total: Some(all), unit: "artifacts" });
        Ok(())
    })
    .map(Some)
}

/// Finds the documents and what holds them, and changes nothing.
///
/// # Errors
/// No such document; tables that cannot be read.
pub fn plan_forget(
    workspace: &Workspace,
    clean: &Artifact,
    selection: &Selection,
    reason: &str,
) -> Result<ForgetPlan, DataError> {
    let lineage = Lineage::of(&workspace.artifacts())?;
    let all = lineage.descendants(&lineage.roots(clean));
    let tables = tables_of(&all);
    let selected = Selected::find(&tables, selection)?;
    if selected.ids.is_empty() {
        let message = "no document meets the conditions".into();
        return Err(DataError::BadConfig { key: "selection", message });
    }
    let mut counts: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
    for table in &tables {
        let mut documents = 0;
        read_rows(&table.path, &mut |row| {
            documents += u64::from(selected.ids.contains_key(&row.document.id));
            Ok(())
        })?;
        if documents > 0 {
            counts.entry(table.artifact).or_default().insert(table.split.to_owned(), documents);
        }
    }
    let splits = |tables: &BTreeMap<String, u64>| -> BTreeSet<String> {
        tables.keys().filter(|split| !["collected", "dropped"].contains(&split.as_str())).cloned().collect()
    };
    let holding: BTreeMap<_, _> = counts.iter().map(|(&index, tables)| (name(all[index]), splits(tables))).collect();
    let models = lineage.models(workspace, &holding)?;
    // Shards made from the tables have them too.
    let made_of = |artifact: &Artifact, kept: bool| {
        let holds = |one: &&Artifact| holding.get(&name(one)).is_some_and(|splits| !kept || !splits.is_empty());
        lineage.ancestors(artifact).iter().any(holds)
    };
    let (mut artifacts, mut derived) = (Vec::new(), Vec::new());
    for (index, artifact) in all.iter().enumerate() {
        let tables = counts.remove(&index).unwrap_or_default();
        let with_shards = !shards_of(&artifact.path).is_empty();
        if !tables.is_empty() || (with_shards && made_of(artifact, true)) {
            artifacts.push(PlannedArtifact { artifact: (*artifact).into(), tables });
        } else if !with_shards && artifact.manifest.stage != TRAIN && made_of(artifact, false) {
            derived.push(ArtifactRef::from(*artifact));
        }
    }
    let time = now_rfc3339();
    let keys: Vec<String> = models.iter().map(|model| model.artifact.key.clone()).collect();
    let tombstone =
        |(id, place)| Tombstone { id, place, time: time.clone(), reason: reason.into(), models: keys.clone() };
    let documents = selected.ids.into_iter().map(tombstone).collect();
    Ok(ForgetPlan { version: JOURNAL_VERSION, documents, artifacts, models, derived, time })
}

fn tables_of(artifacts: &[&Artifact]) -> Vec<Table> {
    let of = |(artifact, found): (usize, &&Artifact)| {
        let table = move |(split, path)| Table { artifact, split, path, collected: split == "collected" };
        document_files(&found.path).into_iter().map(table).collect::<Vec<_>>()
    };
    artifacts.iter().enumerate().flat_map(of).collect()
}

/// The token shards of an artifact, by split.
fn shards_of(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == SHARD_EXTENSION))
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .collect();
    found.sort();
    found
}

/// Called before each artifact with how many are done and how many there are; an error stops there.
pub(super) type Step<'a> = dyn FnMut(u64, u64) -> Result<(), DataError> + 'a;

pub(super) fn carry_out(workspace: &Workspace, plan: &ForgetPlan, step: &mut Step<'_>) -> Result<Forgotten, DataError> {
    let journal = workspace.root().join(JOURNAL_FILE);
    let text = serde_json::to_string_pretty(plan).map_err(|e| DataError::io("write", &journal, e.into()))?;
    atomic::write_bytes(&journal, text.as_bytes())?;
    tombstones::add(workspace.root(), &plan.documents)?;
    let store = workspace.artifacts();
    let mut files = Vec::new();
    for (done, planned) in plan.artifacts.iter().enumerate() {
        step(done as u64, plan.artifacts.len() as u64)?;
        files.extend(remove_from(&store, planned, plan)?);
    }
    std::fs::remove_file(&journal).map_err(|e| DataError::io("remove", &journal, e))?;
    Ok(Forgotten {
        time: plan.time.clone(),
        documents: plan.documents.clone(),
        files,
        models: plan.models.clone(),
        derived: plan.derived.clone(),
    })
}

/// Writes one artifact again without the documents, unless that was done before this run was killed.
fn remove_from(
    store: &ArtifactStore,
    planned: &PlannedArtifact,
    plan: &ForgetPlan,
) -> Result<Vec<ForgottenFile>, DataError> {
    let ArtifactRef { stage, key, .. } = &planned.artifact;
    let _claim = store.lock_work(stage, key)?;
    // One that was removed in the meantime holds nothing.
    let Some(mut artifact) = store.find(stage, key)? else { return Ok(Vec::new()) };
    if let Some(files) = told_before(&artifact, plan) {
        return Ok(files);
    }
    let ids: BTreeSet<&str> = plan.documents.iter().map(|document| document.id.as_str()).collect();
    let work = store.work_dir(stage, key)?;
    // What an interrupted run of the stage left there may hold the documents as well.
    std::fs::remove_dir_all(&work).map_err(|e| DataError::io("remove", &work, e))?;
    let work = store.work_dir(stage, key)?;
    let mut rewriting = Rewriting { from: artifact.path.clone(), to: work.clone(), ids, files: Vec::new() };
    let removed = rewriting.tables()?;
    let shards = rewriting.shards(planned, plan, &artifact)?;
    let files = rewriting.files;
    copy_others(&artifact.path, &work, &|path| {
        path == artifact.path.join(MANIFEST_FILE) || files.iter().any(|file| file.path == path)
    })?;
    let summary = &mut artifact.manifest.summary;
    if let Some(funnel) = forget_in_funnel(&artifact.path, &work, &removed)? {
        *summary = merge_summary(summary.take(), funnel);
    }
    for (split, shard) in shards {
        update_shard_summary(&mut summary["shards"][&split], &shard);
    }
    note(summary, plan, &files);
    if files.iter().any(|file| file.tokens.is_some() && file.documents > 0) {
        artifact.manifest.created.clone_from(&plan.time);
    }
    store.replace(&work, artifact.manifest)?;
    Ok(files)
}

struct Rewriting<'a> {
    from: PathBuf,
    to: PathBuf,
    ids: BTreeSet<&'a str>,
    files: Vec<ForgottenFile>,
}

/// What was removed of a split, by source and language.
type Removed = BTreeMap<(String, String, String), Count>;

impl Rewriting<'_> {
    fn tables(&mut self) -> Result<Removed, DataError> {
        let mut removed = Removed::new();
        for (split, path) in document_files(&self.from) {
            let to = self.to.join(path.file_name().unwrap_or_default());
            let documents = rewrite_table(&path, &to, &mut |document: &Document| {
                let drop = self.ids.contains(document.id.as_str());
                if drop && !["collected", "dropped"].contains(&split) {
                    let key = (split.to_owned(), document.source.clone(), document.language.clone());
                    removed.entry(key).or_default().add(document);
                }
                drop
            })?;
            self.files.push(ForgottenFile { path, documents, tokens: None, missing: 0 });
        }
        Ok(removed)
    }

    fn shards(
        &mut self,
        planned: &PlannedArtifact,
        plan: &ForgetPlan,
        artifact: &Artifact,
    ) -> Result<Vec<(String, ShardSummary)>, DataError> {
        let shards = shards_of(&self.from);
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let tokenizer = Tokenizer::from_dir(&self.from.join(TOKENIZER_DIR))?;
        let mut summaries = Vec::new();
        for (split, path) in shards {
            let to = self.to.join(path.file_name().unwrap_or_default());
            let shard = Shard::open(&path, Some(tokenizer.hash()))?;
            let (documents, tokens, summary) = self.shard(&shard, &to, &tokenizer)?;
            let mixed = !artifact.manifest.summary["shards"][&split]["mixture"].is_null();
            // A mixture shows documents several times, or not at all.
            let expected = if mixed { 0 } else { expected_in_shard(planned, plan, artifact, &split) };
            let missing = expected.saturating_sub(documents);
            self.files.push(ForgottenFile { path, documents, tokens: Some(tokens), missing });
            summaries.push((split, summary));
        }
        Ok(summaries)
    }

    /// Copies a shard without the documents whose tokens spell a forgotten text: the id is the hash of the text.
    fn shard(&self, shard: &Shard, to: &Path, tokenizer: &Tokenizer) -> Result<(u64, u64, ShardSummary), DataError> {
        let drop = |index: usize| {
            let Some(document) = shard.document(index) else { return false };
            let text = document.tokens.start..document.tokens.end.saturating_sub(1).max(document.tokens.start);
            let bytes = tokenizer.decode_bytes(&shard.tokens().slice(text).to_vec());
            self.ids.contains(content_id(&bytes).as_str())
        };
        let dropped: Vec<bool> = (0..shard.document_count()).into_par_iter().map(drop).collect();
        let mut writer = ShardWriter::like(to, shard)?;
        let mut stages = shard.stages().iter().peekable();
        let (mut documents, mut tokens) = (0, 0);
        for (document, drop) in shard.documents().zip(dropped) {
            while stages.next_if(|&&begin| begin <= document.tokens.start as u64).is_some() {
                writer.begin_stage();
            }
            if drop {
                documents += 1;
                tokens += document.tokens.len() as u64;
            } else {
                writer.copy(shard, &document)?;
            }
        }
        Ok((documents, tokens, writer.finish()?))
    }
}

/// How many of the documents the tables had from which a shard was made.
fn expected_in_shard(planned: &PlannedArtifact, plan: &ForgetPlan, artifact: &Artifact, split: &str) -> u64 {
    let made_from = |one: &&PlannedArtifact| {
        one.artifact == planned.artifact || artifact.manifest.inputs.get(&one.artifact.stage) == Some(&one.artifact.key)
    };
    plan.artifacts.iter().filter(made_from).filter_map(|one| one.tables.get(split)).sum()
}

/// Everything of an artifact that is not written anew.
fn copy_others(from: &Path, to: &Path, anew: &dyn Fn(&Path) -> bool) -> Result<(), DataError> {
    for entry in std::fs::read_dir(from).map_err(|e| DataError::io("list", from, e))? {
        let path = entry.map_err(|e| DataError::io("list", from, e))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            std::fs::create_dir_all(&target).map_err(|e| DataError::io("create the folder", &target, e))?;
            copy_others(&path, &target, anew)?;
        } else if !anew(&path) {
            atomic::link_or_copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Moves the removed documents from the splits to a step of their own, so that the accounts still add up.
fn forget_in_funnel(from: &Path, to: &Path, removed: &Removed) -> Result<Option<Value>, DataError> {
    let path = from.join(FUNNEL_FILE);
    if removed.is_empty() || !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| DataError::io("read", &path, e))?;
    let mut funnel: Funnel = serde_json::from_slice(&bytes).map_err(|e| DataError::io("read", &path, e.into()))?;
    let entered = funnel.kept;
    let mut dropped: BTreeMap<(String, String), Count> = BTreeMap::new();
    for ((split, source, language), &count) in removed {
        for row in
            funnel.splits.iter_mut().filter(|r| r.split == *split && r.source == *source && r.language == *language)
        {
            subtract(&mut row.count, count);
        }
        subtract(&mut funnel.kept, count);
        let sum = dropped.entry((source.clone(), language.clone())).or_default();
        sum.documents += count.documents;
        sum.bytes += count.bytes;
    }
    funnel.splits.retain(|row| row.count.documents > 0);
    let row = |((source, language), count)| DropRow { reason: FORGOTTEN.into(), source, language, count };
    let dropped = dropped.into_iter().map(row).collect();
    funnel.steps.push(StepFunnel { step: FORGOTTEN.into(), entered, kept: funnel.kept, changed: 0, dropped });
    crate::storage::write_json(&to.join(FUNNEL_FILE), &funnel)?;
    serde_json::to_value(&funnel).map(Some).map_err(|e| DataError::io("write", &path, e.into()))
}

fn subtract(from: &mut Count, count: Count) {
    from.documents = from.documents.saturating_sub(count.documents);
    from.bytes = from.bytes.saturating_sub(count.bytes);
}

/// A stage's summary with the fields of its new funnel.
fn merge_summary(mut summary: Value, funnel: Value) -> Value {
    match (&mut summary, funnel) {
        (Value::Object(all), Value::Object(new)) => {
            all.extend(new);
            summary
        }
        (_, funnel) => funnel,
    }
}

/// Puts the new counts into the summary of a shard; what only the text could tell stays as it was.
fn update_shard_summary(summary: &mut Value, shard: &ShardSummary) {
    if !summary.is_object() {
        *summary = json!({});
    }
    for (key, value) in [
        ("total", serde_json::to_value(&shard.total)),
        ("by_language", serde_json::to_value(&shard.by_language)),
        ("by_source", serde_json::to_value(&shard.by_source)),
        ("vocab_size", serde_json::to_value(shard.vocab_size)),
    ] {
        summary[key] = value.unwrap_or_default();
    }
    for key in ["unknown_tokens", "round_trip_failures"] {
        if summary[key].is_null() {
            summary[key] = 0.into();
        }
    }
}

/// Says in the manifest what was removed and when.
fn note(summary: &mut Value, plan: &ForgetPlan, files: &[ForgottenFile]) {
    if !summary.is_object() {
        *summary = json!({ "summary": summary.take() });
    }
    let entry = json!({ "time": plan.time, "files": files });
    match &mut summary[FORGOTTEN] {
        Value::Array(all) => all.push(entry),
        other => *other = json!([entry]),
    }
}

/// What an artifact says was removed by this plan; `None` where that has not been done yet.
fn told_before(artifact: &Artifact, plan: &ForgetPlan) -> Option<Vec<ForgottenFile>> {
    let entries = artifact.manifest.summary[FORGOTTEN].as_array()?;
    let entry = entries.iter().find(|entry| entry["time"] == plan.time.as_str())?;
    Some(serde_json::from_value(entry["files"].clone()).unwrap_or_default())
}
