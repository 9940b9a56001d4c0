//! The few templates that stand for text wherever they occur. All others are dropped: what they show is on other pages.

/// A template's arguments.
struct Arguments<'a> {
    positional: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    fn new(parts: impl Iterator<Item = &'a str>) -> Self {
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for part in parts.take(64) {
            match part.split_once('=') {
                // "=" within a text ("E = mc²", an address) names nothing.
                Some((name, value)) if is_name(name.trim()) => match name.trim().parse::<usize>() {
                    Ok(place @ 1..=64) => {
                        if positional.len() < place {
                            positional.resize(place, "");
                        }
                        positional[place - 1] = value.trim();
                    }
                    _ => named.push((name.trim(), value.trim())),
                },
                _ => positional.push(part.trim()),
            }
        }
        Self { positional, named }
    }

    /// The argument at a place, from 1.
    fn at(&self, place: usize) -> Option<&'a str> {
        self.positional.get(place - 1).copied().filter(|value| !value.is_empty())
    }

    fn named(&self, name: &str) -> Option<&'a str> {
        self.named.iter().find(|(of, _)| *of == name).map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    fn owned(&self, place: usize) -> Option<String> {
        self.at(place).map(str::to_owned)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 32 && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
}

/// What a template shows; `None` if it is dropped.
pub(super) fn render<'a>(name: &str, parts: impl Iterator<Item = &'a str>) -> Option<String> {
    let name = name.trim();
    if name.is_empty() || name.len() > 60 {
        return None;
    }
    if let Some((function, argument)) = name.split_once(':') {
        return match function.to_lowercase().as_str() {
            "javadoc" => javadoc(&Arguments::new(parts)),
            function => parser_function(function, argument.trim()),
        };
    }
    let name = name.replace('_', " ").to_lowercase();
    let arguments = Arguments::new(parts);
    constant(&name)
        .map(str::to_owned)
        .or_else(|| of_text(&name, &arguments))
        .or_else(|| of_numbers(&name, &arguments))
        .or_else(|| of_language(&name, &arguments))
}

fn parser_function(function: &str, argument: &str) -> Option<String> {
    match function {
        "lc" | "formatnum" | "lcfirst" | "ucfirst" => Some(argument.to_owned()),
        "uc" => Some(argument.to_uppercase()),
        _ => None,
    }
}

/// `{{Javadoc:SE|package=java.lang|java/lang|Object}}`: what it calls the class or the method that it links to.
fn javadoc(arguments: &Arguments<'_>) -> Option<String> {
    let name = arguments.named("name").or(arguments.positional.last().copied())?;
    Some(arguments.named("package").map_or_else(|| name.to_owned(), |package| format!("{package}.{name}")))
}

/// Signs.
fn constant(name: &str) -> Option<&'static str> {
    Some(match name {
        "nbsp" | "space" | "spaces" | "thinsp" | "hair space" | "thin space" | "zwsp" | "pad" => " ",
        "!" => "|",
        "=" => "=",
        "snd" | "spnd" | "spaced ndash" | "spaced en dash" => " – ",
        "ndash" | "en dash" | "–" => "–",
        "mdash" | "em dash" | "—" => "—",
        "·" | "•" | "dot" | "bull" | "middot" | "bullet" => " · ",
        "'" | "apostrophe" => "'",
        "'s" => "'s",
        "--)" => "",
        "done" => "Done",
        "not done" => "Not done",
        "circa" | "c." => return None,
        _ => return None,
    })
}

