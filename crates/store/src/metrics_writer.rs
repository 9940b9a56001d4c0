use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::database::{MetricRow, RunDb};
use crate::tensorboard::EventWriter;
use crate::time::unix_seconds;
use crate::{StoreError, tensorboard};

/// Rows wait at most this long for company before they are written in one transaction.
const BATCH_TIME: Duration = Duration::from_millis(250);

/// ... and at most so many gather.
const BATCH_ROWS: usize = 4096;

/// Takes metrics from a training loop to the run database and to TensorBoard, on a thread of its own.
///
/// [`MetricsWriter::log`] only hands the values over and never waits for the disk. While the database cannot be written
/// (busy, disk full), rows are kept in memory and tried again; [`MetricsWriter::finish`] tells whether all of them arrived.
/// Dropping the writer writes what is pending too, but can only log an error.
#[derive(Debug)]
pub struct MetricsWriter {
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

#[derive(Debug)]
enum Message {
    Values { step: u64, time: f64, values: Vec<(String, f64)> },
    Flush(Sender<Result<(), StoreError>>),
}

impl MetricsWriter {
    /// Opens the database and, where given, a new event file in `tensorboard_dir`. `series` is the artifact's key.
    pub fn start(db_path: &Path, series: &str, tensorboard_dir: Option<&Path>) -> Result<Self, StoreError> {
        let database = RunDb::open(db_path)?;
        let events = tensorboard_dir.map(tensorboard::EventWriter::create).transpose()?;
        let worker = Worker {
            database,
            series: series.to_owned(),
            curves: events.map(Curves::new),
            names: HashSet::new(),
            pending: Vec::new(),
            complained: false,
            curves_error: None,
        };
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|source| StoreError::io("start the thread that writes", db_path, source))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Hands over the values measured at `step`. Names are curves as TensorBoard shows them: `train/loss`.
    ///
    /// Steps do not decrease, except after a return to an older checkpoint: values logged then replace the old ones.
    pub fn log(&self, step: u64, values: &[(&str, f64)]) {
        let values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        if let Some(sender) = &self.sender {
            // A send fails only when the thread has died; `finish` reports that.
            let _ = sender.send(Message::Values { step, time: unix_seconds(), values });
        }
    }

    /// Waits until everything logged so far is written, as before a checkpoint is published.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = mpsc::channel();
        let Some(sender) = &self.sender else { return Err(StoreError::WriterGone) };
        // A failed send drops `reply`, which ends the wait below.
        let _ = sender.send(Message::Flush(reply));
        answer.recv().unwrap_or(Err(StoreError::WriterGone))
    }

    /// Writes what is pending and ends the thread. An error says that some values did not arrive.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.close()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        drop(self.sender.take());
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(StoreError::WriterGone)),
            None => Ok(()),
        }
    }
}

impl Drop for MetricsWriter {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "some metrics were not written");
        }
    }
}

struct Worker {
    database: RunDb,
    series: String,
    curves: Option<Curves>,
    names: HashSet<Arc<str>>,
    pending: Vec<MetricRow>,
    complained: bool,
    curves_error: Option<StoreError>,
}

impl Worker {
    fn run(mut self, receiver: &Receiver<Message>) -> Result<(), StoreError> {
        while let Ok(message) = receiver.recv() {
            self.take(message);
            let deadline = Instant::now() + BATCH_TIME;
            while self.pending.len() < BATCH_ROWS {
                match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(message) => self.take(message),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            // What fails here stays pending for the next round.
            let _ = self.write();
        }
        self.write()?;
        self.curves_error.take().map_or(Ok(()), Err)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Values { step, time, values } => {
                for (name, value) in values {
                    let name = self.name(&name);
                    self.pending.push(MetricRow { step, name, value, time });
                }
            }
            Message::Flush(reply) => {
                // The asker may have gone.
                let _ = reply.send(self.write());
            }
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        match self.names.get(name) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = name.into();
                self.names.insert(new.clone());
                new
            }
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.database.write_metrics(&self.series, &self.pending) {
            if !self.complained {
                tracing::warn!(%error, hint = error.hint(), "metrics wait in memory");
            }
            self.complained = true;
            return Err(error);
        }
        self.complained = false;
        let rows = std::mem::take(&mut self.pending);
        if let Some(curves) = &mut self.curves
            && let Err(error) = curves.write(&rows)
        {
            // After a torn record TensorBoard reads no further, so the file is given up; the database has everything.
            tracing::warn!(%error, "no more TensorBoard events in this run");
            self.curves = None;
            self.curves_error = Some(error);
        }
        Ok(())
    }
}

