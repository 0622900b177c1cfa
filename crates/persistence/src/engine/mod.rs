//! Runs ledger commands inside a unit of work: check out what they touch, apply, write the result.
//!
//! The number of statements does not depend on the number of commands. Locks are taken in one order everywhere: agents'
//! books by id, budgets by number, accounts by budget and window, then the heads (by the commit). Whoever changes a lease
//! or a report of an agent holds the lock on its book, so those rows need none of their own.

mod alerts;
mod checkout;
mod events;
mod states;
mod warm;
mod watch;
mod write;

use std::collections::{HashMap, HashSet};

use kernel::{AgentId, BudgetId, BudgetNo, LeaseId, ProviderKeyId, Timestamp};
use ledger::{Applied, Book, Command, Outcome, Rejection};

use crate::audit::AuditRecord;
use crate::facts::Calls;
use crate::{EventFacts, StoreError, Work};

pub(crate) use checkout::{LEASE_COLUMNS, budget_from_row, lease_from_row};
pub use events::{LlmFact, llm_event};
pub(crate) use events::{budget_changed, budget_ended, frozen, ic_token_changed, unfrozen};
pub use states::AgentState;
pub(crate) use states::{StateRow, States};
pub(crate) use warm::Warm;

use watch::Watch;

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    [checkout::checkout_statements(), write::write_statements(), alerts::alert_statements(), states::state_statements()]
        .concat()
}

/// What a lease is for, beside its money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The kind of the provider key that was chosen.
    pub provider: String,
    /// The provider key.
    pub provider_key: ProviderKeyId,
    /// What the runtime calls itself.
    pub runtime_id: Option<String>,
    /// The runtime's version.
    pub runtime_version: Option<String>,
}

/// What a report says beside its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// The model that was called.
    pub model: String,
    /// The provider that was called.
    pub provider: String,
    /// Tokens in and out.
    pub tokens: i64,
}

/// The provider key that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedKey {
    /// Which one.
    pub id: ProviderKeyId,
    /// Its kind.
    pub provider: String,
}

/// What is stored of a budget beside what the ledger decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BudgetTerms {
    pub(crate) id: BudgetId,
    /// Percent of the cap at which people are told, ascending.
    pub(crate) thresholds: Vec<i64>,
}

/// What goes with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// With a grant or refresh.
    Terms(LeaseTerms),
    /// With a report.
    Call(CallFacts),
    /// With an event.
    Event(Box<EventFacts>),
    /// With a sign of life by which a key was handed out.
    Key(FetchedKey),
}

/// One command to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The command.
    pub command: Command,
    /// What goes with it.
    pub extra: Extra,
    /// The version of the directory the caller's checks were made against; if it has moved, the command is refused as
    /// [`Refused::StaleDirectory`] and the caller checks again.
    pub directory_version: Option<i64>,
    /// Written if the command succeeds and is not a repetition of one that did.
    pub audit: Option<AuditRecord>,
}

impl Item {
    /// A command by itself.
    pub const fn new(command: Command) -> Self {
        Self { command, extra: Extra::None, directory_version: None, audit: None }
    }
}

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The ledger said no.
    #[error(transparent)]
    Ledger(#[from] Rejection),
    /// Agents, tokens, keys or freezes have changed since the caller looked.
    #[error("the directory has changed")]
    StaleDirectory,
}

/// What a command led to, with the terms of the leases it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The ledger's answer.
    pub outcome: Outcome,
    /// The terms of the lease in the answer, if there is one.
    pub terms: Option<LeaseTerms>,
}

/// The result of one command.
pub type Answer = Result<Done, Refused>;

/// Everything a batch touches, as loaded.
pub(crate) struct Checkout {
    pub(crate) book: Book,
    /// The terms of the loaded leases.
    pub(crate) terms: HashMap<LeaseId, LeaseTerms>,
    /// The terms of the loaded budgets.
    budget_terms: HashMap<BudgetNo, BudgetTerms>,
    /// Keys of the scopes whose budgets were looked for.
    scopes: HashSet<String>,
    /// The directory's version, where a command depends on it.
    directory_version: Option<i64>,
    /// Agents all of whose leases that were active after the time beside them are in the book.
    whole: HashMap<AgentId, Timestamp>,
    /// See [`Warm`].
    open_leases: usize,
    /// The facts that events and reports of the batch may meet.
    pub(crate) calls: Calls,
}

impl Work {
    /// Runs the commands in order. One that is refused does not disturb its neighbours. Nothing is durable before
    /// [`Work::commit`].
    pub async fn run(&mut self, items: &[Item], ttl_ms: i64) -> Result<Vec<Answer>, StoreError> {
        let mut checkout = self.check_out(items).await?;
        let mut answers = Vec::with_capacity(items.len());
        let mut results: Vec<(usize, Applied)> = Vec::with_capacity(items.len());
        let mut watch = Watch::default();
        for (index, item) in items.iter().enumerate() {
            if item.directory_version.is_some() && item.directory_version != checkout.directory_version {
                answers.push(Err(Refused::StaleDirectory));
                continue;
            }
            match ledger::apply(&checkout.book, &item.command, self.now, ttl_ms) {
                Ok(applied) => {
                    watch.before(&checkout.book, &applied);
                    checkout.book.absorb(&applied);
                    if let (Extra::Terms(terms), Outcome::Granted { lease, duplicate: false, .. }) =
                        (&item.extra, &applied.outcome)
                    {
                        checkout.terms.insert(lease.id.clone(), terms.clone());
                    }
                    let lease = lease_of(&applied.outcome);
                    let terms = lease.and_then(|id| checkout.terms.get(id)).cloned();
                    answers.push(Ok(Done { outcome: applied.outcome.clone(), terms }));
                    results.push((index, applied));
                }
                Err(rejection) => answers.push(Err(rejection.into())),
            }
        }
        let news = self.record(items, &results, &mut checkout).await?;
        self.write(items, results, &checkout, &news).await?;
        self.raise_alerts(&watch, &checkout).await?;
        self.note_states(&watch, &checkout);
        let Checkout { book, terms, budget_terms, scopes, directory_version, whole, open_leases, .. } = checkout;
        if self.keeps_warm {
            self.warm = Some(Warm {
                book,
                terms,
                budget_terms,
                scopes,
                directory_version,
                whole,
                open_leases,
                ..Warm::default()
            });
        }
        Ok(answers)
    }
}

fn lease_of(outcome: &Outcome) -> Option<&LeaseId> {
    match outcome {
        Outcome::Granted { lease, .. }
        | Outcome::Reported { lease, .. }
        | Outcome::Ended { lease, .. }
        | Outcome::ClaimNoted { lease }
        | Outcome::Counted { lease: Some(lease), .. } => Some(&lease.id),
        Outcome::Denied { .. } | Outcome::Counted { .. } | Outcome::Budgeted { .. } | Outcome::Touched => None,
    }
}
