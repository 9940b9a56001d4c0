use rusqlite::{Row, params};
use serde::Serialize;
use serde_json::Value;

use super::{RunDb, from_sql_integer, json_column, to_sql_integer};
use crate::StoreError;
use crate::time::now_rfc3339;

/// A reply to be recorded; the database adds the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewReply {
    /// Unique, as told to the client.
    pub id: String,
    /// The hash of the model that replied: the way back to the artifacts it was made from.
    pub model_hash: String,
    /// For example `/v1/chat/completions`.
    pub endpoint: String,
    /// The request's body.
    pub request: Value,
    pub reply: String,
    /// The sampling settings in force, defaults resolved.
    pub settings: Value,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub finish_reason: Option<String>,
    pub latency_seconds: f64,
}

/// A reply as recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reply {
    pub id: String,
    /// RFC 3339.
    pub time: String,
    pub model_hash: String,
    pub endpoint: String,
    pub request: Value,
    pub reply: String,
    pub settings: Value,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub finish_reason: Option<String>,
    pub latency_seconds: f64,
}

/// What a person said of a reply; at least one field must be set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewFeedback {
    pub reply_id: String,
    /// +1 or -1.
    pub rating: Option<i8>,
    /// What the reply should have been.
    pub correction: Option<String>,
    pub comment: Option<String>,
}

/// Feedback as recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Feedback {
    pub id: i64,
    pub reply_id: String,
    /// RFC 3339.
    pub time: String,
    pub rating: Option<i8>,
    pub correction: Option<String>,
    pub comment: Option<String>,
}

/// A reply with what was said of it: of each kind the last word.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeedbackRow {
    pub reply: Reply,
    /// When the last feedback came.
    pub time: String,
    pub rating: Option<i8>,
    pub correction: Option<String>,
    pub comment: Option<String>,
}

impl RunDb {
    /// Records a served reply.
    pub fn record_reply(&self, reply: &NewReply) -> Result<(), StoreError> {
        self.with(|db| {
            db.prepare_cached(
                "INSERT INTO replies (id, time, model_hash, endpoint, request, reply, settings, prompt_tokens,
                                      completion_tokens, finish_reason, latency_seconds)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                reply.id,
                now_rfc3339(),
                reply.model_hash,
                reply.endpoint,
                reply.request.to_string(),
                reply.reply,
                reply.settings.to_string(),
                to_sql_integer(reply.prompt_tokens),
                to_sql_integer(reply.completion_tokens),
                reply.finish_reason,
                reply.latency_seconds,
            ])
        })?;
        Ok(())
    }

    /// The recorded reply of this id.
    pub fn reply(&self, id: &str) -> Result<Reply, StoreError> {
        let mut found: Vec<Reply> = self.with(|db| {
            let mut statement = db.prepare_cached("SELECT * FROM replies WHERE id = ?1")?;
            statement.query_map([id], read_reply)?.collect()
        })?;
        found.pop().ok_or_else(|| self.reply_not_found(id))
    }

    /// Records feedback on a reply and returns its id.
    pub fn record_feedback(&self, feedback: &NewFeedback) -> Result<i64, StoreError> {
        check(feedback)?;
        let added = self.with(|db| {
            db.prepare_cached(
                "INSERT INTO feedback (reply_id, time, rating, correction, comment)
                 SELECT id, ?2, ?3, ?4, ?5 FROM replies WHERE id = ?1 RETURNING id",
            )?
            .query_map(
                params![feedback.reply_id, now_rfc3339(), feedback.rating, feedback.correction, feedback.comment],
                |row| row.get(0),
            )?
            .collect::<rusqlite::Result<Vec<i64>>>()
        })?;
        added.first().copied().ok_or_else(|| self.reply_not_found(&feedback.reply_id))
    }

    /// Everything said of one reply, in the order in which it came.
    pub fn feedback(&self, reply_id: &str) -> Result<Vec<Feedback>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached("SELECT * FROM feedback WHERE reply_id = ?1 ORDER BY id")?;
            statement.query_map([reply_id], read_feedback)?.collect()
        })
    }

    /// The replies that have feedback, oldest reply first, each with the last rating, correction and comment.
    pub fn feedback_rows(&self) -> Result<Vec<FeedbackRow>, StoreError> {
        self.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT r.*, f.time AS said, f.rating, f.correction, f.comment
                 FROM replies r JOIN feedback f ON f.reply_id = r.id ORDER BY r.time, r.rowid, f.id",
            )?;
            let mut rows: Vec<FeedbackRow> = Vec::new();
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let next = FeedbackRow {
                    reply: read_reply(row)?,
                    time: row.get("said")?,
                    rating: row.get("rating")?,
                    correction: row.get("correction")?,
                    comment: row.get("comment")?,
                };
                match rows.last_mut() {
                    Some(last) if last.reply.id == next.reply.id => merge(last, next),
                    _ => rows.push(next),
                }
            }
            Ok(rows)
        })
    }

    fn reply_not_found(&self, id: &str) -> StoreError {
        StoreError::ReplyNotFound { id: id.to_owned(), path: self.path().to_owned() }
    }
}

