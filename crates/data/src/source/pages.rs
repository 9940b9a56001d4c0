//! What a Parquet file claims, before the parquet crate believes it: that crate reserves memory for as many row groups and
//! as large pages as a file says it has, and decompresses gzip whatever comes out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use danlu_formats::limits::{LimitError, Limits};
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::thrift::{FALSE, I32, LIST, Odd, STRUCT, TRUE, Thrift};

/// Groups of columns within each other.
const MAX_SCHEMA_DEPTH: usize = 64;
/// The header of a page is looked for in so many bytes, and in more if it is longer: it may hold the extremes of the page.
const HEADER_BYTES: u64 = 4096;
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Values of lists that any row group may have, whatever its size: one row may hold them all.
const FREE_VALUES: u64 = 4 << 20;
/// About so many bytes of a row group's rows are decoded at once.
const BYTES_AT_ONCE: u64 = 32 << 20;
const ROWS_AT_ONCE: u64 = 1024;

/// Why a file is not read, or not further.
#[derive(Debug)]
pub(super) enum Refusal {
    Io(io::Error),
    Limit(LimitError),
    /// The values of lists, the bytes they lie in.
    Values(u64, u64),
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LimitError> for Refusal {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}

fn broken<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Broken(message.into()))
}

/// Goes over the metadata at the end of a file. What is no Parquet at all is left to the parquet crate to name.
pub(super) fn check_metadata(file: &mut File) -> Result<(), Refusal> {
    let length = file.metadata()?.len();
    let mut end = [0; 8];
    if length < 12 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut end)?;
    let size = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if &end[4..] != b"PAR1" || size > length - 8 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 8 - size))?;
    let mut bytes = vec![0; size as usize];
    file.read_exact(&mut bytes)?;
    let gone_over = Thrift::new(&bytes).fields(|thrift, number, kind| match (number, kind) {
        (2, LIST) => schema(thrift),
        _ => thrift.skip(kind),
    });
    match gone_over {
        Ok(()) => Ok(()),
        Err(Odd::Short) => broken("its metadata claims to hold more than its bytes can"),
        Err(Odd::Broken(what)) => broken(format!("its metadata is damaged: {what}")),
    }
}

