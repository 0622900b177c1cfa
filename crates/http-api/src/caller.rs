//! Who calls with a user's token.
//!
//! [`Caller`] is the extractor of every route for users. It refuses with 401 whoever is nobody, and leaves to the handler
//! what somebody may do:
//!
//! ```ignore
//! async fn create(State(api): State<ApiState>, caller: Caller, body: Body) -> Result<Json<Agent>, ApiError> {
//!     caller.require_writer()?;                                             // 403 INSUFFICIENT_PERMISSIONS
//!     let request: CreateAgent = body.read()?;                              // 400
//!     let agent = load(request.id).ok_or(ErrorCode::AgentNotFound)?;        // 404
//!     caller.require_sight_of(&agent.owner, ErrorCode::AccessDenied)?;      // 403, or a 404 of the object's kind
//!     transact!(api, async |work| {
//!         work.audit(AuditRecord::new("AGENT_CREATED", "agent", id, caller.audit_actor()));
//! ```
//!
//! What a token's scopes leave of its owner's rights, and how often one may read and write, is decided here too, so that no
//! route can forget it: 403 `INSUFFICIENT_SCOPE` and 429. Exports count besides, where they are made.
//!
//! Role, names and state come from the store on each request, with one question: what an administrator changes holds from
//! the next request on. Nothing that stands in the token but the session's id is believed.

mod scope;
pub(crate) mod token;

use auth::api_token::{self, Scope};
use auth::{Need, Role, allows};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use kernel::{AgentId, ErrorCode, SessionId, Timestamp, UserId};
use persistence::{ApiToken, AuditActor, SessionOrigin};

use crate::bearer::bearer;
use crate::{ApiError, ApiState, RequestContext};
use token::{Holder, Refusal};

/// Characters of the client's own name for itself that the audit log keeps.
const MAX_USER_AGENT_CHARS: usize = 500;
/// Where somebody who has to change their password may still go.
const AUTH_ROUTES: &str = "/api/v1/auth/";

/// An active user, as the store has them now.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// What they are.
    pub role: Role,
    /// Their e-mail.
    pub email: Option<String>,
    /// Their name.
    pub name: String,
    /// The login this request belongs to; `None` for an API token.
    pub session: Option<SessionId>,
    /// The API token this request was made with; `None` for a login.
    pub token: Option<CallerToken>,
    actor: AuditActor,
}

/// The API token of a caller.
#[derive(Clone, Debug)]
pub struct CallerToken {
    /// The token.
    pub row: ApiToken,
    /// What narrows it, read.
    pub(crate) scopes: Vec<Scope>,
}

impl CallerToken {
    /// Reads the scopes of a token; `None` if they cannot be read.
    pub(crate) fn new(row: ApiToken) -> Option<Self> {
        let scopes = row.scopes.iter().map(|text| Scope::parse(text)).collect::<Option<_>>()?;
        Some(Self { row, scopes })
    }
}

impl Caller {
    /// Whether they may do everything.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// 403 `INSUFFICIENT_PERMISSIONS` unless the role is enough.
    pub fn require(&self, need: Need) -> Result<(), ApiError> {
        if allows(self.role, need) { Ok(()) } else { Err(ErrorCode::InsufficientPermissions.into()) }
    }

    /// Admins only.
    pub fn require_admin(&self) -> Result<(), ApiError> {
        self.require(Need::Admin)
    }

    /// Anybody but viewers.
    pub fn require_writer(&self) -> Result<(), ApiError> {
        self.require(Need::Writer)
    }

    /// 403 `AUTH_SESSION_REQUIRED` for an API token; otherwise the login.
    pub fn require_session(&self) -> Result<&SessionId, ApiError> {
        self.session.as_ref().ok_or_else(|| ErrorCode::AuthSessionRequired.into())
    }

    /// 403 `API_TOKEN_REQUIRED` for a login; otherwise the API token.
    pub fn require_api_token(&self) -> Result<&ApiToken, ApiError> {
        self.token.as_ref().map(|token| &token.row).ok_or_else(|| ErrorCode::ApiTokenRequired.into())
    }

    /// Refuses to hand out a token with these scopes, for this agent, to somebody who has less: 403
    /// `INSUFFICIENT_SCOPE` or `AGENT_TOKEN_NOT_ALLOWED`.
    pub fn require_no_less_than(&self, scopes: &[Scope], agent: Option<AgentId>) -> Result<(), ApiError> {
        let Some(token) = &self.token else { return Ok(()) };
        if !api_token::includes(&token.scopes, scopes) {
            return Err(ErrorCode::InsufficientScope.into());
        }
        if token.row.agent.is_some() && token.row.agent != agent {
            let text = "a token of an agent makes tokens of that agent only";
            return Err(ApiError::new(ErrorCode::AgentTokenNotAllowed, text));
        }
        Ok(())
    }

