//! What agents are doing, and telling the live stream when that or their figures change.
//!
//! The first of these that fits is an agent's state:
//!
//! | state | when |
//! |---|---|
//! | `deleted` | it is |
//! | `frozen` | a freeze covers it |
//! | `exhausted` | it has nothing lent to it, and nothing can be lent to it in some scope |
//! | `running` | it has an active lease, and told of an LLM request in the last five minutes |
//! | `inactive` | it has no IC token or no enabled key, so that it cannot begin |
//! | `idle` | otherwise: it could spend and does not |
//!
//! The state that was told last stands in the agent's book with all that it is derived from but the figures, so that a batch
//! needs no question of its own, and whoever derives it holds the lock under which it was told: each change is told once,
//! whatever the number of servers. Within one unit of work, which is one batch of the pipeline, an agent is told of once at
//! most, after what caused it, and only if something that is shown is other than before.
//!
//! What changes a state from elsewhere (a freeze, a token, a key, a wider budget, the clock) is either told by the work that
//! does it, where that holds the agent's book, or noted to be looked at: see [`crate::looks`].

use std::collections::{BTreeMap, BTreeSet};

use kernel::{AgentId, Timestamp};
use ledger::{Account, AgentBook, AgentFigures, Book};

use super::Checkout;
use super::events::{event, own_agent};
use super::watch::{Watch, figures_of};
use crate::db::{Row, args, statements};
use crate::listing::number_rows;
use crate::payload::Payload;
use crate::rows::Rows;
use crate::standing::book_in;
use crate::{StoreError, Work};

/// How long after an LLM request an agent counts as running, milliseconds.
const RUNNING_MS: i64 = 300_000;
/// A later request is not noted before so much time has passed.
const NOTED_MS: i64 = 1_000;

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentState {
    /// It spends: an active lease and an LLM request in the last five minutes.
    Running,
    /// It could spend and does not.
    Idle,
    /// Nothing is lent to it and nothing can be.
    Exhausted,
    /// A freeze covers it.
    Frozen,
    /// It has no IC token or no enabled key.
    Inactive,
    /// It is deleted.
    Deleted,
}

impl AgentState {
    const ALL: [Self; 6] = [Self::Running, Self::Idle, Self::Exhausted, Self::Frozen, Self::Inactive, Self::Deleted];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Exhausted => "exhausted",
            Self::Frozen => "frozen",
            Self::Inactive => "inactive",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What an agent's book keeps of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateRow {
    /// What was told last; `None` before anything was.
    told: Option<AgentState>,
    frozen: bool,
    /// Until when it has a token and a key; past: it has not.
    usable_until: Timestamp,
    /// How many of its leases are active.
    open_leases: i64,
    /// When it last told of an LLM request, or less than [`NOTED_MS`] before that.
    fact_at: Timestamp,
    /// When its state must be looked at though nothing happens; not after that time.
    look_at: Option<Timestamp>,
}

impl StateRow {
    /// Reads `state, frozen, usable_until, open_leases, fact_at, look_at` from the column with this index on.
    pub(super) fn read(row: &Row, first: usize) -> Result<Self, StoreError> {
        let unreadable = || StoreError::Corrupt("an agent is in an unreadable state".to_owned());
        let told = row.opt_text(first)?.map(|text| AgentState::parse(&text).ok_or_else(unreadable)).transpose()?;
        Ok(Self {
            told,
            frozen: row.flag(first + 1)?,
            usable_until: row.time(first + 2)?,
            open_leases: row.int(first + 3)?,
            fact_at: row.time(first + 4)?,
            look_at: row.opt_time(first + 5)?,
        })
    }

    /// The cells that a batch may change: the state, its active leases, its last LLM request.
    pub(crate) fn cells(&self, rows: &mut Rows) {
        rows.opt_text(self.told.map(AgentState::as_str)).int(self.open_leases).int(self.fact_at.millis());
    }

    fn derive(&self, figures: &AgentFigures, exhausted: impl FnOnce() -> bool, now: Timestamp) -> AgentState {
        if self.told == Some(AgentState::Deleted) {
            AgentState::Deleted
        } else if self.frozen {
            AgentState::Frozen
        } else if figures.account.leased.micros_floor() <= 0 && exhausted() {
            AgentState::Exhausted
        } else if self.open_leases > 0 && now < self.idle_at() {
            AgentState::Running
        } else if now >= self.usable_until {
            AgentState::Inactive
        } else {
            AgentState::Idle
        }
    }

    const fn idle_at(&self) -> Timestamp {
        self.fact_at.plus_millis(RUNNING_MS)
    }

    /// The next instant at which the state may change though nothing happens.
    fn next_look(&self, state: AgentState, agent: &AgentBook, book: &Book, now: Timestamp) -> Option<Timestamp> {
        let of_state = match state {
            AgentState::Deleted => return None,
            AgentState::Running => Some(self.idle_at()),
            AgentState::Exhausted => next_reset(book, agent, now),
            AgentState::Idle | AgentState::Frozen | AgentState::Inactive => None,
        };
        let token = Some(self.usable_until).filter(|end| *end < Timestamp::MAX);
        of_state.into_iter().chain(token).filter(|at| *at > now).min()
    }
}

