//! Stop strings, log-probabilities, biases, echo.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use serde_json::{Value, json};

use crate::harness::{TestServer, load, text_of};

#[test]
fn stop_strings_end_a_reply_even_across_tokens() {
    let server = TestServer::start();
    let mut across = 0;
    for prompt in ["Four score", "春眠", "that field", "a new nation"] {
        let body = json!({"prompt": prompt, "max_tokens": 40, "temperature": 0, "logprobs": 0});
        let whole = server.complete(body);
        let text = whole["choices"][0]["text"].as_str().unwrap();
        let tokens: Vec<&str> =
            whole["choices"][0]["logprobs"]["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        for pair in tokens.windows(2).filter(|pair| pair.iter().all(|token| !token.starts_with("bytes:"))) {
            let (Some(end), Some(start)) = (pair[0].chars().last(), pair[1].chars().next()) else { continue };
            let stop = format!("{end}{start}");
            let Some(at) = text.find(&stop) else { continue };
            across += 1;
            let body =
                json!({"prompt": prompt, "max_tokens": 40, "temperature": 0, "stop": [stop, "never to be said"]});
            let chunks = server.stream("/v1/completions", body.clone()).chunks();
            assert_eq!(text_of(&chunks, 0), text[..at], "{stop:?}");
            let reply = server.complete(body);
            assert_eq!(reply["choices"][0]["text"], text[..at]);
            assert_eq!(reply["choices"][0]["finish_reason"], "stop");
        }
    }
    assert!(across >= 10, "only {across} stop strings were tried");
}

/// Log-probabilities of the tokens of a text after its first, by the training forward pass.
fn reference_logprobs(ids: &[u32]) -> Vec<f32> {
    let (model, _) = load();
    let data: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(data, [1, ids.len()]), &model.device());
    let logprobs = log_softmax(model.logits(tokens), 2);
    let vocab = model.vocab_size();
    let all: Vec<f32> = logprobs.into_data().convert::<f32>().try_to_vec().unwrap();
    (1..ids.len()).map(|at| all[(at - 1) * vocab + ids[at] as usize]).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

#[test]
fn log_probabilities_are_the_model_s() {
    let server = TestServer::start();
    let (_, tokenizer) = load();
    let prompt = "Four score and seven years ago";
    let ids = tokenizer.encode(prompt).unwrap();
    let expected = reference_logprobs(&ids);
    let body = json!({"prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 3});
    let reply = server.complete(body);
    let choice = &reply["choices"][0];
    assert_eq!(choice["text"], prompt);
    let scores = &choice["logprobs"];
    assert_eq!((&scores["token_logprobs"][0], &scores["top_logprobs"][0]), (&Value::Null, &Value::Null));
    let found = floats(&scores["token_logprobs"]);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - f64::from(*expected)).abs() < 1e-4, "{found} {expected}");
    }
    let offsets = floats(&scores["text_offset"]);
    let mut offset = 0;
    for (token, found) in scores["tokens"].as_array().unwrap().iter().zip(offsets) {
        assert_eq!(found as usize, offset);
        offset += token.as_str().unwrap().chars().count();
    }
}

#[test]
fn sampled_tokens_come_with_their_scores() {
    let server = TestServer::start();
    let body = json!({"prompt": "our fathers", "max_tokens": 12, "seed": 5, "logprobs": 4, "ignore_eos": true, "temperature": 0.7});
    let reply = server.complete(body.clone());
    let scores = &reply["choices"][0]["logprobs"];
    assert_eq!(scores["tokens"].as_array().unwrap().len(), 12);
    for (top, own) in scores["top_logprobs"].as_array().unwrap().iter().zip(floats(&scores["token_logprobs"])) {
        let top: Vec<f64> = top.as_object().unwrap().values().map(|value| value.as_f64().unwrap()).collect();
        assert!(top.len() <= 4 && top.windows(2).all(|pair| pair[0] >= pair[1]), "best first: {top:?}");
        assert!(top.iter().map(|logprob| logprob.exp()).sum::<f64>() <= 1.0 + 1e-6);
        assert!(own <= top[0] + 1e-6 && own < 0.0);
    }
    let chunks = server.stream("/v1/completions", body).chunks();
    let streamed: Vec<f64> = chunks
        .iter()
        .filter(|chunk| !chunk["choices"][0]["logprobs"].is_null())
        .flat_map(|chunk| floats(&chunk["choices"][0]["logprobs"]["token_logprobs"]))
        .collect();
    assert_eq!(streamed, floats(&scores["token_logprobs"]));
}

#[test]
fn chat_scores_have_their_own_shape() {
    let server = TestServer::start();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"messages": messages, "max_tokens": 6, "logprobs": true, "top_logprobs": 2, "temperature": 0, "ignore_eos": true});
    let reply = server.chat(body);
    let content = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 6);
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|entry| entry["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
    for entry in content {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["logprob"]), (2, &entry["logprob"]), "greedy takes the likeliest");
    }
}

#[test]
fn scores_stop_where_the_text_does() {
    let server = TestServer::start();
    let ask = |stop: Value| {
        server
            .complete(json!({"prompt": "Four score", "max_tokens": 30, "temperature": 0, "logprobs": 0, "stop": stop}))
    };
    let whole = ask(Value::Null);
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let (at, _) = text.char_indices().nth(text.chars().count() / 2).unwrap();
    let stop: String = text[at..].chars().take(2).collect();
    let cut = ask(json!(stop));
    let shown = cut["choices"][0]["text"].as_str().unwrap().chars().count() as f64;
    assert!(floats(&cut["choices"][0]["logprobs"]["text_offset"]).iter().all(|offset| *offset < shown));
}

#[test]
fn biases_force_and_forbid_tokens() {
    let server = TestServer::start();
    let (_, tokenizer) = load();
    let id = tokenizer.encode("a").unwrap()[0];
    let ask = |bias: f64| {
        let body = json!({"prompt": "x", "max_tokens": 8, "seed": 1, "logit_bias": {(id.to_string()): bias}});
        server.complete(body)["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(100.0), "aaaaaaaa");
    assert!(!ask(-100.0).contains("aaaa"));
}

#[test]
fn frequency_penalties_end_repetition() {
    let server = TestServer::start();
    let (_, tokenizer) = load();
    let id = tokenizer.encode("a").unwrap()[0];
    let ask = |penalty: f64| {
        let body = json!({"prompt": "x", "max_tokens": 12, "temperature": 0, "logit_bias": {(id.to_string()): 5}, "frequency_penalty": penalty});
        server.complete(body)["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(0.0), "a".repeat(12));
    // After 3 times, 3 × 2 outweighs the bias of 5; the random model's own logits are below 1.
    let text = ask(2.0);
    assert!(text.starts_with("aa") && !text.starts_with("aaaa"), "{text:?}");
}

#[test]
fn echo_shows_the_prompt_first() {
    let server = TestServer::start();
    let ask = |echo: bool| {
        let reply = server.complete(json!({"prompt": "春眠不觉晓", "max_tokens": 5, "temperature": 0, "echo": echo}));
        reply["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(true), format!("春眠不觉晓{}", ask(false)));
}
