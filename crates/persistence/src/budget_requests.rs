//! Requests that an agent's total becomes another one, and what became of them.

use std::sync::LazyLock;

use kernel::{AgentId, BudgetRequestId, Money, Timestamp, UserId};

use crate::db::{Row, Sql, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility};
use crate::{Store, StoreError, Work};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BudgetRequestStatus {
    /// Nothing yet.
    Pending,
    /// The agent got another total.
    Approved,
    /// A reviewer said no.
    Rejected,
    /// It was taken back, or the agent or the requester is gone.
    Cancelled,
}

impl BudgetRequestStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Rejected, Self::Cancelled];

    /// The name in the HTTP contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the name of the HTTP contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A request as it is shown. Names are those of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRequest {
    /// Its id.
    pub id: BudgetRequestId,
    /// For which agent.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// Who asks.
    pub requester: UserId,
    /// Their name.
    pub requester_name: String,
    /// The agent's total when it was asked for.
    pub current: Money,
    /// What the total is to be.
    pub requested: Money,
    /// Why.
    pub justification: String,
    /// What became of it.
    pub status: BudgetRequestStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was approved or rejected.
    pub reviewed_at: Option<Timestamp>,
    /// By whom.
    pub reviewed_by: Option<UserId>,
    /// Their name.
    pub reviewed_by_name: Option<String>,
    /// What the reviewer says, or why it was cancelled.
    pub notes: Option<String>,
    /// The total that was approved.
    pub approved: Option<Money>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// By whom.
    pub cancelled_by: Option<UserId>,
    /// Their name.
    pub cancelled_by_name: Option<String>,
}

/// A request to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBudgetRequest {
    /// Its id.
    pub id: BudgetRequestId,
    /// For which agent.
    pub agent: AgentId,
    /// Who asks.
    pub requester: UserId,
    /// The agent's total now.
    pub current: Money,
    /// What the total is to be, above zero.
    pub requested: Money,
    /// Why.
    pub justification: String,
}

/// What a pending request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetRequestEnd {
    /// This total is approved, above zero. That the agent gets it is for the caller to see to.
    Approved(Money),
    /// No.
    Rejected,
    /// It was taken back.
    Cancelled,
}

/// Which requests. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetRequestFilter {
    /// Whose eyes it is for: a user sees requests of their own, and those for their own agents.
    pub visible_to: Visibility,
    /// Only this one.
    pub id: Option<BudgetRequestId>,
    /// For this agent.
    pub agent: Option<AgentId>,
    /// Of this user.
    pub requester: Option<UserId>,
    /// In one of these; none: in any.
    pub statuses: Vec<BudgetRequestStatus>,
    /// Made then or later.
    pub from: Option<Timestamp>,
    /// Made before.
    pub to: Option<Timestamp>,
}

/// The order of a list of requests; ends in the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BudgetRequestSort {
    /// The youngest first.
    #[default]
    CreatedDescending,
    /// The oldest first.
    CreatedAscending,
    /// The largest total that is asked for first.
    RequestedDescending,
    /// The smallest first.
    RequestedAscending,
}

impl BudgetRequestSort {
    const fn tail(self) -> &'static str {
        match self {
            Self::CreatedDescending => " ORDER BY r.created_at DESC, r.id DESC LIMIT ? OFFSET ?",
            Self::CreatedAscending => " ORDER BY r.created_at, r.id LIMIT ? OFFSET ?",
            Self::RequestedDescending => " ORDER BY r.requested_cap DESC, r.id DESC LIMIT ? OFFSET ?",
            Self::RequestedAscending => " ORDER BY r.requested_cap, r.id LIMIT ? OFFSET ?",
        }
    }
}

/// What [`request_from_row`] reads.
const SELECT: &str = "SELECT r.id, r.agent_id, a.name, r.requester_id, u.username, r.current_cap, r.requested_cap, \
    r.justification, r.status, r.created_at, r.updated_at, r.reviewed_at, r.reviewed_by, v.username, r.notes, \
    r.approved_cap, r.cancelled_at, r.cancelled_by, c.username \
    FROM budget_requests AS r JOIN agents AS a ON a.id = r.agent_id JOIN users AS u ON u.id = r.requester_id \
    LEFT JOIN users AS v ON v.id = r.reviewed_by LEFT JOIN users AS c ON c.id = r.cancelled_by";

