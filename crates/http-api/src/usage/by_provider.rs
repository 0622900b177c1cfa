//! GET `/api/v1/usage/by-provider`: what was used of providers.

use analytics::Dimension;
use api_types::usage::ProviderUsageBody;
use axum::Json;
use axum::extract::State;

use super::shape::{OfProject, Range, asked, provider};
use crate::{ApiError, ApiState, Caller, Params, Query};

/// What was used of each provider
///
/// The most expensive first.
#[utoipa::path(
    get,
    path = "/api/v1/usage/by-provider",
    tag = "usage",
    security(("bearer" = [])),
    params(Range, OfProject),
    responses((status = 200, description = "By own agents; an admin sees all", body = Vec<ProviderUsageBody>)),
)]
pub(crate) async fn usage_of_providers(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Vec<ProviderUsageBody>>, ApiError> {
    let groups = asked(&api, &caller, &query)?.by(&api, Dimension::Provider).await?;
    Ok(Json(groups.iter().map(provider).collect()))
}

/// What was used of a provider
#[utoipa::path(
    get,
    path = "/api/v1/usage/by-provider/{provider}",
    tag = "usage",
    security(("bearer" = [])),
    params(
        ("provider" = String, Path, description = "The kind of provider; of one that is not known, zeros are told"),
        Range,
        OfProject,
    ),
    responses(
        (status = 200, description = "By own agents; an admin sees all", body = ProviderUsageBody),
        (status = 400, description = "`INVALID_PARAMETER`"),
    ),
)]
pub(crate) async fn usage_of_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<ProviderUsageBody>, ApiError> {
    let name = params.text("provider", 100)?.to_owned();
    let mut asked = asked(&api, &caller, &query)?;
    asked.filter.providers = vec![name.clone()];
    let groups = asked.by(&api, Dimension::Provider).await?;
    let nothing = ProviderUsageBody { provider: name, tokens: 0, requests: 0, cost_cents: 0 };
    Ok(Json(groups.first().map_or(nothing, provider)))
}
