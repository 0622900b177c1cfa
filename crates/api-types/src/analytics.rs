//! Answers to questions about spending and usage (§12).

mod budgets;
mod forecast;
mod groups;
mod lists;
mod totals;

pub use budgets::{BudgetStanding, BudgetStandingSummary, BudgetStandings, RiskLevel};
pub use forecast::{AgentForecast, BudgetForecast, Forecast};
pub use groups::{GroupRow, GroupTotals, GroupsPage};
pub use lists::{
    AgentCalls, AgentSpending, AgentSpendingPage, AgentSpendingSummary, AgentTokens, AgentTokensPage,
    AgentTokensSummary, CallRow, FailureRow, ModelUsage, ModelUsagePage, ModelUsageSummary, PeriodSpending,
    ProviderCalls, ProviderSpending, ProviderSpendingPage, ProviderSpendingSummary, SpendingExportRow, UsageExportRow,
};
pub use totals::{AnswerFilters, CostPerRequest, Metrics, RequestOutcomes, SpendingTotals, TotalSpending, UsageTotals};

/// A number with at most two decimals, as a JSON number.
pub type Rate = crate::figures::Percent;
