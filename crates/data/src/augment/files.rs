//! What copies are made of besides the documents.

use std::path::{Path, PathBuf};

use super::render::font_files;
use super::{AugmentConfig, Augmentation, TranslatorModel};
use crate::DataError;

impl AugmentConfig {
    /// The files that the copies depend on besides the documents: synonyms, fonts (those of the system, where none is
    /// named), images or their table, and the models of `there` and `back`. Relative paths are taken from `base`; of a
    /// folder, all files in it.
    ///
    /// # Errors
    /// What is not there.
    pub fn files(&self, base: &Path) -> Result<Vec<PathBuf>, DataError> {
        let mut files = Vec::new();
        for step in &self.steps {
            for path in step.paths(base) {
                add("augment.steps", &path, &mut files)?;
            }
        }
        for (key, model) in [("augment.there", &self.there), ("augment.back", &self.back)] {
            if let Some(model) = model {
                add(key, &base.join(model.folder()), &mut files)?;
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The two translators, where both are named, with their folders taken from `base`.
    pub fn translators(&self, base: &Path) -> Option<(TranslatorModel, TranslatorModel)> {
        Some((self.there.as_ref()?.relative_to(base), self.back.as_ref()?.relative_to(base)))
    }
}

impl Augmentation {
    /// Files and folders that the step reads.
    fn paths(&self, base: &Path) -> Vec<PathBuf> {
        match self {
            Self::Insert { wordnet, table, .. } | Self::Synonyms { wordnet, table, .. } => {
                wordnet.iter().chain(table).map(|path| base.join(path)).collect()
            }
            Self::InsertImages { from, .. } => vec![base.join(from)],
            Self::Render { font, .. } => font_files(font.as_deref(), base),
            _ => Vec::new(),
        }
    }
}

/// Adds a file, or all files of a folder.
fn add(key: &'static str, path: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    if !path.is_dir() {
        let message = format!("there is no {} (paths are relative to the file that names them)", path.display());
        return Err(DataError::BadConfig { key, message });
    }
    for entry in std::fs::read_dir(path).map_err(|error| DataError::io("list", path, error))? {
        add(key, &entry.map_err(|error| DataError::io("list", path, error))?.path(), files)?;
    }
    Ok(())
}
