//! The table of figures, printed as they come.

use super::load::Measured;

/// A measurement and what it is compared with.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) clients: usize,
    pub(super) measured: Measured,
    /// The figure to reach, empty where there is none.
    pub(super) target: &'static str,
}

/// The rows so far.
pub(super) struct Table {
    rows: Vec<Row>,
    only: Option<String>,
}

impl Table {
    pub(super) fn new(only: Option<String>) -> Self {
        Self { rows: Vec::new(), only }
    }

    /// Whether the reader asked for a measurement of that name.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// Prints a row and keeps it.
    pub(super) fn add(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!(
                "{:<38} {:>7} {:>10} {:>9} {:>9} {:>7}  target",
                "work", "clients", "per second", "p50 ms", "p99 ms", "errors"
            );
        }
        let m = &row.measured;
        println!(
            "{:<38} {:>7} {:>10.0} {:>9.2} {:>9.2} {:>7}  {}",
            row.name,
            row.clients,
            m.per_second(),
            m.quantile(0.50),
            m.quantile(0.99),
            m.errors,
            row.target
        );
        if let Some(error) = &m.first_error {
            println!("  first error: {error}");
        }
        self.rows.push(row);
    }

    /// Prints how the figures relate to each other, where both were measured: that is what another machine can repeat.
    pub(super) fn ratios(&self) {
        let find = |name: &str, clients| {
            let row = self.rows.iter().find(|r| r.name == name && r.clients == clients)?;
            Some(row.measured.per_second()).filter(|figure| *figure > 0.0)
        };
        let print = |text: &str, of: Option<f64>, to: Option<f64>, target: &str| {
            if let (Some(of), Some(to)) = (of, to) {
                println!("{text}: {:.2} (target {target})", of / to);
            }
        };
        println!();
        print(
            "sqlite report at 64 / naive loop",
            find(&super::many("sqlite", "report"), 64),
            find(super::floor::NAIVE, 1),
            ">= 30",
        );
        for database in ["sqlite", "postgres"] {
            for work in ["report", "handshake"] {
                let many = find(&super::many(database, work), 64);
                let one = find(&super::one(database, work), 64);
                print(&format!("{database} {work} at 64, one budget / many"), one, many, ">= 0.80");
            }
            let health = find(&format!("{database} health"), 64);
            let report = find(&super::many(database, "report"), 64);
            print(&format!("{database} report / health at 64"), report, health, "none");
        }
    }
}
