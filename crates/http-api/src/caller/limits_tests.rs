//! How often users may ask, and how often a login may fail, through the surface.

use auth::Role;
use axum::body::Body as HttpBody;
use axum::http::Request;
use serde_json::json;

use crate::HttpSettings;
use crate::client_ip::TrustedProxies;
use crate::service::Peer;
use crate::testing::{Reply, TestApi};

const LOGIN: &str = "/api/v1/auth/login";

#[tokio::test]
async fn a_dashboard_that_fires_six_reads_a_click_and_tries_each_five_times_gets_through() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    for _click in 0..20 {
        for uri in ["agents", "providers", "projects", "budget/journal", "api-tokens", "budget/leases"] {
            for _try in 0..5 {
                t.get(&ada, &format!("/api/v1/{uri}")).await.expect(200);
            }
        }
    }
    let reply = t.get(&ada, "/api/v1/agents").await;
    let body = reply.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!((&body["details"]["limit"], &body["details"]["window_seconds"]), (&json!(600), &json!(60)));
    let header = |name: &str| reply.header(name).map(str::to_owned);
    assert_eq!(header("retry-after").as_deref(), Some("60"));
    for prefix in ["", "x-"] {
        assert_eq!(header(&format!("{prefix}ratelimit-limit")).as_deref(), Some("600"));
        assert_eq!(header(&format!("{prefix}ratelimit-remaining")).as_deref(), Some("0"));
        assert!(header(&format!("{prefix}ratelimit-reset")).is_some());
    }
    t.clock.advance_millis(60_000);
    t.get(&ada, "/api/v1/agents").await.expect(200);
}

#[tokio::test]
async fn reads_and_writes_are_counted_apart_and_for_each_user() {
    let t = TestApi::start().await;
    let (ada, bob) = (t.persona("ada", Role::User).await, t.persona("bob", Role::User).await);
    for _ in 0..120 {
        t.post(&ada, "/api/v1/projects", json!({"name": "p"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    let refused = t.post(&ada, "/api/v1/projects", json!({"name": "p"})).await;
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("ratelimit-limit"), Some("120"));
    t.get(&ada, "/api/v1/projects").await.expect(200);
    t.post(&bob, "/api/v1/projects", json!({"name": "p"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn an_api_token_and_a_login_of_one_user_share_their_allowance() {
    let t = TestApi::start().await;
    let ada = t.persona("ada", Role::User).await;
    let issued = t.post(&ada, "/api/v1/api-tokens", json!({"name": "n"})).await.expect(201);
    let token = issued["token"].as_str().expect("a token");
    for _ in 1..120 {
        t.post(token, "/api/v1/projects", json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    t.post(&ada, "/api/v1/projects", json!({})).await.refused(429, "RATE_LIMIT_EXCEEDED");
}

/// A failing login from that peer, which says that it speaks for `forwarded`.
async fn fail(t: &TestApi, peer: &str, forwarded: Option<&str>, email: &str) -> Reply {
    let body = json!({"email": email, "password": "wrong password"}).to_string();
    let mut request = Request::post(LOGIN).header("content-type", "application/json");
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    let mut request = request.body(HttpBody::from(body)).expect("a request");
    request.extensions_mut().insert(Peer(peer.parse().expect("an address")));
    t.send(request).await
}

#[tokio::test]
async fn behind_a_trusted_proxy_failed_logins_count_for_the_client_and_not_for_the_proxy() {
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let settings = HttpSettings { trusted_proxies: proxies, ..HttpSettings::default() };
    let t = TestApi::with_settings(settings, |_| {}).await;
    for n in 0..50 {
        let email = format!("u{n}@example.com");
        fail(&t, "10.0.0.1", Some("9.9.9.9, 1.2.3.4"), &email).await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    let refused = fail(&t, "10.0.0.2", Some("1.2.3.4"), "new@example.com").await;
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("ratelimit-limit"), Some("50"));
    fail(&t, "10.0.0.1", Some("1.2.3.5"), "new@example.com").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    fail(&t, "10.0.0.1", Some("1.2.3.4, 1.2.3.6"), "new@example.com").await.refused(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn without_one_what_a_client_says_about_its_address_changes_nothing() {
    let t = TestApi::start().await;
    for n in 0..50 {
        let (email, forwarded) = (format!("u{n}@example.com"), format!("1.2.3.{n}"));
        fail(&t, "9.9.9.9", Some(&forwarded), &email).await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    fail(&t, "9.9.9.9", Some("5.5.5.5"), "new@example.com").await.refused(429, "RATE_LIMIT_EXCEEDED");
    fail(&t, "9.9.9.8", None, "new@example.com").await.refused(401, "AUTH_INVALID_CREDENTIALS");
}
