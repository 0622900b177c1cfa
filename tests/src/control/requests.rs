//! Requests for another budget, where several people decide at the same moment.

use crate::books::verify;
use crate::harness::*;

const WHY: &str = "The quarterly report needs twice the runs.";

/// A request of somebody's for so many dollars; its id.
async fn ask(client: &Client, agent: i64, dollars: i64) -> String {
    let body = json!({"agent_id": agent, "requested_budget_usd": dollars, "justification": WHY});
    client.post("budget/requests", body).await.expect(201).text("id").to_owned()
}

async fn status(world: &World, id: &str) -> Value {
    world.admin().await.get(&format!("budget/requests/{id}")).await.expect(200)
}

async fn reviewers(world: &World) -> Vec<Client> {
    let mut reviewers = vec![world.admin().await];
    for name in ["rita", "rolf"] {
        reviewers.push(world.person(name, "admin").await.client);
    }
    reviewers
}

on_both_backends! {
    async fn an_approved_total_can_be_borrowed_at_once(world: World) {
        let ada = world.user("ada").await;
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        agent.borrow(1_000_000).await;
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        let id = ask(&ada.client, agent.id, 3).await;
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");
        let body = json!({"approved_budget_usd": 2.5});
        let path = format!("budget/requests/{id}/approve");
        ada.client.patch(&path, body.clone()).await.error(403, "INSUFFICIENT_PERMISSIONS");
        let approved = world.admin().await.patch(&path, body).await.expect(200);
        assert_eq!(approved["agent"], json!({"old_budget": 1, "new_budget": 2.5}));
        assert_eq!(agent.borrow(9_000_000).await.granted, 1_500_000);
        verify(&world).await;
    }

    async fn of_many_reviewers_one_decides_and_the_rest_are_told(world: World) {
        let ada = world.user("ada").await;
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let reviewers = reviewers(&world).await;
        let mut approvals = 0;
        for round in 0..6 {
            let id = ask(&ada.client, agent.id, 100 + round).await;
            let replies = at_once(9, |number| {
                let (client, id) = (reviewers[number % 3].clone(), id.clone());
                async move {
                    let dollars = 1_000 + number as i64;
                    match number % 2 {
                        0 => client.patch(&format!("budget/requests/{id}/approve"), json!({"approved_budget_usd": dollars})).await,
                        _ => client.put(&format!("budget-requests/{id}/deny"), json!({"reason": "no"})).await,
                    }
                }
            })
            .await;
            let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(Reply::is_success);
            let [won] = won.as_slice() else { panic!("round {round}: {} decided", won.len()) };
            let decided = status(&world, &id).await;
            for key in ["status", "reviewed_by", "reviewed_at", "approved_budget_usd"] {
                assert_eq!(decided[key], won.body[key], "{key}");
            }
            for reply in lost {
                let details = reply.error(409, "REQUEST_ALREADY_REVIEWED")["details"].clone();
                for key in ["status", "reviewed_by", "reviewed_at"] {
                    assert_eq!(details[key], decided[key], "{key}");
                }
            }
            if decided["status"] == "approved" {
                approvals += 1;
                assert_eq!(decided["agent_current_budget"], decided["approved_budget_usd"]);
            }
        }
        let history = world.admin().await.get(&format!("agents/{}/budget/history", agent.id)).await.expect(200);
        assert_eq!(history["summary"]["modification_count"], approvals);
        verify(&world).await;
    }

    async fn a_request_does_not_outlast_its_agent(world: World) {
        let ada = world.user("ada").await;
        let reviewers = reviewers(&world).await;
        for _ in 0..5 {
            let agent = world.agent_with(json!({"owner_id": ada.id})).await;
            let id = ask(&ada.client, agent.id, 7).await;
            let replies = at_once(4, |number| {
                let (own, client) = (ada.client.clone(), reviewers[number % 3].clone());
                let (agent, id) = (agent.id, id.clone());
                async move {
                    match number {
                        0 => client.delete(&format!("agents/{agent}")).await,
                        1 => client.patch(&format!("budget/requests/{id}/approve"), json!({})).await,
                        2 => own.delete(&format!("budget/requests/{id}")).await,
                        _ => {
                            let body = json!({"agent_id": agent, "requested_budget_usd": 9, "justification": WHY});
                            own.post("budget/requests", body).await
                        }
                    }
                }
            })
            .await;
            assert_eq!(replies[0].status, 204, "{:?}", replies[0].body);
            for reply in &replies[1..] {
                assert!(reply.status < 500, "{:?}", reply.body);
            }
            let listed = world.admin().await.get(&format!("budget/requests?agent_id={agent}", agent = agent.id)).await;
            for request in listed.expect(200).list("requests") {
                assert_ne!(request["status"], "pending", "{request}");
            }
        }
        verify(&world).await;
    }

    async fn a_request_does_not_outlast_its_requester(world: World) {
        for round in 0..5 {
            let ada = world.user(&format!("ada{round}")).await;
            let agent = world.agent_with(json!({"owner_id": ada.id})).await;
            ask(&ada.client, agent.id, 2).await;
            let admin = world.admin().await;
            let replies = at_once(5, |number| {
                let (own, admin, agent, id) = (ada.client.clone(), admin.clone(), agent.id, ada.id.clone());
                async move {
                    if number == 0 {
                        return admin.delete(&format!("users/{id}")).await;
                    }
                    let body = json!({"agent_id": agent, "requested_budget_usd": 3, "justification": WHY});
                    own.post("budget/requests", body).await
                }
            })
            .await;
            let made = 1 + replies[1..].iter().filter(|reply| reply.is_success()).count();
            let deleted = replies[0].clone().expect(200);
            assert_eq!(deleted["budget_requests_cancelled"], made, "what was made before is cancelled, and nothing after");
            for reply in replies[1..].iter().filter(|reply| !reply.is_success()) {
                assert!(matches!(reply.status, 401 | 403), "{:?}", reply.body);
            }
            let left = admin.get(&format!("budget/requests?requester_id={}&status=pending", ada.id)).await.expect(200);
            assert_eq!(left["pagination"]["total"], 0);
        }
    }
}
