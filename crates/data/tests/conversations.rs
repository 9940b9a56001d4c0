//! What a model is trained on of conversations, looked at in tokens: it is what cleaning made of their turns.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::sources::read_file;
use common::{TOKENIZER, documents, quiet, write_documents};
use danlu_data::{
    ChatConfig, ChatFormat, CleanConfig, DataError, Document, Encoder, Funnel, Shard, ShowFilter, Shown, SplitConfig,
    clean, documents_file, show, train_tokenizer, write_shards,
};
use danlu_text::{CHATML, ChatTemplate, TokenizerConfig};
use serde_json::{Value, json};

const LIMITS: &str = "min_chars = 1\nmax_symbol_ratio = 1.0\nmax_repeated_line_ratio = 1.0\n";
const TRANSFORMS: &str = "
[[transforms]]
kind = \"mojibake\"
[[transforms]]
kind = \"urls\"
replacement = \"URL\"
[[transforms]]
kind = \"mask_pii\"
[[transforms]]
kind = \"simplify\"
";

const LINE: &str = "A line that is said in one conversation after the other, long enough to be cut.";
const ITEM: &str = "Natalia sold clips to forty eight of her friends in April and then she sold half as many in May";

fn turn(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// The documents of these records.
fn collected(records: &[Value], chat: Option<ChatFormat>) -> Vec<Document> {
    let lines: String = records.iter().map(|record| record.to_string() + "\n").collect();
    let (documents, problems) = read_file("a.jsonl", lines.as_bytes(), |source| source.chat = chat);
    assert_eq!((documents.len(), problems), (records.len(), vec![]));
    documents
}

/// Documents cleaned with these settings.
struct Cleaned {
    dir: tempfile::TempDir,
    funnel: Funnel,
}

impl Cleaned {
    fn of(documents: &[Document], settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: CleanConfig =
            toml::from_str(&format!("{LIMITS}{settings}")).unwrap_or_else(|e| panic!("{settings}: {e}"));
        let input = write_documents(dir.path(), documents);
        let out = dir.path().join("clean");
        std::fs::create_dir_all(&out).unwrap();
        let funnel = clean(&input, &config, &SplitConfig { valid: 0.0, test: 0.0 }, &out, &quiet).unwrap();
        Self { dir, funnel }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("clean")
    }

    fn shown(&self, split: &str) -> Vec<Shown> {
        show(&self.folder(), &ShowFilter { split: Some(split.into()), ..ShowFilter::default() }).unwrap()
    }

    fn kept(&self) -> Vec<Document> {
        self.shown("train").into_iter().map(|shown| shown.document).collect()
    }

    /// Why documents went, in their order.
    fn reasons(&self) -> Vec<String> {
        self.shown("dropped").into_iter().filter_map(|shown| shown.reason).collect()
    }

    fn trained(&self) -> Result<Vec<(String, String)>, DataError> {
        trained(self.dir.path(), &self.folder().join(documents_file("train")))
    }
}

/// Of each document in a table the tokens that have a loss, and all of them, decoded.
fn trained(dir: &Path, table: &Path) -> Result<Vec<(String, String)>, DataError> {
    let template = ChatTemplate::new(CHATML.into(), None, None).unwrap();
    let chat = ChatConfig::default();
    let encoder = Encoder { tokenizer: &TOKENIZER, template: Some(&template), chat: &chat };
    let out = dir.join("train.tokens");
    let summary = write_shards(table, &encoder, &out, &quiet)?;
    assert_eq!((summary.round_trip_failures, summary.unknown_tokens), (0, 0));
    let shard = Shard::open(&out, None)?;
    let decoded = |index: usize| {
        let tokens = shard.document(index).unwrap().tokens;
        let all = shard.tokens().slice(tokens.clone()).to_vec();
        let learnt: Vec<u32> = tokens.filter(|&t| shard.is_learnt(t)).filter_map(|t| shard.tokens().get(t)).collect();
        (TOKENIZER.decode(&learnt), TOKENIZER.decode(&all))
    };
    Ok((0..shard.document_count()).map(decoded).collect())
}

fn spoken(role: &str, content: &str) -> String {
    format!("<|im_start|>{role}\n{content}<|im_end|>\n")
}

#[test]
fn what_is_trained_on_is_what_cleaning_made_of_the_turns() {
    let asked = "請問電話 13812345678 是誰的？見 https://a.org/b 吧";
    let answered = "It isn\u{e2}\u{20ac}\u{2122}t mine; write to jane.doe@corp.co.uk.\r\n\r\n\r\nThanks  ";
    let messages = json!({ "messages": [
        turn("system", "\u{feff}簡體與繁體\u{3000}"), turn("user", asked), turn("assistant", answered),
        { "role": "user", "content": [{ "type": "text", "text": "再見 13812345678" }] }, turn("assistant", "再見"),
    ] });
    let cleaned = Cleaned::of(&collected(&[messages], Some(ChatFormat::Messages)), TRANSFORMS);
    let (asked, answered) = ("请问电话 <PHONE> 是谁的？见 URL 吧", "It isn\u{2019}t mine; write to <EMAIL>.\n\nThanks");
    let trained = cleaned.trained().unwrap();
    let [(learnt, all)] = &trained[..] else { panic!("one conversation") };
    assert_eq!(*learnt, format!("{answered}<|im_end|>再见<|im_end|>"));
    let turns = [
        ("system", "简体与繁体"),
        ("user", asked),
        ("assistant", answered),
        ("user", "再见 <PHONE>"),
        ("assistant", "再见"),
    ];
    let whole: String = turns.iter().map(|(role, content)| spoken(role, content)).collect();
    assert!(all.starts_with(&whole) && all.len() < whole.len() + 20, "{all}");
    // What filters see and the report shows is the same.
    let kept = cleaned.kept();
    let [document] = &kept[..] else { panic!("one conversation") };
    let text: Vec<String> = turns.iter().map(|(role, content)| format!("{role}: {content}")).collect();
    assert_eq!(document.text, text.join("\n\n"));
    assert_eq!(document.id, Document::new(document.text.as_str(), "s").id);
    let changed = |name: &str| cleaned.funnel.steps.iter().find(|step| step.step == name).unwrap().changed;
    let steps = ["transform_mojibake", "repair", "transform_urls", "transform_mask_pii", "transform_simplify"];
    assert_eq!(steps.map(changed), [1; 5]);
}

#[test]
fn a_conversation_in_which_a_turn_says_nothing_any_more_is_dropped() {
    let talk = |asked: &str, answered: &str| json!({ "messages": [turn("user", asked), turn("assistant", answered)] });
    let records = [talk("https://a.org/b", "a page"), talk("\u{feff}\u{200b}", "what?"), talk("who?", "she")];
    let documents = collected(&records, Some(ChatFormat::Messages));
    let cleaned = Cleaned::of(&documents, "[[transforms]]\nkind = \"urls\"\n");
    assert_eq!(cleaned.reasons(), ["empty_turn", "empty_turn"]);
    let details: Vec<String> = cleaned.shown("dropped").into_iter().filter_map(|shown| shown.detail).collect();
    assert!(details.contains(&"messages, turn 1 (user): nothing is left after urls".to_owned()), "{details:?}");
    assert_eq!(cleaned.kept()[0].text, "user: who?\n\nassistant: she");
}

#[test]
fn nothing_is_cut_from_a_conversation() {
    let talk = |asked: &str| json!({ "messages": [turn("user", asked), turn("assistant", &format!("{asked} indeed\n\n{LINE}"))] });
    let mut all = collected(&[talk("one"), talk("two"), talk("three")], Some(ChatFormat::Messages));
    let talks: Vec<String> = all.iter().map(|document| document.text.clone()).collect();
    all.extend(["a", "b"].map(|name| Document::new(format!("plain {name}\n\n{LINE}"), "s")));
    for way in ["lines = { min_chars = 30 }", "paragraphs = { min_chars = 30 }", "substring = { min_bytes = 40 }"] {
        let cleaned = Cleaned::of(&all, &format!("[dedup]\n{way}\n"));
        let kept: Vec<String> = cleaned.kept().into_iter().map(|document| document.text).collect();
        assert_eq!(kept[..3], talks, "{way}");
        assert!(kept[3].ends_with(LINE) && !kept[4].contains("long enough to be cut"), "{way}: {kept:?}");
        let found = cleaned.funnel.duplicates.as_ref().unwrap();
        assert_eq!(found.left_whole, 3, "{way}");
        assert_eq!(found.kinds.iter().map(|kind| kind.count).collect::<Vec<_>>(), [1], "{way}: only the plain text's");
        for (learnt, _) in &cleaned.trained().unwrap()[..3] {
            assert!(learnt.contains(LINE), "{way}: {learnt}");
        }
    }
}

#[test]
fn a_conversation_with_an_item_of_an_evaluation_set_is_dropped_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let exam = dir.path().join("exam.jsonl");
    std::fs::write(&exam, json!({ "text": ITEM }).to_string()).unwrap();
    let talk = |answer: &str| json!({ "messages": [turn("user", "Say something."), turn("assistant", answer)] });
    let mut all = collected(&[talk(&format!("Well: {ITEM}.")), talk("Well.")], Some(ChatFormat::Messages));
    let before = "Something that stays because it stands before. ".repeat(8);
    all.push(Document::new(format!("{before}{ITEM}."), "s"));
    let path = exam.to_str().unwrap();
    let settings =
        format!("[decontaminate]\naction = \"cut\"\n[[decontaminate.sets]]\nname = \"exam\"\npath = \"{path}\"\n");
    let cleaned = Cleaned::of(&all, &settings);
    assert_eq!(cleaned.reasons(), ["contaminated"]);
    let kept = cleaned.kept();
    assert_eq!(kept[0].text, "user: Say something.\n\nassistant: Well.");
    assert!(kept.len() == 2 && kept[1].text.starts_with("Something that stays") && !kept[1].text.contains("Natalia"));
}

