//! What can be asked of the ledger, and what it answers.

use kernel::{AgentId, BudgetNo, EndedBy, ErrorCode, LeaseId, Money, MoneyOverflow, Timestamp};

use crate::{Account, AccountKey, Actor, AgentBook, Budget, Entry, GrantRecord, Lease, ScopeFigures};

/// A client's name for one attempt, so that it can be repeated without a second effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, unique per agent.
    pub key: String,
    /// SHA-256 of the request's meaning: the same key with another hash is a conflict.
    pub body_hash: [u8; 32],
}

/// What a holder states on return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// So much was spent on the lease in all.
    Spent(Money),
    /// So much of the grant comes back; the rest was spent.
    Returning(Money),
}

/// One itemised spending of a report or event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// Unique within the lease (reports) or the agent (events).
    pub id: String,
    /// What it cost, at least zero.
    pub cost: Money,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// How an operator decides about suspense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Presumed spent: the given figure, else the whole grant.
    Spent,
    /// Presumed unspent: the given figure, else what is known.
    Unspent,
}

/// A command. All amounts are at least zero; the caller has checked the bounds of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lend the agent `min(requested, the least available)`.
    Grant {
        /// To whom.
        agent: AgentId,
        /// The id of the lease, if one comes about.
        lease: LeaseId,
        /// How much at most, above zero.
        requested: Money,
        /// Makes it repeatable.
        request: Option<IdempotencyKey>,
    },
    /// Book an itemised report and, by maximum, the holder's running total.
    Report {
        /// On which lease.
        lease: LeaseId,
        /// What was spent; `None` where only the total is stated.
        item: Option<Spending>,
        /// The holder's running total.
        total: Option<Money>,
        /// The holder's report counter.
        seq: Option<i64>,
    },
    /// Count an event of an agent.
    Event {
        /// Whose.
        agent: AgentId,
        /// The lease it names; where it names none, the one lease of the agent that was active at the time, if exactly
        /// one was.
        lease: Option<LeaseId>,
        /// What was spent.
        item: Spending,
    },
    /// Settle the old lease at what is known and lend anew, in one step.
    Refresh {
        /// Whose.
        agent: AgentId,
        /// The lease to exchange.
        old: LeaseId,
        /// The id of the new one.
        new: LeaseId,
        /// How much at most, above zero.
        requested: Money,
        /// What the holder states was spent on the old lease.
        total: Option<Money>,
        /// Makes it repeatable.
        request: Option<IdempotencyKey>,
    },
    /// Settle and close.
    Return {
        /// Which lease.
        lease: LeaseId,
        /// What the holder states.
        figure: Option<Figure>,
    },
    /// Put a silent lease's rest into suspense; does nothing while the agent shows life.
    Expire {
        /// Which lease.
        lease: LeaseId,
    },
    /// End an active lease from above; its rest goes into suspense.
    Revoke {
        /// Which lease.
        lease: LeaseId,
        /// [`EndedBy::Revoke`] or [`EndedBy::AgentDeleted`].
        by: EndedBy,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
    },
    /// Decide about the suspense of an expired or revoked lease.
    Settle {
        /// Which lease.
        lease: LeaseId,
        /// Which way.
        outcome: SettleOutcome,
        /// An exact figure.
        figure: Option<Money>,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
    },
    /// Create a budget, starting from what its window has already seen.
    Open {
        /// The budget; `opened_window` is set by the ledger.
        budget: Budget,
        /// What the leases of the scope have brought into the current window: see [`crate::Book::opening_balance`].
        opening: Account,
        /// Who.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Change a budget's cap, or whether it is enabled.
    Adjust {
        /// Which budget.
        budget: BudgetNo,
        /// The new cap.
        cap: Money,
        /// Whether it limits grants.
        enabled: bool,
        /// Who.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Note a sign of life.
    Touch {
        /// Whose.
        agent: AgentId,
    },
}

/// The agent's own figures: its allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AgentFigures {
    /// The cap of the agent's budget without a window.
    pub allocated: Money,
    /// The amounts of its account.
    pub account: Account,
}

impl AgentFigures {
    /// Spent, leased and in suspense.
    pub fn committed(&self) -> Money {
        self.account.committed().unwrap_or(Money::MAX_BALANCE)
    }

