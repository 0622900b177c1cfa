//! The life of a budget: opened late, lowered, switched off, deleted.

use super::{change, in_project, organization, owner, project};
use crate::books::{Books, books, verify};
use crate::harness::*;

on_both_backends! {
    async fn a_budget_opened_late_counts_what_was_spent_lent_and_lost_before(world: World) {
        let ada = world.user("ada").await.id;
        let first = world.agent_with(json!({"owner_id": ada})).await;
        let second = world.agent_with(json!({"owner_id": ada})).await;
        first.borrow(200_000).await.give_back(json!({"spent_microdollars": 150_000})).await.expect(200);
        let open = second.borrow(100_000).await;
        open.report("a", 30_000).await.expect(200);
        let lost = second.borrow(80_000).await;
        lost.report("b", 10_000).await.expect(200);
        world.revoke(&lost.id).await;
        let over = first.borrow(10_000).await;
        over.report("c", 25_000).await.expect(200);

        let budget = world.cap(owner(&ada), 500_000).await;
        let figures = ["spent", "leased", "suspense", "overrun", "available"].map(|key| budget.int(key));
        assert_eq!(figures, [215_000, 70_000, 70_000, 15_000, 145_000]);
        assert_eq!(first.borrow(1_000_000).await.granted, 145_000);
        first.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        // What happens to the leases from before counts in it too
        open.report("d", 20_000).await.expect(200);
        open.give_back(json!({})).await.expect(200);
        let shown = world.admin().await.get(&format!("budgets/{}", budget.text("id"))).await.expect(200);
        let figures = ["spent", "leased", "suspense", "overrun", "available"].map(|key| shown.int(key));
        assert_eq!(figures, [235_000, 145_000, 70_000, 15_000, 50_000]);
        verify(&world).await;
    }

    async fn a_cap_lowered_below_what_is_committed_stops_grants_and_takes_nothing_back(world: World) {
        let lab = project(&world, "lab").await;
        let agent = world.agent_with(json!({"project_id": lab})).await;
        let budget = world.cap(in_project(&lab), 500_000).await;
        let lease = agent.borrow(300_000).await;
        let lowered = change(&world, &budget, json!({"cap_microdollars": 100_000})).await;
        assert_eq!((lowered.int("cap_microdollars"), lowered.int("leased")), (100_000, 300_000));
        assert_eq!(lowered.int("available"), 0, "never negative");
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        let report = lease.report("a", 250_000).await.expect(200);
        assert_eq!((report.int("lease_remaining"), report.flag("overrun")), (50_000, false), "the lease is as it was");
        lease.give_back(json!({})).await.expect(200);
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        change(&world, &budget, json!({"cap_microdollars": 260_000})).await;
        assert_eq!(agent.borrow(1_000_000).await.granted, 10_000);
        verify(&world).await;
    }

    async fn an_agents_total_goes_below_what_is_committed_only_by_force(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let lease = agent.borrow(300_000).await;
        lease.report("a", 100_000).await.expect(200);
        let path = format!("agents/{}/budget", agent.id);
        let error = admin.put(&path, json!({"total_allocated_microdollars": 299_999})).await;
        let error = error.error(400, "BUDGET_BELOW_COMMITTED");
        assert_eq!(error["details"], json!({"total_spent": 300_000, "requested": 299_999}));
        assert_eq!(books(&world, &agent).await.allocated, 1_000_000);
        admin.put(&path, json!({"total_allocated_microdollars": 300_000})).await.expect(200);
        let forced = json!({"total_allocated_microdollars": 50_000, "force": true, "reason": "it runs wild"});
        let shown = admin.put(&path, forced).await.expect(200);
        assert_eq!((shown.int("total_allocated"), shown.int("budget_remaining")), (50_000, 0));
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        lease.give_back(json!({})).await.expect(200);
        assert_eq!(books(&world, &agent).await, Books::of(50_000, 100_000, 0, 0));
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        for bad in [json!({}), json!({"total_allocated_microdollars": 0}), json!({"total_allocated_microdollars": 1.5})] {
            admin.put(&path, bad).await.error(400, "VALIDATION_ERROR");
        }
        verify(&world).await;
    }

    async fn an_agents_total_in_dollars_keeps_its_history_and_asks_before_it_sinks(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        agent.borrow(300_000).await.report("a", 100_000).await.expect(200);
        let path = format!("limits/agents/{}/budget", agent.id);
        let shown = admin.get(&path).await.expect(200);
        assert_eq!((&shown["budget"], &shown["spent"], &shown["remaining"]), (&json!(1), &json!(0.3), &json!(0.7)));
        admin.put(&path, json!({"budget": 1})).await.error(400, "BUDGET_UNCHANGED");
        let changed = admin.put(&path, json!({"new_budget": 2.345678, "reason": "more"})).await.expect(200);
        assert_eq!((&changed["previous_budget"], &changed["new_budget"]), (&json!(1), &json!(2.345678)));
        let error = admin.put(&path, json!({"budget": 0.25})).await;
        let error = error.error(400, "BUDGET_DECREASE_REQUIRES_CONFIRMATION");
        assert_eq!((&error["details"]["current_budget"], &error["details"]["current_spent"]), (&json!(2.345678), &json!(0.3)));
        assert_eq!(books(&world, &agent).await.allocated, 2_345_678);
        admin.put(&path, json!({"budget": 0.25, "force": true})).await.expect(200);
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        for bad in [json!({}), json!({"budget": 0.001}), json!({"budget": "1"}), json!({"budget": 1.000_000_1}), json!({"budget": -1})] {
            admin.put(&path, bad).await.error(400, "VALIDATION_ERROR");
        }
        let history = admin.get(&format!("{path}/history")).await.expect(200);
        let totals = history.list("modifications").iter().map(|row| row.int("new_budget_microdollars"));
        assert_eq!(totals.collect::<Vec<_>>(), [250_000, 2_345_678, 1_000_000], "newest first");
        verify(&world).await;
    }

    async fn a_budget_that_gets_another_window_counts_what_that_window_has_seen(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let budget = world.cap(organization(), 500_000).await;
        let lease = agent.borrow(200_000).await;
        lease.report("a", 50_000).await.expect(200);
        let daily = change(&world, &budget, json!({"window": "day", "time_zone": "Asia/Tokyo"})).await;
        assert_eq!((&daily["id"], daily.text("window"), daily.text("time_zone")), (&budget["id"], "day", "Asia/Tokyo"));
        assert_eq!((daily.int("spent"), daily.int("leased"), daily.int("available")), (50_000, 150_000, 300_000));
        assert_eq!(agent.borrow(1_000_000).await.granted, 300_000);
        lease.give_back(json!({})).await.expect(200);
        admin.post("budgets", json!({"scope": organization(), "cap_microdollars": 9, "window": "week"})).await.expect(201);
        let path = format!("budgets/{}", budget.text("id"));
        admin.put(&path, json!({"window": "week"})).await.error(409, "BUDGET_EXISTS");
        verify(&world).await;
    }

    async fn a_budget_that_is_switched_off_counts_on_and_binds_again_when_it_is_on(world: World) {
        let agent = world.agent(1_000_000).await;
        let budget = world.cap(organization(), 100_000).await;
        agent.borrow(60_000).await.report("a", 60_000).await.expect(200);
        change(&world, &budget, json!({"enabled": false})).await;
        let lease = agent.borrow(300_000).await;
        assert_eq!(lease.granted, 300_000);
        lease.give_back(json!({"spent_microdollars": 35_000})).await.expect(200);
        let shown = change(&world, &budget, json!({"enabled": true})).await;
        assert_eq!((shown.int("spent"), shown.int("available")), (95_000, 5_000));
        assert_eq!(agent.borrow(300_000).await.granted, 5_000);
        verify(&world).await;
    }

    async fn a_deleted_budget_binds_no_longer(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let budget = world.cap(organization(), 100_000).await;
        let lease = agent.borrow(300_000).await;
        assert_eq!(lease.granted, 100_000);
        let path = format!("budgets/{}", budget.text("id"));
        assert_eq!(admin.delete(&path).await.expect(200), json!({"id": budget["id"], "deleted": true}));
        admin.get(&path).await.error(404, "BUDGET_NOT_FOUND");
        admin.delete(&path).await.error(404, "BUDGET_NOT_FOUND");
        assert_eq!(agent.borrow(300_000).await.granted, 300_000);
        lease.report("after", 40_000).await.expect(200);
        lease.give_back(json!({})).await.expect(200);
        verify(&world).await;
        // Opened again it starts from what the journal says
        let again = world.cap(organization(), 100_000).await;
        assert_eq!((again.int("spent"), again.int("leased"), again.int("available")), (40_000, 300_000, 0));
    }

    async fn a_scope_has_one_budget_for_each_window(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let budget = |scope: Value, window: &str| json!({"scope": scope, "cap_microdollars": 5, "window": window});
        admin.post("budgets", budget(organization(), "day")).await.expect(201);
        admin.post("budgets", budget(organization(), "day")).await.error(409, "BUDGET_EXISTS");
        admin.post("budgets", budget(organization(), "week")).await.expect(201);
        let own = json!({"kind": "agent", "id": agent.id});
        let error = admin.post("budgets", budget(own.clone(), "none")).await.error(409, "MANAGED_ELSEWHERE");
        assert!(error["details"]["path"].as_str().is_some_and(|path| path.contains(&agent.id.to_string())), "{error}");
        admin.post("budgets", budget(own, "day")).await.expect(201);
        assert_eq!(agent.borrow(1_000).await.granted, 5);
        for (scope, code) in [
            (json!({"kind": "agent", "id": 999_999}), "AGENT_NOT_FOUND"),
            (owner("user_nobody"), "USER_NOT_FOUND"),
            (in_project("proj_nowhere"), "PROJECT_NOT_FOUND"),
        ] {
            admin.post("budgets", budget(scope, "none")).await.error(404, code);
        }
        for bad in [
            json!({"scope": organization()}),
            json!({"scope": organization(), "cap_microdollars": 0}),
            json!({"scope": organization(), "cap_microdollars": 1_000_000_000_000_001_i64}),
            json!({"scope": organization(), "cap_microdollars": 5.0}),
            json!({"scope": organization(), "cap_microdollars": 5, "window": "year"}),
            json!({"scope": organization(), "cap_microdollars": 5, "time_zone": "Mars/Olympus"}),
            json!({"scope": {"kind": "team", "id": 1}, "cap_microdollars": 5}),
        ] {
            admin.post("budgets", bad).await.error(400, "VALIDATION_ERROR");
        }
    }

    async fn only_an_admin_sets_and_sees_budgets(world: World) {
        let ada = world.user("ada").await;
        let budget = world.cap(owner(&ada.id), 100).await;
        let path = format!("budgets/{}", budget.text("id"));
        let body = json!({"scope": owner(&ada.id), "cap_microdollars": 1_000_000_000, "window": "day"});
        for reply in [
            ada.client.get("budgets").await,
            ada.client.get(&path).await,
            ada.client.post("budgets", body).await,
            ada.client.put(&path, json!({"cap_microdollars": 1_000_000_000})).await,
            ada.client.patch(&path, json!({"cap_microdollars": 1_000_000_000})).await,
            ada.client.delete(&path).await,
        ] {
            reply.error(403, "INSUFFICIENT_PERMISSIONS");
        }
        assert_eq!(world.admin().await.get(&path).await.expect(200), budget);
    }
}
