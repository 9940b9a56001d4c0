//! What a model must beat: a general compressor and a context-free model.

use std::collections::BTreeMap;
use std::io::Write;

use danlu_data::Document;
use danlu_text::Tokenizer;
use liblzma::stream::{Check, Filters, LzmaOptions, PRESET_EXTREME, Stream};
use liblzma::write::XzEncoder;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::evaluate::language;
use crate::scores::bits_per_byte;

/// Both baselines over one group of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub xz_bits_per_byte: f64,
    /// Absent when no training text is at hand to count tokens in.
    pub unigram_bits_per_byte: Option<f64>,
    pub xz: XzSize,
    pub documents: u64,
    /// Bytes of text, without separators: the `bytes` of the model's scores.
    pub bytes: u64,
}

/// Both baselines over the same documents as an [`Evaluation`](crate::Evaluation).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    #[serde(flatten)]
    pub overall: Baseline,
    pub by_language: BTreeMap<String, Baseline>,
    pub by_source: BTreeMap<String, Baseline>,
}

/// Measures both baselines over `documents` (pass [`choose`](crate::choose)'s
/// choice when the evaluation was capped), each group as a stream of its own.
/// Documents without text are left out, as they are in an evaluation.
pub fn measure_baselines(
    documents: &[Document],
    unigram: Option<(&Unigram, &Tokenizer)>,
) -> Result<Baselines, EvalError> {
    let documents: Vec<&Document> = documents.iter().filter(|d| !d.text.is_empty()).collect();
    if documents.is_empty() {
        return Err(EvalError::NothingToScore { seen: 0 });
    }
    let nats = unigram.map(|(model, tokenizer)| unigram_nats(&documents, model, tokenizer)).transpose()?;
    let mut languages: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut sources: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        languages.entry(language(document)).or_default().push(index);
        sources.entry(document.source.clone()).or_default().push(index);
    }
    let all: Vec<usize> = (0..documents.len()).collect();
    let measure = |group: &[usize]| baseline(&documents, group, nats.as_deref());
    let measure_all = |groups: BTreeMap<String, Vec<usize>>| {
        groups.into_iter().map(|(name, group)| Ok((name, measure(&group)?))).collect()
    };
    let by_language: Result<_, EvalError> = measure_all(languages);
    let by_source: Result<_, EvalError> = measure_all(sources);
    Ok(Baselines { overall: measure(&all)?, by_language: by_language?, by_source: by_source? })
}

fn unigram_nats(documents: &[&Document], model: &Unigram, tokenizer: &Tokenizer) -> Result<Vec<f64>, EvalError> {
    let cost = |document: &&Document| {
        let tokens = tokenizer.encode_literal(&document.text)?;
        model.nats(&tokens).map_err(|token| EvalError::OutsideVocabulary {
            document: document.id.clone(),
            token,
            vocab_size: model.vocab_size(),
        })
    };
    documents.iter().map(cost).collect()
}

fn baseline(documents: &[&Document], group: &[usize], nats: Option<&[f64]>) -> Result<Baseline, EvalError> {
    let xz = xz_size(group.iter().map(|&index| documents[index].text.as_str()))?;
    let bytes: u64 = group.iter().map(|&index| documents[index].text.len() as u64).sum();
    let total = |nats: &[f64]| group.iter().map(|&index| nats[index]).sum::<f64>();
    Ok(Baseline {
        xz_bits_per_byte: xz.bits_per_byte(),
        unigram_bits_per_byte: nats.map(|nats| bits_per_byte(total(nats), bytes)),
        xz,
        documents: group.len() as u64,
        bytes,
    })
}

/// Size of texts before and after xz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XzSize {
    /// Bytes of the stream: the texts and one newline between neighbours.
    pub stream_bytes: u64,
    pub compressed_bytes: u64,
}

impl XzSize {
    /// Compressed bits per byte of the stream. The newlines are compressed and
    /// counted alike, so xz is not charged for separators the model never sees.
    pub fn bits_per_byte(&self) -> f64 {
        8.0 * self.compressed_bytes as f64 / self.stream_bytes as f64
    }
}

/// What `xz -9e` makes of the texts as one stream, in the given order, joined by
/// newlines: preset 9 with the extreme flag, container and CRC64 included.
pub fn xz_size<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Result<XzSize, EvalError> {
    let stream_bytes = texts.clone().map(|text| text.len() as u64 + 1).sum::<u64>().saturating_sub(1);
    let compressed_bytes = xz_compress(texts, stream_bytes)?.len() as u64;
    Ok(XzSize { stream_bytes, compressed_bytes })
}

/// The compressed stream itself. The dictionary is cut to the stream's length
/// when that is shorter than the preset's 64 MiB, as `xz` could not use more of
/// it: that saves the encoder about 670 MB of memory.
fn xz_compress<'a>(texts: impl Iterator<Item = &'a str>, stream_bytes: u64) -> Result<Vec<u8>, EvalError> {
    const SMALLEST_DICTIONARY: u64 = 1 << 16;
    const PRESET_DICTIONARY: u64 = 64 << 20;
    let mut options = LzmaOptions::new_preset(9 | PRESET_EXTREME).map_err(std::io::Error::from)?;
    let dictionary = stream_bytes.next_power_of_two().clamp(SMALLEST_DICTIONARY, PRESET_DICTIONARY);
    options.dict_size(dictionary as u32);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, Check::Crc64).map_err(std::io::Error::from)?;
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    for (index, text) in texts.enumerate() {
        if index > 0 {
            encoder.write_all(b"\n")?;
        }
        encoder.write_all(text.as_bytes())?;
    }
    Ok(encoder.finish()?)
}

