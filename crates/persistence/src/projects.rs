//! Projects, and the provider keys they lend to their agents.

use std::sync::LazyLock;

use kernel::{ProjectId, ProviderKeyId, Timestamp, UserId};

use crate::db::{Row, Sql, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility, containing, name_key};
use crate::{SettingsOf, Store, StoreError, Work};

/// A project as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name; others may have the same.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// How many users own agents in it; all users, for the project that stands for the whole installation.
    pub user_count: i64,
    /// How many agents are in it; all agents, for the project that stands for the whole installation.
    pub agent_count: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A project to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProject {
    /// Its id.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
}

/// A change of a project; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectChange {
    /// Its new name.
    pub name: Option<String>,
    /// What it is for now, if anything.
    pub description: Option<Option<String>>,
}

/// A provider key that a project lends to its agents; one for each kind of provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectKey {
    /// The key.
    pub key: ProviderKeyId,
    /// Its kind.
    pub provider: String,
    /// Since when.
    pub assigned_at: Timestamp,
}

/// From `projects AS p`; the id of the project that stands for everything is compared, not joined.
const COLUMNS: &str = "p.id, p.name, p.description, p.created_at, p.updated_at, \
    CASE WHEN p.id = 'proj_master_001' THEN (SELECT COUNT(*) FROM users WHERE deleted_at IS NULL) \
    ELSE (SELECT COUNT(DISTINCT a.owner_id) FROM agents AS a WHERE a.project_id = p.id AND a.deleted_at IS NULL) END, \
    CASE WHEN p.id = 'proj_master_001' THEN (SELECT COUNT(*) FROM agents WHERE deleted_at IS NULL) \
    ELSE (SELECT COUNT(*) FROM agents AS a WHERE a.project_id = p.id AND a.deleted_at IS NULL) END";

static BY_ID: LazyLock<Sql> =
    LazyLock::new(|| Sql::new(&format!("SELECT {COLUMNS} FROM projects AS p WHERE p.id = $1")));

statements! {
    VISIBLE = "SELECT p.id FROM projects AS p WHERE p.id = $1 AND (p.id = 'proj_master_001' OR p.id IN \
        (SELECT a.project_id FROM agents AS a WHERE a.owner_id = $2 AND a.deleted_at IS NULL))";
    LOCK = "SELECT id FROM projects WHERE id = $1 {for_update}";
    HOLD = "SELECT id FROM projects WHERE id = $1 {for_share}";
    INSERT = "INSERT INTO projects (id, name, name_key, description, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING";
    UPDATE = "UPDATE projects SET name = $2, name_key = $3, description = $4, updated_at = $5 WHERE id = $1";
    DELETE = "DELETE FROM projects WHERE id = $1";
    ASSIGN = "INSERT INTO project_provider_keys (project_id, provider, key_id, assigned_at) \
        SELECT $1, k.provider, k.id, $3 FROM provider_keys AS k WHERE k.id = $2 \
        ON CONFLICT (project_id, provider) DO UPDATE SET key_id = excluded.key_id, assigned_at = excluded.assigned_at";
    UNASSIGN = "DELETE FROM project_provider_keys WHERE project_id = $1 AND key_id = $2";
    UNASSIGN_ALL = "DELETE FROM project_provider_keys WHERE project_id = $1";
    KEYS = "SELECT key_id, provider, assigned_at FROM project_provider_keys WHERE project_id = $1 \
        ORDER BY assigned_at, key_id";
}

impl Store {
    /// A project.
    pub async fn project(&self, id: &ProjectId) -> Result<Option<Project>, StoreError> {
        self.db.row(&BY_ID, args![id.as_str()]).await?.as_ref().map(project_from_row).transpose()
    }

    /// Whether there is such a project and somebody may see it: the one for the whole installation, and those of a user's
    /// own agents.
    pub async fn project_is_visible(&self, id: &ProjectId, to: &Visibility) -> Result<bool, StoreError> {
        match to.user() {
            None => Ok(self.project(id).await?.is_some()),
            Some(user) => Ok(self.db.row(&VISIBLE, args![id.as_str(), user]).await?.is_some()),
        }
    }

    /// Projects whose name contains the text, without regard to case: the one for the whole installation first, then the
    /// youngest.
    pub async fn projects(
        &self,
        visible_to: &Visibility,
        search: Option<&str>,
        page: Page,
    ) -> Result<Listed<Project>, StoreError> {
        let conditions = || {
            let mut filter = Filter::default();
            filter.and_if(r"p.name_key LIKE ? ESCAPE '\'", search.map(containing));
            let own = "(p.id = 'proj_master_001' OR p.id IN \
                (SELECT a.project_id FROM agents AS a WHERE a.owner_id = ? AND a.deleted_at IS NULL))";
            filter.and_if(own, visible_to.user());
            filter
        };
        let (text, args) = conditions().statement("SELECT COUNT(*) FROM projects AS p", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM projects AS p");
        let tail = " ORDER BY CASE WHEN p.id = 'proj_master_001' THEN 0 ELSE 1 END, p.created_at DESC, p.id DESC \
            LIMIT ? OFFSET ?";
        let (text, args) = conditions().statement(&head, tail, page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(project_from_row).collect::<Result<_, _>>()?, total))
    }

