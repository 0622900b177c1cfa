//! DELETE `/api/v1/api-tokens/{id}` (also POST `…/revoke`).

use api_types::tokens::RevokedApiToken;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;

use super::shape::audited;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Revokes an API token
///
/// It is refused from now on; what is known of it stays. Also as POST `/api/v1/api-tokens/{id}/revoke`.
#[utoipa::path(
    delete,
    path = "/api/v1/api-tokens/{id}",
    tag = "api tokens",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The token")),
    responses(
        (status = 200, description = "Revoked", body = RevokedApiToken),
        (status = 404, description = "`TOKEN_NOT_FOUND`, also for somebody else's"),
        (status = 409, description = "`TOKEN_ALREADY_REVOKED` with `details.revoked_at`"),
    ),
)]
pub async fn revoke_api_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<RevokedApiToken>, ApiError> {
    caller.require_writer()?;
    let id = super::token_id(&params)?;
    let revoked = transact!(api, async |work| {
        let before = super::locked_visible(work, &caller, id).await?;
        super::refuse_revoked(&before)?;
        work.revoke_api_token(id).await?;
        let after = work.api_token_for_update(id).await?.ok_or(ErrorCode::TokenNotFound)?;
        let record = AuditRecord::new("API_TOKEN_REVOKED", "api_token", id, caller.audit_actor());
        work.audit(record.changed(audited(&before), audited(&after)));
        Ok(RevokedApiToken {
            id,
            revoked: true,
            name: after.name,
            revoked_at: work.now().millis(),
            message: "The token is refused from now on.".to_owned(),
        })
    });
    Ok(Json(revoked.await?))
}
