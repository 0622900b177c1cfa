//! What clients in the field read from an answer, one test for each client and call: where one of these fields is missing
//! or of another type, that client breaks. They are called as those clients call them: odd paths and empty bodies.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::harness::*;

/// The kinds of values that clients tell apart.
#[derive(Clone, Copy, Debug)]
enum Is {
    Text,
    /// A text or null, but there.
    MaybeText,
    Int,
    MaybeInt,
    /// Any number, never null: the dashboard formats it.
    Number,
    Flag,
    List,
}

/// Checks fields such as `user.id`, `data[].model`.
#[track_caller]
fn needs(body: &Value, fields: &[(&str, Is)]) {
    for (path, kind) in fields {
        check(body, path, *kind, body);
    }
}

#[track_caller]
fn check(value: &Value, path: &str, kind: Is, whole: &Value) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(name) = step.strip_suffix("[]") {
        let list = if name.is_empty() { value } else { &value[name] };
        let list = list.as_array().unwrap_or_else(|| panic!("`{path}`: no list in {whole}"));
        assert!(!list.is_empty(), "`{path}`: nothing to look at in {whole}");
        for element in list {
            check(element, rest, kind, whole);
        }
        return;
    }
    let here = value.get(step).unwrap_or_else(|| panic!("`{path}` is missing in {whole}"));
    if !rest.is_empty() {
        return check(here, rest, kind, whole);
    }
    let fits = match kind {
        Is::Text => here.is_string(),
        Is::MaybeText => here.is_string() || here.is_null(),
        Is::Int => here.is_i64(),
        Is::MaybeInt => here.is_i64() || here.is_null(),
        Is::Number => here.is_number(),
        Is::Flag => here.is_boolean(),
        Is::List => here.is_array(),
    };
    assert!(fits, "`{path}` is not {kind:?} in {whole}");
}

/// An event as the event client sends it.
fn event(agent: &Agent, id: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    json!({"ic_token": agent.ic_token, "event_id": id, "timestamp_ms": u64::try_from(now).expect("in range"),
        "event_type": "llm_request_completed", "model": "gpt-4o", "provider": "openai", "input_tokens": 100,
        "output_tokens": 50, "cost_micros": 1_500})
}

/// An agent with one call to its name.
async fn busy_agent(world: &World) -> Agent {
    let agent = world.agent(10_000_000).await;
    agent.borrow(1_000_000).await.report("call-1", 2_500).await.expect(200);
    let sent = agent.client.post("analytics/events", event(&agent, "event-1")).await.expect(202);
    assert_eq!(sent, json!({"event_id": "event-1", "status": "accepted"}));
    agent
}

