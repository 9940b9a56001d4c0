use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How a model is scored. The defaults evaluate everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Tokens the model sees at once; the model's own context when absent.
    pub seq_len: Option<usize>,
    /// New tokens per window in documents longer than `seq_len`; half of
    /// `seq_len` when absent. Smaller gives each token more context and costs
    /// more time.
    pub stride: Option<usize>,
    /// Full-length windows computed together; shorter ones are packed to about
    /// the same number of tokens. Changes the speed, not the figures.
    pub batch_size: usize,
    /// Evaluate at most so many documents.
    pub max_documents: Option<u64>,
    /// Stop adding documents once so many bytes of text are chosen.
    pub max_bytes: Option<u64>,
    /// End at the first record of a file that cannot be read, instead of counting it.
    pub strict: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { seq_len: None, stride: None, batch_size: 8, max_documents: None, max_bytes: None, strict: false }
    }
}

/// The window that was really used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub seq_len: usize,
    pub stride: usize,
}

impl EvalConfig {
    /// Whether only a part of the documents may be evaluated.
    pub fn is_capped(&self) -> bool {
        self.max_documents.is_some() || self.max_bytes.is_some()
    }

    /// Fills in the model's context and checks the bounds.
    pub fn window(&self, max_seq_len: usize) -> Result<WindowSize, EvalError> {
        let refuse = |reason: String| Err(EvalError::Window { reason });
        let seq_len = self.seq_len.unwrap_or(max_seq_len);
        if seq_len == 0 || seq_len > max_seq_len {
            return refuse(format!("seq_len {seq_len}, the model's context is {max_seq_len}"));
        }
        let stride = self.stride.unwrap_or((seq_len / 2).max(1));
        if stride == 0 || stride > seq_len {
            return refuse(format!("stride {stride} with seq_len {seq_len}"));
        }
        if self.batch_size == 0 {
            return refuse("batch_size 0".into());
        }
        Ok(WindowSize { seq_len, stride })
    }
}
