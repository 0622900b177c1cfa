//! How many agents a user and a project may have.

use ::settings::Settings;
use kernel::{ErrorCode, UserId};
use ledger::Scope;
use persistence::{NewAgent, Work};
use serde_json::json;

use super::references::{hold_owner, hold_project};
use crate::ApiError;
use crate::budget::scope_body;
use crate::settings::current;
use crate::transact::Stop;

/// Owner and project of an agent to be made, which stay until the work ends, with the settings that hold there. Where agents
/// are counted, what they are counted for is locked first, so that of two who are made at once the second one counts the
/// first.
pub(super) async fn hold_references(work: &mut Work, new: &NewAgent) -> Result<Settings, Stop> {
    let settings = current(work, new.project.as_ref()).await?;
    if settings.max_agents_per_user().is_some() {
        work.user_for_update(&new.owner).await?;
    }
    hold_owner(work, &new.owner).await?;
    if let Some(project) = &new.project {
        if settings.max_agents_per_project().is_some() {
            work.lock_project(project).await?;
        }
        hold_project(work, project).await?;
    }
    Ok(settings)
}

/// 403 `QUOTA_EXCEEDED` if there are as many agents as there may be.
pub(super) async fn refuse_too_many(work: &mut Work, new: &NewAgent, settings: &Settings) -> Result<(), Stop> {
    if let Some(limit) = settings.max_agents_per_user() {
        // What a project sets is about its own agents
        let project = new.project.as_ref().filter(|_| settings.max_agents_per_user_is_the_projects());
        let scope = match project {
            Some(project) => Scope::OwnerProject(new.owner.clone(), project.clone()),
            None => Scope::Owner(new.owner.clone()),
        };
        let used = work.count_agents(Some(&new.owner), project).await?;
        refuse("max_agents_per_user", &scope, limit, used)?;
    }
    if let (Some(limit), Some(project)) = (settings.max_agents_per_project(), &new.project) {
        let used = work.count_agents(None::<&UserId>, Some(project)).await?;
        refuse("max_agents_per_project", &Scope::Project(project.clone()), limit, used)?;
    }
    Ok(())
}

fn refuse(quota: &str, scope: &Scope, limit: i64, used: i64) -> Result<(), Stop> {
    if used < limit {
        return Ok(());
    }
    let details = json!({ "quota": quota, "scope": scope_body(scope), "limit": limit, "used": used,
        "resets_at": null, "limit_id": null });
    Err(ApiError::from(ErrorCode::QuotaExceeded).details(details).into())
}
