//! Augmentation: changed copies of documents, each of which says how it was made.
//!
//! What happens to a document depends on nothing but the seed, the document's id and the number of the copy: not on its
//! neighbours, nor on the number of threads. A copy follows its original, with two entries more in its metadata:
//! `augment` (the kind and what was drawn by lot) and `augmented_from` (the original's id).

mod change;
mod edits;
mod files;
mod homophones;
mod images;
mod keyboard;
mod lexicon;
mod order;
mod random;
mod render;
mod run;
mod translator;
mod units;

pub use run::{AUGMENT_KEY, AUGMENTED_FROM_KEY, AugmentCount, AugmentSummary, Translate, augment, images_folder};
pub(crate) use run::{IMAGES_KEY, IMAGES_SUFFIX, original_of};
pub use translator::{SENTENCE, ToldModel, TranslatorModel};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// What copies to make: `[augment]` of a recipe, or a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// The share of documents that get copies, chosen by the seed and their id.
    pub share: f64,
    /// How many copies each step makes of a document, or with `choose = "one"` how many a document gets in all.
    pub copies: u32,
    pub choose: Choose,
    /// Only documents in these languages (ISO 639-1); all when empty.
    pub only_languages: Vec<String>,
    /// Decides which documents get copies, and how these differ. Not the recipe's seed, so that runs that differ in
    /// that one alone share their copies.
    pub seed: u64,
    /// For `back_translate`: a model that translates into another language, and one that translates back. This room only
    /// names them; who loads them passes a [`Translate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<TranslatorModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<TranslatorModel>,
    pub steps: Vec<Augmentation>,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            share: 1.0,
            copies: 1,
            choose: Choose::Each,
            only_languages: Vec::new(),
            seed: 42,
            there: None,
            back: None,
            steps: Vec::new(),
        }
    }
}

/// Which of the steps make a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// Each of them its own.
    #[default]
    Each,
    /// One, drawn by lot for each copy.
    One,
}