#[test]
fn preferences_are_cleaned_and_not_trained_on() {
    let phone = "13812345678";
    let preference = json!({ "prompt": format!("電話 {phone}"), "chosen": format!("好 {phone}"), "rejected": "壞" });
    let kto = json!({ "prompt": format!("電話 {phone}"), "completion": format!("好 {phone}"), "label": false });
    let spoilt = json!({ "prompt": "q", "chosen": "見", "rejected": "见" });
    let documents = collected(&[preference, kto, spoilt], Some(ChatFormat::Auto));
    let cleaned = Cleaned::of(&documents, TRANSFORMS);
    let kept = cleaned.kept();
    assert_eq!(
        kept.iter().map(|document| document.text.as_str()).collect::<Vec<_>>(),
        ["user: 电话 <PHONE>\n\nchosen: 好 <PHONE>\n\nrejected: 坏", "user: 电话 <PHONE>\n\nundesirable: 好 <PHONE>"]
    );
    assert_eq!(kept[0].metadata["prompt"], json!([turn("user", "电话 <PHONE>")]));
    assert_eq!(kept[0].metadata["chosen"], json!([turn("assistant", "好 <PHONE>")]));
    assert_eq!(kept[0].metadata["rejected"], json!([turn("assistant", "坏")]));
    assert_eq!(kept[1].metadata["completion"], json!([turn("assistant", "好 <PHONE>")]));
    assert_eq!(cleaned.reasons(), ["same_answers"]);
    // As tokens they would have a loss on the bad answers, too.
    for (document, form) in kept.iter().zip(["preference", "kto"]) {
        let dir = tempfile::tempdir().unwrap();
        let table = write_documents(dir.path(), &[Document::new("plain text", "s"), document.clone()]);
        let config = TokenizerConfig { vocab_size: 300, ..Default::default() };
        let trained_on = train_tokenizer(&table, &config, &quiet).map(|_| ());
        for error in [trained_on.unwrap_err(), trained(dir.path(), &table).unwrap_err()] {
            let DataError::Preferences { name, form: found } = &error else { panic!("{error}") };
            assert_eq!((name.as_str(), *found), ("s", form));
            assert!(error.hint().unwrap().contains("chat = \"messages\""), "{error}");
        }
    }
}

