//! What has to be done from time to time: leases that ran out, and records that are kept for a while only.
//!
//! Leases carry `sweep_at`, a time not after their true expiry. A report moves the expiry but not `sweep_at`, so that it
//! touches no index; when `sweep_at` has come, the sweep looks whether the lease has really run out, and if not, moves
//! `sweep_at` to its expiry of now.

use std::sync::Arc;

use kernel::{LeaseId, Timestamp};
use ledger::AgentBook;

use crate::db::{Value, args, statements};
use crate::engine::{LEASE_COLUMNS, lease_from_row};
use crate::filter::Filter;
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// Idempotency keys of handshake and refresh are kept this long, milliseconds.
pub const GRANT_REQUESTS_KEPT_MS: i64 = 86_400_000;

/// The leases whose time to be looked at has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// They have run out: to be submitted as [`ledger::Command::Expire`].
    pub expired: Vec<LeaseId>,
    /// They live on until the time beside them: for [`Work::postpone_sweeps`].
    pub postponed: Vec<(LeaseId, Timestamp)>,
    /// Whether there were as many as asked for, so that more may wait.
    pub full: bool,
}

impl Sweep {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.expired.is_empty() && self.postponed.is_empty()
    }
}

statements! {
    /// Rows that somebody else is just changing are left for the next time: the sweep waits for nobody.
    POSTPONE = "UPDATE leases SET sweep_at = v.sweep_at FROM (SELECT {text 0} AS id, {int 1} AS sweep_at FROM {rows}) AS v \
        WHERE leases.id = v.id AND leases.state = 'active' AND leases.sweep_at < v.sweep_at"
        | "UPDATE leases SET sweep_at = v.sweep_at FROM (SELECT l.id, w.sweep_at FROM leases AS l JOIN \
        (SELECT {text 0} AS id, {int 1} AS sweep_at FROM {rows}) AS w ON w.id = l.id \
        WHERE l.state = 'active' AND l.sweep_at < w.sweep_at ORDER BY l.id FOR UPDATE OF l SKIP LOCKED) AS v \
        WHERE leases.id = v.id";
    PRUNE_REQUESTS = "DELETE FROM grant_requests WHERE (agent_id, request_key) IN (SELECT q.agent_id, q.request_key \
        FROM grant_requests AS q WHERE q.created_at < $1 ORDER BY q.created_at LIMIT $2 {skip_locked})";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("POSTPONE", &*POSTPONE), ("PRUNE_REQUESTS", &*PRUNE_REQUESTS)]
}

impl Store {
    /// Looks at active leases whose time has come, the longest overdue first, at most `limit`. Bounded work whatever is
    /// overdue; call it again while it is [`Sweep::full`], after having dealt with what it found. A lease whose expiry is
    /// refused, which takes damaged books, is to be postponed a little, or it is found first for ever.
    pub async fn leases_to_sweep(&self, now: Timestamp, limit: u32) -> Result<Sweep, StoreError> {
        let (sql, args) = due_question(now, limit);
        let rows = self.db.rows_of(sql, args).await?;
        let mut sweep = Sweep { full: rows.len() >= limit as usize, ..Sweep::default() };
        for row in rows {
            let (lease, _) = lease_from_row(&row)?;
            let book = AgentBook {
                id: lease.agent,
                owner: lease.owner.clone(),
                project: None,
                epoch: lease.epoch,
                alive_since: row.time(30)?,
                alive_until: row.time(31)?,
            };
            match lease.expiry(&book) {
                expiry if expiry <= now => sweep.expired.push(lease.id),
                expiry => sweep.postponed.push((lease.id, expiry)),
            }
        }
        Ok(sweep)
    }
}

/// The question for the active leases whose time to be looked at has come.
pub(crate) fn due_question(now: Timestamp, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and("l.state = 'active' AND l.sweep_at <= ? AND b.agent_id = l.agent_id", [now.into()]);
    let head =
        format!("SELECT {LEASE_COLUMNS}, b.alive_since, b.alive_until FROM leases AS l CROSS JOIN agent_books AS b");
    filter.statement(&head, " ORDER BY l.sweep_at LIMIT ?", [i64::from(limit).into()])
}

impl Work {
    /// Moves the times at which these leases are looked at next; returns how many were moved. Never moves one back, and
    /// leaves those alone that have ended.
    pub async fn postpone_sweeps(&mut self, postponed: &[(LeaseId, Timestamp)]) -> Result<u64, StoreError> {
        if postponed.is_empty() {
            return Ok(0);
        }
        let mut rows = Rows::new();
        for (lease, at) in postponed {
            rows.row().text(lease.as_str()).int(at.millis());
        }
        self.tx.run(&POSTPONE, args![rows.finish()]).await
    }

    /// Forgets idempotency keys that are older than [`GRANT_REQUESTS_KEPT_MS`], at most `limit`; returns how many.
    pub async fn prune_grant_requests(&mut self, limit: u32) -> Result<u64, StoreError> {
        let before = self.now.plus_millis(-GRANT_REQUESTS_KEPT_MS);
        self.tx.run(&PRUNE_REQUESTS, args![before, i64::from(limit)]).await
    }
}
