//! Login sessions and their refresh tokens. Tokens are stored as their hashes.

use auth::Role;
use auth::TokenHash;
use auth::refresh::RefreshRecord;
use kernel::{SessionId, Timestamp, UserId};

use crate::db::{Row, args, statements};
use crate::listing::{Listed, Page};
use crate::users::role_from_text;
use crate::{Store, StoreError, Work};

/// Who stands behind an access token, as the store has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// Its name.
    pub username: String,
    /// Its e-mail.
    pub email: Option<String>,
    /// What it may do now.
    pub role: Role,
    /// Whether it may do anything: neither suspended nor deleted.
    pub is_active: bool,
    /// Whether it is advised to change its password.
    pub must_change_password: bool,
    /// When the session ended, if it has.
    pub session_ended_at: Option<Timestamp>,
}

/// A refresh token that was issued once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRefreshToken {
    /// The session it belongs to.
    pub session: SessionId,
    /// Whose session that is.
    pub user: UserId,
    /// What decides about it.
    pub record: RefreshRecord,
}

/// From where a login comes, as its client says and the connection shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOrigin {
    /// The client's address.
    pub ip_address: Option<String>,
    /// The client's own name for itself.
    pub user_agent: Option<String>,
}

/// A login that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// Its id.
    pub id: SessionId,
    /// From where it was last begun or gone on with.
    pub origin: SessionOrigin,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, some seconds late.
    pub last_used_at: Option<Timestamp>,
    /// When it ends unless it is gone on with.
    pub expires_at: Timestamp,
}

statements! {
    PRINCIPAL = "SELECT u.id, u.username, u.email, u.role, u.is_active, u.must_change_password, s.ended_at \
        FROM sessions AS s JOIN users AS u ON u.id = s.user_id WHERE s.id = $1";
    REFRESH_TOKEN = "SELECT t.session_id, s.user_id, t.spent_at, t.expires_at, s.ended_at FROM refresh_tokens AS t \
        JOIN sessions AS s ON s.id = t.session_id WHERE t.hash = $1";
    REFRESH_TOKEN_LOCKED = "SELECT t.session_id, s.user_id, t.spent_at, t.expires_at, s.ended_at \
        FROM refresh_tokens AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.hash = $1 {for_update}";
    LIVE = "SELECT s.id, s.ip_address, s.user_agent, s.created_at, s.last_used_at, \
        (SELECT MAX(t.expires_at) FROM refresh_tokens AS t WHERE t.session_id = s.id) FROM sessions AS s \
        WHERE s.user_id = $1 AND s.ended_at IS NULL \
        AND EXISTS (SELECT 1 FROM refresh_tokens AS t WHERE t.session_id = s.id AND t.expires_at > $2) \
        ORDER BY s.created_at DESC, s.id DESC LIMIT $3 OFFSET $4";
    COUNT_LIVE = "SELECT COUNT(*) FROM sessions AS s WHERE s.user_id = $1 AND s.ended_at IS NULL \
        AND EXISTS (SELECT 1 FROM refresh_tokens AS t WHERE t.session_id = s.id AND t.expires_at > $2)";
    END_OWN = "UPDATE sessions SET ended_at = $3, end_reason = $4 WHERE id = $1 AND user_id = $2 AND ended_at IS NULL";
    INSERT_SESSION = "INSERT INTO sessions (id, user_id, created_at, ip_address, user_agent, last_used_at) \
        VALUES ($1, $2, $3, $4, $5, $3)";
    CONTINUE = "UPDATE sessions SET ip_address = $2, user_agent = $3, last_used_at = $4 WHERE id = $1";
    INSERT_TOKEN = "INSERT INTO refresh_tokens (hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    SPEND = "UPDATE refresh_tokens SET spent_at = $2 WHERE hash = $1 AND spent_at IS NULL";
    END = "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL";
    END_ALL = "UPDATE sessions SET ended_at = $3, end_reason = $4 \
        WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL";
    PRUNE_TOKENS = "DELETE FROM refresh_tokens WHERE hash IN \
        (SELECT hash FROM refresh_tokens WHERE expires_at < $1 LIMIT $2)";
    PRUNE_SESSIONS = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions AS s WHERE s.created_at < $1 \
        AND NOT EXISTS (SELECT 1 FROM refresh_tokens AS t WHERE t.session_id = s.id) LIMIT $2)";
}

impl Store {
    /// Who stands behind the access tokens of this session; one query.
    pub async fn principal(&self, session: &SessionId) -> Result<Option<Principal>, StoreError> {
        let Some(row) = self.db.row(&PRINCIPAL, args![session.as_str()]).await? else { return Ok(None) };
        Ok(Some(Principal {
            user: UserId::new(row.text(0)?),
            username: row.text(1)?,
            email: row.opt_text(2)?,
            role: role_from_text(&row.text(3)?)?,
            is_active: row.flag(4)?,
            must_change_password: row.flag(5)?,
            session_ended_at: row.opt_time(6)?,
        }))
    }

