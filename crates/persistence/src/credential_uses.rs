//! When API tokens and logins were last used: counted in memory, written in batches.
//!
//! A request must not cost a write, so what a process has seen since it last told the database waits here. Whoever asks
//! the database is some seconds behind; a process that is killed forgets those seconds, one that is stopped does not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use kernel::{ApiTokenId, Entropy, SessionId, Timestamp};

use crate::db::{Value, args, statements};
use crate::listing::number_rows;
use crate::rows::Rows;
use crate::{Store, StoreError, Work};

const MINUTE_MS: i64 = 60_000;

statements! {
    /// In one order, so that two servers that write the same at once do not wait for each other in a circle.
    LOCK_TOKENS = "SELECT t.id FROM api_tokens AS t WHERE t.id IN (SELECT {int 0} FROM {rows}) ORDER BY t.id {for_change}";
    TOUCH_TOKENS = "UPDATE api_tokens SET uses = api_tokens.uses + v.uses, last_used_at = \
        CASE WHEN api_tokens.last_used_at > v.used_at THEN api_tokens.last_used_at ELSE v.used_at END \
        FROM (SELECT {int 0} AS id, {int 1} AS used_at, {int 2} AS uses FROM {rows}) AS v WHERE api_tokens.id = v.id";
    COUNT_MINUTES = "INSERT INTO api_token_uses (token_id, minute_start, uses) \
        SELECT {int 0}, {int 1}, {int 2} FROM {rows} WHERE true \
        ON CONFLICT (token_id, minute_start) DO UPDATE SET uses = api_token_uses.uses + excluded.uses";
    LOCK_SESSIONS = "SELECT s.id FROM sessions AS s WHERE s.id IN (SELECT {text 0} FROM {rows}) ORDER BY s.id {for_change}";
    TOUCH_SESSIONS = "UPDATE sessions SET last_used_at = v.used_at \
        FROM (SELECT {text 0} AS id, {int 1} AS used_at FROM {rows}) AS v \
        WHERE sessions.id = v.id AND (sessions.last_used_at IS NULL OR sessions.last_used_at < v.used_at)";
}

/// For the test of plans.
#[cfg(test)]
pub(crate) fn hot_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("LOCK_TOKENS", &*LOCK_TOKENS),
        ("TOUCH_TOKENS", &*TOUCH_TOKENS),
        ("COUNT_MINUTES", &*COUNT_MINUTES),
        ("LOCK_SESSIONS", &*LOCK_SESSIONS),
        ("TOUCH_SESSIONS", &*TOUCH_SESSIONS),
    ]
}

/// Uses that the database has not been told of. One for each process.
#[derive(Default)]
pub struct CredentialUses(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    tokens: HashMap<ApiTokenId, TokenUses>,
    sessions: HashMap<SessionId, Timestamp>,
}

struct TokenUses {
    last: Timestamp,
    /// By the beginning of the minute.
    minutes: BTreeMap<i64, i64>,
}

impl CredentialUses {
    /// Notes that a token was used now.
    pub fn token(&self, id: ApiTokenId, now: Timestamp) {
        self.with(|noted| noted.token(id, now, minute_of(now), 1));
    }

    /// Notes that a login was used now.
    pub fn session(&self, id: &SessionId, now: Timestamp) {
        self.with(|noted| match noted.sessions.get_mut(id) {
            Some(last) => *last = (*last).max(now),
            None => drop(noted.sessions.insert(id.clone(), now)),
        });
    }

    /// Tells the database; costs nothing where nothing was used.
    ///
    /// # Errors
    /// What the store says. Nothing is lost by it: the next attempt tells the same again.
    pub async fn flush(&self, store: &Store, now: Timestamp, entropy: &dyn Entropy) -> Result<(), StoreError> {
        let noted = self.with(std::mem::take);
        if noted.tokens.is_empty() && noted.sessions.is_empty() {
            return Ok(());
        }
        let written = async {
            let mut work = store.begin(now).await?;
            work.note_uses(&noted).await?;
            work.commit(entropy).await
        };
        let written = written.await;
        if written.is_err() {
            self.with(|current| current.take_back(noted));
        }
        written
    }

    fn with<T>(&self, step: impl FnOnce(&mut Noted) -> T) -> T {
        // What a panic elsewhere left behind is at worst one use too few
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Noted {
    fn token(&mut self, id: ApiTokenId, last: Timestamp, minute: i64, uses: i64) {
        let known = self.tokens.entry(id).or_insert_with(|| TokenUses { last, minutes: BTreeMap::new() });
        known.last = known.last.max(last);
        *known.minutes.entry(minute).or_insert(0) += uses;
    }

    fn take_back(&mut self, noted: Self) {
        for (id, token) in noted.tokens {
            for (minute, uses) in token.minutes {
                self.token(id, token.last, minute, uses);
            }
        }
        for (id, at) in noted.sessions {
            let last = self.sessions.entry(id).or_insert(at);
            *last = (*last).max(at);
        }
    }

    /// By id: the last use and how many there were, and those of each minute.
    fn token_rows(&self) -> (Rows, Rows) {
        let (mut totals, mut minutes) = (Rows::new(), Rows::new());
        let sorted: BTreeMap<i64, &TokenUses> = self.tokens.iter().map(|(id, uses)| (id.0, uses)).collect();
        for (id, token) in sorted {
            totals.row().int(id).int(token.last.millis()).int(token.minutes.values().sum());
            for (minute, uses) in &token.minutes {
                minutes.row().int(id).int(*minute).int(*uses);
            }
        }
        (totals, minutes)
    }
}

impl Work {
    async fn note_uses(&mut self, noted: &Noted) -> Result<(), StoreError> {
        if !noted.tokens.is_empty() {
            let mut ids: Vec<i64> = noted.tokens.keys().map(|id| id.0).collect();
            ids.sort_unstable();
            self.tx.rows(&LOCK_TOKENS, args![number_rows(ids)]).await?;
            let (totals, minutes) = noted.token_rows();
            self.tx.run(&TOUCH_TOKENS, args![totals.finish()]).await?;
            self.tx.run(&COUNT_MINUTES, args![minutes.finish()]).await?;
        }
        if !noted.sessions.is_empty() {
            let sorted: BTreeMap<&str, Timestamp> = noted.sessions.iter().map(|(id, at)| (id.as_str(), *at)).collect();
            self.tx.rows(&LOCK_SESSIONS, args![session_rows(&sorted, false)]).await?;
            self.tx.run(&TOUCH_SESSIONS, args![session_rows(&sorted, true)]).await?;
        }
        Ok(())
    }
}

fn session_rows(sessions: &BTreeMap<&str, Timestamp>, times: bool) -> Value {
    let mut rows = Rows::new();
    for (id, at) in sessions {
        rows.row().text(id);
        if times {
            rows.int(at.millis());
        }
    }
    rows.finish()
}

const fn minute_of(at: Timestamp) -> i64 {
    at.millis() - at.millis().rem_euclid(MINUTE_MS)
}
