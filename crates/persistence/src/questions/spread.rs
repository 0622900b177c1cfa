//! How costs and latencies are spread: least and largest, exactly; quantiles, within [`Sketch::ERROR`].

use std::sync::Arc;

use analytics::{CallStatus, Folded, Level, Piece, Sign, Sketch, additive_pieces, pieces};
use kernel::{Money, Timestamp};

use super::text::{FACTS_WITHIN, Numbered, Text, apart};
use super::{Inquiry, QuestionFilter};
use crate::StoreError;
use crate::db::{Backend, Value, args, statements};

/// How the costs of completed calls are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostSpread {
    /// The least.
    pub min: Money,
    /// The largest.
    pub max: Money,
    /// Half of the calls cost no more.
    pub median: Money,
}

/// How long calls took, milliseconds; `None` where no call says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySpread {
    /// Half of the calls took no longer.
    pub p50: Option<i64>,
    /// 95 of 100 did not.
    pub p95: Option<i64>,
    /// 99 of 100 did not.
    pub p99: Option<i64>,
}

statements! {
    LATER = "SELECT f.id FROM facts AS f WHERE f.occurred_at / 10000 >= $1 / 10000 AND f.occurred_at >= $1 LIMIT 1";
}

impl Inquiry {
    /// How the costs of completed calls in `from..to` are spread; nothing without calls.
    pub async fn cost_spread(
        &mut self,
        filter: &QuestionFilter,
        range: (Timestamp, Timestamp),
    ) -> Result<CostSpread, StoreError> {
        let filter = filter.with_status(CallStatus::Completed);
        let (from, to) = self.kept(range, Level::Quarter);
        let end = self.end_of(to).await?;
        let pieces = additive_pieces(from, end, &self.folded).into_iter().map(|piece| (0, piece)).collect();
        let (cells, facts) = apart(pieces);
        let mut spread: Option<(Money, Money)> = None;
        for (of, pieces) in [(&CELLS, cells), (&FACTS, facts)] {
            if pieces.is_empty() {
                continue;
            }
            let (sql, args) = extremes_question(self.tx.backend(), of, &filter, &pieces);
            for row in self.tx.rows_of(sql, args).await? {
                if let (Some(min), Some(max)) = (row.opt_money(0)?, row.opt_money(1)?) {
                    spread = Some(spread.map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
                }
            }
        }
        let Some((min, max)) = spread else { return Ok(CostSpread::default()) };
        let median = self.sketch(Figure::Cost, &filter, range).await?.quantile(0.5);
        // Near the figure of its rank, and so perhaps a little beyond the ends
        Ok(CostSpread { min, max, median: median.map_or(min, Money::from_nanos).clamp(min, max) })
    }

    /// How long the calls in `from..to` took.
    pub async fn latency_spread(
        &mut self,
        filter: &QuestionFilter,
        range: (Timestamp, Timestamp),
    ) -> Result<LatencySpread, StoreError> {
        let sketch = self.sketch(Figure::Latency, filter, range).await?;
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| sketch.quantile(q));
        Ok(LatencySpread { p50, p95, p99 })
    }

    /// A range that reaches to the present may go on to the end of a month if nothing claims to be later.
    async fn end_of(&mut self, to: Timestamp) -> Result<Timestamp, StoreError> {
        if to < self.now || self.tx.row(&LATER, args![to]).await?.is_some() {
            return Ok(to);
        }
        Ok(Level::Month.ceil(to))
    }

