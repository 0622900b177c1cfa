//! Events: what an agent says about each of its LLM requests.
//!
//! An event is read on the hottest path of the service, often five hundred to a request and mostly ones that are known
//! already. So it is read in one pass from the bytes: the known fields go to their places, unknown ones are skipped, no map
//! is built. Every failing field is named all the same.
//!
//! | part | holds |
//! |---|---|
//! | [`Event`] | an event that is valid |
//! | [`EventRequest`] | one with the token it was sent with, the body of `analytics/events` |
//! | [`EventBatch`] | many, the body of `analytics/events/batch` in its three forms |
//! | [`EventBody`], [`EventBatchBody`] | what a client writes |

mod batch;
mod raw;
mod read;

use std::collections::BTreeMap;

use kernel::{ErrorCode, FieldErrors, LeaseId, Money, ProviderKeyId, Timestamp};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub use batch::{BatchForm, BatchItem, BatchRefusal, EventBatch, MAX_EVENTS, RejectedItem};
pub use read::{EventRequest, cut, one_line};

/// Longest event id, in characters.
pub const MAX_EVENT_ID: usize = 128;
/// Longest name of a model, in characters; longer ones are cut.
pub const MAX_MODEL: usize = 200;
/// Longest error code, in characters; longer ones are cut.
pub const MAX_ERROR_CODE: usize = 64;
/// Longest error message, in characters; longer ones are cut.
pub const MAX_ERROR_MESSAGE: usize = 1_000;
/// Most tokens of one kind in one request.
pub const MAX_TOKENS: i64 = 1_000_000_000;
/// Longest time one request may take, milliseconds: a day.
pub const MAX_LATENCY_MS: i64 = 86_400_000;
/// What a model or provider is called where its name is not known.
pub const UNKNOWN: &str = "unknown";

/// How an LLM request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallStatus {
    /// With an answer.
    Completed,
    /// Without one.
    Failed,
}

impl CallStatus {
    /// The words of `event_type`.
    pub const EVENT_TYPES: [(&'static str, Self); 2] =
        [("llm_request_completed", Self::Completed), ("llm_request_failed", Self::Failed)];

    /// The word of `event_type`.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Completed => "llm_request_completed",
            Self::Failed => "llm_request_failed",
        }
    }
}

/// What an event says about the key that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderRef {
    /// A stored key.
    Key(ProviderKeyId),
    /// The name of a provider, at most 128 characters.
    Name(String),
}

/// One LLM request, as its agent tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique for the agent, 1–128 characters.
    pub event_id: String,
    /// When the request ended, as the agent's clock says.
    pub timestamp: Timestamp,
    /// How.
    pub status: CallStatus,
    /// 1–200 characters.
    pub model: String,
    /// A slug.
    pub provider: String,
    /// Tokens in, 0…10⁹.
    pub input_tokens: i64,
    /// Tokens out, 0…10⁹.
    pub output_tokens: i64,
    /// Of the tokens in, those the provider had cached.
    pub cached_tokens: Option<i64>,
    /// Of the tokens out, those spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// What it cost, exactly: `cost_nanos` where it was given, else `cost_micros`.
    pub cost: Money,
    /// The key that was used.
    pub provider_id: Option<ProviderRef>,
    /// At most 64 characters.
    pub error_code: Option<String>,
    /// At most 1000 characters, on one line.
    pub error_message: Option<String>,
    /// The lease it was paid from; counts only if it is one of the agent.
    pub lease_id: Option<LeaseId>,
    /// The id under which the call was also reported.
    pub request_id: Option<String>,
    /// How long the request took, 0…86 400 000 ms.
    pub latency_ms: Option<i64>,
    /// The trace it belongs to: 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The span it is: 16 hexadecimal digits.
    pub span_id: Option<String>,
    /// What the agent files it under: at most 20, names of 1–50 characters, values of at most 200.
    pub tags: BTreeMap<String, String>,
}

