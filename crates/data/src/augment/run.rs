use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::change::edit_ratio;
use super::images::Gallery;
use super::lexicon::Lexicon;
use super::random::Random;
use super::render::{Page, Studio};
use super::{AugmentConfig, Augmentation, Choose, edits, homophones, keyboard, order};
use crate::conversation::Conversation;
use crate::storage::next_chunk;
use crate::{DataError, Document, DocumentWriter, ProgressFn, read_documents};

/// The entry in a copy's metadata that says how it was made.
pub const AUGMENT_KEY: &str = "augment";
/// The entry in a copy's metadata with its original's id.
pub const AUGMENTED_FROM_KEY: &str = "augmented_from";
/// The end of the name of a folder of drawn texts.
pub(crate) const IMAGES_SUFFIX: &str = "-images";
/// Of the images of a document, in the order of its `<image>` marks.
pub(crate) const IMAGES_KEY: &str = "images";

/// A text in other words, by whatever the caller has: a served model, a program.
pub type Translate<'a> = dyn Fn(&str) -> Result<String, String> + Sync + 'a;

/// When so many translations failed and none succeeded, whatever translates is not there.
const HOPELESS: u64 = 20;

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AugmentSummary {
    /// Read, and kept as they are.
    pub documents: u64,
    /// Those that got at least one copy.
    pub augmented: u64,
    pub copies: u64,
    /// Documents that were not to get copies, by reason: "language", "share", "is_a_copy", "conversation".
    pub passed: BTreeMap<String, u64>,
    /// By kind of augmentation.
    pub kinds: BTreeMap<String, AugmentCount>,
}

/// What one kind of augmentation did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AugmentCount {
    pub made: u64,
    /// Copies that could not be made, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Mean over the copies of the edit distance in characters by the length of the longer text, at the beginning of both
    /// (1,000 characters): 0 for an equal text, 1 for one that has nothing in common.
    pub mean_edit_ratio: f64,
    /// Mean of the copy's length by the original's.
    pub mean_length_ratio: f64,
    /// What the first failed translation said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A changed text and what was drawn by lot for it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) text: String,
    pub(super) parameters: Value,
    pub(super) images: Option<Vec<String>>,
}

impl Made {
    pub(super) fn new(text: String, parameters: Value) -> Self {
        Self { text, parameters, images: None }
    }
}

/// Why there is no copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    TooShort,
    NoSynonyms,
    NoChinese,
    NoLetters,
    HasImages,
    NoImageFits,
    NoGlyphs,
    TooLarge,
    Failed(String),
    /// The change left the text as it was.
    Unchanged,
    /// Another copy of the document already reads so.
    Repeated,
}

impl Skip {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::NoSynonyms => "no_synonyms",
            Self::NoChinese => "no_chinese",
            Self::NoLetters => "no_letters",
            Self::HasImages => "has_images",
            Self::NoImageFits => "no_image_fits",
            Self::NoGlyphs => "no_glyphs",
            Self::TooLarge => "too_large",
            Self::Failed(_) => "translation_failed",
            Self::Unchanged => "unchanged",
            Self::Repeated => "repeated",
        }
    }
}

/// A copy that is not made, or work that cannot go on.
pub(super) enum Failure {
    Skip(Skip),
    Stop(DataError),
}

impl From<Skip> for Failure {
    fn from(skip: Skip) -> Self {
        Self::Skip(skip)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::Stop(error)
    }
}

