//! Statements put together from constant parts, whatever comes from outside bound in the order of its place.

use std::fmt::Write as _;
use std::sync::Arc;

use analytics::Piece;
use kernel::{AgentId, ProjectId, ProviderKeyId, UserId};

use super::QuestionFilter;
use crate::db::{Backend, Value};

/// A statement on the way.
pub(super) struct Text {
    pub(super) backend: Backend,
    sql: String,
    args: Vec<Value>,
}

/// A piece of the range with the number of the bucket it belongs to.
pub(super) type Numbered = (usize, Piece);

/// A JSON array of arrays.
fn json_of(stretches: &[[i64; 4]]) -> String {
    let mut json = String::with_capacity(stretches.len() * 40 + 2);
    for [bucket, what, from, to] in stretches {
        json.push(if json.is_empty() { '[' } else { ',' });
        let _ = write!(json, "[{bucket},{what},{from},{to}]");
    }
    json.push_str(if json.is_empty() { "[]" } else { "]" });
    json
}

impl Text {
    pub(super) const fn new(backend: Backend) -> Self {
        Self { backend, sql: String::new(), args: Vec::new() }
    }

    pub(super) fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// A parameter. SQLite's have no numbers: they would be looked up by name, each one in time that grows with all.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.args.push(value.into());
        match self.backend {
            Backend::Sqlite => self.sql.push('?'),
            Backend::Postgres => {
                let _ = write!(self.sql, "${}", self.args.len());
            }
        }
        self
    }

    pub(super) fn finish(self) -> (Arc<str>, Vec<Value>) {
        (Arc::from(self.sql), self.args)
    }

    /// `WITH piece(bucket, what, lo, hi) AS (…)`: for cells `what` is their level, for facts 1 or −1.
    ///
    /// On SQLite the list is padded with empty stretches to a power of two, so that there are few texts to prepare.
    pub(super) fn with_pieces(&mut self, pieces: &[Numbered]) -> &mut Self {
        self.with_stretches(&pieces.iter().map(stretch).collect::<Vec<_>>())
    }

    /// The same, of what is said in numbers already: bucket, level or sign, from, to.
    pub(super) fn with_stretches(&mut self, stretches: &[[i64; 4]]) -> &mut Self {
        match self.backend {
            Backend::Sqlite => {
                self.push("WITH piece(bucket, what, lo, hi) AS (VALUES ");
                let padding = stretches.len().next_power_of_two() - stretches.len();
                let rows = stretches.iter().copied().chain(std::iter::repeat_n([0; 4], padding));
                for (index, row) in rows.enumerate() {
                    self.push(if index == 0 { "(?,?,?,?)" } else { ",(?,?,?,?)" });
                    self.args.extend(row.map(Value::from));
                }
                self.push(")")
            }
            Backend::Postgres => {
                self.push(
                    "WITH piece AS (SELECT CAST(t.value->>0 AS BIGINT) AS bucket, CAST(t.value->>1 AS BIGINT) AS what, \
                    CAST(t.value->>2 AS BIGINT) AS lo, CAST(t.value->>3 AS BIGINT) AS hi FROM jsonb_array_elements(CAST(",
                );
                self.bind(json_of(stretches)).push(" AS jsonb)) AS t(value))")
            }
        }
    }

    /// ` WHERE …` or ` AND …`: the series of the filter, `series AS s`.
    pub(super) fn series_of(&mut self, filter: &QuestionFilter, mut word: &'static str) -> &mut Self {
        let next = |text: &mut Self, word: &mut &'static str| {
            text.push(std::mem::replace(word, " AND "));
        };
        if let Some(user) = filter.visible_to.user() {
            next(self, &mut word);
            self.push("s.agent_id IN (SELECT own.id FROM agents AS own WHERE own.owner_id = ").bind(user).push(")");
        }
        let lists: [(&str, Vec<Value>); 6] = [
            ("s.agent_id", filter.agents.iter().map(|AgentId(id)| (*id).into()).collect()),
            ("s.owner_id", filter.owners.iter().map(UserId::as_str).map(Value::from).collect()),
            ("s.project_id", filter.projects.iter().map(ProjectId::as_str).map(Value::from).collect()),
            ("s.provider", filter.providers.iter().map(String::as_str).map(Value::from).collect()),
            ("s.provider_key_id", filter.provider_keys.iter().map(|ProviderKeyId(id)| (*id).into()).collect()),
            ("s.model", filter.models.iter().map(String::as_str).map(Value::from).collect()),
        ];
        for (column, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
            next(self, &mut word);
            self.push(column).push(" IN (");
            for (index, value) in values.into_iter().enumerate() {
                self.push(if index == 0 { "" } else { ", " }).bind(value);
            }
            self.push(")");
        }
        if let Some(status) = filter.status {
            next(self, &mut word);
            self.push("s.status = ").bind(status.as_str());
        }
        self
    }

    /// ` AND <column> IN (SELECT …)`, on SQLite, where that narrows.
    pub(super) fn narrowed(&mut self, column: &str, filter: &QuestionFilter) -> &mut Self {
        if self.backend == Backend::Sqlite && filter.narrows() {
            self.push(" AND ")
                .push(column)
                .push(" IN (SELECT s.no FROM series AS s")
                .series_of(filter, " WHERE ")
                .push(")");
        }
        self
    }
}

impl QuestionFilter {
    /// Whether it leaves anything out.
    pub(super) fn narrows(&self) -> bool {
        *self != Self::default()
    }
}

/// The facts of a piece, `facts AS r`: by the slots of their index, and by the time.
pub(super) const FACTS_WITHIN: &str = "r.occurred_at / 10000 >= piece.lo / 10000 \
    AND r.occurred_at / 10000 <= piece.hi / 10000 AND r.occurred_at >= piece.lo AND r.occurred_at < piece.hi";

/// A piece in numbers.
pub(super) fn stretch((bucket, piece): &Numbered) -> [i64; 4] {
    let (what, from, to) = match *piece {
        Piece::Cells { level, from, to } => (level.number(), from, to),
        Piece::Facts { from, to, sign } => (sign.factor(), from, to),
    };
    [i64::try_from(*bucket).unwrap_or(i64::MAX), what, from.millis(), to.millis()]
}

/// Cells and facts apart.
pub(super) fn apart(pieces: Vec<Numbered>) -> (Vec<Numbered>, Vec<Numbered>) {
    pieces.into_iter().partition(|(_, piece)| matches!(piece, Piece::Cells { .. }))
}

/// The facts of a stretch, added.
#[cfg(test)]
pub(super) fn facts_between(from: kernel::Timestamp, to: kernel::Timestamp) -> Piece {
    Piece::Facts { from, to, sign: analytics::Sign::Plus }
}
