//! The write pipeline: many callers, one cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kernel::entropy::SeededEntropy;
use kernel::{AgentId, ManualClock, Money};
use ledger::{Outcome, Rejection, Scope};
use persistence::{
    Answer, Backend, BatchStats, BudgetChange, CallFacts, Extra, Item, Pipeline, PipelineOptions, Refused, Store,
    StoreError,
};
use tokio::task::JoinHandle;

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

fn start(t: &TestStore, store: &Store, queue: usize, batch: usize) -> (Pipeline, JoinHandle<()>) {
    start_observed(t, store, queue, batch, Arc::new(|_| {}))
}

fn start_observed(
    t: &TestStore,
    store: &Store,
    queue: usize,
    batch: usize,
    observer: Arc<dyn Fn(BatchStats) + Send + Sync>,
) -> (Pipeline, JoinHandle<()>) {
    let options = PipelineOptions { queue, batch, lease_ttl_ms: TTL_MS, ..PipelineOptions::default() };
    let clock = Arc::new(ManualClock::new(t.now()));
    Pipeline::start(store.clone(), clock, Arc::new(SeededEntropy::new(7)), options, observer)
}

/// Puts the item into the queue and returns once the pipeline's task has taken it out; answers later.
async fn send_and_let_take(pipeline: &Pipeline, item: Item) -> JoinHandle<Result<Answer, StoreError>> {
    let sent = send(pipeline, item);
    // In the queue, or taken already: a task that was spawned and has not run yet is neither
    tokio::time::sleep(Duration::from_millis(100)).await;
    wait_until(|| pipeline.waiting() == 0).await;
    sent
}

fn send(pipeline: &Pipeline, item: Item) -> JoinHandle<Result<Answer, StoreError>> {
    let pipeline = pipeline.clone();
    tokio::spawn(async move { pipeline.run_one(item).await })
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to pass");
}

async fn end(pipeline: Pipeline, task: JoinHandle<()>) {
    drop(pipeline);
    task.await.expect("the pipeline's task ends");
}

