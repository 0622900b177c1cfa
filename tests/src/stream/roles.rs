//! Everybody sees exactly what they may, live and on resume, and not a moment longer.

use super::{Ended, Socket};
use crate::harness::*;

/// The agents in the next events, until one of `last`.
async fn agents_until(socket: &mut Socket, last: i64) -> Vec<Value> {
    let mut agents = Vec::new();
    loop {
        let frame = socket.next().await;
        if frame["seq"].is_i64() {
            agents.push(frame["agent_id"].clone());
        }
        if frame["event"] == "lease_returned" && frame["agent_id"] == last {
            return agents;
        }
    }
}

async fn work(agent: &Agent) {
    let lease = agent.borrow(10_000).await;
    lease.report("call", 5).await.expect(200);
    lease.give_back(json!({})).await.expect(200);
}

on_both_backends! {
    async fn everybody_sees_exactly_what_they_may_live_and_on_resume(world: World) {
        let admin = world.admin().await;
        let (user, viewer) = (world.user("una").await, world.viewer("vic").await);
        let one = world.agent_with(json!({"owner_id": user.id})).await;
        let two = world.agent_with(json!({"owner_id": viewer.id})).await;
        let start = Socket::authenticated(&admin, admin.token().expect("logged in")).await.1;
        let since = format!("{}:{}", start.text("epoch"), start.int("head"));
        let token = |client: &Client| client.token().expect("logged in").to_owned();
        let readers = [
            (token(&admin), vec![one.id, two.id]),
            (token(&user.client), vec![one.id]),
            (token(&viewer.client), vec![two.id]),
            (one.ic_token.clone(), vec![one.id]),
        ];
        let mut live = Vec::new();
        for (token, _) in &readers {
            live.push(Socket::subscribed(&admin, token, json!({})).await);
        }
        for agent in [&one, &two, &one, &two] {
            work(agent).await;
        }
        work(&one).await;
        for (mut socket, (token, visible)) in live.into_iter().zip(&readers) {
            let last = *visible.last().expect("something");
            for round in 0..2 {
                let seen = agents_until(&mut socket, last).await;
                assert!(seen.iter().all(|agent| visible.iter().any(|id| agent == id)), "live {round}: {seen:?}");
                assert!(seen.len() >= 3, "{seen:?}");
            }
            let mut again = Socket::subscribed(&admin, token, json!({"since": since, "agent_ids": [one.id, two.id]})).await;
            for _ in 0..2 {
                let seen = agents_until(&mut again, last).await;
                assert!(seen.iter().all(|agent| visible.iter().any(|id| agent == id)), "resumed: {seen:?}");
            }
        }
    }

    async fn rights_that_go_take_effect_at_once(world: World) {
        let admin = world.admin().await;
        let demoted = world.person("dora", "admin").await;
        let suspended = world.user("sam").await;
        let leaver = world.user("leo").await;
        let agent = world.agent(1_000_000).await;
        let own = world.agent_with(json!({"owner_id": demoted.id})).await;
        let open = async |person: &Person| {
            Socket::subscribed(&admin, person.client.token().expect("logged in"), json!({})).await
        };
        let (mut less, mut out, mut left) = (open(&demoted).await, open(&suspended).await, open(&leaver).await);
        let mut runtime = Socket::subscribed(&admin, &agent.ic_token, json!({})).await;

        admin.put(&format!("users/{}/role", demoted.id), json!({"role": "user"})).await.expect(200);
        work(&agent).await;
        work(&own).await;
        let seen = agents_until(&mut less, own.id).await;
        assert!(seen.iter().all(|agent| *agent == own.id), "{seen:?}");

        let started = tokio::time::Instant::now();
        admin.put(&format!("users/{}/suspend", suspended.id), json!({"reason": "a test"})).await.expect(200);
        let gone = |code: &str| Ended { error: Some(code.to_owned()), close: Some(4401) };
        assert_eq!(out.end().await, gone("AUTH_ACCOUNT_DISABLED"));
        leaver.client.post("auth/logout", json!({})).await;
        assert_eq!(left.end().await, gone("AUTH_TOKEN_REVOKED"));
        world.regenerate_ic_token(agent.id).await;
        assert_eq!(runtime.end().await, gone("INVALID_IC_TOKEN"));
        assert!(started.elapsed().as_secs() < 5, "at once, not when it is looked at in any case");
    }

    async fn an_agent_that_is_handed_over_is_seen_by_its_new_owner_only(world: World) {
        let admin = world.admin().await;
        let (from, to) = (world.user("from").await, world.user("to").await);
        let agent = world.agent_with(json!({"owner_id": from.id})).await;
        let stays = world.agent_with(json!({"owner_id": from.id})).await;
        let open = async |person: &Person| {
            Socket::subscribed(&admin, person.client.token().expect("logged in"), json!({})).await
        };
        let (mut before, mut after) = (open(&from).await, open(&to).await);
        admin.put(&format!("agents/{}", agent.id), json!({"owner_id": to.id})).await.expect(200);
        work(&agent).await;
        work(&stays).await;
        let seen = agents_until(&mut after, agent.id).await;
        assert!(seen.iter().all(|id| *id == agent.id), "{seen:?}");
        let seen = agents_until(&mut before, stays.id).await;
        assert!(seen.iter().all(|id| *id == stays.id), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_go_on_one_server_take_effect_on_the_other() {
    if !Backend::Postgres.ready() {
        return;
    }
    let world = World::builder(Backend::Postgres).start().await;
    let admin = world.admin().await;
    let user = world.user("sam").await;
    let (_second, there) = world.another_server().await;
    let mut socket = Socket::subscribed(&there, user.client.token().expect("logged in"), json!({})).await;
    // The other server listens from its first subscriber on, which may take a moment
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let started = tokio::time::Instant::now();
    admin.put(&format!("users/{}/suspend", user.id), json!({"reason": "a test"})).await.expect(200);
    assert_eq!(socket.end().await.close, Some(4401));
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}
