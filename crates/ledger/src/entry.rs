//! Journal entries and the hash chain over them.

use kernel::{AgentId, LeaseId, Money, Timestamp, UserId};
use sha2::{Digest, Sha256};

use crate::AccountKey;

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A budget was created.
    Allocate,
    /// A cap changed.
    Adjust,
    /// Money was lent.
    Grant,
    /// A report raised what is known to be spent.
    Report,
    /// An event raised what is known to be spent.
    Event,
    /// A lease was returned.
    Return,
    /// A lease was exchanged for a new one.
    Refresh,
    /// A silent lease's rest went to suspense.
    Expire,
    /// A revoked lease's rest went to suspense.
    Revoke,
    /// An operator decided about suspense.
    Settle,
    /// A fact about a lease that was no longer active.
    Late,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Allocate,
        Self::Adjust,
        Self::Grant,
        Self::Report,
        Self::Event,
        Self::Return,
        Self::Refresh,
        Self::Expire,
        Self::Revoke,
        Self::Settle,
        Self::Late,
    ];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Adjust => "adjust",
            Self::Grant => "grant",
            Self::Report => "report",
            Self::Event => "event",
            Self::Return => "return",
            Self::Refresh => "refresh",
            Self::Expire => "expire",
            Self::Revoke => "revoke",
            Self::Settle => "settle",
            Self::Late => "late",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// Who moved money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The control plane itself.
    System,
    /// An agent's runtime.
    Agent(AgentId),
    /// A user.
    User(UserId),
}

impl Actor {
    /// `system`, `agent_<int>` or the user's id.
    pub fn to_text(&self) -> String {
        match self {
            Self::System => "system".to_owned(),
            Self::Agent(agent) => agent.prefixed(),
            Self::User(user) => user.as_str().to_owned(),
        }
    }
}

/// What an entry adds to each of its accounts. The five parts of a move add up to zero; those of `allocate` and `adjust`
/// add up to the change of the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Delta {
    /// To what may still be lent.
    pub available: Money,
    /// To what is lent.
    pub leased: Money,
    /// To what is in suspense.
    pub suspense: Money,
    /// To what is spent within grants.
    pub spent: Money,
    /// To what is spent beyond grants.
    pub overrun: Money,
}

impl Delta {
    /// The parts in the order of the journal: available, leased, suspense, spent, overrun.
    pub const fn parts(&self) -> [Money; 5] {
        [self.available, self.leased, self.suspense, self.spent, self.overrun]
    }
}

/// One immutable journal entry: the same delta on every account of the scopes it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub kind: EntryKind,
    /// Whose chain it belongs to; `None` for budgets above agents.
    pub agent: Option<AgentId>,
    /// The lease.
    pub lease: Option<LeaseId>,
    /// The id of the report or event, or the idempotency key.
    pub request_id: Option<String>,
    /// The headline amount: what was granted, spent, returned, put aside, or added to a cap.
    pub amount: Money,
    /// The accounts posted on.
    pub accounts: Vec<AccountKey>,
    /// What was added to each of them.
    pub delta: Delta,
    /// When it happened, by the client's clock where it said so.
    pub occurred_at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// Why, where a person said so.
    pub reason: Option<String>,
}

/// The end of a hash chain: how many entries it has, and the hash of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// How many entries.
    pub length: i64,
    /// SHA-256 over the last entry and the one before it; zeros for an empty chain.
    pub hash: [u8; 32],
}

impl ChainHead {
    /// A chain without entries.
    pub const EMPTY: Self = Self { length: 0, hash: [0; 32] };

    /// The head after one more entry, which stands at `seq` in the journal.
    pub fn extended_by(&self, entry: &Entry, seq: i64) -> Self {
        Self { length: self.length + 1, hash: entry.hash_after(&self.hash, seq) }
    }
}

impl Entry {
    /// SHA-256 over the previous hash of the chain, the place in the journal and every field; texts are preceded by
    /// their length, so that no two entries have the same bytes.
    pub fn hash_after(&self, previous: &[u8; 32], seq: i64) -> [u8; 32] {
        let mut hasher = Hasher(Sha256::new());
        hasher.0.update(previous);
        hasher.number(seq);
        hasher.text(self.kind.as_str());
        hasher.number(self.agent.map_or(0, |a| a.0));
        hasher.optional(self.lease.as_ref().map(LeaseId::as_str));
        hasher.optional(self.request_id.as_deref());
        hasher.number(self.amount.nanos());
        hasher.number(i64::try_from(self.accounts.len()).unwrap_or(i64::MAX));
        for account in &self.accounts {
            hasher.number(account.budget.0);
            hasher.number(account.window_start.millis());
        }
        for part in self.delta.parts() {
            hasher.number(part.nanos());
        }
        hasher.number(self.occurred_at.millis());
        hasher.number(self.recorded_at.millis());
        hasher.text(&self.actor.to_text());
        hasher.optional(self.reason.as_deref());
        hasher.0.finalize().into()
    }
}

struct Hasher(Sha256);

impl Hasher {
    fn number(&mut self, n: i64) {
        self.0.update(n.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.0.update([1]);
                self.text(text);
            }
            None => self.0.update([0]),
        }
    }
}
