//! Answers that are lists.

use super::AnswerFilters;
use crate::figures::{Percent, Usd};
use crate::paging::PageInfo;
use kernel::Money;
use serde::{Deserialize, Serialize};

/// What an agent spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentSpending {
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// What its completed calls cost, US dollars.
    pub spending: Usd,
    /// What it may spend in all, US dollars.
    pub budget: Usd,
    /// `spending` of `budget`.
    pub percent_used: Percent,
    /// Its completed calls.
    pub request_count: i64,
}

/// What agents spent in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentSpendingSummary {
    /// US dollars.
    pub total_spend: Usd,
    /// What they may spend in all, US dollars.
    pub total_budget: Usd,
    /// How many agents.
    pub total_agents: i64,
    /// The mean of `percent_used`.
    pub average_percent_used: Percent,
}

/// What agents spent, the largest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentSpendingPage {
    /// The rows of the page.
    pub data: Vec<AgentSpending>,
    /// Over the whole list.
    pub summary: AgentSpendingSummary,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
    /// Where the page stands.
    pub pagination: PageInfo,
}

/// What was spent at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderSpending {
    /// The kind of provider.
    pub provider: String,
    /// The same.
    pub provider_id: String,
    /// The same.
    pub provider_name: String,
    /// What completed calls cost, US dollars.
    pub spending: Usd,
    /// Completed calls.
    pub request_count: i64,
    /// US dollars, to the nearest micro-dollar.
    pub avg_cost_per_request: Usd,
    /// Agents that called it.
    pub agent_count: i64,
}

/// What was spent at all providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderSpendingSummary {
    /// US dollars.
    pub total_spend: Usd,
    /// Completed calls.
    pub total_requests: i64,
    /// How many providers.
    pub providers_count: i64,
    /// US dollars, to the nearest micro-dollar.
    pub average_cost_per_request: Usd,
}

/// What was spent at providers, the largest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderSpendingPage {
    /// The rows of the page.
    pub data: Vec<ProviderSpending>,
    /// Over the whole list.
    pub summary: ProviderSpendingSummary,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
    /// Where the page stands.
    pub pagination: PageInfo,
}

/// Tokens of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentTokens {
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// Its completed calls.
    pub request_count: i64,
    /// To the nearest token.
    pub avg_tokens_per_request: i64,
}

/// Tokens of all agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentTokensSummary {
    /// Tokens sent.
    pub total_input_tokens: i64,
    /// Tokens received.
    pub total_output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// Completed calls.
    pub total_requests: i64,
    /// To the nearest token.
    pub average_tokens_per_request: i64,
}

/// Tokens of agents, the most first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentTokensPage {
    /// The rows of the page.
    pub data: Vec<AgentTokens>,
    /// Over the whole list.
    pub summary: AgentTokensSummary,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
    /// Where the page stands.
    pub pagination: PageInfo,
}

/// Use of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelUsage {
    /// The model.
    pub model: String,
    /// The kind of provider.
    pub provider: String,
    /// The same.
    pub provider_id: String,
    /// The same.
    pub provider_name: String,
    /// Completed calls.
    pub request_count: i64,
    /// What they cost, US dollars.
    pub spending: Usd,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// US dollars, to the nearest micro-dollar.
    pub avg_cost_per_request: Usd,
}

/// Use of all models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelUsageSummary {
    /// How many models; a model at two providers is one.
    pub unique_models: i64,
    /// Completed calls.
    pub total_requests: i64,
    /// Tokens in both directions.
    pub total_tokens: i64,
    /// US dollars.
    pub total_spend: Usd,
}

/// Use of models, the most called first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelUsagePage {
    /// The rows of the page.
    pub data: Vec<ModelUsage>,
    /// Over the whole list.
    pub summary: ModelUsageSummary,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
    /// Where the page stands.
    pub pagination: PageInfo,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CallRow {
    /// The id of the event, or of the report, that told of it.
    pub event_id: String,
    /// When it happened, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// `llm_request_completed` or `llm_request_failed`.
    pub event_type: String,
    /// The model.
    pub model: String,
    /// The kind of provider.
    pub provider: String,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// What it cost, micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub cost_micros: Money,
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// Why it failed.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub error_code: Option<String>,
    /// Why it failed, for people.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub error_message: Option<String>,
}

/// Use of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentCalls {
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// Its completed calls.
    pub request_count: i64,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// What they cost, US dollars.
    pub spending: Usd,
}

/// Use of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderCalls {
    /// The kind of provider.
    pub provider: String,
    /// Completed calls.
    pub request_count: i64,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// What they cost, US dollars.
    pub spending: Usd,
}

/// What was spent in a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeriodSpending {
    /// Its first instant, RFC 3339.
    pub period_start: String,
    /// `2026-03-01`, `2026-W09`, `2026-03` or `2026`, on the local calendar.
    pub label: String,
    /// What completed calls cost, US dollars.
    pub spending: Usd,
    /// Completed calls.
    pub request_count: i64,
    /// Tokens in both directions.
    pub total_tokens: i64,
}

/// Calls that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureRow {
    /// What the client said; `unknown` where it said nothing.
    pub error_code: String,
    /// The kind of provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How many.
    pub count: i64,
    /// The last one, milliseconds since the epoch.
    pub last_seen: i64,
}

/// A line of an export of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageExportRow {
    /// The local day.
    pub date: String,
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// The kind of provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Completed calls.
    pub request_count: i64,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// What they cost, US dollars.
    pub spending: Usd,
}

/// A line of an export of spending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpendingExportRow {
    /// The local day.
    pub date: String,
    /// The agent.
    pub agent_id: i64,
    /// Its name, or its last one.
    pub agent_name: String,
    /// The kind of provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Completed calls.
    pub request_count: i64,
    /// What they cost, US dollars.
    pub spending: Usd,
}
