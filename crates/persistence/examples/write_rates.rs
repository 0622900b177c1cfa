//! How fast the store makes writes durable: reports through the pipeline at several numbers of callers, beside a naive
//! loop that commits one report per transaction.
//!
//! `cargo run --release -p persistence --example write_rates -- sqlite:///tmp/rates.db?mode=rwc [seconds]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people; it stops at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use kernel::entropy::SeededEntropy;
use kernel::{AgentId, BudgetNo, Clock, LeaseId, Money, ProviderKeyId, SystemClock, Window, Zone};
use ledger::{Account, Actor, Budget, Command, Scope, Spending};
use persistence::{CallFacts, Extra, Item, LeaseTerms, Pipeline, PipelineOptions, Store, StoreOptions};
use tokio::time::Instant;

fn report(lease: &LeaseId, id: String) -> Item {
    let spending = Spending { id, cost: Money::from_nanos(1_000_000), occurred_at: SystemClock.now() };
    let command = Command::Report { lease: lease.clone(), item: Some(spending), total: None, seq: None };
    let call = CallFacts { model: "gpt-4o-mini".into(), provider: "openai".into(), tokens: 1_200 };
    Item { extra: Extra::Call(call), ..Item::new(command) }
}

async fn world(store: &Store, agents: i64) -> Vec<LeaseId> {
    let entropy = SeededEntropy::new(1);
    let mut work = store.begin(SystemClock.now()).await.unwrap();
    work.bench_world(agents).await.unwrap();
    let mut items = Vec::new();
    let mut leases = Vec::new();
    for agent in 1..=agents {
        let budget = Budget {
            no: BudgetNo(agent),
            scope: Scope::Agent(AgentId(agent)),
            cap: Money::MAX_CAP,
            window: Window::None,
            zone: Zone::UTC,
            enabled: true,
            opened_window: kernel::Timestamp::EPOCH,
        };
        let (opening, actor) = (Account::default(), Actor::System);
        items.push(Item::new(Command::Open { budget, opening, actor, reason: None }));
        let lease = LeaseId::random(&kernel::SystemEntropy);
        let requested = Money::from_micros(100_000_000_000).unwrap();
        let command = Command::Grant { agent: AgentId(agent), lease: lease.clone(), requested, request: None };
        let terms = LeaseTerms {
            provider: "openai".into(),
            provider_key: ProviderKeyId(1),
            runtime_id: None,
            runtime_version: None,
        };
        items.push(Item { extra: Extra::Terms(terms), ..Item::new(command) });
        leases.push(lease);
    }
    for answer in work.run(&items, 21_600_000).await.unwrap() {
        answer.unwrap();
    }
    work.commit(&entropy).await.unwrap();
    leases
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "sqlite://rates.db?mode=rwc".to_owned());
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(3);
    let store = Store::open(&StoreOptions { url, connections: 8 }).await.unwrap();
    store.migrate().await.unwrap();
    let leases = Arc::new(world(&store, 256).await);
    let span = Duration::from_secs(seconds);

    let started = Instant::now();
    let mut naive = 0_u32;
    while started.elapsed() < span {
        let mut work = store.begin(SystemClock.now()).await.unwrap();
        work.run(&[report(&leases[0], format!("naive-{naive}"))], 21_600_000).await.unwrap();
        work.commit(&kernel::SystemEntropy).await.unwrap();
        naive += 1;
    }
    println!("one transaction per report   {:>9.0}/s", f64::from(naive) / started.elapsed().as_secs_f64());

    let (pipeline, task) = Pipeline::start(
        store.clone(),
        Arc::new(SystemClock),
        Arc::new(kernel::SystemEntropy),
        PipelineOptions { lanes: 3, ..PipelineOptions::default() },
        Arc::new(|_| {}),
    );
    for callers in [1_usize, 16, 64, 256] {
        let started = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let (pipeline, leases) = (pipeline.clone(), Arc::clone(&leases));
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while started.elapsed() < span {
                        let at = Instant::now();
                        let item =
                            report(&leases[caller % leases.len()], format!("{callers}-{caller}-{}", latencies.len()));
                        pipeline.run_one(item).await.unwrap().unwrap();
                        latencies.push(at.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.unwrap());
        }
        let elapsed = started.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let p99 = latencies[latencies.len() * 99 / 100];
        println!("pipeline, {callers:>3} callers        {:>9.0}/s   p99 {p99:?}", latencies.len() as f64 / elapsed);
    }
    drop(pipeline);
    task.await.unwrap();
    store.close().await;
}
