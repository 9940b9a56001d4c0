//! PDF: the text of each page, in the order in which the file draws it.
//!
//! hayro-syntax reads objects and operations (pure Rust, nesting bounded); fonts, encodings and the layout of lines are here.
//! What a file does not say cannot be had: scanned pages have no text, and glyphs of fonts without a mapping to characters
//! are counted, not guessed.

mod cmap;
mod fonts;
mod layout;

use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;

use flate2::read::ZlibDecoder;
use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::TypedInstruction;
use hayro_syntax::object::{Array, Dict, Name, Number, Object, ObjectIdentifier, Stream};
use hayro_syntax::page::Resources;
use hayro_syntax::{LoadPdfError, Pdf};

use crate::guard::guarded;
use crate::limits::Limits;
use crate::{At, Fault, FormatError};
use fonts::Font;
use layout::{Layout, Matrix};

/// The texts of a file.
#[derive(Debug, Default)]
pub struct PdfText {
    pub title: Option<String>,
    pub author: Option<String>,
    /// By page; empty for one without text, such as a scan.
    pub pages: Vec<String>,
    /// Glyphs whose character the file does not tell.
    pub unmapped: u64,
    /// Pages that could not be read to their end.
    pub errors: Vec<FormatError>,
}

/// Forms within forms; a form that draws itself would never end.
const MAX_FORMS: usize = 8;
/// Operations of a page, those of its forms included.
const MAX_OPERATIONS: usize = 5_000_000;
/// Bytes of a page's forms, each counted as often as it is drawn.
const MAX_FORM_BYTES: usize = 256 << 20;
const MAX_STATES: usize = 256;

/// Reads a file. Streams that decompress beyond `limits` are refused before anything else is read.
///
/// # Errors
/// No PDF; an encrypted one; limits exceeded. A page's own error is in [`PdfText::errors`].
pub fn read_pdf(bytes: Vec<u8>, limits: Limits) -> Result<PdfText, FormatError> {
    let whole = |fault| FormatError::last(At::Whole, fault);
    if memchr::memmem::find(&bytes, b"/Encrypt").is_some() {
        return Err(whole(Fault::Unsupported("an encrypted PDF".into())));
    }
    check_streams(&bytes, limits).map_err(whole)?;
    guarded(|| read(bytes)).and_then(|result| result).map_err(|message| whole(malformed(message)))
}

fn malformed(message: String) -> Fault {
    Fault::Malformed { format: "PDF", message }
}

/// Decompresses every stream without keeping anything. All of them share one budget, so that streams that overlap, as only
/// an attacker writes them, cannot take quadratic time.
fn check_streams(bytes: &[u8], limits: Limits) -> Result<(), Fault> {
    let mut produced = 0;
    let mut buffer = [0; 16 << 10];
    for at in memchr::memmem::find_iter(bytes, b"stream") {
        let data = &bytes[at + b"stream".len()..];
        let data = data.strip_prefix(b"\r\n").or(data.strip_prefix(b"\n")).unwrap_or(data);
        if !matches!(data, [method, ..] if method & 0x0F == 8) {
            continue;
        }
        let mut decoder = ZlibDecoder::new(data);
        while let Ok(count @ 1..) = decoder.read(&mut buffer) {
            produced += count as u64;
            limits.check(bytes.len() as u64, produced).map_err(Fault::Limit)?;
        }
    }
    Ok(())
}

fn read(bytes: Vec<u8>) -> Result<PdfText, String> {
    let pdf = Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(_) => "it is encrypted".to_owned(),
        _ => "it has no readable pages".to_owned(),
    })?;
    let text = |value: &Option<Box<[u8]>>| {
        value.as_ref().map(|value| fonts::text_string(value)).filter(|text| !text.is_empty())
    };
    let metadata = pdf.metadata();
    let mut out = PdfText { title: text(&metadata.title), author: text(&metadata.author), ..PdfText::default() };
    for (index, page) in pdf.pages().iter().enumerate() {
        let mut reader = PageReader::default();
        let result = guarded(|| {
            let mut operations = page.typed_operations();
            reader.run(&mut operations, page.resources(), 0);
        });
        out.unmapped += reader.unmapped;
        out.pages.push(std::mem::take(&mut reader.layout).finish());
        if let Err(message) = result {
            out.errors.push(FormatError::record(At::Entry(format!("page {}", index + 1)), malformed(message)));
        }
    }
    Ok(out)
}

/// What of the graphics state places text.
#[derive(Clone)]
struct State {
    matrix: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    leading: f64,
    character_spacing: f64,
    word_spacing: f64,
    scaling: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            matrix: Matrix::IDENTITY,
            font: None,
            size: 1.0,
            leading: 0.0,
            character_spacing: 0.0,
            word_spacing: 0.0,
            scaling: 1.0,
        }
    }
}

#[derive(Default)]
struct PageReader {
    state: State,
    saved: Vec<State>,
    text: Matrix,
    line: Matrix,
    fonts: HashMap<ObjectIdentifier, Rc<Font>>,
    layout: Layout,
    operations: usize,
    /// Bytes of forms run so far.
    form_bytes: usize,
    unmapped: u64,
}

impl PageReader {
    fn run(&mut self, operations: &mut TypedIter<'_>, resources: &Resources<'_>, depth: usize) {
        while let Some(operation) = operations.next() {
            self.operations += 1;
            if self.operations > MAX_OPERATIONS {
                return;
            }
            self.step(&operation, resources, depth);
        }
    }

