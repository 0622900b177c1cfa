//! The schema's history. The files stand in pairs under `migrations/` at the top of the repository; a released one is
//! never edited, and a server that meets an edited or failed one does not start.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::StoreError;
use crate::db::{Backend, Db};

/// One step, in both dialects.
struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! steps {
    ($($version:literal $name:literal;)*) => {
        &[$(Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

const STEPS: &[Step] = steps! {
    1 "0001_foundation";
    2 "0002_api_tokens";
    3 "0003_requests_limits";
    4 "0004_settings_audit";
    5 "0005_analytics";
    6 "0006_states_alerts";
    7 "0007_rollup_extra";
    8 "0008_rollup_agents";
    9 "0009_quarter_sums";
    10 "0010_sums_so_far";
    11 "0011_outbox_packs";
    12 "0012_short_names";
    13 "0013_sums_by_writer";
    14 "0014_sketch_changes";
    15 "0015_rollup_owners";
    16 "0016_facts_by_slot";
    17 "0017_owner_stretches";
};

/// The steps in one dialect. Each runs in a transaction; sqlx keeps their checksums and, on PostgreSQL, takes an
/// advisory lock, so that servers that start together do not collide.
pub(crate) fn migrator(backend: Backend) -> Migrator {
    up_to(backend, i64::MAX)
}

fn up_to(backend: Backend, last: i64) -> Migrator {
    let steps = STEPS.iter().filter(|step| step.version <= last).map(|step| {
        let sql = match backend {
            Backend::Sqlite => step.sqlite,
            Backend::Postgres => step.postgres,
        };
        Migration::new(step.version, step.name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(steps.collect())
}

/// Brings the schema up to date; does nothing where it is.
pub(crate) async fn run(db: &Db) -> Result<(), StoreError> {
    db.migrate(&migrator(db.backend())).await
}

/// As a program did that knew the steps up to this one.
pub(crate) async fn run_up_to(db: &Db, last: i64) -> Result<(), StoreError> {
    db.migrate(&up_to(db.backend(), last)).await
}

/// How many steps there are.
pub(crate) const fn count() -> usize {
    STEPS.len()
}
