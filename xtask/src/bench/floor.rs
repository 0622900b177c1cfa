//! What the disk allows: durable appends, and the naive loop of one transaction per row.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    load::Measured,
    table::{Row, Table},
};

/// Rows that the naive loop inserts between two looks at the clock.
const CHUNK: usize = 200;

/// The name of the naive loop in the table.
pub(super) const NAIVE: &str = "floor: sqlite, one INSERT per commit";

/// Adds the floors to the table.
pub(super) fn measure(table: &mut Table, dir: &Path, time: Duration) -> Result<()> {
    let name = "floor: 4 KiB append, fdatasync";
    if table.wants(name) {
        let measured = appends(dir, time)?;
        table.add(Row { name: name.to_owned(), clients: 1, measured, target: "a fact of the disk" });
    }
    let name = NAIVE;
    if table.wants(name) {
        match inserts(dir, time)? {
            Some(measured) => {
                table.add(Row {
                    name: name.to_owned(),
                    clients: 1,
                    measured,
                    target: "report at 64: >= 30 times this",
                });
            }
            None => println!("{name}: not measured, there is no `sqlite3` program"),
        }
    }
    Ok(())
}

fn appends(dir: &Path, time: Duration) -> Result<Measured> {
    let mut file = OpenOptions::new().create_new(true).append(true).open(dir.join("floor"))?;
    let block = [0x5a; 4096];
    let (started, mut latencies) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let before = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.push(u32::try_from(before.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Measured::new(latencies, started.elapsed()))
}

/// The loop that anybody would write first, in the program that everybody has: WAL, durable commits, and a row that
/// says as much as a report does. `None` without the program.
fn inserts(dir: &Path, time: Duration) -> Result<Option<Measured>> {
    if !Command::new("sqlite3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let database = dir.join("naive.db");
    let sqlite = |script: &str| -> Result<()> {
        let mut child = Command::new("sqlite3").arg(&database).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("no input of sqlite3")?.write_all(script.as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "sqlite3 failed");
        Ok(())
    };
    sqlite(
        "PRAGMA journal_mode=WAL;\n\
         CREATE TABLE report (lease TEXT, request TEXT, tokens INT, cost INT, PRIMARY KEY (lease, request)) WITHOUT ROWID;\n",
    )?;
    let (started, mut latencies, mut next) = (Instant::now(), Vec::new(), 0);
    while started.elapsed() < time {
        let rows =
            (next..next + CHUNK).map(|n| format!("INSERT INTO report VALUES ('lease', 'request-{n}', 150, 10);\n"));
        let script = "PRAGMA synchronous=FULL;\n".to_owned() + &rows.collect::<String>();
        let before = Instant::now();
        sqlite(&script)?;
        let each = before.elapsed() / u32::try_from(CHUNK)?;
        latencies.extend(std::iter::repeat_n(u32::try_from(each.as_micros()).unwrap_or(u32::MAX), CHUNK));
        next += CHUNK;
    }
    Ok(Some(Measured::new(latencies, started.elapsed())))
}
