//! Runtimes that fall silent, facts that come late, leases that are ended from above.

use crate::books::{Books, books, journal, verify};
use crate::harness::*;

/// A world where silence is short.
async fn impatient(backend: Backend) -> World {
    let world = World::builder(backend).env("IRON__BUDGET__LEASE_TTL_MS", "300");
    world.env("IRON__BUDGET__SWEEP_INTERVAL_MS", "50").start().await
}

/// Waits until the lease has run out.
async fn expired(world: &World, lease: &Lease) -> Value {
    let shown = || async { Some(world.lease(&lease.id).await).filter(|shown| shown["state"] == "expired") };
    eventually("the lease expires", shown).await
}

on_both_backends! {
    async fn a_runtime_killed_without_a_return_leaves_its_rest_in_suspense(backend: Backend) {
        let world = impatient(backend).await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(600_000).await;
        lease.report("call-1", 100_000).await.expect(200);
        let shown = expired(&world, &lease).await;
        assert_eq!((shown.int("spent"), shown.int("suspense"), shown.int("remaining")), (100_000, 500_000, 0));
        assert_eq!((shown.text("ended_by"), shown.int("returned")), ("expiry", 0));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 100_000, 0, 500_000));

        // Perhaps spent, perhaps not: not lent again
        let second = agent.borrow(1_000_000).await;
        assert_eq!(second.granted, 400_000);
        let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        assert!(refused["details"].int("suspense") >= 500_000, "{refused}");
        second.give_back(json!({"spent_microdollars": 0})).await.expect(200);

        // It was only asleep: exactly the unspent part is free again
        let answer = lease.give_back(json!({"spent_microdollars": 250_000})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (250_000, 350_000));
        assert_eq!((answer.text("lease_status"), answer.flag("duplicate")), ("closed", false));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 250_000, 0, 0));
        assert!(lease.give_back(json!({})).await.expect(200).flag("duplicate"));
        let kinds = journal(&world, &format!("lease_id={}", lease.id)).await;
        let kinds = kinds.iter().map(|entry| entry.text("kind")).collect::<Vec<_>>();
        assert_eq!(kinds, ["grant", "report", "expire", "return"]);
        verify(&world).await;
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 250_000, 0, 0));
    }

    async fn a_late_report_comes_out_of_suspense_first_and_then_is_an_overrun(backend: Backend) {
        let world = impatient(backend).await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(200_000).await;
        expired(&world, &lease).await;
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 0, 200_000));
        let report = lease.report("late-1", 150_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.flag("overrun")), ("expired", false));
        assert_eq!((report.int("lease_spent"), report.int("lease_remaining")), (150_000, 0));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 50_000));
        assert!(lease.report("late-2", 80_000).await.expect(200).flag("overrun"));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 230_000, 0, 0));
        assert!(lease.report("late-1", 150_000).await.expect(200).flag("duplicate"));
        let answer = lease.give_back(json!({})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (230_000, 0));
        verify(&world).await;
    }

    async fn an_expired_lease_can_still_be_refreshed(backend: Backend) {
        let world = impatient(backend).await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(200_000).await;
        expired(&world, &lease).await;
        let answer = lease.refresh(json!({"requested_budget": 100_000, "total_spent": 50_000})).await.expect(200);
        let closed = json!({"lease_id": lease.id, "spent": 50_000, "returned": 150_000});
        assert_eq!((answer.text("status"), &answer["closed_lease"]), ("approved", &closed));
        assert_eq!(books(&world, &agent).await.spent, 50_000);
    }

    async fn every_sign_of_life_extends_the_leases_of_its_agent(world: World) {
        let agent = world.agent(1_000_000).await;
        let (quiet, lease) = (agent.borrow(1_000).await, agent.borrow(1_000).await);
        let ends = async |lease: &Lease| world.lease(&lease.id).await.int("expires_at");
        let mut before = (ends(&quiet).await, ends(&lease).await);
        for sign in ["handshake", "key", "a guess", "report"] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            match sign {
                "handshake" => drop(agent.borrow(1_000).await),
                "key" => drop(agent.fetch_provider_key().await.expect(200)),
                "report" => drop(lease.report("call", 1).await.expect(200)),
                _ => {
                    // Somebody who knows nothing
                    drop(world.anon().post("budget/return", json!({"lease_id": "lease_nobody"})).await);
                    assert_eq!((ends(&quiet).await, ends(&lease).await), before);
                    continue;
                }
            }
            let after = (ends(&quiet).await, ends(&lease).await);
            assert!(after.1 > before.1, "{sign}: {before:?} {after:?}");
            // A report tells of its own lease alone: whoever knows the id may send it
            assert_eq!(after.0 > before.0, sign != "report", "{sign}: {before:?} {after:?}");
            before = after;
        }
    }

    async fn a_lease_that_ran_out_while_no_server_ran_is_expired_on_the_next_start(backend: Backend) {
        let world = impatient(backend).await;
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(200_000).await;
        world.server.kill().await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        world.server.start_again().await;
        let granted = agent.borrow(1_000_000).await.granted;
        assert_eq!(granted, 800_000, "what the dead runtime held is not lent again");
        assert_eq!(expired(&world, &lease).await.int("suspense"), 200_000);
    }

    async fn a_report_on_a_closed_lease_is_booked_as_late_spend(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(200_000).await;
        lease.report("call-1", 50_000).await.expect(200);
        lease.give_back(json!({})).await.expect(200);
        let report = lease.report("call-2", 30_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.int("lease_spent")), ("closed", 80_000));
        assert_eq!((report.flag("overrun"), report.int("lease_remaining")), (false, 0));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 80_000, 0, 0));
        assert!(lease.report("call-2", 30_000).await.expect(200).flag("duplicate"));

        // Returned with a figure: what the reports say afterwards counts only where it exceeds what was charged
        let other = agent.borrow(200_000).await;
        other.give_back(json!({"spent_microdollars": 100_000})).await.expect(200);
        for (id, cost, spent) in [("a", 60_000, 100_000), ("b", 40_000, 100_000), ("c", 25_000, 125_000)] {
            assert_eq!(other.report(id, cost).await.expect(200).int("lease_spent"), spent);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 205_000, 0, 0));
        assert!(other.report("d", 100_000).await.expect(200).flag("overrun"));
        verify(&world).await;
    }

    async fn a_return_of_a_closed_lease_moves_money_only_upwards(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(200_000).await;
        lease.give_back(json!({"spent_microdollars": 50_000})).await.expect(200);
        for figure in [json!({}), json!({"spent_microdollars": 50_000}), json!({"spent_microdollars": 1})] {
            let answer = lease.give_back(figure).await.expect(200);
            assert_eq!((answer.int("spent"), answer.int("returned")), (50_000, 150_000));
            assert!(answer.flag("duplicate"));
        }
        let answer = lease.give_back(json!({"spent_microdollars": 70_000})).await.expect(200);
        assert_eq!((answer.int("spent"), answer.int("returned")), (70_000, 130_000));
        assert!(!answer.flag("duplicate"));
        assert_eq!(answer.int("agent_budget_remaining"), 930_000);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 70_000, 0, 0));
        let lates = journal(&world, &format!("lease_id={}&kind=late", lease.id)).await;
        assert_eq!(lates.iter().map(|entry| entry.int("amount_microdollars")).collect::<Vec<_>>(), [20_000]);
    }

    async fn a_revoked_lease_keeps_its_holders_figure_as_a_claim_until_it_is_settled(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let lease = agent.borrow(400_000).await;
        lease.report("call-1", 100_000).await.expect(200);
        let shown = world.revoke(&lease.id).await;
        assert_eq!((shown.text("state"), shown.int("suspense")), ("revoked", 300_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 100_000, 0, 300_000));

        lease.give_back(json!({"spent_microdollars": 180_000})).await.error(400, "LEASE_NOT_ACTIVE");
        lease.give_back(json!({})).await.error(400, "LEASE_NOT_ACTIVE");
        assert_eq!(world.lease(&lease.id).await.int("claimed_spent"), 180_000);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 100_000, 0, 300_000), "no money moves");
        lease.refresh(json!({})).await.error(403, "LEASE_REVOKED");
        // What was itemised is a fact, though
        let report = lease.report("call-2", 50_000).await.expect(200);
        assert_eq!((report.text("lease_status"), report.int("lease_spent")), ("revoked", 150_000));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 150_000, 0, 250_000));

        let path = format!("budget/leases/{}/settle", lease.id);
        let decision = json!({"outcome": "spent", "spent_microdollars": 180_000, "reason": "the claim is plausible"});
        let settled = admin.post(&path, decision).await.expect(200);
        assert_eq!((settled.text("state"), settled.text("ended_by")), ("closed", "settle"));
        assert_eq!((settled.int("spent"), settled.int("suspense")), (180_000, 0));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 180_000, 0, 0));
        verify(&world).await;
    }
}
