//! Provider keys: what is shown of them, and their sealed secrets.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, UserId};
use vault::SealedSecret;

use crate::db::{Row, Sql, Value, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, Visibility, number_rows, texts_from_json, texts_to_json};
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

/// A provider key as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// Its id, never reused.
    pub id: ProviderKeyId,
    /// Which provider it is for; never changes.
    pub provider: String,
    /// Where the provider is reached, if not at its usual address.
    pub base_url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The models it is good for; informational.
    pub models: Vec<String>,
    /// Whether it is handed out.
    pub is_enabled: bool,
    /// Its ends, to know it by.
    pub masked_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was last handed out, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// When its secret was last replaced.
    pub rotated_at: Option<Timestamp>,
    /// The projects that lend it to their agents, in the order it was assigned to them.
    pub assigned_projects: Vec<ProjectId>,
    /// How many agents have it, as their primary key or assigned.
    pub agent_count: i64,
}

/// A provider key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProviderKey {
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
    /// Its ends, to know it by.
    pub masked_key: String,
    /// What its secret is bound to: a random text of its own, never used again.
    pub secret_ref: String,
    /// Its secret.
    pub secret: SealedSecret,
}

/// A change of a provider key; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderKeyChange {
    /// Where the provider is reached now.
    pub base_url: Option<Option<String>>,
    /// What it is for now.
    pub description: Option<Option<String>>,
    /// The models it is good for now.
    pub models: Option<Vec<String>>,
    /// Whether it is handed out now.
    pub is_enabled: Option<bool>,
    /// Its new secret, bound to the same `secret_ref`, and its ends.
    pub secret: Option<(SealedSecret, String)>,
}

/// A provider key with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedProviderKey {
    /// Which key it is.
    pub id: ProviderKeyId,
    /// Which provider it is for.
    pub provider: String,
    /// Where the provider is reached.
    pub base_url: Option<String>,
    /// Whether it is handed out.
    pub is_enabled: bool,
    /// What the secret is bound to.
    pub secret_ref: String,
    /// The secret.
    pub secret: SealedSecret,
}

/// An agent that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The agent.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: UserId,
    /// Whether the key is its primary one.
    pub is_primary: bool,
}

/// Which provider keys. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderKeyFilter {
    /// Whose eyes it is for: a user sees keys that own agents, or projects of own agents, have.
    pub visible_to: Visibility,
    /// For this provider.
    pub provider: Option<String>,
    /// Enabled, or not.
    pub is_enabled: Option<bool>,
    /// Only this one.
    pub id: Option<ProviderKeyId>,
}

const COLUMNS: &str = "k.id, k.provider, k.base_url, k.description, k.models, k.is_enabled, k.masked_key, \
    k.created_at, k.updated_at, k.last_used_at, k.rotated_at";
static BY_ID: LazyLock<Sql> =
    LazyLock::new(|| Sql::new(&format!("SELECT {COLUMNS} FROM provider_keys AS k WHERE k.id = $1")));
/// How long a note of the last use is good enough.
const USE_NOTE_MS: i64 = 60_000;

statements! {
    PROJECTS = "SELECT p.key_id, p.project_id FROM project_provider_keys AS p \
        WHERE p.key_id IN (SELECT {int 0} FROM {rows}) ORDER BY p.key_id, p.assigned_at, p.project_id";
    AGENT_COUNTS = "SELECT h.key_id, COUNT(*) FROM \
        (SELECT a.primary_key_id AS key_id, a.id AS agent_id FROM agents AS a WHERE a.deleted_at IS NULL \
            AND a.primary_key_id IN (SELECT {int 0} FROM {rows}) \
        UNION SELECT x.key_id, x.agent_id FROM agent_provider_keys AS x JOIN agents AS a ON a.id = x.agent_id \
            WHERE a.deleted_at IS NULL AND x.key_id IN (SELECT {int 0} FROM {rows})) AS h GROUP BY h.key_id";
    SEALED = "SELECT id, provider, base_url, is_enabled, secret_ref, kek_id, wrapped_key, ciphertext \
        FROM provider_keys WHERE id = $1";
    SEALED_FOR_UPDATE = "SELECT id, provider, base_url, is_enabled, secret_ref, kek_id, wrapped_key, ciphertext \
        FROM provider_keys WHERE id = $1 {for_update}";
    SEALED_UNDER_OTHERS = "SELECT id, provider, base_url, is_enabled, secret_ref, kek_id, wrapped_key, ciphertext \
        FROM provider_keys WHERE id > $1 AND kek_id <> $2 ORDER BY id LIMIT $3";
    HOLD = "SELECT id, provider, is_enabled FROM provider_keys WHERE id IN (SELECT {int 0} FROM {rows}) \
        ORDER BY id {for_share}";
    INSERT = "INSERT INTO provider_keys (provider, base_url, description, models, is_enabled, masked_key, secret_ref, \
        kek_id, wrapped_key, ciphertext, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) RETURNING id";
    LOCK = "SELECT base_url, description, models, is_enabled FROM provider_keys WHERE id = $1 {for_update}";
    UPDATE = "UPDATE provider_keys SET base_url = $2, description = $3, models = $4, is_enabled = $5, updated_at = $6 \
        WHERE id = $1";
    ROTATE = "UPDATE provider_keys SET kek_id = $2, wrapped_key = $3, ciphertext = $4, masked_key = $5, rotated_at = $6 \
        WHERE id = $1";
    REWRAP = "UPDATE provider_keys SET kek_id = $4, wrapped_key = $5 \
        WHERE id = $1 AND kek_id = $2 AND wrapped_key = $3";
    DELETE = "DELETE FROM provider_keys WHERE id = $1";
    HOLDERS = "SELECT a.id, a.name, a.owner_id, CAST(CASE WHEN a.primary_key_id = $1 THEN 1 ELSE 0 END AS BIGINT) \
        FROM agents AS a WHERE a.deleted_at IS NULL AND (a.primary_key_id = $1 OR a.id IN \
        (SELECT x.agent_id FROM agent_provider_keys AS x WHERE x.key_id = $1)) ORDER BY a.id";
    /// Not a change of the key: neither its `updated_at` nor the directory moves.
    TOUCH = "UPDATE provider_keys SET last_used_at = v.used_at FROM (SELECT {int 0} AS id, {int 1} AS used_at FROM {rows}) \
        AS v WHERE provider_keys.id = v.id \
        AND (provider_keys.last_used_at IS NULL OR provider_keys.last_used_at < v.used_at)";
}

