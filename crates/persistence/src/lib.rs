//! Storage of the control plane: the only crate that knows SQL.
//!
//! | part | what it is |
//! |---|---|
//! | [`Store`] | the open database, SQLite or PostgreSQL, and every question asked of it |
//! | [`Work`] | one write transaction; collects journal entries, outbox events and audit records and writes them when it commits |
//! | [`Work::run`] | runs ledger commands: loads what they touch under lock, applies them, writes the result set-based |
//! | [`Pipeline`] | the queue in front of it, with group commit |
//!
//! There is one implementation for both databases, not two behind a trait: everything stored is an integer, a text or
//! bytes, so a statement is written once and each driver binds and reads it natively (see `db.rs`); the few that differ
//! stand side by side. No type of the driver appears in the public interface.
//!
//! # Rules
//! * Nothing is acknowledged before `commit` has returned, and `commit` makes it durable (`synchronous=FULL`, or
//!   PostgreSQL's `synchronous_commit`).
//! * Locks are taken in one order: agents' books by id, budgets by number, accounts, heads.
//! * Neither SQL nor this crate decides about money: [`ledger`] does, and CHECK constraints repeat its invariants.
//!
//! # Adding an operation
//! Reads are methods of [`Store`], writes are methods of [`Work`], one module for each kind of thing. Every operation
//! gets a case in the conformance suite, which runs on both databases.

mod audit;
mod db;
mod engine;
mod error;
mod migrations;
mod pipeline;
mod rows;
mod store;
mod work;

pub use audit::{AuditActor, AuditEntry, AuditRecord};
pub use db::Backend;
pub use engine::{Answer, CallFacts, Done, Extra, Item, LeaseTerms, Refused};
pub use error::StoreError;
pub use pipeline::{BatchStats, Observer, Pipeline, PipelineOptions};
pub use store::{Store, StoreOptions};
pub use work::{OutboxEvent, Work};
