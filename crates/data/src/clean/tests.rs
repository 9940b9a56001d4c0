//! A full table of hashes leaves no trace.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use super::global::Begin;
use super::*;
use crate::ngrams::mix;
use crate::{DocumentWriter, Progress};

fn quiet(_: Progress<'_>) {}

/// Documents of which most come several times, over three chunks; some of them are dropped for other reasons.
fn documents() -> Vec<Document> {
    let sentence = "Fellow citizens of the Senate and of the House of Representatives. ".repeat(45);
    let text = |number: u64| match mix(number) % 2500 {
        some if some % 50 == 0 => format!("short {some}"),
        some => format!("{sentence}This is number {some}"),
    };
    (0..6000).map(|number| Document::new(text(number), ["a", "b", "c"][number as usize % 3])).collect()
}

fn write(path: &Path, documents: &[Document]) {
    let mut writer = DocumentWriter::create(path).unwrap();
    documents.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .map(|e| (name(&e), std::fs::read(e.path()).unwrap()))
        .collect()
}

const RULES: &str = r#"
min_chars = 20

[[rules]]
name = "sevens"
drop_if = "char_count(text) > 100000 OR text LIKE '%7'"
"#;

#[test]
fn a_full_table_of_hashes_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let collected = dir.path().join("documents.parquet");
    write(&collected, &documents());
    let split = SplitConfig { valid: 0.1, test: 0.1 };
    let outliers = "\n[[outliers]]\nstatistic = \"char_count(text)\"\nmethod = \"zscore\"\nfactor = 2.0\n";
    for (number, text) in
        [RULES.to_owned(), format!("keep_dropped = false\n{RULES}"), format!("{RULES}{outliers}")].iter().enumerate()
    {
        let config: CleanConfig = toml::from_str(text).unwrap();
        let run = |begin: Begin<'_>, bytes: u64, name: &str| {
            let out = dir.path().join(format!("{name}-{number}"));
            let funnel = finish(begin, &config, &split, &out, bytes, &quiet).unwrap();
            (funnel, files(&out))
        };
        let endless = run(Begin::Documents(&collected), EXACT_BYTES, "endless");
        assert!(endless.0.reasons()["duplicate"].documents > 2000, "{:?}", endless.0.reasons());
        let full = run(Begin::Documents(&collected), 2000, "full");
        assert_eq!(endless.0, full.0);
        assert!(endless.1 == full.1, "{:?}", endless.1.keys());

        let folder = dir.path().join(format!("parts-{number}"));
        let cut = split_documents(&collected, 5 << 20, &folder).unwrap();
        let parts: Vec<Part> = cut
            .iter()
            .map(|path| {
                let folder = path.with_extension("cleaned");
                let summary = clean_part(path, &config, &folder, &quiet).unwrap();
                Part { folder, summary }
            })
            .collect();
        assert!(parts.len() > 2);
        let endless = run(Begin::Parts(&parts), EXACT_BYTES, "parts-endless");
        let full = run(Begin::Parts(&parts), 2000, "parts-full");
        assert_eq!(endless.0, full.0);
        assert!(endless.1 == full.1, "{:?}", endless.1.keys());
    }
}
