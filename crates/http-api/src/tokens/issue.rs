//! Making API tokens.

use api_types::tokens::{CreateApiToken, IssuedApiToken, TokenEnd};
use auth::Role;
use auth::api_token::{NewApiToken, Scope};
use kernel::{AgentId, ErrorCode, ProjectId, Timestamp, UserId};
use persistence::{AuditRecord, NewApiTokenRow, User, Work};
use serde_json::json;

use super::shape::{audited, issued_body};
use crate::agents::visible_to;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller};

const DAY_MS: i64 = 86_400_000;
/// The longest life of a token that has an end, in days.
const MAX_DAYS: i64 = 3_650;

/// Makes a token for the caller, or by an admin for somebody else.
pub(crate) async fn issue(
    api: &ApiState,
    caller: &Caller,
    request: CreateApiToken,
) -> Result<IssuedApiToken, ApiError> {
    let owner = request.user_id.clone().unwrap_or_else(|| caller.user.clone());
    if !caller.owns(&owner) {
        caller.require_admin()?;
    }
    let end = end(api, caller, request.end, request.project_id.as_ref()).await?;
    let (scopes, agent) = narrowed(caller, &request);
    let read: Option<Vec<Scope>> = scopes.iter().map(|text| Scope::parse(text)).collect();
    let read = read.ok_or_else(|| ApiError::field("scopes", "must be scopes"))?;
    caller.require_no_less_than(&read, agent)?;
    if let Some(project) = &request.project_id
        && !api.store.project_is_visible(project, &visible_to(caller)).await?
    {
        return Err(ErrorCode::ProjectNotFound.into());
    }
    api.limits.token_change(&caller.user)?;
    let new = NewApiToken::random(&*api.entropy);
    let row = NewApiTokenRow {
        hash: new.hash.clone(),
        token_prefix: new.token_prefix.clone(),
        user: owner,
        project: request.project_id,
        agent,
        name: request.name,
        description: request.description,
        provider: request.provider,
        scopes,
        created_by: caller.user.clone(),
        expires_at: end,
    };
    let created = transact!(api, async |work| {
        let owner = hold_owner(work, &row.user).await?;
        if let Some(project) = &row.project
            && !work.hold_project(project).await?
        {
            return Err(ErrorCode::ProjectNotFound.into());
        }
        if let Some(agent) = row.agent {
            hold_agent(work, caller, &owner, agent).await?;
        }
        refuse_too_many(api, work, &row.user).await?;
        let id = work.create_api_token(&row).await?;
        let token = work.api_token_for_update(id).await?.ok_or(ErrorCode::TokenNotFound)?;
        let record = AuditRecord::new("API_TOKEN_CREATED", "api_token", id, caller.audit_actor());
        work.audit(record.changed(None, audited(&token)));
        Ok(issued_body(token, &new.token, work.now()))
    });
    created.await
}

/// Where nothing else is asked for, a token that was narrowed makes tokens that are narrowed the same way.
fn narrowed(caller: &Caller, request: &CreateApiToken) -> (Vec<String>, Option<AgentId>) {
    let own = caller.token.as_ref().map(|token| &token.row);
    let scopes = if request.scopes.is_empty() {
        own.map(|own| own.scopes.clone()).unwrap_or_default()
    } else {
        request.scopes.clone()
    };
    (scopes, request.agent_id.or_else(|| own.and_then(|own| own.agent)))
}

/// When the token is to end, after what the installation and the calling token allow. As with its scopes, a token makes
/// its like where nothing is asked for, and nothing that can do more.
async fn end(
    api: &ApiState,
    caller: &Caller,
    asked: TokenEnd,
    project: Option<&ProjectId>,
) -> Result<Option<Timestamp>, ApiError> {
    let now = api.clock.now();
    let latest = now.plus_millis(MAX_DAYS * DAY_MS);
    let end = match asked {
        TokenEnd::Never => caller.latest_end(),
        TokenEnd::Days(days) => Some(now.plus_millis(days.saturating_mul(DAY_MS))),
        TokenEnd::At(at) if at > now && at <= latest => Some(at),
        TokenEnd::At(_) => return Err(ApiError::field("expires_at", "must lie within the next 3650 days")),
    };
    let end = capped(api, end, project).await?;
    if outlives(end, caller.latest_end()) {
        return Err(ApiError::field("expires_at", "must not be later than the end of the calling token"));
    }
    Ok(end)
}

/// Whether a token of this end lasts longer than one of the other; `None` is no end.
pub(super) fn outlives(end: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    other.is_some_and(|other| end.is_none_or(|end| end > other))
}

/// The end of a new token, no later than new tokens may last. **The one place** where the installation's setting of that
/// (`security.api_token_max_age_days`) takes effect.
pub(super) async fn capped(
    api: &ApiState,
    end: Option<Timestamp>,
    project: Option<&ProjectId>,
) -> Result<Option<Timestamp>, ApiError> {
    let days = api.settings_of(project).await?.api_token_max_age_days();
    let latest = days.map(|days| api.clock.now().plus_millis(days.saturating_mul(DAY_MS)));
    Ok(match (end, latest) {
        (Some(end), Some(latest)) => Some(end.min(latest)),
        (end, latest) => end.or(latest),
    })
}

/// The owner, who gets no other token until this work ends.
async fn hold_owner(work: &mut Work, owner: &UserId) -> Result<User, Stop> {
    let user = work.user_for_update(owner).await?.filter(|user| user.deleted_at.is_none());
    let user = user.ok_or(ErrorCode::UserNotFound)?;
    if user.is_active { Ok(user) } else { Err(ApiError::field("user_id", "must be an active user").into()) }
}

/// The agent must be there and the caller's, and the token's owner must be one who may see it.
async fn hold_agent(work: &mut Work, caller: &Caller, owner: &User, agent: AgentId) -> Result<(), Stop> {
    let agent = work.agent_for_update(agent).await?.filter(|agent| agent.deleted_at.is_none());
    let agent = agent.ok_or(ErrorCode::AgentNotFound)?;
    caller.require_sight_of(&agent.owner, ErrorCode::AccessDenied)?;
    if agent.owner == owner.id || owner.role == Role::Admin {
        return Ok(());
    }
    Err(ApiError::field("agent_id", "must be an agent of the token's owner").into())
}

async fn refuse_too_many(api: &ApiState, work: &mut Work, owner: &UserId) -> Result<(), Stop> {
    let (active, most) = (work.count_active_api_tokens(owner).await?, api.policy.max_api_tokens);
    if active < i64::from(most) {
        return Ok(());
    }
    let details = json!({ "limit": most, "active": active });
    Err(ApiError::from(ErrorCode::TokenLimitExceeded).details(details).into())
}
