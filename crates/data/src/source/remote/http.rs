//! Pages and files over HTTP, politely: robots.txt, a pace for each host, a cache that asks again only for what changed,
//! back-off where a server is busy, and going on where a transfer broke.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use danlu_store::{atomic, hash};
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};
use url::Url;

use super::robots::{MAX_ROBOTS_BYTES, Robots};
use crate::DataError;
use crate::source::HttpConfig;

/// Fetches over HTTP as one source is configured.
pub(crate) struct Fetcher {
    config: HttpConfig,
    agent: Agent,
    cache: PathBuf,
    robots: HashMap<String, Result<Robots, String>>,
    pace: Pace,
    /// A token, and the origin that may see it.
    token: Option<(String, String)>,
}

/// A page in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) content_type: Option<String>,
}

/// What is known of a body besides its bytes: lies beside it, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// The URL that it came from, after redirects.
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    content_type: Option<String>,
}

impl Known {
    fn of(url: &Url, headers: &HeaderMap) -> Self {
        let text = |name: &str| header(headers, name).map(str::to_owned);
        let (etag, last_modified) = (text("etag"), text("last-modified"));
        Self { url: url.to_string(), etag, last_modified, content_type: text("content-type") }
    }

    /// What makes sure that the rest of a body belongs to its beginning: only a strong tag does for certain.
    fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/")).or(self.last_modified.as_deref())
    }
}

/// Why an attempt did not give the body.
enum Failure {
    /// It may work later, after this wait if the server named one.
    Later {
        message: String,
        wait: Option<Duration>,
        progress: bool,
    },
    Never(String),
}

impl Fetcher {
    /// # Errors
    /// A cache folder that cannot be made.
    pub(crate) fn new(config: &HttpConfig, base: &Path) -> Result<Self, DataError> {
        let cache = match &config.cache {
            Some(folder) => base.join(folder),
            None => super::cache_home().join("danlu/http"),
        };
        fs::create_dir_all(&cache).map_err(|e| DataError::io("create the folder", &cache, e))?;
        let timeout = Some(Duration::from_secs(config.timeout_seconds.max(1)));
        let agent = Agent::config_builder()
            .user_agent(&config.user_agent)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .build()
            .new_agent();
        let interval = Duration::from_secs_f64(1.0 / config.requests_per_second);
        let pace = Pace { interval, next: HashMap::new() };
        Ok(Self { config: config.clone(), agent, cache, robots: HashMap::new(), pace, token: None })
    }

    /// Shows a token to the servers of one origin, and to no other that they redirect to.
    pub(super) fn with_token(mut self, origin: &Url, token: Option<String>) -> Self {
        self.token = token.map(|token| (origin.origin().ascii_serialization(), token));
        self
    }

    /// The page, from the cache where the server says that it is still good.
    ///
    /// # Errors
    /// [`DataError::Remote`] with what came between.
    pub(crate) fn fetch(&mut self, url: &str) -> Result<Page, DataError> {
        let path = self.cache.join(&hash::of_bytes(url.as_bytes()).as_str()[..32]);
        let known_path = beside(&path, ".json");
        let known = if path.is_file() { read_known(&known_path) } else { None };
        if let Some(new) = self.get(url, &path, known.as_ref())? {
            write_known(&known_path, &new)?;
            return Ok(Page { path, content_type: new.content_type });
        }
        Ok(Page { path, content_type: known.and_then(|known| known.content_type) })
    }

    /// Fetches a URL into the file `path`, which appears whole or not at all.
    pub(super) fn get_to(&mut self, url: &str, path: &Path) -> Result<(), DataError> {
        self.get(url, path, None).map(|_| ())
    }

    /// A small answer that is not kept, and the URL of the next page of a list (`Link: ...; rel="next"`).
    pub(super) fn get_small(&mut self, url: &str) -> Result<(Vec<u8>, Option<String>), DataError> {
        let remote = |message: String| DataError::Remote { place: url.into(), message };
        let mut attempt = 0;
        loop {
            let failure = match self.try_small(url) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            self.wait_or_give_up(failure, &mut attempt).map_err(remote)?;
        }
    }

