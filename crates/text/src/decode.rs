use crate::Tokenizer;

/// Turns ids into text as they arrive, holding back the bytes of an unfinished character.
///
/// The pieces, with that of [`finish`](Self::finish), concatenate to exactly what [`Tokenizer::decode`] gives for all
/// ids at once. (A stream may begin within a text: the space before a text of SentencePiece stays.)
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// Takes one more token and returns the text that is now whole, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.pending.extend_from_slice(self.tokenizer.token_bytes(id));
        let end = whole_prefix(&self.pending);
        if end == 0 {
            return None;
        }
        let rest = self.pending.split_off(end);
        let whole = std::mem::replace(&mut self.pending, rest);
        Some(String::from_utf8_lossy(&whole).into_owned())
    }

    /// The rest: a character that was cut off appears as U+FFFD.
    pub fn finish(self) -> Option<String> {
        (!self.pending.is_empty()).then(|| String::from_utf8_lossy(&self.pending).into_owned())
    }
}

/// How many leading bytes need no further byte to be decoded: all but a possibly unfinished last character.
fn whole_prefix(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        match std::str::from_utf8(&bytes[start..]) {
            Ok(_) => return bytes.len(),
            // A wrong byte can never become right; what follows it may.
            Err(error) => match error.error_len() {
                Some(length) => start += error.valid_up_to() + length,
                None => return start + error.valid_up_to(),
            },
        }
    }
}
