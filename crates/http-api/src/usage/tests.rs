//! Usage as it is shown.

use kernel::Clock as _;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, merge};

impl World {
    async fn used(&self, token: &str, id: &str, more: Value) {
        let mut body = json!({
            "ic_token": token, "event_id": id, "timestamp_ms": self.t.clock.now().millis(),
            "event_type": "llm_request_completed", "model": "gpt-4o", "provider": "openai", "input_tokens": 10,
            "output_tokens": 5, "cost_micros": 4_000,
        });
        merge(&mut body, more);
        self.t.post((), "/api/v1/analytics/events", body).await.expect(202);
    }
}

fn nothing() -> Value {
    json!({"total_tokens": 0, "total_requests": 0, "total_cost_cents": 0, "providers": []})
}

#[tokio::test]
async fn each_figure_is_rounded_once_from_the_exact_one() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    w.used(&token, "e1", json!({})).await;
    w.used(&token, "e2", json!({"provider": "anthropic"})).await;
    w.used(&token, "e3", json!({"provider": "mistral", "event_type": "llm_request_failed", "cost_micros": 0})).await;
    let usage = w.t.get(&w.ada, "/api/v1/usage").await.expect(200);
    let of = |provider: &str| json!({"provider": provider, "tokens": 15, "requests": 1, "cost_cents": 0});
    let expected = json!({
        "total_tokens": 45, "total_requests": 3, "total_cost_cents": 1,
        "providers": [of("anthropic"), of("openai"), of("mistral")],
    });
    assert_eq!(usage, expected, "four tenths of a cent twice are a cent");
    assert_eq!(w.t.get(&w.root, "/api/v1/usage/aggregate").await.expect(200), expected);
    assert_eq!(w.t.get(&w.bob, "/api/v1/usage").await.expect(200), nothing());
    assert_eq!(w.t.get(&w.ada, "/api/v1/usage?to=2020-01-01").await.expect(200), nothing());
    w.t.get((), "/api/v1/usage").await.refused(401, "AUTH_MISSING_TOKEN");
    w.t.get(&w.ada, "/api/v1/usage?from=never").await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn usage_is_told_by_project_and_by_provider() {
    let w = World::new().await;
    w.project("proj_x").await;
    let (agent, token) = w.spender(&w.ada).await;
    w.used(&token, "e1", json!({"cost_micros": 20_000})).await;
    w.t.put(&w.root, &format!("/api/v1/agents/{agent}"), json!({"project_id": "proj_x"})).await.expect(200);
    w.used(&token, "e2", json!({"provider": "anthropic"})).await;
    let by_project = w.t.get(&w.ada, "/api/v1/usage/by-project").await.expect(200);
    let expected = json!([
        {"project_id": null, "tokens": 15, "requests": 1, "cost_cents": 2},
        {"project_id": "proj_x", "tokens": 15, "requests": 1, "cost_cents": 0},
    ]);
    assert_eq!(by_project, expected);
    let of_project = w.t.get(&w.ada, "/api/v1/usage/by-project/proj_x").await.expect(200);
    assert_eq!(
        (&of_project["total_requests"], &of_project["providers"][0]["provider"]),
        (&json!(1), &json!("anthropic"))
    );
    assert_eq!(w.t.get(&w.ada, "/api/v1/usage?project_id=proj_x").await.expect(200), of_project);
    for uri in ["/api/v1/usage/by-project/nobody", "/api/v1/usage/by-project/proj_x?project_id=other"] {
        assert_eq!(w.t.get(&w.ada, uri).await.expect(200), nothing(), "{uri}");
    }
    assert_eq!(w.t.get(&w.bob, "/api/v1/usage/by-project/proj_x").await.expect(200), nothing());
    w.t.get(&w.ada, "/api/v1/usage/by-project/%20").await.refused(400, "INVALID_PARAMETER");

    let by_provider = w.t.get(&w.ada, "/api/v1/usage/by-provider").await.expect(200);
    let openai = json!({"provider": "openai", "tokens": 15, "requests": 1, "cost_cents": 2});
    assert_eq!((&by_provider[0], by_provider.as_array().map(Vec::len)), (&openai, Some(2)));
    assert_eq!(w.t.get(&w.ada, "/api/v1/usage/by-provider/openai").await.expect(200), openai);
    let none = w.t.get(&w.ada, "/api/v1/usage/by-provider/nobody").await.expect(200);
    assert_eq!(none, json!({"provider": "nobody", "tokens": 0, "requests": 0, "cost_cents": 0}));
    let long = format!("/api/v1/usage/by-provider/{}", "x".repeat(101));
    w.t.get(&w.ada, &long).await.refused(400, "INVALID_PARAMETER");
}

#[tokio::test]
async fn a_day_of_the_file_is_a_day_of_the_zone() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    // START is noon of 2026-01-15 in UTC
    let now = w.t.clock.now().millis();
    w.used(&token, "e1", json!({"timestamp_ms": now})).await;
    w.used(&token, "e2", json!({"timestamp_ms": now - 7 * 3_600_000})).await;
    w.used(&token, "e3", json!({"timestamp_ms": now - 6 * 3_600_000, "model": "o3"})).await;
    let row = |date: &str, model: &str, requests: i64, cents: i64| {
        json!({
            "date": date, "project_id": null, "agent_id": agent, "provider": "openai", "model": model,
            "requests": requests, "tokens": 15 * requests, "cost_cents": cents,
        })
    };
    let rows = w.t.get(&w.ada, "/api/v1/usage/export").await.expect(200);
    assert_eq!(rows, json!([row("2026-01-15", "gpt-4o", 2, 1), row("2026-01-15", "o3", 1, 0)]));
    let rows = w.t.get(&w.ada, "/api/v1/usage/export?time_zone=America/Chicago").await.expect(200);
    let expected =
        [row("2026-01-14", "gpt-4o", 1, 0), row("2026-01-15", "gpt-4o", 1, 0), row("2026-01-15", "o3", 1, 0)];
    assert_eq!(rows, json!(expected));
    let csv = w.t.get(&w.ada, "/api/v1/usage/export?format=csv").await;
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"usage.csv\""));
    assert!(csv.text().starts_with("date,project_id,agent_id,provider,model,requests,tokens,cost_cents\r\n"));
    w.t.get(&w.ada, "/api/v1/usage/export?format=pdf").await.refused(400, "UNSUPPORTED_FORMAT");
}