impl Store {
    /// A provider key.
    pub async fn provider_key(&self, id: ProviderKeyId) -> Result<Option<ProviderKey>, StoreError> {
        let filter = ProviderKeyFilter { id: Some(id), ..ProviderKeyFilter::default() };
        Ok(self.provider_keys(&filter, Page::first(1)).await?.rows.pop())
    }

    /// Provider keys, youngest first.
    pub async fn provider_keys(
        &self,
        filter: &ProviderKeyFilter,
        page: Page,
    ) -> Result<Listed<ProviderKey>, StoreError> {
        let (text, args) = filter.conditions().statement("SELECT COUNT(*) FROM provider_keys AS k", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM provider_keys AS k");
        let tail = " ORDER BY k.created_at DESC, k.id DESC LIMIT ? OFFSET ?";
        let (text, args) = filter.conditions().statement(&head, tail, page.bounds().map(Into::into));
        let rows = self.db.rows_of(text, args).await?;
        let mut keys: Vec<ProviderKey> = rows.iter().map(key_from_row).collect::<Result<_, _>>()?;
        self.add_holders(&mut keys).await?;
        Ok(Listed::new(keys, total))
    }

    async fn add_holders(&self, keys: &mut [ProviderKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let ids = number_rows(keys.iter().map(|key| key.id.0));
        let mut projects: HashMap<i64, Vec<ProjectId>> = HashMap::new();
        for row in self.db.rows(&PROJECTS, args![ids.clone()]).await? {
            projects.entry(row.int(0)?).or_default().push(ProjectId::new(row.text(1)?));
        }
        let mut counts: HashMap<i64, i64> = HashMap::new();
        for row in self.db.rows(&AGENT_COUNTS, args![ids]).await? {
            counts.insert(row.int(0)?, row.int(1)?);
        }
        for key in keys {
            key.assigned_projects = projects.remove(&key.id.0).unwrap_or_default();
            key.agent_count = counts.get(&key.id.0).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// A provider key with its secret.
    pub async fn sealed_provider_key(&self, id: ProviderKeyId) -> Result<Option<SealedProviderKey>, StoreError> {
        self.db.row(&SEALED, args![id.0]).await?.as_ref().map(sealed_from_row).transpose()
    }

    /// Keys whose secret is not under the key-encryption key named `kek_id`, by ascending id, from the one after `after`
    /// on; at most `limit`. None left means that everything is under it.
    pub async fn provider_keys_to_rewrap(
        &self,
        kek_id: &str,
        after: Option<ProviderKeyId>,
        limit: u32,
    ) -> Result<Vec<SealedProviderKey>, StoreError> {
        let after = after.map_or(0, |id| id.0);
        let rows = self.db.rows(&SEALED_UNDER_OTHERS, args![after, kek_id, i64::from(limit)]).await?;
        rows.iter().map(sealed_from_row).collect()
    }

    /// The live agents that have a key, by id: all, or those of a user.
    pub async fn holders_of_key(&self, id: ProviderKeyId, seen_by: &Visibility) -> Result<Vec<KeyHolder>, StoreError> {
        let rows = self.db.rows(&HOLDERS, args![id.0]).await?;
        let mut holders = Vec::with_capacity(rows.len());
        for row in rows {
            let holder = KeyHolder {
                id: AgentId(row.int(0)?),
                name: row.text(1)?,
                owner: UserId::new(row.text(2)?),
                is_primary: row.flag(3)?,
            };
            if seen_by.user().is_none_or(|user| user == holder.owner.as_str()) {
                holders.push(holder);
            }
        }
        Ok(holders)
    }
}

impl ProviderKeyFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("k.id = ?", self.id.map(|id| id.0));
        filter.and_if("k.provider = ?", self.provider.as_deref());
        filter.and_if("k.is_enabled = ?", self.is_enabled);
        if let Some(user) = self.visible_to.user() {
            let own = "k.id IN (SELECT a.primary_key_id FROM agents AS a WHERE a.owner_id = ? AND a.deleted_at IS NULL \
                UNION SELECT x.key_id FROM agent_provider_keys AS x JOIN agents AS a ON a.id = x.agent_id \
                WHERE a.owner_id = ? AND a.deleted_at IS NULL \
                UNION SELECT p.key_id FROM project_provider_keys AS p JOIN agents AS a ON a.project_id = p.project_id \
                WHERE a.owner_id = ? AND a.deleted_at IS NULL)";
            filter.and(own, [user, user, user].map(Value::from));
        }
        filter
    }
}

/// A provider key that stays as it is while somebody assigns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Which key it is.
    pub id: ProviderKeyId,
    /// Which provider it is for.
    pub provider: String,
    /// Whether it is handed out.
    pub is_enabled: bool,
}

impl Work {
    /// Those of the keys that exist, by id; they stay as they are until this work ends.
    pub async fn hold_provider_keys(&mut self, ids: &[ProviderKeyId]) -> Result<Vec<HeldKey>, StoreError> {
        let rows = self.tx.rows(&HOLD, args![number_rows(ids.iter().map(|id| id.0))]).await?;
        let held = |row: &Row| {
            Ok(HeldKey { id: ProviderKeyId(row.int(0)?), provider: row.text(1)?, is_enabled: row.flag(2)? })
        };
        rows.iter().map(held).collect()
    }

