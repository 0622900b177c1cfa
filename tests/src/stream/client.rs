//! The subscription of the client crate against the real server.

use std::time::Duration;

use control_client::{RetryPolicy, StreamConfig, StreamError, StreamItem, StreamKind, Subscription, What};
use kernel::Secret;
use tokio::time::timeout;

use super::Socket;
use super::checker::head as head_of;
use crate::harness::*;

fn subscription(url: &str, token: &str, adjust: impl FnOnce(&mut StreamConfig)) -> Subscription {
    let mut config = StreamConfig::new(url, Secret::new(token.to_owned()));
    let (first, longest) = (Duration::from_millis(50), Duration::from_millis(200));
    config.retry = RetryPolicy { first, longest, give_up_after: Duration::MAX };
    adjust(&mut config);
    Subscription::new(config).expect("set up")
}

async fn next(subscription: &mut Subscription) -> Result<StreamItem, StreamError> {
    timeout(Duration::from_secs(20), subscription.next()).await.expect("within 20 seconds")
}

/// A world whose server comes back to the same address.
async fn world(backend: Backend) -> World {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    World::builder(backend).env("IRON__SERVER__ADDRESS", &free.to_string()).start().await
}

on_both_backends! {
    async fn a_subscription_outlives_restarts_and_kills_of_the_server(backend: Backend) {
        let world = world(backend).await;
        let admin = world.admin().await;
        let agent = world.agent(1_000_000).await;
        let head = head_of(&admin).await;
        let epoch = Socket::authenticated(&admin, admin.token().expect("logged in")).await.1.text("epoch").to_owned();
        let since = format!("{epoch}:0");
        let token = admin.token().expect("logged in");
        let mut stream = subscription(&world.server.url(), token, |config| config.since = Some(since));
        let mut last = 0;
        let mut read_to = async |stream: &mut Subscription, head: i64| {
            while last < head {
                match next(stream).await.expect("it goes on") {
                    StreamItem::Event(event) => {
                        assert_eq!((event.seq, event.prev), (last + 1, last));
                        last = event.seq;
                    }
                    StreamItem::Gap(gap) => panic!("{gap:?}"),
                }
            }
        };
        read_to(&mut stream, head).await;
        let lease = agent.borrow(100_000).await;
        for round in 0..3 {
            lease.report(&format!("before-{round}"), 1).await.expect(200);
            if round == 1 {
                world.server.stop().await;
            } else {
                world.server.kill().await;
            }
            world.server.start_again().await;
            lease.report(&format!("after-{round}"), 1).await.expect(200);
            let head = head_of(&admin).await;
            read_to(&mut stream, head).await;
        }
        assert_eq!(stream.cursor(), Some(format!("{epoch}:{last}").as_str()));
    }

    async fn what_is_asked_for_comes_typed_and_an_ended_credential_ends_it(backend: Backend) {
        let world = world(backend).await;
        let (agent, other) = (world.agent(1_000_000).await, world.agent(1_000_000).await);
        let admin = world.admin().await;
        let epoch = Socket::authenticated(&admin, admin.token().expect("logged in")).await.1.text("epoch").to_owned();
        let mut stream = subscription(&world.server.url(), &agent.ic_token, |config| {
            config.kinds = vec![StreamKind::AgentEvent];
            config.since = Some(format!("{epoch}:0"));
        });
        other.borrow(1_000).await;
        let lease = agent.borrow(1_000).await;
        loop {
            let StreamItem::Event(event) = next(&mut stream).await.expect("it goes on") else { panic!("a gap") };
            assert_eq!(event.agent.map(|agent| agent.0), Some(agent.id));
            if let What::AgentEvent { event, data } = event.what
                && event == "lease_granted"
            {
                assert_eq!(data.text("lease_id"), lease.id);
                break;
            }
        }
        world.regenerate_ic_token(agent.id).await;
        let end = loop {
            match next(&mut stream).await {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert!(matches!(&end, StreamError::NotAuthorised { code, .. } if code == "INVALID_IC_TOKEN"), "{end:?}");
        assert_eq!(next(&mut stream).await, Err(end), "it stays so");
    }

    async fn a_cursor_of_another_store_is_a_gap_or_the_end(backend: Backend) {
        let world = world(backend).await;
        let admin = world.admin().await;
        let token = admin.token().expect("logged in");
        let old = |config: &mut StreamConfig| config.since = Some("another:7".to_owned());
        let mut strict = subscription(&world.server.url(), token, |config| {
            old(config);
            config.allow_gap = false;
        });
        assert_eq!(next(&mut strict).await, Err(StreamError::CursorTooOld));
        let mut lenient = subscription(&world.server.url(), token, old);
        let StreamItem::Gap(gap) = next(&mut lenient).await.expect("told") else { panic!("an event") };
        assert_eq!((gap.from_seq, gap.reason.as_str()), (8, "epoch"));
        world.agent(1_000).await;
        assert!(matches!(next(&mut lenient).await, Ok(StreamItem::Event(_))));
    }
}
