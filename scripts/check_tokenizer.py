#!/usr/bin/env python3
"""Checks that a tokenizer saved by danlu is the same tokenizer in Hugging Face's libraries.

    pip install transformers tokenizers jinja2
    scripts/check_tokenizer.py crates/text/tests/golden            # compare with golden.json
    scripts/check_tokenizer.py crates/text/tests/golden --write    # write golden.json anew

golden.json holds texts with the ids that Hugging Face gives them, and conversations with the prompts that it renders;
crates/text/tests/golden.rs holds danlu to the same.
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer
from transformers import AutoTokenizer

TEXTS = [
    "",
    "Fellow-Citizens of the Senate and House of Representatives:",
    "It's 1790; we're here, they'll come, I'd say. 12,345.67",
    "  leading, trailing  and \t\ttabs \n\n\n new lines\r\n ",
    "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。",
    "中文 and English 混合 text，數字123。",
    "🚀👩‍🚀🇨🇳 emoji ❤️ and café, cafe\u0301, ﬁ, İ, ß",
    "\u0000\u001b\u200b\ufeff\u3000|\U0010ffff\ue000",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "the<|endoftext|> the <|endoftext|>the <|im_start",
    "नमस्ते दुनिया العربية עברית ไทย 한국어 にほんご",
    "x" * 50 + "    " * 10 + "y",
]
CONVERSATIONS = [
    [{"role": "user", "content": "Who are you?"}],
    [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "春\n眠"},
     {"role": "assistant", "content": " 不覺曉"}, {"role": "user", "content": "<b>&'\"</b>"}],
]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    fast, auto = Tokenizer.from_file(str(folder / "tokenizer.json")), AutoTokenizer.from_pretrained(folder)
    texts = []
    for text in TEXTS:
        ids = fast.encode(text, add_special_tokens=False).ids
        assert auto.encode(text, add_special_tokens=False) == ids, text
        assert auto.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text, text
        texts.append({"text": text, "ids": ids})
    chats = [{"messages": messages, "prompt": auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)}
             for messages in CONVERSATIONS]
    assert auto.eos_token == auto.bos_token == "<|endoftext|>" and auto.unk_token_id == auto.eos_token_id
    golden = {"vocab_size": len(auto), "eos_token_id": auto.eos_token_id, "texts": texts, "chats": chats}
    path = folder / "golden.json"
    if "--write" in sys.argv:
        path.write_text(json.dumps(golden, ensure_ascii=True, indent=1) + "\n")
    else:
        assert json.loads(path.read_text()) == golden, f"{path} differs"
    print(f"{type(auto).__name__}, {len(auto)} tokens: {len(texts)} texts and {len(chats)} conversations agree")


if __name__ == "__main__":
    main()
