//! Refresh: a lease is settled and exchanged for a new one.

use kernel::validate::{Fields, FromFields};
use kernel::{LeaseId, Money, ProviderKeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::handshake::{expose, ic_token};
use crate::idempotency::Canonical;
use crate::{BodyHash, MAX_ID, Scope, wire};

/// What a runtime sends to exchange a lease. Has no `Debug`: it carries a credential.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshRequest {
    /// The agent's credential, 1–2000 characters.
    #[serde(serialize_with = "expose")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 2000))]
    pub ic_token: Secret<String>,
    /// The lease to settle; `lease_id` is taken for it too.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 100))]
    pub current_lease_id: LeaseId,
    /// Micro-dollars, at least 1; default and upper limit are settings of the server (see [`crate::requested_budget`]).
    #[serde(skip_serializing_if = "Option::is_none", with = "wire::optional_spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1))]
    pub requested_budget: Option<Money>,
    /// Micro-dollars spent on this lease; merged by maximum.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire::optional_spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 0))]
    pub total_spent: Option<Money>,
    /// Micro-dollars the runtime believes to have left. Informational.
    #[serde(skip_serializing_if = "Option::is_none", with = "wire::optional_spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 0))]
    pub current_remaining: Option<Money>,
    /// Idempotency key, 1–100 characters, the same as the header `Idempotency-Key` (see [`crate::idempotency_key`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub request_id: Option<String>,
}

impl RefreshRequest {
    /// A request with nothing but credential and lease.
    pub const fn new(ic_token: Secret<String>, current_lease_id: LeaseId) -> Self {
        Self {
            ic_token,
            current_lease_id,
            requested_budget: None,
            total_spent: None,
            current_remaining: None,
            request_id: None,
        }
    }

    /// What a repetition under the same key must agree in: lease, amount and figure.
    pub fn body_hash(&self) -> BodyHash {
        Canonical::new("refresh")
            .text(Some(self.current_lease_id.as_str()))
            .money(self.requested_budget)
            .money(self.total_spent)
            .finish()
    }
}

impl FromFields for RefreshRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let ic_token = ic_token(f);
        let lease = f.spelling(&["current_lease_id", "lease_id"]);
        let current_lease_id = crate::report::lease_id(f, lease);
        let requested_budget = f.optional_micros("requested_budget", 1, Money::MAX_CAP);
        let total_spent = f.optional_micros("total_spent", 0, Money::MAX_CAP);
        let current_remaining = f.optional_micros("current_remaining", 0, Money::MAX_CAP);
        let request_id = f.optional_str("request_id", 1, MAX_ID);
        Some(Self {
            ic_token: ic_token?,
            current_lease_id: current_lease_id?,
            requested_budget,
            total_spent,
            current_remaining,
            request_id,
        })
    }
}

/// What became of the old lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClosedLease {
    /// Which one it was.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub lease_id: LeaseId,
    /// Its known spend, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub spent: Money,
    /// What flowed back, micro-dollars.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub returned: Money,
}

/// The old lease is closed, a new one granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshApproved {
    /// Lent on the new lease.
    pub budget_granted: Money,
    /// What the agent itself has left.
    pub budget_remaining: Money,
    /// The new lease.
    pub lease_id: LeaseId,
    /// When it expires unless there is a sign of life.
    pub expires_at: Timestamp,
    /// By how much each sign of life extends it, in milliseconds.
    pub ttl_ms: i64,
    /// The agent's epoch.
    pub epoch: i64,
    /// The kind of the key the lease is for.
    pub provider: String,
    /// The key the lease is for. Its secret is not repeated here.
    pub provider_key_id: ProviderKeyId,
    /// The old lease.
    pub closed_lease: ClosedLease,
    /// Allocated to the agent in total.
    pub total_allocated: Money,
    /// Spent by the agent in total.
    pub total_spent: Money,
    /// Whether this answers a repeated request.
    pub duplicate: bool,
}

/// Nothing is available beside what the old lease still holds; it stays usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshDenied {
    /// What the agent itself has left.
    pub budget_remaining: Money,
    /// The scope that has nothing left.
    pub binding_scope: Scope,
    /// Allocated to the agent in total.
    pub total_allocated: Money,
    /// Spent by the agent in total.
    pub total_spent: Money,
    /// When the window of the binding scope ends, if it has one.
    pub resets_at: Option<Timestamp>,
}

/// The answer to a refresh. Both forms have the keys `status`, `budget_granted`, `budget_remaining`, `lease_id` and
/// `reason`, `null` where they do not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "RefreshBody", try_from = "RefreshBody")]
pub enum RefreshResponse {
    /// Granted.
    Approved(RefreshApproved),
    /// Refused for lack of money; every other refusal is an error.
    Denied(RefreshDenied),
}

