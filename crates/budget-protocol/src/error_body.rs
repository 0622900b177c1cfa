//! The one error shape of the HTTP contract, and what some codes say beside it.
//!
//! ```json
//! {"error":"<text>","code":"<UPPER_SNAKE>","message":"<text>","details":{},"fields":{"a.b":"why"},"request_id":"req_…"}
//! ```
//!
//! Below `/api/v1/auth/` the value of `error` is an object `{code,message,details?,fields?}` instead of the text.

use std::collections::BTreeMap;

use kernel::{ErrorCode, Money, Timestamp, Window};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{RuntimeVersion, Scope, wire};

/// An error as a client reads it: tolerant of everything but a missing code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The code, as it stands in the body; newer servers may send ones that this version does not know.
    pub code: String,
    /// The text for people.
    pub message: String,
    /// What the code says in particular.
    pub details: Map<String, Value>,
    /// The failing fields and why.
    pub fields: BTreeMap<String, String>,
    /// Under which the server's log has it.
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// Reads a body; `None` if it has not the shape.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let top: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let inner = top.get("error").and_then(Value::as_object);
        let find = |name: &str| top.get(name).or_else(|| inner.and_then(|map| map.get(name)));
        let text = |name: &str| find(name).and_then(Value::as_str).map(str::to_owned);
        let code = text("code")?;
        let error = top.get("error").and_then(Value::as_str).map(str::to_owned);
        let strings = |map: &Map<String, Value>| {
            map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
        };
        Some(Self {
            message: text("message").or(error).unwrap_or_else(|| code.clone()),
            details: find("details").and_then(Value::as_object).cloned().unwrap_or_default(),
            fields: find("fields").and_then(Value::as_object).map(strings).unwrap_or_default(),
            request_id: text("request_id"),
            code,
        })
    }

    /// The code, if this version knows it.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.as_str() == self.code)
    }

    /// What the details of a refusal say, where the code is one of those that have any and they can be read.
    pub fn denial(&self) -> Option<Denial> {
        fn read<T: for<'de> Deserialize<'de>>(details: &Map<String, Value>) -> Option<T> {
            serde_json::from_value(Value::Object(details.clone())).ok()
        }
        match self.known_code()? {
            ErrorCode::BudgetExhausted => read(&self.details).map(|d| Denial::Exhausted(Box::new(d))),
            ErrorCode::AgentFrozen => read(&self.details).map(Denial::Frozen),
            ErrorCode::QuotaExceeded => read(&self.details).map(Denial::Quota),
            _ => None,
        }
    }
}

/// Details of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// `BUDGET_EXHAUSTED`.
    Exhausted(Box<ExhaustedDetails>),
    /// `AGENT_FROZEN`.
    Frozen(FrozenDetails),
    /// `QUOTA_EXCEEDED`.
    Quota(QuotaDetails),
}

/// `details` of `BUDGET_EXHAUSTED`; [`ExhaustedDetails::top_level`] gives those that stand beside `code` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExhaustedDetails {
    /// Micro-dollars allocated to the agent.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_allocated: Money,
    /// Micro-dollars spent by the agent.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_spent: Money,
    /// Micro-dollars the agent itself has left.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub budget_remaining: Money,
    /// The scope that has nothing left.
    pub binding_scope: Scope,
    /// Its cap, micro-dollars.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub cap: Money,
    /// Spent in its window, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub spent: Money,
    /// Lent and not yet reported, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub leased: Money,
    /// Lent to runtimes that fell silent, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub suspense: Money,
    /// Micro-dollars; nothing, else there would have been a grant.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available: Money,
    /// `none`, `day`, `week` or `month`.
    #[serde(with = "wire::window")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub window: Window,
    /// When the window ends, `null` without one.
    #[serde(with = "wire::optional_millis")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required = true))]
    pub resets_at: Option<Timestamp>,
}

impl ExhaustedDetails {
    /// The four keys that stand at the top level of the error body as well.
    pub fn top_level(&self) -> Map<String, Value> {
        let all = serde_json::to_value(self).unwrap_or_default();
        ["total_allocated", "total_spent", "budget_remaining", "binding_scope"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), all.get(name)?.clone())))
            .collect()
    }
}

/// `details` of `AGENT_FROZEN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FrozenDetails {
    /// What is frozen: the agent or a scope that covers it.
    pub scope: Scope,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// Since when, in milliseconds.
    #[serde(with = "wire::millis")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub frozen_at: Timestamp,
}

