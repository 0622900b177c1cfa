//! Sums over several series: what a batch adds to them. Who writes cells writes these with them.
//!
//! Those of an agent belong to whoever holds the lock of its book. Those over all agents are everybody's: they are written
//! last, behind the lock of the heads, so that no two batches wait for each other's and none waits for long.

use std::collections::BTreeMap;
use std::sync::Arc;

use analytics::{CallStatus, Level};
use kernel::{AgentId, Timestamp};

use super::cells::{Cells, Delta};
use super::series::{SeriesKey, key_from_row};
use super::{STRETCHES, so_far};
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{StoreError, Work};

/// What is added to sums over several cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    counts: [i64; 3],
    cost: i128,
}

impl Sum {
    fn add(&mut self, delta: &Delta) {
        let counts = [delta.requests, delta.input, delta.output];
        self.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        self.cost += delta.cost;
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// In dollars and what is left, which is never negative.
    fn cells(&self, rows: &mut Rows) {
        const DOLLAR: i128 = 1_000_000_000;
        let [usd, nanos] = [self.cost.div_euclid(DOLLAR), self.cost.rem_euclid(DOLLAR)];
        for figure in self.counts.into_iter().chain([usd, nanos].map(|part| i64::try_from(part).unwrap_or(0))) {
            rows.int(figure);
        }
    }
}

/// What a unit of work adds to the sums over all agents, by level, time, provider, model and outcome.
pub(crate) type OverallSums = BTreeMap<(i64, Timestamp, Arc<str>, Arc<str>, CallStatus), Sum>;

/// What it adds to those that tell owners apart.
pub(crate) type OwnerSums = BTreeMap<(i64, Timestamp, Names), Sum>;

/// What a series has beside its agent, in the order of the table's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Names {
    owner: Arc<str>,
    project: Arc<str>,
    provider_key: i64,
    provider: Arc<str>,
    model: Arc<str>,
    status: CallStatus,
}

impl Names {
    fn of(key: &SeriesKey) -> Self {
        Self {
            owner: Arc::clone(&key.owner),
            project: Arc::clone(&key.project),
            provider_key: key.key,
            provider: Arc::clone(&key.provider),
            model: Arc::clone(&key.model),
            status: key.status,
        }
    }
}

statements! {
    NAMES = "SELECT s.no, s.agent_id, s.owner_id, s.project_id, s.provider, s.provider_key_id, s.model, s.status \
        FROM series AS s WHERE s.no IN (SELECT {int 0} FROM {rows})";
    /// Over all agents.
    ADD_OVERALL = "INSERT INTO rollup_overall (level, bucket_start, provider, model, status, requests, input_tokens, \
        output_tokens, usd, nanos) SELECT {int 0}, {int 1}, {text 2}, {text 3}, {text 4}, {int 5}, {int 6}, {int 7}, \
        {int 8}, {int 9} FROM {rows} WHERE true ON CONFLICT (level, bucket_start, provider, model, status) DO UPDATE SET \
        requests = rollup_overall.requests + excluded.requests, \
        input_tokens = rollup_overall.input_tokens + excluded.input_tokens, \
        output_tokens = rollup_overall.output_tokens + excluded.output_tokens, \
        usd = rollup_overall.usd + excluded.usd, nanos = rollup_overall.nanos + excluded.nanos";
    /// Of each agent.
    ADD_AGENTS = "INSERT INTO rollup_agents (level, bucket_start, agent_id, status, requests, input_tokens, \
        output_tokens, usd, nanos) SELECT {int 0}, {int 1}, {int 2}, {text 3}, {int 4}, {int 5}, {int 6}, {int 7}, {int 8} \
        FROM {rows} WHERE true ON CONFLICT (level, bucket_start, agent_id, status) DO UPDATE SET \
        requests = rollup_agents.requests + excluded.requests, \
        input_tokens = rollup_agents.input_tokens + excluded.input_tokens, \
        output_tokens = rollup_agents.output_tokens + excluded.output_tokens, \
        usd = rollup_agents.usd + excluded.usd, nanos = rollup_agents.nanos + excluded.nanos";
    /// Over all agents, by owner, project and key too.
    ADD_OWNERS = "INSERT INTO rollup_owners (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, \
        status, requests, input_tokens, output_tokens, usd, nanos) SELECT {int 0}, {int 1}, {text 2}, {text 3}, {int 4}, \
        {text 5}, {text 6}, {text 7}, {int 8}, {int 9}, {int 10}, {int 11}, {int 12} FROM {rows} WHERE true \
        ON CONFLICT (level, bucket_start, owner_id, project_id, provider_key_id, provider, model, status) DO UPDATE SET \
        requests = rollup_owners.requests + excluded.requests, \
        input_tokens = rollup_owners.input_tokens + excluded.input_tokens, \
        output_tokens = rollup_owners.output_tokens + excluded.output_tokens, \
        usd = rollup_owners.usd + excluded.usd, nanos = rollup_owners.nanos + excluded.nanos";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("NAMES", &*NAMES), ("ADD_OVERALL", &*ADD_OVERALL), ("ADD_AGENTS", &*ADD_AGENTS), ("ADD_OWNERS", &*ADD_OWNERS)]
}

