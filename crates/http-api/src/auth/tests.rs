//! Logging in as a client sees it.

mod sessions;

use auth::Role;
use axum::body::Body as HttpBody;
use axum::http::{Method, Request};
use kernel::{Secret, Timestamp};
use persistence::SessionOrigin;
use serde_json::{Value, json};

use crate::state::Policy;
use crate::testing::{Persona, Reply, START, TestApi};

const LOGIN: &str = "/api/v1/auth/login";
const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";
const VALIDATE: &str = "/api/v1/auth/validate";
const CHANGE: &str = "/api/v1/auth/change-password";

async fn try_login(t: &TestApi, email: &str, password: &str) -> Reply {
    t.post((), LOGIN, json!({"email": email, "password": password})).await
}

/// A request from another address than the usual one, so that only the lock is met and not the rate limit.
async fn try_login_from(t: &TestApi, ip: &str, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password}).to_string();
    let mut request = Request::post(LOGIN).header("content-type", "application/json").body(HttpBody::from(body));
    let request = request.as_mut().expect("a request");
    request.extensions_mut().insert(crate::service::Peer(ip.parse().expect("an address")));
    t.send(std::mem::take(request)).await
}

async fn refresh(t: &TestApi, token: &str) -> Reply {
    t.post((), REFRESH, json!({"refresh_token": token})).await
}

fn session_user(t: &Value) -> &Value {
    &t["user"]
}

// Login

#[tokio::test]
async fn a_login_gives_a_session_with_all_that_clients_read() {
    let t = TestApi::start().await;
    let id = t.user("ada", Role::User).await;
    let session = try_login(&t, " ADA@example.com ", "ada-password").await.expect(200);
    assert_eq!(session["user_token"], session["access_token"]);
    assert!(session["refresh_token"].as_str().is_some_and(|token| token.len() > 40));
    assert_eq!((&session["token_type"], &session["expires_in"]), (&json!("Bearer"), &json!(28_800)));
    assert_eq!(session["expires_at"], "2026-01-15T20:00:00Z");
    assert_eq!(session["refresh_expires_at"], "2026-02-14T12:00:00Z");
    let user =
        json!({"id": id, "email": "ada@example.com", "role": "user", "name": "ada", "must_change_password": false});
    assert_eq!(session_user(&session), &user);
}

#[tokio::test]
async fn a_login_sets_the_time_of_the_last_login() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let user = t.get(&ada, &format!("/api/v1/users/{}", ada.id)).await.expect(200);
    assert_eq!(user["last_login"], START.millis());
}

