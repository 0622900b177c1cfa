//! The one connection that writes to the embedded database.
//!
//! A driver that hands every statement to a thread of its own costs a batch of twenty statements forty changes of thread,
//! many times what the statements cost themselves. So writing is done by the caller, on the caller's thread: the
//! [`Pipeline`](crate::Pipeline), which does nearly all of it, has a thread to itself; anybody else says to the runtime
//! that its worker is busy for a moment.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StoreError;
use crate::db::Value;
use crate::durable::{Commit, Durability};
use crate::rows::{self, Rows};

/// Statements that stay prepared: each of the set-based ones in several sizes.
const PREPARED: usize = 512;
/// How long to wait for another process that has the file locked: one that reads it, or a backup.
const PATIENCE: Duration = Duration::from_secs(5);
/// Commits are made durable by [`Durability`], which needs the log to be there; it is copied into the database by a task of
/// its own.
const SESSION: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
    PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; SELECT COUNT(*) FROM sqlite_schema;";
/// Memory for pages, KiB.
const CACHE: u32 = 65_536;
/// That of a small file. SQLite looks through all pages in memory at the end of a transaction that has put pages of an index
/// into another order, unless the file has more than 1 GiB.
const SMALL_CACHE: u32 = 32_768;
const SMALL_FILE: u64 = 1 << 30;

/// The connection, and whose turn it is; cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    turn: Arc<Semaphore>,
    connection: Arc<Mutex<Option<Connection>>>,
    durability: Option<Durability>,
}

impl Writer {
    /// Opens a database that exists.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch(SESSION)?;
        let small = path.metadata().is_ok_and(|file| file.len() <= SMALL_FILE);
        connection.pragma_update(None, "cache_size", -i64::from(if small { SMALL_CACHE } else { CACHE }))?;
        // Plans do not depend on what is bound: else a statement about a table with a partial index, prepared once, would be
        // prepared again for every batch
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        let durability = log_of(path).and_then(Durability::of).map_err(|e| StoreError::Unavailable(e.into()))?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        Ok(Self { turn: Arc::new(Semaphore::new(1)), connection, durability: Some(durability) })
    }

    /// Of a database that is only read.
    pub(crate) fn none() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), connection: Arc::default(), durability: None }
    }

    /// How far what is written is durable; `None` where nothing is.
    pub(crate) const fn durability(&self) -> Option<&Durability> {
        self.durability.as_ref()
    }

    /// From here on, whatever is committed is made durable like this.
    #[cfg(test)]
    pub(crate) fn durable_by(&mut self, durability: Durability) {
        self.durability = Some(durability);
    }

    #[cfg(test)]
    pub(crate) fn batch(&self, sql: &str) {
        self.lock().as_ref().expect("it is open").execute_batch(sql).expect("it is done");
    }

    /// Waits for a turn to write; nobody else writes until it is dropped.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.turn).acquire_owned().await.map_err(|_| StoreError::Closing)
    }

    /// Waits for its turn and begins a transaction.
    pub(crate) async fn begin(&self) -> Result<Writing, StoreError> {
        let turn = self.turn().await?;
        let writing = Writing { writer: self.clone(), _turn: turn };
        writing.with(|connection| {
            // A full disk ends a transaction within SQLite; whatever is left of the last one ends here at the latest
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            Ok(connection.prepare_cached("BEGIN IMMEDIATE")?.raw_execute().map(drop)?)
        })?;
        Ok(writing)
    }

    /// Waits for the transaction that is open and closes the connection.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.acquire().await;
        self.turn.close();
        if let Some(connection) = self.lock().take() {
            on_this_thread(|| drop(connection));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // What a panic leaves behind is undone before the next transaction
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write transaction. Dropped without [`Writing::commit`], it is rolled back.
pub(crate) struct Writing {
    writer: Writer,
    _turn: OwnedSemaphorePermit,
}

impl Writing {
    /// Runs a query.
    pub(crate) fn rows(&self, sql: &str, args: &[Value]) -> Result<Vec<Vec<Cell>>, StoreError> {
        self.within(|connection| found(bound(connection, sql, args)?))
    }

    /// Runs a query about a set of rows.
    pub(crate) fn rows_for<'a>(
        &self,
        sql: &str,
        set: impl Iterator<Item = rows::Cell<'a>>,
    ) -> Result<Vec<Vec<Cell>>, StoreError> {
        self.within(|connection| found(bound_in_order(connection, sql, set)?))
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) fn run(&self, sql: &str, args: &[Value]) -> Result<u64, StoreError> {
        self.within(|connection| Ok(bound(connection, sql, args)?.raw_execute()? as u64))
    }

    /// Runs a statement about a set of rows; returns how many it changed.
    pub(crate) fn run_for<'a>(&self, sql: &str, set: impl Iterator<Item = rows::Cell<'a>>) -> Result<u64, StoreError> {
        self.within(|connection| Ok(bound_in_order(connection, sql, set)?.raw_execute()? as u64))
    }

    /// Runs a statement for each of the rows; returns how many it changed.
    pub(crate) fn run_each(&self, sql: &str, rows: &Rows) -> Result<u64, StoreError> {
        self.within(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut changed = 0;
            for row in rows.each() {
                for (index, value) in row.enumerate() {
                    statement.raw_bind_parameter(index + 1, value)?;
                }
                changed += statement.raw_execute()? as u64;
            }
            Ok(changed)
        })
    }

    /// How far what is written is durable.
    pub(crate) const fn durability(&self) -> Option<&Durability> {
        self.writer.durability()
    }

    /// Writes it to the log. It may be told of when that is durable.
    pub(crate) fn commit(self) -> Result<Option<Commit>, StoreError> {
        let durability = self.writer.durability.as_ref();
        let commit = durability.map(Durability::begin);
        let done = self.within(|connection| Ok(connection.prepare_cached("COMMIT")?.raw_execute().map(drop)?));
        if let (Some(durability), Some(commit)) = (durability, commit) {
            durability.written(commit);
        }
        done.map(|()| commit)
    }

    /// SQLite ends a transaction by itself when the disk is full: nothing may be written after that as if it went on.
    fn within<T>(&self, what: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|connection| {
            if connection.is_autocommit() {
                return Err(StoreError::Unavailable("the database has ended the transaction".into()));
            }
            what(connection)
        })
    }

    fn with<T>(&self, what: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        on_this_thread(|| what(self.writer.lock().as_ref().ok_or(StoreError::Closing)?))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let undone = self.with(|connection| {
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            Ok(())
        });
        if let Err(error) = undone {
            tracing::warn!(error = &error as &dyn std::error::Error, "a transaction could not be rolled back");
        }
    }
}

