//! What a sound file claims of its own sizes, held against its length. symphonia makes room for what it is told before it reads
//! it, and a kilobyte that tells of a hundred gigabytes ends the process. Only claims that are followed by an allocation are
//! looked at; whatever else is wrong is for symphonia to say.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::{malformed, vorbis};
use crate::{At, FormatError};

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Flac,
    Ogg,
    Mp4,
    /// Frames of MP3 or AAC one after the other, wherever they begin.
    Frames,
}

/// Boxes within boxes: more than any file has.
const DEEPEST: usize = 12;
/// The first packets of a stream in Ogg, among which its headers are.
const HEADERS: usize = 16;
/// More bytes than a header has, a picture of the cover included.
const LONGEST_HEADER: usize = 1 << 24;

/// A file and its length.
pub(super) struct File<'a, R> {
    pub(super) input: &'a mut R,
    pub(super) length: u64,
}

impl<R: Read + Seek> File<'_, R> {
    /// The container, and where it begins: tags of ID3 before it are left out.
    pub(super) fn container(&mut self) -> Result<(Container, u64), FormatError> {
        let mut begin = 0;
        loop {
            let head = self.at(begin, 12)?;
            match head.as_slice() {
                [b'I', b'D', b'3', _, _, flags, size @ ..] if size.len() >= 4 => {
                    let size = size[..4].iter().fold(0u64, |size, byte| size << 7 | u64::from(byte & 0x7f));
                    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
                    begin += 10 + size + footer;
                }
                [b'R', b'I', b'F', b'F', ..] => return Ok((Container::Wav, begin)),
                [b'f', b'L', b'a', b'C', ..] => return Ok((Container::Flac, begin)),
                [b'O', b'g', b'g', b'S', ..] => return Ok((Container::Ogg, begin)),
                [_, _, _, _, b'f', b't', b'y', b'p', ..] => return Ok((Container::Mp4, begin)),
                _ => return Ok((Container::Frames, begin)),
            }
        }
    }

    /// # Errors
    /// A size beyond what holds it.
    pub(super) fn check(&mut self, container: Container, begin: u64) -> Result<(), FormatError> {
        match container {
            Container::Wav => self.wav(begin + 12),
            Container::Flac => self.flac(begin + 4),
            Container::Ogg => self.ogg(begin),
            Container::Mp4 => self.boxes(begin, self.length, 0),
            Container::Frames => Ok(()),
        }
    }

    /// So many bytes from a place on, fewer at the end.
    fn at(&mut self, at: u64, count: u64) -> Result<Vec<u8>, FormatError> {
        let io = |error: io::Error| FormatError::io(At::Whole, error);
        let count = count.min(self.length.saturating_sub(at));
        let mut bytes = Vec::new();
        self.input.seek(SeekFrom::Start(at)).map_err(io)?;
        self.input.by_ref().take(count).read_to_end(&mut bytes).map_err(io)?;
        Ok(bytes)
    }

    /// Chunks up to the one with the sound; a list has chunks of its own.
    fn wav(&mut self, mut at: u64) -> Result<(), FormatError> {
        loop {
            let head = self.at(at, 8)?;
            let Some(size) = le32(&head, 4).filter(|_| !head.starts_with(b"data")) else { return Ok(()) };
            let end = at + 8 + size;
            if end > self.length {
                return Err(beyond("a chunk"));
            }
            if head.starts_with(b"LIST") {
                let mut inner = at + 12;
                while inner + 8 <= end {
                    let size = le32(&self.at(inner, 8)?, 4).unwrap_or(0);
                    inner += 8 + size + size % 2;
                    if inner > end + 1 {
                        return Err(beyond("a chunk of a list"));
                    }
                }
            }
            at = end + size % 2;
        }
    }

    /// Blocks of what is said before the sound.
    fn flac(&mut self, mut at: u64) -> Result<(), FormatError> {
        loop {
            let head = self.at(at, 4)?;
            let [kind, sizes @ ..] = head.as_slice() else { return Ok(()) };
            let size = sizes.iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
            if sizes.len() < 3 || at + 4 + size > self.length {
                return Err(beyond("a block"));
            }
            match kind & 0x7f {
                4 => comments(&self.at(at + 4, size)?)?,
                6 => picture(&self.at(at + 4, size)?)?,
                _ => {}
            }
            if kind & 0x80 != 0 {
                return Ok(());
            }
            at += 4 + size;
        }
    }

    /// The first packets of each stream, put together from pages.
    fn ogg(&mut self, begin: u64) -> Result<(), FormatError> {
        let io = |error: io::Error| FormatError::io(At::Whole, error);
        self.input.seek(SeekFrom::Start(begin)).map_err(io)?;
        let mut input = BufReader::new(&mut *self.input);
        // By serial number: packets so far, and the one that goes on.
        let mut streams: std::collections::HashMap<[u8; 4], (usize, Vec<u8>)> = std::collections::HashMap::new();
        while let Some(page) = Page::read(&mut input).map_err(io)? {
            let (packets, packet) = streams.entry(page.serial).or_default();
            if page.first {
                (*packets, *packet) = (0, Vec::new());
            }
            if *packets >= HEADERS {
                input.seek_relative(page.length() as i64).map_err(io)?;
                continue;
            }
            for segment in &page.segments {
                let before = packet.len();
                (&mut input).take(u64::from(*segment)).read_to_end(packet).map_err(io)?;
                if packet.len() > LONGEST_HEADER || packet.len() - before < usize::from(*segment) {
                    return if packet.len() > LONGEST_HEADER { Err(beyond("a header")) } else { Ok(()) };
                }
                if *segment < 255 {
                    header(packet)?;
                    packet.clear();
                    *packets += 1;
                }
            }
        }
        Ok(())
    }

    /// Boxes of MP4, of which those hold others that symphonia looks into.
    fn boxes(&mut self, begin: u64, end: u64, depth: usize) -> Result<(), FormatError> {
        let mut at = begin;
        while at + 8 <= end {
            let head = self.at(at, 16)?;
            let (size, header) = match be32(&head, 0).unwrap_or(0) {
                0 => (end - at, 8),
                1 => (be32(&head, 8).unwrap_or(0) << 32 | be32(&head, 12).unwrap_or(0), 16),
                size => (size, 8),
            };
            let kind: [u8; 4] = head.get(4..8).and_then(|kind| kind.try_into().ok()).unwrap_or_default();
            let inner = at + header;
            let stop = at.checked_add(size).filter(|stop| *stop <= end && *stop >= inner);
            let Some(stop) = stop else {
                // A file may end within its sound.
                return if depth == 0 && &kind == b"mdat" { Ok(()) } else { Err(beyond("a box")) };
            };
            match &kind {
                _ if depth > DEEPEST => return Err(beyond("boxes in boxes")),
                b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" | b"moof" | b"traf" | b"mvex" | b"udta" | b"ilst" => {
                    self.boxes(inner, stop, depth + 1)?;
                }
                b"meta" => self.boxes(inner + 4, stop, depth + 1)?,
                b"stco" | b"co64" | b"stts" | b"stsc" | b"stsz" | b"trun" | b"tfhd" | b"trex" => {
                    let table = self.at(inner, stop - inner)?;
                    self.table(kind, &table)?;
                }
                _ => {}
            }
            at = stop;
        }
        Ok(())
    }

    /// Numbers of entries, and sizes of samples.
    fn table(&self, kind: [u8; 4], table: &[u8]) -> Result<(), FormatError> {
        let flags = be32(table, 0).unwrap_or(0);
        let number = |at: usize| be32(table, at).unwrap_or(0);
        let room = |first: u64, entry: u64, count: u64| first + entry * count <= table.len() as u64;
        let size_at =
            |first: usize, before: &[u64]| first + 4 * before.iter().filter(|flag| flags & **flag != 0).count();
        let (fits, sizes): (bool, Vec<u64>) = match &kind {
            b"stco" => (room(8, 4, number(4)), Vec::new()),
            b"stts" | b"co64" => (room(8, 8, number(4)), Vec::new()),
            b"stsc" => (room(8, 12, number(4)), Vec::new()),
            b"stsz" if number(4) == 0 => (
                room(12, 4, number(8)),
                table.get(12..).unwrap_or_default().chunks_exact(4).filter_map(|n| be32(n, 0)).collect(),
            ),
            b"stsz" => (true, vec![number(4)]),
            b"trex" => (true, vec![number(16)]),
            // Its base takes eight bytes.
            b"tfhd" if flags & 0x10 != 0 => (true, vec![number(size_at(8, &[1, 1, 2, 8]))]),
            b"trun" => {
                let fields: Vec<u64> =
                    [0x100, 0x200, 0x400, 0x800].into_iter().filter(|flag| flags & flag != 0).collect();
                let (first, entry) = (size_at(8, &[1, 4]), 4 * fields.len());
                let place = fields.iter().position(|flag| *flag == 0x200);
                let entries = table.get(first..).unwrap_or_default().chunks_exact(entry.max(1));
                let sizes = entries.filter_map(|entry| be32(entry, 4 * place?)).collect();
                (room(first as u64, entry as u64, number(4)), sizes)
            }
            _ => (true, Vec::new()),
        };
        match fits && sizes.iter().all(|size| *size <= self.length) {
            true => Ok(()),
            false => Err(beyond("a table")),
        }
    }
}