/// Templates around a text.
fn of_text(name: &str, arguments: &Arguments<'_>) -> Option<String> {
    match name {
        "nowrap" | "nobr" | "nobold" | "small" | "smaller" | "big" | "larger" | "bold" | "italic" | "em" | "strong"
        | "center" | "sup" | "sub" | "math" | "mvar" | "code" | "mono" | "kbd" | "var" | "samp" | "tq"
        | "not a typo" | "proper name" | "sic" | "sclass" | "linktext" | "vanchor" | "visible anchor" | "keypress"
        | "plainlist" | "flatlist" | "nihongo2" | "abbr" | "abbrlink" | "tooltip" | "注" | "api" | "zhi" | "gap"
        | "標示文字" | "color box" | "script" | "flag" | "flagcountry" | "country" | "underline" | "strikethrough"
        | "key" | "keyboard" | "le" | "zhuanti" => arguments.owned(1),
        "quote" | "cquote" | "blockquote" | "quotation" | "bq" | "rquote" | "引文" | "引用" | "quote box" => {
            let text = arguments.named("text").or(arguments.named("quote")).or(arguments.at(1))?;
            Some(format!("\n\n{text}\n\n"))
        }
        "ubl" | "unbulleted list" | "hlist" | "bulleted list" | "ublist" => Some(arguments.positional.join(", ")),
        "color" | "colour" | "font color" | "fontcolor" | "fgcolor" | "textcolor" | "background color" | "bg"
        | "hover title" => arguments.owned(2),
        "ruby" | "ruby-ja" | "ruby-zh-b" | "rubya" => arguments.owned(1),
        "tl" | "tlx" | "template" => arguments.at(1).map(|name| format!("{{{{{name}}}}}")),
        "as of" => Some(format!("As of {}", arguments.positional.join(" "))),
        "circa" | "c." => arguments.at(1).map(|year| format!("c. {year}")),
        "chem" | "chem2" => Some(arguments.positional.concat()),
        "gloss" => arguments.at(1).map(|gloss| format!("'{gloss}'")),
        "angbr" => arguments.at(1).map(|text| format!("⟨{text}⟩")),
        // `{{IPA|/a/}}`, or `{{IPA|fr|a|lang}}` with the language first.
        "ipa" => arguments.owned(if arguments.positional.len() > 1 { 2 } else { 1 }),
        "isbn" => arguments.at(1).map(|number| format!("ISBN {number}")),
        "otherlang" | "zh-at" => arguments.owned(2),
        _ => None,
    }
}

/// Numbers, dates and units.
fn of_numbers(name: &str, arguments: &Arguments<'_>) -> Option<String> {
    match name {
        "convert" | "cvt" | "convert/2" | "換算" => convert(arguments),
        "val" => {
            let unit = arguments.named("u").or(arguments.named("ul"));
            let error = arguments.at(2).map(|error| format!(" ± {error}")).unwrap_or_default();
            let power = arguments.named("e").map(|power| format!("×10^{power}")).unwrap_or_default();
            Some(format!(
                "{}{error}{power}{}",
                arguments.at(1)?,
                unit.map(|unit| format!(" {unit}")).unwrap_or_default()
            ))
        }
        "frac" | "sfrac" | "fraction" | "tfrac" => match arguments.positional[..] {
            [below] => Some(format!("1/{below}")),
            [above, below] => Some(format!("{above}/{below}")),
            [whole, above, below] => Some(format!("{whole} {above}/{below}")),
            _ => None,
        },
        "birth date" | "birth date and age" | "bda" | "death date" | "death date and age" | "dda" | "start date"
        | "start date and age" | "end date" | "film date" | "release date" | "bd" | "dob" | "date" | "生年"
        | "birth-date" => date(arguments),
        "usd" | "us$" | "美元" | "美金" => arguments.at(1).map(|sum| format!("US${sum}")),
        "gbp" | "£" | "英鎊" | "英镑" => arguments.at(1).map(|sum| format!("£{sum}")),
        "eur" | "€" | "歐元" | "欧元" => arguments.at(1).map(|sum| format!("€{sum}")),
        "cny" | "rmb" | "¥" | "人民币" | "人民幣" | "jpy" => arguments.at(1).map(|sum| format!("¥{sum}")),
        "e" | "esp" => arguments.at(1).map(|power| format!("×10^{power}")),
        "formatnum" | "nts" | "num" | "gaps" | "number" => Some(arguments.positional.concat()),
        _ => None,
    }
}

/// `{{convert|5|to|10|km|mi}}`: the numbers and the unit they were given in.
fn convert(arguments: &Arguments<'_>) -> Option<String> {
    const RANGES: &[&str] = &["to", "-", "–", "and", "by", "x", "×", "or", "+/-", "±", "to(-)", "至"];
    let mut out = arguments.at(1)?.to_owned();
    let mut rest = arguments.positional.get(1..).unwrap_or(&[]);
    while let [range, number, after @ ..] = rest
        && RANGES.contains(range)
    {
        out.push_str(if matches!(*range, "-" | "–") { "–" } else { " " });
        if !matches!(*range, "-" | "–") {
            out.push_str(range);
            out.push(' ');
        }
        out.push_str(number);
        rest = after;
    }
    if let Some(unit) = rest.first().filter(|unit| !unit.is_empty()) {
        out.push(' ');
        out.push_str(&unit.replace("sqkm", "km²").replace("sqmi", "mi²").replace("cukm", "km³"));
    }
    Some(out)
}

fn date(arguments: &Arguments<'_>) -> Option<String> {
    let numbers: Vec<u32> = arguments.positional.iter().take(3).map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [year, month, day] => Some(format!("{year}-{month:02}-{day:02}")),
        [year, month] => Some(format!("{year}-{month:02}")),
        [year] => Some(year.to_string()),
        _ => arguments.owned(1),
    }
}

