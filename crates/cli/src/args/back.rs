//! The two translators of back-translation.

use std::path::{Path, PathBuf};

use clap::Args;
use danlu_data::{AugmentConfig, TranslatorModel};
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
    /// The translators that are named here, or else in the configuration of the copies, whose paths start from `base`; none
    /// where no copy needs them.
    ///
    /// # Errors
    /// A folder that is no translator's.
    pub fn load(&self, global: &Global, config: &AugmentConfig, base: &Path) -> anyhow::Result<Option<BackTranslator>> {
        let here = self.there.clone().zip(self.back.clone());
        let here =
            here.map(|(there, back)| (TranslatorModel::EncoderDecoder(there), TranslatorModel::EncoderDecoder(back)));
        let named = here.or_else(|| config.translators(base)).filter(|_| config.translates());
        let Some((there, back)) = named else { return Ok(None) };
        let device = danlu_pipeline::select_device(&global.device)?;
        Ok(Some(BackTranslator::load(&there, &back, BeamConfig::default(), &device)?))
    }
}
