//! PUT `/api/v1/api-tokens/{id}`.

use api_types::tokens::{ApiToken as ApiTokenBody, UpdateApiToken};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::{ApiToken, AuditRecord};

use super::shape::{audited, token_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Describes an API token anew
///
/// What is not given stays. What a token may do never changes: make another one.
#[utoipa::path(
    put,
    path = "/api/v1/api-tokens/{id}",
    tag = "api tokens",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The token")),
    request_body(content = UpdateApiToken, example = json!({"name": "deploy, staging"})),
    responses(
        (status = 200, description = "The token as it is now", body = ApiTokenBody),
        (status = 404, description = "`TOKEN_NOT_FOUND`, also for somebody else's"),
        (status = 409, description = "`TOKEN_ALREADY_REVOKED` with `details.revoked_at`"),
    ),
)]
pub async fn update_api_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ApiTokenBody>, ApiError> {
    caller.require_writer()?;
    let request: UpdateApiToken = body.read()?;
    let id = super::token_id(&params)?;
    let updated = transact!(api, async |work| {
        let before = super::locked_visible(work, &caller, id).await?;
        super::refuse_revoked(&before)?;
        let wished = wished(&before, &request);
        if wished != before {
            let [name, description, provider] =
                [&wished.name, &wished.description, &wished.provider].map(Option::as_deref);
            work.describe_api_token(id, name, description, provider).await?;
            let record = AuditRecord::new("API_TOKEN_UPDATED", "api_token", id, caller.audit_actor());
            work.audit(record.changed(audited(&before), audited(&wished)));
        }
        let after = work.api_token_for_update(id).await?.ok_or(ErrorCode::TokenNotFound)?;
        Ok(token_body(after, work.now()))
    });
    Ok(Json(updated.await?))
}

/// The token as it would be.
fn wished(before: &ApiToken, request: &UpdateApiToken) -> ApiToken {
    let (mut token, request) = (before.clone(), request.clone());
    token.name = request.name.or(token.name);
    token.provider = request.provider.or(token.provider);
    // A blank description is none
    token.description = request.description.or(token.description).filter(|text| !text.is_empty());
    token
}
