use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use tokio::runtime::Runtime;

use crate::{Functions, SqlError};

/// Runs SQL over Parquet tables within a given memory; what does not fit into it is spilled to disk.
///
/// Queries read and write nothing but what they are told to: statements that change something are refused. Rows come in
/// the order that the SQL asks for with ORDER BY; without it their order may differ from run to run.
pub struct Engine {
    context: SessionContext,
    runtime: Runtime,
    memory_bytes: usize,
}

impl Engine {
    /// An engine with so much memory for sorting, grouping and joining, which spills into `spill_dir` and works with so
    /// many threads. A batch of each operator at work comes on top.
    pub fn new(memory_bytes: usize, spill_dir: &Path, threads: usize) -> Result<Self, SqlError> {
        Self::with_functions(memory_bytes, spill_dir, threads, &Functions::default())
    }

    /// As [`new`](Self::new), with functions that include models.
    pub fn with_functions(
        memory_bytes: usize,
        spill_dir: &Path,
        threads: usize,
        functions: &Functions,
    ) -> Result<Self, SqlError> {
        let io = |source| SqlError::Io {
            action: "start threads for queries that spill into",
            path: spill_dir.into(),
            source,
        };
        let threads = threads.max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).build().map_err(io)?;
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_batch_size(batch_rows(memory_bytes, threads))
            .with_information_schema(true);
        // What each sort keeps back for merging its spilled runs; more than a small engine has would leave it none to sort.
        let options = &mut config.options_mut().execution;
        options.sort_spill_reservation_bytes = options.sort_spill_reservation_bytes.min(memory_bytes / threads / 8);
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .with_temp_file_path(spill_dir)
            .build_arc()
            .map_err(|e| SqlError::Query { sql: String::new(), message: e.strip_backtrace() })?;
        let context = SessionContext::new_with_config_rt(config, environment);
        functions.register(&context);
        Ok(Self { context, runtime, memory_bytes })
    }

    /// Makes a Parquet file, or a folder of them, a table of this name.
    pub fn register_parquet(&self, name: &str, path: &Path) -> Result<(), SqlError> {
        // Looked at first: what DataFusion says of a missing file speaks of object stores.
        std::fs::metadata(path).map_err(|source| SqlError::Io { action: "open", path: path.into(), source })?;
        let options = ParquetReadOptions { file_extension: "parquet", ..ParquetReadOptions::default() };
        let location = path.to_string_lossy();
        let registered = self.runtime.block_on(self.context.register_parquet(name, location, options));
        registered.map_err(|e| self.failed(&path.display().to_string(), &e))
    }

    /// As [`register_parquet`](Self::register_parquet), in the place of a table of the same name.
    pub(crate) fn replace_parquet(&self, name: &str, path: &Path) -> Result<(), SqlError> {
        self.context.deregister_table(name).map_err(|e| self.failed(name, &e))?;
        self.register_parquet(name, path)
    }

    /// All rows of a query.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        self.each(sql, &mut |batch| {
            batches.extend(Some(batch).filter(|batch| batch.num_rows() > 0));
            true
        })?;
        Ok(batches)
    }

    /// Gives `take` the rows of a query, batch by batch, until it has enough (false). First comes an empty batch, so that
    /// of a query without rows the columns are known.
    pub(crate) fn each(&self, sql: &str, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<(), SqlError> {
        let mut stream = self.runtime.block_on(self.stream(sql))?;
        let mut more = take(RecordBatch::new_empty(stream.schema()));
        while more && let Some(batch) = self.runtime.block_on(stream.next()) {
            more = take(batch.map_err(|e| self.failed(sql, &e))?);
        }
        Ok(())
    }

    async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = self.context.sql_with_options(sql, options).await.map_err(|e| self.failed(sql, &e))?;
        frame.execute_stream().await.map_err(|e| self.failed(sql, &e))
    }

    fn failed(&self, sql: &str, error: &DataFusionError) -> SqlError {
        let message = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => SqlError::OutOfMemory { limit: self.memory_bytes, message },
            _ => SqlError::Query { sql: sql.into(), message },
        }
    }
}

/// Rows in a batch. Operators hold a few batches each, and a row of documents has a text: so many that batches of texts of
/// some KiB take a sixteenth of a thread's memory, and at most DataFusion's own choice.
fn batch_rows(memory_bytes: usize, threads: usize) -> usize {
    (memory_bytes / threads / (64 << 10)).clamp(64, 8192)
}
