//! The two translators of back-translation.

use std::path::PathBuf;

use clap::Args;
use danlu_eval::BackTranslator;
use danlu_model::BeamConfig;

use super::Global;

#[derive(Args, Debug)]
pub struct BackArgs {
    /// For the step "back_translate": the folder of a model that translates into another language.
    #[arg(long, value_name = "MODEL", requires = "back")]
    pub there: Option<PathBuf>,
    /// The folder of a model that translates back.
    #[arg(long, value_name = "MODEL", requires = "there")]
    pub back: Option<PathBuf>,
}

impl BackArgs {
    /// The translators that are named, if any are.
    ///
    /// # Errors
    /// A folder that is no translator's.
    pub fn load(&self, global: &Global) -> anyhow::Result<Option<BackTranslator>> {
        let (Some(there), Some(back)) = (&self.there, &self.back) else { return Ok(None) };
        let device = danlu_pipeline::select_device(&global.device)?;
        Ok(Some(BackTranslator::load(there, back, BeamConfig::default(), &device)?))
    }
}
