//! GET `/api/v1/budget/explain`: why an agent would get money or not.

use api_types::control::{ExplainBody, ExplainedKey, ExplainedScope};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, Money, Timestamp, Window};
use ledger::Scope;
use persistence::{AgentPicture, BudgetView, KeyWish, NoKey};

use super::exposure::check_agent;
use super::shape::freeze_body;
use crate::budget::{quota, scope_body};
use crate::{ApiError, ApiState, Caller, Query};

/// Why an agent would get money or not
///
/// Every budget, freeze, quota and key that a handshake would look at. Writes nothing.
#[utoipa::path(
    get,
    path = "/api/v1/budget/explain",
    tag = "budget control",
    security(("bearer" = [])),
    params(
        ("agent_id" = String, Query, description = "`12` or `agent_12`"),
        ("amount" = Option<i64>, Query, description = "Micro-dollars; default: what a handshake asks for by default"),
    ),
    responses(
        (status = 200, description = "The explanation", body = ExplainBody),
        (status = 403, description = "`ACCESS_DENIED`"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn explain(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Json<ExplainBody>, ApiError> {
    let mut q = query.reader();
    if q.raw(&["agent_id"]).is_none() {
        q.error("agent_id", "is required");
    }
    let agent = q.agent_id("agent_id");
    let amount = q.int(&["amount"], 1, Money::MAX_CAP.micros_floor()).and_then(Money::from_micros);
    let agent = q.finish(agent)?.ok_or_else(|| ApiError::field("agent_id", "is required"))?;
    check_agent(&api, &caller, agent).await?;

    let now = api.clock.now();
    let amount = amount.unwrap_or(api.lending.default_grant);
    let picture = api.directory.fresh(agent).await?.ok_or(ErrorCode::AgentNotFound)?;
    let scopes = Scope::of_agent(agent, &picture.owner, picture.project.as_ref());
    let mut budgets = api.store.budgets_of(&scopes, now).await?;
    budgets.retain(|view| view.budget.enabled);
    let freezes = api.store.freezes_covering(agent).await?;
    let key = explain_key(&picture);

    let binding = budgets.iter().min_by_key(|view| view.available());
    let most = binding.map_or(Money::ZERO, lendable);
    let quotas = quota::explain(&api, &picture).await?;
    let hindered = !freezes.is_empty() || !key.usable || quotas.iter().any(|quota| quota.verdict == "blocked");
    let grantable = if hindered { Money::ZERO } else { amount.min(most) };
    let decision = match grantable {
        Money::ZERO => "refuse",
        some if some < amount => "partial",
        _ => "grant",
    };
    let binds = binding.filter(|_| most < amount);
    Ok(Json(ExplainBody {
        agent_id: agent.0,
        amount,
        decision: decision.to_owned(),
        grantable,
        binding_scope: binds.map(|view| scope_body(&view.budget.scope)),
        scopes: budgets.iter().map(|view| explain_scope(view, amount)).collect(),
        freezes: freezes.into_iter().map(freeze_body).collect(),
        quotas,
        provider_key: key,
        as_of: now,
    }))
}

/// What can be lent of what is available: whole micro-dollars, as in a handshake.
fn lendable(view: &BudgetView) -> Money {
    Money::from_micros(view.available().micros_floor().max(0)).unwrap_or(Money::ZERO)
}

fn explain_scope(view: &BudgetView, amount: Money) -> ExplainedScope {
    let available = view.available();
    let verdict = match lendable(view) {
        some if some >= amount => "ok",
        some if some > Money::ZERO => "partial",
        _ => "blocked",
    };
    let windowed = view.budget.window != Window::None;
    ExplainedScope {
        scope: scope_body(&view.budget.scope),
        budget_id: view.id.as_str().to_owned(),
        source: view.source.as_str().to_owned(),
        cap: view.budget.cap,
        window: view.budget.window.as_str().to_owned(),
        window_start: windowed.then(|| view.window_start.millis()),
        window_end: view.window_end.map(Timestamp::millis),
        time_zone: view.budget.zone.name().to_owned(),
        spent: view.account.spent,
        leased: view.account.leased,
        suspense: view.account.suspense,
        overrun: view.account.overrun,
        available,
        verdict: verdict.to_owned(),
    }
}

fn explain_key(agent: &AgentPicture) -> ExplainedKey {
    match agent.choose_key(KeyWish::default()) {
        Ok(key) => ExplainedKey {
            id: Some(key.key.id.0),
            provider: Some(key.key.provider.clone()),
            usable: true,
            reason: None,
        },
        Err(why) => {
            let reason = if why == NoKey::Disabled { "disabled" } else { "unassigned" };
            let primary = agent.keys.iter().find(|key| key.is_primary);
            ExplainedKey {
                id: primary.map(|key| key.key.id.0),
                provider: primary.map(|key| key.key.provider.clone()),
                usable: false,
                reason: Some(reason.to_owned()),
            }
        }
    }
}
