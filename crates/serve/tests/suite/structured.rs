//! Replies of a form, beam search, and the rules of sampling, over HTTP.

use danlu_model::{BeamConfig, EarlyStopping, State, beam_search};
use danlu_serve::ServeConfig;
use serde_json::{Value, json};

use crate::harness::{TestServer, load, text_of};

fn text(reply: &Value, index: usize) -> String {
    reply["choices"][index]["text"].as_str().or(reply["choices"][index]["message"]["content"].as_str()).unwrap().into()
}

fn poem_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "poet": {"enum": ["李白", "孟浩然"]},
            "lines": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
            "year": {"type": "integer", "minimum": 600, "maximum": 907},
        },
        "required": ["poet", "lines", "year"],
        "additionalProperties": false,
        // Space between the parts would be most of what a random model writes.
        "x-guidance": {"whitespace_flexible": false},
    })
}

fn assert_poem(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value.as_object().unwrap().len(), 3, "{text}");
    assert!(["李白", "孟浩然"].iter().any(|poet| value["poet"] == *poet), "{text}");
    let lines = value["lines"].as_array().unwrap();
    assert!(lines.len() <= 2 && lines.iter().all(|line| line.as_str().unwrap().chars().count() <= 4), "{text}");
    assert!((600..=907).contains(&value["year"].as_i64().unwrap()), "{text}");
}

