//! Passwords that somebody tries: what is counted, and what keeps them from trying on.
//!
//! Whoever knows nothing learns nothing: an unknown e-mail does the same work, counts the same way and is locked the same
//! way as a known one; and while an account is locked a right password and a wrong one get the same answer.

use auth::lockout::Locked;
use kernel::{ErrorCode, UserId};
use persistence::{AuditActor, AuditRecord, Work};
use serde_json::json;

use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, RequestContext};

/// How often a password is checked again because it was changed meanwhile.
pub(super) const ATTEMPTS: usize = 3;

/// Before anything else: 403 `AUTH_ACCOUNT_LOCKED`, or 429.
pub(super) async fn admit(api: &ApiState, email: &str, context: &RequestContext) -> Result<(), ApiError> {
    let state = api.store.lockout(email).await?;
    api.lockout.check(state, api.clock.now()).map_err(locked)?;
    api.limits.login(email, context.client_ip())
}

/// After a wrong password: counts it, and says what to answer. The failure that sets a lock leaves an audit entry.
pub(super) async fn failed(
    api: &ApiState,
    email: &str,
    user: Option<&UserId>,
    context: &RequestContext,
    actor: &AuditActor,
) -> Result<ApiError, ApiError> {
    api.limits.login_failed(email, context.client_ip());
    transact!(api, async |work| {
        let state = work.lockout_for_update(email).await?;
        if let Err(lock) = api.lockout.check(state, work.now()) {
            // Others have set it meanwhile: a guess that was right would meet it too
            return Ok(locked(lock));
        }
        let failure = work.record_login_failure(email, &api.lockout).await?;
        if failure.locks {
            let until = failure.state.locked_until.map(kernel::Timestamp::millis);
            let record = AuditRecord {
                operation: "LOGIN_FAILED_LOCKED",
                resource_type: "user",
                resource_id: user.map(ToString::to_string),
                actor: actor.clone(),
                before: None,
                after: None,
                metadata: json!({ "email": auth::email::normalized(email), "locked_until": until }),
            };
            work.audit(record);
        }
        Ok(ErrorCode::AuthInvalidCredentials.into())
    })
    .await
}

/// After a right password, in the transaction that acts on it: refuses under a lock that was set meanwhile, and forgets
/// what had failed.
pub(super) async fn succeeded(api: &ApiState, work: &mut Work, email: &str) -> Result<(), Stop> {
    let state = work.lockout_for_update(email).await?;
    api.lockout.after_success(state, work.now()).map_err(locked)?;
    work.clear_login_failures(email).await?;
    Ok(())
}

fn locked(lock: Locked) -> ApiError {
    let details = json!({ "retry_after": lock.retry_after_secs, "locked_until": lock.until.millis() });
    ApiError::from(ErrorCode::AuthAccountLocked).details(details)
}
