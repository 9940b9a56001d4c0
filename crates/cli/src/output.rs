//! How results and errors look on the terminal.

use std::io::{IsTerminal, Write};

use danlu_pipeline::PipelineError;
pub use danlu_report::number::{bytes, grouped as count};

/// Writes to standard output; a closed pipe (`danlu ... | head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As [`print`], with a line end.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether to use colour and moving bars on standard error.
pub fn fancy() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Whether to use colour on standard output.
pub fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Prints the chain of causes and the one `hint:` line.
pub fn error(error: &anyhow::Error) {
    let (bold, plain) = if fancy() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    note(&format!("{bold}error:{plain} {error}"));
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !last.contains(&text) {
            note(&format!("  because: {text}"));
        }
        last = text;
    }
    if let Some(hint) = hint(error) {
        note(&format!("hint: {hint}"));
    }
}

/// The remedy of the first error in the chain that knows one.
fn hint(error: &anyhow::Error) -> Option<String> {
    macro_rules! of {
        ($cause:expr, $($kind:ty),+) => { $( if let Some(e) = $cause.downcast_ref::<$kind>() { return e.hint(); } )+ };
    }
    for cause in error.chain() {
        of!(
            cause,
            PipelineError,
            danlu_store::StoreError,
            danlu_text::TextError,
            danlu_data::DataError,
            danlu_sql::SqlError,
            danlu_work::WorkError,
            danlu_model::ModelError,
            danlu_eval::EvalError,
            danlu_bench::BenchError,
            danlu_compress::CompressError,
            danlu_convert::ConvertError,
            danlu_serve::ServeError,
            danlu_tune::TuneError,
            crate::Usage,
            crate::commands::convert::Disagreement
        );
    }
    None
}

/// A plain table: columns of figures to the right, others to the left.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let of_column = |i: usize| rows.iter().filter_map(move |row| row.get(i)).map(String::as_str);
    let columns: Vec<(usize, bool)> = header
        .iter()
        .enumerate()
        .map(|(i, name)| (of_column(i).chain([*name]).map(width).max().unwrap_or(0), of_column(i).all(is_figure)))
        .collect();
    let mut out = String::new();
    let mut push = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, (wide, figures)) in cells.into_iter().zip(&columns) {
            let pad = " ".repeat(wide.saturating_sub(width(cell)));
            text.push_str(&if *figures { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") });
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    push(header.to_vec());
    for row in rows {
        push(row.iter().map(String::as_str).collect());
    }
    out
}

/// Whether a cell is a number, perhaps with a unit.
fn is_figure(cell: &str) -> bool {
    cell == "-" || cell.strip_prefix('-').unwrap_or(cell).starts_with(|c: char| c.is_ascii_digit())
}

/// Columns that a text takes on a terminal: wide for Chinese, one for the rest.
fn width(text: &str) -> usize {
    text.chars().map(|c| if ('\u{1100}'..='\u{ffdc}').contains(&c) && c > '\u{2e7f}' { 2 } else { 1 }).sum()
}

/// `1h02m`, `3m05s`, `12.3s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..=59 => format!("{seconds:.1}s"),
        60..=3599 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(
            (duration(1.25), duration(185.0), duration(3725.0)),
            ("1.2s".into(), "3m05s".into(), "1h02m".into())
        );
    }

    #[test]
    fn tables_align_chinese_too() {
        let text = table(&["name", "n"], &[vec!["诗".into(), "1".into()], vec!["prose".into(), "12".into()]]);
        assert_eq!(text, "name    n\n诗      1\nprose  12\n");
    }
}
