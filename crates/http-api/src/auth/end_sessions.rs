//! DELETE `/api/v1/auth/sessions`.

use api_types::auth::EndedSessions;
use axum::Json;
use axum::extract::State;
use persistence::AuditRecord;
use serde_json::json;

use crate::transact::transact;
use crate::{ApiError, ApiState, Caller};

/// Ends all other logins of one's own
///
/// Whoever fears that somebody else is logged in as them keeps only the login that asks.
#[utoipa::path(
    delete,
    path = "/api/v1/auth/sessions",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How many ended", body = EndedSessions),
        (status = 403, description = "`AUTH_SESSION_REQUIRED`: not with an API token"),
    ),
)]
pub async fn end_other_sessions(State(api): State<ApiState>, caller: Caller) -> Result<Json<EndedSessions>, ApiError> {
    let current = caller.require_session()?;
    let ended = transact!(api, async |work| {
        let ended = work.end_sessions_of(&caller.user, Some(current), "revoked").await?;
        if ended > 0 {
            let mut record = AuditRecord::new("SESSION_REVOKED", "user", &caller.user, caller.audit_actor());
            record.metadata = json!({ "all_but": current, "ended": ended });
            work.audit(record);
        }
        Ok(ended)
    });
    Ok(Json(EndedSessions { ended: ended.await? }))
}
