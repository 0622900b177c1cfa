//! Idempotency keys that were used.

use kernel::{AgentId, LeaseId, LeaseState};

use crate::db::{args, statements};
use crate::{Store, StoreError};

statements! {
    USED = "SELECT q.body_hash, q.lease_id FROM grant_requests AS q WHERE q.agent_id = $1 AND q.request_key = $2";
    HAS_ACTIVE = "SELECT l.id FROM leases AS l WHERE l.agent_id = $1 AND l.state = 'active' AND l.state <> 'closed' \
        ORDER BY l.created_at DESC LIMIT 16";
}

impl Store {
    /// What the key was used for: the hash of the request's meaning, and how its lease stands at `now`.
    pub async fn granted_before(
        &self,
        agent: AgentId,
        key: &str,
        now: kernel::Timestamp,
    ) -> Result<Option<([u8; 32], LeaseState)>, StoreError> {
        let Some(row) = self.db.row(&USED, args![agent.0, key]).await? else { return Ok(None) };
        let hash = row.hash(0)?;
        let view = self.lease(&LeaseId::new(row.text(1)?)).await?;
        let view = view.ok_or_else(|| StoreError::Corrupt("an idempotency key names no lease".to_owned()))?;
        Ok(Some((hash, if view.has_run_out(now) { LeaseState::Expired } else { view.lease.state })))
    }

    /// Whether one of the agent's youngest leases is active at `now`.
    pub async fn has_active_lease(&self, agent: AgentId, now: kernel::Timestamp) -> Result<bool, StoreError> {
        for row in self.db.rows(&HAS_ACTIVE, args![agent.0]).await? {
            let view = self.lease(&LeaseId::new(row.text(0)?)).await?;
            if view.is_some_and(|view| view.lease.state == LeaseState::Active && !view.has_run_out(now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
