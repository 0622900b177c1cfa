//! Quotas: tokens in a day and calls in a minute, checked against what has been used before more is lent.

use api_types::control::ExplainedQuota;
use budget_protocol::QuotaDetails;
use kernel::{ErrorCode, Timestamp};
use persistence::{AgentPicture, Quota};

use super::shape::scope_body;
use crate::{ApiError, ApiState};

/// Refuses while a quota of the agent is full, naming the widest one. Asks nothing where there is none, and the database
/// only where one may be full; a quota that somebody has just filled holds at once.
pub(super) async fn refuse_full(api: &ApiState, agent: &AgentPicture) -> Result<(), ApiError> {
    let now = api.clock.now();
    for quota in &agent.quotas {
        if let Some(used) = api.store.full_quota(quota, now).await? {
            return Err(full(quota, used, now)?);
        }
    }
    Ok(())
}

fn full(quota: &Quota, used: i64, now: Timestamp) -> Result<ApiError, ApiError> {
    let details = QuotaDetails {
        quota: quota.kind.as_str().to_owned(),
        scope: scope_body(&quota.scope),
        limit: quota.limit,
        used,
        resets_at: Some(quota.kind.resets_at(now)),
        limit_id: quota.limit_id.map(|id| id.0),
    };
    let text = format!("{} of {} is used up", details.quota, details.scope);
    let details = serde_json::to_value(details).map_err(ApiError::internal)?;
    Ok(ApiError::new(ErrorCode::QuotaExceeded, text).details(details))
}

/// The quotas of an agent with what is used of them.
pub(crate) async fn explain(api: &ApiState, agent: &AgentPicture) -> Result<Vec<ExplainedQuota>, ApiError> {
    let now = api.clock.now();
    let mut explained = Vec::with_capacity(agent.quotas.len());
    for quota in &agent.quotas {
        let used = api.store.quota_used(quota.kind, &quota.scope, now).await?;
        explained.push(ExplainedQuota {
            quota: quota.kind.as_str().to_owned(),
            scope: scope_body(&quota.scope),
            limit: quota.limit,
            used,
            resets_at: Some(quota.kind.resets_at(now).millis()),
            verdict: if used < quota.limit { "ok" } else { "blocked" }.to_owned(),
        });
    }
    Ok(explained)
}
