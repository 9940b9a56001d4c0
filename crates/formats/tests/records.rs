//! The readers of records: WARC, mbox, feeds, dumps of posts, books.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;

use danlu_formats::limits::{LimitError, Limits};
use danlu_formats::posts::{Post, PostFormat, PostKind, PostReader, PostsSkipped};
use danlu_formats::warc::{WarcKind, WarcReader, WarcRecord, parse_response};
use danlu_formats::{At, Fault, FormatError, epub, feed, mail};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn warc(kind: &str, fields: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Record-ID: <urn:uuid:1>\r\n{fields}Content-Length: {}\r\n\r\n",
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let block = [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat();
    warc(
        "response",
        "WARC-Target-URI: http://example.org/页\r\nContent-Type: application/http; msgtype=response\r\n",
        &block,
    )
}

fn read_warc(bytes: &[u8]) -> (Vec<WarcRecord>, Vec<FormatError>, u64) {
    let mut reader = WarcReader::new(bytes, 1 << 16);
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for record in reader.by_ref() {
        match record {
            Ok(record) => records.push(record),
            Err(error) => errors.push(error),
        }
    }
    (records, errors, reader.skipped())
}

#[test]
fn warc_responses_are_decoded() {
    let page = "<p>页面 of text</p>".repeat(20);
    let chunked = format!("{:x};ext=1\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 10, &page[..10], page.len() - 10, &page[10..]);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(page.as_bytes()).unwrap();
    let html = "Content-Type: text/html; charset=GBK\r\n";
    let all = [
        warc("warcinfo", "", b"software: x"),
        response(html, page.as_bytes()),
        warc("request", "", b"GET / HTTP/1.1\r\n\r\n"),
        response("Transfer-Encoding: chunked\r\n", chunked.as_bytes()),
        response("Content-Encoding: gzip\r\n", &gzip(page.as_bytes())),
        response("Content-Encoding: deflate\r\n", &zlib.finish().unwrap()),
        // Stored decoded under an unchanged head, as Common Crawl did.
        response("Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", page.as_bytes()),
    ];
    let (records, errors, skipped) = read_warc(&all.concat());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!((records.len(), skipped), (5, 2));
    assert!(records.iter().all(|record| record.payload == page.as_bytes() && record.status == Some(200)));
    let first = &records[0];
    assert_eq!(first.url.as_deref(), Some("http://example.org/页"));
    assert_eq!(first.date.as_deref(), Some("2024-05-06T07:08:09Z"));
    assert_eq!((first.content_type.as_deref(), first.charset.as_deref()), (Some("text/html"), Some("gbk")));
    assert_eq!(first.offset, all[0].len() as u64);
}

#[test]
fn wet_records_are_read() {
    let fields =
        "WARC-Target-URI: http://a.b\r\nWARC-Identified-Content-Language: zho,eng\r\nContent-Type: text/plain\r\n";
    let (records, errors, _) = read_warc(&warc("conversion", fields, "正文。\nText.".as_bytes()));
    assert!(errors.is_empty());
    assert_eq!((records[0].kind, records[0].languages.as_deref()), (WarcKind::Conversion, Some("zho,eng")));
    assert_eq!(records[0].payload, "正文。\nText.".as_bytes());
}

#[test]
fn warc_reading_goes_on_after_damage() {
    let good = response("", b"fine");
    let no_length = warc("response", "", b"x").split_off(0);
    let no_length =
        String::from_utf8(no_length).unwrap().replace("Content-Length: 1", "Content-Length: ?").into_bytes();
    let short = String::from_utf8(response("", b"body")).unwrap().replace("body", "a longer body").into_bytes();
    let huge = response("", &vec![b'x'; 1 << 17]);
    let all = [&b"garbage\n\n"[..], &good, &no_length, &good, &huge, &short, &good, &good[..good.len() - 6]].concat();
    let (records, errors, _) = read_warc(&all);
    assert_eq!(records.iter().filter(|record| record.payload == b"fine").count(), 3, "{errors:?}");
    assert!(errors.iter().any(|error| matches!(error.fault, Fault::TooLarge { limit: 65536 })));
    assert!(errors.iter().any(|error| error.at == At::Offset(0)));
    assert!(errors[errors.len() - 1].ends_reading && matches!(errors[errors.len() - 1].fault, Fault::Truncated(_)));
    assert!(errors[..errors.len() - 1].iter().all(|error| !error.ends_reading));
}

#[test]
fn a_bomb_in_a_response_is_refused() {
    let limits = Limits { max_ratio: 100, free: 1 << 16, ..Limits::default() };
    let block = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec(), gzip(&vec![0; 8 << 20])].concat();
    let fault = parse_response(&block, limits).unwrap_err();
    assert!(matches!(fault, Fault::Limit(LimitError::Ratio { .. })), "{fault}");
    let brotli = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n\x0b\x02\x80";
    assert!(matches!(parse_response(brotli, limits), Err(Fault::Unsupported(_))));
}

const MBOX: &str = "From ada@example.org Mon May  6 07:08:09 2024
From: =?utf-8?B?5byg5LiJ?= <zhang@example.org>
Subject: =?gb2312?B?xOO6ww==?=
Date: Mon, 06 May 2024 07:08:09 +0800
Message-ID: <1@example.org>
Content-Type: text/plain; charset=utf-8

第一封。
>From here it was quoted.

From the window one sees the sea.

From bob@example.org Tue May  7 07:08:09 2024
From: bob@example.org
Subject: Two
 lines
In-Reply-To: <1@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"x\"

--x
Content-Type: multipart/alternative; boundary=\"y\"

--y
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Caf=E9.

--y
Content-Type: text/html

<p>Not this.</p>
--y--
--x
Content-Type: application/pdf
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename=a.pdf

JVBERi0=
--x--

From carol@example.org Wed May  8 07:08:09 2024
Content-Type: text/html; charset=utf-8

<html><head><style>p {}</style></head><body><p>Only <b>HTML</b>,</p><p>两段。</p></body></html>
";

#[test]
fn mail_is_split_and_read() {
    let messages: Vec<_> = mail::MboxReader::new(MBOX.as_bytes(), 1 << 20).map(Result::unwrap).collect();
    assert_eq!(messages.iter().map(|message| message.line).collect::<Vec<_>>(), [1, 13, 43]);
    let read: Vec<_> = messages.iter().map(|message| mail::parse_message(&message.bytes).unwrap()).collect();
    assert_eq!(read[0].subject.as_deref(), Some("你好"));
    assert_eq!(read[0].from.as_deref(), Some("张三 <zhang@example.org>"));
    assert_eq!(read[0].date.as_deref(), Some("2024-05-05T23:08:09Z"));
    assert_eq!(read[0].text, "第一封。\nFrom here it was quoted.\n\nFrom the window one sees the sea.");
    assert_eq!(
        (read[1].subject.as_deref(), read[1].in_reply_to.as_deref()),
        (Some("Two lines"), Some("1@example.org"))
    );
    assert_eq!((read[1].text.as_str(), read[1].attachments), ("Café.", 1));
    assert_eq!(read[2].text, "Only HTML,\n\n两段。");
    assert!(mail::parse_message(b"").is_err());
}

#[test]
fn mail_that_is_too_long_is_passed_over() {
    let long = format!("From a 1:1 2024\nA: b\n\n{}\n\n{MBOX}", "x".repeat(3000));
    let read: Vec<_> = mail::MboxReader::new(long.as_bytes(), 2000).collect();
    assert!(matches!(&read[0], Err(FormatError { at: At::Line(1), fault: Fault::TooLarge { limit: 2000 }, .. })));
    assert_eq!(read.iter().filter(|message| message.is_ok()).count(), 3);
    let none: Vec<_> = mail::MboxReader::new(&b"no mail\n"[..], 2000).collect();
    assert!(none.len() == 1 && none[0].is_err());
}

const RSS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="m">
<channel><title>新闻 &amp; News</title><link>http://example.org</link><language>zh-CN</language>
<item><title>标题&lt;b&gt;一&lt;/b&gt;</title><link>http://example.org/1</link><guid>1</guid><pubDate>Mon, 06 May 2024 07:08:09 GMT</pubDate>
<dc:creator>李四</dc:creator><category>科技</category><category>AI</category><media:title>not this</media:title>
<description>摘要</description><content:encoded><![CDATA[<p>正文第一段。</p><p>Second &amp; last.</p><script>x()</script>]]></content:encoded></item>
<item><title>Two</title><guid>http://example.org/2</guid><description>&lt;p&gt;A &lt;i&gt;summary&lt;/i&gt;.&lt;/p&gt;</description></item>
</channel></rss>"#;

const ATOM: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title type="html">Notes</title>
<entry><title>One</title><link rel="self" href="http://example.org/x.atom"/><link href="http://example.org/one?a=1&amp;b=2"/>
<id>tag:1</id><updated>2024-05-07T00:00:00Z</updated><published>2024-05-06T09:08:09+02:00</published><author><name>Ada</name><email>a@b</email></author>
<category term="maths"/><summary>Short.</summary>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Full <em>text</em> &lt; all.</p><ul><li>item</li></ul></div></content></entry></feed>"#;

#[test]
fn feeds_of_all_kinds() {
    let (rss, damage) = feed::parse_feed(RSS.as_bytes(), None).unwrap();
    assert!(damage.is_none());
    assert_eq!((rss.title.as_deref(), rss.language.as_deref()), (Some("新闻 & News"), Some("zh-CN")));
    let first = &rss.entries[0];
    assert_eq!((first.title.as_deref(), first.link.as_deref()), (Some("标题一"), Some("http://example.org/1")));
    assert_eq!((first.date.as_deref(), first.author.as_deref()), (Some("2024-05-06T07:08:09Z"), Some("李四")));
    assert_eq!(first.categories, ["科技", "AI"]);
    assert_eq!(first.text, "正文第一段。\n\nSecond & last.");
    assert_eq!(rss.entries[1].link.as_deref(), Some("http://example.org/2"));
    assert_eq!(rss.entries[1].text, "A summary.");

    let (atom, _) = feed::parse_feed(ATOM.as_bytes(), None).unwrap();
    let entry = &atom.entries[0];
    assert_eq!((atom.title.as_deref(), atom.language.as_deref()), (Some("Notes"), Some("en")));
    assert_eq!(entry.link.as_deref(), Some("http://example.org/one?a=1&b=2"));
    assert_eq!((entry.date.as_deref(), entry.author.as_deref()), (Some("2024-05-06T07:08:09Z"), Some("Ada")));
    assert_eq!(entry.text, "Full text < all.\n\n- item");
    assert_eq!(entry.categories, ["maths"]);

    let rdf = r#"<rdf:RDF xmlns:rdf="r"><channel><title>Old</title></channel><item><title>X</title><dc:date>2024-05-06</dc:date></item></rdf:RDF>"#;
    let (rdf, _) = feed::parse_feed(rdf.as_bytes(), None).unwrap();
    assert_eq!((rdf.title.as_deref(), rdf.entries[0].date.as_deref()), (Some("Old"), Some("2024-05-06")));
}

#[test]
fn a_damaged_feed_gives_what_it_has() {
    let cut = &RSS.as_bytes()[..RSS.find("Second").unwrap()];
    let (feed, damage) = feed::parse_feed(cut, None).unwrap();
    assert!(feed.entries.is_empty() && damage.is_some());
    let cut = &RSS.as_bytes()[..RSS.find("<item><title>Two").unwrap() + 8];
    assert_eq!(feed::parse_feed(cut, None).unwrap().0.entries.len(), 1);
    assert!(feed::parse_feed(b"<html><p>no feed</p></html>", None).is_err());
}

fn read_posts(format: PostFormat, lines: &str) -> (Vec<Post>, Vec<FormatError>, PostsSkipped) {
    let mut reader = PostReader::new(lines.as_bytes(), format, 4096);
    let (mut posts, mut errors) = (Vec::new(), Vec::new());
    for post in reader.by_ref() {
        match post {
            Ok(post) => posts.push(post),
            Err(error) => errors.push(error),
        }
    }
    (posts, errors, reader.skipped())
}

#[test]
fn reddit_dumps() {
    let lines = [
        r#"{"id":"a1","title":"A question","selftext":"Why &gt; 2?\n\n- x","author":"u","created_utc":1714979289,"score":5,"subreddit":"rust","is_self":true,"url":"http://self"}"#,
        r#"{"id":"a2","title":"A link","selftext":"","author":"[deleted]","created_utc":"1714979289","url":"http://example.org"}"#,
        r#"{"id":"c1","body":"回答。","parent_id":"t3_a1","author":"v","created_utc":1714979290.0}"#,
        r#"{"id":"c2","body":"[deleted]","parent_id":"t3_a1"}"#,
        r#"{"id":"a3","title":"Gone","selftext":"[removed]"}"#,
        r#"{"id":"x"}"#,
        "not json",
        "",
    ];
    let (posts, errors, skipped) = read_posts(PostFormat::Reddit, &lines.join("\n"));
    assert_eq!(posts.len(), 3);
    assert_eq!((posts[0].text.as_str(), posts[0].url.as_deref()), ("Why > 2?\n\n- x", None));
    assert_eq!((posts[0].date.as_deref(), posts[0].score), (Some("2024-05-06T07:08:09Z"), Some(5)));
    assert_eq!((posts[1].url.as_deref(), posts[1].author.as_deref()), (Some("http://example.org"), None));
    assert_eq!((posts[2].kind, posts[2].parent.as_deref(), posts[2].line), (PostKind::Comment, Some("t3_a1"), 3));
    assert_eq!(skipped, PostsSkipped { deleted: 2, other: 0, empty: 0 });
    assert_eq!(errors.iter().filter_map(FormatError::line).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn hacker_news_items() {
    let lines = [
        r#"{"id":1,"type":"story","by":"pg","time":1160418092,"title":"Y &amp; C","url":"http://ycombinator.com","score":57,"kids":[2,3]}"#,
        r#"{"id":2,"type":"comment","parent":1,"text":"First.<p>Then <i>more</i>:<pre><code>  x &lt; y\n</code></pre>","by":"sama"}"#,
        r#"{"id":3,"type":"comment","deleted":true}"#,
        r#"{"id":4,"type":"job","title":"Job"}"#,
        r#"{"id":5,"type":"story"}"#,
    ];
    let (posts, errors, skipped) = read_posts(PostFormat::HackerNews, &lines.join("\n"));
    assert!(errors.is_empty());
    assert_eq!(
        (posts[0].title.as_deref(), posts[0].replies.as_slice()),
        (Some("Y & C"), &["2".to_owned(), "3".to_owned()][..])
    );
    assert_eq!(posts[1].text, "First.\n\nThen more:\n\n  x < y");
    assert_eq!(skipped, PostsSkipped { deleted: 1, other: 1, empty: 1 });
}

#[test]
fn stack_exchange_dumps() {
    let posts = r#"<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="4" PostTypeId="1" CreationDate="2008-07-31T21:42:52.667" Score="798" Body="&lt;p&gt;如何 use &lt;code&gt;Vec&amp;lt;T&amp;gt;&lt;/code&gt;?&lt;/p&gt;&#xA;" OwnerUserId="8" Title="A &quot;question&quot;" Tags="&lt;c#&gt;&lt;.net&gt;" />
  <row Id="7" PostTypeId="2" ParentId="4" Score="-1" Body="&lt;p&gt;Like &lt;em&gt;this&lt;/em&gt;.&lt;/p&gt;" />
  <row Id="8" PostTypeId="5" Body="wiki" />
  <row PostTypeId="1" Body="no id" />
</posts>"#;
    let (read, errors, skipped) = read_posts(PostFormat::StackExchange, posts);
    assert_eq!((read[0].title.as_deref(), read[0].text.as_str()), (Some("A \"question\""), "如何 use Vec<T>?"));
    assert_eq!((read[0].topics.as_slice(), read[0].score), (&["c#".to_owned(), ".net".to_owned()][..], Some(798)));
    assert_eq!(
        (read[1].kind, read[1].parent.as_deref(), read[1].text.as_str()),
        (PostKind::Answer, Some("4"), "Like this.")
    );
    assert_eq!((errors.len(), errors[0].line(), skipped.other), (1, Some(6), 4));
    let comments =
        "<comments>\n<row Id=\"1\" PostId=\"4\" Score=\"2\" Text=\"It&#39;s 好\" UserId=\"9\" />\n</comments>";
    let (read, _, _) = read_posts(PostFormat::StackExchange, comments);
    assert_eq!(
        (read[0].kind, read[0].text.as_str(), read[0].parent.as_deref()),
        (PostKind::Comment, "It's 好", Some("4"))
    );
    let (read, errors, _) = read_posts(PostFormat::StackExchange, &format!("{}\n{comments}", "x".repeat(5000)));
    assert!(read.len() == 1 && matches!(errors[0].fault, Fault::TooLarge { .. }));
}

fn book(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const CONTAINER: &str =
    r#"<container><rootfiles><rootfile full-path="OEBPS/book.opf" media-type="x"/></rootfiles></container>"#;
const PACKAGE: &str = r#"<package xmlns:dc="d"><metadata><dc:title>红楼 &amp; Dreams</dc:title><dc:creator>曹雪芹</dc:creator><dc:language>zh</dc:language></metadata>
<manifest><item id="c2" href="text/two.xhtml" media-type="application/xhtml+xml"/><item id="c1" href="text/%E4%B8%80.xhtml" media-type="application/xhtml+xml"/>
<item id="img" href="a.png" media-type="image/png"/><item id="lost" href="lost.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="c1"/><itemref idref="c2"/><itemref idref="lost"/></spine></package>"#;

#[test]
fn books_are_read_in_the_order_of_their_spine() {
    let one = "<?xml version='1.0' encoding='utf-8'?><html><head><title/><script src='x'/></head><body><h1>第一回</h1><p>甄士隐<a id='p1'/>梦幻。</p></body></html>";
    let two = "<html><head><title>Two</title></head><body><p>Second<br/>chapter.</p></body></html>";
    let bytes = book(&[
        ("mimetype", b"application/epub+zip"),
        ("OEBPS/text/two.xhtml", two.as_bytes()),
        ("OEBPS/text/一.xhtml", one.as_bytes()),
        ("OEBPS/book.opf", PACKAGE.as_bytes()),
        ("META-INF/container.xml", CONTAINER.as_bytes()),
    ]);
    let read = epub::read_epub(&bytes, Limits::default()).unwrap();
    assert_eq!(
        (read.title.as_deref(), read.author.as_deref(), read.language.as_deref()),
        (Some("红楼 & Dreams"), Some("曹雪芹"), Some("zh"))
    );
    let texts: Vec<_> = read.chapters.iter().map(|chapter| chapter.text.as_str()).collect();
    assert_eq!(texts, ["第一回\n\n甄士隐梦幻。", "Second\nchapter."]);
    assert_eq!(read.chapters[1].title.as_deref(), Some("Two"));
    assert_eq!(read.errors.len(), 1);
    assert_eq!(read.errors[0].at, At::Entry("OEBPS/lost.xhtml".into()));
    // Damage is an error, at the whole or at a chapter, and never a panic.
    assert!(epub::read_epub(b"PK no archive", Limits::default()).is_err());
    for cut in 0..bytes.len() {
        let _ = epub::read_epub(&bytes[..cut], Limits::default());
        let mut flipped = bytes.clone();
        flipped[cut] ^= 0x55;
        let _ = epub::read_epub(&flipped, Limits::default());
    }
}

#[test]
fn a_bomb_in_a_book_is_refused() {
    let bytes = book(&[
        ("META-INF/container.xml", CONTAINER.as_bytes()),
        ("OEBPS/book.opf", PACKAGE.as_bytes()),
        ("OEBPS/text/一.xhtml", &vec![b' '; 4 << 20]),
        ("OEBPS/text/two.xhtml", b"<p>fine</p>"),
    ]);
    let read = epub::read_epub(&bytes, Limits { max_ratio: 100, free: 1 << 16, ..Limits::default() }).unwrap();
    assert_eq!(read.chapters.len(), 1);
    assert!(matches!(read.errors[0].fault, Fault::Limit(LimitError::Ratio { .. })), "{:?}", read.errors);
}
