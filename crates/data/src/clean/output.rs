use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Count, Funnel, Reason, SplitConfig, SplitRow};
use crate::table::Fate;
use crate::{DataError, Document, DocumentWriter, documents_file, read_documents};

/// The file of dropped documents in a clean artifact.
pub const DROPPED_FILE: &str = "dropped.parquet";
/// The file of the [`Funnel`] in a clean artifact.
pub const FUNNEL_FILE: &str = "funnel.json";

/// A dropped document and why it was dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroppedDocument {
    #[serde(flatten)]
    pub document: Document,
    pub step: String,
    pub reason: String,
    pub detail: String,
}

/// The file of dropped documents, if they are kept.
pub(super) struct Dropped {
    file: Option<DocumentWriter>,
    statistics: Vec<String>,
    /// Since a document was put off: that and all that follow, in their order.
    later: Option<(DocumentWriter, PathBuf)>,
}

impl Dropped {
    pub(super) fn create(keep: bool, statistics: &[String], path: &Path) -> Result<Self, DataError> {
        let file = keep.then(|| DocumentWriter::dropped(path, statistics)).transpose()?;
        Ok(Self { file, statistics: statistics.to_vec(), later: None })
    }

    pub(super) fn add(&mut self, document: &Document, step: &str, reason: Reason) -> Result<(), DataError> {
        let Reason { code, detail } = reason;
        self.add_again(document, &Fate { step: step.into(), reason: code.into_owned(), detail })
    }

    /// A document that was dropped before.
    pub(super) fn add_again(&mut self, document: &Document, fate: &Fate) -> Result<(), DataError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let table = match &mut self.later {
            Some((later, _)) => later,
            None => file,
        };
        table.write_dropped(document, fate)
    }

    /// Puts off a document whose fate is not known yet: it has an empty one in the table in the folder `work`.
    pub(super) fn put_off(&mut self, document: &Document, work: &Path) -> Result<(), DataError> {
        let (later, _) = match &mut self.later {
            Some(later) => later,
            none => {
                let path = work.join(documents_file("later"));
                none.insert((DocumentWriter::dropped(&path, &self.statistics)?, path))
            }
        };
        let none = String::new;
        later.write_dropped(document, &Fate { step: none(), reason: none(), detail: none() })
    }

    /// The table of what was put off and of what was dropped since, if something was. From here on documents go to the file
    /// again.
    pub(super) fn finish_later(&mut self) -> Result<Option<PathBuf>, DataError> {
        let Some((table, path)) = self.later.take() else { return Ok(None) };
        table.finish().map(|()| Some(path))
    }

    pub(super) fn finish(self) -> Result<(), DataError> {
        self.file.map_or(Ok(()), DocumentWriter::finish)
    }
}

/// Where the documents go in the end: the splits, and the file of dropped ones.
pub(super) struct Output<'a> {
    split: &'a SplitConfig,
    splits: [DocumentWriter; 3],
    pub(super) dropped: Dropped,
    kept: Count,
    /// By split, source and language.
    rows: BTreeMap<(usize, String, String), Count>,
}

impl<'a> Output<'a> {
    pub(super) fn create(
        split: &'a SplitConfig,
        keep_dropped: bool,
        statistics: &[String],
        out: &Path,
    ) -> Result<Self, DataError> {
        let create = |name: &str| DocumentWriter::with_statistics(&out.join(documents_file(name)), statistics);
        let [train, valid, test] = SplitConfig::NAMES;
        let dropped = Dropped::create(keep_dropped, statistics, &out.join(DROPPED_FILE))?;
        let splits = [create(train)?, create(valid)?, create(test)?];
        Ok(Self { split, splits, dropped, kept: Count::default(), rows: BTreeMap::new() })
    }

    pub(super) fn keep(&mut self, document: &Document) -> Result<(), DataError> {
        let split = self.split.of(document);
        self.kept.add(document);
        self.rows.entry((split, document.source.clone(), document.language.clone())).or_default().add(document);
        self.splits[split].write(document)
    }

    /// Closes the files, and says what was kept, in all and by split.
    pub(super) fn finish(self) -> Result<(Count, Vec<SplitRow>), DataError> {
        self.splits.into_iter().try_for_each(DocumentWriter::finish)?;
        self.dropped.finish()?;
        let row = |((split, source, language), count): ((usize, String, String), Count)| SplitRow {
            split: SplitConfig::NAMES[split].into(),
            source,
            language,
            count,
        };
        Ok((self.kept, self.rows.into_iter().map(row).collect()))
    }
}

/// That what is wanted is there, of the documents that lie in `out`.
pub(super) fn check_result(funnel: &Funnel, split: &SplitConfig, out: &Path) -> Result<(), DataError> {
    let documents = funnel.kept.documents;
    if documents == 0 {
        let reasons: Vec<String> =
            funnel.reasons().iter().map(|(reason, count)| format!("{reason} {}", count.documents)).collect();
        return Err(DataError::NothingKept { documents: funnel.collected.documents, reasons: reasons.join(", ") });
    }
    for (name, wanted) in SplitConfig::NAMES.into_iter().zip(split.wanted()) {
        if wanted && funnel.split(name).documents == 0 {
            return Err(DataError::EmptySplit { split: name, documents, raised: raised(split, documents, out)? });
        }
    }
    Ok(())
}

/// The shares that would have done; the documents tell, where they are few.
fn raised(split: &SplitConfig, documents: u64, out: &Path) -> Result<Option<SplitConfig>, DataError> {
    /// A split that is empty of more documents has a share so small that no figure is better than another.
    const FEW: u64 = 100_000;
    if documents > FEW {
        return Ok(None);
    }
    let mut places = Vec::new();
    for name in SplitConfig::NAMES {
        for document in read_documents(&out.join(documents_file(name)))? {
            places.push(SplitConfig::place(&document?));
        }
    }
    Ok(split.raised_for(places))
}
