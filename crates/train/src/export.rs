//! The end of a run: the best weights as a model folder.

use crate::TrainError;
use crate::run::{Live, Trainer};
use crate::task::Task;
use crate::tensors;
use burn::module::Module;
use danlu_store::{StoreError, atomic};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a tokenizer folder that belong beside a model; the last four are Marian's.
const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "chat_template.jinja",
    "target_tokenizer.json",
    "source.spm",
    "target.spm",
    "vocab.json",
];

/// Writes `work_dir/model`: weights of the best validation, configuration, tokenizer.
pub(crate) fn publish<T: Task>(trainer: &mut Trainer<'_, T>, live: &Live<T::Model>) -> Result<PathBuf, TrainError> {
    let best = best_model(trainer, live)?;
    let done = trainer.run.work_dir.join("model");
    let work = trainer.run.work_dir.join("model.partial");
    clear(&work)?;
    trainer.task.save(&best, &work)?;
    clear(&done)?;
    atomic::publish_dir(&work, &done)?;
    Ok(done)
}

/// The model with the best weights, averaged where that is asked for, without autodiff.
fn best_model<T: Task>(trainer: &mut Trainer<'_, T>, live: &Live<T::Model>) -> Result<T::Model, TrainError> {
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

/// Copies the files of a tokenizer that belong beside a model.
pub fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), TrainError> {
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
