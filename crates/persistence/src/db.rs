//! The two databases behind one narrow door.
//!
//! Everything we store is an integer, a text or bytes (see [`Value`]); with so few kinds, a statement can be written once
//! and run on either database through its own driver. Where the dialects differ, [`Sql`] holds both texts side by side.
//!
//! Set-based statements take *one* parameter, a set of rows, and read it with `{rows}`, `{int n}`, `{text n}` and
//! `{blob n}`, so that a batch costs one statement whatever its size. PostgreSQL gets the rows as one JSON text, SQLite as
//! `VALUES` with bound cells: there, reading JSON would cost more than the insert itself. The list is padded to a
//! power of two, so that there are few texts to prepare; `LIMIT` cuts the padding off.

use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
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
use crate::rows::{MAX_ROWS, Rows};
use crate::writer::{Writer, Writing};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded SQLite: one file, one server.
    Sqlite,
    /// PostgreSQL: many servers.
    Postgres,
}

/// A statement in both dialects.
#[derive(Debug)]
pub(crate) struct Sql {
    sqlite: String,
    /// The SQLite text for 1, 2, 4, … rows, made when first needed.
    sized: [OnceLock<Arc<str>>; MAX_ROWS.ilog2() as usize + 1],
    /// The SQLite text for no rows at all.
    empty: OnceLock<Arc<str>>,
    /// The SQLite text for one row, of statements that only insert their rows.
    each: Option<Arc<str>>,
    /// Complete, but for set-based statements.
    plain: Arc<str>,
    postgres: Arc<str>,
}

impl Sql {
    /// One text for both; the placeholders of set-based statements are expanded.
    pub(crate) fn new(text: &str) -> Self {
        Self::pair(text, text)
    }

    /// A text for each.
    pub(crate) fn pair(sqlite: &str, postgres: &str) -> Self {
        Self {
            sqlite: sqlite.to_owned(),
            sized: [const { OnceLock::new() }; MAX_ROWS.ilog2() as usize + 1],
            empty: OnceLock::new(),
            each: insert_of_one(sqlite).map(Arc::from),
            plain: expand(sqlite, Backend::Sqlite, "").into(),
            postgres: expand(postgres, Backend::Postgres, "").into(),
        }
    }

    /// The SQLite text for a set of so many rows, for the test of plans.
    #[cfg(test)]
    pub(crate) fn sqlite_text(&self, rows: usize) -> String {
        expand(&self.sqlite, Backend::Sqlite, &values_list(rows, WIDEST))
    }

    fn text(&self, backend: Backend) -> Arc<str> {
        match backend {
            Backend::Sqlite => Arc::clone(&self.plain),
            Backend::Postgres => Arc::clone(&self.postgres),
        }
    }

    /// What to send: once, or for a large set of rows several times.
    fn pieces(&self, backend: Backend, mut args: Vec<Value>) -> Vec<(Arc<str>, Vec<Value>)> {
        match args.pop() {
            Some(Value::Rows(rows)) => {
                debug_assert!(args.is_empty(), "a set of rows stands alone");
                // One JSON text takes any number, and locks must be taken by one statement to be taken in order
                let pieces = if backend == Backend::Postgres { vec![rows] } else { rows.pieces() };
                pieces.into_iter().map(|piece| self.with_rows(backend, piece)).collect()
            }
            last => {
                args.extend(last);
                vec![(self.text(backend), args)]
            }
        }
    }

    /// The text and parameters for one piece of rows.
    fn with_rows(&self, backend: Backend, rows: Rows) -> (Arc<str>, Vec<Value>) {
        if backend == Backend::Postgres {
            return (Arc::clone(&self.postgres), vec![Value::Text(Some(rows.to_json()))]);
        }
        let make = |size, columns| expand(&self.sqlite, Backend::Sqlite, &values_list(size, columns)).into();
        let text = if rows.is_empty() {
            self.empty.get_or_init(|| make(1, WIDEST))
        } else {
            let size = rows.len().next_power_of_two();
            self.sized[size.ilog2() as usize].get_or_init(|| make(size, rows.columns()))
        };
        // Cells and count once for each place that reads the rows
        let padded = rows.len().max(1).next_power_of_two() * if rows.is_empty() { WIDEST } else { rows.columns() };
        let count = Value::Int(i64::try_from(rows.len()).ok());
        let mut cells = rows.into_cells();
        cells.resize(padded, Value::Int(None));
        cells.push(count);
        let uses = self.sqlite.matches("{rows}").count();
        let mut args = Vec::with_capacity(cells.len() * uses);
        for _ in 1..uses {
            args.extend(cells.iter().cloned());
        }
        args.append(&mut cells);
        (Arc::clone(text), args)
    }
}

/// No statement reads more columns than this.
const WIDEST: usize = 32;

/// `(SELECT * FROM (VALUES (?,?),(?,?)) LIMIT ?) AS r`. The parameters have no numbers: with a number each would be looked
/// up by name when it is bound, in time that grows with their count.
fn values_list(size: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("(SELECT * FROM (VALUES {}) LIMIT ?) AS r", vec![row; size].join(","))
}

