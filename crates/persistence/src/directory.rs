//! What must be known about an agent before it is lent money or given a key, and a cache of it.
//!
//! # How the cache may be used
//! A cached picture may be out of date. Whoever goes ahead on one passes its version on as
//! [`Item::directory_version`](crate::Item): if agents, tokens, keys, assignments or freezes have changed since, the
//! command is refused as [`Refused::StaleDirectory`](crate::Refused) and the caller looks again. Whoever *refuses*
//! something passes nothing on, so a refusal is decided by a [`Directory::fresh`] picture. In short: the cache may say yes
//! until the ledger objects, and never says no.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::{AgentId, ProjectId, ProviderKeyId, Timestamp, UserId};
use ledger::Scope;

use crate::db::{Row, args, statements};
use crate::limits::{Quota, quotas_from_row};
use crate::provider_keys::{SealedProviderKey, sealed_from_row};
use crate::{Store, StoreError};

/// A freeze that covers an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveringFreeze {
    /// Whom it covers.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Since when.
    pub frozen_at: Timestamp,
}

/// A key that an agent can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureKey {
    /// The key with its secret.
    pub key: SealedProviderKey,
    /// Whether it is the agent's primary one.
    pub is_primary: bool,
}

/// An agent at one instant, with everything that decides whether it is lent money or given a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPicture {
    /// The version of the directory it was taken at.
    pub version: i64,
    /// Which agent.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: UserId,
    /// Its project.
    pub project: Option<ProjectId>,
    /// Whether it is deleted.
    pub is_deleted: bool,
    /// Its epoch.
    pub epoch: i64,
    /// The hash of its IC token, if it has one.
    pub ic_token_hash: Option<String>,
    /// When that ends, if it does.
    pub ic_token_expires_at: Option<Timestamp>,
    /// The oldest freeze that covers it.
    pub freeze: Option<CoveringFreeze>,
    /// What may be used before nothing more is lent to it, the widest scope first.
    pub quotas: Vec<Quota>,
    /// The keys it can use (its primary one, those assigned to it, those of its project), by ascending id.
    pub keys: Vec<PictureKey>,
}

/// Which key a runtime would like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyWish<'a> {
    /// Exactly this one.
    pub key: Option<ProviderKeyId>,
    /// One for this provider; a wish only.
    pub provider: Option<&'a str>,
}

/// Why an agent gets no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The key it asked for is not among its keys.
    #[error("the key is not one of the agent's")]
    NotAssigned,
    /// It has no keys.
    #[error("the agent has no key")]
    Unassigned,
    /// The key that is the one is disabled, or all are.
    #[error("the agent's key is disabled")]
    Disabled,
}

impl AgentPicture {
    /// Chooses the key: the one asked for; else the primary one, whatever provider was asked for; else the lowest id for
    /// the provider asked for; else the lowest id. Disabled keys are passed over, but one that was asked for, or is the
    /// primary one, is not replaced by another.
    pub fn choose_key(&self, wish: KeyWish<'_>) -> Result<&PictureKey, NoKey> {
        let find = |wanted: &dyn Fn(&PictureKey) -> bool| self.keys.iter().find(|key| wanted(key));
        let the_one = match wish.key {
            Some(id) => Some(find(&|key| key.key.id == id).ok_or(NoKey::NotAssigned)?),
            None => find(&|key| key.is_primary),
        };
        if let Some(key) = the_one {
            return if key.key.is_enabled { Ok(key) } else { Err(NoKey::Disabled) };
        }
        let provider = |key: &PictureKey| wish.provider.is_some_and(|provider| provider == key.key.provider);
        let chosen = find(&|key| key.key.is_enabled && provider(key)).or_else(|| find(&|key| key.key.is_enabled));
        chosen.ok_or(if self.keys.is_empty() { NoKey::Unassigned } else { NoKey::Disabled })
    }
}

