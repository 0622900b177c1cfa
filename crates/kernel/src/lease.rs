//! The states of a lease, shared by the ledger that moves them and the protocol that names them.

/// Where a lease stands.
///
/// `active → expired | revoked → closed`, or `active → closed` directly; nothing leads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseState {
    /// Money is lent; reports, refresh and return work.
    Active,
    /// The runtime fell silent; what it had not reported is in suspense.
    Expired,
    /// An operator or owner ended it; what was not reported is in suspense until somebody settles it.
    Revoked,
    /// Settled. Facts that still arrive are booked as late spend.
    Closed,
}

impl LeaseState {
    /// Every state, in the order of a lease's life.
    pub const ALL: [Self; 4] = [Self::Active, Self::Expired, Self::Revoked, Self::Closed];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Closed => "closed",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether a lease may go from this state to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Active, Self::Expired | Self::Revoked | Self::Closed)
                | (Self::Expired | Self::Revoked, Self::Closed)
        )
    }
}

/// What ended a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndedBy {
    /// Its holder returned it.
    Return,
    /// Its holder exchanged it for a new one.
    Refresh,
    /// An operator decided about its suspense.
    Settle,
    /// Its holder fell silent.
    Expiry,
    /// An operator or its owner revoked it.
    Revoke,
    /// Its agent was deleted.
    AgentDeleted,
}

impl EndedBy {
    /// Every cause.
    pub const ALL: [Self; 6] =
        [Self::Return, Self::Refresh, Self::Settle, Self::Expiry, Self::Revoke, Self::AgentDeleted];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Refresh => "refresh",
            Self::Settle => "settle",
            Self::Expiry => "expiry",
            Self::Revoke => "revoke",
            Self::AgentDeleted => "agent_deleted",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}
