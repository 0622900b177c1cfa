//! Who a credential belongs to, and what it lets them see.

use auth::api_token::covers;
use auth::{Role, TokenHash, ic_token};
use axum::http::StatusCode;
use kernel::{ErrorCode, Secret, Timestamp};
use persistence::{RightsOf, StoreError};
use ws_hub::{Admission, Boxed, Check, Gate, Pass, Refusal, Sight, Standing};

use crate::caller::token::{self, Holder};
use crate::{ApiError, ApiState};

/// Somebody whose credential is taken.
struct Identity {
    subject: String,
    role: Option<&'static str>,
    /// What the credential's worth depends on.
    keys: Vec<String>,
    sight: Sight,
}

/// Why a credential is not taken.
struct Denied {
    code: ErrorCode,
    message: &'static str,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self { code: denied.code.as_str(), message: denied.message.to_owned(), transient: false }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let error = ApiError::new(denied.code, denied.message);
        match denied.code {
            // Elsewhere the code of a login
            ErrorCode::AuthAccountDisabled => error.status(StatusCode::UNAUTHORIZED),
            _ => error,
        }
    }
}

/// Looks at a credential of any kind: an IC token, a login, an API token.
async fn identify(api: &ApiState, token: &str, now: Timestamp) -> Result<Result<Identity, Denied>, StoreError> {
    if let Some(ic_token) = ic_token::verify_signed(&api.keys.ic_tokens, token) {
        let invalid = Denied { code: ErrorCode::InvalidIcToken, message: "the IC token is not valid" };
        if ic_token.expires_at.is_some_and(|at| now >= at) {
            return Ok(Err(invalid));
        }
        let stored = api.store.ic_token_hash(ic_token.agent).await?;
        if !ic_token.is_current(stored.as_deref()) {
            return Ok(Err(invalid));
        }
        return Ok(Ok(Identity {
            subject: ic_token.agent.prefixed(),
            role: None,
            keys: vec![RightsOf::Agent(ic_token.agent).key()],
            sight: Sight::of([ic_token.agent]),
        }));
    }
    let holder = match token::examine(api, token, now).await? {
        Ok(holder) => holder,
        Err(refusal) => return Ok(Err(denied(refusal))),
    };
    if api.policy.enforce_password_change && holder.must_change_password {
        let message = "the password must be changed first";
        return Ok(Err(Denied { code: ErrorCode::InsufficientPermissions, message }));
    }
    // The stream stands under `events`, and under its other address
    let in_scope = |scopes| ["events", "ws"].iter().any(|resource| covers(scopes, true, resource));
    if holder.token.as_ref().is_some_and(|token| !in_scope(&token.scopes)) {
        let message = "no scope of the API token covers the stream";
        return Ok(Err(Denied { code: ErrorCode::InsufficientScope, message }));
    }
    let sight = match holder.role {
        Role::Admin => Sight::All,
        Role::User | Role::Viewer => Sight::of(api.store.agents_owned_by(&holder.user).await?),
    };
    let Holder { user, role, session, token, .. } = holder;
    let mut keys = vec![RightsOf::User(&user).key()];
    keys.extend(token.map(|token| RightsOf::ApiToken(token.row.id).key()));
    keys.extend(session.map(|session| RightsOf::Session(&session).key()));
    Ok(Ok(Identity { subject: user.to_string(), role: Some(role.as_str()), keys, sight }))
}

const fn denied(refusal: token::Refusal) -> Denied {
    match refusal {
        token::Refusal::Invalid => Denied { code: ErrorCode::AuthInvalidToken, message: "the token is not valid" },
        token::Refusal::Expired { .. } => {
            Denied { code: ErrorCode::AuthTokenExpired, message: "the token has expired" }
        }
        token::Refusal::Revoked { .. } => {
            Denied { code: ErrorCode::AuthTokenRevoked, message: "the login has ended, or the token was revoked" }
        }
        token::Refusal::Disabled => Denied { code: ErrorCode::AuthAccountDisabled, message: "the account is disabled" },
    }
}

/// A credential that is looked at again and again.
struct TokenCheck {
    api: ApiState,
    token: Secret<String>,
}

impl Check for TokenCheck {
    fn check(&self) -> Boxed<'_, Option<Standing>> {
        Box::pin(async {
            match identify(&self.api, self.token.expose(), self.api.clock.now()).await {
                Ok(Ok(identity)) => Some(Standing::Sees(identity.sight)),
                Ok(Err(denied)) => Some(Standing::Ended(denied.into())),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a credential cannot be looked at");
                    None
                }
            }
        })
    }
}

/// Why somebody is not let in.
pub(super) enum Turned {
    /// Their credential is not taken.
    Away(Refusal, ApiError),
    /// It cannot be looked at now.
    Later(ApiError),
}

impl From<Turned> for ApiError {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Away(_, error) | Turned::Later(error) => error,
        }
    }
}

/// Lets somebody in whose credential is taken.
pub(super) async fn admit(api: &ApiState, token: Secret<String>) -> Result<Admission, Turned> {
    let away = |denied: Denied| {
        let Denied { code, message } = denied;
        Turned::Away(Denied { code, message }.into(), Denied { code, message }.into())
    };
    let later = |error: StoreError| Turned::Later(error.into());
    let identity = identify(api, token.expose(), api.clock.now()).await.map_err(later)?.map_err(away)?;
    let Identity { subject, role, keys, .. } = identity;
    let name = TokenHash::of(token.expose()).as_str().to_owned();
    let check = Box::new(TokenCheck { api: api.clone(), token });
    let (pass, standing) = match api.stream.passes.issue(name, keys, check).await {
        Some(issued) => issued,
        None => return Err(Turned::Later(ApiError::unavailable("a credential cannot be looked at"))),
    };
    match standing {
        Standing::Sees(_) => Ok(Admission { subject, role, pass }),
        // It ended between the two looks
        Standing::Ended(refusal) => {
            let error = ApiError::new(ErrorCode::AuthTokenRevoked, refusal.message.clone());
            Err(Turned::Away(refusal, error))
        }
    }
}

/// What somebody sees who has just been let in.
pub(super) fn sight(pass: &Pass) -> Sight {
    match pass.standing() {
        Some(Standing::Sees(sight)) => sight,
        _ => Sight::of([]),
    }
}

/// The way in for credentials that come as a frame.
pub(super) struct Door(pub(super) ApiState);

impl Gate for Door {
    fn admit(&self, token: Secret<String>) -> Boxed<'static, Result<Admission, Refusal>> {
        let api = self.0.clone();
        Box::pin(async move {
            match admit(&api, token).await {
                Ok(admission) => Ok(admission),
                Err(Turned::Away(refusal, _)) => Err(refusal),
                Err(Turned::Later(_)) => Err(Refusal {
                    code: ErrorCode::ServiceUnavailable.as_str(),
                    message: "the credential cannot be looked at at the moment".to_owned(),
                    transient: true,
                }),
            }
        })
    }
}
