//! Tokenizers of other programs as tokenizer.json and tokenizer_config.json: those inside GGUF (`gguf.rs`, both ways),
//! SentencePiece's models (`sentencepiece.rs` reads them, `pieces.rs` says what they are in tokenizer.json), tiktoken's files
//! of ranks (`tiktoken.rs`), and the vocabularies of transformers' older tokenizers: BERT's words and pieces
//! (`wordpiece.rs`), GPT-2's byte-level BPE (`byte_level.rs`) and Marian's two SentencePiece models with one vocabulary
//! (`marian.rs`). `told.rs` says what stands beside any of them.

mod byte_level;
pub(crate) mod gguf;
mod marian;
mod pieces;
mod sentencepiece;
mod tiktoken;
mod told;
mod wordpiece;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::{ConvertError, folder};

/// The files of a tokenizer.
#[derive(Clone, Debug)]
pub struct Files {
    /// tokenizer.json
    pub tokenizer: Json,
    /// tokenizer_config.json
    pub config: Json,
    /// target_tokenizer.json: of an encoder-decoder that cuts its targets otherwise than its sources.
    pub target: Option<Json>,
}

/// The class of transformers whose tokenizer.json says all.
const DESCRIBED: &str = "PreTrainedTokenizerFast";
/// Names of SentencePiece's models in folders; the first may also be a file of tiktoken.
const MODELS: [&str; 4] = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model"];

/// GPT-2's merges, the other half of its vocabulary.
const MERGES: &str = "merges.txt";
/// GPT-2's and Marian's tokens by id.
const VOCABULARY: &str = "vocab.json";
/// BERT's tokens, one a line.
const WORDS: &str = "vocab.txt";
/// How Marian cuts its sources.
const SOURCE: &str = "source.spm";
/// More tokens than any vocabulary has.
const MOST_TOKENS: usize = 1 << 22;

/// The tokenizer of a folder that has no tokenizer.json, for a model of this config.json. `None` where the folder has
/// none that is known here.
///
/// # Errors
/// A broken file, or a tokenizer whose ids are not known here.
pub fn of_folder(folder: &Path, model: &Json) -> Result<Option<Files>, ConvertError> {
    let told = told::of_folder(folder)?;
    let has = |name: &str| folder.join(name).is_file();
    if let Some(path) = find(folder)? {
        let bytes = std::fs::read(&path).map_err(|e| ConvertError::io("read", &path, e))?;
        return match tiktoken::is_one(&bytes) {
            true => tiktoken::files(&path, &bytes, &told).map(Some),
            false => sentencepiece::files(&path, &bytes, &told, model).map(Some),
        };
    }
    if has(SOURCE) {
        marian::files(folder, &told).map(Some)
    } else if has(VOCABULARY) && has(MERGES) {
        byte_level::files(folder, &told, model).map(Some)
    } else if has(WORDS) {
        wordpiece::files(&folder.join(WORDS), &told, model).map(Some)
    } else {
        Ok(None)
    }
}

/// The tokenizer.json of a SentencePiece model or a tiktoken file; `told` is what tokenizer_config.json says, or null.
///
/// # Errors
/// A broken file, or one of a kind that tokenizer.json cannot say.
pub fn tokenizer_json(path: &Path, told: &Json) -> Result<Json, ConvertError> {
    let bytes = std::fs::read(path).map_err(|e| ConvertError::io("read", path, e))?;
    let files = match tiktoken::is_one(&bytes) {
        true => tiktoken::files(path, &bytes, told)?,
        false => sentencepiece::files(path, &bytes, told, &Json::Null)?,
    };
    Ok(files.tokenizer)
}

fn find(folder: &Path) -> Result<Option<PathBuf>, ConvertError> {
    if let Some(name) = MODELS.iter().find(|name| folder.join(name).is_file()) {
        return Ok(Some(folder.join(name)));
    }
    let list = std::fs::read_dir(folder).map_err(|e| ConvertError::io("list", folder, e))?;
    let mut found: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "tiktoken"));
    found.sort();
    Ok(found.into_iter().next())
}

/// Tokens of the model in a tokenizer.json, without those that were added.
pub(crate) fn vocabulary(tokenizer: &Json) -> usize {
    let vocabulary = &tokenizer["model"]["vocab"];
    vocabulary.as_object().map(Map::len).or(vocabulary.as_array().map(Vec::len)).unwrap_or(0)
}

