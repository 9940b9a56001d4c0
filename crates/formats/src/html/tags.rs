//! The names of elements and attributes that mean something here.

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum $type { $($variant,)* Other(u32) }

        impl $type {
            /// From a name in lower case.
            pub(super) fn of(name: &[u8]) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other(hash(name)),
                }
            }
        }
    };
}

names! {
    /// An element's name.
    Tag {
        P b"p", A b"a", Div b"div", Span b"span", Li b"li", Td b"td", Br b"br", Img b"img", Tr b"tr", Ul b"ul", B b"b", I b"i",
        Em b"em", Strong b"strong", Code b"code", Pre b"pre", H1 b"h1", H2 b"h2", H3 b"h3", H4 b"h4", H5 b"h5", H6 b"h6",
        Table b"table", Tbody b"tbody", Thead b"thead", Tfoot b"tfoot", Th b"th", Caption b"caption", Col b"col",
        Colgroup b"colgroup", Ol b"ol", Dl b"dl", Dt b"dt", Dd b"dd", Menu b"menu", Dir b"dir", Hr b"hr", Html b"html",
        Head b"head", Body b"body", Title b"title", Meta b"meta", Link b"link", Base b"base", Script b"script",
        Style b"style", Noscript b"noscript", Template b"template", Article b"article", Aside b"aside", Main b"main",
        Nav b"nav", Section b"section", Header b"header", Hgroup b"hgroup", Footer b"footer", Address b"address",
        Blockquote b"blockquote", Center b"center", Details b"details", Summary b"summary", Dialog b"dialog",
        Fieldset b"fieldset", Legend b"legend", Figure b"figure", Figcaption b"figcaption", Form b"form", Input b"input",
        Button b"button", Select b"select", Option b"option", Optgroup b"optgroup", Datalist b"datalist",
        Textarea b"textarea", Label b"label", Output b"output", Progress b"progress", Meter b"meter", Area b"area",
        Map b"map", Embed b"embed", Iframe b"iframe", Object b"object", Param b"param", Applet b"applet", Source b"source",
        Track b"track", Wbr b"wbr", Audio b"audio", Video b"video", Canvas b"canvas", Svg b"svg", Math b"math",
        Annotation b"annotation", Semantics b"semantics", Time b"time", Sup b"sup", Sub b"sub", Ruby b"ruby", Rt b"rt",
        Rp b"rp", Q b"q", Frame b"frame", Frameset b"frameset", Noframes b"noframes", Marquee b"marquee", Search b"search",
    }
}

names! {
    /// An attribute's name.
    Attribute {
        Class b"class", Id b"id", Href b"href", Src b"src", Alt b"alt", Lang b"lang", XmlLang b"xml:lang", Role b"role",
        Content b"content", Name b"name", Property b"property", Itemprop b"itemprop", Rel b"rel", Type b"type",
        Datetime b"datetime", HttpEquiv b"http-equiv", Hidden b"hidden", AriaHidden b"aria-hidden", Style b"style",
        Start b"start", Alttext b"alttext", Encoding b"encoding", EpubType b"epub:type",
    }
}

/// FNV-1a: tells apart names that have no entry.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811C_9DC5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Tag {
    /// Never has content.
    pub(super) fn is_void(self) -> bool {
        use Tag::*;
        matches!(
            self,
            Br | Img | Hr | Meta | Link | Base | Input | Col | Area | Embed | Param | Source | Track | Wbr | Frame
        )
    }

    /// Begins a line of its own.
    pub(super) fn is_block(self) -> bool {
        use Tag::*;
        self.is_heading()
            || self.is_table_part()
            || matches!(
                self,
                P | Div
                    | Li
                    | Ul
                    | Ol
                    | Dl
                    | Dt
                    | Dd
                    | Pre
                    | Menu
                    | Dir
                    | Hr
                    | Html
                    | Body
                    | Article
                    | Aside
                    | Main
                    | Nav
                    | Section
                    | Header
                    | Hgroup
                    | Footer
                    | Address
                    | Blockquote
                    | Center
                    | Details
                    | Summary
                    | Dialog
                    | Fieldset
                    | Legend
                    | Figure
                    | Figcaption
                    | Form
                    | Search
                    | Noframes
            )
    }

    pub(super) fn is_table_part(self) -> bool {
        use Tag::*;
        matches!(self, Table | Tbody | Thead | Tfoot | Tr | Td | Th | Caption)
    }

    pub(super) fn is_heading(self) -> bool {
        self.heading_level().is_some()
    }

    pub(super) fn heading_level(self) -> Option<usize> {
        use Tag::*;
        [H1, H2, H3, H4, H5, H6].iter().position(|&heading| heading == self).map(|index| index + 1)
    }

    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Ul | Self::Ol | Self::Menu | Self::Dir)
    }

    /// Belongs into the head.
    pub(super) fn is_of_head(self) -> bool {
        use Tag::*;
        matches!(self, Title | Meta | Link | Base | Script | Style | Noscript | Template)
    }

    /// Holds other blocks: the main text may be what lies within it.
    pub(super) fn is_container(self) -> bool {
        use Tag::*;
        matches!(
            self,
            Html | Body
                | Div
                | Article
                | Main
                | Section
                | Center
                | Form
                | Fieldset
                | Table
                | Tbody
                | Tr
                | Td
                | Span
                | Figure
                | Details
                | Search
                | Other(_)
        )
    }
}
