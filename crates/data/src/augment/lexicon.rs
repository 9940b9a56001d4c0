//! Synonyms from WordNet's database files (wndb(5WN), version 3) or from a table.

use std::collections::HashMap;
use std::path::Path;

use crate::DataError;

/// For each word, in lower case, its synonyms.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    synonyms: HashMap<String, Vec<String>>,
}

impl Lexicon {
    /// Reads the one that is named; paths are relative to `base`.
    pub(super) fn open(wordnet: Option<&Path>, table: Option<&Path>, base: &Path) -> Result<Self, DataError> {
        match (wordnet, table) {
            (Some(folder), None) => Self::wordnet(&base.join(folder)),
            (None, Some(table)) => Self::table(&base.join(table)),
            _ => Err(DataError::BadConfig {
                key: "augment.steps",
                message:
                    "synonyms need one source: wordnet = \"/usr/share/wordnet\" (apt install wordnet-base), or table = \
                          a file of lines word<TAB>synonym synonym"
                        .into(),
            }),
        }
    }

    pub(super) fn synonyms(&self, word: &str) -> Option<&[String]> {
        let found = self.synonyms.get(word).or_else(|| self.synonyms.get(&word.to_lowercase()));
        found.map(Vec::as_slice)
    }

    fn add(&mut self, word: &str, synonyms: impl Iterator<Item = String>) {
        let entry = self.synonyms.entry(word.into()).or_default();
        for synonym in synonyms {
            if synonym != word && !synonym.is_empty() && !entry.contains(&synonym) {
                entry.push(synonym);
            }
        }
        if entry.is_empty() {
            self.synonyms.remove(word);
        }
    }

    fn table(path: &Path) -> Result<Self, DataError> {
        let mut lexicon = Self::default();
        for (number, line) in read(path)?.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((word, synonyms)) = line.split_once('\t') else {
                let message = "a word, a tab and its synonyms with spaces between them are expected".into();
                return Err(DataError::BadRecord { path: path.into(), line: Some(number as u64 + 1), message });
            };
            lexicon.add(&word.trim().to_lowercase(), synonyms.split_whitespace().map(String::from));
        }
        if lexicon.synonyms.is_empty() {
            let message = "there is no line with a word and a synonym".into();
            return Err(DataError::BadRecord { path: path.into(), line: None, message });
        }
        Ok(lexicon)
    }

    fn wordnet(folder: &Path) -> Result<Self, DataError> {
        let mut lexicon = Self::default();
        for part in ["noun", "verb", "adj", "adv"] {
            let path = folder.join(format!("data.{part}"));
            let sets = synonym_sets(&path, &read(&path)?)?;
            let path = folder.join(format!("index.{part}"));
            for (number, line) in entries(&read(&path)?) {
                let (word, offset) = first_sense(line).ok_or_else(|| bad(&path, number))?;
                if let Some(set) = sets.get(offset).filter(|_| !word.contains('_')) {
                    lexicon.add(word, set.iter().filter(|other| !other.eq_ignore_ascii_case(word)).cloned());
                }
            }
        }
        Ok(lexicon)
    }
}

fn read(path: &Path) -> Result<String, DataError> {
    std::fs::read_to_string(path).map_err(|error| DataError::io("read", path, error))
}

fn bad(path: &Path, line: u64) -> DataError {
    let message = "this is not a line of WordNet's database files (wndb)".into();
    DataError::BadRecord { path: path.into(), line: Some(line), message }
}

/// The lines with their numbers; those of the licence begin with spaces.
fn entries(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with(' ') && !line.is_empty())
}

/// By offset, the words of each synset: `offset file type count(hex) word id word id ...`.
fn synonym_sets(path: &Path, text: &str) -> Result<HashMap<String, Vec<String>>, DataError> {
    let set = |line: &str| {
        let mut fields = line.split(' ');
        let offset = fields.next()?;
        let count = usize::from_str_radix(fields.nth(2)?, 16).ok()?;
        let words: Vec<String> = fields.step_by(2).take(count).map(plain).collect();
        (words.len() == count).then(|| (offset.to_string(), words))
    };
    entries(text).map(|(number, line)| set(line).ok_or_else(|| bad(path, number))).collect()
}

/// Without the marks of where an adjective stands, "(a)", and with spaces.
fn plain(word: &str) -> String {
    let word = word.split('(').next().unwrap_or(word);
    word.replace('_', " ")
}

/// The word and the offset of its most frequent sense: `word pos synsets pointers [pointer ...] senses tagged offset ...`.
fn first_sense(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split_whitespace();
    let word = fields.next()?;
    let pointers: usize = fields.nth(2)?.parse().ok()?;
    Some((word, fields.nth(pointers + 2)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(lexicon: &Lexicon, word: &str, expect: &[&str]) {
        assert_eq!(lexicon.synonyms(word).unwrap_or_default(), expect, "{word}");
    }

    #[test]
    fn tables_in_both_languages() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.tsv");
        std::fs::write(&path, "# mine\n高兴\t快乐 开心 高兴\nBig\tlarge  huge\n\nalone\talone\n").unwrap();
        let open = || Lexicon::open(None, Some(Path::new("t.tsv")), dir.path());
        let lexicon = open().unwrap();
        check(&lexicon, "高兴", &["快乐", "开心"]);
        check(&lexicon, "BIG", &["large", "huge"]);
        check(&lexicon, "alone", &[]);
        std::fs::write(&path, "a\tb\nno tab\n").unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, DataError::BadRecord { line: Some(2), .. }), "{error}");
        assert!(matches!(Lexicon::open(None, None, dir.path()), Err(DataError::BadConfig { .. })));
    }

    /// Lines of WordNet 3.0, shortened to the fields that are read.
    #[test]
    fn wordnet_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        for part in ["verb", "adv"] {
            write(&format!("data.{part}"), "  1 licence\n");
            write(&format!("index.{part}"), "  1 licence\n");
        }
        write(
            "data.noun",
            "  1 licence\n02958343 06 n 05 car 0 auto 0 automobile 0 machine 6 motorcar 0 001 @ 03791235 n 0000 | a motor\n02959942 06 n 02 car 1 railcar 0 001 @ 1 n 0000 | a wheeled\n",
        );
        write(
            "index.noun",
            "  1 licence\nauto n 1 3 @ ~ %p 1 1 02958343  \ncar n 2 4 @ ~ #m %p 2 1 02958343 02959942  \nrailcar n 1 1 @ 1 0 02959942  \n",
        );
        write("data.adj", "01385255 00 a 02 large(a) 0 big(p) 0 001 & 1 a 0000 | above\n");
        write("index.adj", "big a 1 1 & 1 1 01385255  \n");
        let open = || Lexicon::open(Some(dir.path()), None, Path::new("/"));
        let lexicon = open().unwrap();
        check(&lexicon, "Car", &["auto", "automobile", "machine", "motorcar"]);
        check(&lexicon, "railcar", &["car"]);
        check(&lexicon, "big", &["large"]);
        write("index.adj", "big a 1\n");
        assert!(matches!(open(), Err(DataError::BadRecord { line: Some(1), .. })));
    }
}
