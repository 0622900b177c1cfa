//! GET `/api/v1/budget/leases`.

use api_types::control::LeaseBody;
use axum::Json;
use axum::extract::State;
use kernel::{LeaseState, ProjectId, UserId};
use persistence::{LeaseCursor, LeaseFilter};

use super::shape::{expire_run_out, lease_body, visible_to};
use crate::list::CursorPage;
use crate::{ApiError, ApiState, Caller, Query};

const STATES: [(&str, LeaseState); 4] = [
    ("active", LeaseState::Active),
    ("expired", LeaseState::Expired),
    ("revoked", LeaseState::Revoked),
    ("closed", LeaseState::Closed),
];

/// Leases, youngest grant first
#[utoipa::path(
    get,
    path = "/api/v1/budget/leases",
    tag = "budget control",
    security(("bearer" = [])),
    params(
        ("agent_id" = Option<String>, Query, description = "`12` or `agent_12`"),
        ("state" = Option<String>, Query, description = "One or more, separated by commas"),
        ("owner_id" = Option<String>, Query, description = "Owner at the grant"),
        ("project_id" = Option<String>, Query, description = "Project at the grant"),
        ("from" = Option<String>, Query, description = "Granted at or after"),
        ("to" = Option<String>, Query, description = "Granted before"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "Own leases; an admin sees all", body = CursorPage<LeaseBody>)),
)]
pub async fn leases(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<CursorPage<LeaseBody>>, ApiError> {
    let mut q = query.reader();
    let agents = q.agent_ids("agent_id");
    let states = q.words("state", &STATES);
    let owner = q.text("owner_id", 100).map(UserId::new);
    let project = q.text("project_id", 100).map(ProjectId::new);
    let range = q.time_range();
    let place = q.cursor(100);
    let cursor = place.cursor.as_deref().map(str::parse::<LeaseCursor>);
    if matches!(cursor, Some(Err(_))) {
        q.error("cursor", "is not one of this list");
    }
    q.finish(())?;
    let cursor = cursor.and_then(Result::ok);
    let visible_to = visible_to(&caller);
    let filter = LeaseFilter { visible_to, agents, states, owner, project, from: range.from, to: range.to };
    let mut slice = api.store.leases(&filter, cursor.as_ref(), place.limit).await?;
    if expire_run_out(&api, &slice.rows, api.clock.now()).await? {
        slice = api.store.leases(&filter, cursor.as_ref(), place.limit).await?;
    }
    let next_cursor = slice.next.map(|cursor| cursor.to_string());
    Ok(Json(CursorPage { data: slice.rows.into_iter().map(lease_body).collect(), next_cursor }))
}
