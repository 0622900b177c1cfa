//! Reading the outbox: what the live stream tells, in the order of the commits.

use kernel::{AgentId, Timestamp};

use crate::db::{Row, args, statements};
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

statements! {
    /// A row in any case, and of one state of the database.
    PAGE = "SELECT o.seq, o.agent_id, o.kind, o.payload, o.created_at, h.stream_epoch, h.outbox_seq FROM heads AS h \
        LEFT JOIN (SELECT p.seq, p.agent_id, p.kind, p.payload, p.created_at FROM outbox AS p WHERE p.seq > $1 \
        ORDER BY p.seq LIMIT $2) AS o ON 1 = 1 WHERE h.id = 1 ORDER BY o.seq";
    AFTER = "SELECT seq, agent_id, kind, payload, created_at FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2";
    HEAD = "SELECT h.stream_epoch, h.outbox_seq, (SELECT MIN(o.seq) FROM outbox AS o) FROM heads AS h WHERE h.id = 1";
    /// The oldest rows, up to the first that is young enough: what is left has no holes even where clocks disagree.
    PRUNE = "DELETE FROM outbox WHERE seq < (SELECT COALESCE(MIN(CASE WHEN o.created_at >= $1 THEN o.seq END), \
        MAX(o.seq) + 1) FROM (SELECT p.seq, p.created_at FROM outbox AS p ORDER BY p.seq LIMIT $2) AS o)";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("PAGE", &*PAGE), ("AFTER", &*AFTER), ("HEAD", &*HEAD), ("PRUNE", &*PRUNE)]
}

impl Store {
    /// The events after the place `seq`, at most `limit`. Those that are kept come without holes.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = self.db.rows(&AFTER, args![seq, i64::from(limit)]).await?;
        rows.iter().map(event_from_row).collect()
    }

    /// The events after the place `seq`, at most `limit`, and where the stream stood at that instant.
    pub async fn stream_page(&self, seq: i64, limit: u32) -> Result<StreamPage, StoreError> {
        let rows = self.db.rows(&PAGE, args![seq, i64::from(limit)]).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))?;
        let (epoch, last) = (first.text(5)?, first.int(6)?);
        let none = first.opt_int(0)?.is_none();
        let events = if none { Ok(Vec::new()) } else { rows.iter().map(event_from_row).collect() };
        Ok(StreamPage { epoch, last, events: events? })
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
    /// Deletes events older than `before`, the oldest first, at most `limit`; returns how many went.
    pub async fn prune_events(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.tx.run(&PRUNE, args![before, i64::from(limit)]).await
    }
}

fn event_from_row(row: &Row) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        seq: row.int(0)?,
        agent: row.opt_int(1)?.map(AgentId),
        kind: row.text(2)?,
        payload: row.text(3)?,
        created_at: row.time(4)?,
    })
}
