//! The two databases behind one narrow door.
//!
//! Everything we store is an integer, a text or bytes (see [`Value`]); with so few kinds, a statement can be written once
//! and run on either database through its own driver. Where the dialects differ, [`Sql`] holds both texts side by side.

use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value as Cell;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Connection as _, Executor as _, PgPool, Postgres, Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction,
};

use crate::StoreError;
use crate::checkpoint::Checkpointer;
use crate::durable::{Durability, Durable, seen_is_durable};
use crate::rows::{Kind, Piece, Rows};
pub(crate) use crate::sql::{Sql, statements};
use crate::writer::{Writer, Writing};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded SQLite: one file, one server.
    Sqlite,
    /// PostgreSQL: many servers.
    Postgres,
}

/// A parameter.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
    /// The parameter of a set-based statement; stands alone.
    Rows(Rows),
}

macro_rules! value_from {
    ($($source:ty => |$v:ident| $make:expr;)*) => {$(
        impl From<$source> for Value { fn from($v: $source) -> Self { $make } }
    )*};
}

value_from! {
    i64 => |v| Self::Int(Some(v));
    Option<i64> => |v| Self::Int(v);
    bool => |v| Self::Int(Some(i64::from(v)));
    String => |v| Self::Text(Some(v));
    Option<String> => |v| Self::Text(v);
    &str => |v| Self::Text(Some(v.to_owned()));
    Option<&str> => |v| Self::Text(v.map(str::to_owned));
    Vec<u8> => |v| Self::Blob(Some(v));
    kernel::Timestamp => |v| Self::Int(Some(v.millis()));
    Option<kernel::Timestamp> => |v| Self::Int(v.map(kernel::Timestamp::millis));
    kernel::Money => |v| Self::Int(Some(v.nanos()));
}

/// Shorthand for a list of parameters.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}
pub(crate) use args;

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    /// From the connection that writes.
    Written(Vec<Cell>),
    Postgres(PgRow),
}

macro_rules! getter {
    ($($name:ident -> $kind:ty: $($cell:pat => $value:expr),*;)*) => {$(
        pub(crate) fn $name(&self, index: usize) -> Result<$kind, StoreError> {
            Ok(match self {
                Self::Sqlite(row) => row.try_get(index)?,
                Self::Written(cells) => match cells.get(index) {
                    $(Some($cell) => $value,)*
                    other => return Err(StoreError::Corrupt(format!("column {index} is {other:?}"))),
                },
                Self::Postgres(row) => row.try_get(index)?,
            })
        }
    )*};
}

impl Row {
    getter! {
        int -> i64: Cell::Integer(value) => *value;
        opt_int -> Option<i64>: Cell::Integer(value) => Some(*value), Cell::Null => None;
        text -> String: Cell::Text(text) => text.clone();
        opt_text -> Option<String>: Cell::Text(text) => Some(text.clone()), Cell::Null => None;
        blob -> Vec<u8>: Cell::Blob(bytes) => bytes.clone();
    }

    pub(crate) fn flag(&self, index: usize) -> Result<bool, StoreError> {
        Ok(self.int(index)? != 0)
    }

    pub(crate) fn time(&self, index: usize) -> Result<kernel::Timestamp, StoreError> {
        self.int(index).map(kernel::Timestamp::from_millis)
    }

    pub(crate) fn opt_time(&self, index: usize) -> Result<Option<kernel::Timestamp>, StoreError> {
        Ok(self.opt_int(index)?.map(kernel::Timestamp::from_millis))
    }

    pub(crate) fn money(&self, index: usize) -> Result<kernel::Money, StoreError> {
        self.int(index).map(kernel::Money::from_nanos)
    }

    pub(crate) fn opt_money(&self, index: usize) -> Result<Option<kernel::Money>, StoreError> {
        Ok(self.opt_int(index)?.map(kernel::Money::from_nanos))
    }

    pub(crate) fn hash(&self, index: usize) -> Result<[u8; 32], StoreError> {
        let bytes = self.blob(index)?;
        bytes.try_into().map_err(|_| StoreError::Corrupt("a hash is not 32 bytes long".to_owned()))
    }
}

