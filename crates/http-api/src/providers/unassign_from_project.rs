//! DELETE `/api/v1/projects/{id}/provider`.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::{ErrorCode, ProviderKeyId};
use persistence::AuditRecord;
use serde_json::json;

use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params, Query};

/// Takes provider keys from a project
///
/// One, or all of them. Its agents keep those that are their own.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{id}/provider",
    tag = "providers",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The project"),
        ("provider_key_id" = Option<i64>, Query, description = "The key; all unless given"),
    ),
    responses(
        (status = 204, description = "Taken"),
        (status = 404, description = "`PROJECT_NOT_FOUND`, `NO_PROVIDER_KEY` (it does not lend that, or any)"),
    ),
)]
pub async fn unassign_project_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<StatusCode, ApiError> {
    caller.require_admin()?;
    let mut q = query.reader();
    let key = q.int(&["provider_key_id"], 1, i64::MAX).map(ProviderKeyId);
    let key = q.finish(key)?;
    let project = params.project_id("id")?;
    let unassigned = transact!(api, async |work| {
        if !work.hold_project(&project).await? {
            return Err(ErrorCode::ProjectNotFound.into());
        }
        let lent = work.project_keys(&project).await?;
        let lent: Vec<_> = lent.iter().map(|lent| lent.key).filter(|lent| key.is_none_or(|key| *lent == key)).collect();
        if work.unassign_project_keys(&project, key).await? == 0 {
            return Err(ErrorCode::NoProviderKey.into());
        }
        let record = AuditRecord::new("PROJECT_PROVIDER_UNASSIGNED", "project", &project, caller.audit_actor());
        work.audit(record.changed(json!({ "provider_key_ids": lent }), None));
        Ok(())
    });
    unassigned.await?;
    api.directory.clear();
    Ok(StatusCode::NO_CONTENT)
}
