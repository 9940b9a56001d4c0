//! The one step that needs all records at once: which of them share their key. Here by sorting them, or on an SQL engine,
//! be it DataFusion in this process or a cluster, by one SQL text for all. What comes back is sorted here in either case,
//! so that the engine leaves no trace in the result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, cast::AsArray};
use danlu_sql::QueryEngine;
use danlu_work::Bucket;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::aside::AsideFile;
use crate::storage::remove_folder;
use crate::table::write_failed;
use crate::{DataError, DedupConfig};

use super::Budget;
use super::sorter::{Sorted, Sorter};

/// Collects records, of which only those are wanted that share their first `key` numbers with another.
pub(super) struct Groups<const N: usize> {
    key: usize,
    sorter: Sorter<N>,
    elsewhere: Option<(Arc<Shuffle>, RecordTable<N>)>,
}

impl<const N: usize> Groups<N> {
    pub(super) fn new(budget: &Budget, name: &'static str, key: usize) -> Result<Self, DataError> {
        let sorter = Sorter::new(budget.part, budget.file(name));
        let elsewhere = match &budget.shuffle {
            Some(shuffle) => {
                Some((shuffle.clone(), RecordTable::create(shuffle.folder.join(format!("{name}.parquet")))?))
            }
            None => None,
        };
        Ok(Self { key, sorter, elsewhere })
    }

    pub(super) fn push(&mut self, record: [u32; N]) -> Result<(), DataError> {
        match &mut self.elsewhere {
            Some((_, table)) => table.push(record),
            None => self.sorter.push(record),
        }
    }

    /// All records in order, or of an engine those alone that share their key.
    pub(super) fn finish(mut self) -> Result<Sorted<N>, DataError> {
        if let Some((shuffle, table)) = self.elsewhere {
            let path = table.finish()?;
            shuffle.shared(&path, self.key, &mut |record| self.sorter.push(record))?;
            std::fs::remove_file(&path).map_err(|e| DataError::io("remove", &path, e))?;
        }
        self.sorter.finish()
    }
}

/// An engine, and the place where it finds records.
pub(super) struct Shuffle {
    engine: QueryEngine,
    /// Where records are written first; the engine reads them there unless there is a bucket.
    folder: PathBuf,
    exchange: Option<Exchange>,
}

/// A bucket by which records come to the engine.
struct Exchange {
    bucket: Bucket,
    /// The prefix of this run's objects there.
    name: String,
}

impl Shuffle {
    /// Opens the engine that a configuration names, if it does. `bytes` is what one in this process may hold.
    pub(super) fn open(config: &DedupConfig, work: &Path, bytes: u64) -> Result<Option<Self>, DataError> {
        let Some(name) = &config.engine else { return Ok(None) };
        let (folder, exchange) = match &config.exchange {
            Some(address) if address.contains("://") => {
                let folder = work.join("exchange");
                let bucket = Bucket::open(address).map_err(|e| bad_exchange(e.to_string()))?;
                let name = own_name(&folder)?;
                (folder, Some(Exchange { bucket, name }))
            }
            Some(folder) => (Path::new(folder).join(own_name(work)?), None),
            None => (work.join("exchange"), None),
        };
        remove_folder(&folder)?; // of a process that was killed
        std::fs::create_dir_all(&folder).map_err(|e| DataError::io("create", &folder, e))?;
        let engine = QueryEngine::open(name, bytes as usize, &folder, rayon::current_num_threads())?;
        Ok(Some(Self { engine, folder, exchange }))
    }

