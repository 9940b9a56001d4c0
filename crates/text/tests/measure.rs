//! Every measure on documents whose values were counted by hand, in both languages; and what holds for any text.
#![allow(clippy::unwrap_used, clippy::panic)]

use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};
use proptest::prelude::*;

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

fn check(text: &str, expect: &[(&str, f64)]) {
    for &(call, expect) in expect {
        let found = value(call, text);
        assert!((found - expect).abs() < 1e-9, "{call} of {text:?}: {found}, not {expect}");
    }
}

/// 33 characters: "The cat sat." (12), a line feed, "The cat sat." again, a line feed, "- 3 cats" (8) without an end; so
/// 12 + 1 + 12 + 1 + 8 = 34. Tokens: The cat sat . | The cat sat . | - 3 cats = 11; words 8 (without . . -).
const ENGLISH: &str = "The cat sat.\nThe cat sat.\n- 3 cats";

/// Three lines, the second blank. 今天天气好。 (6 characters) is 今天天气 | 好 | 。, and 我们去北京！ (6) is
/// 我们 | 去 | 北京 | ！ in jieba's dictionary.
const CHINESE: &str = "今天天气好。\n\n我们去北京！";

#[test]
fn an_english_text() {
    check(
        ENGLISH,
        &[
            ("char_count", 34.0),
            ("byte_count", 34.0),
            ("token_count", 11.0),
            ("word_count", 8.0),
            ("line_count", 3.0),
            ("newline_count", 2.0),
            ("paragraph_count", 1.0),
            ("sentence_count", 3.0),
            // The, cat, sat twice, and cats: 7 of 11 have a letter.
            ("alpha_ratio", 7.0 / 11.0),
            // 3 * 6 letters, the digit, and cats.
            ("mean_word_length", 23.0 / 8.0),
            ("max_word_length", 4.0),
            ("mean_line_length", 32.0 / 3.0),
            ("max_line_length", 12.0),
            ("short_line_ratio 8", 1.0 / 3.0),
            ("short_line_ratio 11", 1.0 / 3.0),
            ("short_line_ratio 12", 1.0),
            ("dup_line_ratio", 1.0 / 3.0),
            ("dup_line_char_ratio", 12.0 / 34.0),
            ("dup_paragraph_ratio", 0.0),
            ("dup_paragraph_char_ratio", 0.0),
            // "The cat" twice: 7 characters with the space. "The cat sat" twice: 11.
            ("top_ngram_ratio 2", 14.0 / 34.0),
            ("top_ngram_ratio 3", 22.0 / 34.0),
            // "Thecatsat." the second time: 10 characters without spaces.
            ("dup_ngram_ratio 4", 10.0 / 34.0),
            ("dup_ngram_ratio 5", 0.0),
            ("ends_with_punct_ratio", 2.0 / 3.0),
            ("bullet_ratio", 1.0 / 3.0),
            ("ellipsis_line_ratio", 0.0),
            ("symbol_ratio", 0.0),
            // The, The; of Gopher's eight none, as the case counts.
            ("stopword_count", 2.0),
            ("stopword_ratio", 2.0 / 8.0),
            ("gopher_stopword_count", 0.0),
            // Spaces and line feeds: 2 + 1 + 2 + 1 + 2 = 8. Others 26: 22 letters, a digit, two dots, a dash.
            ("whitespace_ratio", 8.0 / 34.0),
            ("digit_ratio", 1.0 / 26.0),
            ("non_alnum_ratio", 3.0 / 26.0),
            ("upper_ratio", 2.0 / 22.0),
            ("cjk_ratio", 0.0),
            ("han_ratio", 0.0),
            ("traditional_ratio", 0.0),
            // The, cat, sat, 3, cats.
            ("word_type_ratio", 5.0 / 8.0),
            // Both sentences end with a dot and have three words.
            ("c4_line_ratio", 2.0 / 3.0),
            ("c4_sentence_count", 2.0),
            ("c4_brace_count", 0.0),
            ("c4_lorem_ipsum_count", 0.0),
        ],
    );
}

#[test]
fn a_chinese_text() {
    check(
        CHINESE,
        &[
            ("char_count", 14.0),
            ("byte_count", 38.0),
            ("token_count", 7.0),
            ("word_count", 5.0),
            ("line_count", 2.0),
            ("newline_count", 2.0),
            ("paragraph_count", 2.0),
            ("sentence_count", 2.0),
            ("alpha_ratio", 5.0 / 7.0),
            ("mean_word_length", 2.0),
            ("max_word_length", 4.0),
            ("mean_line_length", 6.0),
            ("short_line_ratio 5", 0.0),
            ("short_line_ratio 6", 1.0),
            ("ends_with_punct_ratio", 1.0),
            // 我们.
            ("stopword_count", 1.0),
            ("stopword_ratio", 1.0 / 5.0),
            ("cjk_ratio", 10.0 / 12.0),
            ("han_ratio", 10.0 / 12.0),
            ("non_alnum_ratio", 2.0 / 12.0),
            ("whitespace_ratio", 2.0 / 14.0),
            ("traditional_ratio", 0.0),
            ("upper_ratio", 0.0),
            ("word_type_ratio", 1.0),
            ("c4_line_ratio", 2.0 / 3.0),
            ("c4_sentence_count", 2.0),
            // No character but 天 twice, in no bigram.
            ("dup_char_ngram_ratio 1", 1.0 / 12.0),
            ("dup_char_ngram_ratio 2", 0.0),
        ],
    );
}

