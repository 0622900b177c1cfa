//! Audit records and the hash chain over them.

use kernel::{AgentId, AuditId, Timestamp, UserId};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Who acts, and from where. What cannot be known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditActor {
    /// The user; `None` for an agent or the system.
    pub user: Option<UserId>,
    /// The user's role at the time.
    pub role: Option<String>,
    /// The agent, for agent tokens.
    pub agent: Option<AgentId>,
    /// The client's address.
    pub ip_address: Option<String>,
    /// The client's own name for itself, cut to 500 characters.
    pub user_agent: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// One action to be recorded. Secrets never stand in it: a changed secret shows as `[REDACTED]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// What was done, such as `AGENT_CREATED`.
    pub operation: &'static str,
    /// The kind of thing it was done to.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Option<String>,
    /// By whom.
    pub actor: AuditActor,
    /// The thing before.
    pub before: Option<Value>,
    /// The thing after.
    pub after: Option<Value>,
    /// Anything else worth keeping.
    pub metadata: Value,
}

impl AuditRecord {
    /// A record of an action without states.
    pub fn new(
        operation: &'static str,
        resource_type: &'static str,
        resource_id: impl ToString,
        actor: &AuditActor,
    ) -> Self {
        Self {
            operation,
            resource_type,
            resource_id: Some(resource_id.to_string()),
            actor: actor.clone(),
            before: None,
            after: None,
            metadata: Value::Object(serde_json::Map::new()),
        }
    }

    /// With the state before and after.
    #[must_use]
    pub fn changed(mut self, before: impl Into<Option<Value>>, after: impl Into<Option<Value>>) -> Self {
        self.before = before.into();
        self.after = after.into();
        self
    }
}

/// An entry as it stands in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place, without holes.
    pub seq: i64,
    /// Its id.
    pub id: AuditId,
    /// When.
    pub recorded_at: Timestamp,
    /// What was done.
    pub operation: String,
    /// The kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<String>,
    /// By whom.
    pub actor: AuditActor,
    /// The thing before, as stored.
    pub before: Option<String>,
    /// The thing after, as stored.
    pub after: Option<String>,
    /// Anything else, as stored.
    pub metadata: String,
    /// The hash of the entry before it.
    pub prev_hash: [u8; 32],
    /// The hash over this entry and the one before it.
    pub hash: [u8; 32],
}

impl AuditEntry {
    /// The entry that follows `prev_hash` at `seq`.
    pub(crate) fn seal(record: AuditRecord, seq: i64, id: AuditId, now: Timestamp, prev_hash: [u8; 32]) -> Self {
        let mut entry = Self {
            seq,
            id,
            recorded_at: now,
            operation: record.operation.to_owned(),
            resource_type: record.resource_type.to_owned(),
            resource_id: record.resource_id,
            actor: record.actor,
            before: record.before.map(|v| v.to_string()),
            after: record.after.map(|v| v.to_string()),
            metadata: record.metadata.to_string(),
            prev_hash,
            hash: [0; 32],
        };
        entry.hash = entry.expected_hash();
        entry
    }

    /// SHA-256 over the previous hash and every field, texts preceded by their length.
    pub fn expected_hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.prev_hash);
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.recorded_at.millis().to_be_bytes());
        hasher.update(self.actor.agent.map_or(0, |a| a.0).to_be_bytes());
        let texts = [
            Some(self.id.as_str()),
            Some(self.operation.as_str()),
            Some(self.resource_type.as_str()),
            self.resource_id.as_deref(),
            self.actor.user.as_ref().map(UserId::as_str),
            self.actor.role.as_deref(),
            self.actor.ip_address.as_deref(),
            self.actor.user_agent.as_deref(),
            self.actor.request_id.as_deref(),
            self.before.as_deref(),
            self.after.as_deref(),
            Some(self.metadata.as_str()),
        ];
        for text in texts {
            match text {
                Some(text) => {
                    hasher.update([1]);
                    hasher.update((text.len() as u64).to_be_bytes());
                    hasher.update(text.as_bytes());
                }
                None => hasher.update([0]),
            }
        }
        hasher.finalize().into()
    }
}
