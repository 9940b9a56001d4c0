//! `danlu data watch NEW --accepted OLD`.

use danlu_data::drift;
use danlu_store::Workspace;

use super::input::{Input, snapshot, thresholds};
use crate::args::{DataWatchArgs, Global};
use crate::output::{count, line};

/// Prints the reasons against a delivery; there are some: exit code 1.
pub fn watch(global: &Global, args: &DataWatchArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    // Before the long work: a mistake in it would come to light after that.
    let limits = thresholds(args.thresholds.as_deref())?;
    let accepted = Input::of(&workspace, std::slice::from_ref(&args.accepted), &args.reading)?;
    let delivered = Input::of(&workspace, &args.delivery, &args.reading)?;
    let found = drift(&snapshot(&accepted, &args.reading)?, &snapshot(&delivered, &args.reading)?, &limits);
    if args.json {
        line(&serde_json::to_string(&found)?);
    } else {
        line(&format!(
            "{} documents against {} accepted",
            count(found.delivered.documents),
            count(found.accepted.documents)
        ));
        found.violations.iter().for_each(|violation| line(&format!("- {}", violation.reason)));
        found.not_judged.iter().for_each(|told| line(&format!("  not judged: {told}")));
    }
    match found.violations.len() {
        0 => Ok(()),
        1 => anyhow::bail!("the delivery has drifted, for the reason above"),
        reasons => anyhow::bail!("the delivery has drifted, for the {reasons} reasons above"),
    }
}
