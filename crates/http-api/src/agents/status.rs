//! GET `/api/v1/agents/{id}/status`.

use api_types::agents::{AgentStanding, BudgetBrief, RequestCounts};
use api_types::figures::Percent;
use axum::Json;
use axum::extract::State;
use kernel::{Timestamp, Window, Zone};

use super::shape::status_body;
use crate::{ApiError, ApiState, Caller, Params};

const HOUR_MS: i64 = 3_600_000;

/// Shows how an agent stands
///
/// Whether it can go on spending, what is left, and what its runtimes did of late.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}/status",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "How it stands", body = AgentStanding),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn agent_status(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentStanding>, ApiError> {
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    let now = api.clock.now();
    let (midnight, _) = Window::Day.bounds(&Zone::UTC, now);
    let activity = api.store.agent_activity(view.agent.id, midnight, now.plus_millis(-HOUR_MS)).await?;
    let (total, spent) = (view.figures.allocated, view.figures.committed());
    Ok(Json(AgentStanding {
        agent_id: view.agent.id,
        status: status_body(view.status),
        budget: BudgetBrief {
            total,
            spent,
            remaining: view.figures.remaining(),
            percent_used: Percent::of(spent, total),
        },
        requests: RequestCounts {
            total: activity.requests_total,
            today: activity.requests_today,
            last_hour: activity.requests_last_hour,
        },
        open_leases: activity.open_leases,
        last_request_at: activity.last_request_at.map(Timestamp::millis),
        checked_at: now.millis(),
    }))
}
