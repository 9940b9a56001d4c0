//! For every transform a text in each language, with what becomes of it.

use super::{check, every};

/// A transform, an English text and a Chinese one, each before and after.
struct Golden {
    json: &'static str,
    english: (&'static str, &'static str),
    chinese: (&'static str, &'static str),
}

/// Transforms that leave every English text as it is, by design.
const CHINESE_ONLY: [&str; 2] = ["simplify", "traditional"];

const GOLDENS: &[Golden] = &[
    Golden {
        json: r#"{"kind": "mojibake"}"#,
        english: ("The cafÃ© is â€œopenâ€\u{9d}.", "The café is “open”."),
        chinese: ("ä½ å¥½ï¼Œä¸–ç•Œ", "你好，世界"),
    },
    // The compatibility ideographs U+F900, U+FA10 and U+2F800 are spellings of 豈, 塚 and 丽 (Unicode calls them
    // singletons, which every normal form replaces); the radical U+2F42 and ㊣ are characters of their own to form C.
    Golden {
        json: r#"{"kind": "nfc"}"#,
        english: ("Cafe\u{301}, ﬁne, x²", "Café, ﬁne, x²"),
        chinese: ("\u{F900}有此理，古\u{FA10}，美\u{2F800}，\u{2F42}㊣", "豈有此理，古塚，美丽，\u{2F42}㊣"),
    },
    Golden {
        json: r#"{"kind": "nfkc"}"#,
        english: ("Cafe\u{301}, ﬁne, x²", "Café, fine, x2"),
        chinese: ("\u{F900}有此理，古\u{FA10}，美\u{2F800}，\u{2F42}㊣", "豈有此理,古塚,美丽,文正"),
    },
    Golden {
        json: r#"{"kind": "width"}"#,
        english: ("Ｌｉｋｅ ｔｈｉｓ, ２０２４", "Like this, 2024"),
        chinese: ("第１２章，ＡＢ卷。", "第12章，AB卷。"),
    },
    Golden {
        json: r#"{"kind": "simplify"}"#,
        english: ("Plain English, 2024.", "Plain English, 2024."),
        chinese: ("春眠不覺曉，用Rust寫。", "春眠不觉晓，用Rust写。"),
    },
    Golden {
        json: r#"{"kind": "traditional"}"#,
        english: ("Plain English, 2024.", "Plain English, 2024."),
        chinese: ("春眠不觉晓，用Rust写。", "春眠不覺曉，用Rust寫。"),
    },
    Golden {
        json: r#"{"kind": "whitespace"}"#,
        english: ("  The  cat \n\n\n\nsat. ", "The cat\n\nsat."),
        chinese: ("\u{3000}\u{3000}春眠  不觉晓\n\n\n闻啼鸟\u{3000}", "春眠 不觉晓\n\n闻啼鸟"),
    },
    Golden {
        json: r#"{"kind": "boilerplate_lines"}"#,
        english: ("The cat sat.\nAll rights reserved.", "The cat sat."),
        chinese: ("昨天下了一场雨。\n（责任编辑：张三）", "昨天下了一场雨。"),
    },
    Golden {
        json: r#"{"kind": "urls", "replacement": "<URL>"}"#,
        english: ("See https://a.org/b, now.", "See <URL>, now."),
        chinese: ("网址：https://a.cn/b，请看", "网址：<URL>，请看"),
    },
    Golden {
        json: r#"{"kind": "markup"}"#,
        english: ("<p>Tom &amp; <b>Jerry</b></p>", "Tom & Jerry"),
        chinese: ("[b]粗[/b]体<br/>和&#26149;", "粗体\n和春"),
    },
    Golden {
        json: r#"{"kind": "mask_pii"}"#,
        english: ("Write to jane@mail.corp.co.uk.", "Write to <EMAIL>."),
        chinese: ("手机13812345678。", "手机<PHONE>。"),
    },
    Golden {
        json: r#"{"kind": "remove_stopwords"}"#,
        english: ("The cat sat on the mat.", "cat sat mat."),
        chinese: ("我们的目标是星辰和大海。", "目标星辰大海。"),
    },
    Golden {
        json: r#"{"kind": "remove_punctuation"}"#,
        english: ("\"Don't!\" he said; 3.14.", "Don't he said 3.14"),
        chinese: ("春眠，不觉晓。", "春眠 不觉晓"),
    },
    Golden {
        json: r#"{"kind": "c4_lines"}"#,
        english: (
            "Home | About\nThe cat sat on the mat.[1]\nEnable JavaScript to go on.\nWe use cookies here.\nTwo words.",
            "The cat sat on the mat.",
        ),
        chinese: ("首页 > 诗词\n春眠不觉晓，处处闻啼鸟。\n作者：孟浩然", "春眠不觉晓，处处闻啼鸟。"),
    },
    Golden {
        json: r#"{"kind": "dedup_lines"}"#,
        english: ("Menu\nMenu\n\nMenu\nThe cat.\nMenu", "Menu\n\nThe cat.\nMenu"),
        chinese: ("首页\n首页\n春眠不觉晓。", "首页\n春眠不觉晓。"),
    },
    Golden {
        json: r#"{"kind": "lowercase"}"#,
        english: ("The CAT of Ångström.", "the cat of ångström."),
        chinese: ("用ＲＵＳＴ和GPU，春", "用ｒｕｓｔ和gpu，春"),
    },
    Golden {
        json: r#"{"kind": "limit_repeats"}"#,
        english: ("Sooooo good!!!!! 10000", "Sooo good!!! 10000"),
        chinese: ("哈哈哈哈哈！！！！！", "哈哈哈！！！"),
    },
];

#[test]
fn a_text_in_each_language() {
    for golden in GOLDENS {
        check(golden.json, &[golden.english, golden.chinese]);
    }
}

#[test]
fn every_transform_changes_a_text_in_each_language() {
    let kinds: Vec<&str> = every().iter().map(|transform| transform.name()).collect();
    let golden: Vec<&str> = GOLDENS.iter().map(|golden| super::transform(golden.json).name()).collect();
    assert_eq!(golden, kinds);
    for (golden, kind) in GOLDENS.iter().zip(kinds) {
        let [english, chinese] = [golden.english, golden.chinese].map(|(before, after)| before != after);
        assert_eq!((english, chinese), (!CHINESE_ONLY.contains(&kind), true), "{kind}");
    }
}
