//! Budget requests as a client sees them.

use auth::Role;
use axum::http::Method;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields, merge};
use crate::testing::{Persona, Reply, START};

const REQUESTS: &str = "/api/v1/budget/requests";
const WHY: &str = "The quarterly report needs twice the runs.";

async fn ask_with(w: &World, who: &Persona, agent: i64, more: Value) -> Reply {
    let mut body = json!({"agent_id": agent, "requested_budget_usd": 25, "justification": WHY});
    merge(&mut body, more);
    w.t.post(who, REQUESTS, body).await
}

/// A request of somebody's for 25 dollars, made a little later than anything before.
async fn ask(w: &World, who: &Persona, agent: i64) -> Value {
    w.t.clock.advance_millis(1);
    ask_with(w, who, agent, json!({})).await.expect(201)
}

fn uri(request: &Value, verb: &str) -> String {
    format!("{REQUESTS}/{}{verb}", request["id"].as_str().expect("an id"))
}

async fn approve(w: &World, who: &Persona, request: &Value, body: Value) -> Reply {
    w.t.call(Method::PATCH, who, &uri(request, "/approve"), Some(body)).await
}

async fn reject(w: &World, who: &Persona, request: &Value, body: Value) -> Reply {
    w.t.call(Method::PATCH, who, &uri(request, "/reject"), Some(body)).await
}

async fn total(w: &World, agent: i64) -> Value {
    w.t.get(&w.root, &format!("/api/v1/agents/{agent}/budget")).await.expect(200)["total_allocated"].clone()
}

/// The kinds of the events that the live stream has been told, from the first of them on.
async fn told(w: &World, kind: &str) -> Vec<Value> {
    let events = w.t.api.store.events_after(0, 1_000).await.expect("events");
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| serde_json::from_str(&event.payload).expect("JSON")).collect()
}

#[tokio::test]
async fn an_owner_asks_for_another_total() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let more =
        json!({"requested_budget_usd": 25.000_001, "justification": format!("  {WHY} "), "requester_id": "user_x"});
    let request = ask_with(&w, &w.ada, agent, more).await.expect(201);
    let now = START.millis();
    let expected = json!({"id": request["id"], "request_id": request["id"], "agent_id": agent, "agent_name": "bot",
        "requester_id": w.ada.id, "requester_name": "ada", "current_budget_usd": 10, "requested_budget_usd": 25.000_001,
        "current_budget": 10, "requested_budget": 25.000_001, "justification": WHY, "status": "pending",
        "created_at": now, "updated_at": now, "reviewed_at": null, "reviewed_by": null, "reviewed_by_name": null,
        "review_notes": null, "approved_budget_usd": null, "cancelled_at": null, "cancelled_by": null,
        "cancelled_by_name": null});
    assert_eq!(request, expected);
    assert!(request["id"].as_str().is_some_and(|id| id.starts_with("breq_")));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), before), ("BUDGET_REQUEST_CREATED", Value::Null));
    assert_eq!((&after["status"], &after["requested_budget_microdollars"]), (&json!("pending"), &json!(25_000_001)));
    let event = told(&w, "request_created").await.pop().expect("an event");
    assert_eq!((&event["request_id"], &event["requested_budget_microdollars"]), (&request["id"], &json!(25_000_001)));
    assert_eq!(total(&w, agent).await, 10_000_000, "nothing has changed yet");
}

