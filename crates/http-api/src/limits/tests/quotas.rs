//! What is used, and what is refused when it is too much.

use serde_json::{Value, json};

use super::{CEILING, HANDSHAKE, LIMITS, NEXT_MONTH, borrow, limit, millis, uri};
use crate::agents::tests::world::{World, fields, merge};
use crate::testing::START;

const REFRESH: &str = "/api/v1/budget/refresh";
const KEY: &str = "/api/v1/agents/provider-key";

/// The end of the day that tests begin in.
const MIDNIGHT: &str = "2026-01-16T00:00:00Z";

/// Reports a call with so many tokens and no cost.
async fn call(w: &World, lease: &str, id: &str, tokens: i64) {
    let body = json!({"lease_id": lease, "request_id": id, "tokens": tokens, "model": "m", "provider": "openai",
        "cost_microdollars": 0});
    w.t.post((), "/api/v1/budget/report", body).await.expect(200);
}

#[tokio::test]
async fn a_limit_shows_what_is_limited_and_what_is_used() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.report(&lease, "r", 1_500_000_100).await;
    let more = json!({"max_tokens_per_day": 1_000, "max_requests_per_minute": 9,
        "max_cost_per_month_microdollars": 50_000_000});
    let made = limit(&w, &w.ada, more).await;
    let now = START.millis();
    let expected = json!({"id": made["id"], "user_id": w.ada.id, "project_id": null, "max_tokens_per_day": 1_000,
        "max_requests_per_minute": 9, "max_cost_per_month_microdollars": 50_000_000, "created_at": now,
        "updated_at": now, "used_tokens_today": 10, "used_requests_last_minute": 1,
        "used_cost_this_month_microdollars": 1_500_001, "resets_at": millis(MIDNIGHT)});
    assert_eq!(made, expected);
    assert!(made["id"].is_i64());
    for who in [&w.root, &w.ada] {
        assert_eq!(w.t.get(who, &uri(&made)).await.expect(200), expected);
        let list = w.t.get(who, LIMITS).await;
        assert_eq!((list.header("x-total-count"), list.expect(200)), (Some("1"), json!([expected])));
    }
    w.t.get(&w.bob, &uri(&made)).await.refused(404, "LIMIT_NOT_FOUND");
    assert_eq!(w.t.get(&w.bob, LIMITS).await.expect(200), json!([]));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), before), ("LIMIT_CREATED", Value::Null));
    assert_eq!(after["max_cost_per_month_microdollars"], 50_000_000);
    w.t.clock.advance_millis(60_000);
    let later = w.t.get(&w.ada, &uri(&made)).await.expect(200);
    assert_eq!((&later["used_requests_last_minute"], &later["used_tokens_today"]), (&json!(0), &json!(10)));
    let dear = limit(&w, &w.bob, json!({"max_cost_per_month_microdollars": 1})).await;
    assert_eq!((&dear["resets_at"], &dear["max_tokens_per_day"]), (&json!(millis(NEXT_MONTH)), &Value::Null));
    let brief = limit(&w, &w.vera, json!({"max_requests_per_minute": 1})).await;
    assert_eq!(brief["resets_at"], now + 120_000);
}

#[tokio::test]
async fn a_full_day_of_tokens_ends_lending_until_midnight() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let (_, other) = w.spender(&w.bob).await;
    let made = limit(&w, &w.ada, json!({"max_tokens_per_day": 100})).await;
    let lease = w.lease(&token, 1_000_000).await;
    call(&w, &lease, "a", 99).await;
    borrow(&w, &token).await.expect(200);
    call(&w, &lease, "b", 1).await;
    let details = json!({"quota": "max_tokens_per_day", "scope": {"kind": "owner", "id": w.ada.id}, "limit": 100,
        "used": 100, "resets_at": millis(MIDNIGHT), "limit_id": made["id"]});
    let refresh = json!({"ic_token": token, "current_lease_id": lease});
    for reply in [
        borrow(&w, &token).await,
        w.t.post((), REFRESH, refresh.clone()).await,
        w.t.post((), KEY, json!({"ic_token": token})).await,
    ] {
        assert_eq!(reply.refused(403, "QUOTA_EXCEEDED")["details"], details);
    }
    borrow(&w, &other).await.expect(200);
    let explained = w.t.get(&w.ada, &format!("/api/v1/budget/explain?agent_id={agent}")).await.expect(200);
    assert_eq!((&explained["decision"], &explained["grantable"]), (&json!("refuse"), &json!(0)));
    let quota = json!({"quota": "max_tokens_per_day", "scope": {"kind": "owner", "id": w.ada.id}, "limit": 100,
        "used": 100, "resets_at": millis(MIDNIGHT), "verdict": "blocked"});
    assert_eq!(explained["quotas"], json!([quota]));
    call(&w, &lease, "c", 5).await;
    w.t.post((), "/api/v1/budget/return", json!({"lease_id": lease})).await.expect(200);
    w.t.clock.advance_millis(millis(MIDNIGHT) - START.millis());
    borrow(&w, &token).await.expect(200);
    let ada = w.t.login(w.ada.id.clone(), &w.ada.email, &w.ada.password).await;
    let explained = w.t.get(&ada, &format!("/api/v1/budget/explain?agent_id={agent}")).await.expect(200);
    assert_eq!((&explained["quotas"][0]["used"], &explained["quotas"][0]["verdict"]), (&json!(0), &json!("ok")));
    assert_eq!(explained["decision"], "partial", "ten dollars are asked for, and a little is lent");
}

