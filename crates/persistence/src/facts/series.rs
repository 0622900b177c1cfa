//! The dimension of facts: looked up once, and remembered for ever, because its rows never change.

use std::sync::{Arc, Mutex, PoisonError};

use analytics::CallStatus;
use kernel::AgentId;

use super::{HashMap, HashSet};
use crate::db::{Row, args, statements};
use crate::rows::Rows;
use crate::{StoreError, Work};

/// Whose fact it is, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeriesKey {
    pub(crate) agent: AgentId,
    pub(crate) owner: Arc<str>,
    /// Empty without one.
    pub(crate) project: Arc<str>,
    pub(crate) provider: Arc<str>,
    /// 0 where it is not known.
    pub(crate) key: i64,
    pub(crate) model: Arc<str>,
    pub(crate) status: CallStatus,
}

/// The row of a series, as a fact refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) no: i64,
    /// The agent has used too many names: the series has [`OTHER`] in the place of the provider or the model.
    pub(crate) renamed: bool,
}

/// What stands in a series for names beyond the first [`MODELS`] or [`PROVIDERS`].
const OTHER: &str = "other";
/// So many names of models are told apart for each agent. What comes after is added up under one name; the facts keep
/// theirs.
const MODELS: usize = 200;
/// So many providers.
const PROVIDERS: usize = 32;
/// From so many on, everything remembered is forgotten: some tens of MiB.
const TOO_MANY: usize = 65_536;

/// Series that are durably stored, by key.
#[derive(Debug, Default)]
pub(crate) struct SeriesCache(Mutex<HashMap<SeriesKey, Series>>);

impl SeriesCache {
    fn find(&self, keys: &[SeriesKey]) -> Vec<Option<Series>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| known.get(key).copied()).collect()
    }

    /// Takes over what a committed transaction found or made.
    pub(crate) fn learn(&self, series: Vec<(SeriesKey, Series)>) {
        if series.is_empty() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + series.len() > TOO_MANY {
            known.clear();
        }
        known.extend(series);
    }
}

statements! {
    FIND = "SELECT s.no, s.agent_id, s.owner_id, s.project_id, s.provider, s.provider_key_id, s.model, s.status \
        FROM {rows} CROSS JOIN series AS s WHERE s.agent_id = {int 0} AND s.owner_id = {text 1} \
        AND s.project_id = {text 2} AND s.provider = {text 3} AND s.provider_key_id = {int 4} AND s.model = {text 5} \
        AND s.status = {text 6}";
    NAMES = "SELECT DISTINCT s.agent_id, s.provider, s.model FROM {rows} CROSS JOIN series AS s \
        WHERE s.agent_id = {int 0}";
    INSERT = "INSERT INTO series (agent_id, owner_id, project_id, provider, provider_key_id, model, status) \
        SELECT {int 0}, {text 1}, {text 2}, {text 3}, {int 4}, {text 5}, {text 6} FROM {rows} WHERE true \
        ON CONFLICT DO NOTHING";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![("FIND", &*FIND), ("NAMES", &*NAMES), ("INSERT", &*INSERT)]
}

fn rows_of<'a>(keys: impl Iterator<Item = &'a SeriesKey>) -> Rows {
    let mut rows = Rows::new();
    for key in keys {
        rows.row().int(key.agent.0).text(&key.owner).text(&key.project).text(&key.provider).int(key.key);
        rows.text(&key.model).text(key.status.as_str());
    }
    rows
}

/// Reads agent, owner, project, provider, provider key, model and status, from the column `at` on.
pub(super) fn key_from_row(row: &Row, at: usize) -> Result<SeriesKey, StoreError> {
    let status = CallStatus::parse(&row.text(at + 6)?);
    Ok(SeriesKey {
        agent: AgentId(row.int(at)?),
        owner: row.text(at + 1)?.into(),
        project: row.text(at + 2)?.into(),
        provider: row.text(at + 3)?.into(),
        key: row.int(at + 4)?,
        model: row.text(at + 5)?.into(),
        status: status.ok_or_else(|| StoreError::Corrupt("a series has an unreadable status".to_owned()))?,
    })
}

