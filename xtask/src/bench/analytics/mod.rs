//! Figures of analytics: how fast events are taken in, and how long questions take that are asked of many.

mod brute;
mod events;
mod questions;

use std::{
    path::Path,
    process::Command as Process,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{BUDGET, Database, load::Load, load::Measured};
use crate::{
    http::{Caller, request},
    postgres::{self, Postgres},
    process::{build_example, read},
    server::{Agent, Server, create_agent, create_provider_key, log_in, number, sqlite_url},
    test_integration::Backends,
};
use brute::Brute;
use events::Events;

/// Agents that the events are of, as many as the targets name.
const AGENTS: usize = 200;
/// Events in a request, as the targets have it.
const BATCH: u64 = 500;
/// Connections that batches are sent on.
const SENDERS: usize = 8;

/// Measure analytics on a release build of the server: events per second, one by one, in batches and sent again; then
/// the questions at each size, beside an SQL statement that reads every fact.
///
/// What is measured comes in through `POST /api/v1/analytics/events…`, as the events of agents do. The sizes that are asked
/// about are filled in by a program that runs the server's own write pipeline under a clock that goes through all those
/// days: a server counts what is told after more than 31 days at receipt.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many events to ask questions of, one size after the other
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    events: Vec<u64>,
    /// Over how many days they are spread
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
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
    dir: std::path::PathBuf,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// `cargo xtask bench analytics`.
pub(super) fn run(args: &Args) -> Result<()> {
    let (program, dir, runtime) = super::prepare(&args.dir)?;
    println!("{}", super::machine(dir.path()));
    if args.backend != Backends::Postgres {
        let data = dir.path().join("sqlite");
        std::fs::create_dir(&data)?;
        let place = Place { program: &program, data: &data, url: sqlite_url(&data), database: Database::Sqlite };
        let brute = Brute::sqlite(data.join("control.db"));
        runtime.block_on(measure(args, &place, &brute))?;
        size(&brute)?;
    }
    if matches!(args.backend, Backends::Postgres | Backends::Both) {
        let bin =
            postgres::binaries().with_context(|| format!("no PostgreSQL; to install it: {}", postgres::INSTALL))?;
        let postgres = Postgres::start(&bin, true)?;
        let data = dir.path().join("postgres");
        std::fs::create_dir(&data)?;
        let place = Place { program: &program, data: &data, url: postgres.url(), database: Database::Postgres };
        println!("PostgreSQL {} keeps its data in the temporary directory, with its own defaults", postgres.version());
        let brute = Brute::postgres(&bin, postgres.url());
        runtime.block_on(measure(args, &place, &brute))?;
    }
    Ok(())
}

/// How large the embedded database has become. Beside it the part that holds what the stream may be asked again, whose rows
/// go after days and not with the facts.
fn size(brute: &Brute) -> Result<()> {
    let sql = "SELECT (SELECT COUNT(*) FROM facts) || ' ' || SUM(pgsize) || ' ' || \
        SUM(CASE name WHEN 'outbox' THEN pgsize ELSE 0 END) FROM dbstat";
    let Some((answer, _)) = brute.ask(sql)? else { return Ok(()) };
    let figures: Vec<u64> = answer.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    if let [events, all, outbox] = figures[..]
        && events > 0
    {
        let (each, mb) = ((all - outbox) / events, all >> 20);
        println!("database: {mb} MB, {each} bytes an event (target <= 220), and {} of the outbox", outbox / events);
    }
    Ok(())
}

/// A server that can be started again.
struct Place<'a> {
    program: &'a Path,
    data: &'a Path,
    url: String,
    database: Database,
}

impl Place<'_> {
    fn server(&self) -> Result<Server> {
        Server::start(self.program, self.data, &self.url)
    }
}

