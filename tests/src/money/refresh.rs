//! Refresh: one lease for another.

use crate::books::{Books, books, verify};
use crate::harness::*;

on_both_backends! {
    async fn a_refresh_settles_the_old_lease_and_lends_anew(world: World) {
        let agent = world.agent(1_000_000).await;
        let old = agent.borrow(400_000).await;
        old.report("call-1", 150_000).await.expect(200);
        let answer = old.refresh(json!({"requested_budget": 500_000})).await.expect(200);
        assert_eq!((answer.text("status"), &answer["reason"]), ("approved", &Value::Null));
        assert_eq!((answer.int("budget_granted"), answer.int("budget_remaining")), (500_000, 350_000));
        let closed = json!({"lease_id": old.id, "spent": 150_000, "returned": 250_000});
        assert_eq!((&answer["closed_lease"], answer.flag("duplicate")), (&closed, false));
        assert_eq!((answer.int("total_allocated"), answer.int("total_spent")), (1_000_000, 650_000));
        assert_eq!((answer.text("provider"), answer.int("ttl_ms")), ("openai", 21_600_000));
        assert!(answer.int("expires_at") > 0 && answer.int("epoch") >= 1 && answer.int("provider_key_id") > 0);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 500_000, 0));

        let (before, after) = (world.lease(&old.id).await, world.lease(answer.text("lease_id")).await);
        assert_eq!((before.text("state"), before.text("ended_by")), ("closed", "refresh"));
        assert_eq!((&before["superseded_by"], &after["supersedes"]), (&answer["lease_id"], &json!(old.id)));
        verify(&world).await;
    }

    async fn the_figure_of_a_refresh_merges_with_the_reports_by_maximum(world: World) {
        let agent = world.agent(1_000_000).await;
        for (reported, stated, spent) in [(30_000, 50_000, 50_000), (30_000, 10_000, 30_000)] {
            let old = agent.borrow(100_000).await;
            old.report("call", reported).await.expect(200);
            let asked = json!({"total_spent": stated, "requested_budget": 100_000, "current_remaining": 1});
            let answer = old.refresh(asked).await.expect(200);
            assert_eq!(answer["closed_lease"]["spent"], spent);
            assert_eq!(answer["closed_lease"]["returned"], 100_000 - spent);
        }
        assert_eq!(books(&world, &agent).await.spent, 80_000);
    }

    async fn a_refresh_counts_the_old_rest_as_available(world: World) {
        let agent = world.agent(500_000).await;
        let old = agent.borrow(400_000).await;
        old.report("call", 100_000).await.expect(200);
        let answer = old.refresh(json!({"requested_budget": 10_000_000})).await.expect(200);
        assert_eq!(answer.int("budget_granted"), 400_000, "100 000 beside the lease, 300 000 from it");
        assert_eq!(books(&world, &agent).await, Books::of(500_000, 100_000, 400_000, 0));
    }

    async fn a_denied_refresh_leaves_the_old_lease_alone(world: World) {
        let agent = world.agent(500_000).await;
        let old = agent.borrow(500_000).await;
        old.report("call-1", 100_000).await.expect(200);
        for asked in [json!({}), json!({"requested_budget": 1}), json!({"total_spent": 150_000})] {
            let answer = old.refresh(asked).await.expect(200);
            let expected = json!({
                "status": "denied", "budget_granted": null, "budget_remaining": 0, "lease_id": null,
                "reason": "insufficient_budget", "binding_scope": {"kind": "agent", "id": agent.id},
                "total_allocated": 500_000, "total_spent": 500_000, "resets_at": null,
            });
            assert_eq!(answer, expected);
        }
        assert_eq!(books(&world, &agent).await, Books::of(500_000, 100_000, 400_000, 0), "nothing changed");
        let report = old.report("call-2", 50_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.int("lease_remaining")), ("active", 350_000));
        let answer = old.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (150_000, 350_000));
        verify(&world).await;
    }

    async fn a_lease_that_was_refreshed_leads_to_its_successor_and_then_is_closed(world: World) {
        let agent = world.agent(1_000_000).await;
        let old = agent.borrow(100_000).await;
        let new = agent.lease(old.refresh(json!({"requested_budget": 100_000})).await);
        let again = old.refresh(json!({"requested_budget": 100_000})).await.expect(200);
        assert_eq!((again.text("lease_id"), again.flag("duplicate")), (new.id.as_str(), true));
        new.give_back(json!({})).await.expect(200);
        old.refresh(json!({})).await.error(409, "LEASE_CLOSED");
        new.refresh(json!({})).await.error(409, "LEASE_CLOSED");
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 0, 0));
    }

    async fn only_the_agents_own_lease_can_be_refreshed(world: World) {
        let (agent, stranger) = (world.agent(1_000_000).await, world.agent(1_000_000).await);
        let lease = agent.borrow(100_000).await;
        let body = json!({"ic_token": stranger.ic_token, "current_lease_id": lease.id});
        world.anon().post("budget/refresh", body).await.error(403, "LEASE_AGENT_MISMATCH");
        let body = json!({"ic_token": agent.ic_token, "lease_id": "lease_unknown"});
        world.anon().post("budget/refresh", body).await.error(404, "LEASE_NOT_FOUND");
        // The other spelling of the field
        let body = json!({"ic_token": agent.ic_token, "lease_id": lease.id, "requested_budget": 1_000});
        assert_eq!(world.anon().post("budget/refresh", body).await.expect(200).text("status"), "approved");
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 1_000, 0));
        assert_eq!(books(&world, &stranger).await, Books::of(1_000_000, 0, 0, 0));
    }

    async fn a_chain_of_refreshes_spends_the_whole_budget_and_not_more(world: World) {
        let agent = world.agent(100_000).await;
        let mut lease = agent.borrow(10_000).await;
        let mut reported = 0;
        let last = loop {
            lease.report("all of it", lease.granted).await.expect(200);
            reported += lease.granted;
            let answer = lease.refresh(json!({"requested_budget": 7_000})).await;
            match answer.body.text("status") {
                "approved" => lease = agent.lease(answer),
                _ => break answer.expect(200),
            }
        };
        assert_eq!((reported, last.int("total_spent")), (100_000, 100_000));
        assert_eq!(books(&world, &agent).await, Books::of(100_000, 100_000, 0, 0));
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
    }
}
