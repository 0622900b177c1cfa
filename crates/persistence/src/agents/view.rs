//! Agents as they are shown: with their keys, figures and status, for any number of them with a fixed number of queries.

use std::collections::{HashMap, HashSet};

use kernel::{AgentId, BudgetId, ProjectId, ProviderKeyId, Timestamp, UserId};
use ledger::{AgentFigures, Scope};

use super::{Agent, COLUMNS, agent_from_row};
use crate::db::{Backend, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility, containing, number_rows};
use crate::standing::Standing;
use crate::{Store, StoreError};

/// Whether an agent can go on spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentStatus {
    /// It can.
    Active,
    /// Nothing can be lent to it in some scope.
    Exhausted,
    /// It has no IC token that can be used, or no enabled key.
    Inactive,
    /// A freeze covers it.
    Frozen,
}

impl AgentStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Exhausted, Self::Inactive, Self::Frozen];

    /// The name in the HTTP contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Exhausted => "exhausted",
            Self::Inactive => "inactive",
            Self::Frozen => "frozen",
        }
    }

    /// Reads the name of the HTTP contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A key that an agent can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentKeyRef {
    /// Which key it is.
    pub id: ProviderKeyId,
    /// Which provider it is for.
    pub provider: String,
    /// Whether it is handed out.
    pub is_enabled: bool,
    /// Whether only the agent's project lends it.
    pub is_of_project: bool,
}

/// An agent as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    /// Its row.
    pub agent: Agent,
    /// Rises when its IC token is replaced or removed and when a freeze covers it.
    pub epoch: i64,
    /// Its keys: the primary one, those assigned to it in their order, those of its project.
    pub keys: Vec<AgentKeyRef>,
    /// The id of its allocation.
    pub budget: Option<BudgetId>,
    /// When its allocation was last changed.
    pub budget_updated_at: Timestamp,
    /// Its allocation and the amounts of its account.
    pub figures: AgentFigures,
    /// Whether it can go on spending.
    pub status: AgentStatus,
}

impl AgentView {
    /// The kinds of its keys, each once, the primary one's first; as stated when it was made, if it has no keys.
    pub fn providers(&self) -> Vec<&str> {
        let stated = self.agent.stated_providers.iter().map(String::as_str);
        let kinds = self.keys.iter().map(|key| key.provider.as_str());
        let mut seen = HashSet::new();
        let all: Vec<&str> = if self.keys.is_empty() { stated.collect() } else { kinds.collect() };
        all.into_iter().filter(|kind| seen.insert(*kind)).collect()
    }
}

/// Which agents. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Whose eyes it is for: a user sees own agents.
    pub visible_to: Visibility,
    /// Whose name contains this, without regard to case.
    pub name: Option<String>,
    /// In this project.
    pub project: Option<ProjectId>,
    /// Of this owner.
    pub owner: Option<UserId>,
    /// With this label.
    pub tag: Option<String>,
    /// In this status.
    pub status: Option<AgentStatus>,
    /// Deleted ones too.
    pub include_deleted: bool,
    /// Only this one.
    pub id: Option<AgentId>,
}

/// In which order agents are listed; the id decides between equals, in the same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentSort {
    /// Oldest first.
    CreatedAscending,
    /// Youngest first.
    #[default]
    CreatedDescending,
    /// By name, without regard to case.
    NameAscending,
    /// By name, backwards.
    NameDescending,
    /// Smallest allocation first.
    BudgetAscending,
    /// Largest allocation first.
    BudgetDescending,
}

impl AgentSort {
    const fn tail(self) -> &'static str {
        match self {
            Self::CreatedAscending => " ORDER BY a.created_at, a.id LIMIT ? OFFSET ?",
            Self::CreatedDescending => " ORDER BY a.created_at DESC, a.id DESC LIMIT ? OFFSET ?",
            Self::NameAscending => " ORDER BY a.name_key, a.id LIMIT ? OFFSET ?",
            Self::NameDescending => " ORDER BY a.name_key DESC, a.id DESC LIMIT ? OFFSET ?",
            Self::BudgetAscending => " ORDER BY COALESCE(d.cap, 0), a.id LIMIT ? OFFSET ?",
            Self::BudgetDescending => " ORDER BY COALESCE(d.cap, 0) DESC, a.id DESC LIMIT ? OFFSET ?",
        }
    }

    const fn needs_budget(self) -> bool {
        matches!(self, Self::BudgetAscending | Self::BudgetDescending)
    }
}