/// Tokens drawn independently by their frequency in the training text:
/// `p(t) = (count(t) + 1) / (total + vocab_size)` (add-one smoothing).
#[derive(Clone, Debug, PartialEq)]
pub struct Unigram {
    /// `ln p(t)` by token id.
    log_probabilities: Vec<f64>,
}

impl Unigram {
    /// `boundary` (the document separator) is not counted: it is never scored.
    /// Ids of `tokens` beyond `vocab_size` are an error that gives the id.
    pub fn count(tokens: impl IntoIterator<Item = u32>, vocab_size: usize, boundary: u32) -> Result<Self, EvalError> {
        let mut counts = vec![0u64; vocab_size];
        for token in tokens.into_iter().filter(|&token| token != boundary) {
            match counts.get_mut(token as usize) {
                Some(count) => *count += 1,
                None => {
                    let document = "the training shard".to_owned();
                    return Err(EvalError::OutsideVocabulary { document, token, vocab_size });
                }
            }
        }
        Ok(Self::from_counts(&counts))
    }

    /// From the count of each token id.
    pub fn from_counts(counts: &[u64]) -> Self {
        let total = counts.iter().sum::<u64>() as f64 + counts.len() as f64;
        let log_probabilities = counts.iter().map(|&n| ((n + 1) as f64 / total).ln()).collect();
        Self { log_probabilities }
    }

    pub fn vocab_size(&self) -> usize {
        self.log_probabilities.len()
    }

    /// `-ln p` of the tokens together, or the id that has no probability.
    pub fn nats(&self, tokens: &[u32]) -> Result<f64, u32> {
        let cost = |&token: &u32| self.log_probabilities.get(token as usize).map(|p| -p).ok_or(token);
        tokens.iter().map(cost).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use super::*;
    use crate::testing::document;

    #[test]
    fn the_stream_decodes_back() {
        let texts = ["松下问童子，", "言师采药去。", "", "fellow citizens of the Senate"];
        let joined = texts.join("\n");
        let size = xz_size(texts.iter().copied()).unwrap();
        assert_eq!(size.stream_bytes, joined.len() as u64);
        let packed = xz_compress(texts.iter().copied(), size.stream_bytes).unwrap();
        assert_eq!(packed.len() as u64, size.compressed_bytes);
        let mut unpacked = String::new();
        liblzma::read::XzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, joined);
    }

    #[test]
    fn same_size_as_the_preset_itself() {
        // The shorter dictionary changes one byte of the header, not the size.
        let text: String = (0..40_000u32).map(|i| format!("{} ", i.wrapping_mul(2_654_435_761) >> 20)).collect();
        let size = xz_size([text.as_str()].into_iter()).unwrap();
        let mut preset = XzEncoder::new(Vec::new(), 9 | PRESET_EXTREME);
        preset.write_all(text.as_bytes()).unwrap();
        let plain = preset.finish().unwrap().len() as u64;
        assert!(size.compressed_bytes.abs_diff(plain) * 1000 <= plain, "{size:?} against {plain}");
    }

    #[test]
    fn unigram_shares_sum_to_one() {
        let unigram = Unigram::count([1, 1, 2, 0, 0, 0], 5, 0).unwrap();
        let shares: Vec<f64> = unigram.log_probabilities.iter().map(|p| p.exp()).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // three counted tokens and five entries: 3/8, 2/8, and 1/8 for the unseen
        assert!((shares[1] - 0.375).abs() < 1e-12);
        assert!((shares[2] - 0.25).abs() < 1e-12);
        assert!((shares[0] - 0.125).abs() < 1e-12);
        let nats = unigram.nats(&[1, 4]).unwrap();
        assert!((nats + (0.375f64 * 0.125).ln()).abs() < 1e-12);
        assert_eq!(unigram.nats(&[5]), Err(5));
        assert!(Unigram::count([9], 5, 0).is_err());
    }

    #[test]
    fn groups_are_streams_of_their_own() {
        let documents = [
            document("the quick brown fox", "en", "a"),
            document("床前明月光，疑是地上霜。", "zh", "b"),
            document("jumps over the lazy dog", "en", "b"),
            document("", "en", "c"),
        ];
        let measured = measure_baselines(&documents, None).unwrap();
        assert_eq!(measured.overall.documents, 3);
        assert_eq!(measured.overall.bytes, 19 + 36 + 23);
        assert_eq!(measured.overall.xz.stream_bytes, measured.overall.bytes + 2);
        let en = &measured.by_language["en"];
        let alone = xz_size(["the quick brown fox", "jumps over the lazy dog"].into_iter()).unwrap();
        assert_eq!(en.xz, alone);
        assert_eq!(measured.by_source["b"].documents, 2);
        assert!(!measured.by_source.contains_key("c"));
        assert_eq!(measured.overall.unigram_bits_per_byte, None);
        assert!(measure_baselines(&documents[3..], None).is_err());
    }
}
