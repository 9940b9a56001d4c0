//! Every measure on texts whose values were counted by hand, in both languages; and what holds for any text.
#![allow(clippy::unwrap_used, clippy::panic)]

mod chinese;
mod english;

use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};
use proptest::prelude::*;

/// A text, and what is measured of it: calls such as "name" or "name 5", with their values.
type Golden = (&'static str, &'static [(&'static str, f64)]);

/// Functions that say 0 of any text in the language, by design.
const NOTHING_IN_ENGLISH: [&str; 3] = ["cjk_ratio", "han_ratio", "traditional_ratio"];
const NOTHING_IN_CHINESE: [&str; 1] = ["gopher_stopword_count"];

fn function(name: &str) -> &'static TextFunction {
    text_functions().iter().find(|function| function.name == name).unwrap_or_else(|| panic!("no function {name}"))
}

/// `call` is "name" or "name 5".
fn value(call: &str, text: &str) -> f64 {
    let (name, parameter) = call.split_once(' ').unwrap_or((call, ""));
    match function(name).kind {
        FunctionKind::Number(call) => call(&Analysis::new(text)),
        FunctionKind::NumberWith { call, .. } => call(&Analysis::new(text), parameter.parse().unwrap()),
        FunctionKind::Text(_) => panic!("{name} gives a text"),
    }
}

fn check(goldens: &[Golden]) {
    for (text, expect) in goldens {
        for &(call, expect) in *expect {
            let found = value(call, text);
            assert!((found - expect).abs() < 1e-9, "{call} of {text:?}: {found}, not {expect}");
        }
    }
}

#[test]
fn english_texts() {
    check(english::GOLDENS);
}

#[test]
fn chinese_texts() {
    check(chinese::GOLDENS);
}

#[test]
fn languages() {
    let FunctionKind::Text(call) = function("lang").kind else { panic!("lang gives a text") };
    for (text, expect) in english::LANGUAGES.iter().chain(chinese::LANGUAGES) {
        assert_eq!(call(&Analysis::new(text)), *expect, "{text:?}");
    }
}

/// A value of 0 is no golden: a function that finds nothing gives it too.
#[test]
fn every_function_has_a_golden_in_both_languages() {
    let missing = |goldens: &[Golden], by_design: &[&str]| -> Vec<&'static str> {
        let has = |name: &str| {
            let mut values = goldens.iter().flat_map(|(_, values)| *values);
            values.any(|(call, value)| call.split(' ').next() == Some(name) && *value != 0.0)
        };
        let numbers = text_functions().iter().filter(|function| !matches!(function.kind, FunctionKind::Text(_)));
        numbers.map(|function| function.name).filter(|name| has(name) == by_design.contains(name)).collect()
    };
    assert_eq!(missing(english::GOLDENS, &NOTHING_IN_ENGLISH), [""; 0], "without a golden in English, or no exception");
    assert_eq!(missing(chinese::GOLDENS, &NOTHING_IN_CHINESE), [""; 0], "without a golden in Chinese, or no exception");
    let texts = text_functions().iter().filter(|function| matches!(function.kind, FunctionKind::Text(_)));
    assert_eq!(texts.map(|function| function.name).collect::<Vec<_>>(), ["lang"], "goldens of `languages`");
}

#[test]
fn repetitive_text_compresses() {
    let varied = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.";
    assert!(value("compression_ratio", &"menu ".repeat(100)) < 0.1);
    assert!(value("compression_ratio", varied) > 0.5);
}

#[test]
fn the_table_is_in_order_and_says_what_it_measures() {
    let functions = text_functions();
    assert!(functions.is_sorted_by(|a, b| a.name < b.name), "not in alphabetical order, or twice");
    for function in functions {
        assert!(function.help.ends_with('.') && function.help.len() > 10, "{}", function.name);
        let ranged = matches!(function.kind, FunctionKind::Number(_) | FunctionKind::NumberWith { .. });
        let named = function.name.ends_with("_ratio");
        assert!(
            !ranged
                || !named
                || function.help.contains("0 to 1")
                || function.help.contains("0 and up")
                || function.name == "compression_ratio",
            "{} gives no range",
            function.name
        );
    }
}

#[test]
fn words_and_lines() {
    let text = Analysis::new("Don't \"stop\", 我们走。\n\n  \nnow");
    assert_eq!(text.words(), ["Do", "n't", "stop", "我们", "走", "now"]);
    assert_eq!(text.lines(), ["Don't \"stop\", 我们走。", "now"]);
    assert_eq!(text.paragraphs(), ["Don't \"stop\", 我们走。", "  \nnow"]);
    assert_eq!(text.language().code, Analysis::new(text.text()).language().code);
}

proptest! {
    #[test]
    fn every_value_is_finite_and_in_its_range(
        text in "\\PC{0,80}|[ab.!?#…{\\[\\]0-9 \n\r\t-]{0,80}|([今天气好。的們國 \n]|the |www.|@x.org|://){0,40}", n in -3.0f64..40.0,
    ) {
        let analysis = Analysis::new(&text);
        for function in text_functions() {
            let values = match function.kind {
                FunctionKind::Number(call) => vec![call(&analysis)],
                FunctionKind::NumberWith { call, .. } => {
                    [n, n.floor(), 0.0, 1.0, 2.0, 5.0, 1e18, -1.0, f64::NAN, f64::INFINITY].map(|n| call(&analysis, n)).to_vec()
                }
                FunctionKind::Text(call) => {
                    call(&analysis);
                    continue;
                }
            };
            for value in values {
                prop_assert!(value.is_finite() && value >= 0.0, "{} of {:?} is {}", function.name, text, value);
                let most = if function.help.contains("0 to 1") { 1.0 } else { f64::INFINITY };
                prop_assert!(value <= most, "{} of {:?} is {}", function.name, text, value);
            }
        }
    }

    #[test]
    fn the_order_of_asking_does_not_matter(text in "[ab春 \n.!-]{0,60}") {
        let together = Analysis::new(&text);
        for function in text_functions().iter().rev() {
            match function.kind {
                FunctionKind::Number(call) => prop_assert_eq!(call(&together), call(&Analysis::new(&text)), "{}", function.name),
                FunctionKind::NumberWith { call, .. } => {
                    for n in [7.0, 2.0, 5.0] {
                        prop_assert_eq!(call(&together, n), call(&Analysis::new(&text), n), "{} {}", function.name, n);
                    }
                }
                FunctionKind::Text(call) => prop_assert_eq!(call(&together), call(&Analysis::new(&text))),
            }
        }
    }
}