    /// The latest end of a token that they make or replace: that of the token they call with, so that whoever came by one
    /// for a while does not stay.
    pub(crate) fn latest_end(&self) -> Option<Timestamp> {
        self.token.as_ref().and_then(|token| token.row.expires_at)
    }

    /// Whether it belongs to them. An admin owns no more than others; see [`Caller::sees`].
    pub fn owns(&self, owner: &UserId) -> bool {
        self.user == *owner
    }

    /// Whether they may see what belongs to `owner`: their own, and admins everything.
    pub fn sees(&self, owner: &UserId) -> bool {
        self.is_admin() || self.owns(owner)
    }

    /// Refuses whoever may not see what belongs to `owner`, with the code that the kind of object asks for: 403
    /// `ACCESS_DENIED` for agents, for most others the 404 that they would get if there were no such thing.
    pub fn require_sight_of(&self, owner: &UserId, otherwise: ErrorCode) -> Result<(), ApiError> {
        if self.sees(owner) { Ok(()) } else { Err(otherwise.into()) }
    }

    /// Who acts, for the audit log.
    pub const fn audit_actor(&self) -> &AuditActor {
        &self.actor
    }
}

/// The client's address and name for itself and the request's id, for the audit log; for routes without a [`Caller`],
/// which add the agent if there is one.
pub fn audit_actor(context: &RequestContext, headers: &HeaderMap) -> AuditActor {
    AuditActor {
        ip_address: Some(context.client_ip().to_string()),
        user_agent: headers.get(header::USER_AGENT).map(|value| loggable(value.as_bytes())),
        request_id: Some(context.request_id_str().to_owned()),
        ..AuditActor::default()
    }
}

/// From where a login comes.
pub(crate) fn session_origin(context: &RequestContext, headers: &HeaderMap) -> SessionOrigin {
    let AuditActor { ip_address, user_agent, .. } = audit_actor(context, headers);
    SessionOrigin { ip_address, user_agent }
}

/// Text fit for the audit log, whatever bytes came.
fn loggable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT_CHARS).collect()
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &ApiState) -> Result<Self, ApiError> {
        let context = match parts.extensions.get::<RequestContext>() {
            Some(context) => context.clone(),
            None => return Err(ApiError::internal("a route for users stands outside the outermost service")),
        };
        let token = bearer(&parts.headers).ok_or(ErrorCode::AuthMissingToken)?;
        let now = api.clock.now();
        let holder = token::examine(api, token, now).await?.map_err(refusal)?;
        context.set_actor(holder.user.as_str());
        match (&holder.session, &holder.token) {
            (Some(session), _) => api.uses.session(session, now),
            (None, Some(token)) => api.uses.token(token.row.id, now),
            (None, None) => {}
        }
        count(api, &holder.user, &parts.method)?;
        if let Some(token) = &holder.token {
            scope::check(&token.scopes, parts)?;
        }
        check_password_policy(api, &holder, parts.uri.path())?;
        let actor = AuditActor {
            user: Some(holder.user.clone()),
            role: Some(holder.role.as_str().to_owned()),
            ..audit_actor(&context, &parts.headers)
        };
        let Holder { user, role, email, name, session, token, .. } = holder;
        Ok(Self { user, role, email, name, session, token, actor })
    }
}

/// What a token that is not taken means to whoever sent it.
fn refusal(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Invalid => ErrorCode::AuthInvalidToken.into(),
        Refusal::Expired { .. } => ErrorCode::AuthTokenExpired.into(),
        Refusal::Revoked { .. } => ErrorCode::AuthTokenRevoked.into(),
        Refusal::Disabled => disabled(),
    }
}

/// 401: the token of a suspended or deleted user.
pub(crate) fn disabled() -> ApiError {
    // The code's usual status is that of a login
    ApiError::from(ErrorCode::AuthAccountDisabled).status(StatusCode::UNAUTHORIZED)
}

fn count(api: &ApiState, user: &UserId, method: &Method) -> Result<(), ApiError> {
    if is_read(method) { api.limits.user_read(user) } else { api.limits.user_write(user) }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn check_password_policy(api: &ApiState, holder: &Holder, path: &str) -> Result<(), ApiError> {
    if api.policy.enforce_password_change && holder.must_change_password && !path.starts_with(AUTH_ROUTES) {
        return Err(ApiError::new(ErrorCode::InsufficientPermissions, "the password must be changed first"));
    }
    Ok(())
}

#[cfg(test)]
mod limits_tests;

#[cfg(test)]
mod tests {
    use super::loggable;

    #[test]
    fn what_a_client_calls_itself_is_cut_and_cleaned() {
        assert_eq!(loggable(b"agent/1.0 \x01\xff"), "agent/1.0 \u{fffd}");
        assert_eq!(loggable("ä".repeat(600).as_bytes()).chars().count(), 500);
    }
}
