//! DELETE `/api/v1/agents/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::{AgentId, EndedBy, ErrorCode, LeaseId};
use ledger::{Actor, Command, Rejection};
use persistence::{AuditRecord, Item, Refused, Work};
use serde_json::json;

use super::shape::audited;
use crate::budget_requests::note_cancelled;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params};

/// Leases that are revoked with one set of statements.
const CHUNK: usize = 500;
/// What stands on the leases and the budget requests.
const REASON: &str = "the agent was deleted";

/// Deletes an agent
///
/// Its IC token and the API tokens made for it are refused from now on, its open leases are revoked (what they have not
/// reported is in suspense until somebody settles it), its pending budget requests are cancelled, and what it spent stays
/// on record under its name. Its id then answers 404.
#[utoipa::path(
    delete,
    path = "/api/v1/agents/{id}",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn delete_agent(State(api): State<ApiState>, caller: Caller, params: Params) -> Result<StatusCode, ApiError> {
    caller.require_admin()?;
    let id = params.agent_id("id")?;
    let deleted = transact!(api, async |work| {
        let before = super::locked(work, id).await?;
        let revoked = revoke_leases(&api, work, &caller, id).await?;
        let tokens = work.revoke_api_tokens_of_agent(id).await?;
        work.delete_agent(id).await?.ok_or(ErrorCode::AgentNotFound)?;
        let cancelled = work.cancel_requests_for(id, &caller.user, REASON).await?;
        let mut record = AuditRecord::new("AGENT_DELETED", "agent", id, caller.audit_actor());
        record.metadata = json!({
            "leases_revoked": revoked,
            "api_tokens_revoked": tokens,
            "budget_requests_cancelled": cancelled.len(),
        });
        work.audit(record.changed(audited(&before), None));
        note_cancelled(work, &caller, &cancelled);
        Ok(())
    });
    deleted.await?;
    api.directory.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every active lease of the agent, which is locked; returns how many were revoked.
async fn revoke_leases(api: &ApiState, work: &mut Work, caller: &Caller, agent: AgentId) -> Result<usize, Stop> {
    let mut revoked = 0;
    let active = work.active_leases(agent).await?;
    for chunk in active.chunks(CHUNK) {
        let revoke = |lease: &LeaseId| {
            Item::new(Command::Revoke {
                lease: lease.clone(),
                by: EndedBy::AgentDeleted,
                actor: Actor::User(caller.user.clone()),
                reason: REASON.to_owned(),
            })
        };
        let items: Vec<Item> = chunk.iter().map(revoke).collect();
        let mut run_out = Vec::new();
        for (lease, answer) in chunk.iter().zip(work.run(&items, api.lending.ttl_ms).await?) {
            match answer {
                Ok(_) => revoked += 1,
                // Its time was over before, only nobody had noticed
                Err(Refused::Ledger(Rejection::LeaseEnded)) => {
                    run_out.push(Item::new(Command::Expire { lease: lease.clone() }));
                }
                Err(refused) => return Err(ApiError::from(refused).into()),
            }
        }
        if !run_out.is_empty() {
            for answer in work.run(&run_out, api.lending.ttl_ms).await? {
                answer.map_err(ApiError::from)?;
            }
        }
    }
    Ok(revoked)
}