/// Columns lie in groups, each of which says how many follow that are in it.
fn schema(thrift: &mut Thrift<'_>) -> Result<(), Odd> {
    let (count, kind) = thrift.list()?;
    if kind != STRUCT {
        return Err(Odd::Broken("a schema of no elements"));
    }
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..count {
        let mut children = 0;
        thrift.fields(|thrift, number, kind| {
            if number == 5 {
                children = thrift.integer()?;
                return Ok(());
            }
            thrift.skip(kind)
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
        } else {
            while open.pop_if(|left| *left <= 0).is_some() {}
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(Odd::Broken("groups of columns too deep within each other"));
        }
    }
    Ok(())
}

/// What the header of a page says.
#[derive(Debug)]
struct Page {
    kind: i64,
    header: u64,
    compressed: u64,
    uncompressed: u64,
    values: u64,
    encoding: i64,
    /// Bytes before the compressed ones.
    levels: u64,
    is_compressed: bool,
}

const DICTIONARY_PAGE: i64 = 2;
/// Of each value only what is not the beginning of the one before it.
const DELTA_BYTE_ARRAY: i64 = 7;

impl Page {
    fn parse(bytes: &[u8]) -> Result<Self, Odd> {
        let mut page = Self {
            kind: 0,
            header: 0,
            compressed: 0,
            uncompressed: 0,
            values: 0,
            encoding: 0,
            levels: 0,
            is_compressed: true,
        };
        let mut thrift = Thrift::new(bytes);
        thrift.fields(|thrift, number, kind| {
            match (number, kind) {
                (1, I32) => page.kind = thrift.integer()?,
                (2, I32) => page.uncompressed = size(thrift)?,
                (3, I32) => page.compressed = size(thrift)?,
                (5 | 8, STRUCT) => return page.data(thrift, number == 8),
                (1..=3 | 5 | 8, _) => return Err(Odd::Broken("a field of another kind")),
                _ => return thrift.skip(kind),
            }
            Ok(())
        })?;
        page.header = thrift.position() as u64;
        Ok(page)
    }

    /// About the bytes of a value, or the most that one may have.
    fn longest(&self) -> u64 {
        if self.encoding == DELTA_BYTE_ARRAY { self.uncompressed } else { self.uncompressed / self.values.max(1) }
    }

    /// The header of its data, of the first or the second form.
    fn data(&mut self, thrift: &mut Thrift<'_>, second: bool) -> Result<(), Odd> {
        thrift.fields(|thrift, number, kind| {
            match (number, kind) {
                (1, I32) => self.values = size(thrift)?,
                (2, I32) if !second => self.encoding = thrift.integer()?,
                (4, I32) if second => self.encoding = thrift.integer()?,
                (5 | 6, I32) if second => self.levels = self.levels.saturating_add(size(thrift)?),
                (7, TRUE | FALSE) if second => self.is_compressed = kind == TRUE,
                (1, _) => return Err(Odd::Broken("a field of another kind")),
                (5..=7, _) if second => return Err(Odd::Broken("a field of another kind")),
                _ => return thrift.skip(kind),
            }
            Ok(())
        })
    }
}

fn size(thrift: &mut Thrift<'_>) -> Result<u64, Odd> {
    u64::try_from(thrift.integer()?).map_err(|_| Odd::Broken("a negative size"))
}

/// Goes over the pages of a file, one row group after the other.
pub(super) struct Pages {
    file: File,
    limits: Limits,
    /// Of the present row group, all of whose columns are decoded side by side, so that they share the limits.
    consumed: u64,
    produced: u64,
    list_values: u64,
    /// Columns of lists of texts that may be references to a few long ones, in a dictionary.
    pub(super) shared_texts: Vec<usize>,
    /// Bytes that they may become at most.
    pub(super) shared_bytes: u64,
    /// Of all row groups so far.
    total: u64,
}

impl Pages {
    pub(super) fn new(file: File, limits: Limits) -> Self {
        Self {
            file,
            limits,
            consumed: 0,
            produced: 0,
            list_values: 0,
            shared_texts: Vec::new(),
            shared_bytes: 0,
            total: 0,
        }
    }

    /// How many rows of a row group may be decoded at once.
    ///
    /// # Errors
    /// Pages that grow beyond the limits, that hold other than they claim, or that have other than the rows of their
    /// group.
    pub(super) fn check(&mut self, group: &RowGroupMetaData) -> Result<usize, Refusal> {
        let Ok(rows) = u64::try_from(group.num_rows()) else { return broken("a row group of fewer than no rows") };
        if rows > 0 && group.columns().is_empty() {
            return broken("a row group with rows and no columns");
        }
        (self.consumed, self.produced, self.list_values) = (0, 0, 0);
        self.shared_texts.clear();
        self.shared_bytes = 0;
        let mut row_bytes = 0;
        for (index, column) in group.columns().iter().enumerate() {
            row_bytes += self.column(index, column, rows)?;
        }
        self.total = self.total.saturating_add(self.produced);
        if self.total > self.limits.max_total {
            return Err(LimitError::Total { max_total: self.limits.max_total }.into());
        }
        Ok((BYTES_AT_ONCE / row_bytes.max(1)).clamp(1, ROWS_AT_ONCE) as usize)
    }

    /// Goes over a column; the bytes of a value in the page where they are longest.
    fn column(&mut self, index: usize, column: &ColumnChunkMetaData, rows: u64) -> Result<u64, Refusal> {
        let is_list = column.column_descr().max_rep_level() > 0;
        let (mut at, length) = column.byte_range();
        let file_length = self.file.metadata()?.len();
        let Some(end) = at.checked_add(length).filter(|end| *end <= file_length) else {
            return broken(format!("column {} ends beyond the file", column.column_path()));
        };
        let (mut values, mut longest, mut dictionary) = (0u64, 0, 0);
        while at < end {
            let page = header(&mut self.file, at, end)?;
            let body = at + page.header;
            if page.compressed > end - body {
                return broken(format!("a page of column {} ends beyond it", column.column_path()));
            }
            self.page(&page, body, column)?;
            at = body + page.compressed;
            if page.kind != DICTIONARY_PAGE {
                values = values.saturating_add(page.values);
                longest = longest.max(page.longest());
            } else {
                dictionary = page.uncompressed;
            }
        }
        if is_list {
            self.list_values = self.list_values.saturating_add(values);
            let most = self.consumed.saturating_mul(self.limits.max_ratio).saturating_add(FREE_VALUES);
            if self.list_values > most {
                return Err(Refusal::Values(self.list_values, self.consumed));
            }
            if dictionary > 0 && matches!(column.column_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY) {
                self.shared_texts.push(index);
                self.shared_bytes = self.shared_bytes.saturating_add(dictionary.saturating_mul(values));
            }
        } else if values != rows {
            return broken(format!("column {} has {values} values in {rows} rows", column.column_path()));
        }
        Ok(longest)
    }

    fn page(&mut self, page: &Page, body: u64, column: &ColumnChunkMetaData) -> Result<(), Refusal> {
        self.consumed += page.compressed;
        self.produced = self.produced.saturating_add(page.uncompressed);
        self.limits.check(self.consumed, self.produced)?;
        if matches!(column.compression(), Compression::GZIP(_)) && page.is_compressed {
            let levels = page.levels.min(page.compressed);
            self.file.seek(SeekFrom::Start(body + levels))?;
            let most = page.uncompressed.saturating_sub(levels);
            let packed = io::BufReader::new((&self.file).take(page.compressed - levels));
            let mut unpacked = flate2::bufread::MultiGzDecoder::new(packed).take(most + 1);
            // What is no gzip is for the parquet crate to say.
            if io::copy(&mut unpacked, &mut io::sink()).is_ok_and(|size| size > most) {
                return broken(format!("a page of column {} holds more than it claims", column.column_path()));
            }
        }
        Ok(())
    }
}

/// The header of the page that begins at `at`, in a column that ends at `end`.
fn header(file: &mut File, at: u64, end: u64) -> Result<Page, Refusal> {
    let most = (end - at).min(MAX_HEADER_BYTES);
    let mut window = HEADER_BYTES.min(most);
    loop {
        let mut bytes = vec![0; window as usize];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        match Page::parse(&bytes) {
            Ok(page) => return Ok(page),
            Err(Odd::Short) if window < most => window = (4 * window).min(most),
            Err(Odd::Short) => return broken("the header of a page does not end"),
            Err(Odd::Broken(what)) => return broken(format!("the header of a page is damaged: {what}")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Encoding;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Of 16 rows with the same text of a mebibyte.
    fn rows_at_once(encoding: Encoding) -> usize {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_encoding(encoding)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let schema = Arc::new(parse_message_type("message texts { required binary text (UTF8); }").unwrap());
        let mut out = SerializedFileWriter::new(tempfile::tempfile().unwrap(), schema, Arc::new(properties)).unwrap();
        let mut group = out.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts = vec![ByteArray::from(vec![b'a'; 1 << 20]); 16];
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        let file = out.into_inner().unwrap();
        let reader = SerializedFileReader::new(file.try_clone().unwrap()).unwrap();
        Pages::new(file, Limits::default()).check(reader.metadata().row_group(0)).unwrap()
    }

    #[test]
    fn texts_that_share_their_beginnings_are_taken_to_be_long() {
        assert_eq!(
            [Encoding::PLAIN, Encoding::DELTA_BYTE_ARRAY].map(|encoding| rows_at_once(encoding) <= 32),
            [true; 2]
        );
    }
}
