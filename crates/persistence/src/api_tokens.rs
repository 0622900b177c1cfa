//! API tokens of users. A token is stored as its hash; its row stays when it ends.

use std::sync::LazyLock;

use auth::TokenHash;
use auth::api_token::ApiTokenRecord;
use kernel::{AgentId, ApiTokenId, ProjectId, Timestamp, UserId};

use crate::db::{Row, Sql, Value, args, statements};
use crate::filter::Filter;
use crate::listing::{Listed, Page, name_key, texts_from_json, texts_to_json};
use crate::sessions::Principal;
use crate::users::role_from_text;
use crate::{RightsOf, Store, StoreError, Work};

/// An API token as it is shown; its hash is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its id, never reused.
    pub id: ApiTokenId,
    /// Whose rights it has.
    pub user: UserId,
    /// The project whose key it fetches.
    pub project: Option<ProjectId>,
    /// The agent it belongs to.
    pub agent: Option<AgentId>,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The provider it is meant for; informational.
    pub provider: Option<String>,
    /// What narrows it; none leave it all rights of its owner.
    pub scopes: Vec<String>,
    /// Its first characters.
    pub token_prefix: String,
    /// Who made it: its owner, or an admin for its owner.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked or replaced.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, some seconds late.
    pub last_used_at: Option<Timestamp>,
    /// How often it was used, some seconds late.
    pub uses: i64,
}

impl ApiToken {
    /// Whether it has neither been revoked nor run out. Whether its owner is active is another question.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.record().check(now).is_ok()
    }

    /// What decides about that.
    pub const fn record(&self) -> ApiTokenRecord {
        ApiTokenRecord { revoked_at: self.revoked_at, expires_at: self.expires_at }
    }
}

/// An API token to be made. Its owner, project and agent must exist: see [`Work::user_for_update`],
/// [`Work::hold_project`] and [`Work::agent_for_update`].
pub struct NewApiTokenRow {
    /// The hash of the token.
    pub hash: TokenHash,
    /// Its first characters.
    pub token_prefix: String,
    /// Whose rights it has.
    pub user: UserId,
    /// The project whose key it fetches.
    pub project: Option<ProjectId>,
    /// The agent it belongs to.
    pub agent: Option<AgentId>,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The provider it is meant for.
    pub provider: Option<String>,
    /// What narrows it.
    pub scopes: Vec<String>,
    /// Who makes it.
    pub created_by: UserId,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Which API tokens. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTokenFilter {
    /// Of this owner.
    pub user: Option<UserId>,
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Neither revoked nor run out, or either.
    pub active: Option<bool>,
}

/// What a list of API tokens is ordered by; tokens that are equal in it follow by id in the same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiTokenSort {
    /// By name, without regard to case; those without one first.
    NameAscending,
    /// The other way round.
    NameDescending,
    /// Oldest first.
    CreatedAscending,
    /// Youngest first.
    #[default]
    CreatedDescending,
    /// Those never used first.
    LastUsedAscending,
    /// Those used a moment ago first.
    LastUsedDescending,
}

/// How often a token was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiTokenUsage {
    /// Ever.
    pub total: i64,
    /// From the one instant asked about on.
    pub today: i64,
    /// From the other one on.
    pub last_hour: i64,
}

/// A token somebody has shown, and who stands behind it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTokenPrincipal {
    /// The token.
    pub token: ApiToken,
    /// Its owner. No session is behind it, so none has ended.
    pub owner: Principal,
}

/// What [`token_from_row`] reads, from `api_tokens AS t`.
const COLUMNS: &str = "t.id, t.user_id, t.project_id, t.agent_id, t.name, t.description, t.provider, t.scopes, \
    t.token_prefix, t.created_by, t.created_at, t.expires_at, t.revoked_at, t.last_used_at, t.uses";
/// How many they are.
const COLUMN_COUNT: usize = 15;

fn select(tail: &str) -> Sql {
    Sql::new(&format!("SELECT {COLUMNS} FROM api_tokens AS t WHERE {tail}"))
}

static BY_ID: LazyLock<Sql> = LazyLock::new(|| select("t.id = $1"));
static FOR_UPDATE: LazyLock<Sql> = LazyLock::new(|| select("t.id = $1 {for_update}"));
static PRINCIPAL: LazyLock<Sql> = LazyLock::new(|| {
    Sql::new(&format!(
        "SELECT {COLUMNS}, u.username, u.email, u.role, u.is_active, u.must_change_password \
        FROM api_tokens AS t JOIN users AS u ON u.id = t.user_id WHERE t.hash = $1"
    ))
});

