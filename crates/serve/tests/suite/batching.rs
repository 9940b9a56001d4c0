//! Many requests in one batch give what each gives alone.

use std::ops::ControlFlow;

use danlu_model::SamplingConfig;
use danlu_serve::ServeConfig;
use serde_json::json;

use crate::harness::{TestServer, load, recurrent_model_dir, text_of};

/// Prompts of very different lengths, some longer than a prefill chunk.
fn prompts() -> Vec<String> {
    let words = ["our fathers", "春眠不觉晓", "Four score and seven", "x", "that nation might live. ", "明月"];
    (0..24).map(|i| words[i % words.len()].repeat(1 + (i * 7) % 23)).collect()
}

/// A reply's text: special tokens are not shown.
fn shown(tokenizer: &danlu_text::Tokenizer, ids: &[u32]) -> String {
    let text: Vec<u32> = ids.iter().copied().filter(|id| !tokenizer.is_special(*id)).collect();
    tokenizer.decode(&text)
}

#[test]
fn a_reply_is_what_the_library_generates() {
    let server = TestServer::with(ServeConfig { prefill_chunk: 1024, ..ServeConfig::default() });
    let (model, tokenizer) = load();
    for prompt in ["Four score and seven years ago", "春眠不觉晓，", "x"] {
        let ids = tokenizer.encode(prompt).unwrap();
        let sampling = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
        let stop = [tokenizer.eos_id()];
        let expected =
            danlu_model::generate(&model, &ids, &sampling, 32, &stop, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(server.greedy(prompt, 32), shown(&tokenizer, &expected.tokens), "{prompt}");
    }
}

/// The engine asks not what a state is made of: several replies to one prompt go on from clones of the state after it.
#[test]
fn a_recurrent_model_replies_as_the_library_generates_alone_and_in_a_crowd() {
    let dir = recurrent_model_dir();
    let server = TestServer::of(&dir, ServeConfig { max_batch: 8, prefill_chunk: 32, ..ServeConfig::default() });
    let model = danlu_model::load(&dir, &burn::prelude::Device::default()).unwrap();
    let tokenizer = danlu_text::Tokenizer::from_dir(&dir).unwrap();
    let greedy = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
    let expected = |prompt: &str| {
        let (ids, stop) = (tokenizer.encode(prompt).unwrap(), [tokenizer.eos_id()]);
        let written = danlu_model::generate(&model, &ids, &greedy, 32, &stop, |_| ControlFlow::Continue(())).unwrap();
        shown(&tokenizer, &written.tokens)
    };
    let prompts = prompts();
    let together: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| server.greedy(prompt, 32))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (prompt, reply) in prompts.iter().zip(&together) {
        assert_eq!(*reply, expected(prompt), "{prompt}");
    }
    let body = json!({"prompt": &prompts[0], "max_tokens": 32, "temperature": 0, "n": 3});
    let several = server.complete(body);
    for choice in several["choices"].as_array().unwrap() {
        assert_eq!(choice["text"], expected(&prompts[0]));
    }
}

#[test]
fn replies_in_a_crowd_equal_replies_alone() {
    check_crowd(8);
}

/// Many rows go through another matrix product than few, with another order of additions; the words are the same.
#[test]
fn replies_in_a_large_crowd_equal_replies_alone() {
    check_crowd(24);
}

/// In a small batch even the probabilities are the same, to the bit.
#[test]
fn scores_in_a_crowd_equal_scores_alone() {
    let server = TestServer::with(ServeConfig { max_batch: 8, ..ServeConfig::default() });
    let ask = |prompt: &str| {
        let body = json!({"prompt": prompt, "max_tokens": 24, "temperature": 0, "logprobs": 2, "ignore_eos": true});
        server.complete(body)["choices"][0]["logprobs"].clone()
    };
    let prompts = ["x", "春眠", "Four score and seven years ago", "a great civil war", "that field", "明月", "We", "0"];
    let alone: Vec<_> = prompts.iter().map(|prompt| ask(prompt)).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(move || ask(prompt))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

fn check_crowd(max_batch: usize) {
    let server = TestServer::with(ServeConfig { max_batch, prefill_chunk: 32, ..ServeConfig::default() });
    let prompts = prompts();
    let alone: Vec<String> = prompts.iter().map(|prompt| server.greedy(prompt, 48)).collect();
    assert_eq!(
        server.metric("decode_batch_size_bucket{model_name=\"tiny\",le=\"1\"}"),
        server.metric("decode_batch_size_count")
    );
    let together: Vec<String> = std::thread::scope(|scope| {
        let ask = |(i, prompt): (usize, &String)| {
            let (server, prompt) = (&server, prompt.clone());
            scope.spawn(move || match i % 2 {
                0 => server.greedy(&prompt, 48),
                _ => {
                    let body = json!({"prompt": prompt, "max_tokens": 48, "temperature": 0});
                    text_of(&server.stream("/v1/completions", body).chunks(), 0)
                }
            })
        };
        let threads: Vec<_> = prompts.iter().enumerate().map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    // The second round was really batched: fewer steps than tokens.
    assert!(server.metric("decode_batch_size_sum") > server.metric("decode_batch_size_count"));
}

#[test]
fn sampled_replies_depend_on_their_seed_alone() {
    let server = TestServer::with(ServeConfig { max_batch: 4, ..ServeConfig::default() });
    let ask = |seed: usize| {
        let reply = server.complete(
            json!({"prompt": "Four score", "max_tokens": 24, "seed": seed, "temperature": 1.2, "top_p": 0.9}),
        );
        reply["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let alone: Vec<String> = (0..8).map(ask).collect();
    let distinct: std::collections::BTreeSet<&String> = alone.iter().collect();
    assert!(distinct.len() > 1);
    let together: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|seed| scope.spawn(move || ask(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn choices_continue_one_prompt_with_consecutive_seeds() {
    let server = TestServer::start();
    let ask = |n: usize, seed: usize| {
        let reply = server.complete(
            json!({"prompt": "a great civil war", "max_tokens": 16, "n": n, "seed": seed, "ignore_eos": true}),
        );
        let texts =
            reply["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap().to_owned());
        (texts.collect::<Vec<_>>(), reply["usage"]["completion_tokens"].as_u64().unwrap())
    };
    let before = server.metric("prompt_tokens_total");
    let (three, tokens) = ask(3, 40);
    let read = server.metric("prompt_tokens_total") - before;
    assert_eq!(tokens, 48);
    for (i, text) in three.iter().enumerate() {
        assert_eq!(*text, ask(1, 40 + i).0[0], "choice {i}");
    }
    let (_, tokenizer) = load();
    assert_eq!(read as usize, tokenizer.encode("a great civil war").unwrap().len(), "the prompt is read once for all");
}

#[test]
fn a_long_prompt_does_not_stop_running_replies() {
    let server = TestServer::with(ServeConfig { prefill_chunk: 16, ..ServeConfig::default() });
    let mut running = server
        .stream("/v1/completions", json!({"prompt": "x", "max_tokens": 900, "ignore_eos": true, "temperature": 0}));
    running.next().unwrap();
    // Read in about 40 chunks, between which the running reply must go on.
    let before = server.metric("generation_tokens_total");
    server.complete(json!({"prompt": "Four score and seven ".repeat(60), "max_tokens": 1}));
    assert!(server.metric("generation_tokens_total") >= before + 20.0);
    drop(running);
}
