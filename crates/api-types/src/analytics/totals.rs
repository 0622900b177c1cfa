//! Answers of one object.

use crate::figures::{Percent, Usd};
use serde::{Deserialize, Serialize};

/// What a question was narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerFilters {
    /// One agent.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub agent_id: Option<i64>,
    /// One kind of provider, or one key.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub provider_id: Option<String>,
    /// One project.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub project_id: Option<String>,
}

/// What completed calls cost in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TotalSpending {
    /// US dollars.
    pub total_spend: Usd,
    /// `USD`.
    pub currency: String,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}

/// What one completed call costs; zeros without calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CostPerRequest {
    /// US dollars, to the nearest micro-dollar.
    pub average_cost_per_request: Usd,
    /// Half of the calls cost no more; US dollars, within 1 percent.
    pub median_cost_per_request: Usd,
    /// The least, US dollars.
    pub min_cost_per_request: Usd,
    /// The largest, US dollars.
    pub max_cost_per_request: Usd,
    /// All of them, US dollars.
    pub total_spend: Usd,
    /// How many.
    pub total_requests: i64,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}

/// How calls ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestOutcomes {
    /// How many.
    pub total_requests: i64,
    /// Completed.
    pub successful_requests: i64,
    /// Failed.
    pub failed_requests: i64,
    /// Completed of all, 0–100; 0 without calls.
    pub success_rate: Percent,
    /// What it was narrowed to.
    pub filters: AnswerFilters,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}

/// Calls, tokens and what they cost, in one flat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageTotals {
    /// The first instant, milliseconds since the epoch.
    pub from: i64,
    /// The first instant after the range, milliseconds since the epoch.
    pub to: i64,
    /// How many.
    pub total_requests: i64,
    /// Completed.
    pub successful_requests: i64,
    /// Failed.
    pub failed_requests: i64,
    /// Completed of all, 0–100; 0 without calls.
    pub success_rate: Percent,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// What completed calls cost, US dollars.
    pub total_spend: Usd,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}

/// What completed calls cost, in one flat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpendingTotals {
    /// The first instant, milliseconds since the epoch.
    pub from: i64,
    /// The first instant after the range, milliseconds since the epoch.
    pub to: i64,
    /// US dollars.
    pub total_spend: Usd,
    /// `USD`.
    pub currency: String,
    /// Completed calls.
    pub total_requests: i64,
    /// US dollars, to the nearest micro-dollar.
    pub average_cost_per_request: Usd,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}

/// How calls went, in one flat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Metrics {
    /// How many.
    pub total_requests: i64,
    /// Failed.
    pub failed_requests: i64,
    /// Failed of all, 0–100; 0 without calls.
    pub error_rate: Percent,
    /// Half of the calls took no longer, within 1 percent; nothing where no call says.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub latency_p50_ms: Option<i64>,
    /// 95 of 100 took no longer.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub latency_p95_ms: Option<i64>,
    /// 99 of 100 took no longer.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub latency_p99_ms: Option<i64>,
    /// On average over the range; over all time, since the first call.
    pub requests_per_minute: super::Rate,
    /// On average over the range; over all time, since the first call.
    pub tokens_per_minute: super::Rate,
    /// Agents with a call in the range.
    pub active_agents: i64,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}
