//! `[database]`: where the books are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::DatabaseUrl;

/// Where the books are kept.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://path` or `postgres://user:password@host/name`. Default: the file `control.db` in the data directory.
    #[serde(skip_serializing)]
    pub url: Option<DatabaseUrl>,
    /// Connections: for reading (SQLite, which has one more for writing), or for all but the batches and what other servers
    /// tell (PostgreSQL).
    pub connections: u32,
    /// Requests that may wait to be written, in each lane; further ones are answered 503.
    pub write_queue: u32,
    /// From so many commands on, no more requests are taken into what is committed together.
    pub write_batch: u32,
    /// Batches that may be under way at once, 1 to 8, on PostgreSQL: one of small requests, the others of large ones (a
    /// batch of events). SQLite has one writer.
    pub write_lanes: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, connections: 16, write_queue: 4_096, write_batch: 1_024, write_lanes: 3 }
    }
}

impl DatabaseConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.url.as_ref().is_some_and(|url| !url.is_postgres() && !url.is_sqlite()) {
            problems.add("database.url", "must begin with sqlite:// or postgres://");
        }
        problems.range("database.connections", self.connections, 1, 1_000);
        problems.range("database.write_queue", self.write_queue, 1, 1_000_000);
        problems.range("database.write_batch", self.write_batch, 1, 10_000);
        problems.range("database.write_lanes", self.write_lanes, 1, 8);
    }
}
