//! Roll-ups against the facts they were made of: whether they agree, and how they are made anew.
//!
//! Day by day, each in a transaction of its own, so that a check can run beside the server and a repair holds nobody up for
//! long. Days whose facts are no longer kept are left as they are; months are made of days.

use std::collections::{BTreeMap, BTreeSet};

use analytics::{Level, Sketch};
use kernel::{Money, Timestamp};

use super::check_sums::compare_sums;
use super::sketches::sketch;
use crate::balance::{exact, saturated};
use crate::db::{Row, Tx, args, statements};
use crate::rows::Rows;
use crate::{Store, StoreError};

/// What a check of the roll-ups found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollupCheck {
    /// How many facts were added up.
    pub facts: i64,
    /// How many cells and sketches were compared.
    pub cells: usize,
    /// Those that were not what the facts say, the first hundred.
    pub wrong: Vec<WrongCell>,
    /// How many they are.
    pub wrong_count: usize,
}

impl RollupCheck {
    /// Whether all is as the facts say.
    pub const fn is_ok(&self) -> bool {
        self.wrong_count == 0
    }

    pub(super) fn add(&mut self, wrong: WrongCell) {
        self.wrong_count += 1;
        if self.wrong.len() < 100 {
            self.wrong.push(wrong);
        }
    }
}

/// A cell that is not what the facts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCell {
    /// How long it is.
    pub level: Level,
    /// Where it begins.
    pub start: Timestamp,
    /// Of which series; `None`: of several.
    pub series: Option<i64>,
    /// What of it: `sums`, `sketch`, …
    pub what: &'static str,
}

statements! {
    HEAD = "SELECT k.fact, r.hours_until, r.days_until, r.months_until, r.facts_from \
        FROM rollup_head AS r CROSS JOIN sketch_head AS k WHERE r.id = 1 AND k.id = 1";
    LOCK = "SELECT r.id FROM rollup_head AS r WHERE r.id = 1 {for_update}";
    /// Whoever takes facts into the sketches at the same time gives up.
    HOLD_SKETCHES = "UPDATE sketch_head SET step = step + 1 WHERE id = 1";
    NEXT_FACT = "SELECT f.occurred_at FROM facts AS f WHERE f.occurred_at / 10000 >= $1 / 10000 \
        AND f.occurred_at >= $1 ORDER BY f.occurred_at / 10000, f.occurred_at LIMIT 1";
    NEXT_CELL = "SELECT r.bucket_start FROM rollups AS r WHERE r.level = $1 AND r.bucket_start >= $2 \
        ORDER BY r.bucket_start LIMIT 1";
    NEXT_SKETCH = "SELECT k.bucket_start FROM rollup_sketches AS k WHERE k.level = $1 AND k.bucket_start >= $2 \
        ORDER BY k.bucket_start LIMIT 1";
    NEXT_OVERALL = "SELECT o.bucket_start FROM rollup_overall AS o WHERE o.level = $1 AND o.bucket_start >= $2 \
        AND o.requests <> 0 ORDER BY o.bucket_start LIMIT 1";
    NEXT_AGENTS = "SELECT o.bucket_start FROM rollup_agents AS o WHERE o.level = $1 AND o.bucket_start >= $2 \
        AND o.requests <> 0 ORDER BY o.bucket_start LIMIT 1";
    NEXT_OWNERS = "SELECT o.bucket_start FROM rollup_owners AS o WHERE o.level = $1 AND o.bucket_start >= $2 \
        AND o.requests <> 0 ORDER BY o.bucket_start LIMIT 1";
    FROM_FACTS = "SELECT f.series_no, (f.occurred_at / 900000) * 900000, COUNT(*), \
        CAST(SUM(f.input_tokens) AS BIGINT), CAST(SUM(f.output_tokens) AS BIGINT), \
        CAST(SUM(f.cost / 1000000000) AS BIGINT), CAST(SUM(f.cost % 1000000000) AS BIGINT), MIN(f.cost), MAX(f.cost) \
        FROM facts AS f WHERE f.occurred_at / 10000 >= $1 / 10000 AND f.occurred_at / 10000 <= $2 / 10000 \
        AND f.occurred_at >= $1 AND f.occurred_at < $2 GROUP BY 1, 2";
    FIGURES = "SELECT f.series_no, f.occurred_at, f.cost, f.latency_ms, CAST(1 AS BIGINT) FROM facts AS f \
        WHERE f.occurred_at / 10000 >= $1 / 10000 AND f.occurred_at / 10000 <= $2 / 10000 \
        AND f.occurred_at >= $1 AND f.occurred_at < $2 AND f.id <= $3";
    CHANGES = "SELECT c.series_no, c.occurred_at, c.cost, c.latency_ms, -c.times FROM sketch_changes AS c \
        WHERE c.occurred_at >= $1 AND c.occurred_at < $2 AND c.fact_id <= $3";
    CELLS = "SELECT r.series_no, r.bucket_start, r.requests, r.input_tokens, r.output_tokens, r.cost / 1000000000, \
        r.cost % 1000000000, r.min_cost, r.max_cost FROM rollups AS r \
        WHERE r.level = $1 AND r.bucket_start >= $2 AND r.bucket_start < $3";
    SKETCHES = "SELECT k.series_no, k.bucket_start, k.cost, k.latency FROM rollup_sketches AS k \
        WHERE k.level = $1 AND k.bucket_start >= $2 AND k.bucket_start < $3";
    CLEAR_CELLS = "DELETE FROM rollups WHERE level = $1 AND bucket_start >= $2 AND bucket_start < $3";
    CLEAR_SKETCHES = "DELETE FROM rollup_sketches WHERE level = $1 AND bucket_start >= $2 AND bucket_start < $3";
    PUT_CELLS = "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, \
        min_cost, max_cost) SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5}, {int 6}, {int 7}, {int 8} \
        FROM {rows}";
    PUT_SKETCHES = "INSERT INTO rollup_sketches (level, bucket_start, series_no, cost, latency) \
        SELECT {int 0}, {int 1}, {int 2}, {blob 3}, {blob 4} FROM {rows}";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("NEXT_FACT", &*NEXT_FACT),
        ("NEXT_CELL", &*NEXT_CELL),
        ("NEXT_SKETCH", &*NEXT_SKETCH),
        ("NEXT_OVERALL", &*NEXT_OVERALL),
        ("NEXT_AGENTS", &*NEXT_AGENTS),
        ("NEXT_OWNERS", &*NEXT_OWNERS),
        ("FROM_FACTS", &*FROM_FACTS),
        ("FIGURES", &*FIGURES),
        ("CHANGES", &*CHANGES),
        ("CELLS", &*CELLS),
        ("SKETCHES", &*SKETCHES),
        ("CLEAR_CELLS", &*CLEAR_CELLS),
        ("CLEAR_SKETCHES", &*CLEAR_SKETCHES),
    ]
}