impl Work {
    /// Writes the sums of each agent, and keeps those over all agents for the end of the work.
    pub(super) async fn write_sums(&mut self, cells: &Cells) -> Result<(), StoreError> {
        let names = self.names_of_series(cells).await?;
        let mut agents: BTreeMap<(i64, Timestamp, AgentId, CallStatus), Sum> = BTreeMap::new();
        for ((level, start, series), delta) in &cells.deltas {
            let key = cells.series.get(series).and_then(Option::as_ref).or_else(|| names.get(series));
            let key = key.ok_or_else(|| StoreError::Corrupt(format!("there is no series {series}")))?;
            // Live traffic, which is in quarters of hours that are not folded, has nothing to do with these
            let hour = (Level::Hour, Level::Hour.floor(*start), *series);
            if *level > Level::Quarter || cells.deltas.contains_key(&hour) {
                let whole = (level.number(), *start);
                let parts = STRETCHES.iter().filter(|stretch| stretch.of == *level);
                let parts = parts.map(|stretch| (stretch.number, stretch.floor(*start)));
                for (level, start) in [whole].into_iter().chain(parts) {
                    self.owners.entry((level, start, Names::of(key))).or_default().add(delta);
                }
            }
            for (level, start) in [(level.number(), *start)].into_iter().chain(so_far(*level, *start)) {
                let overall = (level, start, Arc::clone(&key.provider), Arc::clone(&key.model), key.status);
                self.overall.entry(overall).or_default().add(delta);
                agents.entry((level, start, key.agent, key.status)).or_default().add(delta);
            }
        }
        let mut rows = Rows::new();
        for ((level, start, agent, status), sum) in agents.into_iter().filter(|(_, sum)| !sum.is_nothing()) {
            sum.cells(rows.row().int(level).int(start.millis()).int(agent.0).text(status.as_str()));
        }
        if rows.is_empty() { Ok(()) } else { self.tx.run(&ADD_AGENTS, args![rows.finish()]).await.map(drop) }
    }

    /// Writes what was kept of the sums over all agents, table after table and each in the order of its key: where nothing
    /// is appended, nobody holds the heads meanwhile.
    pub(crate) async fn write_overall(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for ((level, start, provider, model, status), sum) in std::mem::take(&mut self.overall) {
            if !sum.is_nothing() {
                let row = rows.row().int(level).int(start.millis());
                sum.cells(row.text(&provider).text(&model).text(status.as_str()));
            }
        }
        if !rows.is_empty() {
            self.tx.run(&ADD_OVERALL, args![rows.finish()]).await?;
        }
        let mut rows = Rows::new();
        for ((level, start, names), sum) in std::mem::take(&mut self.owners) {
            if !sum.is_nothing() {
                let row = rows.row().int(level).int(start.millis()).text(&names.owner).text(&names.project);
                let row = row.int(names.provider_key).text(&names.provider).text(&names.model);
                sum.cells(row.text(names.status.as_str()));
            }
        }
        if rows.is_empty() { Ok(()) } else { self.tx.run(&ADD_OWNERS, args![rows.finish()]).await.map(drop) }
    }

    /// The names that series have which their facts were not told of under.
    async fn names_of_series(&mut self, cells: &Cells) -> Result<BTreeMap<i64, SeriesKey>, StoreError> {
        let mut unnamed = Rows::new();
        for (no, _) in cells.series.iter().filter(|(_, key)| key.is_none()) {
            unnamed.row().int(*no);
        }
        if unnamed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = self.tx.rows(&NAMES, args![unnamed.finish()]).await?;
        rows.iter().map(|row| Ok((row.int(0)?, key_from_row(row, 1)?))).collect()
    }
}
