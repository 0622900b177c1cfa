//! Answers as a client sees them.

use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields};
use crate::testing::START;

const BASE: &str = "/api/v1/analytics";

/// Every question with the common parameters.
const QUESTIONS: [&str; 17] = [
    "spending/total",
    "spending/by-agent",
    "spending/by-provider",
    "spending/avg-per-request",
    "spending/by-period",
    "spending",
    "usage/requests",
    "usage/tokens/by-agent",
    "usage/models",
    "usage/by-agent",
    "usage/by-provider",
    "usage",
    "events/list",
    "metrics",
    "errors",
    "usage/export",
    "spending/export",
];

#[tokio::test]
async fn nobody_asks_without_a_credential_and_everybody_else_may() {
    let w = World::new().await;
    for question in QUESTIONS.into_iter().chain(["budget/status", "query", "forecast"]) {
        let uri = format!("{BASE}/{question}");
        w.t.get((), &uri).await.refused(401, "AUTH_MISSING_TOKEN");
        for who in [&w.root, &w.ada, &w.vera] {
            w.t.get(who, &uri).await.expect(200);
        }
    }
}

#[tokio::test]
async fn every_parameter_that_will_not_do_is_named() {
    let w = World::new().await;
    for question in QUESTIONS {
        let bad = "period=next-week&time_zone=Mars&from=soon&agent_id=x";
        let error = w.t.get(&w.root, &format!("{BASE}/{question}?{bad}")).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["agent_id", "from", "period", "time_zone"], "{question}");
    }
    for question in ["usage/export", "spending/export", "query"] {
        w.t.get(&w.root, &format!("{BASE}/{question}?format=xlsx")).await.refused(400, "UNSUPPORTED_FORMAT");
    }
    for (uri, field) in [
        ("query?group_by=colour", "group_by"),
        ("query?group_by=agent,agent", "group_by"),
        ("query?group_by=agent,owner,model,status", "group_by"),
        ("query?bucket=minute", "bucket"),
        ("query?bucket=15m&from=2020-01-01&to=2026-01-01", "bucket"),
        ("query?limit=1001", "limit"),
        ("query?cursor=abc", "cursor"),
        ("spending/by-period?period=day&from=1970-01-01&to=2026-01-01", "period"),
        ("budget/status?threshold=-1", "threshold"),
        ("budget/status?status=gone", "status"),
        ("forecast?look_back_hours=0", "look_back_hours"),
        ("spending/by-agent?per_page=101", "per_page"),
    ] {
        let error = w.t.get(&w.root, &format!("{BASE}/{uri}")).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), [field], "{uri}");
    }
}

#[tokio::test]
async fn nothing_that_happened_is_zeros_and_never_null() {
    let w = World::new().await;
    let now = START.plus_millis(0).to_rfc3339();
    let filters = json!({"agent_id": null, "provider_id": null, "project_id": null});
    let rest = |mut body: Value| {
        body["period"] = "all-time".into();
        body["calculated_at"] = now.as_str().into();
        body
    };
    let page = |per_page: i64| json!({"page": 1, "per_page": per_page, "total": 0, "total_pages": 0});
    let expected = [
        ("spending/total", rest(json!({"total_spend": 0, "currency": "USD", "filters": filters}))),
        (
            "spending/avg-per-request",
            rest(json!({"average_cost_per_request": 0, "median_cost_per_request": 0, "min_cost_per_request": 0,
                "max_cost_per_request": 0, "total_spend": 0, "total_requests": 0, "filters": filters})),
        ),
        (
            "usage/requests",
            rest(json!({"total_requests": 0, "successful_requests": 0, "failed_requests": 0, "success_rate": 0,
                "filters": filters})),
        ),
        (
            "spending/by-agent",
            rest(json!({"data": [], "filters": filters, "pagination": page(50),
                "summary": {"total_spend": 0, "total_budget": 0, "total_agents": 0, "average_percent_used": 0}})),
        ),
        (
            "spending/by-provider",
            rest(json!({"data": [], "filters": filters, "pagination": page(50), "summary": {"total_spend": 0,
                "total_requests": 0, "providers_count": 0, "average_cost_per_request": 0}})),
        ),
        (
            "usage/tokens/by-agent",
            rest(json!({"data": [], "filters": filters, "pagination": page(50), "summary": {"total_input_tokens": 0,
                "total_output_tokens": 0, "total_tokens": 0, "total_requests": 0, "average_tokens_per_request": 0}})),
        ),
        (
            "usage/models",
            rest(json!({"data": [], "filters": filters, "pagination": page(100), "summary": {"unique_models": 0,
                "total_requests": 0, "total_tokens": 0, "total_spend": 0}})),
        ),
        (
            "metrics",
            rest(json!({"total_requests": 0, "failed_requests": 0, "error_rate": 0, "latency_p50_ms": null,
                "latency_p95_ms": null, "latency_p99_ms": null, "requests_per_minute": 0, "tokens_per_minute": 0,
                "active_agents": 0})),
        ),
        ("events/list", json!({"data": [], "pagination": page(10)})),
        ("usage/by-agent", json!([])),
        ("usage/by-provider", json!([])),
        ("errors", json!([])),
    ];
    for (question, expected) in expected {
        assert_eq!(w.t.get(&w.ada, &format!("{BASE}/{question}")).await.expect(200), expected, "{question}");
    }
    let days = w.t.get(&w.ada, &format!("{BASE}/trends")).await.expect(200);
    let days = days.as_array().expect("days");
    assert_eq!((days.len(), &days[29]["label"], &days[29]["spending"]), (30, &json!("2026-01-15"), &json!(0)));
    assert_eq!(days[0]["period_start"], "2025-12-17T00:00:00Z");
}

