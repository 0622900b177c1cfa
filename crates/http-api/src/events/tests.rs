//! Events as agents send them.

use axum::body::Body as HttpBody;
use axum::http::{Method, Request};
use kernel::Clock as _;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields};
use crate::testing::{Reply, TestApi};

const ONE: &str = "/api/v1/analytics/events";
const BATCH: &str = "/api/v1/analytics/events/batch";

fn event(t: &TestApi, id: &str) -> Value {
    json!({
        "event_id": id, "timestamp_ms": t.clock.now().millis(), "event_type": "llm_request_completed",
        "model": "gpt-4o", "provider": "openai", "input_tokens": 10, "output_tokens": 5, "cost_micros": 700,
    })
}

fn with(mut event: Value, more: &[(&str, Value)]) -> Value {
    for (name, value) in more {
        event[*name] = value.clone();
    }
    event
}

impl World {
    async fn tell(&self, token: &str, event: Value) -> Reply {
        self.t.post((), ONE, with(event, &[("ic_token", json!(token))])).await
    }

    async fn spent(&self, agent: i64) -> i64 {
        let budget = self.t.get(&self.root, &format!("/api/v1/agents/{agent}/budget")).await.expect(200);
        budget["spent"].as_i64().expect("a figure")
    }

    async fn send(&self, media: &str, bearer: Option<&str>, body: String) -> Reply {
        let mut request = Request::builder().method(Method::POST).uri(BATCH).header("content-type", media);
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.t.send(request.body(HttpBody::from(body)).expect("a request")).await
    }
}

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|result| result["status"].as_str().expect("a status")).collect()
}

#[tokio::test]
async fn a_new_event_is_accepted_and_a_known_one_is_a_duplicate_whatever_it_says() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let told = w.tell(&token, event(&w.t, "e1")).await.expect(202);
    assert_eq!(told, json!({"event_id": "e1", "status": "accepted"}));
    let again = w.tell(&token, with(event(&w.t, "e1"), &[("cost_micros", json!(9_999))])).await.expect(200);
    assert_eq!(again, json!({"event_id": "e1", "status": "duplicate"}));
    assert_eq!(w.spent(agent).await, 700, "the first one stands");
}

#[tokio::test]
async fn events_of_the_same_id_of_two_agents_are_two() {
    let w = World::new().await;
    let (_, first) = w.spender(&w.ada).await;
    let (_, second) = w.spender(&w.bob).await;
    w.tell(&first, event(&w.t, "e1")).await.expect(202);
    w.tell(&second, event(&w.t, "e1")).await.expect(202);
}

#[tokio::test]
async fn fields_are_checked_before_the_token_and_all_are_named() {
    let w = World::new().await;
    let refused = w.t.post((), ONE, json!({"ic_token": "nonsense"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&refused), ["event_id", "event_type", "model", "provider", "timestamp_ms"]);
    w.tell("nonsense", event(&w.t, "e")).await.refused(401, "INVALID_IC_TOKEN");
    w.tell(" ", event(&w.t, "e")).await.refused(400, "VALIDATION_ERROR");
    w.t.post(&w.root, ONE, event(&w.t, "e")).await.refused(400, "VALIDATION_ERROR");
    w.t.call(Method::POST, (), ONE, None).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_token_that_was_replaced_is_refused_at_once_and_its_successor_is_heard_at_once() {
    let w = World::new().await;
    let (agent, old) = w.spender(&w.ada).await;
    w.tell(&old, event(&w.t, "e1")).await.expect(202);
    let new = w.ic_token(agent).await;
    w.tell(&old, event(&w.t, "e2")).await.refused(401, "INVALID_IC_TOKEN");
    w.tell(&new, event(&w.t, "e2")).await.expect(202);
    w.t.delete(&w.root, &format!("/api/v1/agents/{agent}")).await.expect(204);
    w.tell(&new, event(&w.t, "e3")).await.refused(401, "INVALID_IC_TOKEN");
}

#[tokio::test]
async fn a_users_token_and_a_refresh_token_are_no_ic_tokens() {
    let w = World::new().await;
    for token in [&w.ada.token, &w.ada.refresh_token] {
        w.tell(token, event(&w.t, "e1")).await.refused(401, "INVALID_IC_TOKEN");
    }
}

#[tokio::test]
async fn a_frozen_agent_is_heard() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let freeze = json!({"scope": {"kind": "agent", "id": agent}, "reason": "why"});
    w.t.post(&w.root, "/api/v1/budget/freeze", freeze).await.expect(200);
    w.tell(&token, event(&w.t, "e1")).await.expect(202);
    assert_eq!(w.spent(agent).await, 700);
}

#[tokio::test]
async fn a_lease_of_another_agent_is_ignored_and_one_of_ones_own_is_charged() {
    let w = World::new().await;
    let (mine, token) = w.spender(&w.ada).await;
    let (other, other_token) = w.spender(&w.bob).await;
    let lease = w.lease(&token, 1_000_000).await;
    w.tell(&other_token, with(event(&w.t, "e1"), &[("lease_id", json!(lease))])).await.expect(202);
    w.tell(&other_token, with(event(&w.t, "e2"), &[("lease_id", json!("lease_nobody"))])).await.expect(202);
    assert_eq!((w.spent(mine).await, w.spent(other).await), (0, 0));
    w.tell(&token, with(event(&w.t, "e1"), &[("lease_id", json!(lease))])).await.expect(202);
    assert_eq!(w.spent(mine).await, 700);
}

#[tokio::test]
async fn a_report_and_an_event_of_one_call_are_charged_once() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 1_000_000).await;
    w.report(&lease, "r1", 700_000).await;
    let about = [("lease_id", json!(lease)), ("request_id", json!("r1"))];
    w.tell(&token, with(event(&w.t, "e1"), &about)).await.expect(202);
    assert_eq!(w.spent(agent).await, 700);
}