/// `details` of `QUOTA_EXCEEDED`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaDetails {
    /// Which quota.
    pub quota: String,
    /// Whose quota.
    pub scope: Scope,
    /// How much it allows, in the unit of the quota.
    pub limit: i64,
    /// How much is used, in the unit of the quota.
    pub used: i64,
    /// When it starts anew, `null` if it does not.
    #[serde(with = "wire::optional_millis")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required = true))]
    pub resets_at: Option<Timestamp>,
    /// The quota row, `null` if the quota has none.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub limit_id: Option<i64>,
}

/// `details` of `INCOMPATIBLE_VERSION`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionDetails {
    /// What the server speaks.
    pub required: Vec<String>,
    /// What the runtime said it is.
    pub provided: String,
}

impl VersionDetails {
    /// The refusal of this version.
    pub fn refused(version: &RuntimeVersion) -> Self {
        Self { required: RuntimeVersion::REQUIRED.map(str::to_owned).into(), provided: version.as_str().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, ErrorCode, Money, Timestamp, Window};
    use serde_json::json;

    use super::{Denial, ErrorBody, ExhaustedDetails, VersionDetails};
    use crate::{RuntimeVersion, Scope};

    fn exhausted() -> ExhaustedDetails {
        ExhaustedDetails {
            total_allocated: Money::from_nanos(10_000),
            total_spent: Money::from_nanos(9_001),
            budget_remaining: Money::from_nanos(999),
            binding_scope: Scope::agent(AgentId(7)),
            cap: Money::from_nanos(10_000),
            spent: Money::from_nanos(9_001),
            leased: Money::ZERO,
            suspense: Money::ZERO,
            available: Money::from_nanos(999),
            window: Window::Day,
            resets_at: Some(Timestamp::from_millis(5)),
        }
    }

    #[test]
    fn error_is_read_as_text_or_as_object() {
        let flat = json!({"error": "no", "code": "AGENT_FROZEN", "message": "no", "request_id": "req_1"});
        let nested = json!({
            "error": {"code": "AGENT_FROZEN", "message": "no", "fields": {"a": "b"}}, "request_id": "req_1",
        });
        for body in [flat, nested] {
            let error = ErrorBody::parse(body.to_string().as_bytes()).expect("an error");
            assert_eq!((error.message.as_str(), error.known_code()), ("no", Some(ErrorCode::AgentFrozen)));
            assert_eq!(error.request_id.as_deref(), Some("req_1"));
        }
        let old = ErrorBody::parse(br#"{"error":"text only","code":"X_NEW"}"#).expect("an error");
        assert_eq!((old.message.as_str(), old.known_code()), ("text only", None));
    }

    #[test]
    fn bodies_without_a_code_are_not_errors_of_ours() {
        for bad in ["", "null", "[]", "<html>", "{\"error\":\"x\"}", "{\"code\":5}"] {
            assert_eq!(ErrorBody::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_details_of_an_exhausted_budget_read_back_and_round_the_right_way() {
        let details = serde_json::to_value(exhausted()).expect("JSON");
        assert_eq!((&details["total_spent"], &details["budget_remaining"]), (&json!(10), &json!(0)));
        assert_eq!((&details["window"], &details["resets_at"]), (&json!("day"), &json!(5)));
        let body = json!({"error": "x", "code": "BUDGET_EXHAUSTED", "details": details});
        let error = ErrorBody::parse(body.to_string().as_bytes()).expect("an error");
        let Some(Denial::Exhausted(read)) = error.denial() else { panic!("no details") };
        assert_eq!(read.binding_scope, Scope::agent(AgentId(7)));
    }

    #[test]
    fn four_keys_stand_at_the_top_too() {
        let keys: Vec<String> = exhausted().top_level().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 4);
        assert!(keys.contains(&"binding_scope".to_owned()));
    }

    #[test]
    fn details_that_cannot_be_read_do_not_hide_the_error() {
        let error = ErrorBody::parse(br#"{"code":"AGENT_FROZEN","details":{"scope":5}}"#).expect("an error");
        assert_eq!(error.denial(), None);
        assert_eq!(error.known_code(), Some(ErrorCode::AgentFrozen));
    }

    #[test]
    fn a_refused_version_names_what_is_spoken() {
        let version = RuntimeVersion::parse("2.0.0").expect("a version");
        let written = serde_json::to_value(VersionDetails::refused(&version)).expect("JSON");
        assert_eq!(written, json!({"required": ["0.x", "1.x"], "provided": "2.0.0"}));
    }
}