#[tokio::test]
async fn an_unknown_e_mail_and_a_wrong_password_get_the_same_answer() {
    let t = TestApi::start().await;
    t.user("ada", Role::User).await;
    let mut answers = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        let mut body = try_login(&t, email, "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
        assert_eq!(body["error"]["message"], body["message"]);
        body.as_object_mut().map(|body| body.remove("request_id"));
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_login_names_every_field_that_fails() {
    let t = TestApi::start().await;
    let body = t.post((), LOGIN, json!({"email": 1})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(body["fields"].as_object().map(|fields| fields.len()), Some(2));
    assert_eq!(body["error"]["fields"], body["fields"]);
}

#[tokio::test]
async fn ten_failures_lock_and_then_even_the_right_password_is_refused() {
    let t = TestApi::start().await;
    let ada = t.user("ada", Role::User).await;
    for n in 0..10 {
        try_login(&t, "Ada@example.com", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
        assert_eq!(t.audited().await.len(), usize::from(n == 9), "only the failure that sets the lock is audited");
    }
    t.clock.advance_millis(500);
    for password in ["wrong", "ada-password"] {
        let body = try_login(&t, "ada@example.com", password).await.refused(403, "AUTH_ACCOUNT_LOCKED");
        let details = json!({"retry_after": 1_800, "locked_until": START.plus_millis(1_800_000).millis()});
        assert_eq!(body["details"], details);
    }
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.resource_id.as_deref()), ("LOGIN_FAILED_LOCKED", Some(ada.as_str())));
    assert_eq!(entry.actor.user, None);

    t.clock.advance_millis(1_800_000);
    try_login(&t, "ada@example.com", "ada-password").await.expect(200);
}

#[tokio::test]
async fn an_unknown_e_mail_is_locked_like_a_known_one() {
    let t = TestApi::start().await;
    for _ in 0..10 {
        try_login(&t, "nobody@example.com", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    try_login(&t, "nobody@example.com", "wrong").await.refused(403, "AUTH_ACCOUNT_LOCKED");
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.resource_id), ("LOGIN_FAILED_LOCKED", None));
}

#[tokio::test]
async fn a_success_clears_the_count_of_failures() {
    let t = TestApi::start().await;
    t.user("ada", Role::User).await;
    for round in 0..3 {
        let ip = format!("10.0.0.{round}");
        for _ in 0..9 {
            try_login_from(&t, &ip, "ada@example.com", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
        }
        try_login_from(&t, &ip, "ada@example.com", "ada-password").await.expect(200);
    }
}

#[tokio::test]
async fn parallel_guesses_do_not_slip_past_the_lock() {
    let t = TestApi::start().await;
    t.user("ada", Role::User).await;
    let guesses = (0..30).map(|n| async move { format!("10.0.1.{n}") });
    let mut tasks = tokio::task::JoinSet::new();
    let t = std::sync::Arc::new(t);
    for guess in guesses {
        let (t, ip) = (std::sync::Arc::clone(&t), guess.await);
        tasks.spawn(async move { try_login_from(&t, &ip, "ada@example.com", "wrong").await.status });
    }
    let statuses = tasks.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10);
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 20);
    assert_eq!(t.audited().await, ["LOGIN_FAILED_LOCKED"]);
}

#[tokio::test]
async fn too_many_failures_from_one_address_are_slowed_down() {
    let t = TestApi::start().await;
    t.user("ada", Role::User).await;
    for n in 0..50 {
        try_login(&t, &format!("guess{n}@example.com"), "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    let slowed = try_login(&t, "ada@example.com", "ada-password").await;
    slowed.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!((slowed.header("retry-after"), slowed.header("ratelimit-limit")), (Some("300"), Some("50")));
    try_login_from(&t, "10.9.9.9", "ada@example.com", "ada-password").await.expect(200);
}

#[tokio::test]
async fn a_suspended_user_learns_so_only_with_the_right_password() {
    let t = TestApi::start().await;
    let ada = t.user("ada", Role::User).await;
    t.write(async |work| assert!(work.suspend_user(&ada).await.expect("suspended"))).await;
    try_login(&t, "ada@example.com", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    let body = try_login(&t, "ada@example.com", "ada-password").await.refused(403, "AUTH_ACCOUNT_DISABLED");
    assert_eq!(body["details"], json!({"user_id": ada}));
}

#[tokio::test]
async fn a_password_hashed_at_another_cost_is_hashed_anew() {
    let t = TestApi::start().await;
    let ada = t.user("ada", Role::User).await;
    let old = auth::password::PasswordHasher::new(5).expect("allowed").hash("ada-password", &*t.api.entropy);
    t.write(async |work| assert!(work.set_user_password(&ada, &old, true).await.expect("stored"))).await;
    try_login(&t, "ada@example.com", "ada-password").await.expect(200);
    let record = t.api.store.login_record_of(&ada).await.expect("read").expect("there");
    assert!(!t.api.hasher.needs_rehash(record.password_hash.expose()));
    assert!(record.user.must_change_password);
    try_login(&t, "ada@example.com", "ada-password").await.expect(200);
}

// Callers

#[tokio::test]
async fn every_way_of_being_nobody_has_its_code() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let me = format!("/api/v1/users/{}", ada.id);
    let anonymous = t.get((), &me).await;
    anonymous.refused(401, "AUTH_MISSING_TOKEN");
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"));
    let forged = format!("{}x", ada.token);
    for bad in ["nonsense", "apitok_abc", ada.refresh_token.as_str(), forged.as_str()] {
        t.get(bad, &me).await.refused(401, "AUTH_INVALID_TOKEN");
    }
    let basic = Request::get(&me).header("authorization", "Basic YTpi").body(HttpBody::empty()).expect("a request");
    t.send(basic).await.refused(401, "AUTH_MISSING_TOKEN");
    t.get(&ada, &me).await.expect(200);
    t.clock.advance_millis(28_800_000);
    t.get(&ada, &me).await.refused(401, "AUTH_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_token_of_a_session_nobody_knows_is_not_valid() {
    let t = TestApi::start().await;
    let ada = t.user("ada", Role::User).await;
    let (other, session) = (kernel::UserId::new("user_other"), kernel::SessionId::new("sess_gone"));
    let subject = auth::session::Subject { user: &other, role: Role::Admin, email: "x@y", session: &session };
    let pair = auth::session::issue(&t.api.keys.sessions, subject, t.api.lifetimes, START, &*t.api.entropy);
    t.get(pair.access.expose(), "/api/v1/users").await.refused(401, "AUTH_INVALID_TOKEN");
    // The session is somebody else's
    let hash = auth::TokenHash::of("r");
    t.write(async |work| {
        work.create_session(&session, &ada, &SessionOrigin::default(), &hash, Timestamp::MAX).await.expect("stored")
    })
    .await;
    t.get(pair.access.expose(), "/api/v1/users").await.refused(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn the_role_in_the_token_decides_nothing() {
    let t = TestApi::start().await;
    let root = t.persona("root", Role::Admin).await;
    t.get(&root, "/api/v1/users").await.expect(200);
    t.write(async |work| assert!(work.set_user_role(&root.id, Role::Viewer).await.expect("stored"))).await;
    t.get(&root, "/api/v1/users").await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn a_suspended_users_token_is_refused_at_once() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.write(async |work| {
        work.suspend_user(&ada.id).await.expect("suspended");
        work.end_sessions_of(&ada.id, None, "test").await.expect("ended");
    })
    .await;
    let refused = t.get(&ada, "/api/v1/users/x").await;
    refused.refused(401, "AUTH_ACCOUNT_DISABLED");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    refresh(&t, &ada.refresh_token).await.refused(401, "AUTH_ACCOUNT_DISABLED");
}

#[tokio::test]
async fn reads_and_writes_of_a_user_are_limited() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    for _ in 0..120 {
        t.delete(&ada, "/api/v1/users/x").await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    t.delete(&ada, "/api/v1/users/x").await.refused(429, "RATE_LIMIT_EXCEEDED");
    t.get(&ada, &format!("/api/v1/users/{}", ada.id)).await.expect(200);
    t.clock.advance_millis(60_000);
    t.delete(&ada, "/api/v1/users/x").await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn who_must_change_the_password_can_do_nothing_else_where_that_is_enforced() {
    let t =
        TestApi::with(|services| services.policy = Policy { enforce_password_change: true, ..services.policy }).await;
    let ada = t.persona("ada", Role::User).await;
    let hash = t.api.hasher.hash("one-time-password", &*t.api.entropy);
    t.write(async |work| assert!(work.set_user_password(&ada.id, &hash, true).await.expect("stored"))).await;
    let me = format!("/api/v1/users/{}", ada.id);
    t.get(&ada, &me).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    let change = json!({"current_password": "one-time-password", "new_password": "my own one"});
    t.post(&ada, CHANGE, change).await.expect(204);
    t.get(&ada, &me).await.expect(200);
}

// Refresh

#[tokio::test]
async fn a_refresh_gives_a_new_pair_of_the_same_login() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let session = refresh(&t, &ada.refresh_token).await.expect(200);
    assert_ne!(session["access_token"], ada.token);
    assert_ne!(session["refresh_token"], ada.refresh_token);
    assert_eq!(session_user(&session)["id"], json!(ada.id));
    t.get(session["access_token"].as_str().expect("a token"), &format!("/api/v1/users/{}", ada.id)).await.expect(200);
}

#[tokio::test]
async fn the_refresh_token_may_stand_in_the_header_and_the_body_wins() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.post((), REFRESH, json!({})).await.refused(401, "AUTH_MISSING_TOKEN");
    t.post(ada.refresh_token.as_str(), REFRESH, json!({"refresh_token": "rt_x"}))
        .await
        .refused(401, "AUTH_INVALID_TOKEN");
    t.post(ada.refresh_token.as_str(), REFRESH, json!({"refresh_token": null})).await.expect(200);
    t.call(Method::POST, ada.refresh_token.as_str(), "/api/auth/refresh", None).await.expect(200);
}

#[tokio::test]
async fn an_access_token_is_no_refresh_token() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.post(&ada, REFRESH, json!({})).await.refused(401, "AUTH_INVALID_TOKEN");
}

#[tokio::test]
async fn a_spent_refresh_token_gets_further_pairs_for_ten_seconds_and_then_ends_the_login() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let other = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    let first = refresh(&t, &ada.refresh_token).await.expect(200);
    t.clock.advance_millis(9_999);
    let second = refresh(&t, &ada.refresh_token).await.expect(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    t.clock.advance_millis(1);
    refresh(&t, &ada.refresh_token).await.refused(401, "AUTH_REFRESH_REUSED");
    let me = format!("/api/v1/users/{}", ada.id);
    for session in [&first, &second] {
        t.get(session["access_token"].as_str().expect("a token"), &me).await.refused(401, "AUTH_TOKEN_REVOKED");
        let token = session["refresh_token"].as_str().expect("a token");
        refresh(&t, token).await.refused(401, "AUTH_TOKEN_REVOKED");
    }
    t.get(&other, &me).await.expect(200);
}

#[tokio::test]
async fn parallel_refreshes_all_get_a_pair_within_the_grace_time() {
    let t = std::sync::Arc::new(TestApi::start().await);
    let ada = t.persona("ada", Role::User).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (t, token) = (std::sync::Arc::clone(&t), ada.refresh_token.clone());
        tasks.spawn(async move { refresh(&t, &token).await.status });
    }
    assert_eq!(tasks.join_all().await, [200; 8]);
}

#[tokio::test]
async fn an_expired_refresh_token_says_since_when() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.clock.advance_millis(2_592_000_000);
    let body = refresh(&t, &ada.refresh_token).await.refused(401, "AUTH_TOKEN_EXPIRED");
    assert_eq!(body["details"], json!({"expired_at": "2026-02-14T12:00:00Z"}));
}

// Logout

#[tokio::test]
async fn a_logout_kills_every_token_of_that_login_and_no_other() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::Viewer).await;
    let other = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    t.call(Method::POST, &ada, LOGOUT, None).await.expect(204);
    let me = format!("/api/v1/users/{}", ada.id);
    t.get(&ada, &me).await.refused(401, "AUTH_TOKEN_REVOKED");
    refresh(&t, &ada.refresh_token).await.refused(401, "AUTH_TOKEN_REVOKED");
    t.get(&other, &me).await.expect(200);
    t.call(Method::POST, &ada, LOGOUT, None).await.expect(204);
}

