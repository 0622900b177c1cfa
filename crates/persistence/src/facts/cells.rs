//! What facts add to the cells of the roll-ups, added up in memory first: a batch touches few cells.

use std::collections::BTreeMap;

use analytics::{Folded, Level};
use kernel::{Money, Timestamp};

use super::calls::Image;
use super::series::SeriesKey;
use crate::db::{args, statements};
use crate::rows::Rows;
use crate::{StoreError, Work};

/// What is added to one cell, or taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) requests: i64,
    pub(super) input: i64,
    pub(super) output: i64,
    pub(super) cost: i128,
    /// The least and most of the costs that came.
    came: (i64, i64),
    /// The least and most of the costs that went: where a cell's extremes are among them, they are looked for anew.
    went: (i64, i64),
}

impl Default for Delta {
    fn default() -> Self {
        let nothing = (i64::MAX, -1);
        Self { requests: 0, input: 0, output: 0, cost: 0, came: nothing, went: nothing }
    }
}

impl Delta {
    fn fact(&mut self, sign: i64, input: i64, output: i64, cost: i64) {
        self.requests += sign;
        self.input += sign * input;
        self.output += sign * output;
        self.cost += i128::from(sign) * i128::from(cost);
        let extremes = if sign > 0 { &mut self.came } else { &mut self.went };
        *extremes = (extremes.0.min(cost), extremes.1.max(cost));
    }

    const fn takes_away(&self) -> bool {
        self.went.1 >= 0
    }
}

/// What a batch does to the roll-ups. Ordered, so that all who write do it in one order.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) deltas: BTreeMap<(Level, Timestamp, i64), Delta>,
    /// The series in them; `None` where a fact was told of under names that the series does not have.
    pub(super) series: BTreeMap<i64, Option<SeriesKey>>,
}

impl Cells {
    /// A fact was one thing and is another.
    pub(super) fn change(&mut self, before: Option<&Image>, after: Option<&Image>, folded: &Folded) {
        if let (Some(old), Some(new)) = (before, after)
            && old.series_no == new.series_no
            && Level::Quarter.floor(old.occurred_at) == Level::Quarter.floor(new.occurred_at)
            && old.cost == new.cost
        {
            // The usual meeting of an event and a report: the cell's extremes cannot change
            self.each(new, folded, |delta| {
                delta.input += new.input - old.input;
                delta.output += new.output - old.output;
            });
            return;
        }
        for (image, sign) in [(before, -1), (after, 1)] {
            if let Some(image) = image {
                self.each(image, folded, |delta| delta.fact(sign, image.input, image.output, image.cost));
            }
        }
    }

    fn each(&mut self, image: &Image, folded: &Folded, mut change: impl FnMut(&mut Delta)) {
        let renamed = image.extras.provider.is_some();
        self.series.entry(image.series_no).or_insert_with(|| (!renamed).then(|| image.key.clone()));
        for level in Level::ALL {
            // What a level is complete until begins one of its buckets
            if image.occurred_at < folded.until(level) {
                let start = level.floor(image.occurred_at);
                change(self.deltas.entry((level, start, image.series_no)).or_default());
            }
        }
    }
}

