//! Rows of a set-based statement.

use std::ops::Range;

use crate::db::Value;
use crate::sql::List;

/// The most rows that are sent to SQLite in one statement; more are sent in several.
pub(crate) const MAX_ROWS: usize = 512;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Int,
    Text,
    Blob,
}

/// A cell; texts and bytes stand in one buffer of all rows, for there are thousands in a batch.
#[derive(Clone, Debug)]
enum Stored {
    Null,
    Int(i64),
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// A cell, as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Collects rows; each is begun with [`Rows::row`], and all have the same columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    cells: Vec<Stored>,
    texts: String,
    bytes: Vec<u8>,
    count: usize,
}

impl Rows {
    pub(crate) const fn new() -> Self {
        Self { cells: Vec::new(), texts: String::new(), bytes: Vec::new(), count: 0 }
    }

    /// How many rows were begun.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many columns a row has.
    fn columns(&self) -> usize {
        self.cells.len().checked_div(self.count).unwrap_or(0)
    }

    /// Begins a row.
    pub(crate) const fn row(&mut self) -> &mut Self {
        self.count += 1;
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.cells.push(Stored::Int(value));
        self
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        self.cells.push(value.map_or(Stored::Null, Stored::Int));
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        let from = self.texts.len();
        self.texts.push_str(value);
        self.cells.push(Stored::Text(from..self.texts.len()));
        self
    }

    pub(crate) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(text) => self.text(text),
            None => self.opt_int(None),
        }
    }

    pub(crate) fn blob(&mut self, value: &[u8]) -> &mut Self {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.cells.push(Stored::Blob(from..self.bytes.len()));
        self
    }

    /// The finished rows, as a parameter.
    pub(crate) const fn finish(self) -> Value {
        Value::Rows(self)
    }

    fn cell(&self, stored: &Stored) -> Cell<'_> {
        match stored {
            Stored::Null => Cell::Null,
            Stored::Int(value) => Cell::Int(*value),
            Stored::Text(range) => Cell::Text(&self.texts[range.clone()]),
            Stored::Blob(range) => Cell::Blob(&self.bytes[range.clone()]),
        }
    }

    /// The rows in pieces of at most [`MAX_ROWS`]; one without rows where there are none.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        if self.is_empty() {
            return vec![Piece { rows: self, cells: &[], columns: 0 }];
        }
        let columns = self.columns();
        self.cells.chunks(MAX_ROWS * columns.max(1)).map(|cells| Piece { rows: self, cells, columns }).collect()
    }

    /// The rows, one after the other.
    pub(crate) fn each(&self) -> impl Iterator<Item = impl Iterator<Item = Cell<'_>>> {
        let cells = self.cells.chunks_exact(self.columns().max(1));
        cells.map(|row| row.iter().map(|stored| self.cell(stored)))
    }

    fn column(&self, column: usize) -> impl Iterator<Item = Cell<'_>> {
        let cells = self.cells.iter().skip(column).step_by(self.columns().max(1));
        cells.map(|stored| self.cell(stored))
    }

    /// A column of integers.
    pub(crate) fn ints(&self, column: usize) -> Vec<Option<i64>> {
        let read = |cell| if let Cell::Int(value) = cell { Some(value) } else { None };
        self.column(column).map(read).collect()
    }

    /// A column of texts.
    pub(crate) fn texts(&self, column: usize) -> Vec<Option<&str>> {
        let read = |cell| if let Cell::Text(text) = cell { Some(text) } else { None };
        self.column(column).map(read).collect()
    }

    /// A column of bytes.
    pub(crate) fn blobs(&self, column: usize) -> Vec<Option<&[u8]>> {
        let read = |cell| if let Cell::Blob(bytes) = cell { Some(bytes) } else { None };
        self.column(column).map(read).collect()
    }
}

/// Some of the rows.
pub(crate) struct Piece<'a> {
    rows: &'a Rows,
    cells: &'a [Stored],
    columns: usize,
}

impl<'a> Piece<'a> {
    pub(crate) fn len(&self) -> usize {
        self.cells.len().checked_div(self.columns).unwrap_or(0)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// The parameters that a list of this kind has.
    pub(crate) fn parameters(&self, list: List) -> impl Iterator<Item = Cell<'a>> {
        let (rows, cells, count) = (self.rows, self.cells, i64::try_from(self.len()).unwrap_or(i64::MAX));
        (0..list.uses).flat_map(move |_| {
            let padding = std::iter::repeat_n(Cell::Null, list.cells.saturating_sub(cells.len()));
            cells.iter().map(|stored| rows.cell(stored)).chain(padding).chain([Cell::Int(count)])
        })
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Int(None),
            Cell::Int(value) => Self::Int(Some(value)),
            Cell::Text(text) => Self::Text(Some(text.to_owned())),
            Cell::Blob(bytes) => Self::Blob(Some(bytes.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, List, MAX_ROWS, Piece, Rows};

    #[test]
    fn cells_are_read_as_they_were_written() {
        let mut rows = Rows::new();
        rows.row().int(-1).text("a\"b").opt_text(None).blob(&[0, 255]);
        rows.row().opt_int(None).text("").opt_text(Some("ü")).blob(&[]);
        let cells: Vec<Vec<Cell<'_>>> = rows.each().map(Iterator::collect).collect();
        assert_eq!(cells[0], [Cell::Int(-1), Cell::Text("a\"b"), Cell::Null, Cell::Blob(&[0, 255])]);
        assert_eq!(cells[1], [Cell::Null, Cell::Text(""), Cell::Text("ü"), Cell::Blob(&[])]);
        assert_eq!(rows.ints(0), [Some(-1), None]);
        assert_eq!(rows.texts(2), [None, Some("ü")]);
        assert_eq!(rows.blobs(3), [Some(&[0, 255][..]), Some(&[][..])]);
    }

    #[test]
    fn large_sets_are_sent_in_pieces_that_lose_nothing() {
        let mut rows = Rows::new();
        for n in 0..2 * MAX_ROWS + 1 {
            rows.row().int(n as i64).text("x");
        }
        let pieces = rows.pieces();
        assert_eq!(pieces.iter().map(Piece::len).collect::<Vec<_>>(), [MAX_ROWS, MAX_ROWS, 1]);
        assert!(pieces.iter().all(|piece| piece.columns() == 2));
        let last: Vec<Cell<'_>> = pieces[2].parameters(List { cells: 4, uses: 2 }).collect();
        let once = [Cell::Int(2 * MAX_ROWS as i64), Cell::Text("x"), Cell::Null, Cell::Null, Cell::Int(1)];
        assert_eq!(last, [once, once].concat());
        assert_eq!(Rows::new().pieces().len(), 1, "of nothing, too, a question is asked");
    }
}
