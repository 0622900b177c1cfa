//! Limits as they are shown and as the audit log keeps them.

use std::collections::HashMap;

use api_types::limits::{Limit as LimitBody, TokenCeiling as CeilingBody};
use kernel::{BudgetId, Money, Timestamp, Zone};
use ledger::Scope;
use persistence::{BudgetView, Limit, LimitUse, QuotaKind, TokenCeiling};
use serde_json::{Value, json};

use super::money;
use crate::{ApiError, ApiState};

/// Limits as they are shown, with what is used.
pub(super) async fn limit_bodies(api: &ApiState, limits: Vec<Limit>) -> Result<Vec<LimitBody>, ApiError> {
    let now = api.clock.now();
    let scopes: Vec<Scope> = limits.iter().map(Limit::scope).collect();
    let budgets = api.store.budgets_of(&scopes, now).await?;
    let budgets: HashMap<&BudgetId, &BudgetView> = budgets.iter().map(|view| (&view.id, view)).collect();
    let used = api.store.limits_used(&limits, money::WINDOW.bounds(&Zone::UTC, now), now).await?;
    let body = |(limit, used): (Limit, LimitUse)| {
        let budget = limit.budget.as_ref().and_then(|id| budgets.get(id).copied());
        limit_body(limit, budget, used, now)
    };
    Ok(limits.into_iter().zip(used).map(body).collect())
}

/// One of them.
pub(super) async fn shown(api: &ApiState, limit: Limit) -> Result<LimitBody, ApiError> {
    let bodies = limit_bodies(api, vec![limit]).await?;
    bodies.into_iter().next().ok_or_else(|| ApiError::internal("a limit is not shown"))
}

fn limit_body(limit: Limit, budget: Option<&BudgetView>, used: LimitUse, now: Timestamp) -> LimitBody {
    LimitBody {
        id: limit.id,
        max_tokens_per_day: limit.tokens_per_day,
        max_requests_per_minute: limit.requests_per_minute,
        max_cost_per_month_microdollars: budget.map(|view| view.budget.cap),
        created_at: limit.created_at.millis(),
        updated_at: limit.updated_at.millis(),
        used_tokens_today: used.tokens_today,
        used_requests_last_minute: used.requests_last_minute,
        used_cost_this_month_microdollars: budget.map_or(used.spent, |view| view.account.spent),
        resets_at: resets_at(&limit, now).millis(),
        user_id: limit.user,
        project_id: limit.project,
    }
}

/// When the first of the columns that are set starts anew.
fn resets_at(limit: &Limit, now: Timestamp) -> Timestamp {
    let month = limit.budget.as_ref().and_then(|_| money::WINDOW.bounds(&Zone::UTC, now).1);
    let day = limit.tokens_per_day.map(|_| QuotaKind::TokensPerDay.resets_at(now));
    // A minute is over before either, but goes on sliding: it is told only where nothing else is
    day.into_iter().chain(month).min().unwrap_or_else(|| QuotaKind::RequestsPerMinute.resets_at(now))
}

/// A limit as the audit log keeps it.
pub(super) fn audited(limit: &Limit, cap: Option<Money>) -> Value {
    json!({
        "user_id": limit.user,
        "project_id": limit.project,
        "max_tokens_per_day": limit.tokens_per_day,
        "max_requests_per_minute": limit.requests_per_minute,
        "max_cost_per_month_microdollars": cap.map(Money::micros_floor),
    })
}

/// The token ceiling as it is shown, with what is used.
pub(super) async fn ceiling_body(api: &ApiState, ceiling: TokenCeiling) -> Result<CeilingBody, ApiError> {
    let (now, kind) = (api.clock.now(), QuotaKind::TokensPerDay);
    let used = api.store.quota_used(kind, &Scope::Organization, now).await?;
    Ok(CeilingBody {
        limit: ceiling.tokens_per_day,
        unit: "tokens".to_owned(),
        window: "day".to_owned(),
        used,
        remaining: ceiling.tokens_per_day.map(|limit| limit.saturating_sub(used).max(0)),
        resets_at: kind.resets_at(now).millis(),
        updated_at: ceiling.updated_at.map(Timestamp::millis),
        updated_by: ceiling.updated_by,
    })
}
