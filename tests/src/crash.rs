//! Power cuts: `kill -9` in the middle of everything, again and again on the same data.
//!
//! `IRON_TEST_KILL_ROUNDS` says how often (default 3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::books::{books, journal, verify_stopped};
use crate::harness::*;

/// Clients that write at the same time.
const WRITERS: usize = 64;

/// What one writer was told, and what it had asked for and not been told about.
#[derive(Default)]
struct Memory {
    /// Acknowledged reports: lease, id, cost.
    reports: Vec<(String, String, i64)>,
    /// Acknowledged handshakes: idempotency key, lease, amount.
    grants: Vec<(String, String, i64)>,
    /// Acknowledged returns: lease, spent.
    returns: Vec<(String, i64)>,
    /// Leases whose return was asked for and not answered.
    leaving: BTreeSet<String>,
    /// The most that requests without an answer may have charged, and may have borrowed.
    unsure: i64,
    unsure_grant: i64,
}

/// How often to kill.
fn rounds() -> u64 {
    let rounds = std::env::var("IRON_TEST_KILL_ROUNDS").ok().filter(|text| !text.is_empty());
    rounds.map_or(3, |text| text.parse().expect("IRON_TEST_KILL_ROUNDS is a number"))
}

/// One request; `None` where the server died over it.
async fn ask(agent: &Agent, path: &str, body: Value) -> Option<Value> {
    let reply = agent.client.try_send(Method::POST, path, Some(&body)).await.ok()?;
    assert!(reply.is_success(), "{path}: {}", reply.text);
    Some(reply.body)
}

/// Borrows, reports and returns until the server is gone.
async fn write(agent: Agent, round: u64, number: usize, memory: Arc<Mutex<Memory>>) {
    for turn in 0.. {
        let key = format!("round-{round}-writer-{number}-turn-{turn}");
        let body = json!({"ic_token": agent.ic_token, "requested_budget": 1_000, "request_id": key});
        let Some(granted) = ask(&agent, "budget/handshake", body).await else {
            memory.lock().expect("no writer panicked").unsure_grant += 1_000;
            return;
        };
        let lease = granted.text("lease_id").to_owned();
        memory.lock().expect("no writer panicked").grants.push((key, lease.clone(), granted.int("budget_granted")));
        let mut spent = 0;
        for call in 0..4_i64 {
            let (id, cost) = (format!("call-{call}"), 10 + call + number as i64);
            let body = json!({
                "lease_id": lease, "request_id": id, "tokens": 1, "cost_microdollars": cost, "model": "m", "provider": "p",
            });
            if ask(&agent, "budget/report", body).await.is_none() {
                memory.lock().expect("no writer panicked").unsure += cost;
                return;
            }
            memory.lock().expect("no writer panicked").reports.push((lease.clone(), id, cost));
            spent += cost;
        }
        // Some keep their leases
        if turn % 3 == 0 {
            let body = json!({"lease_id": lease, "spent_microdollars": spent});
            if ask(&agent, "budget/return", body).await.is_none() {
                memory.lock().expect("no writer panicked").leaving.insert(lease);
                return;
            }
            memory.lock().expect("no writer panicked").returns.push((lease, spent));
        }
    }
}

/// Fetches keys, which is audited, until the server is gone.
async fn fetch_keys(agent: Agent) {
    while ask(&agent, "agents/provider-key", json!({"ic_token": agent.ic_token})).await.is_some() {}
}

