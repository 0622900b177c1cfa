//! Rows of a set-based statement, written as one JSON array of arrays.

use std::fmt::Write as _;

/// Collects rows; each is begun with [`Rows::row`] and ended when the next begins or by [`Rows::finish`].
#[derive(Default)]
pub(crate) struct Rows {
    json: String,
    count: usize,
    fields: usize,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self { json: String::from("["), count: 0, fields: 0 }
    }

    /// How many rows were begun.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.json.push_str(if self.count == 0 { "[" } else { "],[" });
        self.count += 1;
        self.fields = 0;
        self
    }

    fn separate(&mut self) {
        if self.fields > 0 {
            self.json.push(',');
        }
        self.fields += 1;
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.separate();
        let _ = write!(self.json, "{value}");
        self
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            Some(value) => self.int(value),
            None => self.null(),
        }
    }

    fn null(&mut self) -> &mut Self {
        self.separate();
        self.json.push_str("null");
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.separate();
        let plain = value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
        if plain {
            self.json.push('"');
            self.json.push_str(value);
            self.json.push('"');
        } else {
            self.json.push_str(&serde_json::Value::from(value).to_string());
        }
        self
    }

    pub(crate) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// Bytes, as hexadecimal digits.
    pub(crate) fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.text(&hex::encode(value))
    }

    /// The JSON text.
    pub(crate) fn finish(mut self) -> String {
        self.json.push_str(if self.count == 0 { "]" } else { "]]" });
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn rows_are_valid_json_whatever_the_text() {
        let mut rows = Rows::new();
        rows.row().int(-1).text("a\"b\\c\n").opt_text(None);
        rows.row().blob(&[0, 255]).opt_int(Some(i64::MAX)).text("ü");
        let json: serde_json::Value = serde_json::from_str(&rows.finish()).expect("valid");
        assert_eq!(json, serde_json::json!([[-1, "a\"b\\c\n", null], ["00ff", i64::MAX, "ü"]]));
        assert_eq!(Rows::new().finish(), "[]");
    }
}
