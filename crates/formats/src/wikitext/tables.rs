//! Tables: `{| ... |}`.

use super::expand::HARD_BREAK;
use crate::html::TableCells;

/// Renders what stands between `{|` and `|}`: a line for each row.
pub(super) fn render(content: &str, cells: TableCells) -> String {
    let separator = match cells {
        TableCells::Tab => "\t",
        TableCells::Pipe => " | ",
    };
    let mut rows: Vec<Vec<String>> = vec![Vec::new()];
    // The first line holds the table's attributes.
    for line in content.split('\n').skip(1) {
        let line = line.trim();
        match line.as_bytes() {
            [b'|', b'-', ..] => rows.push(Vec::new()),
            [b'|', b'+', ..] => {
                rows.push(vec![content_of(&line[2..])]);
                rows.push(Vec::new());
            }
            [b'|', ..] => add_cells(&mut rows, line[1..].split("||")),
            [b'!', ..] => add_cells(&mut rows, line[1..].split("!!").flat_map(|cell| cell.split("||"))),
            [] => {}
            _ => {
                if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                    cell.push(' ');
                    cell.push_str(line);
                }
            }
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.trim()).collect::<Vec<_>>().join(separator))
        .filter(|line| !line.trim_matches([' ', '\t', '|']).is_empty())
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n\n{}\n\n", lines.join(&HARD_BREAK.to_string()))
}

fn add_cells<'a>(rows: &mut [Vec<String>], cells: impl Iterator<Item = &'a str>) {
    if let Some(row) = rows.last_mut() {
        row.extend(cells.map(content_of));
    }
}

/// A cell without its attributes: `style="..." | content`.
fn content_of(cell: &str) -> String {
    match cell.split_once('|') {
        Some((attributes, content)) if attributes.contains('=') || attributes.trim().is_empty() => {
            content.trim().into()
        }
        _ => cell.trim().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::html::TableCells;

    #[test]
    fn rows_and_cells() {
        let table = " class=\"wikitable\"\n|+ Cities\n! Name !! style=\"x\" | People\n|-\n| 北京 || 21\n|-\n| colspan=2 | Shanghai\ncity\n| 24\n|-\n";
        assert_eq!(
            render(table, TableCells::Pipe).replace('\u{FDD2}', "\n"),
            "\n\nCities\nName | People\n北京 | 21\nShanghai city | 24\n\n"
        );
        assert_eq!(render(" class=x\n|-\n|", TableCells::Tab), "");
    }
}