async fn measure(args: &Args, place: &Place<'_>, brute: &Brute) -> Result<()> {
    let server = place.server()?;
    let name = place.database.name();
    let mut admin = log_in(server.address()).await?;
    let key = create_provider_key(&mut admin, "sk-bench-0123456789").await?;
    let mut projects = Vec::new();
    for number in 0..8 {
        let id = format!("bench-{number}");
        admin.expect("POST", "projects", Some(&json!({"id": id, "name": id}))).await?;
        projects.push(id);
    }
    let mut agents = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        let agent = create_agent(&mut admin, &format!("bench-{number}"), key, BUDGET).await?;
        let project = json!({"project_id": projects[number % projects.len()]});
        admin.expect("PUT", &format!("agents/{}", agent.id), Some(&project)).await?;
        agents.push(agent);
    }
    let first = agents.first().map_or(0, |agent| agent.id);
    if first != 1 {
        bail!("the first agent has the number {first}");
    }
    let events = Arc::new(Events::of(agents));
    taking_in(args, &server, place.database, &events).await?;
    server.stop()?;

    let mut sizes = args.events.clone();
    sizes.sort_unstable();
    let mut there = 0;
    for size in sizes {
        fill(args, place, there, size)?;
        there = size;
        let server = place.server()?;
        let admin = log_in(server.address()).await?;
        let load = Load { address: server.address(), time: args.time() };
        questions::ask(args, &load, name, &admin, brute, size).await?;
        server.stop()?;
    }
    println!("\nbeside {there} events:");
    let server = place.server()?;
    taking_in(args, &server, place.database, &events).await?;
    server.stop()
}

/// Adds events until there are so many.
fn fill(args: &Args, place: &Place<'_>, from: u64, until: u64) -> Result<()> {
    let program = build_example("persistence", "fill_events")?;
    let numbers = [AGENTS as u64, args.days, from, until].map(|number| number.to_string());
    let said = read(Process::new(program).arg(&place.url).args(numbers))?;
    println!("\n{until} events over {} days: {}", args.days, said.trim());
    Ok(())
}

fn line(name: &str, clients: usize, each: u64, measured: &Measured, target: &str) {
    println!(
        "{:<44} {:>7} {:>10.0} {:>9.2} {:>9.2} {:>7}  {}",
        name,
        clients,
        measured.per_second() * each as f64,
        measured.quantile(0.50),
        measured.quantile(0.99),
        measured.errors,
        target
    );
    if let Some(error) = &measured.first_error {
        println!("  first error: {error}");
    }
}

async fn taking_in(args: &Args, server: &Server, database: Database, events: &Arc<Events>) -> Result<()> {
    let name = database.name();
    let load = Load { address: server.address(), time: args.time() };
    println!(
        "\n{:<44} {:>7} {:>10} {:>9} {:>9} {:>7}  target",
        "taking in", "clients", "per second", "p50 ms", "p99 ms", "errors"
    );
    let health = load.run(64, |_| || request("GET", "/api/health", None, None)).await?;
    line(&format!("{name} health"), 64, 1, &health, "the ceiling");
    let (one, many) = match database {
        Database::Sqlite => (">= 15000/s, p99 <= 25 ms", ">= 80000/s"),
        Database::Postgres => ("", ">= 50000/s"),
    };
    for again in [false, true] {
        let what = if again { ", sent again" } else { "" };
        let target = |target: &'static str| if again { ">= new ones" } else { target };
        let row = format!("{name} one event a request{what}");
        if args.wants(&row) {
            // What is sent again was sent by the measurement before
            let next = events.range(again, 0);
            let events = Arc::clone(events);
            let measured = load
                .run(64, move |_| {
                    let (next, events) = (next.clone(), Arc::clone(&events));
                    move || events.one(next.take(1))
                })
                .await?;
            line(&row, 64, 1, &measured, target(one));
        }
        let row = format!("{name} {BATCH} events a request{what}");
        if args.wants(&row) {
            let next = events.range(again, BATCH);
            let events = Arc::clone(events);
            let measured = load
                .run(SENDERS, move |_| {
                    let (next, events) = (next.clone(), Arc::clone(&events));
                    move || events.batch(next.take(BATCH), BATCH)
                })
                .await?;
            line(&row, SENDERS, BATCH, &measured, target(many));
        }
    }
    Ok(())
}

/// The number that an answer of the API has under a key.
async fn asked(admin: &mut Caller, path: &str, key: &str) -> Result<i64> {
    number(&admin.expect("GET", path, None).await?, key)
}

/// A counter that clients share.
type Next = Arc<AtomicU64>;

/// What the events are of.
type Agents = Vec<Agent>;