#[tokio::test]
async fn who_may_ask_for_what() {
    let w = World::new().await;
    let (hers, seen) = (w.agent(&w.ada).await, w.agent(&w.vera).await);
    ask_with(&w, &w.bob, hers, json!({})).await.refused(403, "ACCESS_DENIED");
    ask_with(&w, &w.vera, seen, json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.post(&w.vera, REQUESTS, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.post((), REQUESTS, json!(1)).await.refused(401, "AUTH_MISSING_TOKEN");
    ask_with(&w, &w.ada, 99, json!({})).await.refused(404, "AGENT_NOT_FOUND");
    ask_with(&w, &w.root, hers, json!({})).await.expect(201);
    w.t.delete(&w.root, &format!("/api/v1/agents/{hers}")).await.expect(204);
    ask_with(&w, &w.root, hers, json!({})).await.refused(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn what_is_asked_for_is_another_total_within_the_most_there_is() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    for same in [json!({"requested_budget_usd": 10}), json!({"requested_budget_usd": 10.0})] {
        ask_with(&w, &w.ada, agent, same).await.refused(400, "BUDGET_UNCHANGED");
    }
    let error = w.t.post(&w.ada, REQUESTS, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["agent_id", "justification", "requested_budget_usd"]);
    for dear in [json!(10_000.000_001), json!(1e9), json!(-0.01), json!(0), json!(0.000_000_1), json!("25")] {
        let error = ask_with(&w, &w.ada, agent, json!({"requested_budget_usd": dear})).await;
        assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["requested_budget_usd"], "{dear}");
    }
    ask_with(&w, &w.ada, agent, json!({"requested_budget_usd": 10_000})).await.expect(201);
    ask_with(&w, &w.ada, agent, json!({"requested_budget_usd": 0.01})).await.expect(201);
    let w = World::with(|services| {
        services.lending.max_requested_total = kernel::Money::from_micros(20_000_000).expect("an amount");
    });
    let w = w.await;
    let agent = w.agent(&w.ada).await;
    ask_with(&w, &w.ada, agent, json!({})).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn an_approval_sets_the_total_in_one_step_with_everything_else() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let request = ask(&w, &w.ada, agent).await;
    w.t.clock.advance_millis(5);
    let before = w.t.audited().await.len();
    let approved = approve(&w, &w.root, &request, json!({"review_notes": " fine "})).await.expect(200);
    let now = START.millis() + 6;
    let mut expected = request.clone();
    merge(
        &mut expected,
        json!({"status": "approved", "updated_at": now, "reviewed_at": now, "reviewed_by": w.root.id,
        "reviewed_by_name": "root", "review_notes": "fine", "approved_budget_usd": 25, "approved_at": now,
        "budget_updated": true, "agent": {"old_budget": 10, "new_budget": 25},
        "history_entry_id": approved["history_entry_id"]}),
    );
    assert_eq!(approved, expected);
    assert_eq!(total(&w, agent).await, 25_000_000);
    let history = w.t.get(&w.ada, &format!("/api/v1/agents/{agent}/budget/history")).await.expect(200);
    let entry = &history["modifications"][0];
    assert_eq!((&entry["id"], &entry["kind"]), (&approved["history_entry_id"], &json!("request")));
    assert_eq!((&entry["request_id"], &entry["reason"]), (&request["id"], &json!(WHY)));
    assert_eq!((&entry["previous_budget"], &entry["new_budget"]), (&json!(10), &json!(25)));
    assert_eq!(entry["modified_by"], json!(w.root.id));
    assert_eq!(w.t.audited().await.len(), before + 1, "one action, one entry");
    let (operation, old, new) = w.last_audit().await;
    assert_eq!(
        (operation.as_str(), &old["status"], &new["status"]),
        ("BUDGET_REQUEST_APPROVED", &json!("pending"), &json!("approved"))
    );
    let totals = (&old["total_allocated_microdollars"], &new["total_allocated_microdollars"]);
    assert_eq!(totals, (&json!(10_000_000), &json!(25_000_000)));
    let event = told(&w, "request_reviewed").await.pop().expect("an event");
    assert_eq!((&event["status"], &event["approved_budget_microdollars"]), (&json!("approved"), &json!(25_000_000)));
    assert_eq!(told(&w, "budget_changed").await.last().expect("an event")["cap_microdollars"], 25_000_000);
    let journal = w.t.get(&w.ada, &format!("/api/v1/budget/journal?agent_id={agent}&kind=adjust")).await.expect(200);
    assert_eq!(journal["data"][0]["amount_microdollars"], 15_000_000);
    let check = w.t.api.store.verify_ledger().await.expect("the books are read");
    assert!(check.is_ok(), "{check:?}");
}

#[tokio::test]
async fn the_reviewer_may_grant_another_amount() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    for (name, amount) in [("approved_budget_usd", 20.5), ("approved_budget", 0.000_001)] {
        let request = ask(&w, &w.ada, agent).await;
        let approved = approve(&w, &w.root, &request, json!({name: amount})).await.expect(200);
        assert_eq!((&approved["approved_budget_usd"], &approved["requested_budget_usd"]), (&json!(amount), &json!(25)));
        assert_eq!(approved["agent"]["new_budget"], json!(amount));
    }
    assert_eq!(total(&w, agent).await, 1);
    let request = ask(&w, &w.ada, agent).await;
    let same = approve(&w, &w.root, &request, json!({"approved_budget_usd": 0.000_001})).await.expect(200);
    assert!(same["history_entry_id"].as_str().is_some_and(|id| id.starts_with("bhist_")), "{same}");
    let request = ask(&w, &w.ada, agent).await;
    let bad = json!({"approved_budget_usd": 0, "review_notes": "x".repeat(1_001), "force": 1});
    let error = approve(&w, &w.root, &request, bad).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["approved_budget_usd", "force", "review_notes"]);
}

