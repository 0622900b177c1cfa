//! Facts one by one, youngest first.

use std::collections::HashMap;
use std::sync::Arc;

use analytics::CallStatus;
use kernel::{AgentId, Money, Timestamp};

use super::text::Text;
use super::{Inquiry, QuestionFilter};
use crate::StoreError;
use crate::db::{Backend, Row, Value, args, statements};
use crate::facts::slot;
use crate::listing::{Page, number_rows};
use crate::rows::Rows;

/// A fact as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFact {
    /// Its number.
    pub id: i64,
    /// The id of the event that told of it, or of the report.
    pub event_id: Option<String>,
    /// When the call happened.
    pub occurred_at: Timestamp,
    /// How it ended.
    pub status: CallStatus,
    /// The model.
    pub model: String,
    /// The kind of provider.
    pub provider: String,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// What it cost.
    pub cost: Money,
    /// Whose call it was.
    pub agent: AgentId,
    /// The agent's name now, or its last one.
    pub agent_name: String,
    /// Why it failed.
    pub error_code: Option<String>,
    /// Why it failed, for people.
    pub error_message: Option<String>,
}

statements! {
    DETAILS = "SELECT f.id, COALESCE(f.event_id, f.request_id), f.occurred_at, s.status, COALESCE(x.model, s.model), \
        COALESCE(x.provider, s.provider), f.input_tokens, f.output_tokens, f.cost, s.agent_id, a.name, x.error_code, \
        x.error_message FROM facts AS f JOIN series AS s ON s.no = f.series_no JOIN agents AS a ON a.id = s.agent_id \
        LEFT JOIN fact_extras AS x ON x.fact_id = f.id WHERE f.id IN (SELECT {int 0} FROM {rows})";
    NAMES = "SELECT a.id, a.name FROM agents AS a WHERE a.id IN (SELECT {int 0} FROM {rows})";
    CAPS = "SELECT d.scope_key, d.cap FROM budgets AS d WHERE d.budget_window = 'none' AND d.deleted_at IS NULL \
        AND d.scope_key IN (SELECT {text 0} FROM {rows})";
}

/// Of so few series the youngest facts are found series by series; of more, by going back in time.
const FEW_SERIES: usize = 64;