statements! {
    USAGE = "SELECT t.uses, \
        (SELECT CAST(COALESCE(SUM(m.uses), 0) AS BIGINT) FROM api_token_uses AS m \
            WHERE m.token_id = t.id AND m.minute_start >= $2), \
        (SELECT CAST(COALESCE(SUM(m.uses), 0) AS BIGINT) FROM api_token_uses AS m \
            WHERE m.token_id = t.id AND m.minute_start >= $3) \
        FROM api_tokens AS t WHERE t.id = $1";
    INSERT = "INSERT INTO api_tokens (hash, token_prefix, user_id, project_id, agent_id, name, name_key, description, \
        provider, scopes, created_by, created_at, expires_at, uses) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) RETURNING id";
    COUNT_ACTIVE = "SELECT COUNT(*) FROM api_tokens WHERE user_id = $1 AND revoked_at IS NULL \
        AND (expires_at IS NULL OR expires_at > $2)";
    UPDATE = "UPDATE api_tokens SET name = $2, name_key = $3, description = $4, provider = $5 WHERE id = $1";
    REVOKE = "UPDATE api_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    REVOKE_OF_USER = "UPDATE api_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL \
        AND (expires_at IS NULL OR expires_at > $2) RETURNING id";
    REVOKE_OF_AGENT = "UPDATE api_tokens SET revoked_at = $2 WHERE agent_id = $1 AND revoked_at IS NULL \
        AND (expires_at IS NULL OR expires_at > $2) RETURNING id";
    PRUNE_USES = "DELETE FROM api_token_uses WHERE (token_id, minute_start) IN \
        (SELECT m.token_id, m.minute_start FROM api_token_uses AS m WHERE m.minute_start < $1 LIMIT $2)";
}

/// For the test of plans: what happens at each request, and what ends with users and agents.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static Sql)> {
    vec![
        ("PRINCIPAL", &*PRINCIPAL),
        ("USAGE", &*USAGE),
        ("COUNT_ACTIVE", &*COUNT_ACTIVE),
        ("REVOKE_OF_USER", &*REVOKE_OF_USER),
        ("REVOKE_OF_AGENT", &*REVOKE_OF_AGENT),
        ("PRUNE_USES", &*PRUNE_USES),
    ]
}

impl Store {
    /// A token.
    pub async fn api_token(&self, id: ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        self.db.row(&BY_ID, args![id.0]).await?.as_ref().map(token_from_row).transpose()
    }

    /// The token with this hash, ended ones included, and who stands behind it; one query.
    pub async fn api_token_principal(&self, hash: &TokenHash) -> Result<Option<ApiTokenPrincipal>, StoreError> {
        let Some(row) = self.db.row(&PRINCIPAL, args![hash.as_str()]).await? else { return Ok(None) };
        let token = token_from_row(&row)?;
        let owner = Principal {
            user: token.user.clone(),
            username: row.text(COLUMN_COUNT)?,
            email: row.opt_text(COLUMN_COUNT + 1)?,
            role: role_from_text(&row.text(COLUMN_COUNT + 2)?)?,
            is_active: row.flag(COLUMN_COUNT + 3)?,
            must_change_password: row.flag(COLUMN_COUNT + 4)?,
            session_ended_at: None,
        };
        Ok(Some(ApiTokenPrincipal { token, owner }))
    }

    /// Tokens; whether one is active is asked at `now`.
    pub async fn api_tokens(
        &self,
        filter: &ApiTokenFilter,
        sort: ApiTokenSort,
        page: Page,
        now: Timestamp,
    ) -> Result<Listed<ApiToken>, StoreError> {
        let (text, args) = filter.conditions(now).statement("SELECT COUNT(*) FROM api_tokens AS t", "", []);
        let total = self.db.rows_of(text, args).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let head = format!("SELECT {COLUMNS} FROM api_tokens AS t");
        let bounds: [Value; 2] = page.bounds().map(Into::into);
        let (text, args) = filter.conditions(now).statement(&head, sort.tail(), bounds);
        let rows = self.db.rows_of(text, args).await?;
        Ok(Listed::new(rows.iter().map(token_from_row).collect::<Result<_, _>>()?, total))
    }

    /// How often a token was used: ever, since `midnight`, and since `hour_ago`, to the minute. Nothing is known of what
    /// lies more than two days back. `None` if there is no such token.
    pub async fn api_token_usage(
        &self,
        id: ApiTokenId,
        midnight: Timestamp,
        hour_ago: Timestamp,
    ) -> Result<Option<ApiTokenUsage>, StoreError> {
        let Some(row) = self.db.row(&USAGE, args![id.0, midnight, hour_ago]).await? else { return Ok(None) };
        Ok(Some(ApiTokenUsage { total: row.int(0)?, today: row.int(1)?, last_hour: row.int(2)? }))
    }
}

impl ApiTokenFilter {
    fn conditions(&self, now: Timestamp) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("t.user_id = ?", self.user.as_ref().map(UserId::as_str));
        filter.and_if("t.agent_id = ?", self.agent.map(|agent| agent.0));
        match self.active {
            Some(true) => {
                filter.and("t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > ?)", [now.into()]);
            }
            Some(false) => {
                filter.and("(t.revoked_at IS NOT NULL OR t.expires_at <= ?)", [now.into()]);
            }
            None => {}
        }
        filter
    }
}

