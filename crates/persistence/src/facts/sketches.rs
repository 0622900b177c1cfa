//! The sketches of cost and latency beside the roll-ups, and how facts come into them.
//!
//! A sketch is read, changed and written as a whole, and every fact is in three of them: with the batch that brings the
//! facts that would cost more than all else. So a task of its own takes many facts over at once, some seconds after they
//! came, when the event and the report of a call have mostly met. It holds nobody up:
//!
//! 1. It *announces* up to which fact it will go (`rollup_head.sketching_fact`). Every batch shares that row's lock, so
//!    behind the announcement all those facts are there, and whoever changes one of them from now on notes what it was and
//!    what it is (`sketch_changes`).
//! 2. It reads facts, changes and stored sketches in one snapshot ([`Store::next_sketches`]). Changes of facts that were
//!    taken over before are taken over; those of facts that were not are part of the fact as it is read.
//! 3. It writes the sketches, removes the changes it has seen, and moves `sketch_head` on ([`Store::put_sketches`]),
//!    unless somebody else has done something to sketches since the snapshot.
//!
//! A question counts what the sketches do not have yet beside them: the facts after [`Fold::sketched`](super::Fold), and
//! the changes of those before.

use std::collections::BTreeMap;

use analytics::{Level, Sketch};
use kernel::Timestamp;

use super::calls::Image;
use super::fold::Folding;
use crate::db::{Row, Tx, args, statements};
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// The levels that have sketches. A quarter of an hour has none: a question reads the facts of less than an hour at its
/// ends.
pub(super) const LEVELS: [Level; 3] = [Level::Hour, Level::Day, Level::Month];

/// What is added to sketches, or taken out.
#[derive(Debug, Default)]
pub(super) struct SketchDeltas(BTreeMap<(Level, Timestamp, i64), (Sketch, Sketch)>);

impl SketchDeltas {
    /// Adds to the sketches of hours.
    pub(super) fn add(&mut self, series: i64, at: Timestamp, cost: i64, latency: Option<i64>, times: i64) {
        let (costs, latencies) = self.0.entry((Level::Hour, Level::Hour.floor(at), series)).or_default();
        costs.add(cost, times);
        if let Some(latency) = latency {
            latencies.add(latency, times);
        }
    }

    /// Adds what was added to hours to days and months: once for each sketch, not for each fact.
    pub(super) fn sum_up(&mut self) {
        let mut sums: BTreeMap<(Level, Timestamp, i64), (Sketch, Sketch)> = BTreeMap::new();
        for ((_, start, series), (costs, latencies)) in &self.0 {
            for level in LEVELS.into_iter().filter(|level| *level != Level::Hour) {
                let sum = sums.entry((level, level.floor(*start), *series)).or_default();
                sum.0.merge(costs);
                sum.1.merge(latencies);
            }
        }
        self.0.append(&mut sums);
    }
}

/// So many facts are taken over in one step: the more, the less often a sketch is written.
const STEP: usize = 400_000;
/// So many facts are read at once.
const READ: usize = 20_000;
/// So many changes of facts are taken over in one step.
const CHANGED: usize = 50_000;