/// The event file, and the steps by which a return to an older step is seen.
struct Curves {
    events: EventWriter,
    last_step: Option<u64>,
}

impl Curves {
    fn new(events: EventWriter) -> Self {
        Self { events, last_step: None }
    }

    fn write(&mut self, rows: &[MetricRow]) -> Result<(), StoreError> {
        for row in rows {
            let went_back = match self.last_step {
                None => self.events.resumes(),
                Some(last) => row.step < last,
            };
            if went_back {
                self.events.purge(row.step, row.time)?;
            }
            self.last_step = Some(row.step);
            self.events.scalar(&row.name, row.step, row.value, row.time)?;
        }
        self.events.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finish_and_drop_write_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        let writer = MetricsWriter::start(&path, "key", Some(&dir.path().join("tb"))).unwrap();
        for step in 1..=10_000 {
            writer.log(step, &[("train/loss", 1.0 / step as f64), ("train/lr", 0.1)]);
        }
        writer.finish().unwrap();
        let db = RunDb::open(&path).unwrap();
        assert_eq!(db.metrics("key", "train/loss").unwrap().len(), 10_000);
        assert_eq!(db.metrics("key", "train/lr").unwrap().len(), 10_000);

        let writer = MetricsWriter::start(&path, "dropped", None).unwrap();
        writer.log(1, &[("a", 1.0)]);
        drop(writer);
        assert_eq!(db.metrics("dropped", "a").unwrap(), [(1, 1.0)]);
    }

    #[test]
    fn flush_makes_values_visible() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        let writer = MetricsWriter::start(&path, "key", None).unwrap();
        writer.flush().unwrap();
        writer.log(5, &[("loss", 2.0)]);
        writer.flush().unwrap();
        assert_eq!(RunDb::open(&path).unwrap().metrics("key", "loss").unwrap(), [(5, 2.0)]);
    }

    #[test]
    fn logging_does_not_wait_for_a_locked_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        let writer = MetricsWriter::start(&path, "key", None).unwrap();
        let mut other = rusqlite::Connection::open(&path).unwrap();
        let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).unwrap();
        // With the database locked, 1000 calls return; they would wait for ever if they waited for the lock.
        for step in 0..1000 {
            writer.log(step, &[("loss", 1.0)]);
        }
        drop(lock);
        writer.finish().unwrap();
        assert_eq!(RunDb::open(&path).unwrap().metrics("key", "loss").unwrap().len(), 1000);
    }

    #[test]
    fn two_writers_share_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("danlu.db");
        std::thread::scope(|scope| {
            for series in ["a", "b", "c"] {
                let path = &path;
                scope.spawn(move || {
                    let writer = MetricsWriter::start(path, series, None).unwrap();
                    for step in 0..500 {
                        writer.log(step, &[("loss", step as f64)]);
                        if step % 100 == 0 {
                            writer.flush().unwrap();
                        }
                    }
                    writer.finish().unwrap();
                });
            }
        });
        let db = RunDb::open(&path).unwrap();
        for series in ["a", "b", "c"] {
            assert_eq!(db.metrics(series, "loss").unwrap().len(), 500);
        }
    }
}
