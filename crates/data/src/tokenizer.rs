use std::path::Path;

use danlu_text::{Tokenizer, TokenizerConfig};

use crate::conversation::learnable;
use crate::document::fraction;
use crate::{DataError, Document, ProgressFn, read_documents};

/// Trains a tokenizer on a file of documents, or on an even sample of them where they are more than
/// `config.sample_megabytes`. The sample is decided by the documents' hashes: the same file gives the same tokenizer.
///
/// # Errors
/// Those of the table and of the training; [`DataError::Preferences`] where not all answers are to be learnt.
pub fn train_tokenizer(
    documents: &Path,
    config: &TokenizerConfig,
    progress: &ProgressFn<'_>,
) -> Result<Tokenizer, DataError> {
    let share = sampled_share(documents, config)?;
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    let mut error = None;
    let mut count = 0u64;
    let texts = std::iter::from_fn(|| {
        loop {
            match reader.next()? {
                Ok(document) if sampled(&document, share) => {
                    count += 1;
                    if count.is_multiple_of(256) {
                        meter.report("tokenizer", progress);
                    }
                    return Some(document.text);
                }
                Ok(_) => {}
                Err(e) => {
                    error = Some(e);
                    return None;
                }
            }
        }
    });
    let trained = Tokenizer::train(texts, config);
    // A damaged file ends the texts early; what was learned of its beginning is not what was asked for.
    error.map_or(Ok(trained?), Err)
}

/// The share of documents to train on.
fn sampled_share(documents: &Path, config: &TokenizerConfig) -> Result<f64, DataError> {
    let cap = config.sample_megabytes.saturating_mul(1_000_000);
    let mut bytes = 0;
    for document in read_documents(documents)? {
        let document = document?;
        learnable(&document)?; // before the hours that shards would take to find it
        bytes += document.text.len() as u64;
    }
    Ok(if bytes <= cap { 1.0 } else { cap as f64 / bytes as f64 })
}

/// By other bits of the hash than the split takes, so that the sample is even within a split.
fn sampled(document: &Document, share: f64) -> bool {
    share >= 1.0 || fraction(document.id_number().rotate_left(64)) < share
}
