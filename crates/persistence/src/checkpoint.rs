//! Keeps the write-ahead log of the embedded database short, beside the writer instead of in its way.
//!
//! SQLite would copy the log into the database within the commit that makes it long, and every caller of that batch would
//! wait for it. A task with a connection of its own does it instead. Where writes never pause, the log is never copied to
//! its very end, and would grow for ever; when it is long, one step holds the writer up for the little that is left, so that
//! it begins again at the front. The file keeps its length: a commit that overwrites what is there is durable in half the
//! time of one that makes the file longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Row as _, SqlitePool};

/// How often the log is looked at, while there are writes.
const INTERVAL: Duration = Duration::from_millis(200);
/// Pages in the log from which on it is copied.
const WORTHWHILE: i64 = 1_000;
/// Pages in the log from which on the writer has to wait until all are copied; 32 MiB.
const TOO_LONG: i64 = 8_192;

/// Ends the task when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Checkpointer {
    connection: SqlitePool,
    written: Arc<AtomicBool>,
    wake: Arc<tokio::sync::Notify>,
    _task: Arc<AbortOnDrop>,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checkpointer {
    /// Starts the task; it sleeps while nothing is written.
    pub(crate) fn start(connection: SqlitePool) -> Self {
        let (written, wake) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
        let task = tokio::spawn(run(connection.clone(), Arc::clone(&written), Arc::clone(&wake)));
        Self { connection, written, wake, _task: Arc::new(AbortOnDrop(task)) }
    }

    /// Closes its connection; waits for what it is doing. The last connection to close leaves no log behind.
    pub(crate) async fn close(&self) {
        self.connection.close().await;
    }

    /// Tells it that a transaction was committed.
    pub(crate) fn committed(&self) {
        if !self.written.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

async fn run(connection: SqlitePool, written: Arc<AtomicBool>, wake: Arc<tokio::sync::Notify>) {
    loop {
        wake.notified().await;
        tokio::time::sleep(INTERVAL).await;
        written.store(false, Ordering::Relaxed);
        let pages = match checkpoint(&connection, "PRAGMA wal_checkpoint(NOOP)").await {
            Ok(pages) => pages,
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::debug!(%error, "the write-ahead log could not be looked at");
                continue;
            }
        };
        let copied = match pages {
            n if n >= TOO_LONG => checkpoint(&connection, "PRAGMA wal_checkpoint(RESTART)").await,
            n if n >= WORTHWHILE => checkpoint(&connection, "PRAGMA wal_checkpoint(PASSIVE)").await,
            n => Ok(n),
        };
        if let Err(error) = copied {
            tracing::warn!(%error, pages, "the write-ahead log could not be copied into the database; trying again");
        }
    }
}

/// Returns how many pages the log has.
async fn checkpoint(connection: &SqlitePool, pragma: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(pragma).fetch_one(connection).await?.try_get(1)
}
