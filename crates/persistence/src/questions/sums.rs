//! What facts add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use analytics::{CallStatus, Dimension, Level, Measures, Piece, pieces};
use kernel::Timestamp;

use super::text::{FACTS_WITHIN, Numbered, Text, apart, stretch};
use super::{Inquiry, QuestionFilter, column};
use crate::StoreError;
use crate::balance::exact;
use crate::db::{Backend, Row, Value};
use crate::facts::{STRETCHES, so_far};
use crate::listing::Visibility;

/// The value of a dimension; nothing comes before numbers, numbers before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// There is none: no project, or no key that is known.
    None,
    /// The number of an agent or a key.
    Int(i64),
    /// A text.
    Text(String),
}

impl Key {
    /// The number, if it is one.
    pub const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What the facts of one bucket with these values add up to; at least one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which of the ranges asked about.
    pub bucket: usize,
    /// The values of the dimensions asked for, in their order.
    pub key: Vec<Key>,
    /// The sums.
    pub measures: Measures,
}

/// So many pieces are asked about in one statement. SQLite sorts by bucket and names what it adds up: a part at a time, so that
/// it does so in the processor's own memory.
const fn at_once(backend: Backend) -> usize {
    match backend {
        Backend::Sqlite => 128,
        Backend::Postgres => 1_024,
    }
}

impl Inquiry {
    /// The sums over each of these ranges, told apart along the dimensions; in the order of the ranges, then of the keys.
    pub async fn sums(
        &mut self,
        filter: &QuestionFilter,
        by: &[Dimension],
        ranges: &[(Timestamp, Timestamp)],
    ) -> Result<Vec<Group>, StoreError> {
        let mut numbered = Vec::new();
        for (bucket, range) in ranges.iter().enumerate() {
            let (from, to) = self.kept(*range, Level::Quarter);
            numbered.extend(pieces(from, to, self.now, &self.folded).into_iter().map(|piece| (bucket, piece)));
        }
        let (cells, facts) = apart(numbered);
        let kept = Sums::over(filter, by);
        let hours_until = self.folded.hours;
        let in_kept = |(_, piece): &Numbered| kept.is_some_and(|sums| sums.have(piece, hours_until));
        let (shorter, cells): (Vec<_>, Vec<_>) = cells.into_iter().partition(in_kept);
        let so_far = kept.is_some_and(Sums::have_so_far);
        let shorter =
            shorter.iter().flat_map(|piece| if so_far { vec![self.so_far(piece)] } else { long_stretches(piece) });
        let cells = cells.iter().map(stretch);
        let now = self.now.millis();
        let (later, facts): (Vec<[i64; 4]>, Vec<[i64; 4]>) =
            facts.iter().map(stretch).partition(|[_, _, lo, _]| *lo >= now);
        let asked: [(Vec<[i64; 4]>, Of); 4] = [
            (shorter.collect(), kept.map_or(Of::Cells, Of::Sums)),
            (cells.collect(), Of::Cells),
            (facts, Of::Facts),
            (later, Of::Later),
        ];
        let mut groups: BTreeMap<(usize, Vec<Key>), Measures> = BTreeMap::new();
        for (stretches, of) in asked {
            for stretches in stretches.chunks(at_once(self.tx.backend())) {
                let (sql, args) = question(self.tx.backend(), of, filter, by, stretches);
                for row in self.tx.rows_of(sql, args).await? {
                    add(&mut groups, &row, by)?;
                }
            }
        }
        let present = groups.into_iter().filter(|(_, measures)| !measures.is_empty());
        Ok(present.map(|((bucket, key), measures)| Group { bucket, key, measures }).collect())
    }

    /// A piece of the sums in numbers: in the place of all days of a month that are folded there is one row, and so there is for
    /// the hours of a day.
    fn so_far(&self, piece: &Numbered) -> [i64; 4] {
        let mut stretch = stretch(piece);
        if let Piece::Cells { level, from, to } = piece.1
            && to == self.folded.until(level)
            && let Some((number, begins)) = so_far(level, from)
            && begins == from
            && so_far(level, to.plus_millis(-1)).is_some_and(|(_, last)| last == begins)
        {
            stretch[1] = number;
            stretch[3] = from.millis() + 1;
        }
        stretch
    }

    /// The sums over one range.
    pub async fn total(
        &mut self,
        filter: &QuestionFilter,
        range: (Timestamp, Timestamp),
    ) -> Result<Measures, StoreError> {
        Ok(self.sums(filter, &[], &[range]).await?.into_iter().map(|group| group.measures).sum())
    }
}