/// Asks again until facts have shown up, which may take two seconds after they were taken in.
async fn once_counted(world: &World, path: &str, list: &str) -> Value {
    let admin = world.admin().await;
    for _ in 0..40 {
        let body = admin.get(path).await.expect(200);
        if body[list].as_array().is_some_and(|list| !list.is_empty()) || body[list].as_f64().is_some_and(|n| n > 0.0) {
            return body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{path} never counted what was taken in");
}

async fn pending_request(world: &World, agent: &Agent) -> Value {
    let body = json!({"agent_id": agent.id, "requested_budget": 25, "justification": "a longer evaluation run",
        "requester_id": "somebody else"});
    world.admin().await.post("budget/requests", body).await.expect(201)
}

on_both_backends! {
    async fn login_for_the_dashboard(world: World) {
        let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
        let session = world.anon().post("/api/api/v1/auth/login", login).await.expect(200);
        needs(&session, &[("user_token", Is::Text), ("refresh_token", Is::Text), ("user.id", Is::Text),
            ("user.role", Is::Text)]);
    }

    async fn login_for_the_token_cli_and_the_http_adapter(world: World) {
        let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
        let session = world.anon().post("/api/auth/login", login).await.expect(200);
        needs(&session, &[("user_token", Is::Text), ("access_token", Is::Text), ("refresh_token", Is::Text)]);
        assert_eq!(session["user_token"], session["access_token"]);
    }

    async fn a_failed_login_for_the_dashboard(world: World) {
        let login = json!({"email": ADMIN_EMAIL, "password": "wrong"});
        let error = world.anon().post("auth/login", login).await.error(401, "AUTH_INVALID_CREDENTIALS");
        needs(&error, &[("error.message", Is::Text)]);
    }

    async fn a_refreshed_login(world: World) {
        let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
        let session = world.anon().post("auth/login", login).await.expect(200);
        let header = world.anon().with_token(session.text("refresh_token"));
        let session = header.post("/api/auth/refresh", json!({})).await.expect(200);
        needs(&session, &[("access_token", Is::Text), ("user_token", Is::Text), ("refresh_token", Is::Text),
            ("user.id", Is::Text), ("user.role", Is::Text)]);
    }

    async fn any_other_error_for_the_dashboard(world: World) {
        let error = world.admin().await.get("agents/999999").await.error(404, "AGENT_NOT_FOUND");
        needs(&error, &[("error", Is::Text), ("code", Is::Text), ("message", Is::Text)]);
    }

    async fn a_refused_provider_key_for_the_runtime(world: World) {
        let body = json!({"ic_token": "a.b.c"});
        let error = world.anon().post("/api/v1/agents/provider-key", body).await.error(401, "INVALID_IC_TOKEN");
        needs(&error, &[("error", Is::Text), ("code", Is::Text)]);
    }

    async fn health_for_the_http_adapter(world: World) {
        for path in ["/api/health", "/health", "/api/v1/health"] {
            needs(&world.anon().get(path).await.expect(200), &[("status", Is::Text), ("timestamp", Is::Int)]);
        }
    }

    async fn the_version_for_the_token_cli(world: World) {
        needs(&world.anon().get("/api/version").await.expect(200), &[("version", Is::Text)]);
    }

    async fn users_for_the_dashboard(world: World) {
        world.user("ada").await;
        let users = world.admin().await.get("users?page=1&page_size=1000&search=").await.expect(200);
        needs(&users, &[("users", Is::List), ("total", Is::Int), ("users[].id", Is::Text), ("users[].username", Is::Text),
            ("users[].email", Is::MaybeText), ("users[].role", Is::Text), ("users[].is_active", Is::Flag),
            ("users[].created_at", Is::Int), ("users[].last_login", Is::MaybeInt)]);
    }

    async fn agents_for_the_dashboard(world: World) {
        world.agent(1_000_000).await;
        let agents = world.admin().await.get("/api/agents/").await.expect(200);
        needs(&agents, &[("[].id", Is::Int), ("[].name", Is::Text), ("[].providers", Is::List), ("[].created_at", Is::Int),
            ("[].owner_id", Is::Text), ("[].provider_key_id", Is::MaybeInt)]);
    }

    async fn tokens_of_an_agent_for_the_dashboard(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        admin.post(&format!("agents/{}/tokens", agent.id), json!({"name": "ci"})).await.expect(201);
        let tokens = admin.get(&format!("agents/agent_{}/tokens", agent.id)).await.expect(200);
        needs(&tokens, &[("[].id", Is::Int), ("[].user_id", Is::Text), ("[].created_at", Is::Int),
            ("[].is_active", Is::Flag)]);
    }

    async fn a_changed_budget_for_the_dashboard(world: World) {
        let agent = world.agent(1_000_000).await;
        let path = format!("agents/{}/budget", agent.id);
        let body = json!({"total_allocated_microdollars": 2_000_000});
        let budget = world.admin().await.put(&path, body).await.expect(200);
        needs(&budget, &[("agent_id", Is::Int), ("total_allocated", Is::Int), ("total_spent", Is::Int),
            ("budget_remaining", Is::Int)]);
        assert_eq!((budget.int("total_allocated"), budget.int("budget_remaining")), (2_000_000, 2_000_000));
    }

    async fn ic_tokens_for_the_dashboard(world: World) {
        let (admin, key) = (world.admin().await, world.provider_key().await);
        let body = json!({"name": "bare", "initial_budget_microdollars": 1_000_000, "provider_key_id": key});
        let path = format!("agents/{}/ic-token", admin.post("agents", body).await.expect(201).int("id"));
        let none = admin.get(&path).await.expect(200);
        needs(&none, &[("has_ic_token", Is::Flag), ("created_at", Is::MaybeInt)]);
        assert_eq!((none.flag("has_ic_token"), &none["created_at"]), (false, &Value::Null));
        let fields = [("ic_token", Is::Text), ("created_at", Is::Int), ("warning", Is::Text)];
        needs(&admin.send(Method::POST, &path, None).await.expect(201), &fields);
        needs(&admin.send(Method::POST, &format!("{path}/regenerate"), None).await.expect(200), &fields);
        let shown = admin.get(&path).await.expect(200);
        needs(&shown, &[("has_ic_token", Is::Flag), ("created_at", Is::Int)]);
        assert!(shown.int("created_at") < 100_000_000_000, "seconds, not milliseconds: {shown}");
    }

    async fn provider_keys_for_the_dashboard(world: World) {
        world.provider_key().await;
        let keys = world.admin().await.get("providers").await.expect(200);
        needs(&keys, &[("[].id", Is::Int), ("[].provider", Is::Text), ("[].is_enabled", Is::Flag),
            ("[].created_at", Is::Int), ("[].masked_key", Is::Text), ("[].assigned_projects", Is::List)]);
    }

    async fn a_provider_key_for_the_runtime(world: World) {
        let agent = world.agent(1_000_000).await;
        // As the runtime sends it: with the token once more as a bearer, and to a base with a slash at its end
        let client = world.anon().with_token(&agent.ic_token);
        let body = json!({"ic_token": agent.ic_token});
        let key = client.post("//api/v1/agents/provider-key", body).await.expect(200);
        needs(&key, &[("provider_key", Is::Text), ("provider", Is::Text)]);
        assert!(key.get("base_url").is_none_or(|url| url.is_string() || url.is_null()), "{key}");
    }

    async fn a_handshake_for_the_runtime(world: World) {
        let agent = world.agent(1_000_000).await;
        let client = world.anon().with_token(&agent.ic_token);
        let body = json!({"ic_token": agent.ic_token, "provider": "openai"});
        let lease = client.post("/api/v1/budget/handshake", body).await.expect(200);
        needs(&lease, &[("budget_granted", Is::Int), ("lease_id", Is::Text)]);
        assert_eq!(lease.int("budget_granted"), 1_000_000);
    }

    async fn a_handshake_for_the_budget_client(world: World) {
        let agent = world.agent(1_000_000).await;
        let body = json!({"ic_token": agent.ic_token, "provider": "anthropic"});
        let lease = world.anon().post("/api/budget/handshake", body).await.expect(200);
        needs(&lease, &[("budget_granted", Is::Int), ("lease_id", Is::Text), ("ip_token", Is::Text),
            ("budget_remaining", Is::Int), ("expires_at", Is::MaybeInt)]);
    }

    async fn a_report_for_the_budget_client(world: World) {
        let lease = world.agent(1_000_000).await.borrow(500_000).await;
        let body = json!({"lease_id": lease.id, "request_id": "r", "tokens": 5, "cost_microdollars": 70, "model": "m",
            "provider": "p"});
        let report = world.anon().post("/api/budget/report", body).await.expect(200);
        needs(&report, &[("success", Is::Flag), ("budget_remaining", Is::Int)]);
    }

    async fn a_refresh_for_the_budget_client(world: World) {
        let agent = world.agent(1_000_000).await;
        let lease = agent.borrow(500_000).await;
        let body = json!({"ic_token": agent.ic_token, "current_lease_id": lease.id, "requested_budget": 700_000});
        let approved = world.anon().post("/api/budget/refresh", body).await.expect(200);
        needs(&approved, &[("status", Is::Text), ("budget_remaining", Is::Int), ("lease_id", Is::Text),
            ("budget_granted", Is::Int)]);
        assert_eq!((approved.text("status"), &approved["reason"]), ("approved", &Value::Null));
        let rest = agent.borrow(300_000).await;
        let body = json!({"ic_token": agent.ic_token, "lease_id": rest.id, "requested_budget": 700_000,
            "total_spent": 300_000});
        let denied = world.anon().post("/api/budget/refresh", body).await.expect(200);
        needs(&denied, &[("status", Is::Text), ("budget_remaining", Is::Int), ("reason", Is::Text)]);
        assert_eq!((&denied["status"], &denied["lease_id"], &denied["budget_granted"]),
            (&json!("denied"), &Value::Null, &Value::Null));
    }

    async fn a_return_for_both_runtimes(world: World) {
        let lease = world.agent(1_000_000).await.borrow(500_000).await;
        let body = json!({"lease_id": lease.id, "spent_microdollars": 100_000});
        let returned = world.anon().post("/api/budget/return", body).await.expect(200);
        needs(&returned, &[("success", Is::Flag), ("returned", Is::Int)]);
        assert_eq!(returned.int("returned"), 400_000);
    }

    async fn events_for_the_event_client(world: World) {
        let agent = world.agent(1_000_000).await;
        let client = world.anon().with_token(&agent.ic_token);
        let path = "//api/v1/analytics/events";
        client.post(path, event(&agent, "e")).await.expect(202);
        let again = client.post(path, event(&agent, "e")).await.expect(200);
        assert_eq!(again.text("status"), "duplicate");
    }

    async fn totals_for_the_dashboard(world: World) {
        let none = world.admin().await.get("analytics/spending/total?period=last7-days").await.expect(200);
        needs(&none, &[("total_spend", Is::Number)]);
        let none = world.admin().await.get("analytics/usage/requests").await.expect(200);
        let fields = [("total_requests", Is::Number), ("successful_requests", Is::Number), ("success_rate", Is::Number)];
        needs(&none, &fields);
        busy_agent(&world).await;
        let total = once_counted(&world, "analytics/spending/total?period=all-time", "total_spend").await;
        assert_eq!(total["total_spend"], json!(0.004));
        needs(&world.admin().await.get("analytics/usage/requests").await.expect(200), &fields);
    }

    async fn providers_and_models_for_the_dashboard(world: World) {
        busy_agent(&world).await;
        let body = once_counted(&world, "analytics/spending/by-provider?period=last-30-days", "data").await;
        needs(&body, &[("data[].provider", Is::Text), ("data[].spending", Is::Number), ("data[].request_count", Is::Int)]);
        let body = once_counted(&world, "analytics/usage/models", "data").await;
        needs(&body, &[("data[].model", Is::Text), ("data[].request_count", Is::Int), ("data[].spending", Is::Number),
            ("data[].input_tokens", Is::Int), ("data[].output_tokens", Is::Int)]);
    }

    async fn events_for_the_dashboard(world: World) {
        busy_agent(&world).await;
        let body = once_counted(&world, "analytics/events/list?page=1&per_page=10", "data").await;
        needs(&body, &[("data[].event_id", Is::Text), ("data[].timestamp_ms", Is::Int), ("data[].agent_name", Is::Text),
            ("data[].model", Is::Text), ("data[].event_type", Is::Text), ("data[].input_tokens", Is::Int),
            ("data[].output_tokens", Is::Int), ("data[].cost_micros", Is::Int), ("pagination.total", Is::Int),
            ("pagination.total_pages", Is::Int)]);
    }

    async fn budgets_for_the_dashboard(world: World) {
        let agent = busy_agent(&world).await;
        let body = once_counted(&world, "analytics/budget/status", "data").await;
        needs(&body, &[("data[].agent_id", Is::Int), ("data[].agent_name", Is::Text), ("data[].budget", Is::Int),
            ("data[].spent", Is::Int), ("data[].remaining", Is::Int), ("data[].percent_used", Is::Number)]);
        let row = body.list("data").iter().find(|row| row["agent_id"] == agent.id).expect("the agent");
        assert_eq!(row.int("budget"), 10_000_000, "microdollars: {row}");
    }

    async fn limits_for_the_dashboard(world: World) {
        let body = world.admin().await.get("limits").await.expect(200);
        assert!(body.is_array(), "{body}");
    }

    async fn budget_requests_for_the_dashboard(world: World) {
        let agent = world.agent(1_000_000).await;
        pending_request(&world, &agent).await;
        let body = world.admin().await.get("budget/requests?status=pending").await.expect(200);
        needs(&body, &[("requests[].id", Is::Text), ("requests[].agent_id", Is::Int), ("requests[].requester_id", Is::Text),
            ("requests[].current_budget_usd", Is::Number), ("requests[].requested_budget_usd", Is::Number),
            ("requests[].justification", Is::Text), ("requests[].status", Is::Text), ("requests[].created_at", Is::Int)]);
    }

    async fn api_tokens_for_the_dashboard(world: World) {
        let admin = world.admin().await;
        let made = admin.post("api-tokens", json!({"name": "ci"})).await.expect(201);
        needs(&made, &[("token", Is::Text), ("id", Is::Int)]);
        let list = admin.get("api-tokens?page=1&limit=50").await.expect(200);
        needs(&list, &[("[].id", Is::Int), ("[].created_at", Is::Int), ("[].is_active", Is::Flag), ("[].name", Is::Text)]);
        let rotated = admin.send(Method::PUT, &format!("api-tokens/{}/rotate", made.int("id")), None).await.expect(200);
        needs(&rotated, &[("token", Is::Text)]);
        assert_ne!(rotated["token"], made["token"]);
    }

    async fn every_success_has_a_json_body_for_the_cli_or_none_at_all(world: World) {
        let (admin, agent) = (world.admin().await, world.agent(1_000_000).await);
        for path in ["users", "agents", "providers", "api-tokens", "projects", "limits", "budget/limit", "budgets", "usage",
            "budget/requests", "budget-requests", "audit-logs", "settings/system", "analytics/usage", "traces"] {
            let reply = admin.get(path).await;
            assert!(reply.is_success() && !reply.body.is_null(), "{path}: {} {}", reply.status, reply.text);
        }
        let reply = admin.delete(&format!("agents/{}", agent.id)).await;
        assert_eq!((reply.status, reply.text.as_str()), (204, ""));
    }

    async fn what_the_token_cli_calls_has_a_json_body(world: World) {
        let admin = world.admin().await;
        let token = admin.post("tokens", json!({"name": "cli", "expires_in_days": "30"})).await.expect(201);
        let id = token.int("id");
        let rotated = admin.send(Method::POST, &format!("tokens/{id}/rotate"), None).await.expect(200).int("id");
        let revoked = admin.send(Method::POST, &format!("tokens/{rotated}/revoke"), None).await.expect(200);
        needs(&revoked, &[("id", Is::Int), ("revoked", Is::Flag)]);
        let user = world.user("ada").await;
        let limit = json!({"user_id": user.id, "max_tokens_per_day": 1_000});
        let limit = admin.post("limits", limit).await.expect(201).int("id");
        let deleted = admin.delete(&format!("limits/{limit}")).await.expect(200);
        assert_eq!(deleted, json!({"id": limit, "deleted": true}));
        for path in ["tokens", "usage", "usage/by-provider/openai", "usage/by-project/proj_master_001", "traces", "limits",
            "usage/export?format=json", "traces/export?format=json"] {
            let reply = admin.get(path).await;
            assert!(reply.is_success() && !reply.body.is_null(), "{path}: {} {}", reply.status, reply.text);
        }
    }

    async fn the_access_token_for_the_cli(world: World) {
        let login = json!({"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD});
        let session = world.anon().post("auth/login", login).await.expect(200);
        let parts = session.text("access_token").split('.').collect::<Vec<_>>();
        assert_eq!(parts.len(), 3, "a JWT");
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url");
        let claims: Value = serde_json::from_slice(&claims).expect("claims");
        needs(&claims, &[("sub", Is::Text)]);
        assert_eq!(claims["sub"], session["user"]["id"]);
    }
}
