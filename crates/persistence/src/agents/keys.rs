//! Which provider keys an agent has: its primary one, those assigned to it, and those its project lends.
//!
//! The primary key and the assigned ones together are the agent's own. After every change of that set the primary key is
//! in it: if it was taken away, the first that was assigned takes its place.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use kernel::{AgentId, ProjectId, ProviderKeyId};

use crate::db::{Row, Sql, Value, args, statements};
use crate::listing::{number_rows, texts_from_json};
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// A key of an agent's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedKey {
    /// Which key it is.
    pub id: ProviderKeyId,
    /// Which provider it is for.
    pub provider: String,
    /// Where the provider is reached.
    pub base_url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The models it is good for.
    pub models: Vec<String>,
    /// Whether it is handed out.
    pub is_enabled: bool,
    /// Whether it is the primary one.
    pub is_primary: bool,
}

/// The primary key first, then the assigned ones in their order.
const OWN: &str = "SELECT k.id, k.provider, k.base_url, k.description, k.models, k.is_enabled, \
    CAST(CASE WHEN k.id = a.primary_key_id THEN 1 ELSE 0 END AS BIGINT) AS is_primary FROM agents AS a \
    JOIN provider_keys AS k ON k.id = a.primary_key_id \
        OR k.id IN (SELECT x.key_id FROM agent_provider_keys AS x WHERE x.agent_id = a.id) \
    LEFT JOIN agent_provider_keys AS o ON o.agent_id = a.id AND o.key_id = k.id \
    WHERE a.id = $1 AND a.deleted_at IS NULL ORDER BY is_primary DESC, o.position, k.id";
static OWN_KEYS: LazyLock<Sql> = LazyLock::new(|| Sql::new(OWN));

statements! {
    LOCK = "SELECT id FROM agents WHERE deleted_at IS NULL AND id IN (SELECT {int 0} FROM {rows}) ORDER BY id \
        {for_update}";
    WITH_KEY = "SELECT a.id FROM agents AS a WHERE a.primary_key_id = $1 \
        OR a.id IN (SELECT x.agent_id FROM agent_provider_keys AS x WHERE x.key_id = $1) ORDER BY a.id";
    PROJECTS_OF = "SELECT DISTINCT a.project_id FROM agents AS a WHERE a.id IN (SELECT {int 0} FROM {rows})";
    LOCK_ANY = "SELECT id FROM agents WHERE id IN (SELECT {int 0} FROM {rows}) ORDER BY id {for_update}";
    /// The position goes on from the last one the agent has.
    ASSIGN = "INSERT INTO agent_provider_keys (agent_id, key_id, position) SELECT {int 0}, {int 1}, {int 2} + \
        COALESCE((SELECT MAX(x.position) FROM agent_provider_keys AS x WHERE x.agent_id = {int 0}), 0) \
        FROM {rows} WHERE true ON CONFLICT DO NOTHING";
    UNASSIGN = "DELETE FROM agent_provider_keys WHERE (agent_id, key_id) IN (SELECT {int 0}, {int 1} FROM {rows})";
    UNASSIGN_ALL = "DELETE FROM agent_provider_keys WHERE agent_id IN (SELECT {int 0} FROM {rows})";
    NOT_PRIMARY = "UPDATE agents SET primary_key_id = NULL \
        WHERE (id, primary_key_id) IN (SELECT {int 0}, {int 1} FROM {rows})";
    NOT_PRIMARY_UNLESS_ASSIGNED = "UPDATE agents SET primary_key_id = NULL WHERE id IN (SELECT {int 0} FROM {rows}) \
        AND primary_key_id NOT IN (SELECT x.key_id FROM agent_provider_keys AS x WHERE x.agent_id = agents.id)";
    FIRST_IS_PRIMARY = "UPDATE agents SET primary_key_id = (SELECT x.key_id FROM agent_provider_keys AS x \
        WHERE x.agent_id = agents.id ORDER BY x.position, x.key_id LIMIT 1) \
        WHERE primary_key_id IS NULL AND id IN (SELECT {int 0} FROM {rows})";
    TOUCH = "UPDATE agents SET updated_at = v.changed_at FROM (SELECT {int 0} AS id, {int 1} AS changed_at FROM {rows}) \
        AS v WHERE agents.id = v.id";
}

impl Store {
    /// The keys of a live agent's own, the primary one first.
    pub async fn keys_of_agent(&self, agent: AgentId) -> Result<Vec<AssignedKey>, StoreError> {
        self.db.rows(&OWN_KEYS, args![agent.0]).await?.iter().map(key_from_row).collect()
    }
}

impl Work {
    /// The keys of a live agent's own, the primary one first.
    pub async fn keys_of_agent(&mut self, agent: AgentId) -> Result<Vec<AssignedKey>, StoreError> {
        self.tx.rows(&OWN_KEYS, args![agent.0]).await?.iter().map(key_from_row).collect()
    }

    /// Assigns keys to an agent beside those it has. They must exist ([`Work::hold_provider_keys`]). False if there is no
    /// such agent.
    pub async fn add_keys_to_agent(&mut self, agent: AgentId, keys: &[ProviderKeyId]) -> Result<bool, StoreError> {
        let found = self.lock_live_agents(&[agent]).await?;
        self.assign(&found, keys).await?;
        self.after_change_of_keys(&found).await?;
        Ok(!found.is_empty())
    }

