//! GET `/api/v1/budget/leases/{id}`.

use api_types::control::LeaseBody;
use axum::Json;
use axum::extract::State;
use kernel::LeaseId;

use super::shape::{lease_body, visible_lease};
use crate::{ApiError, ApiState, Caller, Params};

/// A lease
#[utoipa::path(
    get,
    path = "/api/v1/budget/leases/{id}",
    tag = "budget control",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The lease")),
    responses(
        (status = 200, description = "The lease", body = LeaseBody),
        (status = 404, description = "`LEASE_NOT_FOUND`: unknown, or somebody else's"),
    ),
)]
pub async fn lease(State(api): State<ApiState>, caller: Caller, params: Params) -> Result<Json<LeaseBody>, ApiError> {
    let id = params.id("id", LeaseId::new)?;
    Ok(Json(lease_body(visible_lease(&api, &caller, &id).await?)))
}
