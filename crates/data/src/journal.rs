//! What a collection has finished, so that a killed one goes on where it was.
//!
//! `collect.journal` is a file of JSON lines: first what is collected, then, for each part that lies finished beside it,
//! which records of which source it holds. A line is written after its part is safe on the disk. A file that is read again
//! in order to go on within it gives its records in the same order, so that their number says where that is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use danlu_store::{atomic, hash};
use serde::{Deserialize, Serialize};

use crate::source::Item;
use crate::{COLLECTED_FILE, Count, DataError, Problem, SourceConfig, without_licenses};

const JOURNAL_FILE: &str = "collect.journal";
const PARTS_FOLDER: &str = "parts";

/// A stretch of a source's records: from a record of one of its items to a record of the same or a later one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// The source's place in the recipe.
    pub(crate) source: usize,
    /// The first of the source's items, and how many of its records belong to earlier parts.
    pub(crate) from: usize,
    #[serde(default)]
    pub(crate) skip: u64,
    /// The first item that is not read to its end, and how many of its records belong to this part or earlier ones.
    pub(crate) until: usize,
    #[serde(default)]
    pub(crate) within: u64,
    /// Names and states of these items; when they change, the part is no longer good.
    pub(crate) state: String,
    pub(crate) count: Count,
    pub(crate) problem_count: u64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) passed_over: BTreeMap<String, u64>,
    pub(crate) forgotten: u64,
}

impl Finished {
    /// The items that the part has records of, and whose state therefore counts.
    pub(crate) fn items(&self) -> Range<usize> {
        self.from..self.until + usize::from(self.within > 0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    sources: String,
    /// How many documents were to be left out; they are only ever added to.
    forgotten: usize,
}

/// The parts of one collection and the journal about them.
pub(crate) struct Journal {
    out: PathBuf,
    file: File,
    finished: Vec<Finished>,
}

impl Journal {
    /// Opens the journal in the folder `out`, with what of it still holds for these sources and items. With `strict`,
    /// parts with problems do not: they are read again, up to the problem.
    pub(crate) fn open(
        out: &Path,
        sources: &[SourceConfig],
        items: &[&[Item]],
        strict: bool,
        forgotten: usize,
    ) -> Result<Self, DataError> {
        let path = out.join(JOURNAL_FILE);
        let config =
            serde_json::to_value(without_licenses(sources)).map_err(|e| DataError::io("write", &path, e.into()))?;
        let header = Header { sources: hash::of_json(&config).to_string(), forgotten };
        let mut finished: Vec<Finished> = Vec::new();
        for part in read(&path, &header) {
            let before = finished.iter().rfind(|before| before.source == part.source);
            let follows = (part.from, part.skip) == before.map_or((0, 0), |before| (before.until, before.within));
            let fits = items.get(part.source).and_then(|items| items.get(part.items()));
            let good = follows
                && fits.is_some_and(|items| state_of(items) == part.state)
                && !(strict && part.problem_count > 0)
                && (part.count.documents == 0 || part_path(out, part.source, part.from, part.skip).is_file());
            if good {
                finished.push(part);
            }
        }
        if finished.is_empty() {
            let _ = fs::remove_dir_all(out.join(PARTS_FOLDER)); // what another collection may have left
        }
        fs::create_dir_all(out.join(PARTS_FOLDER)).map_err(|e| DataError::io("create the folder of", &path, e))?;
        let mut lines = line(&path, &header)?;
        for part in &finished {
            lines.extend(line(&path, part)?);
        }
        atomic::write_bytes(&path, &lines)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| DataError::io("open", &path, e))?;
        if !finished.is_empty() {
            tracing::info!("goes on after {} finished parts", finished.len());
        }
        Ok(Self { out: out.into(), file, finished })
    }

    /// What is finished of a source: its parts, one after the other from its first item.
    pub(crate) fn of_source(&self, source: usize) -> Vec<Finished> {
        self.finished.iter().filter(|part| part.source == source).cloned().collect()
    }

    /// Where the part lies that begins with this item, after so many of its records.
    pub(crate) fn part_path(&self, source: usize, from: usize, skip: u64) -> PathBuf {
        part_path(&self.out, source, from, skip)
    }

    /// Records a part whose documents, if it has any, are safe on the disk.
    pub(crate) fn record(&mut self, part: Finished) -> Result<(), DataError> {
        let path = self.out.join(JOURNAL_FILE);
        let line = line(&path, &part)?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|e| DataError::io("write", &path, e))?;
        self.finished.push(part);
        Ok(())
    }

    /// The parts that hold documents, in order.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let mut parts: Vec<&Finished> = self.finished.iter().filter(|part| part.count.documents > 0).collect();
        parts.sort_by_key(|part| (part.source, part.from, part.skip));
        parts.into_iter().map(|part| self.part_path(part.source, part.from, part.skip)).collect()
    }

    /// Removes the journal and the parts, when they are no longer needed.
    pub(crate) fn remove(self) -> Result<(), DataError> {
        let (journal, parts) = (self.out.join(JOURNAL_FILE), self.out.join(PARTS_FOLDER));
        fs::remove_file(&journal).map_err(|e| DataError::io("remove", &journal, e))?;
        fs::remove_dir_all(&parts).map_err(|e| DataError::io("remove", &parts, e))
    }
}

fn part_path(out: &Path, source: usize, from: usize, skip: u64) -> PathBuf {
    out.join(PARTS_FOLDER).join(format!("{source}-{from}-{skip}.{COLLECTED_FILE}"))
}

/// Names and states of some items, as one hash.
pub(crate) fn state_of(items: &[Item]) -> String {
    let parts: Vec<[&str; 2]> = items.iter().map(|item| [item.shown.as_str(), item.state.as_str()]).collect();
    hash::of_json(&serde_json::json!(parts)).to_string()
}

/// What the journal says, if it is about the same sources. A line that was cut short when the process was killed, and
/// what follows it, counts for nothing.
fn read(path: &Path, header: &Header) -> Vec<Finished> {
    let bytes = fs::read(path).unwrap_or_default(); // no journal, or not a readable one: begin anew
    // A line may be cut within a character, which must not cost the lines before it.
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let same = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok());
    if same.is_none_or(|found| found.sources != header.sources || found.forgotten != header.forgotten) {
        return Vec::new();
    }
    lines.map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn line(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, DataError> {
    let mut line = serde_json::to_vec(value).map_err(|e| DataError::io("write", path, e.into()))?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_within_a_character_costs_no_other_line() {
        let dir = tempfile::tempdir().unwrap();
        let source = SourceConfig { name: "s".into(), path: "*.txt".into(), ..Default::default() };
        let open = || Journal::open(dir.path(), std::slice::from_ref(&source), &[&[]], false, 0).unwrap();
        let mut journal = open();
        let part = Finished { state: state_of(&[]), problem_count: 1, ..Default::default() };
        journal.record(part.clone()).unwrap();
        journal.file.write_all(&"{\"source\":0,\"state\":\"春".as_bytes()[..23]).unwrap();
        drop(journal);
        assert!(String::from_utf8(fs::read(dir.path().join(JOURNAL_FILE)).unwrap()).is_err());
        assert_eq!(open().of_source(0), [part]);
    }
}