    /// Leaves an agent with exactly these keys. They must exist. False if there is no such agent.
    pub async fn set_keys_of_agent(&mut self, agent: AgentId, keys: &[ProviderKeyId]) -> Result<bool, StoreError> {
        let found = self.lock_live_agents(&[agent]).await?;
        self.tx.run(&UNASSIGN_ALL, args![ids(&found)]).await?;
        self.assign(&found, keys).await?;
        self.tx.run(&NOT_PRIMARY_UNLESS_ASSIGNED, args![ids(&found)]).await?;
        self.after_change_of_keys(&found).await?;
        Ok(!found.is_empty())
    }

    /// Takes a key from an agent; false if the agent does not have it.
    pub async fn remove_key_from_agent(&mut self, agent: AgentId, key: ProviderKeyId) -> Result<bool, StoreError> {
        let found = self.lock_live_agents(&[agent]).await?;
        let had = self.unassign(&found, key).await?;
        self.after_change_of_keys(&found).await?;
        Ok(had)
    }

    /// Assigns a key to agents beside those that have it. The key must exist. Returns the agents that do.
    pub async fn add_agents_to_key(
        &mut self,
        key: ProviderKeyId,
        agents: &[AgentId],
    ) -> Result<Vec<AgentId>, StoreError> {
        let found = self.lock_live_agents(agents).await?;
        self.assign(&found, &[key]).await?;
        self.after_change_of_keys(&found).await?;
        Ok(found)
    }

    /// Leaves exactly these agents with a key. The key must exist. Returns those of the agents that do.
    pub async fn set_agents_of_key(
        &mut self,
        key: ProviderKeyId,
        agents: &[AgentId],
    ) -> Result<Vec<AgentId>, StoreError> {
        let mut all = self.agents_with_key(key).await?;
        all.extend(agents);
        let all = self.lock_live_agents(&all).await?;
        let (kept, lost): (Vec<_>, Vec<_>) = all.iter().partition(|id| agents.contains(id));
        self.unassign(&lost, key).await?;
        self.assign(&kept, &[key]).await?;
        self.after_change_of_keys(&all).await?;
        Ok(kept)
    }

    /// The projects that these agents are in, each once; `None` where some are in none.
    pub async fn projects_of_agents(&mut self, agents: &[AgentId]) -> Result<Vec<Option<ProjectId>>, StoreError> {
        let rows = self.tx.rows(&PROJECTS_OF, args![ids(agents)]).await?;
        rows.iter().map(|row| Ok(row.opt_text(0)?.map(ProjectId::new))).collect()
    }

    /// Locks every agent, deleted ones included, that has a key.
    pub(crate) async fn lock_agents_with_key(&mut self, key: ProviderKeyId) -> Result<Vec<AgentId>, StoreError> {
        let found = self.agents_with_key(key).await?;
        let rows = self.tx.rows(&LOCK_ANY, args![ids(&found)]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    /// Makes the first assigned key the primary one, of agents that have none.
    pub(crate) async fn choose_primary_keys(&mut self, agents: &[AgentId]) -> Result<(), StoreError> {
        self.tx.run(&FIRST_IS_PRIMARY, args![ids(agents)]).await.map(drop)
    }

    async fn agents_with_key(&mut self, key: ProviderKeyId) -> Result<Vec<AgentId>, StoreError> {
        let rows = self.tx.rows(&WITH_KEY, args![key.0]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    async fn lock_live_agents(&mut self, agents: &[AgentId]) -> Result<Vec<AgentId>, StoreError> {
        let rows = self.tx.rows(&LOCK, args![ids(agents)]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    async fn assign(&mut self, agents: &[AgentId], keys: &[ProviderKeyId]) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        // A key named twice is one key, where it was named first
        let mut seen = BTreeSet::new();
        for (position, key) in (1..).zip(keys.iter().filter(|key| seen.insert(**key))) {
            for agent in agents {
                rows.row().int(agent.0).int(key.0).int(position);
            }
        }
        self.tx.run(&ASSIGN, args![rows.finish()]).await.map(drop)
    }

    /// Takes the key from the agents; returns whether any had it.
    async fn unassign(&mut self, agents: &[AgentId], key: ProviderKeyId) -> Result<bool, StoreError> {
        let mut rows = Rows::new();
        for agent in agents {
            rows.row().int(agent.0).int(key.0);
        }
        let pairs = rows.finish();
        let assigned = self.tx.run(&UNASSIGN, args![pairs.clone()]).await?;
        let primary = self.tx.run(&NOT_PRIMARY, args![pairs]).await?;
        Ok(assigned + primary > 0)
    }

    async fn after_change_of_keys(&mut self, agents: &[AgentId]) -> Result<(), StoreError> {
        self.choose_primary_keys(agents).await?;
        let mut rows = Rows::new();
        for agent in agents {
            rows.row().int(agent.0).int(self.now.millis());
        }
        self.tx.run(&TOUCH, args![rows.finish()]).await?;
        self.directory_changes();
        for agent in agents {
            self.mark_state(*agent);
        }
        Ok(())
    }
}

fn ids(agents: &[AgentId]) -> Value {
    number_rows(agents.iter().map(|id| id.0))
}

fn key_from_row(row: &Row) -> Result<AssignedKey, StoreError> {
    Ok(AssignedKey {
        id: ProviderKeyId(row.int(0)?),
        provider: row.text(1)?,
        base_url: row.opt_text(2)?,
        description: row.opt_text(3)?,
        models: texts_from_json(&row.text(4)?)?,
        is_enabled: row.flag(5)?,
        is_primary: row.flag(6)?,
    })
}
