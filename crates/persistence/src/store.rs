//! The open database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::Timestamp;

use crate::changes::Changes;
use crate::db::{Backend, Db, Tx, args, statements};
use crate::engine::Warm;
use crate::facts::SeriesCache;
use crate::meter::Meter;
use crate::{StoreError, Work, migrations};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// Connections for reading (SQLite) or in all (PostgreSQL).
    pub connections: u32,
}

/// The open database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Db,
    /// How many units of work have begun; see [`crate::engine::Warm`].
    begun: Arc<AtomicU64>,
    series: Arc<SeriesCache>,
    /// How quotas stand.
    pub(crate) meter: Arc<Meter>,
    /// Who is told of commits.
    pub(crate) changes: Arc<Changes>,
}

statements! {
    PING = "SELECT id FROM heads WHERE id = 1";
}

impl Store {
    /// Opens the database without touching its schema.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        Ok(Self::over(Db::open(&options.url, options.connections).await?))
    }

    fn over(db: Db) -> Self {
        Self { db, begun: Arc::default(), series: Arc::default(), meter: Arc::default(), changes: Arc::default() }
    }

    /// Opens a database that exists, to read it beside whoever has it open: a server that runs, or none.
    pub async fn open_to_read(url: &str) -> Result<Self, StoreError> {
        Ok(Self::over(Db::open_to_read(url).await?))
    }

    /// Brings the schema up to date. An edited or failed migration is an error.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrations::run(&self.db).await
    }

    /// Brings the schema to where an older program left it, for tests of what becomes of its rows.
    #[doc(hidden)]
    pub async fn migrate_up_to(&self, last: i64) -> Result<(), StoreError> {
        migrations::run_up_to(&self.db, last).await
    }

    /// How many migrations this program knows.
    pub const fn migrations() -> usize {
        migrations::count()
    }

    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.db.backend()
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let found = self.db.row(&PING, args![]).await?;
        found.map(drop).ok_or_else(|| StoreError::Corrupt("the table of heads is empty".to_owned()))
    }

    fn work(&self, tx: Tx, now: Timestamp) -> Work {
        Work::new(tx, now, Arc::clone(&self.series), Arc::clone(&self.changes))
    }

    /// Begins a unit of work that counts as happening at `now`. On SQLite this waits for the one writer.
    pub async fn begin(&self, now: Timestamp) -> Result<Work, StoreError> {
        let tx = self.db.begin().await?;
        // While it holds the writer, so that the pipeline sees it before its next batch
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(self.work(tx, now))
    }

    /// As [`Store::begin`], for work on what is derived from facts alone: the pipeline goes on with what it keeps.
    pub(crate) async fn begin_aside(&self, now: Timestamp) -> Result<Work, StoreError> {
        Ok(self.work(self.db.begin().await?, now))
    }

    /// Begins a batch of the pipeline; `warm` is what its last one left, and used if it still holds. Returns what to keep
    /// under for the next one.
    pub(crate) async fn begin_batch(&self, now: Timestamp, warm: Option<Warm>) -> Result<(Work, u64), StoreError> {
        let mut work = self.work(self.db.begin_batch().await?, now);
        // Counted like any other: should there be a second pipeline, neither trusts what it kept past the other's batches
        let before = self.begun.fetch_add(1, Ordering::SeqCst);
        if self.backend() == Backend::Sqlite {
            work.warm = warm.filter(|warm| warm.generation == before);
            work.keeps_warm = true;
        }
        Ok((work, before + 1))
    }

    /// Closes every connection; waits for those in use.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

impl Work {
    /// Rows that a benchmark needs and that no request can make so quickly: one owner and `agents` agents.
    #[doc(hidden)]
    pub async fn bench_world(&mut self, agents: i64) -> Result<(), StoreError> {
        statements! {
            OWNER = "INSERT INTO users (id, username, username_key, password_hash, role, is_active, \
                must_change_password, created_at, updated_at) VALUES ('user_bench', 'bench', 'bench', '', 'user', 1, 0, 0, 0)";
            AGENT = "INSERT INTO agents (id, name, name_key, providers, tags, owner_id, created_at, updated_at) \
                VALUES ($1, 'bench', 'bench', '[]', '[]', 'user_bench', 0, 0)";
            BOOK = "INSERT INTO agent_books (agent_id, owner_id, epoch, alive_since, alive_until, chain_length, chain_hash) \
                SELECT $1, 'user_bench', 1, 0, 0, 0, chain_hash FROM agent_books WHERE agent_id = 0";
            BUDGET = "INSERT INTO budgets (no, id, scope_key, scope_kind, cap, budget_window, time_zone, thresholds, \
                enabled, source, opened_window, created_at, updated_at) \
                VALUES ($1, $2, $3, 'agent', 1, 'none', 'UTC', '[]', 1, 'agent_allocation', 0, 0, 0)";
        }
        self.tx.run(&OWNER, args![]).await?;
        for id in 1..=agents {
            self.tx.run(&AGENT, args![id]).await?;
            self.tx.run(&BOOK, args![id]).await?;
            self.tx.run(&BUDGET, args![id, format!("bud_{id}"), format!("agent:{id}")]).await?;
        }
        Ok(())
    }
}