/// Writes the documents of the file `input` to the file `out`, each followed by the copies that the configuration asks for.
/// Images that are drawn lie beside it in the folder [`images_folder`]. Paths in the configuration are relative to `base`. The
/// same input and configuration give the same files, whatever the number of threads, as far as `translate` does.
///
/// # Errors
/// [`DataError::BadConfig`] where the configuration, a font or a source of synonyms is not usable, before anything is
/// written; and when `translate` fails again and again without one success.
pub fn augment(
    input: &Path,
    config: &AugmentConfig,
    base: &Path,
    translate: Option<&Translate<'_>>,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<AugmentSummary, DataError> {
    config.check()?;
    let steps = config.steps.iter().map(|step| Step::open(step, base, translate)).collect::<Result<Vec<_>, _>>()?;
    let work = Work { config, steps, images: images_folder(out) };
    let mut reader = read_documents(input)?;
    let meter = reader.meter();
    let mut writer = DocumentWriter::with_statistics(out, reader.statistics())?;
    let mut summary = AugmentSummary::default();
    loop {
        let chunk = next_chunk(&mut reader)?;
        if chunk.is_empty() {
            break;
        }
        // Copies are as large as their originals: as many documents at a time as make about a chunk of copies.
        for documents in chunk.chunks(chunk.len().div_ceil(work.attempts()).max(1)) {
            let outcomes = documents.par_iter().map(|document| work.copies(document)).collect::<Result<Vec<_>, _>>()?;
            for (document, outcomes) in documents.iter().zip(outcomes) {
                writer.write(document)?;
                summary.add(document, outcomes, &mut writer)?;
            }
            summary.check()?;
        }
        meter.report("augment", progress);
    }
    writer.finish()?;
    summary.finish();
    Ok(summary)
}

/// The folder of the images that are drawn for the table `out`. Their names begin with the id of the document whose text
/// they show.
pub fn images_folder(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    out.with_file_name(format!("{stem}{IMAGES_SUFFIX}"))
}

/// The id of the document that a copy was made of; `None` for what is no copy. Where danlu's tables were read as tables like
/// any other, the metadata is text, in a field of that name.
pub(crate) fn original_of(document: &Document) -> Option<String> {
    let named = |metadata: &Map<String, Value>| metadata.get(AUGMENTED_FROM_KEY)?.as_str().map(str::to_owned);
    named(&document.metadata).or_else(|| {
        let text = document.metadata.get("metadata")?.as_str().filter(|text| text.contains(AUGMENTED_FROM_KEY))?;
        named(&serde_json::from_str(text).ok()?)
    })
}

/// A step with what it needs at hand.
struct Step<'a> {
    augmentation: &'a Augmentation,
    tool: Tool<'a>,
}

enum Tool<'a> {
    None,
    Lexicon(Lexicon),
    Gallery(Gallery),
    Studio(Studio),
    Translate(&'a Translate<'a>),
}

impl<'a> Step<'a> {
    fn open(
        augmentation: &'a Augmentation,
        base: &Path,
        translate: Option<&'a Translate<'a>>,
    ) -> Result<Self, DataError> {
        let tool = match augmentation {
            Augmentation::Insert { wordnet, table, .. } | Augmentation::Synonyms { wordnet, table, .. } => {
                Tool::Lexicon(Lexicon::open(wordnet.as_deref(), table.as_deref(), base)?)
            }
            Augmentation::InsertImages { from, image_column, caption_column, .. } => {
                Tool::Gallery(Gallery::open(from, image_column, caption_column, base)?)
            }
            Augmentation::Render { font, .. } => Tool::Studio(Studio::open(font.as_deref(), base)?),
            Augmentation::BackTranslate { .. } => Tool::Translate(translate.ok_or_else(|| {
                DataError::BadConfig {
                    key: "augment.steps",
                    message:
                        "back_translate needs two translators: name their folders, there = MODEL and back = MODEL (or \
                          --there MODEL --back MODEL)"
                            .into(),
                }
            })?),
            _ => Tool::None,
        };
        Ok(Self { augmentation, tool })
    }
}

/// All that decides about copies.
struct Work<'a> {
    config: &'a AugmentConfig,
    steps: Vec<Step<'a>>,
    images: PathBuf,
}