statements! {
    /// One statement sees one state of the database, so the version and what it labels belong together. One row for each
    /// key; `ids` has a row without a key as well, so that an agent without keys is found.
    PICTURE = "WITH who AS (SELECT a.id, a.name, a.owner_id, a.project_id, a.deleted_at, a.ic_token_hash, \
        a.ic_token_expires_at, a.primary_key_id FROM agents AS a WHERE a.id = $1), \
        ids AS (SELECT primary_key_id AS id FROM who \
            UNION SELECT x.key_id FROM agent_provider_keys AS x WHERE x.agent_id = $1 \
            UNION SELECT p.key_id FROM project_provider_keys AS p JOIN who ON who.project_id = p.project_id) \
        SELECT k.id, k.provider, k.base_url, k.is_enabled, k.secret_ref, k.kek_id, k.wrapped_key, k.ciphertext, \
        CAST(CASE WHEN k.id = who.primary_key_id THEN 1 ELSE 0 END AS BIGINT), \
        h.directory_version, who.name, who.owner_id, who.project_id, who.deleted_at, b.epoch, who.ic_token_hash, \
        who.ic_token_expires_at, f.scope_key, f.reason, f.frozen_at, t.tokens_per_day, o.id, o.tokens_per_day, \
        o.requests_per_minute, i.id, i.tokens_per_day, i.requests_per_minute \
        FROM who JOIN heads AS h ON h.id = 1 JOIN agent_books AS b ON b.agent_id = who.id \
        LEFT JOIN freezes AS f ON f.id = (SELECT g.id FROM freezes AS g WHERE g.unfrozen_at IS NULL AND g.scope_key IN \
            ('organization', 'project:' || who.project_id, 'owner:' || who.owner_id, \
            'owner_project:' || who.owner_id || '/' || who.project_id, 'agent:' || who.id) \
            ORDER BY g.frozen_at, g.id LIMIT 1) \
        JOIN token_ceiling AS t ON t.id = 1 LEFT JOIN limits AS o ON o.scope_key = 'owner:' || who.owner_id \
        LEFT JOIN limits AS i ON i.scope_key = 'owner_project:' || who.owner_id || '/' || who.project_id \
        CROSS JOIN ids LEFT JOIN provider_keys AS k ON k.id = ids.id ORDER BY k.id";
}

impl Store {
    /// Takes a picture of an agent, deleted ones included.
    pub async fn agent_picture(&self, id: AgentId) -> Result<Option<AgentPicture>, StoreError> {
        let rows = self.db.rows(&PICTURE, args![id.0]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let mut picture = picture_from_row(id, first)?;
        for row in &rows {
            if row.opt_int(0)?.is_some() {
                picture.keys.push(PictureKey { key: sealed_from_row(row)?, is_primary: row.flag(8)? });
            }
        }
        Ok(Some(picture))
    }
}

/// Everything of [`PICTURE`] but the keys.
fn picture_from_row(id: AgentId, row: &Row) -> Result<AgentPicture, StoreError> {
    let owner = UserId::new(row.text(11)?);
    let project = row.opt_text(12)?.map(ProjectId::new);
    let quotas = quotas_from_row(row, 20, &owner, project.as_ref())?;
    let freeze = match row.opt_text(17)? {
        Some(key) => Some(CoveringFreeze {
            scope: Scope::from_key(&key)
                .ok_or_else(|| StoreError::Corrupt("a freeze has an unreadable scope".to_owned()))?,
            reason: row.text(18)?,
            frozen_at: row.time(19)?,
        }),
        None => None,
    };
    Ok(AgentPicture {
        version: row.int(9)?,
        id,
        name: row.text(10)?,
        owner,
        project,
        is_deleted: row.opt_int(13)?.is_some(),
        epoch: row.int(14)?,
        ic_token_hash: row.opt_text(15)?,
        ic_token_expires_at: row.opt_time(16)?,
        freeze,
        quotas,
        keys: Vec::new(),
    })
}

type Pictures = HashMap<AgentId, Arc<AgentPicture>>;

/// Pictures in two generations: when the young one is full it becomes the old one, and what was in the old one and not
/// asked for since is forgotten.
#[derive(Default)]
struct Generations {
    young: Pictures,
    old: Pictures,
}

impl Generations {
    fn get(&mut self, id: AgentId, size: usize) -> Option<Arc<AgentPicture>> {
        if let Some(picture) = self.young.get(&id) {
            return Some(picture.clone());
        }
        let picture = self.old.remove(&id)?;
        self.put(picture.clone(), size);
        Some(picture)
    }

    fn put(&mut self, picture: Arc<AgentPicture>, size: usize) {
        if self.young.len() >= size {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&picture.id);
        self.young.insert(picture.id, picture);
    }

    fn remove(&mut self, id: AgentId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }
}

/// Pictures of agents, kept in this process. See the module for how they may be used.
pub struct Directory {
    store: Store,
    pictures: Mutex<Generations>,
    generation: usize,
}

impl Directory {
    /// A cache of at most `capacity` agents, at least two.
    pub fn new(store: Store, capacity: usize) -> Self {
        Self { store, pictures: Mutex::default(), generation: (capacity / 2).max(1) }
    }

    /// A picture of an agent, perhaps out of date; `None` if there never was such an agent.
    pub async fn get(&self, id: AgentId) -> Result<Option<Arc<AgentPicture>>, StoreError> {
        let cached = self.lock().get(id, self.generation);
        if cached.is_some() { Ok(cached) } else { self.fresh(id).await }
    }

    /// A picture of an agent as it is now; the cache has it from then on.
    pub async fn fresh(&self, id: AgentId) -> Result<Option<Arc<AgentPicture>>, StoreError> {
        let picture = self.store.agent_picture(id).await?.map(Arc::new);
        let mut pictures = self.lock();
        match &picture {
            // One that was asked for earlier may come later
            Some(new) => match pictures.get(id, self.generation) {
                Some(known) if known.version > new.version => {}
                _ => pictures.put(new.clone(), self.generation),
            },
            None => pictures.remove(id),
        }
        Ok(picture)
    }

