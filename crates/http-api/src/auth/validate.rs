//! POST `/api/v1/auth/validate`.

use api_types::auth::{InvalidReason, InvalidToken, TokenKind, TokenOwner, TokenVerdict, ValidToken, ValidateToken};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kernel::{ErrorCode, Secret, Timestamp};

use super::session::seconds_until;
use crate::bearer::bearer;
use crate::caller::token::{Holder, Refusal, examine};
use crate::users::shape::role_body;
use crate::{ApiError, ApiState, Body};

/// Says whether a token is taken
///
/// The token of the body or, failing that, of the header. Whatever is wrong with it, the answer is 200 and says so.
#[utoipa::path(
    post,
    path = "/api/v1/auth/validate",
    tag = "auth",
    params(("Authorization" = Option<String>, Header, description = "`Bearer <token>`, unless in the body")),
    request_body = Option<ValidateToken>,
    responses(
        (status = 200, description = "Whether it is taken, and whose it is or why not", body = TokenVerdict),
        (status = 401, description = "`AUTH_MISSING_TOKEN`: nothing was presented"),
    ),
)]
pub async fn validate_token(
    State(api): State<ApiState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TokenVerdict>, ApiError> {
    let request: ValidateToken = body.read()?;
    let in_body = request.token.as_ref().map(Secret::expose).map(String::as_str);
    let token = in_body.or_else(|| bearer(&headers)).ok_or(ErrorCode::AuthMissingToken)?;
    let now = api.clock.now();
    Ok(Json(match examine(&api, token, now).await? {
        Ok(holder) => TokenVerdict::Valid(valid(holder, now)),
        Err(refusal) => TokenVerdict::Invalid(invalid(refusal)),
    }))
}

fn valid(holder: Holder, now: Timestamp) -> ValidToken {
    ValidToken {
        valid: true,
        user: TokenOwner {
            id: holder.user,
            email: holder.email.unwrap_or_default(),
            role: role_body(holder.role),
            name: holder.name,
        },
        kind: if holder.session.is_some() { TokenKind::Session } else { TokenKind::ApiToken },
        expires_at: holder.expires_at.map(Timestamp::to_rfc3339),
        expires_in: holder.expires_at.map(|end| seconds_until(end, now)),
    }
}

fn invalid(refusal: Refusal) -> InvalidToken {
    let (reason, expired_at, revoked_at) = match refusal {
        Refusal::Invalid => (InvalidReason::TokenInvalid, None, None),
        Refusal::Expired { at } => (InvalidReason::TokenExpired, Some(at), None),
        Refusal::Revoked { at } => (InvalidReason::TokenRevoked, None, Some(at)),
        Refusal::Disabled => (InvalidReason::AccountDisabled, None, None),
    };
    let text = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339);
    InvalidToken { valid: false, reason, expired_at: text(expired_at), revoked_at: text(revoked_at) }
}