/// Texts in other languages, and links to other Wikipedias.
fn of_language(name: &str, arguments: &Arguments<'_>) -> Option<String> {
    match name {
        "lang" | "transl" | "transliteration" | "lang-xx" | "foreign language" => {
            arguments.owned(arguments.positional.len().clamp(2, 3))
        }
        "en" | "zh-hans" | "zh-hant" | "zh-cn" | "zh-tw" | "fr" | "de" | "ja" => arguments.owned(1),
        "ill" | "interlanguage link" | "illm" => {
            arguments.named("lt").map(str::to_owned).or_else(|| arguments.owned(1))
        }
        "tsl" | "translink" => arguments.owned(4).or_else(|| arguments.owned(3)).or_else(|| arguments.owned(2)),
        "nihongo" => nihongo(arguments),
        "zh" | "zh-full" | "chinese" => {
            let forms = ["c", "s", "t", "p", "w", "j", "l"].iter().filter_map(|form| arguments.named(form));
            let forms: Vec<&str> = forms.chain(arguments.at(1)).collect();
            (!forms.is_empty()).then(|| forms.join("; "))
        }
        "bo" | "link-en" | "le2" | "internal link helper" => arguments.owned(3).or_else(|| arguments.owned(1)),
        _ if name.starts_with("lang-") || name.starts_with("langx") => {
            arguments.owned(if name.starts_with("langx") { 2 } else { 1 })
        }
        // `{{link-ja|本地名|外文名|显示名}}`
        _ if name.starts_with("link-") || name.starts_with("internal link helper/") => {
            arguments.owned(3).or_else(|| arguments.owned(1))
        }
        _ => None,
    }
}

/// `{{nihongo|English|漢字|rōmaji}}`
fn nihongo(arguments: &Arguments<'_>) -> Option<String> {
    let english = arguments.at(1);
    let original: Vec<&str> = [2, 3].iter().filter_map(|&place| arguments.at(place)).collect();
    match (english, original.is_empty()) {
        (Some(english), true) => Some(english.to_owned()),
        (Some(english), false) => Some(format!("{english} ({})", original.join(", "))),
        (None, false) => Some(original.join(", ")),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::render;

    fn check(template: &str, expect: Option<&str>) {
        let mut parts = template.split('|');
        let name = parts.next().unwrap_or("");
        assert_eq!(render(name, parts).as_deref(), expect, "{template:?}");
    }

    #[test]
    fn templates_that_stand_for_text() {
        check("lang|fr|Liberté", Some("Liberté"));
        check("lang-en|Computer", Some("Computer"));
        check("langx|de|Wort", Some("Wort"));
        check("transl|zh|pinyin|Běijīng", Some("Běijīng"));
        check("convert|5|km|mi", Some("5 km"));
        check("Convert|5|to|10|km|mi|abbr=on", Some("5 to 10 km"));
        check("cvt|3|-|4|sqkm", Some("3–4 km²"));
        check("IPA|/a/", Some("/a/"));
        check("IPA|fr|paʁi|lang", Some("paʁi"));
        check("nbsp", Some(" "));
        check("nowrap|1= a b ", Some("a b"));
        check("math|1=E = mc²", Some("E = mc²"));
        check("birth date|1879|3|14", Some("1879-03-14"));
        check("frac|1|2", Some("1/2"));
        check("val|5.4|u=kg", Some("5.4 kg"));
        check("nihongo|Tokyo Tower|東京タワー|Tōkyō tawā", Some("Tokyo Tower (東京タワー, Tōkyō tawā)"));
        check("link-en|本地名|Foreign name", Some("本地名"));
        check("tsl|en|Foreign name|本地名", Some("本地名"));
        check("zh|s=汉字|t=漢字|p=hànzì", Some("汉字; 漢字; hànzì"));
        check("formatnum:12345", Some("12345"));
        check("Javadoc:SE|package=java.lang|java/lang|Object", Some("java.lang.Object"));
        check("Javadoc:SE|name=compareTo|java/lang|Comparable|compareTo(T)", Some("compareTo"));
        check("quote|text=Words.|author=X", Some("\n\nWords.\n\n"));
    }

    #[test]
    fn others_are_dropped() {
        check("Infobox person|name=X", None);
        check("cite web|url=http://x", None);
        check("NoteTA|1=zh-hans:a", None);
        check("#if:x|y|z", None);
        check("", None);
        check("lang", None);
        check("convert", None);
    }
}
