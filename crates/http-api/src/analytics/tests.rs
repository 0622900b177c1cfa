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
    let now = START.to_rfc3339();
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

/// Three agents of two owners, one of them gone by now, and what they called.
struct Busy {
    w: World,
    agents: [i64; 3],
}

impl Busy {
    async fn new() -> Self {
        let w = World::new().await;
        w.project("p").await;
        let key = w.key("openai").await;
        let mut agents = Vec::new();
        for (owner, name) in [(&w.ada, "a"), (&w.bob, "b"), (&w.ada, "c")] {
            let more = json!({"owner_id": owner.id, "name": name, "project_id": "p", "provider_key_id": key});
            agents.push(w.agent_with(more).await);
        }
        let mut tokens = Vec::new();
        for agent in &agents {
            tokens.push(w.ic_token(*agent).await);
        }
        let (now, hour) = (START.millis(), 3_600_000);
        let calls = [
            (0, "e1", now - 30 * hour, "completed", "gpt-5", "openai", 100, 20, 1_500, Some(800)),
            (0, "e2", now - hour, "completed", "gpt-5", "openai", 10, 2, 500, Some(200)),
            (0, "e3", now - hour / 2, "failed", "sonnet", "anthropic", 0, 0, 0, None),
            (1, "e4", now - 2 * hour, "completed", "sonnet", "anthropic", 7, 3, 4_000, Some(100)),
            (2, "e5", now, "completed", "sonnet", "anthropic", 1, 1, 1, None),
            // From a clock that is ahead
            (1, "e6", now + 60_000, "completed", "gpt-5", "openai", 1, 1, 9_000_000, None),
        ];
        for (agent, id, at, outcome, model, provider, input, output, cost, latency) in calls {
            let mut event = json!({"ic_token": tokens[agent], "event_id": id, "timestamp_ms": at, "model": model,
                "event_type": format!("llm_request_{outcome}"), "provider": provider, "input_tokens": input,
                "output_tokens": output, "cost_micros": cost, "latency_ms": latency});
            if outcome == "failed" {
                event["error_code"] = "timeout".into();
            }
            w.t.post((), &format!("{BASE}/events"), event).await.expect(202);
        }
        w.t.delete(&w.root, &format!("/api/v1/agents/{}", agents[2])).await.expect(204);
        Self { w, agents: agents.try_into().expect("three") }
    }

    async fn ask(&self, uri: &str) -> Value {
        self.w.t.get(&self.w.root, &format!("{BASE}/{uri}")).await.expect(200)
    }
}

#[tokio::test]
async fn completed_calls_are_spending_and_the_future_has_not_happened() {
    let b = Busy::new().await;
    let total = b.ask("spending/total").await;
    assert_eq!(total["total_spend"], json!(0.006001), "without the call from the clock that is ahead");
    assert_eq!(b.ask("spending/total?period=today").await["total_spend"], json!(0.004501));
    assert_eq!(b.ask("spending/total?provider_id=openai").await["total_spend"], json!(0.002));
    assert_eq!(b.ask("spending/total?project_id=none").await["total_spend"], json!(0));
    let requests = b.ask("requests").await;
    assert_eq!((&requests["total_requests"], &requests["failed_requests"]), (&json!(5), &json!(1)));
    assert_eq!(requests["success_rate"], 80);
    let cost = b.ask("spending/avg-per-request").await;
    assert_eq!((&cost["min_cost_per_request"], &cost["max_cost_per_request"]), (&json!(0.000001), &json!(0.004)));
    assert_eq!((&cost["average_cost_per_request"], &cost["total_requests"]), (&json!(0.0015), &json!(4)));
    let metrics = b.ask("metrics?period=today").await;
    assert_eq!((&metrics["total_requests"], &metrics["active_agents"]), (&json!(4), &json!(3)));
    assert_eq!((&metrics["latency_p50_ms"], &metrics["latency_p99_ms"]), (&json!(100), &json!(200)));
    assert_eq!((&metrics["error_rate"], &metrics["requests_per_minute"]), (&json!(25), &json!(0.01)));
}

