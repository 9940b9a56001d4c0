#![allow(clippy::unwrap_used, clippy::panic)]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{Functions, SqlError};

fn rule<'a>(name: &'a str, drop_if: &'a str) -> Rule<'a> {
    Rule { name, drop_if }
}

fn compile(rules: &[Rule<'_>]) -> Result<Rules, SqlError> {
    Rules::compile(rules, &[], &Functions::default())
}

fn metadata(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// What becomes of a document of the source "news" in the language "en".
fn judge(rules: &Rules, text: &str, fields: Value, all: bool) -> Judged {
    let metadata = metadata(fields);
    let row = Row { id: "00ff", text, source: "news", language: "en", metadata: &metadata };
    rules.judge(&[row], all).unwrap().remove(0)
}

/// The detail with which one rule drops a text; none when it is kept.
fn detail(drop_if: &str, text: &str) -> Option<String> {
    let rules = compile(&[rule("r", drop_if)]).unwrap();
    judge(&rules, text, json!({ "score": 3, "tag": "新闻", "none": null }), false).dropped.map(|(_, detail)| detail)
}

fn check(drop_if: &str, text: &str, dropped: bool) {
    assert_eq!(detail(drop_if, text).is_some(), dropped, "{drop_if} on {text:?}");
}

#[test]
fn rules_drop_what_they_say() {
    // Five lines, of which two repeat an earlier one.
    let menu = "Home\nNews\nHome\nNews\nAbout us";
    assert_eq!(detail("dup_line_ratio(text) > 0.3", menu).unwrap(), "dup_line_ratio(text) > 0.3: dup_line_ratio = 0.4");
    check("dup_line_ratio(text) > 0.4", menu, false);
    let chinese = "首页\n新闻\n首页\n新闻\n关于我们";
    assert_eq!(
        detail("dup_line_ratio(text) >= 0.4", chinese).unwrap(),
        "dup_line_ratio(text) >= 0.4: dup_line_ratio = 0.4"
    );
    check("char_count(text) < 4", "春眠不", true);
    check("char_count(text) < 4", "春眠不覺", false);
    check("char_count(text) BETWEEN 3 AND 3", "春眠不", true);
    check("byte_count(text) = 9", "春眠不", true);
    check("han_ratio(text) < 1", "春眠 不覺", false);
    check(
        "lang(text) NOT IN ('en', 'zh')",
        "The people of the United States have the right to be heard by all.",
        false,
    );
    check("lang(text) IN ('zh')", "秦川雄帝宅，函谷壯皇居。", true);
}

#[test]
fn rules_see_all_columns() {
    check("source = 'news' AND language = 'en'", "a", true);
    check("source LIKE 'blog%' OR id = '00ff'", "a", true);
    check("text LIKE '%lorem ipsum%'", "A lorem ipsum text", true);
    check("lower(text) = '春 a'", "春 A", true);
    check("character_length(text) = 2", "春眠", true);
    check("regexp_like(text, '^第[0-9]+章$')", "第12章", true);
    check("meta(metadata, 'tag') = '新闻'", "a", true);
    check("meta_number(metadata, 'score') >= 3", "a", true);
    check("meta_number(metadata, 'score') > 3", "a", false);
    assert_eq!(
        detail("language = 'en' AND char_count(text) < 9", "ab").unwrap(),
        "language = 'en' AND char_count(text) < 9: char_count = 2, language = \"en\""
    );
    assert_eq!(detail("lang(text) = 'und'", "12").unwrap(), "lang(text) = 'und': lang = \"und\"");
    assert_eq!(detail("text\n  =  'a'", "a").unwrap(), "text = 'a'");
}

#[test]
fn null_keeps_the_document() {
    for unknown in [
        "meta(metadata, 'missing') = 'a'",
        "meta_number(metadata, 'tag') > 0",
        "NULL",
        "meta_number(metadata, 'none') < 1",
        "char_count(text) > NULL",
        "try_cast(text AS DOUBLE) > 1",
    ] {
        check(unknown, "a", false);
        check(&format!("NOT ({unknown})"), "a", false);
    }
    check("meta(metadata, 'missing') IS NULL", "a", true);
    check("coalesce(meta_number(metadata, 'missing'), 0) < 1", "a", true);
}

#[test]
fn a_column_named_like_a_function_is_short_for_its_call() {
    let rules =
        compile(&[rule("a", "char_count < 3"), rule("b", "char_count(text) < 5"), rule("c", "lang = 'zh'")]).unwrap();
    assert_eq!(rules.statistics(), ["char_count"]);
    assert_eq!(judge(&rules, "abcd", json!({}), false).dropped.unwrap().0, 1);
    assert_eq!(judge(&rules, "春眠不覺曉處處聞", json!({}), false).dropped.unwrap().0, 2);
}

#[test]
fn the_first_rule_that_holds_is_the_reason() {
    let rules =
        [rule("short", "char_count(text) < 5"), rule("menu", "dup_line_ratio(text) > 0.3"), rule("a", "text = 'a'")];
    let compiled = compile(&rules).unwrap();
    assert_eq!(compiled.statistics(), ["char_count", "dup_line_ratio"]);
    let rows = ["a", "a\na\na", "春\n春\n春", "kept as it is"];
    let names = |rules: &Rules| {
        let metadata = Map::new();
        let rows: Vec<Row<'_>> =
            rows.iter().map(|text| Row { id: "", text, source: "s", language: "en", metadata: &metadata }).collect();
        let judged = rules.judge(&rows, false).unwrap();
        judged.into_iter().map(|j| j.dropped.map(|(rule, _)| rules.name(rule).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(names(&compiled), [Some("short".into()), Some("menu".into()), Some("menu".into()), None]);
    let reversed: Vec<Rule<'_>> = rules.iter().rev().copied().collect();
    assert_eq!(names(&compile(&reversed).unwrap()), [Some("a".into()), Some("menu".into()), Some("menu".into()), None]);
}

#[test]
fn what_is_dropped_is_not_measured_further_unless_all_is_wanted() {
    let rules = [rule("short", "char_count(text) < 5"), rule("menu", "dup_line_ratio(text) > 0.3")];
    let rules = Rules::compile(&rules, &["mean_word_length(text)", "char_count(text)"], &Functions::default()).unwrap();
    assert_eq!(rules.statistics(), ["char_count", "dup_line_ratio", "mean_word_length"]);
    assert_eq!(rules.wanted("mean_word_length(text)"), Some("mean_word_length"));
    assert_eq!(judge(&rules, "ab", json!({}), false).statistics, [Some(2.0), None, None]);
    assert_eq!(judge(&rules, "ab", json!({}), true).statistics, [Some(2.0), Some(0.0), Some(2.0)]);
    assert_eq!(judge(&rules, "ab cdef", json!({}), false).statistics, [Some(7.0), Some(0.0), Some(3.0)]);
}

#[test]
fn a_document_is_not_measured_for_a_rule_that_does_not_ask_it() {
    let rules = compile(&[
        rule("zh", "language = 'zh' AND char_count(text) < 5 AND source = 'news'"),
        rule("en", "word_count(text) < 2 AND language IN ('en', 'de')"),
        rule("either", "language = 'zh' OR digit_ratio(text) > 0.5"),
        rule("missing", "meta(metadata, 'tag') = 'x' AND alpha_ratio(text) > 0.1"),
    ]);
    let rules = rules.unwrap();
    assert_eq!(rules.statistics(), ["char_count", "word_count", "digit_ratio", "alpha_ratio"]);
    let judged = judge(&rules, "two words", json!({}), false);
    assert_eq!(judged, Judged { dropped: None, statistics: vec![None, Some(2.0), Some(0.0), None] });
    assert_eq!(judge(&rules, "ab", json!({}), false).dropped.unwrap().0, 1);
    assert_eq!(judge(&rules, "two words", json!({ "tag": "x" }), false).dropped.unwrap().0, 3);
    // Asked of nobody, and of all.
    assert!(judge(&rules, "two words", json!({}), true).statistics.iter().all(Option::is_some));
}

#[test]
fn a_call_is_computed_once_for_each_document() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let functions = Functions::default().with_quality(Arc::new(move |analysis: &Analysis<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
        (analysis.text() != "unknown").then_some(analysis.text().len() as f64)
    }));
    let rules = [
        rule("a", "quality(text) < 1 OR quality(text) > 100"),
        rule("b", "quality(text) * 2 < 6"),
        rule("c", "quality < 3"),
    ];
    let rules = Rules::compile(&rules, &["quality(text)"], &functions).unwrap();
    assert_eq!(rules.statistics(), ["quality"]);
    assert_eq!(judge(&rules, "ab", json!({}), false).dropped.unwrap().1, "quality(text) * 2 < 6: quality = 2");
    assert_eq!(judge(&rules, "abcd", json!({}), false), Judged { dropped: None, statistics: vec![Some(4.0)] });
    assert_eq!(judge(&rules, "unknown", json!({}), false), Judged { dropped: None, statistics: vec![None] });
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn columns_carry_the_number_of_the_call() {
    let rules = [
        rule("a", "dup_ngram_ratio(text, 5) > 0.9 OR dup_ngram_ratio(text, 10) > 0.9"),
        rule("b", "top_ngram_ratio(text, 2) > 9"),
    ];
    let compiled = compile(&rules).unwrap();
    assert_eq!(compiled.statistics(), ["dup_ngram_ratio_5", "dup_ngram_ratio_10", "top_ngram_ratio_2"]);
}

/// A function of something else than the text, or of a number that differs from row to row, is computed where it stands.
#[test]
fn functions_of_other_texts_are_evaluated_too() {
    check("char_count(source) = 4", "a", true);
    check("char_count(lower(text) || 'xyz') = 4", "A", true);
    check("dup_ngram_ratio(text, char_count(text)) >= 0", "some words", true);
    check("char_count(meta(metadata, 'missing')) > 0", "a", false);
    assert!(compile(&[rule("a", "char_count(lower(text)) < 3")]).unwrap().statistics().is_empty());
}

fn check_error(drop_if: &str, says: &str, hint: &str) {
    let error = compile(&[rule("ok", "text = 'a'"), rule("bad", drop_if)]).err().unwrap_or_else(|| panic!("{drop_if}"));
    assert_eq!(error.to_string(), format!("rule \"bad\": drop_if{says}"));
    let found = error.hint().unwrap_or_default();
    assert!(found.contains(hint) && hint.is_empty() == found.is_empty(), "{drop_if}: {found:?}");
}

#[test]
fn errors_name_the_rule_the_place_and_the_nearest_name() {
    check_error(
        "dup_line_rato(text) > 0.3",
        ", character 1: there is no function \"dup_line_rato\"",
        "did you mean dup_line_ratio(text)?",
    );
    check_error(
        "text = '春' OR dup_ngram_rati(text, 3) > 1",
        ", character 15: there is no function \"dup_ngram_rati\"",
        "dup_ngram_ratio(text, n)",
    );
    check_error(
        "text = 'a'\n OR\n  lowr(text) = 'b'",
        ", line 3, character 3: there is no function \"lowr\"",
        "did you mean lower?",
    );
    check_error("zzz(text)", ", character 1: there is no function \"zzz\"", "functions of a text are");
    check_error("languag = 'en'", ", character 1: there is no column \"languag\"", "did you mean language?");
    check_error("text = \"a\"", ", character 8: there is no column \"a\"", "single quotes");
    check_error(
        "d.text = 'a'",
        ", character 1: there is no table \"d\": a rule looks at the columns of one document",
        "",
    );
    check_error(
        "perplexity(text) > 500",
        ", character 1: perplexity(text) needs a model",
        "[clean.models] perplexity = \"PATH\"",
    );
    check_error("count(text) > 1", ", character 1: count looks at many documents, and a rule at one", "");
    check_error("EXISTS (SELECT 1)", ": a rule looks at one document, and cannot hold a query", "");
    check_error("uuid() = text", ", character 1: uuid does not always give the same answer, and a rule must", "");
    check_error(
        "char_count(text)",
        ": \"char_count(text)\" is a number, and a condition must be true or false",
        "limit",
    );
    check_error("text", ": \"text\" is a text, and a condition must be true or false", "limit");
    check_error("text = 'a' nonsense", ", character 12: Expected: end of expression, found: nonsense", "");
    check_error("text = 'a' AS b", ": what does \"b\" do here?", "");
}

#[test]
fn errors_of_the_parser_and_the_types_are_told() {
    let told = |drop_if: &str| compile(&[rule("bad", drop_if)]).err().unwrap().to_string();
    for (drop_if, says) in [
        ("char_count(text) <", "drop_if: "),
        ("char_count(text) < < 3", "drop_if, character 20: "),
        ("char_count(text < 3", "drop_if: Expected: ), found: EOF"),
        ("", "drop_if: "),
        ("char_count(text, 3) > 1", "it is called as char_count(text)"),
        ("dup_ngram_ratio(text) > 1", "it is called as dup_ngram_ratio(text, n)"),
        ("char_count(5) > 1", "it is called as char_count(text)"),
        ("text > 5 AND text = 'a' AND (text = 'a') > 'x' + 1", "drop_if: "),
    ] {
        let error = told(drop_if);
        assert!(error.starts_with("rule \"bad\": ") && error.contains(says), "{drop_if}: {error}");
    }
    let deep = format!("{}text = 'a'{}", "(".repeat(300), ")".repeat(300));
    assert!(told(&deep).contains("nested too deeply"), "{}", told(&deep));
}

#[test]
fn names_are_needed_and_unique() {
    let error = compile(&[rule("a", "text = 'a'"), rule("a", "text = 'b'")]).err().unwrap();
    assert_eq!(error.to_string(), "rule \"a\": name: two rules have this name");
    let error = compile(&[rule(" ", "text = 'a'")]).err().unwrap();
    assert!(error.to_string().contains("needs a name"), "{error}");
    for statistic in ["lang(text)", "char_count(text) + 1", "source", "char_count(source)"] {
        let error = Rules::compile(&[], &[statistic], &Functions::default()).err().unwrap();
        assert!(error.to_string().contains("not a number measured of a text"), "{error}");
    }
}

#[test]
fn a_value_that_cannot_be_cast_is_an_error_with_the_rule() {
    let rules = compile(&[rule("year", "CAST(meta(metadata, 'year') AS INT) < 1990")]).unwrap();
    let fields = metadata(json!({ "year": "MCMXC" }));
    let row = Row { id: "", text: "a", source: "", language: "", metadata: &fields };
    let error = rules.judge(&[row], false).unwrap_err();
    assert!(error.to_string().contains("rule \"year\"") && error.to_string().contains("MCMXC"), "{error}");
    assert!(error.hint().unwrap().contains("try_cast"));
}

/// Every function that gives a number, with 3 for the number that it may take.
static ALL: LazyLock<Rules> = LazyLock::new(|| {
    let calls: Vec<String> = numbers()
        .map(|f| match f.kind {
            FunctionKind::NumberWith { .. } => format!("{}(text, 3)", f.name),
            _ => format!("{}(text)", f.name),
        })
        .collect();
    let conditions: Vec<String> = calls.iter().map(|call| format!("{call} < -1")).collect();
    let rules: Vec<Rule<'_>> = calls.iter().zip(&conditions).map(|(name, drop_if)| Rule { name, drop_if }).collect();
    compile(&rules).unwrap()
});

fn numbers() -> impl Iterator<Item = &'static TextFunction> {
    text_functions().iter().filter(|f| !matches!(f.kind, FunctionKind::Text(_)))
}

proptest! {
    // A case measures everything of 30 texts, one of them up to 80,000 characters long.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The statistics of many documents judged together are what the functions say of each alone.
    #[test]
    fn statistics_are_what_the_functions_say(
        texts in prop::collection::vec("[a-c 春眠。\n]{0,40}|\\PC{0,40}", 0..30),
        repeat in 1usize..2000,
    ) {
        let long = |(i, text): (usize, String)| if i == 3 { text.repeat(repeat) } else { text };
        let texts: Vec<String> = texts.into_iter().enumerate().map(long).collect();
        let metadata = Map::new();
        let row = |text| Row { id: "", text, source: "", language: "", metadata: &metadata };
        let rows: Vec<Row<'_>> = texts.iter().map(|text| row(text.as_str())).collect();
        let judged = ALL.judge(&rows, false).unwrap();
        prop_assert_eq!(judged.len(), texts.len());
        for (text, judged) in texts.iter().zip(&judged) {
            let analysis = Analysis::new(text);
            let direct: Vec<Option<f64>> = numbers()
                .map(|f| match f.kind {
                    FunctionKind::Number(call) => Some(call(&analysis)),
                    FunctionKind::NumberWith { call, .. } => Some(call(&analysis, 3.0)),
                    FunctionKind::Text(_) => None,
                })
                .collect();
            prop_assert_eq!(&judged.statistics, &direct);
        }
    }

    /// Any text as a condition is compiled or refused, and never a crash.
    #[test]
    fn any_condition_is_no_crash(condition in "\\PC{0,30}|[a-z_()'\" <>=,0-9.*+-]{0,40}") {
        let _ = compile(&[rule("r", &condition)]);
    }
}
