//! Figures: what the server does per second, beside what the machine and the HTTP layer allow.

mod analytics;
mod floor;
mod load;
mod stream;
mod table;

use std::{
    path::{Path, PathBuf},
    process::Command as Process,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    http::{Caller, request},
    postgres::{self, Postgres},
    process::{self, build_server, read, root},
    server::{Agent, Server, create_agent, create_provider_key, log_in, number, sqlite_url, text},
    test_integration::Backends,
};
use load::Load;
use table::{Row, Table};

/// Agents that share the work, as many as the targets name.
const AGENTS: usize = 50;
/// Microdollars of every agent: enough never to run out, however fast the machine is.
const BUDGET: i64 = 1_000_000_000_000_000;
/// Microdollars of a lease that is reported against, the most that may be asked for.
const LEASE: i64 = 100_000_000;

/// Measure a release build of the server: health, report and handshake per second, with the durable-write floor.
///
/// Everything runs on this machine, load generator included; every answer is awaited (a closed loop), and everything is
/// durable before it is acknowledged. Compare figures of one run with each other, not with those of other machines.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// The databases to measure; `auto` is SQLite alone
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backends,
    /// Length of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Only measurements whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Where the data goes; must be on a disk for the figures to mean anything
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
}

/// A part of the figures that is measured by itself.
#[derive(clap::Subcommand)]
enum Part {
    Analytics(analytics::Args),
    Stream(stream::Args),
}

/// `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    // A load generator without optimisation would measure itself
    if cfg!(debug_assertions) {
        let again = std::env::args_os().skip(1);
        return process::run(process::cargo().args(["run", "--quiet", "--release", "-p", "xtask", "--"]).args(again));
    }
    match &args.part {
        Some(Part::Analytics(args)) => return analytics::run(args),
        Some(Part::Stream(args)) => return stream::run(args),
        None => {}
    }
    let (program, dir, runtime) = prepare(&args.dir)?;
    let mut table = Table::new(args.only.clone());
    println!("{}", machine(dir.path()));

    floor::measure(&mut table, dir.path(), Duration::from_secs(args.seconds.min(3)))?;
    if args.backend != Backends::Postgres {
        let data = dir.path().join("sqlite");
        std::fs::create_dir(&data)?;
        let server = Server::start(&program, &data, &sqlite_url(&data))?;
        runtime.block_on(measure(args, &mut table, &server, Database::Sqlite))?;
        server.stop()?;
    }
    if matches!(args.backend, Backends::Postgres | Backends::Both) {
        let bin =
            postgres::binaries().with_context(|| format!("no PostgreSQL; to install it: {}", postgres::INSTALL))?;
        let postgres = Postgres::start(&bin, true)?;
        let data = dir.path().join("postgres");
        std::fs::create_dir(&data)?;
        let server = Server::start(&program, &data, &postgres.url())?;
        println!("PostgreSQL {} keeps its data in the temporary directory, with its own defaults", postgres.version());
        runtime.block_on(measure(args, &mut table, &server, Database::Postgres))?;
        server.stop()?;
    }
    table.ratios();
    Ok(())
}

/// What every measurement needs: the program, a place for its data, and something to wait with.
fn prepare(dir: &Path) -> Result<(PathBuf, tempfile::TempDir, tokio::runtime::Runtime)> {
    let program = build_server(true)?;
    let parent = root().join(dir);
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok((program, dir, runtime))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// The figure to reach with so many clients, as the table shows it.
    fn target(self, work: &str, clients: usize) -> &'static str {
        match (self, work, clients) {
            (Self::Sqlite, "report", 64) => ">= 15000/s, p99 <= 25 ms",
            (Self::Sqlite, "report", 256) => ">= 25000/s",
            (Self::Sqlite, "handshake", 64) => ">= 8000/s, p99 <= 30 ms",
            (Self::Postgres, "report", 64) => ">= 6000/s",
            _ => "",
        }
    }
}

fn machine(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let disk = read(Process::new("df").arg("--output=source,fstype").arg(dir)).unwrap_or_default();
    let disk = disk.lines().nth(1).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap_or_default();
    format!("{cores} cores; data on {disk}; load generator on the same machine")
}

