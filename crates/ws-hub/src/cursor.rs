//! Where a subscriber stands.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A place in the stream, written `<epoch>:<seq>`: everything up to and including `seq` has been seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which numbering: 1 to 64 characters of `[A-Za-z0-9_-]`.
    pub epoch: Arc<str>,
    /// The last event seen; 0 before the first.
    pub seq: i64,
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCursor;

impl fmt::Display for BadCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor of the form <epoch>:<seq>")
    }
}

impl std::error::Error for BadCursor {}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (epoch, seq) = text.split_once(':').ok_or(BadCursor)?;
        let named = (1..=64).contains(&epoch.len())
            && epoch.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let counted = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit());
        match seq.parse() {
            Ok(seq) if named && counted => Ok(Self { epoch: epoch.into(), seq }),
            _ => Err(BadCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_reads_back_as_it_was_written() {
        let cursor = Cursor { epoch: "a1b2".into(), seq: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", ":", "a:", ":1", "a:-1", "a:+1", "a:1:2", "a b:1", "a:99999999999999999999"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
