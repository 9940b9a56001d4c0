use std::borrow::Cow;

use maud::{Markup, Render, html};

/// A piece of text in English and Chinese. Rendered, it holds both, and the page's style shows one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct T {
    pub en: Cow<'static, str>,
    pub zh: Cow<'static, str>,
}

impl T {
    pub fn new(en: impl Into<Cow<'static, str>>, zh: impl Into<Cow<'static, str>>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }

    /// Text that is the same in both languages: a number, a name, a sample.
    pub fn same(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { en: text.clone(), zh: text }
    }

    /// For inside an SVG `<text>`.
    pub(crate) fn svg(&self) -> Markup {
        html! {
            @if self.en == self.zh { (self.en) }
            @else { tspan class="en" { (self.en) } tspan class="zh" lang="zh" { (self.zh) } }
        }
    }

    /// Both languages in one string, where only one can stand: titles and descriptions for screen readers.
    pub(crate) fn both(&self) -> String {
        if self.en == self.zh { self.en.to_string() } else { format!("{} · {}", self.en, self.zh) }
    }

    /// The width in units of the font size of the wider language.
    pub(crate) fn width(&self) -> f64 {
        text_width(&self.en).max(text_width(&self.zh))
    }
}

impl Render for T {
    fn render(&self) -> Markup {
        html! {
            @if self.en == self.zh { (self.en) }
            @else { span class="en" { (self.en) } span class="zh" lang="zh" { (self.zh) } }
        }
    }
}

impl From<String> for T {
    fn from(text: String) -> Self {
        Self::same(text)
    }
}

impl From<&'static str> for T {
    fn from(text: &'static str) -> Self {
        Self::same(text)
    }
}

/// A rough width in units of the font size: ideographs and other wide characters 1, the rest of a sans-serif font 0.56.
pub(crate) fn text_width(text: &str) -> f64 {
    text.chars().map(|c| if is_wide(c) { 1.0 } else { 0.56 }).sum()
}

/// Whether terminals and fonts give the character two columns (the blocks of East Asian wide and full-width forms).
pub(crate) fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}
