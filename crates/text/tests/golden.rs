//! The ids and prompts that Hugging Face's libraries give, written by scripts/check_tokenizer.py.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use danlu_text::{ChatTemplate, Message, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    vocab_size: usize,
    eos_token_id: u32,
    texts: Vec<Text>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Message>,
    prompt: String,
}

#[test]
fn ids_and_prompts_are_those_of_hugging_face() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(dir.join("golden.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::from_dir(&dir).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos_id()), (golden.vocab_size, golden.eos_token_id));
    assert!(golden.texts.len() >= 12 && golden.chats.len() >= 2);
    for Text { text, ids } in &golden.texts {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.decode(ids), text);
    }
    let template = ChatTemplate::from_dir(&dir).unwrap().unwrap();
    for Chat { messages, prompt } in &golden.chats {
        assert_eq!(&template.render(messages, true).unwrap(), prompt);
    }
}
