//! API tokens in place of a login.

use axum::body::Body as HttpBody;
use axum::http::Request;
use serde_json::{Value, json};

use super::{TOKENS, one, secret};
use crate::agents::tests::world::World;
use crate::testing::{Reply, START};

const DAY_MS: i64 = 86_400_000;
const VALIDATE: &str = "/api/v1/api-tokens/validate";

#[tokio::test]
async fn a_token_has_the_rights_its_owner_has_now() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let (token, _) = w.token(&w.ada).await;
    w.t.get(&token, &format!("/api/v1/agents/{agent}")).await.expect(200);
    w.t.get(&token, "/api/v1/users").await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.post(&token, TOKENS, json!({"name": "another"})).await.expect(201);
    w.t.put(&w.root, &format!("/api/v1/users/{}/role", w.ada.id), json!({"role": "admin"})).await.expect(200);
    w.t.get(&token, "/api/v1/users").await.expect(200);
    w.t.put(&w.root, &format!("/api/v1/users/{}/role", w.ada.id), json!({"role": "viewer"})).await.expect(200);
    w.t.get(&token, "/api/v1/users").await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.post(&token, TOKENS, json!({"name": "another"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn what_a_token_does_is_recorded_as_done_by_its_owner() {
    let w = World::new().await;
    let (token, _) = w.token(&w.root).await;
    w.t.post(&token, "/api/v1/projects", json!({"name": "p"})).await.expect(201);
    let entry = w.t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.actor.user), ("PROJECT_CREATED", Some(w.root.id)));
}

#[tokio::test]
async fn a_token_that_does_not_stand_for_anybody_is_told_why() {
    let w = World::new().await;
    let (token, _) = w.token(&w.ada).await;
    let (short, _) = secret(&w.issued(&w.ada, json!({"name": "n", "expires_in_days": 1})).await);
    let unknown = format!("apitok_{}", "x".repeat(64));
    for bad in [unknown.as_str(), "apitok_", "apitok_ä", &token[..70]] {
        let reply = w.t.get(bad, TOKENS).await;
        reply.refused(401, "AUTH_INVALID_TOKEN");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    w.t.put(&w.root, &format!("/api/v1/users/{}/suspend", w.ada.id), json!({})).await.expect(200);
    w.t.get(&token, TOKENS).await.refused(401, "AUTH_ACCOUNT_DISABLED");
    w.t.put(&w.root, &format!("/api/v1/users/{}/activate", w.ada.id), json!({})).await.expect(200);
    w.t.get(&token, TOKENS).await.expect(200);
    w.t.clock.advance_millis(DAY_MS - 1);
    w.t.get(&short, TOKENS).await.expect(200);
    w.t.clock.advance_millis(1);
    w.t.get(&short, TOKENS).await.refused(401, "AUTH_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_deleted_user_leaves_no_token() {
    let w = World::new().await;
    let (token, _) = w.token(&w.ada).await;
    let (_, revoked) = w.token(&w.ada).await;
    w.token(&w.ada).await;
    w.t.delete(&w.ada, &one(revoked)).await.expect(200);
    let deleted = w.t.delete(&w.root, &format!("/api/v1/users/{}", w.ada.id)).await.expect(200);
    assert_eq!(deleted["api_tokens_revoked"], 2);
    w.t.get(&token, TOKENS).await.refused(401, "AUTH_ACCOUNT_DISABLED");
    let left = w.t.get(&w.root, &format!("{TOKENS}?user_id={}", w.ada.id)).await.expect(200);
    assert!(left.as_array().expect("an array").iter().all(|token| token["is_active"] == false), "{left}");
    let again = w.t.delete(&w.root, &format!("/api/v1/users/{}", w.ada.id)).await.expect(200);
    assert_eq!(again["api_tokens_revoked"], 0);
    w.t.post(&w.root, TOKENS, json!({"user_id": w.ada.id})).await.refused(404, "USER_NOT_FOUND");
}

#[tokio::test]
async fn what_is_about_a_login_needs_one() {
    let w = World::new().await;
    let (token, _) = w.token(&w.ada).await;
    let change = json!({"current_password": "ada-password", "new_password": "another password"});
    w.t.post(&token, "/api/v1/auth/change-password", change).await.refused(403, "AUTH_SESSION_REQUIRED");
    w.t.post(&token, "/api/v1/auth/logout", json!({})).await.refused(403, "AUTH_SESSION_REQUIRED");
    w.t.get(&token, "/api/v1/auth/sessions").await.refused(403, "AUTH_SESSION_REQUIRED");
    w.t.post(&token, "/api/v1/auth/refresh", json!({})).await.refused(401, "AUTH_INVALID_TOKEN");
    w.t.get(&token, TOKENS).await.expect(200);
}

#[tokio::test]
async fn both_kinds_of_token_are_validated_in_one_place() {
    let w = World::new().await;
    let verdict = async |token: &str| w.t.post((), "/api/v1/auth/validate", json!({"token": token})).await.expect(200);
    let issued = w.issued(&w.ada, json!({"name": "n", "expires_in_days": 1})).await;
    let (token, id) = secret(&issued);
    let expires_at = START.plus_millis(DAY_MS).to_rfc3339();
    let user = json!({"id": w.ada.id, "email": "ada@example.com", "role": "user", "name": "ada"});
    let valid =
        json!({"valid": true, "user": user, "kind": "api_token", "expires_at": expires_at, "expires_in": 86_400});
    assert_eq!(verdict(&token).await, valid);
    assert_eq!(w.t.post(&token, "/api/v1/auth/validate", json!({})).await.expect(200), valid, "from the header");
    let (endless, _) = w.token(&w.ada).await;
    assert_eq!(verdict(&endless).await["expires_in"], Value::Null);
    assert_eq!(verdict(&w.ada.token).await["kind"], "session");
    w.t.delete(&w.ada, &one(id)).await.expect(200);
    let revoked = json!({"valid": false, "reason": "TOKEN_REVOKED", "revoked_at": START.to_rfc3339()});
    assert_eq!(verdict(&token).await, revoked);
    assert_eq!(verdict("apitok_x").await, json!({"valid": false, "reason": "TOKEN_INVALID"}));
    w.t.put(&w.root, &format!("/api/v1/users/{}/suspend", w.ada.id), json!({})).await.expect(200);
    assert_eq!(verdict(&endless).await, json!({"valid": false, "reason": "ACCOUNT_DISABLED"}));
}

#[tokio::test]
async fn anybody_may_ask_whether_a_token_is_taken() {
    let w = World::new().await;
    w.project("proj_a").await;
    let ask = async |token: &str| w.t.post((), VALIDATE, json!({"token": token})).await.expect(200);
    let (token, id) = w.token(&w.ada).await;
    assert_eq!(ask(&token).await, json!({"valid": true, "user_id": w.ada.id, "token_id": id}));
    let (scoped, id) = secret(&w.issued(&w.root, json!({"user_id": w.ada.id, "project_id": "proj_a"})).await);
    let expected = json!({"valid": true, "user_id": w.ada.id, "project_id": "proj_a", "token_id": id});
    assert_eq!(ask(&scoped).await, expected);
    let invalid = json!({"valid": false});
    assert_eq!(ask(&w.ada.token).await, invalid, "a login is no API token");
    assert_eq!(ask("x").await, invalid);
    w.t.delete(&w.ada, &one(id)).await.expect(200);
    assert_eq!(ask(&scoped).await, invalid);
    w.t.put(&w.root, &format!("/api/v1/users/{}/suspend", w.ada.id), json!({})).await.expect(200);
    assert_eq!(ask(&token).await, invalid);
    w.t.post((), VALIDATE, json!({"token": "x".repeat(501)})).await.refused(400, "VALIDATION_ERROR");
}

async fn validate_from(w: &World, ip: &str) -> Reply {
    let body = HttpBody::from(json!({"token": "apitok_guess"}).to_string());
    let mut request = Request::post(VALIDATE).header("content-type", "application/json").body(body).expect("a request");
    request.extensions_mut().insert(crate::service::Peer(ip.parse().expect("an address")));
    w.t.send(request).await
}

#[tokio::test]
async fn one_address_asks_a_hundred_times_a_minute() {
    let w = World::new().await;
    for _ in 0..100 {
        validate_from(&w, "10.0.0.1").await.expect(200);
    }
    let refused = validate_from(&w, "10.0.0.1").await;
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!((refused.header("ratelimit-limit"), refused.header("retry-after")), (Some("100"), Some("60")));
    validate_from(&w, "10.0.0.2").await.expect(200);
    w.t.clock.advance_millis(60_000);
    validate_from(&w, "10.0.0.1").await.expect(200);
}

#[tokio::test]
async fn uses_are_counted_in_memory_and_told_to_the_database_together() {
    let w = World::new().await;
    let (token, id) = w.token(&w.ada).await;
    for _ in 0..3 {
        w.t.get(&token, TOKENS).await.expect(200);
    }
    let shown = async || w.t.get(&w.ada, &one(id)).await.expect(200);
    assert_eq!(shown().await["last_used_at"], Value::Null, "no request writes");
    w.flush().await;
    let stats = json!({"total_requests": 3, "requests_today": 3, "requests_last_hour": 3});
    let after = shown().await;
    assert_eq!((&after["last_used_at"], &after["usage_stats"]), (&json!(START.millis()), &stats));

    w.t.clock.advance_millis(2 * 3_600_000);
    w.t.get(&token, TOKENS).await.expect(200);
    w.t.get(&token, "/api/v1/users").await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.flush().await;
    w.flush().await;
    let stats = json!({"total_requests": 5, "requests_today": 5, "requests_last_hour": 2});
    let after = shown().await;
    let now = START.plus_millis(2 * 3_600_000).millis();
    assert_eq!((&after["last_used_at"], &after["usage_stats"]), (&json!(now), &stats));
    assert!(!w.t.audited().await.iter().any(|operation| operation.contains("USE")), "it is no change of anything");
}

#[tokio::test]
async fn whoever_must_change_the_password_is_held_to_it_with_a_token_too() {
    let w = World::with(|services| services.policy.enforce_password_change = true).await;
    let (token, _) = w.token(&w.ada).await;
    let reset = format!("/api/v1/users/{}/reset-password", w.ada.id);
    w.t.post(&w.root, &reset, json!({"new_password": "another password"})).await.expect(200);
    w.t.get(&token, TOKENS).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}
