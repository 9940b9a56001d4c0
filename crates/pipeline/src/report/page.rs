//! The page: its sections in reading order.

use danlu_report::{Block, Page, Section};

use super::RunReport;
use super::evaluation::{compression_section, evaluation_section, samples_section};
use super::life::{
    commands_section, data_section, environment_section, lineage_section, recipe_section, stages_section,
    tokenizer_section,
};
use super::mixture::mixture_section;
use super::names::state;
use super::summary::{Tone, findings, headline};
use super::text::{same, t};
use super::training::{model_section, training_section};

/// The whole report as one HTML file that needs no network.
pub fn html(report: &RunReport) -> String {
    let run = &report.run;
    let name = if run.name.is_empty() { &run.id } else { &run.name };
    let mut page = Page::new(t(format!("{name}: a run"), format!("{name}：一次运行")))
        .fact(t("Run", "运行"), same(&run.id))
        .fact(t("Started", "开始"), same(&run.started))
        .fact(same("danlu"), same(&run.danlu_version));
    // The report is a run's last stage, so a run that goes well is still running while its page is made.
    if !matches!(run.state.as_str(), "done" | "running") {
        page = page.fact(t("State", "状态"), state(&run.state));
    }
    if let Some(first) = findings(report).into_iter().next() {
        page = page.lead(first.text);
    }
    sections(report).into_iter().fold(page, Page::section).html()
}

/// What was found first, then the way to it in the order of the stages.
fn sections(report: &RunReport) -> Vec<Section> {
    let mut all = vec![summary_section(report)];
    all.extend(report.evaluation.as_ref().map(evaluation_section));
    if !report.samples.is_empty() {
        all.push(samples_section(&report.samples));
    }
    all.extend(report.training.as_ref().map(training_section));
    all.extend(report.compression.as_ref().map(compression_section));
    all.extend(report.data.as_ref().map(data_section));
    all.extend(report.mixture.as_ref().map(mixture_section));
    all.extend(report.tokenizer.as_ref().map(tokenizer_section));
    all.extend(report.model.as_ref().map(model_section));
    if !report.stages.is_empty() {
        all.push(stages_section(&report.stages));
        all.push(lineage_section(&report.stages));
    }
    if !report.recipe.is_empty() {
        all.push(recipe_section(&report.recipe));
    }
    all.push(environment_section(report));
    if !report.commands.is_empty() {
        all.push(commands_section(&report.commands));
    }
    all
}

/// The figures and what they mean; the first finding already stands under the title.
fn summary_section(report: &RunReport) -> Section {
    let mut blocks = vec![Block::Figures(headline(report))];
    for finding in findings(report).into_iter().skip(1) {
        let mark = match finding.tone {
            Tone::Good => "✓",
            Tone::Neutral => "•",
            Tone::Bad => "✗",
        };
        blocks.push(Block::Text(t(format!("{mark} {}", finding.text.en), format!("{mark} {}", finding.text.zh))));
    }
    Section { title: t("Summary", "摘要"), note: None, blocks }
}