#[tokio::test]
async fn an_approval_below_what_is_committed_needs_force() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 6_000_000).await;
    let request = ask_with(&w, &w.ada, agent, json!({"requested_budget_usd": 5})).await.expect(201);
    let error = approve(&w, &w.root, &request, json!({})).await.refused(400, "BUDGET_BELOW_COMMITTED");
    assert_eq!(error["details"], json!({"total_spent": 6_000_000, "requested": 5_000_000}));
    let seen = w.t.get(&w.ada, &uri(&request, "")).await.expect(200);
    assert_eq!((&seen["status"], total(&w, agent).await), (&json!("pending"), json!(10_000_000)));
    approve(&w, &w.root, &request, json!({"force": true})).await.expect(200);
    assert_eq!(total(&w, agent).await, 5_000_000);
}

#[tokio::test]
async fn nobody_approves_a_request_of_their_own() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let rob = w.t.persona("rob", Role::Admin).await;
    let request = ask(&w, &w.root, agent).await;
    let error = approve(&w, &w.root, &request, json!({})).await;
    error.refused(403, "SELF_APPROVAL");
    assert_eq!(total(&w, agent).await, 10_000_000);
    approve(&w, &rob, &request, json!({})).await.expect(200);
    approve(&w, &w.root, &request, json!({})).await.refused(409, "REQUEST_ALREADY_REVIEWED");

    let request = ask_with(&w, &w.root, agent, json!({"requested_budget_usd": 30})).await.expect(201);
    w.t.put(&w.root, &format!("/api/v1/users/{}/suspend", rob.id), json!({})).await.expect(200);
    approve(&w, &w.root, &request, json!({})).await.expect(200);
    assert_eq!(total(&w, agent).await, 30_000_000, "there is nobody else");

    let w = World::with(|services| services.policy.allow_self_approval = true).await;
    w.t.persona("rob", Role::Admin).await;
    let agent = w.agent(&w.root).await;
    let request = ask(&w, &w.root, agent).await;
    approve(&w, &w.root, &request, json!({})).await.expect(200);
}

#[tokio::test]
async fn a_rejection_has_a_reason_under_three_names_or_none() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    for name in ["rejection_reason", "review_notes", "reason"] {
        let request = ask(&w, &w.ada, agent).await;
        let rejected = reject(&w, &w.root, &request, json!({name: "no"})).await.expect(200);
        assert_eq!((&rejected["status"], &rejected["review_notes"]), (&json!("rejected"), &json!("no")));
        assert_eq!((&rejected["reviewed_by"], &rejected["approved_budget_usd"]), (&json!(w.root.id), &Value::Null));
        assert_eq!(w.last_audit().await.0, "BUDGET_REQUEST_REJECTED");
    }
    let request = ask(&w, &w.ada, agent).await;
    let rejected = w.t.call(Method::PATCH, &w.root, &uri(&request, "/reject"), None).await.expect(200);
    assert_eq!(rejected["review_notes"], Value::Null);
    assert_eq!(told(&w, "request_reviewed").await.last().expect("an event")["status"], "rejected");
    assert_eq!(total(&w, agent).await, 10_000_000);
}

