//! How budgets stand.

use crate::agents::AgentStatus;
use crate::figures::Percent;
use crate::paging::PageInfo;
use kernel::Money;
use serde::{Deserialize, Serialize};

/// How much of a budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Less than 50 percent.
    Low,
    /// Less than 80 percent.
    Medium,
    /// Less than 95 percent.
    High,
    /// Less than 100 percent.
    Critical,
    /// All of it.
    Exhausted,
}

impl RiskLevel {
    /// The level of a percentage, which is rounded nowhere else.
    pub const fn of(used: Percent) -> Self {
        match used.hundredths() {
            ..5_000 => Self::Low,
            ..8_000 => Self::Medium,
            ..9_500 => Self::High,
            ..10_000 => Self::Critical,
            _ => Self::Exhausted,
        }
    }
}

/// How an agent's budget stands, micro-dollars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetStanding {
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// What it may spend in all.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub budget: Money,
    /// Spent, lent or in suspense.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub spent: Money,
    /// What is left.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub remaining: Money,
    /// `spent` of `budget`.
    pub percent_used: Percent,
    /// Whether it can go on spending.
    pub status: AgentStatus,
    /// How much of it is used.
    pub risk_level: RiskLevel,
    /// Known to be spent.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub actual_spent: Money,
    /// Lent to open leases and not yet reported.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub leased: Money,
    /// Perhaps spent, perhaps not; not lent again.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub suspense: Money,
    /// Spent beyond what was lent.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub overrun: Money,
}

/// How many agents stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetStandingSummary {
    /// All.
    pub total_agents: i64,
    /// Can go on spending.
    pub active: i64,
    /// Nothing can be lent to them.
    pub exhausted: i64,
    /// Without an IC token or a key.
    pub inactive: i64,
    /// Under a freeze.
    pub frozen: i64,
    /// 95 to 100 percent used.
    pub critical: i64,
    /// 80 to 95 percent used.
    pub high: i64,
    /// 50 to 80 percent used.
    pub medium: i64,
    /// Less than 50 percent used.
    pub low: i64,
}

/// How agents' budgets stand, the most used first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetStandings {
    /// The rows of the page.
    pub data: Vec<BudgetStanding>,
    /// Over the whole list.
    pub summary: BudgetStandingSummary,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
    /// Where the page stands.
    pub pagination: PageInfo,
}