/// Whether some enabled budget has less than a micro-dollar to lend, or there is none at all.
fn is_exhausted(book: &Book, agent: &AgentBook, now: Timestamp) -> bool {
    let figures = book.figures(agent, now).unwrap_or_default();
    let mut enabled = figures.iter().filter(|figures| figures.budget.enabled).peekable();
    enabled.peek().is_none() || enabled.any(|figures| figures.available.micros_floor() <= 0)
}

/// When the first window ends in which nothing can be lent.
fn next_reset(book: &Book, agent: &AgentBook, now: Timestamp) -> Option<Timestamp> {
    let figures = book.figures(agent, now).unwrap_or_default();
    let empty = figures.iter().filter(|f| f.budget.enabled && f.available.micros_floor() <= 0);
    empty.filter_map(|figures| figures.window_end).min()
}

/// What is shown of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    state: Option<AgentState>,
    figures: AgentFigures,
    open_leases: i64,
}

/// What a unit of work does to the states of agents.
#[derive(Default)]
pub(crate) struct States {
    /// What was shown before it and will be after it.
    shown: BTreeMap<AgentId, (Shown, Shown)>,
    /// Agents with locked books whose freezes, tokens, keys or scopes it changes.
    marked: BTreeSet<AgentId>,
    /// Agents whose rows change in what a batch does not change.
    moved: BTreeSet<AgentId>,
}

statements! {
    FLAGS = "SELECT a.id, CAST(CASE WHEN a.deleted_at IS NULL THEN 0 ELSE 1 END AS BIGINT), \
        CAST(CASE WHEN EXISTS (SELECT 1 FROM freezes AS f WHERE f.unfrozen_at IS NULL AND f.scope_key IN \
            ('organization', 'project:' || a.project_id, 'owner:' || a.owner_id, \
            'owner_project:' || a.owner_id || '/' || a.project_id, 'agent:' || a.id)) THEN 1 ELSE 0 END AS BIGINT), \
        CAST(CASE WHEN EXISTS (SELECT 1 FROM provider_keys AS k WHERE k.is_enabled = 1 AND (k.id = a.primary_key_id \
            OR k.id IN (SELECT x.key_id FROM agent_provider_keys AS x WHERE x.agent_id = a.id) \
            OR k.id IN (SELECT p.key_id FROM project_provider_keys AS p WHERE p.project_id = a.project_id))) \
            THEN 1 ELSE 0 END AS BIGINT), a.ic_token_created_at, a.ic_token_expires_at \
        FROM agents AS a WHERE a.id IN (SELECT {int 0} FROM {rows})";
    MOVE = "UPDATE agent_books SET frozen = v.frozen, usable_until = v.usable_until, look_at = v.look_at FROM \
        (SELECT {int 0} AS agent_id, {int 1} AS frozen, {int 2} AS usable_until, {int 3} AS look_at FROM {rows}) AS v \
        WHERE agent_books.agent_id = v.agent_id";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn state_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("MOVE", &*MOVE)]
}

impl Work {
    /// Notes what the commands of a batch have made of the agents they were about, and which wider scopes have run out of
    /// money or have some again.
    pub(super) fn note_states(&mut self, watch: &Watch, checkout: &Checkout) {
        let (now, book) = (self.now, &checkout.book);
        for (id, watched) in &watch.agents {
            let (Some(row), Some(agent)) = (self.books.get_mut(id), book.agents.get(id)) else { continue };
            let before = Shown { state: row.state.told, figures: watched.figures, open_leases: row.state.open_leases };
            let state = &mut row.state;
            // Only shown; money does not depend on it
            state.open_leases = (state.open_leases + watched.opened).max(0);
            // To the second: an agent at work is not written for each call
            let noted = watched.worked && now >= state.fact_at.plus_millis(NOTED_MS);
            if noted {
                state.fact_at = now;
            }
            let figures = figures_of(book, *id);
            let told = state.derive(&figures, || is_exhausted(book, agent, now), now);
            if before.state != Some(told) {
                state.told = Some(told);
                // An earlier look than needed finds that nothing has changed
                let next = state.next_look(told, agent, book, now);
                if next.is_some_and(|next| state.look_at.is_none_or(|at| next < at)) {
                    state.look_at = next;
                    self.states.moved.insert(*id);
                }
            }
            let after = Shown { state: Some(told), figures, open_leases: state.open_leases };
            if noted || before.state != after.state || watched.opened != 0 {
                self.soil_book(*id);
            }
            self.states.shown.entry(*id).or_insert((before, after)).1 = after;
        }
        self.note_wider_scopes(watch, checkout);
    }

