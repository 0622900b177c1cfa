//! How long budgets will last.

use crate::figures::Usd;
use budget_protocol::Scope;
use kernel::Money;
use serde::{Deserialize, Serialize};

/// How long an agent's budget will last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentForecast {
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// What can still be spent, what is lent included; micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub remaining: Money,
    /// Spent per hour over the look-back, US dollars.
    pub burn_rate_usd_per_hour: Usd,
    /// Until nothing is left at this rate, whole hours; nothing at no rate.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub hours_to_exhaustion: Option<i64>,
    /// When nothing is left at this rate, milliseconds since the epoch; nothing at no rate or beyond the year 9999.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub exhausts_at: Option<i64>,
}

/// How long a budget will last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetForecast {
    /// The budget.
    pub budget_id: String,
    /// What people call it.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<String>,
    /// Whose money.
    pub scope: Scope,
    /// `none`, `day`, `week` or `month`.
    pub window: String,
    /// When the window ends, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub resets_at: Option<i64>,
    /// What can still be spent, what is lent included; micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub remaining: Money,
    /// Spent per hour over the look-back, US dollars.
    pub burn_rate_usd_per_hour: Usd,
    /// Until nothing is left at this rate, whole hours; nothing at no rate.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub hours_to_exhaustion: Option<i64>,
    /// When nothing is left at this rate, milliseconds since the epoch; nothing at no rate or beyond the year 9999.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub exhausts_at: Option<i64>,
    /// Whether it will be exhausted before its window ends.
    pub exhausts_before_reset: bool,
}

/// How long budgets will last, the shortest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Forecast {
    /// Budgets of agents.
    pub agents: Vec<AgentForecast>,
    /// Budgets of projects, owners and the whole installation; for administrators.
    pub budgets: Vec<BudgetForecast>,
    /// Over how much time the rate is measured.
    pub look_back_hours: i64,
    /// How it is measured.
    pub method: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}