/// A piece of the sums of owners in numbers: in stretches as long as they lie in it.
fn long_stretches(piece: &Numbered) -> Vec<[i64; 4]> {
    let whole = stretch(piece);
    let Piece::Cells { level, .. } = piece.1 else { return vec![whole] };
    let mut parts = vec![whole];
    for longer in STRETCHES.iter().filter(|longer| longer.of == level) {
        let split = |part: [i64; 4]| {
            let [bucket, what, from, to] = part;
            let (first, end) = (from + (-from).rem_euclid(longer.length), to - to.rem_euclid(longer.length));
            if what != level.number() || first >= end {
                return vec![part];
            }
            let before = [bucket, what, from, first];
            vec![before, [bucket, longer.number, first, end], [bucket, what, end, to]]
        };
        parts = parts.into_iter().flat_map(split).filter(|[_, _, from, to]| from < to).collect();
    }
    parts
}

fn add(groups: &mut BTreeMap<(usize, Vec<Key>), Measures>, row: &Row, by: &[Dimension]) -> Result<(), StoreError> {
    let mut key = Vec::with_capacity(by.len());
    for (index, dimension) in by.iter().enumerate() {
        key.push(key_of(row, index + 1, *dimension)?);
    }
    let at = by.len() + 1;
    let completed = row.int(at)?;
    let measures = Measures {
        completed,
        failed: row.int(at + 1)? - completed,
        input_tokens: row.int(at + 2)?,
        output_tokens: row.int(at + 3)?,
        cost_nanos: exact(row, at + 4)?,
    };
    let bucket = usize::try_from(row.int(0)?).unwrap_or(usize::MAX);
    groups.entry((bucket, key)).or_default().add(&measures);
    Ok(())
}

pub(super) fn key_of(row: &Row, index: usize, dimension: Dimension) -> Result<Key, StoreError> {
    Ok(match dimension {
        Dimension::Agent => Key::Int(row.int(index)?),
        Dimension::ProviderKey => match row.int(index)? {
            0 => Key::None,
            number => Key::Int(number),
        },
        _ => match row.text(index)? {
            text if text.is_empty() => Key::None,
            text => Key::Text(text),
        },
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Sums(Sums),
    Cells,
    Facts,
    /// Facts that claim to be later than now: few, whatever is asked.
    Later,
}

/// Sums over many series, which the database keeps beside their cells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// Over all agents.
    Overall,
    /// Of each agent over providers and models.
    Agents,
    /// Over all agents, by everything else, as far as hours are folded.
    Owners,
}

impl Sums {
    /// Those that tell apart what is told apart here, and have what the filter asks for.
    fn over(filter: &QuestionFilter, by: &[Dimension]) -> Option<Self> {
        let QuestionFilter { providers, models, status, .. } = filter.clone();
        let of_all = QuestionFilter { providers, models, status, ..QuestionFilter::default() };
        let QuestionFilter { visible_to, agents, .. } = filter.clone();
        let of_agents = QuestionFilter { visible_to, agents, status, ..QuestionFilter::default() };
        let all_of = |known: &[Dimension]| by.iter().all(|dimension| known.contains(dimension));
        if *filter == of_all && all_of(&[Dimension::Provider, Dimension::Model, Dimension::Status]) {
            Some(Self::Overall)
        } else if *filter == of_agents && all_of(&[Dimension::Agent, Dimension::Status]) {
            Some(Self::Agents)
        } else if filter.visible_to == Visibility::All && filter.agents.is_empty() && !by.contains(&Dimension::Agent) {
            // Whose agents somebody sees is decided by who owns them now; here is who did then
            Some(Self::Owners)
        } else {
            None
        }
    }

    /// Whether there are such of the cells of a piece.
    fn have(self, piece: &Piece, hours_until: Timestamp) -> bool {
        let folded = |level: &Level, to: &Timestamp| *level > Level::Quarter || *to <= hours_until;
        self != Self::Owners || matches!(piece, Piece::Cells { level, to, .. } if folded(level, to))
    }

    /// Whether there are such of days and months that are not over.
    fn have_so_far(self) -> bool {
        self != Self::Owners
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Overall => "rollup_overall",
            Self::Agents => "rollup_agents",
            Self::Owners => "rollup_owners",
        }
    }
}

