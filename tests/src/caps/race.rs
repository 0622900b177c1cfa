//! Many agents at once under common caps.

use std::collections::BTreeMap;

use super::{agent_of, in_project, organization, owner, project};
use crate::books::{journal, verify};
use crate::harness::*;

/// Two owners with two projects: four agents, each pair of which shares something.
async fn four_agents(world: &World) -> ([String; 2], [String; 2], Vec<(usize, usize, Agent)>) {
    let owners = [world.user("ada").await.id, world.user("ben").await.id];
    let projects = [project(world, "lab").await, project(world, "shop").await];
    let mut agents = Vec::new();
    for (o, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        agents.push((o, p, agent_of(world, &owners[o], &projects[p]).await));
    }
    (owners, projects, agents)
}

/// Walks through the journal and adds up what was available in each budget: no grant ever took it below zero.
async fn no_grant_went_beyond(world: &World) {
    let mut available = BTreeMap::<String, i128>::new();
    for entry in journal(world, "").await {
        for posting in entry.list("postings").iter().filter(|posting| posting["account"] == "available") {
            let delta = posting.text("delta_nanos").parse::<i128>().expect("a decimal number");
            let sum = available.entry(posting.text("budget_id").to_owned()).or_default();
            *sum += delta;
            assert!(entry["kind"] != "grant" || *sum >= 0, "{sum} after {entry}");
        }
    }
}

