//! Pictures with their captions, parted into what is trained on and what is measured on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use danlu_data::{COLLECTED_FILE, Document, read_documents};
use danlu_eval::{EvalError, read_pixels};
use danlu_model::ImageProcessor;
use danlu_store::hash;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PicturesConfig;
use crate::TuneError;
use crate::split::fraction;

/// A picture and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captioned {
    /// As the table names it.
    pub name: String,
    pub path: PathBuf,
    /// One for each of the recipe's columns, where there is one.
    pub captions: Vec<Option<String>>,
}

/// Pictures by split. A group is in one split alone.
#[derive(Clone, Debug, Default)]
pub struct Pictures {
    pub train: Vec<Captioned>,
    pub valid: Vec<Captioned>,
    pub test: Vec<Captioned>,
    pub counts: PictureCounts,
    /// Hash of the pictures' files.
    pub content: String,
}

/// What became of the pictures that were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureCounts {
    pub read: u64,
    /// Without a caption in any language.
    pub uncaptioned: u64,
    /// Files that were there before; the first captions stand.
    pub repeated: u64,
    /// Files that are no pictures, or missing.
    pub broken: u64,
    /// The first of them, with the reason.
    pub first_broken: Option<String>,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
}

impl Pictures {
    /// Reads the collected documents in `collected`, and looks at each picture.
    ///
    /// # Errors
    /// [`TuneError::NoCaptions`], [`TuneError::EmptySplit`]; of a strict recipe what is wrong with a picture; those of the
    /// table.
    pub fn read(
        collected: &Path,
        base: &Path,
        config: &PicturesConfig,
        processor: &ImageProcessor,
    ) -> Result<Self, TuneError> {
        let (mut pictures, mut named, mut seen) = (Pictures::default(), Vec::new(), HashSet::new());
        let folder = base.join(&config.folder);
        for document in read_documents(&collected.join(COLLECTED_FILE))? {
            let document = document?;
            pictures.counts.read += 1;
            let captions: Vec<Option<String>> =
                config.captions.iter().map(|of| text(document.metadata.get(&of.field))).collect();
            let name = document.text.trim().to_owned();
            if captions.iter().all(Option::is_none) {
                pictures.counts.uncaptioned += 1;
            } else if !seen.insert(name.clone()) {
                pictures.counts.repeated += 1;
            } else {
                let place = fraction(hash::of_bytes(group(&document, config).as_bytes()).as_str());
                named.push((place, Captioned { path: folder.join(&name), name, captions }));
            }
        }
        pictures.look(named, config, processor)?;
        pictures.check(config)
    }

    /// Parts those pictures that can be read.
    fn look(
        &mut self,
        named: Vec<(f64, Captioned)>,
        config: &PicturesConfig,
        processor: &ImageProcessor,
    ) -> Result<(), TuneError> {
        let look = |(_, captioned): &(f64, Captioned)| -> Result<String, EvalError> {
            read_pixels(&captioned.path, processor)?;
            let open = |source| EvalError::Open { path: captioned.path.clone(), source };
            Ok(hash::of_bytes(&std::fs::read(&captioned.path).map_err(open)?).as_str().to_owned())
        };
        let looked: Vec<Result<String, EvalError>> = named.par_iter().map(look).collect();
        let mut content = String::new();
        for ((place, captioned), looked) in named.into_iter().zip(looked) {
            match looked {
                Ok(hash) => content.push_str(&hash),
                Err(error) if config.strict => return Err(error.into()),
                Err(error) => {
                    self.counts.broken += 1;
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    let reason = format!("{error}{}", cause.unwrap_or_default());
                    self.counts.first_broken.get_or_insert(reason);
                    continue;
                }
            }
            let split = match place {
                p if p < config.test => &mut self.test,
                p if p < config.test + config.valid => &mut self.valid,
                _ => &mut self.train,
            };
            split.push(captioned);
        }
        self.content = hash::of_bytes(content.as_bytes()).as_str().to_owned();
        Ok(())
    }

    fn check(mut self, config: &PicturesConfig) -> Result<Self, TuneError> {
        let all = [("train", &self.train), ("valid", &self.valid), ("test", &self.test)];
        let examples = all.iter().map(|(_, held)| held.len() as u64).sum();
        if examples == 0 {
            let fields = config.captions.iter().map(|of| of.field.clone()).collect::<Vec<_>>().join("`, `");
            let (read, broken) = (self.counts.read, self.counts.broken);
            return Err(TuneError::NoCaptions { read, broken, fields, first: self.counts.first_broken });
        }
        if let Some((split, _)) = all.into_iter().find(|(_, held)| held.is_empty()) {
            return Err(TuneError::EmptySplit { split, examples });
        }
        let count = |split: &[Captioned]| split.len() as u64;
        (self.counts.train, self.counts.valid) = (count(&self.train), count(&self.valid));
        self.counts.test = count(&self.test);
        Ok(self)
    }
}

/// What a picture shows, or itself.
fn group(document: &Document, config: &PicturesConfig) -> String {
    let told = config.group_field.as_ref().and_then(|field| text(document.metadata.get(field)));
    told.unwrap_or_else(|| document.text.trim().to_owned())
}

fn text(field: Option<&Value>) -> Option<String> {
    field.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}