    /// A provider key, which nobody else changes until this work ends; without those that have it.
    pub async fn provider_key_for_update(&mut self, id: ProviderKeyId) -> Result<Option<ProviderKey>, StoreError> {
        if self.tx.row(&LOCK, args![id.0]).await?.is_none() {
            return Ok(None);
        }
        self.tx.row(&BY_ID, args![id.0]).await?.as_ref().map(key_from_row).transpose()
    }

    /// The live agents that have a key, by id.
    pub async fn live_agents_with_key(&mut self, id: ProviderKeyId) -> Result<Vec<AgentId>, StoreError> {
        let rows = self.tx.rows(&HOLDERS, args![id.0]).await?;
        rows.iter().map(|row| row.int(0).map(AgentId)).collect()
    }

    /// A provider key with its secret, which nobody else changes until this work ends.
    pub async fn sealed_provider_key_for_update(
        &mut self,
        id: ProviderKeyId,
    ) -> Result<Option<SealedProviderKey>, StoreError> {
        self.tx.row(&SEALED_FOR_UPDATE, args![id.0]).await?.as_ref().map(sealed_from_row).transpose()
    }

    /// Makes a provider key.
    pub async fn create_provider_key(&mut self, new: &NewProviderKey) -> Result<ProviderKeyId, StoreError> {
        self.directory_changes();
        let values = args![
            new.provider.as_str(),
            new.base_url.as_deref(),
            new.description.as_deref(),
            texts_to_json(&new.models),
            new.is_enabled,
            new.masked_key.as_str(),
            new.secret_ref.as_str(),
            new.secret.kek_id.as_str(),
            new.secret.wrapped_key.clone(),
            new.secret.ciphertext.clone(),
            self.now,
        ];
        let row = self.tx.row(&INSERT, values).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a provider key was not stored".to_owned()))?;
        row.int(0).map(ProviderKeyId)
    }

    /// Changes a provider key; false if there is none.
    pub async fn update_provider_key(
        &mut self,
        id: ProviderKeyId,
        change: &ProviderKeyChange,
    ) -> Result<bool, StoreError> {
        let Some(row) = self.tx.row(&LOCK, args![id.0]).await? else { return Ok(false) };
        self.directory_changes();
        let base_url = change.base_url.clone().map_or_else(|| row.opt_text(0), Ok)?;
        let description = change.description.clone().map_or_else(|| row.opt_text(1), Ok)?;
        let models = change.models.as_deref().map(texts_to_json).map_or_else(|| row.text(2), Ok)?;
        let is_enabled = change.is_enabled.map_or_else(|| row.flag(3), Ok)?;
        self.tx.run(&UPDATE, args![id.0, base_url, description, models, is_enabled, self.now]).await?;
        if let Some((secret, masked_key)) = &change.secret {
            let values = args![
                id.0,
                secret.kek_id.as_str(),
                secret.wrapped_key.clone(),
                secret.ciphertext.clone(),
                masked_key.as_str(),
                self.now,
            ];
            self.tx.run(&ROTATE, values).await?;
        }
        Ok(true)
    }