/// What an agent's runtime did of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AgentActivity {
    /// Calls in all, reported or told of by events.
    pub requests_total: i64,
    /// Calls that happened since the first instant asked about.
    pub requests_today: i64,
    /// Calls that happened since the second.
    pub requests_last_hour: i64,
    /// Leases that are active.
    pub open_leases: i64,
    /// When the last call was made.
    pub last_request_at: Option<Timestamp>,
}

statements! {
    /// Rank 0 is the primary key, 1 an assigned one, 2 one of the project.
    KEYS = "SELECT h.agent_id, k.id, k.provider, k.is_enabled, h.place FROM \
        (SELECT a.id AS agent_id, a.primary_key_id AS key_id, CAST(0 AS BIGINT) AS place, CAST(0 AS BIGINT) AS position \
            FROM agents AS a WHERE a.id IN (SELECT {int 0} FROM {rows}) \
        UNION ALL SELECT x.agent_id, x.key_id, 1, x.position FROM agent_provider_keys AS x \
            WHERE x.agent_id IN (SELECT {int 0} FROM {rows}) \
        UNION ALL SELECT a.id, p.key_id, 2, p.assigned_at FROM agents AS a \
            JOIN project_provider_keys AS p ON p.project_id = a.project_id WHERE a.id IN (SELECT {int 0} FROM {rows})) AS h \
        JOIN provider_keys AS k ON k.id = h.key_id ORDER BY h.agent_id, h.place, h.position, k.id";
    OPEN_LEASES = "SELECT COUNT(*) FROM leases AS l WHERE l.agent_id = $1 AND l.state = 'active' AND l.state <> 'closed'";
    LAST = "SELECT MAX((SELECT MAX(f.occurred_at) FROM facts AS f WHERE f.series_no = o.no)) FROM series AS o \
        WHERE o.agent_id = $1";
}

impl Store {
    /// A live agent as it is shown.
    pub async fn agent(&self, id: AgentId, now: Timestamp) -> Result<Option<AgentView>, StoreError> {
        let filter = AgentFilter { id: Some(id), ..AgentFilter::default() };
        Ok(self.agents(&filter, AgentSort::default(), Page::first(1), now).await?.rows.pop())
    }

    /// Agents as they are shown. To filter by status, every agent that is otherwise wanted is looked at.
    pub async fn agents(
        &self,
        filter: &AgentFilter,
        sort: AgentSort,
        page: Page,
        now: Timestamp,
    ) -> Result<Listed<AgentView>, StoreError> {
        let Some(status) = filter.status else {
            let (text, args) = filter.conditions(self.backend()).statement("SELECT COUNT(*) FROM agents AS a", "", []);
            let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
            let rows = self.agent_rows(filter, sort, page).await?;
            return Ok(Listed::new(self.views_of(rows, now).await?, total));
        };
        let rows = self.agent_rows(filter, sort, Page::first(u64::MAX)).await?;
        let mut views = self.views_of(rows, now).await?;
        views.retain(|view| view.status == status);
        let total = views.len() as u64;
        Ok(Listed { rows: page.of(views), total })
    }

    async fn agent_rows(&self, filter: &AgentFilter, sort: AgentSort, page: Page) -> Result<Vec<Agent>, StoreError> {
        let mut head = format!("SELECT {COLUMNS} FROM agents AS a");
        if sort.needs_budget() {
            head.push_str(
                " LEFT JOIN budgets AS d ON d.scope_key = 'agent:' || a.id AND d.budget_window = 'none' \
                AND d.deleted_at IS NULL",
            );
        }
        let bounds = page.bounds().map(Into::into);
        let (text, args) = filter.conditions(self.backend()).statement(&head, sort.tail(), bounds);
        self.db.rows_of(text, args).await?.iter().map(agent_from_row).collect()
    }

