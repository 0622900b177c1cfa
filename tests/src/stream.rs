//! The live stream over real sockets.
//!
//! | variable | meaning |
//! |---|---|
//! | `IRON_TEST_STREAM_RECONNECTS` | how often the checker's connection is torn, default 30 |
//! | `IRON_TEST_STREAM_KILLS` | how often the server is killed under it, default 3 |

mod browser;
mod checker;
mod client;
mod crash;
mod roles;
mod slow;
mod socket;

use socket::{Ended, Socket};

use crate::harness::*;

/// A number from the environment.
fn rounds(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok().filter(|text| !text.is_empty());
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

on_both_backends! {
    async fn a_commit_is_seen_by_whoever_listens(world: World) {
        let agent = world.agent(1_000_000).await;
        let admin = world.admin().await;
        let (mut socket, hello) = Socket::authenticated(&admin, admin.token().expect("logged in")).await;
        assert_eq!(hello["role"], "admin");
        let subscribed = socket.next().await;
        assert_eq!((&subscribed["type"], &subscribed["replaying"]), (&json!("SUBSCRIBED"), &json!(false)));
        assert_eq!(subscribed["cursor"], format!("{}:{}", hello.text("epoch"), hello.int("head")));
        let lease = agent.borrow(400_000).await;
        let event = socket.event("lease_granted").await;
        assert_eq!((event.int("agent_id"), event["data"].text("lease_id")), (agent.id, lease.id.as_str()));
        lease.report("call-1", 150_000).await.expect(200);
        let event = socket.event("llm_call").await;
        assert_eq!(event["data"].int("cost_microdollars"), 150_000);
        lease.give_back(json!({})).await.expect(200);
        socket.event("lease_returned").await;
    }

    async fn a_credential_comes_as_header_as_subprotocol_or_as_frame(world: World) {
        let admin = world.admin().await;
        let token = admin.token().expect("logged in").to_owned();
        let agent = world.agent(1_000).await;
        let bearer = format!("Bearer {token}");
        let mut by_header = Socket::open(&admin, "/ws", &[("authorization", &bearer)]).await.expect("let in");
        assert_eq!(by_header.next().await["type"], "AUTH_OK");
        assert_eq!(by_header.next().await["type"], "SUBSCRIBED");
        let protocols = format!("iron-stream.v1, bearer.{token}");
        let mut by_protocol =
            Socket::open(&admin, "/api/v1/ws", &[("sec-websocket-protocol", &protocols)]).await.expect("let in");
        assert_eq!(by_protocol.protocol.as_deref(), Some("iron-stream.v1"));
        assert_eq!(by_protocol.next().await["type"], "AUTH_OK");
        let mut by_frame = Socket::open(&admin, "/ws", &[]).await.expect("let in");
        by_frame.say(json!({"type": "AUTH", "ic_token": agent.ic_token})).await;
        let hello = by_frame.next().await;
        assert_eq!((hello.text("subject"), &hello["role"]), (format!("agent_{}", agent.id).as_str(), &Value::Null));
        for headers in [("authorization", "Bearer nonsense"), ("sec-websocket-protocol", "bearer.nonsense")] {
            assert_eq!(Socket::open(&admin, "/ws", &[headers]).await.err(), Some(401));
        }
        assert_eq!(Socket::open(&admin, "/ws", &[("origin", "https://evil.example")]).await.err(), Some(403));
        let mut wrong = Socket::open(&admin, "/ws", &[]).await.expect("let in");
        wrong.say(json!({"type": "AUTH", "token": "nonsense"})).await;
        assert_eq!(wrong.end().await, Ended { error: Some("AUTH_INVALID_TOKEN".into()), close: Some(4401) });
    }

    async fn frames_that_will_not_do_are_answered_and_one_that_is_too_long_ends_it(world: World) {
        let admin = world.admin().await;
        let (mut socket, _) = Socket::authenticated(&admin, admin.token().expect("logged in")).await;
        assert_eq!(socket.next().await["type"], "SUBSCRIBED");
        socket.say(json!({"type": "PUBLISH"})).await;
        assert_eq!(socket.next().await["code"], "VALIDATION_ERROR");
        socket.say_bytes(b"\x00\x01").await;
        assert_eq!(socket.next().await["code"], "VALIDATION_ERROR");
        socket.say(json!({"type": "SUBSCRIBE", "agent_ids": [], "types": ["COST_ALERT"]})).await;
        assert_eq!(socket.next().await["type"], "SUBSCRIBED");
        for length in [65 << 10, 1 << 20] {
            let (mut socket, _) = Socket::authenticated(&admin, admin.token().expect("logged in")).await;
            socket.say(json!({"type": "SUBSCRIBE", "since": "x".repeat(length)})).await;
            let end = socket.end().await;
            assert_eq!(end, Ended { error: Some("PAYLOAD_TOO_LARGE".into()), close: Some(1009) }, "{length}");
        }
    }

    async fn a_server_told_to_stop_sends_its_listeners_away_and_ends(world: World) {
        let admin = world.admin().await;
        let (mut socket, _) = Socket::authenticated(&admin, admin.token().expect("logged in")).await;
        let mut events = admin.request(Method::GET, "events/stream").send().await.expect("an answer");
        assert_eq!(events.status(), 200);
        let stopping = async {
            let started = tokio::time::Instant::now();
            assert!(world.server.stop().await.success());
            assert!(started.elapsed().as_secs() < 5, "nobody is waited for who has understood");
        };
        let ((), end) = tokio::join!(stopping, socket.end());
        assert_eq!(end.close, Some(1001));
        while let Ok(Some(_)) = events.chunk().await {}
        world.server.start_again().await;
        assert!(Socket::open(&admin, "/ws", &[]).await.is_ok());
    }

    async fn server_sent_events_resume_where_they_were(world: World) {
        let admin = world.admin().await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(500_000).await;
        let hello = Socket::authenticated(&admin, admin.token().expect("logged in")).await.1;
        let since = format!("{}:0", hello.text("epoch"));
        let read = async |last: &str, until: i64| {
            let request = admin.request(Method::GET, "events/stream").header("last-event-id", last);
            let mut response = request.send().await.expect("an answer");
            let (mut text, mut places) = (String::new(), Vec::new());
            while places.last().is_none_or(|last| *last < until) {
                let chunk = response.chunk().await.expect("it goes on").expect("it goes on");
                text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
                while let Some((block, rest)) = text.split_once("\n\n") {
                    let place = block.lines().find_map(|line| line.strip_prefix("data: ")).map(|data| {
                        serde_json::from_str::<Value>(data).expect("JSON").int("seq")
                    });
                    places.extend(place);
                    text = rest.to_owned();
                }
            }
            places
        };
        let head = hello.int("head");
        assert_eq!(read(&since, head).await, (1..=head).collect::<Vec<_>>());
        for call in 0..5 {
            lease.report(&format!("call-{call}"), 10).await.expect(200);
        }
        let last = format!("{}:{head}", hello.text("epoch"));
        let more = read(&last, head + 5).await;
        assert_eq!(more[..5], (head + 1..=head + 5).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_the_metrics_count_them() {
    if !Backend::Sqlite.ready() {
        return;
    }
    let world = World::builder(Backend::Sqlite).env("IRON__STREAM__MAX_CONNECTIONS", "2").start().await;
    let admin = world.admin().await;
    let first = Socket::authenticated(&admin, admin.token().expect("logged in")).await;
    let _second = Socket::open(&admin, "/ws", &[]).await.expect("let in");
    assert_eq!(Socket::open(&admin, "/ws", &[]).await.err(), Some(503));
    assert_eq!(admin.get("events/stream").await.status, 503);
    let metrics = world.anon().get("/metrics").await.text;
    assert!(metrics.contains("stream_connections 2"), "{metrics}");
    drop(first);
    eventually("room for another", || async { Socket::open(&admin, "/ws", &[]).await.ok() }).await;
}
