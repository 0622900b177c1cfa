//! Making, listing, describing, replacing and revoking tokens.

use axum::http::Method;
use serde_json::{Value, json};

use super::{TOKENS, one, secret};
use crate::agents::tests::world::{World, fields};
use crate::state::Policy;
use crate::testing::START;

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("an array").iter().map(|token| token["name"].as_str().unwrap_or("")).collect()
}

#[tokio::test]
async fn a_new_token_has_every_field_and_is_shown_in_the_clear_once() {
    let w = World::new().await;
    w.project("proj_a").await;
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "project_id": "proj_a"})).await;
    let body = json!({"name": " deploy ", "description": "d", "project_id": "proj_a", "agent_id": agent,
        "provider": "openai", "expires_in_days": "30", "scope": "read:agents", "ignored": 1});
    let mut issued = w.issued(&w.ada, body).await;
    let (token, id) = secret(&issued);
    assert!(issued["message"].is_string());
    for shown_once in ["token", "message"] {
        issued.as_object_mut().map(|issued| issued.remove(shown_once));
    }
    let expected = json!({"id": id, "user_id": w.ada.id, "project_id": "proj_a", "name": "deploy", "description": "d",
        "agent_id": agent, "provider": "openai", "scopes": ["read:agents"], "token_prefix": token[..11],
        "created_at": START.millis(), "last_used_at": null,
        "expires_at": START.plus_millis(30 * 86_400_000).millis(), "revoked_at": null, "is_active": true});
    assert_eq!(issued, expected);
    assert_eq!(w.t.get(&w.ada, TOKENS).await.expect(200), json!([expected]));
    let mut shown = w.t.get(&w.ada, &one(id)).await.expect(200);
    let stats = shown.as_object_mut().and_then(|shown| shown.remove("usage_stats"));
    assert_eq!(stats, Some(json!({"total_requests": 0, "requests_today": 0, "requests_last_hour": 0})));
    assert_eq!(shown, expected);
    assert!(!w.audit_text().await.contains(&token), "the audit log holds no token");
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), before, &after["token"]), ("API_TOKEN_CREATED", Value::Null, &json!("[REDACTED]")));
}

