//! The page at `/` and its parts, all in the binary.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};

use crate::app::App;

/// The page may load and call this server only, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<Arc<App>> {
    let asset = |kind: &'static str, text: &'static str| get(async move || serve(kind, text));
    let script = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", asset("text/html; charset=utf-8", include_str!("../../../web/index.html")))
        .route("/assets/style.css", asset("text/css; charset=utf-8", include_str!("../../../web/style.css")))
        .route("/assets/app.js", asset(script, include_str!("../../../web/app.js")))
        .route("/assets/api.js", asset(script, include_str!("../../../web/api.js")))
        .route("/assets/words.js", asset(script, include_str!("../../../web/words.js")))
        .route("/favicon.ico", asset("image/svg+xml", include_str!("../../../web/icon.svg")))
        .route("/assets/icon.svg", asset("image/svg+xml", include_str!("../../../web/icon.svg")))
}

fn serve(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // The binary and its page change together.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
