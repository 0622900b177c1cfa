//! What must hold when everything happens at once: a warm pipeline against a cold one, two servers against each other,
//! failures in the midst of a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kernel::entropy::SeededEntropy;
use kernel::{AgentId, BudgetId, Clock as _, Entropy as _, FreezeId, LeaseId, ManualClock, Money, ProjectId, Window};
use ledger::{Command, EntryKind, Rejection, Scope, SettleOutcome};
use persistence::{
    AgentChange, Answer, Backend, BudgetChange, Item, JournalFilter, NewBudget, Order, Pipeline, PipelineOptions,
    Refused, Store, StoreError, StoredEvent, Work,
};
use sqlx::{Column as _, Connection as _, Row as _, ValueRef as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::residents::{epoch, token, uid};
use crate::support::{TTL_MS, TestStore};
use crate::world::*;

/// Draws for one history.
struct Dice(SeededEntropy);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// From 0 up to and without `end`.
    fn roll(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % end as u64).expect("small")
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    fn money(&self) -> Money {
        Money::from_nanos(*self.pick(&[0, 1, 999, 1_500_000_000, 4_000_000_000, 7_000_000_001]))
    }
}

fn seed() -> u64 {
    let seed = std::env::var("IRON_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_260_115);
    eprintln!("IRON_TEST_SEED={seed}");
    seed
}

const AGENTS: [(i64, &str, Option<&str>); 6] = [
    (1, "user_1", Some("proj_1")),
    (2, "user_1", Some("proj_2")),
    (3, "user_2", Some("proj_1")),
    (4, "user_2", None),
    (5, "user_1", None),
    (6, "user_2", Some("proj_2")),
];

fn scopes() -> Vec<Scope> {
    let (owner, project) = (uid("user_1"), ProjectId::new("proj_1"));
    vec![
        Scope::Organization,
        Scope::Project(project.clone()),
        Scope::Project(ProjectId::new("proj_2")),
        Scope::Owner(owner.clone()),
        Scope::Owner(uid("user_2")),
        Scope::OwnerProject(owner, project),
        Scope::Agent(AgentId(1)),
        Scope::Agent(AgentId(6)),
    ]
}

/// Something an administrator does, in a unit of work of its own.
#[derive(Clone, Debug)]
enum Deed {
    Open(NewBudget),
    Cap(BudgetId, Money, bool),
    End(BudgetId),
    Freeze(FreezeId, Scope),
    Lift(Scope),
    Token(AgentId, String),
    Move(AgentId, &'static str, Option<&'static str>),
    Delete(AgentId),
    Prune,
}

impl Deed {
    fn random(dice: &Dice, number: usize, budgets: &[BudgetId]) -> Self {
        let agent = AgentId(1 + dice.roll(6) as i64);
        let scope = dice.pick(&scopes()).clone();
        match dice.roll(16) {
            0..3 => {
                let window = *dice.pick(&[Window::None, Window::Day, Window::Week, Window::Month]);
                // An allocation lasts as long as its agent
                let window =
                    if matches!(scope, Scope::Agent(_)) && window == Window::None { Window::Day } else { window };
                let zone = dice.pick(&["UTC", "Asia/Kathmandu", "America/New_York"]).parse().expect("a zone");
                let cap = usd(50 + 50 * dice.roll(12) as i64);
                Self::Open(NewBudget { window, zone, ..budget(&format!("bud_{number}"), scope, cap) })
            }
            3..7 => Self::Cap(dice.pick(budgets).clone(), usd(30 * dice.roll(40) as i64), dice.roll(5) > 0),
            7 => Self::End(dice.pick(budgets).clone()),
            8 | 9 => Self::Freeze(FreezeId::new(format!("frz_{number}")), scope),
            10 => Self::Lift(scope),
            11 => Self::Token(agent, format!("token {number}")),
            12 | 13 => Self::Move(
                agent,
                ["user_1", "user_2"][dice.roll(2)],
                *dice.pick(&[None, Some("proj_1"), Some("proj_2")]),
            ),
            14 if dice.roll(4) == 0 => Self::Delete(agent),
            _ => Self::Prune,
        }
    }

    async fn run(&self, t: &TestStore, work: &mut Work) -> Result<String, StoreError> {
        let by = uid("user_admin");
        Ok(match self {
            Self::Open(new) => match work.insert_budget(new, &admin(), None).await? {
                Ok(view) => format!("{:?} {:?}", view.budget, view.account),
                Err(refusal) => refusal.to_string(),
            },
            Self::Cap(id, cap, enabled) => {
                let change = BudgetChange { cap: Some(*cap), enabled: Some(*enabled), ..BudgetChange::default() };
                match work.adjust_budget(id, &change, &admin(), None).await? {
                    Ok(view) => format!("{:?} {:?}", view.budget, view.account),
                    Err(refusal) => refusal.to_string(),
                }
            }
            Self::End(id) => {
                // Allocations never end
                if id.as_str().starts_with("bud_agent_") {
                    return Ok(String::new());
                }
                format!("{:?}", work.delete_budget(id).await?)
            }
            Self::Freeze(id, scope) => format!("{:?}", work.set_freeze(id, scope, "why", &by).await?),
            Self::Lift(scope) => format!("{:?}", work.lift_freeze(scope, None, &by).await?),
            Self::Token(agent, text) => format!("{:?}", work.replace_ic_token(*agent, &token(text, t)).await?),
            Self::Move(agent, owner, project) => {
                let project = Some(project.map(ProjectId::new));
                let change = AgentChange { owner: Some(uid(owner)), project, ..AgentChange::default() };
                format!("{:?}", work.update_agent(*agent, &change).await?)
            }
            Self::Delete(agent) => {
                if work.agent_for_update(*agent).await?.is_none_or(|agent| agent.deleted_at.is_some()) {
                    return Ok(String::new());
                }
                let open = work.active_leases(*agent).await?;
                let answers = work.run(&open.iter().map(revoke).collect::<Vec<_>>(), TTL_MS).await?;
                format!("{answers:?} {:?}", work.delete_agent(*agent).await?)
            }
            Self::Prune => {
                let sweep = t.store.leases_to_sweep(work.now(), 100).await?;
                let postponed = work.postpone_sweeps(&sweep.postponed).await?;
                format!("{postponed} {}", work.prune_grant_requests(100).await?)
            }
        })
    }
}

/// A command somebody might send.
fn command(t: &TestStore, dice: &Dice, name: &str, leases: &mut Vec<(i64, LeaseId)>) -> Item {
    let agent = 1 + dice.roll(6) as i64;
    let new = lease(name);
    if leases.is_empty() || dice.roll(4) == 0 {
        let key = format!("key {}", dice.roll(9));
        let key = (dice.roll(3) == 0).then_some((key.as_str(), dice.roll(2) as u8));
        leases.push((agent, new.clone()));
        return grant_with(agent, &new, dice.money().max(usd(1)), key);
    }
    // Mostly the young ones, which are still open
    let from = if dice.roll(4) > 0 { leases.len().saturating_sub(12) } else { 0 };
    let (owner, old) = dice.pick(&leases[from..]).clone();
    match dice.roll(14) {
        0..5 => report(t, &old, &format!("request {}", dice.roll(6)), dice.money()),
        5 => total(&old, dice.money()),
        6 | 7 => give_back(&old, (dice.roll(2) == 0).then(|| dice.money())),
        8 | 9 => {
            leases.push((owner, new.clone()));
            refresh(owner, &old, &new, usd(2), (dice.roll(2) == 0).then(|| dice.money()))
        }
        10 => revoke(&old),
        11 => settle(&old, *dice.pick(&[SettleOutcome::Spent, SettleOutcome::Unspent]), None),
        12 => Item::new(Command::Touch { agent: AgentId(agent) }),
        _ => expire(&old),
    }
}

fn pipeline(store: &Store, clock: &Arc<ManualClock>) -> (Pipeline, JoinHandle<()>) {
    let options = PipelineOptions { lease_ttl_ms: TTL_MS, batch: 16, ..PipelineOptions::default() };
    let clock = Arc::<ManualClock>::clone(clock);
    Pipeline::start(store.clone(), clock, Arc::new(SeededEntropy::new(7)), options, Arc::new(|_| {}))
}

/// Agents with allocations, and budgets above them.
async fn world(t: &TestStore) -> Vec<BudgetId> {
    people(t, &AGENTS).await;
    // Windowed ones first, among wider ones without a window: the order in which accounts are locked is by number
    let mut ids = Vec::new();
    for (scope, window, cap) in [
        (Scope::Organization, Window::Day, 900),
        (Scope::Organization, Window::None, 100_000),
        (project_scope("proj_1"), Window::Day, 500),
        (owner_scope("user_1"), Window::None, 100_000),
        (owner_scope("user_2"), Window::Week, 1_000),
    ] {
        let id = format!("bud_first_{}", ids.len());
        open(t, &NewBudget { window, ..budget(&id, scope, usd(cap)) }).await;
        ids.push(BudgetId::new(id));
    }
    allocate(t, &AGENTS.map(|(agent, ..)| (agent, usd(700)))).await;
    ids.extend(AGENTS.map(|(agent, ..)| BudgetId::new(format!("bud_agent_{agent}"))));
    ids
}

/// Every row of the tables that money is in, as text. On SQLite.
async fn rows(t: &TestStore) -> BTreeMap<&'static str, Vec<String>> {
    let tables = [
        ("heads", "id, journal_seq, directory_version", "1"),
        ("agents", "*", "1"),
        // But for when to look at a state again, which may be earlier than needed
        (
            "agent_books",
            "agent_id, owner_id, project_id, epoch, alive_since, alive_until, chain_length, chain_hash, state, frozen, \
             usable_until, open_leases, fact_at",
            "1",
        ),
        // What a batch has used up and freed again is never exhausted
        ("alerts WHERE kind <> 'exhausted'", "budget_no, window_start, kind, mark, cap", "1, 2, 3, 4"),
        ("budgets", "*", "1"),
        ("accounts", "*", "1, 2"),
        ("leases", "*", "1"),
        ("reports", "*", "1, 2"),
        ("grant_requests", "*", "1, 2"),
        ("journal", "*", "1"),
        ("freezes", "*", "1"),
    ];
    let mut connection = sqlx::SqliteConnection::connect(&t.options.url).await.expect("a connection");
    let mut all = BTreeMap::new();
    for (table, columns, order) in tables {
        let text = format!("SELECT {columns} FROM {table} ORDER BY {order}");
        let found = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&mut connection).await.expect("rows");
        let cell = |row: &sqlx::sqlite::SqliteRow, n: usize| {
            let raw = row.try_get_raw(n).expect("a cell");
            if raw.is_null() {
                return "NULL".to_owned();
            }
            row.try_get::<i64, _>(n)
                .map(|v| v.to_string())
                .or_else(|_| row.try_get::<String, _>(n))
                .unwrap_or_else(|_| format!("{:?}", row.try_get::<Vec<u8>, _>(n).expect("bytes")))
        };
        let line = |row: &sqlx::sqlite::SqliteRow| {
            let cells =
                row.columns().iter().enumerate().map(|(n, column)| format!("{}={}", column.name(), cell(row, n)));
            cells.collect::<Vec<_>>().join(" ")
        };
        all.insert(table, found.iter().map(line).collect());
    }
    // States and alerts are told once for each batch, as they are at its end
    let told = t.store.events_after(0, 1_000_000).await.expect("read").into_iter();
    let told = told.filter(|event| event.kind != "STATE_UPDATE" && event.kind != "COST_ALERT");
    let line = |event: StoredEvent| {
        let StoredEvent { agent, kind, payload, created_at, .. } = event;
        format!("{agent:?} {kind} {payload} {}", created_at.millis())
    };
    all.insert("outbox", told.map(line).collect());
    all
}

