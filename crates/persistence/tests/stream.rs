//! The live stream under load: its numbers have no holes and come in the order of the commits, nothing is told that did not
//! happen, and nothing happens that is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::entropy::SeededEntropy;
use kernel::{AgentId, LeaseState, ManualClock, SystemEntropy};
use persistence::{
    Backend, CallFacts, Extra, Item, LeaseFilter, OutboxEvent, Pipeline, PipelineOptions, Store, StoredEvent,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

const AGENTS: [i64; 4] = [1, 2, 3, 4];

async fn world(t: &TestStore) {
    people(t, &AGENTS.map(|id| (id, "user_1", None))).await;
    allocate(t, &AGENTS.map(|id| (id, usd(10_000)))).await;
}

fn start(t: &TestStore, store: &Store, seed: u64) -> (Pipeline, JoinHandle<()>) {
    let options = PipelineOptions { lease_ttl_ms: TTL_MS, batch: 8, ..PipelineOptions::default() };
    let clock = Arc::new(ManualClock::new(t.now()));
    Pipeline::start(store.clone(), clock, Arc::new(SeededEntropy::new(seed)), options, Arc::new(|_| {}))
}

/// As many servers as the database allows.
async fn servers(t: &TestStore) -> Vec<Store> {
    let mut stores = vec![t.store.clone()];
    if t.store.backend() == Backend::Postgres {
        stores.push(Store::open(&t.options).await.expect("a second server"));
    }
    stores
}

/// Reads the stream as it grows, and demands that it has no hole at any moment.
fn follow(store: Store, stop: Arc<AtomicBool>) -> JoinHandle<Vec<StoredEvent>> {
    tokio::spawn(async move {
        let mut all: Vec<StoredEvent> = Vec::new();
        loop {
            let ending = stop.load(Ordering::SeqCst);
            let last = all.last().map_or(0, |event| event.seq);
            let events = store.events_after(last, 100).await.expect("read");
            for (event, expected) in events.iter().zip(last + 1..) {
                assert_eq!(event.seq, expected, "a reader saw a later event before an earlier one");
            }
            if events.is_empty() && ending {
                return all;
            }
            all.extend(events);
        }
    })
}

/// The leases that were told to be granted, each once.
fn granted(events: &[StoredEvent]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for event in events.iter().filter(|event| event.kind == "lease_granted") {
        let data: Value = serde_json::from_str(&event.payload).expect("JSON");
        assert!(ids.insert(data["lease_id"].as_str().expect("an id").to_owned()), "told twice: {data}");
    }
    ids
}

async fn leases(t: &TestStore) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut cursor = None;
    loop {
        let slice = t.store.leases(&LeaseFilter::default(), cursor.as_ref(), 500).await.expect("listed");
        ids.extend(slice.rows.iter().map(|view| view.lease.id.as_str().to_owned()));
        match slice.next {
            Some(next) => cursor = Some(next),
            None => return ids,
        }
    }
}

