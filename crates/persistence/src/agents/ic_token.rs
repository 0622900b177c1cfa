//! The IC token by which an agent's runtime is known. Stored as its hash; an agent has one at most.

use auth::TokenHash;
use kernel::{AgentId, Timestamp};

use crate::db::{args, statements};
use crate::{RightsOf, Store, StoreError, Work, engine};

/// A token to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIcTokenRow {
    /// Its hash.
    pub hash: TokenHash,
    /// When it was made, to the second.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// What came of giving an agent its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcTokenSet {
    /// It has it now.
    Set,
    /// It has one already, which stays.
    Exists,
    /// There is no such agent, or it is deleted.
    NoAgent,
}

/// What is shown of an agent's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcTokenView {
    /// When it was made, to the second.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// The last sign of life of the agent since then.
    pub last_used_at: Option<Timestamp>,
}

statements! {
    TOKEN = "SELECT a.ic_token_created_at, a.ic_token_expires_at, b.alive_until FROM agents AS a \
        JOIN agent_books AS b ON b.agent_id = a.id WHERE a.id = $1 AND a.deleted_at IS NULL";
    HASH = "SELECT ic_token_hash FROM agents WHERE id = $1 AND deleted_at IS NULL";
    SET = "UPDATE agents SET ic_token_hash = $2, ic_token_created_at = $3, ic_token_expires_at = $4, updated_at = $5 \
        WHERE id = $1";
}

impl Store {
    /// The hash of a live agent's token, if it has one.
    pub async fn ic_token_hash(&self, agent: AgentId) -> Result<Option<String>, StoreError> {
        self.db.row(&HASH, args![agent.0]).await?.map_or(Ok(None), |row| row.opt_text(0))
    }

    /// The IC token of a live agent. Its last use follows from the agent's last sign of life, which is kept as the instant
    /// up to which it keeps leases active, `lease_ttl_ms` later.
    pub async fn ic_token(&self, agent: AgentId, lease_ttl_ms: i64) -> Result<Option<IcTokenView>, StoreError> {
        let Some(row) = self.db.row(&TOKEN, args![agent.0]).await? else { return Ok(None) };
        let Some(created_at) = row.opt_time(0)? else { return Ok(None) };
        let seen_at = row.time(2)?.plus_millis(-lease_ttl_ms);
        let last_used_at = (seen_at >= created_at).then_some(seen_at);
        Ok(Some(IcTokenView { created_at, expires_at: row.opt_time(1)?, last_used_at }))
    }
}

impl Work {
    /// Gives an agent its first token. Of two at once one is [`IcTokenSet::Set`], the other finds it there.
    pub async fn set_ic_token(&mut self, agent: AgentId, token: &NewIcTokenRow) -> Result<IcTokenSet, StoreError> {
        let Some(row) = self.live_agent_for_update(agent).await? else { return Ok(IcTokenSet::NoAgent) };
        if row.ic_token_created_at.is_some() {
            return Ok(IcTokenSet::Exists);
        }
        self.put_ic_token(agent, Some(token)).await?;
        Ok(IcTokenSet::Set)
    }

    /// Gives an agent a token in place of the one it has, if it has one; returns whether it had, `None` if there is no such
    /// agent. An old token is refused from the commit on, and its leases are too old to be refreshed.
    pub async fn replace_ic_token(
        &mut self,
        agent: AgentId,
        token: &NewIcTokenRow,
    ) -> Result<Option<bool>, StoreError> {
        self.exchange_ic_token(agent, Some(token)).await
    }

    /// Takes an agent's token away; returns whether it had one, `None` if there is no such agent.
    pub async fn clear_ic_token(&mut self, agent: AgentId) -> Result<Option<bool>, StoreError> {
        self.exchange_ic_token(agent, None).await
    }

    async fn exchange_ic_token(
        &mut self,
        agent: AgentId,
        token: Option<&NewIcTokenRow>,
    ) -> Result<Option<bool>, StoreError> {
        let Some(row) = self.live_agent_for_update(agent).await? else { return Ok(None) };
        let had_one = row.ic_token_created_at.is_some();
        if had_one {
            self.raise_epoch(agent);
        }
        if had_one || token.is_some() {
            self.put_ic_token(agent, token).await?;
        }
        Ok(Some(had_one))
    }

    async fn put_ic_token(&mut self, agent: AgentId, token: Option<&NewIcTokenRow>) -> Result<(), StoreError> {
        let values = args![
            agent.0,
            token.map(|t| t.hash.as_str()),
            token.map(|t| t.created_at),
            token.and_then(|t| t.expires_at),
            self.now,
        ];
        self.tx.run(&SET, values).await?;
        self.rights_change(RightsOf::Agent(agent));
        self.directory_changes();
        self.mark_state(agent);
        let expires_at = token.and_then(|t| t.expires_at);
        self.emit(engine::ic_token_changed(agent, token.map(|t| t.created_at), expires_at));
        Ok(())
    }
}
