//! `danlu data watch NEW --accepted OLD`.

use danlu_data::drift;
use danlu_store::Workspace;

use super::input::{self, Input, snapshot, thresholds};
use crate::args::{DataWatchArgs, Global};
use crate::output::{count, line};

/// The delivery has drifted: exit code 1, of this command's errors the only one with it.
#[derive(Debug)]
pub struct Drifted {
    reasons: usize,
}

impl std::fmt::Display for Drifted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reasons {
            1 => f.write_str("the delivery has drifted, for the reason above"),
            reasons => write!(f, "the delivery has drifted, for the {reasons} reasons above"),
        }
    }
}

impl std::error::Error for Drifted {}

/// Prints the reasons against a delivery; [`Drifted`] when there are some.
pub fn watch(global: &Global, args: &DataWatchArgs) -> anyhow::Result<()> {
    let workspace = Workspace::open(&global.runs_dir)?;
    // Before the long work: a mistake in it would come to light after that.
    let limits = thresholds(args.thresholds.as_deref())?;
    let accepted = Input::of(&workspace, std::slice::from_ref(&args.accepted), &args.reading)?;
    let delivery = Input::of(&workspace, &args.delivery, &args.reading)?;
    let own = snapshot(&delivery, &args.reading)?;
    let (accepted, instead) = input::accepted(&accepted, &delivery, &own, &args.reading)?;
    let found = drift(&accepted, instead.as_ref().unwrap_or(&own), &limits);
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
        reasons => Err(Drifted { reasons }.into()),
    }
}
