//! An encoder as a folder: config.json to and from the keys of transformers, and model.safetensors.

use super::names::{is_harmless, place, prefix};
use super::{Encoder, EncoderConfig, EncoderKind, HeadConfig, Problem, SentenceConfig};
use crate::folder::{create, read_json, write, write_json};
use crate::hf_config::Keys;
use crate::init::{RandomSource, Source, Start};
use crate::weights::{FileSource, Stored, WeightFiles, to_safetensors};
use crate::{Activation, CONFIG_FILE, ModelError, SavedAs, SpecialTokens, WEIGHTS_FILE};
use burn::prelude::*;
use danlu_ops::Int8Weight;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const KNOWN: &[&str] = &[
    "BertModel",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "the same of Roberta, XLMRoberta and DistilBert",
    "DanluLstmEncoderModel and so on, also Gru and Rnn, and ForCTC of all of them with Danlu before their names",
];

/// What the config.json in `dir` says of an encoder, and its vocabulary's size; `None` for a model of another kind.
///
/// # Errors
/// A file that cannot be read, or settings that danlu's encoder does not have.
pub fn describe_encoder(dir: &Path) -> Result<Option<(EncoderConfig, usize)>, ModelError> {
    let path = dir.join(CONFIG_FILE);
    let json = read_json(&path)?;
    match named(&json) {
        Some(_) => from_json(&path, &json).map(|read| Some((read.config, read.vocab_size))),
        None => Ok(None),
    }
}

