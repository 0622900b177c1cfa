//! Watch money move: a server, a few agents that spend, and their budgets in the terminal.

use std::{
    fmt::Write as _,
    fs,
    io::{IsTerminal, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    http::Caller,
    process::{self, Group, interrupted},
    server::{Agent, Server, create_agent, create_provider_key, environment, log_in, number, sqlite_url},
};

/// The example of `control-client` that plays an agent: it brings its own small mock of an LLM provider.
const EXAMPLE: &str = "agent_loop";
/// How it looks when an agent has ended by itself: the control plane lends it nothing any more.
const REFUSED: &str = "refused";
/// Cells of a bar.
const WIDTH: i64 = 40;

/// Start a server and some example agents, and show their budgets until every one of them is refused.
///
/// Everything lives in a temporary directory and is gone afterwards. At the end the books are verified from the journal.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many agents
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    agents: u8,
    /// What the first agent may spend, in microdollars; the second may spend twice as much, and so on
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1_000..=1_000_000_000))]
    budget: i64,
}

/// `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = process::build(&["-p", "server", "--bin", "server", "-p", "control-client", "--example", EXAMPLE])?;
    let program = process::program(&programs, "bin", "server")?;
    let example = process::program(&programs, "example", EXAMPLE)?;
    let dir = tempfile::Builder::new().prefix("iron-demo-").tempdir()?;
    let server = Server::start(program, dir.path(), &sqlite_url(dir.path()))?;
    println!("control plane at {}", server.url());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut admin, agents) = runtime.block_on(prepare(args, &server))?;
    let mut running = Vec::new();
    for agent in &agents {
        running.push(Running { group: spawn(example, &server, agent, dir.path())?, status: None });
    }
    runtime.block_on(watch(&mut admin, &agents, &mut running))?;
    for (agent, running) in agents.iter().zip(&running) {
        if running.status.as_deref() != Some(REFUSED) {
            let log = fs::read_to_string(home(dir.path(), agent).join("log"))?;
            bail!("agent {} did not end as it should:\n{log}", agent.id);
        }
    }
    drop(running);
    server.stop()?;
    println!(
        "\nEvery agent was refused the call that could have gone beyond its budget. The books, recomputed from the journal:"
    );
    let verdict = process::read(environment(program, dir.path(), &sqlite_url(dir.path())).args(["ledger", "verify"]))?;
    println!("{}", verdict.trim_end());
    Ok(())
}

struct Running {
    group: Group,
    /// How it ended; `None` while it runs.
    status: Option<String>,
}

async fn prepare(args: &Args, server: &Server) -> Result<(Caller, Vec<Agent>)> {
    let mut admin = log_in(server.address()).await?;
    let key = create_provider_key(&mut admin, "sk-demo-0123456789").await?;
    let mut agents = Vec::new();
    for number in 1..=i64::from(args.agents) {
        agents.push(create_agent(&mut admin, &format!("demo-{number}"), key, args.budget * number).await?);
    }
    Ok((admin, agents))
}

/// Where an agent keeps its journal and its log.
fn home(dir: &Path, agent: &Agent) -> PathBuf {
    dir.join(format!("agent-{}", agent.id))
}

fn spawn(example: &Path, server: &Server, agent: &Agent, dir: &Path) -> Result<Group> {
    let home = home(dir, agent);
    fs::create_dir_all(&home)?;
    let log = fs::File::create(home.join("log"))?;
    let mut command = process::command(example);
    command
        .args(["--tranche", "0.25", "--pause-ms", "100", "--journal"])
        .arg(home.join("journal"))
        .current_dir(&home)
        .env("CONTROL_PLANE_URL", server.url())
        .env("IC_TOKEN", &agent.ic_token);
    Group::spawn(command.stdout(log.try_clone()?).stderr(log)).context("the example agent does not start")
}

/// Shows the budgets until every agent has ended.
async fn watch(admin: &mut Caller, agents: &[Agent], running: &mut [Running]) -> Result<()> {
    let redraw = std::io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        if interrupted() {
            bail!("interrupted");
        }
        for agent in running.iter_mut().filter(|r| r.status.is_none()) {
            agent.status = agent.group.ended()?.map(|s| if s.success() { REFUSED.into() } else { s.to_string() });
        }
        let over = running.iter().all(|r| r.status.is_some());
        let mut picture = String::new();
        for (agent, running) in agents.iter().zip(running.iter()) {
            let budget = admin.expect("GET", &format!("agents/{}/budget", agent.id), None).await?;
            writeln!(picture, "{}", line(agent, &budget, running.status.as_deref().unwrap_or("running"))?)?;
        }
        if picture != shown {
            let up = if redraw && !shown.is_empty() { format!("\x1b[{}A\x1b[J", agents.len()) } else { String::new() };
            print!("{up}{picture}{}", if redraw { "" } else { "\n" });
            std::io::stdout().flush()?;
            shown = picture;
        }
        if over {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// One agent: what is spent, what is lent, what is left.
fn line(agent: &Agent, budget: &Value, status: &str) -> Result<String> {
    let [total, spent, leased, suspense] =
        ["total_allocated", "spent", "leased", "suspense"].map(|key| number(budget, key));
    let (total, spent, lent) = (total?.max(1), spent?, leased? + suspense?);
    let cells = |amount: i64| (amount.saturating_mul(WIDTH) / total).clamp(0, WIDTH);
    let (full, half) = (cells(spent), cells(spent + lent) - cells(spent));
    let bar = "█".repeat(full as usize) + &"▒".repeat(half as usize) + &"·".repeat((WIDTH - full - half) as usize);
    let dollars = |amount: i64| format!("${}.{:06}", amount / 1_000_000, amount % 1_000_000);
    Ok(format!(
        "agent {:<3} {bar} spent {} lent {} of {}  {status}",
        agent.id,
        dollars(spent),
        dollars(lent),
        dollars(total)
    ))
}

#[cfg(test)]
mod tests {
    use super::{Agent, line};
    use serde_json::json;

    #[test]
    fn a_bar_shows_spent_and_lent_money() {
        let agent = Agent { id: 1, ic_token: String::new() };
        let budget = json!({"total_allocated": 1_000_000, "spent": 500_000, "leased": 250_000, "suspense": 0});
        let shown = line(&agent, &budget, "running").unwrap();
        assert_eq!(shown.matches('█').count(), 20);
        assert_eq!(shown.matches('▒').count(), 10);
        assert!(shown.contains("spent $0.500000 lent $0.250000 of $1.000000"));
    }

    #[test]
    fn an_overrun_fills_the_bar_and_no_more() {
        let agent = Agent { id: 1, ic_token: String::new() };
        let budget = json!({"total_allocated": 10, "spent": 25, "leased": 5, "suspense": 0});
        assert_eq!(line(&agent, &budget, "").unwrap().matches(['█', '▒', '·']).count(), 40);
    }
}
