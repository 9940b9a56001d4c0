use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};
use unicode_segmentation::UnicodeSegmentation;

/// Characters of each text that are compared.
pub(super) const COMPARED: usize = 2000;
/// Characters that are shown in all.
const SHOWN: usize = 600;
/// Characters of a stretch without differences that are shown before and after it.
const AROUND: usize = 60;

/// A stretch of two texts that are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub mark: Mark,
    pub text: String,
}

/// Which of two texts has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    Both,
    First,
    Second,
}

/// The beginnings of two texts, word by word, or character by character in scripts without spaces. Of long stretches that
/// they have in common the middle is left out, so that differences are seen wherever they are.
pub(super) fn compare(first: &str, second: &str) -> Vec<Piece> {
    let [one, two] = [first, second].map(beginning);
    let [a, b] = [one, two].map(|text| text.split_word_bounds().collect::<Vec<_>>());
    let mut pieces: Vec<Piece> = Vec::new();
    for change in TextDiff::from_slices(&a, &b).iter_all_changes() {
        let mark = match change.tag() {
            ChangeTag::Equal => Mark::Both,
            ChangeTag::Delete => Mark::First,
            ChangeTag::Insert => Mark::Second,
        };
        match pieces.last_mut().filter(|last| last.mark == mark) {
            Some(last) => last.text.push_str(change.value()),
            None => pieces.push(Piece { mark, text: change.value().into() }),
        }
    }
    let cut = one.len() < first.len() || two.len() < second.len();
    if cut && pieces.iter().any(|piece| piece.mark == Mark::Both) {
        // Where one was cut says nothing of the texts.
        while pieces.pop_if(|last| last.mark != Mark::Both).is_some() {}
    }
    shortened(pieces, cut)
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(COMPARED).map_or(text, |(end, _)| &text[..end])
}

/// Leaves out what is long and the same, and everything after so many characters.
fn shortened(pieces: Vec<Piece>, cut: bool) -> Vec<Piece> {
    let (mut shown, mut left, last) = (Vec::new(), SHOWN, pieces.len().saturating_sub(1));
    for (at, mut piece) in pieces.into_iter().enumerate() {
        let ends = at == last;
        if piece.mark == Mark::Both {
            piece.text = match ends {
                true => head(&piece.text, if at == 0 { SHOWN } else { 2 * AROUND }, cut),
                false => without_middle(&piece.text),
            };
        }
        let count = piece.text.chars().count();
        if count > left {
            piece.text = head(&piece.text, left, true);
            shown.push(piece);
            break;
        }
        left -= count;
        shown.push(piece);
    }
    shown
}

/// So many characters at most, and a sign where there are more, here or beyond the text.
fn head(text: &str, count: usize, more: bool) -> String {
    match text.char_indices().nth(count) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None if more => format!("{text} …"),
        None => text.into(),
    }
}

fn without_middle(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * AROUND + 20 {
        return text.into();
    }
    let place = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(place, _)| place);
    format!("{} … {}", &text[..place(AROUND)], &text[place(count - AROUND)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[-what only the first has-]{+what only the second has+}`.
    fn told(first: &str, second: &str) -> String {
        let tell = |Piece { mark, text }: Piece| match mark {
            Mark::Both => text,
            Mark::First => format!("[-{text}-]"),
            Mark::Second => format!("{{+{text}+}}"),
        };
        compare(first, second).into_iter().map(tell).collect()
    }

    #[test]
    fn words_and_characters_that_differ_are_marked() {
        assert_eq!(told("the quick brown fox", "the slow brown fox!"), "the [-quick-]{+slow+} brown fox{+!+}");
        assert_eq!(told("床前明月光", "床前看月光"), "床前[-明-]{+看+}月光");
        assert_eq!((told("same", "same"), told("", "")), ("same".into(), String::new()));
    }

    #[test]
    fn long_common_stretches_lose_their_middle() {
        let long = "word ".repeat(100);
        let told_one = told(&format!("{long}old {long}"), &format!("{long}new {long}"));
        assert_eq!(told_one, format!("{0} … {0}[-old-]{{+new+}} {1}word …", "word ".repeat(12), "word ".repeat(23)));
        assert_eq!(told(&long, &long), long);
        // Differences beyond what is compared are not made up.
        let longer: String = (0..3000).filter_map(|i| char::from_u32(0x4E00 + i * 7919 % 5000)).collect();
        let beginning: String = longer.chars().take(120).collect();
        assert_eq!(told(&longer, &format!("眠{longer}")), format!("{{+眠+}}{beginning} …"));
    }

    #[test]
    fn what_differs_everywhere_ends_somewhere() {
        for [a, b] in [["一", "二"].map(|c| c.repeat(5000)), ["a b ", "c d "].map(|c| c.repeat(400))] {
            let shown: usize = compare(&a, &b).iter().map(|piece| piece.text.chars().count()).sum();
            assert!((SHOWN..SHOWN + 10).contains(&shown), "{shown}");
        }
    }
}
