//! Query parameters.
//!
//! Like bodies, they are taken by an extractor that never fails and read when the handler knows who asks. Unknown
//! parameters are ignored, an empty value is the same as none, and every parameter that will not do is named:
//!
//! ```ignore
//! let mut q = query.reader();
//! let (page, status, range) = (q.array(), q.words("status", &STATUSES), q.time_range());
//! let (page, status, range) = q.finish((page, status, range))?;
//! ```

mod range;

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use kernel::validate::checked_text;
use kernel::{AgentId, FieldErrors};

use crate::error::ApiError;
use crate::list::{ArrayRequest, CursorRequest, PageRequest};

pub use range::TimeRange;

/// The query of a request. An extractor that never fails.
#[derive(Clone, Debug, Default)]
pub struct Query(String);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.query().unwrap_or("").to_owned()))
    }
}

impl Query {
    /// Starts reading.
    pub fn reader(&self) -> QueryReader<'_> {
        let pairs = form_urlencoded::parse(self.0.as_bytes()).filter(|(_, value)| !value.trim().is_empty());
        QueryReader { pairs: pairs.collect(), errors: FieldErrors::default() }
    }
}

/// Reads parameters and collects what is wrong with them.
#[derive(Debug)]
pub struct QueryReader<'q> {
    pairs: Vec<(Cow<'q, str>, Cow<'q, str>)>,
    errors: FieldErrors,
}

impl QueryReader<'_> {
    /// Ends reading: what was read, or 400 `VALIDATION_ERROR` with every parameter that will not do.
    pub fn finish<T>(self, read: T) -> Result<T, ApiError> {
        if self.errors.is_empty() { Ok(read) } else { Err(self.errors.into()) }
    }

    /// Records a complaint.
    pub fn error(&mut self, name: &str, why: impl Into<String>) {
        self.errors.add(name, why);
    }

    /// The trimmed value of the first of these names that has one, and that name. The first occurrence counts.
    pub fn raw<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| {
            let (_, value) = self.pairs.iter().find(|(key, _)| key == name)?;
            Some((*name, value.trim()))
        })
    }

    fn read<T>(&mut self, names: &[&str], read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (name, value) = self.raw(names)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.errors.add(name, why);
                None
            }
        }
    }

    /// A text of 1 to `max` characters without control characters.
    pub fn text(&mut self, name: &str, max: usize) -> Option<String> {
        self.read(&[name], |value| checked_text(value, 1, max).map(str::to_owned))
    }

    /// A whole number in `min..=max`; several names mean the same.
    pub fn int(&mut self, names: &[&str], min: i64, max: i64) -> Option<i64> {
        self.read(names, |value| whole(value, min, max))
    }

    /// `true`, `false`, `1` or `0`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(&[name], |value| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        })
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        self.read(&[name], |value| one_of(value, words))
    }

    /// Any number of values, repeated or separated by commas; empty where there are none.
    pub fn many<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut values = Vec::new();
        let mut why = None;
        let given = self.pairs.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(','));
        for value in given.map(str::trim).filter(|value| !value.is_empty()) {
            match read(value) {
                Ok(value) => values.push(value),
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        if values.len() > 1_000 {
            why = Some("must have at most 1000 values".to_owned());
        }
        if let Some(why) = why {
            self.errors.add(name, why);
        }
        values
    }

    /// Any number of words.
    pub fn words<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Vec<T> {
        self.many(name, |value| one_of(value, words))
    }

    /// Any number of texts of 1 to `max` characters.
    pub fn texts(&mut self, name: &str, max: usize) -> Vec<String> {
        self.many(name, |value| checked_text(value, 1, max).map(str::to_owned))
    }

    /// An agent, `12` or `agent_12`.
    pub fn agent_id(&mut self, name: &str) -> Option<AgentId> {
        self.read(&[name], agent)
    }

    /// Any number of agents.
    pub fn agent_ids(&mut self, name: &str) -> Vec<AgentId> {
        self.many(name, agent)
    }

    /// The order asked for: `sort=field`, or `sort=-field` for descending. What is not on the list is ignored.
    pub fn sort<T: Copy>(&self, allowed: &[(&str, T)]) -> Option<(T, Direction)> {
        let (_, value) = self.raw(&["sort"])?;
        let (field, direction) = match value.strip_prefix('-') {
            Some(field) => (field, Direction::Descending),
            None => (value, Direction::Ascending),
        };
        allowed.iter().find(|(name, _)| *name == field).map(|(_, key)| (*key, direction))
    }

    fn page_parts(&mut self) -> (Option<u32>, Option<u32>) {
        let page = self.int(&["page"], 1, i64::from(u32::MAX));
        let per_page = self.int(&["per_page", "page_size", "limit"], 1, 100);
        // Both ranges lie within u32
        (page.and_then(|n| u32::try_from(n).ok()), per_page.and_then(|n| u32::try_from(n).ok()))
    }

    /// `page` and `per_page` (≡ `page_size` ≡ `limit`) of a list that is always paged; most lists have 50 by default.
    pub fn page(&mut self, default_per_page: u32) -> PageRequest {
        let (page, per_page) = self.page_parts();
        PageRequest { page: page.unwrap_or(1), per_page: per_page.unwrap_or(default_per_page) }
    }

    /// The same of a list that is given whole unless a page is asked for.
    pub fn array(&mut self) -> ArrayRequest {
        let page = match self.page_parts() {
            (None, None) => None,
            (page, per_page) => Some(PageRequest { page: page.unwrap_or(1), per_page: per_page.unwrap_or(50) }),
        };
        ArrayRequest { page }
    }

    /// `limit` 1 to 1000 and `cursor` of a list that is read by cursor; most lists have 100 by default.
    pub fn cursor(&mut self, default_limit: u32) -> CursorRequest {
        let limit = self.int(&["limit"], 1, 1_000).and_then(|n| u32::try_from(n).ok());
        CursorRequest { limit: limit.unwrap_or(default_limit), cursor: self.text("cursor", 1_000) }
    }

    /// `from` (≡ `start_date`), `to` (≡ `end_date`) and `time_zone`.
    pub fn time_range(&mut self) -> TimeRange {
        range::read(self)
    }
}