#[test]
fn special_marks() {
    check("a\tb", &[("entropy", 1.5849625007211562), ("whitespace_ratio", 1.0 / 3.0)]);
    check("aabb", &[("entropy", 1.0)]);
    check("春眠春眠", &[("entropy", 1.0), ("dup_char_ngram_ratio 2", 0.5), ("dup_char_ngram_ratio 3", 0.0)]);
    check("# # one two ...", &[("symbol_ratio", 2.0 / 5.0)]);
    check("one… two… three", &[("symbol_ratio", 2.0 / 5.0), ("ellipsis_line_ratio", 0.0)]);
    check("one...\n\ntwo…\nthree", &[("ellipsis_line_ratio", 2.0 / 4.0)]);
    check("• one\n● 二\n・三\nfour - five", &[("bullet_ratio", 3.0 / 4.0)]);
    check("fn f() { g() }", &[("brace_count", 2.0), ("c4_brace_count", 0.0)]);
    check("We say { here and end.", &[("c4_brace_count", 1.0)]);
    check("Lorem  ipsum, LOREM IPSUM", &[("lorem_ipsum", 1.0)]);
    check("Enable JavaScript.\nNo javascript\nnone", &[("javascript_count", 2.0)]);
    check("Privacy Policy\nWe use cookies, see our cookie policy\n隐私政策\nnone", &[("policy_count", 3.0)]);
    check("see https://a.org/b, http://c.de or www.e.fr; not www. or a://", &[("url_count", 3.0)]);
    check("网址：https://例子.中国/路径", &[("url_count", 1.0)]);
    check("a.b+c@example.org, d@e.cn. no@ @no a@b a@b.1 邮箱me@x.com", &[("email_count", 3.0)]);
    check("na\u{FFFD}ve \u{FFFD}", &[("replacement_char_count", 2.0)]);
    check("a\u{7}b\tc\u{E000}\n", &[("control_char_count", 2.0)]);
    check("one two one two", &[("word_entropy", 1.0)]);
    check("春眠不觉晓\nabc\n\nabcde", &[("long_line_count 5", 2.0), ("long_line_count 6", 0.0)]);
    check("國家与国家", &[("traditional_ratio", 1.0 / 5.0), ("han_ratio", 1.0)]);
    check("後來，餘下的 and more", &[("traditional_ratio", 3.0 / 5.0)]);
    check("ひらがな한글漢字", &[("cjk_ratio", 1.0), ("han_ratio", 2.0 / 8.0)]);
    check("他说：「走吧。」\n“好！”\n标题", &[("ends_with_punct_ratio", 2.0 / 3.0)]);
    check("He said “yes.”\nShe said no.", &[("ends_with_punct_ratio", 1.0 / 2.0)]);
    check("what the fuck, 他妈的", &[("toxicity_words", 2.0)]);
    check("澳门赌场，加微信领取 online casino", &[("spam_words", 3.0)]);
    check("the be to of and that have with THE", &[("gopher_stopword_count", 8.0), ("stopword_count", 9.0)]);
    check("a a\n\nb\n\na a", &[("dup_paragraph_ratio", 1.0 / 3.0), ("dup_paragraph_char_ratio", 3.0 / 11.0)]);
    check("我们的书", &[("stopword_count", 2.0), ("word_count", 3.0)]);
    check("但是, so 這個", &[("stopword_count", 3.0), ("word_count", 3.0)]);
    // What occurs once only: the first n-gram counts, as in datatrove.
    check("one two three", &[("top_ngram_ratio 2", 7.0 / 13.0), ("top_ngram_ratio 4", 0.0)]);
    // The second and the third "a b c d e" overlap with none.
    check("a b c a b c a b c", &[("dup_ngram_ratio 3", 6.0 / 17.0), ("top_ngram_ratio 3", 15.0 / 17.0)]);
}

#[test]
fn languages() {
    for (text, expect) in [
        ("Fellow citizens of the Senate and of the House of Representatives.", "en"),
        ("今天天气很好，我们一起去公园散步。", "zh"),
        ("", "und"),
    ] {
        let FunctionKind::Text(call) = function("lang").kind else { panic!("lang gives a text") };
        assert_eq!(call(&Analysis::new(text)), expect, "{text:?}");
    }
    assert_eq!(value("lang_score", ""), 0.0);
    assert!(value("lang_score", "今天天气很好，我们一起去公园散步。") > 0.9);
}

#[test]
fn repetitive_text_compresses() {
    let varied = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.";
    assert!(value("compression_ratio", &"menu ".repeat(100)) < 0.1);
    assert!(value("compression_ratio", varied) > 0.5);
    assert_eq!(value("compression_ratio", ""), 0.0);
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