#[tokio::test]
async fn a_full_minute_of_calls_ends_lending_for_as_long_as_it_is() {
    let w = World::new().await;
    w.project("p").await;
    let key = w.key("openai").await;
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": key, "project_id": "p"})).await;
    let (token, (_, outside)) = (w.ic_token(agent).await, w.spender(&w.ada).await);
    let made = limit(&w, &w.ada, json!({"max_requests_per_minute": 2, "project_id": "p"})).await;
    let lease = w.lease(&token, 1_000_000).await;
    for id in ["a", "b"] {
        borrow(&w, &token).await.expect(200);
        call(&w, &lease, id, 0).await;
        w.t.clock.advance_millis(1_000);
    }
    call(&w, &lease, "b", 0).await;
    let now = w.t.api.clock.now().millis();
    let error = borrow(&w, &token).await.refused(403, "QUOTA_EXCEEDED");
    let details = json!({"quota": "max_requests_per_minute", "scope": {"kind": "owner_project", "id": w.ada.id,
        "project_id": "p"}, "limit": 2, "used": 2, "resets_at": now + 60_000, "limit_id": made["id"]});
    assert_eq!(error["details"], details);
    borrow(&w, &outside).await.expect(200);
    w.t.clock.advance_millis(57_999);
    borrow(&w, &token).await.refused(403, "QUOTA_EXCEEDED");
    w.t.clock.advance_millis(1);
    borrow(&w, &token).await.expect(200);
}

#[tokio::test]
async fn the_token_ceiling_holds_for_everybody() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let (_, other) = w.spender(&w.bob).await;
    let mut expected = json!({"limit": null, "unit": "tokens", "window": "day", "used": 0, "remaining": null,
        "resets_at": millis(MIDNIGHT), "updated_at": null, "updated_by": null});
    assert_eq!(w.t.get(&w.vera, CEILING).await.expect(200), expected);
    let set = w.t.put(&w.root, CEILING, json!({"limit": 50})).await.expect(200);
    merge(&mut expected, json!({"limit": 50, "remaining": 50, "updated_at": START.millis(), "updated_by": w.root.id}));
    assert_eq!(set, expected);
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(
        (operation.as_str(), &before["max_tokens_per_day"], &after["max_tokens_per_day"]),
        ("LIMIT_UPDATED", &Value::Null, &json!(50))
    );
    let lease = w.lease(&token, 1_000_000).await;
    call(&w, &lease, "a", 60).await;
    merge(&mut expected, json!({"used": 60, "remaining": 0}));
    assert_eq!(w.t.get(&w.ada, CEILING).await.expect(200), expected);
    for token in [&token, &other] {
        let error = borrow(&w, token).await.refused(403, "QUOTA_EXCEEDED");
        let details = json!({"quota": "max_tokens_per_day", "scope": {"kind": "organization", "id": null}, "limit": 50,
            "used": 60, "resets_at": millis(MIDNIGHT), "limit_id": null});
        assert_eq!(error["details"], details);
    }
    limit(&w, &w.ada, json!({"max_tokens_per_day": 1_000})).await;
    let explained = w.t.get(&w.ada, &format!("/api/v1/budget/explain?agent_id={agent}")).await.expect(200);
    let verdicts: Vec<_> =
        explained["quotas"].as_array().expect("quotas").iter().map(|q| q["verdict"].clone()).collect();
    assert_eq!(verdicts, ["blocked", "ok"]);
    let taken = w.t.put(&w.root, CEILING, json!({"limit": null})).await.expect(200);
    assert_eq!((&taken["limit"], &taken["remaining"], &taken["used"]), (&Value::Null, &Value::Null, &json!(60)));
    for token in [&token, &other] {
        borrow(&w, token).await.expect(200);
    }
    for bad in [json!({}), json!({"limit": 0}), json!({"limit": 1.5}), json!({"limit": "5"})] {
        let error = w.t.put(&w.root, CEILING, bad).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["limit"]);
    }
}

#[tokio::test]
async fn a_quota_that_is_set_or_lifted_holds_at_once() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 1_000_000).await;
    call(&w, &lease, "a", 10).await;
    let made = limit(&w, &w.ada, json!({"max_tokens_per_day": 10})).await;
    borrow(&w, &token).await.refused(403, "QUOTA_EXCEEDED");
    w.t.put(&w.root, &uri(&made), json!({"max_tokens_per_day": 11})).await.expect(200);
    borrow(&w, &token).await.expect(200);
    w.t.put(&w.root, &uri(&made), json!({"max_tokens_per_day": 10})).await.expect(200);
    borrow(&w, &token).await.refused(403, "QUOTA_EXCEEDED");
    w.t.delete(&w.root, &uri(&made)).await.expect(200);
    borrow(&w, &token).await.expect(200);
}

#[tokio::test]
async fn an_answer_that_is_repeated_counts_on_no_quota() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let body = json!({"ic_token": token, "requested_budget": 1_000, "request_id": "once"});
    let first = w.t.post((), HANDSHAKE, body.clone()).await.expect(200);
    let lease = first["lease_id"].as_str().expect("an id").to_owned();
    let exchange = json!({"ic_token": token, "current_lease_id": lease, "requested_budget": 1_000});
    let spare = w.lease(&token, 1_000).await;
    call(&w, &spare, "a", 10).await;
    limit(&w, &w.ada, json!({"max_tokens_per_day": 10})).await;
    let again = w.t.post((), HANDSHAKE, body).await.expect(200);
    assert_eq!((&again["lease_id"], &again["duplicate"]), (&first["lease_id"], &json!(true)));
    w.t.post((), REFRESH, exchange.clone()).await.refused(403, "QUOTA_EXCEEDED");
    w.t.post((), "/api/v1/budget/return", json!({"lease_id": lease})).await.expect(200);
    w.t.post((), REFRESH, exchange).await.refused(409, "LEASE_CLOSED");
}