    /// The keys a project lends to its agents, in the order they were assigned.
    pub async fn project_keys(&self, id: &ProjectId) -> Result<Vec<ProjectKey>, StoreError> {
        self.db.rows(&KEYS, args![id.as_str()]).await?.iter().map(project_key_from_row).collect()
    }
}

impl Work {
    /// As [`Store::project_keys`]; with [`Work::hold_directory`] before it, it stays true until this work ends.
    pub async fn project_keys(&mut self, id: &ProjectId) -> Result<Vec<ProjectKey>, StoreError> {
        let rows = self.tx.rows(&KEYS, args![id.as_str()]).await?;
        rows.iter().map(project_key_from_row).collect()
    }

    /// Whether there is such a project; if so, it stays until this work ends.
    pub async fn hold_project(&mut self, id: &ProjectId) -> Result<bool, StoreError> {
        Ok(self.tx.row(&HOLD, args![id.as_str()]).await?.is_some())
    }

    /// Whether there is such a project; if so, nobody else changes or relies on it until this work ends.
    pub async fn lock_project(&mut self, id: &ProjectId) -> Result<bool, StoreError> {
        Ok(self.tx.row(&LOCK, args![id.as_str()]).await?.is_some())
    }

    /// Makes a project; false if its id is taken.
    pub async fn create_project(&mut self, new: &NewProject) -> Result<bool, StoreError> {
        let values =
            args![new.id.as_str(), new.name.as_str(), name_key(&new.name), new.description.as_deref(), self.now];
        Ok(self.tx.run(&INSERT, values).await? == 1)
    }

    /// A project, which nobody else changes or relies on until this work ends.
    pub async fn project_for_update(&mut self, id: &ProjectId) -> Result<Option<Project>, StoreError> {
        if !self.lock_project(id).await? {
            return Ok(None);
        }
        self.tx.row(&BY_ID, args![id.as_str()]).await?.as_ref().map(project_from_row).transpose()
    }

    /// Changes a project; false if there is none.
    pub async fn update_project(&mut self, id: &ProjectId, change: &ProjectChange) -> Result<bool, StoreError> {
        if self.tx.row(&LOCK, args![id.as_str()]).await?.is_none() {
            return Ok(false);
        }
        let Some(row) = self.tx.row(&BY_ID, args![id.as_str()]).await? else { return Ok(false) };
        let before = project_from_row(&row)?;
        let name = change.name.as_deref().unwrap_or(&before.name);
        let description = change.description.as_ref().unwrap_or(&before.description).as_deref();
        let values = args![id.as_str(), name, name_key(name), description, self.now];
        Ok(self.tx.run(&UPDATE, values).await? == 1)
    }

    /// Removes a project that no live agent is in and that has no limits; what is left of deleted agents in it is moved out. Returns how many
    /// live agents keep it from being removed, zero when it is gone, `None` if there is none.
    ///
    /// To remove it with agents in it, call [`Work::move_agents_out_of`] first.
    pub async fn delete_project(&mut self, id: &ProjectId) -> Result<Option<i64>, StoreError> {
        if self.tx.row(&LOCK, args![id.as_str()]).await?.is_none() {
            return Ok(None);
        }
        let in_it = self.count_agents(None::<&UserId>, Some(id)).await?;
        if in_it == 0 {
            self.forget_project_of_deleted_agents(id).await?;
            self.forget_settings(&SettingsOf::Project(id.clone())).await?;
            self.tx.run(&DELETE, args![id.as_str()]).await?;
            self.directory_changes();
        }
        Ok(Some(in_it))
    }

    /// Lets a project lend a key to its agents, in place of the one of the same kind it lent before. False if there is no
    /// such key; the project must exist (see [`Work::hold_project`]).
    pub async fn assign_project_key(&mut self, id: &ProjectId, key: ProviderKeyId) -> Result<bool, StoreError> {
        self.directory_changes();
        Ok(self.tx.run(&ASSIGN, args![id.as_str(), key.0, self.now]).await? == 1)
    }

    /// Takes a key, or all keys, from a project; returns how many it had of them.
    pub async fn unassign_project_keys(
        &mut self,
        id: &ProjectId,
        key: Option<ProviderKeyId>,
    ) -> Result<u64, StoreError> {
        self.directory_changes();
        match key {
            Some(key) => self.tx.run(&UNASSIGN, args![id.as_str(), key.0]).await,
            None => self.tx.run(&UNASSIGN_ALL, args![id.as_str()]).await,
        }
    }
}

fn project_key_from_row(row: &Row) -> Result<ProjectKey, StoreError> {
    Ok(ProjectKey { key: ProviderKeyId(row.int(0)?), provider: row.text(1)?, assigned_at: row.time(2)? })
}

fn project_from_row(row: &Row) -> Result<Project, StoreError> {
    Ok(Project {
        id: ProjectId::new(row.text(0)?),
        name: row.text(1)?,
        description: row.opt_text(2)?,
        created_at: row.time(3)?,
        updated_at: row.time(4)?,
        user_count: row.int(5)?,
        agent_count: row.int(6)?,
    })
}
