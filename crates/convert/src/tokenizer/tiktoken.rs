//! Files of tiktoken: a token in base64 and its rank, line by line. A token's rank is its id. Merges are not in the file;
//! the one that makes a token is found by encoding its bytes with the lower ranks alone, which leaves two parts. (Of a
//! token that leaves more, no merge makes it: it is only ever a whole word.)

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::gguf::split;
use super::{Around, DESCRIBED, Files, added, all_added, config, named};
use crate::ConvertError;

/// More bytes than any token has: what it costs to find its merge grows with the square.
const LONGEST_TOKEN: usize = 1024;
/// Larger than any rank.
const LARGEST_RANK: u32 = 1 << 24;

/// Whose file it is: the file says neither how text is split nor which special tokens follow its ranks.
struct Origin {
    /// The split, by llama.cpp's name.
    split: &'static str,
    special: Vec<String>,
    begin: Option<&'static str>,
    end: &'static str,
}

/// `tokenizer.model` is Llama 3's.
fn origin(path: &Path) -> Result<Origin, ConvertError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let list = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>();
    match name.as_str() {
        "qwen.tiktoken" => {
            let mut special = list(&["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
            special.extend((0..205).map(|i| format!("<|extra_{i}|>")));
            Ok(Origin { split: "qwen2", special, begin: None, end: "<|endoftext|>" })
        }
        "tokenizer.model" => {
            let reserved = |i: usize| format!("<|reserved_special_token_{i}|>");
            let mut special = list(&["<|begin_of_text|>", "<|end_of_text|>"]);
            special.extend((0..4).map(reserved));
            special.extend(list(&["<|start_header_id|>", "<|end_header_id|>"]));
            special.extend([reserved(4), "<|eot_id|>".to_owned()]);
            special.extend((5..251).map(reserved));
            Ok(Origin { split: "llama3", special, begin: Some("<|begin_of_text|>"), end: "<|end_of_text|>" })
        }
        _ => {
            let what = "a file of tiktoken does not say how it splits text; known are qwen.tiktoken and Llama 3's \
                        tokenizer.model";
            Err(ConvertError::unsupported(path, what))
        }
    }
}

/// Whether a file is of this form, by its first line.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.len() < 2 * LONGEST_TOKEN && read_line(line).is_some()
}

fn read_line(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty())?;
    Some((token, rank.parse().ok().filter(|rank| *rank <= LARGEST_RANK)?))
}

pub(super) fn files(path: &Path, bytes: &[u8], told: &Json) -> Result<Files, ConvertError> {
    let origin = origin(path)?;
    let ranks = read(path, bytes)?;
    let size = ranks.iter().map(|(_, rank)| *rank as usize + 1).max().unwrap_or(0);
    let own = origin.special.iter().enumerate().map(|(i, token)| added(size + i, token, true));
    // Where the folder lists its own special tokens, those of the first release mean nothing.
    let own = if told["added_tokens_decoder"].is_object() { Vec::new() } else { own.collect() };
    let special = all_added(path, own, told, size)?;
    let id = |text: &str| special.iter().find(|token| token["content"] == text)?["id"].as_u64();
    let begin = named(told, "bos_token").or(origin.begin).filter(|_| origin.begin.is_some());
    let begin = begin.and_then(|text| Some((text.to_owned(), id(text)? as usize)));
    let before = begin.filter(|_| told["add_bos_token"].as_bool().unwrap_or(true));
    let (pre_tokenizer, normalizer) = split(origin.split);
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let mut config = config(told, DESCRIBED, &[]);
    for (key, token) in [("bos_token", origin.begin), ("eos_token", Some(origin.end))] {
        if named(told, key).is_none() && token.is_some() {
            config[key] = json!(token);
        }
    }
    config["add_bos_token"] = json!(before.is_some());
    let post = Around { before_second: before.clone(), before, after: None, second_type: 1 }.post_processor();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": if post.is_null() { byte_level } else { post },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": model(&ranks),
    });
    Ok(Files { tokenizer, config, target: None })
}

/// Tokens and ranks, by rank.
fn read(path: &Path, bytes: &[u8]) -> Result<Vec<(Vec<u8>, u32)>, ConvertError> {
    let malformed = |what: String| ConvertError::malformed(path, what);
    let mut ranks = Vec::new();
    let lines = bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    for (number, line) in lines {
        let (token, rank) = read_line(line)
            .ok_or_else(|| malformed(format!("line {}: not a token in base64 and its rank", number + 1)))?;
        if token.len() > LONGEST_TOKEN {
            return Err(malformed(format!("line {}: a token of {} bytes", number + 1, token.len())));
        }
        ranks.push((token, rank));
    }
    ranks.sort_by_key(|(_, rank)| *rank);
    if let Some([(_, rank), _]) = ranks.array_windows().find(|[a, b]| a.1 == b.1) {
        return Err(malformed(format!("two tokens have the rank {rank}")));
    }
    let by_token: HashMap<&[u8], u32> = ranks.iter().map(|(token, rank)| (token.as_slice(), *rank)).collect();
    if let Some((_, rank)) = ranks.iter().find(|(token, rank)| by_token[token.as_slice()] != *rank) {
        return Err(malformed(format!("the token of rank {rank} has another rank, too")));
    }
    match (0..=255u8).find(|byte| !by_token.contains_key(&[*byte][..])) {
        Some(byte) => Err(malformed(format!("no token is the byte {byte:#04x}"))),
        None => Ok(ranks),
    }
}

fn model(ranks: &[(Vec<u8>, u32)]) -> Json {
    let letters = letters();
    let written = |bytes: &[u8]| bytes.iter().map(|byte| letters[*byte as usize]).collect::<String>();
    let by_token: HashMap<&[u8], u32> = ranks.iter().map(|(token, rank)| (token.as_slice(), *rank)).collect();
    let vocabulary: Map<String, Json> = ranks.iter().map(|(token, rank)| (written(token), json!(rank))).collect();
    let merges: Vec<[String; 2]> = ranks
        .iter()
        .filter_map(|(token, rank)| {
            let at = halves(token, *rank, &by_token)?;
            Some([written(&token[..at]), written(&token[at..])])
        })
        .collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
        "vocab": vocabulary, "merges": merges,
    })
}

/// Where a token parts into the two that a merge makes it of: what its bytes are with the tokens of lower rank.
fn halves(token: &[u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Option<usize> {
    let mut ends: Vec<usize> = (1..=token.len()).collect();
    while ends.len() > 2 {
        let begin = |i: usize| if i == 0 { 0 } else { ends[i - 1] };
        let of_pair = |i: usize| ranks.get(&token[begin(i)..ends[i + 1]]).filter(|found| **found < rank);
        let best = (0..ends.len() - 1).filter_map(|i| Some((*of_pair(i)?, i))).min()?;
        ends.remove(best.1);
    }
    (ends.len() == 2).then(|| ends[0])
}

/// The character by which GPT-2 writes each byte: itself where it can be seen, else one from U+0100 on.
fn letters() -> Vec<char> {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut hidden = 0x100u32;
    (0..=255u8)
        .map(|byte| {
            if seen(byte) {
                return char::from(byte);
            }
            hidden += 1;
            char::from_u32(hidden - 1).unwrap_or_default()
        })
        .collect()
}