    /// The logins of a user that have not ended and can be gone on with, youngest first.
    pub async fn live_sessions(
        &self,
        user: &UserId,
        page: Page,
        now: Timestamp,
    ) -> Result<Listed<LiveSession>, StoreError> {
        let total = self.db.row(&COUNT_LIVE, args![user.as_str(), now]).await?.map_or(Ok(0), |row| row.int(0))?;
        let [limit, offset] = page.bounds();
        let rows = self.db.rows(&LIVE, args![user.as_str(), now, limit, offset]).await?;
        Ok(Listed::new(rows.iter().map(session_from_row).collect::<Result<_, _>>()?, total))
    }

    /// A refresh token. To exchange it, ask [`Work::refresh_token_for_update`].
    pub async fn refresh_token(&self, hash: &TokenHash) -> Result<Option<StoredRefreshToken>, StoreError> {
        self.db.row(&REFRESH_TOKEN, args![hash.as_str()]).await?.as_ref().map(token_from_row).transpose()
    }
}

impl Work {
    /// Begins a session with its first refresh token.
    pub async fn create_session(
        &mut self,
        session: &SessionId,
        user: &UserId,
        origin: &SessionOrigin,
        refresh: &TokenHash,
        refresh_expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let (ip_address, user_agent) = (origin.ip_address.as_deref(), origin.user_agent.as_deref());
        let values = args![session.as_str(), user.as_str(), self.now, ip_address, user_agent];
        self.tx.run(&INSERT_SESSION, values).await?;
        self.add_refresh_token(session, refresh, refresh_expires_at).await
    }

    /// Notes from where a session is gone on with now.
    pub async fn continue_session(&mut self, session: &SessionId, origin: &SessionOrigin) -> Result<(), StoreError> {
        let (ip_address, user_agent) = (origin.ip_address.as_deref(), origin.user_agent.as_deref());
        self.tx.run(&CONTINUE, args![session.as_str(), ip_address, user_agent, self.now]).await.map(drop)
    }

    /// Adds a refresh token to a session: the next one, or a further one within the grace time.
    pub async fn add_refresh_token(
        &mut self,
        session: &SessionId,
        refresh: &TokenHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let values = args![refresh.as_str(), session.as_str(), self.now, expires_at];
        self.tx.run(&INSERT_TOKEN, values).await.map(drop)
    }

    /// A refresh token; it and its session stay as they are until this work ends, so that of two exchanges at once
    /// exactly one is the first.
    pub async fn refresh_token_for_update(
        &mut self,
        hash: &TokenHash,
    ) -> Result<Option<StoredRefreshToken>, StoreError> {
        self.tx.row(&REFRESH_TOKEN_LOCKED, args![hash.as_str()]).await?.as_ref().map(token_from_row).transpose()
    }

    /// Notes that a refresh token was exchanged now; false if it had been before.
    pub async fn spend_refresh_token(&mut self, hash: &TokenHash) -> Result<bool, StoreError> {
        Ok(self.tx.run(&SPEND, args![hash.as_str(), self.now]).await? == 1)
    }

    /// Ends a session; false if it had ended before, or never was.
    pub async fn end_session(&mut self, session: &SessionId, reason: &'static str) -> Result<bool, StoreError> {
        Ok(self.tx.run(&END, args![session.as_str(), self.now, reason]).await? == 1)
    }

    /// Ends a session of this user; false if it had ended before, or is not one of theirs.
    pub async fn end_session_of(
        &mut self,
        user: &UserId,
        session: &SessionId,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        Ok(self.tx.run(&END_OWN, args![session.as_str(), user.as_str(), self.now, reason]).await? == 1)
    }

    /// Ends the sessions of a user, all or all but one; returns how many.
    pub async fn end_sessions_of(
        &mut self,
        user: &UserId,
        except: Option<&SessionId>,
        reason: &'static str,
    ) -> Result<u64, StoreError> {
        let kept = except.map_or("", SessionId::as_str);
        self.tx.run(&END_ALL, args![user.as_str(), kept, self.now, reason]).await
    }

    /// Removes refresh tokens that expired before `before`, and sessions begun before it that have none left; at most
    /// `limit` of each. Choose `before` so that access tokens issued then have expired too. Returns how many rows went.
    pub async fn prune_sessions(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let tokens = self.tx.run(&PRUNE_TOKENS, args![before, i64::from(limit)]).await?;
        let sessions = self.tx.run(&PRUNE_SESSIONS, args![before, i64::from(limit)]).await?;
        Ok(tokens + sessions)
    }
}

fn session_from_row(row: &Row) -> Result<LiveSession, StoreError> {
    Ok(LiveSession {
        id: SessionId::new(row.text(0)?),
        origin: SessionOrigin { ip_address: row.opt_text(1)?, user_agent: row.opt_text(2)? },
        created_at: row.time(3)?,
        last_used_at: row.opt_time(4)?,
        expires_at: row.time(5)?,
    })
}

fn token_from_row(row: &Row) -> Result<StoredRefreshToken, StoreError> {
    Ok(StoredRefreshToken {
        session: SessionId::new(row.text(0)?),
        user: UserId::new(row.text(1)?),
        record: RefreshRecord {
            rotated_at: row.opt_time(2)?,
            expires_at: row.time(3)?,
            session_ended_at: row.opt_time(4)?,
        },
    })
}
