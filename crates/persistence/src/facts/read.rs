//! Sums over the facts of a scope, for quotas and figures.

use std::sync::Arc;

use analytics::{Folded, Level, Piece, QUARTER_MS, Sign, additive_pieces};
use kernel::{Money, Timestamp};
use ledger::Scope;

use super::slot;
use crate::balance::{exact, exact_sum, saturated};
use crate::db::{Row, Value, args, statements};
use crate::filter::Filter;
use crate::rows::Rows;
use crate::{Store, StoreError};

/// What the facts of a scope add up to in a range of time. Both outcomes of requests count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeSums {
    /// How many.
    pub requests: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// What they cost.
    pub cost: Money,
}

statements! {
    FOLDED = "SELECT hours_until, days_until, months_until FROM rollup_head WHERE id = 1";
    CELLS = "SELECT CAST(COALESCE(SUM(r.requests), 0) AS BIGINT), CAST(COALESCE(SUM(r.input_tokens), 0) AS BIGINT), \
        CAST(COALESCE(SUM(r.output_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(r.cost / 1000000000), 0) AS BIGINT), \
        CAST(COALESCE(SUM(r.cost % 1000000000), 0) AS BIGINT) FROM {rows} CROSS JOIN rollups AS r \
        WHERE r.level = {int 0} AND r.bucket_start = {int 1} AND r.series_no = {int 2}";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("FOLDED", &*FOLDED), ("CELLS", &*CELLS)]
}

/// The cells of a level that begin in `from..to`.
type Stretch = (Level, Timestamp, Timestamp);

/// Up to so many cells are looked up one by one; of more, all of the range are read.
const MANY_CELLS: usize = 2_048;

impl Store {
    /// How far the coarser levels of the roll-ups are complete. To be asked before the roll-ups: they only get more
    /// complete, and the finer levels stay.
    pub async fn folded(&self) -> Result<Folded, StoreError> {
        let row = self.db.row(&FOLDED, args![]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the roll-ups have no head".to_owned()))?;
        Ok(Folded { hours: row.time(0)?, days: row.time(1)?, months: row.time(2)? })
    }

    /// What the facts of the scope in `from..to` add up to; facts belong to the owner and project they had then. For a
    /// range that reaches to the present, say [`Timestamp::MAX`]: what a client's clock dates a few minutes ahead has
    /// happened, and the quarter of an hour that is running need not be read fact by fact.
    ///
    /// Costs some row look-ups for each series of the scope (for the whole organization, a read of the range's roll-ups):
    /// whoever asks for each request keeps the answer for a second.
    pub async fn scope_sums(&self, scope: &Scope, from: Timestamp, to: Timestamp) -> Result<ScopeSums, StoreError> {
        // Of so short a time, the facts of the scope are fewer than all its cells
        let short = to.since(from) < QUARTER_MS || from >= to;
        let pieces = if short {
            vec![Piece::Facts { from, to, sign: Sign::Plus }]
        } else {
            additive_pieces(from, to, &self.folded().await?)
        };
        let mut total = Total::default();
        let mut stretches = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Cells { level, from, to } => stretches.push((level, from, to)),
                Piece::Facts { from, to, .. } => {
                    let (sql, args) = facts_question(scope, from, to);
                    self.db.rows_of(sql, args).await?.iter().try_for_each(|row| total.add(row))?;
                }
            }
        }
        if !stretches.is_empty() {
            self.add_cells(scope, &stretches, &mut total).await?;
        }
        Ok(total.sums())
    }

    /// Tokens in and out of the scope's facts in `from..to`; for the cost of asking see [`Store::scope_sums`].
    pub async fn tokens_between(&self, scope: &Scope, from: Timestamp, to: Timestamp) -> Result<i64, StoreError> {
        self.scope_sums(scope, from, to).await.map(|sums| sums.input_tokens.saturating_add(sums.output_tokens))
    }

    /// How many facts the scope has in `from..to`, failed requests included. The last minute of a scope costs what the
    /// scope itself did in it.
    pub async fn requests_between(&self, scope: &Scope, from: Timestamp, to: Timestamp) -> Result<i64, StoreError> {
        self.scope_sums(scope, from, to).await.map(|sums| sums.requests)
    }

    async fn add_cells(&self, scope: &Scope, stretches: &[Stretch], total: &mut Total) -> Result<(), StoreError> {
        if let Some(cells) = self.named_cells(scope, stretches).await? {
            return self.db.rows(&CELLS, args![cells]).await?.iter().try_for_each(|row| total.add(row));
        }
        for stretch in stretches {
            let (sql, args) = cells_question(scope, stretch);
            self.db.rows_of(sql, args).await?.iter().try_for_each(|row| total.add(row))?;
        }
        Ok(())
    }

    /// Every cell there may be, unless they are many.
    async fn named_cells(&self, scope: &Scope, stretches: &[Stretch]) -> Result<Option<Value>, StoreError> {
        if *scope == Scope::Organization {
            return Ok(None);
        }
        let mut buckets = Vec::new();
        for (level, from, to) in stretches {
            let mut at = *from;
            while at < *to {
                if buckets.len() == MANY_CELLS {
                    return Ok(None);
                }
                buckets.push((level, at));
                at = level.end(at);
            }
        }
        let (sql, args) = series_question(scope, MANY_CELLS);
        let series = self.db.rows_of(sql, args).await?;
        if series.len() * buckets.len() > MANY_CELLS {
            return Ok(None);
        }
        let mut rows = Rows::new();
        for row in &series {
            let no = row.int(0)?;
            for (level, start) in &buckets {
                rows.row().int(level.number()).int(start.millis()).int(no);
            }
        }
        Ok(Some(rows.finish()))
    }
}

