//! GET `/api/v1/providers`.

use api_types::providers::ProviderKey as KeyBody;
use axum::extract::State;
use persistence::{Page, ProviderKeyFilter};

use super::shape::key_body;
use crate::agents::visible_to;
use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Lists provider keys
///
/// Youngest first. A user sees those that own agents, or the projects of own agents, have.
#[utoipa::path(
    get,
    path = "/api/v1/providers",
    tag = "providers",
    security(("bearer" = [])),
    params(
        ("provider" = Option<String>, Query, description = "For this provider"),
        ("is_enabled" = Option<bool>, Query, description = "Enabled, or not"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all are listed, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "An array; `x-total-count` says how many there are in all", body = Vec<KeyBody>)),
)]
pub async fn list_providers(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<KeyBody>, ApiError> {
    let mut q = query.reader();
    let filter = ProviderKeyFilter {
        visible_to: visible_to(&caller),
        provider: q.text("provider", 50),
        is_enabled: q.flag("is_enabled"),
        id: None,
    };
    let request = q.array();
    let (filter, request) = q.finish((filter, request))?;
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let listed = api.store.provider_keys(&filter, page).await?;
    Ok(ArrayList::new(listed.rows.into_iter().map(key_body).collect(), listed.total, request))
}