/// What became of one document.
enum Outcomes {
    Passed(&'static str),
    Copies(Vec<Outcome>),
}

struct Outcome {
    kind: &'static str,
    copy: Result<Copy, Skip>,
}

struct Copy {
    document: Document,
    edit_ratio: f64,
    length_ratio: f64,
}

impl<'a> Work<'a> {
    /// How many copies a document gets at most.
    fn attempts(&self) -> usize {
        match self.config.choose {
            Choose::Each => self.config.copies as usize * self.steps.len(),
            Choose::One => self.config.copies as usize,
        }
    }

    /// Why a document gets no copies, where it does not.
    fn passed(&self, document: &Document) -> Option<&'static str> {
        let languages = &self.config.only_languages;
        if original_of(document).is_some() {
            return Some("is_a_copy");
        }
        // Its turns are what is trained on, not its text: a copy would say the same again.
        if Conversation::of(document).is_some() {
            return Some("conversation");
        }
        if !languages.is_empty() && !languages.contains(&document.language) {
            return Some("language");
        }
        let share = Random::new(self.config.seed, &document.id, 0, "share").chance(self.config.share);
        (!share).then_some("share")
    }

    /// The step by which attempt `number` at a document is made.
    fn step_of(&self, document: &Document, number: usize) -> &Step<'a> {
        let step = match self.config.choose {
            Choose::Each => number % self.steps.len(),
            Choose::One => Random::new(self.config.seed, &document.id, number as u64, "choose").below(self.steps.len()),
        };
        &self.steps[step]
    }

    fn copies(&self, document: &Document) -> Result<Outcomes, DataError> {
        if let Some(why) = self.passed(document) {
            return Ok(Outcomes::Passed(why));
        }
        let mut seen: HashSet<String> = HashSet::from([document.text.clone()]);
        let mut outcomes = Vec::with_capacity(self.attempts());
        for number in 0..self.attempts() {
            let step = self.step_of(document, number);
            let kind = step.augmentation.name();
            let copy = match self.copy(step, document, number) {
                Ok(copy) if copy.document.text == document.text => Err(Skip::Unchanged),
                // Of drawn texts the images differ.
                Ok(copy)
                    if !copy.document.metadata.contains_key(IMAGES_KEY) && !seen.insert(copy.document.text.clone()) =>
                {
                    Err(Skip::Repeated)
                }
                Ok(copy) => Ok(copy),
                Err(Failure::Skip(skip)) => Err(skip),
                Err(Failure::Stop(error)) => return Err(error),
            };
            outcomes.push(Outcome { kind, copy });
        }
        Ok(Outcomes::Copies(outcomes))
    }

    fn copy(&self, step: &Step<'_>, document: &Document, number: usize) -> Result<Copy, Failure> {
        let kind = step.augmentation.name();
        let mut random = Random::new(self.config.seed, &document.id, number as u64, kind);
        let made = self.make(step, document, number, &mut random)?;
        let mut label =
            Map::from_iter([("kind".to_string(), json!(kind)), ("seed".to_string(), json!(self.config.seed))]);
        if let Value::Object(parameters) = made.parameters {
            label.extend(parameters);
        }
        let edit_ratio = edit_ratio(&document.text, &made.text);
        let length_ratio = made.text.len() as f64 / document.text.len().max(1) as f64;
        let mut copy = document.clone();
        copy.set_text(made.text);
        copy.metadata.insert(AUGMENT_KEY.into(), Value::Object(label));
        copy.metadata.insert(AUGMENTED_FROM_KEY.into(), document.id.clone().into());
        if let Some(images) = made.images {
            copy.metadata.insert(IMAGES_KEY.into(), images.into());
        }
        Ok(Copy { document: copy, edit_ratio, length_ratio })
    }

    fn make(&self, step: &Step<'_>, document: &Document, number: usize, random: &mut Random) -> Result<Made, Failure> {
        let text = &document.text;
        let made = match (step.augmentation, &step.tool) {
            (Augmentation::Rotate { unit }, _) => order::rotate(text, *unit, random)?,
            (Augmentation::Reverse { unit }, _) => order::reverse(text, *unit)?,
            (Augmentation::Delete { rate }, _) => edits::delete(text, *rate, random)?,
            (Augmentation::Swap { rate }, _) => edits::swap(text, *rate, random)?,
            (Augmentation::Insert { rate, .. }, Tool::Lexicon(lexicon)) => edits::insert(text, *rate, lexicon, random)?,
            (Augmentation::Synonyms { rate, .. }, Tool::Lexicon(lexicon)) => {
                edits::synonyms(text, *rate, lexicon, random)?
            }
            (Augmentation::Homophones { rate, same_tone }, _) => {
                homophones::homophones(text, *rate, *same_tone, random)?
            }
            (Augmentation::Keyboard { rate }, _) => keyboard::keyboard(text, *rate, random)?,
            (Augmentation::InsertImages { count, place, between, captions, .. }, Tool::Gallery(gallery)) => {
                if text.contains("<image>") || document.metadata.contains_key(IMAGES_KEY) {
                    return Err(Skip::HasImages.into());
                }
                gallery.insert(text, *count, *place, *between, *captions, random)?
            }
            (Augmentation::Render { size, width, max_degrees, max_chars, .. }, Tool::Studio(studio)) => {
                if text.contains("<image>") || document.metadata.contains_key(IMAGES_KEY) {
                    return Err(Skip::HasImages.into());
                }
                let page = Page { size: *size, width: *width, max_degrees: *max_degrees, max_chars: *max_chars };
                let file = self.images.join(format!("{}-{number}.png", document.id));
                studio.render(text, &page, &file, random)?
            }
            (Augmentation::BackTranslate { label }, Tool::Translate(translate)) => {
                let text = translate(text).map_err(Skip::Failed)?;
                Made::new(text, json!({ "via": label }))
            }
            // `Step::open` gives each kind its tool.
            _ => return Err(Skip::Unchanged.into()),
        };
        Ok(made)
    }
}

