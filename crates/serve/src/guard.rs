//! Who may call: API keys, and a stance against foreign web pages.
//!
//! A page of another site that is open in a browser on this machine can send requests to
//! `127.0.0.1`. Two checks keep it from driving the server:
//! - a request with an `Origin` must come from the page that this server itself gives out (origin
//!   and `Host` agree) or from one of `allowed_origins`; no other page gets leave by CORS;
//! - where no API key is asked for, `Host` must be an address, `localhost` or one of
//!   `allowed_hosts`: a foreign name that was made to point here (DNS rebinding) is refused.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    ServeConfig,
    api_error::{ApiError, shorten},
    app::App,
};

/// Asks for `Authorization: Bearer KEY` where keys are configured.
pub(crate) async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.keys.is_empty() || has_key(request.headers(), &app.keys) {
        return next.run(request).await;
    }
    let message = "Incorrect or missing API key. Send it as `Authorization: Bearer KEY`.";
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message).with_code("invalid_api_key");
    let mut response = error.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Compares in a time that depends neither on the keys nor on how much of one was guessed: digests
/// are compared (blake3's `==` takes constant time), and always all of them.
fn has_key(headers: &HeaderMap, keys: &[blake3::Hash]) -> bool {
    let value = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let key = match value.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => return false,
    };
    let digest = blake3::hash(key);
    keys.iter().fold(false, |found, known| found | (*known == digest))
}

/// Refuses foreign origins and hosts; answers the preflights of allowed origins.
pub(crate) async fn check_caller(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Err(error) = check_host(headers, request.uri().authority(), &app.config, app.keys.is_empty()) {
        return error.into_response();
    }
    let origin = headers.get(header::ORIGIN).cloned();
    let Some(origin) = origin else { return next.run(request).await };
    let allowed = is_listed(&origin, &app.config.allowed_origins);
    if !allowed && !is_own(&origin, headers) {
        let message = format!(
            "Web pages of {} may not call this server; its operator can allow them (allowed_origins).",
            shorten(&String::from_utf8_lossy(origin.as_bytes()))
        );
        return forbidden(message, "origin_not_allowed").into_response();
    }
    let preflight = request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if allowed {
        grant(&mut response, origin);
    }
    response
}

fn forbidden(message: String, code: &'static str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "invalid_request_error", message).with_code(code)
}

fn check_host(
    headers: &HeaderMap,
    authority: Option<&Authority>,
    config: &ServeConfig,
    keyless: bool,
) -> Result<(), ApiError> {
    if !keyless {
        return Ok(());
    }
    let from_header = || headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    // HTTP/1.0 clients may send none; no browser is among them.
    if authority.is_none() && !headers.contains_key(header::HOST) {
        return Ok(());
    }
    let authority = authority.cloned().or_else(from_header);
    let name = authority.as_ref().map(|authority| authority.host().trim_matches(['[', ']'])).unwrap_or_default();
    let known = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || name.eq_ignore_ascii_case(&config.host)
        || config.allowed_hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    let name = shorten(name);
    let message =
        format!("This server does not answer to the name `{name}`; its operator can allow it (allowed_hosts).");
    Err(forbidden(message, "host_not_allowed"))
}

fn is_listed(origin: &HeaderValue, allowed: &[String]) -> bool {
    allowed.iter().any(|one| one.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Whether the page came from this server: its origin is the host that it asks.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), headers.get(header::HOST).map(HeaderValue::to_str)) else {
        return false;
    };
    // A proxy in front may speak https, so that the scheme says nothing.
    let bare = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
}

fn grant(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-reply-id, retry-after"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Counts every response and adds what all of them carry.
pub(crate) async fn finish_response(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (method, path, began) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let mut response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), seconds = began.elapsed().as_secs_f64());
    app.metrics.responded(response.status().as_u16());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_whole_keys_pass() {
        let keys = [blake3::hash(b"first"), blake3::hash(b"second")];
        let check = |value: &str, passes: bool| {
            assert_eq!(has_key(&headers(&[("authorization", value)]), &keys), passes, "{value:?}");
        };
        check("Bearer first", true);
        check("bearer second ", true);
        for bad in ["Bearer ", "Bearer firs", "Bearer first2", "Basic first", "first", "Bearer first,second", ""] {
            check(bad, false);
        }
        assert!(!has_key(&HeaderMap::new(), &keys));
    }

    #[test]
    fn foreign_hosts_are_refused_where_no_key_protects() {
        let config = ServeConfig { allowed_hosts: vec!["models.example".into()], ..ServeConfig::default() };
        let check = |host: &str, keyless: bool, passes: bool| {
            let headers = headers(&[("host", host)]);
            assert_eq!(check_host(&headers, None, &config, keyless).is_ok(), passes, "{host:?}");
        };
        for good in ["localhost:8080", "127.0.0.1", "[::1]:8080", "192.168.1.7:80", "models.example"] {
            check(good, true, true);
        }
        for bad in ["evil.example:8080", "localhost.evil.example", "", "a b", "127.0.0.1.evil.example"] {
            check(bad, true, false);
            check(bad, false, true);
        }
    }

    #[test]
    fn only_own_and_listed_origins_pass() {
        let own =
            |origin: &str, host: &str| is_own(&HeaderValue::from_str(origin).unwrap(), &headers(&[("host", host)]));
        assert!(own("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(own("https://models.example", "models.example"));
        assert!(!own("http://127.0.0.1:9090", "127.0.0.1:8080"));
        assert!(!own("http://evil.example", "127.0.0.1:8080"));
        assert!(!own("null", "127.0.0.1:8080"));
        let listed =
            |origin: &str| is_listed(&HeaderValue::from_str(origin).unwrap(), &["https://app.example/".into()]);
        assert!(listed("https://app.example"));
        assert!(!listed("https://app.example.evil.example"));
    }
}
