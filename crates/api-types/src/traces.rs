//! Bodies of traces: one LLM request with all that is known of it, which is never what was said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One LLM request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TraceBody {
    /// Its number, never used again.
    pub id: i64,
    /// The id of the event that told of it.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub event_id: Option<String>,
    /// The id under which it was reported.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub request_id: Option<String>,
    /// The lease it was paid from.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub lease_id: Option<String>,
    /// Whose request it was.
    pub agent_id: i64,
    /// The agent's name now, or its last one.
    pub agent_name: String,
    /// Who owned the agent then.
    pub owner_id: String,
    /// The project the agent was in then.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub project_id: Option<String>,
    /// The kind of provider.
    pub provider: String,
    /// The key, where it is known.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub provider_key_id: Option<i64>,
    /// The model.
    pub model: String,
    /// `completed` or `failed`.
    pub status: String,
    /// Why it failed.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error_code: Option<String>,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// Micro-dollars, rounded up.
    pub cost_micros: i64,
    /// How long it took, milliseconds.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub latency_ms: Option<i64>,
    /// When it counts, milliseconds since 1970.
    pub timestamp: i64,
    /// When it was first heard of, milliseconds since 1970.
    pub received_at: i64,
    /// What told of it: `event`, `report` or `both`.
    pub source: String,
    /// The exact cost in nano-dollars, as text.
    pub cost_nanos: String,
    /// Why it failed, for people.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error_message: Option<String>,
    /// Of the tokens in, those the provider had cached.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub cached_tokens: Option<i64>,
    /// Of the tokens out, those spent on reasoning.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub reasoning_tokens: Option<i64>,
    /// The trace it belongs to: 32 hexadecimal digits.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub trace_id: Option<String>,
    /// The span it is: 16 hexadecimal digits.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub span_id: Option<String>,
    /// What its agent filed it under.
    pub tags: BTreeMap<String, String>,
}