#[tokio::test]
async fn a_batch_tells_what_became_of_each_of_its_events() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    w.tell(&token, event(&w.t, "e1")).await.expect(202);
    let mut bad = event(&w.t, "e3");
    bad["model"] = Value::Null;
    let events = json!([event(&w.t, "e1"), event(&w.t, "e2"), bad, event(&w.t, "e2"), 7]);
    let told = w.t.post((), BATCH, json!({"ic_token": token, "events": events})).await.expect(200);
    assert_eq!(statuses(&told), ["duplicate", "accepted", "rejected", "duplicate", "rejected"]);
    assert_eq!((&told["accepted"], &told["duplicates"], &told["rejected"]), (&json!(1), &json!(2), &json!(2)));
    let rejected = &told["results"][2];
    assert_eq!((&rejected["index"], &rejected["event_id"]), (&json!(2), &json!("e3")));
    assert_eq!((&rejected["code"], &rejected["fields"]["model"]), (&json!("VALIDATION_ERROR"), &json!("is required")));
    assert_eq!(told["results"][4]["event_id"], Value::Null);
    assert!(told["results"][0].get("code").is_none());
}

#[tokio::test]
async fn a_batch_may_be_lines_and_a_bad_line_is_a_rejected_event() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let lines = format!("{}\n{{\"event_id\":\n\n{}\n", event(&w.t, "e1"), event(&w.t, "e2"));
    let told = w.send("application/x-ndjson", Some(&token), lines).await.expect(200);
    assert_eq!(statuses(&told), ["accepted", "rejected", "accepted"]);
    assert_eq!(told["results"][1]["code"], "MALFORMED_JSON");
    let one = w.send("application/x-ndjson", Some(&token), event(&w.t, "e3").to_string()).await.expect(200);
    assert_eq!(statuses(&one), ["accepted"]);
}

#[tokio::test]
async fn an_events_own_token_wins_over_the_shared_one() {
    let w = World::new().await;
    let (mine, token) = w.spender(&w.ada).await;
    let (other, other_token) = w.spender(&w.bob).await;
    for token in [&token, &other_token] {
        w.lease(token, 1_000_000).await;
    }
    let own = with(event(&w.t, "e1"), &[("ic_token", json!(other_token))]);
    let bad = with(event(&w.t, "e3"), &[("ic_token", json!("nonsense"))]);
    let blank = with(event(&w.t, "e4"), &[("ic_token", json!(""))]);
    let events = json!([own, event(&w.t, "e2"), bad, blank]);
    let told = w.t.post((), BATCH, json!({"ic_token": token, "events": events})).await.expect(200);
    assert_eq!(statuses(&told), ["accepted", "accepted", "rejected", "rejected"]);
    assert_eq!(told["results"][2]["code"], "INVALID_IC_TOKEN");
    assert_eq!(told["results"][3]["fields"]["ic_token"], "must have 1 to 2000 characters");
    assert_eq!((w.spent(mine).await, w.spent(other).await), (700, 700));
}

