use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use danlu_store::{Artifact, ArtifactStore, MANIFEST_FILE, StoreError, Workspace, atomic, now_rfc3339};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts::{Removed, tell_shard};
use super::lineage::{ArtifactRef, Lineage, ModelRef, TRAIN, name};
use super::select::{Selected, Selection, Table};
use super::spelling::{Sought, Speller, shards_of, table_of};
use super::tombstones::{self, Tombstone};
use crate::augment::IMAGES_SUFFIX;
use crate::files::{document_files, read_rows, rewrite_table};
use crate::shard::ShardWriter;
use crate::{DataError, Document, Progress, ProgressFn, Shard, ShardSummary};

/// Lies in a workspace while documents are being forgotten, and says what is still to be done.
const JOURNAL_FILE: &str = "forgetting.json";
const JOURNAL_VERSION: u32 = 1;
/// Stages whose unfinished work holds texts.
const TEXT_STAGES: [&str; 4] = ["collect", "clean", "augment", "tokenizer"];
/// The step, and the reason, under which the funnel counts forgotten documents.
pub(crate) const FORGOTTEN: &str = "forgotten";
/// In the summary of an artifact, what was removed from it and when. (Its `forgotten` is what collecting left out.)
const FORGETS: &str = "forgets";

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
    /// Split -> what to look for in its token shard.
    #[serde(default)]
    pub shards: BTreeMap<String, Sought>,
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
    let counts = count(&tables, &selected)?;
    let holding = holding(&all, &counts);
    let models = lineage.models(workspace, &holding)?;
    let (artifacts, derived) = Planner { lineage: &lineage, holding, selected: &selected }.plan(&all, counts)?;
    let time = now_rfc3339();
    let keys: Vec<String> = models.iter().map(|model| model.artifact.key.clone()).collect();
    let tombstone =
        |(id, place)| Tombstone { id, place, time: time.clone(), reason: reason.into(), models: keys.clone() };
    let documents = selected.ids.into_iter().map(tombstone).collect();
    Ok(ForgetPlan { version: JOURNAL_VERSION, documents, artifacts, models, derived, time })
}

/// By artifact and split, how many documents are to be removed.
type Counts = BTreeMap<usize, BTreeMap<String, u64>>;

fn count(tables: &[Table], selected: &Selected) -> Result<Counts, DataError> {
    let mut counts = Counts::new();
    for table in tables {
        let mut documents = 0;
        read_rows(&table.path, &mut |row| {
            documents += u64::from(selected.ids.contains_key(&row.document.id));
            Ok(())
        })?;
        if documents > 0 {
            counts.entry(table.artifact).or_default().insert(table.split.to_owned(), documents);
        }
    }
    Ok(counts)
}

/// Artifacts that hold the documents, with the splits that they are in: none where they were dropped.
type Holding = BTreeMap<(String, String), BTreeSet<String>>;

fn holding(all: &[&Artifact], counts: &Counts) -> Holding {
    let splits = |tables: &BTreeMap<String, u64>| {
        tables.keys().filter(|split| !["collected", "dropped"].contains(&split.as_str())).cloned().collect()
    };
    counts.iter().map(|(&index, tables)| (name(all[index]), splits(tables))).collect()
}

/// Says of each artifact what is to be done with it.
struct Planner<'a> {
    lineage: &'a Lineage,
    holding: Holding,
    selected: &'a Selected,
}

impl Planner<'_> {
    /// What is to be written again, and what else was made of the documents.
    fn plan(
        &self,
        all: &[&Artifact],
        mut counts: Counts,
    ) -> Result<(Vec<PlannedArtifact>, Vec<ArtifactRef>), DataError> {
        let (mut artifacts, mut derived) = (Vec::new(), Vec::new());
        for (index, &artifact) in all.iter().enumerate() {
            let tables = counts.remove(&index).unwrap_or_default();
            let with_shards = !shards_of(&artifact.path)?.is_empty();
            // Shards made from the tables have the documents too.
            if with_shards && self.is_made_of(artifact, true) {
                let shards = self.sought(artifact)?;
                artifacts.push(PlannedArtifact { artifact: artifact.into(), tables, shards });
            } else if !tables.is_empty() {
                artifacts.push(PlannedArtifact { artifact: artifact.into(), tables, shards: BTreeMap::new() });
            } else if !with_shards && artifact.manifest.stage != TRAIN && self.is_made_of(artifact, false) {
                derived.push(artifact.into());
            }
        }
        Ok((artifacts, derived))
    }

    /// Whether an artifact goes back to one that holds the documents, or, with `kept`, holds them in a split.
    fn is_made_of(&self, artifact: &Artifact, kept: bool) -> bool {
        let holds = |one: &&Artifact| self.holding.get(&name(one)).is_some_and(|splits| !kept || !splits.is_empty());
        self.lineage.ancestors(artifact).iter().any(holds)
    }

    fn sought(&self, artifact: &Artifact) -> Result<BTreeMap<String, Sought>, DataError> {
        let speller = Speller::of(artifact)?;
        let mut all = BTreeMap::new();
        for (split, _) in shards_of(&artifact.path)? {
            if let Some(table) = table_of(self.lineage, artifact, &split) {
                let sought = speller.sought(&table, &|id| self.selected.ids.contains_key(id))?;
                all.insert(split, sought);
            }
        }
        Ok(all)
    }
}