    fn try_small(&mut self, url: &str) -> Result<(Vec<u8>, Option<String>), Failure> {
        let url = parse(url).map_err(Failure::Never)?;
        let (url, mut response) = self.follow(url, &|_| Vec::new())?;
        check_status(&response)?;
        let next = header(response.headers(), "link").and_then(next_link).and_then(|next| url.join(next).ok());
        let mut body = Vec::new();
        let read = response.body_mut().as_reader().take(64 << 20).read_to_end(&mut body);
        read.map_err(|e| Failure::Later { message: broke(&e), wait: None, progress: false })?;
        Ok((body, next.map(|url| url.to_string())))
    }

    /// Fetches a URL into the file `path`; `None` when what is `known` of the file there is still so.
    fn get(&mut self, url: &str, path: &Path, known: Option<&Known>) -> Result<Option<Known>, DataError> {
        let remote = |message: String| DataError::Remote { place: url.into(), message };
        let start = parse(url).map_err(remote)?;
        let mut attempt = 0;
        loop {
            let failure = match self.try_get(&start, path, known) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            self.wait_or_give_up(failure, &mut attempt).map_err(remote)?;
        }
    }

    /// Waits before the next attempt, or says why there is none.
    fn wait_or_give_up(&self, failure: Failure, attempt: &mut u32) -> Result<(), String> {
        let (message, wait, progress) = match failure {
            Failure::Never(message) => return Err(message),
            Failure::Later { message, wait, progress } => (message, wait, progress),
        };
        if progress {
            *attempt = 0; // the next attempt goes on where this one stopped
        } else if *attempt >= self.config.retries {
            let times = if *attempt == 0 { String::new() } else { format!(", {} times", *attempt + 1) };
            return Err(message + &times);
        }
        let most = Duration::from_secs(self.config.max_wait_seconds);
        let backoff = if progress { Duration::ZERO } else { Duration::from_secs(1 << (*attempt).min(16)).min(most) };
        let wait = wait.unwrap_or(backoff);
        if wait > most {
            let seconds = wait.as_secs();
            return Err(format!("{message}; it asks to wait {seconds} seconds, more than http.max_wait_seconds"));
        }
        tracing::debug!("{message}; again in {wait:?}");
        std::thread::sleep(wait);
        *attempt += u32::from(!progress);
        Ok(())
    }

    /// One attempt: what is there of the body from an attempt before is kept if the server gives the rest.
    fn try_get(&mut self, start: &Url, path: &Path, known: Option<&Known>) -> Result<Option<Known>, Failure> {
        let part = beside(path, ".part");
        let part_known_path = beside(path, ".part.json");
        let begun = part.metadata().map_or(0, |metadata| metadata.len());
        let part_known = read_known(&part_known_path).filter(|_| begun > 0);
        let (url, mut response) = self.follow(start.clone(), &|url| {
            let mut headers = Vec::new();
            if let Some(known) = known.filter(|known| known.url == url.as_str()) {
                headers.extend(known.etag.clone().map(|tag| ("If-None-Match", tag)));
                headers.extend(known.last_modified.clone().map(|date| ("If-Modified-Since", date)));
            } else if let Some(strong) = part_known.as_ref().filter(|k| k.url == url.as_str()).and_then(Known::strong) {
                headers.push(("Range", format!("bytes={begun}-")));
                headers.push(("If-Range", strong.to_owned()));
            }
            headers
        })?;
        if response.status() == 304 && known.is_some() {
            return Ok(None);
        }
        if response.status() == 416 && begun > 0 {
            let _ = fs::remove_file(&part);
            return Err(Failure::Later { message: "the rest is not there".into(), wait: None, progress: false });
        }
        check_status(&response)?;
        let rest = response.status() == 206;
        if rest && first_of_range(response.headers()) != Some(begun) {
            return Err(Failure::Never("it answers with another range than was asked for".into()));
        }
        let new = Known::of(&url, response.headers());
        let io = |error: io::Error| Failure::Never(format!("{} cannot be written: {error}", part.display()));
        if !rest {
            let _ = fs::remove_file(&part);
            write_known(&part_known_path, &new).map_err(|error| Failure::Never(error.to_string()))?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&part).map_err(io)?;
        // A server that begins anew each time and breaks off at the same place gets no further.
        let more_than = Some(begun).filter(|_| rest || new.strong().is_some());
        self.receive(&mut response, &mut file, if rest { begun } else { 0 }, more_than)?;
        file.sync_all().and_then(|()| fs::rename(&part, path)).map_err(io)?;
        let _ = fs::remove_file(&part_known_path);
        Ok(Some(new))
    }

