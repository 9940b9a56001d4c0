//! How a model does on sequences longer than those it was trained on, by the way its positions go on.

use std::path::Path;

use burn::tensor::Device;
use danlu_data::SourceConfig;
use danlu_model::{CausalLm, Positions, RopeScaling, Yarn};
use danlu_text::Tokenizer;
use serde::Serialize;

use crate::evaluate::evaluate_loaded;
use crate::{EvalConfig, EvalError, Progress, Scores};

/// Lengths of the report, in contexts of the model.
pub const LENGTH_FACTORS: [usize; 3] = [1, 2, 4];

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthScores {
    /// Tokens that the model sees at once.
    pub seq_len: usize,
    /// "as trained", or how the rotary angles were stretched.
    pub positions: &'static str,
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores a model folder on a source once for each of [`LENGTH_FACTORS`] and each way in which its positions can go on
/// beyond the context it was trained on: as they are, and where they are rotary and not scaled yet, by linear
/// interpolation, NTK-aware scaling and YaRN. Windows overlap by half, so only documents longer than the context tell the
/// lines apart.
///
/// # Errors
/// As [`crate::evaluate_source`]; positions that were trained one by one have no longer context.
pub fn length_report(
    model_dir: &Path,
    source: &SourceConfig,
    base: &Path,
    device: &Device,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Vec<LengthScores>, EvalError> {
    let model = danlu_model::load(model_dir, device)?;
    let tokenizer = Tokenizer::from_dir(model_dir)?;
    let mut report = Vec::new();
    for factor in LENGTH_FACTORS {
        for (positions, scaling) in ways(&model, factor) {
            let seq_len = factor * model.config().max_seq_len;
            let longer = model.clone().with_context(seq_len, scaling)?;
            let config = EvalConfig { seq_len: Some(seq_len), stride: None, ..config.clone() };
            let scores = evaluate_loaded(&longer, &tokenizer, source, base, &config, progress)?.overall;
            report.push(LengthScores { seq_len, positions, scores });
        }
    }
    Ok(report)
}

/// In which ways positions can go on to `factor` times the context.
fn ways(model: &CausalLm, factor: usize) -> Vec<(&'static str, Option<RopeScaling>)> {
    let (config, stretch) = (model.config(), factor as f64);
    let mut ways = vec![("as trained", None)];
    if factor > 1 && config.positions() == Positions::Rope && config.rope_scaling.is_none() {
        let dynamic = RopeScaling::Dynamic { factor: stretch, original_max_position_embeddings: None };
        ways.push(("linear", Some(RopeScaling::Linear { factor: stretch })));
        ways.push(("dynamic", Some(dynamic)));
        ways.push(("yarn", Some(RopeScaling::Yarn(Yarn::by(stretch)))));
    }
    ways
}