    /// How a figure is distributed over the facts of a range: from the sketches of whole hours, days and months, from the
    /// facts that are not in them yet, and fact by fact at the ends of the range.
    async fn sketch(
        &mut self,
        figure: Figure,
        filter: &QuestionFilter,
        range: (Timestamp, Timestamp),
    ) -> Result<Sketch, StoreError> {
        let (from, to) = self.kept(range, Level::Hour);
        let mut cells = Vec::new();
        let mut facts = Vec::new();
        for piece in pieces(from, to, self.now, &Folded::ALL) {
            match piece {
                // Shorter than an hour, and without sketches
                Piece::Cells { level: Level::Quarter, from, to } => {
                    facts.push((0, Piece::Facts { from, to, sign: Sign::Plus }));
                }
                Piece::Cells { .. } => cells.push((0, piece)),
                Piece::Facts { .. } => facts.push((0, piece)),
            }
        }
        let mut sketch = Sketch::default();
        let backend = self.tx.backend();
        if !cells.is_empty() {
            let (sql, args) = sketches_question(backend, figure, filter, &cells);
            for row in self.tx.rows_of(sql, args).await? {
                let one = Sketch::from_bytes(&row.blob(0)?);
                sketch.merge(&one.map_err(|_| StoreError::Corrupt("a sketch is unreadable".to_owned()))?);
            }
            for of in [&NEW_FACTS, &CHANGES] {
                let (sql, args) = unsketched_question(backend, of, figure, filter, &cells, self.sketched);
                self.count(&mut sketch, sql, args).await?;
            }
        }
        if !facts.is_empty() {
            let (sql, args) = facts_question(backend, figure, filter, &facts);
            self.count(&mut sketch, sql, args).await?;
        }
        Ok(sketch)
    }

    async fn count(&mut self, sketch: &mut Sketch, sql: Arc<str>, args: Vec<Value>) -> Result<(), StoreError> {
        for row in self.tx.rows_of(sql, args).await? {
            sketch.add(row.int(0)?, row.int(1)?);
        }
        Ok(())
    }
}

/// What is distributed.
#[derive(Clone, Copy)]
enum Figure {
    Cost,
    Latency,
}

impl Figure {
    /// Its column in the sketches.
    const fn of_sketch(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
        }
    }

    /// Its column in the facts.
    const fn of_fact(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency_ms",
        }
    }
}

fn sketches_question(
    backend: Backend,
    figure: Figure,
    filter: &QuestionFilter,
    cells: &[Numbered],
) -> (Arc<str>, Vec<Value>) {
    let mine = "k.level = piece.what AND k.bucket_start >= piece.lo AND k.bucket_start < piece.hi";
    let mut text = Text::new(backend);
    text.with_pieces(cells).push(" SELECT k.").push(figure.of_sketch());
    match backend {
        Backend::Sqlite => {
            text.push(" FROM piece CROSS JOIN rollup_sketches AS k WHERE ").push(mine).narrowed("k.series_no", filter);
        }
        Backend::Postgres => {
            // OFFSET keeps it stretch by stretch
            text.push(" FROM piece CROSS JOIN LATERAL (SELECT k.* FROM rollup_sketches AS k WHERE ").push(mine);
            text.push(" OFFSET 0) AS k JOIN series AS s ON s.no = k.series_no").series_of(filter, " WHERE ");
        }
    }
    text.finish()
}

/// What is not in the sketches.
struct Unsketched {
    table: &'static str,
    alias: &'static str,
    /// Which rows of the table, by the last fact that is in the sketches.
    mine: &'static str,
    /// How often the figure of a row counts.
    times: &'static str,
}

/// Facts that came later.
const NEW_FACTS: Unsketched = Unsketched { table: "facts", alias: "f", mine: "f.id > ", times: "COUNT(*)" };
/// What changed of facts that are in them.
const CHANGES: Unsketched =
    Unsketched { table: "sketch_changes", alias: "c", mine: "c.fact_id <= ", times: "SUM(c.times)" };

fn unsketched_question(
    backend: Backend,
    of: &Unsketched,
    figure: Figure,
    filter: &QuestionFilter,
    cells: &[Numbered],
    sketched: i64,
) -> (Arc<str>, Vec<Value>) {
    let Unsketched { table, alias, mine, times } = *of;
    let value = format!("{alias}.{}", figure.of_fact());
    let mut text = Text::new(backend);
    text.with_pieces(cells).push(&format!(
        " SELECT {value}, CAST({times} AS BIGINT) FROM {table} AS {alias} CROSS JOIN series AS s CROSS JOIN piece \
         WHERE s.no = {alias}.series_no AND {value} IS NOT NULL AND {alias}.occurred_at >= piece.lo \
         AND {alias}.occurred_at < piece.hi AND {mine}"
    ));
    text.bind(sketched).series_of(filter, " AND ").push(&format!(" GROUP BY {value}"));
    text.finish()
}