    /// Writes the body to `file`, which holds `begun` bytes of it. When it breaks off, that is progress if another attempt
    /// can go on there and it came to more bytes than `more_than`.
    fn receive(
        &self,
        response: &mut Response<Body>,
        file: &mut File,
        begun: u64,
        more_than: Option<u64>,
    ) -> Result<(), Failure> {
        let most = self.config.max_body_mebibytes.saturating_mul(1 << 20);
        let too_large = || {
            let limit = self.config.max_body_mebibytes;
            Failure::Never(format!("its body is larger than {limit} MiB, the source's http.max_body_mebibytes"))
        };
        let promised = header(response.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
        if promised.is_some_and(|length| begun.saturating_add(length) > most) {
            return Err(too_large());
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        let mut received = 0;
        loop {
            let broken = |why: &str| {
                let of = promised.map_or_else(String::new, |all| format!(" of {}", begun + all));
                let message = format!("the body ended after {}{of} bytes{why}", begun + received);
                let progress = more_than.is_some_and(|before| begun + received > before);
                Failure::Later { message, wait: None, progress }
            };
            match body.read(&mut buffer) {
                Ok(0) if promised.is_some_and(|length| received < length) => return Err(broken("")),
                Ok(0) => return Ok(()),
                Ok(count) => {
                    received += count as u64;
                    if begun + received > most {
                        return Err(too_large());
                    }
                    let written = file.write_all(&buffer[..count]);
                    written.map_err(|error| Failure::Never(format!("the cache cannot be written: {error}")))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&format!(" ({error})"))),
            }
        }
    }

    /// Asks for a URL and what it redirects to.
    fn follow(
        &mut self,
        start: Url,
        headers: &dyn Fn(&Url) -> Vec<(&'static str, String)>,
    ) -> Result<(Url, Response<Body>), Failure> {
        let mut way = vec![start];
        while let Some(url) = way.last().cloned() {
            if self.config.robots {
                self.check_robots(&url)?;
            }
            let response = self.ask(&url, &headers(&url))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((url, response));
            }
            let location = header(response.headers(), "location").and_then(|place| url.join(place).ok());
            let mut next = location.ok_or_else(|| Failure::Never("it redirects to nowhere".into()))?;
            next.set_fragment(None);
            if !matches!(next.scheme(), "http" | "https") {
                return Err(Failure::Never(format!("it redirects to {next}, which is no web page")));
            }
            let shown = || way.iter().chain([&next]).map(Url::as_str).collect::<Vec<_>>().join(" -> ");
            if way.contains(&next) {
                return Err(Failure::Never(format!("it redirects in a circle: {}", shown())));
            }
            if way.len() > self.config.max_redirects {
                let limit = self.config.max_redirects;
                return Err(Failure::Never(format!("it redirects more than {limit} times: {}", shown())));
            }
            way.push(next);
        }
        Err(Failure::Never("there is no URL".into()))
    }

    /// One request, when its turn has come.
    fn ask(&mut self, url: &Url, headers: &[(&'static str, String)]) -> Result<Response<Body>, Failure> {
        let delay = self.robots.get(&origin(url)).and_then(|robots| robots.as_ref().ok()?.crawl_delay);
        std::thread::sleep(self.pace.wait(&origin(url), Instant::now(), delay.unwrap_or_default()));
        let mut request = self.agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some((_, token)) = self.token.as_ref().filter(|(allowed, _)| *allowed == origin(url)) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_) => {
                Failure::Later { message: format!("it cannot be reached: {error}"), wait: None, progress: false }
            }
            error => Failure::Never(format!("it cannot be fetched: {error}")),
        })
    }

    /// RFC 9309: a robots.txt that is missing allows all, one that the server fails to give allows nothing.
    fn check_robots(&mut self, url: &Url) -> Result<(), Failure> {
        let origin = origin(url);
        if !self.robots.contains_key(&origin) {
            let robots = self.fetch_robots(url);
            self.robots.insert(origin.clone(), robots);
        }
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        match self.robots.get(&origin) {
            Some(Ok(robots)) if robots.allows(&path) => Ok(()),
            Some(Ok(_)) => Err(Failure::Never(format!("{origin}/robots.txt does not allow it"))),
            Some(Err(message)) => Err(Failure::Never(message.clone())),
            None => Ok(()),
        }
    }

