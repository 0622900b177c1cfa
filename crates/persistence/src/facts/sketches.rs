//! The sketches of cost and latency beside the roll-ups.

use std::collections::BTreeMap;

use analytics::{Level, Sketch};
use kernel::Timestamp;

use super::calls::Image;
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{StoreError, Work};

/// The levels that have sketches. A quarter of an hour has none: a question reads the facts of less than an hour at its
/// ends.
pub(super) const LEVELS: [Level; 3] = [Level::Hour, Level::Day, Level::Month];

/// A fact that is in the sketches, as it was and as it is.
pub(super) struct Remeasured<'a> {
    pub(super) before: Option<&'a Image>,
    pub(super) after: Option<&'a Image>,
}

/// What is added to sketches, or taken out.
#[derive(Debug, Default)]
pub(super) struct SketchDeltas(BTreeMap<(Level, Timestamp, i64), (Sketch, Sketch)>);

impl SketchDeltas {
    pub(super) fn add(&mut self, series: i64, at: Timestamp, cost: i64, latency: Option<i64>, times: i64) {
        for level in LEVELS {
            let (costs, latencies) = self.0.entry((level, level.floor(at), series)).or_default();
            costs.add(cost, times);
            if let Some(latency) = latency {
                latencies.add(latency, times);
            }
        }
    }
}

statements! {
    SKETCHES = "SELECT k.level, k.bucket_start, k.series_no, k.cost, k.latency FROM rollup_sketches AS k \
        WHERE (k.level, k.bucket_start, k.series_no) IN (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
    PUT = "INSERT INTO rollup_sketches (level, bucket_start, series_no, cost, latency) \
        SELECT {int 0}, {int 1}, {int 2}, {blob 3}, {blob 4} FROM {rows} WHERE true \
        ON CONFLICT (level, bucket_start, series_no) DO UPDATE SET cost = excluded.cost, latency = excluded.latency";
    DROP = "DELETE FROM rollup_sketches WHERE (level, bucket_start, series_no) IN \
        (SELECT {int 0}, {int 1}, {int 2} FROM {rows})";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("SKETCHES", &*SKETCHES), ("PUT", &*PUT), ("DROP", &*DROP)]
}

/// Reads a sketch of the database.
pub(super) fn sketch(bytes: &[u8]) -> Result<Sketch, StoreError> {
    Sketch::from_bytes(bytes).map_err(|_| StoreError::Corrupt("a sketch is unreadable".to_owned()))
}

impl Work {
    /// Facts that are in the sketches already have changed.
    pub(super) async fn remeasure(&mut self, facts: &[Remeasured<'_>]) -> Result<(), StoreError> {
        let mut deltas = SketchDeltas::default();
        for Remeasured { before, after } in facts {
            let figures =
                |image: &Image| (image.series_no, Level::Hour.floor(image.occurred_at), image.cost, image.latency);
            if before.map(figures) != after.map(figures) {
                for (image, times) in [(before, -1), (after, 1)] {
                    if let Some(image) = image {
                        deltas.add(image.series_no, image.occurred_at, image.cost, image.latency, times);
                    }
                }
            }
        }
        self.write_sketches(deltas).await
    }

    /// Adds to the stored sketches.
    pub(super) async fn write_sketches(&mut self, deltas: SketchDeltas) -> Result<(), StoreError> {
        let mut sketches = deltas.0;
        if sketches.is_empty() {
            return Ok(());
        }
        let mut keys = Rows::new();
        for (level, start, series) in sketches.keys() {
            keys.row().int(level.number()).int(start.millis()).int(*series);
        }
        for row in self.tx.rows(&SKETCHES, args![keys.finish()]).await? {
            let level = Level::ALL.into_iter().find(|level| Ok(level.number()) == row.int(0).map_err(|_| ()));
            let level = level.ok_or_else(|| StoreError::Corrupt("a sketch has no level".to_owned()))?;
            if let Some((costs, latencies)) = sketches.get_mut(&(level, row.time(1)?, row.int(2)?)) {
                costs.merge(&sketch(&row.blob(3)?)?);
                latencies.merge(&sketch(&row.blob(4)?)?);
            }
        }
        let (mut put, mut gone) = (Rows::new(), Rows::new());
        for ((level, start, series), (costs, latencies)) in &sketches {
            let rows = if costs.is_empty() { &mut gone } else { &mut put };
            rows.row().int(level.number()).int(start.millis()).int(*series);
            if !costs.is_empty() {
                rows.blob(&costs.to_bytes()).blob(&latencies.to_bytes());
            }
        }
        for (sql, rows) in [(&PUT, put), (&DROP, gone)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        Ok(())
    }
}
