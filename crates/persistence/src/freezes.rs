//! Freezes: while one covers an agent, nothing is lent to it and it gets no key.

use std::collections::{BTreeSet, HashSet};

use kernel::{AgentId, FreezeId, Money, ProjectId, Timestamp, UserId};
use ledger::{Scope, ScopeKind};

use crate::balance::{exact, saturated};
use crate::db::{Row, Sql, Value, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility, number_rows};
use crate::{Store, StoreError, Work, engine};

/// A freeze, lifted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Its id.
    pub id: FreezeId,
    /// Whom it covers.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Since when.
    pub frozen_at: Timestamp,
    /// Who set it.
    pub frozen_by: UserId,
    /// When it was lifted; `None` while it is active.
    pub unfrozen_at: Option<Timestamp>,
    /// Who lifted it.
    pub unfrozen_by: Option<UserId>,
    /// Why it was lifted.
    pub unfreeze_reason: Option<String>,
}

impl Freeze {
    /// Whether it is in force.
    pub const fn is_active(&self) -> bool {
        self.unfrozen_at.is_none()
    }
}

/// A freeze that was set, or had been before, and whom it covers now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFreeze {
    /// The freeze.
    pub freeze: Freeze,
    /// Whether it is new.
    pub created: bool,
    /// How many live agents it covers.
    pub agents_affected: i64,
    /// How many of their leases are active.
    pub open_leases: i64,
    /// What is lent to them or in suspense.
    pub exposure: Money,
}

/// Which freezes. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreezeFilter {
    /// Whose eyes it is for: a user sees freezes that cover own agents.
    pub visible_to: Visibility,
    /// In force, or lifted.
    pub active: Option<bool>,
    /// Of this kind of scope.
    pub kind: Option<ScopeKind>,
    /// Of a scope with this id: an agent's number, a project's or a user's text.
    pub scope_id: Option<String>,
}

/// The states of so many agents at most are told together with a freeze.
const MOST_TOLD: usize = 500;

const COLUMNS: &str = "f.id, f.scope_key, f.reason, f.frozen_at, f.frozen_by, f.unfrozen_at, f.unfrozen_by, \
    f.unfreeze_reason";

statements! {
    ACTIVE = "SELECT f.id, f.scope_key, f.reason, f.frozen_at, f.frozen_by, f.unfrozen_at, f.unfrozen_by, \
        f.unfreeze_reason FROM freezes AS f WHERE f.scope_key = $1 AND f.unfrozen_at IS NULL {for_update}";
    /// Covers: the same list of scopes as in the directory's picture of an agent.
    COVERING = "SELECT f.id, f.scope_key, f.reason, f.frozen_at, f.frozen_by, f.unfrozen_at, f.unfrozen_by, \
        f.unfreeze_reason FROM agents AS a JOIN freezes AS f ON f.unfrozen_at IS NULL AND f.scope_key IN \
        ('organization', 'project:' || a.project_id, 'owner:' || a.owner_id, \
        'owner_project:' || a.owner_id || '/' || a.project_id, 'agent:' || a.id) \
        WHERE a.id = $1 ORDER BY f.frozen_at, f.id";
    OVER_OWNER = "SELECT f.id, f.scope_key, f.reason, f.frozen_at, f.frozen_by, f.unfrozen_at, f.unfrozen_by, \
        f.unfreeze_reason FROM freezes AS f WHERE f.unfrozen_at IS NULL AND f.scope_key IN \
        ('organization', 'owner:' || CAST($1 AS TEXT), 'project:' || CAST($2 AS TEXT), \
        'owner_project:' || CAST($1 AS TEXT) || '/' || CAST($2 AS TEXT)) ORDER BY f.frozen_at, f.id LIMIT 1";
    FROZEN_AMONG = "SELECT DISTINCT a.id FROM agents AS a JOIN freezes AS f ON f.unfrozen_at IS NULL AND f.scope_key IN \
        ('organization', 'project:' || a.project_id, 'owner:' || a.owner_id, \
        'owner_project:' || a.owner_id || '/' || a.project_id, 'agent:' || a.id) \
        WHERE a.id IN (SELECT {int 0} FROM {rows})";
    INSERT = "INSERT INTO freezes (id, scope_key, scope_kind, reason, frozen_at, frozen_by) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    LIFT = "UPDATE freezes SET unfrozen_at = $2, unfrozen_by = $3, unfreeze_reason = $4 \
        WHERE scope_key = $1 AND unfrozen_at IS NULL";
    ALL_AGENTS = "SELECT id FROM agents WHERE deleted_at IS NULL";
    ONE_AGENT = "SELECT id FROM agents WHERE deleted_at IS NULL AND id = $1";
    OF_PROJECT = "SELECT id FROM agents WHERE deleted_at IS NULL AND project_id = $1";
    OF_OWNER = "SELECT id FROM agents WHERE deleted_at IS NULL AND owner_id = $1";
    OF_OWNER_PROJECT = "SELECT id FROM agents WHERE deleted_at IS NULL AND owner_id = $1 AND project_id = $2";
    RAISE_EPOCHS = "UPDATE agent_books SET epoch = epoch + 1, frozen = 1 WHERE agent_id IN (SELECT {int 0} FROM {rows})";
    OPEN_LEASES = "SELECT COUNT(*) FROM leases WHERE state = 'active' AND agent_id IN (SELECT {int 0} FROM {rows})";
    /// Each lease is in its agent's allocation, so the allocations know what the agents may still lose.
    EXPOSURE = "SELECT CAST(COALESCE(SUM((c.leased + c.suspense) / 1000000000), 0) AS BIGINT), \
        CAST(COALESCE(SUM((c.leased + c.suspense) % 1000000000), 0) AS BIGINT) FROM accounts AS c \
        JOIN budgets AS d ON d.no = c.budget_no WHERE d.deleted_at IS NULL AND d.budget_window = 'none' \
        AND d.scope_key IN (SELECT 'agent:' || {int 0} FROM {rows})";
}