fn check(feedback: &NewFeedback) -> Result<(), StoreError> {
    let reason = if feedback.rating.is_some_and(|rating| rating != 1 && rating != -1) {
        "a rating is 1 or -1"
    } else if feedback.rating.is_none() && feedback.correction.is_none() && feedback.comment.is_none() {
        "give a rating, a correction or a comment"
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid { what: "feedback", reason: reason.to_owned() })
}

fn merge(last: &mut FeedbackRow, next: FeedbackRow) {
    last.time = next.time;
    last.rating = next.rating.or(last.rating);
    last.correction = next.correction.or(last.correction.take());
    last.comment = next.comment.or(last.comment.take());
}

fn read_reply(row: &Row<'_>) -> rusqlite::Result<Reply> {
    Ok(Reply {
        id: row.get("id")?,
        time: row.get("time")?,
        model_hash: row.get("model_hash")?,
        endpoint: row.get("endpoint")?,
        request: json_column(row.get("request")?),
        reply: row.get("reply")?,
        settings: json_column(row.get("settings")?),
        prompt_tokens: from_sql_integer(row.get("prompt_tokens")?),
        completion_tokens: from_sql_integer(row.get("completion_tokens")?),
        finish_reason: row.get("finish_reason")?,
        latency_seconds: row.get("latency_seconds")?,
    })
}

fn read_feedback(row: &Row<'_>) -> rusqlite::Result<Feedback> {
    Ok(Feedback {
        id: row.get("id")?,
        reply_id: row.get("reply_id")?,
        time: row.get("time")?,
        rating: row.get("rating")?,
        correction: row.get("correction")?,
        comment: row.get("comment")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn db() -> (tempfile::TempDir, RunDb) {
        let dir = tempfile::tempdir().unwrap();
        let db = RunDb::open(&dir.path().join("danlu.db")).unwrap();
        for id in ["cmpl-1", "cmpl-2", "cmpl-3"] {
            db.record_reply(&reply(id)).unwrap();
        }
        (dir, db)
    }

    fn reply(id: &str) -> NewReply {
        NewReply {
            id: id.into(),
            model_hash: "m".repeat(64),
            endpoint: "/v1/completions".into(),
            request: json!({"prompt": "床前明月光", "max_tokens": 5}),
            reply: "疑是地上霜\0'\"\n".into(),
            settings: json!({"temperature": 0.7}),
            prompt_tokens: 5,
            completion_tokens: 6,
            finish_reason: Some("stop".into()),
            latency_seconds: 0.25,
        }
    }

    fn said(reply_id: &str) -> NewFeedback {
        NewFeedback { reply_id: reply_id.into(), ..NewFeedback::default() }
    }

    #[test]
    fn replies_come_back_as_they_went_in() {
        let (_dir, db) = db();
        let back = db.reply("cmpl-1").unwrap();
        let sent = reply("cmpl-1");
        assert_eq!((&back.request, &back.reply, &back.settings), (&sent.request, &sent.reply, &sent.settings));
        assert_eq!((back.prompt_tokens, back.completion_tokens, back.latency_seconds), (5, 6, 0.25));
        assert!(matches!(db.reply("none"), Err(StoreError::ReplyNotFound { .. })));
        assert!(db.record_reply(&sent).is_err(), "ids are unique");
    }

    #[test]
    fn rows_join_the_reply_with_the_last_word_of_each_kind() {
        let (_dir, db) = db();
        assert!(db.feedback_rows().unwrap().is_empty());
        db.record_feedback(&NewFeedback { rating: Some(1), ..said("cmpl-2") }).unwrap();
        db.record_feedback(&NewFeedback { correction: Some("举头望明月".into()), ..said("cmpl-2") }).unwrap();
        db.record_feedback(&NewFeedback { rating: Some(-1), comment: Some("no".into()), ..said("cmpl-2") }).unwrap();
        db.record_feedback(&NewFeedback { rating: Some(1), ..said("cmpl-1") }).unwrap();
        let rows = db.feedback_rows().unwrap();
        assert_eq!(rows.iter().map(|row| row.reply.id.as_str()).collect::<Vec<_>>(), ["cmpl-1", "cmpl-2"]);
        assert_eq!((rows[0].rating, &rows[0].correction), (Some(1), &None));
        assert_eq!(rows[1].rating, Some(-1));
        assert_eq!(rows[1].correction.as_deref(), Some("举头望明月"));
        assert_eq!(rows[1].comment.as_deref(), Some("no"));
        assert_eq!(rows[1].reply, db.reply("cmpl-2").unwrap());
        assert_eq!(db.feedback("cmpl-2").unwrap().len(), 3);
    }

    #[test]
    fn bad_feedback_is_refused() {
        let (_dir, db) = db();
        assert!(matches!(db.record_feedback(&said("cmpl-1")), Err(StoreError::Invalid { .. })));
        for rating in [0, 2, -2] {
            assert!(db.record_feedback(&NewFeedback { rating: Some(rating), ..said("cmpl-1") }).is_err());
        }
        let stray = NewFeedback { rating: Some(1), ..said("none") };
        assert!(matches!(db.record_feedback(&stray), Err(StoreError::ReplyNotFound { .. })));
        assert!(db.feedback_rows().unwrap().is_empty());
    }
}