/// One way to change a copy: `[[augment.steps]] kind = "..."`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Augmentation {
    /// Cyclic rotation by a number of units drawn by lot ("random rotation"): what stood first follows what stood last.
    /// White space and punctuation between words, and white space between sentences, keep their places.
    Rotate {
        #[serde(default)]
        unit: RotateUnit,
    },
    /// The units in reverse order ("text flip"); for words and sentences, what stands between them keeps its place.
    Reverse {
        #[serde(default)]
        unit: ReverseUnit,
    },
    /// Draws the text as an image turned by an angle drawn by lot. The copy reads `<image>`, a line feed and the text that
    /// was drawn; the image's path is in its metadata under `images`.
    Render {
        /// A .ttf, .otf or .ttc file; without it the system's fonts are searched, those for Chinese first.
        #[serde(default)]
        font: Option<PathBuf>,
        /// Height of a line of letters, in pixels.
        #[serde(default = "default_size")]
        size: f32,
        /// Width of the page before it is turned, in pixels.
        #[serde(default = "default_width")]
        width: u32,
        /// The angle lies evenly between minus and plus this.
        #[serde(default = "default_degrees")]
        max_degrees: f32,
        /// The text is drawn up to the last sentence that ends within so many characters.
        #[serde(default = "default_chars")]
        max_chars: usize,
    },
    /// Puts images with their captions between sentences or paragraphs: `<image>caption` on a line of its own, and the
    /// paths in order in the metadata under `images`.
    InsertImages {
        /// A folder of images, or a table (.csv, .tsv, .jsonl) with a row for each. In a folder the caption is the text of
        /// a .txt file of the same name, or else the file's name in words.
        from: PathBuf,
        /// The table's columns.
        #[serde(default = "default_image_column")]
        image_column: String,
        #[serde(default = "default_caption_column")]
        caption_column: String,
        /// At most so many images for a document.
        #[serde(default = "default_images")]
        count: usize,
        #[serde(default)]
        place: Place,
        #[serde(default)]
        between: Between,
        /// Whether captions are written after `<image>`.
        #[serde(default = "yes")]
        captions: bool,
    },
    /// Leaves out each word with this probability (Wei & Zou 2019, arXiv 1901.11196: EDA).
    Delete {
        #[serde(default = "default_rate")]
        rate: f64,
    },
    /// Exchanges pairs of words drawn by lot, as many as `rate` times the words (EDA).
    Swap {
        #[serde(default = "default_rate")]
        rate: f64,
    },
    /// Inserts synonyms of words of the text at places drawn by lot, as many as `rate` times the words (EDA). The synonyms
    /// are those of `synonyms`.
    Insert {
        #[serde(default = "default_rate")]
        rate: f64,
        #[serde(default)]
        wordnet: Option<PathBuf>,
        #[serde(default)]
        table: Option<PathBuf>,
    },
    /// Puts synonyms in the place of words, each with this probability if it has any; function words stay. They come from
    /// `wordnet`, the folder of WordNet's database files (index.noun, data.noun, ...; /usr/share/wordnet of Debian's
    /// wordnet-base): of each word the most frequent sense of each part of speech; or from `table`, a file of lines
    /// `word<TAB>synonym synonym ...` in any language.
    Synonyms {
        #[serde(default = "default_rate")]
        rate: f64,
        #[serde(default)]
        wordnet: Option<PathBuf>,
        #[serde(default)]
        table: Option<PathBuf>,
    },
    /// Puts another common Chinese character of the same sound in the place of one, each with this probability: the slips
    /// of phonetic input.
    Homophones {
        #[serde(default = "default_rate")]
        rate: f64,
        /// Whether the tone must be the same too.
        #[serde(default = "yes")]
        same_tone: bool,
    },
    /// Slips of the fingers on a QWERTY keyboard, each ASCII letter with this probability: a neighbouring key instead or
    /// beside, a letter left out, two letters exchanged.
    Keyboard {
        #[serde(default = "default_noise")]
        rate: f64,
    },
    /// Another wording by way of a translation and back, made by whatever the caller passes in: `data` sees no model.
    BackTranslate {
        /// What the copies' labels say of how it was done, such as "zh>en>zh by m2m".
        #[serde(default)]
        label: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotateUnit {
    #[default]
    Sentence,
    Word,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReverseUnit {
    /// What readers take for characters: grapheme clusters (UAX 29).
    Character,
    #[default]
    Word,
    Sentence,
}

/// Which images, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Both by lot.
    #[default]
    Random,
    /// After the sentence or paragraph that has at least half of a caption's words; the best first.
    CaptionWords,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    #[default]
    Paragraphs,
    Sentences,
}

fn yes() -> bool {
    true
}

fn default_rate() -> f64 {
    0.1
}

fn default_noise() -> f64 {
    0.03
}

fn default_size() -> f32 {
    24.0
}

fn default_width() -> u32 {
    640
}

fn default_degrees() -> f32 {
    15.0
}

fn default_chars() -> usize {
    600
}

fn default_images() -> usize {
    2
}

fn default_image_column() -> String {
    "image".into()
}

fn default_caption_column() -> String {
    "caption".into()
}

impl Augmentation {
    /// Its name in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rotate { .. } => "rotate",
            Self::Reverse { .. } => "reverse",
            Self::Render { .. } => "render",
            Self::InsertImages { .. } => "insert_images",
            Self::Delete { .. } => "delete",
            Self::Swap { .. } => "swap",
            Self::Insert { .. } => "insert",
            Self::Synonyms { .. } => "synonyms",
            Self::Homophones { .. } => "homophones",
            Self::Keyboard { .. } => "keyboard",
            Self::BackTranslate { .. } => "back_translate",
        }
    }

    fn rate(&self) -> Option<f64> {
        match self {
            Self::Delete { rate }
            | Self::Swap { rate }
            | Self::Insert { rate, .. }
            | Self::Synonyms { rate, .. }
            | Self::Homophones { rate, .. }
            | Self::Keyboard { rate } => Some(*rate),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), DataError> {
        let bad = |key, message: String| Err(DataError::BadConfig { key, message });
        if let Some(rate) = self.rate().filter(|rate| !(*rate > 0.0 && *rate <= 1.0)) {
            return bad(
                "augment.steps.rate",
                format!("must be above 0 and at most 1, and is {rate} for {}", self.name()),
            );
        }
        match self {
            Self::Render { size, .. } if !(6.0..=400.0).contains(size) => {
                bad("augment.steps.size", format!("must lie between 6 and 400 pixels, and is {size}"))
            }
            Self::Render { width, .. } if !(64..=8192).contains(width) => {
                bad("augment.steps.width", format!("must lie between 64 and 8192 pixels, and is {width}"))
            }
            Self::Render { max_degrees, .. } if !(0.0..=180.0).contains(max_degrees) => {
                bad("augment.steps.max_degrees", format!("must lie between 0 and 180, and is {max_degrees}"))
            }
            Self::Render { max_chars, .. } if !(1..=10_000).contains(max_chars) => {
                bad("augment.steps.max_chars", format!("must lie between 1 and 10000, and is {max_chars}"))
            }
            Self::InsertImages { count: 0, .. } => bad("augment.steps.count", "must be at least 1".into()),
            _ => Ok(()),
        }
    }
}

impl AugmentConfig {
    /// Names the first value that cannot be.
    ///
    /// # Errors
    /// [`DataError::BadConfig`].
    pub fn check(&self) -> Result<(), DataError> {
        let bad = |key, message: String| Err(DataError::BadConfig { key, message });
        if !(0.0..=1.0).contains(&self.share) {
            return bad("augment.share", format!("must lie between 0 and 1, and is {}", self.share));
        }
        if !(1..=1000).contains(&self.copies) {
            return bad("augment.copies", format!("must lie between 1 and 1000, and is {}", self.copies));
        }
        if self.steps.is_empty() {
            let message = "there is no step: add one, such as [[augment.steps]] with kind = \"rotate\"".into();
            return bad("augment.steps", message);
        }
        match (&self.there, &self.back) {
            (Some(_), None) => return bad("augment.back", "is missing: there is a model that translates there".into()),
            (None, Some(_)) => return bad("augment.there", "is missing: there is a model that translates back".into()),
            _ => {}
        }
        for (key, model) in [("augment.there", &self.there), ("augment.back", &self.back)] {
            if model.as_ref().is_some_and(|model| !model.takes_a_sentence()) {
                return bad(key, format!("the prompt has no {SENTENCE}, where the sentence would stand"));
            }
        }
        self.steps.iter().try_for_each(Augmentation::check)
    }

    /// Whether a step asks for translations.
    pub fn translates(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Augmentation::BackTranslate { .. }))
    }
}

#[cfg(test)]
mod tests;