/// Sends every item from a task of its own; gives what was granted and how many were refused for lack of money.
async fn race(pipelines: &[Pipeline], items: Vec<Item>) -> (Money, usize) {
    let tasks: Vec<_> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            let pipeline = pipelines[index % pipelines.len()].clone();
            tokio::spawn(async move { pipeline.run_one(item).await.expect("an answer") })
        })
        .collect();
    let (mut granted, mut refused) = (Money::ZERO, 0);
    for task in tasks {
        match task.await.expect("a caller ends") {
            Ok(done) => match done.outcome {
                Outcome::Granted { lease, .. } => granted = granted.plus(lease.granted).expect("in range"),
                other => panic!("{other:?}"),
            },
            Err(Refused::Ledger(Rejection::BudgetExhausted { .. })) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    (granted, refused)
}

on_both_backends! {
    async fn sixty_four_callers_at_the_edge_get_exactly_what_is_left(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let (pipeline, task) = start(&t, &t.store, 256, 16);
        let items = (0..64).map(|n| grant(1, &lease(n), usd(3))).collect();
        let (granted, refused) = race(std::slice::from_ref(&pipeline), items).await;
        assert_eq!((granted, refused), (usd(100), 30), "33 whole tranches, the last dollar, and nothing more");
        assert_eq!(figures(&t, 1).await, [0, usd(100).nanos(), 0, 0]);
        end(pipeline, task).await;
        assert_sound(&t).await;
    }

    async fn four_agents_race_for_what_their_owner_project_and_organization_have(t: TestStore) {
        let agents: Vec<_> =
            (1..=4).map(|n| (n, "user_1", Some(if n % 2 == 0 { "proj_even" } else { "proj_odd" }))).collect();
        people(&t, &agents).await;
        allocate(&t, &[1, 2, 3, 4].map(|n| (n, usd(1_000)))).await;
        let organization = open(&t, &budget("bud_org", Scope::Organization, usd(50))).await;
        open(&t, &budget("bud_owner", owner_scope("user_1"), usd(60))).await;
        let odd = open(&t, &budget("bud_odd", project_scope("proj_odd"), usd(20))).await;
        let (pipeline, task) = start(&t, &t.store, 256, 8);
        let items = (0..128).map(|n| grant(n % 4 + 1, &lease(n), usd(1))).collect();
        let (granted, refused) = race(std::slice::from_ref(&pipeline), items).await;
        assert_eq!((granted, refused), (usd(50), 78));
        let of = async |id| t.store.budget(id, t.now()).await.expect("read").expect("there").account.leased;
        assert_eq!(of(&organization.id).await, usd(50));
        assert!(of(&odd.id).await <= usd(20), "{:?}", of(&odd.id).await);
        end(pipeline, task).await;
        assert_sound(&t).await;
    }

    async fn several_servers_hold_one_cap_where_there_may_be_several(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(1_000)), (2, usd(1_000))]).await;
        open(&t, &budget("bud_owner", owner_scope("user_1"), usd(100))).await;
        let second = match (t.store.backend(), Store::open(&t.options).await) {
            (Backend::Sqlite, Err(StoreError::InUse(_))) => return,
            (Backend::Postgres, Ok(store)) => store,
            (_, other) => panic!("{:?}", other.err()),
        };
        let (one, one_task) = start(&t, &t.store, 256, 4);
        let (two, two_task) = start(&t, &second, 256, 4);
        let items = (0..120).map(|n| grant(n % 2 + 1, &lease(n), usd(1))).collect();
        let (granted, refused) = race(&[one.clone(), two.clone()], items).await;
        assert_eq!((granted, refused), (usd(100), 20));
        end(one, one_task).await;
        end(two, two_task).await;
        second.close().await;
        assert_sound(&t).await;
    }

    async fn two_pipelines_on_one_store_hold_one_cap(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let (one, one_task) = start(&t, &t.store, 256, 4);
        let (two, two_task) = start(&t, &t.store, 256, 4);
        let items = (0..120).map(|n| grant(1, &lease(n), usd(1))).collect();
        let (granted, refused) = race(&[one.clone(), two.clone()], items).await;
        assert_eq!((granted, refused), (usd(100), 20));
        end(one, one_task).await;
        end(two, two_task).await;
        assert_sound(&t).await;
    }

    async fn what_others_write_between_two_batches_counts_in_the_next(t: TestStore) {
        people(&t, &[(1, "user_1", None)]).await;
        allocate(&t, &[(1, usd(100))]).await;
        let owner = open(&t, &budget("bud_owner", owner_scope("user_1"), usd(10))).await;
        let (pipeline, task) = start(&t, &t.store, 16, 16);
        let lent = async |name: &str| match pipeline.run_one(grant(1, &lease(name), usd(8))).await.expect("answered") {
            Ok(done) => match done.outcome {
                Outcome::Granted { lease, .. } => lease.granted,
                other => panic!("{other:?}"),
            },
            Err(_) => Money::ZERO,
        };
        assert_eq!([lent("a").await, lent("b").await, lent("c").await], [usd(8), usd(2), usd(0)]);
        let mut work = t.begin().await;
        let change = BudgetChange { cap: Some(usd(13)), ..BudgetChange::default() };
        work.adjust_budget(&owner.id, &change, &admin(), None).await.expect("answered").expect("changed");
        t.commit(work).await;
        assert_eq!(lent("d").await, usd(3), "another cap");
        done(&t, give_back(&lease("a"), None)).await;
        assert_eq!(lent("e").await, usd(8), "money given back");
        let mut work = t.begin().await;
        work.delete_budget(&owner.id).await.expect("deleted");
        t.commit(work).await;
        assert_eq!(lent("f").await, usd(8), "no budget");
        let id = kernel::FreezeId::new("frz_1");
        let mut work = t.begin().await;
        work.set_freeze(&id, &Scope::Agent(AgentId(1)), "stop", &kernel::UserId::new("user_1")).await.expect("frozen");
        t.commit(work).await;
        let stale = pipeline.run_one(refresh(1, &lease("f"), &lease("g"), usd(8), None)).await.expect("answered");
        assert_eq!(stale, Err(Refused::Ledger(Rejection::StaleEpoch)), "another epoch");
        end(pipeline, task).await;
        assert_sound(&t).await;
    }

    async fn a_request_the_database_refuses_does_not_take_its_neighbours_with_it(t: TestStore) {
        one_agent(&t, usd(100)).await;
        done(&t, grant(1, &lease("a"), usd(50))).await;
        let batches = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&batches);
        let observer = Arc::new(move |stats: BatchStats| {
            assert!(!stats.committed || stats.commands == 1, "{stats:?}");
            seen.fetch_add(1, Ordering::SeqCst);
        });
        // A batch that waits for the lock gathers everybody behind it
        let mut holding = t.begin().await;
        holding.run(&[report(&t, &lease("a"), "first", usd(1))], TTL_MS).await.expect("run")[0].as_ref().expect("done");
        let (pipeline, task) = start_observed(&t, &t.store, 64, 64, observer);
        let waiting = send_and_let_take(&pipeline, report(&t, &lease("a"), "waits", usd(1))).await;
        let poison = Extra::Call(CallFacts { tokens: -1, ..call() });
        let good = [1, 2, 3].map(|n| send(&pipeline, report(&t, &lease("a"), &format!("good {n}"), usd(1))));
        let bad = send(&pipeline, Item { extra: poison, ..report(&t, &lease("a"), "bad", usd(1)) });
        wait_until(|| pipeline.waiting() == 4).await;
        t.commit(holding).await;
        waiting.await.expect("ends").expect("answered").expect("done");
        for task in good {
            task.await.expect("ends").expect("answered").expect("done");
        }
        let bad = bad.await.expect("ends");
        assert!(matches!(bad, Err(StoreError::Refused(_))), "{bad:?}");
        assert_eq!(figures(&t, 1).await, [usd(5), usd(45), usd(0), usd(0)].map(Money::nanos));
        end(pipeline, task).await;
        assert_eq!(batches.load(Ordering::SeqCst), 2);
        assert_sound(&t).await;
    }

    async fn a_full_queue_is_refused_at_once_and_what_waits_is_answered(t: TestStore) {
        one_agent(&t, usd(100)).await;
        done(&t, grant(1, &lease("a"), usd(50))).await;
        let mut holding = t.begin().await;
        holding.run(&[report(&t, &lease("a"), "first", usd(1))], TTL_MS).await.expect("run")[0].as_ref().expect("done");
        let (pipeline, task) = start(&t, &t.store, 2, 64);
        let taken = send_and_let_take(&pipeline, report(&t, &lease("a"), "taken", usd(1))).await;
        let queued = ["queued 1", "queued 2"].map(|name| send(&pipeline, report(&t, &lease("a"), name, usd(1))));
        wait_until(|| pipeline.waiting() == 2).await;
        let refused = pipeline.run_one(report(&t, &lease("a"), "too many", usd(1))).await;
        assert!(matches!(&refused, Err(error @ StoreError::Overloaded) if error.is_transient()), "{refused:?}");
        t.commit(holding).await;
        for task in [taken].into_iter().chain(queued) {
            task.await.expect("ends").expect("answered").expect("done");
        }
        end(pipeline, task).await;
        assert_eq!(figures(&t, 1).await, [usd(4), usd(46), usd(0), usd(0)].map(Money::nanos));
    }

    async fn a_pipeline_whose_task_is_gone_says_that_it_is_closing(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let (pipeline, task) = start(&t, &t.store, 2, 64);
        task.abort();
        let _ = task.await;
        let refused = pipeline.run_one(grant(1, &lease("a"), usd(1))).await;
        assert!(matches!(&refused, Err(error @ StoreError::Closing) if error.is_transient()), "{refused:?}");
    }

    async fn what_was_sent_before_the_last_handle_goes_is_answered(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let (pipeline, task) = start(&t, &t.store, 64, 4);
        let sent: Vec<_> = (0..32)
            .map(|n| {
                let (pipeline, item) = (pipeline.clone(), grant(1, &lease(n), usd(1)));
                tokio::spawn(async move { pipeline.run_one(item).await })
            })
            .collect();
        end(pipeline, task).await;
        for task in sent {
            task.await.expect("ends").expect("answered").expect("granted");
        }
        assert_eq!(figures(&t, 1).await, [0, usd(32).nanos(), 0, 0]);
    }

    async fn commands_of_one_request_are_answered_in_order_beside_those_of_others(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_2", None)]).await;
        allocate(&t, &[(1, usd(50)), (2, usd(50))]).await;
        let (pipeline, task) = start(&t, &t.store, 64, 512);
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let agent = n % 2 + 1;
                let (id, pipeline) = (lease(n), pipeline.clone());
                let items = vec![
                    grant(agent, &id, usd(2)),
                    report(&t, &id, "r", usd(1)),
                    give_back(&id, None),
                    give_back(&lease("nobody"), None),
                ];
                tokio::spawn(async move { (id, agent, pipeline.run(items).await.expect("answered")) })
            })
            .collect();
        for task in tasks {
            let (id, agent, answers) = task.await.expect("ends");
            let ids: Vec<_> = answers
                .iter()
                .map(|answer| match answer.as_ref().map(|done| &done.outcome) {
                    Ok(Outcome::Granted { lease, .. } | Outcome::Reported { lease, .. } | Outcome::Ended { lease, .. }) => {
                        assert_eq!(lease.agent, AgentId(agent));
                        Some(lease.id.clone())
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(ids, [Some(id.clone()), Some(id.clone()), Some(id), None]);
        }
        end(pipeline, task).await;
        assert_eq!(figures(&t, 1).await, [usd(12).nanos(), 0, 0, 0]);
        assert_sound(&t).await;
    }
}

/// With lanes, a large request that waits for somebody does not hold up a small one about somebody else; and whatever both
/// kinds book together adds up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_requests_do_not_wait_for_large_ones_and_all_of_them_count() {
    if !crate::support::ready(Backend::Postgres) {
        return;
    }
    let t = TestStore::start(Backend::Postgres).await;
    let agents = [(1, "user_1", None), (2, "user_1", None), (3, "user_1", None)];
    people(&t, &agents).await;
    allocate(&t, &[1, 2, 3].map(|agent| (agent, usd(1_000)))).await;
    for agent in 1..=3 {
        done(&t, grant(agent, &lease(agent), usd(900))).await;
    }
    let options = PipelineOptions { lanes: 3, lease_ttl_ms: TTL_MS, ..PipelineOptions::default() };
    let clock = Arc::new(ManualClock::new(t.now()));
    let (pipeline, task) =
        Pipeline::start(t.store.clone(), clock, Arc::new(SeededEntropy::new(7)), options, Arc::new(|_| {}));
    let many = |agent: i64, round: i64| -> Vec<Item> {
        (0..40).map(|n| report(&t, &lease(agent), &format!("many{round}_{n}"), usd(1))).collect()
    };

    // Whoever holds the book of agent 2
    let mut holder = t.begin().await;
    holder.run(&[Item::new(ledger::Command::Touch { agent: AgentId(2) })], TTL_MS).await.expect("run");
    let large = tokio::spawn({
        let (pipeline, items) = (pipeline.clone(), many(2, 0));
        async move { pipeline.run(items).await }
    });
    for n in 0..3 {
        let small = pipeline.run_one(report(&t, &lease(1), &format!("small{n}"), usd(1)));
        let answer = tokio::time::timeout(Duration::from_secs(20), small).await.expect("it does not wait");
        answer.expect("answered").expect("booked");
    }
    assert!(!large.is_finished(), "the book is held");
    t.commit(holder).await;
    let answers = large.await.expect("it runs").expect("answered");
    assert!(answers.iter().all(Result::is_ok));

    let mut sent = tokio::task::JoinSet::new();
    for round in 1..=4 {
        for agent in 1..=3 {
            let (large, items) = (pipeline.clone(), many(agent, round));
            sent.spawn(async move { large.run(items).await });
            let (small, item) = (pipeline.clone(), report(&t, &lease(agent), &format!("one{round}"), usd(1)));
            sent.spawn(async move { small.run(vec![item]).await });
        }
    }
    while let Some(answers) = sent.join_next().await {
        assert!(answers.expect("it runs").expect("answered").iter().all(Result::is_ok));
    }
    end(pipeline, task).await;
    for (agent, spent) in [(1, 167), (2, 204), (3, 164)] {
        assert_eq!(figures(&t, agent).await[0], usd(spent).nanos(), "agent {agent}");
    }
    assert_eq!(t.texts("SELECT CAST(COUNT(*) AS TEXT) FROM facts").await, ["535"]);
    assert_sound(&t).await;
}