/// Each request has a grammar of its own; all of them, and some without, share the batch.
#[test]
fn replies_in_one_batch_keep_each_to_its_own_form() {
    let server = TestServer::with(ServeConfig { max_batch: 8, prefill_chunk: 16, ..ServeConfig::default() });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "poem", "strict": true, "schema": poem_schema()}});
    let body = |kind: usize, seed: usize| {
        let mut body = json!({"prompt": "床前明月光", "max_tokens": 400, "seed": seed, "temperature": 1.5, "n": 2});
        match kind {
            0 => body["response_format"] = format.clone(),
            1 => body["guided_regex"] = json!("(春眠|不觉晓){2,3}[0-9]{4}"),
            2 => body["guided_choice"] = json!(["yes", "no", "或许 (perhaps)"]),
            3 => body["guided_grammar"] = json!("start: \"(\" start \")\" | \"x\""),
            4 => body["guided_json"] = json!("{\"type\": \"boolean\"}"),
            _ => body["max_tokens"] = json!(40),
        }
        body
    };
    let ask = |kind: usize, seed: usize| {
        let reply = server.complete(body(kind, seed));
        let of = |index: usize| (text(&reply, index), reply["choices"][index]["finish_reason"].clone());
        [of(0), of(1)]
    };
    let jobs: Vec<(usize, usize)> = (0..24).map(|i| (i % 6, i)).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.iter().map(|(kind, seed)| scope.spawn(|| ask(*kind, *seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut whole = 0;
    for ((kind, seed), replies) in jobs.iter().zip(&together) {
        assert_eq!(*replies, ask(*kind, *seed), "alone it is the same");
        for (text, _) in replies.iter().filter(|(_, reason)| reason == "stop") {
            whole += usize::from(*kind < 5);
            match kind {
                0 => assert_poem(text),
                1 => {
                    let (words, year) = text.split_at(text.len() - 4);
                    assert!(year.chars().all(|c| c.is_ascii_digit()), "{text}");
                    assert!(words.replace("春眠", "").replace("不觉晓", "").is_empty(), "{text}");
                }
                2 => assert!(["yes", "no", "或许 (perhaps)"].contains(&text.as_str()), "{text}"),
                3 => assert_eq!(text.trim_start_matches('(').trim_end_matches(')'), "x", "{text}"),
                4 => assert!(["true", "false"].contains(&text.as_str()), "{text}"),
                _ => {}
            }
        }
    }
    assert!(whole >= 30, "only {whole} of 40 replies came to an end");
}

#[test]
fn chats_stream_json() {
    let server = TestServer::start();
    let messages = json!([{"role": "user", "content": "A poem, please."}]);
    for seed in 0..4 {
        let body = json!({
            "messages": messages, "seed": seed, "max_tokens": 300,
            "response_format": {"type": "json_schema", "json_schema": {"name": "poem", "schema": poem_schema()}},
        });
        let chunks = server.stream("/v1/chat/completions", body.clone()).chunks();
        let streamed = text_of(&chunks, 0);
        let reply = server.chat(body);
        assert_eq!(streamed, text(&reply, 0));
        if reply["choices"][0]["finish_reason"] == "stop" {
            assert_poem(&streamed);
        }
    }
    // Any object; a bias towards the closing brace brings a random model to an end.
    let (_, tokenizer) = load();
    let brace = tokenizer.encode("}").unwrap()[0];
    let bias = json!({(brace.to_string()): 100});
    let format = json!({"type": "json_object"});
    let reply = server.chat(json!({"messages": messages, "response_format": format, "logit_bias": bias}));
    assert!(serde_json::from_str::<Value>(&text(&reply, 0)).unwrap().is_object());
    let plain = server.chat(json!({"messages": messages, "max_tokens": 2, "response_format": {"type": "text"}}));
    assert_eq!(plain["usage"]["completion_tokens"], 2);
}

#[test]
fn forms_that_cannot_be_had_are_refused_by_name() {
    let server = TestServer::start();
    let check = |name: &str, value: Value, param: &str| {
        let reply = server.post("/v1/completions", &json!({"prompt": "x", "max_tokens": 4, (name): value}));
        assert_eq!(reply.status, 400, "{value}: {}", reply.text);
        assert_eq!(reply.json()["error"]["param"], param, "{value}: {}", reply.text);
        assert!(reply.text.len() < 4000, "{}", reply.text);
    };
    let schema = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    check("response_format", json!("json"), "response_format");
    check("response_format", json!({}), "response_format.type");
    check("response_format", json!({"type": "xml"}), "response_format.type");
    check("response_format", json!({"type": "json_schema"}), "response_format.json_schema");
    check("response_format", json!({"type": "json_object", "json_schema": {}}), "response_format.json_schema");
    check("response_format", json!({"type": "json_object", "shema": {}}), "response_format.shema");
    check("response_format", schema(json!(7)), "response_format.json_schema.schema");
    check("response_format", schema(json!({"type": "strin"})), "response_format");
    check("response_format", schema(json!({"$ref": "#/$defs/none"})), "response_format");
    check("guided_json", json!("{"), "guided_json");
    check("guided_regex", json!(7), "guided_regex");
    check("guided_regex", json!("("), "guided_regex");
    check("guided_regex", json!("a".repeat(70_000)), "guided_regex");
    check("guided_regex", json!("(".repeat(60_000)), "guided_regex");
    check("guided_grammar", json!("start: other"), "guided_grammar");
    check(
        "guided_grammar",
        json!(format!("start: {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000))),
        "guided_grammar",
    );
    check("guided_choice", json!([]), "guided_choice");
    check("guided_choice", json!([""]), "guided_choice");
    check("guided_choice", json!(vec!["a"; 2000]), "guided_choice");
    let both = json!({"prompt": "x", "guided_regex": "a", "response_format": {"type": "json_object"}});
    assert_eq!(server.post("/v1/completions", &both).json()["error"]["param"], "guided_regex");
    let endless = json!({"prompt": "x", "guided_regex": "a", "ignore_eos": true});
    assert_eq!(server.post("/v1/completions", &endless).json()["error"]["param"], "ignore_eos");
    // What explodes when written out is compiled as it is asked for, or given up at a bound.
    for bomb in ["((a{1,1000}){1,1000}){1,1000}", "(a|b|ab|ba|aab)*c{1,9000}", "(.*a){400}", "(.{1,300}x){1,300}y"] {
        let body = json!({"prompt": "x", "max_tokens": 30, "guided_regex": bomb, "temperature": 2});
        let reply = server.post("/v1/completions", &body);
        match reply.status {
            200 => {}
            400 => assert_eq!(reply.json()["error"]["param"], "guided_regex"),
            other => panic!("{other}: {}", reply.text),
        }
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn beam_search_gives_what_the_library_finds_among_other_requests() {
    let server = TestServer::with(ServeConfig { max_batch: 8, prefill_chunk: 1024, ..ServeConfig::default() });
    let (model, tokenizer) = load();
    let expected = |prompt: &str, config: &BeamConfig| -> Vec<String> {
        let source = (State::new(&model), tokenizer.encode(prompt).unwrap());
        let mut ends = vec![tokenizer.eos_id()];
        ends.extend(tokenizer.token_id(danlu_text::IM_END));
        let found = beam_search(&model, vec![source], &ends, config, None).unwrap().remove(0);
        let shown = |ids: &[u32]| ids.iter().copied().filter(|id| !tokenizer.is_special(*id)).collect::<Vec<_>>();
        found.iter().map(|one| tokenizer.decode(&shown(&one.tokens))).collect()
    };
    let config = BeamConfig {
        beams: 5,
        results: 3,
        max_tokens: 20,
        length_penalty: 0.5,
        early_stopping: EarlyStopping::Never,
        ..BeamConfig::default()
    };
    let body = |prompt: &str| {
        json!({
            "prompt": prompt, "max_tokens": 20, "n": 3, "best_of": 5, "use_beam_search": true, "length_penalty": 0.5,
            "early_stopping": "never",
        })
    };
    let prompts = ["Four score", "春眠不觉晓", "that field", "x"];
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| (0..6).map(|i| server.greedy(prompts[i % 4], 60)).collect::<Vec<_>>());
        let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| server.complete(body(prompt)))).collect();
        for (prompt, thread) in prompts.iter().zip(threads) {
            let reply = thread.join().unwrap();
            let found: Vec<String> = (0..3).map(|index| text(&reply, index)).collect();
            assert_eq!(found, expected(prompt, &config), "{prompt}");
        }
        let crowd = crowd.join().unwrap();
        assert_eq!(crowd[0], server.greedy(prompts[0], 60), "beams beside it change nothing");
    });
    // Every beam has the form that is asked for.
    let mut formed = body("x");
    formed["guided_regex"] = "[ab]{3}c".into();
    let reply = server.complete(formed);
    let found: Vec<String> = (0..3).map(|index| text(&reply, index)).collect();
    let fits = |text: &String| text.len() == 4 && text.ends_with('c') && text[..3].chars().all(|c| "ab".contains(c));
    // Texts may be the same: other tokens spell them.
    assert!(found.iter().all(fits), "{found:?}");
    // A stop string cuts what was found.
    let whole = expected("Four score", &config).remove(0);
    let stop: String = whole.chars().skip(3).take(2).collect();
    let mut stopped = body("Four score");
    stopped["stop"] = json!([stop]);
    let reply = server.complete(stopped);
    assert_eq!(text(&reply, 0), whole[..whole.find(&stop).unwrap()]);
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
}

#[test]
fn searches_that_cannot_be_had_are_refused_by_name() {
    let server = TestServer::with(ServeConfig { max_batch: 8, ..ServeConfig::default() });
    let check = |more: Value, param: &str| {
        let mut body = json!({"prompt": "x", "max_tokens": 4});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = server.post("/v1/completions", &body);
        assert_eq!(reply.status, 400, "{more}: {}", reply.text);
        assert_eq!(reply.json()["error"]["param"], param, "{more}: {}", reply.text);
    };
    check(json!({"use_beam_search": true, "best_of": 9}), "best_of");
    check(json!({"use_beam_search": true, "best_of": 1_000_000_000}), "best_of");
    check(json!({"use_beam_search": true, "best_of": 2, "n": 3}), "best_of");
    check(json!({"use_beam_search": true, "n": 9}), "n");
    check(json!({"use_beam_search": true, "prompt": ["x", "y"], "best_of": 5}), "best_of");
    check(json!({"use_beam_search": true, "stream": true}), "stream");
    check(json!({"use_beam_search": true, "echo": true}), "echo");
    check(json!({"use_beam_search": true, "logprobs": 1}), "logprobs");
    check(json!({"use_beam_search": true, "length_penalty": 1e9}), "length_penalty");
    check(json!({"use_beam_search": true, "early_stopping": "soon"}), "early_stopping");
    check(json!({"length_penalty": 1.0}), "length_penalty");
    check(json!({"early_stopping": true}), "early_stopping");
    check(json!({"typical_p": 1.5}), "typical_p");
    check(json!({"min_tokens": 5}), "min_tokens");
    check(json!({"min_tokens": -1}), "min_tokens");
    check(json!({"no_repeat_ngram_size": 99_999}), "no_repeat_ngram_size");
}

#[test]
fn rules_of_sampling_hold() {
    let server = TestServer::start();
    let (_, tokenizer) = load();
    let eos = json!({(tokenizer.eos_id().to_string()): 100});
    let ask = |more: Value| {
        let mut body = json!({"prompt": "Four score", "max_tokens": 30, "seed": 3, "logprobs": 0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.complete(body)
    };
    let tokens = |reply: &Value| reply["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&ask(json!({"logit_bias": eos}))), 0);
    assert_eq!(tokens(&ask(json!({"logit_bias": eos, "min_tokens": 7}))), 7);
    let pairs = |reply: &Value| {
        let tokens = reply["choices"][0]["logprobs"]["tokens"].as_array().unwrap().clone();
        tokens.windows(2).map(|pair| format!("{pair:?}")).collect::<Vec<_>>()
    };
    let repeated = pairs(&ask(json!({"temperature": 0})));
    let distinct = pairs(&ask(json!({"temperature": 0, "no_repeat_ngram_size": 2})));
    let unique = |pairs: &[String]| pairs.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(unique(&repeated) < repeated.len(), "a random model repeats itself");
    assert_eq!(unique(&distinct), distinct.len());
    // Of a nearly even distribution the most typical tokens are not the likeliest ones, but a small mass keeps few.
    let narrow: std::collections::BTreeSet<String> =
        (0..12).map(|seed| text(&ask(json!({"seed": seed, "typical_p": 1e-6, "max_tokens": 1})), 0)).collect();
    assert_eq!(narrow.len(), 1, "only the most typical token is left");
}
