//! Folding: what is summed up later than its facts come.
//!
//! Hours, days and months are summed up from the next shorter cells when they are over, a little later, so that clients'
//! clocks which are a few minutes ahead find them still open. Facts that come later still add to them directly.
//!
//! Each step is a short transaction of its own. On PostgreSQL it holds `rollup_head` alone, which every batch shares: so
//! no batch is halfway through when a level moves on, whichever server it runs on.

use analytics::{Folded, Level};
use kernel::{Money, Timestamp};

use super::check_sums::make_sums;
use super::so_far;
use crate::balance::{exact, saturated};
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{Store, StoreError};

/// Cells are folded when they have been over for so long, milliseconds: longer than clocks may be ahead.
const LATE_MS: i64 = 10 * 60_000;

/// How far roll-ups and sketches are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// The levels above a quarter of an hour.
    pub folded: Folded,
    /// The sketches have every fact up to this number, perhaps not as it is by now, and none after.
    pub sketched: i64,
    /// The number of the last fact.
    pub last_fact: i64,
    /// Facts before this time are not kept any more.
    pub facts_from: Timestamp,
}

/// What one step of folding did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// There may be more to do at once.
    More,
    /// There is nothing to do for now.
    Done,
}

statements! {
    LAST = "SELECT r.last_fact, k.fact, r.hours_until, r.days_until, r.months_until, r.facts_from \
        FROM rollup_head AS r CROSS JOIN sketch_head AS k WHERE r.id = 1 AND k.id = 1"
        | "SELECT COALESCE((SELECT MAX(f.id) FROM facts AS f), 0), k.fact, r.hours_until, r.days_until, \
        r.months_until, r.facts_from FROM rollup_head AS r CROSS JOIN sketch_head AS k WHERE r.id = 1 AND k.id = 1";
    LOCK = "SELECT id FROM rollup_head WHERE id = 1 {for_update}";
    NEXT_CELL = "SELECT r.bucket_start FROM rollups AS r WHERE r.level = $1 AND r.bucket_start >= $2 \
        ORDER BY r.bucket_start LIMIT 1";
    CELLS = "SELECT r.series_no, CAST(SUM(r.requests) AS BIGINT), CAST(SUM(r.input_tokens) AS BIGINT), \
        CAST(SUM(r.output_tokens) AS BIGINT), CAST(SUM(r.cost / 1000000000) AS BIGINT), \
        CAST(SUM(r.cost % 1000000000) AS BIGINT), MIN(r.min_cost), MAX(r.max_cost) FROM rollups AS r \
        WHERE r.level = $1 AND r.bucket_start >= $2 AND r.bucket_start < $3 GROUP BY r.series_no";
    PUT = "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, min_cost, \
        max_cost) SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5}, {int 6}, {int 7}, {int 8} FROM {rows}";
    /// From the sums of the same cells.
    OVERALL_SO_FAR = "INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, \
        output_tokens, usd, nanos) SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), o.provider, o.model, o.status, o.requests, \
        o.input_tokens, o.output_tokens, o.usd, o.nanos FROM rollup_overall AS o WHERE o.level = $3 AND o.bucket_start = $4 \
        ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET \
        requests = rollup_overall.requests + excluded.requests, \
        input_tokens = rollup_overall.input_tokens + excluded.input_tokens, \
        output_tokens = rollup_overall.output_tokens + excluded.output_tokens, \
        usd = rollup_overall.usd + excluded.usd, nanos = rollup_overall.nanos + excluded.nanos";
    AGENTS_SO_FAR = "INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, \
        output_tokens, usd, nanos) SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), o.agent_id, o.status, o.requests, \
        o.input_tokens, o.output_tokens, o.usd, o.nanos FROM rollup_agents AS o WHERE o.level = $3 AND o.bucket_start = $4 \
        ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET \
        requests = rollup_agents.requests + excluded.requests, \
        input_tokens = rollup_agents.input_tokens + excluded.input_tokens, \
        output_tokens = rollup_agents.output_tokens + excluded.output_tokens, \
        usd = rollup_agents.usd + excluded.usd, nanos = rollup_agents.nanos + excluded.nanos";
    MOVE = "UPDATE rollup_head SET hours_until = $1, days_until = $2, months_until = $3 WHERE id = 1";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("NEXT_CELL", &*NEXT_CELL),
        ("CELLS", &*CELLS),
        ("PUT", &*PUT),
        ("OVERALL_SO_FAR", &*OVERALL_SO_FAR),
        ("AGENTS_SO_FAR", &*AGENTS_SO_FAR),
    ]
}