/// Creates agents and changes their totals until the server is gone: what was acknowledged, by agent.
async fn operate(admin: Client, key: i64) -> BTreeMap<i64, i64> {
    let mut told = BTreeMap::new();
    let tell = async |method, path: &str, body| admin.try_send(method, path, Some(&body)).await.ok();
    for number in 1.. {
        let body = json!({"name": "new", "initial_budget_microdollars": number, "provider_key_id": key});
        let Some(reply) = tell(Method::POST, "agents", body).await else { break };
        let id = reply.expect(201).int("id");
        told.insert(id, number);
        let body = json!({"total_allocated_microdollars": number + 1});
        let Some(reply) = tell(Method::PUT, &format!("agents/{id}/budget"), body).await else {
            // Either may be true of it
            told.remove(&id);
            break;
        };
        told.insert(id, reply.expect(200).int("total_allocated"));
        // Who changes agents without a pause is a burden to all others, for every grant looks at them again
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    told
}

/// Everything that was acknowledged is there.
async fn remembers(agent: &Agent, memory: &Memory) {
    let mut by_lease = BTreeMap::<&str, Vec<Value>>::new();
    for (lease, id, cost) in &memory.reports {
        by_lease.entry(lease).or_default().push(json!({
            "request_id": id, "tokens": 1, "cost_microdollars": cost, "model": "m", "provider": "p",
        }));
    }
    for (lease, reports) in by_lease {
        let count = i64::try_from(reports.len()).expect("a few");
        let body = json!({"lease_id": lease, "reports": reports});
        let answer = agent.client.post("budget/report/batch", body).await.expect(200);
        // The same id with another cost would be a conflict, one that is not there would be recorded
        assert_eq!((answer.int("duplicates"), answer.int("recorded"), answer.int("failed")), (count, 0, 0), "{answer}");
    }
    for (lease, spent) in &memory.returns {
        let answer = agent.client.post("budget/return", json!({"lease_id": lease})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.flag("duplicate")), (*spent, true));
    }
    let returned = memory.returns.iter().map(|(lease, _)| lease).collect::<BTreeSet<_>>();
    for (key, lease, amount) in memory.grants.iter().filter(|(_, lease, _)| !returned.contains(lease)) {
        let again = agent.handshake(json!({"requested_budget": 1_000, "request_id": key})).await;
        if memory.leaving.contains(lease) && again.status == 409 {
            again.error(409, "LEASE_CLOSED");
            continue;
        }
        let again = again.expect(200);
        assert_eq!((again.text("lease_id"), again.flag("duplicate")), (lease.as_str(), true));
        assert_eq!(again.int("budget_granted"), *amount);
    }
}

