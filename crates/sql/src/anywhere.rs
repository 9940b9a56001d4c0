use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::{Engine, Functions, SqlError};

/// An SQL engine, here or on a cluster. What is asked of both must be SQL that both read alike: SELECTs over named tables
/// with joins, groups and windows, on numbers and text; without `/` of integers, functions of a text and double quotes.
pub enum QueryEngine {
    /// DataFusion, in this process.
    Embedded(Box<Engine>),
    /// Apache Spark or Sail, by Spark Connect.
    #[cfg(feature = "spark")]
    Spark(danlu_spark::Session),
}

/// The name of the engine in this process.
const EMBEDDED: &str = "datafusion";

impl QueryEngine {
    /// Opens an engine by its name: `datafusion`, which works within so much memory and spills into a folder, or
    /// `spark://HOST:PORT`.
    ///
    /// # Errors
    /// A name of no engine, a server that does not answer, and Spark in a danlu that was built without it.
    pub fn open(name: &str, memory_bytes: usize, spill_dir: &Path, threads: usize) -> Result<Self, SqlError> {
        Self::open_with(name, memory_bytes, spill_dir, threads, &Functions::default())
    }

    /// As [`open`](Self::open), with functions that include models; Spark has none of them.
    pub fn open_with(
        name: &str,
        memory_bytes: usize,
        spill_dir: &Path,
        threads: usize,
        functions: &Functions,
    ) -> Result<Self, SqlError> {
        if name == EMBEDDED {
            let engine = Engine::with_functions(memory_bytes, spill_dir, threads, functions)?;
            return Ok(Self::Embedded(Box::new(engine)));
        }
        Self::check(name)?;
        Self::connect(name)
    }

    /// Whether a name is one of an engine, without asking for it.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for what only a server can say.
    pub fn check(name: &str) -> Result<(), SqlError> {
        // Known here too: a danlu without Spark Connect must say that it is this that is missing.
        let of_spark = name.starts_with("spark://") || name.starts_with("sc://");
        match (name == EMBEDDED || of_spark, of_spark && !cfg!(feature = "spark")) {
            (false, _) => Err(SqlError::NoEngine { name: name.into() }),
            (true, true) => Err(SqlError::NotBuilt { name: name.into() }),
            (true, false) => Self::check_address(name),
        }
    }

    #[cfg(feature = "spark")]
    fn check_address(name: &str) -> Result<(), SqlError> {
        if name != EMBEDDED {
            name.parse::<danlu_spark::Address>()?;
        }
        Ok(())
    }

    #[cfg(not(feature = "spark"))]
    fn check_address(_: &str) -> Result<(), SqlError> {
        Ok(())
    }

    #[cfg(feature = "spark")]
    fn connect(address: &str) -> Result<Self, SqlError> {
        Ok(Self::Spark(danlu_spark::Session::connect(&address.parse()?)?))
    }

    #[cfg(not(feature = "spark"))]
    fn connect(address: &str) -> Result<Self, SqlError> {
        Err(SqlError::NotBuilt { name: address.into() })
    }

    /// Makes a Parquet file, or a folder of them, a table of this name, in the place of one of the same name. The engine
    /// opens the path, so that it must mean the same to it.
    pub fn register_parquet(&self, name: &str, path: &str) -> Result<(), SqlError> {
        match self {
            Self::Embedded(engine) => engine.replace_parquet(name, Path::new(path)),
            #[cfg(feature = "spark")]
            Self::Spark(session) => Ok(session.register_parquet(name, path)?),
        }
    }

    /// Gives `each` the rows of a query, batch by batch, some of them empty. They come in the order that the SQL asks for
    /// with ORDER BY.
    ///
    /// # Errors
    /// The engine's, and those of `each`, which end the query.
    pub fn query<E: From<SqlError>>(
        &self,
        sql: &str,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        // What makes plans and streams of the engines is compiled once, in here, whatever the kind of error.
        let mut failure = None;
        let taken = self.batches(sql, &mut |batch| match each(batch) {
            Ok(()) => true,
            Err(error) => {
                failure = Some(error);
                false
            }
        });
        failure.map_or(Ok(taken?), Err)
    }

    fn batches(&self, sql: &str, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), SqlError> {
        match self {
            Self::Embedded(engine) => engine.each(sql, take),
            #[cfg(feature = "spark")]
            Self::Spark(session) => Ok(session.query(sql, take)?),
        }
    }
}

impl QueryEngine {
    /// All rows of a query as JSON objects, columns in the order of the query.
    pub fn rows(&self, sql: &str) -> Result<Vec<serde_json::Value>, SqlError> {
        let unreadable = |message: String| SqlError::Query { sql: sql.into(), message };
        let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
        self.query(sql, &mut |batch| writer.write(&batch).map_err(|e| unreadable(e.to_string())))?;
        writer.finish().map_err(|e| unreadable(e.to_string()))?;
        let lines = writer.into_inner();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|e| unreadable(e.to_string()))).collect()
    }

    /// Writes the rows of a query to a Parquet file here, which appears when it is whole, and says how many they are.
    pub fn write_parquet(&self, sql: &str, path: &Path) -> Result<u64, SqlError> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".danlu-tmp");
        let aside = path.with_file_name(name);
        let renamed = |rows| match std::fs::rename(&aside, path) {
            Ok(()) => Ok(rows),
            Err(source) => Err(SqlError::Io { action: "write", path: path.into(), source }),
        };
        let written = self.write_aside(sql, &aside).and_then(renamed);
        written.inspect_err(|_| drop(std::fs::remove_file(&aside)))
    }

    fn write_aside(&self, sql: &str, path: &Path) -> Result<u64, SqlError> {
        let io = |source| SqlError::Io { action: "write", path: path.into(), source };
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        let properties = properties.set_max_row_group_bytes(Some(32 << 20)).build();
        let (mut file, mut out, mut rows) = (Some(File::create(path).map_err(io)?), None, 0);
        self.query(sql, &mut |batch| {
            // The first batch tells the columns.
            if let Some(file) = file.take() {
                let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.clone()));
                out = Some(writer.map_err(|e| written(path, e))?);
            }
            rows += batch.num_rows() as u64;
            out.as_mut().map_or(Ok(()), |out| out.write(&batch)).map_err(|e| written(path, e))
        })?;
        // A cluster that answers with nothing at all has not told the columns, and an empty file is no table.
        let nothing = || SqlError::Query { sql: sql.into(), message: "the engine sent no rows and no columns".into() };
        let out = out.ok_or_else(nothing)?;
        out.into_inner().map_err(|e| written(path, e))?.sync_all().map_err(io)?;
        Ok(rows)
    }
}

fn written(path: &Path, error: ParquetError) -> SqlError {
    let source = match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(error) => std::io::Error::other(error),
        },
        error => std::io::Error::other(error),
    };
    SqlError::Io { action: "write", path: PathBuf::from(path), source }
}
