//! The vocabulary of an encoder-decoder: byte-level BPE of which every text ends in the end token, on both sides.

use std::path::Path;

use serde_json::json;
use tokenizers::PostProcessorWrapper;
use tokenizers::processors::template::TemplateProcessing;

use crate::tokenizer::{END_OF_TEXT, TOKENIZER_FILE};
use crate::{EncoderTokenizer, TextError, Tokenizer, TokenizerConfig};

impl EncoderTokenizer {
    /// Learns one vocabulary from the texts of both sides, as [`Tokenizer::train`] does; what is encoded ends in
    /// `<|endoftext|>`, which also pads and is what a decoder may begin with.
    ///
    /// # Errors
    /// As there.
    pub fn train_bpe<S>(texts: impl Iterator<Item = S> + Send, config: &TokenizerConfig) -> Result<Self, TextError>
    where
        S: AsRef<str> + Send,
    {
        let learned = Tokenizer::train(texts, config)?;
        let training = |message: String| TextError::Training { message };
        let settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_prefix_space": false,
            "clean_up_tokenization_spaces": false,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
        });
        let ending = TemplateProcessing::builder()
            .try_single(format!("$A {END_OF_TEXT}"))
            .and_then(|builder| builder.try_pair(format!("$A {END_OF_TEXT} $B {END_OF_TEXT}")))
            .map_err(|error| training(error.to_string()))?
            .special_tokens(vec![(END_OF_TEXT, learned.eos_id())])
            .build()
            .map_err(|error| training(error.to_string()))?;
        let plain = Self::from_json(learned.json(), &settings, Path::new(TOKENIZER_FILE))?;
        Ok(plain.with_post_processor(PostProcessorWrapper::Template(ending)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_in_the_end_token_and_come_back() {
        let texts = ["Open the file.", "打开文件。", "Open the other file.", "打开另一个文件。"].repeat(3);
        let config = TokenizerConfig { vocab_size: 275, ..TokenizerConfig::default() };
        let tokenizer = EncoderTokenizer::train_bpe(texts.iter(), &config).unwrap();
        assert_eq!(tokenizer.vocab_size(), 275);
        let eos = tokenizer.token_id(END_OF_TEXT).unwrap();
        assert_eq!(tokenizer.pad_id(), Some(eos));
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let again = EncoderTokenizer::from_dir(folder.path()).unwrap();
        for text in ["Open 文件 ☃", "", " 前后 "] {
            let encoded = tokenizer.encode(text, 100).unwrap();
            assert_eq!(encoded.ids.last(), Some(&eos));
            assert_eq!(encoded, again.encode(text, 100).unwrap());
            assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), text);
        }
        let cut = tokenizer.encode("Open the file. Open the other file.", 5).unwrap();
        assert_eq!((cut.ids.len(), cut.ids.last()), (5, Some(&eos)));
        assert!(cut.cut > 0);
    }
}
