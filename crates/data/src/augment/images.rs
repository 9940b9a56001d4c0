//! Images with captions, and where they go in a text.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use danlu_text::{Analysis, is_stopword};
use serde_json::{Value, json};

use super::random::Random;
use super::run::{Made, Skip};
use super::units::sentence_places;
use super::{Between, Place};
use crate::DataError;

const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff"];

/// The share of a caption's words that a sentence or paragraph must have to get its image.
const LEAST_MATCH: f64 = 0.5;

struct Image {
    /// As the copies' metadata name it: relative to the recipe's folder, unless it was given otherwise.
    path: String,
    caption: String,
    /// How many words, function words aside, the caption has.
    words: usize,
}

/// All images that may be inserted.
pub(super) struct Gallery {
    images: Vec<Image>,
    by_word: HashMap<String, Vec<usize>>,
}

impl Gallery {
    pub(super) fn open(from: &Path, image_column: &str, caption_column: &str, base: &Path) -> Result<Self, DataError> {
        let path = base.join(from);
        let rows = if path.is_dir() {
            of_folder(from, &path)?
        } else {
            let columns = [image_column, caption_column];
            let rows = match path.extension().and_then(|extension| extension.to_str()) {
                Some("csv") => of_csv(&path, b',', columns)?,
                Some("tsv") => of_csv(&path, b'\t', columns)?,
                Some("jsonl" | "ndjson") => of_jsonl(&path, columns)?,
                _ => {
                    let message = format!("{} is neither a folder nor a .csv, .tsv or .jsonl table", path.display());
                    return Err(DataError::BadConfig { key: "augment.steps.from", message });
                }
            };
            beside_table(from, &path, rows)?
        };
        if rows.is_empty() {
            let message = format!("{} has no images ({})", path.display(), EXTENSIONS.join(", "));
            return Err(DataError::BadConfig { key: "augment.steps.from", message });
        }
        Ok(Self::new(rows))
    }

    fn new(rows: Vec<(String, String)>) -> Self {
        let mut by_word: HashMap<String, Vec<usize>> = HashMap::new();
        let mut images = Vec::with_capacity(rows.len());
        for (index, (path, caption)) in rows.into_iter().enumerate() {
            let words = content_words(&caption);
            images.push(Image { path, caption: one_line(&caption), words: words.len() });
            words.into_iter().for_each(|word| by_word.entry(word).or_default().push(index));
        }
        Self { images, by_word }
    }

    pub(super) fn insert(
        &self,
        text: &str,
        count: usize,
        place: Place,
        between: Between,
        captions: bool,
        random: &mut Random,
    ) -> Result<Made, Skip> {
        let units = match between {
            Between::Sentences => sentence_places(text),
            Between::Paragraphs => paragraph_places(text),
        };
        if units.is_empty() {
            return Err(Skip::TooShort);
        }
        let mut chosen = match place {
            Place::Random => self.by_lot(count, units.len(), random),
            Place::CaptionWords => self.by_words(count, text, &units),
        };
        if chosen.is_empty() {
            return Err(Skip::NoImageFits);
        }
        chosen.sort_by_key(|&(after, _)| after); // stable: the better or first drawn comes first
        let mut out = String::with_capacity(text.len() + 64 * chosen.len());
        let mut copied = 0;
        for (index, &(after, image)) in chosen.iter().enumerate() {
            let end = units[after].end;
            out.push_str(&text[copied..end]);
            copied = end;
            out.push_str(if between == Between::Paragraphs { "\n\n<image>" } else { "\n<image>" });
            out.push_str(if captions { &self.images[image].caption } else { "" });
            let last_here = chosen.get(index + 1).is_none_or(|next| next.0 != after);
            if last_here && between == Between::Sentences {
                copied += text[copied..].len() - text[copied..].trim_start_matches(' ').len();
                out.push_str(if text[copied..].is_empty() || text[copied..].starts_with('\n') { "" } else { "\n" });
            }
        }
        out.push_str(&text[copied..]);
        let mut made = Made::new(out, json!({ "images": chosen.len(), "place": place, "between": between }));
        made.images = Some(chosen.iter().map(|&(_, image)| self.images[image].path.clone()).collect());
        Ok(made)
    }

    /// Different images after units, both by lot: (unit, image).
    fn by_lot(&self, count: usize, units: usize, random: &mut Random) -> Vec<(usize, usize)> {
        let count = count.min(self.images.len());
        let mut taken = HashSet::new();
        let mut chosen = Vec::with_capacity(count);
        // Floyd's way of drawing without repetition.
        for last in self.images.len() - count..self.images.len() {
            let drawn = random.below(last + 1);
            let image = if taken.insert(drawn) { drawn } else { last };
            taken.insert(image);
            chosen.push((random.below(units), image));
        }
        chosen
    }

