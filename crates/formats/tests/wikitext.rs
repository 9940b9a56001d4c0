//! Wikitext and dumps: articles in both languages, with every construct, against hand-checked text. Where the real ones are
//! from: wikitext/real/README.md.
#![allow(clippy::unwrap_used)]

mod agreement;

use std::path::Path;

use danlu_formats::html::{Markup, TableCells};
use danlu_formats::wikitext::{DumpReader, Skipped, Variant, WikiOptions, to_text};
use danlu_formats::{At, Fault};

const ENGLISH: &str = include_str!("wikitext/furnace.wiki");
const CHINESE: &str = include_str!("wikitext/丹炉.wiki");

fn check(wikitext: &str, expect: &str) {
    assert_eq!(to_text(wikitext, &WikiOptions::default()).text, expect, "{wikitext:?}");
}

#[test]
fn an_english_article() {
    let article = to_text(ENGLISH, &WikiOptions::default());
    assert_eq!(article.text, include_str!("wikitext/furnace.txt").trim_end());
    assert_eq!(article.categories, ["Heating", "Machines"]);
    assert_eq!((article.tables_dropped, article.sections_dropped), (1, 2));
}

#[test]
fn a_chinese_article_in_two_forms() {
    let simplified = to_text(CHINESE, &WikiOptions::default());
    let expect = include_str!("wikitext/丹炉.zh-hans.txt").trim_end();
    assert_eq!(simplified.text, expect);
    assert_eq!(simplified.categories, ["炼丹术", "炉"]);
    let traditional = to_text(CHINESE, &WikiOptions { variant: Variant::ZhTw, ..WikiOptions::default() });
    // Only what the page itself gives in two forms changes.
    assert_eq!(traditional.text, expect.replace("信息", "資訊").replace('硅', "矽"));
}

#[test]
fn tables_captions_and_headings_by_option() {
    let options = WikiOptions {
        tables: Some(TableCells::Pipe),
        captions: true,
        markup: Markup::Markdown,
        math: false,
        ..WikiOptions::default()
    };
    let english = to_text(ENGLISH, &options).text;
    assert!(english.contains("A kiln, seen from the potter's yard\n\nA furnace"), "{english}");
    assert!(
        english
            .contains("## Construction\n\nMaterials\nPart | Material\nWall | Brick\nDoor | cast iron\n\nThe heat is ,")
    );
    assert!(english.contains("First picture\n\nSecond"));
    let chinese = to_text(CHINESE, &options).text;
    assert!(chinese.starts_with("明朝的炉子\n\n丹炉（"), "{chinese}");
    assert!(chinese.contains("### 外丹\n\n外丹有三类：\n- 金丹，"));
    assert!(chinese.contains("部分 | 材料\n炉身 | 青铜\n\n其温度为。"));
}

fn real(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wikitext/real");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn real_articles() {
    for name in
        ["american-football-conference", "animalia", "brahui-language", "talk-arundel-castle", "transport-in-angola"]
    {
        let article = to_text(&real(&format!("{name}.wiki")), &WikiOptions::default());
        agreement::check(name, &article.text, &real(&format!("{name}.txt")));
    }
}

#[test]
fn real_articles_by_option() {
    let options = WikiOptions { tables: Some(TableCells::Pipe), captions: true, ..WikiOptions::default() };
    let conference = to_text(&real("american-football-conference.wiki"), &options).text;
    assert!(conference.contains(
        "Division | Team | City/Town | Stadium\nEast | Buffalo Bills | Orchard Park, NY | Ralph Wilson Stadium\n\
         Miami Dolphins | Miami Gardens, FL | New Miami Stadium\n"
    ));
    assert!(
        conference
            .contains("\n\nOriginal American Football Conference logo, based on the AFL logo with blue stars\n\n")
    );
}

