//! What `/v1/completions` and `/v1/chat/completions` ask for, read and checked.

use std::sync::Arc;

use danlu_model::{BeamConfig, EarlyStopping, LogitsRules, SamplingConfig};
use danlu_text::Message;
use serde_json::{Value, json};

use crate::{
    ServeConfig,
    api_error::{ApiError, shorten},
    engine::Settings,
    language::LanguageModel,
    params::{Params, wrong_type},
    structured::Guide,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Completion,
    Chat,
}

impl Endpoint {
    pub fn path(self) -> &'static str {
        match self {
            Self::Completion => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// OpenAI's default for completions.
const DEFAULT_COMPLETION_TOKENS: usize = 16;
const MOST_STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;
const MOST_LOGPROBS: i64 = 20;
const MOST_BIASES: usize = 1024;
const MOST_MESSAGES: usize = 4096;
const LONGEST_NGRAM: i64 = 1024;

/// A request that can be run.
#[derive(Debug)]
pub(crate) struct Request {
    pub endpoint: Endpoint,
    pub prompts: Vec<Arc<[u32]>>,
    /// Replies to each prompt.
    pub n: usize,
    /// One for each prompt: what a prompt leaves of the context bounds `max_tokens`.
    pub settings: Vec<Arc<Settings>>,
    pub seed: u64,
    pub stream: bool,
    pub include_usage: bool,
    /// The request as it came, to be kept with its replies.
    pub raw: Value,
}

impl Request {
    /// Reads a request body.
    pub fn parse(
        endpoint: Endpoint,
        body: &[u8],
        language: &LanguageModel,
        config: &ServeConfig,
    ) -> Result<Self, ApiError> {
        let mut params = Params::parse(body)?;
        let raw = params.to_json();
        check_model(&mut params, language)?;
        let (prompts, chat_stops) = match endpoint {
            Endpoint::Completion => (read_prompts(&mut params, language, config)?, Vec::new()),
            Endpoint::Chat => {
                let (prompt, stops) = language.encode_chat(&read_messages(&mut params)?)?;
                (vec![prompt], stops)
            }
        };
        let n = params.integer("n", 1..=config.max_choices as i64)?.unwrap_or(1) as usize;
        if prompts.len().saturating_mul(n) > config.max_choices {
            let message =
                format!("{} prompts with n = {n} are more than {} replies.", prompts.len(), config.max_choices);
            return Err(ApiError::param("n", message));
        }
        let stream = params.boolean("stream")?.unwrap_or(false);
        let include_usage = read_stream_options(&mut params, stream)?;
        let seed = params.integer("seed", i64::MIN..=i64::MAX)?.map_or_else(random, |seed| seed as u64);
        let mut shared = read_settings(&mut params, endpoint, chat_stops, language, config)?;
        let max_tokens = read_max_tokens(&mut params, endpoint, shared.echo, config)?;
        if shared.rules.min_tokens > max_tokens {
            let message = format!("`min_tokens` is {}, but `max_tokens` {max_tokens}.", shared.rules.min_tokens);
            return Err(ApiError::param("min_tokens", message));
        }
        shared.beams = read_beams(&mut params, &shared, stream, n, prompts.len(), config)?;
        refuse_unsupported(&mut params, endpoint, n)?;
        params.finish()?;
        let param = if endpoint == Endpoint::Chat { "messages" } else { "prompt" };
        let settings: Result<_, ApiError> = prompts
            .iter()
            .map(|prompt| {
                let room = room_for_reply(prompt.len(), max_tokens, language.context, param)?;
                let max_tokens = max_tokens.min(room);
                let beams = shared.beams.clone().map(|beams| BeamConfig { max_tokens, ..beams });
                Ok(Arc::new(Settings { max_tokens, beams, ..shared.clone() }))
            })
            .collect();
        Ok(Self {
            endpoint,
            prompts: prompts.into_iter().map(Into::into).collect(),
            n,
            settings: settings?,
            seed,
            stream,
            include_usage,
            raw,
        })
    }

    /// Sequences that the request needs.
    pub fn choices(&self) -> usize {
        self.prompts.len() * self.n
    }

    /// Beams of each prompt's search, if it is one.
    pub fn beams(&self) -> Option<usize> {
        self.settings.first()?.beams.as_ref().map(|config| config.beams)
    }

    /// Rows of the engine's batch that the request needs.
    pub fn rows(&self) -> usize {
        self.beams().map_or(self.choices(), |beams| self.prompts.len() * beams)
    }

    /// The settings in force, to be kept with a reply.
    pub fn settings_json(&self, prompt: usize, choice: usize) -> Value {
        let Some(settings) = self.settings.get(prompt) else { return Value::Null };
        json!({
            "temperature": settings.sampling.temperature,
            "top_k": settings.sampling.top_k,
            "top_p": settings.sampling.top_p,
            "min_p": settings.sampling.min_p,
            "typical_p": settings.sampling.typical_p,
            "repetition_penalty": settings.sampling.repetition_penalty,
            "presence_penalty": settings.rules.presence_penalty,
            "frequency_penalty": settings.rules.frequency_penalty,
            "no_repeat_ngram_size": settings.rules.no_repeat_ngram_size,
            "logit_bias": settings.rules.logit_bias,
            "min_tokens": settings.rules.min_tokens,
            "structured_by": settings.guide.as_ref().map(|guide| guide.param),
            "beams": settings.beams.as_ref().map(|config| config.beams),
            "length_penalty": settings.beams.as_ref().map(|config| config.length_penalty),
            "early_stopping": settings.beams.as_ref().map(|config| config.early_stopping),
            "seed": self.seed_of(choice),
            "max_tokens": settings.max_tokens,
            "stop": settings.stops,
            "ignore_eos": settings.ignore_eos,
        })
    }

    /// The seed of a prompt's n-th reply: the first one's is the request's own.
    pub fn seed_of(&self, choice: usize) -> u64 {
        self.seed.wrapping_add(choice as u64)
    }
}

/// 64 bits that nobody can foretell: the standard library's per-process random hash keys.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

fn check_model(params: &mut Params, language: &LanguageModel) -> Result<(), ApiError> {
    match params.string("model")? {
        Some(model) if model != language.name => Err(ApiError::unknown_model(&model, &language.name)),
        _ => Ok(()),
    }
}

/// A string, a list of strings, a list of token ids, or a list of such lists.
fn read_prompts(
    params: &mut Params,
    language: &LanguageModel,
    config: &ServeConfig,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let wrong = |value: &Value| wrong_type("prompt", "a string, a list of strings or a list of token ids", value);
    let one = |value: &Value| match value {
        Value::String(text) => language.encode_prompt(text),
        Value::Array(ids) => read_ids(ids, language),
        other => Err(wrong(other)),
    };
    let value = params.take("prompt").ok_or_else(|| ApiError::param("prompt", "`prompt` is missing."))?;
    match &value {
        Value::Array(list) if list.is_empty() => Err(ApiError::param("prompt", "`prompt` is an empty list.")),
        Value::Array(list) if list.len() > config.max_choices && !list[0].is_number() => {
            let message =
                format!("`prompt` has {} entries, but at most {} are allowed.", list.len(), config.max_choices);
            Err(ApiError::param("prompt", message))
        }
        Value::Array(list) if !list[0].is_number() => list.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

fn read_ids(ids: &[Value], language: &LanguageModel) -> Result<Vec<u32>, ApiError> {
    let size = language.tokenizer.vocab_size();
    let read = |value: &Value| {
        let id = value.as_u64().filter(|id| (*id as usize) < size);
        id.map(|id| id as u32).ok_or_else(|| {
            let message = format!("{} is not a token id below {size}.", shorten(&value.to_string()));
            ApiError::param("prompt", message)
        })
    };
    if ids.is_empty() {
        return Err(ApiError::param("prompt", "`prompt` has an empty list of token ids."));
    }
    ids.iter().map(read).collect()
}

fn read_messages(params: &mut Params) -> Result<Vec<Message>, ApiError> {
    let value = params.take("messages").ok_or_else(|| ApiError::param("messages", "`messages` is missing."))?;
    let Value::Array(list) = value else { return Err(wrong_type("messages", "a list", &value)) };
    if list.is_empty() || list.len() > MOST_MESSAGES {
        let message = format!("`messages` has {} entries, but must have 1 to {MOST_MESSAGES}.", list.len());
        return Err(ApiError::param("messages", message));
    }
    list.into_iter().enumerate().map(|(at, value)| read_message(at, value)).collect()
}

fn read_message(at: usize, value: Value) -> Result<Message, ApiError> {
    let name = |field: &str| format!("messages[{at}].{field}");
    let Value::Object(mut fields) = value else {
        return Err(wrong_type(&format!("messages[{at}]"), "an object", &value));
    };
    let role = match fields.remove("role") {
        Some(Value::String(role)) => role,
        other => return Err(wrong_type(&name("role"), "a string", &other.unwrap_or_default())),
    };
    let role = match role.as_str() {
        "system" | "user" | "assistant" => role,
        "developer" => "system".into(),
        _ => {
            let message = format!("the role `{}` is not one of system, developer, user, assistant.", shorten(&role));
            return Err(ApiError::param(name("role"), message));
        }
    };
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => join_parts(&parts, &name("content"))?,
        other => {
            return Err(wrong_type(&name("content"), "a string or a list of text parts", &other.unwrap_or_default()));
        }
    };
    fields.remove("name");
    match fields.iter().find(|(_, value)| !value.is_null()) {
        None => Ok(Message::new(role, content)),
        Some((field, _)) => {
            let field = name(&shorten(field));
            Err(ApiError::param(field.clone(), format!("`{field}` is not supported by this server.")))
        }
    }
}

fn join_parts(parts: &[Value], name: &str) -> Result<String, ApiError> {
    let text_of = |part: &Value| match (part.get("type"), part.get("text")) {
        (Some(Value::String(kind)), Some(Value::String(text))) if kind == "text" => Some(text.clone()),
        _ => None,
    };
    let texts: Option<Vec<String>> = parts.iter().map(text_of).collect();
    let message = format!("`{name}` may hold only parts like {{\"type\": \"text\", \"text\": \"…\"}}.");
    texts.map(|texts| texts.concat()).ok_or_else(|| ApiError::param(name, message))
}

fn read_stream_options(params: &mut Params, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = params.take("stream_options") else { return Ok(false) };
    let Value::Object(fields) = value else { return Err(wrong_type("stream_options", "an object", &value)) };
    if !stream {
        return Err(ApiError::param("stream_options", "`stream_options` is only allowed where `stream` is true."));
    }
    let mut usage = false;
    for (name, value) in fields {
        match (name.as_str(), &value) {
            ("include_usage", Value::Bool(include)) => usage = *include,
            // Asks that chunks be padded or not; they are not.
            ("include_obfuscation", Value::Bool(_)) | (_, Value::Null) => {}
            ("include_usage" | "include_obfuscation", other) => {
                return Err(wrong_type(&format!("stream_options.{name}"), "true or false", other));
            }
            _ => {
                let name = format!("stream_options.{}", shorten(&name));
                return Err(ApiError::param(name.clone(), format!("`{name}` is not known.")));
            }
        }
    }
    Ok(usage)
}

/// Everything but `max_tokens`, which depends on each prompt.
fn read_settings(
    params: &mut Params,
    endpoint: Endpoint,
    mut stops: Vec<String>,
    language: &LanguageModel,
    config: &ServeConfig,
) -> Result<Settings, ApiError> {
    let largest = i64::from(u32::MAX);
    let sampling = SamplingConfig {
        temperature: params.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as _,
        // -1 is vLLM's way to say that there is no cut.
        top_k: params.integer("top_k", -1..=largest)?.unwrap_or(0).max(0) as _,
        // 0 is allowed by OpenAI and leaves the likeliest token only.
        top_p: params.number("top_p", 0.0..=1.0)?.unwrap_or(1.0).max(1e-6) as _,
        min_p: params.number("min_p", 0.0..=1.0)?.unwrap_or(0.0) as _,
        typical_p: params.number("typical_p", 0.0..=1.0)?.unwrap_or(1.0).max(1e-6) as _,
        repetition_penalty: params.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(1.0) as _,
        ..SamplingConfig::default()
    };
    let rules = LogitsRules {
        presence_penalty: params.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        frequency_penalty: params.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        no_repeat_ngram_size: params.integer("no_repeat_ngram_size", 0..=LONGEST_NGRAM)?.unwrap_or(0) as usize,
        min_tokens: params.integer("min_tokens", 0..=config.max_tokens as i64)?.unwrap_or(0) as usize,
        logit_bias: read_logit_bias(params, language)?,
    };
    let guide = Guide::read(params, language)?;
    let ignore_eos = params.boolean("ignore_eos")?.unwrap_or(false);
    if let Some(guide) = guide.as_ref().filter(|_| ignore_eos) {
        let message = format!("`ignore_eos` cannot be had together with `{}`, which says where to end.", guide.param);
        return Err(ApiError::param("ignore_eos", message));
    }
    stops.extend(read_stops(params)?);
    Ok(Settings {
        sampling,
        max_tokens: 0,
        stops,
        logprobs: read_logprobs(params, endpoint)?,
        echo: endpoint == Endpoint::Completion && params.boolean("echo")?.unwrap_or(false),
        ignore_eos,
        rules,
        guide,
        beams: None,
    })
}

/// Beam search, as vLLM had it: `best_of` beams, of which the `n` best are returned. Nothing is sampled then, so that
/// temperature and cuts have no say. Each beam takes a place in the batch, which bounds their number and memory.
fn read_beams(
    params: &mut Params,
    settings: &Settings,
    stream: bool,
    n: usize,
    prompts: usize,
    config: &ServeConfig,
) -> Result<Option<BeamConfig>, ApiError> {
    if !params.boolean("use_beam_search")?.unwrap_or(false) {
        for name in ["length_penalty", "early_stopping"] {
            if params.take(name).is_some() {
                let message = format!("`{name}` is only allowed where `use_beam_search` is true.");
                return Err(ApiError::param(name, message));
            }
        }
        return Ok(None);
    }
    let most = config.max_choices.min(config.max_batch).min(BeamConfig::MOST_BEAMS) / prompts.max(1);
    if n > most {
        return Err(ApiError::param("n", format!("`n` is {n}, but beam search has at most {most} beams here.")));
    }
    let beams = params.integer("best_of", n as i64..=most as i64)?.map_or(n.max(4.min(most)), |beams| beams as usize);
    let refused = [("stream", stream), ("echo", settings.echo), ("logprobs", settings.logprobs.is_some())];
    if let Some((name, _)) = refused.iter().find(|(_, asked)| *asked) {
        let message = format!("`{name}` cannot be had together with `use_beam_search`.");
        return Err(ApiError::param(*name, message));
    }
    Ok(Some(BeamConfig {
        beams,
        results: n,
        length_penalty: params.number("length_penalty", -100.0..=100.0)?.unwrap_or(1.0) as f32,
        early_stopping: read_early_stopping(params)?,
        repetition_penalty: settings.sampling.repetition_penalty,
        rules: settings.rules.clone(),
        ..BeamConfig::default()
    }))
}

fn read_early_stopping(params: &mut Params) -> Result<EarlyStopping, ApiError> {
    match params.take("early_stopping") {
        None | Some(Value::Bool(false)) => Ok(EarlyStopping::False),
        Some(Value::Bool(true)) => Ok(EarlyStopping::True),
        Some(Value::String(text)) if text == "never" => Ok(EarlyStopping::Never),
        Some(other) => Err(wrong_type("early_stopping", "true, false or \"never\"", &other)),
    }
}

fn read_stops(params: &mut Params) -> Result<Vec<String>, ApiError> {
    let list = match params.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(single) => vec![single],
    };
    if list.len() > MOST_STOPS {
        return Err(ApiError::param(
            "stop",
            format!("`stop` has {} entries, but at most {MOST_STOPS} are allowed.", list.len()),
        ));
    }
    let read = |value: Value| match value {
        Value::String(text) if text.is_empty() => Err(ApiError::param("stop", "`stop` holds an empty string.")),
        Value::String(text) if text.len() > LONGEST_STOP => {
            Err(ApiError::param("stop", format!("`stop` holds a string of more than {LONGEST_STOP} bytes.")))
        }
        Value::String(text) => Ok(text),
        other => Err(wrong_type("stop", "a string or a list of strings", &other)),
    };
    list.into_iter().map(read).collect()
}

/// Completions say how many; chat says whether, and how many in a second parameter.
fn read_logprobs(params: &mut Params, endpoint: Endpoint) -> Result<Option<usize>, ApiError> {
    if endpoint == Endpoint::Completion {
        return Ok(params.integer("logprobs", 0..=MOST_LOGPROBS)?.map(|count| count as usize));
    }
    let wanted = params.boolean("logprobs")?.unwrap_or(false);
    let top = params.integer("top_logprobs", 0..=MOST_LOGPROBS)?;
    if top.is_some() && !wanted {
        return Err(ApiError::param("top_logprobs", "`top_logprobs` is only allowed where `logprobs` is true."));
    }
    Ok(wanted.then(|| top.unwrap_or(0) as usize))
}

fn read_logit_bias(params: &mut Params, language: &LanguageModel) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = params.take("logit_bias") else { return Ok(Vec::new()) };
    let Value::Object(fields) = value else { return Err(wrong_type("logit_bias", "an object", &value)) };
    if fields.len() > MOST_BIASES {
        return Err(ApiError::param("logit_bias", format!("`logit_bias` has more than {MOST_BIASES} entries.")));
    }
    let size = language.tokenizer.vocab_size();
    let read = |(id, bias): (String, Value)| {
        let known = id.parse::<u32>().ok().filter(|id| (*id as usize) < size);
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        known.zip(bias.map(|bias| bias as f32)).ok_or_else(|| {
            let message =
                format!("`logit_bias` must map token ids below {size} to -100 … 100; `{}` does not.", shorten(&id));
            ApiError::param("logit_bias", message)
        })
    };
    fields.into_iter().map(read).collect()
}

fn read_max_tokens(
    params: &mut Params,
    endpoint: Endpoint,
    echo: bool,
    config: &ServeConfig,
) -> Result<usize, ApiError> {
    // Nothing to generate makes sense only where the prompt itself is to be shown.
    let range = i64::from(!echo)..=config.max_tokens as i64;
    let newer = params.integer("max_completion_tokens", range.clone())?;
    let older = params.integer("max_tokens", range)?;
    let default = match endpoint {
        Endpoint::Completion => DEFAULT_COMPLETION_TOKENS.min(config.max_tokens),
        Endpoint::Chat => config.max_tokens,
    };
    Ok(newer.or(older).map_or(default, |tokens| tokens as usize))
}

/// Tokens that may follow the prompt. A `max_tokens` beyond it is cut, and the reply says `length`.
fn room_for_reply(prompt: usize, max_tokens: usize, context: usize, param: &str) -> Result<usize, ApiError> {
    let needed = prompt + max_tokens.min(1);
    if needed <= context {
        return Ok(context - prompt);
    }
    let message = format!(
        "This model's context holds {context} tokens, but the {param} has {prompt}{}. Shorten the {param}.",
        if prompt <= context { ", which leaves no room for a reply" } else { "" },
    );
    Err(ApiError::param(param, message).with_code("context_length_exceeded"))
}

fn refuse_unsupported(params: &mut Params, endpoint: Endpoint, n: usize) -> Result<(), ApiError> {
    // About accounts, caches and models elsewhere; they do not change a reply here.
    params.ignore(&[
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "reasoning_effort",
        "verbosity",
        "parallel_tool_calls",
    ]);
    let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_str() == Some("");
    match endpoint {
        Endpoint::Completion => {
            params.refuse("suffix", empty)?;
            params.refuse("best_of", |value| value.as_u64() == Some(n as u64))
        }
        Endpoint::Chat => {
            for name in ["tools", "functions", "audio", "prediction", "web_search_options", "function_call"] {
                params.refuse(name, empty)?;
            }
            params.refuse("tool_choice", |value| matches!(value.as_str(), Some("none" | "auto")))?;
            params.refuse("modalities", |value| *value == json!(["text"]))
        }
    }
}
