//! Checking the ledger against its journal: everything is recomputed from the entries and compared with what is stored.
//!
//! The check reads one picture of the database, a bounded number of rows at a time, so it may run beside a working
//! server or on a copy. What it keeps in memory grows with agents, budgets and their windows, not with entries or leases.

mod books;
mod chain;
mod leases;

use kernel::{AgentId, BudgetNo, LeaseId};
use ledger::AccountKey;

use crate::db::Tx;
use crate::{Store, StoreError};

/// For the test of plans.
#[cfg(test)]
pub(crate) use books::stretch_statements;
#[cfg(test)]
pub(crate) use leases::by_lease_statements;

/// How many problems are described; more are only counted.
const DESCRIBED: usize = 100;

/// What a check of the ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerCheck {
    /// How many journal entries were read.
    pub entries: i64,
    /// How many chains, one for each agent with a book and one for budgets above agents.
    pub agents: i64,
    /// How many budgets, ended ones included.
    pub budgets: i64,
    /// How many accounts.
    pub accounts: i64,
    /// How many leases.
    pub leases: i64,
    /// The problems, the first hundred of them; those of the journal come first, in the order of its entries.
    pub problems: Vec<Problem>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl LedgerCheck {
    /// Whether everything agrees.
    pub const fn is_ok(&self) -> bool {
        self.problem_count == 0
    }

    /// The first journal entry that is not as it was written, or the first place where one is missing.
    pub fn first_bad_seq(&self) -> Option<i64> {
        self.problems.iter().filter(|p| p.kind.is_about_entries()).filter_map(|p| p.seq).min()
    }

    fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < DESCRIBED {
            self.problems.push(problem);
        }
    }
}

/// What does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A place of the journal is empty, or an entry stands where none can.
    Sequence,
    /// An entry cannot be read.
    Unreadable,
    /// The hash of an entry is not that of its contents and the entry before it.
    Hash,
    /// The five parts of an entry do not add up.
    Sum,
    /// A chain does not end where the agent's book, or the head of the journal, says.
    Head,
    /// The amounts of an account are not the sum of its postings.
    Account,
    /// A cap is not the sum of its changes.
    Budget,
    /// A lease is not what its entries and reports make it.
    Lease,
}

impl ProblemKind {
    /// A word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Unreadable => "unreadable",
            Self::Hash => "hash",
            Self::Sum => "sum",
            Self::Head => "head",
            Self::Account => "account",
            Self::Budget => "budget",
            Self::Lease => "lease",
        }
    }

    const fn is_about_entries(self) -> bool {
        matches!(self, Self::Sequence | Self::Unreadable | Self::Hash | Self::Sum)
    }
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// The entry.
    pub seq: Option<i64>,
    /// The agent; 0 for the chain of budgets above agents.
    pub agent: Option<AgentId>,
    /// The lease.
    pub lease: Option<LeaseId>,
    /// The budget.
    pub budget: Option<BudgetNo>,
    /// The account.
    pub account: Option<AccountKey>,
    /// What is wrong, for people.
    pub text: String,
}

impl std::fmt::Display for Problem {
    /// `account, budget 3, window 0: the stored amounts …`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(seq) = self.seq {
            write!(f, ", entry {seq}")?;
        }
        if let Some(agent) = self.agent {
            write!(f, ", agent {agent}")?;
        }
        if let Some(lease) = &self.lease {
            write!(f, ", {lease}")?;
        }
        if let Some(budget) = self.budget {
            write!(f, ", budget {budget}")?;
        }
        if let Some(account) = self.account {
            write!(f, ", budget {}, window {}", account.budget, account.window_start.millis())?;
        }
        write!(f, ": {}", self.text)
    }
}

impl Problem {
    fn new(kind: ProblemKind, text: impl Into<String>) -> Self {
        Self { kind, seq: None, agent: None, lease: None, budget: None, account: None, text: text.into() }
    }

    fn at(self, seq: i64) -> Self {
        Self { seq: Some(seq), ..self }
    }

    fn of_agent(self, agent: AgentId) -> Self {
        Self { agent: Some(agent), ..self }
    }

    fn of_lease(self, lease: &LeaseId) -> Self {
        Self { lease: Some(lease.clone()), ..self }
    }

    fn of_budget(self, budget: BudgetNo) -> Self {
        Self { budget: Some(budget), ..self }
    }

    fn of_account(self, account: AccountKey) -> Self {
        Self { account: Some(account), ..self }
    }
}

/// One check on its way.
struct Check {
    tx: Tx,
    found: LedgerCheck,
}

impl Store {
    /// Checks the whole ledger: the journal's numbers and chains, and every account, cap and lease recomputed from it.
    ///
    /// An error means that the check could not be made; what it finds stands in the result.
    pub async fn verify_ledger(&self) -> Result<LedgerCheck, StoreError> {
        let mut check = Check { tx: self.db.begin_read().await?, found: LedgerCheck::default() };
        let sums = check.read_journal().await?;
        check.compare_chains(sums.chains).await?;
        let budgets = check.compare_budgets(sums.caps).await?;
        check.compare_accounts(sums.accounts).await?;
        check.compare_leases(&budgets).await?;
        Ok(check.found)
    }
}
