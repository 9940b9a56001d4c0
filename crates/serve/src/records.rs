//! Replies and feedback on their way into the run database, on a thread of their own: neither the
//! engine nor the HTTP side waits for the disk.
//!
//! One channel carries both, in order, so that feedback always finds the reply it is about.

use std::{sync::Arc, thread::JoinHandle};

use danlu_store::{NewFeedback, NewReply, RunDb, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::{ServeError, metrics::Metrics};

/// Records that may wait for the disk; a slow disk then slows down the ends of replies, but loses none.
const WAITING: usize = 1024;

enum Record {
    Reply(Box<NewReply>),
    Feedback(NewFeedback, oneshot::Sender<Result<i64, StoreError>>),
}

/// The HTTP side's end. The thread ends when all clones are dropped.
#[derive(Clone)]
pub(crate) struct Recorder(mpsc::Sender<Record>);

/// Why feedback was not stored.
pub(crate) enum FeedbackError {
    Store(StoreError),
    /// The recording thread is gone.
    Stopped,
}

impl Recorder {
    pub fn start(db: RunDb, metrics: Arc<Metrics>) -> Result<(Self, JoinHandle<()>), ServeError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("danlu-records".into())
            .spawn(move || write(&db, receiver, &metrics))
            .map_err(|cause| ServeError::Start { what: "the thread that stores replies", cause })?;
        Ok((Self(sender), thread))
    }

    /// Stores replies; waits only while very many are waiting already.
    pub async fn replies(&self, replies: Vec<NewReply>) {
        for reply in replies {
            if self.0.send(Record::Reply(Box::new(reply))).await.is_err() {
                tracing::error!("a reply was not stored: the recording thread is gone");
            }
        }
    }

    /// The same where nothing can wait, as when a client has left; with a full channel the record is lost, and said so.
    pub fn replies_now(&self, replies: Vec<NewReply>, metrics: &Metrics) {
        for reply in replies {
            if self.0.try_send(Record::Reply(Box::new(reply))).is_err() {
                metrics.records_failed.add(1);
                tracing::error!("an unfinished reply was not stored: too many wait to be");
            }
        }
    }

    pub async fn feedback(&self, feedback: NewFeedback) -> Result<i64, FeedbackError> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Record::Feedback(feedback, sender)).await.map_err(|_| FeedbackError::Stopped)?;
        receiver.await.map_err(|_| FeedbackError::Stopped)?.map_err(FeedbackError::Store)
    }
}

fn write(db: &RunDb, mut records: mpsc::Receiver<Record>, metrics: &Metrics) {
    while let Some(record) = records.blocking_recv() {
        match record {
            Record::Reply(reply) => match db.record_reply(&reply) {
                Ok(()) => metrics.replies_recorded.add(1),
                Err(error) => {
                    metrics.records_failed.add(1);
                    tracing::error!(id = %reply.id, %error, "a reply was not stored");
                }
            },
            // The client may have left; the feedback counts all the same.
            Record::Feedback(feedback, answer) => drop(answer.send(db.record_feedback(&feedback))),
        }
    }
}
