//! Projects as they are shown and as the audit log keeps them.

use api_types::figures::Usd;
use api_types::projects::{Project as ProjectBody, ProjectDetail, ProjectKey, ProjectSettings};
use kernel::{ErrorCode, Money, ProjectId};
use persistence::{AgentFilter, AgentSort, Page, Project};
use serde_json::{Value, json};

use crate::{ApiError, ApiState};

/// A project as it stands in a list.
pub(super) fn project_body(project: Project) -> ProjectBody {
    ProjectBody {
        id: project.id,
        name: project.name,
        description: project.description,
        user_count: project.user_count,
        agent_count: project.agent_count,
        created_at: project.created_at.millis(),
        updated_at: project.updated_at.millis(),
    }
}

/// A project with everything that is shown of it: 404 if there is none.
pub(super) async fn detail(api: &ApiState, id: &ProjectId) -> Result<ProjectDetail, ApiError> {
    let project = api.store.project(id).await?.ok_or(ErrorCode::ProjectNotFound)?;
    let keys = api.store.project_keys(id).await?;
    let providers: Vec<ProjectKey> =
        keys.into_iter().map(|key| ProjectKey { provider_key_id: key.key, provider: key.provider }).collect();
    let (budget, spent) = totals(api, id).await?;
    let settings = api.settings_of(Some(id)).await?;
    Ok(ProjectDetail {
        project: project_body(project),
        provider_count: providers.len() as u64,
        total_budget: Usd::left(budget),
        total_spent: Usd::spent(spent),
        total_budget_microdollars: budget,
        total_spent_microdollars: spent,
        providers,
        settings: ProjectSettings {
            default_agent_budget: Usd::left(settings.default_agent_budget()),
            max_agents_per_user: settings.max_agents_per_user(),
            allowed_providers: settings.allowed_providers().unwrap_or_default(),
        },
    })
}

/// What the project's agents may spend, and what they have committed. Money that a deleted agent spent is spent.
async fn totals(api: &ApiState, id: &ProjectId) -> Result<(Money, Money), ApiError> {
    // The project that stands for the whole installation has every agent in it
    let project = (id.as_str() != ProjectId::MASTER).then(|| id.clone());
    let filter = AgentFilter { project, include_deleted: true, ..AgentFilter::default() };
    let everything = Page::first(u64::MAX);
    let agents = api.store.agents(&filter, AgentSort::default(), everything, api.clock.now()).await?.rows;
    let live = agents.iter().filter(|view| view.agent.deleted_at.is_none());
    let budget: Money = live.map(|view| view.figures.allocated).sum();
    let spent: Money = agents.iter().map(|view| view.figures.committed()).sum();
    // Both are shown as JSON numbers
    Ok((budget.min(Money::MAX_BALANCE), spent.min(Money::MAX_BALANCE)))
}

/// A project as the audit log keeps it.
pub(super) fn audited(name: &str, description: Option<&str>) -> Value {
    json!({ "name": name, "description": description })
}