#[tokio::test]
async fn lists_have_the_largest_first_and_agents_that_are_gone_by_name() {
    let b = Busy::new().await;
    let [a, bob, gone] = b.agents;
    let body = b.ask("spending/by-agent").await;
    let row = |id: i64, name: &str, spending: f64, budget: i64, percent: f64, count: i64| {
        json!({"agent_id": id, "agent_name": name, "spending": spending, "budget": budget, "percent_used": percent,
            "request_count": count})
    };
    let budget_of_gone = body["data"][2]["budget"].as_i64().expect("a budget");
    let percent_of_gone = if budget_of_gone == 0 { 100.0 } else { 0.0 };
    assert_eq!(body["data"][0], row(bob, "b", 0.004, 10, 0.04, 1));
    assert_eq!(body["data"][1], row(a, "a", 0.002, 10, 0.02, 2));
    assert_eq!(body["data"][2]["agent_name"], "c");
    assert_eq!(body["data"][2]["percent_used"].as_f64(), Some(percent_of_gone));
    assert_eq!((&body["data"][2]["agent_id"], &body["summary"]["total_agents"]), (&json!(gone), &json!(3)));
    let second = b.ask("agents/top?page=2&per_page=1").await;
    assert_eq!((&second["data"][0]["agent_id"], &second["pagination"]["total_pages"]), (&json!(a), &json!(3)));

    let body = b.ask("providers/breakdown").await;
    let anthropic = json!({"provider": "anthropic", "provider_id": "anthropic", "provider_name": "anthropic",
        "spending": 0.004001, "request_count": 2, "avg_cost_per_request": 0.002001, "agent_count": 2});
    assert_eq!(body["data"][0], anthropic);
    let body = b.ask("usage/models").await;
    let model = json!({"model": "gpt-5", "provider": "openai", "provider_id": "openai", "provider_name": "openai",
        "request_count": 2, "spending": 0.002, "input_tokens": 110, "output_tokens": 22, "total_tokens": 132,
        "avg_cost_per_request": 0.001});
    assert_eq!((&body["data"][0], &body["summary"]["unique_models"]), (&model, &json!(2)));
    let body = b.ask("usage/tokens/by-agent").await;
    assert_eq!((&body["data"][0]["agent_id"], &body["data"][0]["avg_tokens_per_request"]), (&json!(a), &json!(66)));
    let errors = b.ask("errors").await;
    let timeout = json!({"error_code": "timeout", "provider": "anthropic", "model": "sonnet", "count": 1,
        "last_seen": START.millis() - 1_800_000});
    assert_eq!(errors, json!([timeout]));
    let events = b.ask("events/list?per_page=2").await;
    assert_eq!((&events["data"][0]["event_id"], &events["data"][1]["event_id"]), (&json!("e5"), &json!("e3")));
    assert_eq!((&events["data"][1]["error_code"], &events["pagination"]["total"]), (&json!("timeout"), &json!(5)));
}

#[tokio::test]
async fn days_are_local_and_every_one_of_them_is_there() {
    let b = Busy::new().await;
    let days = b.ask("spending/by-period?from=2026-01-13&time_zone=Asia/Kolkata").await;
    let expected = json!([
        {"period_start": "2026-01-12T18:30:00Z", "label": "2026-01-13", "spending": 0, "request_count": 0, "total_tokens": 0},
        {"period_start": "2026-01-13T18:30:00Z", "label": "2026-01-14", "spending": 0.0015, "request_count": 1,
            "total_tokens": 120},
        {"period_start": "2026-01-14T18:30:00Z", "label": "2026-01-15", "spending": 0.004501, "request_count": 3,
            "total_tokens": 24},
    ]);
    assert_eq!(days, expected);
    let months = b.ask("trends?period=month").await;
    assert_eq!((months.as_array().map(Vec::len), &months[29]["label"]), (Some(30), &json!("2026-01")));
}

