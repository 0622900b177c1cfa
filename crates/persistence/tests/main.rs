//! Conformance of the two databases: every operation of the store, run on SQLite and on PostgreSQL.
//!
//! One module per subject, one test per behaviour; `support` holds what they share and shows how to write one.
//! `cargo xtask test-integration -p persistence` runs them on both databases; plain `cargo test` runs what it can reach
//! (see `support`).

#[macro_use]
mod support;

mod adversary;
mod agents;
mod alerts;
mod api_tokens;
mod audit_log;
mod audit_prune;
mod budget_history;
mod budget_requests;
mod budgets;
mod calls;
mod changes;
mod directory;
mod engine;
mod facts;
mod facts_orders;
mod freezes;
mod histories;
mod journal;
mod leases;
mod limits;
mod migrations;
mod outbox;
mod owners;
mod pipeline;
mod projects;
mod provider_keys;
mod questions;
mod residents;
mod sessions;
mod settings;
mod states;
mod stream;
mod sweep;
mod traces;
mod usage;
mod users;
mod verify;
mod world;