    /// What is left to lend, at least zero.
    pub fn remaining(&self) -> Money {
        self.allocated.minus_or_zero(self.committed())
    }
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one per command, and most commands answer with a lease")]
pub enum Outcome {
    /// Money was lent, now or when the same request came before (`duplicate`).
    Granted {
        /// The lease.
        lease: Lease,
        /// The lease it replaced, after a refresh.
        closed: Option<Lease>,
        /// The agent's figures now.
        figures: AgentFigures,
        /// Whether this repeats an earlier answer.
        duplicate: bool,
    },
    /// A refresh found nothing to lend beside the old lease's rest; nothing changed.
    Denied {
        /// The agent's figures now.
        figures: AgentFigures,
        /// The budget that bound.
        binding: ScopeFigures,
    },
    /// A report was booked, or was known already (`duplicate`).
    Reported {
        /// The lease after it.
        lease: Lease,
        /// The agent's figures now.
        figures: AgentFigures,
        /// Whether its id had been booked before.
        duplicate: bool,
    },
    /// An event was counted.
    Counted {
        /// The lease it was attributed to, after it.
        lease: Option<Lease>,
        /// Whether its id had been counted before.
        duplicate: bool,
    },
    /// A lease was closed, revoked, expired or settled, or had been before (`duplicate`).
    Ended {
        /// The lease after it.
        lease: Lease,
        /// The agent's figures now.
        figures: AgentFigures,
        /// Whether nothing moved.
        duplicate: bool,
    },
    /// A figure was kept for the operator; no money moved.
    ClaimNoted {
        /// The revoked lease.
        lease: Lease,
    },
    /// A budget was created or changed.
    Budgeted {
        /// The budget after it.
        budget: Budget,
        /// Its account in the current window.
        account: Account,
    },
    /// A sign of life was noted.
    Touched,
}

/// Why a command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such agent.
    #[error("no such agent")]
    AgentNotFound,
    /// No such lease.
    #[error("no such lease")]
    LeaseNotFound,
    /// No such budget.
    #[error("no such budget")]
    BudgetNotFound,
    /// The lease is another agent's.
    #[error("the lease belongs to another agent")]
    LeaseAgentMismatch,
    /// The lease is closed.
    #[error("the lease is closed")]
    LeaseClosed,
    /// The lease is active.
    #[error("the lease is active")]
    LeaseActive,
    /// The lease was revoked.
    #[error("the lease was revoked")]
    LeaseRevoked,
    /// The lease has expired and cannot be revoked.
    #[error("the lease has already ended")]
    LeaseEnded,
    /// The lease is older than the agent's epoch.
    #[error("the lease was granted under an earlier token or before a freeze; take a new handshake")]
    StaleEpoch,
    /// The same id was used with another meaning.
    #[error("the same id was used for something else")]
    IdempotencyConflict {
        /// The recorded cost, where the id is a report's.
        recorded: Option<Money>,
    },
    /// Nothing at all can be lent.
    #[error("the budget is exhausted")]
    BudgetExhausted {
        /// The agent's figures.
        figures: AgentFigures,
        /// The budget that bound.
        binding: Box<ScopeFigures>,
    },
    /// A figure below what is known to be spent.
    #[error("the figure is below what is known to be spent")]
    BelowKnown {
        /// What is known.
        known: Money,
    },
    /// A balance would leave the range of the books, which ends at zero and at [`Money::MAX_BALANCE`].
    #[error("the amount leaves the range of balances")]
    AmountOverflow,
    /// No enabled budget of the agent was loaded: it has no allocation.
    #[error("the agent has no allocation")]
    NoAllocation,
}

impl Rejection {
    /// The code of the contract.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::AgentNotFound => ErrorCode::AgentNotFound,
            Self::LeaseNotFound => ErrorCode::LeaseNotFound,
            Self::BudgetNotFound => ErrorCode::BudgetNotFound,
            Self::LeaseAgentMismatch => ErrorCode::LeaseAgentMismatch,
            Self::LeaseClosed | Self::LeaseEnded => ErrorCode::LeaseClosed,
            Self::LeaseActive => ErrorCode::LeaseActive,
            Self::LeaseRevoked => ErrorCode::LeaseRevoked,
            Self::StaleEpoch => ErrorCode::StaleEpoch,
            Self::IdempotencyConflict { .. } => ErrorCode::IdempotencyConflict,
            Self::BudgetExhausted { .. } => ErrorCode::BudgetExhausted,
            Self::BelowKnown { .. } => ErrorCode::ValidationError,
            Self::AmountOverflow => ErrorCode::AmountOverflow,
            Self::NoAllocation => ErrorCode::InternalError,
        }
    }
}

impl From<MoneyOverflow> for Rejection {
    fn from(MoneyOverflow: MoneyOverflow) -> Self {
        Self::AmountOverflow
    }
}

/// Everything one command changed: the rows as they are after it, and the entries to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What it led to.
    pub outcome: Outcome,
    /// Journal entries, in order.
    pub entries: Vec<Entry>,
    /// Accounts after it.
    pub accounts: Vec<(AccountKey, Account)>,
    /// Leases after it.
    pub leases: Vec<Lease>,
    /// The agent after it.
    pub agent: Option<AgentBook>,
    /// The budget after it.
    pub budget: Option<Budget>,
    /// A report that was booked.
    pub report: Option<((LeaseId, String), Money)>,
    /// An event that was counted.
    pub event: Option<(AgentId, String)>,
    /// An idempotency key that was used.
    pub request: Option<((AgentId, String), GrantRecord)>,
}
