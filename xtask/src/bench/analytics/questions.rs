//! Questions, one after the other, each asked by one client as often as there is time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{Args, Brute, asked};
use crate::{
    bench::load::Load,
    http::{Caller, request},
    server::log_in,
};

struct Question {
    name: &'static str,
    path: &'static str,
    /// The same over every fact.
    sql: Option<&'static str>,
    target: &'static str,
}

const fn question(name: &'static str, path: &'static str) -> Question {
    Question { name, path, sql: None, target: "" }
}

const FACTS: &str = "p99 <= 20 ms, <= 2 x at 100000";

const QUESTIONS: &[Question] = &[
    Question {
        name: "total spending",
        path: "analytics/spending/total",
        sql: Some(
            "SELECT SUM(f.cost) FROM facts AS f JOIN series AS s ON s.no = f.series_no WHERE s.status = 'completed'",
        ),
        target: FACTS,
    },
    Question {
        name: "spending by agent",
        path: "analytics/spending/by-agent",
        sql: Some(
            "SELECT s.agent_id, SUM(f.cost), COUNT(*) FROM facts AS f JOIN series AS s ON s.no = f.series_no \
            WHERE s.status = 'completed' GROUP BY s.agent_id ORDER BY 2 DESC LIMIT 50",
        ),
        target: FACTS,
    },
    Question {
        name: "usage by model",
        path: "analytics/usage/models",
        sql: Some(
            "SELECT s.provider, s.model, COUNT(*), SUM(f.cost), SUM(f.input_tokens), SUM(f.output_tokens) \
            FROM facts AS f JOIN series AS s ON s.no = f.series_no WHERE s.status = 'completed' \
            GROUP BY s.provider, s.model ORDER BY 3 DESC",
        ),
        target: FACTS,
    },
    question("spending by provider", "analytics/spending/by-provider"),
    question("tokens by agent", "analytics/usage/tokens/by-agent"),
    question("requests", "analytics/usage/requests"),
    question("average and median cost", "analytics/spending/avg-per-request"),
    question("metrics with latencies", "analytics/metrics"),
    question("spending by day, 30 days", "analytics/spending/by-period"),
    Question {
        name: "query: agent, model, 90 days in Kolkata",
        path: "analytics/query?group_by=agent,model&bucket=day&time_zone=Asia/Kolkata&from=90-DAYS-AGO&limit=1000",
        sql: Some(
            "SELECT (f.occurred_at + 19800000) / 86400000, s.agent_id, s.model, COUNT(*), SUM(f.cost) FROM facts AS f \
            JOIN series AS s ON s.no = f.series_no GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 1000",
        ),
        target: "p99 <= 100 ms",
    },
    Question {
        name: "query: project, model, 90 days in Kolkata",
        path: "analytics/query?group_by=project,model&bucket=day&time_zone=Asia/Kolkata&from=90-DAYS-AGO&limit=1000",
        sql: None,
        target: "p99 <= 100 ms",
    },
    Question {
        name: "query: owner, model, 90 days in Kolkata",
        path: "analytics/query?group_by=owner,model&bucket=day&time_zone=Asia/Kolkata&from=90-DAYS-AGO&limit=1000",
        sql: None,
        target: "p99 <= 100 ms",
    },
    question("budget status", "analytics/budget/status"),
    question("events, first page", "analytics/events/list"),
    question("failures", "analytics/errors"),
    question("traces, first page", "traces"),
    question("traces of an agent and a model", "traces?agent_id=7&model=gpt-4o"),
    question("usage", "usage"),
    question("usage by project", "usage/by-project"),
];

pub(super) async fn ask(
    args: &Args,
    load: &Load,
    database: &str,
    admin: &Caller,
    brute: &Brute,
    size: u64,
) -> Result<()> {
    let token = admin.bearer().context("nobody is logged in")?.to_owned();
    println!("{:<44} {:>9} {:>9} {:>12} {:>7}  target", "asking", "p50 ms", "p99 ms", "by SQL ms", "errors");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let before = (now - Duration::from_secs(90 * 86_400)).as_millis();
    for Question { name, path, sql, target } in QUESTIONS {
        let row = format!("{database} {name}, {size}");
        if !args.wants(&row) {
            continue;
        }
        let path = path.replace("90-DAYS-AGO", &before.to_string());
        let bytes = request("GET", &format!("/api/v1/{path}"), Some(&token), None);
        let measured = load
            .run(1, |_| {
                let bytes = bytes.clone();
                move || bytes.clone()
            })
            .await?;
        let by_sql = match sql {
            Some(sql) => brute.ask(sql)?,
            None => None,
        };
        let shown = by_sql.as_ref().map_or_else(String::new, |(_, took)| format!("{:.0}", took.as_secs_f64() * 1e3));
        let (p50, p99) = (measured.quantile(0.50), measured.quantile(0.99));
        println!("{row:<44} {p50:>9.2} {p99:>9.2} {shown:>12} {:>7}  {target}", measured.errors);
        if let Some(error) = &measured.first_error {
            println!("  first error: {error}");
        }
    }
    // The connection of before has been idle for long, and may be closed
    let mut admin = log_in(load.address).await?;
    agree(args, database, &mut admin, brute, size).await
}

/// Whether answers say the same as the facts.
async fn agree(args: &Args, database: &str, admin: &mut Caller, brute: &Brute, size: u64) -> Result<()> {
    let row = format!("{database} agreement, {size}");
    if !args.wants(&row) {
        return Ok(());
    }
    let told = asked(admin, "analytics/usage/requests", "total_requests").await?;
    let Some((counted, _)) = brute.ask("SELECT COUNT(*) FROM facts")? else { return Ok(()) };
    let verdict = if counted == told.to_string() { "agree" } else { "DISAGREE" };
    println!("{row}: {told} requests told, {counted} facts: {verdict}");
    Ok(())
}
