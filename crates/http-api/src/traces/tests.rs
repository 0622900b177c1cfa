//! Traces as they are shown.

use kernel::Clock as _;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, merge};

impl World {
    /// Tells of a call that was made `minutes` before START.
    async fn called(&self, token: &str, id: &str, minutes: i64, more: Value) {
        let mut body = json!({
            "ic_token": token, "event_id": id, "timestamp_ms": self.t.clock.now().millis() - minutes * 60_000,
            "event_type": "llm_request_completed", "model": "gpt-4o", "provider": "openai", "input_tokens": 10,
            "output_tokens": 5, "cost_micros": 700,
        });
        merge(&mut body, more);
        self.t.post((), "/api/v1/analytics/events", body).await.expect(202);
    }

    async fn listed(&self, who: &crate::testing::Persona, query: &str) -> Vec<String> {
        let traces = self.t.get(who, &format!("/api/v1/traces?{query}")).await.expect(200);
        ids(&traces)
    }
}

fn ids(traces: &Value) -> Vec<String> {
    let rows = traces["data"].as_array().expect("rows");
    rows.iter().map(|row| row["event_id"].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn a_trace_tells_everything_but_what_was_said() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 1_000_000).await;
    let more = json!({
        "lease_id": lease, "request_id": "r1", "latency_ms": 1_200, "cost_nanos": 700_000, "cached_tokens": 3,
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "tags": {"team": "blue"},
        "prompt": "canary", "messages": [{"content": "canary"}],
    });
    w.called(&token, "e1", 1, more).await;
    let listed = w.t.get(&w.ada, "/api/v1/traces").await.expect(200);
    let trace = listed["data"][0].clone();
    let id = trace["id"].as_i64().expect("a number");
    let now = w.t.clock.now().millis();
    let expected = json!({
        "id": id, "event_id": "e1", "request_id": "r1", "lease_id": lease, "agent_id": agent, "agent_name": "bot",
        "owner_id": w.ada.id, "project_id": null, "provider": "openai", "provider_key_id": trace["provider_key_id"],
        "model": "gpt-4o", "status": "completed", "error_code": null, "input_tokens": 10, "output_tokens": 5,
        "total_tokens": 15, "cost_micros": 700, "latency_ms": 1_200, "timestamp": now - 60_000, "received_at": now,
        "source": "event", "cost_nanos": "700000", "error_message": null, "cached_tokens": 3, "reasoning_tokens": null,
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "tags": {"team": "blue"},
    });
    assert_eq!(trace, expected);
    assert!(trace["provider_key_id"].is_i64(), "that of the lease");
    assert_eq!(w.t.get(&w.ada, &format!("/api/v1/traces/{id}")).await.expect(200), expected);
}

#[tokio::test]
async fn a_report_and_an_event_of_one_call_are_one_trace() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 1_000_000).await;
    w.report(&lease, "r1", 700_000).await;
    w.report(&lease, "r2", 800_000).await;
    w.called(&token, "e1", 0, json!({"lease_id": lease, "request_id": "r1"})).await;
    let listed = w.t.get(&w.ada, "/api/v1/traces?request_id=r1,r2").await.expect(200);
    let mut sources: Vec<_> = listed["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["request_id"].as_str().expect("an id"), row["source"].as_str().expect("a word")))
        .collect();
    sources.sort_unstable();
    assert_eq!(sources, [("r1", "both"), ("r2", "report")]);
}

#[tokio::test]
async fn everybody_sees_the_traces_of_their_own_agents_and_a_filter_never_widens_that() {
    let w = World::new().await;
    let (adas, ada_token) = w.spender(&w.ada).await;
    let (bobs, bob_token) = w.spender(&w.bob).await;
    w.called(&ada_token, "a1", 1, json!({"request_id": "r1"})).await;
    w.called(&bob_token, "b1", 2, json!({"request_id": "r1"})).await;
    assert_eq!(w.listed(&w.root, "").await, ["a1", "b1"]);
    assert_eq!(w.listed(&w.root, &format!("agent_id={adas},agent_{bobs}")).await, ["a1", "b1"]);
    assert_eq!(w.listed(&w.ada, "").await, ["a1"]);
    assert_eq!(w.listed(&w.vera, "").await, Vec::<String>::new());
    for query in [format!("agent_id={bobs}"), "agent_id=999".to_owned(), "project_id=nobody".to_owned()] {
        assert_eq!(w.listed(&w.ada, &query).await, Vec::<String>::new(), "{query}");
    }
    assert_eq!(w.listed(&w.ada, "request_id=r1").await, ["a1"]);
    let all = w.t.get(&w.root, "/api/v1/traces").await.expect(200);
    let id = all["data"][1]["id"].as_i64().expect("a number");
    w.t.get(&w.bob, &format!("/api/v1/traces/{id}")).await.expect(200);
    w.t.get(&w.root, &format!("/api/v1/traces/{id}")).await.expect(200);
    w.t.get(&w.ada, &format!("/api/v1/traces/{id}")).await.refused(404, "TRACE_NOT_FOUND");
    w.t.get(&w.root, "/api/v1/traces/999999").await.refused(404, "TRACE_NOT_FOUND");
    w.t.get(&w.root, "/api/v1/traces/x").await.refused(400, "INVALID_PARAMETER");
    for uri in ["/api/v1/traces", "/api/v1/traces/1", "/api/v1/traces/export"] {
        w.t.get((), uri).await.refused(401, "AUTH_MISSING_TOKEN");
    }
}

