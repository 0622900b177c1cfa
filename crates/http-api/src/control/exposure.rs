//! GET `/api/v1/budget/exposure`: what is out in a scope.

use api_types::control::ExposureBody;
use axum::Json;
use axum::extract::State;
use kernel::{AgentId, ErrorCode, ProjectId, Timestamp, UserId, Window};
use ledger::{Scope, ScopeKind};

use crate::budget::scope_body;
use crate::{ApiError, ApiState, Caller, Query};

const KINDS: [(&str, ScopeKind); 5] = [
    ("agent", ScopeKind::Agent),
    ("project", ScopeKind::Project),
    ("owner", ScopeKind::Owner),
    ("owner_project", ScopeKind::OwnerProject),
    ("organization", ScopeKind::Organization),
];

const WINDOWS: [(&str, Window); 4] =
    [("none", Window::None), ("day", Window::Day), ("week", Window::Week), ("month", Window::Month)];

/// What is out in a scope
///
/// Of several budgets the one with the least available; a scope without a budget has neither `cap` nor `available`.
#[utoipa::path(
    get,
    path = "/api/v1/budget/exposure",
    tag = "budget control",
    security(("bearer" = [])),
    params(
        ("scope_kind" = String, Query, description = "`agent`, `project`, `owner`, `owner_project` or `organization`"),
        ("scope_id" = Option<String>, Query, description = "Id of the scope; not for the organization"),
        ("project_id" = Option<String>, Query, description = "For `owner_project`"),
        ("window" = Option<String>, Query, description = "`none`, `day`, `week` or `month`"),
    ),
    responses(
        (status = 200, description = "The figures", body = ExposureBody),
        (status = 403, description = "`ACCESS_DENIED`: not the caller's own agent or owner scope"),
        (status = 404, description = "Of the scope's kind"),
    ),
)]
pub async fn exposure(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<ExposureBody>, ApiError> {
    let mut q = query.reader();
    if q.raw(&["scope_kind"]).is_none() {
        q.error("scope_kind", "is required");
    }
    let kind = q.word("scope_kind", &KINDS);
    let window = q.word("window", &WINDOWS);
    let scope = kind.and_then(|kind| read_scope(&mut q, kind));
    let scope = q.finish(scope)?.ok_or_else(|| ApiError::field("scope_kind", "is required"))?;
    check(&api, &caller, &scope).await?;

    let now = api.clock.now();
    let budgets = api.store.budgets_of(std::slice::from_ref(&scope), now).await?;
    let wanted = budgets.into_iter().filter(|view| window.is_none_or(|window| view.budget.window == window));
    let binding = wanted.min_by_key(|view| (!view.budget.enabled, view.available()));
    let open = api.store.open_leases(&scope).await?;
    let account = match &binding {
        Some(view) => view.account,
        None => {
            let bounds = window.unwrap_or(Window::None).bounds(&kernel::Zone::UTC, now);
            api.store.scope_balance(&scope, bounds).await?
        }
    };
    let windowed = binding.as_ref().filter(|view| view.budget.window != Window::None);
    Ok(Json(ExposureBody {
        scope: scope_body(&scope),
        budget_id: binding.as_ref().map(|view| view.id.as_str().to_owned()),
        window: binding.as_ref().map(|view| view.budget.window.as_str().to_owned()),
        window_start: windowed.map(|view| view.window_start.millis()),
        window_end: windowed.and_then(|view| view.window_end).map(Timestamp::millis),
        cap: binding.as_ref().map(|view| view.budget.cap.micros_floor()),
        spent: account.spent,
        leased: account.leased,
        suspense: account.suspense,
        overrun: account.overrun,
        available: binding.as_ref().map(|view| view.available().micros_floor().max(0)),
        exposure: account.exposure().map_err(ApiError::internal)?,
        open_leases: open.counts.active,
        as_of: now,
    }))
}

fn read_scope(q: &mut crate::query::QueryReader<'_>, kind: ScopeKind) -> Option<Scope> {
    if kind == ScopeKind::Organization {
        return Some(Scope::Organization);
    }
    if q.raw(&["scope_id"]).is_none() {
        q.error("scope_id", "is required");
        return None;
    }
    match kind {
        ScopeKind::Agent => q.agent_id("scope_id").map(Scope::Agent),
        ScopeKind::Project => q.text("scope_id", 100).map(|id| Scope::Project(ProjectId::new(id))),
        ScopeKind::Owner => q.text("scope_id", 100).map(|id| Scope::Owner(UserId::new(id))),
        ScopeKind::OwnerProject => {
            if q.raw(&["project_id"]).is_none() {
                q.error("project_id", "is required");
            }
            let (owner, project) = (q.text("scope_id", 100)?, q.text("project_id", 100)?);
            Some(Scope::OwnerProject(UserId::new(owner), ProjectId::new(project)))
        }
        ScopeKind::Organization => Some(Scope::Organization),
    }
}

/// The scope exists, and the caller may see its figures.
async fn check(api: &ApiState, caller: &Caller, scope: &Scope) -> Result<(), ApiError> {
    match scope {
        Scope::Agent(agent) => return check_agent(api, caller, *agent).await,
        Scope::Owner(owner) | Scope::OwnerProject(owner, _) => {
            if !caller.sees(owner) {
                return Err(ErrorCode::AccessDenied.into());
            }
            api.store.user(owner).await?.ok_or(ErrorCode::UserNotFound)?;
        }
        Scope::Project(_) | Scope::Organization if !caller.is_admin() => return Err(ErrorCode::AccessDenied.into()),
        Scope::Project(_) | Scope::Organization => {}
    }
    if let Scope::Project(project) | Scope::OwnerProject(_, project) = scope {
        api.store.project(project).await?.ok_or(ErrorCode::ProjectNotFound)?;
    }
    Ok(())
}

/// The agent exists, and the caller may see it.
pub(super) async fn check_agent(api: &ApiState, caller: &Caller, agent: AgentId) -> Result<(), ApiError> {
    let row = api.store.agent_row(agent).await?.filter(|row| row.deleted_at.is_none());
    let row = row.ok_or(ErrorCode::AgentNotFound)?;
    caller.require_sight_of(&row.owner, ErrorCode::AccessDenied)
}
