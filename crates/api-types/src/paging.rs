//! Where a page stands in its list.

use serde::{Deserialize, Serialize};

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageInfo {
    /// From 1.
    pub page: u32,
    /// Rows per page.
    pub per_page: u32,
    /// Rows in all.
    pub total: u64,
    /// Pages in all.
    pub total_pages: u64,
}

impl PageInfo {
    /// A page of a list of `total` rows; `per_page` is above zero.
    pub const fn new(page: u32, per_page: u32, total: u64) -> Self {
        Self { page, per_page, total, total_pages: total.div_ceil(per_page as u64) }
    }
}
