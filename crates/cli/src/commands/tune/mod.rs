//! `danlu tune RECIPE`.

mod captions;
mod classification;
mod translation;

use std::path::Path;

use danlu_store::Workspace;
use danlu_train::{StepInfo, ValidationInfo};
use danlu_tune::{TaskKind, TuneOptions, TuneStage, Watch};
use serde::Deserialize;

use crate::Usage;
use crate::args::{Global, TuneArgs};
use crate::output::{duration, line};
use crate::progress::Screen;
use crate::signals::stop_flag;

/// What of a recipe tells of which kind it is; the rest is read by its kind.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    task: TaskKind,
}

pub fn tune(global: &Global, args: &TuneArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.recipe).map_err(|error| {
        Usage::new(format!("cannot read {}: {error}", args.recipe.display()), "give the path of a task's recipe")
    })?;
    let Kind { task } = danlu_pipeline::parse_toml(&args.recipe, &text)?;
    let base = args.recipe.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let device = danlu_pipeline::select_device(&global.device)?;
    let stop = stop_flag("training saves a checkpoint, another stage ends first");
    let options = TuneOptions { base, device: &device, stop };
    let workspace = Workspace::open(&global.runs_dir)?;
    let mut seen = Seen(Screen::new());
    match task {
        TaskKind::Classification => {
            let recipe = danlu_pipeline::parse_toml(&args.recipe, &text)?;
            let outcome = danlu_tune::classification::run(&recipe, &workspace, options, &mut seen)?;
            drop(seen);
            if args.json { line(&serde_json::to_string(&outcome)?) } else { classification::show(&outcome) }
        }
        TaskKind::Translation => {
            let recipe = danlu_pipeline::parse_toml(&args.recipe, &text)?;
            let outcome = danlu_tune::translation::run(&recipe, &workspace, options, &mut seen)?;
            drop(seen);
            if args.json { line(&serde_json::to_string(&outcome)?) } else { translation::show(&outcome) }
        }
        TaskKind::Captions => {
            let recipe = danlu_pipeline::parse_toml(&args.recipe, &text)?;
            let outcome = danlu_tune::captions::run(&recipe, &workspace, options, &mut seen)?;
            drop(seen);
            if args.json { line(&serde_json::to_string(&outcome)?) } else { captions::show(&outcome) }
        }
    }
    Ok(())
}

/// What happens, drawn as that of `danlu run`.
struct Seen(Screen);

impl Drop for Seen {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl danlu_train::Observer for Seen {
    fn on_step(&mut self, info: &StepInfo) {
        danlu_pipeline::Observer::train_step(&mut self.0, info);
    }

    fn on_validation(&mut self, info: &ValidationInfo) {
        danlu_pipeline::Observer::validated(&mut self.0, info);
    }

    fn on_event(&mut self, message: &str) {
        self.0.say(message);
    }
}

impl Watch for Seen {
    fn stage_started(&mut self, stage: TuneStage) {
        self.0.say(&format!("{:<10} starts", stage.name()));
    }

    fn stage_reused(&mut self, stage: TuneStage) {
        self.0.say(&format!("{:<10} unchanged", stage.name()));
    }

    fn progress(&mut self, stage: TuneStage, done: u64, total: u64, unit: &'static str) {
        let label = stage.name().to_owned();
        let progress = danlu_pipeline::Progress { label, done, total: Some(total), unit };
        danlu_pipeline::Observer::progress(&mut self.0, &progress);
    }

    fn stage_finished(&mut self, stage: TuneStage, seconds: f64, result: &str) {
        self.0.clear();
        self.0.say(&format!("{:<10} done in {}: {result}", stage.name(), duration(seconds)));
    }
}
