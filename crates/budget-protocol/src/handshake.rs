//! Handshake: an agent runtime asks for a lease.

use kernel::validate::{Fields, FromFields};
use kernel::{LeaseId, Money, ProviderKeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::idempotency::Canonical;
use crate::{BodyHash, MAX_IC_TOKEN, MAX_ID, MAX_INT, RuntimeVersion, wire};

/// What a runtime sends to borrow money. Has no `Debug`: it carries a credential.
#[derive(Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HandshakeRequest {
    /// The agent's credential, 1–2000 characters. This is the one place where it is written: into the request.
    #[serde(serialize_with = "expose")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 2000))]
    pub ic_token: Secret<String>,
    /// The kind of provider wished for, 1–50 characters; the server may choose another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 50))]
    pub provider: Option<String>,
    /// A particular provider key; must be one of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub provider_key_id: Option<ProviderKeyId>,
    /// Micro-dollars, at least 1; default and upper limit are settings of the server (see [`crate::requested_budget`]).
    #[serde(skip_serializing_if = "Option::is_none", with = "wire::optional_spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1))]
    pub requested_budget: Option<Money>,
    /// A name of the process, shown on the lease, 1–128 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub runtime_id: Option<String>,
    /// A semantic version, at most 64 characters. Whether it is compatible is for the caller to ask.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "version_text")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 64))]
    pub runtime_version: Option<RuntimeVersion>,
    /// Idempotency key, 1–100 characters, the same as the header `Idempotency-Key` (see [`crate::idempotency_key`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub request_id: Option<String>,
}

/// Writes a credential into a request body.
pub(crate) fn expose<S: serde::Serializer>(secret: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn version_text<S: serde::Serializer>(version: &Option<RuntimeVersion>, serializer: S) -> Result<S::Ok, S::Error> {
    version.as_ref().map(RuntimeVersion::as_str).serialize(serializer)
}

/// Reads the credential of handshake and refresh.
pub(crate) fn ic_token(fields: &mut Fields<'_>) -> Option<Secret<String>> {
    fields.required_str("ic_token", 1, MAX_IC_TOKEN).map(Secret::new)
}

impl HandshakeRequest {
    /// A request with nothing but the credential: the server's defaults decide the rest.
    pub const fn new(ic_token: Secret<String>) -> Self {
        Self {
            ic_token,
            provider: None,
            provider_key_id: None,
            requested_budget: None,
            runtime_id: None,
            runtime_version: None,
            request_id: None,
        }
    }

    /// What a repetition under the same key must agree in: everything but credential and key.
    pub fn body_hash(&self) -> BodyHash {
        Canonical::new("handshake")
            .text(self.provider.as_deref())
            .int(self.provider_key_id.map(|id| id.0))
            .money(self.requested_budget)
            .text(self.runtime_id.as_deref())
            .text(self.runtime_version.as_ref().map(RuntimeVersion::as_str))
            .finish()
    }
}

impl FromFields for HandshakeRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let ic_token = ic_token(f);
        let provider = f.optional_str("provider", 1, 50);
        let provider_key_id = f.optional_int("provider_key_id", -MAX_INT, MAX_INT).map(ProviderKeyId);
        let requested_budget = f.optional_micros("requested_budget", 1, Money::MAX_CAP);
        let runtime_id = f.optional_str("runtime_id", 1, 128);
        let runtime_version = f.optional_str("runtime_version", 1, 64).and_then(|text| {
            let version = RuntimeVersion::parse(&text);
            if version.is_none() {
                f.error("runtime_version", "must be a semantic version, such as 1.2.3");
            }
            version
        });
        let request_id = f.optional_str("request_id", 1, MAX_ID);
        Some(Self {
            ic_token: ic_token?,
            provider,
            provider_key_id,
            requested_budget,
            runtime_id,
            runtime_version,
            request_id,
        })
    }
}