static BY_ID: LazyLock<Sql> = LazyLock::new(|| Sql::new(&format!("{SELECT} WHERE r.id = $1")));

statements! {
    INSERT = "INSERT INTO budget_requests (id, agent_id, requester_id, current_cap, requested_cap, justification, status, \
        created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $7)";
    LOCK = "SELECT id FROM budget_requests WHERE id = $1 {for_update}";
    REVIEW = "UPDATE budget_requests SET status = $2, reviewed_at = $3, reviewed_by = $4, notes = $5, approved_cap = $6, \
        updated_at = $3 WHERE id = $1 AND status = 'pending'";
    CANCEL = "UPDATE budget_requests SET status = 'cancelled', cancelled_at = $2, cancelled_by = $3, notes = $4, \
        updated_at = $2 WHERE id = $1 AND status = 'pending'";
    PENDING_FOR = "SELECT id FROM budget_requests WHERE agent_id = $1 AND status = 'pending' ORDER BY id {for_update}";
    PENDING_OF = "SELECT id FROM budget_requests WHERE requester_id = $1 AND status = 'pending' ORDER BY id {for_update}";
}

impl Store {
    /// A request, if there is one and somebody may see it.
    pub async fn budget_request(
        &self,
        id: &BudgetRequestId,
        visible_to: &Visibility,
    ) -> Result<Option<BudgetRequest>, StoreError> {
        let filter = BudgetRequestFilter {
            visible_to: visible_to.clone(),
            id: Some(id.clone()),
            ..BudgetRequestFilter::default()
        };
        Ok(self.budget_requests(&filter, BudgetRequestSort::default(), Page::first(1)).await?.rows.pop())
    }

    /// A page of requests, and how many there are in all.
    pub async fn budget_requests(
        &self,
        filter: &BudgetRequestFilter,
        sort: BudgetRequestSort,
        page: Page,
    ) -> Result<Listed<BudgetRequest>, StoreError> {
        let head = "SELECT COUNT(*) FROM budget_requests AS r JOIN agents AS a ON a.id = r.agent_id";
        let (text, args) = filter.conditions().statement(head, "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let (text, args) = filter.conditions().statement(SELECT, sort.tail(), page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(request_from_row).collect::<Result<_, _>>()?, total))
    }
}

impl BudgetRequestFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        if let Some(user) = self.visible_to.user() {
            filter.and("(r.requester_id = ? OR a.owner_id = ?)", [user.into(), user.into()]);
        }
        filter.and_if("r.id = ?", self.id.as_ref().map(BudgetRequestId::as_str));
        filter.and_if("r.agent_id = ?", self.agent.map(|agent| agent.0));
        filter.and_if("r.requester_id = ?", self.requester.as_ref().map(UserId::as_str));
        filter.and_one_of("r.status", self.statuses.iter().map(|status| status.as_str()));
        filter.and_if("r.created_at >= ?", self.from);
        filter.and_if("r.created_at < ?", self.to);
        filter
    }
}

impl Work {
    /// Makes a request. Its agent must be locked and its requester held, so that nobody deletes either meanwhile and leaves
    /// it pending.
    pub async fn create_budget_request(&mut self, new: &NewBudgetRequest) -> Result<BudgetRequest, StoreError> {
        let values = args![
            new.id.as_str(),
            new.agent.0,
            new.requester.as_str(),
            new.current,
            new.requested,
            new.justification.as_str(),
            self.now,
        ];
        self.tx.run(&INSERT, values).await?;
        self.budget_request(&new.id).await
    }

    /// A request, which nobody else changes until this work ends. The book of its agent, if it is needed, is locked before:
    /// whoever deletes an agent goes the same way.
    pub async fn budget_request_for_update(
        &mut self,
        id: &BudgetRequestId,
    ) -> Result<Option<BudgetRequest>, StoreError> {
        if self.tx.row(&LOCK, args![id.as_str()]).await?.is_none() {
            return Ok(None);
        }
        self.budget_request(id).await.map(Some)
    }

