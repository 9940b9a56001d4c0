//! Replies in the shapes of OpenAI's two endpoints, whole and in chunks.

use serde_json::{Map, Value, json};

use crate::{
    engine::{FinishReason, Piece, TokenScore},
    request::Endpoint,
};

/// What stands at the head of every reply and chunk.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub endpoint: Endpoint,
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
}

/// One reply as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub text: String,
    pub scores: Vec<TokenScore>,
    pub finish: Option<FinishReason>,
    /// Tokens generated.
    pub tokens: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        })
    }
}

impl Head {
    fn json(&self, object: &str, choices: Vec<Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("id".into(), json!(self.id));
        fields.insert("object".into(), json!(object));
        fields.insert("created".into(), json!(self.created));
        fields.insert("model".into(), json!(self.model));
        fields.insert("choices".into(), Value::Array(choices));
        fields
    }

    /// The whole reply.
    pub fn reply(&self, choices: &[Choice], with_scores: bool, usage: Usage) -> Value {
        let choices = choices.iter().enumerate().map(|(index, choice)| {
            let scores = with_scores.then_some(choice.scores.as_slice());
            let finish = choice.finish.map(FinishReason::name);
            match self.endpoint {
                Endpoint::Completion => json!({
                    "index": index, "text": choice.text, "logprobs": scores.map(completion_logprobs), "finish_reason": finish,
                }),
                Endpoint::Chat => json!({
                    "index": index,
                    "message": {"role": "assistant", "content": choice.text, "refusal": null},
                    "logprobs": scores.map(chat_logprobs),
                    "finish_reason": finish,
                }),
            }
        });
        let object = match self.endpoint {
            Endpoint::Completion => "text_completion",
            Endpoint::Chat => "chat.completion",
        };
        let mut fields = self.json(object, choices.collect());
        fields.insert("usage".into(), usage.json());
        Value::Object(fields)
    }

    /// Chat streams begin by saying who speaks.
    pub fn opening_chunk(&self, index: usize, include_usage: bool) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
        (self.endpoint == Endpoint::Chat).then(|| self.chunk(vec![choice], include_usage))
    }

    pub fn piece_chunk(&self, index: usize, piece: &Piece, with_scores: bool, include_usage: bool) -> Value {
        let scores = with_scores.then_some(piece.scores.as_slice());
        let choice = match self.endpoint {
            Endpoint::Completion => json!({
                "index": index, "text": piece.text, "logprobs": scores.map(completion_logprobs), "finish_reason": null,
            }),
            Endpoint::Chat => json!({
                "index": index, "delta": {"content": piece.text}, "logprobs": scores.map(chat_logprobs), "finish_reason": null,
            }),
        };
        self.chunk(vec![choice], include_usage)
    }

    pub fn closing_chunk(&self, index: usize, reason: FinishReason, include_usage: bool) -> Value {
        let choice = match self.endpoint {
            Endpoint::Completion => json!({
                "index": index, "text": "", "logprobs": null, "finish_reason": reason.name(),
            }),
            Endpoint::Chat => json!({
                "index": index, "delta": {}, "logprobs": null, "finish_reason": reason.name(),
            }),
        };
        self.chunk(vec![choice], include_usage)
    }

    pub fn usage_chunk(&self, usage: Usage) -> Value {
        let mut fields = self.json(self.chunk_object(), Vec::new());
        fields.insert("usage".into(), usage.json());
        Value::Object(fields)
    }

    /// With `include_usage`, all chunks but the last one say `"usage": null`.
    fn chunk(&self, choices: Vec<Value>, include_usage: bool) -> Value {
        let mut fields = self.json(self.chunk_object(), choices);
        if include_usage {
            fields.insert("usage".into(), Value::Null);
        }
        Value::Object(fields)
    }

    fn chunk_object(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Completion => "text_completion",
            Endpoint::Chat => "chat.completion.chunk",
        }
    }
}

/// A token's bytes as text; as OpenAI does, `bytes:\x..` where they are no whole characters.
fn token_name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |name, byte| name + &format!("\\x{byte:02x}")),
    }
}

/// Four parallel lists.
fn completion_logprobs(scores: &[TokenScore]) -> Value {
    let top_of = |score: &TokenScore| {
        // The first token of an echoed prompt follows nothing, so that it has no distribution.
        score.logprob?;
        // The likeliest first; where two tokens share a name, the likelier one is kept.
        let mut top = Map::new();
        for (bytes, logprob) in &score.top {
            top.entry(token_name(bytes)).or_insert(json!(logprob));
        }
        Some(Value::Object(top))
    };
    json!({
        "tokens": scores.iter().map(|score| token_name(&score.bytes)).collect::<Vec<_>>(),
        "token_logprobs": scores.iter().map(|score| score.logprob).collect::<Vec<_>>(),
        "top_logprobs": scores.iter().map(top_of).collect::<Vec<_>>(),
        "text_offset": scores.iter().map(|score| score.offset).collect::<Vec<_>>(),
    })
}

/// One object for each token.
fn chat_logprobs(scores: &[TokenScore]) -> Value {
    let one = |bytes: &[u8], logprob: f32| json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes});
    let content = scores.iter().map(|score| {
        // Chat never echoes a prompt: every token has a probability.
        let mut entry = one(&score.bytes, score.logprob.unwrap_or_default());
        let top = score.top.iter().map(|(bytes, logprob)| one(bytes, *logprob));
        entry["top_logprobs"] = Value::Array(top.collect());
        entry
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_broken_tokens_are_spelled_out() {
        assert_eq!(token_name("春".as_bytes()), "春");
        assert_eq!(token_name(&[0xe6, 0x98]), "bytes:\\xe6\\x98");
    }

    #[test]
    fn logprobs_have_each_endpoint_s_shape() {
        let score = TokenScore { bytes: b"a".into(), logprob: Some(-0.5), top: vec![(b"a".into(), -0.5)], offset: 3 };
        let expected =
            json!({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}], "text_offset": [3]});
        assert_eq!(completion_logprobs(std::slice::from_ref(&score)), expected);
        let top = json!([{"token": "a", "logprob": -0.5, "bytes": [97]}]);
        let expected =
            json!({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top}], "refusal": null});
        assert_eq!(chat_logprobs(&[score]), expected);
    }
}