impl ApiTokenSort {
    const fn tail(self) -> &'static str {
        match self {
            Self::NameAscending => " ORDER BY t.name_key, t.id LIMIT ? OFFSET ?",
            Self::NameDescending => " ORDER BY t.name_key DESC, t.id DESC LIMIT ? OFFSET ?",
            Self::CreatedAscending => " ORDER BY t.created_at, t.id LIMIT ? OFFSET ?",
            Self::CreatedDescending => " ORDER BY t.created_at DESC, t.id DESC LIMIT ? OFFSET ?",
            // The databases disagree about where nothing stands
            Self::LastUsedAscending => " ORDER BY COALESCE(t.last_used_at, 0), t.id LIMIT ? OFFSET ?",
            Self::LastUsedDescending => " ORDER BY COALESCE(t.last_used_at, 0) DESC, t.id DESC LIMIT ? OFFSET ?",
        }
    }
}

impl Work {
    /// Makes a token.
    pub async fn create_api_token(&mut self, new: &NewApiTokenRow) -> Result<ApiTokenId, StoreError> {
        let values = args![
            new.hash.as_str(),
            new.token_prefix.as_str(),
            new.user.as_str(),
            new.project.as_ref().map(ProjectId::as_str),
            new.agent.map(|agent| agent.0),
            new.name.as_deref(),
            new.name.as_deref().map(name_key).unwrap_or_default(),
            new.description.as_deref(),
            new.provider.as_deref(),
            texts_to_json(&new.scopes),
            new.created_by.as_str(),
            self.now,
            new.expires_at,
        ];
        let row = self.tx.row(&INSERT, values).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("an API token was not stored".to_owned()))?;
        row.int(0).map(ApiTokenId)
    }

    /// How many tokens of a user can be used. Lock the user before, so that nobody makes another one meanwhile.
    pub async fn count_active_api_tokens(&mut self, user: &UserId) -> Result<i64, StoreError> {
        self.tx.row(&COUNT_ACTIVE, args![user.as_str(), self.now]).await?.map_or(Ok(0), |row| row.int(0))
    }

    /// A token, which nobody else changes until this work ends.
    pub async fn api_token_for_update(&mut self, id: ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        self.tx.row(&FOR_UPDATE, args![id.0]).await?.as_ref().map(token_from_row).transpose()
    }

    /// Gives a token this name, description and provider.
    pub async fn describe_api_token(
        &mut self,
        id: ApiTokenId,
        name: Option<&str>,
        description: Option<&str>,
        provider: Option<&str>,
    ) -> Result<(), StoreError> {
        let values = args![id.0, name, name.map(name_key).unwrap_or_default(), description, provider];
        self.tx.run(&UPDATE, values).await.map(drop)
    }

    /// Revokes a token; false if it was before, or never was.
    pub async fn revoke_api_token(&mut self, id: ApiTokenId) -> Result<bool, StoreError> {
        self.rights_change(RightsOf::ApiToken(id));
        Ok(self.tx.run(&REVOKE, args![id.0, self.now]).await? == 1)
    }

    /// Revokes what a user has of tokens that can be used; returns which, by id.
    pub async fn revoke_api_tokens_of_user(&mut self, user: &UserId) -> Result<Vec<ApiTokenId>, StoreError> {
        self.rights_change(RightsOf::User(user));
        let rows = self.tx.rows(&REVOKE_OF_USER, args![user.as_str(), self.now]).await?;
        ids(&rows)
    }

    /// The same of an agent.
    pub async fn revoke_api_tokens_of_agent(&mut self, agent: AgentId) -> Result<Vec<ApiTokenId>, StoreError> {
        let rows = self.tx.rows(&REVOKE_OF_AGENT, args![agent.0, self.now]).await?;
        let revoked = ids(&rows)?;
        for id in &revoked {
            self.rights_change(RightsOf::ApiToken(*id));
        }
        Ok(revoked)
    }

    /// Forgets in which minutes before `before` tokens were used; at most `limit` rows. Returns how many went.
    pub async fn prune_api_token_uses(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.tx.run(&PRUNE_USES, args![before, i64::from(limit)]).await
    }
}

fn ids(rows: &[Row]) -> Result<Vec<ApiTokenId>, StoreError> {
    let mut ids = rows.iter().map(|row| row.int(0).map(ApiTokenId)).collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable_by_key(|id| id.0);
    Ok(ids)
}

/// Reads [`COLUMNS`].
fn token_from_row(row: &Row) -> Result<ApiToken, StoreError> {
    Ok(ApiToken {
        id: ApiTokenId(row.int(0)?),
        user: UserId::new(row.text(1)?),
        project: row.opt_text(2)?.map(ProjectId::new),
        agent: row.opt_int(3)?.map(AgentId),
        name: row.opt_text(4)?,
        description: row.opt_text(5)?,
        provider: row.opt_text(6)?,
        scopes: texts_from_json(&row.text(7)?)?,
        token_prefix: row.text(8)?,
        created_by: UserId::new(row.text(9)?),
        created_at: row.time(10)?,
        expires_at: row.opt_time(11)?,
        revoked_at: row.opt_time(12)?,
        last_used_at: row.opt_time(13)?,
        uses: row.int(14)?,
    })
}
