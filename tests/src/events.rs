//! Events of agents: sent again, sent into a crowd, sent into a power cut; and what analytics say beside the books.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_client::{ClientConfig, ControlClient, Session, Usage};
use kernel::{Money, Secret};
use tokio::io::AsyncWriteExt;

use crate::books::{books, journal, verify, verify_stopped};
use crate::harness::*;

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292278994")
}

fn event(id: &str, microdollars: i64) -> Value {
    json!({
        "event_id": id, "timestamp_ms": now_ms(), "event_type": "llm_request_completed", "model": "gpt-4o",
        "provider": "openai", "input_tokens": 100, "output_tokens": 20, "cost_micros": microdollars,
    })
}

fn with_token(agent: &Agent, mut event: Value) -> Value {
    event["ic_token"] = json!(agent.ic_token);
    event
}

impl Agent {
    async fn tell(&self, event: Value) -> Reply {
        self.client.post("analytics/events", with_token(self, event)).await
    }

    async fn tell_many(&self, events: &[Value]) -> Reply {
        let body = json!({"ic_token": self.ic_token, "events": events});
        self.client.post("analytics/events/batch", body).await
    }
}

/// Every trace that fits the query.
async fn traces(world: &World, query: &str) -> Vec<Value> {
    let admin = world.admin().await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("traces?limit=500&cursor={cursor}&{query}")).await.expect(200);
        found.extend_from_slice(page.list("data"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return found,
        }
    }
}

/// What the traces of an agent cost together, in nano-dollars.
async fn traced(world: &World, agent: &Agent) -> i64 {
    let all = traces(world, &format!("agent_id={}", agent.id)).await;
    all.iter().map(|trace| trace.text("cost_nanos").parse::<i64>().expect("a number")).sum()
}

/// What the journal has charged to an agent, in nano-dollars.
async fn charged(world: &World, agent: &Agent) -> i64 {
    let entries = journal(world, &format!("agent_id={}", agent.id)).await;
    let postings = entries.iter().flat_map(|entry| entry.list("postings"));
    let mine = postings.filter(|posting| posting["scope"]["kind"] == "agent");
    let spent = mine.filter(|posting| matches!(posting.text("account"), "spent" | "overrun"));
    spent.map(|posting| posting.text("delta_nanos").parse::<i64>().expect("a number")).sum()
}