#[tokio::test]
async fn sums_along_dimensions_come_in_pages_and_as_a_file() {
    let b = Busy::new().await;
    let ask = "query?group_by=agent,status&bucket=day&time_zone=Asia/Kathmandu";
    let whole = b.ask(ask).await;
    let first = json!({"agent_id": b.agents[0], "agent_name": "a", "status": "completed",
        "bucket_start": START.millis() - 150_300_000, "bucket_label": "2026-01-14T00:00:00+05:45",
        "request_count": 1, "successful_requests": 1, "failed_requests": 0, "input_tokens": 100, "output_tokens": 20,
        "total_tokens": 120, "cost_microdollars": 1_500, "cost_usd": 0.0015});
    assert_eq!(whole["data"][0], first);
    assert_eq!((&whole["totals"]["request_count"], &whole["totals"]["cost_microdollars"]), (&json!(5), &json!(6_001)));
    assert_eq!(
        (&whole["bucket"], &whole["next_cursor"], &whole["period"]),
        (&json!("day"), &Value::Null, &json!("last-30-days"))
    );

    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = b.ask(&format!("{ask}&limit=2{cursor}")).await;
        assert_eq!(page["totals"], whole["totals"], "of the whole range");
        rows.extend(page["data"].as_array().expect("rows").clone());
        b.w.t.clock.advance_millis(60_000);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(Value::from(rows), whole["data"], "though time went on");

    b.w.t.clock.set(START);
    let reply = b.w.t.get(&b.w.root, &format!("{BASE}/query?group_by=project,provider_key&format=csv")).await;
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = reply.text();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().map(|line| line.starts_with("project_id,provider_key_id,request_count")),
        Some(true),
        "{text}"
    );
    let none = b.ask("query?agent_id=99&group_by=model").await;
    assert_eq!((&none["data"], &none["totals"]["cost_usd"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn exports_have_a_line_for_each_agent_model_and_day() {
    let b = Busy::new().await;
    let rows = b.ask("export/spending").await;
    let first = json!({"date": "2026-01-14", "agent_id": b.agents[0], "agent_name": "a", "provider": "openai",
        "model": "gpt-5", "request_count": 1, "spending": 0.0015});
    assert_eq!((&rows[0], rows.as_array().map(Vec::len)), (&first, Some(4)));
    let csv = b.w.t.get(&b.w.root, &format!("{BASE}/usage/export?format=csv&period=today")).await.text();
    let mut lines = csv.lines();
    let header =
        "date,agent_id,agent_name,provider,model,request_count,input_tokens,output_tokens,total_tokens,spending";
    assert_eq!(lines.next(), Some(header));
    assert_eq!(lines.next(), Some(format!("2026-01-15,{},a,openai,gpt-5,1,10,2,12,0.0005", b.agents[0]).as_str()));
}

/// What somebody gets, without the echo of what was asked.
async fn answer(b: &Busy, who: &crate::testing::Persona, uri: &str) -> Value {
    let mut body = b.w.t.get(who, &format!("{BASE}/{uri}")).await.expect(200);
    if let Some(object) = body.as_object_mut() {
        object.remove("filters");
    }
    body
}

#[tokio::test]
async fn a_user_sees_own_agents_only_in_every_answer_and_a_filter_never_widens_that() {
    let b = Busy::new().await;
    let bob = b.agents[1];
    let query = "query?group_by=agent,model&bucket=hour";
    for question in QUESTIONS.map(|question| format!("{question}?time_zone=UTC")).into_iter().chain([query.to_owned()])
    {
        let own = answer(&b, &b.w.bob, &question).await;
        assert_eq!(own, answer(&b, &b.w.root, &format!("{question}&agent_id={bob}")).await, "{question}");
        assert_ne!(own, answer(&b, &b.w.root, &question).await, "{question} tells an administrator more");
        let foreign = answer(&b, &b.w.ada, &format!("{question}&agent_id={bob}")).await;
        assert_eq!(foreign, answer(&b, &b.w.ada, &format!("{question}&agent_id=999")).await, "{question}");
        assert_eq!(foreign, answer(&b, &b.w.vera, &question).await, "{question}: nothing");
    }
}

#[tokio::test]
async fn budgets_last_as_long_as_the_rate_of_the_last_days_takes_to_spend_them() {
    let b = Busy::new().await;
    b.w.t.clock.advance_millis(5 * 3_600_000);
    let body = b.ask("forecast?look_back_hours=5").await;
    let bob = body["agents"].as_array().expect("agents").iter().find(|row| row["agent_id"] == b.agents[1]);
    let bob = bob.expect("his agent");
    assert_eq!(bob["burn_rate_usd_per_hour"], json!(1.8), "nine dollars in five hours");
    assert_eq!((&bob["remaining"], &bob["hours_to_exhaustion"]), (&json!(10_000_000), &json!(5)));
    assert_eq!(body["agents"][0], *bob, "the first to be exhausted");
    assert_eq!((body["agents"].as_array().map(Vec::len), &body["look_back_hours"]), (Some(2), &json!(5)));
    let own = b.w.t.get(&b.w.ada, &format!("{BASE}/forecast")).await.expect(200);
    assert_eq!(own["agents"].as_array().map(Vec::len), Some(1));
}