impl Store {
    /// The freeze of exactly this scope that is in force.
    pub async fn active_freeze(&self, scope: &Scope) -> Result<Option<Freeze>, StoreError> {
        let filter = FreezeFilter { active: Some(true), ..FreezeFilter::default() };
        let mut conditions = filter.conditions();
        conditions.and("f.scope_key = ?", [scope.key().into()]);
        let (text, args) = conditions.statement(&format!("SELECT {COLUMNS} FROM freezes AS f"), "", []);
        self.db.rows_of(text, args).await?.first().map(freeze_from_row).transpose()
    }

    /// The freezes in force that cover an agent, oldest first.
    pub async fn freezes_covering(&self, agent: AgentId) -> Result<Vec<Freeze>, StoreError> {
        self.db.rows(&COVERING, args![agent.0]).await?.iter().map(freeze_from_row).collect()
    }

    /// The oldest freeze in force that covers whatever somebody has in a project.
    pub async fn freeze_over_owner(&self, owner: &UserId, project: &ProjectId) -> Result<Option<Freeze>, StoreError> {
        let row = self.db.row(&OVER_OWNER, args![owner.as_str(), project.as_str()]).await?;
        row.as_ref().map(freeze_from_row).transpose()
    }

    /// Those of the agents that a freeze covers.
    pub(crate) async fn frozen_among(&self, agents: &[AgentId]) -> Result<HashSet<AgentId>, StoreError> {
        let rows = self.db.rows(&FROZEN_AMONG, args![number_rows(agents.iter().map(|id| id.0))]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    /// Freezes, youngest first.
    pub async fn freezes(&self, filter: &FreezeFilter, page: Page) -> Result<Listed<Freeze>, StoreError> {
        let (text, args) = filter.conditions().statement("SELECT COUNT(*) FROM freezes AS f", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM freezes AS f");
        let tail = " ORDER BY f.frozen_at DESC, f.id DESC LIMIT ? OFFSET ?";
        let (text, args) = filter.conditions().statement(&head, tail, page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(freeze_from_row).collect::<Result<_, _>>()?, total))
    }
}

impl FreezeFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        match self.active {
            Some(true) => drop(filter.and("f.unfrozen_at IS NULL", [])),
            Some(false) => drop(filter.and("f.unfrozen_at IS NOT NULL", [])),
            None => {}
        }
        filter.and_if("f.scope_kind = ?", self.kind.map(ScopeKind::as_str));
        filter.and_if("f.scope_key = f.scope_kind || ':' || ?", self.scope_id.as_deref());
        let own = "EXISTS (SELECT 1 FROM agents AS a WHERE a.owner_id = ? AND a.deleted_at IS NULL AND f.scope_key IN \
            ('organization', 'project:' || a.project_id, 'owner:' || a.owner_id, \
            'owner_project:' || a.owner_id || '/' || a.project_id, 'agent:' || a.id))";
        filter.and_if(own, self.visible_to.user());
        filter
    }
}

impl Work {
    /// As [`Store::freeze_over_owner`]; with [`Work::hold_directory`] before it, it stays true until this work ends.
    pub async fn freeze_over_owner(
        &mut self,
        owner: &UserId,
        project: &ProjectId,
    ) -> Result<Option<Freeze>, StoreError> {
        let row = self.tx.row(&OVER_OWNER, args![owner.as_str(), project.as_str()]).await?;
        row.as_ref().map(freeze_from_row).transpose()
    }