#[tokio::test]
async fn a_request_is_taken_back_by_whoever_made_it() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let request = ask(&w, &w.ada, agent).await;
    w.t.delete(&w.bob, &uri(&request, "")).await.refused(404, "REQUEST_NOT_FOUND");
    w.t.delete(&w.vera, &uri(&request, "")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    let cancelled = w.t.delete(&w.ada, &uri(&request, "")).await.expect(200);
    assert_eq!((&cancelled["status"], &cancelled["cancelled_by_name"]), (&json!("cancelled"), &json!("ada")));
    assert_eq!((&cancelled["cancelled_by"], &cancelled["reviewed_at"]), (&json!(w.ada.id), &Value::Null));
    assert_eq!(cancelled["cancelled_at"], START.millis() + 1);
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(operation, "BUDGET_REQUEST_CANCELLED");
    assert_eq!((&before["status"], &after["status"]), (&json!("pending"), &json!("cancelled")));
    let others = ask(&w, &w.root, agent).await;
    w.t.delete(&w.ada, &uri(&others, "")).await.refused(403, "ACCESS_DENIED");
    w.t.delete(&w.root, &uri(&others, "")).await.expect(200);
}

#[tokio::test]
async fn what_has_ended_stays_as_it_is() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let [approved, rejected, cancelled] =
        [ask(&w, &w.ada, agent).await, ask(&w, &w.ada, agent).await, ask(&w, &w.ada, agent).await];
    approve(&w, &w.root, &approved, json!({})).await.expect(200);
    reject(&w, &w.root, &rejected, json!({})).await.expect(200);
    w.t.delete(&w.ada, &uri(&cancelled, "")).await.expect(200);
    for (request, status) in [(&approved, "approved"), (&rejected, "rejected"), (&cancelled, "cancelled")] {
        for reply in [
            approve(&w, &w.root, request, json!({})).await,
            reject(&w, &w.root, request, json!({})).await,
            w.t.delete(&w.ada, &uri(request, "")).await,
        ] {
            let error = reply.refused(409, "REQUEST_ALREADY_REVIEWED");
            assert_eq!(error["details"]["status"], status);
            let by = if status == "cancelled" { Value::Null } else { json!(w.root.id) };
            assert_eq!(error["details"]["reviewed_by"], by);
            assert_eq!(error["details"]["reviewed_at"].is_null(), by.is_null());
        }
    }
    for verb in ["/approve", "/reject"] {
        w.t.call(Method::PATCH, &w.root, &format!("{REQUESTS}/breq_x{verb}"), None)
            .await
            .refused(404, "REQUEST_NOT_FOUND");
        for who in [&w.ada, &w.vera] {
            let reply = w.t.call(Method::PATCH, who, &uri(&approved, verb), Some(json!(1))).await;
            reply.refused(403, "INSUFFICIENT_PERMISSIONS");
        }
    }
    w.t.delete(&w.root, &format!("{REQUESTS}/breq_x")).await.refused(404, "REQUEST_NOT_FOUND");
}

#[tokio::test]
async fn of_reviewers_at_once_one_wins() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let rob = w.t.persona("rob", Role::Admin).await;
    for round in 1..=5 {
        let wanted = json!({"requested_budget_usd": 100 + round});
        let request = ask_with(&w, &w.ada, agent, wanted).await.expect(201);
        let (a, b, c) = tokio::join!(
            approve(&w, &w.root, &request, json!({})),
            approve(&w, &rob, &request, json!({"approved_budget_usd": 200 + round})),
            reject(&w, &rob, &request, json!({})),
        );
        let replies = [a, b, c];
        let won: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(won.len(), 1);
        for lost in replies.iter().filter(|reply| reply.status != 200) {
            lost.refused(409, "REQUEST_ALREADY_REVIEWED");
        }
        let (won, now) = (won[0].json(), w.t.get(&w.ada, &uri(&request, "")).await.expect(200));
        assert_eq!((&now["status"], &now["reviewed_by"]), (&won["status"], &won["reviewed_by"]));
        assert_eq!(now["approved_budget_usd"], won["approved_budget_usd"]);
    }
    let approvals = w.t.audited().await.iter().filter(|operation| *operation == "BUDGET_REQUEST_APPROVED").count();
    let history = w.t.get(&w.ada, &format!("/api/v1/agents/{agent}/budget/history")).await.expect(200);
    assert_eq!(history["summary"]["modification_count"], approvals);
}

