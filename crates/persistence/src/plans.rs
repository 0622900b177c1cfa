//! How the embedded database goes about the questions that are asked all the time: by index, never by reading a table
//! that grows. Nothing tells it how large the tables are, so what it plans for empty ones it does with full ones.

use kernel::{AgentId, LeaseState, Timestamp, UserId};
use ledger::{EntryKind, Scope};
use sqlx::{Connection as _, Row as _};

use crate::db::Sql;
use crate::{
    AuditFilter, Backend, JournalFilter, LeaseFilter, Order, SeqCursor, Store, StoreOptions, TraceFilter, Visibility,
    api_tokens, audit_log, balance, credential_uses, engine, facts, journal, leases, limits, looks, outbox, questions,
    sweep, traces, verify, work,
};

/// The tables that grow, under the names they have in statements.
const LARGE: &[&str] = &[
    "leases",
    "l",
    "reports",
    "p",
    "journal",
    "j",
    "accounts",
    "agents",
    "a",
    "own",
    "agent_books",
    "b",
    "budgets",
    "grant_requests",
    "q",
    "outbox",
    "audit",
    "facts",
    "f",
    "fact_ids",
    "k",
    "rollups",
    "rollup_overall",
    "rollup_agents",
    "rollup_owners",
    "o",
    "rollup_sketches",
    "api_tokens",
    "t",
    "api_token_uses",
    "m",
    "sessions",
    "s",
];

struct Planner {
    connection: sqlx::SqliteConnection,
    _dir: tempfile::TempDir,
}

impl Planner {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}?mode=rwc", dir.path().join("plans.db").display());
        let store = Store::open(&StoreOptions { url: url.clone(), connections: 2 }).await.expect("opens");
        store.migrate().await.expect("takes the schema");
        store.close().await;
        let connection = sqlx::SqliteConnection::connect(&url).await.expect("opens again");
        Self { connection, _dir: dir }
    }

    async fn plan(&mut self, sql: &str) -> Vec<String> {
        let text = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(text).fetch_all(&mut self.connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().map(|row| row.get::<String, _>(3)).collect()
    }

    /// Fails if the plan reads a whole table, be it through an index.
    async fn assert_searches(&mut self, name: &str, sql: &str) {
        let plan = self.plan(sql).await;
        for step in &plan {
            assert!(scanned(step).is_none(), "{name} reads a whole table:\n{}", plan.join("\n"));
        }
    }

    /// Fails if the plan of a list, which ends when it has enough rows, does not follow an index, or sorts. Facts are sorted
    /// within their slots.
    async fn assert_follows(&mut self, name: &str, sql: &str, sorts: bool) {
        assert!(sql.contains(" LIMIT "), "{name} has no end");
        // A table whose key is the place is its own index
        let by_place = ["seq", "j.seq", "p.seq"].iter().any(|place| sql.contains(&format!("ORDER BY {place}")));
        let plan = self.plan(sql).await;
        for step in &plan {
            let follows = scanned(step).is_none() || step.contains(" USING ") || by_place;
            assert!(follows, "{name} reads a whole table:\n{}", plan.join("\n"));
            let within_slots =
                sql.contains("ORDER BY f.occurred_at / 10000 DESC") && step.contains("FOR LAST 2 TERMS OF");
            assert!(sorts || within_slots || !step.contains("TEMP B-TREE"), "{name} sorts:\n{}", plan.join("\n"));
        }
    }
}

/// The large table that the step reads from one end to the other.
fn scanned(step: &str) -> Option<&str> {
    let table = step.strip_prefix("SCAN ")?.split(' ').next()?;
    LARGE.contains(&table).then_some(table)
}

#[tokio::test]
async fn what_every_batch_does_goes_by_index() {
    let mut planner = Planner::start().await;
    let parts = [
        engine::hot_statements(),
        work::hot_statements(),
        sweep::hot_statements(),
        facts::hot_statements(),
        traces::hot_statements(),
        looks::hot_statements(),
        limits::hot_statements(),
    ];
    let statements: Vec<(&str, &Sql)> = parts.concat();
    assert!(statements.len() > 15);
    for (name, sql) in statements {
        for size in [1, 64] {
            planner.assert_searches(name, &sql.sqlite_text(size)).await;
        }
    }
}

#[tokio::test]
async fn whoever_asks_is_found_by_index_and_their_uses_are_noted_by_it() {
    let mut planner = Planner::start().await;
    for (name, sql) in api_tokens::hot_statements().into_iter().chain(credential_uses::hot_statements()) {
        planner.assert_searches(name, &sql.sqlite_text(8)).await;
    }
}

