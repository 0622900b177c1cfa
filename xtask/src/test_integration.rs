//! The test command: everything, on every database this machine can offer.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    postgres::{self, Postgres},
    process::{self, Group},
};

/// What `cargo build` must build so that `cargo test --workspace` after it builds nothing twice: one selection of
/// packages and targets means one choice of features.
const BUILD: &[&str] = &["--workspace", "--lib", "--bins", "--tests", "--examples"];

/// Which databases a run is about.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backends {
    /// SQLite, and PostgreSQL where its server is installed
    Auto,
    /// SQLite alone
    Sqlite,
    /// PostgreSQL alone; fails where it is not installed
    Postgres,
    /// Both; fails where PostgreSQL is not installed
    Both,
}

impl Backends {
    fn sqlite(self) -> bool {
        self != Self::Postgres
    }

    fn postgres(self) -> bool {
        self != Self::Sqlite
    }
}

/// Run every test: unit, property, conformance on the databases, and end-to-end against the real server.
///
/// Needs no set-up. A throwaway PostgreSQL is started from the installed server binaries (as another user when run as
/// root) and removed at the end. Where none are installed the run is about SQLite only and says so.
///
/// A test that runs on both databases is named `...::on_sqlite` and `...::on_postgres`. It finds what it needs in
/// IRON_TEST_SQLITE (1 or 0), IRON_TEST_POSTGRES_URL (a superuser's URL; set it yourself to use a server of yours),
/// IRON_TEST_REQUIRE (sqlite, postgres or both: what must not be missing) and IRON_TEST_SERVER_BIN (the server).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The databases to test on
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backends,
    /// Only this package; may be repeated
    #[arg(long, short, value_name = "NAME")]
    pub(crate) package: Vec<String>,
    /// Let PostgreSQL acknowledge before the disk has it: faster, but no proof of durability
    #[arg(long)]
    pub(crate) no_fsync: bool,
    /// Fail if Cargo.lock would have to change
    #[arg(long)]
    pub(crate) locked: bool,
    /// What the test binaries are given: name filters and options such as --nocapture
    #[arg(last = true, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

/// What the test binaries said.
#[derive(Default)]
pub(crate) struct Summary {
    passed: u64,
    ignored: u64,
    measured: u64,
    filtered_out: u64,
    binaries: u64,
    failures: Vec<String>,
    sqlite: BTreeSet<String>,
    postgres: BTreeSet<String>,
    /// What a reader should know before the last line.
    notes: Vec<String>,
}

impl Summary {
    /// Takes in one line of output of a test binary.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.binaries += 1;
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let Some(count) = words.next().and_then(|n| n.parse::<u64>().ok()) else { continue };
                match words.collect::<Vec<_>>().join(" ").as_str() {
                    "passed" => self.passed += count,
                    "ignored" => self.ignored += count,
                    "measured" => self.measured += count,
                    "filtered out" => self.filtered_out += count,
                    _ => {}
                }
            }
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) {
            if outcome.starts_with("FAILED") {
                self.failures.push(name.to_owned());
            } else if outcome == "ok" {
                let stem = |suffix| name.split_once(suffix).map(|(before, after)| format!("{before}{after}"));
                self.sqlite.extend(stem("::on_sqlite"));
                self.postgres.extend(stem("::on_postgres"));
            }
        }
    }

    /// Counts a check that is not a test of a test binary.
    pub(crate) fn record(&mut self, name: &str, passed: bool) {
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if passed {
            self.passed += 1;
        } else {
            self.failures.push(name.to_owned());
        }
    }

    /// Tests that passed on one database and did not run on the other count as failed: that is how a backend gets
    /// skipped in silence.
    fn compare_backends(&mut self) {
        let only_sqlite = self.sqlite.difference(&self.postgres).map(|t| format!("{t}::on_postgres (did not pass)"));
        let only_postgres = self.postgres.difference(&self.sqlite).map(|t| format!("{t}::on_sqlite (did not pass)"));
        let one_sided = only_sqlite.chain(only_postgres).collect::<Vec<_>>();
        let known = |test: &String| self.failures.iter().any(|f| test.starts_with(f.as_str()));
        let new = one_sided.into_iter().filter(|test| !known(test)).collect::<Vec<_>>();
        self.failures.extend(new);
        if self.sqlite.is_empty() {
            self.failures.push("no test ran on the databases".to_owned());
        }
    }

    /// Prints the end of the run as `cargo test` would; an error if anything failed.
    pub(crate) fn finish(self, started: Instant) -> Result<()> {
        println!();
        if !self.failures.is_empty() {
            println!("failures:");
            for failure in &self.failures {
                println!("    {failure}");
            }
            println!();
        }
        for note in &self.notes {
            println!("{note}");
        }
        println!(
            "test result: {}. {} passed; {} failed; {} ignored; {} measured; {} filtered out; finished in {:.2}s",
            if self.failures.is_empty() { "ok" } else { "FAILED" },
            self.passed,
            self.failures.len(),
            self.ignored,
            self.measured,
            self.filtered_out,
            started.elapsed().as_secs_f64()
        );
        if !self.failures.is_empty() {
            bail!("{} failed", self.failures.len());
        }
        Ok(())
    }
}

/// `cargo xtask test-integration`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let bin = server_binaries(args.backend)?;
    // A developer who asks for one package does not want to wait for all
    let server = if args.package.is_empty() { build(args.locked)? } else { process::build_server(false)? };
    test(args, bin.as_deref(), &server)?.finish(started)
}

