//! How the allocations of agents came to be what they are.

use kernel::{AgentId, Entropy, Money, Timestamp, UserId, entropy::random_uuid};

use crate::balance::{exact, saturated};
use crate::db::{Row, args, statements};
use crate::listing::{Listed, Page};
use crate::{Store, StoreError, Work};

/// What changed an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocationChangeKind {
    /// The agent was made with it.
    Create,
    /// Somebody set it.
    Edit,
    /// A request was approved.
    Request,
}

impl AllocationChangeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Create, Self::Edit, Self::Request];

    /// The name in the HTTP contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Request => "request",
        }
    }

    /// Reads the name of the HTTP contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A change of an allocation, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAllocationChange {
    /// Whose.
    pub agent: AgentId,
    /// What it was.
    pub previous: Money,
    /// What it is.
    pub new: Money,
    /// What changed it.
    pub kind: AllocationChangeKind,
    /// The request that was approved.
    pub request_id: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: UserId,
}

/// A change of an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationChange {
    /// `bhist_<uuid>`.
    pub id: String,
    /// What it was.
    pub previous: Money,
    /// What it was made.
    pub new: Money,
    /// What changed it.
    pub kind: AllocationChangeKind,
    /// The request that was approved.
    pub request_id: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: UserId,
    /// Their name now.
    pub by_name: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// All changes of an allocation together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationChangeSummary {
    /// What the agent began with.
    pub initial: Money,
    /// What later changes added, leaving aside those that took away.
    pub increases: Money,
    /// How many changes there were after the first.
    pub modifications: u64,
}

statements! {
    INSERT = "INSERT INTO budget_history (id, agent_id, previous_cap, new_cap, kind, request_id, reason, modified_by, \
        modified_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    PAGE = "SELECT h.id, h.previous_cap, h.new_cap, h.kind, h.request_id, h.reason, h.modified_by, u.username, \
        h.modified_at FROM budget_history AS h LEFT JOIN users AS u ON u.id = h.modified_by WHERE h.agent_id = $1 \
        ORDER BY h.modified_at DESC, h.id DESC LIMIT $2 OFFSET $3";
    /// The sum in two parts: many changes of the largest caps add up to more than 64 bits hold.
    SUMMARY = "SELECT COUNT(*), COALESCE(MAX(CASE WHEN kind = 'create' THEN new_cap END), 0), \
        CAST(COALESCE(SUM(CASE WHEN kind <> 'create' AND new_cap > previous_cap \
            THEN (new_cap - previous_cap) / 1000000000 ELSE 0 END), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN kind <> 'create' AND new_cap > previous_cap \
            THEN (new_cap - previous_cap) % 1000000000 ELSE 0 END), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN kind <> 'create' THEN 1 ELSE 0 END), 0) AS BIGINT) \
        FROM budget_history WHERE agent_id = $1";
}

impl Store {
    /// The changes of an agent's allocation, youngest first, and what all of them come to.
    pub async fn allocation_history(
        &self,
        agent: AgentId,
        page: Page,
    ) -> Result<(Listed<AllocationChange>, AllocationChangeSummary), StoreError> {
        let row = self.db.row(&SUMMARY, args![agent.0]).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a question for sums was not answered".to_owned()))?;
        let summary = AllocationChangeSummary {
            initial: row.money(1)?,
            increases: saturated(exact(&row, 2)?),
            modifications: u64::try_from(row.int(4)?).unwrap_or(0),
        };
        let [limit, offset] = page.bounds();
        let rows = self.db.rows(&PAGE, args![agent.0, limit, offset]).await?;
        let changes = rows.iter().map(change_from_row).collect::<Result<_, _>>()?;
        Ok((Listed::new(changes, row.int(0)?), summary))
    }
}

impl Work {
    /// Keeps a change of an allocation; returns its id.
    pub async fn keep_allocation_change(
        &mut self,
        change: &NewAllocationChange,
        entropy: &dyn Entropy,
    ) -> Result<String, StoreError> {
        let id = format!("bhist_{}", random_uuid(entropy));
        let values = args![
            id.as_str(),
            change.agent.0,
            change.previous,
            change.new,
            change.kind.as_str(),
            change.request_id.as_deref(),
            change.reason.as_deref(),
            change.by.as_str(),
            self.now,
        ];
        self.tx.run(&INSERT, values).await?;
        Ok(id)
    }
}

fn change_from_row(row: &Row) -> Result<AllocationChange, StoreError> {
    let kind = AllocationChangeKind::parse(&row.text(3)?);
    Ok(AllocationChange {
        id: row.text(0)?,
        previous: row.money(1)?,
        new: row.money(2)?,
        kind: kind.ok_or_else(|| StoreError::Corrupt("a change of an allocation of an unknown kind".to_owned()))?,
        request_id: row.opt_text(4)?,
        reason: row.opt_text(5)?,
        by: UserId::new(row.text(6)?),
        by_name: row.opt_text(7)?,
        at: row.time(8)?,
    })
}