/// What inserts one row, of a statement that inserts a set of rows as they are. SQLite runs it for each of a thousand rows in
/// less time than one statement for all of them, which must be prepared for being undone by itself; here whatever fails ends
/// the transaction. `None` for other statements.
fn insert_of_one(text: &str) -> Option<String> {
    let (into, rest) = text.strip_prefix("INSERT INTO ")?.split_once(" SELECT ")?;
    let (cells, rest) = rest.split_once(" FROM {rows}")?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(" WHERE true")? };
    let mut columns = 0;
    for (index, cell) in cells.split(", ").enumerate() {
        let (kind, number) = cell.strip_prefix('{')?.strip_suffix('}')?.split_once(' ')?;
        if !matches!(kind, "int" | "text" | "blob") || number.parse() != Ok(index) {
            return None;
        }
        columns += 1;
    }
    Some(format!("INSERT OR ROLLBACK INTO {into} VALUES ({}){rest}", vec!["?"; columns].join(", ")))
}

/// Declares statements: `statements! { NAME = "…"; OTHER = "sqlite …" | "postgres …"; }`.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:literal $(| $postgres:literal)?;)*) => {$(
        $(#[$doc])*
        static $name: std::sync::LazyLock<$crate::db::Sql> =
            std::sync::LazyLock::new(|| statements!(@ $text $(| $postgres)?));
    )*};
    (@ $text:literal) => { $crate::db::Sql::new($text) };
    (@ $sqlite:literal | $postgres:literal) => { $crate::db::Sql::pair($sqlite, $postgres) };
}
pub(crate) use statements;