    /// The images whose captions fit best, each after the unit that has most of its words.
    fn by_words(&self, count: usize, text: &str, units: &[Range<usize>]) -> Vec<(usize, usize)> {
        let mut best: BTreeMap<usize, (usize, usize)> = BTreeMap::new(); // by image: hits, unit
        for (unit, place) in units.iter().enumerate() {
            let mut hits: BTreeMap<usize, usize> = BTreeMap::new();
            for word in content_words(&text[place.clone()]) {
                for &image in self.by_word.get(&word).into_iter().flatten() {
                    *hits.entry(image).or_default() += 1;
                }
            }
            for (image, hits) in hits {
                let found = best.entry(image).or_insert((0, unit));
                if hits > found.0 {
                    *found = (hits, unit);
                }
            }
        }
        let share = |image: usize, hits: usize| hits as f64 / self.images[image].words.max(1) as f64;
        let mut fitting: Vec<(f64, usize, usize)> = best
            .into_iter()
            .map(|(image, (hits, unit))| (share(image, hits), unit, image))
            .filter(|(share, ..)| *share >= LEAST_MATCH)
            .collect();
        fitting.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        fitting.into_iter().take(count).map(|(_, unit, image)| (unit, image)).collect()
    }
}

/// The different words in lower case, function words aside, in order.
fn content_words(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let analysis = Analysis::new(text);
    let words = analysis.words().iter().filter(|word| !is_stopword(word)).map(|word| word.to_lowercase());
    words.filter(|word| seen.insert(word.clone())).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn paragraph_places(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut places = Vec::new();
    for paragraph in text.split("\n\n") {
        let begin = start + (paragraph.len() - paragraph.trim_start().len());
        if !paragraph.trim().is_empty() {
            places.push(begin..begin + paragraph.trim().len());
        }
        start += paragraph.len() + 2;
    }
    places
}

/// The images of a folder in the order of their names, with their captions.
fn of_folder(from: &Path, path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let io = |error| DataError::io("read", path, error);
    let entries = std::fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|file| is_image(file)).collect();
    files.sort();
    let row = |file: &PathBuf| -> Result<_, DataError> {
        let sidecar = file.with_extension("txt");
        let caption = if sidecar.is_file() {
            std::fs::read_to_string(&sidecar).map_err(|error| DataError::io("read", &sidecar, error))?
        } else {
            file.file_stem().unwrap_or_default().to_string_lossy().replace(['_', '-'], " ")
        };
        let name = file.file_name().unwrap_or_default();
        Ok((from.join(name).display().to_string(), caption))
    };
    files.iter().map(row).collect()
}

fn is_image(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str()) && file.is_file()
}

/// A table's rows: line, image, caption.
type Rows = Vec<(u64, String, String)>;

fn of_csv(path: &Path, delimiter: u8, [image, caption]: [&str; 2]) -> Result<Rows, DataError> {
    let bad = |error: csv::Error| {
        let line = error.position().map(csv::Position::line);
        DataError::BadRecord { path: path.into(), line, message: error.to_string() }
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(path).map_err(bad)?;
    let headers = reader.headers().map_err(bad)?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).ok_or_else(|| DataError::MissingColumn {
            path: path.into(),
            column: name.into(),
            available: headers.iter().map(String::from).collect(),
        })
    };
    let (image, caption) = (column(image)?, column(caption)?);
    let row = |record: Result<csv::StringRecord, csv::Error>| -> Result<_, DataError> {
        let record = record.map_err(bad)?;
        let field = |index: usize| record.get(index).unwrap_or_default().to_string();
        Ok((record.position().map_or(0, csv::Position::line), field(image), field(caption)))
    };
    reader.into_records().map(row).collect()
}

fn of_jsonl(path: &Path, columns: [&str; 2]) -> Result<Rows, DataError> {
    let text = std::fs::read_to_string(path).map_err(|error| DataError::io("read", path, error))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let row = |(line, record): (u64, &str)| -> Result<_, DataError> {
        let bad = |message: String| DataError::BadRecord { path: path.into(), line: Some(line), message };
        let record: Value = serde_json::from_str(record).map_err(|error| bad(error.to_string()))?;
        let field = |name: &str| {
            let text = record.get(name).and_then(Value::as_str).map(String::from);
            text.ok_or_else(|| bad(format!("there is no text under {name:?}")))
        };
        Ok((line, field(columns[0])?, field(columns[1])?))
    };
    lines.map(row).collect()
}

/// Images are named relative to their table, and must be there.
fn beside_table(from: &Path, path: &Path, rows: Rows) -> Result<Vec<(String, String)>, DataError> {
    let folder = path.parent().unwrap_or(path);
    let named = from.parent().unwrap_or(from);
    let row = |(line, image, caption): (u64, String, String)| -> Result<_, DataError> {
        if !folder.join(&image).is_file() {
            let message = format!("there is no image {}", folder.join(&image).display());
            return Err(DataError::BadRecord { path: path.into(), line: Some(line), message });
        }
        Ok((named.join(&image).display().to_string(), caption))
    };
    rows.into_iter().map(row).collect()
}