fn fold_from(row: &crate::db::Row) -> Result<Fold, StoreError> {
    let folded = Folded { hours: row.time(2)?, days: row.time(3)?, months: row.time(4)? };
    Ok(Fold { folded, sketched: row.int(1)?, last_fact: row.int(0)?, facts_from: row.time(5)? })
}

fn no_head() -> StoreError {
    StoreError::Corrupt("the roll-ups have no head".to_owned())
}

impl Store {
    /// How far roll-ups and sketches are. To be asked before either: both only get more complete.
    pub async fn fold(&self) -> Result<Fold, StoreError> {
        fold_from(&self.db.row(&LAST, args![]).await?.ok_or_else(no_head)?)
    }

    /// Folds the next hour, day or month that is over, if there is one. To be called until it is [`Folding::Done`], and
    /// again after some minutes.
    pub async fn fold_rollups(&self, now: Timestamp) -> Result<Folding, StoreError> {
        let open = now.plus_millis(-LATE_MS);
        // Without the lock first: mostly there is nothing to do
        let known = self.fold().await?.folded;
        if next_of(&known, open).is_none() {
            return Ok(Folding::Done);
        }
        let mut work = self.begin_aside(now).await?;
        work.tx.row(&LOCK, args![]).await?.ok_or_else(no_head)?;
        let mut folded = fold_from(&work.tx.row(&LAST, args![]).await?.ok_or_else(no_head)?)?.folded;
        let Some((level, from, until)) = next_of(&folded, open) else { return Ok(Folding::Done) };
        let finer = Level::ALL[level as usize - 1];
        let first = work.tx.row(&NEXT_CELL, args![finer.number(), from]).await?;
        let first = first.map(|row| row.time(0)).transpose()?;
        let reached = match first.map(|first| level.floor(first)).filter(|start| *start < until) {
            None => until,
            Some(start) => {
                let end = level.end(start);
                let mut rows = Rows::new();
                for row in work.tx.rows(&CELLS, args![finer.number(), start, end]).await? {
                    rows.row().int(level.number()).int(start.millis()).int(row.int(0)?);
                    rows.int(row.int(1)?).int(row.int(2)?).int(row.int(3)?);
                    let cost: Money = saturated(exact(&row, 4)?);
                    rows.int(cost.nanos()).int(row.int(6)?).int(row.int(7)?);
                }
                if !rows.is_empty() {
                    work.tx.run(&PUT, args![rows.finish()]).await?;
                    make_sums(&mut work.tx, level, (start, end)).await?;
                    if let Some((number, begins)) = so_far(level, start) {
                        for sums in [&OVERALL_SO_FAR, &AGENTS_SO_FAR] {
                            work.tx.run(sums, args![number, begins, level.number(), start]).await?;
                        }
                    }
                }
                end
            }
        };
        match level {
            Level::Hour => folded.hours = reached,
            Level::Day => folded.days = reached,
            Level::Month | Level::Quarter => folded.months = reached,
        }
        work.tx.run(&MOVE, args![folded.hours, folded.days, folded.months]).await?;
        work.tx.commit().await?;
        Ok(Folding::More)
    }
}

/// The first level that has something to be folded: from where, and until when it may be.
fn next_of(folded: &Folded, open: Timestamp) -> Option<(Level, Timestamp, Timestamp)> {
    [Level::Hour, Level::Day, Level::Month].into_iter().find_map(|level| {
        let finer = Level::ALL[level as usize - 1];
        let until = level.floor(open.min(folded.until(finer)));
        (folded.until(level) < until).then(|| (level, folded.until(level), until))
    })
}
