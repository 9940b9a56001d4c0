//! From strings at places to lines and paragraphs.

use crate::html::is_wide;

/// `[a b c d e f]` of the PDF specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix(pub(super) [f64; 6]);

impl Default for Matrix {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// First this, then `next`.
    pub(super) fn then(&self, next: &Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, next.0);
        Self([a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u])
    }

    pub(super) fn origin(&self) -> (f64, f64) {
        (self.0[4], self.0[5])
    }

    /// What a height of one becomes.
    pub(super) fn height(&self) -> f64 {
        self.0[2].hypot(self.0[3])
    }
}

#[derive(Debug, Default)]
struct Line {
    text: String,
    start: f64,
    end: f64,
    y: f64,
    height: f64,
}

/// The lines of a page, in the order in which they are drawn.
#[derive(Debug, Default)]
pub(super) struct Layout {
    lines: Vec<Line>,
}

impl Layout {
    /// Adds a string that reaches from one place to another.
    pub(super) fn put(&mut self, text: &str, from: (f64, f64), to: (f64, f64), height: f64) {
        let finite = [from.0, from.1, to.0, to.1, height].iter().all(|value| value.is_finite());
        if text.is_empty() || !finite {
            return;
        }
        let height = if height > 0.0 { height } else { 1.0 };
        let Some(line) = self.lines.last_mut().filter(|line| continues(line, from, height)) else {
            self.lines.push(Line { text: text.to_owned(), start: from.0, end: to.0, y: from.1, height });
            return;
        };
        let wide = line.text.chars().next_back().is_some_and(is_wide) && text.chars().next().is_some_and(is_wide);
        if from.0 - line.end > 0.18 * line.height && !wide && !line.text.ends_with(' ') && !text.starts_with(' ') {
            line.text.push(' ');
        }
        line.text.push_str(text);
        line.end = to.0;
        line.height = line.height.max(height);
    }

    pub(super) fn finish(self) -> String {
        let right = self.lines.iter().map(|line| line.end).fold(0.0, f64::max);
        let mut out = String::new();
        let mut before: Option<&Line> = None;
        for line in self.lines.iter().filter(|line| !line.text.trim().is_empty()) {
            let text = line.text.trim();
            match before {
                Some(last) if is_paragraph_break(last, line) => out.push_str("\n\n"),
                // A line that ends early ends something; a new line begins beside or below it.
                Some(last) if last.end < right - 0.25 * (right - last.start).max(0.0) => out.push('\n'),
                Some(_) => join(&mut out, text),
                None => {}
            }
            out.push_str(text);
            before = Some(line);
        }
        out
    }
}

/// On the same line (or raised a little) and not before its end.
fn continues(line: &Line, from: (f64, f64), height: f64) -> bool {
    let size = line.height.max(height);
    (line.y - from.1).abs() < 0.45 * size && from.0 > line.end - size && from.0 < line.end + 12.0 * size
}

fn is_paragraph_break(last: &Line, line: &Line) -> bool {
    let gap = last.y - line.y;
    let size = last.height.max(line.height);
    gap > 1.7 * size
        || gap < -0.5 * size
        || (last.height - line.height).abs() > 0.2 * size
        || line.start > last.start + 0.9 * size
}

/// Joins two lines of a paragraph: without a space between Chinese characters, without the hyphen of a divided word.
fn join(out: &mut String, next: &str) {
    let (Some(last), Some(first)) = (out.chars().next_back(), next.chars().next()) else { return };
    let divided = last == '-' && first.is_lowercase() && out.chars().rev().nth(1).is_some_and(char::is_alphabetic);
    if divided {
        out.pop();
    } else if !(is_wide(last) && is_wide(first)) {
        out.push(' ');
    }
}