#[test]
fn a_field_of_another_record_is_no_conversation() {
    let said = json!([turn("user", "hi"), turn("assistant", "SECRET")]);
    let records = [
        json!({ "text": "The text of this record.", "messages": said }),
        json!({ "text": "A number of messages.", "messages": 0, "images": 2, "augmented_from": "row 7" }),
        json!({ "text": "Answers beside it.", "prompt": said, "chosen": said, "rejected": said, "completion": said, "label": true }),
    ];
    let documents = collected(&records, None);
    assert_eq!(documents[0].metadata["source_messages"], said);
    let mut names: Vec<&str> = documents[1].metadata.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["file", "line", "source_augmented_from", "source_images", "source_messages"]);
    let cleaned = Cleaned::of(&documents, TRANSFORMS);
    let all: Vec<String> = cleaned.trained().unwrap().into_iter().map(|(learnt, _)| learnt).collect();
    for (document, learnt) in documents.iter().zip(&all) {
        assert!(learnt.starts_with(&document.text) && !learnt.contains("SECRET"), "{learnt}");
    }
    // What a conversation has besides is not taken for its turns, and cannot take their place.
    let record = json!({ "messages": [turn("user", "a"), turn("assistant", "b")], "chosen": said, "rejected": said });
    let cleaned = Cleaned::of(&collected(&[record], Some(ChatFormat::Messages)), "");
    assert_eq!(cleaned.trained().unwrap()[0].0, "b<|im_end|>");
    assert_eq!(cleaned.kept()[0].metadata["source_chosen"], said);
    let record = json!({ "prompt": "q", "completion": "a", "label": 1, "messages": said });
    let documents = collected(&[record], Some(ChatFormat::Kto));
    assert_eq!(documents[0].text, "user: q\n\ndesirable: a");
    assert_eq!(documents[0].metadata["source_messages"], said);
}

#[test]
fn plain_text_is_cleaned_as_before() {
    let plain = documents(6);
    let cleaned = Cleaned::of(&plain, "");
    assert_eq!(cleaned.kept(), plain);
    let all: Vec<String> = cleaned.trained().unwrap().into_iter().map(|(learnt, _)| learnt).collect();
    assert!(plain.iter().zip(&all).all(|(document, learnt)| learnt.starts_with(&document.text)));
}

#[test]
fn nothing_is_filled_in_for_turns() {
    for (name, refused) in [("messages", true), ("completion", true), ("license", false)] {
        let config: CleanConfig = toml::from_str(&format!("missing = {{ {name} = {{ fill = \"x\" }} }}\n")).unwrap();
        let checked = config.check();
        assert_eq!(checked.is_err(), refused, "{name}: {checked:?}");
    }
}
