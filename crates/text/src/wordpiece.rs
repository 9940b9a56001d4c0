//! WordPiece vocabularies (Schuster and Nakajima 2012), learnt from texts, in the form of BERT's.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, DecoderWrapper, TokenizerBuilder, TokenizerImpl};

use crate::TextError;
use crate::encoder_tokenizer::EncoderTokenizer;
use crate::tokenizer::{CONFIG_FILE, TOKENIZER_FILE};

/// BERT's special tokens, in the order of their ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// Pieces that occur less often are not worth an id.
const LEAST: u64 = 2;

/// A vocabulary to learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordPieceConfig {
    /// Tokens in all, the special ones included; fewer where the texts have no more.
    pub vocab_size: usize,
    /// Whether case and accents are dropped. Chinese has neither: each character is a word of its own.
    pub lowercase: bool,
}

impl Default for WordPieceConfig {
    fn default() -> Self {
        Self { vocab_size: 8192, lowercase: true }
    }
}

type Learner = TokenizerImpl<WordPiece, BertNormalizer, BertPreTokenizer, BertProcessing, DecoderWrapper>;

impl EncoderTokenizer {
    /// Learns a WordPiece vocabulary from texts. The same texts in the same order give the same vocabulary.
    ///
    /// # Errors
    /// [`TextError::BadModelConfig`] for a vocabulary that does not even hold the special tokens;
    /// [`TextError::Encode`] if the texts hold nothing to learn from.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        config: &WordPieceConfig,
    ) -> Result<EncoderTokenizer, TextError> {
        if !(SPECIAL.len() + 1..=1 << 24).contains(&config.vocab_size) {
            let message = format!("must be {} to {}, and is {}", SPECIAL.len() + 1, 1 << 24, config.vocab_size);
            return Err(TextError::BadModelConfig { key: "vocab_size", message });
        }
        let failed = |error: tokenizers::Error| TextError::Encode { bytes: 0, message: error.to_string() };
        let special = SPECIAL.map(|token| AddedToken::from(token, true)).to_vec();
        let mut trainer = WordPieceTrainer::builder()
            .vocab_size(config.vocab_size)
            .min_frequency(LEAST)
            .special_tokens(special)
            .show_progress(false)
            .build();
        let mut learner: Learner = TokenizerBuilder::new()
            .with_model(WordPiece::default())
            .with_normalizer(Some(BertNormalizer::new(true, true, None, config.lowercase)))
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_post_processor(Some(BertProcessing::new(("[SEP]".into(), 3), ("[CLS]".into(), 2))))
            .with_decoder(Some(DecoderWrapper::WordPiece(Default::default())))
            .build()
            .map_err(failed)?;
        learner.train(&mut trainer, texts).map_err(failed)?;
        let json = learner.to_string(false).map_err(failed)?;
        Self::from_json(&json, &settings(config), Path::new(TOKENIZER_FILE))
    }

    /// Writes tokenizer.json and tokenizer_config.json into `dir`, which must exist.
    ///
    /// # Errors
    /// [`TextError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), TextError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| TextError::Io { action: "write", path, source })
        };
        let json = self.to_json().map_err(|error| TextError::Encode { bytes: 0, message: error.to_string() })?;
        write(TOKENIZER_FILE, json)?;
        write(CONFIG_FILE, format!("{:#}\n", self.settings()))
    }
}

/// tokenizer_config.json of such a vocabulary.
fn settings(config: &WordPieceConfig) -> serde_json::Value {
    json!({
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": config.lowercase,
        "tokenize_chinese_chars": true,
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "The furnace melts gold, the furnace refines words.",
        "Melting and refining: the Furnace melted again.",
        "丹炉炼丹，炼字如炼丹。",
        "炉火纯青，炼丹百日。",
    ];

    fn trained(vocab_size: usize) -> EncoderTokenizer {
        let config = WordPieceConfig { vocab_size, ..WordPieceConfig::default() };
        EncoderTokenizer::train(TEXTS.into_iter(), &config).unwrap()
    }

    #[test]
    fn words_become_pieces_and_chinese_characters() {
        let tokenizer = trained(120);
        assert_eq!(tokenizer.kind(), "WordPiece");
        assert!(tokenizer.vocab_size() <= 120);
        assert_eq!(SPECIAL.map(|token| tokenizer.token_id(token).unwrap()), [0, 1, 2, 3, 4]);
        assert_eq!((tokenizer.pad_id(), tokenizer.mask_id()), (Some(0), Some(4)));
        let encoded = tokenizer.encode("The FURNACE 炼丹", 32).unwrap();
        assert_eq!((encoded.ids[0], *encoded.ids.last().unwrap()), (2, 3));
        assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), "the furnace 炼 丹");
        assert!(!encoded.ids.contains(&1), "nothing unknown: {encoded:?}");
        let unseen = tokenizer.encode("Ω", 32).unwrap();
        assert_eq!(unseen.ids, [2, 1, 3]);
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let (one, two) = (trained(90), trained(90));
        assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
    }

    #[test]
    fn what_is_saved_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = trained(100);
        tokenizer.save(folder.path()).unwrap();
        let again = EncoderTokenizer::from_dir(folder.path()).unwrap();
        let text = "melting gold 百炼";
        assert_eq!(again.encode(text, 64).unwrap(), tokenizer.encode(text, 64).unwrap());
        assert_eq!(again.mask_id(), Some(4));
    }

    #[test]
    fn a_vocabulary_too_small_is_refused() {
        let config = WordPieceConfig { vocab_size: 5, ..WordPieceConfig::default() };
        let error = EncoderTokenizer::train(TEXTS.into_iter(), &config).unwrap_err();
        assert!(error.to_string().contains("vocab_size"), "{error}");
    }
}
