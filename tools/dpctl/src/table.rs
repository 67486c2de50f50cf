//! Tables without lines: columns apart by two spaces, numbers to the right, long words wrapped.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// Which way a column leans.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}
pub(crate) use Column::{Left, Right};

/// The table as text, one line end after each row; nothing without rows.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], width: u16) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(columns.iter().map(|column| match column {
        Left(title) | Right(title) => Cell::new(title),
    }));
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(printable(text))));
    }
    for (at, column) in columns.iter().enumerate() {
        let Some(shown) = table.column_mut(at) else { continue };
        shown.set_padding((0, if at + 1 == columns.len() { 0 } else { 2 }));
        if matches!(column, Right(_)) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Nothing that a terminal would obey, wherever the text came from.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
