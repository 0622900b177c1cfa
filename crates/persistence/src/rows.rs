//! Rows of a set-based statement.

use std::fmt::Write as _;

use crate::db::Value;
use crate::payload::write_text;

/// The most rows that are sent in one statement; more are sent in several.
pub(crate) const MAX_ROWS: usize = 512;

/// Collects rows; each is begun with [`Rows::row`], and all have the same columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    cells: Vec<Value>,
    count: usize,
}

impl Rows {
    pub(crate) const fn new() -> Self {
        Self { cells: Vec::new(), count: 0 }
    }

    /// How many rows were begun.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many columns a row has.
    pub(crate) fn columns(&self) -> usize {
        self.cells.len().checked_div(self.count).unwrap_or(0)
    }

    /// Begins a row.
    pub(crate) const fn row(&mut self) -> &mut Self {
        self.count += 1;
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.opt_int(Some(value))
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        self.cells.push(Value::Int(value));
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.opt_text(Some(value))
    }

    pub(crate) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        self.cells.push(Value::Text(value.map(str::to_owned)));
        self
    }

    pub(crate) fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.cells.push(Value::Blob(Some(value.to_vec())));
        self
    }

    /// The finished rows, as a parameter.
    pub(crate) const fn finish(self) -> Value {
        Value::Rows(self)
    }

    /// Splits off pieces of at most [`MAX_ROWS`] rows.
    pub(crate) fn pieces(self) -> Vec<Self> {
        if self.count <= MAX_ROWS {
            return vec![self];
        }
        let columns = self.columns();
        let mut cells = self.cells.into_iter();
        let mut left = self.count;
        let mut pieces = Vec::with_capacity(left.div_ceil(MAX_ROWS));
        while left > 0 {
            let count = left.min(MAX_ROWS);
            pieces.push(Self { cells: cells.by_ref().take(count * columns).collect(), count });
            left -= count;
        }
        pieces
    }

    /// The rows, one after the other.
    pub(crate) fn each(&self) -> impl Iterator<Item = &[Value]> {
        self.cells.chunks_exact(self.columns().max(1))
    }

    pub(crate) fn into_cells(self) -> Vec<Value> {
        self.cells
    }

    /// The rows as one JSON array of arrays; bytes as hexadecimal digits.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.cells.len() * 12 + 2);
        let columns = self.columns().max(1);
        json.push('[');
        for (index, row) in self.cells.chunks(columns).enumerate() {
            json.push_str(if index == 0 { "[" } else { ",[" });
            for (index, cell) in row.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_json(&mut json, cell);
            }
            json.push(']');
        }
        json.push(']');
        json
    }
}

fn write_json(json: &mut String, cell: &Value) {
    match cell {
        Value::Int(Some(value)) => {
            let _ = write!(json, "{value}");
        }
        Value::Text(Some(text)) => write_text(json, text),
        Value::Blob(Some(bytes)) => {
            json.push('"');
            json.push_str(&hex::encode(bytes));
            json.push('"');
        }
        Value::Int(None) | Value::Text(None) | Value::Blob(None) | Value::Rows(_) => json.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ROWS, Rows};

    #[test]
    fn rows_are_valid_json_whatever_the_text() {
        let mut rows = Rows::new();
        rows.row().int(-1).text("a\"b\\c\n").opt_text(None);
        rows.row().blob(&[0, 255]).opt_int(Some(i64::MAX)).text("ü");
        let json: serde_json::Value = serde_json::from_str(&rows.to_json()).expect("valid");
        assert_eq!(json, serde_json::json!([[-1, "a\"b\\c\n", null], ["00ff", i64::MAX, "ü"]]));
        assert_eq!(Rows::new().to_json(), "[]");
    }

    #[test]
    fn large_sets_are_sent_in_pieces_that_lose_nothing() {
        let mut rows = Rows::new();
        for n in 0..2 * MAX_ROWS + 1 {
            rows.row().int(n as i64).text("x");
        }
        let pieces = rows.pieces();
        assert_eq!(pieces.iter().map(Rows::len).collect::<Vec<_>>(), [MAX_ROWS, MAX_ROWS, 1]);
        assert!(pieces.iter().all(|piece| piece.columns() == 2));
    }
}
