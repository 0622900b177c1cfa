//! The databases a run is about, and the promise that none of them is skipped in silence.

use std::{io::Write, sync::Once};

/// A database that the server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The embedded default.
    Sqlite,
    /// The other one.
    Postgres,
}

impl Backend {
    /// What IRON_TEST_REQUIRE calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// Whether this run offers it: SQLite unless IRON_TEST_SQLITE is 0, PostgreSQL where IRON_TEST_POSTGRES_URL is set.
    pub(crate) fn available(self) -> bool {
        match self {
            Self::Sqlite => variable("IRON_TEST_SQLITE").is_none_or(|value| value != "0"),
            Self::Postgres => postgres_url().is_some(),
        }
    }

    /// Whether this run must not do without it (IRON_TEST_REQUIRE).
    pub(crate) fn required(self) -> bool {
        variable("IRON_TEST_REQUIRE").is_some_and(|value| value == "both" || value == self.name())
    }

    /// Whether a test on it can run. Says so, past the capture of output, where it cannot; fails where it must.
    pub(crate) fn ready(self) -> bool {
        static SAID: [Once; 2] = [Once::new(), Once::new()];
        if self.available() {
            return true;
        }
        assert!(!self.required(), "IRON_TEST_REQUIRE demands {self:?}, which this run does not offer");
        SAID[self as usize].call_once(|| {
            let line = format!("\n*** {self:?} is NOT tested here; `cargo xtask test-integration` tests it ***\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        });
        false
    }
}

/// The URL of a superuser on a PostgreSQL server of which tests may use as many databases as they like.
pub(super) fn postgres_url() -> Option<String> {
    variable("IRON_TEST_POSTGRES_URL")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a test of [`on_both_backends!`] can ask for.
pub(crate) trait Start {
    /// Makes it, on that database.
    async fn start(backend: Backend) -> Self;
}

impl Start for Backend {
    async fn start(backend: Backend) -> Self {
        backend
    }
}

/// Writes each test twice, as `<name>::on_sqlite` and `<name>::on_postgres`. The argument is made for the test: a
/// `World`, a `Database`, or just the `Backend`.
macro_rules! on_both_backends {
    ($($(#[$attribute:meta])* async fn $name:ident($argument:ident: $kind:ty) $body:block)*) => {$(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports, reason = "a short test may use nothing of what surrounds it")]
            use super::*;

            async fn test($argument: $kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                if $crate::harness::Backend::Sqlite.ready() {
                    test(<$kind as $crate::harness::Start>::start($crate::harness::Backend::Sqlite).await).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if $crate::harness::Backend::Postgres.ready() {
                    test(<$kind as $crate::harness::Start>::start($crate::harness::Backend::Postgres).await).await;
                }
            }
        }
    )*};
}

/// A run that was to test a database and could not reach it has failed, whatever its other tests say.
#[tokio::test]
async fn every_database_that_the_run_demands_can_be_reached() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        assert!(!backend.required() || backend.available(), "IRON_TEST_REQUIRE demands {backend:?}");
        if backend.required() {
            super::Database::create(backend).await;
        }
    }
}
