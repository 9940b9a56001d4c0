use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::SparkError;

/// Where a Spark Connect server listens: `spark://HOST:PORT`, or Spark's own `sc://HOST:PORT/;use_ssl=true;token=...`.
/// Without a port it is 15002. Shown without its token.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    pub(crate) use_ssl: bool,
    pub(crate) token: Option<String>,
    pub(crate) user: String,
}

const DEFAULT_PORT: u16 = 15002;

impl Address {
    /// `HOST:PORT`, an IPv6 host in brackets.
    pub(crate) fn socket(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = SparkError;

    fn from_str(text: &str) -> Result<Self, SparkError> {
        // A token may stand in what is wrong, and errors are shown.
        let shown = || text.split(';').next().unwrap_or_default().to_owned();
        let bad = |message: String| SparkError::BadAddress { address: shown(), message };
        if !text.starts_with("spark://") && !text.starts_with("sc://") {
            return Err(bad("it begins neither with spark:// nor with sc://".into()));
        }
        let url = Url::parse(text).map_err(|e| bad(e.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host".into()))?;
        let port = url.port().unwrap_or(DEFAULT_PORT);
        let mut address = Self { host: host.into(), port, use_ssl: false, token: None, user: "danlu".into() };
        for parameter in url.path().trim_start_matches('/').split(';').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "use_ssl" => address.use_ssl = value == "true",
                "token" => address.token = Some(value.into()),
                "user_id" => address.user = value.into(),
                _ => return Err(bad(format!("no parameter {name:?}: there are use_ssl, token and user_id"))),
            }
        }
        // As Spark's clients do: a token goes over an encrypted connection only.
        address.use_ssl |= address.token.is_some();
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "spark://{}", self.socket())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, String> {
        text.parse().map_err(|e: SparkError| e.to_string())
    }

    #[test]
    fn addresses_of_both_forms_are_read() {
        assert_eq!(read("spark://cluster:15002").unwrap().socket(), "cluster:15002");
        assert_eq!(read("sc://cluster").unwrap().socket(), "cluster:15002");
        assert_eq!(read("spark://[::1]:7").unwrap().socket(), "[::1]:7");
        let full = read("sc://cluster:443/;use_ssl=true;user_id=li;token=s3cret").unwrap();
        assert_eq!((full.use_ssl, full.token.as_deref(), full.user.as_str()), (true, Some("s3cret"), "li"));
        assert!(read("sc://cluster/;token=s3cret").unwrap().use_ssl);
        assert_eq!(format!("{full} {full:?}"), "spark://cluster:443 spark://cluster:443");
    }

    #[test]
    fn errors_say_what_is_wrong_and_show_no_token() {
        for (text, expect) in [
            ("http://cluster", "begins neither"),
            ("spark://", "host"),
            ("sc://cluster/;colour=red", "no parameter \"colour\""),
            ("sc://cluster/;token=s3cret;x=1", "no parameter \"x\""),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(expect) && !message.contains("s3cret"), "{message}");
        }
    }
}
