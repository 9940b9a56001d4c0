//! Sitemaps (sitemaps.org): the pages that a site names, through indexes of sitemaps.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::http::Fetcher;
use crate::DataError;

/// The protocol's own limit for one sitemap, uncompressed.
const MAX_SITEMAP_BYTES: u64 = 50 << 20;
/// So many sitemaps are read in all.
const MAX_SITEMAPS: usize = 10_000;
/// So many pages are taken in all.
const MAX_PAGES: usize = 5_000_000;

/// The pages of a sitemap, in its order; sitemaps that it names are read too, each once.
///
/// # Errors
/// A sitemap that cannot be fetched or is no XML.
pub(crate) fn urls(fetcher: &mut Fetcher, url: &str) -> Result<Vec<String>, DataError> {
    let mut sitemaps = vec![url.to_owned()];
    let mut pages = Vec::new();
    let mut next = 0;
    while let Some(url) = sitemaps.get(next).cloned() {
        next += 1;
        let bad = |message: String| DataError::Remote { place: url.clone(), message };
        let found = parse(&fetcher.fetch(&url)?.path).map_err(|message| bad(format!("not a sitemap: {message}")))?;
        for (location, is_sitemap) in found {
            if !is_sitemap {
                pages.push(location);
            } else if !sitemaps.contains(&location) {
                sitemaps.push(location);
            }
        }
        if sitemaps.len() > MAX_SITEMAPS || pages.len() > MAX_PAGES {
            return Err(bad(format!("more than {MAX_SITEMAPS} sitemaps or {MAX_PAGES} pages")));
        }
    }
    Ok(pages)
}

/// The locations in a sitemap, and whether each is a sitemap itself.
fn parse(path: &Path) -> Result<Vec<(String, bool)>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = BufReader::new(file);
    let gzip = reader.fill_buf().map_err(|error| error.to_string())?.starts_with(&[0x1F, 0x8B]);
    let plain: Box<dyn Read> =
        if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    let mut text = Vec::new();
    plain.take(MAX_SITEMAP_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_SITEMAP_BYTES {
        return Err(format!("larger than {} MiB", MAX_SITEMAP_BYTES >> 20));
    }
    locations(&String::from_utf8_lossy(&text))
}

fn locations(text: &str) -> Result<Vec<(String, bool)>, String> {
    let text = text.trim_start_matches('\u{FEFF}');
    if !text.trim_start().starts_with('<') {
        return Err("it is not XML".into());
    }
    let mut xml = Reader::from_str(text);
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut location = String::new();
    loop {
        let event = xml.read_event().map_err(|error| format!("{error} at byte {}", xml.buffer_position()))?;
        let parent = match path.as_slice() {
            [.., parent, last] if last == "loc" => parent.as_str(),
            _ => "",
        };
        let wanted = matches!(parent, "url" | "sitemap");
        match event {
            Event::Start(tag) => {
                path.push(tag.local_name().into_inner().to_owned());
                location.clear();
            }
            Event::Text(part) if wanted => location += &part.into_inner(),
            Event::CData(part) if wanted => location += &part.into_inner(),
            Event::GeneralRef(name) if wanted => location += reference(&name).unwrap_or_default().as_str(),
            Event::End(_) => {
                if wanted && !location.trim().is_empty() {
                    found.push((location.trim().to_owned(), parent == "sitemap"));
                }
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(found),
            Event::Eof => return Err("it ends too early".into()),
            _ => {}
        }
    }
}

/// What `&amp;` or `&#38;` stands for.
fn reference(name: &str) -> Option<String> {
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = number
                .strip_prefix(['x', 'X'])
                .map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
            char::from_u32(code?)?
        }
    };
    Some(character.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::locations;

    #[test]
    fn locations_are_pages_or_sitemaps() {
        let text = "<?xml version=\"1.0\"?><urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\
            <url><loc>\n https://example.com/a?b=1&amp;c=2 </loc><lastmod>2024</lastmod></url>\
            <url><image:image><image:loc>no</image:loc></image:image><loc><![CDATA[https://example.com/春]]></loc></url></urlset>";
        let expect = ["https://example.com/a?b=1&c=2", "https://example.com/春"].map(|url| (url.to_owned(), false));
        assert_eq!(locations(text).unwrap(), expect);
        let index = "<sitemapindex><sitemap><loc>https://example.com/s.xml</loc></sitemap></sitemapindex>";
        assert_eq!(locations(index).unwrap(), [("https://example.com/s.xml".to_owned(), true)]);
        assert!(
            locations("plain text").is_err()
                && locations("<urlset><url></urlset>").is_err()
                && locations("<urlset>").is_err()
        );
    }
}
