//! Keeps the write-ahead log of the embedded database short, beside the writer instead of in its way.
//!
//! SQLite would copy the log into the database within the commit that makes it long, and every caller of that batch would
//! wait for it. A task with a connection of its own does it instead. Where writes never pause, the log is never copied to
//! its very end, and would grow for ever; when it is long, it is copied again and again until little is left, and then the
//! task takes a turn of the writer's for that little, so that the log begins again at the front. The file keeps its length: a
//! commit that overwrites what is there is durable in half the time of one that makes the file longer. Only a reader that
//! goes on for long keeps the log from beginning again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{Row as _, SqlitePool};

use crate::writer::Writer;

/// How often the log is looked at, while there are writes.
const INTERVAL: Duration = Duration::from_millis(200);
/// Pages in the log from which on it is copied.
const WORTHWHILE: i64 = 1_000;
/// Pages in the log from which on it has to begin again at the front; 32 MiB.
const TOO_LONG: i64 = 8_192;
/// So many pages may be left when the writer is made to wait for them.
const LITTLE: i64 = 1_024;
/// So often the log is copied in the hope that little is left.
const ROUNDS: usize = 8;

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
    pub(crate) fn start(connection: SqlitePool, writer: Writer) -> Self {
        let (written, wake) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
        let task = tokio::spawn(run(connection.clone(), writer, Arc::clone(&written), Arc::clone(&wake)));
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

async fn run(connection: SqlitePool, writer: Writer, written: Arc<AtomicBool>, wake: Arc<tokio::sync::Notify>) {
    loop {
        wake.notified().await;
        tokio::time::sleep(INTERVAL).await;
        written.store(false, Ordering::Relaxed);
        match shorten(&connection, &writer).await {
            Ok(()) => {}
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::warn!(%error, "the write-ahead log could not be copied into the database; trying again");
            }
        }
    }
}

/// Copies the log if it is worthwhile, and lets it begin again if it is long.
async fn shorten(connection: &SqlitePool, writer: &Writer) -> Result<(), sqlx::Error> {
    // After a loss of power a log that is damaged is read up to there, and its pages go before those of the database: they
    // must not be older than these
    if writer.durability().is_some_and(|durability| durability.check().is_err()) {
        return Ok(());
    }
    let mut log = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)").await?;
    if log.pages < WORTHWHILE {
        return Ok(());
    }
    for _ in 0..ROUNDS {
        log = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").await?;
        if log.pages < TOO_LONG || log.left() <= LITTLE {
            break;
        }
    }
    if log.pages >= TOO_LONG {
        // A writer that is closing copies all there is
        let Ok(_turn) = writer.turn().await else { return Ok(()) };
        checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)").await?;
    }
    Ok(())
}

/// How long the log is, and how much of it is in the database.
#[derive(Clone, Copy)]
struct Log {
    pages: i64,
    copied: i64,
}

impl Log {
    const fn left(self) -> i64 {
        self.pages - self.copied
    }
}

async fn checkpoint(connection: &SqlitePool, pragma: &'static str) -> Result<Log, sqlx::Error> {
    let row = sqlx::query(pragma).fetch_one(connection).await?;
    Ok(Log { pages: row.try_get(1)?, copied: row.try_get(2)? })
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::{TOO_LONG, checkpoint, shorten};
    use crate::durable::Durability;
    use crate::writer::Writer;

    async fn opened(path: &std::path::Path) -> (sqlx::SqlitePool, Writer) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await.expect("a log");
        let writer = Writer::open(path).expect("opens");
        writer.batch("CREATE TABLE t (x BLOB)");
        (pool, writer)
    }

    #[tokio::test]
    async fn a_log_that_may_be_damaged_is_not_copied_into_the_database() {
        let directory = tempfile::tempdir().expect("a directory");
        let (pool, mut writer) = opened(&directory.path().join("broken.db")).await;
        let durability = Durability::by(|| Err(std::io::Error::other("broken"))).expect("a thread");
        writer.durable_by(durability.clone());
        writer.batch(&format!("INSERT INTO t VALUES (zeroblob({}))", 2 * super::WORTHWHILE * 4_096));
        let commit = durability.begin();
        durability.written(commit);
        durability.wait(commit).await.expect_err("the disk is broken");
        shorten(&pool, &writer).await.expect("nothing to do");
        let log = checkpoint(&pool, "PRAGMA wal_checkpoint(NOOP)").await.expect("asked");
        assert!(log.pages > super::WORTHWHILE && log.copied == 0, "{} of {}", log.copied, log.pages);
        pool.close().await;
        writer.close().await;
    }

    #[tokio::test]
    async fn a_long_log_begins_again_at_the_front() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("long.db");
        let (pool, writer) = opened(&path).await;
        let length = || path.with_extension("db-wal").metadata().expect("a log").len();
        let page = 4_096;
        let mut longest = 0;
        for _ in 0..3 {
            writer.batch(&format!("INSERT INTO t VALUES (zeroblob({}))", (TOO_LONG + 100) * page));
            longest = longest.max(length());
            shorten(&pool, &writer).await.expect("shortened");
            writer.batch("INSERT INTO t VALUES (1)");
            let log = checkpoint(&pool, "PRAGMA wal_checkpoint(NOOP)").await.expect("asked");
            assert!(log.pages < 100, "it goes on after {} pages", log.pages);
        }
        assert_eq!(longest, length(), "the file keeps its length");
        assert!(longest < 2 * (TOO_LONG * page).unsigned_abs(), "{longest} bytes");
        pool.close().await;
        writer.close().await;
    }
}