on_both_backends! {
    async fn what_was_acknowledged_to_64_writers_survives_kill_9(world: World) {
        let agents = [world.agent(1_000_000_000).await, world.agent(1_000_000_000).await];
        world.cap(json!({"kind": "organization"}), 1_000_000_000_000).await;
        let mut memories = [Memory::default(), Memory::default()];
        for round in 0..rounds() {
            let running = agents.each_ref().map(|_| Arc::new(Mutex::new(Memory::default())));
            let writers = (0..WRITERS).map(|number| {
                let (agent, memory) = (agents[number % 2].clone(), running[number % 2].clone());
                tokio::spawn(write(agent, round, number, memory))
            });
            let writers = writers.collect::<Vec<_>>();
            let fetching = tokio::spawn(fetch_keys(agents[0].clone()));
            let operating = tokio::spawn(operate(world.admin().await, world.provider_key().await));
            // Wait until all are at it, then for some odd time
            eventually("the writers write", || async {
                let told = running.iter().map(|memory| memory.lock().expect("no writer panicked").reports.len());
                (told.sum::<usize>() > WRITERS).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(20 + 37 * (round % 11))).await;
            world.server.kill().await;
            for writer in writers {
                writer.await.expect("refused while the server lived");
            }
            fetching.await.expect("refused while the server lived");
            let told = operating.await.expect("refused while the server lived");
            verify_stopped(&world).await;
            world.server.start_again().await;
            for (agent, total) in told {
                assert_eq!(world.budget_of(agent).await.int("total_allocated"), total);
            }
            for ((agent, running), memory) in agents.iter().zip(running).zip(&mut memories) {
                let new = std::mem::take(&mut *running.lock().expect("no writer panicked"));
                assert!(!new.reports.is_empty() && !new.grants.is_empty());
                remembers(agent, &new).await;
                memory.reports.extend(new.reports);
                memory.grants.extend(new.grants);
                memory.returns.extend(new.returns);
                memory.unsure += new.unsure;
                memory.unsure_grant += new.unsure_grant;
            }
        }
        for (agent, memory) in agents.iter().zip(&memories) {
            // Beyond what was acknowledged there can only be what was asked for and not answered
            let books = books(&world, agent).await;
            let reported = memory.reports.iter().map(|(_, _, cost)| cost).sum::<i64>();
            assert!((reported..=reported + memory.unsure).contains(&books.spent), "{reported} {books:?}");
            let returned = memory.returns.iter().map(|(lease, _)| lease).collect::<BTreeSet<_>>();
            let open = memory.grants.iter().filter(|(_, lease, _)| !returned.contains(lease));
            let granted = open.map(|(_, _, amount)| amount).sum::<i64>();
            assert!(books.leased <= granted + memory.unsure_grant, "{granted} {books:?}");
        }
        let entries = journal(&world, "").await;
        assert!((1..).zip(&entries).all(|(seq, entry)| entry.int("seq") == seq), "without holes");
        world.server.stop().await;
        verify_stopped(&world).await;
    }

    async fn where_one_of_two_servers_is_killed_the_other_goes_on(world: World) {
        if world.backend() == Backend::Sqlite {
            // The embedded database has one server
            return;
        }
        let (_second, other) = world.another_server().await;
        let agent = world.agent(1_000_000_000).await;
        let memories = [(); 2].map(|()| Arc::new(Mutex::new(Memory::default())));
        let writers = (0..32).map(|number| {
            let agent = if number % 2 == 0 { agent.clone() } else { agent.at(&other) };
            tokio::spawn(write(agent, 0, number, memories[number % 2].clone()))
        });
        let writers = writers.collect::<Vec<_>>();
        let reported = |which: usize| memories[which].lock().expect("no writer panicked").reports.len();
        eventually("both servers are at work", || async { (reported(0) > 32 && reported(1) > 32).then_some(()) }).await;
        world.server.kill().await;
        let so_far = reported(1);
        eventually("the other one works on", || async { (reported(1) > so_far + 64).then_some(()) }).await;
        for (number, writer) in writers.into_iter().enumerate() {
            if number % 2 == 0 {
                writer.await.expect("refused while the server lived");
            } else {
                writer.abort();
            }
        }
        let told = std::mem::take(&mut *memories[0].lock().expect("no writer panicked"));
        remembers(&agent.at(&other), &told).await;
        let told = std::mem::take(&mut *memories[1].lock().expect("no writer panicked"));
        remembers(&agent.at(&other), &told).await;
        world.server.start_again().await;
        remembers(&agent, &told).await;
        verify_stopped(&world).await;
    }

    async fn a_server_told_to_stop_answers_what_it_has_begun(world: World) {
        let agent = world.agent(1_000_000_000).await;
        let lease = agent.borrow(1_000_000).await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let writers = (0..32).map(|number| {
            let (lease, told) = (lease.clone(), told.clone());
            tokio::spawn(async move {
                for call in 0.. {
                    let id = format!("writer-{number}-call-{call}");
                    let body = json!({
                        "lease_id": lease.id, "request_id": id, "tokens": 1, "cost_microdollars": 3, "model": "m",
                        "provider": "p",
                    });
                    match lease.agent.client.try_send(Method::POST, "budget/report", Some(&body)).await {
                        Ok(reply) if reply.is_success() => told.lock().expect("nobody panicked").push(id),
                        // Draining may refuse, but says so
                        Ok(reply) => return drop(reply.error(503, "SERVICE_UNAVAILABLE")),
                        Err(_) => return,
                    }
                }
            })
        });
        let writers = writers.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = world.server.stop().await;
        assert!(status.success(), "{status}\n{}", world.server.log());
        for writer in writers {
            writer.await.expect("answered or cut off");
        }
        verify_stopped(&world).await;
        world.server.start_again().await;
        let told = std::mem::take(&mut *told.lock().expect("nobody panicked"));
        assert!(!told.is_empty());
        for ids in told.chunks(1_000) {
            let reports = ids.iter().map(|id| json!({
                "request_id": id, "tokens": 1, "cost_microdollars": 3, "model": "m", "provider": "p",
            }));
            let body = json!({"lease_id": lease.id, "reports": reports.collect::<Vec<_>>()});
            let answer = agent.client.post("budget/report/batch", body).await.expect(200);
            assert_eq!((answer.int("duplicates"), answer.int("recorded")), (ids.len() as i64, 0));
        }
    }
}