    /// Freezes a scope, which must exist. Where it is frozen already, that freeze stays as it is. A new one raises the epoch
    /// of every agent it covers, so that their leases are not refreshed even once it is lifted.
    pub async fn set_freeze(
        &mut self,
        id: &FreezeId,
        scope: &Scope,
        reason: &str,
        by: &UserId,
    ) -> Result<SetFreeze, StoreError> {
        // Nobody moves into the scope, or is lent money in it, until this is decided
        self.lock_scope(scope).await?;
        let key = scope.key();
        let values = args![id.as_str(), key.as_str(), scope.kind().as_str(), reason, self.now, by.as_str()];
        let created = self.tx.run(&INSERT, values).await? == 1;
        let row = self.tx.row(&ACTIVE, args![key]).await?;
        let freeze = row.as_ref().map(freeze_from_row).transpose()?;
        // Lifted by somebody else between the two questions
        let freeze = freeze.ok_or(StoreError::Collision)?;
        let agents = self.agents_in(scope).await?;
        let list = || number_rows(agents.iter().map(|id| id.0));
        if created {
            self.directory_changes();
            self.lock_books(&agents, std::iter::empty()).await?;
            self.tx.run(&RAISE_EPOCHS, args![list()]).await?;
            for agent in &agents {
                self.change_book(*agent, |book| book.epoch += 1);
            }
            self.tell_of_freeze(scope, &agents);
        }
        // Both may be answered in several pieces
        let mut open_leases = 0;
        for row in self.tx.rows(&OPEN_LEASES, args![list()]).await? {
            open_leases += row.int(0)?;
        }
        let mut exposure = 0;
        for row in self.tx.rows(&EXPOSURE, args![list()]).await? {
            exposure += exact(&row, 0)?;
        }
        let exposure = saturated(exposure);
        let set = SetFreeze { freeze, created, agents_affected: agents.len() as i64, open_leases, exposure };
        if created {
            self.emit(engine::frozen(&set));
        }
        Ok(set)
    }

    /// Lifts the freeze of a scope; returns it as it is then, `None` if the scope is not frozen.
    pub async fn lift_freeze(
        &mut self,
        scope: &Scope,
        reason: Option<&str>,
        by: &UserId,
    ) -> Result<Option<Freeze>, StoreError> {
        // Nobody moves into or out of the scope meanwhile, and every agent in it learns of this
        self.lock_scope(scope).await?;
        let key = scope.key();
        let Some(row) = self.tx.row(&ACTIVE, args![key.as_str()]).await? else { return Ok(None) };
        let mut agents = self.agents_in(scope).await?;
        if agents.len() > MOST_TOLD {
            agents.clear();
        }
        self.lock_books(&agents, std::iter::empty()).await?;
        self.tx.run(&LIFT, args![key, self.now, by.as_str(), reason]).await?;
        self.directory_changes();
        let lifted = Freeze {
            unfrozen_at: Some(self.now),
            unfrozen_by: Some(by.clone()),
            unfreeze_reason: reason.map(str::to_owned),
            ..freeze_from_row(&row)?
        };
        self.emit(engine::unfrozen(&lifted));
        self.tell_of_freeze(scope, &agents);
        Ok(Some(lifted))
    }

    /// The states of these agents, whose books are locked, are told with the freeze; where they are many, or none, those of
    /// all that are in the scope are looked at soon after.
    fn tell_of_freeze(&mut self, scope: &Scope, agents: &BTreeSet<AgentId>) {
        if agents.is_empty() || agents.len() > MOST_TOLD {
            self.look_at_scope(scope);
            return;
        }
        for agent in agents {
            self.mark_state(*agent);
        }
    }

    /// The live agents of a scope.
    async fn agents_in(&mut self, scope: &Scope) -> Result<BTreeSet<AgentId>, StoreError> {
        let (question, args) = agents_of(scope);
        self.tx.rows(question, args).await?.iter().map(|row| row.int(0).map(AgentId)).collect()
    }
}

/// The question for the live agents of a scope.
pub(crate) fn agents_of(scope: &Scope) -> (&'static Sql, Vec<Value>) {
    match scope {
        Scope::Organization => (&ALL_AGENTS, args![]),
        Scope::Agent(agent) => (&ONE_AGENT, args![agent.0]),
        Scope::Project(project) => (&OF_PROJECT, args![project.as_str()]),
        Scope::Owner(owner) => (&OF_OWNER, args![owner.as_str()]),
        Scope::OwnerProject(owner, project) => (&OF_OWNER_PROJECT, args![owner.as_str(), project.as_str()]),
    }
}

/// Reads [`COLUMNS`].
fn freeze_from_row(row: &Row) -> Result<Freeze, StoreError> {
    let scope = Scope::from_key(&row.text(1)?);
    Ok(Freeze {
        id: FreezeId::new(row.text(0)?),
        scope: scope.ok_or_else(|| StoreError::Corrupt("a freeze has an unreadable scope".to_owned()))?,
        reason: row.text(2)?,
        frozen_at: row.time(3)?,
        frozen_by: UserId::new(row.text(4)?),
        unfrozen_at: row.opt_time(5)?,
        unfrozen_by: row.opt_text(6)?.map(UserId::new),
        unfreeze_reason: row.opt_text(7)?,
    })
}
