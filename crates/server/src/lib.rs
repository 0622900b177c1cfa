//! The control plane server: configuration, secrets, telemetry, wiring, lifecycle and subcommands.
//!
//! This crate decides nothing. It reads settings ([`config`]), finds secrets ([`secrets`]), opens the database, hands
//! everything to the crates that know what to do with it ([`wiring`]), and sees to it that the process ends well.
//!
//! ```ignore
//! let config = config::load(&config::Sources::of_process(None))?.config;
//! let server = Server::build(&config, Deps::default()).await?;
//! println!("listening on http://{}", server.address());
//! server.serve(signals::told_to_stop()).await;
//! ```
//!
//! A test does the same with its own [`Config`](config::Config) (port 0, a temporary data directory) and its own clock
//! and entropy in [`Deps`].

mod background;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod data_dir;
mod listener;
pub mod secrets;
pub mod signals;
pub mod telemetry;
pub mod wiring;

#[cfg(test)]
mod tests;

pub use wiring::{Deps, Server, StartError};
