//! Formats: foreign files, from bytes to text, sound or pixels. Every parser here is meant for input that nobody vouches for.
//!
//! This room knows no documents, recipes, paths or network: a reader takes `impl BufRead` (or `&[u8]`, `&str`, where a
//! format must be whole) and yields records. It depends on no other room.
//!
//! | module | from | to |
//! |---|---|---|
//! | [`html`] | a page, a fragment | main text, title, language, date, author, links |
//! | [`wikitext`] | MediaWiki XML dumps, wikitext | pages, text |
//! | [`warc`] | WARC and WET files | HTTP payloads, extracted texts |
//! | [`mail`] | mbox, MIME messages | message texts |
//! | [`feed`] | RSS, Atom, RDF | entries |
//! | [`posts`] | Reddit, Hacker News, Stack Exchange dumps | posts and comments |
//! | [`records`] | JSON Lines, JSON, CSV, tab-separated values | records of fields |
//! | [`epub`], [`pdf`], [`markdown`] | books, papers, notes | chapters, pages, text |
//! | [`picture`] | PNG, JPEG | pixels |
//! | [`sound`] | WAV, MP3, FLAC, Ogg Vorbis, MP4 with AAC | samples of one channel |
//! | [`encoding`] | bytes of unknown encoding | text |
//! | [`limits`] | decompressed streams | the same, or an error when they grow too far |
//!
//! What holds for all of them:
//! - **One broken record is one error.** A reader is an iterator over `Result<Record, FormatError>`; after an error it goes on with
//!   the next record unless [`FormatError::ends_reading`]. Errors carry the line, offset or entry.
//! - **Bounded memory.** A record above the reader's `max_bytes` is skipped and named, never held.
//! - **Linear time.** Nesting to any depth neither overflows the stack nor takes quadratic time.
//! - **No panic** on any bytes, which property tests and the fuzz targets in `fuzz/` hold.
//!
//! Where to begin reading: `html/mod.rs`, whose parts (tree, choice of the main text, rendering) the others use.

mod dates;
pub mod encoding;
mod entities;
pub mod epub;
mod error;
pub mod feed;
mod guard;
pub mod html;
pub mod limits;
mod lines;
pub mod mail;
pub mod markdown;
pub mod pdf;
pub mod picture;
pub mod posts;
mod reading;
pub mod records;
pub mod sound;
pub mod warc;
pub mod wikitext;
mod xml;

pub use error::{At, Fault, FormatError};

/// The `max_bytes` of a reader where nothing else is known: what one record may have.
pub const MAX_RECORD_BYTES: usize = 256 << 20;
