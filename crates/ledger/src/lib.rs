//! The budget ledger: a pure state machine. Commands go in, postings come out; no I/O, no clock, no randomness, no float.
//!
//! # Terms
//! A [`Scope`] is an agent, a project, an owner, an owner within a project, or the organization. A [`Budget`] is a
//! policy on a scope: cap, window, time zone. For each budget and each instance of its window there is one [`Account`]
//! with the amounts that decide: `spent`, `leased` (lent to open leases, not yet reported) and `suspense` (was lent to a
//! lease whose holder fell silent: perhaps spent, perhaps not, *not lent again*).
//!
//! `available = cap − spent − leased − suspense`, and no grant ever takes it below zero in any account it touches. What a
//! client spends beyond its grant is recorded in full as an overrun and stops further grants.
//!
//! # One truth from three channels
//! What a lease spent is known from itemised reports, from events of the same agent, and from the figures its holder
//! states. They describe the *same* spending, so the known spend is their maximum, never their sum; each channel counts
//! an id once. Duplicates, reordering and delay therefore change nothing.
//!
//! # Money belongs to the window that granted it
//! The accounts a lease posts on follow from what it was at its grant: [`Lease::accounts`] takes the budgets of its
//! agent, owner and project *at that time*, each in the window that contained the grant. A later move of the agent or
//! rollover of a window does not touch it.
//!
//! # How it is used
//! A caller loads what a batch of commands touches into a [`Book`], calls [`apply`] for each command and, where it
//! succeeds, [`Book::absorb`]s the result. [`Applied`] holds the new rows and the journal entries. A rejected command
//! changes nothing. The simulator in this crate's tests runs the same code over a seeded world.

mod apply;
mod book;
mod budget;
mod budgets;
mod command;
mod entry;
mod lease;
mod leases;
mod scope;

pub use apply::apply;
pub use book::{AgentBook, Book, GrantRecord, ScopeFigures};
pub use budget::{Account, AccountKey, Budget};
pub use budgets::Budgets;
pub use command::{
    AgentFigures, Applied, Command, Figure, IdempotencyKey, Outcome, Rejection, SettleOutcome, Spending,
};
pub use entry::{Actor, ChainHead, Delta, Entry, EntryKind};
pub use lease::{Lease, Settlement};
pub use leases::Leases;
pub use scope::{Scope, ScopeKind};
