//! A client that demands 1, 2, 3 … without hole or duplicate, through torn connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::rounds;
use super::socket::Socket;
use crate::harness::*;

/// What a checker has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) epoch: String,
    /// The last place; every one before it has been seen.
    pub(super) last: i64,
    /// By place: its name, its request id and its lease.
    pub(super) events: BTreeMap<i64, (String, Option<String>, Option<String>)>,
    /// How often it has connected.
    pub(super) connections: u64,
}

/// Follows the stream from its beginning in the background.
#[derive(Clone)]
pub(super) struct Checker {
    pub(super) seen: Arc<Mutex<Seen>>,
    stop: Arc<tokio::sync::Notify>,
}

impl Checker {
    /// Follows as that admin; lets go of each connection after at most `tear` events, if given.
    pub(super) fn start(admin: &Client, tear: Option<u64>) -> (Self, tokio::task::JoinHandle<()>) {
        let checker = Self { seen: Arc::default(), stop: Arc::default() };
        let (this, admin) = (checker.clone(), admin.clone());
        let task = tokio::spawn(async move {
            let stop = Arc::clone(&this.stop);
            tokio::select! {
                () = this.follow(&admin, tear) => {}
                () = stop.notified() => {}
            }
        });
        (checker, task)
    }

    pub(super) fn last(&self) -> i64 {
        self.seen.lock().expect("not poisoned").last
    }

    async fn follow(&self, admin: &Client, tear: Option<u64>) {
        let token = admin.token().expect("logged in").to_owned();
        let mut turn = 0_u64;
        loop {
            turn += 1;
            // Different every time, and the same in every run
            let most = tear.map(|most| 1 + (turn * 7) % most);
            if self.connection(admin, &token, most).await.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// One connection; `None` where it could not be had or broke.
    async fn connection(&self, admin: &Client, token: &str, most: Option<u64>) -> Option<()> {
        let mut socket = Socket::try_open(admin, "/ws", &[]).await.ok()?;
        socket.say(json!({"type": "AUTH", "token": token, "subscribe": false})).await;
        let hello = socket.try_next().await.ok()?;
        if hello["type"] == "ERROR" {
            // The database may be away for a moment
            assert_eq!(hello["code"], "SERVICE_UNAVAILABLE", "{hello}");
            return None;
        }
        let since = {
            let mut seen = self.seen.lock().expect("not poisoned");
            seen.connections += 1;
            if seen.epoch.is_empty() {
                seen.epoch = hello.text("epoch").to_owned();
            }
            assert_eq!(seen.epoch, hello.text("epoch"), "the store is the same");
            assert!(hello.int("head") >= seen.last, "what was seen is durable: {hello}, seen {}", seen.last);
            format!("{}:{}", seen.epoch, seen.last)
        };
        socket.say(json!({"type": "SUBSCRIBE", "since": since})).await;
        let mut told = 0;
        loop {
            let frame = socket.try_next().await.ok()?;
            if let Some(seq) = frame["seq"].as_i64() {
                let mut seen = self.seen.lock().expect("not poisoned");
                assert_eq!(frame["prev"], seen.last, "{frame}");
                assert_eq!(seq, seen.last + 1, "an admin sees everything: {frame}");
                assert_eq!(frame["epoch"], seen.epoch);
                seen.last = seq;
                let text = |key: &str| frame["data"][key].as_str().map(str::to_owned);
                let name = frame["event"].as_str().or(frame["type"].as_str()).unwrap_or_default().to_owned();
                seen.events.insert(seq, (name, text("request_id"), text("lease_id")));
                told += 1;
                if most.is_some_and(|most| told >= most) {
                    // Torn: no goodbye
                    return Some(());
                }
            } else if frame["type"] == "SUBSCRIBED" {
                assert_eq!(frame["cursor"], since);
            } else {
                assert_ne!(frame["type"], "ERROR", "{frame}");
                assert_ne!(frame["type"], "GAP", "{frame}");
            }
        }
    }

    /// Waits until it has seen everything that there is.
    pub(super) async fn catch_up(&self, admin: &Client) -> i64 {
        let head = head(admin).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while self.last() < head {
            assert!(tokio::time::Instant::now() < deadline, "seen {} of {head}", self.last());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        head
    }

    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }
}

/// Where the stream stands.
pub(super) async fn head(admin: &Client) -> i64 {
    Socket::authenticated(admin, admin.token().expect("logged in")).await.1.int("head")
}

/// Reports small calls until told to stop or the server is gone; the ids that were acknowledged.
pub(super) async fn report(lease: Lease, name: String, stop: Arc<std::sync::atomic::AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for call in 0.. {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{call}");
        let body = json!({
            "lease_id": lease.id, "request_id": id, "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p",
        });
        let Ok(reply) = lease.agent.client.try_send(Method::POST, "budget/report", Some(&body)).await else { break };
        if reply.is_success() {
            acknowledged.push(id);
        } else {
            assert_eq!(reply.status, 503, "{}", reply.text);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    acknowledged
}

on_both_backends! {
    async fn nothing_is_lost_or_doubled_through_torn_connections(world: World) {
        let admin = world.admin().await;
        let agent = world.agent(1_000_000_000).await;
        let (checker, task) = Checker::start(&admin, Some(20));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut writers = Vec::new();
        for number in 0..4 {
            let lease = agent.borrow(1_000_000).await;
            writers.push(tokio::spawn(report(lease, format!("w{number}"), Arc::clone(&stop))));
        }
        let wanted = rounds("IRON_TEST_STREAM_RECONNECTS", 30);
        let connections = || checker.seen.lock().expect("not poisoned").connections;
        while connections() < wanted {
            assert!(!task.is_finished(), "the checker has found fault");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.extend(writer.await.expect("it ends well"));
        }
        let head = checker.catch_up(&admin).await;
        checker.stop();
        task.await.expect("the checker has found no fault");
        let seen = checker.seen.lock().expect("not poisoned");
        assert_eq!(seen.events.keys().copied().collect::<Vec<_>>(), (1..=head).collect::<Vec<_>>());
        for id in acknowledged {
            let count = seen.events.values().filter(|(name, request, _)| name == "llm_call" && request.as_ref() == Some(&id));
            assert_eq!(count.count(), 1, "{id}");
        }
    }
}
