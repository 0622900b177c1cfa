//! The command line.

mod admin;
mod config;
mod serve;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Loaded, Sources, load};

/// Whatever went wrong, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The control plane of Iron Cage: lends agent runtimes tranches of a budget, holds the provider keys, and answers who
/// spent what.
#[derive(Parser)]
#[command(name = "server", version)]
struct Arguments {
    /// The configuration file (TOML). Variables of the environment win over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to do; without it, `serve`.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until told to stop (SIGTERM or Ctrl-C).
    Serve,
    /// Bring the database up to date and end.
    Migrate,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Look after users from the machine the server runs on.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Look after the ledger.
    #[command(subcommand)]
    Ledger(verify::Ledger),
    /// Look after the audit log.
    #[command(subcommand)]
    Audit(verify::Audit),
    /// Look after what is added up of LLM requests.
    #[command(subcommand)]
    Analytics(verify::Analytics),
    /// Print the OpenAPI document.
    Openapi,
}

/// Runs the program: reads the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sources = Sources::of_process(arguments.config);
    match run(arguments.command.unwrap_or(Command::Serve), &sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&*failure);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, sources: &Sources) -> Result<(), Failure> {
    match command {
        // These two read no settings, so that they work where settings are wrong
        Command::Openapi => print(&http_api::openapi::openapi_json()),
        Command::Config(command) => config::run(&command, sources),
        Command::Serve => runtime()?.block_on(serve::serve(loaded(sources)?)),
        Command::Migrate => runtime()?.block_on(serve::migrate(loaded(sources)?)),
        Command::Admin(command) => runtime()?.block_on(admin::run(command, loaded(sources)?)),
        Command::Ledger(command) => runtime()?.block_on(verify::ledger(command, loaded(sources)?)),
        Command::Analytics(command) => runtime()?.block_on(verify::analytics(command, loaded(sources)?)),
        Command::Audit(command) => runtime()?.block_on(verify::audit(command, loaded(sources)?)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn loaded(sources: &Sources) -> Result<Loaded, Failure> {
    Ok(load(sources)?)
}

/// Writes to standard output; a reader that has gone away is nobody's mistake.
fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The failure and what lies behind it, to standard error.
fn report(failure: &(dyn std::error::Error + 'static)) {
    let mut text = format!("error: {failure}");
    let mut next = failure.source();
    while let Some(cause) = next {
        text.push_str(&format!("\n  because: {cause}"));
        next = cause.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
