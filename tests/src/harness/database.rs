//! A fresh database for each test.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::{Backend, Start, backend::postgres_url};

/// An empty database and a directory for what a server keeps beside it. Both are removed with it.
pub(crate) struct Database {
    /// Which kind it is.
    pub(crate) backend: Backend,
    url: String,
    dir: TempDir,
    /// Its name on the PostgreSQL server.
    name: Option<String>,
}

impl Database {
    /// Makes one. On PostgreSQL it is a database of its own, so that tests can run side by side.
    pub(crate) async fn create(backend: Backend) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::Builder::new().prefix("iron-test-").tempdir().expect("a temporary directory");
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite://{}?mode=rwc", dir.path().join("control.db").display());
                Self { backend, url, dir, name: None }
            }
            Backend::Postgres => {
                let server = postgres_url().expect("IRON_TEST_POSTGRES_URL is set where PostgreSQL is tested");
                // The process too: several test binaries may share one server
                let name = format!("iron_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
                execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
                let url = with_database(&server, &name);
                Self { backend, url, dir, name: Some(name) }
            }
        }
    }

    /// Its URL, as DATABASE_URL takes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The directory for the server's other data. The embedded database is in it as well.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file of the embedded database.
    pub(crate) fn sqlite_file(&self) -> PathBuf {
        self.dir.path().join("control.db")
    }

    /// Runs a statement past the server, to break something on purpose. PostgreSQL only.
    pub(crate) async fn execute_on_postgres(&self, statement: &str) {
        assert_eq!(self.backend, Backend::Postgres, "only PostgreSQL can be reached while a server runs");
        execute(&self.url, statement).await;
    }
}

impl Database {
    /// Every row of every table as text, each table with its name. PostgreSQL only.
    pub(crate) async fn dump_postgres(&self) -> Vec<(String, Vec<u8>)> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.expect("a connection to PostgreSQL");
        let connection = tokio::spawn(connection);
        let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
        let tables = client.query(tables, &[]).await.expect("a list of tables");
        let mut dump = Vec::with_capacity(tables.len());
        for table in &tables {
            let name: String = table.get(0);
            let rows =
                client.query(&format!("SELECT t::text FROM {name} AS t"), &[]).await.expect("the rows of a table");
            let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            dump.push((format!("table {name}"), rows.join("\n").into_bytes()));
        }
        drop(client);
        let _ = connection.await;
        assert!(!dump.is_empty(), "the database has tables");
        dump
    }
}

impl Start for Database {
    async fn start(backend: Backend) -> Self {
        Self::create(backend).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (Some(name), Some(server)) = (self.name.take(), postgres_url()) else { return };
        // A thread, for there is no waiting in a destructor on the test's own runtime
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime to drop a database with");
            runtime.block_on(execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        if dropped.join().is_err() {
            eprintln!("a test database was left behind");
        }
    }
}

/// The URL of another database on the same server.
fn with_database(server: &str, name: &str) -> String {
    let (address, options) = server.split_once('?').map_or((server, None), |(a, o)| (a, Some(o)));
    let (before, _) = address.rsplit_once('/').expect("the URL of a PostgreSQL server names a database");
    format!("{before}/{name}{}", options.map(|o| format!("?{o}")).unwrap_or_default())
}

async fn execute(url: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection to PostgreSQL");
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    drop(client);
    let _ = connection.await;
}

#[test]
fn another_database_on_the_same_server_keeps_the_options() {
    let url = with_database("postgres://iron@127.0.0.1:5432/postgres?sslmode=disable", "other");
    assert_eq!(url, "postgres://iron@127.0.0.1:5432/other?sslmode=disable");
}
