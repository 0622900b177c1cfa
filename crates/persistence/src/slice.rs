//! Stretches of lists that are read with a cursor, and stay valid while rows are added.

use std::fmt;
use std::str::FromStr;

/// A stretch of a list, and where it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to ask with for the next stretch; `None` at the end.
    pub next: Option<C>,
}

impl<T, C> Slice<T, C> {
    /// From `limit + 1` rows asked for: the one too many says that there are more, the last one kept says from where.
    pub(crate) fn cut(mut rows: Vec<T>, limit: u32, place: impl Fn(&T) -> C) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(place) } else { None };
        Self { rows, next }
    }
}

/// The text is not a cursor that a list gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct BadCursor;

/// A place in a list that is ordered by a gapless number; written and read as an opaque text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqCursor(pub(crate) i64);

impl fmt::Display for SeqCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl FromStr for SeqCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let digits = text.strip_prefix('s').filter(|d| d.bytes().all(|b| b.is_ascii_digit())).ok_or(BadCursor)?;
        digits.parse().map(Self).map_err(|_| BadCursor)
    }
}

/// Whether the oldest or the youngest rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Youngest first.
    #[default]
    Descending,
}

#[cfg(test)]
mod tests {
    use super::{SeqCursor, Slice};

    #[test]
    fn a_list_goes_on_only_where_there_is_more() {
        let cut = |rows: Vec<i64>| Slice::cut(rows, 2, |n| *n);
        assert_eq!(cut(vec![5, 4, 3]), Slice { rows: vec![5, 4], next: Some(4) });
        assert_eq!(cut(vec![5, 4]), Slice { rows: vec![5, 4], next: None });
    }

    #[test]
    fn a_number_is_read_as_it_was_written_and_nothing_else_is_one() {
        assert_eq!("s12".parse::<SeqCursor>().map(|c| c.to_string()).as_deref(), Ok("s12"));
        for bad in ["", "s", "12", "s-1", "s+1", "s99999999999999999999", "s1 "] {
            assert!(bad.parse::<SeqCursor>().is_err(), "{bad}");
        }
    }
}
