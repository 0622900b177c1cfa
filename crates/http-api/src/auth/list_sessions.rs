//! GET `/api/v1/auth/sessions`.

use api_types::auth::LoginSession;
use axum::extract::State;
use kernel::Timestamp;
use persistence::Page;

use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Lists one's own logins
///
/// Those that have not ended, youngest first, with where they were last seen. Needs a login.
#[utoipa::path(
    get,
    path = "/api/v1/auth/sessions",
    tag = "auth",
    security(("bearer" = [])),
    params(
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all are listed, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses(
        (status = 200, description = "An array", body = Vec<LoginSession>),
        (status = 403, description = "`AUTH_SESSION_REQUIRED`: not with an API token"),
    ),
)]
pub async fn list_sessions(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<LoginSession>, ApiError> {
    let current = caller.require_session()?;
    let mut q = query.reader();
    let request = q.array();
    let request = q.finish(request)?;
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let listed = api.store.live_sessions(&caller.user, page, api.clock.now()).await?;
    let rows = listed.rows.into_iter().map(|session| LoginSession {
        current: session.id == *current,
        id: session.id,
        created_at: session.created_at.millis(),
        last_used_at: session.last_used_at.map(Timestamp::millis),
        expires_at: session.expires_at.to_rfc3339(),
        ip_address: session.origin.ip_address,
        user_agent: session.origin.user_agent,
    });
    Ok(ArrayList::new(rows.collect(), listed.total, request))
}
