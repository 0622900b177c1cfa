//! POST `/api/v1/budgets`.

use api_types::budgets::{Budget as BudgetBody, CreateBudget};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{BudgetId, ErrorCode, ProjectId, UserId, Window};
use ledger::{Actor, Scope};
use persistence::{AuditRecord, BudgetRefusal, BudgetSource, NewBudget, Work};

use super::shape::{at_agent, audited, budget_body, exists, refused, scope_of};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller};

/// Opens a budget
///
/// It starts from what its current window has seen already: what is spent and lent counts from the first moment.
#[utoipa::path(
    post,
    path = "/api/v1/budgets",
    tag = "budgets",
    security(("bearer" = [])),
    request_body(content = CreateBudget, example = json!({"scope": {"kind": "organization"},
        "cap_microdollars": 5_000_000_000_i64, "window": "month", "time_zone": "Europe/Zurich"})),
    responses(
        (status = 201, description = "The budget", body = BudgetBody),
        (status = 404, description = "The not-found code of the scope's kind"),
        (status = 409, description = "`BUDGET_EXISTS` (the scope has one with this window), `MANAGED_ELSEWHERE` with \
            `details.path`"),
    ),
)]
pub async fn create_budget(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<BudgetBody>), ApiError> {
    caller.require_admin()?;
    let request: CreateBudget = body.read()?;
    let thresholds = request.thresholds;
    let mut new = NewBudget {
        id: BudgetId::random(&*api.entropy),
        scope: scope_of(&request.scope),
        name: request.name,
        cap: request.cap_microdollars,
        window: request.window,
        zone: request.time_zone,
        thresholds: Vec::new(),
        enabled: request.enabled,
        source: BudgetSource::Policy,
        created_by: Some(caller.user.clone()),
    };
    let actor = Actor::User(caller.user.clone());
    new.thresholds = match thresholds {
        Some(thresholds) => thresholds,
        None => alert_levels(&api, &new.scope).await?,
    };
    let created = transact!(api, async |work| {
        hold_scope(work, &new.scope).await?;
        // Opening locks the books, and nothing else may have locked any before: so an agent is asked for afterwards
        let opened = work.insert_budget(&new, &actor, None).await?;
        hold_agent(work, &new.scope).await?;
        if let (Scope::Agent(_), Window::None) = (&new.scope, new.window) {
            return Err(at_agent(&new.scope).into());
        }
        let view = match opened {
            Err(BudgetRefusal::Exists) => return Err(exists(work, &new.scope, new.window, new.source).await?.into()),
            opened => opened.map_err(refused)?,
        };
        let record = AuditRecord::new("BUDGET_POLICY_CREATED", "budget", &view.id, caller.audit_actor());
        work.audit(record.changed(None, audited(&view)));
        Ok(view)
    });
    Ok((StatusCode::CREATED, Json(budget_body(created.await?))))
}

/// Percent at which people are told of a budget that nobody said it of.
pub(crate) async fn alert_levels(api: &ApiState, scope: &Scope) -> Result<Vec<i64>, ApiError> {
    let project = match scope {
        Scope::Project(project) | Scope::OwnerProject(_, project) => Some(project.clone()),
        Scope::Agent(agent) => api.store.agent_row(*agent).await?.and_then(|agent| agent.project),
        Scope::Owner(_) | Scope::Organization => None,
    };
    Ok(api.settings_of(project.as_ref()).await?.budget_alert_levels())
}

/// The users and projects of the scope, which stay until the work ends: 404 otherwise.
async fn hold_scope(work: &mut Work, scope: &Scope) -> Result<(), Stop> {
    match scope {
        Scope::Organization | Scope::Agent(_) => Ok(()),
        Scope::Project(project) => hold_project(work, project).await,
        Scope::Owner(owner) => hold_owner(work, owner).await,
        Scope::OwnerProject(owner, project) => {
            hold_owner(work, owner).await?;
            hold_project(work, project).await
        }
    }
}

/// A user who is not deleted, and stays until the work ends: 404 otherwise.
pub(crate) async fn hold_owner(work: &mut Work, owner: &UserId) -> Result<(), Stop> {
    let user = work.hold_user(owner).await?.filter(|user| user.deleted_at.is_none());
    user.map(drop).ok_or_else(|| ErrorCode::UserNotFound.into())
}

/// A project, which stays until the work ends: 404 otherwise.
pub(crate) async fn hold_project(work: &mut Work, project: &ProjectId) -> Result<(), Stop> {
    if work.hold_project(project).await? { Ok(()) } else { Err(ErrorCode::ProjectNotFound.into()) }
}

/// The agent of the scope, whose book is locked already: 404 otherwise.
async fn hold_agent(work: &mut Work, scope: &Scope) -> Result<(), Stop> {
    let Scope::Agent(agent) = scope else { return Ok(()) };
    let row = work.agent_for_update(*agent).await?.filter(|agent| agent.deleted_at.is_none());
    row.map(drop).ok_or_else(|| ErrorCode::AgentNotFound.into())
}
