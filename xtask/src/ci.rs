//! What continuous integration runs, in one command for everybody.

use std::{path::Path, time::Instant};

use anyhow::Result;

use crate::{
    check_deps, codegen,
    process::{cargo, command, interrupted, root, run as run_command},
    server::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, sqlite_url},
    test_integration::{self, Args as TestArgs, Backends, Summary},
    tidy,
};

/// The tour of README.md, as a script.
const TOUR: &str = "docs/tour.sh";

/// Run every check and every test: format, lints, direction of dependencies, house rules, generated files, the tour
/// of README.md, and `test-integration`.
///
/// A failed check does not stop the ones after it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The databases to test on
    #[arg(long, value_enum, default_value = "both")]
    backend: Backends,
}

/// `cargo xtask ci`. `commands` are the subcommands that documents may mention.
pub(crate) fn run(args: &Args, commands: &[String]) -> Result<()> {
    let started = Instant::now();
    let mut checks = Vec::new();
    let mut check = |name: &'static str, outcome: Result<()>| {
        if let Err(error) = &outcome {
            eprintln!("{name}: {error:#}");
        }
        checks.push((name, outcome.is_ok()));
        if interrupted() { outcome } else { Ok(()) }
    };
    check("ci::format", run_command(cargo().args(["fmt", "--all", "--check"])))?;
    check("ci::dependencies", check_deps::run())?;
    check("ci::tidy", tidy::run(commands))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    check("ci::lints", run_command(cargo().args(clippy)))?;

    let tests =
        TestArgs { backend: args.backend, package: Vec::new(), no_fsync: false, locked: true, filter: Vec::new() };
    let bin = test_integration::server_binaries(args.backend)?;
    let mut summary = match test_integration::build(true) {
        Ok(server) => {
            check("ci::generated_files", codegen::check(&server))?;
            check("ci::tour", tour(&server))?;
            test_integration::test(&tests, bin.as_deref(), &server)?
        }
        Err(error) => {
            check("ci::build", Err(error))?;
            Summary::default()
        }
    };
    println!();
    checks.iter().for_each(|(name, passed)| summary.record(name, *passed));
    summary.finish(started)
}

/// Runs the tour against a server of its own. It finds the server in IRON_URL and the way in in ADMIN_EMAIL and
/// ADMIN_PASSWORD.
fn tour(program: &Path) -> Result<()> {
    if !root().join(TOUR).exists() {
        println!("{TOUR} does not exist: no tour");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let server = Server::start(program, dir.path(), &sqlite_url(dir.path()))?;
    run_command(command("bash").arg(TOUR).envs([
        ("IRON_URL", server.url().as_str()),
        ("ADMIN_EMAIL", ADMIN_EMAIL),
        ("ADMIN_PASSWORD", ADMIN_PASSWORD),
    ]))?;
    server.stop()
}