/// Requests, tokens in and out, cost, least and most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums([i64; 3], i128, [i64; 2]);

type CellKey = (Timestamp, i64);
type Cells = BTreeMap<CellKey, Sums>;
type Sketches = BTreeMap<CellKey, (Sketch, Sketch)>;

struct Head {
    sketched: i64,
    until: [Timestamp; 4],
    facts_from: Timestamp,
}

impl Store {
    /// Adds the facts up and compares with the roll-ups and sketches; with `repair`, what is wrong is made anew. Cells that
    /// are not folded yet, and facts that are not in the sketches yet, are not missed.
    pub async fn check_rollups(&self, repair: bool) -> Result<RollupCheck, StoreError> {
        let mut check = RollupCheck::default();
        let mut day = Timestamp::EPOCH;
        while let Some(next) = self.check_day(day, repair, &mut check).await? {
            day = next;
        }
        let mut month = Timestamp::EPOCH;
        while let Some(next) = self.check_month(month, repair, &mut check).await? {
            month = next;
        }
        Ok(check)
    }

    async fn begin_check(&self, repair: bool) -> Result<(Tx, Head), StoreError> {
        let mut tx = if repair { self.db.begin().await? } else { self.db.begin_read().await? };
        if repair {
            tx.row(&LOCK, args![]).await?;
            tx.run(&HOLD_SKETCHES, args![]).await?;
        }
        let row = tx.row(&HEAD, args![]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the roll-ups have no head".to_owned()))?;
        let until = [Timestamp::MAX, row.time(1)?, row.time(2)?, row.time(3)?];
        let head = Head { sketched: row.int(0)?, until, facts_from: row.time(4)? };
        Ok((tx, head))
    }

    /// Checks the first day from `from` on that has anything; returns where to go on.
    async fn check_day(
        &self,
        from: Timestamp,
        repair: bool,
        check: &mut RollupCheck,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (mut tx, head) = self.begin_check(repair).await?;
        let from = from.max(head.facts_from);
        let mut first = BTreeSet::new();
        first.extend(next(tx.row(&NEXT_FACT, args![from]).await?)?);
        for level in [Level::Quarter, Level::Hour, Level::Day] {
            for question in [&NEXT_CELL, &NEXT_SKETCH, &NEXT_OVERALL, &NEXT_AGENTS, &NEXT_OWNERS] {
                first.extend(next(tx.row(question, args![level.number(), from]).await?)?);
            }
        }
        let Some(day) = first.first().map(|at| Level::Day.floor(*at)) else { return Ok(None) };
        let end = Level::Day.end(day);

        let rows = tx.rows(&FROM_FACTS, args![day, end]).await?;
        let quarters: Cells = rows.iter().map(cell_from).collect::<Result<_, _>>()?;
        check.facts += quarters.values().map(|sums| sums.0[0]).sum::<i64>();
        let mut sketches: [Sketches; 2] = Default::default();
        // As the facts were when they were taken over: what has changed since is noted, and still to come
        for question in [&FIGURES, &CHANGES] {
            for row in tx.rows(question, args![day, end, head.sketched]).await? {
                let (series, at, cost) = (row.int(0)?, row.time(1)?, row.int(2)?);
                let (latency, times) = (row.opt_int(3)?, row.int(4)?);
                for (sketches, level) in sketches.iter_mut().zip([Level::Hour, Level::Day]) {
                    let (costs, latencies) = sketches.entry((level.floor(at), series)).or_default();
                    costs.add(cost, times);
                    if let Some(latency) = latency {
                        latencies.add(latency, times);
                    }
                }
            }
        }
        sketches.iter_mut().for_each(|sketches| sketches.retain(|_, (costs, _)| !costs.is_empty()));
        for level in [Level::Quarter, Level::Hour, Level::Day] {
            let until = head.until[level as usize];
            let expected = coarser(&quarters, level, until);
            compare_cells(&mut tx, level, (day, end), &expected, repair, check).await?;
            compare_sums(&mut tx, level, (day, end), head.until[1], repair, check).await?;
        }
        for (expected, level) in sketches.iter().zip([Level::Hour, Level::Day]) {
            compare_sketches(&mut tx, level, (day, end), expected, repair, check).await?;
        }
        if repair {
            tx.commit().await?;
        }
        Ok(Some(end))
    }

    /// Checks the first month from `from` on that has anything against its days.
    async fn check_month(
        &self,
        from: Timestamp,
        repair: bool,
        check: &mut RollupCheck,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (mut tx, head) = self.begin_check(repair).await?;
        let mut first = BTreeSet::new();
        for level in [Level::Day, Level::Month] {
            for question in [&NEXT_CELL, &NEXT_SKETCH, &NEXT_OVERALL, &NEXT_AGENTS, &NEXT_OWNERS] {
                first.extend(next(tx.row(question, args![level.number(), from]).await?)?);
            }
        }
        let Some(month) = first.first().map(|at| Level::Month.floor(*at)) else { return Ok(None) };
        let end = Level::Month.end(month);
        let rows = tx.rows(&CELLS, args![Level::Day.number(), month, end]).await?;
        let days: Cells = rows.iter().map(cell_from).collect::<Result<_, _>>()?;
        let expected = coarser(&days, Level::Month, head.until[Level::Month as usize]);
        compare_cells(&mut tx, Level::Month, (month, end), &expected, repair, check).await?;
        compare_sums(&mut tx, Level::Month, (month, end), head.until[1], repair, check).await?;
        let mut sketches = Sketches::default();
        for ((_, series), (costs, latencies)) in read_sketches(&mut tx, Level::Day, (month, end)).await? {
            let sum = sketches.entry((month, series)).or_default();
            sum.0.merge(&costs);
            sum.1.merge(&latencies);
        }
        compare_sketches(&mut tx, Level::Month, (month, end), &sketches, repair, check).await?;
        if repair {
            tx.commit().await?;
        }
        Ok(Some(end))
    }
}

fn next(row: Option<Row>) -> Result<Option<Timestamp>, StoreError> {
    row.map(|row| row.time(0)).transpose()
}

/// Reads series, start, three counts, the cost in two columns, least and most.
fn cell_from(row: &Row) -> Result<(CellKey, Sums), StoreError> {
    let counts = [row.int(2)?, row.int(3)?, row.int(4)?];
    Ok(((row.time(1)?, row.int(0)?), Sums(counts, exact(row, 5)?, [row.int(7)?, row.int(8)?])))
}

/// Longer cells made of shorter ones, those that begin before `until`.
fn coarser(finer: &Cells, level: Level, until: Timestamp) -> Cells {
    let mut cells = Cells::new();
    for ((start, series), Sums(counts, cost, [least, most])) in finer {
        let start = level.floor(*start);
        if start < until {
            let cell = cells.entry((start, *series)).or_insert(Sums([0; 3], 0, [i64::MAX, 0]));
            cell.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            cell.1 += cost;
            cell.2 = [cell.2[0].min(*least), cell.2[1].max(*most)];
        }
    }
    for cell in cells.values_mut() {
        cell.1 = i128::from(saturated(cell.1).nanos());
    }
    cells
}

fn note<T: PartialEq>(
    level: Level,
    what: &'static str,
    expected: &BTreeMap<CellKey, T>,
    stored: &BTreeMap<CellKey, T>,
    check: &mut RollupCheck,
) -> bool {
    let keys: BTreeSet<&CellKey> = expected.keys().chain(stored.keys()).collect();
    check.cells += keys.len();
    let mut sound = true;
    for key in keys.into_iter().filter(|key| expected.get(key) != stored.get(key)) {
        sound = false;
        check.add(WrongCell { level, start: key.0, series: Some(key.1), what });
    }
    sound
}

async fn compare_cells(
    tx: &mut Tx,
    level: Level,
    (from, to): (Timestamp, Timestamp),
    expected: &Cells,
    repair: bool,
    check: &mut RollupCheck,
) -> Result<(), StoreError> {
    let rows = tx.rows(&CELLS, args![level.number(), from, to]).await?;
    let stored: Cells = rows.iter().map(cell_from).collect::<Result<_, _>>()?;
    if note(level, "sums", expected, &stored, check) || !repair {
        return Ok(());
    }
    tx.run(&CLEAR_CELLS, args![level.number(), from, to]).await?;
    let mut rows = Rows::new();
    for ((start, series), Sums(counts, cost, extremes)) in expected {
        rows.row().int(level.number()).int(start.millis()).int(*series);
        let cost: Money = saturated(*cost);
        for figure in [counts[0], counts[1], counts[2], cost.nanos(), extremes[0], extremes[1]] {
            rows.int(figure);
        }
    }
    if !rows.is_empty() {
        tx.run(&PUT_CELLS, args![rows.finish()]).await?;
    }
    Ok(())
}

async fn read_sketches(tx: &mut Tx, level: Level, (from, to): (Timestamp, Timestamp)) -> Result<Sketches, StoreError> {
    let rows = tx.rows(&SKETCHES, args![level.number(), from, to]).await?;
    let read = |row: &Row| Ok(((row.time(1)?, row.int(0)?), (sketch(&row.blob(2)?)?, sketch(&row.blob(3)?)?)));
    rows.iter().map(read).collect()
}

async fn compare_sketches(
    tx: &mut Tx,
    level: Level,
    range: (Timestamp, Timestamp),
    expected: &Sketches,
    repair: bool,
    check: &mut RollupCheck,
) -> Result<(), StoreError> {
    let stored = read_sketches(tx, level, range).await?;
    if note(level, "sketch", expected, &stored, check) || !repair {
        return Ok(());
    }
    tx.run(&CLEAR_SKETCHES, args![level.number(), range.0, range.1]).await?;
    let mut rows = Rows::new();
    for ((start, series), (costs, latencies)) in expected {
        rows.row().int(level.number()).int(start.millis()).int(*series);
        rows.blob(&costs.to_bytes()).blob(&latencies.to_bytes());
    }
    if !rows.is_empty() {
        tx.run(&PUT_SKETCHES, args![rows.finish()]).await?;
    }
    Ok(())
}
