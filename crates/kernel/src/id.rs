//! One type for every kind of identifier, so that a user id cannot be passed where a lease id is meant.
//!
//! Numeric ids are never reused. Text ids are opaque: ids kept from an import (`user_admin`) stay valid.

use std::fmt;
use std::sync::Arc;

use crate::entropy::{Entropy, random_uuid};

macro_rules! int_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new random id, prefix and UUID.
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(format!(concat!($prefix, "{}"), random_uuid(entropy)).into())
            }

            /// An id as somebody gave it; whether it names anything is for the store to say.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared: ids are copied often.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

int_id! {
    /// An agent.
    AgentId;
    /// A stored provider key.
    ProviderKeyId;
    /// A user's API token.
    ApiTokenId;
    /// A quota row.
    LimitId;
    /// The internal number of a budget; outside it is known by its [`BudgetId`].
    BudgetNo;
}

text_id! {
    /// A user, `user_<uuid>`.
    UserId "user_";
    /// A lease, `lease_<uuid>`. Whoever knows it may report on the lease and return it.
    LeaseId "lease_";
    /// A project, `proj_<uuid>` or any text of `[A-Za-z0-9_.-]{1,100}`.
    ProjectId "proj_";
    /// A budget policy, `bud_<uuid>`.
    BudgetId "bud_";
    /// A request for another budget, `breq_<uuid>`.
    BudgetRequestId "breq_";
    /// A freeze, `frz_<uuid>`.
    FreezeId "frz_";
    /// A login session (all token pairs that descend from one login), `sess_<uuid>`.
    SessionId "sess_";
    /// An audit entry, `audit_<uuid>`.
    AuditId "audit_";
    /// One HTTP request, `req_<uuid>`.
    RequestId "req_";
}

impl ProjectId {
    /// The project that stands for the whole installation; always exists.
    pub const MASTER: &'static str = "proj_master_001";

    /// Whether the text may be a project's id: `[A-Za-z0-9_.-]{1,100}`.
    pub fn is_well_formed(text: &str) -> bool {
        (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
}

impl AgentId {
    /// Reads `12` or `agent_12`, as agents are named in paths and queries.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("agent_").unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if plain { digits.parse().ok().filter(|id| *id > 0).map(Self) } else { None }
    }

    /// `agent_12`, as agents are named in token claims and as actors.
    pub fn prefixed(self) -> String {
        format!("agent_{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::AgentId;

    #[test]
    fn agents_are_named_by_number_or_prefixed_number() {
        assert_eq!(AgentId::parse("agent_12"), AgentId::parse("12"));
        for bad in ["", "agent_", "-1", "+1", "0", "1.0", "99999999999999999999", "agent_agent_1", " 1"] {
            assert_eq!(AgentId::parse(bad), None, "{bad}");
        }
    }
}