    /// Forgets an agent.
    pub fn forget(&self, id: AgentId) {
        self.lock().remove(id);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Generations::default();
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        let pictures = self.lock();
        pictures.young.len() + pictures.old.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // The maps are whole at every point where a panic could leave them
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernel::{AgentId, ProviderKeyId, UserId};
    use vault::SealedSecret;

    use super::{AgentPicture, Generations, KeyWish, NoKey, PictureKey};
    use crate::SealedProviderKey;

    fn key(id: i64, provider: &str, is_enabled: bool, is_primary: bool) -> PictureKey {
        let secret = SealedSecret { kek_id: String::new(), wrapped_key: Vec::new(), ciphertext: Vec::new() };
        let (id, provider) = (ProviderKeyId(id), provider.to_owned());
        let key =
            SealedProviderKey { id, provider, base_url: None, is_enabled, secret_ref: format!("ref_{id}"), secret };
        PictureKey { key, is_primary }
    }

    fn picture(id: i64, keys: Vec<PictureKey>) -> AgentPicture {
        AgentPicture {
            version: 1,
            id: AgentId(id),
            name: String::new(),
            owner: UserId::new("user_1"),
            project: None,
            is_deleted: false,
            epoch: 1,
            ic_token_hash: None,
            ic_token_expires_at: None,
            freeze: None,
            quotas: Vec::new(),
            keys,
        }
    }

    fn choice(keys: Vec<PictureKey>, key: Option<i64>, provider: Option<&str>) -> Result<i64, NoKey> {
        let picture = picture(1, keys);
        picture.choose_key(KeyWish { key: key.map(ProviderKeyId), provider }).map(|key| key.key.id.0)
    }

    #[test]
    fn the_key_asked_for_is_taken_before_the_primary_one() {
        let keys = || vec![key(1, "openai", true, true), key(2, "anthropic", true, false)];
        assert_eq!(choice(keys(), Some(2), None), Ok(2));
        assert_eq!(choice(keys(), Some(3), None), Err(NoKey::NotAssigned));
        assert_eq!(choice(Vec::new(), Some(3), None), Err(NoKey::NotAssigned));
    }

    #[test]
    fn the_primary_key_is_taken_whatever_provider_is_asked_for() {
        let keys = vec![key(1, "openai", true, false), key(2, "anthropic", true, true)];
        assert_eq!(choice(keys, None, Some("openai")), Ok(2));
    }

    #[test]
    fn without_a_primary_key_the_lowest_id_for_the_provider_is_taken() {
        let keys =
            || vec![key(1, "openai", true, false), key(2, "anthropic", true, false), key(3, "anthropic", true, false)];
        assert_eq!(choice(keys(), None, Some("anthropic")), Ok(2));
        assert_eq!(choice(keys(), None, Some("mistral")), Ok(1));
        assert_eq!(choice(keys(), None, None), Ok(1));
    }

    #[test]
    fn disabled_keys_are_passed_over() {
        let keys = vec![key(1, "openai", false, false), key(2, "openai", true, false)];
        assert_eq!(choice(keys, None, Some("openai")), Ok(2));
        let keys = vec![key(1, "openai", false, false), key(2, "anthropic", true, false)];
        assert_eq!(choice(keys, None, Some("openai")), Ok(2));
    }

    #[test]
    fn a_disabled_primary_or_chosen_key_is_not_replaced() {
        let keys = || vec![key(1, "openai", false, true), key(2, "openai", true, false)];
        assert_eq!(choice(keys(), None, None), Err(NoKey::Disabled));
        assert_eq!(choice(keys(), Some(1), None), Err(NoKey::Disabled));
        assert_eq!(choice(keys(), Some(2), None), Ok(2));
    }

    #[test]
    fn no_key_at_all_is_told_from_only_disabled_ones() {
        assert_eq!(choice(Vec::new(), None, None), Err(NoKey::Unassigned));
        assert_eq!(choice(vec![key(1, "openai", false, false)], None, None), Err(NoKey::Disabled));
    }

    #[test]
    fn the_cache_forgets_what_was_not_asked_for_and_never_grows_beyond_its_bound() {
        let mut pictures = Generations::default();
        for id in 0..100 {
            pictures.put(Arc::new(picture(id, Vec::new())), 4);
            assert!(pictures.get(AgentId(0), 4).is_some(), "asked for all the time");
            assert!(pictures.young.len() <= 4 && pictures.old.len() <= 4);
        }
        assert!(pictures.get(AgentId(50), 4).is_none());
        assert!(pictures.get(AgentId(99), 4).is_some());
    }
}
