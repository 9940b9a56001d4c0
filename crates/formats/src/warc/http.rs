//! HTTP/1.x responses as they were stored.

use std::borrow::Cow;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::Fault;
use crate::limits::{Limits, read_limited};

/// A response without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHead {
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

impl HttpHead {
    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Splits a stored response into its head and its body, free of chunks and compression (gzip, deflate). Crawlers often
/// store bodies decoded and leave the head as it was: a body that is not in the form its head tells of is taken as it is.
///
/// # Errors
/// No response; a compression that is not supported; a body that exceeds `limits`.
pub fn parse_response(block: &[u8], limits: Limits) -> Result<(HttpHead, Vec<u8>), Fault> {
    let (head, body) = split_head(block).ok_or_else(|| malformed("a head without end"))?;
    let head = parse_head(&head)?;
    let chunked = head.get("Transfer-Encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = if chunked { dechunk(body).map_or(Cow::Borrowed(body), Cow::Owned) } else { Cow::Borrowed(body) };
    let encoding = head.get("Content-Encoding").unwrap_or("identity").trim().to_ascii_lowercase();
    let payload = decompress(&encoding, body, limits)?;
    Ok((head, payload))
}

fn malformed(message: impl Into<String>) -> Fault {
    Fault::Malformed { format: "HTTP response", message: message.into() }
}

/// The head as text and what follows the empty line.
fn split_head(block: &[u8]) -> Option<(String, &[u8])> {
    let mut at = 0;
    loop {
        let end = at + memchr::memchr(b'\n', &block[at..])?;
        let line = &block[at..end];
        if line.is_empty() || line == b"\r" {
            return Some((String::from_utf8_lossy(&block[..at]).into_owned(), &block[end + 1..]));
        }
        at = end + 1;
        if at > 256 << 10 {
            return None;
        }
    }
}

fn parse_head(head: &str) -> Result<HttpHead, Fault> {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or("");
    let status = first.starts_with("HTTP/").then(|| first.split_whitespace().nth(1)?.parse().ok()).flatten();
    let status = status.ok_or_else(|| malformed("its first line has no status"))?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    Ok(HttpHead { status, fields })
}

/// A body in chunks; `None` if it is none. One that ends early is taken as far as it goes.
fn dechunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut first = true;
    loop {
        let Some(end) = memchr::memchr(b'\n', &body[..body.len().min(1024)]) else { return (!first).then_some(out) };
        let line = std::str::from_utf8(&body[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16);
        body = &body[end + 1..];
        match size {
            Ok(0) => return Some(out),
            Ok(size) => {
                out.extend_from_slice(&body[..size.min(body.len())]);
                body = &body[size.min(body.len())..];
                body = body.strip_prefix(b"\r\n").or(body.strip_prefix(b"\n")).unwrap_or(body);
            }
            Err(_) if first => return None,
            Err(_) => return Some(out),
        }
        first = false;
    }
}

fn decompress(encoding: &str, body: Cow<'_, [u8]>, limits: Limits) -> Result<Vec<u8>, Fault> {
    let consumed = body.len() as u64;
    let result = match encoding {
        "gzip" | "x-gzip" if body.starts_with(&[0x1F, 0x8B]) => {
            read_limited(MultiGzDecoder::new(&*body), consumed, limits)
        }
        // "deflate" means zlib, but some servers send it bare.
        "deflate" if is_zlib(&body) => read_limited(ZlibDecoder::new(&*body), consumed, limits),
        "deflate" if !looks_like_text(&body) => read_limited(DeflateDecoder::new(&*body), consumed, limits),
        "br" | "zstd" | "compress" if !looks_like_text(&body) => {
            return Err(Fault::Unsupported(format!("Content-Encoding {encoding:?}")));
        }
        _ => Ok(body.into_owned()),
    };
    result.map_err(|error| match Fault::from(error) {
        Fault::Io(error) => malformed(format!("its {encoding} body is damaged: {error}")),
        limit => limit,
    })
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0F == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

/// Whether a body begins like text: no control characters but white space.
fn looks_like_text(body: &[u8]) -> bool {
    body.iter().take(256).all(|&byte| byte >= 0x20 || byte.is_ascii_whitespace())
}

/// A `Content-Type` as type and charset, in lower case.
pub(super) fn media_type(value: &str) -> (Option<String>, Option<String>) {
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let kind = parts.next().filter(|kind| !kind.is_empty());
    let charset = parts.find_map(|part| Some(part.strip_prefix("charset=")?.trim_matches(['"', '\'']).to_owned()));
    (kind, charset.filter(|charset| !charset.is_empty()))
}
