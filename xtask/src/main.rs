//! The project's commands. `cargo xtask --help` is the index; the help of each command is its documentation.

#![expect(clippy::print_stdout, reason = "this program talks to the person who runs it")]
#![expect(clippy::disallowed_methods, reason = "it measures real time, and nothing in it is simulated")]

mod bench;
mod check_deps;
mod checksums;
mod ci;
mod codegen;
mod demo;
mod http;
mod postgres;
mod process;
mod server;
mod test_integration;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// The project's commands
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    TestIntegration(test_integration::Args),
    Ci(ci::Args),
    /// Check that dependencies point the way ARCHITECTURE.md draws them.
    ///
    /// Who may know whom; that the database driver and the web framework stay where they belong; that nothing an agent
    /// links contains them; that every manifest takes versions and lints from the workspace; one test binary a package.
    CheckDeps,
    /// Check the house rules: length of files, work left undone, paths of one machine, released migrations unchanged
    /// and in pairs, documents that name only files and commands that exist.
    Tidy,
    Codegen(codegen::Args),
    /// Bring a database up to date: runs `server migrate`.
    Migrate {
        /// What `server migrate` is given
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    Demo(demo::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    process::catch_signals()?;
    match command {
        Command::TestIntegration(args) => test_integration::run(&args),
        Command::Ci(args) => ci::run(&args, &command_names()),
        Command::CheckDeps => check_deps::run(),
        Command::Tidy => tidy::run(&command_names()),
        Command::Codegen(args) => codegen::run(&args),
        Command::Migrate { arguments } => {
            let server = process::build_server(false)?;
            process::run(process::command(server).arg("migrate").args(arguments))
        }
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}

fn command_names() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