    /// Stores the secret of a key under another key-encryption key; false if the key has changed since it was read, or is
    /// gone.
    pub async fn rewrap_provider_key(
        &mut self,
        before: &SealedProviderKey,
        after: &SealedSecret,
    ) -> Result<bool, StoreError> {
        let old = &before.secret;
        let values = args![
            before.id.0,
            old.kek_id.as_str(),
            old.wrapped_key.clone(),
            after.kek_id.as_str(),
            after.wrapped_key.clone(),
        ];
        let done = self.tx.run(&REWRAP, values).await? == 1;
        if done {
            // A picture with the old wrapping is of no use once the old key is taken off the ring
            self.directory_changes();
        }
        Ok(done)
    }

    /// Removes a provider key; agents and projects lose it, and an agent whose primary key it was gets the first of its
    /// others. False if there is none.
    pub async fn delete_provider_key(&mut self, id: ProviderKeyId) -> Result<bool, StoreError> {
        // The key before the agents, as whoever assigns it does
        if self.tx.row(&LOCK, args![id.0]).await?.is_none() {
            return Ok(false);
        }
        let holders = self.lock_agents_with_key(id).await?;
        self.tx.run(&DELETE, args![id.0]).await?;
        self.choose_primary_keys(&holders).await?;
        self.directory_changes();
        Ok(true)
    }

    /// Notes when keys were last handed out. Ask [`KeyUses::is_due`] first, so that this happens rarely.
    pub async fn touch_provider_keys(&mut self, uses: &[(ProviderKeyId, Timestamp)]) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for (key, at) in uses {
            rows.row().int(key.0).int(at.millis());
        }
        self.tx.run(&TOUCH, args![rows.finish()]).await.map(drop)
    }
}

/// When this process last noted the use of each key, so that the database is told once a minute and not each time.
#[derive(Default)]
pub struct KeyUses(Mutex<HashMap<ProviderKeyId, Timestamp>>);

impl KeyUses {
    /// Whether the use of this key now is to be noted; if so, the next minute's uses are not.
    pub fn is_due(&self, key: ProviderKeyId, now: Timestamp) -> bool {
        // What a panic elsewhere left behind is at worst one note too many
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = noted.get(&key).is_none_or(|at| now.since(*at) >= USE_NOTE_MS);
        if due {
            noted.retain(|_, at| now.since(*at) < USE_NOTE_MS);
            noted.insert(key, now);
        }
        due
    }
}

fn key_from_row(row: &Row) -> Result<ProviderKey, StoreError> {
    Ok(ProviderKey {
        id: ProviderKeyId(row.int(0)?),
        provider: row.text(1)?,
        base_url: row.opt_text(2)?,
        description: row.opt_text(3)?,
        models: texts_from_json(&row.text(4)?)?,
        is_enabled: row.flag(5)?,
        masked_key: row.text(6)?,
        created_at: row.time(7)?,
        updated_at: row.time(8)?,
        last_used_at: row.opt_time(9)?,
        rotated_at: row.opt_time(10)?,
        assigned_projects: Vec::new(),
        agent_count: 0,
    })
}

/// Reads `id, provider, base_url, is_enabled, secret_ref, kek_id, wrapped_key, ciphertext`.
pub(crate) fn sealed_from_row(row: &Row) -> Result<SealedProviderKey, StoreError> {
    Ok(SealedProviderKey {
        id: ProviderKeyId(row.int(0)?),
        provider: row.text(1)?,
        base_url: row.opt_text(2)?,
        is_enabled: row.flag(3)?,
        secret_ref: row.text(4)?,
        secret: SealedSecret { kek_id: row.text(5)?, wrapped_key: row.blob(6)?, ciphertext: row.blob(7)? },
    })
}

#[cfg(test)]
mod tests {
    use kernel::{ProviderKeyId, Timestamp};

    use super::KeyUses;

    #[test]
    fn a_use_is_noted_once_a_minute_for_each_key() {
        let (uses, t) = (KeyUses::default(), Timestamp::from_secs(1_000));
        assert!(uses.is_due(ProviderKeyId(1), t) && uses.is_due(ProviderKeyId(2), t));
        assert!(!uses.is_due(ProviderKeyId(1), t.plus_millis(59_999)));
        assert!(uses.is_due(ProviderKeyId(1), t.plus_millis(60_000)));
    }
}
