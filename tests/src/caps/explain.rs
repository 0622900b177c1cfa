//! What is explained is what happens.

use super::{agent_of, in_project, organization, owner, project};
use crate::books::journal;
use crate::harness::*;

/// Asks why an agent would get that much or not.
async fn explain(world: &World, agent: &Agent, amount: i64) -> Value {
    let path = format!("budget/explain?agent_id={}&amount={amount}", agent.id);
    world.admin().await.get(&path).await.expect(200)
}

/// Explains, then does it: both must say the same. The lease, where there is one.
async fn explained_and_done(world: &World, agent: &Agent, amount: i64) -> Option<Lease> {
    let explained = explain(world, agent, amount).await;
    let reply = agent.handshake(json!({"requested_budget": amount})).await;
    assert_eq!(explained.int("amount"), amount);
    if reply.is_success() {
        let granted = reply.body.int("budget_granted");
        assert_eq!(explained.int("grantable"), granted, "{explained}");
        assert_eq!(explained.text("decision"), if granted == amount { "grant" } else { "partial" });
        assert!(explained.list("scopes").iter().all(|scope| scope["verdict"] != "blocked"));
        return Some(agent.lease(reply));
    }
    assert_eq!((explained.text("decision"), explained.int("grantable")), ("refuse", 0), "{explained}");
    if reply.code() == "BUDGET_EXHAUSTED" {
        assert_eq!(explained["binding_scope"], reply.body["binding_scope"]);
        let binding = explained.list("scopes").iter().find(|s| s["scope"] == reply.body["binding_scope"]);
        let binding = binding.unwrap_or_else(|| panic!("the binding scope is explained: {explained}"));
        for key in ["cap", "spent", "leased", "suspense", "window"] {
            assert_eq!(binding[key], reply.body["details"][key], "{key}");
        }
        assert_eq!(binding.text("verdict"), "blocked");
    }
    None
}