impl AugmentSummary {
    fn add(&mut self, document: &Document, outcomes: Outcomes, writer: &mut DocumentWriter) -> Result<(), DataError> {
        self.documents += 1;
        let outcomes = match outcomes {
            Outcomes::Passed(reason) => {
                *self.passed.entry(reason.into()).or_default() += 1;
                return Ok(());
            }
            Outcomes::Copies(outcomes) => outcomes,
        };
        let before = self.copies;
        for Outcome { kind, copy } in outcomes {
            let count = self.kinds.entry(kind.into()).or_default();
            match copy {
                Ok(copy) => {
                    writer.write(&copy.document)?;
                    self.copies += 1;
                    count.made += 1;
                    count.mean_edit_ratio += copy.edit_ratio;
                    count.mean_length_ratio += copy.length_ratio;
                }
                Err(skip) => {
                    *count.skipped.entry(skip.reason().into()).or_default() += 1;
                    if let (Skip::Failed(message), None) = (skip, &count.failure) {
                        count.failure = Some(format!("document {}: {message}", document.id));
                    }
                }
            }
        }
        self.augmented += u64::from(self.copies > before);
        Ok(())
    }

    /// Gives up where nothing but failures can follow.
    fn check(&self) -> Result<(), DataError> {
        let Some(count) = self.kinds.get("back_translate").filter(|count| count.made == 0) else { return Ok(()) };
        let failed = count.skipped.get("translation_failed").copied().unwrap_or_default();
        if failed < HOPELESS {
            return Ok(());
        }
        let first = count.failure.clone().unwrap_or_default();
        let message = format!("back_translate failed {failed} times and never succeeded; is the server there? {first}");
        Err(DataError::BadConfig { key: "augment.steps", message })
    }

    /// Sums become means.
    fn finish(&mut self) {
        for count in self.kinds.values_mut().filter(|count| count.made > 0) {
            count.mean_edit_ratio /= count.made as f64;
            count.mean_length_ratio /= count.made as f64;
        }
    }
}
