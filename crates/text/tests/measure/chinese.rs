//! Chinese texts, and what was counted in them by hand.

use crate::Golden;

/// Three lines, the second blank. 今天天气好。 (6 characters) is 今天天气 | 好 | 。, and 我们去北京！ (6) is
/// 我们 | 去 | 北京 | ！ in jieba's dictionary.
const TWO_SENTENCES: &str = "今天天气好。\n\n我们去北京！";

/// 6 + 1 + 6 + 1 + 6 = 20 characters, and 12 tokens: 我们 去 北京 ！ twice, then 我们 去 上海 。
const THREE_LINES: &str = "我们去北京！\n我们去北京！\n我们去上海。";

pub const GOLDENS: &[Golden] = &[
    (
        TWO_SENTENCES,
        &[
            ("char_count", 14.0),
            ("byte_count", 38.0),
            ("token_count", 7.0),
            ("word_count", 5.0),
            ("line_count", 2.0),
            ("newline_count", 2.0),
            ("paragraph_count", 2.0),
            ("sentence_count", 2.0),
            ("alpha_ratio", 5.0 / 7.0),
            ("mean_word_length", 2.0),
            ("max_word_length", 4.0),
            ("mean_line_length", 6.0),
            ("max_line_length", 6.0),
            ("short_line_ratio 5", 0.0),
            ("short_line_ratio 6", 1.0),
            ("long_line_count 6", 2.0),
            ("long_line_count 7", 0.0),
            ("ends_with_punct_ratio", 1.0),
            // 我们.
            ("stopword_count", 1.0),
            ("stopword_ratio", 1.0 / 5.0),
            ("cjk_ratio", 10.0 / 12.0),
            ("han_ratio", 10.0 / 12.0),
            ("non_alnum_ratio", 2.0 / 12.0),
            ("whitespace_ratio", 2.0 / 14.0),
            ("traditional_ratio", 0.0),
            ("upper_ratio", 0.0),
            ("word_type_ratio", 1.0),
            // Seven tokens, all different: log2 of 7.
            ("word_entropy", 2.807354922057604),
            ("c4_line_ratio", 2.0 / 3.0),
            ("c4_sentence_count", 2.0),
            // No character but 天 twice, in no bigram.
            ("dup_char_ngram_ratio 1", 1.0 / 12.0),
            ("dup_char_ngram_ratio 2", 0.0),
        ],
    ),
    (
        THREE_LINES,
        &[
            ("dup_line_ratio", 1.0 / 3.0),
            ("dup_line_char_ratio", 6.0 / 20.0),
            // 我们 去 three times: with the gap between its words, which is counted as a space is, 4 characters.
            ("top_ngram_ratio 2", 12.0 / 20.0),
            // 我们 去 北京 twice: 5 characters and two gaps.
            ("top_ngram_ratio 3", 14.0 / 20.0),
            // 我们 去 北京 ！ the second time; then with 我们 after it, and 去, but not with a seventh.
            ("dup_ngram_ratio 4", 6.0 / 20.0),
            ("dup_ngram_ratio 5", 8.0 / 20.0),
            ("dup_ngram_ratio 6", 9.0 / 20.0),
            ("dup_ngram_ratio 7", 0.0),
            // The second line, of 18 characters without line feeds.
            ("dup_char_ngram_ratio 6", 6.0 / 18.0),
        ],
    ),
    // Three paragraphs of 6, 2 and 6 characters with two line feeds between: 18 in all.
    (
        "我们去北京！\n\n好。\n\n我们去北京！",
        &[("dup_paragraph_ratio", 1.0 / 3.0), ("dup_paragraph_char_ratio", 6.0 / 18.0)],
    ),
    ("春眠春眠", &[("entropy", 1.0), ("dup_char_ngram_ratio 2", 0.5), ("dup_char_ngram_ratio 3", 0.0)]),
    ("北京！北京！", &[("word_entropy", 1.0)]),
    // The Chinese ellipsis is …… and ends a line as one … does, before a space too; 。。。 is no ellipsis.
    ("他走了……\n没有回来… \n\n等等。。。", &[("ellipsis_line_ratio", 2.0 / 4.0)]),
    // 他 | 说 | … | …: each of the two marks is a token and an ellipsis.
    ("他说……", &[("symbol_ratio", 2.0 / 4.0), ("ellipsis_line_ratio", 1.0)]),
    // # | 话题 | # | 你好.
    ("#话题# 你好", &[("symbol_ratio", 2.0 / 4.0)]),
    // Full-width digits are digits; 二 and 〇 are characters.
    ("2024年３月", &[("digit_ratio", 5.0 / 7.0)]),
    ("二〇二四年", &[("digit_ratio", 0.0), ("han_ratio", 1.0)]),
    ("● 二\n・三\n· 四\n五·六", &[("bullet_ratio", 3.0 / 4.0)]),
    // ｛ of full width is no bracket of a program. The second line does not end as a sentence.
    ("尊敬的{姓名}，您好。\n菜单{甲\n｛注｝", &[("brace_count", 3.0), ("c4_brace_count", 1.0)]),
    ("这里是 lorem ipsum 的占位文字。\nLorem Ipsum 占位", &[("c4_lorem_ipsum_count", 1.0), ("lorem_ipsum", 2.0)]),
    ("请启用JavaScript。\n请打开 javascript\n没有", &[("javascript_count", 2.0)]),
    ("隐私政策\n本站使用Cookie\n隱私權政策\n没有", &[("policy_count", 3.0)]),
    ("网址：https://例子.中国/路径", &[("url_count", 1.0)]),
    ("邮箱me@x.com，或d@e.cn。", &[("email_count", 2.0)]),
    // Identity number, mobile number, mail.
    ("张三，身份证11010519491231002X，手机13812345678，邮箱zs@qq.com。", &[("pii_count", 3.0)]),
    ("春\u{FFFD}不觉\u{FFFD}\u{FFFD}", &[("replacement_char_count", 3.0)]),
    // The bell and a character for private use; the ideographic space is none.
    ("春\u{7}眠\u{3000}不\u{E000}", &[("control_char_count", 2.0)]),
    ("國家与国家", &[("traditional_ratio", 1.0 / 5.0), ("han_ratio", 1.0)]),
    ("後來，餘下的 and more", &[("traditional_ratio", 3.0 / 5.0)]),
    ("ひらがな한글漢字", &[("cjk_ratio", 1.0), ("han_ratio", 2.0 / 8.0)]),
    // Of the letters 用 R u s t 写 one is a capital.
    ("用Rust写", &[("upper_ratio", 1.0 / 6.0)]),
    ("他说：「走吧。」\n“好！”\n标题", &[("ends_with_punct_ratio", 2.0 / 3.0)]),
    ("他妈的，你这个混蛋", &[("toxicity_words", 2.0)]),
    ("澳门赌场，加微信领取 online casino", &[("spam_words", 3.0)]),
    ("我们的书", &[("stopword_count", 2.0), ("word_count", 3.0)]),
    ("但是, so 這個", &[("stopword_count", 3.0), ("word_count", 3.0)]),
    // As in English: 9 bytes around the 18 of the text.
    ("春眠不觉晓。", &[("compression_ratio", (4.0 + 2.0 + 3.0 + 18.0) / 18.0)]),
    // One script, one language; half as sure with one kana among 31 characters.
    ("今天天气很好，我们一起去公园散步。", &[("lang_score", 1.0)]),
    ("春眠不觉晓处处闻啼鸟夜来风雨声花落知多少春眠不觉晓处处闻啼鸟の", &[("lang_score", 0.5)]),
];

pub const LANGUAGES: &[(&str, &str)] =
    &[("今天天气很好，我们一起去公园散步。", "zh"), ("春眠不覺曉，處處聞啼鳥。", "zh")];
