//! The open database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::Timestamp;

use crate::db::{Backend, Db, args, statements};
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
    /// Counts local changes of the directory, so that a cache in this process need not ask the database.
    local_changes: Arc<AtomicU64>,
}

statements! {
    PING = "SELECT id FROM heads WHERE id = 1";
}

impl Store {
    /// Opens the database without touching its schema.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let db = Db::open(&options.url, options.connections).await?;
        Ok(Self { db, local_changes: Arc::default() })
    }

    /// Brings the schema up to date. An edited or failed migration is an error.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrations::run(&self.db).await
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

    /// Begins a unit of work that counts as happening at `now`. On SQLite this waits for the one writer.
    pub async fn begin(&self, now: Timestamp) -> Result<Work, StoreError> {
        Ok(Work::new(self.db.begin().await?, now))
    }

    /// Closes every connection; waits for those in use.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
