//! What the tests of sources share: a source, what it gives, and compressed files.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use danlu_data::{DataError, Document, SourceConfig, read_source};

pub fn source(path: &str) -> SourceConfig {
    SourceConfig { name: "s".into(), path: path.into(), ..Default::default() }
}

/// All documents and problems of a source.
pub fn read(dir: &Path, source: &SourceConfig) -> Result<(Vec<Document>, Vec<String>), DataError> {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    read_source(source, dir, &mut |record| {
        match record {
            Ok(document) => documents.push(document),
            Err(problem) => problems.push(problem.to_string().replace(&format!("{}/", dir.display()), "")),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((documents, problems))
}

pub fn texts(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.text.as_str()).collect()
}

/// What a file with this content gives.
pub fn read_file(name: &str, content: &[u8], change: impl FnOnce(&mut SourceConfig)) -> (Vec<Document>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let mut source = source(name);
    change(&mut source);
    read(dir.path(), &source).unwrap()
}

pub fn check_texts(name: &str, content: &[u8], expect: &[&str]) {
    let (documents, problems) = read_file(name, content, |_| ());
    assert_eq!((texts(&documents), problems), (expect.to_vec(), vec![]), "{name}");
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A frame of zstd with a window of `1 << log` bytes around stored content (RFC 8878, 3.1.1), as `zstd --long` writes it.
pub fn with_window(log: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 1 << 17);
    let block = (content.len() as u32) << 3 | 1; // the last one, stored
    [&[0x28, 0xB5, 0x2F, 0xFD, 0, (log - 10) << 3][..], &block.to_le_bytes()[..3], content].concat()
}