#[tokio::test]
async fn either_token_logs_out_and_so_does_an_expired_or_unknown_one() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.post((), LOGOUT, json!({"refresh_token": ada.refresh_token})).await.expect(204);
    t.get(&ada, "/api/v1/users/x").await.refused(401, "AUTH_TOKEN_REVOKED");
    let again = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    t.clock.advance_millis(28_800_000);
    t.call(Method::POST, &again, LOGOUT, None).await.expect(204);
    refresh(&t, &again.refresh_token).await.refused(401, "AUTH_TOKEN_REVOKED");
    t.call(Method::POST, "nonsense", LOGOUT, None).await.expect(204);
    t.call(Method::POST, (), LOGOUT, None).await.refused(401, "AUTH_MISSING_TOKEN");
    t.call(Method::POST, "apitok_abc", LOGOUT, None).await.refused(403, "AUTH_SESSION_REQUIRED");
}

#[tokio::test]
async fn a_logout_with_tokens_of_two_logins_ends_both() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let other = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    t.post(&ada, LOGOUT, json!({"refresh_token": other.refresh_token})).await.expect(204);
    for persona in [&ada, &other] {
        t.get(persona, "/api/v1/users/x").await.refused(401, "AUTH_TOKEN_REVOKED");
    }
}

// Validate

