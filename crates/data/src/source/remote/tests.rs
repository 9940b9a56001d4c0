//! Remote sources against servers of our own on loopback.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::hub::Hub;
use crate::source::locate::list_hub_files;
use crate::source::{HttpConfig, SourceConfig};
use crate::{COLLECTED_FILE, CollectSummary, DataError, collect, read_documents};

/// A request as the server saw it; header names in lower case.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

/// A server that answers each connection once and lives as long as the process.
struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// What `answer` gives is sent as it is; an empty answer is a connection that is closed.
    fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                if let Some(request) = read_request(&stream) {
                    seen.lock().unwrap().push(request.clone());
                    let _ = stream.write_all(&answer(&request));
                }
            }
        });
        Self { address, log }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths that were asked for, but robots.txt.
    fn paths(&self) -> Vec<String> {
        let paths = self.log.lock().unwrap().iter().map(|request| request.path.clone()).collect::<Vec<_>>();
        paths.into_iter().filter(|path| path != "/robots.txt").collect()
    }

    fn last(&self) -> Request {
        self.log.lock().unwrap().last().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { path, headers })
}

fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    [out.as_bytes(), b"\r\n", body].concat()
}

fn not_found() -> Vec<u8> {
    answer("404 Not Found", &[], b"")
}

fn web(path: String) -> SourceConfig {
    let http = HttpConfig {
        requests_per_second: 1e6,
        retries: 0,
        cache: Some("cache".into()),
        timeout_seconds: 10,
        ..Default::default()
    };
    SourceConfig { name: "w".into(), path, http, ..Default::default() }
}

fn collected(dir: &Path, source: &SourceConfig) -> Result<(CollectSummary, Vec<String>), DataError> {
    let out = dir.join("out");
    let summary = collect(std::slice::from_ref(source), dir, false, &out, &|_| ())?;
    let texts = read_documents(&out.join(COLLECTED_FILE))?.map(|document| Ok(document?.text));
    Ok((summary, texts.collect::<Result<_, DataError>>()?))
}

