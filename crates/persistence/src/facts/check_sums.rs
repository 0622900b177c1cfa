//! Sums over several cells, which are kept beside them, against the cells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analytics::Level;
use kernel::Timestamp;

use super::check::{RollupCheck, WrongCell};
use super::{DAY_SO_FAR, MONTH_SO_FAR, STRETCHES, Stretch};
use crate::StoreError;
use crate::balance::exact;
use crate::db::{Row, Tx, args};

/// A table of sums over the cells of several series.
struct Sums {
    table: &'static str,
    /// What tells its rows apart, beside the time: columns of the series.
    names: &'static [&'static str],
    /// Whether it is written with every batch. One that is not has no sums of quarters of hours that are not folded, nor of
    /// days and months as far as they are.
    live: bool,
    /// What it is called where it is wrong.
    what: &'static str,
}

const ALL: [Sums; 3] = [
    Sums { table: "rollup_overall", names: &["provider", "model", "status"], live: true, what: "sums over all agents" },
    Sums { table: "rollup_agents", names: &["agent_id", "status"], live: true, what: "sums of agents" },
    Sums {
        table: "rollup_owners",
        names: &["owner_id", "project_id", "provider_key_id", "provider", "model", "status"],
        live: false,
        what: "sums of owners",
    },
];

/// Which rows of such a table.
#[derive(Clone, Copy)]
enum Kept {
    /// As long as the cells they are over.
    Whole(Level),
    /// Of the whole stretch that is compared, over cells of this level.
    SoFar(Level, i64),
    /// Of several cells each.
    Of(Stretch),
}

impl Kept {
    const fn of(self) -> Level {
        match self {
            Self::Whole(level) | Self::SoFar(level, _) => level,
            Self::Of(stretch) => stretch.of,
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Whole(level) => level.number(),
            Self::SoFar(_, number) => number,
            Self::Of(stretch) => stretch.number,
        }
    }

    /// The beginning of the row that a cell `r` is part of.
    fn start(self) -> String {
        match self {
            Self::Whole(_) => "r.bucket_start".to_owned(),
            Self::SoFar(..) => "CAST($1 AS BIGINT)".to_owned(),
            Self::Of(Stretch { length, .. }) => format!("(r.bucket_start / {length}) * {length}"),
        }
    }
}

/// Requests and tokens, and the cost in nano-dollars.
type Figures = ([i64; 3], i128);
type Found = BTreeMap<(Timestamp, Vec<String>), Figures>;

impl Sums {
    /// Whether the table has such rows.
    fn keeps(&self, kept: Kept) -> bool {
        match kept {
            Kept::Whole(_) => true,
            Kept::SoFar(..) => self.live,
            Kept::Of(_) => !self.live,
        }
    }

    /// Where such rows end, of a stretch that ends at `to`.
    fn until(&self, kept: Kept, to: Timestamp, hours_until: Timestamp) -> Timestamp {
        if kept.of() == Level::Quarter && !self.live { to.min(hours_until) } else { to }
    }

    /// What is stored, and what the cells add up to.
    fn questions(&self, kept: Kept) -> [String; 2] {
        let texts = |of: &str| {
            let text = |name: &&str| format!(", CAST({of}.{name} AS TEXT)");
            self.names.iter().map(text).collect::<String>()
        };
        let stored = format!(
            "SELECT o.bucket_start, o.requests, o.input_tokens, o.output_tokens, o.usd, o.nanos{} FROM {} AS o \
             WHERE o.level = {} AND o.bucket_start >= $1 AND o.bucket_start < $2",
            texts("o"),
            self.table,
            kept.number()
        );
        [stored, format!("SELECT {}, {SUMMED}{} {}", kept.start(), texts("s"), self.over_cells(kept))]
    }

    /// Takes them away, and makes them anew or adds to them.
    fn repairs(&self, kept: Kept) -> [String; 2] {
        let (table, names, number) = (self.table, self.names.join(", "), kept.number());
        [
            format!("DELETE FROM {table} WHERE level = {number} AND bucket_start >= $1 AND bucket_start < $2"),
            format!(
                "INSERT INTO {table} (level, bucket_start, requests, input_tokens, output_tokens, usd, nanos, {names}) \
                 SELECT {number}, {}, {SUMMED}, {} {} ON CONFLICT (level, bucket_start, {names}) DO UPDATE SET \
                 requests = {table}.requests + excluded.requests, \
                 input_tokens = {table}.input_tokens + excluded.input_tokens, \
                 output_tokens = {table}.output_tokens + excluded.output_tokens, \
                 usd = {table}.usd + excluded.usd, nanos = {table}.nanos + excluded.nanos",
                kept.start(),
                self.of_series(),
                self.over_cells(kept)
            ),
        ]
    }

    fn of_series(&self) -> String {
        self.names.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", ")
    }

    fn over_cells(&self, kept: Kept) -> String {
        let time = match kept {
            Kept::SoFar(..) => String::new(),
            Kept::Whole(_) | Kept::Of(_) => kept.start() + ", ",
        };
        format!(
            "FROM rollups AS r JOIN series AS s ON s.no = r.series_no \
             WHERE r.level = {} AND r.bucket_start >= $1 AND r.bucket_start < $2 GROUP BY {time}{}",
            kept.of().number(),
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

/// Makes the sums of cells that have just been made, of a level in `from..to`, and those of the quarters of a new hour that
/// are not written with every batch, and adds them to the stretches they lie in.
pub(super) async fn make_sums(tx: &mut Tx, level: Level, (from, to): (Timestamp, Timestamp)) -> Result<(), StoreError> {
    for sums in &ALL {
        let mut made = vec![Kept::Whole(level)];
        if level == Level::Hour {
            made.push(Kept::Whole(Level::Quarter));
            made.extend(STRETCHES.map(Kept::Of));
        }
        for kept in made.into_iter().filter(|kept| kept.of() == level || !sums.live).filter(|kept| sums.keeps(*kept)) {
            let [_, insert] = sums.repairs(kept);
            tx.rows_of(Arc::from(insert), args![from, to]).await?;
        }
    }
    Ok(())
}

/// Compares the sums over cells of a level in `from..to`, a day or a month, with the cells, which are right by then. Hours are
/// folded until `hours_until`.
pub(super) async fn compare_sums(
    tx: &mut Tx,
    level: Level,
    (from, to): (Timestamp, Timestamp),
    hours_until: Timestamp,
    repair: bool,
    check: &mut RollupCheck,
) -> Result<(), StoreError> {
    let mut all = vec![Kept::Whole(level)];
    // Days are looked at one by one first; of a month as far as it is, with the month
    match (level, Level::Day.end(from) == to) {
        (Level::Hour, true) => {
            all.push(Kept::SoFar(Level::Hour, DAY_SO_FAR));
            all.extend(STRETCHES.map(Kept::Of));
        }
        (Level::Month, false) => all.push(Kept::SoFar(Level::Day, MONTH_SO_FAR)),
        _ => {}
    }
    let pairs = all.iter().flat_map(|kept| ALL.iter().map(|sums| (*kept, sums)));
    for (kept, sums) in pairs.filter(|(kept, sums)| sums.keeps(*kept)) {
        let ends = [to, sums.until(kept, to, hours_until)];
        let mut found = Vec::with_capacity(2);
        for (question, to) in sums.questions(kept).into_iter().zip(ends) {
            let rows = tx.rows_of(Arc::from(question), args![from, to]).await?;
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
            for (statement, to) in sums.repairs(kept).into_iter().zip(ends) {
                tx.rows_of(Arc::from(statement), args![from, to]).await?;
            }
        }
    }
    Ok(())
}