statements! {
    SEEN = "SELECT k.fact, k.step, r.sketching_fact FROM sketch_head AS k CROSS JOIN rollup_head AS r \
        WHERE k.id = 1 AND r.id = 1";
    ANNOUNCE = "UPDATE rollup_head SET sketching_fact = $1 WHERE id = 1 AND sketching_fact < $1";
    FACTS = "SELECT f.id, f.series_no, f.occurred_at, f.cost, f.latency_ms FROM facts AS f \
        WHERE f.id > $1 AND f.id <= $2 ORDER BY f.id LIMIT $3";
    CHANGES = "SELECT c.id, c.fact_id, c.series_no, c.occurred_at, c.cost, c.latency_ms, c.times \
        FROM sketch_changes AS c ORDER BY c.id LIMIT $1";
    SKETCHES = "SELECT k.level, k.bucket_start, k.series_no, k.cost, k.latency FROM rollup_sketches AS k \
        WHERE (k.level, k.bucket_start, k.series_no) IN (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
    /// Says so of nobody's rows if it is not the next step any more.
    ADVANCE = "UPDATE sketch_head SET fact = $1, step = step + 1 WHERE id = 1 AND step = $2";
    PUT = "INSERT INTO rollup_sketches (level, bucket_start, series_no, cost, latency) \
        SELECT {int 0}, {int 1}, {int 2}, {blob 3}, {blob 4} FROM {rows} WHERE true \
        ON CONFLICT (level, bucket_start, series_no) DO UPDATE SET cost = excluded.cost, latency = excluded.latency";
    DROP = "DELETE FROM rollup_sketches WHERE (level, bucket_start, series_no) IN \
        (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
    TAKEN = "DELETE FROM sketch_changes WHERE id IN (SELECT {int 0} FROM {rows})";
    NOTE = "INSERT INTO sketch_changes (fact_id, series_no, occurred_at, cost, latency_ms, times) \
        SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5} FROM {rows}";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("FACTS", &*FACTS),
        ("CHANGES", &*CHANGES),
        ("SKETCHES", &*SKETCHES),
        ("PUT", &*PUT),
        ("DROP", &*DROP),
        ("TAKEN", &*TAKEN),
        ("NOTE", &*NOTE),
    ]
}

/// Reads a sketch of the database.
pub(super) fn sketch(bytes: &[u8]) -> Result<Sketch, StoreError> {
    Sketch::from_bytes(bytes).map_err(|_| StoreError::Corrupt("a sketch is unreadable".to_owned()))
}

/// Sketches as they are to be, after some more facts.
#[derive(Debug)]
pub struct SketchStep {
    /// What they were made of.
    step: i64,
    /// They have every fact up to this one.
    reached: i64,
    sketches: SketchDeltas,
    /// The changes that are in them.
    taken: Rows,
    more: bool,
}

impl Store {
    /// Takes facts up to the number `until` into the sketches, some of them if they are many, and what changed of those in
    /// them. To be called until it is [`Folding::Done`], every few seconds, with the [`Fold::last_fact`](super::Fold) of the
    /// time before.
    pub async fn fold_sketches(&self, now: Timestamp, until: i64) -> Result<Folding, StoreError> {
        match self.next_sketches(now, until).await? {
            Some(step) => self.put_sketches(now, step).await,
            None => Ok(Folding::Done),
        }
    }

    /// The first half of [`Store::fold_sketches`], which reads; `None` if there is nothing to do.
    pub async fn next_sketches(&self, now: Timestamp, until: i64) -> Result<Option<SketchStep>, StoreError> {
        let until = until.min(self.fold().await?.last_fact);
        let seen = self.db.row(&SEEN, args![]).await?.ok_or_else(no_head)?;
        if seen.int(2)? < until {
            let mut work = self.begin_aside(now).await?;
            work.tx.run(&ANNOUNCE, args![until]).await?;
            work.tx.commit().await?;
        }
        let mut tx = self.db.begin_read().await?;
        let seen = tx.row(&SEEN, args![]).await?.ok_or_else(no_head)?;
        let (fact, step, announced) = (seen.int(0)?, seen.int(1)?, seen.int(2)?);
        let mut deltas = SketchDeltas::default();
        let mut taken = Rows::new();
        for row in tx.rows(&CHANGES, args![CHANGED as i64]).await? {
            taken.row().int(row.int(0)?);
            if row.int(1)? <= fact {
                deltas.add(row.int(2)?, row.time(3)?, row.int(4)?, row.opt_int(5)?, row.int(6)?);
            }
        }
        let (mut reached, mut count) = (fact, 0);
        // A change of a fact that is read here must be among those that are taken with it
        let all_changes = taken.len() < CHANGED;
        while all_changes && reached < announced && count < STEP {
            let rows = tx.rows(&FACTS, args![reached, announced, READ as i64]).await?;
            count += rows.len();
            for row in &rows {
                reached = row.int(0)?;
                deltas.add(row.int(1)?, row.time(2)?, row.int(3)?, row.opt_int(4)?, 1);
            }
            if rows.len() < READ {
                // Numbers that were given back, or whose facts went to others, have nothing
                reached = announced;
            }
        }
        let more = !all_changes || reached < announced;
        if reached == fact && taken.is_empty() {
            return Ok(None);
        }
        deltas.sum_up();
        deltas.join_stored(&mut tx).await?;
        Ok(Some(SketchStep { step, reached, sketches: deltas, taken, more }))
    }