/// One more than the largest id of a tokenizer.json.
pub(crate) fn size(tokenizer: &Json) -> usize {
    let ids = tokenizer["model"]["vocab"].as_object().into_iter().flatten().map(|(_, id)| id);
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    let largest = ids.chain(added).filter_map(Json::as_u64).max();
    largest.map_or(0, |id| id as usize + 1).max(vocabulary(tokenizer))
}

/// An entry of `added_tokens`.
fn added(id: usize, content: &str, special: bool) -> Json {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// The entries of `added_tokens`: those that the file has, and over them what tokenizer_config.json says of each id.
/// Beyond the `size` tokens of the model, ids must follow without a hole: `tokenizers` counts them by itself.
fn all_added(path: &Path, own: Vec<Json>, told: &Json, size: usize) -> Result<Vec<Json>, ConvertError> {
    let mut all: std::collections::BTreeMap<usize, Json> =
        own.into_iter().filter_map(|token| Some((token["id"].as_u64()? as usize, token))).collect();
    for (id, entry) in told["added_tokens_decoder"].as_object().into_iter().flatten() {
        let (Ok(id), Some(content)) = (id.parse::<usize>(), entry["content"].as_str()) else {
            let what = format!("added_tokens_decoder: {id:?}: {entry} is no token");
            return Err(ConvertError::malformed(&path.with_file_name(folder::TOKENIZER_CONFIG), what));
        };
        let mut token = added(id, content, entry["special"].as_bool().unwrap_or(false));
        for key in ["single_word", "lstrip", "rstrip", "normalized"] {
            token[key] = json!(entry[key].as_bool().unwrap_or(false));
        }
        all.insert(id, token);
    }
    let beyond: Vec<usize> = all.keys().copied().filter(|id| *id >= size).collect();
    match beyond.iter().zip(size..).find(|(id, expected)| *id != expected) {
        Some((id, expected)) => {
            let what = format!("an added token has the id {id}, and no token the id {expected}");
            Err(ConvertError::malformed(path, what))
        }
        None => Ok(all.into_values().collect()),
    }
}

/// The tokens of a vocab.json; the id of each is its place.
fn tokens_by_id(path: &Path) -> Result<Vec<String>, ConvertError> {
    let Json::Object(ids) = folder::read_json(path)? else {
        return Err(ConvertError::malformed(path, "it is no table of ids by token"));
    };
    if ids.len() > MOST_TOKENS {
        return Err(ConvertError::malformed(path, format!("{} tokens", ids.len())));
    }
    let mut tokens: Vec<Option<String>> = vec![None; ids.len()];
    for (token, id) in ids {
        let place = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        match place {
            Some(place @ None) => *place = Some(token),
            Some(Some(other)) => {
                return Err(ConvertError::malformed(path, format!("{other:?} and {token:?} both have the id {id}")));
            }
            None => {
                let what = format!("the id of {token:?} is {id}, and ids must be those from 0 on without a hole");
                return Err(ConvertError::malformed(path, what));
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// The entries of `added_tokens` beside a vocabulary of ids by token: those that tokenizer_config.json lists with their
/// ids, and the special ones that it or the tokenizer's class (`own`) names. What is in no vocabulary follows it.
fn special_tokens(
    path: &Path,
    told: &Json,
    own: &[(&str, Json)],
    vocabulary: &Map<String, Json>,
) -> Result<Vec<Json>, ConvertError> {
    let mut all = all_added(path, Vec::new(), told, vocabulary.len())?;
    for mut token in told::special(told, own) {
        match all.iter_mut().find(|listed| listed["content"] == token["content"]) {
            Some(listed) => listed["special"] = json!(true),
            None => {
                let next = all.iter().filter_map(|token| Some(token["id"].as_u64()? + 1)).max().unwrap_or(0);
                let id = token["content"].as_str().and_then(|text| vocabulary.get(text)?.as_u64());
                token["id"] = json!(id.unwrap_or(next.max(vocabulary.len() as u64)));
                all.push(token);
            }
        }
    }
    all.sort_by_key(|token| token["id"].as_u64());
    let wrong = all.iter().find(|token| {
        let (id, known) = (token["id"].as_u64(), token["content"].as_str().and_then(|text| vocabulary.get(text)));
        known.map_or(id < Some(vocabulary.len() as u64), |known| known.as_u64() != id)
    });
    match wrong {
        Some(token) => {
            let what = format!("the added token {} has the id {}, which is another's", token["content"], token["id"]);
            Err(ConvertError::malformed(path, what))
        }
        None => Ok(all),
    }
}

/// The id of a token, added or of the vocabulary.
fn id_of(text: &str, added: &[Json], vocabulary: &Map<String, Json>) -> Option<usize> {
    let added = added.iter().find(|token| token["content"] == text).map(|token| &token["id"]);
    added.or(vocabulary.get(text))?.as_u64().map(|id| id as usize)
}

/// Whose tokenizer a folder's is: by the class that tokenizer_config.json names, else by the `model_type` of config.json.
/// `known` has both and what they stand for; `otherwise` is for a folder that names neither.
fn whose<T: Copy>(
    path: &Path,
    told: &Json,
    model: &Json,
    known: &[(&str, &str, T)],
    otherwise: T,
) -> Result<T, ConvertError> {
    const GENERIC: [&str; 2] = ["PreTrainedTokenizer", "TokenizersBackend"];
    let class = told["tokenizer_class"].as_str().map(|class| class.strip_suffix("Fast").unwrap_or(class));
    let kind = model["model_type"].as_str();
    let by_class = class.and_then(|class| known.iter().find(|(of, ..)| *of == class));
    let class = class.filter(|class| by_class.is_some() || !GENERIC.contains(class));
    let found = match (class, kind) {
        (Some(_), _) => by_class,
        (None, Some(kind)) => known.iter().find(|(_, of, _)| *of == kind),
        (None, None) => return Ok(otherwise),
    };
    found.map(|(.., style)| *style).ok_or_else(|| {
        let mut names: Vec<&str> = known.iter().map(|(class, ..)| *class).collect();
        names.dedup();
        let what = format!(
            "a vocabulary of {}, whose ids are not known here; known are those of {}",
            class.or(kind).unwrap_or_default(),
            names.join(", ")
        );
        ConvertError::unsupported(path, what)
    })
}

/// A special token and its id.
type Token = (String, usize);

/// Special tokens around a text, and before the second of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
struct Around {
    before: Option<Token>,
    after: Option<Token>,
    before_second: Option<Token>,
    /// The type of the second text's tokens.
    second_type: u8,
}

impl Around {
    /// As a post-processor; null where there are none.
    fn post_processor(&self) -> Json {
        let Self { before, after, before_second, second_type } = self;
        let special = |token: &Option<Token>, type_id: u8| {
            token.as_ref().map(|(text, _)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
        };
        let text = |before: &Option<Token>, name: &str, type_id: u8| -> Vec<Json> {
            let middle = json!({"Sequence": {"id": name, "type_id": type_id}});
            special(before, type_id).into_iter().chain([middle]).chain(special(after, type_id)).collect()
        };
        let tokens = [before, after, before_second].into_iter().flatten();
        let known: Map<String, Json> =
            tokens.map(|(text, id)| (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}))).collect();
        if known.is_empty() {
            return Json::Null;
        }
        let pair = [text(before, "A", 0), text(before_second, "B", *second_type)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": text(before, "A", 0),
            "pair": pair,
            "special_tokens": known,
        })
    }
}

/// A token that tokenizer_config.json names under a key.
fn named<'a>(told: &'a Json, key: &str) -> Option<&'a str> {
    told[key].as_str().or_else(|| told[key]["content"].as_str())
}

/// What tokenizer_config.json says, for a class of transformers that reads tokenizer.json, with the special tokens `own` for
/// those of which it does not speak; where it says that there is none, there is none.
fn config(told: &Json, class: &str, own: &[(&str, Json)]) -> Json {
    let mut config = told.as_object().cloned().unwrap_or_default();
    config.insert("tokenizer_class".into(), json!(class));
    ["tokenizer_file", "sp_model_kwargs", "auto_map"].iter().for_each(|key| drop(config.remove(*key)));
    for (key, token) in own {
        config.entry(*key).or_insert_with(|| token.clone());
    }
    Json::Object(config)
}
