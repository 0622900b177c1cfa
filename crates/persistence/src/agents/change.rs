//! Making, changing, moving and deleting agents.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use kernel::{AgentId, ProjectId, ProviderKeyId, UserId};
use ledger::{AgentBook, ChainHead};

use super::{Agent, COLUMNS, agent_from_row};
use crate::db::{Sql, args, statements};
use crate::listing::{name_key, number_rows, texts_to_json};
use crate::rows::Rows;
use crate::{RightsOf, Store, StoreError, Work};

/// An agent to be made. Its owner, project and key must exist: see [`Work::hold_user`], [`Work::hold_project`] and
/// [`Work::hold_provider_keys`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgent {
    /// Its name.
    pub name: String,
    /// The kinds of provider it is said to use.
    pub providers: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Who owns it.
    pub owner: UserId,
    /// Which project it is in.
    pub project: Option<ProjectId>,
    /// Its primary provider key.
    pub primary_key: Option<ProviderKeyId>,
}

/// A change of an agent; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentChange {
    /// Its new name.
    pub name: Option<String>,
    /// The kinds of provider it is said to use now.
    pub providers: Option<Vec<String>>,
    /// What it is for now, if anything.
    pub description: Option<Option<String>>,
    /// Its labels now.
    pub tags: Option<Vec<String>>,
    /// Who owns it now.
    pub owner: Option<UserId>,
    /// Which project it is in now, if any.
    pub project: Option<Option<ProjectId>>,
    /// Its primary key now, if any. Keys that were assigned to it besides stay assigned.
    pub primary_key: Option<Option<ProviderKeyId>>,
}

/// An agent that was given to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedAgent {
    /// Which one.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// The project it is and stays in.
    pub project: Option<ProjectId>,
}

static FOR_UPDATE: LazyLock<Sql> =
    LazyLock::new(|| Sql::new(&format!("SELECT {COLUMNS} FROM agents AS a WHERE a.id = $1 {{for_update}}")));

statements! {
    INSERT = "INSERT INTO agents (name, name_key, providers, description, tags, owner_id, project_id, primary_key_id, \
        created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) RETURNING id";
    INSERT_BOOK = "INSERT INTO agent_books (agent_id, owner_id, project_id, epoch, alive_since, alive_until, \
        chain_length, chain_hash) VALUES ($1, $2, $3, 1, 0, 0, 0, $4)";
    UPDATE = "UPDATE agents SET name = $2, name_key = $3, providers = $4, description = $5, tags = $6, owner_id = $7, \
        project_id = $8, primary_key_id = $9, updated_at = $10 WHERE id = $1";
    UPDATE_BOOK = "UPDATE agent_books SET owner_id = $2, project_id = $3 WHERE agent_id = $1";
    DELETE = "UPDATE agents SET deleted_at = $2, updated_at = $2, ic_token_hash = NULL, ic_token_created_at = NULL, \
        ic_token_expires_at = NULL WHERE id = $1";
    COUNT = "SELECT COUNT(*) FROM agents WHERE deleted_at IS NULL AND owner_id = COALESCE($1, owner_id) \
        AND (CAST($2 AS TEXT) IS NULL OR project_id = $2)";
    OWNED = "SELECT id FROM agents WHERE owner_id = $1";
    OF_OWNER = "SELECT id FROM agents WHERE owner_id = $1 AND deleted_at IS NULL";
    IN_PROJECT = "SELECT id FROM agents WHERE project_id = $1 AND deleted_at IS NULL";
    GIVE = "UPDATE agents SET owner_id = v.new_owner, updated_at = v.given_at FROM (SELECT {int 0} AS id, \
        {text 1} AS old_owner, {text 2} AS new_owner, {int 3} AS given_at FROM {rows}) AS v \
        WHERE agents.id = v.id AND agents.owner_id = v.old_owner AND agents.deleted_at IS NULL \
        RETURNING agents.id, agents.name, agents.project_id";
    GIVE_BOOKS = "UPDATE agent_books SET owner_id = v.owner_id FROM (SELECT {int 0} AS id, {text 1} AS owner_id \
        FROM {rows}) AS v WHERE agent_books.agent_id = v.id";
    MOVE_OUT = "UPDATE agents SET project_id = NULL, updated_at = v.moved_at FROM (SELECT {int 0} AS id, \
        {text 1} AS project_id, {int 2} AS moved_at FROM {rows}) AS v \
        WHERE agents.id = v.id AND agents.project_id = v.project_id AND agents.deleted_at IS NULL RETURNING agents.id";
    MOVE_OUT_BOOKS = "UPDATE agent_books SET project_id = NULL WHERE agent_id IN (SELECT {int 0} FROM {rows})";
    FORGET_PROJECT_BOOKS = "UPDATE agent_books SET project_id = NULL WHERE agent_id IN \
        (SELECT id FROM agents WHERE project_id = $1 AND deleted_at IS NOT NULL)";
    FORGET_PROJECT = "UPDATE agents SET project_id = NULL WHERE project_id = $1 AND deleted_at IS NOT NULL";
}

