//! The two small models on the real texts of `corpora/`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use danlu_text::{Analysis, ClassifierConfig, Example, LinearClassifier, NgramConfig, NgramModel};
use serde_json::Value;

fn corpus(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpora").join(name);
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every fifth example is held out. Gives the share told right, and that of the commonest label among them.
fn accuracy(examples: &[(String, &str)], positive: &str, config: &ClassifierConfig) -> (f64, f64) {
    let held_out = |at: usize| at % 5 == 4;
    let example = |at: usize| Example { text: &examples[at].0, label: examples[at].1 };
    let learned: Vec<Example<'_>> = (0..examples.len()).filter(|&at| !held_out(at)).map(example).collect();
    let asked: Vec<Example<'_>> = (0..examples.len()).filter(|&at| held_out(at)).map(example).collect();
    let model = LinearClassifier::train(&learned, positive, config).unwrap();
    let right = asked.iter().filter(|asked| model.predict(&Analysis::new(asked.text)).0 == asked.label).count();
    let of_label = |label: &str| asked.iter().filter(|asked| asked.label == label).count();
    let commonest = model.labels().iter().map(|label| of_label(label)).max().unwrap();
    (right as f64 / asked.len() as f64, commonest as f64 / asked.len() as f64)
}

/// Hundred words of presidents before 1860 or after 1960.
#[test]
fn a_classifier_tells_centuries_of_english_apart() {
    let mut examples = Vec::new();
    for address in corpus("state-of-the-union.jsonl.zst") {
        let year = address["year"].as_i64().unwrap();
        let label = match year {
            ..1860 => "old",
            1961.. => "new",
            _ => continue,
        };
        let words: Vec<&str> = address["text"].as_str().unwrap().split(' ').collect();
        examples.extend(words.chunks(100).take(20).map(|words| (words.join(" "), label)));
    }
    let (right, commonest) =
        accuracy(&examples, "new", &ClassifierConfig { buckets: 1 << 16, ..ClassifierConfig::default() });
    assert!(right > 0.95 && commonest < 0.8, "{right} right, {commonest} by the commonest label");
}

/// Poems of Bai Juyi and Du Fu.
#[test]
fn a_classifier_tells_poets_apart() {
    let mut examples = Vec::new();
    for poem in corpus("tang-poems.jsonl.zst") {
        let label = match poem["author"].as_str().unwrap() {
            "白居易" => "白居易",
            "杜甫" => "杜甫",
            _ => continue,
        };
        examples.push((poem["text"].as_str().unwrap().to_string(), label));
    }
    let config = ClassifierConfig { buckets: 1 << 16, epochs: 10, ..ClassifierConfig::default() };
    let (right, commonest) = accuracy(&examples, "杜甫", &config);
    assert!(right > commonest + 0.15, "{right} right, {commonest} by the commonest label");
}

#[test]
fn an_ngram_model_knows_its_kind_of_text() {
    let poems = corpus("tang-poems.jsonl.zst");
    let texts: Vec<&str> = poems.iter().map(|poem| poem["text"].as_str().unwrap()).collect();
    let addresses = corpus("state-of-the-union.jsonl.zst");
    let speeches: Vec<&str> = addresses.iter().map(|address| address["text"].as_str().unwrap()).collect();
    let (learned, held_out) = texts.split_at(5000);
    let (old, new) = speeches.split_at(60);
    let model = NgramModel::train(learned.iter().chain(&old[..30]), &NgramConfig::default()).unwrap();
    let perplexity = |text: &str| model.perplexity(&Analysis::new(text));
    let mean = |texts: &[&str]| texts.iter().map(|text| perplexity(text).ln()).sum::<f64>() / texts.len() as f64;
    let backwards: Vec<String> = held_out[..200].iter().map(|text| text.chars().rev().collect()).collect();
    let backwards: Vec<&str> = backwards.iter().map(String::as_str).collect();
    let (poem, mirrored, speech, later) =
        (mean(&held_out[..200]), mean(&backwards), mean(&old[30..]), mean(&new[100..]));
    assert!(poem < mirrored, "poems {poem}, backwards {mirrored}");
    assert!(speech < later, "speeches of the time {speech}, of a century later {later}");
    assert!(speech.exp() > 20.0 && speech.exp() < 1000.0, "{}", speech.exp());
}
