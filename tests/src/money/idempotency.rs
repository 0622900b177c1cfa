//! Requests that are sent again.

use crate::books::{Books, books, verify};
use crate::harness::*;

on_both_backends! {
    async fn a_repeated_handshake_is_the_same_lease_and_no_new_money(world: World) {
        let agent = world.agent(1_000_000).await;
        let asked = json!({"requested_budget": 300_000, "request_id": "start-1"});
        let first = agent.handshake(asked.clone()).await.expect(200);
        assert!(!first.flag("duplicate"));
        let again = agent.handshake(asked).await.expect(200);
        assert!(again.flag("duplicate"));
        for key in ["lease_id", "budget_granted", "budget_remaining", "provider_key_id", "epoch", "ttl_ms"] {
            assert_eq!(first[key], again[key], "{key}");
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 300_000, 0));

        let other = json!({"requested_budget": 300_001, "request_id": "start-1"});
        agent.handshake(other).await.error(409, "IDEMPOTENCY_CONFLICT");
        // Another agent's ids are its own
        let stranger = world.agent(1_000_000).await;
        let theirs = stranger.handshake(json!({"requested_budget": 5, "request_id": "start-1"})).await.expect(200);
        assert_ne!(theirs["lease_id"], first["lease_id"]);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 300_000, 0));
    }

    async fn the_idempotency_key_may_come_as_a_header(world: World) {
        let agent = world.agent(1_000_000).await;
        let send = async |header: &str, body: Value| {
            let request = agent.client.request(Method::POST, "budget/handshake").header("idempotency-key", header);
            agent.client.answer(request.json(&body)).await
        };
        let body = json!({"ic_token": agent.ic_token, "requested_budget": 1_000});
        let with_id = json!({"ic_token": agent.ic_token, "requested_budget": 1_000, "request_id": "key-1"});
        let first = send("key-1", body.clone()).await.expect(200);
        for again in [send("key-1", body).await, send("key-1", with_id.clone()).await] {
            let again = again.expect(200);
            assert_eq!((again.flag("duplicate"), again.text("lease_id")), (true, first.text("lease_id")));
        }
        let by_body = agent.client.post("budget/handshake", with_id.clone()).await.expect(200);
        assert_eq!(by_body["lease_id"], first["lease_id"]);
        send("key-2", with_id).await.error(400, "VALIDATION_ERROR");
        assert_eq!(books(&world, &agent).await.leased, 1_000);
    }

    async fn a_handshake_is_not_repeated_once_its_lease_is_over(world: World) {
        let agent = world.agent(1_000_000).await;
        let asked = json!({"requested_budget": 1_000, "request_id": "start-1"});
        let lease = agent.lease(agent.handshake(asked.clone()).await);
        lease.give_back(json!({})).await.expect(200);
        agent.handshake(asked.clone()).await.error(409, "LEASE_CLOSED");
        agent.handshake(json!({"request_id": "start-1"})).await.error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 0, 0));
    }

    async fn sixteen_identical_handshakes_at_once_are_one_lease(world: World) {
        let agent = world.agent(1_000_000).await;
        let answers = at_once(16, |_| {
            let agent = agent.clone();
            async move { agent.handshake(json!({"requested_budget": 90_000, "request_id": "same"})).await.expect(200) }
        })
        .await;
        assert!(answers.iter().all(|answer| answer["lease_id"] == answers[0]["lease_id"]));
        assert_eq!(answers.iter().filter(|answer| !answer.flag("duplicate")).count(), 1);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 90_000, 0));
        verify(&world).await;
    }

    async fn a_repeated_handshake_survives_a_restart(world: World) {
        let agent = world.agent(1_000_000).await;
        let asked = json!({"requested_budget": 1_000, "request_id": "start-1"});
        let first = agent.handshake(asked.clone()).await.expect(200);
        world.server.kill().await;
        world.server.start_again().await;
        let again = agent.handshake(asked).await.expect(200);
        assert_eq!((again.flag("duplicate"), &again["lease_id"]), (true, &first["lease_id"]));
    }

    async fn a_repeated_refresh_is_the_same_successor(world: World) {
        let agent = world.agent(1_000_000).await;
        let old = agent.borrow(100_000).await;
        let asked = json!({"requested_budget": 200_000, "total_spent": 60_000, "request_id": "refresh-1"});
        let first = old.refresh(asked.clone()).await.expect(200);
        let again = old.refresh(asked).await.expect(200);
        assert_eq!((first.flag("duplicate"), again.flag("duplicate")), (false, true));
        for key in ["status", "lease_id", "budget_granted", "budget_remaining", "closed_lease", "reason"] {
            assert_eq!(first[key], again[key], "{key}");
        }
        let other = json!({"requested_budget": 200_000, "request_id": "refresh-1"});
        old.refresh(other).await.error(409, "IDEMPOTENCY_CONFLICT");
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 60_000, 200_000, 0));
    }

    async fn sixteen_refreshes_of_one_lease_at_once_are_one_successor(world: World) {
        let agent = world.agent(1_000_000).await;
        let old = agent.borrow(100_000).await;
        let answers = at_once(16, |_| {
            let old = old.clone();
            async move { old.refresh(json!({"requested_budget": 150_000})).await.expect(200) }
        })
        .await;
        assert!(answers.iter().all(|a| a.text("status") == "approved" && a["lease_id"] == answers[0]["lease_id"]));
        assert_eq!(answers.iter().filter(|answer| !answer.flag("duplicate")).count(), 1);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 150_000, 0));
    }
}