/// Sends a request and goes away before the answer.
async fn shout(world: &World, path: &str, body: &Value) {
    let url = world.server.url();
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
    let body = body.to_string();
    let head = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("written");
    socket.write_all(body.as_bytes()).await.expect("written");
    socket.flush().await.expect("written");
    // Long enough to be read, hardly long enough to be answered
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// Sends events one by one and in batches until the server is gone; remembers what was acknowledged.
async fn send_until_gone(agent: Agent, round: u64, writer: usize, told: Arc<Mutex<Vec<Value>>>) {
    for turn in 0.. {
        let id = |n: usize| format!("round-{round}-writer-{writer}-turn-{turn}-{n}");
        let events: Vec<Value> =
            (0..if turn % 2 == 0 { 1 } else { 20 }).map(|n| event(&id(n), 10 + n as i64)).collect();
        let (path, body) = match events.as_slice() {
            [one] => ("analytics/events", with_token(&agent, one.clone())),
            many => ("analytics/events/batch", json!({"ic_token": agent.ic_token, "events": many})),
        };
        let Ok(reply) = agent.client.try_send(Method::POST, path, Some(&body)).await else { return };
        assert!(reply.is_success(), "{path}: {}", reply.text);
        if let Some(rejected) = reply.body["rejected"].as_i64() {
            assert_eq!(rejected, 0, "{}", reply.text);
        }
        told.lock().expect("no writer panicked").extend(events);
    }
}

on_both_backends! {
    async fn an_event_whose_answer_was_lost_is_sent_again_and_counts_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(500_000).await;
        for round in 0..10 {
            let events: Vec<Value> = (0..5).map(|n| event(&format!("e{round}-{n}"), 100)).collect();
            let batch = json!({"ic_token": agent.ic_token, "events": events});
            shout(&world, "analytics/events/batch", &batch).await;
            agent.tell_many(&events).await.expect(200);
            let again = agent.tell_many(&events).await.expect(200);
            assert_eq!((again.int("duplicates"), again.int("accepted")), (5, 0));
            let one = event(&format!("one-{round}"), 100);
            shout(&world, "analytics/events", &with_token(&agent, one.clone())).await;
            let first = agent.tell(one.clone()).await;
            assert!(matches!(first.status, 200 | 202), "{}", first.text);
            agent.tell(one).await.expect(200);
        }
        assert_eq!(books(&world, &agent).await.spent, 6_000);
        assert_eq!(traces(&world, &format!("lease_id={}", lease.id)).await.len(), 60);
        assert_eq!(traced(&world, &agent).await, charged(&world, &agent).await);
        verify(&world).await;
    }

    async fn a_crowd_is_told_to_come_back_and_never_that_it_is_too_much(backend: Backend) {
        let world = World::builder(backend).env("IRON__DATABASE__WRITE_QUEUE", "1").start().await;
        let agent = world.agent(1_000_000_000).await;
        agent.borrow(1_000_000).await;
        let crowd = agent.clone();
        let waited = at_once(64, move |number| {
            let agent = crowd.clone();
            async move {
                let mut waited = 0;
                for turn in 0..5 {
                    let events: Vec<Value> = (0..50).map(|n| event(&format!("{number}-{turn}-{n}"), 1)).collect();
                    loop {
                        let reply = agent.tell_many(&events).await;
                        if reply.status == 200 {
                            assert_eq!(reply.body.int("rejected"), 0);
                            break;
                        }
                        assert_eq!(reply.header("retry-after"), "1");
                        reply.error(503, "OVERLOADED");
                        waited += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                waited
            }
        })
        .await;
        assert!(waited.iter().sum::<u64>() > 0, "nobody had to wait: the test says nothing");
        assert_eq!(books(&world, &agent).await.spent, 64 * 5 * 50);
    }

    async fn no_acknowledged_event_is_lost_to_kill_9(world: World) {
        let agents = [world.agent(1_000_000_000).await, world.agent(1_000_000_000).await];
        for agent in &agents {
            agent.borrow(100_000_000).await;
        }
        let mut all: [Vec<Value>; 2] = Default::default();
        for round in 0..3 {
            let told = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
            let writers: Vec<_> = (0..32)
                .map(|number| {
                    let (agent, told) = (agents[number % 2].clone(), told[number % 2].clone());
                    tokio::spawn(send_until_gone(agent, round, number, told))
                })
                .collect();
            eventually("the writers write", || async {
                let sent: usize = told.iter().map(|told| told.lock().expect("no writer panicked").len()).sum();
                (sent > 500).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(30 + 41 * round)).await;
            world.server.kill().await;
            for writer in writers {
                writer.await.expect("refused while the server lived");
            }
            verify_stopped(&world).await;
            world.server.start_again().await;
            for ((agent, told), all) in agents.iter().zip(told).zip(&mut all) {
                let told = std::mem::take(&mut *told.lock().expect("no writer panicked"));
                for events in told.chunks(500) {
                    let again = agent.tell_many(events).await.expect(200);
                    assert_eq!((again.int("accepted"), again.int("rejected")), (0, 0), "an acknowledged event was lost");
                }
                all.extend(told);
            }
        }
        for (agent, told) in agents.iter().zip(&all) {
            let stored = traces(&world, &format!("agent_id={}", agent.id)).await;
            let ids: BTreeSet<&str> = stored.iter().map(|trace| trace.text("event_id")).collect();
            assert_eq!(ids.len(), stored.len(), "none is there twice");
            assert!(told.iter().all(|event| ids.contains(event.text("event_id"))));
            assert_eq!(traced(&world, agent).await, charged(&world, agent).await);
        }
        world.server.stop().await;
        verify_stopped(&world).await;
    }

    async fn what_example_agents_spend_is_what_analytics_say(world: World) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut agents = Vec::new();
        for _ in 0..3 {
            agents.push(world.agent(3_000_000).await);
        }
        let working = agents.iter().map(|agent| {
            let (url, token) = (world.server.url(), agent.ic_token.clone());
            let journal = dir.path().join(agent.id.to_string());
            let teller = agent.clone();
            tokio::spawn(async move {
                let config = ClientConfig {
                    tranche: Money::from_micros(200_000).expect("in range"),
                    report_interval: Duration::from_millis(20),
                    ..ClientConfig::new(url, Secret::new(token), journal)
                };
                let session: Session = ControlClient::connect(config).await.expect("connected");
                let mut spent = 0;
                for call in 1_i64..=300 {
                    let cost = 500 + (call * 7_919) % 3_000;
                    let worst = Money::from_micros(4_000).expect("in range");
                    let reservation = session.reserve(worst).await.expect("lent");
                    let cost_money = Money::from_micros(cost).expect("in range");
                    reservation.commit(Usage::new("gpt-4o", "openai", 120, cost_money));
                    spent += cost;
                    // Failures cost nothing, and the client has nothing to report of them
                    if call % 50 == 0 {
                        let mut failed = event(&format!("failed-{call}"), 0);
                        failed["event_type"] = json!("llm_request_failed");
                        failed["error_code"] = json!("rate_limit");
                        teller.tell(failed).await.expect(202);
                    }
                }
                session.close().await.expect("returned");
                spent
            })
        });
        let mut spent = Vec::new();
        for agent in working.collect::<Vec<_>>() {
            spent.push(agent.await.expect("worked"));
        }
        for (agent, spent) in agents.iter().zip(&spent) {
            assert_eq!(books(&world, agent).await.spent, *spent);
            assert_eq!(charged(&world, agent).await, spent * 1_000);
            assert_eq!(traced(&world, agent).await, spent * 1_000, "to the nano-dollar");
            let failed = traces(&world, &format!("agent_id={}&status=failed", agent.id)).await;
            assert_eq!(failed.len(), 6);
        }
        verify(&world).await;
    }
}
