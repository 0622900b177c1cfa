//! What every conformance test is made of.
//!
//! ```ignore
//! on_both_backends! {
//!     async fn what_was_written_can_be_read(t: TestStore) {
//!         let mut work = t.begin().await;
//!         work.create_project(&project("proj_a")).await.expect("created");
//!         t.commit(work).await;
//!         assert!(t.store.project(&ProjectId::new("proj_a")).await.expect("read").is_some());
//!     }
//! }
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `IRON_TEST_SQLITE` | `0` leaves SQLite out |
//! | `IRON_TEST_POSTGRES_URL` | a superuser of a PostgreSQL server on which each test gets a database of its own |
//! | `IRON_TEST_REQUIRE` | `sqlite`, `postgres` or `both`: what must not be left out |

#![allow(dead_code, reason = "a harness offers more than the tests of the day take")]

use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::entropy::SeededEntropy;
use kernel::{Clock, ManualClock, Timestamp};
use persistence::{Backend, Store, StoreOptions, Work};
use sqlx::Connection as _;
use tempfile::TempDir;

/// When every test begins: 2026-01-15T12:00:00Z, a Thursday.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_768_478_400);

/// How long leases stay active after a sign of life, in tests.
pub(crate) const TTL_MS: i64 = 3_600_000;

/// A fresh database with the schema in it, a clock moved by hand and a repeatable source of randomness. The database is
/// removed with it.
pub(crate) struct TestStore {
    /// The store.
    pub(crate) store: Store,
    /// Where the URL leads, to open it again.
    pub(crate) options: StoreOptions,
    /// The time.
    pub(crate) clock: ManualClock,
    /// The randomness.
    pub(crate) entropy: SeededEntropy,
    // Last: goes when the store is gone
    _database: Database,
}

impl TestStore {
    /// Makes one.
    pub(crate) async fn start(backend: Backend) -> Self {
        let t = Self::empty(backend).await;
        t.store.migrate().await.expect("a fresh database takes the schema");
        t
    }

    /// Makes one without the schema.
    pub(crate) async fn empty(backend: Backend) -> Self {
        let database = Database::create(backend).await;
        let options = StoreOptions { url: database.url.clone(), connections: 8 };
        let store = Store::open(&options).await.expect("a fresh database opens");
        let (clock, entropy) = (ManualClock::new(START), SeededEntropy::new(1));
        Self { store, options, clock, entropy, _database: database }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Begins a unit of work at the time of the clock.
    pub(crate) async fn begin(&self) -> Work {
        self.store.begin(self.now()).await.expect("a unit of work begins")
    }

    /// Commits it.
    pub(crate) async fn commit(&self, work: Work) {
        work.commit(&self.entropy).await.expect("a unit of work commits");
    }

    /// Runs one statement past the store, to arrange or break something on purpose.
    pub(crate) async fn execute(&self, statement: &str) {
        self._database.execute(statement).await;
    }

    /// The first column of a question asked past the store.
    pub(crate) async fn texts(&self, question: &str) -> Vec<String> {
        self._database.texts(question).await
    }
}

struct Database {
    url: String,
    /// Its name on the PostgreSQL server.
    name: Option<String>,
    _dir: TempDir,
}

impl Database {
    async fn create(backend: Backend) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::Builder::new().prefix("iron-persistence-").tempdir().expect("a temporary directory");
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite://{}?mode=rwc", dir.path().join("control.db").display());
                Self { url, name: None, _dir: dir }
            }
            Backend::Postgres => {
                let server = postgres_url().expect("IRON_TEST_POSTGRES_URL is set where PostgreSQL is tested");
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                // The process too: several test binaries may share one server
                let name = format!("iron_persistence_{}_{number}", std::process::id());
                execute_on_postgres(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
                Self { url: with_database(&server, &name), name: Some(name), _dir: dir }
            }
        }
    }

    async fn execute(&self, statement: &str) {
        if self.name.is_some() {
            return execute_on_postgres(&self.url, statement).await;
        }
        let mut connection = sqlx::SqliteConnection::connect(&self.url).await.expect("a connection to SQLite");
        run(&mut connection, statement).await;
    }

    async fn texts(&self, question: &str) -> Vec<String> {
        let text = sqlx::AssertSqlSafe(question.to_owned());
        let answer = if self.name.is_some() {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.expect("a connection to PostgreSQL");
            sqlx::query_scalar::<_, String>(text).fetch_all(&mut connection).await
        } else {
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await.expect("a connection to SQLite");
            sqlx::query_scalar::<_, String>(text).fetch_all(&mut connection).await
        };
        answer.unwrap_or_else(|error| panic!("{question}: {error:?}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (Some(name), Some(server)) = (self.name.take(), postgres_url()) else { return };
        // A thread, for there is no waiting in a destructor on the test's own runtime
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime.expect("a runtime to drop a database with").block_on(execute_on_postgres(&server, &statement));
        });
        if dropped.join().is_err() {
            eprintln!("a test database was left behind");
        }
    }
}

