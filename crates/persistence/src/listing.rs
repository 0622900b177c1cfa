//! Lists that are read by page, and what their conditions have in common.

use kernel::UserId;

use crate::StoreError;
use crate::db::Value;
use crate::rows::Rows;

/// Which rows of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many rows come before it.
    pub offset: u64,
    /// How many rows it has at most.
    pub limit: u64,
}

impl Page {
    /// The first `limit` rows.
    pub const fn first(limit: u64) -> Self {
        Self { offset: 0, limit }
    }

    /// LIMIT and OFFSET, for the database.
    pub(crate) fn bounds(self) -> [i64; 2] {
        [self.limit, self.offset].map(|n| i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// The same, of a list at hand.
    pub(crate) fn of<T>(self, rows: Vec<T>) -> Vec<T> {
        let [limit, offset] = [self.limit, self.offset].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        rows.into_iter().skip(offset).take(limit).collect()
    }
}

/// The rows of a page, and how many the whole list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows; none past the end.
    pub rows: Vec<T>,
    /// How many rows there are without paging.
    pub total: u64,
}

impl<T> Listed<T> {
    pub(crate) fn new(rows: Vec<T>, total: i64) -> Self {
        Self { rows, total: u64::try_from(total).unwrap_or(0) }
    }
}

/// Whose eyes a list is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Somebody who may see everything.
    #[default]
    All,
    /// A user who sees what belongs to their own agents.
    Of(UserId),
}

impl Visibility {
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Of(user) => Some(user.as_str()),
        }
    }
}

/// The form of a name in which it is searched and sorted.
pub(crate) fn name_key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A pattern for `… LIKE ? ESCAPE '\'` on a column of [`name_key`]s: contains the text, without regard to case.
pub(crate) fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// A list of texts in one column.
pub(crate) fn texts_to_json(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// Reads what [`texts_to_json`] wrote.
pub(crate) fn texts_from_json(json: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(json).map_err(|_| StoreError::Corrupt("a stored list cannot be read".to_owned()))
}

/// Numbers as the rows of a set-based statement.
pub(crate) fn number_rows(numbers: impl IntoIterator<Item = i64>) -> Value {
    let mut rows = Rows::new();
    for number in numbers {
        rows.row().int(number);
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::{Page, containing};

    #[test]
    fn what_is_searched_for_is_taken_literally_and_without_case() {
        assert_eq!(containing("50%_Ä\\"), "%50\\%\\_ä\\\\%");
    }

    #[test]
    fn a_page_past_the_end_is_empty() {
        assert_eq!(Page { offset: 1, limit: 2 }.of(vec![1, 2, 3, 4]), [2, 3]);
        assert!(Page { offset: 9, limit: 2 }.of(vec![1]).is_empty());
        assert_eq!(Page { offset: u64::MAX, limit: u64::MAX }.bounds(), [i64::MAX, i64::MAX]);
    }
}