fn tables_of(artifacts: &[&Artifact]) -> Vec<Table> {
    let of = |(artifact, found): (usize, &&Artifact)| {
        let table = move |(split, path)| Table { artifact, split, path, collected: split == "collected" };
        document_files(&found.path).into_iter().map(table).collect::<Vec<_>>()
    };
    artifacts.iter().enumerate().flat_map(of).collect()
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
    TEXT_STAGES.iter().try_for_each(|stage| remove_unfinished(&store, stage))?;
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
    let shards = rewriting.shards(planned, &artifact)?;
    copy_others(&artifact.path, &work, &|path| rewriting.leaves_out(path))?;
    let files = rewriting.files;
    let config = &artifact.manifest.config;
    let mixed_by = config["mixture"]["by"].as_str();
    let summary = &mut artifact.manifest.summary;
    removed.tell(&artifact.path, &work, summary)?;
    for (split, shard) in shards {
        tell_shard(&mut summary["shards"][&split], &shard, mixed_by);
    }
    note(summary, plan, &files);
    if files.iter().any(|file| file.tokens.is_some() && file.documents > 0) {
        artifact.manifest.created.clone_from(&plan.time);
    }
    store.replace(&work, artifact.manifest)?;
    Ok(files)
}

/// Removes what stopped processes left of a stage: nothing says of which documents it is.
fn remove_unfinished(store: &ArtifactStore, stage: &str) -> Result<(), DataError> {
    let folder = store.root().join(stage);
    let list = |e| DataError::io("list", &folder, e);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(list)?,
    };
    for entry in entries {
        let path = entry.map_err(list)?.path();
        if let (Some("partial"), Some(key)) =
            (path.extension().and_then(|end| end.to_str()), path.file_stem().and_then(|key| key.to_str()))
        {
            let _claim = store.lock_work(stage, key)?;
            std::fs::remove_dir_all(&path).map_err(|e| DataError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

struct Rewriting<'a> {
    from: PathBuf,
    to: PathBuf,
    ids: BTreeSet<&'a str>,
    files: Vec<ForgottenFile>,
}

impl Rewriting<'_> {
    fn tables(&mut self) -> Result<Removed, DataError> {
        let mut removed = Removed::default();
        for (split, path) in document_files(&self.from) {
            let to = self.to.join(path.file_name().unwrap_or_default());
            let documents = rewrite_table(&path, &to, &mut |document: &Document| {
                let drop = self.ids.contains(document.id.as_str());
                if drop {
                    removed.add(split, document);
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
        artifact: &Artifact,
    ) -> Result<Vec<(String, ShardSummary)>, DataError> {
        let shards = shards_of(&self.from)?;
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let speller = Speller::of(artifact)?;
        let mut summaries = Vec::new();
        for (split, path) in shards {
            let to = self.to.join(path.file_name().unwrap_or_default());
            let shard = speller.open(&path)?;
            let sought = planned.shards.get(&split).cloned().unwrap_or_default();
            let dropped = speller.found(&shard, &sought, &|id| self.ids.contains(id));
            let (documents, tokens, summary) = without(&shard, &dropped, &to)?;
            let mixed = !artifact.manifest.summary["shards"][&split]["mixture"].is_null();
            // A mixture shows documents several times, or not at all.
            let missing = if mixed { 0 } else { sought.documents.saturating_sub(documents) };
            self.files.push(ForgottenFile { path, documents, tokens: Some(tokens), missing });
            summaries.push((split, summary));
        }
        Ok(summaries)
    }

    /// Whether a file of the old artifact is not taken over: it is written anew, or shows a forgotten text as a picture.
    fn leaves_out(&self, path: &Path) -> bool {
        let part = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
        let drawn = part(path.parent().and_then(Path::file_name)).ends_with(IMAGES_SUFFIX)
            && part(path.file_name()).split_once('-').is_some_and(|(id, _)| self.ids.contains(id));
        drawn || path == self.from.join(MANIFEST_FILE) || self.files.iter().any(|file| file.path == path)
    }
}

/// Copies a shard without the documents that are dropped; gives how many those were, their tokens, and what is left.
fn without(shard: &Shard, dropped: &[bool], to: &Path) -> Result<(u64, u64, ShardSummary), DataError> {
    let mut writer = ShardWriter::like(to, shard)?;
    let mut stages = shard.stages().iter().peekable();
    let (mut documents, mut tokens) = (0, 0);
    for (document, drop) in shard.documents().zip(dropped) {
        while stages.next_if(|&&begin| begin <= document.tokens.start as u64).is_some() {
            writer.begin_stage();
        }
        if *drop {
            documents += 1;
            tokens += document.tokens.len() as u64;
        } else {
            writer.copy(shard, &document)?;
        }
    }
    Ok((documents, tokens, writer.finish()?))
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

/// Says in the manifest what was removed and when.
fn note(summary: &mut Value, plan: &ForgetPlan, files: &[ForgottenFile]) {
    if !summary.is_object() {
        *summary = json!({ "summary": summary.take() });
    }
    let entry = json!({ "time": plan.time, "files": files });
    match &mut summary[FORGETS] {
        Value::Array(all) => all.push(entry),
        other => *other = json!([entry]),
    }
}

/// What an artifact says was removed by this plan; `None` where that has not been done yet.
fn told_before(artifact: &Artifact, plan: &ForgetPlan) -> Option<Vec<ForgottenFile>> {
    let entries = artifact.manifest.summary[FORGETS].as_array()?;
    let entry = entries.iter().find(|entry| entry["time"] == plan.time.as_str())?;
    Some(serde_json::from_value(entry["files"].clone()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is left there may hold a forgotten text: that nobody looked must not pass for that nothing was there.
    #[test]
    fn a_folder_of_a_stage_that_cannot_be_listed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Workspace::open(&dir.path().join("runs")).unwrap().artifacts();
        remove_unfinished(&store, "clean").unwrap();
        std::fs::create_dir_all(store.root()).unwrap();
        std::fs::write(store.root().join("clean"), "no folder").unwrap();
        assert!(remove_unfinished(&store, "clean").unwrap_err().to_string().contains("clean"));
    }
}
