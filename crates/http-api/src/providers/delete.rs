//! DELETE `/api/v1/providers/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::ErrorCode;
use persistence::AuditRecord;

use super::shape::audited;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Deletes a provider key
///
/// With its secret. Agents and projects lose it; an agent whose primary key it was gets the first of its others.
#[utoipa::path(
    delete,
    path = "/api/v1/providers/{id}",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`PROVIDER_NOT_FOUND`"),
    ),
)]
pub async fn delete_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<StatusCode, ApiError> {
    caller.require_admin()?;
    let id = super::key_id(&params)?;
    let deleted = transact!(api, async |work| {
        let before = work.provider_key_for_update(id).await?.ok_or(ErrorCode::ProviderNotFound)?;
        work.delete_provider_key(id).await?;
        let record = AuditRecord::new("PROVIDER_DELETED", "provider", id, caller.audit_actor());
        work.audit(record.changed(audited(&before), None));
        Ok(())
    });
    deleted.await?;
    api.directory.clear();
    Ok(StatusCode::NO_CONTENT)
}
