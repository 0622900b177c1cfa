//! The outbox: what the live stream tells, in the order of the commits.
//!
//! Every event has a place of its own; those that are committed together share rows, because a row for each would cost as
//! much as the fact that most of them tell of.

use std::fmt::Write as _;

use kernel::{AgentId, Timestamp};

use crate::db::{Row, args, statements};
use crate::rows::Rows;
use crate::work::OutboxEvent;
use crate::{Store, StoreError, Work};

/// An event as it stands in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place, without holes.
    pub seq: i64,
    /// The agent it concerns, `None` for wider scopes.
    pub agent: Option<AgentId>,
    /// What happened, such as `lease_granted`.
    pub kind: String,
    /// A JSON object.
    pub payload: String,
    /// When.
    pub created_at: Timestamp,
}

/// Where the stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Names this store's life; another one after it was restored or replaced.
    pub epoch: String,
    /// The place of the last event; 0 before the first.
    pub last: i64,
    /// The place of the oldest event that is kept; `last + 1` when none is.
    pub oldest: i64,
}

/// A stretch of the stream, as it was at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// Names this store's life.
    pub epoch: String,
    /// The place of the last event of all; 0 before the first.
    pub last: i64,
    /// The events asked for.
    pub events: Vec<StoredEvent>,
}

/// The most events in one row.
const PACK: usize = 32;

statements! {
    /// Other servers are told when this is committed, in the same round trip.
    INSERT = "INSERT INTO outbox (seq, first_seq, events, created_at) SELECT {int 0}, {int 1}, {text 2}, {int 3} FROM {rows}"
        | "WITH told AS (INSERT INTO outbox (seq, first_seq, events, created_at) \
        SELECT {int 0}, {int 1}, {text 2}, {int 3} FROM {rows}) SELECT pg_notify('iron_outbox', '')";
    /// A row in any case, and of one state of the database. Places have no holes: so many after the first row there is are
    /// at least as many events.
    PAGE = "SELECT o.seq, o.first_seq, o.events, o.created_at, h.stream_epoch, h.outbox_seq FROM heads AS h \
        LEFT JOIN (SELECT p.seq, p.first_seq, p.events, p.created_at FROM outbox AS p WHERE p.seq > $1 \
        AND p.seq <= (SELECT MIN(m.seq) FROM outbox AS m WHERE m.seq > $1) + $2) AS o ON 1 = 1 \
        WHERE h.id = 1 ORDER BY o.seq";
    HEAD = "SELECT h.stream_epoch, h.outbox_seq, (SELECT o.first_seq FROM outbox AS o ORDER BY o.seq LIMIT 1) \
        FROM heads AS h WHERE h.id = 1";
    /// Where the oldest events begin and, of so many of them, the first that is young enough: what is left has no holes even
    /// where clocks disagree.
    OLD = "SELECT MIN(o.first_seq), COALESCE(MIN(CASE WHEN o.created_at >= $1 THEN o.first_seq END), MAX(o.seq) + 1) \
        FROM outbox AS o WHERE o.seq < (SELECT p.first_seq FROM outbox AS p ORDER BY p.seq LIMIT 1) + $2";
    PRUNE = "DELETE FROM outbox WHERE seq < $1";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("INSERT", &*INSERT), ("PAGE", &*PAGE), ("HEAD", &*HEAD), ("OLD", &*OLD), ("PRUNE", &*PRUNE)]
}

impl Store {
    /// The events after the place `seq`, at most `limit`. Those that are kept come without holes.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        self.stream_page(seq, limit).await.map(|page| page.events)
    }

    /// The events after the place `seq`, at most `limit`, and where the stream stood at that instant.
    pub async fn stream_page(&self, seq: i64, limit: u32) -> Result<StreamPage, StoreError> {
        let rows = self.db.rows(&PAGE, args![seq, i64::from(limit)]).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))?;
        let mut page = StreamPage { epoch: first.text(4)?, last: first.int(5)?, events: Vec::new() };
        if first.opt_int(0)?.is_some() {
            for row in &rows {
                unpack(row, seq, limit as usize, &mut page.events)?;
            }
        }
        Ok(page)
    }

    /// Where the stream stands.
    pub async fn stream_head(&self) -> Result<StreamHead, StoreError> {
        let row = self.db.row(&HEAD, args![]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))?;
        let last = row.int(1)?;
        Ok(StreamHead { epoch: row.text(0)?, last, oldest: row.opt_int(2)?.unwrap_or(last + 1) })
    }
}

impl Work {
    /// Deletes events older than `before`, the oldest first, at most `limit`, but all that stand in one row or none; returns
    /// how many went.
    pub async fn prune_events(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let row = self.tx.row(&OLD, args![before, i64::from(limit)]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("the outbox does not answer".to_owned()))?;
        let (Some(from), Some(until)) = (row.opt_int(0)?, row.opt_int(1)?) else { return Ok(0) };
        if until > from {
            self.tx.run(&PRUNE, args![until]).await?;
        }
        Ok(until.abs_diff(from))
    }

    /// Writes the events that come after the place `seq`.
    pub(crate) async fn write_outbox(&mut self, events: &[OutboxEvent], mut seq: i64) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for pack in events.chunks(PACK) {
            let first = seq + 1;
            seq += i64::try_from(pack.len()).unwrap_or(0);
            rows.row().int(seq).int(first).text(&packed(pack)).int(self.now.millis());
        }
        self.tx.run(&INSERT, args![rows.finish()]).await.map(drop)
    }
}

/// A line for each event. No payload has a line break: JSON texts are written with their control characters escaped.
fn packed(events: &[OutboxEvent]) -> String {
    let mut text = String::with_capacity(events.iter().map(|event| event.payload.len() + 40).sum());
    for OutboxEvent { agent, kind, payload } in events {
        debug_assert!(!payload.contains('\n'), "{payload}");
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = match agent {
            Some(agent) => write!(text, "{} {kind} ", agent.0),
            None => write!(text, "- {kind} "),
        };
        text.push_str(payload);
    }
    text
}

/// Adds the events of a row that come after the place `after`, until there are `limit`.
fn unpack(row: &Row, after: i64, limit: usize, into: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
    let (last, mut seq, text, created_at) = (row.int(0)?, row.int(1)?, row.text(2)?, row.time(3)?);
    let corrupt = || StoreError::Corrupt(format!("the events up to {last} are not readable"));
    for line in text.split('\n') {
        if seq > after && into.len() < limit {
            let mut parts = line.splitn(3, ' ');
            let (Some(agent), Some(kind), Some(payload)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(corrupt());
            };
            let agent = if agent == "-" { None } else { Some(AgentId(agent.parse().map_err(|_| corrupt())?)) };
            into.push(StoredEvent { seq, agent, kind: kind.to_owned(), payload: payload.to_owned(), created_at });
        }
        seq += 1;
    }
    if seq == last + 1 { Ok(()) } else { Err(corrupt()) }
}