#[derive(Default)]
struct Total {
    counts: [i64; 3],
    cost: i128,
}

impl Total {
    fn add(&mut self, row: &Row) -> Result<(), StoreError> {
        for (index, count) in self.counts.iter_mut().enumerate() {
            *count = count.saturating_add(row.int(index)?);
        }
        self.cost += exact(row, 3)?;
        Ok(())
    }

    fn sums(&self) -> ScopeSums {
        let [requests, input_tokens, output_tokens] = self.counts;
        ScopeSums { requests, input_tokens, output_tokens, cost: saturated(self.cost) }
    }
}

/// Narrows to the series of the scope.
pub(crate) fn series_in(filter: &mut Filter, scope: &Scope) {
    match scope {
        Scope::Organization => {}
        Scope::Project(project) => {
            filter.and("s.project_id = ?", [project.as_str().into()]);
        }
        Scope::Owner(owner) => {
            filter.and("s.owner_id = ?", [owner.as_str().into()]);
        }
        Scope::OwnerProject(owner, project) => {
            filter.and("s.owner_id = ? AND s.project_id = ?", [owner.as_str().into(), project.as_str().into()]);
        }
        Scope::Agent(agent) => {
            filter.and("s.agent_id = ?", [agent.0.into()]);
        }
    }
}

/// The numbers of the series of the scope.
pub(crate) fn series_question(scope: &Scope, limit: usize) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    series_in(&mut filter, scope);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    filter.statement("SELECT s.no FROM series AS s", " LIMIT ?", [limit.into()])
}

fn sums_of(requests: &str, row: &str) -> String {
    let sum = |what: &str| format!("CAST(COALESCE(SUM({row}.{what}), 0) AS BIGINT)");
    let cost = exact_sum(&format!("{row}.cost"));
    format!("{requests}, {}, {}, {cost}", sum("input_tokens"), sum("output_tokens"))
}

/// The sums over all cells of a stretch that belong to the scope.
pub(crate) fn cells_question(scope: &Scope, (level, from, to): &Stretch) -> (Arc<str>, Vec<Value>) {
    let sums = sums_of("CAST(COALESCE(SUM(r.requests), 0) AS BIGINT)", "r");
    let mut filter = Filter::default();
    filter.and(
        "r.level = ? AND r.bucket_start >= ? AND r.bucket_start < ?",
        [level.number().into(), (*from).into(), (*to).into()],
    );
    let series = if *scope == Scope::Organization { "" } else { " CROSS JOIN series AS s" };
    if *scope != Scope::Organization {
        filter.and("s.no = r.series_no", []);
        series_in(&mut filter, scope);
    }
    filter.statement(&format!("SELECT {sums} FROM rollups AS r{series}"), "", [])
}

/// The sums over the facts of the scope in a short stretch of time.
pub(crate) fn facts_question(scope: &Scope, from: Timestamp, to: Timestamp) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and("f.occurred_at >= ? AND f.occurred_at < ?", [from.into(), to.into()]);
    let tables = if *scope == Scope::Organization {
        let slots = [from, to].map(|at| slot(at).into());
        filter.and("f.occurred_at / 10000 >= ? AND f.occurred_at / 10000 <= ?", slots);
        "facts AS f"
    } else {
        filter.and("f.series_no = s.no", []);
        series_in(&mut filter, scope);
        "series AS s CROSS JOIN facts AS f"
    };
    filter.statement(&format!("SELECT {} FROM {tables}", sums_of("COUNT(*)", "f")), "", [])
}