    fn fetch_robots(&mut self, url: &Url) -> Result<Robots, String> {
        let place = url.join("/robots.txt").map_err(|error| error.to_string())?;
        let unknown = |what: String| format!("{place} cannot be read ({what}), and until it can nothing is allowed");
        let mut url = place.clone();
        // The RFC asks for five redirects at least.
        for _ in 0..=5 {
            let mut response = match self.ask(&url, &[]) {
                Ok(response) => response,
                Err(Failure::Later { message, .. } | Failure::Never(message)) => return Err(unknown(message)),
            };
            match response.status().as_u16() {
                300..400 => {
                    let next = header(response.headers(), "location").and_then(|place| url.join(place).ok());
                    url = next.ok_or_else(|| unknown("it redirects to nowhere".into()))?;
                }
                200..300 => {
                    let mut text = Vec::new();
                    let read = response.body_mut().as_reader().take(MAX_ROBOTS_BYTES).read_to_end(&mut text);
                    read.map_err(|error| unknown(error.to_string()))?;
                    let agent = self.config.user_agent.split(['/', ' ']).next().unwrap_or_default();
                    return Ok(Robots::parse(&String::from_utf8_lossy(&text), agent));
                }
                400..500 if response.status() != 429 => return Ok(Robots::default()),
                _ => return Err(unknown(response.status().to_string())),
            }
        }
        Ok(Robots::default())
    }
}

/// Requests to one host come at an even pace.
struct Pace {
    interval: Duration,
    /// When each host may be asked next.
    next: HashMap<String, Instant>,
}

impl Pace {
    /// How long to wait before asking `host`, if it is asked then.
    fn wait(&mut self, host: &str, now: Instant, crawl_delay: Duration) -> Duration {
        let interval = self.interval.max(crawl_delay);
        let due = self.next.get(host).map_or(now, |next| (*next).max(now));
        self.next.insert(host.to_owned(), due + interval);
        due - now
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn parse(url: &str) -> Result<Url, String> {
    let mut parsed = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    parsed.set_fragment(None);
    Ok(parsed)
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where the range of a 206 answer begins: `bytes 100-199/200`.
fn first_of_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn check_status(response: &Response<Body>) -> Result<(), Failure> {
    let status = response.status();
    match status.as_u16() {
        200 | 203 | 206 => Ok(()),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            let wait = header(response.headers(), "retry-after").and_then(retry_after);
            Err(Failure::Later { message: format!("the server answers {status}"), wait, progress: false })
        }
        _ => Err(Failure::Never(format!("the server answers {status}"))),
    }
}

/// The wait that `Retry-After` asks for: seconds, or until a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::from_secs(date.duration_since(jiff::Timestamp::now()).as_secs().try_into().unwrap_or(0)))
}

/// The next page of `<https://...>; rel="next", ...`.
fn next_link(value: &str) -> Option<&str> {
    value.split(',').find_map(|link| {
        let (place, parameters) = link.split_once('>')?;
        parameters.contains("rel=\"next\"").then(|| place.trim().trim_start_matches('<'))
    })
}

fn broke(error: &io::Error) -> String {
    format!("the answer broke off: {error}")
}

fn read_known(path: &Path) -> Option<Known> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_known(path: &Path, known: &Known) -> Result<(), DataError> {
    let text = serde_json::to_vec(known).map_err(|e| DataError::io("write", path, e.into()))?;
    Ok(atomic::write_bytes(path, &text)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_asked_at_their_own_pace() {
        let mut pace = Pace { interval: Duration::from_secs(2), next: HashMap::new() };
        let now = Instant::now();
        let seconds = |pace: &mut Pace, host: &str, at: u64, delay: u64| {
            pace.wait(host, now + Duration::from_secs(at), Duration::from_secs(delay)).as_secs()
        };
        assert_eq!(seconds(&mut pace, "a", 0, 0), 0);
        assert_eq!(seconds(&mut pace, "a", 0, 0), 2);
        assert_eq!(seconds(&mut pace, "b", 0, 0), 0);
        assert_eq!(seconds(&mut pace, "a", 3, 0), 1);
        assert_eq!(seconds(&mut pace, "a", 100, 10), 0);
        assert_eq!(seconds(&mut pace, "a", 101, 10), 9);
    }

    #[test]
    fn headers_are_understood() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 30));
        assert_eq!(retry_after("soon"), None);
        let links = "<https://hub/a?cursor=1>; rel=\"prev\", <https://hub/a?cursor=3>; rel=\"next\"";
        assert_eq!(next_link(links), Some("https://hub/a?cursor=3"));
        assert_eq!(next_link("<https://hub/a>; rel=\"prev\""), None);
    }
}
