//! Whether a user's token is taken, and who holds it.

use auth::api_token::ApiTokenError;
use auth::session::AccessError;
use auth::{Role, api_token, session};
use kernel::{SessionId, Timestamp, UserId};
use persistence::StoreError;

use super::CallerToken;
use crate::ApiState;

/// Who holds a token, as the store has them now.
pub(crate) struct Holder {
    pub(crate) user: UserId,
    pub(crate) role: Role,
    pub(crate) email: Option<String>,
    pub(crate) name: String,
    pub(crate) must_change_password: bool,
    /// The login it belongs to; `None` for an API token.
    pub(crate) session: Option<SessionId>,
    /// The API token it is; `None` for a login.
    pub(crate) token: Option<CallerToken>,
    /// When it ends, if it does.
    pub(crate) expires_at: Option<Timestamp>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no token of a user of ours.
    Invalid,
    /// Its end has come.
    Expired { at: Timestamp },
    /// Its login ended, or it was revoked.
    Revoked { at: Timestamp },
    /// Its owner is suspended or deleted.
    Disabled,
}

/// Looks at a token of either kind.
pub(crate) async fn examine(
    api: &ApiState,
    token: &str,
    now: Timestamp,
) -> Result<Result<Holder, Refusal>, StoreError> {
    if api_token::looks_like(token) {
        return examine_api_token(api, token, now).await;
    }
    let access = match session::verify(&api.keys.sessions, token, now) {
        Ok(access) => access,
        Err(AccessError::Invalid) => return Ok(Err(Refusal::Invalid)),
        Err(AccessError::Expired { at }) => return Ok(Err(Refusal::Expired { at })),
    };
    let Some(principal) = api.store.principal(&access.session).await? else { return Ok(Err(Refusal::Invalid)) };
    if principal.user != access.user {
        return Ok(Err(Refusal::Invalid));
    }
    // Before the session's end: suspending somebody ends their sessions too, and the reason is what they need to know
    if !principal.is_active {
        return Ok(Err(Refusal::Disabled));
    }
    if let Some(at) = principal.session_ended_at {
        return Ok(Err(Refusal::Revoked { at }));
    }
    Ok(Ok(Holder {
        user: principal.user,
        role: principal.role,
        email: principal.email,
        name: principal.username,
        must_change_password: principal.must_change_password,
        session: Some(access.session),
        token: None,
        expires_at: Some(access.expires_at),
    }))
}

async fn examine_api_token(api: &ApiState, token: &str, now: Timestamp) -> Result<Result<Holder, Refusal>, StoreError> {
    let Some(hash) = api_token::parse(token) else { return Ok(Err(Refusal::Invalid)) };
    let Some(principal) = api.store.api_token_principal(&hash).await? else { return Ok(Err(Refusal::Invalid)) };
    let (token, owner) = (principal.token, principal.owner);
    // Before the token's end, for the same reason: deleting somebody revokes their tokens too
    if !owner.is_active {
        return Ok(Err(Refusal::Disabled));
    }
    match token.record().check(now) {
        Ok(()) => {}
        Err(ApiTokenError::Revoked { at }) => return Ok(Err(Refusal::Revoked { at })),
        Err(ApiTokenError::Expired { at }) => return Ok(Err(Refusal::Expired { at })),
    }
    let expires_at = token.expires_at;
    let Some(token) = CallerToken::new(token) else {
        return Err(StoreError::Corrupt("the scopes of an API token cannot be read".to_owned()));
    };
    Ok(Ok(Holder {
        user: owner.user,
        role: owner.role,
        email: owner.email,
        name: owner.username,
        must_change_password: owner.must_change_password,
        session: None,
        token: Some(token),
        expires_at,
    }))
}