/// The log of a database that is open. Whatever was in it before is made durable.
fn log_of(database: &Path) -> std::io::Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let log = File::options().read(true).write(true).open(path)?;
    log.sync_all()?;
    Ok(log)
}

/// Runs what blocks. A runtime with several workers is told to let others take over what waits for this one.
fn on_this_thread<T>(what: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(what),
        _ => what(),
    }
}

/// The statement, prepared, with its parameters: those without a name in their order, `$1`, `$2` … by number.
fn bound<'c>(connection: &'c Connection, sql: &str, args: &[Value]) -> Result<CachedStatement<'c>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    for index in 1..=statement.parameter_count() {
        let number = statement.parameter_name(index).and_then(|name| name[1..].parse().ok()).unwrap_or(index);
        let value = args.get(number - 1);
        let value = value.ok_or_else(|| StoreError::Corrupt(format!("parameter {number} is missing: {sql}")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(statement)
}

/// The statement, prepared, with parameters that have no numbers.
fn bound_in_order<'c, 'a>(
    connection: &'c Connection,
    sql: &str,
    set: impl Iterator<Item = rows::Cell<'a>>,
) -> Result<CachedStatement<'c>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    for (index, cell) in set.enumerate() {
        statement.raw_bind_parameter(index + 1, cell)?;
    }
    Ok(statement)
}

fn found(mut statement: CachedStatement<'_>) -> Result<Vec<Vec<Cell>>, StoreError> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((0..columns).map(|column| row.get(column)).collect::<Result<Vec<Cell>, _>>()?);
    }
    Ok(found)
}

impl rusqlite::ToSql for rows::Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(Some(value)) => ValueRef::Integer(*value),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Blob(Some(bytes)) => ValueRef::Blob(bytes),
            // Rows are taken apart before
            Self::Int(None) | Self::Text(None) | Self::Blob(None) | Self::Rows(_) => ValueRef::Null,
        }))
    }
}