async fn execute_on_postgres(url: &str, statement: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("a connection to PostgreSQL");
    run(&mut connection, statement).await;
}

async fn run<'c, D: sqlx::Database>(connection: impl sqlx::Executor<'c, Database = D>, statement: &str) {
    let text = sqlx::AssertSqlSafe(statement.to_owned());
    connection.execute(sqlx::raw_sql(text)).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}

/// The URL of another database on the same server.
fn with_database(server: &str, name: &str) -> String {
    let (address, options) = server.split_once('?').map_or((server, None), |(a, o)| (a, Some(o)));
    let (before, _) = address.rsplit_once('/').expect("the URL of a PostgreSQL server names a database");
    format!("{before}/{name}{}", options.map(|o| format!("?{o}")).unwrap_or_default())
}

fn postgres_url() -> Option<String> {
    variable("IRON_TEST_POSTGRES_URL")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn available(backend: Backend) -> bool {
    match backend {
        Backend::Sqlite => variable("IRON_TEST_SQLITE").is_none_or(|value| value != "0"),
        Backend::Postgres => postgres_url().is_some(),
    }
}

fn required(backend: Backend) -> bool {
    let name = if backend == Backend::Sqlite { "sqlite" } else { "postgres" };
    variable("IRON_TEST_REQUIRE").is_some_and(|value| value == "both" || value == name)
}

/// Whether a test on this database can run. Says so, past the capture of output, where it cannot; fails where it must.
pub(crate) fn ready(backend: Backend) -> bool {
    static SAID: [Once; 2] = [Once::new(), Once::new()];
    if available(backend) {
        return true;
    }
    assert!(!required(backend), "IRON_TEST_REQUIRE demands {backend:?}, which this run does not offer");
    SAID[usize::from(backend == Backend::Postgres)].call_once(|| {
        let line = format!("\n*** {backend:?} is NOT tested here; `cargo xtask test-integration` tests it ***\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    false
}

/// Writes each test twice, as `<name>::on_sqlite` and `<name>::on_postgres`.
macro_rules! on_both_backends {
    ($($(#[$attribute:meta])* async fn $name:ident($argument:ident: TestStore) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports, reason = "a short test may use nothing of what surrounds it")]
            use super::*;

            async fn test($argument: $crate::support::TestStore) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                if $crate::support::ready(persistence::Backend::Sqlite) {
                    test($crate::support::TestStore::start(persistence::Backend::Sqlite).await).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if $crate::support::ready(persistence::Backend::Postgres) {
                    test($crate::support::TestStore::start(persistence::Backend::Postgres).await).await;
                }
            }
        }
    )*};
}

on_both_backends! {
    async fn a_fresh_database_takes_the_schema_and_takes_it_again(t: TestStore) {
        t.store.migrate().await.expect("a second run has nothing to do");
        t.store.ping().await.expect("it answers");
    }
}

/// A run that was to test a database and could not reach it has failed, whatever its other tests say.
#[test]
fn every_database_that_the_run_demands_is_offered() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        assert!(!required(backend) || available(backend), "IRON_TEST_REQUIRE demands {backend:?}");
    }
}

#[test]
fn another_database_on_the_same_server_keeps_the_options() {
    let url = with_database("postgres://iron@127.0.0.1:5432/postgres?sslmode=disable", "other");
    assert_eq!(url, "postgres://iron@127.0.0.1:5432/other?sslmode=disable");
}