    /// The second half of [`Store::fold_sketches`], which writes; nothing if it is too late for this step, because another
    /// server did it or the sketches were made anew.
    pub async fn put_sketches(&self, now: Timestamp, step: SketchStep) -> Result<Folding, StoreError> {
        let SketchStep { step, reached, sketches, taken, more } = step;
        let mut work = self.begin_aside(now).await?;
        if work.tx.run(&ADVANCE, args![reached, step]).await? == 0 {
            return Ok(Folding::Done);
        }
        let [put, gone] = sketches.rows();
        for (sql, rows) in [(&PUT, put), (&DROP, gone), (&TAKEN, taken)] {
            if !rows.is_empty() {
                work.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        work.tx.commit().await?;
        Ok(if more { Folding::More } else { Folding::Done })
    }
}

fn no_head() -> StoreError {
    StoreError::Corrupt("the sketches have no head".to_owned())
}

impl SketchDeltas {
    /// Adds what is stored.
    async fn join_stored(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let mut keys = Rows::new();
        for (level, start, series) in self.0.keys() {
            keys.row().int(level.number()).int(start.millis()).int(*series);
        }
        if keys.is_empty() {
            return Ok(());
        }
        for row in tx.rows(&SKETCHES, args![keys.finish()]).await? {
            if let Some((costs, latencies)) = self.0.get_mut(&key_of(&row)?) {
                costs.merge(&sketch(&row.blob(3)?)?);
                latencies.merge(&sketch(&row.blob(4)?)?);
            }
        }
        Ok(())
    }

    /// As they are to be stored, and those that are to go.
    fn rows(self) -> [Rows; 2] {
        let (mut put, mut gone) = (Rows::new(), Rows::new());
        for ((level, start, series), (costs, latencies)) in self.0 {
            let rows = if costs.is_empty() { &mut gone } else { &mut put };
            rows.row().int(level.number()).int(start.millis()).int(series);
            if !costs.is_empty() {
                rows.blob(&costs.to_bytes()).blob(&latencies.to_bytes());
            }
        }
        [put, gone]
    }
}

fn key_of(row: &Row) -> Result<(Level, Timestamp, i64), StoreError> {
    let number = row.int(0)?;
    let level = LEVELS.into_iter().find(|level| level.number() == number);
    let level = level.ok_or_else(|| StoreError::Corrupt("a sketch has no level".to_owned()))?;
    Ok((level, row.time(1)?, row.int(2)?))
}

/// Facts that may be in the sketches have changed: as they were, and as they are.
#[derive(Debug, Default)]
pub(super) struct Noted(Rows);

impl Noted {
    pub(super) fn change(&mut self, before: &Image, after: Option<&Image>) {
        let figures =
            |image: &Image| (image.series_no, Level::Hour.floor(image.occurred_at), image.cost, image.latency);
        if after.map(figures) == Some(figures(before)) {
            return;
        }
        for (image, times) in [(Some(before), -1), (after, 1)] {
            if let Some(image) = image {
                self.0.row().int(before.id).int(image.series_no).int(image.occurred_at.millis()).int(image.cost);
                self.0.opt_int(image.latency).int(times);
            }
        }
    }
}

impl Work {
    /// Notes what changed, for the sketches.
    pub(super) async fn note(&mut self, noted: Noted) -> Result<(), StoreError> {
        if noted.0.is_empty() {
            return Ok(());
        }
        self.tx.run(&NOTE, args![noted.0.finish()]).await.map(drop)
    }
}