    /// Ends a pending request; `None`, and nothing changes, if it is not pending any more. Of two who end it at once, one
    /// gets it.
    pub async fn end_budget_request(
        &mut self,
        id: &BudgetRequestId,
        end: BudgetRequestEnd,
        by: &UserId,
        notes: Option<&str>,
    ) -> Result<Option<BudgetRequest>, StoreError> {
        let (status, approved) = match end {
            BudgetRequestEnd::Approved(total) => (BudgetRequestStatus::Approved, Some(total.nanos())),
            BudgetRequestEnd::Rejected => (BudgetRequestStatus::Rejected, None),
            BudgetRequestEnd::Cancelled => (BudgetRequestStatus::Cancelled, None),
        };
        let changed = if status == BudgetRequestStatus::Cancelled {
            self.tx.run(&CANCEL, args![id.as_str(), self.now, by.as_str(), notes]).await?
        } else {
            let values = args![id.as_str(), status.as_str(), self.now, by.as_str(), notes, approved];
            self.tx.run(&REVIEW, values).await?
        };
        if changed == 0 { Ok(None) } else { self.budget_request(id).await.map(Some) }
    }

    /// Cancels what is pending for an agent, whose book is locked; returns it as it is now.
    pub async fn cancel_requests_for(
        &mut self,
        agent: AgentId,
        by: &UserId,
        why: &str,
    ) -> Result<Vec<BudgetRequest>, StoreError> {
        let pending = self.tx.rows(&PENDING_FOR, args![agent.0]).await?;
        self.cancel_all(&pending, by, why).await
    }

    /// Cancels what is pending of a user, who is locked; returns it as it is now.
    pub async fn cancel_requests_of(
        &mut self,
        requester: &UserId,
        by: &UserId,
        why: &str,
    ) -> Result<Vec<BudgetRequest>, StoreError> {
        let pending = self.tx.rows(&PENDING_OF, args![requester.as_str()]).await?;
        self.cancel_all(&pending, by, why).await
    }

    async fn cancel_all(&mut self, pending: &[Row], by: &UserId, why: &str) -> Result<Vec<BudgetRequest>, StoreError> {
        let mut cancelled = Vec::with_capacity(pending.len());
        for row in pending {
            let id = BudgetRequestId::new(row.text(0)?);
            cancelled.extend(self.end_budget_request(&id, BudgetRequestEnd::Cancelled, by, Some(why)).await?);
        }
        Ok(cancelled)
    }

    async fn budget_request(&mut self, id: &BudgetRequestId) -> Result<BudgetRequest, StoreError> {
        let row = self.tx.row(&BY_ID, args![id.as_str()]).await?;
        row.as_ref().map_or_else(|| Err(StoreError::Corrupt(format!("there is no request {id}"))), request_from_row)
    }
}

fn request_from_row(row: &Row) -> Result<BudgetRequest, StoreError> {
    let status = BudgetRequestStatus::parse(&row.text(8)?);
    Ok(BudgetRequest {
        id: BudgetRequestId::new(row.text(0)?),
        agent: AgentId(row.int(1)?),
        agent_name: row.text(2)?,
        requester: UserId::new(row.text(3)?),
        requester_name: row.text(4)?,
        current: row.money(5)?,
        requested: row.money(6)?,
        justification: row.text(7)?,
        status: status.ok_or_else(|| StoreError::Corrupt("a budget request in an unknown status".to_owned()))?,
        created_at: row.time(9)?,
        updated_at: row.time(10)?,
        reviewed_at: row.opt_time(11)?,
        reviewed_by: row.opt_text(12)?.map(UserId::new),
        reviewed_by_name: row.opt_text(13)?,
        notes: row.opt_text(14)?,
        approved: row.opt_money(15)?,
        cancelled_at: row.opt_time(16)?,
        cancelled_by: row.opt_text(17)?.map(UserId::new),
        cancelled_by_name: row.opt_text(18)?,
    })
}
