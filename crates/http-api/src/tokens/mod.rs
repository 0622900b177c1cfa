//! API tokens: by them programs act as their owner.

pub mod create;
pub mod get;
pub(crate) mod issue;
pub mod list;
pub mod revoke;
pub mod rotate;
pub(crate) mod shape;
pub mod update;
pub mod validate;

#[cfg(test)]
mod tests;

use kernel::{ApiTokenId, ErrorCode};
use persistence::{ApiToken, Work};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::transact::Stop;
use crate::{ApiError, Caller, Params};

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_api_tokens, create::create_api_token))
        .routes(routes!(validate::validate_api_token))
        .routes(routes!(get::get_api_token, update::update_api_token, revoke::revoke_api_token))
        .routes(routes!(rotate::rotate_api_token))
}

/// The token of the path.
fn token_id(params: &Params) -> Result<ApiTokenId, ApiError> {
    params.int("id").map(ApiTokenId)
}

/// The token, which nobody else changes until this work ends, if there is one and the caller may see it: 404 either way.
async fn locked_visible(work: &mut Work, caller: &Caller, id: ApiTokenId) -> Result<ApiToken, Stop> {
    let token = work.api_token_for_update(id).await?.ok_or(ErrorCode::TokenNotFound)?;
    caller.require_sight_of(&token.user, ErrorCode::TokenNotFound)?;
    Ok(token)
}

/// 409 for a token that was revoked or replaced.
fn refuse_revoked(token: &ApiToken) -> Result<(), ApiError> {
    let Some(at) = token.revoked_at else { return Ok(()) };
    Err(ApiError::from(ErrorCode::TokenAlreadyRevoked).details(json!({ "revoked_at": at.millis() })))
}