/// Why a refresh was denied; there is one reason.
const INSUFFICIENT: &str = "insufficient_budget";

/// The answer to a refresh as it stands on the wire.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RefreshResponse))]
pub struct RefreshBody {
    /// `approved` or `denied`.
    status: String,
    /// Micro-dollars lent on the new lease.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    budget_granted: Option<i64>,
    /// Micro-dollars the agent itself has left.
    budget_remaining: i64,
    /// The new lease.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    lease_id: Option<String>,
    /// `insufficient_budget` where denied.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_key_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_lease: Option<ClosedLease>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binding_scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_allocated: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_spent: Option<i64>,
    /// Absent where approved, `null` where the binding scope has no window.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    resets_at: Option<Option<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
}

/// Tells `null` from absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<RefreshResponse> for RefreshBody {
    fn from(response: RefreshResponse) -> Self {
        let left = |m: Money| m.micros_floor().max(0);
        match response {
            RefreshResponse::Approved(a) => Self {
                status: "approved".to_owned(),
                budget_granted: Some(left(a.budget_granted)),
                budget_remaining: left(a.budget_remaining),
                lease_id: Some(a.lease_id.as_str().to_owned()),
                reason: None,
                expires_at: Some(a.expires_at.millis()),
                ttl_ms: Some(a.ttl_ms),
                epoch: Some(a.epoch),
                provider: Some(a.provider),
                provider_key_id: Some(a.provider_key_id.0),
                closed_lease: Some(a.closed_lease),
                total_allocated: Some(left(a.total_allocated)),
                total_spent: Some(a.total_spent.micros_ceil()),
                duplicate: Some(a.duplicate),
                ..Self::default()
            },
            RefreshResponse::Denied(d) => Self {
                status: "denied".to_owned(),
                budget_remaining: left(d.budget_remaining),
                reason: Some(INSUFFICIENT.to_owned()),
                binding_scope: Some(d.binding_scope),
                total_allocated: Some(left(d.total_allocated)),
                total_spent: Some(d.total_spent.micros_ceil()),
                resets_at: Some(d.resets_at.map(Timestamp::millis)),
                ..Self::default()
            },
        }
    }
}

impl TryFrom<RefreshBody> for RefreshResponse {
    type Error = String;

