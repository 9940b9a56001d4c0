//! What the tests of this room share: a small tokenizer and documents of two languages.
#![allow(dead_code)]

pub mod sources;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use danlu_data::{Document, DocumentWriter, Progress};
use danlu_text::{Tokenizer, TokenizerConfig};

pub const ENGLISH: &str = "Fellow citizens of the Senate and of the House of Representatives, in vain may we expect peace with \
    the Indians on our frontiers so long as a lawless set of unprincipled wretches can violate the rights of hospitality.";
pub const CHINESE: &str =
    "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。連甍遙接漢，飛觀迥凌虛。雲日隱層闕，風煙出綺疎。";

pub static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts = [ENGLISH, CHINESE, ENGLISH, CHINESE];
    Tokenizer::train(texts.iter(), &TokenizerConfig { vocab_size: 300, ..Default::default() }).unwrap()
});

pub fn quiet(_: Progress<'_>) {}

pub fn documents(count: usize) -> Vec<Document> {
    (0..count)
        .map(|i| {
            let (text, source, language) =
                if i % 3 == 0 { (CHINESE, "poems", "zh") } else { (ENGLISH, "speeches", "en") };
            let mut document = Document::new(format!("{text}\n{i}"), source);
            document.language = language.into();
            document
        })
        .collect()
}

pub fn write_documents(dir: &Path, documents: &[Document]) -> PathBuf {
    let path = dir.join("documents.parquet");
    let mut writer = DocumentWriter::create(&path).unwrap();
    documents.iter().for_each(|document| writer.write(document).unwrap());
    writer.finish().unwrap();
    path
}
