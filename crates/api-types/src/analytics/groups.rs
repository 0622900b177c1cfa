//! Answers along any dimensions.

use crate::figures::Usd;
use kernel::Money;
use serde::{Deserialize, Serialize};

/// What calls add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupTotals {
    /// Calls.
    pub request_count: i64,
    /// Completed.
    pub successful_requests: i64,
    /// Failed.
    pub failed_requests: i64,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// What they cost, micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub cost_microdollars: Money,
    /// The same, US dollars.
    pub cost_usd: Usd,
}

/// What the calls of a group add up to; it has the keys that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupRow {
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<i64>,
    /// Its name, or its last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// Who owned the agent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// The project the agent was in then; `null` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub project_id: Option<Option<String>>,
    /// The kind of provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider key; `null` where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub provider_key_id: Option<Option<i64>>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `completed` or `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The first instant of the bucket, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_start: Option<i64>,
    /// The same as RFC 3339 with the local offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_label: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub measures: GroupTotals,
}

/// Groups, by bucket and keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupsPage {
    /// The groups that have a call.
    pub data: Vec<GroupRow>,
    /// Over the whole range, whatever the page.
    pub totals: GroupTotals,
    /// The first instant, milliseconds since the epoch.
    pub from: i64,
    /// The first instant after the range, milliseconds since the epoch.
    pub to: i64,
    /// Whose days they are.
    pub time_zone: String,
    /// The size of the buckets, if it was asked for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub bucket: Option<String>,
    /// Where the list goes on.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub next_cursor: Option<String>,
    /// When it was calculated, milliseconds since the epoch.
    pub as_of: i64,
    /// The period, in its first spelling; `custom` where a range was given.
    pub period: String,
    /// When it was calculated, RFC 3339.
    pub calculated_at: String,
}
