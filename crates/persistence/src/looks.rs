//! Looking at the states of agents whose states may have changed though they did nothing.
//!
//! Two things lead to a look: the clock (a last LLM request grows old, a token ends, a window begins), for which each agent's
//! book keeps the time of the next look; and what happens elsewhere (a key is disabled, a project's budget runs out), for
//! which a row is noted in the transaction that does it: telling a thousand agents there would keep everybody waiting. Each
//! look derives the state under the lock of the agent's book and tells of it only if it is another, so it may be done by any
//! number of servers, and again after a crash.

use std::collections::BTreeSet;

use kernel::{AgentId, Entropy, ProjectId, ProviderKeyId, Timestamp};
use ledger::Scope;

use crate::db::{args, statements};
use crate::engine::AgentState;
use crate::freezes::agents_of;
use crate::listing::number_rows;
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// Agents that are looked at in one transaction.
const AT_ONCE: usize = 200;
/// Agents that are looked at because of the time, and notes that are read, in one go.
const MOST: u32 = 1_000;

statements! {
    NOTE = "INSERT INTO state_looks (target, noted_at) SELECT {text 0}, {int 1} FROM {rows}";
    NOTED = "SELECT id, target FROM state_looks ORDER BY id LIMIT $1";
    DONE = "DELETE FROM state_looks WHERE id IN (SELECT {int 0} FROM {rows})";
    DUE = "SELECT b.agent_id FROM agent_books AS b WHERE b.look_at <= $1 ORDER BY b.look_at LIMIT $2";
    WITH_KEY = "SELECT a.id FROM agents AS a WHERE a.deleted_at IS NULL AND (a.primary_key_id = $1 \
        OR a.id IN (SELECT x.agent_id FROM agent_provider_keys AS x WHERE x.key_id = $1) \
        OR a.project_id IN (SELECT p.project_id FROM project_provider_keys AS p WHERE p.key_id = $1))";
    PROJECTS_WITH_KEY = "SELECT p.project_id FROM project_provider_keys AS p WHERE p.key_id = $1";
    STATE = "SELECT b.state FROM agent_books AS b WHERE b.agent_id = $1";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("DUE", &*DUE)]
}

const KEY: &str = "key:";

impl Work {
    /// The agents of the scope are to be looked at when this work is done.
    pub(crate) fn look_at_scope(&mut self, scope: &Scope) {
        self.looks.insert(scope.key());
    }

    /// The agents that can use the key then are to be looked at when this work is done.
    pub(crate) fn look_at_key(&mut self, key: ProviderKeyId) {
        self.looks.insert(format!("{KEY}{key}"));
    }

    /// The agents of the projects that lend the key now are to be looked at when this work is done.
    pub(crate) async fn look_at_projects_with_key(&mut self, key: ProviderKeyId) -> Result<(), StoreError> {
        for row in self.tx.rows(&PROJECTS_WITH_KEY, args![key.0]).await? {
            self.look_at_scope(&Scope::Project(ProjectId::new(row.text(0)?)));
        }
        Ok(())
    }

    pub(crate) async fn note_looks(&mut self) -> Result<(), StoreError> {
        if self.looks.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for target in std::mem::take(&mut self.looks) {
            rows.row().text(&target).int(self.now.millis());
        }
        self.tx.run(&NOTE, args![rows.finish()]).await.map(drop)
    }
}

impl Store {
    /// Looks at the states of agents whose time has come or of which that was noted, and tells the live stream of those that
    /// are other than it was told; returns whether there may be more. To be called now and then by every server.
    pub async fn look_at_states(&self, now: Timestamp, entropy: &dyn Entropy) -> Result<bool, StoreError> {
        let noted = self.db.rows(&NOTED, args![i64::from(MOST)]).await?;
        let due = self.db.rows(&DUE, args![now, i64::from(MOST)]).await?;
        let full = noted.len().max(due.len()) >= MOST as usize;
        let mut agents = due.iter().map(|row| row.int(0).map(AgentId)).collect::<Result<BTreeSet<_>, _>>()?;
        let targets = noted.iter().map(|row| row.text(1)).collect::<Result<BTreeSet<_>, _>>()?;
        for target in &targets {
            agents.extend(self.agents_meant(target).await?);
        }
        let agents: Vec<AgentId> = agents.into_iter().collect();
        for some in agents.chunks(AT_ONCE) {
            let mut work = self.begin(now).await?;
            work.lock_books(&some.iter().copied().collect(), std::iter::empty()).await?;
            for agent in some {
                work.mark_state(*agent);
            }
            work.commit(entropy).await?;
        }
        if !noted.is_empty() {
            let ids = noted.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
            let mut work = self.begin(now).await?;
            work.tx.run(&DONE, args![number_rows(ids)]).await?;
            work.commit(entropy).await?;
        }
        Ok(full)
    }

    async fn agents_meant(&self, target: &str) -> Result<Vec<AgentId>, StoreError> {
        let rows = if let Some(key) = target.strip_prefix(KEY).and_then(|key| key.parse::<i64>().ok()) {
            self.db.rows(&WITH_KEY, args![key]).await?
        } else if let Some(scope) = Scope::from_key(target) {
            let (question, args) = agents_of(&scope);
            self.db.rows(question, args).await?
        } else {
            return Err(StoreError::Corrupt(format!("nothing to look at is called {target}")));
        };
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    /// The state of an agent that the live stream was told last; `None` before it was told of any.
    pub async fn agent_state(&self, agent: AgentId) -> Result<Option<AgentState>, StoreError> {
        let row = self.db.row(&STATE, args![agent.0]).await?;
        let text = row.map(|row| row.opt_text(0)).transpose()?.flatten();
        Ok(text.as_deref().and_then(AgentState::parse))
    }
}
