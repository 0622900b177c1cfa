//! What the rest of the process is told after a commit: that the outbox has grown, and whose rights have changed.
//!
//! Within the process this happens before the commit returns, so nobody is told of a change before those who act on it
//! are. Other servers on the same PostgreSQL are told by notifications of the transaction itself. Both are hints: the
//! outbox is looked at, and rights are checked, now and then in any case.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use kernel::{AgentId, ApiTokenId, SessionId, UserId};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;

use crate::Store;

/// How long to wait before connecting again for notifications.
const PAUSE: Duration = Duration::from_secs(1);
/// What is said of more changes than fit into a notification.
const EVERYBODY: &str = "*";
/// Longest text of a notification, in bytes; PostgreSQL takes less than 8000.
const MAX_NOTIFICATION: usize = 7_000;

/// Whose rights, or whose credentials, have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RightsOf<'a> {
    /// What a user may do, whether it is active, what it owns.
    User(&'a UserId),
    /// Whether a login lasts.
    Session(&'a SessionId),
    /// Which IC token an agent has, whether it lives.
    Agent(AgentId),
    /// Whether an API token is taken.
    ApiToken(ApiTokenId),
}

impl RightsOf<'_> {
    /// As a text that does not occur for anything else.
    pub fn key(&self) -> String {
        match self {
            Self::User(user) => format!("user:{user}"),
            Self::Session(session) => format!("session:{session}"),
            Self::Agent(agent) => format!("agent:{}", agent.0),
            Self::ApiToken(token) => format!("token:{}", token.0),
        }
    }
}

/// What is told of changed rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RightsChange {
    /// Those of [`RightsOf::key`].
    Of(Vec<String>),
    /// It is not known whose: look at all.
    Anybody,
}

type Listener = Box<dyn Fn(&RightsChange) + Send + Sync>;

/// Who is told.
#[derive(Default)]
pub(crate) struct Changes {
    outbox: watch::Sender<u64>,
    rights: OnceLock<Listener>,
}

impl Changes {
    /// A transaction is durable.
    pub(crate) fn committed(&self, grown: bool, rights: BTreeSet<String>) {
        // Rights first: what comes into the stream from now on is seen by those who may
        if !rights.is_empty() {
            self.tell(&RightsChange::Of(rights.into_iter().collect()));
        }
        if grown {
            self.outbox.send_modify(|count| *count += 1);
        }
    }

    fn tell(&self, change: &RightsChange) {
        if let Some(listener) = self.rights.get() {
            listener(change);
        }
    }

    fn heard(&self, channel: &str, payload: &str) {
        if channel == OUTBOX_CHANNEL {
            self.outbox.send_modify(|count| *count += 1);
        } else if payload == EVERYBODY {
            self.tell(&RightsChange::Anybody);
        } else {
            self.tell(&RightsChange::Of(payload.split('\n').map(str::to_owned).collect()));
        }
    }

    /// Whatever may have happened has.
    fn anything(&self) {
        self.tell(&RightsChange::Anybody);
        self.outbox.send_modify(|count| *count += 1);
    }
}

/// Channel of notifications that the outbox has grown.
const OUTBOX_CHANNEL: &str = "iron_outbox";
/// Channel of notifications that rights have changed.
const RIGHTS_CHANNEL: &str = "iron_rights";

/// What other servers are told of changed rights.
pub(crate) fn notification(rights: &BTreeSet<String>) -> String {
    let length = rights.iter().map(|key| key.len() + 1).sum::<usize>();
    if length > MAX_NOTIFICATION || rights.iter().any(|key| key.contains('\n')) {
        return EVERYBODY.to_owned();
    }
    rights.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

impl Store {
    /// Changes when the outbox may have grown.
    pub fn outbox_changes(&self) -> watch::Receiver<u64> {
        self.changes.outbox.subscribe()
    }

    /// Has somebody told of changed rights, before the commit that changed them returns; it must not wait. The first one
    /// who asks for it is told, for as long as the store is open.
    pub fn on_rights_change(&self, listener: impl Fn(&RightsChange) + Send + Sync + 'static) {
        let _ = self.changes.rights.set(Box::new(listener));
    }

    /// Hears what other servers on the same database commit, until it is dropped or the store is closed. On the embedded
    /// database there are none.
    pub async fn hear_others(&self) {
        let Some(pool) = self.db.notifications() else { return };
        loop {
            let Err(error) = self.hear(pool).await else { continue };
            if matches!(error, sqlx::Error::PoolClosed) {
                return;
            }
            tracing::warn!(%error, "notifications of the database are not heard; looking for changes now and then");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all([OUTBOX_CHANNEL, RIGHTS_CHANNEL]).await?;
        // What was committed before we listened
        self.changes.anything();
        loop {
            match listener.try_recv().await? {
                Some(notification) => self.changes.heard(notification.channel(), notification.payload()),
                None => self.changes.anything(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::notification;

    #[test]
    fn a_notification_names_whom_it_is_about_or_everybody() {
        let keys = |count: usize| (0..count).map(|n| format!("user:{n:04}")).collect::<BTreeSet<_>>();
        assert_eq!(notification(&keys(2)), "user:0000\nuser:0001");
        assert_eq!(notification(&keys(1_000)), "*");
        assert_eq!(notification(&BTreeSet::from(["user:a\nb".to_owned()])), "*");
    }
}