/// Which way a list is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

fn whole(value: &str, min: i64, max: i64) -> Result<i64, String> {
    // Digits only: a query has no `+1` and no `1e3`
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("must be a whole number".to_owned());
    }
    value.parse().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("must be {min} to {max}"))
}

fn one_of<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == value).map(|(_, value)| *value).ok_or_else(|| {
        let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}", list.join(", "))
    })
}

fn agent(value: &str) -> Result<AgentId, String> {
    AgentId::parse(value).ok_or_else(|| "must be a number, or agent_<number>".to_owned())
}

#[cfg(test)]
mod tests {
    use kernel::AgentId;

    use super::{Direction, Query};
    use crate::list::{ArrayRequest, PageRequest};

    fn query(text: &str) -> Query {
        Query(text.to_owned())
    }

    #[test]
    fn an_empty_value_is_the_same_as_none_and_unknown_parameters_are_ignored() {
        let query = query("name=&page=%20&agent_id=&zzz=1");
        let mut q = query.reader();
        let read = (q.text("name", 10), q.array(), q.agent_id("agent_id"));
        assert_eq!(q.finish(read).expect("valid"), (None, ArrayRequest { page: None }, None));
    }

    #[test]
    fn the_page_has_three_names_for_its_size() {
        for name in ["per_page", "page_size", "limit"] {
            let query = query(&format!("page=2&{name}=7"));
            let mut q = query.reader();
            assert_eq!(q.page(50), PageRequest { page: 2, per_page: 7 });
        }
        let query = query("page=3");
        assert_eq!(query.reader().array().page, Some(PageRequest { page: 3, per_page: 50 }));
    }

    #[test]
    fn every_parameter_that_will_not_do_is_named() {
        let query = query("page=0&limit=101&agent_id=x&active=maybe&status=b");
        let mut q = query.reader();
        let _ = (q.page(50), q.agent_id("agent_id"), q.flag("active"), q.word("status", &[("a", 1)]));
        let error = q.finish(()).expect_err("four complaints");
        let text = format!("{error:?}");
        for name in ["page", "limit", "agent_id", "active", "status"] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_plain() {
        for bad in ["1.0", "1e2", "+1", "x", "99999999999999999999", "-"] {
            let query = query(&format!("n={}", bad.replace('+', "%2B")));
            let mut q = query.reader();
            q.int(&["n"], 0, 100);
            assert!(q.finish(()).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_values_are_repeated_or_separated_by_commas() {
        let query = query("agent_id=1,agent_2&agent_id=3&agent_id=,");
        let mut q = query.reader();
        assert_eq!(q.agent_ids("agent_id"), [AgentId(1), AgentId(2), AgentId(3)]);
        assert_eq!(q.texts("other", 10), Vec::<String>::new());
        assert!(q.finish(()).is_ok());
    }

    #[test]
    fn the_order_is_taken_from_a_list_and_ignored_otherwise() {
        let allowed = [("name", 1), ("created_at", 2)];
        assert_eq!(query("sort=-created_at").reader().sort(&allowed), Some((2, Direction::Descending)));
        assert_eq!(query("sort=name").reader().sort(&allowed), Some((1, Direction::Ascending)));
        assert_eq!(query("sort=password").reader().sort(&allowed), None);
    }

    #[test]
    fn a_cursor_list_has_its_own_bounds() {
        let query = query("limit=1000&cursor=abc");
        let mut q = query.reader();
        let request = q.cursor(100);
        assert_eq!((request.limit, request.cursor.as_deref()), (1_000, Some("abc")));
        assert!(q.finish(()).is_ok());
    }
}