impl Event {
    /// A completed request of which nothing more is known.
    pub fn completed(event_id: impl Into<String>, timestamp: Timestamp, model: &str, provider: &str) -> Self {
        Self {
            event_id: event_id.into(),
            timestamp,
            status: CallStatus::Completed,
            model: model.to_owned(),
            provider: provider.to_owned(),
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: None,
            reasoning_tokens: None,
            cost: Money::ZERO,
            provider_id: None,
            error_code: None,
            error_message: None,
            lease_id: None,
            request_id: None,
            latency_ms: None,
            trace_id: None,
            span_id: None,
            tags: BTreeMap::new(),
        }
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("timestamp_ms", &self.timestamp.millis())?;
        map.serialize_entry("event_type", self.status.event_type())?;
        map.serialize_entry("model", &self.model)?;
        map.serialize_entry("provider", &self.provider)?;
        map.serialize_entry("input_tokens", &self.input_tokens)?;
        map.serialize_entry("output_tokens", &self.output_tokens)?;
        map.serialize_entry("cost_micros", &self.cost.micros_ceil())?;
        if self.cost.micros_ceil() != self.cost.micros_floor() {
            map.serialize_entry("cost_nanos", &self.cost.nanos())?;
        }
        match &self.provider_id {
            Some(ProviderRef::Key(id)) => map.serialize_entry("provider_id", id)?,
            Some(ProviderRef::Name(name)) => map.serialize_entry("provider_id", name)?,
            None => {}
        }
        for (name, number) in [
            ("cached_tokens", self.cached_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
            ("latency_ms", self.latency_ms),
        ] {
            if let Some(number) = number {
                map.serialize_entry(name, &number)?;
            }
        }
        for (name, text) in [
            ("error_code", self.error_code.as_deref()),
            ("error_message", self.error_message.as_deref()),
            ("lease_id", self.lease_id.as_ref().map(LeaseId::as_str)),
            ("request_id", self.request_id.as_deref()),
            ("trace_id", self.trace_id.as_deref()),
            ("span_id", self.span_id.as_deref()),
        ] {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        if !self.tags.is_empty() {
            map.serialize_entry("tags", &self.tags)?;
        }
        Ok(())
    }
}

impl Serialize for Event {
    /// The canonical form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

/// An event as a client writes it.
pub struct EventBody<'a> {
    /// The agent's token. A plain text, because it is about to be sent.
    pub ic_token: &'a str,
    /// What it says.
    pub event: &'a Event,
}

impl Serialize for EventBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ic_token", self.ic_token)?;
        self.event.write(&mut map)?;
        map.end()
    }
}

/// Many events of one agent as a client writes them.
#[derive(Serialize)]
pub struct EventBatchBody<'a> {
    /// The agent's token. A plain text, because it is about to be sent.
    pub ic_token: &'a str,
    /// What they say, 1–[`MAX_EVENTS`].
    pub events: &'a [Event],
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// Stored now.
    Accepted,
    /// Known before; the first one stands.
    Duplicate,
    /// Not stored.
    Rejected,
}

/// The answer to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventResponse {
    /// Its id.
    pub event_id: String,
    /// `accepted` or `duplicate`.
    pub status: EventStatus,
}

/// The answer about one item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventResult {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Its event id, `null` where it could not be read.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub event_id: Option<String>,
    /// What became of it.
    pub status: EventStatus,
    /// The error code, for `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A readable text, for `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The failing fields, for `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

impl EventResult {
    /// An event that is stored, now or since before.
    pub const fn stored(index: usize, event_id: String, duplicate: bool) -> Self {
        let status = if duplicate { EventStatus::Duplicate } else { EventStatus::Accepted };
        Self { index, event_id: Some(event_id), status, code: None, error: None, fields: None }
    }

    /// An event that is not.
    pub fn rejected(index: usize, event_id: Option<String>, code: ErrorCode, error: impl Into<String>) -> Self {
        Self {
            index,
            event_id,
            status: EventStatus::Rejected,
            code: Some(code.as_str().to_owned()),
            error: Some(error.into()),
            fields: None,
        }
    }

