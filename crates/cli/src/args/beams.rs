//! How `danlu translate` and `danlu caption` search for the likeliest text.

use clap::Args;
use danlu_model::BeamConfig;

#[derive(Args, Debug)]
pub struct BeamArgs {
    /// Texts kept at every step of the search; 1 takes the likeliest token each time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub beams: usize,
    /// Results for each input, best first, up to --beams.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub results: usize,
    /// Above 0 favours long results, below 0 short ones.
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub length_penalty: f32,
    /// Longest result, in tokens.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_new_tokens: usize,
}

impl BeamArgs {
    /// The search that is asked for.
    ///
    /// # Errors
    /// Names the first setting that cannot be.
    pub fn config(&self) -> anyhow::Result<BeamConfig> {
        let config = BeamConfig {
            beams: self.beams,
            results: self.results,
            length_penalty: self.length_penalty,
            max_tokens: self.max_new_tokens,
            ..BeamConfig::default()
        };
        config.validate()?;
        Ok(config)
    }
}
