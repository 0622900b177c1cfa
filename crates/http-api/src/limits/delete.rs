//! DELETE `/api/v1/limits/{id}`; and what becomes of limits when their project goes.

use api_types::limits::DeletedLimit;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, LimitId, ProjectId};
use persistence::{AuditRecord, Limit, Work};

use super::money;
use super::shape::audited;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params};

/// Deletes a limit
///
/// Its budget ends with it.
#[utoipa::path(
    delete,
    path = "/api/v1/limits/{id}",
    tag = "limits",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The limit")),
    responses(
        (status = 200, description = "Deleted", body = DeletedLimit),
        (status = 404, description = "`LIMIT_NOT_FOUND`"),
    ),
)]
pub async fn delete_limit(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<DeletedLimit>, ApiError> {
    caller.require_admin()?;
    let id = params.int("id").map(LimitId)?;
    let deleted = transact!(api, async |work| {
        let limit = work.limit_for_update(id).await?.ok_or(ErrorCode::LimitNotFound)?;
        end(work, &caller, &limit).await
    });
    deleted.await?;
    api.directory.clear();
    Ok(Json(DeletedLimit { id, deleted: true }))
}

/// Ends the limits for a project that is about to go, whose row is locked and before any agent is.
pub(crate) async fn end_limits_of_project(work: &mut Work, caller: &Caller, project: &ProjectId) -> Result<(), Stop> {
    for limit in work.limits_for_update(project).await? {
        end(work, caller, &limit).await?;
    }
    Ok(())
}

async fn end(work: &mut Work, caller: &Caller, limit: &Limit) -> Result<(), Stop> {
    let cap = money::cap(work, limit).await?;
    money::end(work, limit).await?;
    work.delete_limit(limit.id).await?;
    let record = AuditRecord::new("LIMIT_DELETED", "limit", limit.id, caller.audit_actor());
    work.audit(record.changed(audited(limit, cap), None));
    Ok(())
}
