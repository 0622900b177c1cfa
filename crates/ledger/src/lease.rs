//! A lease: money lent to one runtime.

use kernel::{AgentId, EndedBy, LeaseId, LeaseState, Money, MoneyOverflow, ProjectId, Timestamp, UserId};

use crate::{AccountKey, AgentBook, Book, Scope};

/// How an operator decided about a lease's suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// `true`: presumed spent; `false`: presumed unspent.
    pub presumed_spent: bool,
    /// What was charged.
    pub spent: Money,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Money lent to one runtime, and what is known of its spending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id, a bearer capability for report and return.
    pub id: LeaseId,
    /// The agent it was granted to.
    pub agent: AgentId,
    /// The agent's owner at the grant.
    pub owner: UserId,
    /// The agent's project at the grant.
    pub project: Option<ProjectId>,
    /// The agent's epoch at the grant.
    pub epoch: i64,
    /// How much was lent.
    pub granted: Money,
    /// Where it stands.
    pub state: LeaseState,
    /// The sum of its distinct reports.
    pub reported: Money,
    /// The highest running total or final figure its holder stated.
    pub stated: Option<Money>,
    /// The sum of the events attributed to it.
    pub events: Money,
    /// What an operator charged when settling.
    pub settlement: Option<Settlement>,
    /// A figure stated on return after it was revoked; for the operator, moves no money.
    pub claimed: Option<Money>,
    /// How many distinct reports were booked.
    pub report_count: i64,
    /// The highest report counter its holder sent.
    pub highest_seq: Option<i64>,
    /// When it was granted.
    pub created_at: Timestamp,
    /// The last sign of life on this lease itself.
    pub seen_at: Timestamp,
    /// When it expires unless the agent shows life; see [`Lease::expiry`].
    pub expires_at: Timestamp,
    /// When it left `active`.
    pub ended_at: Option<Timestamp>,
    /// What ended it.
    pub ended_by: Option<EndedBy>,
    /// Why it was revoked.
    pub reason: Option<String>,
    /// The lease it replaced by a refresh.
    pub supersedes: Option<LeaseId>,
    /// The lease that replaced it.
    pub superseded_by: Option<LeaseId>,
}

impl Lease {
    /// What is known to be spent: the maximum of the channels.
    pub fn known(&self) -> Money {
        let settled = self.settlement.as_ref().map_or(Money::ZERO, |s| s.spent);
        self.reported.max(self.events).max(self.stated.unwrap_or(Money::ZERO)).max(settled)
    }

    /// The part of the known spend that the grant covers.
    pub fn covered(&self) -> Money {
        self.known().min(self.granted)
    }

    /// The part of the known spend beyond the grant.
    pub fn overrun(&self) -> Money {
        self.known().minus_or_zero(self.granted)
    }

    /// What was lent and is not known to be spent: leased while active, suspense while expired or revoked, returned
    /// once closed.
    pub fn rest(&self) -> Money {
        self.granted.minus_or_zero(self.known())
    }

    /// Still lent and unreported.
    pub fn leased(&self) -> Money {
        if self.state == LeaseState::Active { self.rest() } else { Money::ZERO }
    }

    /// In suspense.
    pub fn suspense(&self) -> Money {
        if matches!(self.state, LeaseState::Expired | LeaseState::Revoked) { self.rest() } else { Money::ZERO }
    }

    /// Given back, after it was closed.
    pub fn returned(&self) -> Money {
        if self.state == LeaseState::Closed { self.rest() } else { Money::ZERO }
    }

    /// How many reports are missing, going by the holder's counter.
    pub fn missing_reports(&self) -> i64 {
        self.highest_seq.map_or(0, |highest| (highest - self.report_count).max(0))
    }

    /// When it expires, the agent's signs of life included.
    ///
    /// A sign of life extends every lease that was active when it came. The agent's book keeps the current unbroken
    /// stretch of life, so a lease that had expired when that stretch began is not revived by it.
    pub fn expiry(&self, agent: &AgentBook) -> Timestamp {
        if self.expires_at > agent.alive_since { self.expires_at.max(agent.alive_until) } else { self.expires_at }
    }

    /// The scopes it counts in: those of its agent at the grant.
    pub fn scopes(&self) -> Vec<Scope> {
        Scope::of_agent(self.agent, &self.owner, self.project.as_ref())
    }

    /// The accounts it posts on, widest scope first.
    pub fn accounts(&self, book: &Book) -> Vec<AccountKey> {
        let scopes = self.scopes();
        let budgets = scopes.iter().flat_map(|scope| book.budgets_of(scope));
        budgets
            .map(|budget| (budget, budget.account_at(self.created_at)))
            .filter(|(budget, key)| key.window_start >= budget.opened_window)
            .map(|(_, key)| key)
            .collect()
    }

    /// What this lease contributes to the account of a window it belongs to.
    pub fn contribution(&self) -> Result<crate::Account, MoneyOverflow> {
        Ok(crate::Account {
            spent: self.known(),
            leased: self.leased(),
            suspense: self.suspense(),
            overrun: self.overrun(),
        })
    }
}
