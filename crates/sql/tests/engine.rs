//! Queries over Parquet files: results, memory, errors.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use danlu_sql::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use danlu_sql::arrow::datatypes::{Float64Type, Int64Type};
use danlu_sql::arrow::util::pretty::pretty_format_batches;
use danlu_sql::{Engine, Functions, QueryEngine, SqlError};
use danlu_text::Analysis;
use parquet::arrow::ArrowWriter;

fn table(path: &Path, texts: Vec<String>) -> PathBuf {
    let numbers: ArrayRef = Arc::new((0..texts.len() as i64).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    let batch = RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.into()
}

fn engine(dir: &Path, memory: usize, threads: usize) -> Engine {
    Engine::new(memory, &dir.join("spill"), threads).unwrap()
}

/// The numbers of a table that is written by a query.
fn numbers_of(engine: &QueryEngine, out: &Path) -> Vec<i64> {
    engine.register_parquet("written", out.to_str().unwrap()).unwrap();
    let mut numbers = Vec::new();
    let take = &mut |batch: RecordBatch| {
        numbers.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        Ok::<(), SqlError>(())
    };
    engine.query("SELECT number FROM written", take).unwrap();
    numbers
}

fn small(dir: &Path) -> Engine {
    let engine = engine(dir, 64 << 20, 2);
    let texts = ["春眠不覺曉", "one two three", "a\na\nb", "春眠不覺曉"];
    let path = table(&dir.join("small.parquet"), texts.map(String::from).to_vec());
    engine.register_parquet("documents", &path).unwrap();
    engine
}

#[test]
fn queries_use_the_functions_of_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let engine = small(dir.path());
    let sql = "SELECT number, char_count(text) AS chars, lang(text) AS language, dup_line_ratio(text) AS repeated, \
               dup_ngram_ratio(text, 2) AS grams FROM documents WHERE char_count(text) < 10 ORDER BY number";
    let rows = engine.query(sql).unwrap();
    let expect = "\
+--------+-------+----------+--------------------+-------+
| number | chars | language | repeated           | grams |
+--------+-------+----------+--------------------+-------+
| 0      | 5.0   | zh       | 0.0                | 0.0   |
| 2      | 5.0   | und      | 0.3333333333333333 | 0.0   |
| 3      | 5.0   | zh       | 0.0                | 0.0   |
+--------+-------+----------+--------------------+-------+";
    assert_eq!(pretty_format_batches(&rows).unwrap().to_string(), expect);
    let grouped = engine.query("SELECT text, count(*) AS n FROM documents GROUP BY text HAVING count(*) > 1").unwrap();
    assert_eq!(grouped.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
}

#[test]
fn models_are_functions_too() {
    let dir = tempfile::tempdir().unwrap();
    let functions = Functions::default()
        .with_perplexity(Arc::new(|analysis: &Analysis<'_>| (analysis.text().len() < 10).then_some(7.0)));
    let engine = Engine::with_functions(64 << 20, dir.path(), 1, &functions).unwrap();
    let rows = engine
        .query("SELECT perplexity('short') AS a, perplexity('a longer text') AS b, perplexity(NULL) AS c")
        .unwrap();
    let column = |index: usize| rows[0].column(index).as_primitive::<Float64Type>().iter().next().unwrap();
    assert_eq!([column(0), column(1), column(2)], [Some(7.0), None, None]);
}

#[test]
fn a_result_is_written_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let engine = QueryEngine::Embedded(Box::new(small(dir.path())));
    let out = dir.path().join("out.parquet");
    let rows = engine.write_parquet("SELECT number, text FROM documents ORDER BY text DESC, number", &out).unwrap();
    assert_eq!(rows, 4);
    let bytes = std::fs::read(&out).unwrap();
    engine.write_parquet("SELECT number, text FROM documents ORDER BY text DESC, number", &out).unwrap();
    assert!(bytes == std::fs::read(&out).unwrap(), "the same query gave other bytes");
    assert_eq!(numbers_of(&engine, &out), [0, 3, 1, 2]);
    let none = dir.path().join("none.parquet");
    assert_eq!(engine.write_parquet("SELECT number FROM documents WHERE number > 9", &none).unwrap(), 0);
    assert!(numbers_of(&engine, &none).is_empty(), "a table without rows has its columns");
    assert!(engine.write_parquet("SELECT nothing FROM documents", &dir.path().join("bad.parquet")).is_err());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("bad")), "{left:?}");
}

/// 48 MB are sorted in 16 MB: by spilling, with the same rows on one thread and on two.
#[test]
fn what_does_not_fit_into_memory_is_spilled() {
    let dir = tempfile::tempdir().unwrap();
    let texts = (0..48_000u64).map(|i| format!("{:020}{}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15), "春".repeat(330)));
    let path = table(&dir.path().join("large.parquet"), texts.collect());
    let sorted = |threads: usize, name: &str| {
        let engine = engine(dir.path(), 16 << 20, threads);
        engine.register_parquet("documents", &path).unwrap();
        let (engine, out) = (QueryEngine::Embedded(Box::new(engine)), dir.path().join(name));
        assert_eq!(engine.write_parquet("SELECT * FROM documents ORDER BY text", &out).unwrap(), 48_000);
        numbers_of(&engine, &out)
    };
    let one = sorted(1, "one.parquet");
    let mut all = one.clone();
    all.sort_unstable();
    assert_eq!(all, (0..48_000).collect::<Vec<i64>>());
    assert_eq!(one, sorted(2, "two.parquet"));
}

#[test]
fn errors_are_told_with_the_sql() {
    let dir = tempfile::tempdir().unwrap();
    let engine = small(dir.path());
    for (sql, says) in [
        ("SELECT char_cout(text) FROM documents", "char_cout"),
        ("SELECT txt FROM documents", "txt"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELEC 1", "SELEC"),
        ("DROP TABLE documents", "DDL not supported"),
        ("COPY documents TO '/tmp/x.csv'", "not supported"),
        ("INSERT INTO documents VALUES (1, 'a')", "not supported"),
        ("SELECT dup_ngram_ratio(text) FROM documents", "dup_ngram_ratio(text, n)"),
    ] {
        let error = engine.query(sql).unwrap_err();
        assert!(matches!(error, SqlError::Query { .. }) && error.to_string().contains(says), "{error}");
    }
    let missing = engine.register_parquet("a", &dir.path().join("missing.parquet")).unwrap_err();
    assert!(missing.to_string().contains("missing.parquet") && missing.hint().is_some(), "{missing}");
    std::fs::write(dir.path().join("no.parquet"), "no table").unwrap();
    assert!(engine.register_parquet("b", &dir.path().join("no.parquet")).is_err());
}
