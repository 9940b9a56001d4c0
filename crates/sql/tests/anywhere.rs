//! One SQL text gives the same rows in DataFusion and in Sail. (With a Spark cluster: danlu-data's `engines.rs`.)
#![cfg(feature = "spark")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use danlu_sql::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use danlu_sql::arrow::util::pretty::pretty_format_batches;
use danlu_sql::{QueryEngine, SqlError};
use danlu_testing::{Sail, skip};
use parquet::arrow::ArrowWriter;

/// Two tables: numbered texts, two of them missing, and marks for some numbers.
fn tables(dir: &Path) -> [(&'static str, PathBuf); 2] {
    let texts = (0..200).map(|i| (i % 50 != 7).then(|| format!("text {} 春", i % 30)));
    let numbers: ArrayRef = Arc::new((0..200).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
    let marked: ArrayRef = Arc::new((0..200).step_by(3).collect::<Int64Array>());
    let marks: ArrayRef = Arc::new((0..67).map(|i| i * i % 10).collect::<Int64Array>());
    let write = |name: &'static str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let path = dir.join(format!("{name}.parquet"));
        let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        (name, path)
    };
    [
        write("documents", vec![("number", numbers), ("text", texts)]),
        write("marks", vec![("doc", marked), ("mark", marks)]),
    ]
}

/// What a global step may be made of: groups, joins, windows, filters, unions, NULL.
const QUERIES: [&str; 6] = [
    "SELECT text, COUNT(*) AS n, MIN(number) AS first FROM documents GROUP BY text HAVING COUNT(*) > 1 ORDER BY first",
    "SELECT d.number, m.mark FROM documents d JOIN marks m ON d.number = m.doc WHERE m.mark > 4 ORDER BY d.number",
    "SELECT d.number, COALESCE(m.mark, -1) AS mark FROM documents d LEFT JOIN marks m ON d.number = m.doc \
     WHERE d.text IS NULL ORDER BY d.number",
    "SELECT number, place FROM (SELECT number, ROW_NUMBER() OVER (PARTITION BY text ORDER BY number) AS place \
     FROM documents) t WHERE place > 6 ORDER BY number",
    "WITH n AS (SELECT doc AS a, mark AS b FROM marks UNION ALL SELECT mark, doc FROM marks) \
     SELECT a, LEAST(a, MIN(b)) AS least FROM n GROUP BY a ORDER BY a",
    "SELECT COUNT(*) FILTER (WHERE mark > 4) AS high, SUM(mark) AS total FROM marks",
];

fn answers(engine: &QueryEngine, tables: &[(&'static str, PathBuf)]) -> Vec<String> {
    for (name, path) in tables {
        engine.register_parquet(name, path.to_str().unwrap()).unwrap();
    }
    let answer = |sql: &&str| {
        let mut batches = Vec::new();
        let taken = engine.query(sql, &mut |batch| {
            batches.push(batch);
            Ok::<(), SqlError>(())
        });
        taken.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    };
    QUERIES.iter().map(answer).collect()
}

#[test]
fn sail_answers_as_datafusion_does() {
    let sail = match Sail::start() {
        Ok(sail) => sail,
        Err(reason) => return skip("sail_answers_as_datafusion_does", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    let tables = tables(dir.path());
    let open = |name: &str| QueryEngine::open(name, 64 << 20, &dir.path().join("spill"), 2).unwrap();
    let here = answers(&open("datafusion"), &tables);
    assert!(here.iter().all(|answer| answer.lines().count() > 4), "{here:?}");
    let there = open(&sail.address());
    assert_eq!(answers(&there, &tables), here);
    // A table is replaced by one of the same name.
    there.register_parquet("marks", tables[0].1.to_str().unwrap()).unwrap();
    let mut rows = 0;
    let count = &mut |batch: RecordBatch| {
        rows += batch.num_rows();
        Ok::<(), SqlError>(())
    };
    there.query("SELECT text FROM marks", count).unwrap();
    assert_eq!(rows, 200);
}

#[test]
fn errors_of_a_cluster_name_the_query_and_the_server() {
    let sail = match Sail::start() {
        Ok(sail) => sail,
        Err(reason) => return skip("errors_of_a_cluster_name_the_query_and_the_server", &reason),
    };
    let dir = tempfile::tempdir().unwrap();
    let engine = QueryEngine::open(&sail.address(), 64 << 20, dir.path(), 2).unwrap();
    let ask = |sql: &str| engine.query(sql, &mut |_| Ok::<(), SqlError>(())).err().unwrap().to_string();
    let error = ask("SELECT colour FROM nowhere");
    assert!(error.contains("nowhere") && error.contains(&sail.address()), "{error}");
    // Who takes the rows may end the query, with an error of its own.
    let full = SqlError::NoEngine { name: "full".into() };
    let mut full = Some(full);
    let stopped = engine.query("SELECT 1 AS one", &mut |_| full.take().map_or(Ok(()), Err));
    assert!(matches!(stopped, Err(SqlError::NoEngine { .. })));
    // The server dies.
    drop(sail);
    let error = engine.query("SELECT 1 AS one", &mut |_| Ok::<(), SqlError>(())).err().unwrap();
    assert!(error.to_string().contains("lost the Spark Connect server"), "{error}");
    assert!(error.hint().unwrap().contains("again"));
}
