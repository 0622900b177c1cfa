//! Limits of owners: their money holds like any other budget, whatever happens at the same moment.

use super::{agent_of, owner, project};
use crate::books::verify;
use crate::harness::*;

async fn limit(world: &World, body: Value) -> i64 {
    world.admin().await.post("limits", body).await.expect(201).int("id")
}

/// The budgets that are the money of limits.
async fn money(world: &World) -> Vec<Value> {
    world.admin().await.get("budgets?source=limit").await.expect(200).list("data").to_vec()
}

on_both_backends! {
    async fn an_owner_gets_one_limit_however_many_are_set_at_once(world: World) {
        let ada = world.user("ada").await.id;
        let admin = world.admin().await;
        let replies = at_once(6, |number| {
            let (admin, ada) = (admin.clone(), ada.clone());
            async move {
                let body = json!({"user_id": ada, "max_cost_per_month_microdollars": 1_000 + number as i64});
                admin.post("limits", body).await
            }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(Reply::is_success);
        assert_eq!(won.len(), 1);
        for reply in lost {
            reply.error(409, "LIMIT_EXISTS");
        }
        let money = money(&world).await;
        assert_eq!(money.len(), 1);
        assert_eq!(money[0]["cap_microdollars"], won[0].body["max_cost_per_month_microdollars"]);
        verify(&world).await;
    }

    async fn a_limit_and_a_policy_for_the_same_month_do_not_both_hold(world: World) {
        for round in 0..4 {
            let ada = world.user(&format!("ada{round}")).await.id;
            let admin = world.admin().await;
            let replies = at_once(2, |number| {
                let (admin, ada) = (admin.clone(), ada.clone());
                async move {
                    if number == 0 {
                        let body = json!({"user_id": ada, "max_cost_per_month_microdollars": 5});
                        return admin.post("limits", body).await;
                    }
                    let body = json!({"scope": owner(&ada), "cap_microdollars": 6, "window": "month"});
                    admin.post("budgets", body).await
                }
            })
            .await;
            let won = replies.iter().position(Reply::is_success).expect("one of them");
            let error = replies[1 - won].clone().error(409, "MANAGED_ELSEWHERE");
            let id = &replies[won].body["id"];
            let path = if won == 0 { format!("/api/v1/limits/{id}") } else { format!("/api/v1/budgets/{}", id.as_str().expect("an id")) };
            assert_eq!(error["details"], json!({"path": path}));
            let budgets = admin.get(&format!("budgets?scope_kind=owner&scope_id={ada}")).await.expect(200);
            assert_eq!(budgets.list("data").len(), 1);
            let limits = admin.get(&format!("limits?user_id={ada}")).await.expect(200);
            assert_eq!(limits.as_array().expect("an array").len(), 1 - won);
        }
    }

    async fn the_money_of_a_limit_is_lent_once_also_while_it_is_changed(world: World) {
        let (ada, lab) = (world.user("ada").await.id, project(&world, "lab").await);
        let agents = [agent_of(&world, &ada, &lab).await, agent_of(&world, &ada, &lab).await];
        let own = limit(&world, json!({"user_id": ada, "max_cost_per_month_microdollars": 500_000})).await;
        let pair = json!({"user_id": ada, "project_id": lab, "max_cost_per_month_microdollars": 900_000});
        let pair = limit(&world, pair).await;
        let admin = world.admin().await;
        let replies = at_once(40, |number| {
            let (agent, admin) = (agents[number % 2].clone(), admin.clone());
            async move {
                match number {
                    10 | 30 => {
                        let body = json!({"max_cost_per_month_microdollars": 600_000 + number as i64 * 1_000});
                        admin.put(&format!("limits/{own}"), body).await
                    }
                    20 => admin.put(&format!("limits/{pair}"), json!({"max_cost_per_month_microdollars": 400_000})).await,
                    _ => agent.handshake(json!({"requested_budget": 30_000})).await,
                }
            }
        })
        .await;
        for reply in &replies {
            assert!(reply.is_success() || reply.code() == "BUDGET_EXHAUSTED", "{:?}", reply.body);
        }
        for budget in money(&world).await {
            let committed = budget.int("spent") + budget.int("leased") + budget.int("suspense");
            assert!(budget.int("available") == (budget.int("cap_microdollars") - committed).max(0), "{budget}");
            // What was lent before a cap was lowered stays lent
            assert!(committed <= 900_000, "{budget}");
        }
        let lent: i64 = replies.iter().filter(|reply| reply.is_success()).filter_map(|reply| reply.body["budget_granted"].as_i64()).sum();
        assert_eq!(world.exposure(&format!("scope_kind=owner&scope_id={ada}")).await.int("leased"), lent);
        admin.delete(&format!("limits/{own}")).await.expect(200);
        admin.put(&format!("limits/{pair}"), json!({"max_cost_per_month_microdollars": null, "max_tokens_per_day": 9}))
            .await
            .expect(200);
        assert!(money(&world).await.is_empty());
        agents[0].borrow(1_000).await;
        verify(&world).await;
    }

    async fn what_is_reported_fills_the_quotas_of_its_owner(world: World) {
        let (ada, lab) = (world.user("ada").await, project(&world, "lab").await);
        let (agent, other) = (agent_of(&world, &ada.id, &lab).await, world.agent(1_000_000).await);
        let lease = agent.borrow(1_000).await;
        let id = limit(&world, json!({"user_id": ada.id, "max_tokens_per_day": 1_000})).await;
        let reports = at_once(9, |number| {
            let lease = lease.clone();
            async move { lease.report(&format!("call {number}"), 1).await }
        })
        .await;
        reports.into_iter().for_each(|reply| drop(reply.expect(200)));
        // Repetitions are none
        lease.report("call 0", 1).await.expect(200);
        let shown = ada.client.get(&format!("limits/{id}")).await.expect(200);
        assert_eq!((shown.int("used_tokens_today"), shown.int("used_requests_last_minute")), (900, 9));
        agent.borrow(1_000).await;
        lease.report("last", 1).await.expect(200);
        for reply in [
            agent.handshake(json!({})).await,
            lease.refresh(json!({})).await,
            agent.fetch_provider_key().await,
        ] {
            let details = reply.error(403, "QUOTA_EXCEEDED")["details"].clone();
            assert_eq!(details["quota"], "max_tokens_per_day");
            assert_eq!(details["scope"], owner(&ada.id));
            assert_eq!((details.int("limit"), details.int("used"), details.int("limit_id")), (1_000, 1_000, id));
        }
        other.borrow(1_000).await;
        world.admin().await.put("budget/limit", json!({"limit": 1})).await.expect(200);
        assert_eq!(other.handshake(json!({})).await.error(403, "QUOTA_EXCEEDED")["details"]["limit_id"], json!(null));
        world.admin().await.put("budget/limit", json!({"limit": null})).await.expect(200);
        world.admin().await.delete(&format!("limits/{id}")).await.expect(200);
        agent.borrow(1_000).await;
        lease.give_back(json!({})).await.expect(200);
        verify(&world).await;
    }
}
