//! Text drawn as an image and turned.

use std::path::{Path, PathBuf};

use ab_glyph::{Font, FontVec, PxScale, ScaleFont, point};
use danlu_text::{is_cjk, sentences};
use serde_json::json;

use super::random::Random;
use super::run::{Failure, Made, Skip};
use crate::DataError;
use crate::aside::AsideFile;

/// A page before it is turned may have so many pixels.
const MOST_PIXELS: usize = 32 << 20;

/// What a page looks like.
pub(super) struct Page {
    pub(super) size: f32,
    pub(super) width: u32,
    pub(super) max_degrees: f32,
    pub(super) max_chars: usize,
}

/// The fonts at hand; the first that has all characters of a text draws it.
pub(super) struct Studio {
    fonts: Vec<(String, FontVec)>,
}

impl Studio {
    pub(super) fn open(font: Option<&Path>, base: &Path) -> Result<Self, DataError> {
        let files = font_files(font, base);
        let mut fonts = Vec::new();
        for file in files {
            match load(&file) {
                Ok(loaded) => fonts.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), loaded)),
                Err(error) if font.is_some() => return Err(error),
                Err(_) => {} // of the system's fonts another may do
            }
        }
        if fonts.is_empty() {
            let message =
                "no font was found on this system: install one (apt install fonts-noto-cjk or fonts-dejavu-core), or \
                           set font to a .ttf, .otf or .ttc file"
                    .into();
            return Err(DataError::BadConfig { key: "augment.steps.font", message });
        }
        Ok(Self { fonts })
    }

    pub(super) fn render(&self, text: &str, page: &Page, file: &Path, random: &mut Random) -> Result<Made, Failure> {
        let text = beginning(text, page.max_chars);
        if text.is_empty() {
            return Err(Skip::TooShort.into());
        }
        let (name, font) = self.fonts.iter().find(|(_, font)| has_all(font, text)).ok_or(Skip::NoGlyphs)?;
        let degrees = ((random.fraction() * 2.0 - 1.0) * f64::from(page.max_degrees)) as f32;
        let image = draw(text, font, page).ok_or(Skip::TooLarge)?.turned(degrees);
        image.write(file)?;
        let parameters = json!({ "degrees": degrees, "font": name, "size": page.size, "width": page.width });
        let mut made = Made::new(format!("<image>\n{text}"), parameters);
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        let path = Path::new(folder).join(file.file_name().unwrap_or_default());
        made.images = Some(vec![path.display().to_string()]);
        Ok(made)
    }
}

/// The fonts that may be drawn with: the one that is named, or those of the system.
pub(super) fn font_files(font: Option<&Path>, base: &Path) -> Vec<PathBuf> {
    font.map_or_else(system_fonts, |font| vec![base.join(font)])
}

fn load(file: &Path) -> Result<FontVec, DataError> {
    let bytes = std::fs::read(file).map_err(|error| DataError::io("read", file, error))?;
    FontVec::try_from_vec_and_index(bytes, 0).map_err(|_| DataError::BadConfig {
        key: "augment.steps.font",
        message: format!("{} is not a TrueType or OpenType font", file.display()),
    })
}

/// Fonts of the usual folders that have Chinese, then the plain ones of Latin: a few, for all are loaded.
fn system_fonts() -> Vec<PathBuf> {
    const CHINESE: [&str; 12] = [
        "notosanscjk-regular",
        "notosanssc-regular",
        "sourcehansans",
        "notoserifcjk-regular",
        "wqy-microhei",
        "wqy-zenhei",
        "droidsansfallback",
        "arphic",
        "pingfang",
        "msyh",
        "simsun",
        "simhei",
    ];
    const LATIN: [&str; 6] =
        ["dejavusans.", "liberationsans-regular", "notosans-regular", "arial.", "helvetica", "freesans."];
    let mut files = Vec::new();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders =
        ["/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts", "C:\\Windows\\Fonts"];
    folders.iter().map(PathBuf::from).for_each(|folder| collect(&folder, 0, &mut files));
    for folder in [".fonts", ".local/share/fonts", "Library/Fonts"] {
        collect(&home.join(folder), 0, &mut files);
    }
    files.sort();
    let named = |part: &&str| {
        files.iter().find(|file| file.file_name().is_some_and(|n| n.to_string_lossy().to_lowercase().contains(part)))
    };
    let mut chosen: Vec<PathBuf> = CHINESE.iter().find_map(|part| named(part)).into_iter().cloned().collect();
    chosen.extend(LATIN.iter().find_map(|part| named(part)).cloned());
    if chosen.is_empty() {
        chosen.extend(files.first().cloned());
    }
    chosen
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        if ["ttf", "otf", "ttc"].contains(&extension.as_str()) {
            files.push(path);
        } else if depth < 4 && path.is_dir() {
            collect(&path, depth + 1, files);
        }
    }
}

fn has_all(font: &FontVec, text: &str) -> bool {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).all(|c| font.glyph_id(c).0 != 0)
}

