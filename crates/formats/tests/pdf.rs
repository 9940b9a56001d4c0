//! PDF: small files made here, whole and damaged.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use danlu_formats::limits::{LimitError, Limits};
use danlu_formats::{Fault, pdf};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

/// A file of these objects, numbered from 1, of which the first is the catalog.
fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(out.len());
        out.extend(format!("{number} 0 obj\n").bytes().chain(object.iter().copied()).chain(*b"\nendobj\n"));
    }
    let xref = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    places.iter().for_each(|place| out.extend(format!("{place:010} 00000 n \n").bytes()));
    out.extend(
        format!("trailer\n<< /Size {} /Root 1 0 R /Info 6 0 R >>\nstartxref\n{xref}\n%%EOF\n", objects.len() + 1)
            .bytes(),
    );
    out
}

fn stream(fields: &str, data: &[u8]) -> Vec<u8> {
    [format!("<< /Length {} {fields} >>\nstream\n", data.len()).as_bytes(), data, b"\nendstream"].concat()
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

const CMAP: &str = "begincmap 1 begincodespacerange <0000> <FFFF> endcodespacerange
1 beginbfrange <0001> <0004> [<4E2D> <6587> <7B2C> <4E8C>] endbfrange 1 beginbfchar <0005> <884C> endbfchar endcmap";

/// Two pages: the first with `content` and a form, the second empty.
fn document(content: &[u8]) -> Vec<u8> {
    let object = |text: &str| text.as_bytes().to_vec();
    file(&[
        object("<< /Type /Catalog /Pages 2 0 R >>"),
        object("<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>"),
        object(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << /Font << /F1 7 0 R /F2 8 0 R >> \
             /XObject << /X 11 0 R >> >> >>",
        ),
        object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] >>"),
        stream("/Filter /FlateDecode", &deflated(content)),
        object("<< /Title (A title) /Author <FEFF5F204E09> >>"),
        object(
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding << /Type /Encoding /BaseEncoding /WinAnsiEncoding \
             /Differences [1 /fi /eacute /uni4E2D] >> >>",
        ),
        object(
            "<< /Type /Font /Subtype /Type0 /BaseFont /Song /Encoding /Identity-H /DescendantFonts [9 0 R] /ToUnicode 10 0 R >>",
        ),
        object("<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Song /DW 1000 /W [1 [1000 1000] 3 5 1000] >>"),
        stream("", CMAP.as_bytes()),
        stream(
            "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F1 7 0 R >> /XObject << /X 11 0 R >> >>",
            b"BT /F1 10 Tf 50 100 Td (In a form.) Tj ET /X Do",
        ),
    ])
}

const CONTENT: &[u8] = b"BT /F1 20 Tf 50 750 Td (Title) Tj ET
BT /F1 10 Tf 14 TL 50 700 Td (A line that goes on until the right end of the column, where it is di-) Tj
T* (vided; then [a \\001nal] caf\\002 with a \\(parenthesis\\), and it ends here.) Tj
0 -40 Td [(Sp) -20 (aced) -600 (words)] TJ ET
BT /F2 10 Tf 50 600 Td <00010002> Tj 0 -14 Td <0003000400050009> Tj ET";

#[test]
fn pages_become_paragraphs() {
    let read = pdf::read_pdf(document(CONTENT), Limits::default()).unwrap();
    assert!(read.errors.is_empty());
    assert_eq!((read.title.as_deref(), read.author.as_deref()), (Some("A title"), Some("张三")));
    assert_eq!(read.pages.len(), 2);
    assert_eq!(
        read.pages[0],
        "Title\n\nA line that goes on until the right end of the column, where it is divided; then [a final] café with a \
         (parenthesis), and it ends here.\n\nSpaced words\n\n中文\n第二行"
    );
    assert_eq!((read.pages[1].as_str(), read.unmapped), ("", 1));
}

#[test]
fn a_form_that_draws_itself_ends() {
    let read = pdf::read_pdf(document(b"/X Do"), Limits::default()).unwrap();
    assert!(read.pages[0].starts_with("In a form."), "{:?}", read.pages[0]);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    assert!(matches!(
        pdf::read_pdf(b"no file".to_vec(), Limits::default()).unwrap_err().fault,
        Fault::Malformed { .. }
    ));
    let encrypted = [document(CONTENT), b"trailer << /Encrypt 3 0 R >>".to_vec()].concat();
    assert!(matches!(pdf::read_pdf(encrypted, Limits::default()).unwrap_err().fault, Fault::Unsupported(_)));
    let limits = Limits { max_ratio: 100, free: 1 << 16, ..Limits::default() };
    let bomb = document(&vec![b' '; 8 << 20]);
    let fault = pdf::read_pdf(bomb, limits).unwrap_err().fault;
    assert!(matches!(fault, Fault::Limit(LimitError::Ratio { .. })), "{fault}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), cut in any::<prop::sample::Index>()) {
        let mut bytes = document(CONTENT);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = pdf::read_pdf(bytes.clone(), Limits::default());
        bytes.truncate(cut.index(bytes.len()));
        let _ = pdf::read_pdf(bytes, Limits::default());
    }
}
