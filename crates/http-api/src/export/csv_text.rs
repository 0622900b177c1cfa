//! Rows as RFC 4180 text that no spreadsheet takes for formulas.

use std::borrow::Cow;

use csv::{Terminator, WriterBuilder};
use serde_json::Value;

use super::Row;

/// The lines of these rows, after the header if they are the first.
pub(super) fn lines<R: Row>(rows: &[R], columns: &[&str], with_header: bool) -> Result<Vec<u8>, csv::Error> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    if with_header {
        writer.write_record(columns)?;
    }
    for row in rows {
        let row = serde_json::to_value(row).map_err(std::io::Error::other)?;
        writer.write_record(columns.iter().map(|column| cell(at(&row, column)).into_owned()))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn at<'v>(row: &'v Value, column: &str) -> &'v Value {
    column.split('.').fold(row, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// What begins like a formula gets an apostrophe in front.
fn cell(value: &Value) -> Cow<'_, str> {
    let text: Cow<'_, str> = match value {
        Value::Null => "".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    };
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}").into() } else { text }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::{Row, lines};

    #[derive(Serialize)]
    #[serde(transparent)]
    struct Anything(Value);

    impl Row for Anything {
        const COLUMNS: &'static [&'static str] = &["a", "b.c"];
    }

    fn line(row: Value) -> String {
        String::from_utf8(lines(&[Anything(row)], Anything::COLUMNS, false).expect("written")).expect("UTF-8")
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(line(json!({"a": "x,y", "b": {"c": "two\nlines"}})), "\"x,y\",\"two\nlines\"\r\n");
        assert_eq!(line(json!({"a": null, "b": {"c": ""}})), ",\r\n");
    }

    #[test]
    fn what_is_nested_is_found_by_its_path_or_stays_json() {
        assert_eq!(line(json!({"a": [1, "x"], "b": {"c": {"d": true}}})), "\"[1,\"\"x\"\"]\",\"{\"\"d\"\":true}\"\r\n");
        assert_eq!(line(json!({"a": 1.5, "b": 7})), "1.5,\r\n", "a path that leads nowhere");
    }

    #[test]
    fn nothing_begins_like_a_formula() {
        for text in ["=1+1", "+1", "-1", "@x"] {
            assert_eq!(line(json!({"a": text, "b": {"c": "="}})), format!("'{text},'=\r\n"));
        }
        assert_eq!(line(json!({"a": -5, "b": {"c": "a=b"}})), "'-5,a=b\r\n");
    }
}