/// Reads these paths of a server; the texts, and the problems without the server's address.
fn fetched(server: &Server, paths: &[&str], change: impl FnOnce(&mut HttpConfig)) -> (Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let urls: Vec<String> = paths.iter().map(|path| server.url(path)).collect();
    fs::write(dir.path().join("urls.txt"), format!("# pages\n\n{}\n", urls.join("\n"))).unwrap();
    let mut source = web("urls:urls.txt".into());
    change(&mut source.http);
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    crate::read_source(&source, dir.path(), &mut |record| {
        match record {
            Ok(document) => texts.push(document.text),
            Err(problem) => problems.push(problem.to_string().replace(&server.url(""), "")),
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    (texts, problems)
}

#[test]
fn robots_are_obeyed() {
    let server = Server::start(|request| match request.path.as_str() {
        "/robots.txt" => answer("200 OK", &[], b"User-agent: danlu\nDisallow: /private\nAllow: /private/open\n"),
        path => answer("200 OK", &[], path.as_bytes()),
    });
    let (texts, problems) = fetched(&server, &["/a.txt", "/private/b.txt", "/private/open.txt"], |_| ());
    assert_eq!(texts, ["/a.txt", "/private/open.txt"]);
    assert_eq!(problems, ["/private/b.txt: /robots.txt does not allow it"]);
    assert_eq!(server.paths(), ["/a.txt", "/private/open.txt"]);
    let asked = server.log.lock().unwrap().iter().filter(|request| request.path == "/robots.txt").count();
    assert_eq!(asked, 1, "robots.txt is asked for once");
    assert!(server.last().headers["user-agent"].starts_with("danlu/"));
    let (texts, _) = fetched(&server, &["/private/b.txt"], |http| http.robots = false);
    assert_eq!(texts, ["/private/b.txt"]);

    let failing = Server::start(|request| match request.path.as_str() {
        "/robots.txt" => answer("500 Internal Server Error", &[], b""),
        _ => answer("200 OK", &[], b"text"),
    });
    let (texts, problems) = fetched(&failing, &["/a.txt"], |_| ());
    assert!(texts.is_empty() && problems[0].contains("until it can nothing is allowed"), "{problems:?}");
    assert!(failing.paths().is_empty());
}

#[test]
fn what_has_not_changed_is_not_fetched_again() {
    let version = Arc::new(Mutex::new(1));
    let now = version.clone();
    let server = Server::start(move |request| {
        let tag = format!("\"v{}\"", now.lock().unwrap());
        match request.path.as_str() {
            "/robots.txt" => not_found(),
            _ if request.headers.get("if-none-match") == Some(&tag) => answer("304 Not Modified", &[], b""),
            _ => answer("200 OK", &[("ETag", &tag), ("Content-Type", "text/plain")], format!("春 {tag}").as_bytes()),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let source = web(server.url("/page?id=1"));
    let (summary, texts) = collected(dir.path(), &source).unwrap();
    assert_eq!((summary.total.documents, texts), (1, vec!["春 \"v1\"".to_owned()]));
    assert_eq!(server.last().headers.get("if-none-match"), None);
    assert_eq!(collected(dir.path(), &source).unwrap().1, ["春 \"v1\""]);
    assert_eq!(server.last().headers["if-none-match"], "\"v1\"");
    *version.lock().unwrap() = 2;
    assert_eq!(collected(dir.path(), &source).unwrap().1, ["春 \"v2\""]);
    assert_eq!(server.paths().len(), 3);
}

#[test]
fn a_date_stands_in_where_there_is_no_tag() {
    const FIRST: &str = "Wed, 01 May 2024 00:00:00 GMT";
    const SECOND: &str = "Thu, 02 May 2024 00:00:00 GMT";
    let date = Arc::new(Mutex::new(FIRST));
    let now = date.clone();
    let server = Server::start(move |request| {
        let date = *now.lock().unwrap();
        match request.path.as_str() {
            "/robots.txt" => not_found(),
            _ if request.headers.get("if-modified-since").is_some_and(|since| since == date) => {
                answer("304 Not Modified", &[], b"")
            }
            _ => answer("200 OK", &[("Last-Modified", date), ("Content-Type", "text/plain")], date.as_bytes()),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let source = web(server.url("/page"));
    assert_eq!(collected(dir.path(), &source).unwrap().1, [FIRST]);
    assert_eq!(server.last().headers.get("if-modified-since"), None);
    assert_eq!(collected(dir.path(), &source).unwrap().1, [FIRST]);
    let asked = server.last();
    assert_eq!((asked.headers["if-modified-since"].as_str(), asked.headers.get("if-none-match")), (FIRST, None));
    *date.lock().unwrap() = SECOND;
    assert_eq!(collected(dir.path(), &source).unwrap().1, [SECOND]);
    assert_eq!(server.last().headers["if-modified-since"], FIRST);
    assert_eq!(server.paths().len(), 3);
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start(|request| {
        let to = |place: &str| answer("302 Found", &[("Location", place)], b"");
        match request.path.as_str() {
            "/a/start.txt" => to("../b/middle.txt?x=1#part"),
            "/b/middle.txt?x=1" => to("/end.txt"),
            "/end.txt" => answer("200 OK", &[], b"the end"),
            "/one.txt" => to("/two.txt"),
            "/two.txt" => to("one.txt"),
            "/mail.txt" => to("mailto:a@example.com"),
            "/nowhere.txt" => answer("301 Moved Permanently", &[], b""),
            path if path.starts_with("/n") => {
                let number: u32 = path.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
                to(&format!("/n{}.txt", number + 1))
            }
            _ => not_found(),
        }
    });
    let paths = ["/a/start.txt", "/one.txt", "/n1.txt", "/mail.txt", "/nowhere.txt", "/gone.txt"];
    let (texts, problems) = fetched(&server, &paths, |http| http.max_redirects = 3);
    assert_eq!(texts, ["the end"]);
    assert_eq!(
        problems,
        [
            "/one.txt: it redirects in a circle: /one.txt -> /two.txt -> /one.txt",
            "/n1.txt: it redirects more than 3 times: /n1.txt -> /n2.txt -> /n3.txt -> /n4.txt -> /n5.txt",
            "/mail.txt: it redirects to mailto:a@example.com, which is no web page",
            "/nowhere.txt: it redirects to nowhere",
            "/gone.txt: the server answers 404 Not Found",
        ]
    );
}

#[test]
fn busy_servers_are_asked_again() {
    let asked = Arc::new(Mutex::new(0));
    let server = Server::start(move |request| {
        let mut asked = asked.lock().unwrap();
        match request.path.as_str() {
            "/busy.txt" => {
                *asked += 1;
                match *asked {
                    1 => answer("503 Service Unavailable", &[("Retry-After", "0")], b""),
                    2 => answer("429 Too Many Requests", &[("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")], b""),
                    _ => answer("200 OK", &[], b"at last"),
                }
            }
            "/later.txt" => answer("429 Too Many Requests", &[("Retry-After", "86400")], b""),
            "/never.txt" => answer("503 Service Unavailable", &[("Retry-After", "0")], b""),
            _ => not_found(),
        }
    });
    let (texts, problems) = fetched(&server, &["/busy.txt", "/later.txt", "/never.txt"], |http| http.retries = 2);
    assert_eq!(texts, ["at last"]);
    assert_eq!(
        problems,
        [
            "/later.txt: the server answers 429 Too Many Requests; it asks to wait 86400 seconds, more than http.max_wait_seconds",
            "/never.txt: the server answers 503 Service Unavailable, 3 times",
        ]
    );
}

const POEM: &str = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。";

#[test]
fn a_body_that_ends_half_way_is_gone_on_with() {
    let server = Server::start(|request| {
        let length = POEM.len().to_string();
        match (request.path.as_str(), request.headers.get("range").map(String::as_str)) {
            ("/robots.txt", _) => not_found(),
            ("/poem.txt", Some("bytes=30-")) if request.headers.get("if-range").is_some_and(|tag| tag == "\"p\"") => {
                let range = format!("bytes 30-{}/{length}", POEM.len() - 1);
                answer("206 Partial Content", &[("Content-Range", &range), ("ETag", "\"p\"")], &POEM.as_bytes()[30..])
            }
            ("/poem.txt", None) => {
                answer("200 OK", &[("Content-Length", &length), ("ETag", "\"p\"")], &POEM.as_bytes()[..30])
            }
            ("/half.txt", _) => answer("200 OK", &[("Content-Length", "100")], b"half"),
            ("/closed.txt", _) => Vec::new(),
            _ => answer("200 OK", &[], b"whole"),
        }
    });
    let paths = ["/poem.txt", "/half.txt", "/closed.txt", "/whole.txt"];
    let (texts, problems) = fetched(&server, &paths, |_| ());
    assert_eq!(texts, [POEM, "whole"]);
    assert!(problems[0].starts_with("/half.txt: the body ended after 4 of 100 bytes"), "{problems:?}");
    assert!(problems[1].starts_with("/closed.txt: it cannot be reached"), "{problems:?}");
    assert_eq!(problems.len(), 2);
}

#[test]
fn a_server_that_always_begins_anew_is_not_asked_for_ever() {
    let server = Server::start(|request| match request.path.as_str() {
        "/robots.txt" => not_found(),
        _ => answer("200 OK", &[("ETag", "\"v\""), ("Content-Length", "100")], b"half"),
    });
    let (texts, problems) = fetched(&server, &["/a.txt"], |_| ());
    assert!(texts.is_empty() && problems[0].contains("the body ended after 4 of 100 bytes"), "{problems:?}");
    assert_eq!(server.paths().len(), 2);
}

#[test]
fn bodies_are_bounded_and_formats_told_by_the_server() {
    let server = Server::start(|request| match request.path.as_str() {
        "/large.txt" => answer("200 OK", &[("Content-Length", "2000000")], b""),
        "/endless.txt" => [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), &[b'x'; 2_000_000]].concat(),
        "/records" => answer(
            "200 OK",
            &[("Content-Type", "application/x-ndjson; charset=utf-8")],
            b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n",
        ),
        "/image" => answer("200 OK", &[("Content-Type", "image/png")], b"png"),
        "/empty.txt" => answer("200 OK", &[], b""),
        _ => not_found(),
    });
    let paths = ["/large.txt", "/endless.txt", "/records", "/image", "/empty.txt"];
    let (texts, problems) = fetched(&server, &paths, |http| http.max_body_mebibytes = 1);
    assert_eq!(texts, ["a", "b"]);
    assert_eq!(
        problems,
        [
            "/large.txt: its body is larger than 1 MiB, the source's http.max_body_mebibytes",
            "/endless.txt: its body is larger than 1 MiB, the source's http.max_body_mebibytes",
            "/image: its format is unknown: neither its name nor the server tells; set the source's format",
            "/empty.txt: the file is empty",
        ]
    );
}

#[test]
fn a_server_that_is_gone_is_a_problem_of_each_page() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = Server::start(|request| answer("200 OK", &[], request.path.as_bytes()));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("list"), format!("{}\nhttp://{gone}/b.txt\nnot a URL\n", here.url("/a.txt"))).unwrap();
    let mut source = web("urls:list".into());
    source.http.robots = false;
    let (summary, texts) = collected(dir.path(), &source).unwrap();
    assert_eq!((texts, summary.problem_count), (vec!["/a.txt".to_owned()], 2));
    assert!(summary.problems[0].to_string().ends_with("list:3: \"not a URL\" is not an http or https URL"));
    assert!(summary.problems[1].to_string().contains(": it cannot be reached: "), "{}", summary.problems[1]);
}

#[test]
fn sitemaps_name_pages_and_sitemaps() {
    let server = Server::start(|request| {
        let base = format!("http://{}", request.headers["host"]);
        let set = |body: String| answer("200 OK", &[], body.as_bytes());
        match request.path.as_str() {
            "/sitemap.xml" => set(format!(
                "<sitemapindex><sitemap><loc>{base}/s1.xml</loc></sitemap><sitemap><loc>{base}/sitemap.xml</loc></sitemap></sitemapindex>"
            )),
            "/s1.xml" => {
                set(format!("<urlset><url><loc>{base}/a.txt</loc></url><url><loc>{base}/b.txt</loc></url></urlset>"))
            }
            "/broken.xml" => set("not XML".into()),
            path if path.ends_with(".txt") => answer("200 OK", &[], path.as_bytes()),
            _ => not_found(),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut source = web(server.url("/sitemap.xml"));
    source.http.sitemap = true;
    assert_eq!(collected(dir.path(), &source).unwrap().1, ["/a.txt", "/b.txt"]);
    source.path = server.url("/broken.xml");
    let error = collected(dir.path(), &source).unwrap_err();
    assert!(
        error.to_string().contains("broken.xml: not a sitemap: it is not XML") && error.hint().is_some(),
        "{error}"
    );
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn hub_data_sets_are_listed_fetched_and_kept() {
    // Large files lie elsewhere, where the token is of no use and must not be seen.
    let storage =
        Server::start(|request| answer("200 OK", &[], format!("{{\"text\":\"{}\"}}\n", request.path).as_bytes()));
    let place = storage.url("");
    let server = Server::start(move |request| {
        let list = |files: &[&str]| {
            let entry = |path: &&str| serde_json::json!({ "type": if path.contains('.') { "file" } else { "directory" }, "path": path, "size": 7 });
            serde_json::Value::from(files.iter().map(entry).collect::<Vec<_>>()).to_string()
        };
        let tree = format!("/api/datasets/o/n/tree/{COMMIT}?recursive=true");
        match request.path.as_str() {
            "/api/datasets/o/n/revision/main" => {
                answer("200 OK", &[], serde_json::json!({ "id": "o/n", "sha": COMMIT }).to_string().as_bytes())
            }
            path if path == tree => {
                let next = format!("<http://{}{tree}&cursor=2>; rel=\"next\"", request.headers["host"]);
                answer(
                    "200 OK",
                    &[("Link", &next)],
                    list(&["README.md", "data", "data/b.jsonl", "../evil.jsonl"]).as_bytes(),
                )
            }
            path if path == format!("{tree}&cursor=2") => {
                answer("200 OK", &[], list(&["data/a 春.jsonl", "other/c.jsonl"]).as_bytes())
            }
            path if path.starts_with(&format!("/datasets/o/n/resolve/{COMMIT}/")) => {
                let to = format!("{place}/{}", path.rsplit('/').next().unwrap_or_default());
                answer("307 Temporary Redirect", &[("Location", &to)], b"")
            }
            _ => not_found(),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let hub =
        Hub { endpoint: server.url(""), token: Some("secret".into()), cache: dir.path().join("hub"), offline: false };
    let source = web("hf://datasets/o/n/data".into());
    let files = hub.list("hf://datasets/o/n/data", &source).unwrap();
    let urls: Vec<String> = files.iter().map(|file| file.url()).collect();
    assert_eq!(urls, ["a 春", "b"].map(|name| format!("hf://datasets/o/n@{COMMIT}/data/{name}.jsonl")));
    assert_eq!(server.last().headers["authorization"], "Bearer secret");
    let path = files[0].fetch(&source).unwrap();
    assert!(path.ends_with(format!("hub/datasets--o--n/snapshots/{COMMIT}/data/a 春.jsonl")), "{}", path.display());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"text\":\"/a%20%E6%98%A5.jsonl\"}\n");
    assert_eq!(storage.last().headers.get("authorization"), None);
    let before = server.paths().len();
    files[0].fetch(&source).unwrap();
    assert_eq!(server.paths().len(), before, "a file in the cache was fetched again");

    let offline = Hub { offline: true, endpoint: "http://127.0.0.1:9".into(), ..hub.clone() };
    let found = offline.list("hf://datasets/o/n", &source).unwrap();
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["data/a 春.jsonl"]);
    assert_eq!(found[0].fetch(&source).unwrap(), path);
    let missing = offline.list("hf://datasets/o/other", &source).unwrap_err();
    assert!(missing.to_string().contains("HF_HUB_OFFLINE"), "{missing}");
    let none = hub.list("hf://datasets/o/n/nothing/*.csv", &source).unwrap_err();
    assert!(matches!(none, DataError::NoFiles { .. }), "{none}");

    // What only says something about a data set is read where it is named.
    let read = |place: &str| list_hub_files(&source, place, hub.list(place, &source).unwrap());
    let listing = read("hf://datasets/o/n").unwrap();
    let card = format!("hf://datasets/o/n@{COMMIT}/README.md");
    assert_eq!(listing.items.len(), 3, "{listing:?}");
    let left_out = &listing.left_out["files about a data set"];
    assert_eq!((left_out.count, left_out.first.as_slice()), (1, &[card.clone()][..]));
    let named = read("hf://datasets/o/n/README.md").unwrap();
    assert_eq!(named.items.iter().map(|item| &item.shown).collect::<Vec<_>>(), [&card]);
    assert!(matches!(read("hf://datasets/o/n/*.md"), Err(DataError::NoFiles { .. })));
}

#[test]
fn files_about_a_data_set_are_known_by_their_names() {
    let about = [
        "README.md",
        "data/readme.txt",
        "README_zh.md",
        ".gitattributes",
        ".cache/a.json",
        "LICENSE",
        "LICENSE.txt",
        "LICENSE-MIT.md",
        "dataset_infos.json",
        "train/state.json",
    ];
    assert_eq!(about.iter().filter(|path| !super::hub::is_about(path)).collect::<Vec<_>>(), [&""; 0]);
    let data = ["data/train.jsonl", "states.json", "licenses.csv", "readmes/1.md", "info.json", "a.b/c.parquet"];
    assert_eq!(data.iter().filter(|path| super::hub::is_about(path)).collect::<Vec<_>>(), [&""; 0]);
}
