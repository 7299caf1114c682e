//! Tables that line up, without lines drawn around them.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};

use super::escape;
use super::output::{self, Output};

/// Which edge a column is flush with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// What stands in one cell.
#[derive(Debug, Clone)]
pub(crate) enum Field {
    /// One line, whatever the text holds.
    Text(String),
    /// Several texts below one another.
    Lines(Vec<String>),
}

impl Field {
    fn cell(&self, align: Align) -> Cell {
        let text = match self {
            Self::Text(text) => escape::text(text),
            Self::Lines(lines) => lines.iter().map(|line| escape::text(line)).collect::<Vec<_>>().join("\n"),
        };
        Cell::new(text).set_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        })
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A table for people. Every cell is escaped.
#[derive(Debug)]
pub(crate) struct Listing {
    table: Table,
    columns: Vec<Align>,
}

impl Listing {
    /// A table with these columns.
    pub(crate) fn new(out: Output, columns: &[(&str, Align)]) -> Self {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        match output::terminal_width() {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if out.colours() {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        let aligns: Vec<Align> = columns.iter().map(|(_, align)| *align).collect();
        table.set_header(
            columns.iter().map(|(name, align)| Field::from(*name).cell(*align).add_attribute(Attribute::Bold)),
        );
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self { table, columns: aligns }
    }

    /// Adds a row, a field for each column.
    pub(crate) fn row<const N: usize>(&mut self, fields: &[Field; N]) {
        let cells: Vec<Cell> = fields.iter().zip(&self.columns).map(|(field, align)| field.cell(*align)).collect();
        self.table.add_row(cells);
    }

    /// Prints it, without blanks at the end of lines.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for line in self.table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::{Format, Talk};
    use super::*;

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let out = Output::new(Format::Json, Talk::Normal);
        let mut listing = Listing::new(out, &[("ID", Align::Left), ("Size", Align::Right), ("Path", Align::Left)]);
        listing.row(&["4bba301e".into(), "1.4 GiB".into(), "/srv/\u{1b}[2J".into()]);
        listing.row(&["90c2".into(), "12 B".into(), Field::Lines(vec!["/写真".into(), "/ho\nme".into()])]);
        let mut printed = Vec::new();
        listing.print(&mut printed).expect("writes to memory");
        let printed = String::from_utf8(printed).expect("text");
        let expected = "ID           Size  Path\n4bba301e  1.4 GiB  /srv/\\x1b[2J\n90c2         12 B  /写真\n                   /ho\\nme\n";
        assert_eq!(printed, expected);
    }
}
