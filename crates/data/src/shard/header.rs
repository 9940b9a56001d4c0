//! The fixed part of a shard: 192 bytes, little-endian.

/// The first eight bytes of a shard.
pub(super) const MAGIC: &[u8; 8] = b"DANLUTOK";
pub(super) const VERSION: u32 = 2;
/// Tokens begin here.
pub(super) const HEADER_BYTES: usize = 192;
/// A row of the document table: first token u64, bytes of text u64, source u16, language u16, zero u32.
pub(super) const ROW_BYTES: usize = 24;
const HASHED_BYTES: usize = 160;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a token: 2 or 4.
    pub(super) width: u32,
    pub(super) tokens: u64,
    pub(super) documents: u64,
    /// UTF-8 bytes of all documents' texts.
    pub(super) text_bytes: u64,
    pub(super) vocab_size: u32,
    pub(super) eos: u32,
    pub(super) tokenizer_hash: [u8; 32],
    /// Where the document table begins, a multiple of 8.
    pub(super) table_offset: u64,
    pub(super) names_offset: u64,
    pub(super) names_bytes: u64,
    /// Where the marks of what is learnt begin, a bit for each token; 0 when all of them are.
    pub(super) learnt_offset: u64,
    /// BLAKE3 of everything after the header.
    pub(super) body_hash: [u8; 32],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(MAGIC);
        for value in [VERSION, self.width] {
            fields.extend_from_slice(&value.to_le_bytes());
        }
        for value in [self.tokens, self.documents, self.text_bytes] {
            fields.extend_from_slice(&value.to_le_bytes());
        }
        for value in [self.vocab_size, self.eos] {
            fields.extend_from_slice(&value.to_le_bytes());
        }
        fields.extend_from_slice(&self.tokenizer_hash);
        for value in [self.table_offset, self.names_offset, self.names_bytes, self.learnt_offset] {
            fields.extend_from_slice(&value.to_le_bytes());
        }
        fields.resize(128, 0);
        fields.extend_from_slice(&self.body_hash);
        let hash = blake3::hash(&fields);
        fields.extend_from_slice(hash.as_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&fields);
        header
    }

    /// Reads and checks a header against the length of its file.
    pub(super) fn decode(file: &[u8]) -> Result<Self, String> {
        let Some(header) = file.get(..HEADER_BYTES) else {
            return Err(format!("is {} bytes long, shorter than its header of {HEADER_BYTES}", file.len()));
        };
        if &header[..8] != MAGIC {
            return Err("does not begin with DANLUTOK: not a token shard".into());
        }
        let u32_at = |at: usize| u32::from_le_bytes(array(&header[at..at + 4]));
        let u64_at = |at: usize| u64::from_le_bytes(array(&header[at..at + 8]));
        if u32_at(8) != VERSION {
            return Err(format!("is of version {}; this program reads version {VERSION}", u32_at(8)));
        }
        if blake3::hash(&header[..HASHED_BYTES]).as_bytes() != &header[HASHED_BYTES..] {
            return Err("has a damaged header (checksum does not match)".into());
        }
        let header = Self {
            width: u32_at(12),
            tokens: u64_at(16),
            documents: u64_at(24),
            text_bytes: u64_at(32),
            vocab_size: u32_at(40),
            eos: u32_at(44),
            tokenizer_hash: array(&header[48..80]),
            table_offset: u64_at(80),
            names_offset: u64_at(88),
            names_bytes: u64_at(96),
            learnt_offset: u64_at(104),
            body_hash: array(&header[128..160]),
        };
        header.check_layout(file.len() as u64)?;
        Ok(header)
    }

    /// That the parts lie where they should, whoever wrote the header.
    fn check_layout(&self, length: u64) -> Result<(), String> {
        let expected = (|| {
            let tokens_end = self.tokens.checked_mul(u64::from(self.width))?.checked_add(HEADER_BYTES as u64)?;
            let table_end = self.table_offset.checked_add(self.documents.checked_mul(ROW_BYTES as u64)?)?;
            let end = self.names_offset.checked_add(self.names_bytes)?;
            let marks_end = match self.learnt_offset {
                0 => table_end,
                offset if offset < table_end => return None,
                offset => offset.checked_add(self.tokens.div_ceil(8))?,
            };
            let fits = matches!(self.width, 2 | 4) && tokens_end <= self.table_offset && marks_end <= self.names_offset;
            fits.then_some(end)
        })();
        match expected {
            None => Err("has a header whose parts overlap".into()),
            Some(end) if end != length => Err(format!("is {length} bytes long, and its header says {end}")),
            Some(_) => Ok(()),
        }
    }
}

/// The bytes of a slice whose length the caller has fixed.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
