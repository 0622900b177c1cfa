//! What operators and owners see of leases and money, and decide about them.

mod journal;
mod requests;

use crate::books::{Books, books, verify};
use crate::harness::*;

/// All leases of a list, page by page.
async fn all_leases(client: &Client, query: &str, limit: usize) -> Vec<Value> {
    let (mut leases, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("budget/leases?limit={limit}&cursor={cursor}&{query}")).await.expect(200);
        assert!(page.list("data").len() <= limit);
        leases.extend_from_slice(page.list("data"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return leases,
        }
    }
}

fn ids(leases: &[Value]) -> Vec<&str> {
    leases.iter().map(|lease| lease.text("lease_id")).collect()
}

async fn settle(world: &World, lease: &Lease, decision: Value) -> Reply {
    world.admin().await.post(&format!("budget/leases/{}/settle", lease.id), decision).await
}

on_both_backends! {
    async fn a_lease_shows_everything_that_is_known_of_it(world: World) {
        let agent = world.agent_with(json!({"name": "scribe"})).await;
        let asked = json!({"requested_budget": 400_000, "runtime_id": "pod-7", "runtime_version": "0.9.1-rc.1+b5"});
        let lease = agent.lease(agent.handshake(asked).await);
        let report = json!({"request_id": "a", "cost_microdollars": 30_000, "seq": 3, "spent_total_microdollars": 40_000});
        lease.report_with(report).await.expect(200);
        let shown = world.lease(&lease.id).await;
        let times = ["created_at", "last_seen_at", "expires_at"].map(|key| shown.int(key));
        assert!(times[0] <= times[1] && times[2] > times[1], "{shown}");
        let expected = json!({
            "lease_id": lease.id, "agent_id": agent.id, "agent_name": "scribe", "owner_id": agent.owner_id,
            "project_id": null, "state": "active", "granted": 400_000, "spent": 40_000, "remaining": 360_000,
            "suspense": 0, "returned": 0, "overrun": 0, "claimed_spent": null, "reports_spent": 30_000,
            "reports_total_stated": 40_000, "events_spent": 0, "report_count": 1, "highest_seq": 3,
            "missing_reports": 2, "provider": "openai", "provider_key_id": world.provider_key().await,
            "epoch": lease.body["epoch"], "runtime_id": "pod-7", "runtime_version": "0.9.1-rc.1+b5",
            "created_at": times[0], "last_seen_at": times[1], "expires_at": times[2], "ended_at": null,
            "ended_by": null, "reason": null, "supersedes": null, "superseded_by": null, "settlement": null,
        });
        assert_eq!(shown, expected);
        let listed = all_leases(&world.admin().await, "", 10).await;
        assert_eq!(listed, [shown]);
        world.admin().await.get("budget/leases/lease_nobody").await.error(404, "LEASE_NOT_FOUND");
    }

    async fn leases_are_listed_youngest_first_and_page_by_page(world: World) {
        let (first, second) = (world.agent(10_000_000).await, world.agent(10_000_000).await);
        let mut granted = Vec::new();
        for number in 0..15 {
            let agent = if number % 3 == 0 { &first } else { &second };
            granted.push(agent.borrow(1_000).await);
        }
        granted[3].give_back(json!({})).await.expect(200);
        world.revoke(&granted[4].id).await;
        let admin = world.admin().await;
        let all = all_leases(&admin, "", 100).await;
        assert_eq!(all.len(), 15);
        assert!(all.windows(2).all(|pair| pair[0].int("created_at") >= pair[1].int("created_at")));
        for limit in [1, 4, 15, 16] {
            assert_eq!(ids(&all_leases(&admin, "", limit).await), ids(&all), "no repeats and no gaps");
        }
        let count = async |query: &str| all_leases(&admin, query, 4).await.len();
        assert_eq!(count(&format!("agent_id={}", first.id)).await, 5);
        assert_eq!(count(&format!("agent_id=agent_{}", second.id)).await, 10);
        assert_eq!(count("state=active").await, 13);
        assert_eq!(count("state=closed,revoked").await, 2);
        assert_eq!(count("state=closed&state=revoked").await, 2);
        assert_eq!(count("state=expired").await, 0);
        assert_eq!(count(&format!("agent_id={}&state=closed", first.id)).await, 1);
        assert_eq!(count(&format!("owner_id={}", first.owner_id)).await, 15);
        assert_eq!(count("owner_id=user_nobody").await, 0);
        assert_eq!(count("project_id=proj_nowhere").await, 0);
        let born = all[7].int("created_at");
        let (before, after) = (count(&format!("to={born}")).await, count(&format!("from={born}")).await);
        assert!(before + after == 15 && after >= 8, "from is inclusive, to is not");
        assert_eq!(count("state=&agent_id=").await, 15, "an empty parameter is none");
        for bad in ["state=lost", "limit=0", "limit=1001", "limit=x", "cursor=rubbish", "agent_id=x", "from=yesterday"] {
            admin.get(&format!("budget/leases?{bad}")).await.error(400, "VALIDATION_ERROR");
        }
    }

    async fn pages_do_not_shift_when_leases_are_added(world: World) {
        let agent = world.agent(10_000_000).await;
        let admin = world.admin().await;
        for _ in 0..6 {
            agent.borrow(1_000).await;
        }
        let before = all_leases(&admin, "", 100).await;
        let page = admin.get("budget/leases?limit=3").await.expect(200);
        for _ in 0..4 {
            agent.borrow(1_000).await;
        }
        let next = page.text("next_cursor");
        let rest = admin.get(&format!("budget/leases?limit=3&cursor={next}")).await.expect(200);
        assert_eq!([ids(page.list("data")), ids(rest.list("data"))].concat(), ids(&before));
    }

    async fn everybody_sees_their_own_leases_and_an_admin_all(world: World) {
        let (ada, vera) = (world.user("ada").await, world.viewer("vera").await);
        let hers = world.agent_with(json!({"owner_id": ada.id})).await.borrow(1_000).await;
        let watched = world.agent_with(json!({"owner_id": vera.id})).await.borrow(1_000).await;
        for (client, own, foreign) in [(&ada.client, &hers, &watched), (&vera.client, &watched, &hers)] {
            assert_eq!(ids(&all_leases(client, "", 10).await), [own.id.as_str()]);
            client.get(&format!("budget/leases/{}", own.id)).await.expect(200);
            client.get(&format!("budget/leases/{}", foreign.id)).await.error(404, "LEASE_NOT_FOUND");
            let filtered = format!("agent_id={}", foreign.agent.id);
            assert!(all_leases(client, &filtered, 10).await.is_empty());
        }
        assert_eq!(all_leases(&world.admin().await, "", 10).await.len(), 2);
        world.anon().get("budget/leases").await.error(401, "AUTH_MISSING_TOKEN");
    }

    async fn settling_decides_about_suspense_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let mut spent = 0;
        for (decision, charged) in [
            (json!({"outcome": "spent", "reason": "r"}), 100_000),
            (json!({"outcome": "unspent", "reason": "r"}), 20_000),
            (json!({"outcome": "spent", "spent_microdollars": 60_000, "reason": "r"}), 60_000),
            (json!({"outcome": "unspent", "spent_microdollars": 20_000, "reason": "r"}), 20_000),
            (json!({"outcome": "unspent", "spent_microdollars": 120_000, "reason": "r"}), 120_000),
        ] {
            let lease = agent.borrow(100_000).await;
            lease.report("a", 20_000).await.expect(200);
            settle(&world, &lease, decision.clone()).await.error(409, "LEASE_ACTIVE");
            world.revoke(&lease.id).await;
            let low = json!({"outcome": "spent", "spent_microdollars": 19_999, "reason": "r"});
            let error = settle(&world, &lease, low).await.error(400, "VALIDATION_ERROR");
            assert!(error["fields"]["spent_microdollars"].is_string(), "{error}");
            let shown = settle(&world, &lease, decision.clone()).await.expect(200);
            assert_eq!((shown.text("state"), shown.int("spent"), shown.int("suspense")), ("closed", charged, 0));
            let by = &shown["settlement"];
            assert_eq!((by["outcome"].as_str(), by.int("spent")), (decision["outcome"].as_str(), charged));
            assert!(by.text("by").starts_with("user_") && by.int("at") > 0 && by.text("reason") == "r");
            settle(&world, &lease, decision).await.error(409, "LEASE_CLOSED");
            spent += charged;
            assert_eq!(books(&world, &agent).await, Books::of(1_000_000, spent, 0, 0));
        }
        for bad in [
            json!({}), json!({"outcome": "lost", "reason": "r"}), json!({"outcome": "spent"}),
            json!({"outcome": "spent", "reason": ""}), json!({"outcome": "spent", "reason": "r", "spent_microdollars": -1}),
        ] {
            let lease = agent.borrow(1).await;
            settle(&world, &lease, bad).await.error(400, "VALIDATION_ERROR");
            lease.give_back(json!({})).await.expect(200);
        }
        let path = "budget/leases/lease_nobody/settle";
        let decision = json!({"outcome": "spent", "reason": "r"});
        world.admin().await.post(path, decision).await.error(404, "LEASE_NOT_FOUND");
        verify(&world).await;
    }

    async fn twenty_settlements_at_once_decide_once(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(100_000).await;
        world.revoke(&lease.id).await;
        let admin = world.admin().await;
        let answers = at_once(20, |number| {
            let (admin, path) = (admin.clone(), format!("budget/leases/{}/settle", lease.id));
            let outcome = if number % 2 == 0 { "spent" } else { "unspent" };
            async move { admin.post(&path, json!({"outcome": outcome, "reason": "race"})).await }
        })
        .await;
        let (decided, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(Reply::is_success);
        assert_eq!(decided.len(), 1);
        for reply in late {
            reply.error(409, "LEASE_CLOSED");
        }
        assert_eq!(books(&world, &agent).await.spent, decided[0].body.int("spent"));
        assert_eq!(books(&world, &agent).await.suspense, 0);
    }

    async fn an_owner_may_revoke_a_lease_and_repeating_it_changes_nothing(world: World) {
        let ada = world.user("ada").await;
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let lease = agent.borrow(100_000).await;
        let path = format!("budget/leases/{}/revoke", lease.id);
        ada.client.post(&path, json!({})).await.error(400, "VALIDATION_ERROR");
        let first = ada.client.post(&path, json!({"reason": "runs wild"})).await.expect(200);
        assert_eq!((first.text("state"), first.text("ended_by")), ("revoked", "revoke"));
        assert_eq!((first.text("reason"), first.int("suspense")), ("runs wild", 100_000));
        let again = ada.client.post(&path, json!({"reason": "again"})).await.expect(200);
        assert_eq!(again, first);
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 0, 0, 100_000));
        // Settling is not the owner's
        let path = format!("budget/leases/{}/settle", lease.id);
        let decision = json!({"outcome": "unspent", "reason": "r"});
        ada.client.post(&path, decision).await.error(403, "INSUFFICIENT_PERMISSIONS");

        let closed = agent.borrow(1_000).await;
        closed.give_back(json!({})).await.expect(200);
        let path = format!("budget/leases/{}/revoke", closed.id);
        ada.client.post(&path, json!({"reason": "r"})).await.error(409, "LEASE_CLOSED");
    }

    async fn a_lease_that_has_run_out_shows_so_before_any_sweep(backend: Backend) {
        let world = World::builder(backend).env("IRON__BUDGET__LEASE_TTL_MS", "200");
        let world = world.env("IRON__BUDGET__SWEEP_INTERVAL_MS", "3600000").start().await;
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        let (one, two, three) = (agent.borrow(100).await, agent.borrow(200).await, agent.borrow(400).await);
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        assert_eq!(world.lease(&one.id).await.text("state"), "expired");
        let path = format!("budget/leases/{}/revoke", two.id);
        admin.post(&path, json!({"reason": "r"})).await.error(409, "LEASE_CLOSED");
        assert_eq!(three.report("late", 50).await.expect(200).text("lease_status"), "expired");
        let listed = all_leases(&admin, "", 10).await;
        assert!(listed.iter().all(|lease| lease["state"] == "expired" && lease["ended_by"] == "expiry"));
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 50, 0, 650));
        for lease in [&one, &two, &three] {
            settle(&world, lease, json!({"outcome": "unspent", "reason": "r"})).await.expect(200);
        }
        assert_eq!(books(&world, &agent).await, Books::of(1_000_000, 50, 0, 0));
        verify(&world).await;
    }

    async fn freezes_are_listed_to_those_whom_they_cover(world: World) {
        let (ada, ben) = (world.user("ada").await, world.user("ben").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        world.agent_with(json!({"owner_id": ben.id})).await;
        let own = world.freeze(json!({"kind": "agent", "id": agent.id})).await;
        let hers = world.freeze(json!({"kind": "owner", "id": ada.id})).await;
        let all = world.freeze(json!({"kind": "organization"})).await;
        world.unfreeze(json!({"kind": "owner", "id": ada.id})).await;
        let listed = async |client: &Client, query: &str| {
            let page = client.get(&format!("budget/freezes?{query}")).await.expect(200);
            assert_eq!(page["pagination"]["total"].as_u64(), Some(page.list("data").len() as u64));
            let ids = page.list("data").iter().map(|freeze| freeze.text("id").to_owned());
            ids.collect::<std::collections::BTreeSet<_>>()
        };
        let set = |freezes: &[&Value]| freezes.iter().map(|f| f.text("id").to_owned()).collect();
        let admin = world.admin().await;
        assert_eq!(listed(&admin, "").await, set(&[&own, &all]));
        assert_eq!(listed(&admin, "active=false").await, set(&[&hers]));
        assert_eq!(listed(&admin, "scope_kind=agent").await, set(&[&own]));
        assert_eq!(listed(&admin, &format!("scope_kind=agent&scope_id={}", agent.id)).await, set(&[&own]));
        assert_eq!(listed(&admin, "scope_kind=project").await, set(&[]));
        assert_eq!(listed(&ada.client, "").await, set(&[&own, &all]));
        assert_eq!(listed(&ada.client, "active=false").await, set(&[&hers]));
        assert_eq!(listed(&ben.client, "").await, set(&[&all]));
        assert_eq!(listed(&ben.client, "active=false").await, set(&[]));
        admin.get("budget/freezes?scope_kind=team").await.error(400, "VALIDATION_ERROR");
    }
}