fn facts_question(
    backend: Backend,
    figure: Figure,
    filter: &QuestionFilter,
    facts: &[Numbered],
) -> (Arc<str>, Vec<Value>) {
    let value = format!("r.{}", figure.of_fact());
    let mut text = Text::new(backend);
    text.with_pieces(facts).push(" SELECT ").push(&value).push(", CAST(SUM(piece.what) AS BIGINT) FROM piece ");
    text.push("CROSS JOIN facts AS r CROSS JOIN series AS s WHERE ").push(FACTS_WITHIN);
    text.push(" AND ").push(&value).push(" IS NOT NULL AND s.no = r.series_no").series_of(filter, " AND ");
    text.push(" GROUP BY ").push(&value);
    text.finish()
}

/// Where extremes are read from.
struct Origin {
    table: &'static str,
    mine: &'static str,
    least: &'static str,
    largest: &'static str,
}

const CELLS: Origin = Origin {
    table: "rollups AS r",
    mine: "r.level = piece.what AND r.bucket_start >= piece.lo AND r.bucket_start < piece.hi",
    least: "r.min_cost",
    largest: "r.max_cost",
};
const FACTS: Origin = Origin { table: "facts AS r", mine: FACTS_WITHIN, least: "r.cost", largest: "r.cost" };

fn extremes_question(
    backend: Backend,
    of: &Origin,
    filter: &QuestionFilter,
    pieces: &[Numbered],
) -> (Arc<str>, Vec<Value>) {
    let mut text = Text::new(backend);
    text.with_pieces(pieces);
    match backend {
        Backend::Sqlite => {
            text.push(" SELECT MIN(").push(of.least).push("), MAX(").push(of.largest).push(") FROM piece CROSS JOIN ");
            text.push(of.table).push(" WHERE ").push(of.mine).narrowed("r.series_no", filter);
        }
        Backend::Postgres => {
            text.push(", part AS (SELECT x.* FROM piece CROSS JOIN LATERAL (SELECT r.series_no, MIN(").push(of.least);
            text.push(") AS least, MAX(").push(of.largest).push(") AS largest FROM ").push(of.table);
            text.push(" WHERE ").push(of.mine).push(" GROUP BY r.series_no) AS x) ");
            text.push("SELECT MIN(part.least), MAX(part.largest) FROM part CROSS JOIN series AS s WHERE s.no = part.series_no");
            text.series_of(filter, " AND ");
        }
    }
    text.finish()
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn questions(filter: &QuestionFilter) -> Vec<(&'static str, Arc<str>)> {
    let (from, to) = (Timestamp::EPOCH, Timestamp::from_millis(900_000));
    let cells = analytics::Piece::Cells { level: Level::Quarter, from, to };
    let facts = super::text::facts_between(from, to);
    vec![
        ("extremes of cells", extremes_question(Backend::Sqlite, &CELLS, filter, &[(0, cells)]).0),
        ("sketches", sketches_question(Backend::Sqlite, Figure::Cost, filter, &[(0, cells)]).0),
        (
            "facts not in sketches",
            unsketched_question(Backend::Sqlite, &NEW_FACTS, Figure::Cost, filter, &[(0, cells)], 9).0,
        ),
        (
            "changes not in sketches",
            unsketched_question(Backend::Sqlite, &CHANGES, Figure::Cost, filter, &[(0, cells)], 9).0,
        ),
        ("facts beside sketches", facts_question(Backend::Sqlite, Figure::Latency, filter, &[(0, facts)]).0),
        ("extremes of facts", extremes_question(Backend::Sqlite, &FACTS, filter, &[(0, facts)]).0),
    ]
}