#[tokio::test]
async fn what_a_token_refers_to_must_be_there_and_the_callers() {
    let w = World::new().await;
    w.project("proj_a").await;
    let (own, foreign) = (w.agent(&w.ada).await, w.agent(&w.bob).await);
    let create = async |who, body: Value| w.t.post(who, TOKENS, body).await;
    create(&w.ada, json!({"name": "n", "project_id": "proj_none"})).await.refused(404, "PROJECT_NOT_FOUND");
    create(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await.refused(404, "PROJECT_NOT_FOUND");
    create(&w.root, json!({"name": "n", "project_id": "proj_a"})).await.expect(201);
    create(&w.ada, json!({"name": "n", "agent_id": 999})).await.refused(404, "AGENT_NOT_FOUND");
    create(&w.ada, json!({"name": "n", "agent_id": foreign})).await.refused(403, "ACCESS_DENIED");
    create(&w.ada, json!({"name": "n", "agent_id": own})).await.expect(201);
    create(&w.ada, json!({"user_id": w.bob.id})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    create(&w.ada, json!({"user_id": w.ada.id})).await.expect(201);
    create(&w.root, json!({"user_id": "user_nobody"})).await.refused(404, "USER_NOT_FOUND");
    let other = create(&w.root, json!({"user_id": w.ada.id, "agent_id": foreign})).await;
    assert_eq!(fields(&other.refused(400, "VALIDATION_ERROR")), ["agent_id"]);
    let made = create(&w.root, json!({"user_id": w.ada.id, "project_id": "proj_a"})).await.expect(201);
    assert_eq!(made["user_id"], json!(w.ada.id));
    let late = json!({"name": "n", "expires_at": START.millis()});
    assert_eq!(fields(&create(&w.ada, late).await.refused(400, "VALIDATION_ERROR")), ["expires_at"]);
    create(&w.vera, json!({"name": "n"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    create(&w.ada, json!({})).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn everybody_lists_their_own_and_an_admin_those_of_others_if_asked() {
    let w = World::new().await;
    for (who, name) in [(&w.root, "r"), (&w.ada, "a1"), (&w.ada, "A2"), (&w.bob, "b")] {
        w.issued(who, json!({"name": name})).await;
        w.t.clock.advance_millis(1_000);
    }
    let list = async |who, query: &str| w.t.get(who, &format!("{TOKENS}{query}")).await;
    assert_eq!(names(&list(&w.ada, "").await.expect(200)), ["A2", "a1"], "youngest first");
    assert_eq!(names(&list(&w.root, "").await.expect(200)), ["r"]);
    assert_eq!(names(&list(&w.root, "?all=true").await.expect(200)), ["b", "A2", "a1", "r"]);
    assert_eq!(names(&list(&w.root, &format!("?user_id={}", w.ada.id)).await.expect(200)), ["A2", "a1"]);
    assert_eq!(names(&list(&w.ada, "?all=true").await.expect(200)), ["A2", "a1"]);
    assert_eq!(list(&w.ada, &format!("?user_id={}", w.bob.id)).await.expect(200), json!([]));
    assert_eq!(names(&list(&w.ada, "?sort=name").await.expect(200)), ["a1", "A2"]);
    assert_eq!(names(&list(&w.ada, "?sort=-name&limit=1").await.expect(200)), ["A2"]);
    assert_eq!(names(&list(&w.ada, "?sort=created_at").await.expect(200)), ["a1", "A2"]);
    let page = list(&w.ada, "?page=2&per_page=1").await;
    assert_eq!((page.header("x-total-count"), names(&page.expect(200))), (Some("2"), vec!["a1"]));
    list(&w.ada, "?per_page=101").await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_list_can_be_narrowed_to_tokens_that_can_be_used() {
    let w = World::new().await;
    let (_, revoked) = secret(&w.issued(&w.ada, json!({"name": "revoked"})).await);
    w.issued(&w.ada, json!({"name": "run out", "expires_in_days": 1})).await;
    w.issued(&w.ada, json!({"name": "good", "expires_in_days": 9})).await;
    w.t.delete(&w.ada, &one(revoked)).await.expect(200);
    w.t.clock.advance_millis(86_400_000);
    let ada = w.t.login(w.ada.id.clone(), &w.ada.email, &w.ada.password).await;
    let list = async |query: &str| w.t.get(&ada, &format!("{TOKENS}?sort=name{query}")).await.expect(200);
    assert_eq!(names(&list("").await), ["good", "revoked", "run out"]);
    assert_eq!(names(&list("&active=true").await), ["good"]);
    let ended = list("&active=false").await;
    assert_eq!(names(&ended), ["revoked", "run out"]);
    assert!(ended.as_array().expect("an array").iter().all(|token| token["is_active"] == false));
}

#[tokio::test]
async fn a_token_of_somebody_else_is_not_there() {
    let w = World::new().await;
    let (_, id) = w.token(&w.ada).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        w.t.call(method, &w.bob, &one(id), Some(json!({"name": "x"}))).await.refused(404, "TOKEN_NOT_FOUND");
    }
    w.t.post(&w.bob, &format!("{}/rotate", one(id)), json!({})).await.refused(404, "TOKEN_NOT_FOUND");
    w.t.get(&w.ada, &one(999)).await.refused(404, "TOKEN_NOT_FOUND");
    w.t.get(&w.ada, &format!("{TOKENS}/x")).await.refused(400, "INVALID_PARAMETER");
    w.t.get(&w.root, &one(id)).await.expect(200);
    w.t.put(&w.root, &one(id), json!({"name": "by root"})).await.expect(200);
    w.t.delete(&w.root, &one(id)).await.expect(200);
}

#[tokio::test]
async fn a_token_is_described_anew_and_nothing_else_of_it_changes() {
    let w = World::new().await;
    let issued = w.issued(&w.ada, json!({"name": "n", "description": "d", "scopes": ["read:agents"]})).await;
    let (_, id) = secret(&issued);
    let body = json!({"name": "m", "description": " ", "provider": "openai", "scopes": [], "user_id": w.bob.id});
    let changed = w.t.put(&w.ada, &one(id), body).await.expect(200);
    assert_eq!((&changed["name"], &changed["provider"]), (&json!("m"), &json!("openai")));
    assert_eq!((&changed["description"], &changed["scopes"]), (&Value::Null, &json!(["read:agents"])));
    assert_eq!(changed["user_id"], json!(w.ada.id));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), &before["name"], &after["name"]), ("API_TOKEN_UPDATED", &json!("n"), &json!("m")));
    let audited = w.t.audited().await.len();
    assert_eq!(w.t.put(&w.ada, &one(id), json!({})).await.expect(200), changed);
    assert_eq!(w.t.audited().await.len(), audited, "nothing changed, so nothing is recorded");
    w.t.put(&w.ada, &one(id), json!({"name": "<i>"})).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_and_stays_revoked() {
    let w = World::new().await;
    let (token, id) = w.token(&w.ada).await;
    w.t.get(&token, TOKENS).await.expect(200);
    w.t.clock.advance_millis(5);
    let at = START.plus_millis(5).millis();
    let revoked = w.t.delete(&w.ada, &one(id)).await.expect(200);
    assert_eq!((&revoked["id"], &revoked["revoked"], &revoked["name"]), (&json!(id), &json!(true), &json!("t")));
    assert_eq!((&revoked["revoked_at"], revoked["message"].is_string()), (&json!(at), true));
    w.t.get(&token, TOKENS).await.refused(401, "AUTH_TOKEN_REVOKED");
    for (method, path) in [(Method::DELETE, one(id)), (Method::PUT, one(id)), (Method::POST, one(id) + "/rotate")] {
        let refused = w.t.call(method, &w.ada, &path, None).await.refused(409, "TOKEN_ALREADY_REVOKED");
        assert_eq!(refused["details"], json!({"revoked_at": at}), "{path}");
    }
    let shown = w.t.get(&w.ada, &one(id)).await.expect(200);
    assert_eq!((&shown["is_active"], &shown["revoked_at"]), (&json!(false), &json!(at)));
    assert_eq!(w.last_audit().await.0, "API_TOKEN_REVOKED");
}

#[tokio::test]
async fn a_rotated_token_ends_as_its_like_begins() {
    let w = World::new().await;
    w.project("proj_a").await;
    let fields = json!({"user_id": w.ada.id, "name": "n", "project_id": "proj_a", "scopes": ["read:users"],
        "expires_in_days": 9});
    let issued = w.issued(&w.root, fields).await;
    let (old, id) = secret(&issued);
    let mut rotated = w.t.post(&w.ada, &format!("{}/rotate", one(id)), json!({})).await.expect(200);
    let (new, new_id) = secret(&rotated);
    assert_eq!(rotated["rotated_from"], json!(id));
    assert!(new_id > id && new != old);
    let oneself = format!("/api/v1/users/{}", w.ada.id);
    w.t.get(&old, &oneself).await.refused(401, "AUTH_TOKEN_REVOKED");
    w.t.get(&new, &oneself).await.expect(200);
    for name in ["id", "token", "token_prefix", "rotated_from"] {
        rotated[name] = issued[name].clone();
    }
    assert_eq!(rotated, {
        let mut expected = issued;
        expected["rotated_from"] = Value::Null;
        expected
    });
    let audit = w.audit_text().await;
    assert!(!audit.contains(&old) && !audit.contains(&new));
    assert_eq!(w.last_audit().await.0, "API_TOKEN_ROTATED");
}

#[tokio::test]
async fn only_its_owner_rotates_a_token_a_viewer_too() {
    let w = World::new().await;
    let (_, id) = w.token(&w.ada).await;
    w.t.post(&w.root, &format!("{}/rotate", one(id)), json!({})).await.refused(403, "ACCESS_DENIED");
    let (token, id) = secret(&w.issued(&w.root, json!({"user_id": w.vera.id})).await);
    w.t.put(&w.vera, &format!("{}/rotate", one(id)), json!({})).await.expect(200);
    w.t.get(&token, TOKENS).await.refused(401, "AUTH_TOKEN_REVOKED");
    let (_, id) = secret(&w.issued(&w.root, json!({"user_id": w.vera.id})).await);
    w.t.put(&w.vera, &one(id), json!({"name": "x"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.delete(&w.vera, &one(id)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn of_two_rotations_at_once_one_gets_the_new_token() {
    let w = World::new().await;
    let (_, id) = w.token(&w.ada).await;
    let uri = format!("{}/rotate", one(id));
    let rotate = || w.t.post(&w.ada, &uri, json!({}));
    let (first, second) = tokio::join!(rotate(), rotate());
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(w.t.get(&w.ada, &format!("{TOKENS}?active=true")).await.expect(200).as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_user_has_so_many_tokens_that_can_be_used_and_no_more() {
    let w = World::with(|services| {
        services.policy = Policy { max_api_tokens: 2, ..Policy::default() };
    })
    .await;
    let (_, first) = w.token(&w.ada).await;
    w.issued(&w.root, json!({"user_id": w.ada.id})).await;
    let refused = w.t.post(&w.ada, TOKENS, json!({"name": "n"})).await.refused(409, "TOKEN_LIMIT_EXCEEDED");
    assert_eq!(refused["details"], json!({"limit": 2, "active": 2}));
    w.token(&w.bob).await;
    w.t.post(&w.ada, &format!("{}/rotate", one(first)), json!({})).await.expect(200);
    w.t.post(&w.ada, TOKENS, json!({"name": "n"})).await.refused(409, "TOKEN_LIMIT_EXCEEDED");
    let tokens = w.t.get(&w.ada, &format!("{TOKENS}?active=true")).await.expect(200);
    w.t.delete(&w.ada, &one(tokens[0]["id"].as_i64().expect("an id"))).await.expect(200);
    w.t.post(&w.ada, TOKENS, json!({"name": "n"})).await.expect(201);
}

#[tokio::test]
async fn tokens_are_made_and_rotated_ten_times_a_minute() {
    let w = World::new().await;
    let (_, mut id) = w.token(&w.ada).await;
    for n in 1..10 {
        let reply = match n % 2 {
            0 => w.t.post(&w.ada, TOKENS, json!({"name": "n"})).await.expect(201),
            _ => w.t.post(&w.ada, &format!("{}/rotate", one(id)), json!({})).await.expect(200),
        };
        id = reply["id"].as_i64().expect("an id");
    }
    for uri in [TOKENS.to_owned(), format!("{}/rotate", one(id))] {
        let reply = w.t.post(&w.ada, &uri, json!({"name": "n"})).await;
        let body = reply.refused(429, "RATE_LIMIT_EXCEEDED");
        let reset_at = START.plus_millis(60_000).millis();
        let details = json!({"limit": 10, "window_seconds": 60, "retry_after": 60, "reset_at": reset_at});
        assert_eq!(body["details"], details);
        for (name, value) in [("retry-after", "60"), ("ratelimit-limit", "10"), ("ratelimit-remaining", "0")] {
            assert_eq!(reply.header(name), Some(value), "{name}");
            assert!(name == "retry-after" || reply.header(&format!("x-{name}")) == Some(value), "{name}");
        }
        assert_eq!(reply.header("ratelimit-reset"), Some("60"));
        assert_eq!(reply.header("x-ratelimit-reset"), Some(START.plus_millis(60_000).secs().to_string().as_str()));
    }
    w.token(&w.bob).await;
    w.t.clock.advance_millis(60_000);
    w.token(&w.ada).await;
}

#[tokio::test]
async fn what_a_token_makes_does_not_outlive_it() {
    let w = World::new().await;
    let end = |days: i64| json!(START.plus_millis(days * 86_400_000).millis());
    let (token, _) = secret(&w.issued(&w.ada, json!({"name": "n", "expires_in_days": 5})).await);
    for longer in [
        json!({"name": "n", "expires_in_days": 6}),
        json!({"name": "n", "expires_at": end(5).as_i64().map(|end| end + 1)}),
    ] {
        let refused = w.t.post(&token, TOKENS, longer.clone()).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&refused), ["expires_at"], "{longer}");
    }
    for (asked, given) in [
        (json!({"name": "n", "expires_in_days": 5}), end(5)),
        (json!({"name": "n", "expires_in_days": 1}), end(1)),
        // Nothing asked for: as long as its maker
        (json!({"name": "n"}), end(5)),
    ] {
        assert_eq!(w.issued(&token, asked.clone()).await["expires_at"], given, "{asked}");
    }
    let (endless, _) = w.token(&w.ada).await;
    assert_eq!(w.issued(&endless, json!({"name": "n"})).await["expires_at"], Value::Null, "no end, no limit");
    assert_eq!(w.issued(&endless, json!({"name": "n", "expires_in_days": 90})).await["expires_at"], end(90));
}

#[tokio::test]
async fn a_token_replaces_none_that_outlives_it() {
    let w = World::new().await;
    let rotate = |id: i64| format!("{}/rotate", one(id));
    let made = async |days: i64| secret(&w.issued(&w.ada, json!({"name": "n", "expires_in_days": days})).await);
    let ((token, own), (_, like), (_, longer)) = (made(5).await, made(5).await, made(6).await);
    let (_, endless) = w.token(&w.ada).await;
    for id in [longer, endless] {
        w.t.post(&token, &rotate(id), json!({})).await.refused(403, "INSUFFICIENT_SCOPE");
    }
    for id in [like, own] {
        w.t.post(&token, &rotate(id), json!({})).await.expect(200);
    }
    w.t.post(&w.ada, &rotate(endless), json!({})).await.expect(200);
}

#[tokio::test]
async fn the_second_name_of_the_routes_leads_to_them() {
    let w = World::new().await;
    let issued = w.t.post(&w.ada, "/api/v1/tokens", json!({"name": "n", "expires_in_days": "7"})).await.expect(201);
    let (_, id) = secret(&issued);
    assert_eq!(names(&w.t.get(&w.ada, "/api/tokens").await.expect(200)), ["n"]);
    w.t.get(&w.ada, &format!("/api/v1/tokens/{id}")).await.expect(200);
    let rotated = w.t.put(&w.ada, &format!("/api/v1/tokens/{id}/rotate"), json!({})).await.expect(200);
    let rotated = w.t.post(&w.ada, &format!("/v1/tokens/{}/rotate", rotated["id"]), json!({})).await.expect(200);
    w.t.post(&w.ada, &format!("/api/v1/tokens/{}/revoke", rotated["id"]), json!({})).await.expect(200);
    let (_, id) = w.token(&w.ada).await;
    w.t.delete(&w.ada, &format!("/api/v1/tokens/{id}")).await.expect(200);
    let (_, id) = w.token(&w.ada).await;
    w.t.post(&w.ada, &format!("{}/revoke", one(id)), json!({})).await.expect(200);
}

#[tokio::test]
async fn new_tokens_last_no_longer_than_the_installation_or_the_project_allows() {
    let w = World::new().await;
    w.project("proj_a").await;
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "proj_a"})).await;
    let (_, before) = w.token(&w.ada).await;
    let days = |days: i64| json!({"security": {"api_token_max_age_days": days}});
    w.t.put(&w.root, "/api/v1/settings/system", days(30)).await.expect(200);
    w.t.put(&w.root, "/api/v1/settings/project/proj_a", days(7)).await.expect(200);
    let end = |days: i64| json!(START.plus_millis(days * 86_400_000).millis());
    for (fields, expected) in [
        (json!({"name": "n"}), end(30)),
        (json!({"name": "n", "expires_in_days": 90}), end(30)),
        (json!({"name": "n", "expires_in_days": 3}), end(3)),
        (json!({"name": "n", "project_id": "proj_a"}), end(7)),
    ] {
        assert_eq!(w.issued(&w.ada, fields.clone()).await["expires_at"], expected, "{fields}");
    }
    assert_eq!(w.t.get(&w.ada, &one(before)).await.expect(200)["expires_at"], Value::Null, "not a new one");
    let rotated = w.t.post(&w.ada, &format!("{}/rotate", one(before)), json!({})).await.expect(200);
    assert_eq!(rotated["expires_at"], end(30), "but this is");
}
