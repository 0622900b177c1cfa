//! Bodies of usage: tokens, requests and cents. Each figure is rounded once, from the exact one, so a total may differ from
//! the sum of the rounded figures it is made of.

use serde::{Deserialize, Serialize};

/// What was used in all, and through which providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageBody {
    /// The API token that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i64>,
    /// Tokens in and out.
    pub total_tokens: i64,
    /// LLM requests, failed ones included.
    pub total_requests: i64,
    /// US cents, half up.
    pub total_cost_cents: i64,
    /// By provider, the most expensive first.
    pub providers: Vec<ProviderUsageBody>,
}

/// What was used of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderUsageBody {
    /// The kind of provider.
    pub provider: String,
    /// Tokens in and out.
    pub tokens: i64,
    /// LLM requests, failed ones included.
    pub requests: i64,
    /// US cents, half up.
    pub cost_cents: i64,
}

/// What was used by the agents of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectUsageBody {
    /// The project; `null` for agents without one.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub project_id: Option<String>,
    /// Tokens in and out.
    pub tokens: i64,
    /// LLM requests, failed ones included.
    pub requests: i64,
    /// US cents, half up.
    pub cost_cents: i64,
}

/// A row of the export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRow {
    /// The day in the zone asked for, `2026-11-28`.
    pub date: String,
    /// The project; `null` for agents without one.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub project_id: Option<String>,
    /// The agent.
    pub agent_id: i64,
    /// The kind of provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// LLM requests, failed ones included.
    pub requests: i64,
    /// Tokens in and out.
    pub tokens: i64,
    /// US cents, half up.
    pub cost_cents: i64,
}