    async fn views_of(&self, agents: Vec<Agent>, now: Timestamp) -> Result<Vec<AgentView>, StoreError> {
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id).collect();
        let mut keys = self.usable_keys_of(&ids).await?;
        let frozen = self.frozen_among(&ids).await?;
        let standing = self.standing_of(&ids, now).await?;
        let view = |agent: Agent| {
            let keys = keys.remove(&agent.id).unwrap_or_default();
            let (info, figures) = standing.allocation(agent.id).unzip();
            Ok(AgentView {
                epoch: standing.agent(agent.id).map_or(0, |book| book.epoch),
                status: status_of(&agent, &keys, frozen.contains(&agent.id), &standing, now)?,
                budget_updated_at: info.as_ref().map_or(agent.created_at, |info| info.updated_at),
                budget: info.map(|info| info.id),
                figures: figures.unwrap_or_default(),
                keys,
                agent,
            })
        };
        agents.into_iter().map(view).collect()
    }

    async fn usable_keys_of(&self, agents: &[AgentId]) -> Result<HashMap<AgentId, Vec<AgentKeyRef>>, StoreError> {
        let mut keys: HashMap<AgentId, Vec<AgentKeyRef>> = HashMap::new();
        for row in self.db.rows(&KEYS, args![number_rows(agents.iter().map(|id| id.0))]).await? {
            let key = AgentKeyRef {
                id: ProviderKeyId(row.int(1)?),
                provider: row.text(2)?,
                is_enabled: row.flag(3)?,
                is_of_project: row.int(4)? == 2,
            };
            let of_agent = keys.entry(AgentId(row.int(0)?)).or_default();
            if of_agent.iter().all(|other| other.id != key.id) {
                of_agent.push(key);
            }
        }
        Ok(keys)
    }

    /// What a runtime did since the start of the day and of the last hour, which are the caller's to choose.
    pub async fn agent_activity(
        &self,
        agent: AgentId,
        day_start: Timestamp,
        hour_start: Timestamp,
    ) -> Result<AgentActivity, StoreError> {
        let scope = Scope::Agent(agent);
        let since = async |from| self.requests_between(&scope, from, Timestamp::MAX).await;
        let open = self.db.row(&OPEN_LEASES, args![agent.0]).await?;
        let last = self.db.row(&LAST, args![agent.0]).await?;
        Ok(AgentActivity {
            requests_total: since(Timestamp::EPOCH).await?,
            requests_today: since(day_start).await?,
            requests_last_hour: since(hour_start).await?,
            open_leases: open.map_or(Ok(0), |row| row.int(0))?,
            last_request_at: last.map_or(Ok(None), |row| row.opt_time(0))?,
        })
    }
}

fn status_of(
    agent: &Agent,
    keys: &[AgentKeyRef],
    frozen: bool,
    standing: &Standing,
    now: Timestamp,
) -> Result<AgentStatus, StoreError> {
    Ok(if frozen {
        AgentStatus::Frozen
    } else if standing.is_exhausted(agent.id)? {
        AgentStatus::Exhausted
    } else if !agent.has_usable_ic_token(now) || !keys.iter().any(|key| key.is_enabled) {
        AgentStatus::Inactive
    } else {
        AgentStatus::Active
    })
}

impl AgentFilter {
    fn conditions(&self, backend: Backend) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("a.id = ?", self.id.map(|id| id.0));
        filter.and_if("a.owner_id = ?", self.visible_to.user());
        filter.and_if("a.owner_id = ?", self.owner.as_ref().map(UserId::as_str));
        filter.and_if("a.project_id = ?", self.project.as_ref().map(ProjectId::as_str));
        filter.and_if(r"a.name_key LIKE ? ESCAPE '\'", self.name.as_deref().map(containing));
        let tagged = match backend {
            Backend::Sqlite => "EXISTS (SELECT 1 FROM json_each(a.tags) AS t WHERE t.value = ?)",
            Backend::Postgres => {
                "EXISTS (SELECT 1 FROM jsonb_array_elements_text(a.tags::jsonb) AS t(value) WHERE t.value = ?)"
            }
        };
        filter.and_if(tagged, self.tag.as_deref());
        if !self.include_deleted {
            filter.and("a.deleted_at IS NULL", []);
        }
        filter
    }
}