impl Encoder {
    /// Writes the model into `dir`, which is created if missing, as the `BertModel`, `BertForMaskedLM`, ... of
    /// transformers that it is. Each file appears whole or not at all. The same model gives the same bytes.
    ///
    /// * `sentence`: how it makes embeddings, in the files of sentence-transformers; `None` writes none of them
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Write`], [`ModelError::Device`].
    pub fn save(&self, dir: &Path, sentence: Option<&SentenceConfig>) -> Result<(), ModelError> {
        create(dir)?;
        let (config, weights) = (self.config(), dir.join(WEIGHTS_FILE));
        let mut tensors = BTreeMap::new();
        for (name, data) in self.named_parameters()? {
            let mut name = place(config.architecture, &config.head, &name);
            if is_bare(&config.head) {
                name = without_prefix(config.architecture, &name).to_string();
            }
            let shape = data.shape().to_vec();
            let values = data.try_into_vec::<f32>().map_err(|e| ModelError::Device { message: format!("{e:?}") })?;
            tensors.insert(name, Stored::f32(shape, &values));
        }
        write(&weights, &to_safetensors(&weights, &tensors)?)?;
        if let Some(sentence) = sentence {
            sentence.save(dir, config.hidden_size)?;
        }
        write_json(&dir.join(CONFIG_FILE), &to_json(config, self.vocab_size(), self.special_tokens()))
    }

    /// Reads a model from `dir` to `device`, from weights in F32, F16 or BF16.
    ///
    /// # Errors
    /// Each names the file, and the key or tensor with what was expected and what was found.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::read(dir, device, |read| read, None)
    }

    /// Reads the body of a model from `dir` and puts `head` on it, as before fine-tuning for another task. What the
    /// folder has of this head is taken, such as the pooler; the rest starts at random from `seed`.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn load_with_head(dir: &Path, head: HeadConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::read(dir, device, |config| EncoderConfig { head, ..config }, Some(RandomSource { seed }))
    }

    fn read(
        dir: &Path,
        device: &Device,
        change: impl FnOnce(EncoderConfig) -> EncoderConfig,
        random: Option<RandomSource>,
    ) -> Result<Self, ModelError> {
        let path = dir.join(CONFIG_FILE);
        let Read { config, vocab_size, special } = from_json(&path, &read_json(&path)?)?;
        let saved = config.clone();
        let mut config = change(config);
        let files = WeightFiles::read(dir)?;
        let mut source =
            Named { files: files.source(SavedAs::Danlu, false)?, config: &saved, head: config.head.clone(), random };
        if config.head == HeadConfig::Pooler && !source.has("head.dense.weight") {
            // Some folders of a bare model come without one.
            config.head = HeadConfig::None;
            source.head = HeadConfig::None;
        }
        let built = Self::build(&config, vocab_size, special, &mut source, device)?;
        // Another head leaves what belonged to the old one.
        let swapped = source.random.is_some();
        source.files.finish_but(|name| is_harmless(name) || (swapped && !is_of_body(name)))?;
        Ok(built)
    }
}

fn without_prefix(kind: EncoderKind, name: &str) -> &str {
    name.strip_prefix(prefix(kind)).unwrap_or(name)
}

/// Whether a tensor's name is that of a layer or an embedding.
fn is_of_body(name: &str) -> bool {
    ["embeddings.", "encoder.layer.", "transformer.layer.", "model.embed_tokens.", "model.layers."]
        .iter()
        .any(|part| name.contains(part))
}

/// Whether the folder of a model with this head leaves the prefix out.
fn is_bare(head: &HeadConfig) -> bool {
    matches!(head, HeadConfig::None | HeadConfig::Pooler)
}

/// Parameters from files by danlu's names.
struct Named<'a> {
    files: FileSource<'a>,
    config: &'a EncoderConfig,
    /// The head that is asked for.
    head: HeadConfig,
    /// Where parameters of the head come from that the files do not have.
    random: Option<RandomSource>,
}

impl Named<'_> {
    /// The name in the files: with the prefix or without, with today's names of a normalisation or those of old.
    fn find(&self, name: &str) -> String {
        let full = place(self.config.architecture, &self.head, name);
        let bare = without_prefix(self.config.architecture, &full).to_string();
        let old = |name: &str| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        };
        let forms = [old(&full), old(&bare), bare, full.clone()];
        let found = forms.iter().rev().find(|form| self.files.has(form));
        found.cloned().unwrap_or(if is_bare(&self.config.head) { forms[2].clone() } else { full })
    }

    fn has(&self, name: &str) -> bool {
        self.files.has(&self.find(name))
    }
}

impl Source for Named<'_> {
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError> {
        // A classifier's last layer has as many rows as labels; that of another task's is never taken.
        let kept = self.has(name) && !(self.config.head != self.head && name.starts_with("head.out_proj"));
        match &mut self.random {
            Some(random) if name.starts_with("head.") && !kept => random.values(name, shape, start),
            _ => self.files.values(&self.find(name), shape, start),
        }
    }

    fn int8(&mut self, _: &str, _: usize, _: usize) -> Result<Option<Int8Weight>, ModelError> {
        Ok(None)
    }
}

/// What a config.json says.
struct Read {
    config: EncoderConfig,
    vocab_size: usize,
    special: SpecialTokens,
}

/// Kind and task of the architecture that a config.json names, if it is an encoder's.
fn named(json: &Map<String, Value>) -> Option<(EncoderKind, &str)> {
    let architecture = json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let Some(architecture) = architecture else {
        return match json.get("model_type").and_then(Value::as_str)? {
            "bert" => Some((EncoderKind::Bert, "Model")),
            "roberta" | "xlm-roberta" => Some((EncoderKind::Roberta, "Model")),
            "distilbert" => Some((EncoderKind::DistilBert, "Model")),
            _ => None,
        };
    };
    let kinds = [
        ("XLMRoberta", EncoderKind::Roberta),
        ("Roberta", EncoderKind::Roberta),
        ("DistilBert", EncoderKind::DistilBert),
        ("Bert", EncoderKind::Bert),
        ("LstmEncoder", EncoderKind::Lstm),
        ("GruEncoder", EncoderKind::Gru),
        ("RnnEncoder", EncoderKind::Rnn),
    ];
    let own = architecture.strip_prefix(OWN);
    kinds.iter().find_map(|(name, kind)| {
        let task = own.unwrap_or(architecture).strip_prefix(name)?;
        // A name is danlu's own just where transformers has no such model.
        (own.is_some() == is_own(*kind, task)).then_some((*kind, task))
    })
}

/// Stands before the names of models that transformers does not have.
const OWN: &str = "Danlu";

fn is_own(kind: EncoderKind, task: &str) -> bool {
    kind.cell().is_some() || task == FOR_CTC
}

const FOR_CTC: &str = "ForCTC";

fn from_json(path: &Path, json: &Map<String, Value>) -> Result<Read, ModelError> {
    let keys = Keys { path, json };
    let unknown = || keys.unknown_architecture(KNOWN);
    let (kind, task) = named(json).ok_or_else(unknown)?;
    let head = match task {
        "Model" if kind == EncoderKind::DistilBert || kind.cell().is_some() => HeadConfig::None,
        "Model" => HeadConfig::Pooler,
        "ForMaskedLM" | "ForPreTraining" => {
            keys.only("tie_word_embeddings", json!(true))?;
            HeadConfig::MaskedLm
        }
        "ForSequenceClassification" => {
            let labels = labels(&keys)?;
            let problem = problem(&keys, labels.len())?;
            HeadConfig::SequenceClassification { labels, problem }
        }
        "ForTokenClassification" => HeadConfig::TokenClassification { labels: labels(&keys)? },
        FOR_CTC => HeadConfig::Ctc { labels: labels(&keys)? },
        _ => return Err(unknown()),
    };
    let special = SpecialTokens::default().updated(json);
    let config = match kind {
        EncoderKind::DistilBert => distilbert(&keys, head)?,
        EncoderKind::Lstm | EncoderKind::Gru | EncoderKind::Rnn => recurrent(&keys, kind, head)?,
        _ => bert(&keys, kind, &special, head)?,
    };
    config.validate()?;
    Ok(Read { config, vocab_size: keys.count("vocab_size")?, special })
}

fn bert(
    keys: &Keys<'_>,
    kind: EncoderKind,
    special: &SpecialTokens,
    head: HeadConfig,
) -> Result<EncoderConfig, ModelError> {
    keys.only("position_embedding_type", json!("absolute"))?;
    keys.only("is_decoder", json!(false))?;
    keys.only("add_cross_attention", json!(false))?;
    let position_offset = match kind {
        EncoderKind::Roberta => special.pad.unwrap_or(1) as usize + 1,
        _ => 0,
    };
    let positions = keys.count("max_position_embeddings")?;
    if positions <= position_offset {
        return Err(keys.wrong("max_position_embeddings", format!("more than {position_offset}")));
    }
    Ok(EncoderConfig {
        architecture: kind,
        layers: keys.count("num_hidden_layers")?,
        hidden_size: keys.count("hidden_size")?,
        heads: keys.count("num_attention_heads")?,
        ffn_size: Some(keys.count("intermediate_size")?),
        max_seq_len: positions - position_offset,
        position_offset,
        token_types: keys.optional_count("type_vocab_size")?.unwrap_or(2),
        activation: activation(keys, "hidden_act")?,
        norm_eps: keys.number("layer_norm_eps", 1e-12)?,
        dropout: keys.number("hidden_dropout_prob", 0.1)?,
        attention_dropout: keys.number("attention_probs_dropout_prob", 0.1)?,
        classifier_dropout: rate(keys, "classifier_dropout")?,
        head,
    })
}

fn distilbert(keys: &Keys<'_>, head: HeadConfig) -> Result<EncoderConfig, ModelError> {
    Ok(EncoderConfig {
        architecture: EncoderKind::DistilBert,
        layers: keys.count("n_layers")?,
        hidden_size: keys.count("dim")?,
        heads: keys.count("n_heads")?,
        ffn_size: Some(keys.count("hidden_dim")?),
        max_seq_len: keys.count("max_position_embeddings")?,
        position_offset: 0,
        token_types: 0,
        activation: activation(keys, "activation")?,
        norm_eps: 1e-12,
        dropout: keys.number("dropout", 0.1)?,
        attention_dropout: keys.number("attention_dropout", 0.1)?,
        classifier_dropout: Some(keys.number("seq_classif_dropout", 0.2)?),
        head,
    })
}

fn recurrent(keys: &Keys<'_>, kind: EncoderKind, head: HeadConfig) -> Result<EncoderConfig, ModelError> {
    Ok(EncoderConfig {
        architecture: kind,
        layers: keys.count("num_hidden_layers")?,
        hidden_size: keys.count("hidden_size")?,
        max_seq_len: keys.count("max_position_embeddings")?,
        dropout: keys.number("hidden_dropout_prob", 0.1)?,
        norm_eps: keys.number("layer_norm_eps", 1e-12)?,
        classifier_dropout: rate(keys, "classifier_dropout")?,
        head,
        ..EncoderConfig::default()
    })
}

fn rate(keys: &Keys<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    keys.given(key).map(|value| value.as_f64().ok_or_else(|| keys.wrong(key, "a number"))).transpose()
}

fn activation(keys: &Keys<'_>, key: &str) -> Result<Activation, ModelError> {
    match keys.given(key).map_or(Some("gelu"), Value::as_str) {
        Some("gelu") => Ok(Activation::GeluErf),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::Gelu),
        _ => Err(keys.wrong(key, "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"")),
    }
}

/// The labels in the order of their numbers, by default `LABEL_0` and `LABEL_1` as in transformers.
fn labels(keys: &Keys<'_>) -> Result<Vec<String>, ModelError> {
    let Some(map) = keys.given("id2label") else {
        let count = keys.optional_count("num_labels")?.unwrap_or(2).min(1 << 20);
        return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let wrong = || keys.wrong("id2label", "an object of names by the numbers 0, 1, 2, ...");
    let map = map.as_object().ok_or_else(wrong)?;
    (0..map.len()).map(|i| Ok(map.get(&i.to_string()).and_then(Value::as_str).ok_or_else(wrong)?.to_owned())).collect()
}

fn problem(keys: &Keys<'_>, labels: usize) -> Result<Problem, ModelError> {
    let Some(named) = keys.given("problem_type") else {
        return Ok(if labels == 1 { Problem::Regression } else { Problem::SingleLabel });
    };
    match named.as_str() {
        Some("single_label_classification") => Ok(Problem::SingleLabel),
        Some("multi_label_classification") => Ok(Problem::MultiLabel),
        Some("regression") => Ok(Problem::Regression),
        _ => Err(keys.wrong(
            "problem_type",
            "\"single_label_classification\", \"multi_label_classification\" or \"regression\"",
        )),
    }
}

fn to_json(config: &EncoderConfig, vocab_size: usize, special: &SpecialTokens) -> Value {
    let task = match &config.head {
        HeadConfig::None | HeadConfig::Pooler => "Model",
        HeadConfig::MaskedLm => "ForMaskedLM",
        HeadConfig::SequenceClassification { .. } => "ForSequenceClassification",
        HeadConfig::TokenClassification { .. } => "ForTokenClassification",
        HeadConfig::Ctc { .. } => FOR_CTC,
    };
    let (name, model_type) = match config.architecture {
        EncoderKind::Bert => ("Bert", "bert"),
        EncoderKind::Roberta => ("Roberta", "roberta"),
        EncoderKind::DistilBert => ("DistilBert", "distilbert"),
        EncoderKind::Lstm => ("LstmEncoder", "danlu_lstm_encoder"),
        EncoderKind::Gru => ("GruEncoder", "danlu_gru_encoder"),
        EncoderKind::Rnn => ("RnnEncoder", "danlu_rnn_encoder"),
    };
    let own = if is_own(config.architecture, task) { OWN } else { "" };
    let mut special = special.clone();
    if config.architecture == EncoderKind::Roberta {
        special.pad = u32::try_from(config.position_offset - 1).ok();
    }
    let mut json = shape_json(config);
    special.insert_into(&mut json);
    json.insert("architectures".into(), json!([format!("{own}{name}{task}")]));
    json.insert("model_type".into(), json!(model_type));
    json.insert("vocab_size".into(), json!(vocab_size));
    json.insert("initializer_range".into(), json!(0.02));
    json.insert("tie_word_embeddings".into(), json!(true));
    // The one key is read by transformers 4, the other by 5.
    json.insert("torch_dtype".into(), json!("float32"));
    json.insert("dtype".into(), json!("float32"));
    let labels = config.head.labels().iter().enumerate();
    if labels.len() > 0 {
        let of_number: Map<_, _> = labels.clone().map(|(i, label)| (i.to_string(), json!(label))).collect();
        json.insert("id2label".into(), Value::Object(of_number));
        json.insert("label2id".into(), Value::Object(labels.map(|(i, label)| (label.clone(), json!(i))).collect()));
    }
    if let HeadConfig::SequenceClassification { problem, .. } = &config.head {
        let problem = match problem {
            Problem::SingleLabel => "single_label_classification",
            Problem::MultiLabel => "multi_label_classification",
            Problem::Regression => "regression",
        };
        json.insert("problem_type".into(), json!(problem));
    }
    Value::Object(json)
}

fn shape_json(c: &EncoderConfig) -> Map<String, Value> {
    let activation = if c.activation == Activation::GeluErf { "gelu" } else { "gelu_new" };
    let json = match c.architecture {
        EncoderKind::DistilBert => json!({
            "dim": c.hidden_size,
            "hidden_dim": c.ffn_size(),
            "n_layers": c.layers,
            "n_heads": c.heads,
            "max_position_embeddings": c.max_seq_len,
            "sinusoidal_pos_embds": false,
            "activation": activation,
            "dropout": c.dropout,
            "attention_dropout": c.attention_dropout,
            "seq_classif_dropout": c.classifier_dropout(),
        }),
        EncoderKind::Lstm | EncoderKind::Gru | EncoderKind::Rnn => json!({
            "hidden_size": c.hidden_size,
            "num_hidden_layers": c.layers,
            "max_position_embeddings": c.max_seq_len,
            "layer_norm_eps": c.norm_eps,
            "hidden_dropout_prob": c.dropout,
            "classifier_dropout": c.classifier_dropout,
        }),
        EncoderKind::Bert | EncoderKind::Roberta => json!({
            "hidden_size": c.hidden_size,
            "intermediate_size": c.ffn_size(),
            "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads,
            "hidden_act": activation,
            "max_position_embeddings": c.max_seq_len + c.position_offset,
            "position_embedding_type": "absolute",
            "type_vocab_size": c.token_types,
            "layer_norm_eps": c.norm_eps,
            "hidden_dropout_prob": c.dropout,
            "attention_probs_dropout_prob": c.attention_dropout,
            "classifier_dropout": c.classifier_dropout,
        }),
    };
    match json {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