#[tokio::test]
async fn a_request_is_shown_beside_what_the_agent_has_now() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let request = ask(&w, &w.ada, agent).await;
    let lease = w.lease(&token, 2_500_000).await;
    w.report(&lease, "r", 1_000).await;
    let shown = w.t.get(&w.ada, &uri(&request, "")).await.expect(200);
    let mut expected = request.clone();
    merge(
        &mut expected,
        json!({"agent_current_budget": 10, "agent_spent": 2.5, "agent_remaining": 7.5, "agent_status": "active"}),
    );
    assert_eq!(shown, expected);
    w.t.get(&w.bob, &uri(&request, "")).await.refused(404, "REQUEST_NOT_FOUND");
    w.t.get(&w.root, &uri(&request, "")).await.expect(200);
    w.t.get((), &uri(&request, "")).await.refused(401, "AUTH_MISSING_TOKEN");
    let others = ask(&w, &w.root, agent).await;
    assert_eq!(w.t.get(&w.ada, &uri(&others, "")).await.expect(200)["requester_name"], "root");
    w.t.delete(&w.root, &format!("/api/v1/agents/{agent}")).await.expect(204);
    let shown = w.t.get(&w.ada, &uri(&request, "")).await.expect(200);
    assert_eq!((&shown["status"], &shown["agent_status"]), (&json!("cancelled"), &json!("inactive")));
    assert_eq!(shown["review_notes"], "the agent was deleted");
}

