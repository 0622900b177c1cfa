//! Pairs of tokens, and how they are shown.

use api_types::auth::{Session, SessionUser};
use auth::session::{Lifetimes, Subject, TokenPair, issue};
use kernel::{SessionId, Timestamp};
use persistence::{SettingsOf, StoreError, User, Work};

use crate::ApiState;
use crate::users::shape::role_body;

const TIMEOUT: &str = "security.session_timeout_minutes";

/// A new pair of tokens for a login of this user.
pub(super) async fn pair(
    api: &ApiState,
    work: &mut Work,
    user: &User,
    session: &SessionId,
) -> Result<TokenPair, StoreError> {
    let email = user.email.as_deref().unwrap_or_default();
    let subject = Subject { user: &user.id, role: user.role, email, session };
    Ok(issue(&api.keys.sessions, subject, lifetimes(api, work, user).await?, work.now(), &*api.entropy))
}

/// How long the tokens live: what is set for the installation, failing that what the server was started with, and no longer
/// than any project around the user wants it.
async fn lifetimes(api: &ApiState, work: &mut Work, user: &User) -> Result<Lifetimes, StoreError> {
    let system = work.settings_of(&SettingsOf::System).await?;
    let set = system.get(TIMEOUT).and_then(serde_json::Value::as_i64).map(|minutes| minutes * 60);
    let projects = work.project_settings_around(TIMEOUT, &user.id).await?;
    let own = set.unwrap_or(api.lifetimes.access_secs);
    let access_secs = projects.into_iter().map(|minutes| minutes.saturating_mul(60)).fold(own, i64::min);
    Ok(Lifetimes { access_secs, ..api.lifetimes })
}

/// The pair as its owner gets it, once.
pub(super) fn body(pair: &TokenPair, user: &User, now: Timestamp) -> Session {
    let access = pair.access.expose();
    Session {
        user_token: access.clone(),
        access_token: access.clone(),
        refresh_token: pair.refresh.expose().clone(),
        token_type: "Bearer".to_owned(),
        expires_in: seconds_until(pair.access_expires_at, now),
        expires_at: pair.access_expires_at.to_rfc3339(),
        refresh_expires_at: pair.refresh_expires_at.to_rfc3339(),
        user: SessionUser {
            id: user.id.clone(),
            email: user.email.clone().unwrap_or_default(),
            role: role_body(user.role),
            name: user.username.clone(),
            must_change_password: user.must_change_password,
        },
    }
}

/// Seconds from now until a token's end. Tokens end on a whole second and count from one, so the second that has begun
/// counts in full.
pub(super) fn seconds_until(end: Timestamp, now: Timestamp) -> i64 {
    end.secs().saturating_sub(now.secs())
}