    /// Gives `each` the records of a table that share their first `key` numbers with another, in no order.
    fn shared<const N: usize>(
        &self,
        path: &Path,
        key: usize,
        each: &mut dyn FnMut([u32; N]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let Some(Exchange { bucket, name }) = &self.exchange else {
            let path = std::path::absolute(path).map_err(|e| DataError::io("find", path, e))?;
            return self.shared_of(&path.to_string_lossy(), key, each);
        };
        let object = format!("{name}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        bucket.upload(path, &object).map_err(|e| bad_exchange(e.to_string()))?;
        let read = self.shared_of(&format!("{}/{object}", bucket.address().trim_end_matches('/')), key, each);
        // Whatever became of the query, its records do not stay behind.
        read.and(bucket.delete(&object).map_err(|e| bad_exchange(e.to_string())))
    }

    /// The same, of a table that lies where the engine finds it.
    fn shared_of<const N: usize>(
        &self,
        place: &str,
        key: usize,
        each: &mut dyn FnMut([u32; N]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.engine.register_parquet("records", place)?;
        self.engine.query(&shared_sql(key, N), &mut |batch| records(&batch)?.try_for_each(&mut *each))
    }
}

impl Drop for Shuffle {
    fn drop(&mut self) {
        let _ = remove_folder(&self.folder);
    }
}

fn bad_exchange(message: String) -> DataError {
    DataError::BadConfig { key: "clean.dedup.exchange", message }
}

/// The same for the same run on the same machine, so that a run finds and removes what was left when it was killed.
fn own_name(work: &Path) -> Result<String, DataError> {
    let path = std::path::absolute(work).map_err(|e| DataError::io("find", work, e))?;
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let hash = blake3::hash(format!("{host} {}", path.display()).as_bytes()).to_hex();
    Ok(format!("danlu-{}", &hash[..16]))
}

/// Reads alike in DataFusion, Spark and Sail. The groups come first: what stands first is held in memory by a join.
fn shared_sql(key: usize, columns: usize) -> String {
    let names = |of: &str, count: usize| (0..count).map(|n| format!("{of}n{n}")).collect::<Vec<_>>().join(", ");
    let same = (0..key).map(|n| format!("r.n{n} = s.n{n}")).collect::<Vec<_>>().join(" AND ");
    format!(
        "SELECT {all} FROM (SELECT {keys} FROM records GROUP BY {keys} HAVING COUNT(*) > 1) s JOIN records r ON {same}",
        all = names("r.", columns),
        keys = names("", key),
    )
}

/// Rows of a query as records.
fn records<const N: usize>(batch: &RecordBatch) -> Result<impl Iterator<Item = [u32; N]>, DataError> {
    let column = |index: usize| batch.columns().get(index).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let columns: Vec<&Int64Array> = (0..N).filter_map(column).collect();
    let columns: [&Int64Array; N] = columns.try_into().map_err(|_| {
        let message = format!("its rows have the columns {}", batch.schema());
        DataError::BadConfig { key: "clean.dedup.engine", message }
    })?;
    Ok((0..batch.num_rows()).map(move |row| columns.map(|column| column.value(row) as u32)))
}

/// Rows held before they are handed to the encoder.
const BATCH_ROWS: usize = 1 << 16;

/// Records as a Parquet file of the columns n0, n1, ..., 64 bits each, because engines know no unsigned numbers.
struct RecordTable<const N: usize> {
    out: ArrowWriter<AsideFile>,
    path: PathBuf,
    columns: [Vec<i64>; N],
}

impl<const N: usize> RecordTable<N> {
    fn create(path: PathBuf) -> Result<Self, DataError> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        // Hashes do not repeat: a dictionary of them is as large as they are.
        let properties = properties.set_dictionary_enabled(false).set_max_row_group_bytes(Some(32 << 20)).build();
        let (file, columns) = (AsideFile::create(&path)?, std::array::from_fn(|_| Vec::new()));
        let schema = batch(&columns, &path)?.schema();
        let out = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| write_failed(&path, e))?;
        Ok(Self { out, path, columns })
    }

    fn push(&mut self, record: [u32; N]) -> Result<(), DataError> {
        self.columns.iter_mut().zip(record).for_each(|(column, number)| column.push(number.into()));
        if self.columns[0].len() == BATCH_ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), DataError> {
        let rows = batch(&self.columns, &self.path)?;
        self.columns.iter_mut().for_each(Vec::clear);
        self.out.write(&rows).map_err(|e| write_failed(&self.path, e))
    }

    fn finish(mut self) -> Result<PathBuf, DataError> {
        self.write()?;
        self.out.into_inner().map_err(|e| write_failed(&self.path, e))?.finish()?;
        Ok(self.path)
    }
}

fn batch<const N: usize>(columns: &[Vec<i64>; N], path: &Path) -> Result<RecordBatch, DataError> {
    let named = columns.iter().enumerate().map(|(n, column)| {
        let array: ArrayRef = Arc::new(Int64Array::from(column.clone()));
        (format!("n{n}"), array, false)
    });
    RecordBatch::try_from_iter_with_nullable(named).map_err(|e| write_failed(path, e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_of_the_key_and_all_columns() {
        let expect = "SELECT r.n0, r.n1, r.n2 FROM (SELECT n0, n1 FROM records GROUP BY n0, n1 HAVING COUNT(*) > 1) s \
                      JOIN records r ON r.n0 = s.n0 AND r.n1 = s.n1";
        assert_eq!(shared_sql(2, 3), expect);
    }
}
