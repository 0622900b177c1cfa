//! What the last batches touched, kept between them.
//!
//! The embedded database is opened by exactly one server and has one writer. While nobody but the pipeline writes, the
//! rows it has just committed are the rows it would load, so it need not load them again. Any other unit of work ends
//! that: it is counted while it holds the writer, so the pipeline cannot miss it. A batch that fails leaves nothing
//! behind. With PostgreSQL other servers write too, and nothing is kept.

use std::collections::{HashMap, HashSet};

use kernel::{AgentId, BudgetNo, LeaseId, LeaseState, Timestamp};
use ledger::Book;

use super::{BudgetTerms, LeaseTerms};
use crate::work::BookRow;

/// Leases from which on closed ones are forgotten: now and then, for that looks at all of them.
const MANY_LEASES: usize = 8_192;
/// Rows of one kind beyond which everything is forgotten: some tens of MiB.
const TOO_MANY: usize = 32_768;

/// Rows as the pipeline has committed them last.
#[derive(Default)]
pub(crate) struct Warm {
    pub(super) books: HashMap<AgentId, BookRow>,
    pub(super) book: Book,
    pub(super) terms: HashMap<LeaseId, LeaseTerms>,
    pub(super) budget_terms: HashMap<BudgetNo, BudgetTerms>,
    /// Keys of the scopes whose budgets, if any, are in the book.
    pub(super) scopes: HashSet<String>,
    pub(super) directory_version: Option<i64>,
    /// Agents all of whose leases that were active after the time beside them are in the book.
    pub(super) whole: HashMap<AgentId, Timestamp>,
    /// How many leases there were when the closed ones among them were last forgotten.
    pub(super) open_leases: usize,
    /// How many units of work had begun, the batch that left it included.
    pub(crate) generation: u64,
}

impl Warm {
    /// With the agents' books as they were committed.
    pub(crate) fn with_books(self, books: HashMap<AgentId, BookRow>) -> Self {
        Self { books, ..self }
    }

    /// What is worth keeping, as it was when so many units of work had begun.
    pub(crate) fn kept(mut self, generation: u64) -> Option<Self> {
        self.generation = generation;
        if self.book.leases.len() > MANY_LEASES.max(2 * self.open_leases) {
            let leases = &mut self.book.leases;
            leases.retain(|lease| lease.state != LeaseState::Closed);
            self.whole.clear();
            self.terms.retain(|id, _| leases.contains_key(id));
            self.open_leases = leases.len();
        }
        let sizes = [self.book.leases.len(), self.book.accounts.len(), self.books.len(), self.scopes.len()];
        sizes.iter().all(|size| *size <= TOO_MANY).then_some(self)
    }
}
