//! All results to one page, and to model folders with a card.

use std::path::Path;

use danlu_store::atomic;

use super::{Made, files};
use crate::facts;
use crate::graph::Stage;
use crate::runner::Context;
use crate::{PipelineError, report, view};

pub(super) fn run(context: &mut Context<'_>, work: &Path) -> Result<Made, PipelineError> {
    let db = context.workspace.db()?;
    let facts = facts::gather(context.workspace, &db, context.run)?;
    let model = context.input(Stage::Report, Stage::Train)?.path.join(files::MODEL);
    let small = context.input(Stage::Report, Stage::Compress)?.path.join(files::INT8_MODEL);
    let card = report::model_card(&facts);
    for (from, name) in [(model, files::MODEL), (small, files::INT8_MODEL)] {
        let to = work.join(name);
        view::link_folder(&from, &to)?;
        atomic::write_bytes(&to.join("README.md"), card.as_bytes())?;
    }
    let page = report::html(&facts);
    atomic::write_bytes(&work.join(files::REPORT), page.as_bytes())?;
    let text = serde_json::to_vec_pretty(&facts)
        .map_err(|e| PipelineError::Artifact { path: work.join(files::FACTS), message: e.to_string() })?;
    atomic::write_bytes(&work.join(files::FACTS), &text)?;
    Made::new(&serde_json::json!({ "bytes": page.len() }), "one page and two model cards".into())
}
