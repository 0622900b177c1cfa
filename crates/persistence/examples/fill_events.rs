//! Fills a database with the events that agents would have sent over a long time, through the pipeline as the server runs
//! it, under a clock that goes through that time: a server counts what is told very late at receipt.
//!
//! `cargo run --release -p persistence --example fill_events -- <url> <agents> <days> <from> <until>` adds the events with
//! the numbers `from` to `until`, of agents 1 to `agents`, which must be there; of `until` events the last one is of now.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people; it stops at the first surprise")]

use std::sync::Arc;

use analytics::CallStatus;
use kernel::time::ManualClock;
use kernel::{AgentId, Clock, Money, SystemClock};
use ledger::Spending;
use persistence::{EventFacts, Folding, Item, Pipeline, PipelineOptions, Store, StoreOptions};
use tokio::time::Instant;

/// Events in one request.
const BATCH: i64 = 500;
/// Requests that wait for their answers at once.
const SENDERS: usize = 8;
/// Models with their providers, the busiest first.
const MODELS: [(&str, &str); 12] = [
    ("gpt-4o-mini", "openai"),
    ("gpt-4o", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-flash", "google"),
    ("claude-haiku-4-5", "anthropic"),
    ("o4-mini", "openai"),
    ("gemini-2.5-pro", "google"),
    ("mistral-large", "mistral"),
    ("text-embedding-3-small", "openai"),
    ("claude-opus-4-1", "anthropic"),
    ("llama-3.3-70b", "groq"),
    ("deepseek-chat", "deepseek"),
];

/// Numbers that look thrown (splitmix64).
fn thrown(number: i64) -> i64 {
    let mut n = number.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((n ^ (n >> 31)) >> 1).cast_signed()
}

fn event(number: i64, agents: i64, at: kernel::Timestamp) -> Item {
    let dice = thrown(number);
    // The product of two throws: the first models are the busiest
    let (model, provider) = MODELS[usize::try_from((dice % 12) * ((dice >> 8) % 12) / 12).unwrap()];
    let failed = dice % 50 == 0;
    let (input, output) = (200 + (dice >> 16) % 4_000, if failed { 0 } else { 20 + (dice >> 28) % 800 });
    let cost = if failed { 0 } else { (input + 4 * output) * 1_000 };
    let spending = Spending { id: format!("old_{number:012}"), cost: Money::from_nanos(cost), occurred_at: at };
    let facts = EventFacts {
        status: if failed { CallStatus::Failed } else { CallStatus::Completed },
        model: model.to_owned(),
        provider: provider.to_owned(),
        provider_key: None,
        input_tokens: input,
        output_tokens: output,
        latency_ms: Some(300 + (dice >> 40) % 9_000),
        request_id: None,
        more: None,
    };
    Item::event(AgentId(1 + thrown(dice) % agents), None, spending, facts)
}

async fn folded(store: &Store, now: kernel::Timestamp) {
    while store.fold_rollups(now).await.unwrap() == Folding::More {}
    let last = store.fold().await.unwrap().last_fact;
    while store.fold_sketches(now, last).await.unwrap() == Folding::More {}
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap();
    let mut number = || args.next().unwrap().parse::<i64>().unwrap();
    let (agents, days, from, until) = (number(), number(), number(), number());
    let store = Store::open(&StoreOptions { url, connections: 4 }).await.unwrap();
    let (now, span) = (SystemClock.now(), days * 86_400_000);
    let at = |n: i64| now.plus_millis(-60_000 - span + n * (span / until));
    let clock = Arc::new(ManualClock::new(at(from)));
    let (pipeline, task) = Pipeline::start(
        store.clone(),
        Arc::<ManualClock>::clone(&clock),
        Arc::new(kernel::SystemEntropy),
        PipelineOptions { lanes: 3, ..PipelineOptions::default() },
        Arc::new(|_| {}),
    );
    let started = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    let mut since_fold = 0;
    for first in (from..until).step_by(BATCH as usize) {
        let last = until.min(first + BATCH);
        if senders.len() == SENDERS {
            senders.join_next().await.unwrap().unwrap();
        }
        let pipeline = pipeline.clone();
        let items: Vec<_> = (first..last).map(|n| event(n, agents, at(n))).collect();
        clock.advance_millis(at(last).since(clock.now()));
        senders.spawn(async move {
            for answer in pipeline.run(items).await.unwrap() {
                answer.unwrap();
            }
        });
        since_fold += last - first;
        if since_fold >= 200_000 {
            since_fold = 0;
            folded(&store, clock.now()).await;
        }
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    let took = started.elapsed().as_secs_f64();
    folded(&store, now).await;
    println!("{} events added in {took:.0} s, {:.0}/s, folding included", until - from, (until - from) as f64 / took);
    drop(pipeline);
    task.await.unwrap();
    store.close().await;
}
