//! No event without its commit, no commit without its event: servers that are killed, and two on one database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::checker::{Checker, report};
use super::rounds;
use crate::harness::*;

/// Every acknowledged report is among the events once, and every event's report is in the books.
async fn agree(agent: &Agent, checker: &Checker, acknowledged: &BTreeSet<String>) {
    let mut by_lease = BTreeMap::<String, Vec<Value>>::new();
    {
        let seen = checker.seen.lock().expect("not poisoned");
        let mut told = BTreeSet::new();
        for (name, request, lease) in seen.events.values() {
            if let ("llm_call", Some(request), Some(lease)) = (name.as_str(), request, lease) {
                assert!(told.insert(request.clone()), "told twice: {request}");
                by_lease.entry(lease.clone()).or_default().push(json!({
                    "request_id": request, "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p",
                }));
            }
        }
        let untold = acknowledged.difference(&told).collect::<Vec<_>>();
        assert!(untold.is_empty(), "commits without their events: {untold:?}");
    }
    for (lease, reports) in by_lease {
        for some in reports.chunks(1_000) {
            let body = json!({"lease_id": lease, "reports": some});
            let answer = agent.client.post("budget/report/batch", body).await.expect(200);
            assert_eq!(answer.int("duplicates"), some.len() as i64, "events without their commits: {answer}");
        }
    }
}

on_both_backends! {
    async fn a_server_that_is_killed_has_told_what_it_did_and_nothing_else(world: World) {
        let admin = world.admin().await;
        let agent = world.agent(1_000_000_000).await;
        let (checker, task) = Checker::start(&admin, None);
        let mut acknowledged = BTreeSet::new();
        for round in 0..rounds("IRON_TEST_STREAM_KILLS", 3) {
            let stop = Arc::new(AtomicBool::new(false));
            let mut writers = Vec::new();
            for number in 0..8 {
                let lease = agent.borrow(10_000).await;
                writers.push(tokio::spawn(report(lease, format!("r{round}-w{number}"), Arc::clone(&stop))));
            }
            tokio::time::sleep(Duration::from_millis(30 + (round * 37) % 200)).await;
            if round % 5 == 4 {
                // Now and then politely
                world.server.stop().await;
            } else {
                world.server.kill().await;
            }
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                acknowledged.extend(writer.await.expect("it ends well"));
            }
            world.server.start_again().await;
            assert!(!task.is_finished(), "the checker has found fault");
        }
        checker.catch_up(&admin).await;
        // Before the reports are sent again: that says nothing new, and a checker gives up on a stream that is silent for long
        checker.stop();
        task.await.expect("the checker has found no fault");
        agree(&agent, &checker, &acknowledged).await;
        assert!(!acknowledged.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_database_tell_the_same_story() {
    if !Backend::Postgres.ready() {
        return;
    }
    let world = World::builder(Backend::Postgres).start().await;
    let admin = world.admin().await;
    let (second, there) = world.another_server().await;
    let there = there.with_token(admin.token().expect("logged in"));
    let agent = world.agent(1_000_000_000).await;
    let (here_checker, here_task) = Checker::start(&admin, None);
    let (there_checker, there_task) = Checker::start(&there, Some(200));
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds("IRON_TEST_STREAM_KILLS", 3) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for number in 0..8 {
            let at = if number % 2 == 0 { agent.clone() } else { agent.at(&there) };
            let lease = at.borrow(10_000).await;
            writers.push(tokio::spawn(report(lease, format!("r{round}-w{number}"), Arc::clone(&stop))));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        second.kill().await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.await.expect("it ends well"));
        }
        second.start_again().await;
        assert!(!here_task.is_finished() && !there_task.is_finished(), "a checker has found fault");
    }
    here_checker.catch_up(&admin).await;
    there_checker.catch_up(&there).await;
    for (checker, task) in [(&here_checker, here_task), (&there_checker, there_task)] {
        checker.stop();
        task.await.expect("the checker has found no fault");
    }
    agree(&agent, &here_checker, &acknowledged).await;
    let (here, there) = (here_checker.seen.lock().expect("ok"), there_checker.seen.lock().expect("ok"));
    let both = here.last.min(there.last);
    assert!(here.events.range(..=both).eq(there.events.range(..=both)), "the same events at the same places");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_on_one_server_is_seen_on_the_other_soon() {
    if !Backend::Postgres.ready() {
        return;
    }
    let world = World::builder(Backend::Postgres).start().await;
    let admin = world.admin().await;
    let (_second, there) = world.another_server().await;
    let agent = world.agent(1_000_000).await;
    let lease = agent.borrow(100_000).await;
    let (mut socket, _) = super::Socket::authenticated(&there, admin.token().expect("logged in")).await;
    assert_eq!(socket.next().await["type"], "SUBSCRIBED");
    let mut waits = Vec::new();
    for call in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        lease.report(&format!("call-{call}"), 1).await.expect(200);
        let committed = tokio::time::Instant::now();
        socket.event("llm_call").await;
        waits.push(committed.elapsed());
    }
    waits.sort_unstable();
    // Far below the second after which it would have looked by itself
    assert!(waits[10] < Duration::from_millis(300), "{waits:?}");
}
