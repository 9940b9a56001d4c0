//! English texts, and what was counted in them by hand.

use crate::Golden;

/// 34 characters: "The cat sat." (12), a line feed, "The cat sat." again, a line feed, "- 3 cats" (8) without an end; so
/// 12 + 1 + 12 + 1 + 8 = 34. Tokens: The cat sat . | The cat sat . | - 3 cats = 11; words 8 (without . . -).
const THREE_LINES: &str = "The cat sat.\nThe cat sat.\n- 3 cats";

/// The beginning of Jane Austen's "Pride and Prejudice": enough that no other language comes near.
const PROSE: &str = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in \
    want of a wife. However little known the feelings or views of such a man may be on his first entering a \
    neighbourhood, this truth is so well fixed in the minds of the surrounding families, that he is considered as the \
    rightful property of some one or other of their daughters. My dear Mr. Bennet, said his lady to him one day, have \
    you heard that Netherfield Park is let at last?";

pub const GOLDENS: &[Golden] = &[
    (
        THREE_LINES,
        &[
            ("char_count", 34.0),
            ("byte_count", 34.0),
            ("token_count", 11.0),
            ("word_count", 8.0),
            ("line_count", 3.0),
            ("newline_count", 2.0),
            ("paragraph_count", 1.0),
            ("sentence_count", 3.0),
            // The, cat, sat twice, and cats: 7 of 11 have a letter.
            ("alpha_ratio", 7.0 / 11.0),
            // 3 * 6 letters, the digit, and cats.
            ("mean_word_length", 23.0 / 8.0),
            ("max_word_length", 4.0),
            ("mean_line_length", 32.0 / 3.0),
            ("max_line_length", 12.0),
            ("short_line_ratio 8", 1.0 / 3.0),
            ("short_line_ratio 11", 1.0 / 3.0),
            ("short_line_ratio 12", 1.0),
            ("long_line_count 12", 2.0),
            ("long_line_count 13", 0.0),
            ("dup_line_ratio", 1.0 / 3.0),
            ("dup_line_char_ratio", 12.0 / 34.0),
            ("dup_paragraph_ratio", 0.0),
            ("dup_paragraph_char_ratio", 0.0),
            // "The cat" twice: 7 characters with the space. "The cat sat" twice: 11.
            ("top_ngram_ratio 2", 14.0 / 34.0),
            ("top_ngram_ratio 3", 22.0 / 34.0),
            // "Thecatsat." the second time: 10 characters without spaces.
            ("dup_ngram_ratio 4", 10.0 / 34.0),
            ("dup_ngram_ratio 5", 0.0),
            ("ends_with_punct_ratio", 2.0 / 3.0),
            ("bullet_ratio", 1.0 / 3.0),
            ("ellipsis_line_ratio", 0.0),
            ("symbol_ratio", 0.0),
            // The, The; of Gopher's eight none, as the case counts.
            ("stopword_count", 2.0),
            ("stopword_ratio", 2.0 / 8.0),
            ("gopher_stopword_count", 0.0),
            // Spaces and line feeds: 2 + 1 + 2 + 1 + 2 = 8. Others 26: 22 letters, a digit, two dots, a dash.
            ("whitespace_ratio", 8.0 / 34.0),
            ("digit_ratio", 1.0 / 26.0),
            ("non_alnum_ratio", 3.0 / 26.0),
            ("upper_ratio", 2.0 / 22.0),
            ("cjk_ratio", 0.0),
            ("han_ratio", 0.0),
            ("traditional_ratio", 0.0),
            // The, cat, sat, 3, cats.
            ("word_type_ratio", 5.0 / 8.0),
            // Both sentences end with a dot and have three words.
            ("c4_line_ratio", 2.0 / 3.0),
            ("c4_sentence_count", 2.0),
            ("c4_brace_count", 0.0),
            ("c4_lorem_ipsum_count", 0.0),
        ],
    ),
    // Three characters, each once: log2 of 3.
    ("a\tb", &[("entropy", 1.5849625007211562), ("whitespace_ratio", 1.0 / 3.0)]),
    ("aabb", &[("entropy", 1.0)]),
    ("one two one two", &[("word_entropy", 1.0)]),
    // Thecat.Thecat.: of 14 characters the second seven; by threes "The" and "cat", and the last dot begins none.
    ("The cat. The cat.", &[("dup_char_ngram_ratio 7", 7.0 / 14.0), ("dup_char_ngram_ratio 3", 6.0 / 14.0)]),
    // Two hash signs, # # one two ... are five.
    ("# # one two ...", &[("symbol_ratio", 2.0 / 5.0)]),
    ("one… two… three", &[("symbol_ratio", 2.0 / 5.0), ("ellipsis_line_ratio", 0.0)]),
    ("one...\n\ntwo…\nthree", &[("ellipsis_line_ratio", 2.0 / 4.0)]),
    ("• one\n- two\nfour - five", &[("bullet_ratio", 2.0 / 3.0)]),
    ("fn f() { g() }", &[("brace_count", 2.0), ("c4_brace_count", 0.0)]),
    ("We say { here and end.", &[("c4_brace_count", 1.0)]),
    // The second line does not end as a sentence.
    ("We put Lorem Ipsum here.\nlorem ipsum again", &[("c4_lorem_ipsum_count", 1.0), ("lorem_ipsum", 2.0)]),
    ("Lorem  ipsum, LOREM IPSUM", &[("lorem_ipsum", 1.0)]),
    ("Enable JavaScript.\nNo javascript\nnone", &[("javascript_count", 2.0)]),
    ("Privacy Policy\nWe use cookies, see our cookie policy\nnone", &[("policy_count", 2.0)]),
    ("see https://a.org/b, http://c.de or www.e.fr; not www. or a://", &[("url_count", 3.0)]),
    ("a.b+c@example.org, d@e.cn. no@ @no a@b a@b.1 or me@x.com", &[("email_count", 3.0)]),
    // Mail, telephone, address.
    ("Write to jane.doe+x@mail.corp.co.uk or call (212) 736-5000 from 8.8.8.8.", &[("pii_count", 3.0)]),
    ("na\u{FFFD}ve \u{FFFD}", &[("replacement_char_count", 2.0)]),
    // The bell and a character for private use; a tab is none.
    ("a\u{7}b\tc\u{E000}\n", &[("control_char_count", 2.0)]),
    ("He said “yes.”\nShe said no.", &[("ends_with_punct_ratio", 1.0 / 2.0)]),
    // fuck, Shitty; "class" has no insult in it.
    ("What the fuck, a Shitty class", &[("toxicity_words", 2.0)]),
    ("The best Online Casino with free spins", &[("spam_words", 2.0)]),
    ("the be to of and that have with THE", &[("gopher_stopword_count", 8.0), ("stopword_count", 9.0)]),
    ("a a\n\nb\n\na a", &[("dup_paragraph_ratio", 1.0 / 3.0), ("dup_paragraph_char_ratio", 3.0 / 11.0)]),
    // What occurs once only: the first n-gram counts, as in datatrove.
    ("one two three", &[("top_ngram_ratio 2", 7.0 / 13.0), ("top_ngram_ratio 4", 0.0)]),
    // The second and the third "a b c" are duplicates: 6 letters; with spaces 3 * 5.
    ("a b c a b c a b c", &[("dup_ngram_ratio 3", 6.0 / 17.0), ("top_ngram_ratio 3", 15.0 / 17.0)]),
    // Nothing to gain in 12 bytes: a frame (RFC 8878) of 4 bytes of magic number, 2 of header, 3 of the block's header, and
    // the text as it is.
    ("The cat sat.", &[("compression_ratio", (4.0 + 2.0 + 3.0 + 12.0) / 12.0)]),
    // The distance to the second guess is beyond the line from which the identifier is sure.
    (PROSE, &[("lang_score", 1.0)]),
    ("", &[("lang_score", 0.0), ("compression_ratio", 0.0)]),
];

pub const LANGUAGES: &[(&str, &str)] =
    &[("Fellow citizens of the Senate and of the House of Representatives.", "en"), (PROSE, "en"), ("", "und")];