/// What is sent in the place of a set of rows to SQLite, through the driver that reads.
fn listed(sql: &Sql, rows: &Piece<'_>) -> (Arc<str>, Vec<Value>) {
    let (text, list) = sql.set_text(rows);
    (text, rows.parameters(list).map(Value::from).collect())
}

/// Each column of the rows that the statement reads, as an array.
macro_rules! arrays {
    ($sql:expr, $rows:expr) => {{
        let mut query = sqlx::query(sqlx::AssertSqlSafe($sql.text(Backend::Postgres)));
        for (column, kind) in $sql.columns() {
            query = match kind {
                Kind::Int => query.bind($rows.ints(*column)),
                Kind::Text => query.bind($rows.texts(*column)),
                Kind::Blob => query.bind($rows.blobs(*column)),
            };
        }
        query
    }};
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query(sqlx::AssertSqlSafe($sql));
        for value in $args {
            query = match value {
                Value::Int(v) => query.bind(v),
                Value::Text(v) => query.bind(v),
                Value::Blob(v) => query.bind(v),
                // Taken apart before
                Value::Rows(_) => query,
            };
        }
        query
    }};
}

/// What must hold whatever the database or the role was set up with: an answered write is durable, and what is read after
/// a lock was had is as its last holder left it. Settings that are stricter about durability stay.
const PG_SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The most batches that PostgreSQL writes at once for one server.
pub(crate) const MAX_LANES: u32 = 8;

/// Machine code is made for no statement: it would take longer than the question itself.
const PG_QUESTIONS: &str = "SET jit = off";

/// What a batch looks up and changes it finds by index, whatever the statistics of a table say that has just begun to grow.
const PG_BATCHES: &str =
    "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// An open database.
#[derive(Clone)]
pub(crate) struct Db {
    pools: Pools,
    checkpointer: Option<Checkpointer>,
    /// Held while the embedded database is open, so that a second server refuses to start.
    _lock: Option<Arc<std::fs::File>>,
}

#[derive(Clone)]
enum Pools {
    Sqlite { writer: Writer, readers: SqlitePool, options: Box<SqliteConnectOptions> },
    Postgres(Postgreses),
}

/// Connections to PostgreSQL, by what they are for.
#[derive(Clone)]
struct Postgreses {
    /// Whatever comes up.
    any: PgPool,
    /// Batches of the pipeline.
    batches: PgPool,
    /// A single one, on which notifications are heard.
    notifications: PgPool,
}

