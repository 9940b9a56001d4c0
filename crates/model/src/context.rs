//! A trained model on sequences longer than those it was trained on.

use crate::causal_lm::Shared;
use crate::config::check;
use crate::{CausalLm, ModelConfig, ModelError, Positions, RopeScaling};
use std::sync::Arc;

impl CausalLm {
    /// This model for sequences of up to `max_seq_len` tokens, with its rotary angles stretched by `scaling`, or as they
    /// are. Lengths that a scaling leaves out stay those of the model it is applied to, not the new one.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`]: positions that were trained one by one end where training ended; `scaling` needs
    /// rotary positions that are not scaled yet.
    pub fn with_context(self, max_seq_len: usize, scaling: Option<RopeScaling>) -> Result<Self, ModelError> {
        let (old, trained) = (self.config(), self.config().max_seq_len);
        let longer = old.positions() != Positions::Learned || max_seq_len <= trained;
        check(longer, "positions", "\"learned\"", || format!("at most {trained} tokens with it"))?;
        check(scaling.is_none() || old.rope_scaling.is_none(), "rope_scaling", "given twice", || {
            "one scaling of rotary positions".to_string()
        })?;
        let rope_scaling = scaling.or_else(|| old.rope_scaling.clone()).map(|scaling| scaling.of_length(trained));
        let config = ModelConfig { max_seq_len, rope_scaling, ..old.clone() };
        config.validate()?;
        let shared = Shared::new(&config, self.vocab_size(), self.special_tokens().clone());
        Ok(CausalLm { shared: Arc::new(shared), ..self })
    }
}
