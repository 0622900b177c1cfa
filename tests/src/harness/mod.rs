//! What every end-to-end test is made of.
//!
//! | part | gives |
//! |---|---|
//! | [`on_both_backends!`] | each test twice, `on_sqlite` and `on_postgres` |
//! | [`World`] | a server of the test's own on a fresh database, personas, and builders for agents, keys and leases |
//! | [`ServerProcess`] | the server itself: kill it, start it again on its data, stop it politely, read its log |
//! | [`Client`], [`Reply`] | requests as somebody, answers as status and JSON |
//!
//! ```ignore
//! on_both_backends! {
//!     async fn what_is_returned_can_be_lent_again(world: World) {
//!         let agent = world.agent(1_000_000).await;
//!         let lease = agent.borrow(400_000).await;
//!         lease.report("call-1", 150_000).await.expect(200);
//!         let answer = lease.give_back(json!({})).await.expect(200);
//!         assert_eq!((answer.int("spent"), answer.int("returned")), (150_000, 250_000));
//!         assert_eq!(world.budget_of(agent.id).await.int("budget_remaining"), 850_000);
//!     }
//! }
//! ```
//!
//! A test that needs a database or a particular server takes `Backend` instead of `World` and begins with
//! `World::builder(backend)`.

#![allow(dead_code, unused_imports, reason = "a harness offers more than the tests of the day take")]

#[macro_use]
mod backend;
mod database;
mod http;
mod server;
mod world;

pub(crate) use backend::{Backend, Start};
pub(crate) use database::Database;
pub(crate) use http::{Client, Fields, Reply};
pub(crate) use reqwest::Method;
pub(crate) use serde_json::{Value, json};
pub(crate) use server::{CommandOutput, Launch, ServerProcess, StartFailure};
pub(crate) use world::{ADMIN_EMAIL, ADMIN_PASSWORD, Agent, Lease, Person, World, WorldBuilder};

/// Lets `count` of the same thing happen at once, all held at a line until everybody is there; the outcomes, in order.
pub(crate) async fn at_once<F>(count: usize, each: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let line = std::sync::Arc::new(tokio::sync::Barrier::new(count));
    let running = (0..count).map(|number| {
        let (line, future) = (line.clone(), each(number));
        tokio::spawn(async move {
            line.wait().await;
            future.await
        })
    });
    let mut outcomes = Vec::with_capacity(count);
    for task in running.collect::<Vec<_>>() {
        outcomes.push(task.await.unwrap_or_else(|error| panic!("one of {count} at once failed: {error}")));
    }
    outcomes
}

/// Asks again every 50 ms until there is an answer; panics with `what` when ten seconds have brought none.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
