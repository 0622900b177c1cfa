//! Freezes: from the answer on, nothing in the scope gets money or keys, and what was spent is still booked.

use super::ask_everywhere;
use crate::books::{Books, books, verify};
use crate::caps::{agent_of, project};
use crate::harness::*;

on_both_backends! {
    async fn a_freeze_of_any_scope_stops_money_and_keys_at_once(world: World) {
        let (ada, lab) = (world.user("ada").await.id, project(&world, "lab").await);
        let agent = agent_of(&world, &ada, &lab).await;
        let outsider = world.agent(1_000_000).await;
        for (number, scope) in (1..).zip([
            json!({"kind": "agent", "id": agent.id}),
            json!({"kind": "project", "id": lab}),
            json!({"kind": "owner", "id": ada}),
            json!({"kind": "organization"}),
        ]) {
            let lease = agent.borrow(10_000).await;
            let freeze = world.freeze(scope.clone()).await;
            assert_eq!((freeze["scope"]["kind"].as_str(), freeze.flag("created")), (scope["kind"].as_str(), true));
            assert_eq!((freeze.int("open_leases"), freeze.int("exposure")), (1, 10_000));
            for reply in ask_everywhere(&agent, &lease.id).await {
                let error = reply.error(403, "AGENT_FROZEN");
                assert_eq!(error["details"]["scope"]["kind"], scope["kind"]);
                assert_eq!(error["details"]["reason"], "a test froze it");
                assert_eq!(error["details"]["frozen_at"], freeze["frozen_at"]);
            }
            let others = outsider.handshake(json!({"requested_budget": 1})).await;
            assert_eq!(others.is_success(), scope["kind"] != "organization");
            if others.is_success() {
                outsider.lease(others).give_back(json!({})).await.expect(200);
            }

            lease.report("during", 4_000).await.expect(200);
            lease.give_back(json!({})).await.expect(200);
            assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 4_000 * number, 0, 0));
            let lifted = world.unfreeze(scope.clone()).await;
            assert_eq!((lifted.flag("active"), lifted.text("unfreeze_reason")), (false, "a test lifted it"));
            for reply in ask_everywhere(&agent, &agent.borrow(1).await.id).await {
                reply.expect(200);
            }
            return_everything(&world, &agent).await;
        }
        verify(&world).await;
    }

    async fn a_lease_from_before_a_freeze_is_not_refreshed_afterwards(world: World) {
        let agent = world.agent(1_000_000).await;
        let scope = json!({"kind": "agent", "id": agent.id});
        let lease = agent.borrow(10_000).await;
        world.freeze(scope.clone()).await;
        world.unfreeze(scope).await;
        lease.refresh(json!({})).await.error(403, "STALE_EPOCH");
        let report = lease.report("a", 1_000).await.expect(200);
        assert_eq!(report.text("lease_status"), "active");
        let new = agent.borrow(10_000).await;
        assert!(new.body.int("epoch") > lease.body.int("epoch"));
        assert_eq!(new.refresh(json!({"requested_budget": 5})).await.expect(200).text("status"), "approved");
        assert_eq!(lease.give_back(json!({})).await.expect(200).int("returned"), 9_000);
    }

    async fn a_frozen_scope_is_frozen_once_and_lifted_once(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        // An agent's id may be a number or a text
        let scope = |id: Value| json!({"scope": {"kind": "agent", "id": id}, "reason": "again"});
        let first = admin.post("budget/freeze", scope(json!(agent.id))).await.expect(200);
        let again = admin.post("budget/freeze", scope(json!(agent.id.to_string()))).await.expect(200);
        assert_eq!((first.flag("created"), again.flag("created"), &again["id"]), (true, false, &first["id"]));
        assert!(first.flag("active") && first.text("frozen_by").starts_with("user_"));
        admin.post("budget/unfreeze", scope(json!(agent.id))).await.expect(200);
        admin.post("budget/unfreeze", scope(json!(agent.id))).await.error(404, "FREEZE_NOT_FOUND");
        for (scope, code) in [
            (json!({"kind": "agent", "id": 999_999}), "AGENT_NOT_FOUND"),
            (json!({"kind": "project", "id": "proj_nowhere"}), "PROJECT_NOT_FOUND"),
            (json!({"kind": "owner", "id": "user_nobody"}), "USER_NOT_FOUND"),
        ] {
            admin.post("budget/freeze", json!({"scope": scope, "reason": "r"})).await.error(404, code);
        }
        for (bad, field) in [
            (json!({"reason": "r"}), "scope"),
            (json!({"scope": {"kind": "agent"}, "reason": "r"}), "scope.id"),
            (json!({"scope": {"kind": "team", "id": 1}, "reason": "r"}), "scope.kind"),
            (json!({"scope": {"kind": "organization"}}), "reason"),
            (json!({"scope": {"kind": "organization"}, "reason": "x".repeat(501)}), "reason"),
        ] {
            let error = admin.post("budget/freeze", bad).await.error(400, "VALIDATION_ERROR");
            assert!(error["fields"][field].is_string(), "{error}");
        }
    }

    async fn two_freezes_must_both_be_lifted(world: World) {
        let agent = world.agent(1_000_000).await;
        let (own, all) = (json!({"kind": "agent", "id": agent.id}), json!({"kind": "organization"}));
        world.freeze(own.clone()).await;
        world.freeze(all.clone()).await;
        world.unfreeze(own).await;
        agent.handshake(json!({})).await.error(403, "AGENT_FROZEN");
        world.unfreeze(all).await;
        agent.handshake(json!({})).await.expect(200);
    }

    async fn no_grant_is_answered_after_a_freeze(world: World) {
        let agent = world.agent(100_000_000).await;
        let scope = json!({"kind": "agent", "id": agent.id});
        for _ in 0..3 {
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let busy = (0..8).map(|_| {
                let (agent, stop) = (agent.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        agent.handshake(json!({"requested_budget": 1})).await;
                    }
                })
            });
            let busy = busy.collect::<Vec<_>>();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let frozen = world.freeze(scope.clone()).await;
            // Everything granted before the freeze is counted in its answer
            assert_eq!(books(&world, &agent).await.leased, frozen.int("exposure"));
            agent.handshake(json!({"requested_budget": 1})).await.error(403, "AGENT_FROZEN");
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            for task in busy {
                task.await.expect("answered");
            }
            assert_eq!(books(&world, &agent).await.leased, frozen.int("exposure"), "and nothing after");
            world.unfreeze(scope.clone()).await;
        }
    }
}

/// Gives back every active lease of the agent.
async fn return_everything(world: &World, agent: &Agent) {
    let path = format!("budget/leases?agent_id={}&state=active", agent.id);
    for lease in world.admin().await.get(&path).await.expect(200).list("data") {
        world.anon().post("budget/return", json!({"lease_id": lease["lease_id"]})).await.expect(200);
    }
}
