//! Carries out a recipe: decides stage by stage, runs what has to run, publishes each result whole.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::prelude::Device;
use danlu_store::{Artifact, ArtifactStore, Manifest, RunDb, RunState, StageRecord, StageState, StoreError, Workspace};
use serde_json::{Value, json};

use crate::graph::{self, Decision, Graph, Node, Selection, Stage};
use crate::observer::Observer;
use crate::recipe::RecipeFile;
use crate::shared::{Host, Share};
use crate::{PipelineError, stages, view};

/// How to run, as opposed to what.
pub struct RunOptions<'a> {
    pub selection: Selection,
    pub device: Device,
    /// Where and how cleaning and encoding are shared with other processes.
    pub share: Option<Share<'a>>,
    /// Set by Ctrl-C: the stage at work stops at the next safe place.
    pub stop: &'a AtomicBool,
}

/// Where a run ended and what it made.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    pub run: String,
    pub run_dir: PathBuf,
    /// The figures of `danlu run --json`; see [`crate::summary`].
    pub summary: Value,
}

/// What a stage at work may use.
pub(crate) struct Context<'a> {
    pub file: &'a RecipeFile,
    pub graph: &'a Graph,
    pub workspace: &'a Workspace,
    /// The run's id.
    pub run: &'a str,
    pub store: ArtifactStore,
    /// When the stages were decided on, RFC 3339.
    pub began: String,
    pub device: &'a Device,
    pub share: Option<Share<'a>>,
    pub stop: &'a AtomicBool,
    pub observer: &'a mut dyn Observer,
}

impl Context<'_> {
    /// The finished result of an earlier stage.
    pub fn input(&self, by: Stage, stage: Stage) -> Result<Artifact, PipelineError> {
        graph::require(self.graph, &self.store, by, stage)
    }

    /// Fails when Ctrl-C was pressed.
    pub fn go_on(&self, stage: Stage) -> Result<(), PipelineError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(PipelineError::Interrupted { stage, detail: "finished stages are kept".into() });
        }
        Ok(())
    }
}

/// Runs a recipe.
///
/// # Errors
/// Whatever a stage meets; what was finished before stays, and the same call goes on from there.
pub fn run(
    file: &RecipeFile,
    workspace: &Workspace,
    options: &RunOptions<'_>,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, PipelineError> {
    let graph = Graph::of(file)?;
    let store = workspace.artifacts();
    let decisions = graph::decide(&graph, &store, options.selection, file.recipe.data.strict)?;
    file.check_stages(&decisions)?;
    let db = workspace.db()?;
    workspace.mark_interrupted(&db)?;
    let resolved = toml::to_string(&file.recipe).unwrap_or_else(|_| file.text.clone());
    let key = &graph.node(Stage::Report)?.key;
    let (run, _lock) = workspace.begin_or_resume_run(&db, &file.recipe.name, &resolved, key)?;
    observer.decided(&run, &decisions);
    let began = danlu_store::now_rfc3339();

    let mut context = Context {
        file,
        graph: &graph,
        workspace,
        run: &run,
        store,
        began,
        device: &options.device,
        share: options.share,
        stop: options.stop,
        observer,
    };
    let result = run_stages(&mut context, &db, &run, &decisions).and_then(|()| view::publish(&context));
    let summary = result.inspect_err(|error| record_failure(&db, &run, error))?;
    db.end_run(&run, RunState::Done, &summary)?;
    Ok(RunOutcome { run_dir: workspace.run_dir(&run), run, summary })
}

/// The run's error is the one to tell; that its record failed too is only logged. The figures of what was finished before
/// stay.
fn record_failure(db: &RunDb, run: &str, error: &PipelineError) {
    let state = match error {
        PipelineError::Interrupted { .. } => RunState::Interrupted,
        _ => RunState::Failed,
    };
    let mut kept = db.run(run).map(|r| r.summary).unwrap_or_default();
    if !kept.is_object() {
        kept = json!({});
    }
    kept["error"] = error.to_string().into();
    if let Err(second) = db.end_run(run, state, &kept) {
        tracing::warn!("the end of run {run} could not be recorded: {second}");
    }
}

fn run_stages(
    context: &mut Context<'_>,
    db: &RunDb,
    run: &str,
    decisions: &[(Stage, Decision)],
) -> Result<(), PipelineError> {
    let mut host = Host::begin(context.share, decisions)?;
    for (stage, decision) in decisions {
        let node = context.graph.node(*stage)?.clone();
        match decision {
            Decision::Skip => {}
            Decision::Reuse { .. } => {
                let artifact = context.input(*stage, *stage)?;
                db.record_stage(run, &record(&node, StageState::Reused, artifact.manifest.seconds, "unchanged"))?;
                context.observer.stage_reused(*stage);
            }
            Decision::Run { why } => run_stage(context, db, run, &node, why)?,
        }
        host.done(*stage);
    }
    Ok(())
}

fn run_stage(context: &mut Context<'_>, db: &RunDb, run: &str, node: &Node, why: &str) -> Result<(), PipelineError> {
    let stage = node.stage;
    context.go_on(stage)?;
    for input in context.graph.inputs(stage) {
        context.input(stage, input)?;
    }
    let _lock = context.store.lock_work(stage.name(), &node.key).map_err(|e| match e {
        StoreError::Busy { path, .. } => PipelineError::Busy { stage, lock: path },
        other => other.into(),
    })?;
    // Another process may have made it while this one waited or worked; what was asked for by name runs all the same.
    let asked = why.starts_with("--");
    let fresh = context.store.find(stage.name(), &node.key)?.filter(|a| a.manifest.created > context.began);
    if let (false, Some(done)) = (asked, fresh) {
        db.record_stage(run, &record(node, StageState::Reused, done.manifest.seconds, "made by another process"))?;
        context.observer.stage_reused(stage);
        return Ok(());
    }
    make(context, db, run, node, why)
}

/// Makes the result of a stage and publishes it, whoever may have done so before.
fn make(context: &mut Context<'_>, db: &RunDb, run: &str, node: &Node, why: &str) -> Result<(), PipelineError> {
    let stage = node.stage;
    context.observer.stage_started(stage, why);
    db.record_stage(run, &record(node, StageState::Running, 0.0, why))?;
    let started = Instant::now();
    // What a stopped process left is gone on with, also under --from: the same key ends in the same result.
    let work = context.store.work_dir(stage.name(), &node.key)?;
    let made = stages::run(context, stage, &work);
    let seconds = started.elapsed().as_secs_f64();
    let made = made.inspect_err(|error| {
        if let Err(second) = db.record_stage(run, &record(node, StageState::Failed, seconds, &error.to_string())) {
            tracing::warn!("the end of stage {stage} could not be recorded: {second}");
        }
    })?;
    let manifest = Manifest {
        stage: stage.name().into(),
        key: node.key.clone(),
        inputs: node.inputs.clone(),
        config: node.config.clone(),
        created: danlu_store::now_rfc3339(),
        seconds: made.seconds.unwrap_or(seconds),
        danlu_version: env!("CARGO_PKG_VERSION").into(),
        summary: made.summary,
        content: String::new(),
    };
    context.store.replace(&work, manifest)?;
    db.record_stage(run, &record(node, StageState::Done, seconds, why))?;
    context.observer.stage_finished(stage, seconds, &made.line);
    Ok(())
}

fn record(node: &Node, state: StageState, seconds: f64, reason: &str) -> StageRecord {
    StageRecord {
        stage: node.stage.name().into(),
        key: node.key.clone(),
        state,
        seconds,
        reason: reason.into(),
        started: danlu_store::now_rfc3339(),
    }
}