#[tokio::test]
async fn the_shared_token_stands_in_the_body_or_in_the_header_and_matters_only_where_it_is_needed() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let list = |id: &str| json!([event(&w.t, id)]);
    w.t.post(&token, BATCH, list("e1")).await.expect(200);
    w.t.post(&w.root, BATCH, json!({"ic_token": token, "events": list("e2")})).await.expect(200);
    w.t.post("nonsense", BATCH, list("e3")).await.refused(401, "INVALID_IC_TOKEN");
    w.t.post(&token, BATCH, json!({"ic_token": "nonsense", "events": list("e3")}))
        .await
        .refused(401, "INVALID_IC_TOKEN");
    let own = json!([with(event(&w.t, "e4"), &[("ic_token", json!(token))])]);
    let told = w.t.post(&w.root, BATCH, own).await.expect(200);
    assert_eq!(statuses(&told), ["accepted"]);
    let told = w.t.post((), BATCH, list("e5")).await.expect(200);
    assert_eq!((statuses(&told), &told["results"][0]["fields"]["ic_token"]), (vec!["rejected"], &json!("is required")));
}

#[tokio::test]
async fn a_bad_shared_token_is_refused_before_any_event_is_looked_at() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let mut bad = event(&w.t, "e1");
    bad["model"] = Value::Null;
    let own = |event: Value| with(event, &[("ic_token", json!(token))]);
    let replaced = token.clone();
    for shared in ["nonsense", &replaced] {
        if shared == replaced {
            w.ic_token(agent).await;
        }
        for events in [json!([bad]), json!([7]), json!([own(event(&w.t, "e2")), bad]), json!([event(&w.t, "e3")])] {
            let body = json!({"ic_token": shared, "events": events});
            w.t.post((), BATCH, body).await.refused(401, "INVALID_IC_TOKEN");
            w.t.post(shared, BATCH, events).await.refused(401, "INVALID_IC_TOKEN");
        }
        w.send("application/x-ndjson", Some(shared), "{".to_owned()).await.refused(401, "INVALID_IC_TOKEN");
    }
    // The body as a whole comes before the token, and a token that no event needs is not looked at
    w.t.post("nonsense", BATCH, json!([])).await.refused(400, "VALIDATION_ERROR");
    let told = w.t.post("nonsense", BATCH, json!([own(bad.clone())])).await.expect(200);
    assert_eq!((statuses(&told), &told["results"][0]["code"]), (vec!["rejected"], &json!("VALIDATION_ERROR")));
    let told = w.t.post((), BATCH, json!([bad])).await.expect(200);
    assert_eq!(statuses(&told), ["rejected"], "without a shared token there is none to refuse");
}

#[tokio::test]
async fn a_batch_has_a_thousand_events_at_most() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let many = |n: usize| Value::Array((0..n).map(|n| event(&w.t, &format!("e{n}"))).collect());
    w.t.post(&token, BATCH, many(1_001)).await.refused(400, "BATCH_TOO_LARGE");
    let told = w.t.post(&token, BATCH, many(1_000)).await.expect(200);
    assert_eq!(told["accepted"], 1_000);
    let told = w.t.post(&token, BATCH, many(1_000)).await.expect(200);
    assert_eq!(told["duplicates"], 1_000);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let refused = w.t.post(&token, BATCH, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&refused), ["events"]);
    w.t.post(&token, BATCH, json!([])).await.refused(400, "VALIDATION_ERROR");
    w.t.call(Method::POST, &token, BATCH, None).await.refused(400, "VALIDATION_ERROR");
    w.send("application/json", Some(&token), "[{}".to_owned()).await.refused(400, "MALFORMED_JSON");
    w.send("text/plain", Some(&token), "[]".to_owned()).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    w.send("application/json", Some(&token), "x".repeat((8 << 20) + 1)).await.refused(413, "PAYLOAD_TOO_LARGE");
}