    /// An event whose fields will not do.
    pub fn invalid(index: usize, event_id: Option<String>, errors: &FieldErrors) -> Self {
        let fields = errors.iter().map(|(path, why)| (path.to_owned(), why.to_owned())).collect();
        let rejected = Self::rejected(index, event_id, ErrorCode::ValidationError, errors.summary());
        Self { fields: Some(fields), ..rejected }
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventBatchResponse {
    /// Events stored now.
    pub accepted: usize,
    /// Events known before.
    pub duplicates: usize,
    /// Events not stored.
    pub rejected: usize,
    /// One answer per item, in the order of the request.
    pub results: Vec<EventResult>,
}

impl EventBatchResponse {
    /// Counts the results.
    pub fn of(results: Vec<EventResult>) -> Self {
        let count = |status| results.iter().filter(|result| result.status == status).count();
        let [accepted, duplicates, rejected] =
            [EventStatus::Accepted, EventStatus::Duplicate, EventStatus::Rejected].map(count);
        Self { accepted, duplicates, rejected, results }
    }
}

/// An event as the API description shows it; read by hand through [`EventRequest`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct EventSchema {
    /// The agent's token. In a batch it may stand beside the events or in the `Authorization` header instead.
    #[schema(min_length = 1, max_length = 2000)]
    ic_token: Option<String>,
    /// Unique for the agent.
    #[schema(min_length = 1, max_length = 128)]
    event_id: String,
    /// When the request ended. More than 31 days before or 5 minutes after receipt counts at receipt.
    #[schema(minimum = 0)]
    timestamp_ms: i64,
    /// `llm_request_completed` or `llm_request_failed`.
    event_type: String,
    /// Longer than 200 characters is cut, blank becomes `unknown`.
    model: String,
    /// `openai`, `anthropic`, `unknown`, …
    #[schema(pattern = "^[a-z0-9-]{1,50}$")]
    provider: String,
    /// Required if completed.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    input_tokens: Option<i64>,
    /// Required if completed.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    output_tokens: Option<i64>,
    /// Of `input_tokens`, those the provider had cached.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    cached_tokens: Option<i64>,
    /// Of `output_tokens`, those spent on reasoning.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    reasoning_tokens: Option<i64>,
    /// Micro-dollars, default 0.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    cost_micros: Option<i64>,
    /// The exact cost in nano-dollars; must round, up or down, to `cost_micros` where both are given.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    cost_nanos: Option<i64>,
    /// The id of the provider key that was used, or the name of the provider.
    provider_id: Option<ProviderIdSchema>,
    /// Longer than 64 characters is cut.
    error_code: Option<String>,
    /// Longer than 1000 characters is cut.
    error_message: Option<String>,
    /// The lease it was paid from; one of another agent is ignored.
    #[schema(max_length = 100)]
    lease_id: Option<String>,
    /// The id under which the call was also reported: then both are one fact.
    #[schema(max_length = 100)]
    request_id: Option<String>,
    #[schema(minimum = 0, maximum = 86_400_000)]
    latency_ms: Option<i64>,
    #[schema(pattern = "^[0-9a-fA-F]{32}$")]
    trace_id: Option<String>,
    #[schema(pattern = "^[0-9a-fA-F]{16}$")]
    span_id: Option<String>,
    /// What the agent files it under: at most 20, names of 1–50 characters, values of at most 200.
    tags: Option<BTreeMap<String, String>>,
}

/// A key or a provider.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = EventProvider)]
#[serde(untagged)]
pub enum ProviderIdSchema {
    /// The id of a key.
    Key(i64),
    /// The same as text, or the name of a provider, at most 128 characters.
    Text(String),
}

/// A batch as the API description shows it; read by hand through [`EventBatch`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = EventBatch)]
#[serde(untagged)]
pub enum EventBatchSchema {
    /// Every event with its token, or all with that of the `Authorization` header.
    List(Vec<EventSchema>),
    /// The token once.
    Shared {
        /// For events that have none of their own.
        ic_token: Option<String>,
        /// 1–1000 events.
        events: Vec<EventSchema>,
    },
}