/// The measures of a row, to be added up: what completed, and what there was in all. Not by outcome, which would make twice as
/// many groups, and one more text to sort them by.
fn measures_of(of: &str) -> String {
    let completed = CallStatus::Completed.as_str();
    let mut text = format!(", CAST(SUM(CASE WHEN s.status = '{completed}' THEN {of}.requests ELSE 0 END) AS BIGINT)");
    for name in ["requests", "input_tokens", "output_tokens", "usd", "nanos"] {
        text.push_str(&format!(", CAST(SUM({of}.{name}) AS BIGINT)"));
    }
    text
}

/// As [`question`], from sums that have the names of their series in them.
fn question_of_sums(
    backend: Backend,
    table: &str,
    filter: &QuestionFilter,
    by: &[Dimension],
    stretches: &[[i64; 4]],
) -> (Arc<str>, Vec<Value>) {
    // Where it is one range, as it often is, rows need not be sorted by it; to sort is most of what this costs
    let one_range = stretches.iter().all(|[bucket, ..]| *bucket == 0);
    let columns: Vec<&str> = by.iter().map(|dimension| column(*dimension)).collect();
    let mut keys = columns.clone();
    if !one_range {
        keys.insert(0, "piece.bucket");
    }
    let mut text = Text::new(backend);
    text.with_stretches(stretches).push(" SELECT ").push(if one_range { "CAST(0 AS BIGINT)" } else { "piece.bucket" });
    for column in columns {
        text.push(", ").push(column);
    }
    text.push(&measures_of("s"));
    let mine = |table: &str| {
        format!("{table}.level = piece.what AND {table}.bucket_start >= piece.lo AND {table}.bucket_start < piece.hi")
    };
    match backend {
        Backend::Sqlite => {
            text.push(&format!(" FROM piece CROSS JOIN {table} AS s WHERE "))
                .push(&mine("s"))
                .series_of(filter, " AND ");
        }
        Backend::Postgres => {
            // OFFSET keeps it stretch by stretch
            text.push(&format!(" FROM piece CROSS JOIN LATERAL (SELECT o.* FROM {table} AS o WHERE ")).push(&mine("o"));
            text.push(" OFFSET 0) AS s").series_of(filter, " WHERE ");
        }
    }
    if keys.is_empty() {
        // All of it is one group, if there is anything
        text.push(" HAVING COUNT(*) > 0");
    } else {
        text.push(" GROUP BY ").push(&keys.join(", "));
    }
    text.finish()
}

fn columns_of(bucket: &'static str, by: &[Dimension]) -> String {
    let mut columns = vec![bucket];
    columns.extend(by.iter().map(|dimension| column(*dimension)));
    columns.join(", ")
}