impl Store {
    /// The agents of a user, deleted ones included.
    pub async fn agents_owned_by(&self, owner: &UserId) -> Result<Vec<AgentId>, StoreError> {
        let rows = self.db.rows(&OWNED, args![owner.as_str()]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }
}

impl Work {
    /// Makes an agent and its book. It can borrow once it has an allocation: [`Work::open_agent_allocation`].
    pub async fn create_agent(&mut self, new: &NewAgent) -> Result<AgentId, StoreError> {
        let (owner, project) = (new.owner.as_str(), new.project.as_ref().map(ProjectId::as_str));
        let values = args![
            new.name.as_str(),
            name_key(&new.name),
            texts_to_json(&new.providers),
            new.description.as_deref(),
            texts_to_json(&new.tags),
            owner,
            project,
            new.primary_key.map(|key| key.0),
            self.now,
        ];
        let row = self.tx.row(&INSERT, values).await?;
        let id = row.ok_or_else(|| StoreError::Corrupt("an agent was not stored".to_owned()))?.int(0)?;
        self.tx.run(&INSERT_BOOK, args![id, owner, project, ChainHead::EMPTY.hash.to_vec()]).await?;
        self.rights_change(RightsOf::User(&new.owner));
        self.directory_changes();
        let id = AgentId(id);
        // Nobody else knows it yet; its state is told when this work is done, with what else that gives it
        self.lock_books(&BTreeSet::from([id]), std::iter::empty()).await?;
        self.mark_state(id);
        Ok(id)
    }

    /// An agent, deleted ones included, which nobody else changes and no money moves for until this work ends.
    pub async fn agent_for_update(&mut self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.lock_books(&BTreeSet::from([id]), std::iter::empty()).await?;
        self.tx.row(&FOR_UPDATE, args![id.0]).await?.as_ref().map(agent_from_row).transpose()
    }

    pub(super) async fn live_agent_for_update(&mut self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        Ok(self.agent_for_update(id).await?.filter(|agent| agent.deleted_at.is_none()))
    }

    /// Changes an agent; returns it after the change, `None` if there is none or it is deleted. A new owner or project
    /// gets its future leases; open ones stay where they were granted.
    pub async fn update_agent(&mut self, id: AgentId, change: &AgentChange) -> Result<Option<Agent>, StoreError> {
        let Some(mut agent) = self.live_agent_for_update(id).await? else { return Ok(None) };
        let (old_owner, old_project) = (agent.owner.clone(), agent.project.clone());
        let AgentChange { name, providers, description, tags, owner, project, primary_key } = change.clone();
        agent.name = name.unwrap_or(agent.name);
        agent.stated_providers = providers.unwrap_or(agent.stated_providers);
        agent.description = description.unwrap_or(agent.description);
        agent.tags = tags.unwrap_or(agent.tags);
        agent.owner = owner.unwrap_or(agent.owner);
        agent.project = project.unwrap_or(agent.project);
        agent.primary_key = primary_key.unwrap_or(agent.primary_key);
        agent.updated_at = self.now;
        let (owner, project) = (agent.owner.as_str(), agent.project.as_ref().map(ProjectId::as_str));
        let values = args![
            id.0,
            agent.name.as_str(),
            name_key(&agent.name),
            texts_to_json(&agent.stated_providers),
            agent.description.as_deref(),
            texts_to_json(&agent.tags),
            owner,
            project,
            agent.primary_key.map(|key| key.0),
            self.now,
        ];
        self.tx.run(&UPDATE, values).await?;
        if agent.owner != old_owner {
            self.rights_change(RightsOf::User(&old_owner));
            self.rights_change(RightsOf::User(&agent.owner));
        }
        if agent.owner != old_owner || agent.project != old_project {
            self.tx.run(&UPDATE_BOOK, args![id.0, owner, project]).await?;
            self.change_book(id, |book| {
                book.owner = agent.owner.clone();
                book.project = agent.project.clone();
            });
        }
        self.directory_changes();
        self.mark_state(id);
        Ok(Some(agent))
    }

