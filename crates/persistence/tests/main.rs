//! Conformance of the two databases: every operation of the store, run on SQLite and on PostgreSQL.
//!
//! One module per subject, one test per behaviour; `support` holds what they share and shows how to write one.
//! `cargo xtask test-integration -p persistence` runs them on both databases; plain `cargo test` runs what it can reach
//! (see `support`).

#[macro_use]
mod support;

mod adversary;
mod agents;
mod audit_log;
mod audit_prune;
mod budget_history;
mod budget_requests;
mod budgets;
mod directory;
mod engine;
mod facts;
mod freezes;
mod histories;
mod journal;
mod leases;
mod limits;
mod outbox;
mod pipeline;
mod projects;
mod provider_keys;
mod questions;
mod residents;
mod sessions;
mod settings;
mod sweep;
mod users;
mod verify;
mod world;
