//! Leases: reading, listing and counting them. What changes them is the ledger, through [`Work::run`](crate::Work::run).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kernel::{AgentId, EndedBy, LeaseId, LeaseState, Money, ProjectId, Timestamp, UserId};
use ledger::{AgentBook, Lease, Scope};

use crate::balance::{Amounts, exact, exact_sum, granted_in, saturated};
use crate::db::{Row, Value, args, statements};
use crate::engine::{LEASE_COLUMNS, lease_from_row};
use crate::filter::Filter;
use crate::listing::Visibility;
use crate::slice::{BadCursor, Slice};
use crate::{Backend, LeaseTerms, Store, StoreError, Work};

/// A lease as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The lease as the ledger left it. One that has run out is still `active` here until the sweep or a command about it
    /// comes by: see [`LeaseView::has_run_out`].
    pub lease: Lease,
    /// What it is for.
    pub terms: LeaseTerms,
    /// The agent's name now.
    pub agent_name: String,
    /// The agent's owner now, who may see and revoke it; [`Lease::owner`] is the owner at the grant, who pays.
    pub agent_owner: UserId,
    /// When it expires, or would have, with the agent's signs of life.
    pub expires_at: Timestamp,
}

impl LeaseView {
    /// Whether it is active and its time is over: to be expired before it is shown.
    pub fn has_run_out(&self, now: Timestamp) -> bool {
        self.lease.state == LeaseState::Active && self.expires_at <= now
    }
}

/// Which leases. Conditions that are not given do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseFilter {
    /// Whose eyes it is for: leases of agents that they own now.
    pub visible_to: Visibility,
    /// Of one of these agents.
    pub agents: Vec<AgentId>,
    /// In one of these states, as stored.
    pub states: Vec<LeaseState>,
    /// Whose agent's owner at the grant this was.
    pub owner: Option<UserId>,
    /// Whose agent's project at the grant this was.
    pub project: Option<ProjectId>,
    /// Granted at or after this.
    pub from: Option<Timestamp>,
    /// Granted before this.
    pub to: Option<Timestamp>,
}

/// A place in the list of leases; written and read as an opaque text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCursor {
    created_at: Timestamp,
    id: LeaseId,
}

impl fmt::Display for LeaseCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.millis(), self.id)
    }
}

impl FromStr for LeaseCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (millis, id) = text.split_once('.').ok_or(BadCursor)?;
        let millis = millis.parse().map_err(|_| BadCursor)?;
        if id.is_empty() || id.len() > 100 || id.contains('\0') {
            return Err(BadCursor);
        }
        Ok(Self { created_at: Timestamp::from_millis(millis), id: LeaseId::new(id) })
    }
}

/// How many leases are open, that is, not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenCounts {
    /// Money is lent.
    pub active: i64,
    /// Expired, the rest in suspense.
    pub expired: i64,
    /// Revoked, the rest in suspense.
    pub revoked: i64,
}

impl OpenCounts {
    fn slot(&mut self, state: &str) -> Option<&mut i64> {
        match LeaseState::parse(state)? {
            LeaseState::Active => Some(&mut self.active),
            LeaseState::Expired => Some(&mut self.expired),
            LeaseState::Revoked => Some(&mut self.revoked),
            LeaseState::Closed => None,
        }
    }
}

/// What is open in a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenLeases {
    /// How many leases.
    pub counts: OpenCounts,
    /// Lent and not reported.
    pub leased: Money,
    /// In suspense.
    pub suspense: Money,
}

impl OpenLeases {
    /// The most that can still be lost; saturates.
    pub fn exposure(&self) -> Money {
        [self.leased, self.suspense].into_iter().sum()
    }
}

statements! {
    /// Answered from the index over open leases alone.
    COUNT_OPEN = "SELECT l.state, COUNT(*) FROM leases AS l WHERE l.state <> 'closed' GROUP BY l.state";
    ACTIVE_OF_AGENT = "SELECT l.id FROM leases AS l WHERE l.agent_id = $1 AND l.state = 'active' AND l.state <> 'closed' \
        ORDER BY l.id";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn open_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("COUNT_OPEN", &*COUNT_OPEN), ("ACTIVE_OF_AGENT", &*ACTIVE_OF_AGENT)]
}

impl Store {
    /// One lease.
    pub async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseView>, StoreError> {
        let mut filter = Filter::default();
        filter.and("l.id = ?", [id.as_str().into()]);
        let (sql, args) = view_question(filter, "", []);
        Ok(self.lease_views(sql, args).await?.into_iter().next())
    }

    /// The leases, youngest grant first, at most `limit` after the cursor.
    pub async fn leases(
        &self,
        wanted: &LeaseFilter,
        after: Option<&LeaseCursor>,
        limit: u32,
    ) -> Result<Slice<LeaseView, LeaseCursor>, StoreError> {
        let (sql, args) = list_question(wanted, after, limit);
        let views = self.lease_views(sql, args).await?;
        let place = |view: &LeaseView| LeaseCursor { created_at: view.lease.created_at, id: view.lease.id.clone() };
        Ok(Slice::cut(views, limit, place))
    }

    async fn lease_views(&self, sql: Arc<str>, args: Vec<Value>) -> Result<Vec<LeaseView>, StoreError> {
        self.db.rows_of(sql, args).await?.iter().map(view_from_row).collect()
    }

