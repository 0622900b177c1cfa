//! Sums over several cells, which are kept beside them, against the cells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analytics::Level;
use kernel::Timestamp;

use super::check::{RollupCheck, WrongCell};
use crate::StoreError;
use crate::balance::exact;
use crate::db::{Backend, Row, Tx, args};

/// A table of sums over the cells of several series.
struct Sums {
    table: &'static str,
    /// What tells its rows apart, beside the time: columns of the series.
    names: &'static [&'static str],
    /// What it is called where it is wrong.
    what: &'static str,
}

const ALL: [Sums; 2] = [
    Sums { table: "rollup_overall", names: &["provider", "model", "status"], what: "sums over all agents" },
    Sums { table: "rollup_agents", names: &["agent_id", "status"], what: "sums of agents" },
];

/// Tokens and requests, and the cost in nano-dollars.
type Figures = ([i64; 3], i128);
type Found = BTreeMap<(Timestamp, Vec<String>), Figures>;

impl Sums {
    /// What is stored, and what the cells add up to.
    fn questions(&self) -> [String; 2] {
        let texts = |of: &str| {
            let text = |name: &&str| format!(", CAST({of}.{name} AS TEXT)");
            self.names.iter().map(text).collect::<String>()
        };
        let range = |of: &str| format!("{of}.level = $1 AND {of}.bucket_start >= $2 AND {of}.bucket_start < $3");
        let table = self.table;
        let stored = format!(
            "SELECT o.bucket_start, o.requests, o.input_tokens, o.output_tokens, o.usd, o.nanos{} FROM {table} AS o \
             WHERE {}",
            texts("o"),
            range("o")
        );
        [stored, format!("SELECT r.bucket_start, {SUMMED}{} {}", texts("s"), self.from_cells(&range("r")))]
    }

    /// Makes them anew.
    fn repairs(&self) -> [String; 2] {
        let Self { table, names, .. } = self;
        let names = names.join(", ");
        let range = "level = $1 AND bucket_start >= $2 AND bucket_start < $3";
        let cells = self.from_cells("r.level = $1 AND r.bucket_start >= $2 AND r.bucket_start < $3");
        [
            format!("DELETE FROM {table} WHERE {range}"),
            format!(
                "INSERT INTO {table} (level, bucket_start, requests, input_tokens, output_tokens, usd, nanos, {names}) \
                 SELECT r.level, r.bucket_start, {SUMMED}, {} {cells}, r.level",
                self.of_series()
            ),
        ]
    }

    fn of_series(&self) -> String {
        self.names.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", ")
    }

    fn from_cells(&self, range: &str) -> String {
        format!(
            "FROM rollups AS r JOIN series AS s ON s.no = r.series_no WHERE {range} GROUP BY r.bucket_start, {}",
            self.of_series()
        )
    }

    fn read(&self, rows: &[Row]) -> Result<Found, StoreError> {
        let mut found = Found::new();
        for row in rows {
            let names = (0..self.names.len()).map(|index| row.text(6 + index)).collect::<Result<_, _>>()?;
            let figures = ([row.int(1)?, row.int(2)?, row.int(3)?], exact(row, 4)?);
            // What came and went again has left nothing
            if figures != ([0; 3], 0) {
                found.insert((row.time(0)?, names), figures);
            }
        }
        Ok(found)
    }
}

const SUMMED: &str = "CAST(SUM(r.requests) AS BIGINT), CAST(SUM(r.input_tokens) AS BIGINT), \
    CAST(SUM(r.output_tokens) AS BIGINT), CAST(SUM(r.cost / 1000000000) AS BIGINT), \
    CAST(SUM(r.cost % 1000000000) AS BIGINT)";

/// Compares the sums of a level in `from..to` with its cells, which are right by then.
pub(super) async fn compare_sums(
    tx: &mut Tx,
    level: Level,
    (from, to): (Timestamp, Timestamp),
    repair: bool,
    check: &mut RollupCheck,
) -> Result<(), StoreError> {
    if level == Level::Quarter && tx.backend() == Backend::Postgres {
        return Ok(());
    }
    for sums in &ALL {
        let mut found = Vec::with_capacity(2);
        for question in sums.questions() {
            let rows = tx.rows_of(Arc::from(question), args![level.number(), from, to]).await?;
            found.push(sums.read(&rows)?);
        }
        let keys: BTreeSet<_> = found.iter().flat_map(BTreeMap::keys).collect();
        check.cells += keys.len();
        let mut sound = true;
        for key in keys.into_iter().filter(|key| found[0].get(*key) != found[1].get(*key)) {
            sound = false;
            check.add(WrongCell { level, start: key.0, series: None, what: sums.what });
        }
        if !sound && repair {
            for statement in sums.repairs() {
                tx.rows_of(Arc::from(statement), args![level.number(), from, to]).await?;
            }
        }
    }
    Ok(())
}
