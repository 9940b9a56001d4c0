//! Which artifacts were made from which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use danlu_store::{Artifact, ArtifactStore, Workspace};
use serde::{Deserialize, Serialize};

use crate::DataError;

/// The stage whose artifacts are models.
pub(super) const TRAIN: &str = "train";

/// An artifact by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactRef {
    pub stage: String,
    pub key: String,
    pub path: PathBuf,
}

/// A model that was trained on a document, or measured with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    #[serde(flatten)]
    pub artifact: ArtifactRef,
    /// The runs that made or used it, newest first.
    pub runs: Vec<String>,
    /// The splits that held the documents: a model is trained on `train`, and chosen by `valid`.
    pub splits: BTreeSet<String>,
}

impl From<&Artifact> for ArtifactRef {
    fn from(artifact: &Artifact) -> Self {
        let (stage, key) = (artifact.manifest.stage.clone(), artifact.manifest.key.clone());
        Self { stage, key, path: artifact.path.clone() }
    }
}

/// All finished artifacts of a workspace.
pub(super) struct Lineage {
    all: Vec<Artifact>,
}

impl Lineage {
    pub(super) fn of(store: &ArtifactStore) -> Result<Self, DataError> {
        let root = store.root();
        let mut stages = Vec::new();
        for entry in std::fs::read_dir(root).map_err(|e| DataError::io("list", root, e))? {
            let entry = entry.map_err(|e| DataError::io("list", root, e))?;
            if entry.path().is_dir() {
                stages.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        stages.sort();
        let mut all = Vec::new();
        for stage in stages {
            all.extend(store.list(&stage)?);
        }
        Ok(Self { all })
    }

    /// Everything that `artifact` was made from, and it itself.
    pub(super) fn ancestors(&self, artifact: &Artifact) -> Vec<&Artifact> {
        let mut wanted = BTreeSet::from([name(artifact)]);
        loop {
            let inputs: Vec<(String, String)> =
                self.all.iter().filter(|one| wanted.contains(&name(one))).flat_map(inputs).collect();
            let before = wanted.len();
            wanted.extend(inputs);
            if wanted.len() == before {
                return self.all.iter().filter(|one| wanted.contains(&name(one))).collect();
            }
        }
    }

    /// What `artifact` was made from, without what that was made from.
    pub(super) fn inputs<'a>(&'a self, artifact: &'a Artifact) -> impl Iterator<Item = &'a Artifact> {
        let inputs = &artifact.manifest.inputs;
        self.all.iter().filter(move |one| inputs.get(&one.manifest.stage) == Some(&one.manifest.key))
    }

    /// `roots` and everything made from them, in an order in which inputs come first.
    pub(super) fn descendants<'a>(&'a self, roots: &[&'a Artifact]) -> Vec<&'a Artifact> {
        let mut found: Vec<&'a Artifact> = roots.to_vec();
        let mut names: BTreeSet<(String, String)> = roots.iter().map(|one| name(one)).collect();
        loop {
            let next: Vec<&'a Artifact> = self
                .all
                .iter()
                .filter(|one| !names.contains(&name(one)) && inputs(one).any(|input| names.contains(&input)))
                .collect();
            if next.is_empty() {
                return found;
            }
            names.extend(next.iter().map(|one| name(one)));
            found.extend(next);
        }
    }

    /// The artifacts without inputs that `artifact` goes back to.
    pub(super) fn roots(&self, artifact: &Artifact) -> Vec<&Artifact> {
        self.ancestors(artifact).into_iter().filter(|one| one.manifest.inputs.is_empty()).collect()
    }

    /// The models made from one of `tables`, each with what the splits of those tables are called.
    pub(super) fn models(
        &self,
        workspace: &Workspace,
        tables: &BTreeMap<(String, String), BTreeSet<String>>,
    ) -> Result<Vec<ModelRef>, DataError> {
        let mut models = Vec::new();
        for model in self.all.iter().filter(|one| one.manifest.stage == TRAIN) {
            let splits: BTreeSet<String> =
                self.ancestors(model).iter().filter_map(|one| tables.get(&name(one))).flatten().cloned().collect();
            if !splits.is_empty() {
                let runs = runs_of(workspace, &model.manifest.key)?;
                models.push(ModelRef { artifact: model.into(), runs, splits });
            }
        }
        Ok(models)
    }
}

pub(super) fn name(artifact: &Artifact) -> (String, String) {
    (artifact.manifest.stage.clone(), artifact.manifest.key.clone())
}

fn inputs(artifact: &Artifact) -> impl Iterator<Item = (String, String)> + '_ {
    artifact.manifest.inputs.iter().map(|(stage, key)| (stage.clone(), key.clone()))
}

/// The runs that trained, or took over, the model of this key.
fn runs_of(workspace: &Workspace, key: &str) -> Result<Vec<String>, DataError> {
    if !workspace.db_path().is_file() {
        return Ok(Vec::new());
    }
    let db = workspace.db()?;
    let mut found = Vec::new();
    for run in db.runs()? {
        if db.stages(&run.id)?.iter().any(|stage| stage.stage == TRAIN && stage.key == key) {
            found.push(run.id);
        }
    }
    Ok(found)
}
