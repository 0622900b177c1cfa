//! PUT `/api/v1/budget/limit`.

use api_types::limits::{SetTokenCeiling, TokenCeiling};
use axum::Json;
use axum::extract::State;
use persistence::AuditRecord;
use serde_json::json;

use super::shape::ceiling_body;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Sets the token ceiling
///
/// When it is reached, nothing more is lent to anybody until the day is over. `null` takes it away.
#[utoipa::path(
    put,
    path = "/api/v1/budget/limit",
    tag = "limits",
    security(("bearer" = [])),
    request_body(content = SetTokenCeiling, example = json!({"limit": 50_000_000})),
    responses((status = 200, description = "The ceiling as it is now", body = TokenCeiling)),
)]
pub async fn set_token_ceiling(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<Json<TokenCeiling>, ApiError> {
    caller.require_admin()?;
    let request: SetTokenCeiling = body.read()?;
    let set = transact!(api, async |work| {
        let (before, after) = work.set_token_ceiling(request.limit, &caller.user).await?;
        let state = |limit: Option<i64>| json!({ "max_tokens_per_day": limit });
        let record = AuditRecord::new("LIMIT_UPDATED", "limit", "organization", caller.audit_actor());
        work.audit(record.changed(state(before.tokens_per_day), state(after.tokens_per_day)));
        Ok(after)
    });
    let ceiling = set.await?;
    api.directory.clear();
    Ok(Json(ceiling_body(&api, ceiling).await?))
}