/// The PostgreSQL binaries where the run needs them; an error where it insists on what is not installed.
pub(crate) fn server_binaries(backend: Backends) -> Result<Option<std::path::PathBuf>> {
    let bin = if backend.postgres() { postgres::binaries() } else { None };
    let insists = matches!(backend, Backends::Postgres | Backends::Both);
    if insists && bin.is_none() && own_postgres().is_none() {
        bail!("PostgreSQL's server programs (initdb, postgres) were not found. To install them: {}", postgres::INSTALL);
    }
    Ok(bin)
}

fn own_postgres() -> Option<String> {
    std::env::var("IRON_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty())
}

/// Builds all that the tests need and returns the path of the server.
pub(crate) fn build(locked: bool) -> Result<std::path::PathBuf> {
    let mut arguments = BUILD.to_vec();
    arguments.extend(locked.then_some("--locked"));
    Ok(process::program(&process::build(&arguments)?, "bin", "server")?.to_owned())
}

/// Runs the tests against what is installed in `bin`, with the server at `server`.
pub(crate) fn test(args: &Args, bin: Option<&Path>, server: &Path) -> Result<Summary> {
    let throwaway = match (own_postgres(), bin) {
        (None, Some(bin)) if args.backend.postgres() => Some(Postgres::start(bin, !args.no_fsync)?),
        _ => None,
    };
    let url = throwaway.as_ref().map(Postgres::url).or_else(own_postgres).filter(|_| args.backend.postgres());
    let backends = match (args.backend.sqlite(), url.is_some()) {
        (true, true) => Backends::Both,
        (true, false) => Backends::Sqlite,
        (false, _) => Backends::Postgres,
    };

    let mut cargo = process::cargo();
    cargo.args(["test", "--no-fail-fast"]);
    if args.package.is_empty() {
        cargo.arg("--workspace");
    }
    cargo.args(args.package.iter().flat_map(|name| ["--package", name]));
    cargo.args(args.locked.then_some("--locked")).arg("--").args(&args.filter);
    // Left out by name, not run and passed: what did not happen must not look as if it had
    let left_out = match backends {
        Backends::Sqlite => Some("::on_postgres"),
        Backends::Postgres => Some("::on_sqlite"),
        Backends::Auto | Backends::Both => None,
    };
    cargo.args(left_out.into_iter().flat_map(|name| ["--skip", name]));
    let name = backends.to_possible_value().context("every choice has a name")?;
    // Tests that are cut off leave files; this way they go with the run
    let scratch = tempfile::Builder::new().prefix("iron-tests-").tempdir()?;
    cargo
        .env("TMPDIR", scratch.path())
        .env("IRON_TEST_SQLITE", if backends.sqlite() { "1" } else { "0" })
        .env("IRON_TEST_POSTGRES_URL", url.unwrap_or_default())
        .env("IRON_TEST_REQUIRE", name.get_name())
        .env("IRON_TEST_SERVER_BIN", server);

    let mut group = Group::spawn(cargo.stdout(Stdio::piped()))?;
    let output = group.child().stdout.take().context("no output of cargo")?;
    let mut summary = Summary::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    let status = group.wait()?;
    if !status.success() && summary.failures.is_empty() {
        summary.failures.push(format!("cargo test ({status}), beside the tests: see above"));
    }
    if summary.binaries == 0 {
        summary.failures.push("no test binary ran".to_owned());
    }
    // A filter may well name tests of one database
    if backends == Backends::Both && args.filter.is_empty() && args.package.is_empty() {
        summary.compare_backends();
    }
    summary.notes.push(match (backends, &throwaway) {
        (Backends::Sqlite, _) if args.backend == Backends::Auto => format!(
            "Databases: SQLite ({} tests). PostgreSQL was NOT tested: its server is not installed here. To install it: {}",
            summary.sqlite.len(),
            postgres::INSTALL
        ),
        (Backends::Sqlite, _) => format!("Databases: SQLite ({} tests), as asked", summary.sqlite.len()),
        (_, server) => {
            let version = server.as_ref().map_or("at IRON_TEST_POSTGRES_URL", Postgres::version);
            let sqlite = if backends.sqlite() { format!("SQLite ({} tests), ", summary.sqlite.len()) } else { String::new() };
            format!("Databases: {sqlite}PostgreSQL {version} ({} tests)", summary.postgres.len())
        }
    });
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::Summary;

    fn summary(lines: &[&str]) -> Summary {
        let mut summary = Summary::default();
        lines.iter().for_each(|line| summary.read(line));
        summary
    }

    #[test]
    fn counts_of_all_binaries_are_added() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        let sum = summary(&[line, "test a::b ... ok", line]);
        assert_eq!((sum.passed, sum.ignored, sum.filtered_out, sum.binaries), (6, 2, 8, 2));
        assert!(sum.failures.is_empty());
    }

    #[test]
    fn a_test_that_passed_on_one_database_only_is_a_failure() {
        let mut sum = summary(&["test x::on_sqlite ... ok", "test x::on_postgres ... ok", "test y::on_sqlite ... ok"]);
        sum.compare_backends();
        assert_eq!(sum.failures, ["y::on_postgres (did not pass)"]);
    }

    #[test]
    fn a_failed_test_is_named_once() {
        let mut sum = summary(&["test x::on_sqlite ... ok", "test x::on_postgres ... FAILED"]);
        sum.compare_backends();
        assert_eq!(sum.failures, ["x::on_postgres"]);
    }

    #[test]
    fn a_run_without_any_database_test_is_a_failure() {
        let mut sum = summary(&["test x ... ok"]);
        sum.compare_backends();
        assert_eq!(sum.failures, ["no test ran on the databases"]);
    }
}
