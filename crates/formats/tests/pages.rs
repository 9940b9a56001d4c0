//! The main text of pages against text that was checked by hand. Where the pages are from: pages/LICENSES.
#![allow(clippy::unwrap_used)]

mod agreement;

use std::path::Path;

use danlu_formats::html::{HtmlOptions, Markup, Page, TableCells, extract, extract_bytes, fragment, meta_charset};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(name)).unwrap()
}

/// Compares the text of `name`.html with `name`.txt; with `DANLU_BLESS=1` writes it instead, to be checked by hand.
fn check(name: &str) -> Page {
    let page = extract_bytes(&read(&format!("{name}.html")), None, &HtmlOptions::default());
    if std::env::var_os("DANLU_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(format!("{name}.txt"));
        std::fs::write(path, format!("{}\n", page.text)).unwrap();
    }
    let expect = String::from_utf8(read(&format!("{name}.txt"))).unwrap();
    agreement::check(name, &page.text, &expect);
    page
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn an_english_news_page() {
    let page = check("news.en");
    assert_eq!(page.title, some("The kiln that would not cool"));
    assert_eq!((page.language, page.author), (some("en-GB"), some("Ada Fletcher")));
    assert_eq!(page.date, some("2024-05-06T07:30:00Z"));
    assert_eq!(page.canonical, some("https://ember.example/2024/05/kiln"));
    assert_eq!(page.feeds, ["/feed.xml"]);
}

#[test]
fn a_chinese_news_page_laid_out_in_tables() {
    let page = check("news.zh");
    assert_eq!((page.language, page.date), (some("zh-CN"), some("2024-05-06")));
}

#[test]
fn documentation() {
    let page = check("python-sched");
    assert_eq!((page.title, page.language), (some("sched — Event scheduler"), some("en")));
    check("debian-faq-nextrelease.zh");
    let page = check("debian-handbook-rights.zh");
    assert_eq!(page.canonical, some("https://debian-handbook.info/browse/zh-CN/stable/sect.rights-management.html"));
    check("libreoffice-table-sizing.zh");
}

#[test]
fn a_blog_with_comments() {
    let page = check("mozilla-hacks-fetch.en");
    assert_eq!((page.title, page.author), (some("This API is so Fetching!"), some("Nikhil Marathe")));
    let html = String::from_utf8(read("mozilla-hacks-fetch.en.html")).unwrap();
    let text = extract(&html, &HtmlOptions { comments: true, ..HtmlOptions::default() }).text;
    assert!(text.starts_with("For more than a decade"), "{text}");
    assert!(text.contains("how do you abort a fetch?") && text.contains("At this point there is no way to do so."));
    assert!(!text.contains("Older Article"), "{text}");
}

#[test]
fn pages_of_a_product() {
    let page = check("firefox-developer.en");
    assert_eq!(page.title, some("Welcome to Firefox Developer Edition"));
    check("firefox-customize.en");
}

#[test]
fn pages_of_wikis() {
    let page = check("wikipedia-states-by-area.en");
    assert_eq!(page.language, some("en"));
}

#[test]
fn agreement_is_measured() {
    let check =
        |text: &str, expect: &str, f1: f64| assert!((agreement::f1(text, expect) - f1).abs() < 1e-9, "{text:?}");
    check("a b c", "c b  a", 1.0);
    check("a b", "a c", 0.5);
    check("中文", "中国文化", 2.0 / 3.0);
    check("", "", 1.0);
    check("a", "", 0.0);
}

#[test]
fn headings_of_what_was_removed_go_too() {
    let links = "<ul><li><a href=a>First entry</a><li><a href=b>Second entry</a></ul>";
    let text = "<p>A kiln is a chamber in which clay is fired, and it must be hot, dry and well closed.</p>";
    let check = |html: &str, expect: &str| assert_eq!(extract(html, &HtmlOptions::default()).text, expect, "{html}");
    let kiln = "A kiln is a chamber in which clay is fired, and it must be hot, dry and well closed.";
    check(&format!("<div><h2>Kilns</h2>{text}<h2>See also</h2>{links}</div>"), &format!("Kilns\n\n{kiln}"));
    check(&format!("<div><h2>Kilns</h2><h3>All</h3>{text}</div>"), &format!("Kilns\n\nAll\n\n{kiln}"));
}

#[test]
fn comments_and_alternative_texts_by_option() {
    let html = String::from_utf8(read("news.en.html")).unwrap();
    let options = HtmlOptions {
        comments: true,
        image_alts: true,
        markup: Markup::Markdown,
        table_cells: TableCells::Pipe,
        main_only: true,
    };
    let text = extract(&html, &options).text;
    assert!(text.contains("# The kiln that would not cool\n\n"));
    assert!(text.contains("## What was measured\n\nDay | Temperature\n1 | 1,180 °C"));
    assert!(text.contains("> A kiln forgets slowly."));
    assert!(text.contains("A glowing kiln"));
    let all = extract(&html, &HtmlOptions { main_only: false, ..options }).text;
    assert!(all.contains("I saw it myself") && all.contains("All rights reserved") && !all.contains("no paragraph"));
}

#[test]
fn fragments() {
    let check = |html: &str, expect: &str| assert_eq!(fragment(html), expect, "{html:?}");
    check("", "");
    check("plain &amp; simple", "plain & simple");
    check("<p>one\n two<p>three", "one two\n\nthree");
    check("<p>中文\n换行</p>", "中文换行");
    check("<p>中文 a\nb</p>", "中文 a b");
    check("a<br>b<br><br>c", "a\nb\n\nc");
    check("<ul><li>a<li>b<ul><li>c</ul><li><p>d</p></ul>e", "- a\n- b\n  - c\n- d\n\ne");
    check("<ol start=3><li>a<li>b</ol>", "3. a\n4. b");
    check("<pre>\n  x\n\n    y  \n</pre>z", "  x\n\n    y\n\nz");
    check("<pre><code>a &lt; b<br>c</code></pre>", "a < b\nc");
    check("<table><tr><td>a<td><b>b</b><p>c</p><tr><td><td>d</table>", "a\tb c\n\td");
    check("<table><caption>t</caption><tr><th>h<th>i</table>", "t\nh\ti");
    check("<b>bold<p>para</b>graph</p>", "bold\n\nparagraph");
    check("a<script>b</script><style>c</style><!-- d -->e", "ae");
    check("<span hidden>x</span><div style='display: none'>y</div>z", "z");
    check("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>字", "漢字");
    check("<q>x</q>", "“x”");
    check(
        "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>{\\displaystyle x^2}</annotation></semantics></math>",
        "$x^2$",
    );
    check("<dl><dt>t<dd>d</dl>", "t\nd");
    check("<a name=x><h2>head</h2>text", "head\n\ntext");
    check("1 < 2 & 3 > 2", "1 < 2 & 3 > 2");
    check("<svg><text>no</text></svg>yes", "yes");
    check("<svg><p>out", "out");
    check("<p>a</p></div></p><p>b", "a\n\nb");
    check("<select><option>a</select>b", "b");
}

#[test]
fn a_page_of_links_or_of_a_few_words_is_kept() {
    let options = HtmlOptions::default();
    let index = "<body><h1>Index</h1><ul><li><a href=a>First entry</a><li><a href=b>Second entry</a></ul></body>";
    assert_eq!(extract(index, &options).text, "Index\n\n- First entry\n- Second entry");
    assert_eq!(extract("<p>Hi</p>", &options).text, "Hi");
    assert_eq!(extract("<nav>only</nav>", &options).text, "only");
    assert_eq!(extract("", &options).text, "");
}

#[test]
fn the_posts_of_a_thread_stay_together() {
    let post = |text: &str| {
        format!("<div class=post><div class=who><a href=u>user</a></div><div class=text><p>{text}</p></div></div>")
    };
    let long = "这是一个很长的回答，解释了窑炉的构造、燃料和温度；它比别的回答都长，但不是唯一的内容。".repeat(12);
    let page = format!(
        "<body><div id=thread>{}{}{}</div></body>",
        post("我的窑炉温度不够，应该怎么办？请大家帮忙看看，谢谢。"),
        post(&long),
        post("补充一点：先检查烟道是否堵塞，再调整风门。")
    );
    let text = extract(&page, &HtmlOptions::default()).text;
    assert!(text.contains("请大家帮忙") && text.contains("很长的回答") && text.contains("补充一点"), "{text}");
}

#[test]
fn charsets_are_found() {
    let check =
        |page: &str, expect: Option<&str>| assert_eq!(meta_charset(page.as_bytes()).as_deref(), expect, "{page:?}");
    check("<html><meta charset=GBK>", Some("gbk"));
    check("<META HTTP-EQUIV='Content-Type' CONTENT='text/html; charset=big5'>", Some("big5"));
    check("<?xml version='1.0' encoding=\"UTF-8\"?>", Some("utf-8"));
    check("<meta name=x><meta charset = \"shift_jis\" />", Some("shift_jis"));
    check("<p>charset=x</p>", None);
    check("<meta charset=", None);
    let page =
        [b"<meta charset=gb2312><p>".as_slice(), &encoding_rs::GBK.encode("中文网页，内容。").0, b"</p>"].concat();
    assert_eq!(extract_bytes(&page, None, &HtmlOptions::default()).text, "中文网页，内容。");
}