statements! {
    /// Sums stay within the range of the books, whatever clients say: beyond it they stand still.
    ADD = "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, min_cost, \
        max_cost) SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5}, {int 6}, {int 7}, {int 8} FROM {rows} \
        WHERE true ON CONFLICT (level, bucket_start, series_no) DO UPDATE SET requests = rollups.requests + excluded.requests, \
        input_tokens = rollups.input_tokens + excluded.input_tokens, \
        output_tokens = rollups.output_tokens + excluded.output_tokens, \
        cost = min(rollups.cost, 9007199254740991000 - excluded.cost) + excluded.cost, \
        min_cost = min(rollups.min_cost, excluded.min_cost), max_cost = max(rollups.max_cost, excluded.max_cost)"
        | "INSERT INTO rollups (level, bucket_start, series_no, requests, input_tokens, output_tokens, cost, min_cost, \
        max_cost) SELECT {int 0}, {int 1}, {int 2}, {int 3}, {int 4}, {int 5}, {int 6}, {int 7}, {int 8} FROM {rows} \
        WHERE true ON CONFLICT (level, bucket_start, series_no) DO UPDATE SET requests = rollups.requests + excluded.requests, \
        input_tokens = rollups.input_tokens + excluded.input_tokens, \
        output_tokens = rollups.output_tokens + excluded.output_tokens, \
        cost = least(rollups.cost, 9007199254740991000 - excluded.cost) + excluded.cost, \
        min_cost = least(rollups.min_cost, excluded.min_cost), max_cost = greatest(rollups.max_cost, excluded.max_cost)";
    /// After what came was added, so that no sum falls below zero on the way. At most one row for each cell.
    TAKE = "UPDATE rollups SET requests = rollups.requests + v.requests, \
        input_tokens = rollups.input_tokens + v.input_tokens, output_tokens = rollups.output_tokens + v.output_tokens, \
        cost = rollups.cost + v.cost FROM (SELECT {int 0} AS level, {int 1} AS bucket_start, {int 2} AS series_no, \
        {int 3} AS requests, {int 4} AS input_tokens, {int 5} AS output_tokens, {int 6} AS cost FROM {rows}) AS v \
        WHERE rollups.level = v.level AND rollups.bucket_start = v.bucket_start AND rollups.series_no = v.series_no";
    EMPTY = "DELETE FROM rollups WHERE (level, bucket_start, series_no) IN (SELECT {int 0}, {int 1}, {int 2} FROM {rows}) \
        AND requests = 0";
    EXTREMES = "UPDATE rollups SET \
        min_cost = COALESCE((SELECT MIN(f.cost) FROM facts AS f WHERE f.series_no = v.series_no \
        AND f.occurred_at >= v.bucket_start AND f.occurred_at < v.bucket_end), rollups.min_cost), \
        max_cost = COALESCE((SELECT MAX(f.cost) FROM facts AS f WHERE f.series_no = v.series_no \
        AND f.occurred_at >= v.bucket_start AND f.occurred_at < v.bucket_end), rollups.max_cost) \
        FROM (SELECT {int 0} AS level, {int 1} AS bucket_start, {int 2} AS series_no, {int 3} AS bucket_end, \
        {int 4} AS least, {int 5} AS most FROM {rows}) AS v WHERE rollups.level = v.level \
        AND rollups.bucket_start = v.bucket_start AND rollups.series_no = v.series_no \
        AND (rollups.min_cost >= v.least OR rollups.max_cost <= v.most)";
    EXTREMES_ABOVE = "UPDATE rollups SET \
        min_cost = COALESCE((SELECT MIN(r.min_cost) FROM rollups AS r WHERE r.level = v.level - 1 \
        AND r.bucket_start >= v.bucket_start AND r.bucket_start < v.bucket_end AND r.series_no = v.series_no), \
        rollups.min_cost), max_cost = COALESCE((SELECT MAX(r.max_cost) FROM rollups AS r WHERE r.level = v.level - 1 \
        AND r.bucket_start >= v.bucket_start AND r.bucket_start < v.bucket_end AND r.series_no = v.series_no), \
        rollups.max_cost) FROM (SELECT {int 0} AS level, {int 1} AS bucket_start, {int 2} AS series_no, \
        {int 3} AS bucket_end, {int 4} AS least, {int 5} AS most FROM {rows}) AS v WHERE rollups.level = v.level \
        AND rollups.bucket_start = v.bucket_start AND rollups.series_no = v.series_no \
        AND (rollups.min_cost >= v.least OR rollups.max_cost <= v.most)";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("ADD", &*ADD),
        ("TAKE", &*TAKE),
        ("EMPTY", &*EMPTY),
        ("EXTREMES", &*EXTREMES),
        ("EXTREMES_ABOVE", &*EXTREMES_ABOVE),
    ]
}

impl Work {
    pub(super) async fn write_cells(&mut self, cells: Cells) -> Result<(), StoreError> {
        let most = Money::MAX_BALANCE.nanos();
        let bounded = |cost: i128| i64::try_from(cost.clamp(-i128::from(most), i128::from(most))).unwrap_or(0);
        let (mut add, mut take, mut touched) = (Rows::new(), Rows::new(), Rows::new());
        let mut extremes: [Rows; 4] = Default::default();
        for ((level, start, series), delta) in &cells.deltas {
            let sums = [delta.requests, delta.input, delta.output, bounded(delta.cost)];
            let into = |rows: &mut Rows, sums: [i64; 4]| {
                rows.row().int(level.number()).int(start.millis()).int(*series);
                for sum in sums {
                    rows.int(sum);
                }
            };
            // What comes may make the cell; what goes, or changes, has been in it
            if delta.came.1 >= 0 {
                into(&mut add, sums.map(|sum| sum.max(0)));
                add.int(delta.came.0).int(delta.came.1);
                if sums.iter().any(|sum| *sum < 0) {
                    into(&mut take, sums.map(|sum| sum.min(0)));
                }
            } else if sums != [0; 4] {
                into(&mut take, sums);
            }
            if delta.takes_away() {
                touched.row().int(level.number()).int(start.millis()).int(*series);
                let rows = &mut extremes[*level as usize];
                rows.row().int(level.number()).int(start.millis()).int(*series).int(level.end(*start).millis());
                rows.int(delta.went.0).int(delta.went.1);
            }
        }
        for (sql, rows) in [(&ADD, add), (&TAKE, take), (&EMPTY, touched)] {
            if !rows.is_empty() {
                self.tx.run(sql, args![rows.finish()]).await?;
            }
        }
        // From short cells to long ones, which take theirs from them
        for (level, rows) in extremes.into_iter().enumerate() {
            if !rows.is_empty() {
                self.tx.run(if level == 0 { &EXTREMES } else { &EXTREMES_ABOVE }, args![rows.finish()]).await?;
            }
        }
        self.write_sums(&cells).await
    }
}