    /// How many leases are open in all.
    pub async fn open_lease_counts(&self) -> Result<OpenCounts, StoreError> {
        let mut counts = OpenCounts::default();
        for row in self.db.rows(&COUNT_OPEN, args![]).await? {
            if let Some(slot) = counts.slot(&row.text(0)?) {
                *slot = row.int(1)?;
            }
        }
        Ok(counts)
    }

    /// How many leases granted in the scope are open, and how much of their money is out. Costs what is open, not what
    /// ever was.
    pub async fn open_leases(&self, scope: &Scope) -> Result<OpenLeases, StoreError> {
        let (sql, args) = open_question(self.backend(), scope);
        let mut open = OpenLeases::default();
        let (mut leased, mut suspense) = (0, 0);
        for row in self.db.rows_of(sql, args).await? {
            let state = row.text(0)?;
            let Some(slot) = open.counts.slot(&state) else { continue };
            *slot = row.int(1)?;
            *(if state == LeaseState::Active.as_str() { &mut leased } else { &mut suspense }) += exact(&row, 2)?;
        }
        (open.leased, open.suspense) = (saturated(leased), saturated(suspense));
        Ok(open)
    }
}

/// The question for some leases as they are shown.
fn view_question<const N: usize>(mut filter: Filter, tail: &'static str, values: [Value; N]) -> (Arc<str>, Vec<Value>) {
    filter.and("a.id = l.agent_id AND b.agent_id = l.agent_id", []);
    // The embedded database keeps the order of a CROSS JOIN: from leases to their agents, never the other way round
    let head = format!(
        "SELECT {LEASE_COLUMNS}, a.name, a.owner_id, b.alive_since, b.alive_until \
         FROM leases AS l CROSS JOIN agents AS a CROSS JOIN agent_books AS b"
    );
    filter.statement(&head, tail, values)
}

/// The question for a stretch of the list, and one row more.
pub(crate) fn list_question(wanted: &LeaseFilter, after: Option<&LeaseCursor>, limit: u32) -> (Arc<str>, Vec<Value>) {
    let mut filter = wanted.conditions();
    if let Some(cursor) = after {
        filter.and("(l.created_at, l.id) < (?, ?)", [cursor.created_at.into(), cursor.id.as_str().into()]);
    }
    view_question(filter, " ORDER BY l.created_at DESC, l.id DESC LIMIT ?", [(i64::from(limit) + 1).into()])
}

/// The question for what is open in a scope, by state.
pub(crate) fn open_question(backend: Backend, scope: &Scope) -> (Arc<str>, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and("l.state <> 'closed'", []);
    granted_in(&mut filter, scope);
    let rest = Amounts::new(backend).rest;
    let head = format!("SELECT l.state, COUNT(*), {} FROM leases AS l", exact_sum(&rest));
    filter.statement(&head, " GROUP BY l.state", [])
}

impl Work {
    /// The active leases of the agent, to be revoked when it is deleted. Locks the agent's book, so that the answer holds
    /// until the commit.
    pub async fn active_leases(&mut self, agent: AgentId) -> Result<Vec<LeaseId>, StoreError> {
        self.lock_books(&BTreeSet::from([agent]), std::iter::empty()).await?;
        let rows = self.tx.rows(&ACTIVE_OF_AGENT, args![agent.0]).await?;
        rows.iter().map(|row| row.text(0).map(LeaseId::new)).collect()
    }
}

impl LeaseFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        filter
            .and_if("l.agent_id IN (SELECT own.id FROM agents AS own WHERE own.owner_id = ?)", self.visible_to.user());
        filter.and_one_of("l.agent_id", self.agents.iter().map(|agent| agent.0));
        filter.and_one_of("l.state", self.states.iter().map(|state| state.as_str()));
        if !self.states.is_empty() && self.states.iter().all(|s| matches!(s, LeaseState::Expired | LeaseState::Revoked))
        {
            // Said in the words of the index over suspense
            filter.and("l.state IN ('expired', 'revoked')", []);
        }
        filter.and_if("l.owner_id = ?", self.owner.as_ref().map(UserId::as_str));
        filter.and_if("l.project_id = ?", self.project.as_ref().map(ProjectId::as_str));
        filter.and_if("l.created_at >= ?", self.from).and_if("l.created_at < ?", self.to);
        filter
    }
}

/// Reads [`LEASE_COLUMNS`], the agent's name and owner, and its signs of life.
fn view_from_row(row: &Row) -> Result<LeaseView, StoreError> {
    let (lease, terms) = lease_from_row(row)?;
    let agent_owner = UserId::new(row.text(31)?);
    let book = AgentBook {
        id: lease.agent,
        owner: agent_owner.clone(),
        project: None,
        epoch: lease.epoch,
        alive_since: row.time(32)?,
        alive_until: row.time(33)?,
    };
    let expires_at = match (lease.state, lease.ended_by) {
        (LeaseState::Active, _) => lease.expiry(&book),
        (_, Some(EndedBy::Expiry)) => lease.ended_at.unwrap_or(lease.expires_at),
        _ => lease.expires_at,
    };
    Ok(LeaseView { agent_name: row.text(30)?, agent_owner, expires_at, lease, terms })
}

#[cfg(test)]
mod tests {
    use super::LeaseCursor;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let cursor: LeaseCursor = "1700000000123.lease_1.2".parse().expect("a cursor");
        assert_eq!(cursor.to_string(), "1700000000123.lease_1.2");
        for bad in ["", "1", "x.lease_1", "1.", "1.\0", "99999999999999999999.lease_1"] {
            assert!(bad.parse::<LeaseCursor>().is_err(), "{bad}");
        }
    }
}