    fn step(&mut self, operation: &TypedInstruction<'_, '_>, resources: &Resources<'_>, depth: usize) {
        use TypedInstruction as Op;
        match operation {
            Op::SaveState(_) if self.saved.len() < MAX_STATES => self.saved.push(self.state.clone()),
            Op::RestoreState(_) => self.state = self.saved.pop().unwrap_or_default(),
            Op::Transform(m) => {
                let matrix = Matrix([m.0, m.1, m.2, m.3, m.4, m.5].map(|value| value.as_f64()));
                self.state.matrix = matrix.then(&self.state.matrix);
            }
            Op::BeginText(_) => {
                self.text = Matrix::IDENTITY;
                self.line = Matrix::IDENTITY;
            }
            Op::CharacterSpacing(value) => self.state.character_spacing = value.0.as_f64(),
            Op::WordSpacing(value) => self.state.word_spacing = value.0.as_f64(),
            Op::HorizontalScaling(value) => self.state.scaling = value.0.as_f64() / 100.0,
            Op::TextLeading(value) => self.state.leading = value.0.as_f64(),
            Op::TextFont(font) => {
                self.state.size = font.1.as_f64();
                self.state.font = self.font(font.0, resources);
            }
            Op::NextLine(by) => self.next_line(by.0.as_f64(), by.1.as_f64()),
            Op::NextLineAndSetLeading(by) => {
                self.state.leading = -by.1.as_f64();
                self.next_line(by.0.as_f64(), by.1.as_f64());
            }
            Op::SetTextMatrix(m) => {
                self.line = Matrix([m.0, m.1, m.2, m.3, m.4, m.5].map(|value| value.as_f64()));
                self.text = self.line;
            }
            Op::NextLineUsingLeading(_) => self.next_line(0.0, -self.state.leading),
            Op::ShowText(text) => self.show(text.0.as_bytes()),
            Op::NextLineAndShowText(text) => {
                self.next_line(0.0, -self.state.leading);
                self.show(text.0.as_bytes());
            }
            Op::ShowTextWithParameters(text) => {
                self.state.word_spacing = text.0.as_f64();
                self.state.character_spacing = text.1.as_f64();
                self.next_line(0.0, -self.state.leading);
                self.show(text.2.as_bytes());
            }
            Op::ShowTexts(texts) => {
                for item in texts.0.iter::<Object<'_>>() {
                    match item {
                        Object::String(text) => self.show(text.as_bytes()),
                        Object::Number(by) => self.advance(-by.as_f64() / 1000.0 * self.state.size),
                        _ => {}
                    }
                }
            }
            Op::XObject(name) if depth < MAX_FORMS => self.form(name.0, resources, depth),
            _ => {}
        }
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.line = Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(&self.line);
        self.text = self.line;
    }

    fn advance(&mut self, by: f64) {
        self.text = Matrix([1.0, 0.0, 0.0, 1.0, by * self.state.scaling, 0.0]).then(&self.text);
    }

    fn font(&mut self, name: &Name<'_>, resources: &Resources<'_>) -> Option<Rc<Font>> {
        let dict = resources.get_font(name)?;
        let Some(id) = dict.obj_id() else { return Some(Rc::new(Font::new(&dict))) };
        Some(Rc::clone(self.fonts.entry(id).or_insert_with(|| Rc::new(Font::new(&dict)))))
    }

    /// Writes a string at the present place and moves behind it.
    fn show(&mut self, bytes: &[u8]) {
        let Some(font) = self.state.font.clone() else {
            self.unmapped += bytes.len() as u64;
            return;
        };
        let mut text = String::new();
        let mut width = 0.0;
        for glyph in font.glyphs(bytes) {
            match &glyph.text {
                Some(glyph) => text.push_str(glyph),
                None => self.unmapped += 1,
            }
            width += glyph.width * self.state.size + self.state.character_spacing;
            width += if glyph.is_space { self.state.word_spacing } else { 0.0 };
        }
        let from = self.text.then(&self.state.matrix);
        self.advance(width);
        let to = self.text.then(&self.state.matrix);
        self.layout.put(&text, from.origin(), to.origin(), from.height() * self.state.size.abs());
    }

    fn form(&mut self, name: &Name<'_>, resources: &Resources<'_>, depth: usize) {
        let Some(stream) = resources.get_x_object(name) else { return };
        let dict = stream.dict();
        let is_form = dict.get::<Name<'_>>("Subtype").is_some_and(|kind| kind.as_str() == "Form");
        let Some(data) = is_form.then(|| content(&stream)).flatten() else { return };
        self.form_bytes += data.len();
        if self.form_bytes > MAX_FORM_BYTES {
            return;
        }
        let own = dict.get::<Dict<'_>>("Resources").map(Resources::new);
        let saved = (self.state.clone(), self.text, self.line, std::mem::take(&mut self.saved));
        if let Some(matrix) = matrix_of(dict) {
            self.state.matrix = matrix.then(&self.state.matrix);
        }
        self.run(&mut TypedIter::new(&data), own.as_ref().unwrap_or(resources), depth + 1);
        (self.state, self.text, self.line, self.saved) = saved;
    }
}

fn content(stream: &Stream<'_>) -> Option<Vec<u8>> {
    stream.decoded_data().ok().map(std::borrow::Cow::into_owned)
}

fn matrix_of(dict: &Dict<'_>) -> Option<Matrix> {
    let numbers: Vec<f64> = dict.get::<Array<'_>>("Matrix")?.iter::<Number>().map(|number| number.as_f64()).collect();
    numbers.try_into().ok().map(Matrix)
}
