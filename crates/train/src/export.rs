//! The end of a run: the best weights as a model folder.

use crate::TrainError;
use crate::run::{Live, Trainer};
use crate::tensors::{self, ParameterSpec, Parameters};
use burn::module::Module;
use danlu_model::{CausalLm, ParameterInfo, SaveOptions, SpecialTokens};
use danlu_store::{StoreError, atomic};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a tokenizer folder that belong beside a model.
const TOKENIZER_FILES: &[&str] =
    &["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/// Writes `work_dir/model`: weights of the best validation, configuration, tokenizer.
pub(crate) fn publish(trainer: &mut Trainer<'_>, live: &Live) -> Result<PathBuf, TrainError> {
    let best = best_model(trainer, live)?;
    let done = trainer.job.work_dir.join("model");
    let work = trainer.job.work_dir.join("model.partial");
    clear(&work)?;
    // Documents are told apart by the end-of-text token, so it also stands before the first one.
    let eos = trainer.job.train.eos_id();
    let special = SpecialTokens { bos: Some(eos), eos: vec![eos], pad: None };
    danlu_model::save(&best, &work, &SaveOptions { special_tokens: Some(special) })?;
    if let Some(from) = trainer.job.tokenizer_dir {
        copy_tokenizer(from, &work)?;
    }
    clear(&done)?;
    atomic::publish_dir(&work, &done)?;
    Ok(done)
}

/// The names and decay flags of a model's parameters.
pub(crate) fn parameters(model: &CausalLm) -> Parameters {
    let spec = |p: ParameterInfo| (p.id, ParameterSpec { name: p.name, decay: p.decay });
    model.parameters().into_iter().map(spec).collect()
}

/// The model with the best weights, averaged where that is asked for, without autodiff.
fn best_model(trainer: &mut Trainer<'_>, live: &Live) -> Result<CausalLm, TrainError> {
    let model = live.optimizer.averaged(&live.model).valid();
    let step = match live.state.best {
        Some(best) if best.step != live.state.step => best.step,
        _ => return Ok(model),
    };
    match trainer.checkpoints.read_best(step) {
        Ok(mut best) => tensors::restore(model, live.optimizer.parameters(), &mut best),
        Err(error) => {
            trainer.event(&format!(
                "the best weights, of step {step}, cannot be read ({error}); the model folder \
                 gets the last ones"
            ));
            Ok(model)
        }
    }
}

fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), TrainError> {
    for name in TOKENIZER_FILES {
        let source = from.join(name);
        if source.exists() {
            fs::copy(&source, to.join(name)).map_err(|e| StoreError::io("copy", &source, e))?;
        }
    }
    Ok(())
}

fn clear(folder: &Path) -> Result<(), TrainError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| StoreError::io("remove", folder, e))?;
    }
    Ok(())
}