#[tokio::test]
async fn a_valid_token_is_described() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::Viewer).await;
    t.clock.advance_millis(1_000);
    let owner = json!({"id": ada.id, "email": "ada@example.com", "role": "viewer", "name": "ada"});
    let expected = json!({"valid": true, "user": owner, "kind": "session", "expires_at": "2026-01-15T20:00:00Z",
        "expires_in": 28_799});
    assert_eq!(t.call(Method::POST, &ada, VALIDATE, None).await.expect(200), expected);
    assert_eq!(t.post("nonsense", VALIDATE, json!({"token": ada.token})).await.expect(200), expected);
}

#[tokio::test]
async fn an_invalid_token_is_told_with_its_reason() {
    let t = TestApi::start().await;
    let (ada, eve) = (t.persona("ada", Role::User).await, t.persona("eve", Role::User).await);
    t.call(Method::POST, (), VALIDATE, None).await.refused(401, "AUTH_MISSING_TOKEN");
    let verdict = async |token: &str| t.post((), VALIDATE, json!({ "token": token })).await.expect(200);
    for bad in ["nonsense", "apitok_abc", ada.refresh_token.as_str()] {
        assert_eq!(verdict(bad).await, json!({"valid": false, "reason": "TOKEN_INVALID"}));
    }
    t.call(Method::POST, &ada, LOGOUT, None).await.expect(204);
    let revoked = json!({"valid": false, "reason": "TOKEN_REVOKED", "revoked_at": "2026-01-15T12:00:00Z"});
    assert_eq!(verdict(&ada.token).await, revoked);
    t.write(async |work| assert!(work.suspend_user(&eve.id).await.expect("suspended"))).await;
    assert_eq!(verdict(&eve.token).await, json!({"valid": false, "reason": "ACCOUNT_DISABLED"}));
    t.clock.advance_millis(28_800_000);
    let expired = json!({"valid": false, "reason": "TOKEN_EXPIRED", "expired_at": "2026-01-15T20:00:00Z"});
    assert_eq!(verdict(&ada.token).await, expired);
}