    /// Deletes an agent: its row stays, its IC token goes. Returns it as it was, `None` if there is none or it was
    /// deleted before. Its open leases are for the caller to revoke.
    pub async fn delete_agent(&mut self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        let Some(agent) = self.live_agent_for_update(id).await? else { return Ok(None) };
        self.tx.run(&DELETE, args![id.0, self.now]).await?;
        self.rights_change(RightsOf::Agent(id));
        if agent.ic_token_created_at.is_some() {
            self.raise_epoch(id);
        }
        self.directory_changes();
        self.mark_state(id);
        Ok(Some(agent))
    }

    /// How many live agents there are, of an owner, in a project, or of both.
    pub async fn count_agents(
        &mut self,
        owner: Option<&UserId>,
        project: Option<&ProjectId>,
    ) -> Result<i64, StoreError> {
        let values = args![owner.map(UserId::as_str), project.map(ProjectId::as_str)];
        self.tx.row(&COUNT, values).await?.map_or(Ok(0), |row| row.int(0))
    }

    /// Gives every live agent of a user to another one; returns them by id. Lock the first user and hold the second one
    /// before, so that nobody gives the first one agents meanwhile.
    pub async fn reassign_agents(&mut self, from: &UserId, to: &UserId) -> Result<Vec<MovedAgent>, StoreError> {
        let mut rows = Rows::new();
        for id in self.lock_agents(&OF_OWNER, from.as_str()).await? {
            rows.row().int(id.0).text(from.as_str()).text(to.as_str()).int(self.now.millis());
        }
        let mut moved = Vec::new();
        for row in self.tx.rows(&GIVE, args![rows.finish()]).await? {
            let project = row.opt_text(2)?.map(ProjectId::new);
            moved.push(MovedAgent { id: AgentId(row.int(0)?), name: row.text(1)?, project });
        }
        moved.sort_by_key(|agent| agent.id);
        let mut rows = Rows::new();
        for agent in &moved {
            rows.row().int(agent.id.0).text(to.as_str());
            self.change_book(agent.id, |book| book.owner = to.clone());
            self.mark_state(agent.id);
        }
        self.rights_change(RightsOf::User(from));
        self.rights_change(RightsOf::User(to));
        self.tx.run(&GIVE_BOOKS, args![rows.finish()]).await?;
        self.directory_changes();
        Ok(moved)
    }

    /// Moves every live agent of a project to no project; returns how many.
    pub async fn move_agents_out_of(&mut self, project: &ProjectId) -> Result<u64, StoreError> {
        let mut rows = Rows::new();
        for id in self.lock_agents(&IN_PROJECT, project.as_str()).await? {
            rows.row().int(id.0).text(project.as_str()).int(self.now.millis());
        }
        let rows = self.tx.rows(&MOVE_OUT, args![rows.finish()]).await?;
        let moved = rows.iter().map(|row| row.int(0).map(AgentId)).collect::<Result<Vec<_>, _>>()?;
        self.tx.run(&MOVE_OUT_BOOKS, args![number_rows(moved.iter().map(|id| id.0))]).await?;
        for id in &moved {
            self.change_book(*id, |book| book.project = None);
            self.mark_state(*id);
        }
        self.directory_changes();
        Ok(moved.len() as u64)
    }

    /// Locks the books of the agents that the question finds. Whether an agent still belongs there when its lock was had
    /// is for the next statement to say.
    async fn lock_agents(&mut self, question: &Sql, of: &str) -> Result<BTreeSet<AgentId>, StoreError> {
        let rows = self.tx.rows(question, args![of]).await?;
        let ids = rows.iter().map(|row| row.int(0).map(AgentId)).collect::<Result<BTreeSet<_>, _>>()?;
        self.lock_books(&ids, std::iter::empty()).await?;
        Ok(ids)
    }

    pub(crate) async fn forget_project_of_deleted_agents(&mut self, project: &ProjectId) -> Result<(), StoreError> {
        self.tx.run(&FORGET_PROJECT_BOOKS, args![project.as_str()]).await?;
        self.tx.run(&FORGET_PROJECT, args![project.as_str()]).await.map(drop)
    }

    /// Makes the agent's leases of today too old to be refreshed. Its book must be locked.
    pub(super) fn raise_epoch(&mut self, id: AgentId) {
        let Some(row) = self.books.get(&id) else { return };
        let mut book = row.book.clone();
        book.epoch += 1;
        self.put_book(book);
    }

    /// Keeps a book that this work has locked, if it has, in step with its row. What the ledger has loaded before is loaded
    /// anew by the commands that follow.
    pub(crate) fn change_book(&mut self, id: AgentId, change: impl FnOnce(&mut AgentBook)) {
        if let Some(row) = self.books.get_mut(&id) {
            change(&mut row.book);
        }
    }
}