#[tokio::test]
async fn periods_have_two_spellings_and_a_range_takes_their_place() {
    let w = World::new().await;
    let period = async |query: &str| {
        let body = w.t.get(&w.root, &format!("{BASE}/usage?{query}")).await.expect(200);
        (body["period"].as_str().expect("a period").to_owned(), body["from"].clone(), body["to"].clone())
    };
    let (now, hour) = (START.millis(), 3_600_000);
    assert_eq!(period("").await, ("all-time".to_owned(), json!(0), json!(now + 1)));
    assert_eq!(period("period=last7-days").await, ("last-7-days".to_owned(), json!(now - 168 * hour), json!(now + 1)));
    let yesterday = ("yesterday".to_owned(), json!(now - 36 * hour), json!(now - 12 * hour));
    assert_eq!(period("period=yesterday").await, yesterday);
    let kolkata = ("today".to_owned(), json!(now - 17 * hour - hour / 2), json!(now + 1));
    assert_eq!(period("period=today&time_zone=Asia/Kolkata").await, kolkata);
    let custom = ("custom".to_owned(), json!(now - 36 * hour), json!(now - 12 * hour));
    assert_eq!(period("period=today&from=2026-01-14&to=2026-01-14").await, custom);
    assert_eq!(period("end_date=2026-01-14").await, ("custom".to_owned(), json!(0), json!(now - 12 * hour)));
}

#[tokio::test]
async fn budgets_stand_in_the_order_of_their_use_and_are_counted_by_status_and_risk() {
    let w = World::new().await;
    let (spender, token) = w.spender(&w.ada).await;
    w.agent(&w.bob).await;
    w.lease(&token, 8_500_000).await;
    let body = w.t.get(&w.root, &format!("{BASE}/budget-utilization")).await.expect(200);
    let first = json!({"agent_id": spender, "agent_name": "bot", "budget": 10_000_000, "spent": 8_500_000,
        "remaining": 1_500_000, "percent_used": 85, "status": "active", "risk_level": "high", "actual_spent": 0,
        "leased": 8_500_000, "suspense": 0, "overrun": 0});
    assert_eq!((&body["data"][0], &body["data"][1]["risk_level"]), (&first, &json!("low")));
    let summary = json!({"total_agents": 2, "active": 1, "exhausted": 0, "inactive": 1, "frozen": 0, "critical": 0,
        "high": 1, "medium": 0, "low": 1});
    assert_eq!((&body["summary"], &body["pagination"]["per_page"]), (&summary, &json!(100)));
    for (query, count) in [("threshold=84.5", 1), ("threshold=85", 0), ("status=inactive", 1), ("agent_id=agent_99", 0)]
    {
        let body = w.t.get(&w.root, &format!("{BASE}/budget/status?{query}")).await.expect(200);
        assert_eq!((&body["pagination"]["total"], &body["summary"]["total_agents"]), (&json!(count), &json!(count)));
    }
    let own = w.t.get(&w.bob, &format!("{BASE}/budget/status")).await.expect(200);
    assert_eq!(own["summary"]["total_agents"], 1);
}