impl Inquiry {
    /// A page of the facts in `from..to`, youngest first.
    pub async fn facts(
        &mut self,
        filter: &QuestionFilter,
        (from, to): (Timestamp, Timestamp),
        page: Page,
    ) -> Result<Vec<ListedFact>, StoreError> {
        let series = if filter.narrows() { self.few_series(filter).await? } else { None };
        let (sql, args) = match &series {
            Some(series) if series.is_empty() => return Ok(Vec::new()),
            Some(series) => few_question(self.tx.backend(), series, from, to, page),
            None => page_question(self.tx.backend(), filter, from, to, page),
        };
        let rows = self.tx.rows_of(sql, args).await?;
        let ids = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = HashMap::with_capacity(ids.len());
        for row in self.tx.rows(&DETAILS, args![number_rows(ids.iter().copied())]).await? {
            let fact = fact(&row)?;
            found.insert(fact.id, fact);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// The numbers of the filter's series, unless they are many.
    async fn few_series(&mut self, filter: &QuestionFilter) -> Result<Option<Vec<i64>>, StoreError> {
        let mut text = Text::new(self.tx.backend());
        text.push("SELECT s.no FROM series AS s").series_of(filter, " WHERE ").push(" LIMIT ");
        text.bind(i64::try_from(FEW_SERIES).unwrap_or(i64::MAX).saturating_add(1));
        let (sql, args) = text.finish();
        let rows = self.tx.rows_of(sql, args).await?;
        let numbers = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
        Ok((numbers.len() <= FEW_SERIES).then_some(numbers))
    }

    /// The names of agents, deleted ones included.
    pub async fn agent_names(
        &mut self,
        agents: impl IntoIterator<Item = AgentId>,
    ) -> Result<HashMap<AgentId, String>, StoreError> {
        let rows = self.tx.rows(&NAMES, args![number_rows(agents.into_iter().map(|id| id.0))]).await?;
        rows.iter().map(|row| Ok((AgentId(row.int(0)?), row.text(1)?))).collect()
    }

    /// The allocations of agents; those that have none are left out.
    pub async fn allocated(
        &mut self,
        agents: impl IntoIterator<Item = AgentId>,
    ) -> Result<HashMap<AgentId, Money>, StoreError> {
        let mut keys = Rows::new();
        let mut by_key = HashMap::new();
        for agent in agents {
            let key = ledger::Scope::Agent(agent).key();
            keys.row().text(&key);
            by_key.insert(key, agent);
        }
        let mut found = HashMap::with_capacity(by_key.len());
        for row in self.tx.rows(&CAPS, args![keys.finish()]).await? {
            if let Some(agent) = by_key.get(&row.text(0)?) {
                found.insert(*agent, row.money(1)?);
            }
        }
        Ok(found)
    }
}

fn fact(row: &Row) -> Result<ListedFact, StoreError> {
    let status = CallStatus::parse(&row.text(3)?);
    Ok(ListedFact {
        id: row.int(0)?,
        event_id: row.opt_text(1)?,
        occurred_at: row.time(2)?,
        status: status.ok_or_else(|| StoreError::Corrupt("a call of unknown outcome".to_owned()))?,
        model: row.text(4)?,
        provider: row.text(5)?,
        input_tokens: row.int(6)?,
        output_tokens: row.int(7)?,
        cost: row.money(8)?,
        agent: AgentId(row.int(9)?),
        agent_name: row.text(10)?,
        error_code: row.opt_text(11)?,
        error_message: row.opt_text(12)?,
    })
}

fn page_question(
    backend: Backend,
    filter: &QuestionFilter,
    from: Timestamp,
    to: Timestamp,
    page: Page,
) -> (Arc<str>, Vec<Value>) {
    let [limit, offset] = page.bounds();
    let mut text = Text::new(backend);
    text.push("SELECT f.id FROM facts AS f WHERE f.occurred_at / 10000 >= ").bind(slot(from));
    text.push(" AND f.occurred_at / 10000 <= ").bind(slot(to));
    text.push(" AND f.occurred_at >= ").bind(from).push(" AND f.occurred_at < ").bind(to);
    if filter.narrows() {
        // The sign keeps the databases from going by the series: a page would cost all facts of them
        text.push(" AND +f.series_no IN (SELECT s.no FROM series AS s").series_of(filter, " WHERE ").push(")");
    }
    text.push(" ORDER BY f.occurred_at / 10000 DESC, f.occurred_at DESC, f.id DESC LIMIT ").bind(limit);
    text.push(" OFFSET ").bind(offset);
    text.finish()
}

fn few_question(
    backend: Backend,
    series: &[i64],
    from: Timestamp,
    to: Timestamp,
    page: Page,
) -> (Arc<str>, Vec<Value>) {
    let [limit, offset] = page.bounds();
    let mut text = Text::new(backend);
    text.push("SELECT u.id FROM (");
    for (index, number) in series.iter().enumerate() {
        text.push(if index == 0 { "" } else { " UNION ALL " });
        text.push(
            "SELECT * FROM (SELECT f.id AS id, f.occurred_at AS occurred_at FROM facts AS f WHERE f.series_no = ",
        );
        text.bind(*number).push(" AND f.occurred_at >= ").bind(from).push(" AND f.occurred_at < ").bind(to);
        text.push(" ORDER BY f.occurred_at DESC, f.id DESC LIMIT ").bind(limit.saturating_add(offset));
        text.push(") AS one");
    }
    text.push(") AS u ORDER BY u.occurred_at DESC, u.id DESC LIMIT ").bind(limit).push(" OFFSET ").bind(offset);
    text.finish()
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn questions(filter: &QuestionFilter) -> Vec<(&'static str, Arc<str>)> {
    let (from, to, page) = (Timestamp::EPOCH, Timestamp::MAX, Page::first(10));
    vec![
        ("facts", page_question(Backend::Sqlite, filter, from, to, page).0),
        ("facts of a few series", few_question(Backend::Sqlite, &[1, 2], from, to, page).0),
        ("facts by number", DETAILS.sqlite_text(2).into()),
        ("names of agents", NAMES.sqlite_text(2).into()),
        ("allocations of agents", CAPS.sqlite_text(2).into()),
    ]
}