on_both_backends! {
    async fn four_agents_that_race_get_what_the_caps_allow_and_not_more(world: World) {
        let (owners, projects, agents) = four_agents(&world).await;
        world.cap(organization(), 1_000_000).await;
        for (id, cap) in owners.iter().zip([700_000, 550_000]) {
            world.cap(owner(id), cap).await;
        }
        for (id, cap) in projects.iter().zip([600_000, 650_000]) {
            world.cap(in_project(id), cap).await;
        }
        let answers = at_once(96, |number| {
            let (o, p, agent) = agents[number % 4].clone();
            async move {
                let asked = json!({"requested_budget": 31_000 + number as i64});
                (o, p, agent.id, agent.handshake(asked).await)
            }
        })
        .await;
        let (mut by_owner, mut by_project, mut by_agent) = ([0; 2], [0; 2], BTreeMap::new());
        for (o, p, agent, reply) in &answers {
            if reply.is_success() {
                let granted = reply.body.int("budget_granted");
                by_owner[*o] += granted;
                by_project[*p] += granted;
                *by_agent.entry(*agent).or_insert(0) += granted;
            } else {
                reply.clone().error(403, "BUDGET_EXHAUSTED");
            }
        }
        // There was demand for more: whoever was refused stood before a scope with nothing left
        let mut left = BTreeMap::new();
        for (kind, id, cap, sum) in [
            ("owner", &owners[0], 700_000, by_owner[0]),
            ("owner", &owners[1], 550_000, by_owner[1]),
            ("project", &projects[0], 600_000, by_project[0]),
            ("project", &projects[1], 650_000, by_project[1]),
        ] {
            let shown = world.exposure(&format!("scope_kind={kind}&scope_id={id}")).await;
            assert_eq!((shown.int("leased"), shown.int("cap")), (sum, cap), "{shown}");
            assert_eq!(shown.int("available"), cap - sum);
            left.insert(id.clone(), cap - sum);
        }
        let all = world.exposure("scope_kind=organization").await;
        assert_eq!(all.int("leased"), by_owner.iter().sum::<i64>());
        assert!(all.int("leased") <= 1_000_000 && left.values().all(|left| *left >= 0));
        for (o, p, agent) in &agents {
            let own = 1_000_000 - by_agent.get(&agent.id).copied().unwrap_or(0);
            let least = [own, left[&owners[*o]], left[&projects[*p]], all.int("available")].into_iter().min();
            assert_eq!(least, Some(0), "nothing that could be lent was left");
        }
        no_grant_went_beyond(&world).await;
        verify(&world).await;
    }

    async fn caps_hold_while_agents_borrow_spend_and_return_all_at_once(world: World) {
        let (owners, projects, agents) = four_agents(&world).await;
        world.cap(organization(), 500_000).await;
        world.cap(owner(&owners[0]), 300_000).await;
        world.cap(in_project(&projects[0]), 250_000).await;
        let spent = at_once(16, |number| {
            let agent = agents[number % 4].2.clone();
            async move {
                let mut spent = 0;
                for round in 0..8_i64 {
                    let reply = agent.handshake(json!({"requested_budget": 20_000 + 3_000 * number as i64})).await;
                    if !reply.is_success() {
                        reply.error(403, "BUDGET_EXHAUSTED");
                        continue;
                    }
                    let lease = agent.lease(reply);
                    let cost = lease.granted * (1 + (round + number as i64) % 5) / 10;
                    lease.report("call", cost).await.expect(200);
                    lease.give_back(json!({})).await.expect(200);
                    spent += cost;
                }
                (agent.id, spent)
            }
        })
        .await;
        let mut by_agent = BTreeMap::new();
        for (agent, spent) in spent {
            *by_agent.entry(agent).or_insert(0) += spent;
        }
        for (_, _, agent) in &agents {
            let budget = world.budget_of(agent.id).await;
            assert_eq!((budget.int("spent"), budget.int("leased")), (by_agent[&agent.id], 0));
        }
        let all = world.exposure("scope_kind=organization").await;
        assert_eq!((all.int("spent"), all.int("leased")), (by_agent.values().sum::<i64>(), 0));
        assert!(all.int("spent") <= 500_000);
        no_grant_went_beyond(&world).await;
        verify(&world).await;
    }

    async fn a_budget_opened_in_the_middle_of_a_race_misses_nothing(world: World) {
        let (owners, _, agents) = four_agents(&world).await;
        let (admin, ada) = (world.admin().await, owners[0].clone());
        let granted = at_once(17, |number| {
            let (_, _, agent) = agents[number % 4].clone();
            let (admin, ada) = (admin.clone(), ada.clone());
            async move {
                if number == 16 {
                    let body = json!({"scope": owner(&ada), "cap_microdollars": 400_000});
                    let budget = admin.post("budgets", body).await.expect(201);
                    // And under another window at once, whose books start from the same leases
                    let path = format!("budgets/{}", budget.text("id"));
                    admin.put(&path, json!({"window": "month"})).await.expect(200);
                    return (0, 0);
                }
                let mut granted = 0;
                for _ in 0..6 {
                    let reply = agent.handshake(json!({"requested_budget": 25_000})).await;
                    if reply.is_success() {
                        let lease = agent.lease(reply);
                        granted += lease.granted;
                        lease.report("half", 10_000).await.expect(200);
                    }
                }
                (agent.id, granted)
            }
        })
        .await;
        let of_ada = granted.iter().filter(|(id, _)| [agents[0].2.id, agents[1].2.id].contains(id));
        let committed = of_ada.map(|(_, granted)| granted).sum::<i64>();
        let shown = world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await;
        assert_eq!(shown.int("spent") + shown.int("leased"), committed, "{shown}");
        assert_eq!(shown.int("available"), (400_000 - committed).max(0));
        verify(&world).await;
    }

    async fn caps_hold_across_two_servers(world: World) {
        if world.backend() == Backend::Sqlite {
            // One process owns the embedded database; a second one says so instead of corrupting it
            let second = ServerProcess::try_start(world.server.launch().clone()).await;
            let failure = second.err().expect("a second server on one file refuses to start");
            assert!(failure.status.is_some_and(|status| !status.success()), "{failure:?}");
            world.anon().get("/readyz").await.expect(200);
            return;
        }
        let (_server, other) = world.another_server().await;
        let (owners, _, agents) = four_agents(&world).await;
        world.cap(owner(&owners[0]), 300_000).await;
        let answers = at_once(64, |number| {
            let agent = agents[number % 2].2.clone();
            let agent = if number % 4 < 2 { agent.at(&other) } else { agent };
            async move { agent.handshake(json!({"requested_budget": 9_000 + number as i64})).await }
        })
        .await;
        let granted = answers.iter().filter(|reply| reply.is_success()).map(|r| r.body.int("budget_granted"));
        assert_eq!(granted.sum::<i64>(), 300_000);
        for reply in answers.into_iter().filter(|reply| !reply.is_success()) {
            reply.error(403, "BUDGET_EXHAUSTED");
        }
        no_grant_went_beyond(&world).await;
        let ledger = world.command(&["ledger", "verify"]).await.ok();
        assert!(ledger.contains("ledger ok"), "{ledger}");
    }
}
