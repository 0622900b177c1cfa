//! The audit log: who did what, and whether the record of it is as it was written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An entry of the audit log. Secrets are not in it: a changed one shows as `[REDACTED]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// `audit_<uuid>`.
    pub id: String,
    /// Its place: 1, 2, 3 … without holes.
    pub seq: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// What was done, such as `AGENT_CREATED`.
    pub operation: String,
    /// The kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub resource_id: Option<String>,
    /// Who did it; `null`: an agent, or the system.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub user_id: Option<String>,
    /// Their role at the time.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub user_role: Option<String>,
    /// The agent that did it, with its IC token.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub agent_id: Option<i64>,
    /// The client's address.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub ip_address: Option<String>,
    /// The client's name for itself.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub user_agent: Option<String>,
    /// The request.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub request_id: Option<String>,
    /// What changed.
    pub changes: AuditChanges,
    /// Anything else worth keeping; an object.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Value,
    /// The hash of the entry before it, hexadecimal.
    pub prev_hash: String,
    /// The hash over this entry and the one before it, hexadecimal.
    pub hash: String,
}

/// A thing before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditChanges {
    /// Before; `null` where it came into being.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<Object>))]
    pub before: Option<Value>,
    /// After; `null` where it ceased to be.
    #[cfg_attr(feature = "openapi", schema(required, value_type = Option<Object>))]
    pub after: Option<Value>,
}

/// What a check of the audit log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditVerdict {
    /// Whether everything is as it was written.
    pub ok: bool,
    /// How many entries were read, a bad one included.
    pub checked: i64,
    /// The first place checked: entries before it were not asked for, or are gone because their time was over.
    pub first_seq: i64,
    /// The last place to be checked.
    pub last_seq: i64,
    /// The hash of the youngest entry, hexadecimal; zeros before the first. Kept elsewhere, it shows later whether the log
    /// was written anew as a whole.
    pub head_hash: String,
    /// The first entry that is not as it was written, or the first place where one is missing.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub first_bad_seq: Option<i64>,
    /// What is wrong with it.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub reason: Option<String>,
    /// When it was checked, milliseconds since the epoch.
    pub as_of: i64,
}