on_both_backends! {
    async fn explain_says_what_a_handshake_does(world: World) {
        let (ada, lab) = (world.user("ada").await.id, project(&world, "lab").await);
        let agent = agent_of(&world, &ada, &lab).await;
        explained_and_done(&world, &agent, 200_000).await.expect("granted");
        world.cap(organization(), 900_000).await;
        world.cap(in_project(&lab), 600_000).await;
        world.cap(owner(&ada), 500_000).await;
        let lease = explained_and_done(&world, &agent, 250_000).await.expect("granted");
        assert_eq!(explained_and_done(&world, &agent, 250_000).await.expect("a part").granted, 50_000);
        assert!(explained_and_done(&world, &agent, 1).await.is_none());
        lease.give_back(json!({"spent_microdollars": 1})).await.expect(200);
        assert_eq!(explained_and_done(&world, &agent, 1_000_000).await.expect("a part").granted, 249_999);
        assert!(explained_and_done(&world, &agent, 5).await.is_none());
    }

    async fn explain_names_every_scope_from_the_widest_to_the_agent(world: World) {
        let (ada, lab) = (world.user("ada").await.id, project(&world, "lab").await);
        let agent = agent_of(&world, &ada, &lab).await;
        let pair = json!({"kind": "owner_project", "id": ada, "project_id": lab});
        for (scope, cap) in [(pair, 10), (owner(&ada), 20), (in_project(&lab), 30), (organization(), 40)] {
            world.cap(scope, cap * 1_000).await;
        }
        agent.borrow(6_000).await.report("a", 2_000).await.expect(200);
        let before = journal(&world, "").await.len();
        let explained = explain(&world, &agent, 5_000).await;
        let scopes = explained.list("scopes").iter();
        let shown = scopes.map(|s| (s["scope"]["kind"].as_str().unwrap_or(""), s.int("cap"), s.text("verdict")));
        let expected = [
            ("organization", 40_000, "ok"), ("project", 30_000, "ok"), ("owner", 20_000, "ok"),
            ("owner_project", 10_000, "partial"), ("agent", 1_000_000, "ok"),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        assert_eq!((explained.text("decision"), explained.int("grantable")), ("partial", 4_000));
        assert_eq!(explained["binding_scope"]["kind"], "owner_project");
        for scope in explained.list("scopes") {
            assert_eq!((scope.int("spent"), scope.int("leased"), scope.int("suspense")), (2_000, 4_000, 0));
            assert_eq!(scope.int("available"), scope.int("cap") - 6_000);
            assert_eq!((scope.text("window"), scope.text("time_zone")), ("none", "UTC"));
        }
        assert_eq!(explained.list("scopes")[4].text("source"), "agent_allocation");
        let key = json!({"id": world.provider_key().await, "provider": "openai", "usable": true, "reason": null});
        assert_eq!(explained["provider_key"], key);
        assert!(explained.list("freezes").is_empty() && explained.list("quotas").is_empty());
        assert_eq!(journal(&world, "").await.len(), before, "writes nothing");
        let default = world.admin().await.get(&format!("budget/explain?agent_id=agent_{}", agent.id)).await.expect(200);
        assert_eq!(default.int("amount"), 10_000_000, "what a handshake asks for by default");
    }

    async fn freezes_and_missing_keys_are_explained_too(world: World) {
        let agent = world.agent(1_000_000).await;
        let scope = json!({"kind": "agent", "id": agent.id});
        let freeze = world.freeze(scope.clone()).await;
        assert!(explained_and_done(&world, &agent, 10).await.is_none());
        let explained = explain(&world, &agent, 10).await;
        assert_eq!(explained.list("freezes")[0]["id"], freeze["id"]);
        world.unfreeze(scope).await;
        assert!(explained_and_done(&world, &agent, 10).await.is_some());

        let path = format!("providers/{}", world.provider_key().await);
        world.admin().await.put(&path, json!({"is_enabled": false})).await.expect(200);
        assert!(explained_and_done(&world, &agent, 10).await.is_none());
        let explained = explain(&world, &agent, 10).await;
        assert_eq!(explained["provider_key"]["usable"], false);
        assert_eq!(explained["provider_key"]["reason"], "disabled");
        let keyless = world.agent_with(json!({"provider_key_id": null})).await;
        assert!(explained_and_done(&world, &keyless, 10).await.is_none());
        assert_eq!(explain(&world, &keyless, 10).await["provider_key"]["reason"], "unassigned");
    }

    async fn exposure_adds_up_over_agents_budgets_and_the_whole(world: World) {
        let (ada, ben) = (world.user("ada").await.id, world.user("ben").await.id);
        let mut expected = (0, 0, 0);
        for (number, owner) in (1..).zip([&ada, &ada, &ben]) {
            let agent = world.agent_with(json!({"owner_id": owner})).await;
            agent.borrow(1_000 * number).await.report("a", 10 * number).await.expect(200);
            let lost = agent.borrow(500).await;
            world.revoke(&lost.id).await;
            let shown = world.exposure(&format!("scope_kind=agent&scope_id={}", agent.id)).await;
            let figures = (shown.int("spent"), shown.int("leased"), shown.int("suspense"));
            assert_eq!(figures, (10 * number, 990 * number, 500));
            assert_eq!((shown.int("exposure"), shown.int("open_leases")), (990 * number + 500, 1));
            assert_eq!(shown.int("available"), 1_000_000 - 1_000 * number - 500);
            let explained = explain(&world, &agent, 1).await;
            assert_eq!(explained.list("scopes")[0]["available"], shown["available"]);
            expected = (expected.0 + figures.0, expected.1 + figures.1, expected.2 + figures.2);
        }
        let figures = |shown: &Value| (shown.int("spent"), shown.int("leased"), shown.int("suspense"));
        let all = world.exposure("scope_kind=organization").await;
        assert_eq!(figures(&all), expected);
        assert_eq!((&all["cap"], &all["available"], &all["budget_id"]), (&Value::Null, &Value::Null, &Value::Null));
        let of_ada = world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await;
        assert_eq!(figures(&of_ada), (30, 2_970, 1_000));
        let budget = world.cap(organization(), 1_000_000).await;
        let all = world.exposure("scope_kind=organization").await;
        assert_eq!((figures(&all), &all["budget_id"]), (expected, &budget["id"]));
    }
}