// Change of password

fn change(ada: &Persona, new: &str) -> Value {
    json!({"current_password": ada.password, "new_password": new})
}

#[tokio::test]
async fn a_changed_password_ends_all_other_logins() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::Viewer).await;
    let other = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    t.post(&ada, CHANGE, change(&ada, "another password")).await.expect(204);
    let me = format!("/api/v1/users/{}", ada.id);
    t.get(&ada, &me).await.expect(200);
    t.get(&other, &me).await.refused(401, "AUTH_TOKEN_REVOKED");
    try_login(&t, &ada.email, &ada.password).await.refused(401, "AUTH_INVALID_CREDENTIALS");
    try_login(&t, &ada.email, "another password").await.expect(200);
}

#[tokio::test]
async fn a_change_of_password_is_audited_without_the_password() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.post(&ada, CHANGE, change(&ada, "another password")).await.expect(204);
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!(entry.operation, "USER_PASSWORD_CHANGED");
    assert_eq!(entry.resource_id.as_deref(), Some(ada.id.as_str()));
    assert_eq!((entry.actor.user.as_ref(), entry.actor.role.as_deref()), (Some(&ada.id), Some("user")));
    assert_eq!(entry.actor.user_agent.as_deref(), Some("test/1.0"));
    assert!(entry.actor.request_id.is_some_and(|id| id.starts_with("req_")) && entry.actor.ip_address.is_some());
    assert_eq!(entry.after.as_deref(), Some(r#"{"password":"[REDACTED]"}"#));
}

#[tokio::test]
async fn a_wrong_current_password_counts_as_a_failed_login() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let guess = json!({"current_password": "wrong", "new_password": "another password"});
    for _ in 0..10 {
        t.post(&ada, CHANGE, guess.clone()).await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    t.post(&ada, CHANGE, change(&ada, "another password")).await.refused(403, "AUTH_ACCOUNT_LOCKED");
    try_login(&t, &ada.email, &ada.password).await.refused(403, "AUTH_ACCOUNT_LOCKED");
    assert_eq!(t.audited().await, ["LOGIN_FAILED_LOCKED"]);
}

#[tokio::test]
async fn a_new_password_has_at_least_eight_characters() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let body = t.post(&ada, CHANGE, change(&ada, "short")).await.refused(400, "VALIDATION_ERROR");
    assert!(body["fields"]["new_password"].is_string());
    t.post((), CHANGE, json!({})).await.refused(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn a_damaged_hash_is_our_fault_and_tells_nothing() {
    let t = TestApi::start().await;
    let ada = t.user("ada", Role::User).await;
    let damaged = Secret::new("damaged".to_owned());
    t.write(async |work| assert!(work.set_user_password(&ada, &damaged, false).await.expect("stored"))).await;
    let body = try_login(&t, "ada@example.com", "ada-password").await.refused(500, "INTERNAL_ERROR");
    assert!(!body.to_string().contains("hash"));
}