/// A pipeline that keeps its working set between batches, with every kind of deed done beside it, leaves the same rows as
/// commands that each load what they touch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_pipeline_leaves_what_a_cold_one_leaves() {
    if !crate::support::ready(Backend::Sqlite) {
        return;
    }
    let (warm, cold) = (TestStore::start(Backend::Sqlite).await, TestStore::start(Backend::Sqlite).await);
    let seed = seed();
    let dice = Dice::new(seed);
    let mut budgets = world(&warm).await;
    world(&cold).await;
    let clock = Arc::new(ManualClock::new(warm.now()));
    let (pipeline, task) = pipeline(&warm.store, &clock);
    let mut leases = Vec::new();
    for step in 0..250 {
        match dice.roll(8) {
            0 => {
                let by = *dice.pick(&[1, 60_000, TTL_MS / 2, TTL_MS, 13 * TTL_MS]);
                for clock in [&warm.clock, &cold.clock, &*clock] {
                    clock.advance_millis(by);
                }
            }
            1 | 2 => {
                let deed = Deed::random(&dice, step, &budgets);
                if let Deed::Open(new) = &deed {
                    budgets.push(new.id.clone());
                }
                let mut answers = Vec::new();
                for t in [&warm, &cold] {
                    let mut work = t.begin().await;
                    answers.push(deed.run(t, &mut work).await.unwrap_or_else(|error| panic!("{deed:?}: {error:?}")));
                    t.commit(work).await;
                }
                assert_eq!(answers[0], answers[1], "step {step}: {deed:?}");
            }
            3 => {
                // Given up half-way: rolled back
                let mut work = warm.begin().await;
                Deed::random(&dice, step + 1_000, &budgets).run(&warm, &mut work).await.expect("done");
                drop(work);
            }
            _ => {
                let count = 1 + dice.roll(10);
                let items: Vec<Item> =
                    (0..count).map(|n| command(&warm, &dice, &format!("{step}_{n}"), &mut leases)).collect();
                let ours = pipeline.run(items.clone()).await.expect("written");
                let mut theirs = Vec::new();
                for item in items.clone() {
                    theirs.push(run_one(&cold, item).await);
                }
                for ((item, ours), theirs) in items.iter().zip(ours).zip(theirs) {
                    assert_eq!(ours, theirs, "step {step}: {:?}", item.command);
                }
            }
        }
        assert_sound(&warm).await;
        if step % 5 == 0 {
            let (ours, theirs) = (rows(&warm).await, rows(&cold).await);
            for (table, ours) in ours {
                assert_eq!(ours, theirs[table], "step {step}: {table}");
            }
        }
    }
    assert!(leases.len() > 60, "a history in which something happens");
    drop(pipeline);
    task.await.expect("the pipeline ends");
}