impl Work {
    /// The series of these keys, one for each; those that are missing are made. Whoever calls holds the locks of the
    /// agents' books.
    pub(super) async fn series_of(&mut self, keys: &[SeriesKey]) -> Result<Vec<Series>, StoreError> {
        let known = self.series.find(keys);
        let missing = keys.iter().zip(&known).filter(|(_, series)| series.is_none()).map(|(key, _)| key);
        let mut made = self.missing_series(missing.collect()).await?;
        let series = keys.iter().zip(known).map(|(key, series)| series.or_else(|| made.get(key).copied()));
        let series: Option<Vec<Series>> = series.collect();
        self.learned_series.extend(made.drain());
        series.ok_or_else(|| StoreError::Corrupt("a series was not stored".to_owned()))
    }

    async fn missing_series(&mut self, missing: HashSet<&SeriesKey>) -> Result<HashMap<SeriesKey, Series>, StoreError> {
        if missing.is_empty() {
            return Ok(HashMap::default());
        }
        let stored = self.stored_series(missing.iter().copied()).await?;
        let fresh: Vec<SeriesKey> = missing.into_iter().filter(|key| !stored.contains_key(*key)).cloned().collect();
        let mut found: HashMap<SeriesKey, Series> =
            stored.into_iter().map(|(key, no)| (key, Series { no, renamed: false })).collect();
        if !fresh.is_empty() {
            let named = self.within_bounds(fresh).await?;
            let wanted: HashSet<SeriesKey> = named.iter().map(|(_, key)| key.clone()).collect();
            self.tx.run(&INSERT, args![rows_of(wanted.iter()).finish()]).await?;
            let made = self.stored_series(wanted.iter()).await?;
            for (asked, key) in named {
                if let Some(no) = made.get(&key).copied() {
                    let renamed = asked != key;
                    found.insert(asked, Series { no, renamed });
                }
            }
        }
        Ok(found)
    }

    async fn stored_series<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a SeriesKey>,
    ) -> Result<HashMap<SeriesKey, i64>, StoreError> {
        let rows = self.tx.rows(&FIND, args![rows_of(keys).finish()]).await?;
        rows.iter().map(|row| Ok((key_from_row(row, 1)?, row.int(0)?))).collect()
    }

    /// Keys as they are asked for, and as they are to be stored: an agent that invents names does not get a series for
    /// each.
    async fn within_bounds(&mut self, fresh: Vec<SeriesKey>) -> Result<Vec<(SeriesKey, SeriesKey)>, StoreError> {
        let mut rows = Rows::new();
        let agents: HashSet<AgentId> = fresh.iter().map(|key| key.agent).collect();
        for agent in &agents {
            rows.row().int(agent.0);
        }
        let mut providers: HashMap<AgentId, HashSet<Arc<str>>> = HashMap::default();
        let mut models: HashMap<AgentId, HashSet<Arc<str>>> = HashMap::default();
        for row in self.tx.rows(&NAMES, args![rows.finish()]).await? {
            let agent = AgentId(row.int(0)?);
            providers.entry(agent).or_default().insert(row.text(1)?.into());
            models.entry(agent).or_default().insert(row.text(2)?.into());
        }
        let fit =
            |names: &mut HashMap<AgentId, HashSet<Arc<str>>>, agent: AgentId, name: &mut Arc<str>, most: usize| {
                let known = names.entry(agent).or_default();
                if known.len() < most {
                    known.insert(name.clone());
                } else if !known.contains(name) {
                    *name = OTHER.into();
                }
            };
        let mut named = Vec::with_capacity(fresh.len());
        for asked in fresh {
            let mut key = asked.clone();
            fit(&mut providers, key.agent, &mut key.provider, PROVIDERS);
            fit(&mut models, key.agent, &mut key.model, MODELS);
            named.push((asked, key));
        }
        Ok(named)
    }
}
