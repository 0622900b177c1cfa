//! Credentials: what is revoked, replaced or somebody else's is refused at once, everywhere.

mod admins;
mod api_tokens;
mod freezes;
mod keys;
mod people;
mod roles;

use crate::books::{Books, books};
use crate::harness::*;

/// Every endpoint that takes an IC token, asked with this one; the lease is for the refresh.
pub(crate) async fn ask_everywhere(agent: &Agent, lease: &str) -> Vec<Reply> {
    let refresh = json!({"ic_token": agent.ic_token, "current_lease_id": lease, "requested_budget": 1_000});
    vec![
        agent.handshake(json!({"requested_budget": 1_000})).await,
        agent.client.post("budget/refresh", refresh).await,
        agent.fetch_provider_key().await,
    ]
}

/// The token is refused at every endpoint.
async fn refused_everywhere(agent: &Agent, lease: &str) {
    for reply in ask_everywhere(agent, lease).await {
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        reply.error(401, "INVALID_IC_TOKEN");
    }
}

/// Report and return as their holder would send them, with that bearer token.
async fn report_as(lease: &Lease, bearer: &str, id: &str) -> Reply {
    let body = json!({
        "lease_id": lease.id, "request_id": id, "tokens": 1, "cost_microdollars": 10, "model": "m", "provider": "p",
    });
    lease.agent.client.with_token(bearer).post("budget/report", body).await
}