/// A lease has been granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HandshakeResponse {
    /// The sealed provider key, see [`crate::ip_token`].
    #[cfg_attr(feature = "openapi", schema(max_length = 4096))]
    pub ip_token: String,
    /// The lease; whoever knows it may report on it and return it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub lease_id: LeaseId,
    /// Micro-dollars lent, at least 1 and at most what was asked for.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1))]
    pub budget_granted: Money,
    /// Micro-dollars the agent itself has left after this grant.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub budget_remaining: Money,
    /// When the lease expires unless there is a sign of life, in milliseconds.
    #[serde(with = "wire::millis")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub expires_at: Timestamp,
    /// By how much each sign of life extends it, in milliseconds.
    pub ttl_ms: i64,
    /// The kind of the key chosen, whatever was wished for.
    pub provider: String,
    /// The key chosen.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_key_id: ProviderKeyId,
    /// Where the provider is reached, without trailing `/` and without a final `/v1`; absent for its usual address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The agent's epoch.
    pub epoch: i64,
    /// Whether this answers a repeated request: the same lease, no new money.
    pub duplicate: bool,
}

#[cfg(test)]
mod tests {
    use kernel::validate::read;
    use serde_json::{Value, json};

    use super::HandshakeRequest;

    fn failing(body: Value) -> Vec<String> {
        match read::<HandshakeRequest>(&body) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|(path, _)| path.to_owned()).collect(),
        }
    }

    #[test]
    fn the_token_suffices_and_nulls_count_as_absent() {
        let body = json!({"ic_token": " t ", "provider": null, "requested_budget": null, "unknown": [1]});
        let request = read::<HandshakeRequest>(&body).expect("valid");
        assert_eq!(request.ic_token.expose(), "t");
        assert!(request.provider.is_none() && request.requested_budget.is_none() && request.request_id.is_none());
    }

    #[test]
    fn every_failing_field_is_named() {
        let body = json!({
            "ic_token": " ", "provider": "", "provider_key_id": "7", "requested_budget": 0, "runtime_id": 5,
            "runtime_version": "v1", "request_id": "x".repeat(101),
        });
        let names = [
            "ic_token",
            "provider",
            "provider_key_id",
            "request_id",
            "requested_budget",
            "runtime_id",
            "runtime_version",
        ];
        assert_eq!(failing(body), names);
        assert_eq!(failing(json!({})), ["ic_token"]);
        assert_eq!(failing(json!({"ic_token": "x".repeat(2001)})), ["ic_token"]);
    }

    #[test]
    fn amounts_are_whole_micro_dollars_up_to_the_hard_bound() {
        for bad in [json!(1.0), json!(-1), json!("5"), json!(1_000_000_000_000_001_i64), json!(1e30)] {
            assert_eq!(failing(json!({"ic_token": "t", "requested_budget": bad})), ["requested_budget"]);
        }
        assert!(failing(json!({"ic_token": "t", "requested_budget": 1_000_000_000_000_000_i64})).is_empty());
    }

    #[test]
    fn what_is_written_reads_back_with_the_same_hash() {
        let body = json!({
            "ic_token": "t", "provider": "openai", "provider_key_id": 3, "requested_budget": 5_000_000,
            "runtime_id": "r", "runtime_version": "1.2.3", "request_id": "k",
        });
        let request = read::<HandshakeRequest>(&body).expect("valid");
        let written = serde_json::to_value(&request).expect("JSON");
        assert_eq!(written, body);
        let again = read::<HandshakeRequest>(&written).expect("valid");
        assert_eq!(again.body_hash(), request.body_hash());
    }

    #[test]
    fn the_hash_ignores_credential_and_key_and_sees_everything_else() {
        let base = json!({"ic_token": "t", "request_id": "k", "requested_budget": 1});
        let hash = |body: &Value| read::<HandshakeRequest>(body).expect("valid").body_hash();
        let with = |name: &str, value: Value| {
            let mut body = base.clone();
            body[name] = value;
            hash(&body)
        };
        assert_eq!(with("ic_token", json!("other")), hash(&base));
        assert_eq!(with("request_id", json!("other")), hash(&base));
        for (name, value) in [
            ("requested_budget", json!(2)),
            ("requested_budget", Value::Null),
            ("provider", json!("openai")),
            ("provider_key_id", json!(1)),
            ("runtime_id", json!("r")),
            ("runtime_version", json!("1.0.0")),
        ] {
            assert_ne!(with(name, value), hash(&base), "{name}");
        }
    }
}
