//! The same questions asked of the database, over every fact: what an answer without sums would cost.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::process::read;

/// A program that asks the database directly.
pub(super) struct Brute {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Brute {
    /// The embedded database, by the `sqlite3` program.
    pub(super) fn sqlite(database: PathBuf) -> Self {
        let arguments = vec!["-readonly".to_owned(), database.display().to_string()];
        Self { program: "sqlite3".into(), arguments }
    }

    /// PostgreSQL, by its own `psql`.
    pub(super) fn postgres(bin: &Path, url: String) -> Self {
        let arguments = vec![url, "--no-psqlrc".into(), "--tuples-only".into(), "--no-align".into(), "-c".into()];
        Self { program: bin.join("psql"), arguments }
    }

    /// The answer and how long it took, the start of the program included; `None` where there is no such program.
    pub(super) fn ask(&self, sql: &str) -> Result<Option<(String, Duration)>> {
        if Command::new(&self.program).arg("--version").output().is_err() {
            return Ok(None);
        }
        let started = Instant::now();
        let answer = read(Command::new(&self.program).args(&self.arguments).arg(sql))?;
        Ok(Some((answer.trim().to_owned(), started.elapsed())))
    }
}