fn expand(text: &str, backend: Backend, values: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        let end = rest[start..].find('}').map_or(rest.len(), |n| start + n);
        let mut words = rest[start + 1..end].split(' ');
        let (word, index) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        out.push_str(&match (word, backend) {
            ("rows", Backend::Sqlite) => values.to_owned(),
            ("rows", Backend::Postgres) => "jsonb_array_elements($1::jsonb) AS r(value)".to_owned(),
            ("int" | "text" | "blob", Backend::Sqlite) => {
                format!("r.column{}", index.parse::<usize>().map_or(0, |n| n + 1))
            }
            ("int", Backend::Postgres) => format!("CAST(r.value->>{index} AS BIGINT)"),
            ("text", Backend::Postgres) => format!("(r.value->>{index})"),
            ("blob", Backend::Postgres) => format!("decode(r.value->>{index}, 'hex')"),
            ("for_update", Backend::Postgres) => "FOR UPDATE".to_owned(),
            ("for_change", Backend::Postgres) => "FOR NO KEY UPDATE".to_owned(),
            ("for_share", Backend::Postgres) => "FOR SHARE".to_owned(),
            ("skip_locked", Backend::Postgres) => "FOR UPDATE SKIP LOCKED".to_owned(),
            ("for_update" | "for_change" | "for_share" | "skip_locked", Backend::Sqlite) => String::new(),
            _ => unreachable!("unknown placeholder in a statement: {word}"),
        });
        rest = rest.get(end + 1..).unwrap_or("");
    }
    out.push_str(rest);
    out
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
    Sqlite {
        writer: Writer,
        readers: SqlitePool,
        options: Box<SqliteConnectOptions>,
    },
    /// The second one has a single connection, on which notifications are heard.
    Postgres(PgPool, PgPool),
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
            let notifications = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
            let pool = PgPoolOptions::new()
                .max_connections(connections.max(4))
                .acquire_timeout(Duration::from_secs(10))
                // One round trip fewer for each use; a dead connection shows itself by the statement's own error
                .test_before_acquire(false)
                .after_connect(|connection, _| Box::pin(async { connection.execute(PG_SESSION).await.map(drop) }))
                .connect_with(options)
                .await?;
            Ok(Self { pools: Pools::Postgres(pool, notifications), checkpointer: None, _lock: None })
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
        let checkpoints = options.clone().busy_timeout(Duration::from_millis(20));
        let checkpoints = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(checkpoints);
        let checkpointer = Checkpointer::start(checkpoints);
        Ok(Self {
            pools: Pools::Sqlite { writer, readers, options: Box::new(options) },
            checkpointer: Some(checkpointer),
            _lock: Some(Arc::new(lock)),
        })
    }

    pub(crate) fn backend(&self) -> Backend {
        match self.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres(..) => Backend::Postgres,
        }
    }

    /// Where notifications are heard, on PostgreSQL.
    pub(crate) fn notifications(&self) -> Option<&PgPool> {
        match &self.pools {
            Pools::Sqlite { .. } => None,
            Pools::Postgres(_, notifications) => Some(notifications),
        }
    }

    /// Runs a query outside any transaction.
    pub(crate) async fn rows(&self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        for (text, args) in sql.pieces(self.backend(), args) {
            found.append(&mut self.rows_of(text, args).await?);
        }
        Ok(found)
    }

    /// As [`Db::rows`], for statements put together from parts; the parts must not come from outside.
    pub(crate) async fn rows_of(&self, sql: Arc<str>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(match &self.pools {
            Pools::Sqlite { readers, .. } => {
                bound!(sql, args).fetch_all(readers).await?.into_iter().map(Row::Sqlite).collect()
            }
            Pools::Postgres(pool, _) => {
                bound!(sql, args).fetch_all(pool).await?.into_iter().map(Row::Postgres).collect()
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
            Pools::Sqlite { writer, .. } => TxInner::Writing(writer.begin().await?),
            Pools::Postgres(pool, _) => TxInner::Postgres(begun(pool, "BEGIN").await?),
        };
        Ok(Tx(tx, self.checkpointer.clone()))
    }

    /// Begins a transaction that only reads, and sees the database as it is at its first question however long it lasts.
    pub(crate) async fn begin_read(&self) -> Result<Tx, StoreError> {
        let tx = match &self.pools {
            Pools::Sqlite { readers, .. } => TxInner::Reading(readers.begin_with("BEGIN").await?),
            Pools::Postgres(pool, _) => {
                TxInner::Postgres(begun(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
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
            Pools::Postgres(pool, _) => migrator.run(pool).await,
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
                Pools::Postgres(pool, notifications) => {
                    notifications.close().await;
                    pool.close().await;
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
    Reading(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) fn backend(&self) -> Backend {
        match self.0 {
            TxInner::Writing(_) | TxInner::Reading(_) => Backend::Sqlite,
            TxInner::Postgres(_) => Backend::Postgres,
        }
    }

    pub(crate) async fn rows(&mut self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        for (text, args) in sql.pieces(self.backend(), args) {
            found.append(&mut self.rows_of(text, args).await?);
        }
        Ok(found)
    }

    /// As [`Tx::rows`], for statements put together from parts; the parts must not come from outside.
    pub(crate) async fn rows_of(&mut self, text: Arc<str>, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(match &mut self.0 {
            TxInner::Writing(tx) => tx.rows(&text, &args)?.into_iter().map(Row::Written).collect(),
            TxInner::Reading(tx) => {
                bound!(text, args).fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
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
        if let (TxInner::Writing(tx), Some(each), [Value::Rows(rows)]) = (&self.0, &sql.each, args.as_slice()) {
            return tx.run_each(each, rows);
        }
        let mut changed = 0;
        for (text, args) in sql.pieces(self.backend(), args) {
            changed += match &mut self.0 {
                TxInner::Writing(tx) => tx.run(&text, &args)?,
                TxInner::Reading(tx) => bound!(text, args).execute(&mut **tx).await?.rows_affected(),
                TxInner::Postgres(tx) => bound!(text, args).execute(&mut **tx).await?.rows_affected(),
            };
        }
        Ok(changed)
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            TxInner::Writing(tx) => tx.commit()?,
            TxInner::Reading(tx) => tx.commit().await?,
            TxInner::Postgres(tx) => tx.commit().await?,
        }
        if let Some(checkpointer) = self.1 {
            checkpointer.committed();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Db, Pools, Value, expand, insert_of_one, values_list};
    use crate::rows::Rows;

    #[test]
    fn placeholders_become_each_databases_own_words() {
        let text = "SELECT {int 0}, {blob 1} FROM {rows} {for_update}";
        assert_eq!(
            expand(text, Backend::Sqlite, &values_list(2, 2)),
            "SELECT r.column1, r.column2 FROM (SELECT * FROM (VALUES (?,?),(?,?)) LIMIT ?) AS r "
        );
        assert_eq!(
            expand(text, Backend::Postgres, ""),
            "SELECT CAST(r.value->>0 AS BIGINT), decode(r.value->>1, 'hex') \
             FROM jsonb_array_elements($1::jsonb) AS r(value) FOR UPDATE"
        );
    }

    #[test]
    fn only_what_inserts_its_rows_as_they_are_is_done_row_by_row() {
        let one = insert_of_one;
        assert_eq!(
            one("INSERT INTO t (a, b) SELECT {int 0}, {blob 1} FROM {rows}").as_deref(),
            Some("INSERT OR ROLLBACK INTO t (a, b) VALUES (?, ?)")
        );
        assert_eq!(
            one("INSERT INTO t (a) SELECT {int 0} FROM {rows} WHERE true ON CONFLICT DO NOTHING").as_deref(),
            Some("INSERT OR ROLLBACK INTO t (a) VALUES (?) ON CONFLICT DO NOTHING")
        );
        for other in [
            "INSERT INTO t (a, b) SELECT {int 1}, {int 0} FROM {rows}",
            "INSERT INTO t (a, b) SELECT {int 0}, {int 0} FROM {rows}",
            "INSERT INTO t (a, b) SELECT {int 0}, 7 FROM {rows}",
            "INSERT INTO t (a) SELECT {int 0} FROM {rows} CROSS JOIN u",
            "INSERT INTO t (a) SELECT a FROM u",
            "UPDATE t SET a = v.a FROM (SELECT {int 0} AS a FROM {rows}) AS v",
        ] {
            assert_eq!(one(other), None, "{other}");
        }
    }

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