    /// Agents that drew nothing in this batch may have become exhausted by it, or have come out of that.
    fn note_wider_scopes(&mut self, watch: &Watch, checkout: &Checkout) {
        let book = &checkout.book;
        for (key, before) in &watch.accounts {
            let Some(budget) = book.budgets.get(&key.budget) else { continue };
            let wider = own_agent(&budget.scope).is_none() && budget.enabled;
            if !wider || *key != budget.account_at(self.now) || watch.budgets.contains(&budget.no) {
                continue;
            }
            let empty = |account: &Account| account.available(budget.cap).is_ok_and(|left| left.micros_floor() <= 0);
            if empty(before) != empty(&book.account(*key)) {
                self.look_at_scope(&budget.scope);
            }
        }
        for budget in watch.budgets.iter().filter_map(|no| book.budgets.get(no)) {
            if own_agent(&budget.scope).is_none() {
                self.look_at_scope(&budget.scope);
            }
        }
    }

    /// Notes that freezes, tokens, keys or scopes of an agent change in this work, which holds its book; where it does not,
    /// the agent is looked at afterwards.
    pub(crate) fn mark_state(&mut self, agent: AgentId) {
        if self.books.contains_key(&agent) {
            self.states.marked.insert(agent);
        } else {
            self.look_at_scope(&ledger::Scope::Agent(agent));
        }
    }

    /// Derives the states of the marked agents from what this work leaves, and tells of every agent whose state or figures it
    /// has changed. For the end of the work, before its events are written.
    pub(crate) async fn tell_states(&mut self) -> Result<(), StoreError> {
        let marked = std::mem::take(&mut self.states.marked);
        if !marked.is_empty() {
            self.derive_marked(&marked).await?;
        }
        for (agent, (before, after)) in std::mem::take(&mut self.states.shown) {
            if before != after {
                self.emit(state_update(agent, &after));
            }
        }
        self.write_moved().await
    }

    async fn derive_marked(&mut self, marked: &BTreeSet<AgentId>) -> Result<(), StoreError> {
        let ids: Vec<AgentId> = marked.iter().copied().collect();
        let (book, _) = book_in(&mut self.tx, &ids, self.now).await?;
        let now = self.now;
        for id in marked {
            // What is looked at is not looked at again for the same time, whatever comes of it
            if let Some(row) = self.books.get_mut(id)
                && row.state.look_at.take().is_some()
            {
                self.states.moved.insert(*id);
            }
        }
        for flags in self.tx.rows(&FLAGS, args![number_rows(ids.iter().map(|id| id.0))]).await? {
            let id = AgentId(flags.int(0)?);
            let (Some(row), Some(agent)) = (self.books.get_mut(&id), book.agents.get(&id)) else { continue };
            let state = &mut row.state;
            let old = state.clone();
            let is_deleted = flags.flag(1)?;
            let has_key_and_token = flags.flag(3)? && flags.opt_int(4)?.is_some();
            state.frozen = flags.flag(2)?;
            state.usable_until =
                if has_key_and_token { flags.opt_time(5)?.unwrap_or(Timestamp::MAX) } else { Timestamp::EPOCH };
            let figures = figures_of(&book, id);
            let told = if is_deleted {
                AgentState::Deleted
            } else {
                state.derive(&figures, || is_exhausted(&book, agent, now), now)
            };
            state.told = Some(told);
            state.look_at = state.next_look(told, agent, &book, now);
            let after = Shown { state: Some(told), figures, open_leases: state.open_leases };
            let before = Shown { state: old.told, ..after };
            if *state != old {
                self.states.moved.insert(id);
                self.soil_book(id);
            }
            self.states.shown.entry(id).or_insert((before, after)).1 = after;
        }
        Ok(())
    }

    async fn write_moved(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for id in std::mem::take(&mut self.states.moved) {
            let Some(state) = self.books.get(&id).map(|row| &row.state) else { continue };
            rows.row().int(id.0).int(i64::from(state.frozen)).int(state.usable_until.millis());
            rows.opt_int(state.look_at.map(Timestamp::millis));
        }
        if rows.is_empty() { Ok(()) } else { self.tx.run(&MOVE, args![rows.finish()]).await.map(drop) }
    }
}

fn state_update(agent: AgentId, shown: &Shown) -> crate::OutboxEvent {
    let AgentFigures { account, .. } = shown.figures;
    let left = shown.figures.remaining();
    let data = Payload::new()
        .null("current_lead")
        .spent_usd("budget_spent", account.spent)
        .left_usd("budget_remaining", left)
        .spent("budget_spent_microdollars", account.spent)
        .left("budget_remaining_microdollars", left)
        .spent("leased", account.leased)
        .spent("suspense", account.suspense)
        .int("open_leases", shown.open_leases);
    let state = shown.state.map_or("idle", AgentState::as_str);
    event(Some(agent), "STATE_UPDATE", Payload::new().text("state", state).object("data", data))
}
