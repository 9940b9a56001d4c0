//! `danlu tune RECIPE`.

use std::path::Path;

use danlu_eval::{ClassificationScores, Quality};
use danlu_store::Workspace;
use danlu_train::{StepInfo, ValidationInfo};
use danlu_tune::{TuneOptions, TuneOutcome, TuneRecipe, TuneStage, Watch};

use crate::Usage;
use crate::args::{Global, TuneArgs};
use crate::output::{count, duration, line, note, table};
use crate::progress::Screen;
use crate::signals::stop_flag;

pub fn tune(global: &Global, args: &TuneArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.recipe).map_err(|error| {
        Usage::new(format!("cannot read {}: {error}", args.recipe.display()), "give the path of a task's recipe")
    })?;
    let recipe: TuneRecipe = danlu_pipeline::parse_toml(&args.recipe, &text)?;
    let base = args.recipe.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let device = danlu_pipeline::select_device(&global.device)?;
    let stop = stop_flag("training saves a checkpoint, another stage ends first");
    let options = TuneOptions { base, device: &device, stop };
    let workspace = Workspace::open(&global.runs_dir)?;
    let outcome = danlu_tune::tune(&recipe, &workspace, &options, &mut Seen(Screen::new()))?;
    match args.json {
        true => line(&serde_json::to_string(&outcome)?),
        false => show(&outcome),
    }
    Ok(())
}

fn show(outcome: &TuneOutcome) {
    let (scores, baseline) = (&outcome.scores.model, &outcome.scores.baseline);
    let mut rows = Vec::new();
    for (name, scores) in [("model", scores), ("bag of words", &baseline.bag_of_words)] {
        rows.push(row(name, "all, macro mean", Some(scores.accuracy), scores.macro_, scores.examples));
        for class in &scores.classes {
            rows.push(row(name, &class.label, None, class.quality, class.support));
        }
    }
    rows.push(vec!["most frequent label".into(), String::new(), percent(baseline.majority)]);
    line(table(&["what", "label", "accuracy", "precision", "recall", "F1", "examples"], &rows).trim_end());
    line(&format!("\n{}", confusion(scores)));
    line(&format!("model: {}", outcome.model.display()));
    note("ask it: danlu classify MODEL --text \"...\"");
}

fn row(what: &str, label: &str, accuracy: Option<f64>, quality: Quality, examples: u64) -> Vec<String> {
    let Quality { precision, recall, f1 } = quality;
    let accuracy = accuracy.map_or(String::new(), percent);
    vec![what.into(), label.into(), accuracy, percent(precision), percent(recall), percent(f1), count(examples)]
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Rows are what examples are, columns what the model said.
fn confusion(scores: &ClassificationScores) -> String {
    let labels: Vec<&str> = scores.classes.iter().map(|class| class.label.as_str()).collect();
    let header: Vec<&str> = std::iter::once("is \\ said").chain(labels.iter().copied()).collect();
    let rows: Vec<Vec<String>> = labels
        .iter()
        .zip(&scores.confusion)
        .map(|(label, row)| std::iter::once((*label).to_owned()).chain(row.iter().map(|n| count(*n))).collect())
        .collect();
    table(&header, &rows)
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

    fn stage_finished(&mut self, stage: TuneStage, seconds: f64, result: &str) {
        self.0.clear();
        self.0.say(&format!("{:<10} done in {}: {result}", stage.name(), duration(seconds)));
    }
}