/// What two servers did to each other.
#[derive(Default)]
struct Tally {
    granted: AtomicUsize,
    exhausted: AtomicUsize,
    deeds: AtomicUsize,
    collisions: AtomicUsize,
}

/// Two servers on one database, with runtimes and administrators on both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_race_and_no_cap_is_crossed() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = Arc::new(TestStore::start(Backend::Postgres).await);
    let budgets = Arc::new(world(&t).await);
    let other = Store::open(&t.options).await.expect("a second server");
    let clock = Arc::new(ManualClock::new(t.now()));
    let (seed, tally, number) = (seed(), Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
    let seconds = std::env::var("IRON_TEST_RACE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut servers = Vec::new();
    let mut tasks = Vec::new();
    for (server, store) in [t.store.clone(), other.clone()].into_iter().enumerate() {
        let (pipeline, task) = pipeline(&store, &clock);
        for runtime in 0..6 {
            let (t, pipeline, tally, number) =
                (Arc::clone(&t), pipeline.clone(), Arc::clone(&tally), Arc::clone(&number));
            let dice = Dice::new(seed + server as u64 * 100 + runtime);
            tasks.push(tokio::spawn(async move {
                let mut leases = Vec::new();
                while Instant::now() < end {
                    let name = number.fetch_add(1, Ordering::Relaxed);
                    let item = command(&t, &dice, &name.to_string(), &mut leases);
                    let answer = pipeline.run_one(item).await.expect("no error of the database reaches a caller");
                    count(&tally, &answer);
                }
            }));
        }
        let (t, tally, number, clock) = (Arc::clone(&t), Arc::clone(&tally), Arc::clone(&number), Arc::clone(&clock));
        let (dice, budgets) = (Dice::new(seed + 50 + server as u64), Arc::clone(&budgets));
        tasks.push(tokio::spawn(async move {
            while Instant::now() < end {
                let number = number.fetch_add(1, Ordering::Relaxed) as usize;
                match Deed::random(&dice, number, &budgets) {
                    // Agents are to go on
                    Deed::Delete(_) | Deed::Prune => clock.advance_millis(11 * TTL_MS),
                    // What all have in common stays, so that they get into each other's way
                    Deed::End(id) if id.as_str().starts_with("bud_first_") => {}
                    Deed::Cap(id, cap, _) => administrate(&t, &store, &clock, &Deed::Cap(id, cap, true), &tally).await,
                    deed => administrate(&t, &store, &clock, &deed, &tally).await,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
        servers.push((pipeline, task));
    }
    for task in tasks {
        task.await.expect("ends");
    }
    for (pipeline, task) in servers {
        drop(pipeline);
        task.await.expect("the pipeline ends");
    }
    other.close().await;
    let counts = [&tally.granted, &tally.exhausted, &tally.deeds, &tally.collisions].map(|n| n.load(Ordering::Relaxed));
    eprintln!("granted, exhausted, deeds, collisions: {counts:?}");
    assert!(counts[0] > 20 && counts[2] > 20, "{counts:?}");
    assert_eq!(counts[3], 0, "an administrator met a deadlock");
    assert_sound(&t).await;
    assert_grants_fit(&t).await;
    // Told to the statistics when a connection becomes idle, at most once a second
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    t.store.close().await;
    t.execute(
        "DO $$ BEGIN IF (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) > 0 \
         THEN RAISE EXCEPTION 'there were deadlocks; the log of the server tells between which statements'; END IF; END $$",
    )
    .await;
}

fn count(tally: &Tally, answer: &Answer) {
    match answer {
        Ok(done) if matches!(done.outcome, ledger::Outcome::Granted { duplicate: false, .. }) => &tally.granted,
        Err(Refused::Ledger(Rejection::BudgetExhausted { .. })) => &tally.exhausted,
        _ => return,
    }
    .fetch_add(1, Ordering::Relaxed);
}

async fn administrate(t: &TestStore, store: &Store, clock: &ManualClock, deed: &Deed, tally: &Tally) {
    loop {
        let attempt = async {
            let mut work = store.begin(clock.now()).await?;
            deed.run(t, &mut work).await?;
            work.commit(&SeededEntropy::new(3)).await
        };
        match attempt.await {
            Ok(()) => break,
            Err(StoreError::Collision) => {
                eprintln!("collided: {deed:?}");
                tally.collisions.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{deed:?}: {error:?}"),
        }
    }
    tally.deeds.fetch_add(1, Ordering::Relaxed);
}

/// Replays the journal: after each grant, every account it was posted on is within the cap of that moment. No budget may
/// have been switched off meanwhile.
async fn assert_grants_fit(t: &TestStore) {
    let filter = JournalFilter { order: Order::Ascending, ..JournalFilter::default() };
    let (mut cursor, mut grants) = (None, 0);
    let (mut caps, mut committed) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let slice = t.store.journal(&filter, cursor, 1_000).await.expect("read");
        for row in slice.rows {
            let entry = row.entry;
            let [_, leased, suspense, spent, overrun] = entry.delta.parts().map(Money::nanos);
            for key in &entry.accounts {
                if matches!(entry.kind, EntryKind::Allocate | EntryKind::Adjust) {
                    *caps.entry(key.budget).or_insert(0) += entry.amount.nanos();
                }
                let sum = committed.entry(*key).or_insert(0);
                *sum += leased + suspense + spent + overrun;
                if entry.kind == EntryKind::Grant {
                    grants += 1;
                    assert!(*sum <= caps[&key.budget], "entry {}: {key:?} has {sum} of {}", row.seq, caps[&key.budget]);
                }
            }
        }
        cursor = slice.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(grants > 20, "{grants}");
}

/// A restart of the database server: what was on its way fails so that it may be tried again, and what comes then is
/// served, without anybody restarting this server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_are_told_as_such_and_replaced() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = TestStore::start(Backend::Postgres).await;
    one_agent(&t, usd(100)).await;
    let (pipeline, task) = pipeline(&t.store, &Arc::new(ManualClock::new(t.now())));
    // Several connections are open
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(t.begin().await);
    }
    drop(open);
    pipeline.run_one(grant(1, &lease("before"), usd(1))).await.expect("answered").expect("granted");
    t.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
    let mut tries = 0;
    while let Err(error) = pipeline.run_one(grant(1, &lease("after"), usd(1))).await {
        assert!(error.is_transient(), "{error:?}");
        tries += 1;
        assert!(tries < 10, "dead connections are not tried twice");
    }
    // Others than those of the pipeline
    for _ in 0..4 {
        let _ = t.store.ping().await;
    }
    t.store.ping().await.expect("no dead connection is left");
    drop(pipeline);
    task.await.expect("the pipeline ends");
    assert_eq!(figures(&t, 1).await, [0, usd(2).nanos(), 0, 0]);
    assert_sound(&t).await;
}

/// Whatever the database was set up with: an answer means that the write survives a crash of its server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_durable_even_where_the_database_is_set_to_lazy_ones() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = TestStore::start(Backend::Postgres).await;
    t.execute(
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off'; END $$; \
         CREATE FUNCTION refuse_lazy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('synchronous_commit') = 'off' THEN RAISE EXCEPTION 'lazy'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER lazy BEFORE UPDATE ON heads FOR EACH ROW EXECUTE FUNCTION refuse_lazy()",
    )
    .await;
    let store = Store::open(&t.options).await.expect("a server that comes later");
    let mut work = store.begin(t.now()).await.expect("begins");
    work.directory_changes();
    work.commit(&t.entropy).await.expect("synchronous");
    store.close().await;
}

/// After an orderly stop all is in the one file, so that a copy of it is a copy of everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_database_that_was_closed_has_no_log_beside_it() {
    if !crate::support::ready(Backend::Sqlite) {
        return;
    }
    let t = TestStore::start(Backend::Sqlite).await;
    one_agent(&t, usd(100)).await;
    // Its log has been looked at
    tokio::time::sleep(Duration::from_millis(500)).await;
    done(&t, grant(1, &lease("a"), usd(1))).await;
    t.store.close().await;
    let path = t.options.url.strip_prefix("sqlite://").and_then(|rest| rest.strip_suffix("?mode=rwc")).expect("a path");
    let log = std::fs::metadata(format!("{path}-wal")).map_or(0, |found| found.len());
    assert_eq!(log, 0);
}

/// A batch that fails after the ledger has taken it over leaves nothing behind, in the database or in what is kept for the
/// next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_late_leaves_nothing_behind() {
    if !crate::support::ready(Backend::Sqlite) {
        return;
    }
    let t = TestStore::start(Backend::Sqlite).await;
    one_agent(&t, usd(100)).await;
    let (pipeline, task) = pipeline(&t.store, &Arc::new(ManualClock::new(t.now())));
    let [a, b] = ["a", "b"].map(lease);
    pipeline.run_one(grant(1, &a, usd(10))).await.expect("answered").expect("granted");
    t.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox WHEN NEW.events LIKE '% llm_call %' BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .await;
    let items = vec![grant(1, &b, usd(5)), report(&t, &a, "r", usd(3)), give_back(&a, None)];
    pipeline.run(items.clone()).await.expect_err("the database refuses");
    // Beside others, each by itself
    let (one, two) = tokio::join!(pipeline.run(items.clone()), pipeline.run_one(total(&a, usd(2))));
    one.expect_err("the database refuses");
    two.expect("answered").expect("booked");
    assert_eq!(figures(&t, 1).await, [2, 8, 0, 0].map(|n| usd(n).nanos()));
    t.execute("DROP TRIGGER refuse").await;
    for answer in pipeline.run(items).await.expect("written") {
        answer.expect("done");
    }
    assert_eq!(figures(&t, 1).await, [3, 5, 0, 0].map(|n| usd(n).nanos()));
    drop(pipeline);
    task.await.expect("the pipeline ends");
    assert_sound(&t).await;
}

/// A freeze that begins while an agent is on its way into the scope covers it: its epoch rises, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_covers_agents_that_are_just_moving_into_the_scope() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = Arc::new(TestStore::start(Backend::Postgres).await);
    people(&t, &[(1, "user_1", None), (2, "user_1", Some("proj_1"))]).await;
    let mut moving = t.begin().await;
    let change = AgentChange { project: Some(Some(ProjectId::new("proj_1"))), ..AgentChange::default() };
    moving.update_agent(AgentId(1), &change).await.expect("moved");
    let other = Arc::clone(&t);
    let freezing = tokio::spawn(async move {
        let mut work = other.begin().await;
        let set = work.set_freeze(&FreezeId::new("frz_1"), &project_scope("proj_1"), "why", &uid("user_admin")).await;
        other.commit(work).await;
        set.expect("set")
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    t.commit(moving).await;
    assert_eq!(freezing.await.expect("ends").agents_affected, 2);
    assert_eq!([epoch(&t, AgentId(1)).await, epoch(&t, AgentId(2)).await], [2, 2]);
}

/// A clock that fails when told to.
struct Faulty(ManualClock, std::sync::atomic::AtomicBool);

impl kernel::Clock for Faulty {
    fn now(&self) -> kernel::Timestamp {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a defect");
        self.0.now()
    }
}

on_both_backends! {
    async fn a_defect_met_by_one_batch_does_not_end_the_pipeline(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let clock = Arc::new(Faulty(ManualClock::new(t.now()), false.into()));
        let options = PipelineOptions { lease_ttl_ms: TTL_MS, ..PipelineOptions::default() };
        let entropy = Arc::new(SeededEntropy::new(7));
        let watched = Arc::<Faulty>::clone(&clock);
        let (pipeline, task) = Pipeline::start(t.store.clone(), watched, entropy, options, Arc::new(|_| {}));
        pipeline.run_one(grant(1, &lease("a"), usd(1))).await.expect("answered").expect("granted");
        clock.1.store(true, Ordering::SeqCst);
        let refused = pipeline.run_one(grant(1, &lease("b"), usd(1))).await.expect_err("a defect");
        assert!(!matches!(refused, StoreError::Closing), "{refused:?}");
        pipeline.run_one(grant(1, &lease("c"), usd(1))).await.expect("answered").expect("granted");
        drop(pipeline);
        task.await.expect("the pipeline ends");
        assert_eq!(figures(&t, 1).await, [0, usd(2).nanos(), 0, 0]);
    }
}

/// Somebody who has locked an agent and goes on to change its total, and somebody who freezes it or opens another budget of
/// it, do not wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_agents_budgets_take_turns() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = Arc::new(TestStore::start(Backend::Postgres).await);
    one_agent(&t, usd(100)).await;
    let mut deeds = vec![Deed::Freeze(FreezeId::new("frz_1"), Scope::Agent(AgentId(1)))];
    deeds.push(Deed::Open(NewBudget { window: Window::Day, ..budget("bud_day", Scope::Agent(AgentId(1)), usd(5)) }));
    deeds.push(Deed::Cap(BudgetId::new("bud_agent_1"), usd(50), true));
    for deed in deeds {
        let mut work = t.begin().await;
        work.agent_for_update(AgentId(1)).await.expect("locked").expect("found");
        let (other, text) = (Arc::clone(&t), format!("{deed:?}"));
        let waiting = tokio::spawn(async move {
            let mut work = other.begin().await;
            deed.run(&other, &mut work).await?;
            work.commit(&other.entropy).await
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let no = work.allocation_no(AgentId(1)).await.expect("read").expect("found");
        let adjust = Command::Adjust { budget: no, cap: usd(70), enabled: true, actor: admin(), reason: None };
        work.run(&[Item::new(adjust)], TTL_MS).await.expect(&text).remove(0).expect("changed");
        t.commit(work).await;
        waiting.await.expect("ends").expect(&text);
    }
    assert_sound(&t).await;
}

/// After a failover the old connections may lead to a standby: that is for a while, and nothing is broken here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_only_reads_is_unavailable_for_writes() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = TestStore::start(Backend::Postgres).await;
    t.execute(
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$",
    )
    .await;
    let store = Store::open(&t.options).await.expect("a server that comes later");
    let mut work = store.begin(t.now()).await.expect("begins");
    work.directory_changes();
    let error = work.commit(&t.entropy).await.expect_err("refused");
    assert!(error.is_transient(), "{error:?}");
    store.close().await;
}