#[tokio::test]
async fn lists_are_read_in_the_order_of_an_index() {
    let mut planner = Planner::start().await;
    let cursor = Some(SeqCursor(9));
    let lease_cursor = "1.lease_1".parse().ok();
    let any = LeaseFilter::default;
    let waiting = vec![LeaseState::Expired, LeaseState::Revoked];
    let own = || Visibility::Of(UserId::new("user_1"));
    let place = "1.1".parse().ok();
    let own_traces = || TraceFilter { visible_to: own(), ..TraceFilter::default() };
    let questions = [
        ("leases", leases::list_question(&any(), lease_cursor.as_ref(), 100), false),
        (
            "leases of a time",
            leases::list_question(&LeaseFilter { from: Some(Timestamp::EPOCH), ..any() }, None, 100),
            false,
        ),
        (
            "leases of an agent",
            leases::list_question(&LeaseFilter { agents: vec![AgentId(1)], ..any() }, lease_cursor.as_ref(), 100),
            false,
        ),
        (
            "revoked leases",
            leases::list_question(&LeaseFilter { states: vec![LeaseState::Revoked], ..any() }, None, 100),
            false,
        ),
        ("waiting leases", leases::list_question(&LeaseFilter { states: waiting, ..any() }, None, 100), true),
        ("own leases", leases::list_question(&LeaseFilter { visible_to: own(), ..any() }, None, 100), true),
        ("journal", journal::list_question(&JournalFilter::default(), cursor, 100), false),
        (
            "journal of an agent",
            journal::list_question(
                &JournalFilter { agent: Some(AgentId(1)), order: Order::Ascending, ..JournalFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        (
            "journal of a lease",
            journal::list_question(
                &JournalFilter { lease: Some(kernel::LeaseId::new("x")), ..JournalFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        (
            "journal by kind",
            journal::list_question(
                &JournalFilter { kinds: vec![EntryKind::Grant], ..JournalFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        (
            "own journal",
            journal::list_question(&JournalFilter { visible_to: own(), ..JournalFilter::default() }, cursor, 100),
            true,
        ),
        ("audit", audit_log::list_question(&AuditFilter::default(), cursor, 100), false),
        (
            "audit of a user",
            audit_log::list_question(
                &AuditFilter { users: vec![UserId::new("x")], ..AuditFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        (
            "audit of a thing",
            audit_log::list_question(
                &AuditFilter { resource_ids: vec!["x".into()], ..AuditFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        (
            "audit of an action",
            audit_log::list_question(
                &AuditFilter { operations: vec!["X".into()], ..AuditFilter::default() },
                cursor,
                100,
            ),
            false,
        ),
        ("audit to be checked", audit_log::following(1, 9, 100), false),
        ("sweep", sweep::due_question(Timestamp::EPOCH, 100), false),
        ("traces", traces::time_question(&TraceFilter::default(), place, 100), false),
        ("the first traces", traces::time_question(&TraceFilter::default(), None, 100), false),
        ("traces of many series", traces::time_question(&own_traces(), place, 100), false),
        ("traces of a few series", traces::few_question(&own_traces(), &[(1, false), (2, true)], place, 100), true),
    ];
    for (name, (sql, _), sorts) in questions {
        planner.assert_follows(name, &sql, sorts).await;
    }
}

#[tokio::test]
async fn what_is_open_is_found_without_what_is_settled() {
    let mut planner = Planner::start().await;
    for (scope, index) in [
        (Scope::Organization, "leases_open"),
        (Scope::Agent(AgentId(1)), "leases_open"),
        (Scope::Owner(UserId::new("x")), "leases_open"),
    ] {
        let (sql, _) = leases::open_question(Backend::Sqlite, &scope);
        let plan = planner.plan(&sql).await.join("\n");
        assert!(plan.contains(index), "{scope:?}: {plan}");
    }
    for (name, sql) in leases::open_statements() {
        let plan = planner.plan(&sql.sqlite_text(1)).await.join("\n");
        assert!(plan.contains("leases_open"), "{name}: {plan}");
    }
    let day = (Timestamp::EPOCH, Some(Timestamp::from_millis(1)));
    let (sql, _) = balance::question(Backend::Sqlite, &Scope::Organization, day.0, day.1);
    let plan = planner.plan(&sql).await.join("\n");
    assert!(plan.contains("leases_created"), "{plan}");
}

#[tokio::test]
async fn the_check_of_the_ledger_goes_by_index_and_in_stretches() {
    let mut planner = Planner::start().await;
    for (name, sql) in verify::by_lease_statements() {
        planner.assert_searches(name, &sql.sqlite_text(64)).await;
    }
    for (name, sql) in verify::stretch_statements() {
        planner.assert_follows(name, &sql.sqlite_text(1), false).await;
    }
}

#[tokio::test]
async fn the_outbox_is_read_and_pruned_from_its_ends() {
    let mut planner = Planner::start().await;
    for (name, sql) in outbox::hot_statements() {
        let text = sql.sqlite_text(1);
        let plan = planner.plan(&text).await.join("\n");
        // To find the oldest row, a scan ends with its first step
        let scans =
            plan.lines().filter(|line| ["SCAN o", "SCAN p", "SCAN outbox"].iter().any(|scan| line.ends_with(scan)));
        assert!(scans.count() <= text.matches(".seq LIMIT 1)").count(), "{name}: {plan}");
        assert!(name == "INSERT" || plan.contains("USING INTEGER PRIMARY KEY"), "{name}: {plan}");
    }
}

#[tokio::test]
async fn questions_go_by_index() {
    let mut planner = Planner::start().await;
    for (name, sql) in questions::questions() {
        planner.assert_searches(name, &sql).await;
    }
}
