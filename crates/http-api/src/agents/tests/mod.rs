//! Agents as a client sees them.

mod budget;
mod change;
mod create;
mod delete;
mod ic_token;
mod keys;
mod list;
mod status;
pub(crate) mod world;