#[tokio::test]
async fn filters_narrow_and_combine() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 1_000_000).await;
    let failed = json!({"event_type": "llm_request_failed", "error_code": "timeout", "cost_micros": 0});
    w.called(&token, "e1", 60, json!({"lease_id": lease, "model": "a"})).await;
    w.called(&token, "e2", 30, failed).await;
    w.called(&token, "e3", 10, json!({"provider": "anthropic", "cost_micros": 900, "request_id": "r3"})).await;
    let now = w.t.clock.now().millis();
    for (query, expected) in [
        (String::new(), &["e3", "e2", "e1"][..]),
        ("status=failed".to_owned(), &["e2"]),
        ("status=failed,completed".to_owned(), &["e3", "e2", "e1"]),
        ("model=a&model=gpt-4o".to_owned(), &["e3", "e2", "e1"]),
        ("provider=anthropic".to_owned(), &["e3"]),
        ("provider=anthropic&status=failed".to_owned(), &[]),
        (format!("lease_id={lease}&agent_id={agent}"), &["e1"]),
        (format!("lease_id={lease}&agent_id=99"), &[]),
        ("lease_id=lease_nobody".to_owned(), &[]),
        ("request_id=r3".to_owned(), &["e3"]),
        ("request_id=e3".to_owned(), &[]),
        ("min_cost_micros=700".to_owned(), &["e3", "e1"]),
        ("min_cost_micros=701".to_owned(), &["e3"]),
        (format!("from={}&to={}", now - 60 * 60_000, now - 30 * 60_000), &["e1"]),
        (format!("start_date={}", now - 30 * 60_000), &["e3", "e2"]),
    ] {
        assert_eq!(w.listed(&w.ada, &query).await, expected, "{query}");
    }
    for bad in
        ["status=odd", "from=never", "cursor=x", "limit=1001", "agent_id=x", "min_cost_micros=-1", "time_zone=Mars"]
    {
        w.t.get(&w.ada, &format!("/api/v1/traces?{bad}")).await.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn pages_hold_while_calls_are_told_of() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    // Two at each instant, so that the number has to decide
    for n in 0..6 {
        w.called(&token, &format!("e{n}"), 10 - n / 2, json!({"model": format!("m{n}")})).await;
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let uri = format!("/api/v1/traces?limit=2&cursor={cursor}");
        let page = w.t.get(&w.ada, &uri).await.expect(200);
        found.extend(ids(&page));
        w.called(&token, &format!("late{}", found.len()), 0, json!({})).await;
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(found, ["e5", "e4", "e3", "e2", "e1", "e0"]);
}

#[tokio::test]
async fn traces_are_a_file_on_request() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let (_, other) = w.spender(&w.bob).await;
    w.called(&token, "=cmd()", 2, json!({"tags": {"a": "b"}})).await;
    w.called(&token, "e2", 1, json!({})).await;
    w.called(&other, "b1", 1, json!({})).await;
    let csv = w.t.get(&w.ada, "/api/v1/traces/export?format=csv").await;
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"traces.csv\""));
    let text = csv.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("id,event_id,request_id,lease_id,agent_id,agent_name,owner_id,project_id,provider,"));
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1].contains(",e2,") && lines[2].contains(",'=cmd(),"), "{text}");
    let json = w.t.get(&w.ada, "/api/v1/traces/export?model=gpt-4o").await.expect(200);
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    w.t.get(&w.ada, "/api/v1/traces/export?format=xlsx").await.refused(400, "UNSUPPORTED_FORMAT");
}
