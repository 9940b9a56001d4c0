use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::entities;

/// Reads XML leniently: references are resolved (HTML's names too), end tags are not compared.
pub(crate) struct Xml<'a> {
    reader: Reader<&'a [u8]>,
}

pub(crate) enum Piece<'a> {
    /// Empty elements open and close.
    Open(BytesStart<'a>),
    Close,
    Text(Cow<'a, str>),
    End,
}

impl<'a> Xml<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.allow_dangling_amp = true;
        config.allow_unmatched_ends = true;
        config.check_end_names = false;
        config.expand_empty_elements = true;
        Self { reader }
    }

    /// The next piece; what is wrong with the text, after which nothing more can be read.
    pub(crate) fn next(&mut self) -> Result<Piece<'a>, String> {
        loop {
            match self.reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(element) | Event::Empty(element) => return Ok(Piece::Open(element)),
                Event::End(_) => return Ok(Piece::Close),
                Event::Text(text) => return Ok(Piece::Text(text.into_inner())),
                Event::CData(text) => return Ok(Piece::Text(text.into_inner())),
                Event::GeneralRef(name) => {
                    let text = entities::resolve(&name).unwrap_or_else(|| Cow::Owned(format!("&{};", &*name)));
                    return Ok(Piece::Text(text));
                }
                Event::Eof => return Ok(Piece::End),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }
}

/// An attribute's value, with its references resolved.
pub(crate) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut all = element.attributes();
    // The check for doubles is quadratic.
    let found = all
        .with_checks(false)
        .filter_map(Result::ok)
        .find(|attribute| attribute.key.local_name().into_inner() == name)?;
    Some(entities::decode(&found.value).into_owned())
}
