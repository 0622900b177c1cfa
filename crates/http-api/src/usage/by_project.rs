//! GET `/api/v1/usage/by-project`: what was used by the agents of projects.

use analytics::Dimension;
use api_types::usage::{ProjectUsageBody, UsageBody};
use axum::Json;
use axum::extract::State;
use kernel::ProjectId;
use persistence::Group;

use super::shape::{OfProject, Range, asked, name, nothing};
use crate::{ApiError, ApiState, Caller, Params, Query};

/// What was used by the agents of each project
///
/// The most expensive first. Agents without a project stand under `null`.
#[utoipa::path(
    get,
    path = "/api/v1/usage/by-project",
    tag = "usage",
    security(("bearer" = [])),
    params(Range, OfProject),
    responses((status = 200, description = "By own agents; an admin sees all", body = Vec<ProjectUsageBody>)),
)]
pub(crate) async fn usage_by_project(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Vec<ProjectUsageBody>>, ApiError> {
    let groups = asked(&api, &caller, &query)?.by(&api, Dimension::Project).await?;
    Ok(Json(groups.iter().map(project).collect()))
}

fn project(group: &Group) -> ProjectUsageBody {
    ProjectUsageBody {
        project_id: Some(name(group)).filter(|id| !id.is_empty()),
        tokens: group.measures.total_tokens(),
        requests: group.measures.requests(),
        cost_cents: group.measures.cost().cents_half_up(),
    }
}

/// What was used by the agents of a project
#[utoipa::path(
    get,
    path = "/api/v1/usage/by-project/{project_id}",
    tag = "usage",
    security(("bearer" = [])),
    params(
        ("project_id" = String, Path, description = "The project; of one that is not known, zeros are told"),
        Range,
    ),
    responses(
        (status = 200, description = "By own agents; an admin sees all", body = UsageBody),
        (status = 400, description = "`INVALID_PARAMETER`"),
    ),
)]
pub(crate) async fn usage_of_project(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<UsageBody>, ApiError> {
    let project = ProjectId::new(params.text("project_id", 1_000)?);
    let mut asked = asked(&api, &caller, &query)?;
    // A filter that contradicts the path leaves nothing
    if asked.filter.projects.iter().any(|wanted| *wanted != project) {
        return Ok(Json(nothing()));
    }
    asked.filter.projects = vec![project];
    Ok(Json(asked.usage(&api).await?))
}
