use serde::{Deserialize, Serialize};
use whatlang::Lang;

/// A guess at the language of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Language {
    /// ISO 639-1 where there is one ("en", "zh"), else 639-3; "und" when the text gives too little to go by.
    pub code: String,
    /// 0 to 1.
    pub confidence: f32,
}

/// What the identifier looks at: enough for a sure answer, and the cost of a long document stays bounded.
const PREFIX_BYTES: usize = 4096;
/// Below this the answer is "und": trigram scores of a few words mostly guess.
const LEAST_CONFIDENCE: f64 = 0.15;

/// Identifies the language of the beginning of `text`, by script and then by trigrams.
pub fn detect_language(text: &str) -> Language {
    let prefix = &text[..text.floor_char_boundary(PREFIX_BYTES)];
    match whatlang::detect(prefix) {
        Some(info) if info.is_reliable() || info.confidence() >= LEAST_CONFIDENCE => {
            Language { code: code(info.lang()).into(), confidence: info.confidence() as f32 }
        }
        other => Language { code: "und".into(), confidence: other.map_or(0.0, |info| info.confidence() as f32) },
    }
}

/// The codes that [`detect_language`] can give, "und" among them.
pub fn language_codes() -> impl Iterator<Item = &'static str> {
    Lang::all().iter().map(|lang| code(*lang)).chain(["und"])
}

/// The languages that [`detect_language`] knows: code and English name.
pub fn language_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    // "Mandarin" is what whatlang says.
    let name = |lang: Lang| if lang == Lang::Cmn { "Chinese" } else { lang.eng_name() };
    Lang::all().iter().map(move |lang| (code(*lang), name(*lang)))
}

/// ISO 639-1 of the languages that whatlang knows.
fn code(lang: Lang) -> &'static str {
    match lang {
        Lang::Eng => "en",
        Lang::Cmn => "zh",
        Lang::Rus => "ru",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Ita => "it",
        Lang::Ben => "bn",
        Lang::Fra => "fr",
        Lang::Deu => "de",
        Lang::Ukr => "uk",
        Lang::Kat => "ka",
        Lang::Ara => "ar",
        Lang::Hin => "hi",
        Lang::Jpn => "ja",
        Lang::Heb => "he",
        Lang::Yid => "yi",
        Lang::Pol => "pl",
        Lang::Amh => "am",
        Lang::Jav => "jv",
        Lang::Kor => "ko",
        Lang::Nob => "nb",
        Lang::Dan => "da",
        Lang::Swe => "sv",
        Lang::Fin => "fi",
        Lang::Tur => "tr",
        Lang::Nld => "nl",
        Lang::Hun => "hu",
        Lang::Ces => "cs",
        Lang::Ell => "el",
        Lang::Bul => "bg",
        Lang::Bel => "be",
        Lang::Mar => "mr",
        Lang::Kan => "kn",
        Lang::Ron => "ro",
        Lang::Slv => "sl",
        Lang::Hrv => "hr",
        Lang::Srp => "sr",
        Lang::Mkd => "mk",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Est => "et",
        Lang::Tam => "ta",
        Lang::Vie => "vi",
        Lang::Urd => "ur",
        Lang::Tha => "th",
        Lang::Guj => "gu",
        Lang::Uzb => "uz",
        Lang::Pan => "pa",
        Lang::Aze => "az",
        Lang::Ind => "id",
        Lang::Tel => "te",
        Lang::Pes => "fa",
        Lang::Mal => "ml",
        Lang::Ori => "or",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Sin => "si",
        Lang::Khm => "km",
        Lang::Tuk => "tk",
        Lang::Aka => "ak",
        Lang::Zul => "zu",
        Lang::Sna => "sn",
        Lang::Afr => "af",
        Lang::Lat => "la",
        Lang::Slk => "sk",
        Lang::Cat => "ca",
        Lang::Tgl => "tl",
        Lang::Hye => "hy",
        Lang::Epo => "eo",
        other => other.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::{detect_language, language_codes, language_names};

    fn check(text: &str, code: &str) {
        let found = detect_language(text);
        assert_eq!(found.code, code, "{text:?}: {found:?}");
    }

    #[test]
    fn common_languages() {
        check("Fellow citizens of the Senate and of the House of Representatives, I have the honour to report.", "en");
        check("春眠不覺曉，處處聞啼鳥。", "zh");
        check("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "ja");
        check("Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung.", "de");
        check("", "und");
        check("12345 67890 --- !!!", "und");
    }

    #[test]
    fn codes_are_told_apart_and_have_names() {
        let codes: std::collections::BTreeSet<&str> = language_codes().collect();
        assert_eq!(codes.len(), language_codes().count());
        assert!(["en", "zh", "und"].iter().all(|code| codes.contains(code)));
        assert!(
            language_names().any(|known| known == ("zh", "Chinese"))
                && language_names().any(|known| known == ("de", "German"))
        );
    }

    #[test]
    fn a_cut_in_a_character_is_no_panic() {
        let text = format!("a{}", "春".repeat(3000));
        assert_eq!(detect_language(&text).code, "zh");
    }
}
