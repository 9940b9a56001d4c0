use super::{RunDb, from_sql_integer, to_sql_integer};
use crate::StoreError;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricRow {
    pub step: u64,
    pub name: std::sync::Arc<str>,
    pub value: f64,
    /// Seconds since the Unix epoch.
    pub time: f64,
}

impl RunDb {
    /// Writes the rows in one transaction; a value already there for the same series, name and step is replaced, so that
    /// steps taken again after a resume are counted once.
    pub(crate) fn write_metrics(&self, series: &str, rows: &[MetricRow]) -> Result<(), StoreError> {
        self.with(|db| {
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut statement = transaction.prepare_cached(
                "INSERT INTO metrics (series, name, step, value, time) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (series, name, step) DO UPDATE SET value = excluded.value, time = excluded.time",
            )?;
            for row in rows {
                let value = (!row.value.is_nan()).then_some(row.value);
                statement.execute((series, &*row.name, to_sql_integer(row.step), value, row.time))?;
            }
            drop(statement);
            transaction.commit()
        })
    }

    /// The values of one metric as (step, value) in order of steps; NaN where the value was not a number.
    pub fn metrics(&self, series: &str, name: &str) -> Result<Vec<(u64, f64)>, StoreError> {
        self.with(|db| {
            let mut statement =
                db.prepare_cached("SELECT step, value FROM metrics WHERE series = ?1 AND name = ?2 ORDER BY step")?;
            statement
                .query_map([series, name], |row| {
                    let value: Option<f64> = row.get(1)?;
                    Ok((from_sql_integer(row.get(0)?), value.unwrap_or(f64::NAN)))
                })?
                .collect()
        })
    }

    /// The names of the metrics of a series, in alphabetical order.
    pub fn metric_names(&self, series: &str) -> Result<Vec<String>, StoreError> {
        self.with(|db| {
            let mut statement =
                db.prepare_cached("SELECT DISTINCT name FROM metrics WHERE series = ?1 ORDER BY name")?;
            statement.query_map([series], |row| row.get(0))?.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_replaced_and_sorted_and_odd_values_survive() {
        let dir = tempfile::tempdir().unwrap();
        let db = RunDb::open(&dir.path().join("danlu.db")).unwrap();
        let row = |step, name: &str, value| MetricRow { step, name: name.into(), value, time: 1.0 };
        db.write_metrics("s", &[row(20, "loss", 2.0), row(3, "loss", f64::NAN), row(3, "lr", f64::INFINITY)]).unwrap();
        db.write_metrics("s", &[row(20, "loss", 1.5)]).unwrap();
        db.write_metrics("other", &[row(1, "loss", 9.0)]).unwrap();
        let loss = db.metrics("s", "loss").unwrap();
        assert_eq!(loss.iter().map(|p| p.0).collect::<Vec<_>>(), [3, 20]);
        assert!(loss[0].1.is_nan());
        assert_eq!(loss[1].1, 1.5);
        assert_eq!(db.metrics("s", "lr").unwrap(), [(3, f64::INFINITY)]);
        assert_eq!(db.metric_names("s").unwrap(), ["loss", "lr"]);
        assert!(db.metrics("s", "none").unwrap().is_empty());
    }
}