on_both_backends! {
    async fn a_revoked_ic_token_is_refused_at_once_while_its_leases_are_still_booked(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        for reply in ask_everywhere(&agent, &agent.borrow(1_000).await.id).await {
            reply.expect(200);
        }
        let lease = agent.borrow(100_000).await;
        let before = books(&world, &agent).await;
        admin.delete(&format!("agents/{}/ic-token", agent.id)).await.expect(204);
        refused_everywhere(&agent, &lease.id).await;
        assert_eq!(books(&world, &agent).await, before);

        let report = lease.report("after", 30_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.int("lease_spent")), ("active", 30_000));
        assert!(report_as(&lease, &agent.ic_token, "with the old token").await.is_success(), "it is still the holder's");
        let answer = lease.give_back(json!({"spent_microdollars": 40_000})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (40_000, 60_000));
        assert_eq!(books(&world, &agent).await.spent, before.spent + 40_000);

        let shown = admin.get(&format!("agents/{}/ic-token", agent.id)).await.expect(200);
        assert_eq!((shown.flag("has_ic_token"), &shown["created_at"]), (false, &Value::Null));
        admin.delete(&format!("agents/{}/ic-token", agent.id)).await.expect(204);
        refused_everywhere(&agent, &lease.id).await;
    }

    async fn a_replaced_ic_token_is_refused_at_once_and_its_leases_are_of_an_older_epoch(world: World) {
        let agent = world.agent(1_000_000).await;
        let first = agent.handshake(json!({"requested_budget": 100_000, "request_id": "start"})).await.expect(200);
        let lease = agent.lease(agent.handshake(json!({"requested_budget": 100_000, "request_id": "start"})).await);
        let new = agent.with_ic_token(&world.regenerate_ic_token(agent.id).await);
        refused_everywhere(&agent, &lease.id).await;

        let body = json!({"ic_token": new.ic_token, "current_lease_id": lease.id});
        world.anon().post("budget/refresh", body).await.error(403, "STALE_EPOCH");
        new.handshake(json!({"requested_budget": 100_000, "request_id": "start"})).await.error(409, "LEASE_CLOSED");
        let second = new.handshake(json!({"requested_budget": 50_000})).await.expect(200);
        assert!(second.int("epoch") > first.int("epoch"), "{first} {second}");
        assert_eq!(new.fetch_provider_key().await.expect(200)["epoch"], second["epoch"]);
        assert_eq!(world.lease(&lease.id).await["epoch"], first["epoch"]);
        lease.report("late", 10_000).await.expect(200);
        lease.give_back(json!({})).await.expect(200);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 10_000, 50_000, 0));
    }

    async fn from_the_answer_on_nobody_gets_anything_for_a_replaced_token(world: World) {
        let agent = world.agent(100_000_000).await;
        let lease = agent.borrow(1_000).await;
        // Requests are under way all the time, so that caches are warm and batches are full
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let busy = (0..8).map(|_| {
            let (agent, stop) = (agent.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = agent.handshake(json!({"requested_budget": 1})).await;
                    assert!(reply.is_success() || reply.status == 401, "{}", reply.text);
                }
            })
        });
        let busy = busy.collect::<Vec<_>>();
        for _ in 0..5 {
            let new = agent.with_ic_token(&world.regenerate_ic_token(agent.id).await);
            let answers = at_once(8, |number| {
                let (agent, lease) = (agent.clone(), lease.id.clone());
                async move {
                    match number % 3 {
                        0 => agent.handshake(json!({"requested_budget": 1})).await,
                        1 => agent.fetch_provider_key().await,
                        _ => {
                            let body = json!({"ic_token": agent.ic_token, "current_lease_id": lease});
                            agent.client.post("budget/refresh", body).await
                        }
                    }
                }
            });
            for reply in answers.await {
                reply.error(401, "INVALID_IC_TOKEN");
            }
            new.handshake(json!({"requested_budget": 1})).await.expect(200);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for task in busy {
            task.await.expect("only granted or refused");
        }
    }

    async fn another_server_refuses_a_replaced_token_at_once_too(world: World) {
        if world.backend() == Backend::Sqlite {
            // One server alone; that a second refuses to start is told elsewhere
            return;
        }
        let (_second, other) = world.another_server().await;
        let agent = world.agent(1_000_000).await;
        let mut current = agent.clone();
        for _ in 0..10 {
            // Both servers know the token well
            current.handshake(json!({"requested_budget": 1})).await.expect(200);
            current.at(&other).handshake(json!({"requested_budget": 1})).await.expect(200);
            let new = current.with_ic_token(&world.regenerate_ic_token(agent.id).await);
            current.at(&other).handshake(json!({"requested_budget": 1})).await.error(401, "INVALID_IC_TOKEN");
            current.at(&other).fetch_provider_key().await.error(401, "INVALID_IC_TOKEN");
            current = new;
        }
    }

    async fn a_foreign_token_moves_nobody_elses_money(world: World) {
        let (agent, stranger) = (world.agent(1_000_000).await, world.agent(1_000_000).await);
        let lease = agent.borrow(100_000).await;
        let old = stranger.ic_token.clone();
        let current = world.regenerate_ic_token(stranger.id).await;
        let holder = json!({"lease_id": lease.id});
        // Correctly signed, whether still in force or not: whoever shows it is another agent
        for token in [&old, &current] {
            let client = world.anon().with_token(token);
            report_as(&lease, token, "theirs").await.error(403, "LEASE_AGENT_MISMATCH");
            client.post("budget/return", holder.clone()).await.error(403, "LEASE_AGENT_MISMATCH");
            let batch = json!({"lease_id": lease.id, "reports": [
                {"request_id": "a", "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p"},
            ]});
            client.post("budget/report/batch", batch).await.error(403, "LEASE_AGENT_MISMATCH");
        }
        let body = json!({"ic_token": current, "current_lease_id": lease.id});
        world.anon().post("budget/refresh", body).await.error(403, "LEASE_AGENT_MISMATCH");
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 100_000, 0));
        assert_eq!(books(&world, &stranger).await, Books::of(1_000_000, 0, 0, 0));

        // Anything else in that header is no concern of these routes
        let admin = world.admin().await;
        for (number, token) in [agent.ic_token.as_str(), admin.token().unwrap_or(""), "rubbish", "a.b.c"].iter().enumerate() {
            report_as(&lease, token, &format!("call-{number}")).await.expect(200);
        }
        let odd = world.anon().request(Method::POST, "budget/return").header("authorization", "Basic eDp5");
        world.anon().answer(odd.json(&holder)).await.expect(200);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 40, 0, 0));
    }

    async fn a_bearer_token_beside_the_body_does_not_disturb_a_handshake(world: World) {
        let (agent, stranger) = (world.agent(1_000_000).await, world.agent(1_000_000).await);
        for token in [agent.ic_token.as_str(), stranger.ic_token.as_str(), "rubbish"] {
            let there = agent.at(&world.anon().with_token(token));
            there.handshake(json!({"requested_budget": 10})).await.expect(200);
            there.fetch_provider_key().await.expect(200);
        }
    }

    async fn forged_and_damaged_tokens_are_refused(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(1_000).await;
        let parts = agent.ic_token.split('.').collect::<Vec<_>>();
        let [header, claims, signature] = parts[..] else { panic!("a JWT has three parts: {parts:?}") };
        let turned = signature.chars().rev().collect::<String>();
        // {"alg":"none"} and {"alg":"HS256"}
        let none = "eyJhbGciOiJub25lIn0";
        for bad in [
            format!("{header}.{claims}."),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.{turned}"),
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{header}.{signature}.{claims}"),
            format!("{}.{claims}.{signature}", header.to_lowercase()),
            format!("{}x", agent.ic_token),
            "not a token".to_owned(),
            "\u{fc}nicode.\u{20ac}.\u{1f980}".to_owned(),
            "x".repeat(2_000),
        ] {
            refused_everywhere(&agent.with_ic_token(&bad), &lease.id).await;
        }
        for bad in [json!(""), json!("   "), json!("x".repeat(2_001)), json!(7), json!(["x"]), Value::Null, json!("a\u{0}b")] {
            for path in ["budget/handshake", "budget/refresh", "agents/provider-key"] {
                let body = json!({"ic_token": bad, "current_lease_id": lease.id});
                let error = world.anon().post(path, body).await.error(400, "VALIDATION_ERROR");
                assert!(error["fields"]["ic_token"].is_string(), "{error}");
            }
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 1_000, 0));
    }

    async fn tokens_of_another_installation_are_refused(world: World) {
        let elsewhere = World::builder(world.backend()).start().await;
        let (here, there) = (world.agent(1_000_000).await, elsewhere.agent(1_000_000).await);
        assert_eq!(here.id, there.id, "the same claims, signed by another key");
        let lease = here.borrow(1_000).await;
        refused_everywhere(&here.with_ic_token(&there.ic_token), &lease.id).await;
        // Not a token of ours at all, so not a foreign agent's either
        report_as(&lease, &there.ic_token, "call").await.expect(200);
        let admin = elsewhere.admin().await;
        let foreign = world.anon().with_token(admin.token().unwrap_or(""));
        foreign.get("agents").await.error(401, "AUTH_INVALID_TOKEN");
    }

    async fn the_tokens_of_a_deleted_agent_die_with_it(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let lease = agent.borrow(100_000).await;
        lease.report("a", 10_000).await.expect(200);
        admin.delete(&format!("agents/{}", agent.id)).await.expect(204);
        refused_everywhere(&agent, &lease.id).await;
        let shown = world.lease(&lease.id).await;
        assert_eq!((shown.text("state"), shown.text("ended_by")), ("revoked", "agent_deleted"));
        assert_eq!((shown.int("spent"), shown.int("suspense")), (10_000, 90_000));
        // What comes late is booked all the same
        let report = lease.report("b", 20_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.int("lease_spent")), ("revoked", 30_000));
        admin.get(&format!("agents/{}", agent.id)).await.error(404, "AGENT_NOT_FOUND");
        admin.post(&format!("agents/{}/ic-token", agent.id), json!({})).await.error(404, "AGENT_NOT_FOUND");
        crate::books::verify(&world).await;
    }

    async fn guessing_tokens_and_leases_is_slowed_down_and_honest_requests_are_not(backend: Backend) {
        let world = World::builder(backend).env("IRON__LIMITS__BUDGET_MISSES__MAX", "5").start().await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(100_000).await;
        let guess = async |number: usize| match number % 2 {
            0 => agent.with_ic_token("a.b.c").handshake(json!({})).await,
            _ => world.anon().post("budget/return", json!({"lease_id": format!("lease_{number}")})).await,
        };
        for number in 0..5 {
            assert!(matches!(guess(number).await.status, 401 | 404));
        }
        for number in 0..4 {
            let reply = guess(number).await;
            let retry = reply.header("retry-after").parse::<u64>().expect("seconds");
            assert!((1..=60).contains(&retry));
            assert_eq!((reply.header("ratelimit-limit"), reply.header("ratelimit-remaining")), ("5", "0"));
            let details = reply.error(429, "RATE_LIMIT_EXCEEDED")["details"].clone();
            assert_eq!((details.int("limit"), details.int("window_seconds")), (5, 60));
            assert!(details.int("retry_after") >= 1 && details.int("reset_at") > 0);
        }
        lease.report("a", 1_000).await.expect(200);
        agent.handshake(json!({"requested_budget": 10})).await.expect(200);
        lease.give_back(json!({})).await.expect(200);
    }

    async fn two_first_tokens_at_once_are_one_token(world: World) {
        let (admin, key) = (world.admin().await, world.provider_key().await);
        let body = json!({"name": "bare", "initial_budget_microdollars": 1_000_000, "provider_key_id": key});
        let id = admin.post("agents", body).await.expect(201).int("id");
        let answers = at_once(8, |_| {
            let admin = admin.clone();
            async move { admin.post(&format!("agents/{id}/ic-token"), json!({})).await }
        })
        .await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Reply::is_success);
        assert_eq!(made.len(), 1);
        for reply in refused {
            reply.error(409, "IC_TOKEN_EXISTS");
        }
        let token = made[0].body.text("ic_token").to_owned();
        let body = json!({"ic_token": token, "requested_budget": 10});
        world.anon().post("budget/handshake", body).await.expect(200);
    }
}
