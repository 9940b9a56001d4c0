/// A message's text without what it quotes and without its signature: what its author wrote in it.
///
/// Removed are lines that begin with `>`, the line that announces them ("On ... wrote:", "在 ... 写道："), everything from a line that
/// announces the original message in full, and everything from the line `-- `.
pub fn strip_quoted(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().position(|line| ends_text(line)).unwrap_or(lines.len());
    let lines = &lines[..end];
    let mut kept: Vec<&str> = Vec::with_capacity(end);
    for (index, line) in lines.iter().enumerate() {
        if is_quote(line) {
            // The announcement may be wrapped over two lines, with empty ones before the quote.
            if index == 0 || !is_quote(lines[index - 1]) {
                drop_announcement(&mut kept);
            }
        } else {
            kept.push(line);
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in kept {
        if line.trim().is_empty() {
            blank += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        out.push_str(line.trim_end());
        blank = 0;
    }
    out
}

fn is_quote(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

fn ends_text(line: &str) -> bool {
    const ORIGINAL: &[&str] = &[
        "original message",
        "forwarded message",
        "原始邮件",
        "原始郵件",
        "转发邮件",
        "轉寄郵件",
        "邮件原件",
        "原邮件",
    ];
    if line == "-- " || line.trim_end() == "--" {
        return true;
    }
    let dashed = line.trim();
    dashed.starts_with("--") && dashed.ends_with("--") && {
        let inner = dashed.trim_matches(['-', ' ']).to_lowercase();
        ORIGINAL.contains(&inner.as_str())
    }
}

fn drop_announcement(kept: &mut Vec<&str>) {
    while kept.last().is_some_and(|line| line.trim().is_empty()) {
        kept.pop();
    }
    let announces = |line: &str| {
        let line = line.trim();
        let ends = ["wrote:", "writes:", "said:", "写道：", "写道:", "寫道：", "寫道:", "说：", "說："];
        ends.iter().any(|end| line.ends_with(end))
    };
    let Some(last) = kept.last().copied() else { return };
    if !announces(last) {
        return;
    }
    kept.pop();
    let begins = |line: &str| ["On ", "在 ", "在", "Am "].iter().any(|word| line.trim_start().starts_with(word));
    if !begins(last) && kept.last().is_some_and(|line| begins(line)) {
        kept.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::strip_quoted;

    fn check(text: &str, expect: &str) {
        assert_eq!(strip_quoted(text), expect, "{text:?}");
    }

    #[test]
    fn quotes_and_signatures() {
        check("Yes.\n\nOn Mon, Ada wrote:\n> Is it?\n>\n> Really?\n\nIndeed.\n-- \nBob", "Yes.\n\nIndeed.");
        check("On Mon, 6 May 2024,\nAda <a@b.c> wrote:\n\n> Is it?\nYes.", "Yes.");
        check(
            "好的。\n\n在 2024年5月6日，张三 写道：\n> 明天开会吗？\n\n那就明天见。\n--\n李四",
            "好的。\n\n那就明天见。",
        );
        check("Fine.\n\n-----Original Message-----\nFrom: x\nold", "Fine.");
        check("收到\n------------------ 原始邮件 ------------------\n旧文", "收到");
        check("> only\n> quotes", "");
        check("a -- b\n\n\nc", "a -- b\n\nc");
        check("She wrote:\nnothing.", "She wrote:\nnothing.");
    }
}
