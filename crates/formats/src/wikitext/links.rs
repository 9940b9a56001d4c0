//! Links within the wiki, to files, categories and other sites.

/// What a link leaves in the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) text: String,
    pub(super) category: Option<String>,
}

const FILE_SPACES: &[&str] = &[
    "file", "image", "media", "文件", "档案", "檔案", "图像", "圖像", "图片", "圖片", "媒体", "媒體", "datei",
    "fichier", "archivo",
];
const CATEGORY_SPACES: &[&str] = &["category", "分类", "分類", "kategorie", "catégorie", "categoría"];
/// Prefixes of two or three letters that are other projects, not languages.
const PROJECTS: &[&str] = &["wikt", "mw", "wmf", "voy", "doi", "rfc", "iso"];
/// Words among a picture's options that are no caption.
const FILE_OPTIONS: &[&str] = &[
    "thumb",
    "thumbnail",
    "frame",
    "framed",
    "frameless",
    "border",
    "left",
    "right",
    "center",
    "centre",
    "none",
    "baseline",
    "middle",
    "sub",
    "super",
    "text-top",
    "text-bottom",
    "top",
    "bottom",
    "upright",
    "缩略图",
    "縮圖",
    "缩图",
    "略图",
    "有框",
    "无框",
    "無框",
    "边框",
    "邊框",
    "左",
    "右",
    "居中",
    "置中",
    "无",
    "無",
    "右上",
    "直立",
];

/// Renders `target|label` where `bars` are the places of its bars.
pub(super) fn link(content: &str, bars: &[usize], captions: bool) -> Link {
    let target = content[..bars.first().copied().unwrap_or(content.len())].trim();
    let label = bars.first().map(|&bar| content[bar + 1..].trim());
    if target.is_empty() || target.contains('\n') || target.len() > 1000 {
        // No page has such a name: MediaWiki shows the brackets. Their content is the text.
        return Link { text: label.unwrap_or(target).to_owned(), category: None };
    }
    let (plain, is_shown) = match target.strip_prefix(':') {
        Some(target) => (target, true),
        None => (target, false),
    };
    let space = plain.split_once(':').map(|(space, name)| (space.trim().to_lowercase(), name.trim()));
    match &space {
        Some((space, name)) if !is_shown && CATEGORY_SPACES.contains(&space.as_str()) => {
            return Link { text: String::new(), category: Some((*name).to_owned()) };
        }
        Some((space, _)) if !is_shown && FILE_SPACES.contains(&space.as_str()) => {
            let caption = if captions { caption(content, bars) } else { None };
            return Link { text: caption.map(|text| format!("\n\n{text}\n\n")).unwrap_or_default(), category: None };
        }
        Some((space, _)) if !is_shown && label.is_none() && is_language(space) => return Link::default(),
        _ => {}
    }
    let text = label.filter(|label| !label.is_empty()).unwrap_or(plain);
    Link { text: text.to_owned(), category: None }
}

/// Whether a prefix is that of the same page in another language, as old dumps list them at the end of a page.
fn is_language(prefix: &str) -> bool {
    let first = prefix.split('-').next().unwrap_or("");
    (2..=3).contains(&first.len())
        && prefix.len() <= 12
        && prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        && !PROJECTS.contains(&prefix)
}

/// The last part that is no option.
fn caption(content: &str, bars: &[usize]) -> Option<String> {
    let ends = bars.iter().skip(1).copied().chain([content.len()]);
    let parts: Vec<&str> = bars.iter().zip(ends).map(|(&from, to)| content[from + 1..to].trim()).collect();
    let part = parts.into_iter().rev().find(|part| !is_file_option(part))?;
    (!part.is_empty()).then(|| part.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn is_file_option(part: &str) -> bool {
    let lower = part.to_lowercase();
    let size = lower.strip_suffix("px").is_some_and(|size| size.chars().all(|c| c.is_ascii_digit() || c == 'x'));
    let named = lower.split_once('=').is_some_and(|(name, _)| {
        matches!(
            name.trim(),
            "alt"
                | "link"
                | "upright"
                | "page"
                | "lang"
                | "class"
                | "thumb"
                | "thumbnail"
                | "start"
                | "end"
                | "thumbtime"
                | "替代文本"
                | "链接"
                | "連結"
                | "缩略图"
                | "縮圖"
        )
    });
    size || named || part.is_empty() || FILE_OPTIONS.contains(&lower.as_str()) || lower.starts_with("upright ")
}

/// The captions of a gallery, whose lines are `file|caption`.
pub(super) fn gallery(content: &str) -> String {
    let captions = content.lines().filter_map(|line| line.split_once('|')).map(|(_, caption)| {
        let last = caption.rsplit('|').map(str::trim).find(|part| !is_file_option(part));
        last.unwrap_or("")
    });
    let lines: Vec<&str> = captions.filter(|caption| !caption.is_empty()).collect();
    if lines.is_empty() { String::new() } else { format!("\n\n{}\n\n", lines.join("\n\n")) }
}

/// Whether what follows `[` is the address of an external link.
pub(super) fn is_external(rest: &str) -> bool {
    ["http://", "https://", "//", "ftp://", "mailto:", "irc://", "news:", "gopher://"]
        .iter()
        .any(|scheme| rest.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// What `[address label]` shows: the label; nothing without one.
pub(super) fn external_label(content: &str) -> &str {
    content.split_once(char::is_whitespace).map_or("", |(_, label)| label.trim())
}

#[cfg(test)]
mod tests {
    use super::{Link, link};

    fn check(content: &str, captions: bool, text: &str, category: Option<&str>) {
        let bars: Vec<usize> = content.match_indices('|').map(|(at, _)| at).collect();
        let expect = Link { text: text.into(), category: category.map(str::to_owned) };
        assert_eq!(link(content, &bars, captions), expect, "{content:?}");
    }

    #[test]
    fn links() {
        check("Paris", false, "Paris", None);
        check("Paris|the city", false, "the city", None);
        check("北京市|北京", false, "北京", None);
        check("a|b|c", false, "b|c", None);
        check("Category:Cities", false, "", Some("Cities"));
        check("分类:城市|城", false, "", Some("城市"));
        check(":Category:Cities", false, "Category:Cities", None);
        check("fr:Paris", false, "", None);
        check(":fr:Paris", false, "fr:Paris", None);
        check("wikt:word|word", false, "word", None);
        check("Star Wars: Episode IV", false, "Star Wars: Episode IV", None);
    }

    #[test]
    fn files() {
        check("File:A.jpg|thumb|220px|right|A view", false, "", None);
        check("File:A.jpg|thumb|220px|alt=x|A view|left", true, "\n\nA view\n\n", None);
        check("文件:甲.jpg|缩略图|右|一幅画", true, "\n\n一幅画\n\n", None);
        check("File:Icon.svg|20px", true, "", None);
    }
}
