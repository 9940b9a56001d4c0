//! What an operator may set, with every default in one place.

use burn::tensor::Device;
use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ServeError;

/// A bearer token that clients must present. Never printed: `Debug` and `Serialize` show `***`.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct ApiKey(String);

impl ApiKey {
    /// The digest that requests are compared with, so that keys of every length compare alike.
    pub(crate) fn digest(&self) -> blake3::Hash {
        blake3::hash(self.0.as_bytes())
    }
}

impl<S: Into<String>> From<S> for ApiKey {
    fn from(key: S) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ApiKey(***)")
    }
}

impl Serialize for ApiKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("***")
    }
}

/// How a model is served. Times are in seconds, sizes in bytes, lengths in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// Where the model lives; the CPU by default. Not a setting of files: the caller chooses it.
    #[serde(skip)]
    pub device: Device,
    /// Address to listen on. Only this machine by default.
    pub host: String,
    /// Port to listen on; 0 asks the system for a free one.
    pub port: u16,
    /// Name under which the model is listed; the model folder's name if absent.
    pub model_name: Option<String>,
    /// Keys that clients may present as `Authorization: Bearer KEY`. None at all: no key is asked for.
    pub api_keys: Vec<ApiKey>,
    /// Name of an environment variable that holds one more key.
    pub api_key_env: Option<String>,
    /// A file with one more key on each line; empty lines and lines beginning with `#` are skipped.
    pub api_key_file: Option<PathBuf>,
    /// Host names (besides `localhost` and plain addresses) under which browsers may reach the server.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://example.org`) of other web pages that may call the server from a browser.
    pub allowed_origins: Vec<String>,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Largest `max_tokens` of a request.
    pub max_tokens: usize,
    /// Largest number of replies in one request (prompts × `n`).
    pub max_choices: usize,
    /// Sequences decoded together in one step.
    pub max_batch: usize,
    /// Sequences that may wait for a place in the batch; beyond it requests get 429.
    pub max_queue: usize,
    /// Prompt tokens read in one step before the running sequences get their next token.
    pub prefill_chunk: usize,
    /// Open connections; beyond it the longest idle one is closed.
    pub max_connections: usize,
    /// Longest life of a request, waiting included.
    pub request_timeout_seconds: f64,
    /// Longest time to send a request's head, and longest idle time of a connection.
    pub header_timeout_seconds: f64,
    /// Longest time to send a request's body.
    pub body_timeout_seconds: f64,
    /// Longest time a client may leave a reply unread.
    pub write_timeout_seconds: f64,
    /// Longest wait for running replies at shutdown.
    pub shutdown_timeout_seconds: f64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            device: Device::flex(),
            host: "127.0.0.1".into(),
            port: 8080,
            model_name: None,
            api_keys: Vec::new(),
            api_key_env: None,
            api_key_file: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_body_bytes: 1 << 20,
            max_tokens: 4096,
            max_choices: 16,
            max_batch: 16,
            max_queue: 64,
            prefill_chunk: 128,
            max_connections: 512,
            request_timeout_seconds: 600.0,
            header_timeout_seconds: 30.0,
            body_timeout_seconds: 30.0,
            write_timeout_seconds: 30.0,
            shutdown_timeout_seconds: 60.0,
        }
    }
}

impl ServeConfig {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`ServeError::Config`] names the first key whose value cannot work.
    pub fn validate(&self) -> Result<(), ServeError> {
        let sizes = [
            ("max_body_bytes", self.max_body_bytes),
            ("max_tokens", self.max_tokens),
            ("max_choices", self.max_choices),
            ("max_batch", self.max_batch),
            ("prefill_chunk", self.prefill_chunk),
            ("max_connections", self.max_connections),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, value)| *value == 0) {
            return Err(ServeError::Config { key, reason: "must be at least 1".into() });
        }
        let times = [
            ("request_timeout_seconds", self.request_timeout_seconds),
            ("header_timeout_seconds", self.header_timeout_seconds),
            ("body_timeout_seconds", self.body_timeout_seconds),
            ("write_timeout_seconds", self.write_timeout_seconds),
            ("shutdown_timeout_seconds", self.shutdown_timeout_seconds),
        ];
        // A year is far beyond use and far within what `Duration` and `Instant` can hold.
        let usable = |seconds: f64| seconds > 0.0 && seconds <= 31_536_000.0;
        if let Some((key, value)) = times.iter().find(|(_, value)| !usable(*value)) {
            let reason = format!("is {value}, but must be more than 0 and at most a year");
            return Err(ServeError::Config { key, reason });
        }
        Ok(())
    }

    /// Every accepted key: from the list, the environment variable and the file.
    pub(crate) fn resolve_api_keys(&self) -> Result<Vec<ApiKey>, ServeError> {
        let mut keys = self.api_keys.clone();
        if let Some(name) = &self.api_key_env {
            let value = std::env::var(name).unwrap_or_default();
            if value.trim().is_empty() {
                let reason = format!("names the variable {name}, which is not set or empty");
                return Err(ServeError::Config { key: "api_key_env", reason });
            }
            keys.push(ApiKey::from(value.trim()));
        }
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read_to_string(path).map_err(|cause| ServeError::Read { path: path.clone(), cause })?;
            let before = keys.len();
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            keys.extend(lines.map(ApiKey::from));
            if keys.len() == before {
                let reason = format!("names {}, which holds no key", path.display());
                return Err(ServeError::Config { key: "api_key_file", reason });
            }
        }
        if keys.iter().any(|key| key.0.is_empty()) {
            return Err(ServeError::Config { key: "api_keys", reason: "holds an empty key".into() });
        }
        Ok(keys)
    }

    /// Whether only programs of this machine can reach the server.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.request_timeout_seconds)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_never_shown() {
        let config = ServeConfig { api_keys: vec!["hush".into()], ..ServeConfig::default() };
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
    }

    #[test]
    fn keys_come_from_list_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "# staff\n one \n\ntwo\n").unwrap();
        let config = ServeConfig { api_keys: vec!["zero".into()], api_key_file: Some(path), ..ServeConfig::default() };
        let expected: Vec<ApiKey> = ["zero", "one", "two"].map(ApiKey::from).into();
        assert_eq!(config.resolve_api_keys().unwrap(), expected);
    }

    #[test]
    fn a_key_source_without_a_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "# nobody\n").unwrap();
        let file = ServeConfig { api_key_file: Some(path), ..ServeConfig::default() };
        assert!(file.resolve_api_keys().is_err());
        let variable = ServeConfig { api_key_env: Some("DANLU_NO_SUCH_VARIABLE".into()), ..ServeConfig::default() };
        assert!(variable.resolve_api_keys().is_err());
        let empty = ServeConfig { api_keys: vec!["".into()], ..ServeConfig::default() };
        assert!(empty.resolve_api_keys().is_err());
    }

    #[test]
    fn unusable_values_are_named() {
        let check = |config: ServeConfig, key: &str| {
            assert!(config.validate().unwrap_err().to_string().contains(key), "{key}");
        };
        check(ServeConfig { max_batch: 0, ..ServeConfig::default() }, "max_batch");
        check(ServeConfig { request_timeout_seconds: f64::NAN, ..ServeConfig::default() }, "request_timeout_seconds");
        check(ServeConfig { write_timeout_seconds: -1.0, ..ServeConfig::default() }, "write_timeout_seconds");
        check(ServeConfig { body_timeout_seconds: 1e300, ..ServeConfig::default() }, "body_timeout_seconds");
        ServeConfig::default().validate().unwrap();
    }
}