/// The head of a page of Ogg.
struct Page {
    serial: [u8; 4],
    /// Whether its stream begins with it.
    first: bool,
    segments: Vec<u8>,
}

impl Page {
    /// The next page, wherever it begins; nothing at the end.
    fn read<R: Read>(input: &mut BufReader<R>) -> io::Result<Option<Self>> {
        let mut marker = [0u8; 4];
        let mut byte = [0u8];
        while &marker != b"OggS" {
            if input.read(&mut byte)? == 0 {
                return Ok(None);
            }
            marker.rotate_left(1);
            marker[3] = byte[0];
        }
        let mut rest = [0u8; 23];
        match input.read_exact(&mut rest) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut segments = Vec::new();
        input.take(rest[22].into()).read_to_end(&mut segments)?;
        Ok(Some(Page { serial: [rest[10], rest[11], rest[12], rest[13]], first: rest[1] & 2 != 0, segments }))
    }

    fn length(&self) -> usize {
        self.segments.iter().map(|segment| usize::from(*segment)).sum()
    }
}

/// A header of Vorbis, of Opus or, as in its own files, of FLAC.
fn header(packet: &[u8]) -> Result<(), FormatError> {
    match packet {
        [3, b'v', b'o', b'r', b'b', b'i', b's', rest @ ..]
        | [b'O', b'p', b'u', b's', b'T', b'a', b'g', b's', rest @ ..] => comments(rest),
        [5, b'v', b'o', b'r', b'b', b'i', b's', rest @ ..] => match vorbis::tables_fit(rest) {
            true => Ok(()),
            false => Err(beyond("a codebook")),
        },
        [4 | 0x84, _, _, _, rest @ ..] => comments(rest),
        [6 | 0x86, _, _, _, rest @ ..] => picture(rest),
        _ => Ok(()),
    }
}

