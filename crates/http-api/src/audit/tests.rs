//! The audit log as a client sees it.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::agents::tests::world::{SECRET, World, fields};
use crate::client_ip::TrustedProxies;
use crate::testing::{Persona, START};
use crate::{App, HttpSettings};

const LOG: &str = "/api/v1/audit-logs";

fn column<'v>(page: &'v Value, key: &str) -> Vec<&'v Value> {
    page["data"].as_array().expect("rows").iter().map(|row| &row[key]).collect()
}

/// A project, a key and an agent, made by the admin a second apart; then the agent's owner renews its IC token.
async fn some_actions(w: &World) -> i64 {
    w.project("p").await;
    w.t.clock.advance_millis(1_000);
    w.key("openai").await;
    w.t.clock.advance_millis(1_000);
    let agent = w.agent(&w.ada).await;
    w.t.post(&w.ada, &format!("/api/v1/agents/{agent}/ic-token"), json!({})).await.expect(201);
    agent
}

async fn page(w: &World, who: &Persona, question: &str) -> Value {
    w.t.get(who, &format!("{LOG}{question}")).await.expect(200)
}

#[tokio::test]
async fn an_entry_says_who_did_what_to_what_from_where() {
    let w = World::new().await;
    let agent = some_actions(&w).await;
    let page = page(&w, &w.root, "?limit=2").await;
    let entry = &page["data"][0];
    assert_eq!(entry["operation"], "IC_TOKEN_CREATED");
    assert_eq!((&entry["resource_type"], &entry["resource_id"]), (&json!("agent"), &json!(agent.to_string())));
    assert_eq!(
        (&entry["user_id"], &entry["user_role"], &entry["agent_id"]),
        (&json!(w.ada.id), &json!("user"), &Value::Null)
    );
    assert_eq!((&entry["ip_address"], &entry["user_agent"]), (&json!("127.0.0.1"), &json!("test/1.0")));
    assert_eq!(entry["timestamp"], START.millis() + 2_000);
    assert!(entry["id"].as_str().is_some_and(|id| id.starts_with("audit_")));
    assert!(entry["request_id"].as_str().is_some_and(|id| id.starts_with("req_")));
    assert_eq!((entry["changes"]["before"].is_null(), entry["metadata"].is_object()), (true, true));
    assert_eq!(entry["prev_hash"], page["data"][1]["hash"]);
    assert_eq!(entry["hash"].as_str().map(str::len), Some(64));
    assert_eq!(entry.as_object().expect("an object").len(), 16, "nothing else, nothing less");
}

#[tokio::test]
async fn the_log_is_read_from_its_end_with_a_cursor_that_outlasts_new_entries() {
    let w = World::new().await;
    some_actions(&w).await;
    let first = page(&w, &w.root, "?limit=3").await;
    assert_eq!(column(&first, "seq"), [4, 3, 2]);
    w.project("q").await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let second = page(&w, &w.root, &format!("?limit=3&cursor={cursor}")).await;
    assert_eq!((column(&second, "seq"), &second["next_cursor"]), (vec![&json!(1)], &Value::Null));
}

#[tokio::test]
async fn conditions_narrow_together_and_may_have_many_values() {
    let w = World::new().await;
    some_actions(&w).await;
    let seqs = async |question: &str| {
        let page = page(&w, &w.root, question).await;
        column(&page, "seq").into_iter().map(|seq| seq.as_i64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&format!("?user_id={}", w.ada.id)).await, [4]);
    assert_eq!(seqs(&format!("?user_id={},{}", w.ada.id, w.root.id)).await, [4, 3, 2, 1]);
    assert_eq!(seqs("?operation=PROJECT_CREATED&operation=AGENT_CREATED").await, [3, 1]);
    assert_eq!(seqs("?resource_type=agent,provider").await, [4, 3, 2]);
    assert_eq!(seqs("?resource_type=project&resource_id=p,x").await, [1]);
    let second = START.millis() + 1_000;
    assert_eq!(seqs(&format!("?from={second}&to={}", second + 1)).await, [2]);
    assert_eq!(seqs("?start_date=2026-01-15&end_date=2026-01-15").await, [4, 3, 2, 1]);
    assert_eq!(seqs("?to=2026-01-14").await, [0; 0]);
    assert_eq!(seqs("?operation=NO_SUCH_THING").await, [0; 0]);
    let error = w.t.get(&w.root, &format!("{LOG}?limit=0&cursor=x&from=never")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["cursor", "from", "limit"]);
}