#[test]
fn constructs() {
    check("", "");
    check("one\ntwo\n\nthree", "one two\n\nthree");
    check("一\n二\n\n三", "一二\n\n三");
    check("{{a|{{b|{{c}}}}}}x", "x");
    check("{{{1|default}}}x{{{{{1}}}}}y", "xy");
    check("{{{{a}}|b}}x", "x");
    check("{{lang|fr|{{nowrap|le [[mot|mots]]}}}}", "le mots");
    check("{{a|[[b|c}} d]] e", " d]] e".trim());
    check("unclosed {{a|b", "unclosed {{a|b");
    check("unclosed [[a|b", "unclosed [[a|b");
    check("stray }} and ]] and |", "stray }} and ]] and |");
    check("[[a]]s and [[b|]]", "as and b");
    check("a<ref>x</ref>b<ref name=y/>c<ref group=\"z\">{{d}}</ref>d", "abcd");
    check("a<ref>never closed", "anever closed");
    check("a<!-- never closed", "a");
    check("x <b>bold</b> <unknown>y</unknown> 1 < 2", "x bold <unknown>y</unknown> 1 < 2");
    check("<pre>\n a  b\n[[c]] &lt;\n</pre>", " a  b\n[[c]] <");
    check("rock ''n'' roll, l'''eau''', ''''four''''", "rock n roll, leau, 'four'");
    check("-{zh-hans:{{lang|en|a}};zh-hant:b}- {{x|-{y}-}}z", "a z");
    check("{{x|a}}-b, c-{d}-", "-b, cd");
    check("a &lt;ref&gt; &amp;amp; &copy;", "a <ref> &amp; ©");
    check("== A ==\n== B ==\ntext\n=== C ===\n== D ==\n", "B\n\ntext");
    check("==A==\n===B===\nx", "A\n\nB\n\nx");
    check("== References ==\n* a\n=== Sub ===\nb\n== Next ==\nc", "Next\n\nc");
    check("[//example.org label] https://example.org/x", "label https://example.org/x");
    check("{|\n| a\n{|\n| b\n|}\n|}\nafter", "after");
    check("{{Infobox\n| a = {|\n| b\n|}\n}}after", "after");
    check("{{a\n| b\n|}}after", "after");
    check("[[File:a.jpg|thumb|x [[y|z]] {{w}} [http://a b]]]after", "after");
    check("__NOTOC__a __无目录__b snake__case__name", "a b snake__case__name");
    check("# one\n# two\nbreak\n# one", "1. one\n2. two\n\nbreak\n1. one");
    check("a<br>b<br/>\nc", "a\nb c");
    check("<div class=\"x\">a</div>b", "a b");
    check("#重定向 [[x]]", "1. 重定向 x");
    check("a {{x}} b.  c<ref>d</ref>   e", "a b. c e");
    check("a\n ''b''  [c]\n   d\n\n e\nf", "a\n\nb  [c]\n  d\n\ne\n\nf");
    check("a\n {{x}}\n [[File:b.jpg|thumb]]\n <!-- c -->\nd", "a\n\nd");
    check("== 另見 ==\n* a\n== 甲 ==\n乙", "甲\n\n乙");
}

fn dump(pages: &str) -> String {
    format!(
        "<mediawiki xmlns=\"http://www.mediawiki.org/xml/export-0.11/\">\n  <siteinfo><base>x</base></siteinfo>\n{pages}</mediawiki>\n"
    )
}

fn page(title: &str, namespace: i64, text: &str) -> String {
    format!(
        "  <page>\n    <title>{title}</title>\n    <ns>{namespace}</ns>\n    <id>7</id>\n    <revision>\n      <id>70</id>\n      \
         <timestamp>2024-05-06T07:08:09Z</timestamp>\n      <contributor><username>U</username><id>700</id></contributor>\n      \
         <model>wikitext</model>\n      <text bytes=\"5\" xml:space=\"preserve\">{text}</text>\n    </revision>\n  </page>\n"
    )
}

#[test]
fn dumps_are_read_page_by_page() {
    let redirect = page("甲", 0, "#REDIRECT [[乙]]");
    let marked = page("乙", 0, "x").replace("<ns>", "<redirect title=\"y\" />\n<ns>");
    let script = page("Module:x", 0, "return 1").replace(">wikitext<", ">Scribunto<");
    let pages = [
        page("A &amp; B", 0, "text &lt;ref&gt;x&lt;/ref&gt; &quot;q&quot;\n&amp;nbsp;"),
        redirect,
        marked,
        page("Talk:A", 1, "talk"),
        script,
        page("丙", 0, "正文。"),
    ];
    let dump = dump(&pages.concat());
    let mut reader = DumpReader::new(dump.as_bytes(), &[0], 1 << 20);
    let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.skipped(), Skipped { redirects: 2, other_namespaces: 1, other_models: 1 });
    assert_eq!(read.len(), 2);
    let first = &read[0];
    assert_eq!((first.title.as_str(), first.id, first.revision, first.line), ("A & B", 7, 70, 3));
    assert_eq!(first.wikitext, "text <ref>x</ref> \"q\"\n&nbsp;");
    assert_eq!(first.timestamp.as_deref(), Some("2024-05-06T07:08:09Z"));
    assert_eq!((read[1].title.as_str(), read[1].wikitext.as_str()), ("丙", "正文。"));
}

#[test]
fn a_damaged_page_does_not_harm_the_next() {
    let open = page("cut", 0, "x").replace("  </page>\n", "");
    let pages =
        [open, page("ok", 0, "one"), page("big", 0, &"x".repeat(5000)), page("", 0, "x"), page("last", 0, "two")];
    let dump = dump(&pages.concat());
    let read: Vec<_> = DumpReader::new(dump.as_bytes(), &[], 2000).collect();
    let titles: Vec<_> = read.iter().flatten().map(|page| page.title.as_str()).collect();
    assert_eq!(titles, ["ok", "last"]);
    let errors: Vec<_> = read.iter().filter_map(|page| page.as_ref().err()).collect();
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().all(|error| !error.ends_reading));
    assert!(matches!(errors[1].fault, Fault::TooLarge { limit: 2000 }), "{}", errors[1]);
    assert_eq!(errors[0].at, At::Line(3));
    // The same on a single line, and cut short.
    let line = dump.replace('\n', " ");
    assert_eq!(DumpReader::new(line.as_bytes(), &[], 1 << 20).filter(Result::is_ok).count(), 3);
    let cut = &dump[..dump.len() - 40];
    let last = DumpReader::new(cut.as_bytes(), &[], 1 << 20).last().unwrap().unwrap_err();
    assert!(last.ends_reading && matches!(last.fault, Fault::Truncated(_)), "{last}");
}