async fn measure(args: &Args, table: &mut Table, server: &Server, database: Database) -> Result<()> {
    let load = Load { address: server.address(), time: Duration::from_secs(args.seconds) };
    let mut admin = log_in(server.address()).await?;
    let key = create_provider_key(&mut admin, "sk-bench-0123456789").await?;
    let mut agents = Vec::with_capacity(AGENTS);
    for number in 1..=AGENTS {
        agents.push(create_agent(&mut admin, &format!("bench-{number}"), key, BUDGET).await?);
    }
    let name = database.name();

    if table.wants(&format!("{name} health")) {
        let measured = load.run(64, |_| || request("GET", "/api/health", None, None)).await?;
        table.add(Row { name: format!("{name} health"), clients: 64, measured, target: "the ceiling" });
    }
    for clients in [1, 16, 64, 256] {
        let row = many(name, "report");
        if table.wants(&row) {
            let measured = report(&load, &agents, clients).await?;
            table.add(Row { name: row, clients, measured, target: database.target("report", clients) });
        }
    }
    for clients in [1, 16, 64] {
        let row = many(name, "handshake");
        if table.wants(&row) {
            let measured = handshake(&load, &agents, clients).await?;
            table.add(Row { name: row, clients, measured, target: database.target("handshake", clients) });
        }
    }

    // From here on every agent draws on one budget as well: that of their common owner
    let rows = ["report", "handshake"].map(|work| one(name, work));
    if rows.iter().any(|row| table.wants(row)) {
        one_budget(&mut admin, agents[0].id).await?;
    }
    let [reports, handshakes] = rows;
    if table.wants(&reports) {
        let measured = report(&load, &agents, 64).await?;
        table.add(Row { name: reports, clients: 64, measured, target: SHARED_TARGET });
    }
    if table.wants(&handshakes) {
        let measured = handshake(&load, &agents, 64).await?;
        table.add(Row { name: handshakes, clients: 64, measured, target: SHARED_TARGET });
    }
    Ok(())
}

/// What sharing one budget may cost.
const SHARED_TARGET: &str = ">= 80 % of many budgets";

/// The name of a measurement in which every agent draws on its own budget only.
fn many(database: &str, work: &str) -> String {
    format!("{database} {work}, {AGENTS} agents")
}

/// The name of a measurement in which all agents draw on one budget.
fn one(database: &str, work: &str) -> String {
    format!("{database} {work}, one owner budget")
}

/// Gives the owner of the agents a budget.
async fn one_budget(admin: &mut Caller, agent: i64) -> Result<()> {
    let owner = text(&admin.expect("GET", &format!("agents/{agent}"), None).await?, "owner_id")?;
    let body = json!({"scope": {"kind": "owner", "id": owner}, "cap_microdollars": BUDGET});
    admin.expect("POST", "budgets", Some(&body)).await.context("the shared budget")?;
    Ok(())
}

/// Reports of one small call each; every client has a lease of its own.
async fn report(load: &Load, agents: &[Agent], clients: usize) -> Result<load::Measured> {
    // Ids of requests must not repeat, over all measurements of this run
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut caller = Caller::new(load.address);
    let mut leases = Vec::with_capacity(clients);
    for client in 0..clients {
        let body = json!({"ic_token": agents[client % agents.len()].ic_token, "requested_budget": LEASE});
        let lease = caller.expect("POST", "budget/handshake", Some(&body)).await?;
        if number(&lease, "budget_granted")? < LEASE {
            bail!("an agent ran out of budget before the measurement: {lease}");
        }
        leases.push(text(&lease, "lease_id")?);
    }
    load.run(clients, |client| {
        let lease = leases[client].clone();
        move || {
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            let body = format!(
                r#"{{"lease_id":"{lease}","request_id":"bench-{id}","tokens":150,"cost_microdollars":10,"model":"gpt-4o","provider":"openai"}}"#
            );
            request("POST", "/api/v1/budget/report", None, Some(&body))
        }
    })
    .await
}

/// Handshakes for a small sum each; the leases stay open.
async fn handshake(load: &Load, agents: &[Agent], clients: usize) -> Result<load::Measured> {
    let tokens = agents.iter().map(|agent| agent.ic_token.clone()).collect::<std::sync::Arc<[String]>>();
    load.run(clients, |client| {
        let (tokens, mut turn) = (std::sync::Arc::clone(&tokens), client);
        move || {
            turn += 1;
            let token = &tokens[turn % tokens.len()];
            let body = format!(r#"{{"ic_token":"{token}","requested_budget":1000}}"#);
            request("POST", "/api/v1/budget/handshake", None, Some(&body))
        }
    })
    .await
}
