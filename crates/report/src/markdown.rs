use crate::text::is_wide;

/// A Markdown table, padded so that it also reads as plain text. Pipes and line breaks in cells are escaped; missing cells
/// are empty, cells beyond the headers are left out.
pub fn markdown_table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = headers.iter().map(|cell| escape(cell)).collect();
    let body: Vec<Vec<String>> = rows
        .iter()
        .map(|row| (0..headers.len()).map(|i| row.get(i).map_or_else(String::new, |cell| escape(cell))).collect())
        .collect();
    let widths: Vec<usize> = (0..headers.len())
        .map(|i| body.iter().chain([&header]).map(|row| columns(&row[i])).max().unwrap_or(0).max(3))
        .collect();
    let mut out = line(&header, &widths);
    out.push_str(&line(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>(), &widths));
    for row in &body {
        out.push_str(&line(row, &widths));
    }
    out
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::from("|");
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(columns(cell));
        out.push_str(&format!(" {cell}{} |", " ".repeat(padding)));
    }
    out.push('\n');
    out
}

fn escape(cell: &str) -> String {
    let lines: Vec<&str> = cell.lines().map(str::trim).collect();
    lines.join("<br>").replace('\\', "\\\\").replace('|', "\\|")
}

/// Columns in a fixed-width font.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_escapes_and_keeps_the_shape() {
        let rows = [vec!["床前".to_owned(), "a|b".to_owned()], vec!["x\ny".to_owned()], vec![String::new(); 5]];
        let table = markdown_table(&["text", "n"], &rows);
        let expected = "\
| text   | n    |
| ------ | ---- |
| 床前   | a\\|b |
| x<br>y |      |
|        |      |
";
        assert_eq!(table, expected);
        assert_eq!(markdown_table(&["a"], &[]), "| a   |\n| --- |\n");
    }
}
