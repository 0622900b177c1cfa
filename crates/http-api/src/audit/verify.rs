//! GET `/api/v1/audit-logs/verify`.

use api_types::audit::AuditVerdict;
use axum::Json;
use axum::extract::State;

use crate::{ApiError, ApiState, Caller, Query};

/// Checks the audit log
///
/// Recomputes the hash chain and names the first entry that is not as it was written, or that is missing. Entries that were
/// removed because their time was over are not missing: the log begins after them. The same as `server audit verify`.
#[utoipa::path(
    get,
    path = "/api/v1/audit-logs/verify",
    tag = "audit",
    security(("bearer" = [])),
    params(
        ("from_seq" = Option<i64>, Query, description = "The first entry to check; the oldest unless given"),
        ("to_seq" = Option<i64>, Query, description = "The last entry to check; the youngest unless given"),
    ),
    responses((status = 200, description = "What was found", body = AuditVerdict)),
)]
pub async fn verify_audit_logs(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<AuditVerdict>, ApiError> {
    caller.require_admin()?;
    let mut q = query.reader();
    let (from, to) = (q.int(&["from_seq"], 1, i64::MAX), q.int(&["to_seq"], 1, i64::MAX));
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        q.error("from_seq", "must not be after to_seq");
    }
    q.finish(())?;
    let as_of = api.clock.now();
    let check = api.store.verify_audit(from, to).await?;
    if let Some((seq, reason)) = check.bad {
        tracing::error!(seq, reason, "the audit log is not as it was written");
    }
    Ok(Json(AuditVerdict {
        ok: check.is_ok(),
        checked: check.checked,
        first_seq: check.first_seq,
        last_seq: check.last_seq,
        head_hash: hex::encode(check.head.hash),
        first_bad_seq: check.bad.map(|(seq, _)| seq),
        reason: check.bad.map(|(_, reason)| reason.to_owned()),
        as_of: as_of.millis(),
    }))
}