/// The sentences that end within so many characters; of a longer first sentence its beginning.
fn beginning(text: &str, max_chars: usize) -> &str {
    let (mut end, mut chars) = (0, 0);
    for sentence in sentences(text) {
        chars += sentence.trim_end().chars().count();
        if chars > max_chars {
            break;
        }
        chars += sentence.chars().count() - sentence.trim_end().chars().count();
        end += sentence.len();
    }
    if end == 0 {
        end = text.char_indices().nth(max_chars).map_or(text.len(), |(position, _)| position);
    }
    text[..end].trim()
}

/// Grey values, 0 black to 255 white, row by row.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Black on white, in lines as wide as the page; `None` when it would be too large.
fn draw(text: &str, font: &FontVec, page: &Page) -> Option<Picture> {
    let scaled = font.as_scaled(PxScale::from(page.size));
    let margin = page.size / 2.0;
    let line_height = scaled.height() + scaled.line_gap().max(page.size * 0.1);
    let advance = |c: char| scaled.h_advance(scaled.glyph_id(c));
    let lines = wrap(text, page.width as f32 - 2.0 * margin, advance);
    let width = page.width as usize;
    let height = (lines.len() as f32 * line_height + 2.0 * margin).ceil() as usize;
    if width.checked_mul(height)? > MOST_PIXELS {
        return None;
    }
    let mut picture = Picture { width, height, pixels: vec![255; width * height] };
    for (number, line) in lines.iter().enumerate() {
        let baseline = margin + scaled.ascent() + number as f32 * line_height;
        let mut x = margin;
        for c in line.chars() {
            let glyph = scaled.glyph_id(c).with_scale_and_position(page.size, point(x, baseline));
            x += advance(c);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            outline
                .draw(|dx, dy, coverage| picture.darken(bounds.min.x + dx as f32, bounds.min.y + dy as f32, coverage));
        }
    }
    Some(picture)
}

/// Breaks at spaces and between Chinese characters; a word wider than the line anywhere.
fn wrap(text: &str, width: f32, advance: impl Fn(char) -> f32) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut filled = 0.0;
        for piece in pieces(&paragraph.replace('\t', "    ")) {
            let visible: f32 = piece.trim_end().chars().map(&advance).sum();
            if filled + visible > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                filled = 0.0;
            }
            for c in piece.chars() {
                if filled + advance(c) > width && !c.is_whitespace() && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                    filled = 0.0;
                }
                filled += advance(c);
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// What stays together: a word with the space after it, or one Chinese character.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut last = ' ';
    for c in text.chars().filter(|c| !c.is_control()) {
        let breaks = is_cjk(c) || is_cjk(last) || (last.is_whitespace() && !c.is_whitespace());
        match pieces.last_mut() {
            Some(piece) if !breaks => piece.push(c),
            _ => pieces.push(c.into()),
        }
        last = c;
    }
    pieces
}

impl Picture {
    fn darken(&mut self, x: f32, y: f32, coverage: f32) {
        let inside = x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32;
        if inside {
            let pixel = &mut self.pixels[y as usize * self.width + x as usize];
            *pixel = pixel.saturating_sub((coverage.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }

    /// Turned clockwise about its middle on a white page that holds all of it; between pixels bilinear.
    fn turned(&self, degrees: f32) -> Picture {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (w, h) = (self.width as f32, self.height as f32);
        let width = (w * cos.abs() + h * sin.abs()).ceil().max(1.0);
        let height = (w * sin.abs() + h * cos.abs()).ceil().max(1.0);
        let mut pixels = Vec::with_capacity(width as usize * height as usize);
        for row in 0..height as usize {
            let y = row as f32 + 0.5 - height / 2.0;
            for column in 0..width as usize {
                let x = column as f32 + 0.5 - width / 2.0;
                let (from_x, from_y) = (x * cos + y * sin + w / 2.0 - 0.5, y * cos - x * sin + h / 2.0 - 0.5);
                pixels.push(self.between(from_x, from_y));
            }
        }
        Picture { width: width as usize, height: height as usize, pixels }
    }

    fn between(&self, x: f32, y: f32) -> u8 {
        let (left, top) = (x.floor(), y.floor());
        let (right_share, low_share) = (x - left, y - top);
        let at = |x: f32, y: f32| self.at(x, y);
        let upper = at(left, top) * (1.0 - right_share) + at(left + 1.0, top) * right_share;
        let lower = at(left, top + 1.0) * (1.0 - right_share) + at(left + 1.0, top + 1.0) * right_share;
        (upper * (1.0 - low_share) + lower * low_share).round() as u8
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        if x < 0.0 || y < 0.0 || x >= self.width as f32 || y >= self.height as f32 {
            return 255.0;
        }
        f32::from(self.pixels[y as usize * self.width + x as usize])
    }

    fn write(&self, file: &Path) -> Result<(), DataError> {
        let mut out = AsideFile::create(file)?;
        let failed = |error: png::EncodingError| match error {
            png::EncodingError::IoError(error) => DataError::io("write", file, error),
            other => DataError::io("write", file, std::io::Error::other(other.to_string())),
        };
        let mut encoder = png::Encoder::new(&mut out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        out.finish()
    }
}
