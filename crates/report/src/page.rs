use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::block::Block;
use crate::palette;
use crate::text::T;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// No script but the page's own, and nothing from the network, whatever text the page shows.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                      base-uri 'none'; form-action 'none'";

/// A self-contained HTML page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    title: T,
    lead: Option<T>,
    facts: Vec<(T, T)>,
    sections: Vec<Section>,
}

/// A numbered section of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    pub title: T,
    /// What the reader should know before the figures.
    pub note: Option<T>,
    pub blocks: Vec<Block>,
}

impl Section {
    pub fn new(title: T) -> Self {
        Self { title, ..Self::default() }
    }

    #[must_use]
    pub fn note(mut self, note: T) -> Self {
        self.note = Some(note);
        self
    }

    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }
}

impl Page {
    pub fn new(title: T) -> Self {
        Self { title, ..Self::default() }
    }

    /// One or two sentences under the title.
    #[must_use]
    pub fn lead(mut self, lead: T) -> Self {
        self.lead = Some(lead);
        self
    }

    /// A fact in the line under the title: run, date, machine.
    #[must_use]
    pub fn fact(mut self, name: T, value: T) -> Self {
        self.facts.push((name, value));
        self
    }

    #[must_use]
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The whole file.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" data-title-en=(self.title.en) data-title-zh=(self.title.zh) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="generator" content=(concat!("danlu ", env!("CARGO_PKG_VERSION")));
                    // Keeps browsers from asking the server for an icon.
                    link rel="icon" href="data:,";
                    title { (self.title.en) }
                    style { (PreEscaped(palette::css())) (PreEscaped(STYLE)) }
                }
                body {
                    (toolbar())
                    div class="page" {
                        (self.header())
                        @if self.sections.len() > 1 { (self.contents()) }
                        main { @for (i, section) in self.sections.iter().enumerate() { (section.render(i + 1)) } }
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }

    fn header(&self) -> Markup {
        html! {
            header {
                h1 { (self.title) }
                @if let Some(lead) = &self.lead { p class="lead" { (lead) } }
                @if !self.facts.is_empty() {
                    dl class="facts" { @for (name, value) in &self.facts { div { dt { (name) } dd { (value) } } } }
                }
            }
        }
    }

    fn contents(&self) -> Markup {
        html! {
            nav aria-label="Contents · 目录" {
                ol { @for (i, section) in self.sections.iter().enumerate() {
                    li { a href=(format!("#s{}", i + 1)) { (section.title) } }
                } }
            }
        }
    }
}

impl Section {
    fn render(&self, number: usize) -> Markup {
        html! {
            section id=(format!("s{number}")) {
                h2 { span class="number" { (number) } (self.title) }
                @if let Some(note) = &self.note { p class="note" { (note) } }
                @for block in &self.blocks { (block.render()) }
            }
        }
    }
}

/// The name of the house and the two toggles, which the script shows.
fn toolbar() -> Markup {
    html! {
        div class="toolbar" {
            span class="brand" { span lang="zh" { "丹炉" } " danlu" }
            span class="toggles" hidden {
                button type="button" data-set-lang="en" { "English" }
                button type="button" data-set-lang="zh" lang="zh" { "中文" }
                button type="button" data-toggle-theme aria-label="Light or dark · 明暗" title="Light or dark · 明暗" {
                    span aria-hidden="true" { "◐" }
                }
            }
        }
    }
}