/// The comments of Vorbis: their number, and the length of each before it.
fn comments(bytes: &[u8]) -> Result<(), FormatError> {
    let skip = |at: u64| Some(at + 4 + le32(bytes, usize::try_from(at).ok()?)?);
    let length = bytes.len() as u64;
    let Some(mut at) = skip(0).filter(|at| *at <= length) else { return Err(beyond("a comment")) };
    let Some(count) = le32(bytes, at as usize) else { return Err(beyond("comments")) };
    at += 4;
    for _ in 0..count {
        match skip(at).filter(|at| *at <= length) {
            Some(next) => at = next,
            None => return Err(beyond("a comment")),
        }
    }
    Ok(())
}

/// The picture of FLAC: three texts with their lengths, two and the picture.
fn picture(bytes: &[u8]) -> Result<(), FormatError> {
    let mut at = 4u64;
    for after in [0, 16, 0] {
        let size = usize::try_from(at).ok().and_then(|at| be32(bytes, at)).ok_or_else(|| beyond("a picture"))?;
        at += 4 + size + after;
        if at > bytes.len() as u64 {
            return Err(beyond("a picture"));
        }
    }
    Ok(())
}

fn le32(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(number).into())
}

fn be32(bytes: &[u8], at: usize) -> Option<u64> {
    let number = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(number).into())
}

