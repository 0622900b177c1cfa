//! The three envelopes of lists.

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The most rows an array list gives when no page was asked for.
pub const MAX_ARRAY_ROWS: u32 = 10_000;

/// A bare JSON array with `x-total-count`, and `x-truncated: true` where rows were left out without being asked to.
#[derive(Debug)]
pub struct ArrayList<T> {
    /// The rows of the answer.
    pub rows: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Whether [`MAX_ARRAY_ROWS`] cut the list.
    pub truncated: bool,
}

impl<T> ArrayList<T> {
    /// A list that was cut only if it has fewer rows than there are and no page was asked for.
    pub fn new(rows: Vec<T>, total: u64, request: ArrayRequest) -> Self {
        let truncated = request.page.is_none() && (rows.len() as u64) < total;
        Self { rows, total, truncated }
    }
}

impl<T: Serialize> IntoResponse for ArrayList<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.rows).into_response();
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-total-count"), HeaderValue::from(self.total));
        if self.truncated {
            headers.insert(HeaderName::from_static("x-truncated"), HeaderValue::from_static("true"));
        }
        response
    }
}

/// `{data, pagination}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The rows of this page; empty past the end.
    pub data: Vec<T>,
    /// Where it stands.
    pub pagination: Pagination,
}

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Pagination {
    /// From 1.
    pub page: u32,
    /// Rows per page.
    pub per_page: u32,
    /// Rows in all.
    pub total: u64,
    /// Pages in all.
    pub total_pages: u64,
}

impl Pagination {
    /// The page asked for, in a list of `total` rows.
    pub const fn new(request: PageRequest, total: u64) -> Self {
        let total_pages = total.div_ceil(request.per_page as u64);
        Self { page: request.page, per_page: request.per_page, total, total_pages }
    }
}

impl<T> Page<T> {
    /// The envelope around the rows of one page.
    pub const fn new(data: Vec<T>, request: PageRequest, total: u64) -> Self {
        Self { data, pagination: Pagination::new(request, total) }
    }
}

/// `{data, next_cursor}`; a list read to its end has `next_cursor: null`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CursorPage<T> {
    /// The rows.
    pub data: Vec<T>,
    /// What to send as `cursor` to go on; opaque.
    pub next_cursor: Option<String>,
}

/// A page asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: u32,
    /// 1 to 100.
    pub per_page: u32,
}

impl PageRequest {
    /// Rows before the page.
    pub const fn offset(self) -> u64 {
        (self.page as u64 - 1) * self.per_page as u64
    }
}

/// An array asked for, whole or one page of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayRequest {
    /// `None`: all rows, at most [`MAX_ARRAY_ROWS`].
    pub page: Option<PageRequest>,
}

impl ArrayRequest {
    /// Rows before the first one asked for.
    pub const fn offset(self) -> u64 {
        match self.page {
            Some(page) => page.offset(),
            None => 0,
        }
    }

    /// The most rows to give.
    pub const fn limit(self) -> u32 {
        match self.page {
            Some(page) => page.per_page,
            None => MAX_ARRAY_ROWS,
        }
    }
}

impl ArrayRequest {
    /// The rows asked for, of a list at hand.
    pub fn of<T>(self, rows: Vec<T>) -> Vec<T> {
        let offset = usize::try_from(self.offset()).unwrap_or(usize::MAX);
        rows.into_iter().skip(offset).take(self.limit() as usize).collect()
    }
}

/// A stretch of a cursor list asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorRequest {
    /// 1 to 1000.
    pub limit: u32,
    /// Where to go on; the list's own business.
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::{ArrayList, ArrayRequest, PageRequest, Pagination};

    #[test]
    fn the_number_of_pages_is_rounded_up() {
        let request = PageRequest { page: 3, per_page: 50 };
        assert_eq!(request.offset(), 100);
        let pages = |total| Pagination::new(request, total).total_pages;
        assert_eq!([pages(0), pages(1), pages(50), pages(51)], [0, 1, 1, 2]);
    }

    #[test]
    fn an_array_says_how_many_there_are_and_whether_it_was_cut() {
        let whole = ArrayList::new(vec![1, 2], 2, ArrayRequest { page: None }).into_response();
        assert_eq!(whole.headers()["x-total-count"], "2");
        assert!(!whole.headers().contains_key("x-truncated"));
        let cut = ArrayList::new(vec![1, 2], 3, ArrayRequest { page: None }).into_response();
        assert_eq!(cut.headers()["x-truncated"], "true");
        let page = ArrayRequest { page: Some(PageRequest { page: 2, per_page: 2 }) };
        let paged = ArrayList::new(vec![3], 3, page).into_response();
        assert!(!paged.headers().contains_key("x-truncated"), "a page was asked for");
    }
}
