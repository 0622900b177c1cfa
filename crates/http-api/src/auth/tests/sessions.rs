//! The logins of oneself.

use auth::Role;
use axum::body::Body as HttpBody;
use axum::http::Request;
use serde_json::{Value, json};

use super::{LOGIN, REFRESH, refresh};
use crate::service::Peer;
use crate::testing::{Persona, START, TestApi};

const SESSIONS: &str = "/api/v1/auth/sessions";

/// Somebody logs in once more, from there and with that client.
async fn log_in_from(t: &TestApi, who: &Persona, ip: &str, client: &str) -> String {
    let body = json!({"email": who.email, "password": who.password}).to_string();
    let request = Request::post(LOGIN).header("content-type", "application/json").header("user-agent", client);
    let mut request = request.body(HttpBody::from(body)).expect("a request");
    request.extensions_mut().insert(Peer(ip.parse().expect("an address")));
    t.send(request).await.expect(200)["access_token"].as_str().expect("a token").to_owned()
}

async fn listed(t: &TestApi, who: &str) -> Vec<Value> {
    t.get(who, SESSIONS).await.expect(200).as_array().expect("an array").clone()
}

#[tokio::test]
async fn logins_are_listed_youngest_first_with_where_they_come_from() {
    let t = TestApi::start().await;
    let (ada, _) = (t.persona("ada", Role::User).await, t.persona("bob", Role::User).await);
    t.clock.advance_millis(60_000);
    let phone = log_in_from(&t, &ada, "10.0.0.7", "phone/2").await;
    let sessions = listed(&t, &ada.token).await;
    assert_eq!(sessions.len(), 2, "and nobody else's");
    let expires_at = START.plus_millis(60_000 + 2_592_000_000).to_rfc3339();
    let at = START.plus_millis(60_000).millis();
    let expected = json!({"id": sessions[0]["id"], "current": false, "created_at": at, "last_used_at": at,
        "expires_at": expires_at, "ip_address": "10.0.0.7", "user_agent": "phone/2"});
    assert_eq!(sessions[0], expected);
    assert_eq!((&sessions[1]["current"], &sessions[1]["user_agent"]), (&json!(true), &json!("test/1.0")));
    let there = listed(&t, &phone).await;
    assert_eq!((&there[0]["current"], &there[1]["current"]), (&json!(true), &json!(false)));
    let page = t.get(&ada, &format!("{SESSIONS}?per_page=1&page=2")).await;
    assert_eq!((page.header("x-total-count"), &page.expect(200)[0]["id"]), (Some("2"), &sessions[1]["id"]));
    t.get((), SESSIONS).await.refused(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn the_last_use_of_a_login_is_told_to_the_database_now_and_then() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    t.clock.advance_millis(90_000);
    listed(&t, &ada.token).await;
    assert_eq!(listed(&t, &ada.token).await[0]["last_used_at"], json!(START.millis()), "no request writes");
    t.api.uses.flush(&t.api.store, t.api.clock.now(), &*t.api.entropy).await.expect("written");
    assert_eq!(listed(&t, &ada.token).await[0]["last_used_at"], json!(t.api.clock.now().millis()));
}

#[tokio::test]
async fn a_login_that_goes_on_is_still_the_same_one() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let before = listed(&t, &ada.token).await;
    t.clock.advance_millis(5_000);
    let again = refresh(&t, &ada.refresh_token).await.expect(200);
    let after = listed(&t, again["access_token"].as_str().expect("a token")).await;
    assert_eq!((after.len(), &after[0]["id"]), (1, &before[0]["id"]));
    assert_eq!(after[0]["last_used_at"], json!(t.api.clock.now().millis()));
    assert_ne!(after[0]["expires_at"], before[0]["expires_at"]);
}

#[tokio::test]
async fn a_login_that_is_ended_is_over_at_once() {
    let t = TestApi::start().await;
    let (ada, bob) = (t.persona("ada", Role::User).await, t.persona("bob", Role::User).await);
    let other = t.login(ada.id.clone(), &ada.email, &ada.password).await;
    let sessions = listed(&t, &ada.token).await;
    let lost = sessions.iter().find(|session| session["current"] == false).expect("the other one");
    let uri = format!("{SESSIONS}/{}", lost["id"].as_str().expect("an id"));
    t.delete(&bob, &uri).await.refused(404, "TOKEN_NOT_FOUND");
    t.get(&other, SESSIONS).await.expect(200);
    assert_eq!(t.delete(&ada, &uri).await.expect(204), Value::Null);
    t.get(&other, SESSIONS).await.refused(401, "AUTH_TOKEN_REVOKED");
    t.post((), REFRESH, json!({"refresh_token": other.refresh_token})).await.refused(401, "AUTH_TOKEN_REVOKED");
    t.delete(&ada, &uri).await.refused(404, "TOKEN_NOT_FOUND");
    assert_eq!(listed(&t, &ada.token).await.len(), 1);
    assert_eq!(t.audited().await, ["SESSION_REVOKED"]);
}

#[tokio::test]
async fn one_login_ends_all_others_and_may_end_itself() {
    let t = TestApi::start().await;
    let (ada, bob) = (t.persona("ada", Role::Viewer).await, t.persona("bob", Role::User).await);
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(t.login(ada.id.clone(), &ada.email, &ada.password).await);
    }
    assert_eq!(t.delete(&ada, SESSIONS).await.expect(200), json!({"ended": 2}));
    for other in &others {
        t.get(other, SESSIONS).await.refused(401, "AUTH_TOKEN_REVOKED");
    }
    assert_eq!(t.delete(&ada, SESSIONS).await.expect(200), json!({"ended": 0}));
    assert_eq!(t.audited().await, ["SESSION_REVOKED"], "what changes nothing is not recorded");
    t.get(&bob, SESSIONS).await.expect(200);
    let own = listed(&t, &ada.token).await;
    t.delete(&ada, &format!("{SESSIONS}/{}", own[0]["id"].as_str().expect("an id"))).await.expect(204);
    t.get(&ada, SESSIONS).await.refused(401, "AUTH_TOKEN_REVOKED");
}