#[tokio::test]
async fn the_two_families_of_paths_differ_in_the_envelope_of_their_lists() {
    let w = World::new().await;
    let (hers, his) = (w.agent(&w.ada).await, w.agent(&w.bob).await);
    let first = ask(&w, &w.ada, hers).await;
    w.t.clock.advance_millis(1);
    let second = ask_with(&w, &w.bob, his, json!({"requested_budget_usd": 3})).await.expect(201);
    w.t.clock.advance_millis(1);
    let third = ask_with(&w, &w.root, hers, json!({"requested_budget_usd": 4})).await.expect(201);
    reject(&w, &w.root, &first, json!({})).await.expect(200);
    let ids = |rows: &Value| {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let [a, b, c] = [&first, &second, &third].map(|request| request["id"].as_str().expect("an id").to_owned());
    let both = async |who: &Persona, query: &str, expected: &[&String]| {
        let list = w.t.get(who, &format!("{REQUESTS}{query}")).await.expect(200);
        let page = w.t.get(who, &format!("/api/v1/budget-requests{query}")).await.expect(200);
        assert_eq!(ids(&list["requests"]).iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(ids(&page["data"]).iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(list["pagination"]["total"], page["pagination"]["total"]);
    };
    both(&w.root, "", &[&c, &b, &a]).await;
    both(&w.ada, "", &[&c, &a]).await;
    both(&w.bob, "", &[&b]).await;
    both(&w.vera, "", &[]).await;
    both(&w.ada, "/me", &[&a]).await;
    both(&w.root, "/me", &[&c]).await;
    both(&w.root, &format!("/me?requester_id={}", w.ada.id), &[&c]).await;
    both(&w.root, &format!("?requester_id={}", w.ada.id), &[&a]).await;
    both(&w.ada, &format!("?requester_id={}", w.bob.id), &[]).await;
    both(&w.root, &format!("?agent_id=agent_{hers}"), &[&c, &a]).await;
    both(&w.root, "?status=denied", &[&a]).await;
    both(&w.root, "?status=rejected,pending", &[&c, &b, &a]).await;
    both(&w.root, "?status=pending&status=approved", &[&c, &b]).await;
    both(&w.root, "?sort=created_at", &[&a, &b, &c]).await;
    both(&w.root, "?sort=requested_budget", &[&b, &c, &a]).await;
    both(&w.root, "?sort=-requested_budget", &[&a, &c, &b]).await;
    both(&w.root, &format!("?from={}", START.millis() + 3), &[&c]).await;
    both(&w.root, &format!("?to={}", START.millis() + 3), &[&b, &a]).await;
    both(&w.root, "?page=2&per_page=2", &[&a]).await;
    let list = w.t.get(&w.root, REQUESTS).await.expect(200);
    assert_eq!(list["pagination"], json!({"page": 1, "per_page": 10_000, "total": 3, "total_pages": 1}));
    let list = w.t.get(&w.root, &format!("{REQUESTS}?per_page=2")).await.expect(200);
    assert_eq!(list["pagination"], json!({"page": 1, "per_page": 2, "total": 3, "total_pages": 2}));
    let page = w.t.get(&w.root, "/api/v1/budget-requests").await.expect(200);
    assert_eq!(page["pagination"], json!({"page": 1, "per_page": 50, "total": 3, "total_pages": 1}));
    for path in [REQUESTS, "/api/v1/budget-requests", "/api/v1/budget/requests/me", "/api/v1/budget-requests/me"] {
        let error = w.t.get(&w.root, &format!("{path}?status=open&agent_id=x&from=soon&page=0")).await;
        assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["agent_id", "from", "page", "status"]);
        w.t.get((), path).await.refused(401, "AUTH_MISSING_TOKEN");
    }
}

#[tokio::test]
async fn every_verb_has_its_second_names() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let other = "/api/v1/budget-requests";
    for family in [REQUESTS, other] {
        for method in [Method::PUT, Method::PATCH] {
            for (verb, status) in [("approve", "approved"), ("reject", "rejected"), ("deny", "rejected")] {
                let cents = w.t.audited().await.len();
                let body = json!({"agent_id": agent, "requested_budget": 100 + cents, "justification": WHY});
                let request = w.t.post(&w.ada, family, body).await.expect(201);
                let id = request["id"].as_str().expect("an id");
                let uri = format!("{family}/{id}/{verb}");
                let done = w.t.call(method.clone(), &w.root, &uri, Some(json!({"reason": "r"}))).await.expect(200);
                assert_eq!(done["status"], status, "{method} {uri}");
                assert_eq!(w.t.get(&w.ada, &format!("{family}/{id}")).await.expect(200)["status"], status);
            }
        }
        let request = ask(&w, &w.ada, agent).await;
        let uri = format!("{family}/{}", request["id"].as_str().expect("an id"));
        assert_eq!(w.t.delete(&w.ada, &uri).await.expect(200)["status"], "cancelled");
    }
}

#[tokio::test]
async fn what_is_pending_ends_with_its_agent_or_its_requester() {
    let w = World::new().await;
    let (one, two) = (w.agent(&w.ada).await, w.agent(&w.bob).await);
    let of_agent = ask(&w, &w.root, one).await;
    let of_user = ask(&w, &w.ada, one).await;
    let kept = ask(&w, &w.bob, two).await;
    let done = ask(&w, &w.ada, one).await;
    reject(&w, &w.root, &done, json!({})).await.expect(200);
    let deleted = w.t.delete(&w.root, &format!("/api/v1/users/{}", w.ada.id)).await.expect(200);
    assert_eq!(deleted["budget_requests_cancelled"], 1);
    let shown = w.t.get(&w.root, &uri(&of_user, "")).await.expect(200);
    assert_eq!((&shown["status"], &shown["review_notes"]), (&json!("cancelled"), &json!("the requester was deleted")));
    assert_eq!((&shown["cancelled_by"], &shown["cancelled_by_name"]), (&json!(w.root.id), &json!("root")));
    assert_eq!(w.t.get(&w.root, &uri(&of_agent, "")).await.expect(200)["status"], "pending", "the agent lives on");
    let again = w.t.delete(&w.root, &format!("/api/v1/users/{}", w.ada.id)).await.expect(200);
    assert_eq!(again["budget_requests_cancelled"], 0);
    w.t.delete(&w.root, &format!("/api/v1/agents/{one}")).await.expect(204);
    assert_eq!(w.last_audit().await.0, "BUDGET_REQUEST_CANCELLED");
    let shown = w.t.get(&w.root, &uri(&of_agent, "")).await.expect(200);
    assert_eq!((&shown["status"], &shown["review_notes"]), (&json!("cancelled"), &json!("the agent was deleted")));
    approve(&w, &w.root, &of_agent, json!({})).await.refused(409, "REQUEST_ALREADY_REVIEWED");
    assert_eq!(w.t.get(&w.root, &uri(&kept, "")).await.expect(200)["status"], "pending");
    assert_eq!(w.t.get(&w.root, &uri(&done, "")).await.expect(200)["status"], "rejected");
}