fn beyond(what: &str) -> FormatError {
    malformed(&format!("{what} that is larger than what holds it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What is said of a file, after which kind it was found to be.
    fn check(bytes: &[u8]) -> (Container, Result<(), String>) {
        let (mut input, length) = (Cursor::new(bytes), bytes.len() as u64);
        let mut file = File { input: &mut input, length };
        let (container, begin) = file.container().unwrap();
        (container, file.check(container, begin).map_err(|error| error.to_string()))
    }

    fn refused(bytes: &[u8], container: Container, what: &str) {
        let (found, said) = check(bytes);
        let said = said.unwrap_err();
        assert!(
            found == container && said.contains(what) && said.contains("larger than what holds it"),
            "{found:?} {said}"
        );
    }

    fn seed(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/sound").join(name);
        std::fs::read(path).unwrap()
    }

    #[test]
    fn sound_files_are_what_they_claim() {
        for (name, container) in [
            ("wav", Container::Wav),
            ("wav_24", Container::Wav),
            ("mp3", Container::Frames),
            ("flac", Container::Flac),
            ("vorbis_stereo", Container::Ogg),
            ("aac", Container::Mp4),
        ] {
            let file = seed(name);
            assert_eq!(check(&file), (container, Ok(())), "{name}");
            // Behind a tag of 3 bytes.
            let tagged = [b"ID3\x04\0\0\0\0\0\x03abc", file.as_slice()].concat();
            assert_eq!(check(&tagged), (container, Ok(())), "{name}");
            let heard = |file: Vec<u8>| super::super::read_sound(Cursor::new(file), 16_000, 9.0).unwrap();
            assert!(heard(file.clone()).samples.len() > 1000, "{name}");
            assert_eq!(heard(tagged), heard(file), "{name}");
        }
    }

    fn boxed(kind: &[u8; 4], inner: &[u8]) -> Vec<u8> {
        [&(inner.len() as u32 + 8).to_be_bytes()[..], kind, inner].concat()
    }

    #[test]
    fn tables_of_mp4_have_room_for_what_they_count() {
        let file = |table: Vec<u8>| {
            let nested =
                [b"stbl", b"minf", b"mdia", b"trak", b"moov"].iter().fold(table, |inner, kind| boxed(kind, &inner));
            [boxed(b"ftyp", b"M4A \0\0\0\0"), nested].concat()
        };
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        for (kind, table) in [
            (b"stco", numbers(&[0, u32::MAX, 1])),
            (b"co64", numbers(&[0, 2, 0, 1])),
            (b"stts", numbers(&[0, 0x1000_0000, 1, 1])),
            (b"stsc", numbers(&[0, 2, 1, 1, 1])),
            (b"stsz", numbers(&[0, 0, 3, 1, 1])),
            (b"stsz", numbers(&[0, 1 << 30, 3])),
            (b"stsz", numbers(&[0, 0, 2, 1, 1 << 31])),
            (b"trex", numbers(&[0, 1, 1, 1, 1 << 31, 0])),
            (b"tfhd", numbers(&[0x11, 1, 0, 0, 1 << 31])),
            (b"trun", numbers(&[0x201, 2, 0, 1])),
            (b"trun", numbers(&[0x301, 1, 0, 1, 1 << 31])),
        ] {
            refused(&file(boxed(kind, &table)), Container::Mp4, "a table");
        }
        let fine = [boxed(b"stco", &numbers(&[0, 1, 9])), boxed(b"stsz", &numbers(&[0, 0, 1, 9]))].concat();
        assert_eq!(check(&file(fine.clone())).1, Ok(()));
        let mut long = file(fine);
        let at = long.windows(4).position(|four| four == b"trak").unwrap();
        long[at - 4] = 0x7f;
        refused(&long, Container::Mp4, "a box");
        let deep = (0..40).fold(Vec::new(), |inner, _| boxed(b"moov", &inner));
        refused(&[boxed(b"ftyp", b"M4A "), deep].concat(), Container::Mp4, "boxes in boxes");
    }

    #[test]
    fn chunks_blocks_and_comments_lie_within_what_holds_them() {
        let wav = |chunk: &[u8]| [b"RIFF\xff\0\0\0WAVE", chunk, b"data\0\0\0\0"].concat();
        refused(&wav(b"junk\xff\xff\xff\xff"), Container::Wav, "a chunk");
        refused(&wav(b"LIST\x10\0\0\0INFOINAM\xff\xff\xff\x7fabcd"), Container::Wav, "a chunk of a list");
        assert_eq!(check(&wav(b"LIST\x0e\0\0\0INFOINAM\x02\0\0\0ab")).1, Ok(()));
        // The sound itself may be cut.
        assert_eq!(check(b"RIFF\xff\0\0\0WAVEdata\xff\xff\xff\xff").1, Ok(()));

        let flac = |kind: u8, block: &[u8]| [b"fLaC", &[kind, 0, 0, block.len() as u8], block].concat();
        refused(b"fLaC\x04\xff\0\0abc", Container::Flac, "a block");
        refused(&flac(0x84, b"\0\0\0\0\x01\0\0\0\xff\xff\xff\xffab"), Container::Flac, "a comment");
        refused(&flac(0x84, b"\xff\0\0\x10"), Container::Flac, "a comment");
        refused(&flac(0x86, b"\0\0\0\x03\xff\0\0\0abcdefgh"), Container::Flac, "a picture");
        assert_eq!(check(&flac(0x84, b"\x01\0\0\0v\x01\0\0\0\x02\0\0\0ab")).1, Ok(()));

        // Comments in the second page of a stream, which goes on in the third.
        let page = |flags: u8, packet: &[u8], last: &[u8]| {
            let rest = [b"OggS\0", &[flags][..], &[0; 8], b"abcd", &[0; 8], &[last.len() as u8], last, packet].concat();
            rest
        };
        let comments = [&b"\x03vorbis"[..], &[0; 4], &[1, 0, 0, 0], &[0xff, 0xff, 0, 0], &[7; 250]].concat();
        let (one, two) = comments.split_at(255);
        let ogg = [page(2, b"\x01vorbis", &[7]), page(0, one, &[255]), page(1, two, &[two.len() as u8])].concat();
        refused(&ogg, Container::Ogg, "a comment");
        refused(&[b"OggS", &[0; 40][..], &ogg[4..], &ogg].concat(), Container::Ogg, "a comment");
    }
}
