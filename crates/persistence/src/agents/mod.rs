//! Agents: their rows, their keys, their IC tokens, and how they are shown.
//!
//! What the ledger must know of an agent (owner, project, epoch) stands a second time in its book, `agent_books`, which
//! is locked by whoever moves its money. Every change here that concerns those goes through the locked book, so that
//! it takes its place before or after each move and never in the middle of one. Books are locked before agents' rows.

mod allocation;
mod change;
mod ic_token;
mod keys;
mod view;

use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, UserId};

use crate::db::{Row, args, statements};
use crate::listing::texts_from_json;
use crate::{Store, StoreError};

pub use allocation::NewAllocation;
pub use change::{AgentChange, MovedAgent, NewAgent};
pub use ic_token::{IcTokenSet, IcTokenView, NewIcTokenRow};
pub use keys::AssignedKey;
pub use view::{AgentActivity, AgentFilter, AgentKeyRef, AgentSort, AgentStatus, AgentView};

/// An agent's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its id, never reused.
    pub id: AgentId,
    /// Its name; others may have the same.
    pub name: String,
    /// The kinds of provider it was said to use; informational.
    pub stated_providers: Vec<String>,
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
    /// When its IC token was made, to the second; `None` if it has none.
    pub ic_token_created_at: Option<Timestamp>,
    /// When its IC token ends, if it does.
    pub ic_token_expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Since when it is deleted.
    pub deleted_at: Option<Timestamp>,
}

impl Agent {
    /// Whether it has an IC token that has not ended.
    pub fn has_usable_ic_token(&self, now: Timestamp) -> bool {
        self.ic_token_created_at.is_some() && self.ic_token_expires_at.is_none_or(|end| now < end)
    }
}

/// What [`agent_from_row`] reads, from `agents AS a`.
pub(crate) const COLUMNS: &str = "a.id, a.name, a.providers, a.description, a.tags, a.owner_id, a.project_id, \
    a.primary_key_id, a.ic_token_created_at, a.ic_token_expires_at, a.created_at, a.updated_at, a.deleted_at";

statements! {
    BY_ID = "SELECT a.id, a.name, a.providers, a.description, a.tags, a.owner_id, a.project_id, \
        a.primary_key_id, a.ic_token_created_at, a.ic_token_expires_at, a.created_at, a.updated_at, a.deleted_at \
        FROM agents AS a WHERE a.id = $1";
}

impl Store {
    /// An agent's row, deleted ones included.
    pub async fn agent_row(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.db.row(&BY_ID, args![id.0]).await?.as_ref().map(agent_from_row).transpose()
    }
}

pub(crate) fn agent_from_row(row: &Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        id: AgentId(row.int(0)?),
        name: row.text(1)?,
        stated_providers: texts_from_json(&row.text(2)?)?,
        description: row.opt_text(3)?,
        tags: texts_from_json(&row.text(4)?)?,
        owner: UserId::new(row.text(5)?),
        project: row.opt_text(6)?.map(ProjectId::new),
        primary_key: row.opt_int(7)?.map(ProviderKeyId),
        ic_token_created_at: row.opt_time(8)?,
        ic_token_expires_at: row.opt_time(9)?,
        created_at: row.time(10)?,
        updated_at: row.time(11)?,
        deleted_at: row.opt_time(12)?,
    })
}
