//! The journal: every move of money, without holes, every dollar from somewhere.

use crate::books::{check_postings, journal};
use crate::harness::*;

/// A little of everything that moves money.
async fn busy_day(world: &World) -> (Person, Agent, Agent) {
    let ada = world.user("ada").await;
    let (hers, other) = (world.agent_with(json!({"owner_id": ada.id})).await, world.agent(1_000_000).await);
    world.cap(json!({"kind": "organization"}), 5_000_000).await;
    for agent in [&hers, &other] {
        let lease = agent.borrow(100_000).await;
        lease.report("a", 30_000).await.expect(200);
        lease.report("b", 90_000).await.expect(200);
        lease.give_back(json!({})).await.expect(200);
        lease.report("late", 1_000).await.expect(200);
        let lease = agent.borrow(50_000).await;
        let lease = agent.lease(lease.refresh(json!({"requested_budget": 60_000, "total_spent": 10})).await);
        world.revoke(&lease.id).await;
        let path = format!("budget/leases/{}/settle", lease.id);
        world.admin().await.post(&path, json!({"outcome": "spent", "reason": "lost"})).await.expect(200);
        agent.borrow(1_000).await;
    }
    let path = format!("agents/{}/budget", hers.id);
    world.admin().await.put(&path, json!({"total_allocated_microdollars": 2_000_000})).await.expect(200);
    (ada, hers, other)
}

on_both_backends! {
    async fn the_journal_has_no_holes_and_every_entry_balances(world: World) {
        let (_, hers, _) = busy_day(&world).await;
        let entries = journal(&world, "").await;
        for (seq, entry) in (1..).zip(&entries) {
            assert_eq!(entry.int("seq"), seq);
            assert!(entry.text("tx_id").starts_with("tx_"));
            assert!(entry.int("recorded_at") > 0 && entry.int("occurred_at") > 0);
            let actor = entry.text("actor");
            assert!(actor.starts_with("user_") || actor.starts_with("agent_") || actor == "system", "{entry}");
            check_postings(entry);
        }
        let of_hers = journal(&world, &format!("agent_id={}", hers.id)).await;
        let kinds = of_hers.iter().map(|entry| entry.text("kind")).collect::<Vec<_>>();
        let expected = [
            "allocate", "grant", "report", "report", "return", "late", "grant", "refresh", "grant", "revoke", "settle",
            "grant", "adjust",
        ];
        assert_eq!(kinds, expected);
        // Each posts on the agent's account and, while there was one, on the organization's
        for entry in &of_hers {
            let scopes = entry.list("postings").iter().map(|posting| posting["scope"]["kind"].as_str().unwrap_or(""));
            let scopes = scopes.collect::<std::collections::BTreeSet<_>>();
            let expected = match entry.text("kind") {
                "allocate" | "adjust" => 1,
                // An overrun leaves nothing to give back
                "return" => 0,
                _ => 2,
            };
            assert_eq!(scopes.len(), expected, "{entry}");
        }
        let money = of_hers.iter().map(|entry| entry.int("amount_microdollars")).collect::<Vec<_>>();
        let expected =
            [1_000_000, 100_000, 30_000, 90_000, 0, 1_000, 50_000, 49_990, 60_000, 60_000, 60_000, 1_000, 1_000_000];
        assert_eq!(money, expected);
    }

    async fn what_the_journal_adds_up_to_is_what_the_books_say(world: World) {
        let (_, hers, other) = busy_day(&world).await;
        for agent in [&hers, &other] {
            let mut sums = std::collections::BTreeMap::<String, i64>::new();
            for entry in journal(&world, &format!("agent_id={}", agent.id)).await {
                for posting in entry.list("postings").iter().filter(|p| p["scope"]["kind"] == "agent") {
                    let nanos = posting.text("delta_nanos").parse::<i64>().expect("a decimal number");
                    *sums.entry(posting.text("account").to_owned()).or_default() += nanos;
                }
            }
            let micros = |account: &str| sums.get(account).copied().unwrap_or(0) / 1_000;
            let budget = world.budget_of(agent.id).await;
            assert_eq!(micros("available"), budget.int("budget_remaining"));
            assert_eq!(micros("leased"), budget.int("leased"));
            assert_eq!(micros("suspense"), budget.int("suspense"));
            assert_eq!(micros("overrun"), budget.int("overrun"));
            assert_eq!(micros("spent") + micros("overrun"), budget.int("spent"));
        }
    }

    async fn the_journal_is_filtered_ordered_and_paged(world: World) {
        let (_, hers, _) = busy_day(&world).await;
        let admin = world.admin().await;
        let all = journal(&world, "").await;
        let newest = admin.get("budget/journal?limit=5").await.expect(200);
        let seqs = newest.list("data").iter().map(|entry| entry.int("seq")).collect::<Vec<_>>();
        let last = all.len() as i64;
        assert_eq!(seqs, (0..5).map(|back| last - back).collect::<Vec<_>>(), "youngest first");
        let next = newest.text("next_cursor");
        let page = admin.get(&format!("budget/journal?limit=5&cursor={next}")).await.expect(200);
        assert_eq!(page.list("data")[0].int("seq"), last - 5);
        let grants = journal(&world, "kind=grant").await;
        assert!(grants.len() == 8 && grants.iter().all(|entry| entry["kind"] == "grant"));
        assert_eq!(journal(&world, "kind=revoke,settle").await.len(), 4);
        let lease = grants[0].text("lease_id");
        let story = journal(&world, &format!("lease_id={lease}")).await;
        assert!(story.len() == 5 && story.iter().all(|entry| entry["lease_id"] == lease));
        let from = all[all.len() / 2].int("recorded_at");
        for spelling in ["since", "from"] {
            let later = journal(&world, &format!("{spelling}={from}")).await;
            assert!(!later.is_empty() && later.iter().all(|entry| entry.int("recorded_at") >= from));
        }
        assert!(journal(&world, &format!("to={from}")).await.iter().all(|entry| entry.int("recorded_at") < from));
        assert!(!journal(&world, &format!("agent_id=agent_{}", hers.id)).await.is_empty());
        admin.get("budget/journal?agent_id=999999").await.error(404, "AGENT_NOT_FOUND");
        admin.get("budget/journal?lease_id=lease_nobody").await.error(404, "LEASE_NOT_FOUND");
        for bad in ["kind=gift", "order=sideways", "cursor=x", "limit=0", "limit=1.5", "since=soon", "agent_id=-"] {
            admin.get(&format!("budget/journal?{bad}")).await.error(400, "VALIDATION_ERROR");
        }
    }

    async fn an_owner_sees_the_entries_of_own_agents_only(world: World) {
        let (ada, hers, other) = busy_day(&world).await;
        let page = ada.client.get("budget/journal?limit=1000").await.expect(200);
        assert_eq!(page.list("data").len(), journal(&world, &format!("agent_id={}", hers.id)).await.len());
        assert!(page.list("data").iter().all(|entry| entry["agent_id"] == hers.id));
        ada.client.get(&format!("budget/journal?agent_id={}", other.id)).await.error(403, "ACCESS_DENIED");
        let foreign = journal(&world, &format!("agent_id={}&kind=grant", other.id)).await;
        let path = format!("budget/journal?lease_id={}", foreign[0].text("lease_id"));
        ada.client.get(&path).await.error(404, "LEASE_NOT_FOUND");
        world.anon().get("budget/journal").await.error(401, "AUTH_MISSING_TOKEN");
    }
}
