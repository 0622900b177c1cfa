//! Pairs of tokens, and how they are shown.

use api_types::auth::{Session, SessionUser};
use auth::session::{Subject, TokenPair, issue};
use kernel::{SessionId, Timestamp};
use persistence::User;

use crate::ApiState;
use crate::users::shape::role_body;

/// A new pair of tokens for a login of this user.
pub(super) fn pair(api: &ApiState, user: &User, session: &SessionId, now: Timestamp) -> TokenPair {
    let email = user.email.as_deref().unwrap_or_default();
    let subject = Subject { user: &user.id, role: user.role, email, session };
    issue(&api.keys.sessions, subject, api.lifetimes, now, &*api.entropy)
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