impl Db {
    /// Opens `sqlite://path[?mode=rwc]` or `postgres://…`.
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            Self::open_sqlite(url, connections).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let options =
                PgConnectOptions::from_str(url).map_err(|_| StoreError::BadUrl("not a PostgreSQL URL".into()))?;
            let options = options.application_name("iron-control-plane");
            let pool = |connections: u32, session: &'static str| {
                PgPoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(Duration::from_secs(10))
                    // One round trip fewer for each use; a dead connection shows itself by the statement's own error
                    .test_before_acquire(false)
                    .after_connect(move |connection, _| {
                        Box::pin(async move {
                            connection.execute(PG_SESSION).await?;
                            connection.execute(session).await.map(drop)
                        })
                    })
            };
            let pools = Postgreses {
                notifications: PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone()),
                batches: pool(MAX_LANES, PG_BATCHES).connect_lazy_with(options.clone()),
                any: pool(connections.max(4), PG_QUESTIONS).connect_with(options).await?,
            };
            Ok(Self { pools: Pools::Postgres(pools), checkpointer: None, _lock: None })
        } else {
            Err(StoreError::BadUrl("it must start with sqlite: or postgres:".to_owned()))
        }
    }

    /// Opens a database that exists, to read it beside whoever has it open. An embedded one is not written to in any way:
    /// no lock is taken, and what is in its log stays there.
    pub(crate) async fn open_to_read(url: &str) -> Result<Self, StoreError> {
        if !url.starts_with("sqlite:") {
            return Self::open(url, 4).await;
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|e| StoreError::BadUrl(e.to_string()))?;
        let options = options.create_if_missing(false).read_only(true).busy_timeout(Duration::from_secs(5));
        let readers = SqlitePoolOptions::new().max_connections(2).connect_with(options.clone()).await?;
        let pools = Pools::Sqlite { writer: Writer::none(), readers, options: Box::new(options) };
        Ok(Self { pools, checkpointer: None, _lock: None })
    }

    async fn open_sqlite(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|e| StoreError::BadUrl(e.to_string()))?;
        let path = options.get_filename().to_owned();
        if path.as_os_str().is_empty() || path == Path::new(":memory:") || url.contains("mode=memory") {
            // Each pooled connection to an in-memory database would be a different, empty one
            return Err(StoreError::BadUrl("the embedded database must be a file".to_owned()));
        }
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)
                .map_err(|e| StoreError::BadUrl(format!("{}: {e}", directory.display())))?;
        }
        let lock = lock_file(&path)?;
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(256)
            .pragma("cache_size", "-65536")
            // A task of its own does that
            .pragma("wal_autocheckpoint", "0")
            .pragma("temp_store", "MEMORY");
        // Makes the file, if it may. Only this one says how a new file is kept short: that takes the lock of the writer, also
        // where there is nothing to do, and a reader that is opened must not wait for whoever writes
        let first = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
        let first = SqliteConnection::connect_with(&first).await?;
        let writer = Writer::open(&path)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(connections.max(2))
            // A failed read ends a transaction within SQLite, of which its driver does not learn: it would take the
            // connection for one in a transaction for ever, and begin no other
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .test_before_acquire(false)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await?;
        first.close().await?;
        // While it waits for a reader, it holds up the writer: it gives up soon, and tries again
        let checkpoints = options.clone().busy_timeout(Duration::from_millis(10));
        let checkpoints = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(checkpoints);
        let checkpointer = Checkpointer::start(checkpoints, writer.clone());
        Ok(Self {
            pools: Pools::Sqlite { writer, readers, options: Box::new(options) },
            checkpointer: Some(checkpointer),
            _lock: Some(Arc::new(lock)),
        })
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres(_) => Backend::Postgres,
        }
    }

    /// Where notifications are heard, on PostgreSQL.
    pub(crate) fn notifications(&self) -> Option<&PgPool> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres(pools) => Some(&pools.notifications),
        }
    }

    /// Runs a query outside any transaction.
    pub(crate) async fn rows(&self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let [Value::Rows(rows)] = args.as_slice() else { return self.rows_of(sql.text(self.backend()), args).await };
        if let Pools::Postgres(pools) = &self.pools {
            return Ok(arrays!(sql, rows).fetch_all(&pools.any).await?.into_iter().map(Row::Postgres).collect());
        }
        let mut found = Vec::new();
        for piece in rows.pieces() {
            let (text, args) = listed(sql, &piece);
            found.append(&mut self.rows_of(text, args).await?);
        }
        Ok(found)
    }

    /// As [`Db::rows`], for statements put together from parts; the parts must not come from outside.
    pub(crate) async fn rows_of(&self, sql: Arc<str>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(match &self.pools {
            Pools::Sqlite { readers, writer, .. } => {
                let found = bound!(sql, args).fetch_all(readers).await?;
                seen_is_durable(writer.durability()).await?;
                found.into_iter().map(Row::Sqlite).collect()
            }
            Pools::Postgres(pools) => {
                bound!(sql, args).fetch_all(&pools.any).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Runs a query for at most one row.
    pub(crate) async fn row(&self, sql: &Sql, args: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Begins a write transaction. On SQLite there is one writer: this waits for its turn.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        let tx = match &self.pools {
            Pools::Sqlite { writer, .. } => {
                let tx = writer.begin().await?;
                seen_is_durable(writer.durability()).await?;
                TxInner::Writing(tx)
            }
            Pools::Postgres(pools) => TxInner::Postgres(begun(&pools.any, "BEGIN").await?),
        };
        Ok(Tx(tx, self.checkpointer.clone()))
    }

    /// As [`Db::begin`], for a batch of the pipeline: what it reads need not be durable yet, because whoever is answered from
    /// it waits until the batch is.
    pub(crate) async fn begin_batch(&self) -> Result<Tx, StoreError> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => {
                writer.durability().map_or(Ok(()), Durability::check)?;
                Ok(Tx(TxInner::Writing(writer.begin().await?), self.checkpointer.clone()))
            }
            Pools::Postgres(pools) => Ok(Tx(TxInner::Postgres(begun(&pools.batches, "BEGIN").await?), None)),
        }
    }

    /// Begins a transaction that only reads, and sees the database as it is at its first question however long it lasts.
    pub(crate) async fn begin_read(&self) -> Result<Tx, StoreError> {
        let tx = match &self.pools {
            Pools::Sqlite { readers, writer, .. } => {
                let unasked = writer.durability().cloned();
                TxInner::Reading { tx: readers.begin_with("BEGIN").await?, unasked }
            }
            Pools::Postgres(pools) => {
                TxInner::Postgres(begun(&pools.any, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        Ok(Tx(tx, None))
    }

    pub(crate) async fn migrate(&self, migrator: &sqlx::migrate::Migrator) -> Result<(), StoreError> {
        let done = match &self.pools {
            Pools::Sqlite { options, .. } => {
                let mut connection = SqliteConnection::connect_with(options).await?;
                let done = migrator.run(&mut connection).await;
                connection.close().await?;
                done
            }
            Pools::Postgres(pools) => migrator.run(&pools.any).await,
        };
        done.map_err(|e| StoreError::Migration(e.to_string()))
    }

    /// Closes every connection; waits for those in use.
    pub(crate) fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        let (pools, checkpointer) = (self.pools.clone(), self.checkpointer.clone());
        async move {
            if let Some(checkpointer) = checkpointer {
                checkpointer.close().await;
            }
            match pools {
                Pools::Sqlite { writer, readers, .. } => {
                    readers.close().await;
                    writer.close().await;
                }
                Pools::Postgres(pools) => {
                    pools.notifications.close().await;
                    pools.batches.close().await;
                    pools.any.close().await;
                }
            }
        }
    }
}

/// Begins a transaction in a task of its own, which goes on where whoever asked for it is gone (a client that hangs up in
/// the middle of its request): the driver forgets a transaction whose beginning is cut off, and the connection would stand
/// in it for ever, a trap for whoever uses it next.
async fn begun(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>, StoreError> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
    Ok(begun.map_err(|_| StoreError::Closing)??)
}

fn lock_file(database: &Path) -> Result<std::fs::File, StoreError> {
    let path = database.with_extension("lock");
    let open = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|e| StoreError::BadUrl(format!("{}: {e}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(StoreError::InUse(database.display().to_string())),
    }
}

/// A transaction. Dropped without [`Tx::commit`], it is rolled back.
pub(crate) struct Tx(TxInner, Option<Checkpointer>);

enum TxInner {
    Writing(Writing),
    Reading {
        tx: Transaction<'static, Sqlite>,
        /// Until the first question, which settles what is seen.
        unasked: Option<Durability>,
    },
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) fn backend(&self) -> Backend {
        match self.0 {
            TxInner::Writing(_) | TxInner::Reading { .. } => Backend::Sqlite,
            TxInner::Postgres(_) => Backend::Postgres,
        }
    }

    pub(crate) async fn rows(&mut self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let [Value::Rows(rows)] = args.as_slice() else { return self.rows_of(sql.text(self.backend()), args).await };
        let mut found = Vec::new();
        match &mut self.0 {
            TxInner::Postgres(tx) => {
                let all = arrays!(sql, rows).fetch_all(&mut **tx).await?;
                found.extend(all.into_iter().map(Row::Postgres));
            }
            TxInner::Writing(tx) => {
                for piece in rows.pieces() {
                    let (text, list) = sql.set_text(&piece);
                    found.extend(tx.rows_for(&text, piece.parameters(list))?.into_iter().map(Row::Written));
                }
            }
            TxInner::Reading { .. } => {
                for piece in rows.pieces() {
                    let (text, args) = listed(sql, &piece);
                    found.append(&mut self.rows_of(text, args).await?);
                }
            }
        }
        Ok(found)
    }

    /// As [`Tx::rows`], for statements put together from parts; the parts must not come from outside.
    pub(crate) async fn rows_of(&mut self, text: Arc<str>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(match &mut self.0 {
            TxInner::Writing(tx) => tx.rows(&text, &args)?.into_iter().map(Row::Written).collect(),
            TxInner::Reading { tx, unasked } => {
                let found = bound!(text, args).fetch_all(&mut **tx).await?;
                seen_is_durable(unasked.take().as_ref()).await?;
                found.into_iter().map(Row::Sqlite).collect()
            }
            TxInner::Postgres(tx) => {
                bound!(text, args).fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(crate) async fn row(&mut self, sql: &Sql, args: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) async fn run(&mut self, sql: &Sql, args: Vec<Value>) -> Result<u64, StoreError> {
        let [Value::Rows(rows)] = args.as_slice() else { return self.run_one(sql.text(self.backend()), args).await };
        match &mut self.0 {
            TxInner::Postgres(tx) => Ok(arrays!(sql, rows).execute(&mut **tx).await?.rows_affected()),
            TxInner::Writing(tx) => {
                if let Some(each) = sql.each() {
                    return tx.run_each(each, rows);
                }
                let mut changed = 0;
                for piece in rows.pieces() {
                    let (text, list) = sql.set_text(&piece);
                    changed += tx.run_for(&text, piece.parameters(list))?;
                }
                Ok(changed)
            }
            TxInner::Reading { .. } => Err(StoreError::Corrupt("a reader cannot write".to_owned())),
        }
    }

    async fn run_one(&mut self, text: Arc<str>, args: Vec<Value>) -> Result<u64, StoreError> {
        Ok(match &mut self.0 {
            TxInner::Writing(tx) => tx.run(&text, &args)?,
            TxInner::Reading { tx, .. } => bound!(text, args).execute(&mut **tx).await?.rows_affected(),
            TxInner::Postgres(tx) => bound!(text, args).execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.commit_soon().await?.reached().await
    }

    /// Commits. Others may build on it; nobody may be told of it before [`Durable::reached`] says so.
    pub(crate) async fn commit_soon(self) -> Result<Durable, StoreError> {
        let durable = match self.0 {
            TxInner::Writing(tx) => {
                let durability = tx.durability().cloned();
                Durable::after(durability, tx.commit()?)
            }
            TxInner::Reading { tx, .. } => tx.commit().await.map(|()| Durable::IS)?,
            TxInner::Postgres(tx) => tx.commit().await.map(|()| Durable::IS)?,
        };
        if let Some(checkpointer) = self.1 {
            checkpointer.committed();
        }
        Ok(durable)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Duration;

    use super::{Db, Durability, Pools, Value, statements};
    use crate::rows::Rows;

    /// Whatever a statement did before it failed must not become durable, though it was done row by row.
    #[tokio::test]
    async fn a_set_that_fails_in_its_middle_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("half.db").display());
        let db = Db::open(&url, 2).await.expect("opens");
        let Pools::Sqlite { writer, .. } = &db.pools else { unreachable!("it is SQLite") };
        writer.batch("CREATE TABLE t (x INTEGER PRIMARY KEY CHECK (x > 0), y TEXT)");
        statements! {
            PUT = "INSERT INTO t (x, y) SELECT {int 0}, {text 1} FROM {rows}";
            COUNT = "SELECT COUNT(*) FROM t";
        }
        let rows = |numbers: &[i64]| {
            let mut rows = Rows::new();
            for number in numbers {
                rows.row().int(*number).opt_text((*number > 2).then_some("more"));
            }
            Value::Rows(rows)
        };
        for bad in [[1, 2, 2], [1, 2, 0]] {
            let mut tx = db.begin().await.expect("begins");
            tx.run(&PUT, vec![rows(&bad)]).await.expect_err("refused");
            tx.run(&PUT, vec![rows(&[9])]).await.expect_err("and nothing goes on as if it had not been");
            tx.commit().await.expect_err("nor does it end well");
        }
        let mut tx = db.begin().await.expect("begins");
        assert_eq!(tx.run(&PUT, vec![rows(&[1, 2, 3])]).await.expect("put"), 3);
        tx.commit().await.expect("committed");
        let count = db.row(&COUNT, args![]).await.expect("asked").expect("a row");
        assert_eq!(count.int(0).expect("a number"), 3);
    }

    /// What is in the log may be lost with the power: until it is durable, nobody may build on it who is not told later.
    #[tokio::test]
    async fn what_is_not_durable_is_neither_acknowledged_nor_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("slow.db").display());
        let mut db = Db::open(&url, 2).await.expect("opens");
        let Pools::Sqlite { writer, .. } = &mut db.pools else { unreachable!("it is SQLite") };
        writer.batch("CREATE TABLE t (x INTEGER PRIMARY KEY)");
        // 0: slow, 1: works, 2: broken
        let disk = Arc::new(AtomicU8::new(0));
        let its = Arc::clone(&disk);
        let sync = move || loop {
            match its.load(Ordering::SeqCst) {
                0 => std::thread::sleep(Duration::from_millis(1)),
                1 => return Ok(()),
                _ => return Err(std::io::Error::other("broken")),
            }
        };
        writer.durable_by(Durability::by(sync).expect("a thread"));
        statements! {
            PUT = "INSERT INTO t (x) SELECT {int 0} FROM {rows}";
            COUNT = "SELECT COUNT(*) FROM t";
        }
        let one = |number| {
            let mut rows = Rows::new();
            rows.row().int(number);
            args![Value::Rows(rows)]
        };
        let mut tx = db.begin().await.expect("begins");
        tx.run(&PUT, one(1)).await.expect("put");
        let acknowledged = tokio::spawn(tx.commit());
        // A batch goes on, and is told of when all before it is durable
        let mut tx = db.begin_batch().await.expect("begins");
        let count = tx.row(&COUNT, args![]).await.expect("asked").expect("a row");
        assert_eq!(count.int(0).expect("a number"), 1);
        tx.run(&PUT, one(2)).await.expect("put");
        let soon = tx.commit_soon().await.expect("in the log");
        let told = tokio::spawn(soon.reached());
        let reads = |db: Db| async move {
            let rows = db.rows(&COUNT, args![]).await?;
            let mut tx = db.begin_read().await?;
            tx.rows(&COUNT, args![]).await.map(|again| rows.len() + again.len())
        };
        let read = tokio::spawn(reads(db.clone()));
        let begins = |db: Db| async move { db.begin().await.map(drop) };
        let begun = tokio::spawn(begins(db.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            ![acknowledged.is_finished(), told.is_finished(), read.is_finished(), begun.is_finished()].contains(&true)
        );
        disk.store(1, Ordering::SeqCst);
        acknowledged.await.expect("no panic").expect("durable");
        told.await.expect("no panic").expect("durable");
        assert_eq!(read.await.expect("no panic").expect("answered"), 2);
        begun.await.expect("no panic").expect("begins");
        // A disk that fails is the end
        disk.store(2, Ordering::SeqCst);
        let mut tx = db.begin().await.expect("begins");
        tx.run(&PUT, one(3)).await.expect("put");
        let refused = [
            tx.commit().await.map(drop),
            db.rows(&COUNT, args![]).await.map(drop),
            db.begin().await.map(drop),
            db.begin_batch().await.map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(crate::StoreError::Unavailable(_))), "{refused:?}");
        }
    }

    /// SQLite ends a transaction by itself when the disk is full; the writer must be usable when there is room again.
    #[tokio::test]
    async fn a_full_disk_does_not_outlast_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("full.db").display());
        let db = Db::open(&url, 2).await.expect("opens");
        let Pools::Sqlite { writer, .. } = &db.pools else { unreachable!("it is SQLite") };
        writer.batch("CREATE TABLE t (x BLOB); PRAGMA max_page_count = 3");
        statements! { FILL = "INSERT INTO t (x) VALUES (zeroblob(100000))"; }
        let mut tx = db.begin().await.expect("begins");
        let full = tx.run(&FILL, args![]).await.expect_err("the disk is full");
        assert!(matches!(full, crate::StoreError::Unavailable(_)), "{full:?}");
        statements! { SMALL = "INSERT INTO t (x) VALUES (zeroblob(1))"; }
        let late = tx.run(&SMALL, args![]).await.expect_err("the transaction is over");
        assert!(matches!(late, crate::StoreError::Unavailable(_)), "{late:?}");
        drop(tx);
        writer.batch("PRAGMA max_page_count = 100000");
        let mut tx = db.begin().await.expect("begins again");
        tx.run(&FILL, args![]).await.expect("there is room");
        tx.commit().await.expect("committed");
    }
}
