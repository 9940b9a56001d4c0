//! `POST /v1/feedback`: what a person says of a reply.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use danlu_store::{NewFeedback, StoreError};
use serde_json::{Value, json};

use crate::{
    api_error::{ApiError, shorten},
    app::{App, read_body},
    params::{Params, wrong_type},
    records::FeedbackError,
};

/// Takes `{"reply_id", "choice"?, "rating"?, "correction"?, "comment"?}`; at least one of the last three.
pub(crate) async fn receive(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let body = read_body(request, &app.config).await?;
    let feedback = parse(&body)?;
    let Some(recorder) = &app.recorder else {
        let message = "This server stores no feedback: it was started without a run database.";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "invalid_request_error", message));
    };
    let reply_id = feedback.reply_id.clone();
    let seen = feedback.clone();
    let id = recorder.feedback(feedback).await.map_err(|error| explain(&reply_id, error))?;
    count(&app, &seen);
    Ok(Json(json!({"object": "feedback", "id": id, "reply_id": reply_id})))
}

fn parse(body: &[u8]) -> Result<NewFeedback, ApiError> {
    let mut params = Params::parse(body)?;
    let reply_id = params.string("reply_id")?.ok_or_else(|| ApiError::param("reply_id", "`reply_id` is missing."))?;
    let choice = params.integer("choice", 0..=1_000_000)?.unwrap_or(0);
    let feedback = NewFeedback {
        reply_id: if choice == 0 { reply_id } else { format!("{reply_id}:{choice}") },
        rating: params.take("rating").map(|value| read_rating(&value)).transpose()?,
        correction: params.string("correction")?,
        comment: params.string("comment")?,
    };
    params.finish()?;
    if feedback.rating.is_none() && feedback.correction.is_none() && feedback.comment.is_none() {
        return Err(ApiError::param("rating", "Give at least one of `rating`, `correction` and `comment`."));
    }
    Ok(feedback)
}

fn read_rating(value: &Value) -> Result<i8, ApiError> {
    match (value.as_i64(), value.as_str()) {
        (Some(1), _) | (_, Some("up")) => Ok(1),
        (Some(-1), _) | (_, Some("down")) => Ok(-1),
        _ => Err(wrong_type("rating", "1, -1, \"up\" or \"down\"", value)),
    }
}

fn explain(reply_id: &str, error: FeedbackError) -> ApiError {
    match error {
        FeedbackError::Store(StoreError::ReplyNotFound { .. }) => {
            let message = format!("There is no reply with the id `{}`.", shorten(reply_id));
            ApiError::not_found(message).with_param("reply_id").with_code("reply_not_found")
        }
        FeedbackError::Store(error) => {
            tracing::error!(%error, "feedback was not stored");
            ApiError::server("The feedback could not be stored; see the server's log.")
        }
        FeedbackError::Stopped => ApiError::shutting_down(),
    }
}

fn count(app: &App, feedback: &NewFeedback) {
    match feedback.rating {
        Some(1) => app.metrics.thumbs_up.add(1),
        Some(_) => app.metrics.thumbs_down.add(1),
        None => {}
    }
    app.metrics.corrections.add(feedback.correction.is_some().into());
    app.metrics.comments.add(feedback.comment.is_some().into());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ratings_and_choices_are_read() {
        let feedback = parse(br#"{"reply_id": "cmpl-1", "rating": "down", "choice": 2}"#).unwrap();
        assert_eq!((feedback.reply_id.as_str(), feedback.rating), ("cmpl-1:2", Some(-1)));
        let feedback = parse(r#"{"reply_id": "cmpl-1", "correction": "春"}"#.as_bytes()).unwrap();
        assert_eq!((feedback.rating, feedback.correction.as_deref()), (None, Some("春")));
    }

    #[test]
    fn bad_feedback_names_its_parameter() {
        let check = |body: &str, param: &str| {
            assert_eq!(parse(body.as_bytes()).unwrap_err().param.as_deref(), Some(param), "{body}");
        };
        check(r#"{"rating": 1}"#, "reply_id");
        check(r#"{"reply_id": "a"}"#, "rating");
        check(r#"{"reply_id": "a", "rating": 2}"#, "rating");
        check(r#"{"reply_id": "a", "rating": 1, "choice": -1}"#, "choice");
        check(r#"{"reply_id": "a", "rating": 1, "stars": 5}"#, "stars");
    }
}