on_both_backends! {
    async fn a_reader_never_sees_an_event_before_an_earlier_one_however_many_write(t: TestStore) {
        world(&t).await;
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = servers(&t).await.into_iter().map(|store| follow(store, Arc::clone(&stop))).collect();
        let mut pipelines = Vec::new();
        for (seed, store) in servers(&t).await.into_iter().chain(servers(&t).await).enumerate() {
            pipelines.push(start(&t, &store, seed as u64).0);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..240_usize {
            let pipeline = pipelines[n % pipelines.len()].clone();
            let (agent, id) = (AGENTS[n % 4], lease(n));
            let mut items = vec![grant(agent, &id, usd(1)), report(&t, &id, "r", usd(1))];
            if n % 7 == 0 {
                // The database refuses this one, and with it the batch it comes in
                let poison = Extra::Call(CallFacts { tokens: -1, ..call() });
                items.push(Item { extra: poison, ..report(&t, &id, "bad", usd(1)) });
            }
            let (store, now) = (t.store.clone(), t.now());
            tasks.spawn(async move {
                let done = pipeline.run(items).await.is_ok();
                // And units of work of others beside them: every other one is given up
                let mut work = store.begin(now).await.expect("begins");
                work.emit(OutboxEvent { agent: Some(AgentId(agent)), kind: "frozen", payload: "{}".into() });
                if n % 2 == 0 {
                    work.commit(&SystemEntropy).await.expect("commits");
                }
                done
            });
        }
        let mut done = 0;
        while let Some(ended) = tasks.join_next().await {
            done += usize::from(ended.expect("ends"));
        }
        assert_eq!(done, 240 - 35, "all but the bad ones");
        stop.store(true, Ordering::SeqCst);
        for reader in readers {
            let events = reader.await.expect("no holes");
            let head = t.store.stream_head().await.expect("read");
            assert_eq!((events.len() as i64, head.oldest), (head.last, 1), "every number was given to an event");
            let ids = granted(&events);
            assert_eq!(ids.len(), done);
            assert_eq!(ids, leases(&t).await, "what was told is what happened");
            let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
            assert_eq!((count("llm_call"), count("frozen")), (done, 120));
        }
        assert_sound(&t).await;
    }

    async fn what_is_cut_off_at_any_moment_is_told_exactly_if_it_happened(t: TestStore) {
        const UNDISTURBED: usize = 4;
        world(&t).await;
        let stores = servers(&t).await;
        // How long a round takes here if nothing cuts it off: machines differ, and so do databases
        let mut whole = Duration::MAX;
        let mut answered = BTreeSet::new();
        for round in 0..UNDISTURBED + 40 {
            let (pipeline, task) = start(&t, &stores[round % stores.len()], round as u64);
            let began = tokio::time::Instant::now();
            let senders: Vec<_> = (0..12)
                .map(|n| {
                    let id = lease(round * 100 + n);
                    let (pipeline, item) = (pipeline.clone(), grant(AGENTS[n % 4], &id, usd(1)));
                    (id, tokio::spawn(async move { pipeline.run_one(item).await }))
                })
                .collect();
            if let Some(cut) = round.checked_sub(UNDISTURBED) {
                // Anywhere between the first statement and the answer
                let moment = whole * u32::try_from(cut).expect("small") / 40;
                while began.elapsed() < moment {
                    tokio::task::yield_now().await;
                }
                task.abort();
            }
            for (id, sender) in senders {
                if sender.await.expect("ends").is_ok() {
                    answered.insert(id.as_str().to_owned());
                }
            }
            if round < UNDISTURBED {
                whole = whole.min(began.elapsed());
                drop(pipeline);
            }
            let _ = task.await;
        }
        // A commit that was under way goes on without whoever waited for it
        if t.store.backend() == Backend::Postgres {
            let others = "SELECT COUNT(*)::text FROM pg_stat_activity WHERE datname = current_database() \
                AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'";
            while t.texts(others).await != ["0"] {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        t.commit(t.begin().await).await;
        let events = t.store.events_after(0, 100_000).await.expect("read");
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
        assert_eq!(events.len() as i64, t.store.stream_head().await.expect("read").last);
        let told = granted(&events);
        assert_eq!(told, leases(&t).await);
        assert!(told.is_superset(&answered), "what was answered has happened");
        assert!(answered.len() >= UNDISTURBED * 12, "nothing cut these off: {}", answered.len());
        assert!(told.len() < (UNDISTURBED + 40) * 12, "some were cut off");
        assert_sound(&t).await;
    }

    async fn the_figures_told_last_are_those_of_the_books(t: TestStore) {
        world(&t).await;
        let (pipeline, task) = start(&t, &t.store, 1);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..80_usize {
            let pipeline = pipeline.clone();
            let id = lease(n);
            let items = vec![grant(AGENTS[n % 4], &id, usd(3)), report(&t, &id, "r", usd(1))];
            let end = match n % 4 {
                0 => vec![give_back(&id, None)],
                1 => vec![revoke(&id)],
                2 => vec![report(&t, &id, "s", usd(3))],
                _ => vec![],
            };
            tasks.spawn(async move { pipeline.run([items, end].concat()).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("ends").expect("answered");
        }
        drop(pipeline);
        task.await.expect("ends");
        let mut last = BTreeMap::new();
        for event in t.store.events_after(0, 100_000).await.expect("read") {
            if event.kind == "STATE_UPDATE" {
                last.insert(event.agent.expect("an agent's").0, serde_json::from_str::<Value>(&event.payload).expect("JSON"));
            }
        }
        for agent in AGENTS {
            let [spent, leased, suspense, _] = figures(&t, agent).await.map(|nanos| nanos / 1_000);
            let data = &last[&agent]["data"];
            let told = ["budget_spent_microdollars", "leased", "suspense"].map(|key| data[key].as_i64().expect("a number"));
            assert_eq!(told, [spent, leased, suspense], "agent {agent}");
            let filter = LeaseFilter { agents: vec![AgentId(agent)], states: vec![LeaseState::Active], ..LeaseFilter::default() };
            let active = t.store.leases(&filter, None, 500).await.expect("listed").rows.len();
            assert_eq!(data["open_leases"].as_i64(), i64::try_from(active).ok());
        }
    }
}

/// Servers are woken by the commit, and by nothing that did not become one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers_are_woken_by_a_commit_and_not_before() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = TestStore::start(Backend::Postgres).await;
    let mut listener = sqlx::postgres::PgListener::connect(&t.options.url).await.expect("connects");
    listener.listen("iron_outbox").await.expect("listens");
    let woken = async |listener: &mut sqlx::postgres::PgListener, within: u64| {
        tokio::time::timeout(Duration::from_millis(within), listener.recv()).await.is_ok_and(|got| got.is_ok())
    };
    let event = || OutboxEvent { agent: None, kind: "frozen", payload: "{}".into() };
    let mut work = t.begin().await;
    for _ in 0..3 {
        work.emit(event());
    }
    t.commit(work).await;
    assert!(woken(&mut listener, 5_000).await);
    assert!(!woken(&mut listener, 200).await, "one commit wakes once");
    let mut work = t.begin().await;
    work.emit(event());
    drop(work);
    let work = t.begin().await;
    t.commit(work).await;
    assert!(!woken(&mut listener, 200).await, "nothing was told");
    // One that is stopped between its last statement and its commit
    t.execute("BEGIN; SELECT pg_notify('iron_outbox', ''); ROLLBACK").await;
    assert!(!woken(&mut listener, 200).await);
}
