//! Caps of owners, projects and the organization hold together with the agent's own.

mod explain;
mod limits;
mod policies;
mod race;
mod windows;

use crate::books::{Books, books, verify};
use crate::harness::*;

/// A new project; its id.
pub(crate) async fn project(world: &World, name: &str) -> String {
    let created = world.admin().await.post("projects", json!({"name": name})).await.expect(201);
    created.text("id").to_owned()
}

/// An agent with 1 000 000 µ$ that belongs to an owner and a project.
pub(crate) async fn agent_of(world: &World, owner: &str, project: &str) -> Agent {
    world.agent_with(json!({"owner_id": owner, "project_id": project})).await
}

/// The scopes that requests name.
pub(crate) fn owner(id: &str) -> Value {
    json!({"kind": "owner", "id": id})
}

pub(crate) fn in_project(id: &str) -> Value {
    json!({"kind": "project", "id": id})
}

pub(crate) fn organization() -> Value {
    json!({"kind": "organization"})
}

/// Changes a budget.
pub(crate) async fn change(world: &World, budget: &Value, with: Value) -> Value {
    world.admin().await.put(&format!("budgets/{}", budget.text("id")), with).await.expect(200)
}

on_both_backends! {
    async fn the_least_of_all_scopes_is_what_is_granted(world: World) {
        let (ada, lab) = (world.user("ada").await.id, project(&world, "lab").await);
        let agent = agent_of(&world, &ada, &lab).await;
        let caps = [
            (organization(), 700_000, "organization"),
            (in_project(&lab), 600_000, "project"),
            (owner(&ada), 500_000, "owner"),
            (json!({"kind": "owner_project", "id": ada, "project_id": lab}), 400_000, "owner_project"),
        ];
        for (scope, cap, kind) in caps {
            world.cap(scope, cap).await;
            let lease = agent.borrow(1_000_000).await;
            assert_eq!((lease.granted, lease.body.int("budget_remaining")), (cap, 1_000_000 - cap));
            let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
            assert_eq!(refused["binding_scope"]["kind"], kind);
            assert_eq!(refused.int("budget_remaining"), 1_000_000 - cap, "the agent itself has money");
            lease.give_back(json!({})).await.expect(200);
        }
        // The agent's own, where it is the least
        let poor = world.agent_with(json!({"owner_id": ada, "project_id": lab, "initial_budget_microdollars": 9}));
        assert_eq!(poor.await.borrow(1_000_000).await.granted, 9);
        verify(&world).await;
    }

    async fn agents_of_one_owner_share_the_owners_cap(world: World) {
        let ada = world.user("ada").await.id;
        let first = world.agent_with(json!({"owner_id": ada})).await;
        let second = world.agent_with(json!({"owner_id": ada})).await;
        let stranger = world.agent(1_000_000).await;
        world.cap(owner(&ada), 500_000).await;
        let lease = first.borrow(300_000).await;
        assert_eq!(second.borrow(1_000_000).await.granted, 200_000);
        for agent in [&first, &second] {
            let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
            assert_eq!(refused["binding_scope"], json!({"kind": "owner", "id": ada}));
        }
        assert_eq!(stranger.borrow(1_000_000).await.granted, 1_000_000, "no concern of others");

        lease.give_back(json!({"spent_microdollars": 120_000})).await.expect(200);
        assert_eq!(second.borrow(1_000_000).await.granted, 180_000, "what one gives back another may borrow");
        let shown = world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await;
        assert_eq!((shown.int("spent"), shown.int("leased"), shown.int("available")), (120_000, 380_000, 0));
        assert_eq!((shown.int("exposure"), shown.int("open_leases")), (380_000, 2));
    }

    async fn an_overrun_of_one_agent_stops_all_agents_of_the_scope(world: World) {
        let lab = project(&world, "lab").await;
        let first = world.agent_with(json!({"project_id": lab})).await;
        let second = world.agent_with(json!({"project_id": lab})).await;
        world.cap(in_project(&lab), 500_000).await;
        first.borrow(100_000).await.report("huge", 600_000).await.expect(200);
        let refused = second.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        assert_eq!(refused["binding_scope"], json!({"kind": "project", "id": lab}));
        let shown = world.exposure(&format!("scope_kind=project&scope_id={lab}")).await;
        assert_eq!((shown.int("spent"), shown.int("overrun"), shown.int("available")), (600_000, 500_000, 0));
        assert_eq!(books(&world, &second).await, Books::of(1_000_000, 0, 0, 0));
    }

    async fn every_field_of_a_refusal_for_lack_of_money(world: World) {
        let ada = world.user("ada").await.id;
        let agent = world.agent_with(json!({"owner_id": ada})).await;
        let body = json!({"scope": owner(&ada), "cap_microdollars": 500_000, "window": "day"});
        let budget = world.admin().await.post("budgets", body).await.expect(201);
        let lease = agent.borrow(200_000).await;
        lease.report("a", 50_000).await.expect(200);
        let lost = agent.borrow(300_000).await;
        lost.report("b", 10_000).await.expect(200);
        world.revoke(&lost.id).await;

        let refused = agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        let binding = json!({"kind": "owner", "id": ada});
        let expected = json!({
            "total_allocated": 1_000_000, "total_spent": 500_000, "budget_remaining": 500_000,
            "binding_scope": binding, "cap": 500_000, "spent": 60_000, "leased": 150_000, "suspense": 290_000,
            "available": 0, "window": "day", "resets_at": budget["window_end"],
        });
        assert_eq!(refused["details"], expected);
        for key in ["total_allocated", "total_spent", "budget_remaining", "binding_scope"] {
            assert_eq!(refused[key], expected[key], "{key} stands at the top too");
        }
        let keys = refused.as_object().expect("an object").keys().map(String::as_str).collect::<Vec<_>>();
        let all = [
            "binding_scope", "budget_remaining", "code", "details", "error", "message", "request_id", "total_allocated",
            "total_spent",
        ];
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, all);

        // The agent's own budget has no window and never starts anew
        let poor = world.agent(1_000).await;
        poor.borrow(1_000).await;
        let refused = poor.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        assert_eq!((&refused["details"]["window"], &refused["details"]["resets_at"]), (&json!("none"), &Value::Null));
        assert_eq!(refused["binding_scope"], json!({"kind": "agent", "id": poor.id}));
    }

    async fn an_agent_that_moves_takes_its_future_leases_along_and_leaves_the_open_ones(world: World) {
        let admin = world.admin().await;
        let (ada, ben) = (world.user("ada").await.id, world.user("ben").await.id);
        let agent = world.agent_with(json!({"owner_id": ada})).await;
        world.cap(owner(&ada), 300_000).await;
        world.cap(owner(&ben), 200_000).await;
        let before = agent.borrow(100_000).await;
        admin.put(&format!("agents/{}", agent.id), json!({"owner_id": ben})).await.expect(200);
        assert_eq!(agent.borrow(1_000_000).await.granted, 200_000, "the new owner's cap");
        before.report("after the move", 150_000).await.expect(200);
        before.give_back(json!({})).await.expect(200);
        let figures = async |owner: &str| {
            let shown = world.exposure(&format!("scope_kind=owner&scope_id={owner}")).await;
            (shown.int("spent"), shown.int("leased"), shown.int("available"))
        };
        assert_eq!(figures(&ada).await, (150_000, 0, 150_000), "settled where it was granted");
        assert_eq!(figures(&ben).await, (0, 200_000, 0));
        verify(&world).await;
    }

    async fn a_refresh_is_bound_by_the_other_scopes_too(world: World) {
        let ada = world.user("ada").await.id;
        let first = world.agent_with(json!({"owner_id": ada})).await;
        let second = world.agent_with(json!({"owner_id": ada})).await;
        world.cap(owner(&ada), 500_000).await;
        let lease = first.borrow(300_000).await;
        lease.report("a", 100_000).await.expect(200);
        let other = second.borrow(200_000).await;
        let denied = lease.refresh(json!({})).await.expect(200);
        assert_eq!((denied.text("status"), &denied["binding_scope"]), ("denied", &json!({"kind": "owner", "id": ada})));
        assert_eq!((denied.int("budget_remaining"), denied.int("total_spent")), (700_000, 300_000));
        other.give_back(json!({})).await.expect(200);
        let approved = lease.refresh(json!({})).await.expect(200);
        assert_eq!((approved.text("status"), approved.int("budget_granted")), ("approved", 400_000));
    }
}