    fn try_from(body: RefreshBody) -> Result<Self, String> {
        fn need<T>(value: Option<T>, name: &str) -> Result<T, String> {
            value.ok_or_else(|| format!("{name} is missing"))
        }
        fn amount(value: Option<i64>, name: &str) -> Result<Money, String> {
            Money::from_micros(need(value, name)?).ok_or_else(|| format!("{name} is beyond the range of balances"))
        }
        let budget_remaining = amount(Some(body.budget_remaining), "budget_remaining")?;
        let total_allocated = amount(body.total_allocated, "total_allocated")?;
        let total_spent = amount(body.total_spent, "total_spent")?;
        match body.status.as_str() {
            "approved" => Ok(Self::Approved(RefreshApproved {
                budget_granted: amount(body.budget_granted, "budget_granted")?,
                budget_remaining,
                lease_id: LeaseId::new(need(body.lease_id, "lease_id")?),
                expires_at: Timestamp::from_millis(need(body.expires_at, "expires_at")?),
                ttl_ms: need(body.ttl_ms, "ttl_ms")?,
                epoch: need(body.epoch, "epoch")?,
                provider: need(body.provider, "provider")?,
                provider_key_id: ProviderKeyId(need(body.provider_key_id, "provider_key_id")?),
                closed_lease: need(body.closed_lease, "closed_lease")?,
                total_allocated,
                total_spent,
                duplicate: need(body.duplicate, "duplicate")?,
            })),
            "denied" => Ok(Self::Denied(RefreshDenied {
                budget_remaining,
                binding_scope: need(body.binding_scope, "binding_scope")?,
                total_allocated,
                total_spent,
                resets_at: body.resets_at.flatten().map(Timestamp::from_millis),
            })),
            _ => Err("status is neither approved nor denied".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::read;
    use kernel::{AgentId, LeaseId, Money, ProviderKeyId, Timestamp};
    use serde_json::{Value, json};

    use super::{ClosedLease, RefreshApproved, RefreshDenied, RefreshRequest, RefreshResponse};
    use crate::Scope;

    fn failing(body: Value) -> Vec<String> {
        match read::<RefreshRequest>(&body) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|(path, _)| path.to_owned()).collect(),
        }
    }

    #[test]
    fn the_lease_has_two_spellings() {
        for name in ["current_lease_id", "lease_id"] {
            let request = read::<RefreshRequest>(&json!({"ic_token": "t", name: "lease_1"})).expect("valid");
            assert_eq!(request.current_lease_id.as_str(), "lease_1");
        }
        assert_eq!(failing(json!({})), ["current_lease_id", "ic_token"]);
        assert_eq!(failing(json!({"ic_token": "t", "lease_id": 5})), ["lease_id"]);
    }

    #[test]
    fn every_failing_field_is_named() {
        let body = json!({
            "ic_token": 1, "lease_id": "", "requested_budget": 0, "total_spent": -1, "current_remaining": 0.5,
            "request_id": "",
        });
        let names = ["current_remaining", "ic_token", "lease_id", "request_id", "requested_budget", "total_spent"];
        assert_eq!(failing(body), names);
    }

    #[test]
    fn the_hash_does_not_depend_on_spelling_or_informational_fields() {
        let hash = |body: Value| read::<RefreshRequest>(&body).expect("valid").body_hash();
        let base = hash(json!({"ic_token": "t", "lease_id": "l", "total_spent": 5}));
        let same = json!({
            "ic_token": "u", "current_lease_id": "l", "total_spent": 5, "current_remaining": 7, "request_id": "k",
        });
        assert_eq!(hash(same), base);
        for other in [
            json!({"ic_token": "t", "lease_id": "m", "total_spent": 5}),
            json!({"ic_token": "t", "lease_id": "l", "total_spent": 6}),
            json!({"ic_token": "t", "lease_id": "l", "requested_budget": 5}),
        ] {
            assert_ne!(hash(other), base);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let body = json!({
            "ic_token": "t", "current_lease_id": "l", "requested_budget": 1, "total_spent": 0, "current_remaining": 2,
            "request_id": "k",
        });
        let request = read::<RefreshRequest>(&body).expect("valid");
        assert_eq!(serde_json::to_value(&request).expect("JSON"), body);
    }

    #[test]
    fn an_approval_has_the_five_keys_and_reads_back() {
        let micros = |n| Money::from_micros(n).expect("in range");
        let approved = RefreshResponse::Approved(RefreshApproved {
            budget_granted: micros(7),
            budget_remaining: micros(3),
            lease_id: LeaseId::new("lease_2"),
            expires_at: Timestamp::from_millis(1_000),
            ttl_ms: 9,
            epoch: 1,
            provider: "openai".into(),
            provider_key_id: ProviderKeyId(4),
            closed_lease: ClosedLease { lease_id: LeaseId::new("lease_1"), spent: micros(1), returned: micros(2) },
            total_allocated: micros(20),
            total_spent: micros(1),
            duplicate: false,
        });
        let written = serde_json::to_value(&approved).expect("JSON");
        let expected = json!({
            "status": "approved", "budget_granted": 7, "budget_remaining": 3, "lease_id": "lease_2", "reason": null,
            "expires_at": 1000, "ttl_ms": 9, "epoch": 1, "provider": "openai", "provider_key_id": 4,
            "closed_lease": {"lease_id": "lease_1", "spent": 1, "returned": 2},
            "total_allocated": 20, "total_spent": 1, "duplicate": false,
        });
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_value::<RefreshResponse>(written).expect("its own form"), approved);
    }

    #[test]
    fn a_denial_has_the_five_keys_and_rounds_what_is_spent_up() {
        let denied = RefreshResponse::Denied(RefreshDenied {
            budget_remaining: Money::from_nanos(999),
            binding_scope: Scope::agent(AgentId(1)),
            total_allocated: Money::from_nanos(5_000),
            total_spent: Money::from_nanos(4_001),
            resets_at: None,
        });
        let expected = json!({
            "status": "denied", "budget_granted": null, "budget_remaining": 0, "lease_id": null,
            "reason": "insufficient_budget", "binding_scope": {"kind": "agent", "id": 1},
            "total_allocated": 5, "total_spent": 5, "resets_at": null,
        });
        assert_eq!(serde_json::to_value(&denied).expect("JSON"), expected);
        assert!(matches!(serde_json::from_value(expected), Ok(RefreshResponse::Denied(_))));
    }

    #[test]
    fn an_answer_without_its_fields_is_not_understood() {
        for bad in [json!({"status": "approved", "budget_remaining": 1}), json!({"status": "maybe"}), json!([])] {
            assert!(serde_json::from_value::<RefreshResponse>(bad).is_err());
        }
    }
}
