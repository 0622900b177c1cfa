//! GET `/api/v1/analytics/forecast`: how long budgets will last.

use std::collections::HashMap;

use analytics::{Dimension, Measures};
use api_types::analytics::{AgentForecast, BudgetForecast, Forecast};
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;
use kernel::{AgentId, Money, ProjectId, Timestamp, UserId};
use ledger::{Account, Scope};
use persistence::{AgentFilter, AgentSort, AgentView, BudgetFilter, BudgetSource, BudgetView, Page, QuestionFilter};

use super::asked::until;
use crate::agents::visible_to;
use crate::budget::scope_body;
use crate::{ApiError, ApiState, Caller, Query};

const HOUR_MS: i64 = 3_600_000;
/// A week.
const DEFAULT_LOOK_BACK_HOURS: i64 = 168;
const METHOD: &str = "linear: what the calls of the last look_back_hours cost, divided by those hours (by fewer, but at \
    least one, where the agent, or for other budgets the first call of all, is younger); remaining is the cap less what \
    is spent and in suspense, and it lasts as long as that rate takes to spend it";

/// How long budgets will last
///
/// The rate is linear over the look-back; `method` says how exactly. What is lent counts as what can still be spent. Budgets
/// of projects, owners and the whole installation: an administrator sees all, everybody else those of their own.
#[utoipa::path(
    get,
    path = "/api/v1/analytics/forecast",
    tag = "analytics",
    security(("bearer" = [])),
    params(
        ("look_back_hours" = Option<u32>, Query, description = "1 to 720, 168 unless given"),
        ("agent_id" = Option<String>, Query, description = "Only this agent: `12` or `agent_12`"),
    ),
    responses((status = 200, description = "The first to be exhausted first, those that never will be last", body = Forecast)),
)]
pub async fn forecast(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Json<Forecast>, ApiError> {
    let mut q = query.reader();
    let hours = q.int(&["look_back_hours"], 1, 720).unwrap_or(DEFAULT_LOOK_BACK_HOURS);
    let agent = q.agent_id("agent_id");
    q.finish(())?;
    let now = api.clock.now();
    let mut inquiry = api.store.inquire(now).await?;
    let first = inquiry.first_fact().await?.unwrap_or(now);
    let range = (now.plus_millis(-hours * HOUR_MS).max(Timestamp::EPOCH), until(now));
    let filter = QuestionFilter { visible_to: visible_to(&caller), ..QuestionFilter::default() };
    let mut spent = Spent::default();
    // A budget counts what its scope spent, whoever owns the agent now
    let by = [Dimension::Agent, Dimension::Owner, Dimension::Project];
    let all = if caller.is_admin() { filter.clone() } else { own(&caller.user) };
    for group in inquiry.sums(&all, &by, &[range]).await? {
        spent.add(&group);
    }
    let mut by_agent = HashMap::new();
    for group in inquiry.sums(&filter, &by[..1], &[range]).await? {
        by_agent.insert(super::shape::agent_of(&group, 0), group.measures);
    }
    drop(inquiry);
    let rate_since = |begun: Timestamp| now.since(begun).clamp(HOUR_MS, hours * HOUR_MS);

    let wanted = AgentFilter { visible_to: visible_to(&caller), id: agent, ..AgentFilter::default() };
    let views = api.store.agents(&wanted, AgentSort::default(), Page::first(u64::MAX), now).await?;
    let agents = views.rows.into_iter().map(|view| {
        let measures = by_agent.get(&view.agent.id).copied().unwrap_or_default();
        agent_row(&view, Burn::new(&measures, rate_since(view.agent.created_at)), now)
    });
    let mut agents: Vec<AgentForecast> = agents.collect();
    agents.sort_by_key(|row| (row.exhausts_at.unwrap_or(i64::MAX), row.agent_id));

    let budgets = match agent {
        Some(_) => Vec::new(),
        None => api.store.budgets(&BudgetFilter::default(), now, Page::first(u64::MAX)).await?.rows,
    };
    let budgets = budgets.into_iter().filter(|view| {
        let is_policy = view.budget.enabled && view.source != BudgetSource::AgentAllocation;
        is_policy && (caller.is_admin() || is_of(&view.budget.scope, &caller.user))
    });
    let mut budgets: Vec<BudgetForecast> = budgets
        .map(|view| budget_row(&view, Burn::new(&spent.of(&view.budget.scope), rate_since(first)), now))
        .collect();
    budgets.sort_by(|a, b| {
        let place = |row: &BudgetForecast| row.exhausts_at.unwrap_or(i64::MAX);
        place(a).cmp(&place(b)).then_with(|| a.budget_id.cmp(&b.budget_id))
    });
    Ok(Json(Forecast {
        agents,
        budgets,
        look_back_hours: hours,
        method: METHOD.to_owned(),
        calculated_at: now.to_rfc3339(),
    }))
}

fn own(user: &UserId) -> QuestionFilter {
    QuestionFilter { owners: vec![user.clone()], ..QuestionFilter::default() }
}

fn is_of(scope: &Scope, user: &UserId) -> bool {
    matches!(scope, Scope::Owner(owner) | Scope::OwnerProject(owner, _) if owner == user)
}

/// What scopes spent over the look-back.
#[derive(Default)]
struct Spent(HashMap<Scope, Measures>);

impl Spent {
    fn add(&mut self, group: &persistence::Group) {
        let agent = super::shape::agent_of(group, 0);
        let owner = UserId::new(super::shape::text_of(group, 1));
        let project = group.key.get(2).and_then(persistence::Key::text).map(ProjectId::new);
        for scope in Scope::of_agent(agent, &owner, project.as_ref()) {
            self.0.entry(scope).or_default().add(&group.measures);
        }
    }

    fn of(&self, scope: &Scope) -> Measures {
        self.0.get(scope).copied().unwrap_or_default()
    }
}

/// So much in so long.
#[derive(Clone, Copy)]
struct Burn {
    nanos: i128,
    ms: i64,
}

impl Burn {
    const fn new(measures: &Measures, ms: i64) -> Self {
        Self { nanos: measures.cost_nanos, ms }
    }

    /// In an hour.
    fn per_hour(self) -> Usd {
        let nanos = self.nanos * i128::from(HOUR_MS) / i128::from(self.ms.max(1));
        let most = i128::from(Money::MAX_BALANCE.nanos());
        Usd::spent(Money::from_nanos(i64::try_from(nanos.clamp(0, most)).unwrap_or(0)))
    }

    /// How long so much lasts, milliseconds; `None` for ever.
    fn lasts(self, remaining: Money) -> Option<i128> {
        (self.nanos > 0).then(|| i128::from(remaining.nanos().max(0)) * i128::from(self.ms) / self.nanos)
    }
}

/// When it ends, and after how many whole hours.
fn end(burn: Burn, remaining: Money, now: Timestamp) -> (Option<i64>, Option<i64>) {
    let Some(ms) = burn.lasts(remaining) else { return (None, None) };
    let hours = i64::try_from(ms / i128::from(HOUR_MS)).ok();
    let at = i64::try_from(i128::from(now.millis()) + ms).ok().filter(|at| *at <= Timestamp::MAX.millis());
    (at, hours)
}

/// What can still be spent.
fn remaining(cap: Money, account: &Account) -> Money {
    cap.minus_or_zero(account.spent).minus_or_zero(account.suspense)
}

fn agent_row(view: &AgentView, burn: Burn, now: Timestamp) -> AgentForecast {
    let remaining = remaining(view.figures.allocated, &view.figures.account);
    let (exhausts_at, hours_to_exhaustion) = end(burn, remaining, now);
    let AgentId(agent_id) = view.agent.id;
    AgentForecast {
        agent_id,
        agent_name: view.agent.name.clone(),
        remaining,
        burn_rate_usd_per_hour: burn.per_hour(),
        hours_to_exhaustion,
        exhausts_at,
    }
}

fn budget_row(view: &BudgetView, burn: Burn, now: Timestamp) -> BudgetForecast {
    let remaining = remaining(view.budget.cap, &view.account);
    let (exhausts_at, hours_to_exhaustion) = end(burn, remaining, now);
    let resets_at = view.window_end.map(Timestamp::millis);
    BudgetForecast {
        budget_id: view.id.as_str().to_owned(),
        name: view.name.clone(),
        scope: scope_body(&view.budget.scope),
        window: view.budget.window.as_str().to_owned(),
        resets_at,
        remaining,
        burn_rate_usd_per_hour: burn.per_hour(),
        hours_to_exhaustion,
        exhausts_at,
        exhausts_before_reset: exhausts_at.is_some_and(|at| resets_at.is_none_or(|reset| at < reset)),
    }
}