#[tokio::test]
async fn everybody_sees_their_own_actions_and_admins_all() {
    let w = World::new().await;
    some_actions(&w).await;
    for who in [&w.ada, &w.vera] {
        w.t.get(who, LOG).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.get(who, &format!("{LOG}/verify")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.get(who, &format!("{LOG}?format=pdf")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    w.t.get((), &format!("{LOG}/me")).await.refused(401, "AUTH_MISSING_TOKEN");
    let own = page(&w, &w.ada, &format!("/me?user_id={}", w.root.id)).await;
    assert_eq!(column(&own, "operation"), ["IC_TOKEN_CREATED"], "another user's id is no way out");
    assert_eq!(column(&page(&w, &w.root, "/me?resource_type=project").await, "seq"), [1]);
    assert!(column(&page(&w, &w.vera, "/me").await, "seq").is_empty());
}

#[tokio::test]
async fn the_log_goes_away_as_a_file() {
    let w = World::new().await;
    some_actions(&w).await;
    let json = w.t.get(&w.root, &format!("{LOG}?format=json")).await;
    let listed = page(&w, &w.root, "").await;
    assert_eq!(json.expect(200), listed["data"], "the same entries, as an array");
    assert_eq!(json.header("content-disposition"), Some("attachment; filename=\"audit-logs.json\""));
    let csv = w.t.get(&w.root, &format!("{LOG}?format=csv&operation=PROJECT_CREATED")).await;
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let text = csv.text();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("id,seq,timestamp,operation,resource_type,resource_id,user_id,"), "{text}");
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains(",1,1768478400000,PROJECT_CREATED,project,p,"), "{text}");
    assert!(lines[1].contains(r#""{""description"":null,""name"":""p""}""#), "{text}");
    let limited = w.t.get(&w.root, &format!("{LOG}?format=json&limit=1")).await.expect(200);
    assert_eq!(limited.as_array().map(Vec::len), Some(1));
    let own = w.t.get(&w.ada, &format!("{LOG}/me?format=json")).await.expect(200);
    assert_eq!(own.as_array().map(Vec::len), Some(1));
    w.t.get(&w.root, &format!("{LOG}?format=xml")).await.refused(400, "UNSUPPORTED_FORMAT");
}

#[tokio::test]
async fn a_long_log_goes_away_whole() {
    let w = World::new().await;
    w.t.write(async |work| {
        for n in 0..1_203 {
            let actor = persistence::AuditActor::default();
            work.audit(persistence::AuditRecord::new("AGENT_UPDATED", "agent", n, &actor));
        }
    })
    .await;
    let all = w.t.get(&w.root, &format!("{LOG}?format=json")).await.expect(200);
    let seqs: Vec<i64> =
        all.as_array().expect("rows").iter().map(|row| row["seq"].as_i64().expect("a number")).collect();
    assert_eq!(seqs, (1..=1_203).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn exports_are_rationed() {
    let w = World::new().await;
    for _ in 0..10 {
        w.t.get(&w.ada, &format!("{LOG}/me?format=csv")).await.expect_status(200);
    }
    let refused = w.t.get(&w.ada, &format!("{LOG}/me?format=csv")).await;
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert!(refused.header("retry-after").is_some());
    page(&w, &w.ada, "/me").await;
    w.t.get(&w.bob, &format!("{LOG}/me?format=csv")).await.expect_status(200);
}

#[tokio::test]
async fn the_log_is_checked_as_a_whole_and_in_parts() {
    let w = World::new().await;
    let empty = page(&w, &w.root, "/verify").await;
    let (now, zeros) = (START.millis(), "0".repeat(64));
    assert_eq!(
        empty,
        json!({"ok": true, "checked": 0, "first_seq": 1, "last_seq": 0, "head_hash": zeros, "first_bad_seq": null,
            "reason": null, "as_of": now})
    );
    some_actions(&w).await;
    let head = page(&w, &w.root, "?limit=1").await["data"][0]["hash"].clone();
    let whole = page(&w, &w.root, "/verify").await;
    assert_eq!((&whole["ok"], &whole["checked"], &whole["head_hash"]), (&json!(true), &json!(4), &head));
    let part = page(&w, &w.root, "/verify?from_seq=2&to_seq=3").await;
    assert_eq!((&part["first_seq"], &part["last_seq"], &part["checked"]), (&json!(2), &json!(3), &json!(2)));
    let error = w.t.get(&w.root, &format!("{LOG}/verify?from_seq=3&to_seq=2")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["from_seq"]);
    w.t.get(&w.root, &format!("{LOG}/verify?from_seq=0")).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn the_log_begins_after_what_was_removed_when_its_time_was_over() {
    let w = World::new().await;
    some_actions(&w).await;
    w.t.write(async |work| {
        work.prune_audit(START.plus_millis(1_500), 100).await.expect("pruned");
    })
    .await;
    let verdict = page(&w, &w.root, "/verify?from_seq=1").await;
    assert_eq!((&verdict["ok"], &verdict["first_seq"], &verdict["last_seq"]), (&json!(true), &json!(3), &json!(5)));
    let newest = &page(&w, &w.root, "?limit=1").await["data"][0];
    assert_eq!(
        (&newest["operation"], &newest["user_id"], &newest["ip_address"]),
        (&json!("AUDIT_PRUNED"), &Value::Null, &Value::Null)
    );
    assert_eq!(newest["metadata"]["through_seq"], 2);
}

#[tokio::test]
async fn the_address_is_the_clients_even_behind_proxies() {
    let (services, _, _dir) = crate::testing::services().await;
    let api = crate::ApiState::new(services);
    let trusted = TrustedProxies::new(vec!["127.0.0.0/8".parse().expect("a network")]);
    let app: App = crate::app(api.clone(), HttpSettings { trusted_proxies: trusted, ..HttpSettings::default() });
    let body = json!({"email": "nobody@example.com", "password": "wrong"}).to_string();
    for _ in 0..10 {
        let request = Request::post("/api/v1/auth/login")
            .header("content-type", "application/json")
            .header("x-forwarded-for", "198.51.100.9, 203.0.113.7")
            .header("user-agent", "evil/1")
            .body(Body::from(body.clone()));
        let Ok(request) = request else { panic!("a request") };
        app.handle(request, [127, 0, 0, 1].into()).await;
    }
    let log = api.store.audit_log(&persistence::AuditFilter::default(), None, 10).await.expect("read");
    let entry = log.rows.first().expect("the lock");
    assert_eq!((entry.operation.as_str(), entry.resource_id.as_deref()), ("LOGIN_FAILED_LOCKED", None));
    assert_eq!(entry.actor.ip_address.as_deref(), Some("203.0.113.7"), "what stands further left anybody can write");
    assert!(entry.metadata.contains("nobody@example.com"));
}

#[tokio::test]
async fn a_fetched_key_is_recorded_as_the_agents_and_secrets_are_nowhere() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.t.post((), "/api/v1/agents/provider-key", json!({"ic_token": token})).await.expect(200);
    let key = page(&w, &w.root, "?operation=PROVIDER_KEY_FETCHED").await;
    assert_eq!((&key["data"][0]["agent_id"], &key["data"][0]["user_id"]), (&json!(agent), &Value::Null));
    let rotation = json!({"api_key": format!("{SECRET}-2")});
    w.t.put(&w.root, "/api/v1/providers/1", rotation).await.expect(200);
    let change = json!({"current_password": w.ada.password, "new_password": "another-password"});
    w.t.post(&w.ada, "/api/v1/auth/change-password", change).await.expect(204);
    for format in ["json", "csv"] {
        let text = w.t.get(&w.root, &format!("{LOG}?format={format}")).await.text();
        assert!(text.contains("[REDACTED]") && text.contains("USER_PASSWORD_CHANGED"));
        for secret in [SECRET, &token, &w.ada.password, "another-password"] {
            assert!(!text.contains(secret));
        }
    }
}

/// For tests that look at a status only.
trait ExpectStatus {
    fn expect_status(&self, status: u16);
}

impl ExpectStatus for crate::testing::Reply {
    #[track_caller]
    fn expect_status(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
    }
}
