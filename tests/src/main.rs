//! End-to-end tests: the real server over real sockets, on both databases. `cargo xtask test-integration` runs them.
//!
//! One module per subject, beside `harness`, which holds what they share and shows how to write one.

#![allow(clippy::disallowed_methods, reason = "these tests wait for real processes in real time")]

#[macro_use]
mod harness;

mod books;
mod canary;
mod caps;
mod client;
mod commands;
mod control;
mod crash;
mod day;
mod events;
mod existing_clients;
mod health;
mod hostile;
mod money;
mod stream;
mod tokens;