/// First what each series adds up to, then along the dimensions: there are many more rows than series. PostgreSQL is
/// made to go stretch by stretch (`LATERAL`); SQLite is by the order of the tables (`CROSS JOIN`).
fn question(
    backend: Backend,
    of: Of,
    filter: &QuestionFilter,
    by: &[Dimension],
    stretches: &[[i64; 4]],
) -> (Arc<str>, Vec<Value>) {
    let (table, mine, requests) = match of {
        Of::Sums(sums) => return question_of_sums(backend, sums.table(), filter, by, stretches),
        Of::Cells => {
            let mine = "r.level = piece.what AND r.bucket_start >= piece.lo AND r.bucket_start < piece.hi";
            ("rollups AS r", mine, "r.requests")
        }
        Of::Facts | Of::Later => ("facts AS r", FACTS_WITHIN, "1"),
    };
    // Facts may have to be taken away
    let sign = if of == Of::Cells { "" } else { "piece.what * " };
    // Where there are few facts in all, it would take longer to look for those of each series
    let series = if of == Of::Later { "+r.series_no" } else { "r.series_no" };
    let sums = [
        (requests, "requests"),
        ("r.input_tokens", "input_tokens"),
        ("r.output_tokens", "output_tokens"),
        ("r.cost / 1000000000", "usd"),
        ("r.cost % 1000000000", "nanos"),
    ];
    let mut text = Text::new(backend);
    text.with_stretches(stretches).push(", part AS (SELECT piece.bucket AS bucket, ");
    match backend {
        Backend::Sqlite => {
            text.push("r.series_no AS series_no");
            for (sum, name) in sums {
                text.push(&format!(", SUM({sign}({sum})) AS {name}"));
            }
            text.push(" FROM piece CROSS JOIN ").push(table).push(" WHERE ").push(mine);
            text.narrowed(series, filter).push(" GROUP BY piece.bucket, r.series_no");
        }
        Backend::Postgres => {
            text.push("x.series_no");
            for (_, name) in sums {
                text.push(&format!(", {sign}x.{name} AS {name}"));
            }
            text.push(" FROM piece CROSS JOIN LATERAL (SELECT r.series_no");
            for (sum, name) in sums {
                text.push(&format!(", SUM({sum}) AS {name}"));
            }
            text.push(" FROM ").push(table).push(" WHERE ").push(mine).push(" GROUP BY r.series_no) AS x");
        }
    }
    let columns = columns_of("part.bucket", by);
    text.push(") SELECT ").push(&columns).push(&measures_of("part"));
    text.push(" FROM part CROSS JOIN series AS s WHERE s.no = part.series_no");
    if backend == Backend::Postgres {
        text.series_of(filter, " AND ");
    }
    text.push(" GROUP BY ").push(&columns);
    text.finish()
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn questions(filter: &QuestionFilter) -> Vec<(&'static str, Arc<str>)> {
    let (from, to) = (Timestamp::EPOCH, Timestamp::from_millis(900_000));
    let cells = analytics::Piece::Cells { level: analytics::Level::Quarter, from, to };
    let facts = super::text::facts_between(from, to);
    let hours = analytics::Piece::Cells { level: analytics::Level::Hour, from, to };
    let by = [Dimension::Agent, Dimension::Model];
    let owned =
        QuestionFilter { visible_to: Visibility::All, owners: vec![kernel::UserId::new("x")], ..filter.clone() };
    vec![
        (
            "sums over all agents",
            question(
                Backend::Sqlite,
                Of::Sums(Sums::Overall),
                &QuestionFilter::default(),
                &by[1..],
                &[stretch(&(0, cells))],
            )
            .0,
        ),
        (
            "sums of agents",
            question(Backend::Sqlite, Of::Sums(Sums::Agents), filter, &by[..1], &[stretch(&(0, cells))]).0,
        ),
        (
            "sums of owners",
            question(Backend::Sqlite, Of::Sums(Sums::Owners), &owned, &by[1..], &[stretch(&(0, hours))]).0,
        ),
        (
            "all sums of owners",
            question(Backend::Sqlite, Of::Sums(Sums::Owners), &owned, &[], &[stretch(&(0, hours))]).0,
        ),
        ("sums over cells", question(Backend::Sqlite, Of::Cells, filter, &by, &[stretch(&(0, cells))]).0),
        ("sums over facts", question(Backend::Sqlite, Of::Facts, filter, &by, &[stretch(&(0, facts))]).0),
        ("sums over later facts", question(Backend::Sqlite, Of::Later, filter, &by, &[stretch(&(0, facts))]).0),
    ]
}

#[cfg(test)]
mod tests {
    use analytics::{Level, Piece};
    use kernel::Timestamp;

    use super::long_stretches;

    #[test]
    fn a_day_of_half_hours_is_put_together_from_few_stretches() {
        const HOUR: i64 = 3_600_000;
        let day = 1_000 * 24 * HOUR;
        let piece = |level, from: i64, to: i64| {
            let [from, to] = [from, to].map(|at| Timestamp::from_millis(day + at));
            long_stretches(&(7, Piece::Cells { level, from, to }))
        };
        let told = |parts: &[(i64, i64, i64)]| -> Vec<[i64; 4]> {
            parts.iter().map(|(what, from, to)| [7, *what, day + from, day + to]).collect()
        };
        assert_eq!(
            piece(Level::Hour, 19 * HOUR, 42 * HOUR),
            told(&[
                (1, 19 * HOUR, 21 * HOUR),
                (22, 21 * HOUR, 24 * HOUR),
                (24, 24 * HOUR, 36 * HOUR),
                (23, 36 * HOUR, 42 * HOUR),
            ])
        );
        let quarter = HOUR / 4;
        assert_eq!(piece(Level::Quarter, 2 * quarter, 4 * quarter), told(&[(21, 2 * quarter, 4 * quarter)]));
        assert_eq!(
            piece(Level::Quarter, quarter, 5 * quarter),
            told(&[(0, quarter, 2 * quarter), (21, 2 * quarter, 4 * quarter), (0, 4 * quarter, 5 * quarter)])
        );
        assert_eq!(piece(Level::Quarter, quarter, 2 * quarter), told(&[(0, quarter, 2 * quarter)]));
        assert_eq!(piece(Level::Day, 0, 24 * HOUR), told(&[(2, 0, 24 * HOUR)]));
    }
}
