//! Paths and methods: unknown ones, odd spellings of known ones, second names.

use std::collections::BTreeMap;

use super::{Stage, check_failure};
use crate::harness::*;

/// The routes of the server's own description, each with its methods.
pub(super) async fn described(world: &World) -> BTreeMap<String, Vec<Method>> {
    let document = world.anon().get("openapi.json").await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let named = item.as_object().expect("methods").keys().filter(|key| *key != "parameters");
        named.map(|name| name.to_uppercase().parse().expect("a method")).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The answer without what is new each time.
fn essence(reply: &Reply) -> (u16, Value) {
    let mut body = reply.body.clone();
    for changing in ["request_id", "timestamp", "uptime_seconds"] {
        if let Some(object) = body.as_object_mut() {
            object.remove(changing);
        }
    }
    (reply.status, body)
}

on_both_backends! {
    async fn unknown_paths_are_not_found_whatever_the_method(world: World) {
        let admin = world.admin().await;
        for path in [
            "/", "/nothing", "/api", "/api/v1", "/api/v2/agents", "/api/v1/nothing", "/api/v1/Agents", "/API/v1/agents",
            "/api/v1/agents/1/nothing", "/api/v1/agents/1/budget/nothing", "/api/v1/budget", "/api/v1/budget/leases/a/b",
            "/api/v1/agents%2f1", "/api/v1/../../etc/passwd", "/api/v1/%00", "/api/v1/%zz", "/livez/x", "/api/api/api/v1/agents",
            "/api/v1/agents.json", "/api/v1/users/1/2/3/4/5/6/7/8/9", "/index.html", "/.env", "/api/v1/\u{1f980}",
        ] {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                for client in [&admin, &world.anon()] {
                    let reply = client.send(method.clone(), path, None).await;
                    check_failure(&reply, false);
                    reply.error(404, "ROUTE_NOT_FOUND");
                }
            }
        }
        let reply = world.anon().post("auth/nothing", json!({})).await;
        check_failure(&reply, true);
        reply.error(404, "ROUTE_NOT_FOUND");
        // A long path is a path
        let reply = world.anon().get(&format!("/api/v1/{}", "a/".repeat(2_000))).await;
        check_failure(&reply, false);
        reply.error(404, "ROUTE_NOT_FOUND");
    }

    async fn unknown_methods_are_answered_with_those_that_are_known(stage: Stage) {
        let all = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
        // Second names that go by the method
        let second_names = [
            "PATCH /api/v1/agents/{id}/budget",
            "PUT /api/v1/api-tokens/{id}/rotate",
            "POST /api/v1/budget-requests",
            "PUT /api/v1/budget/requests/{id}/approve",
            "PUT /api/v1/budget/requests/{id}/reject",
        ];
        for (path, methods) in described(&stage.world).await {
            let filled = path.replace("{id}", &stage.agent.id.to_string()).replace("{agent_id}", "1").replace("{key_id}", "1");
            let second = second_names.iter().filter_map(|name| name.split_once(' ')).filter(|(_, of)| *of == path);
            let mut expected: Vec<&str> =
                methods.iter().map(Method::as_str).chain(second.map(|(method, _)| method)).collect();
            if methods.contains(&Method::GET) {
                expected.push("HEAD");
            }
            expected.sort_unstable();
            for method in all.map(|name| name.parse::<Method>().expect("a method")) {
                if expected.contains(&method.as_str()) {
                    continue;
                }
                let reply = stage.world.anon().send(method.clone(), &filled, None).await;
                assert_eq!(reply.status, 405, "{method} {path}: {}", reply.text);
                check_failure(&reply, path.starts_with("/api/v1/auth/"));
                let mut allowed = reply.header("allow").split(',').map(str::trim).collect::<Vec<_>>();
                allowed.sort_unstable();
                assert_eq!(allowed, expected, "{path}");
                reply.error(405, "METHOD_NOT_ALLOWED");
            }
        }
    }

    async fn head_is_answered_wherever_get_is(stage: Stage) {
        for (path, methods) in described(&stage.world).await {
            if !methods.contains(&Method::GET) {
                continue;
            }
            let filled = path.replace("{id}", &stage.agent.id.to_string());
            if path == "/api/v1/events/stream" {
                // What GET answers has no end
                let head = stage.admin.send(Method::HEAD, &filled, None).await;
                assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
                assert!(head.header("content-type").starts_with("text/event-stream"), "{path}");
                continue;
            }
            for client in [&stage.admin, &stage.world.anon()] {
                let (get, head) = (client.get(&filled).await, client.send(Method::HEAD, &filled, None).await);
                assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
                assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
                assert!(head.header("x-request-id").starts_with("req_"));
            }
        }
    }

    async fn odd_spellings_of_a_path_are_cleaned_up(stage: Stage) {
        let anon = stage.world.anon();
        let health = essence(&anon.get("/api/v1/health").await);
        for path in [
            "//api/v1/health", "/api//v1///health", "/api/v1/health/", "/api/v1/health///", "/api/api/v1/health", "/v1/health",
            "/api/health", "/api/api/health", "//v1//health/", "/api/api//health/", "/health", "/health/", "//health",
            "/api/v1/health?x=//&y=", "/api/v1/health?",
        ] {
            assert_eq!(essence(&anon.get(path).await), health, "{path}");
        }
        let report = |id: &str| json!({
            "lease_id": stage.lease.id, "request_id": id, "tokens": 1, "cost_microdollars": 10, "model": "m", "provider": "p",
        });
        for (number, path) in [
            "/api/v1/budget/report", "//api/v1/budget/report", "/api/api/v1/budget/report", "/v1/budget/report",
            "/api/budget/report", "/api/v1/budget/report/", "/api//budget//report//",
        ]
        .into_iter()
        .enumerate()
        {
            let answer = anon.post(path, report(&format!("spelling-{number}"))).await.expect(200);
            assert_eq!(answer.int("lease_spent"), 1_000 + 10 * (number as i64 + 1), "{path}");
        }
        let agent = stage.agent.id;
        let shown = stage.admin.get(&format!("agents/{agent}")).await.expect(200);
        for path in [
            format!("agents/agent_{agent}"), format!("/api/agents/{agent}"), format!("/v1/agents/agent_{agent}/"),
            format!("/api/api/v1//agents//{agent}"),
        ] {
            assert_eq!(stage.admin.get(&path).await.expect(200), shown, "{path}");
        }
    }

    async fn second_names_answer_as_the_first_ones_do(stage: Stage) {
        let (anon, admin) = (stage.world.anon(), stage.admin.clone());
        // The same request under both names, so that nothing is done: the same refusal
        for (alias, path) in [
            ("/api/budget/handshake", "budget/handshake"), ("/api/budget/report", "budget/report"),
            ("/api/budget/refresh", "budget/refresh"), ("/api/budget/return", "budget/return"),
            ("budget/lease/create", "budget/handshake"), ("/api/auth/login", "auth/login"),
            ("/api/auth/refresh", "auth/refresh"), ("/api/auth/logout", "auth/logout"),
        ] {
            for body in [json!({}), json!({"ic_token": "a.b.c", "current_lease_id": "x", "lease_id": "lease_x"})] {
                let (one, other) = (anon.post(alias, body.clone()).await, anon.post(path, body).await);
                assert_eq!(essence(&one), essence(&other), "{alias}");
                check_failure(&one, path.starts_with("auth/"));
            }
        }
        for (alias, path) in [("/api/version", "version"), ("/api/health", "health"), ("/health", "health")] {
            assert_eq!(essence(&anon.get(alias).await), essence(&anon.get(path).await));
        }
        // A handshake below auth/ is one, and its errors have the form of that place
        let refused = anon.post("auth/handshake", json!({"ic_token": "a.b.c"})).await;
        check_failure(&refused, true);
        refused.error(401, "INVALID_IC_TOKEN");
        let asked = json!({"ic_token": stage.agent.ic_token, "requested_budget": 10});
        for alias in ["auth/handshake", "/api/auth/handshake", "budget/lease/create", "/api/budget/handshake"] {
            assert_eq!(anon.post(alias, asked.clone()).await.expect(200).int("budget_granted"), 10, "{alias}");
        }
        let (agent, user) = (stage.agent.id, stage.user.id.clone());
        let body = json!({"new_password": "another-password"});
        admin.put(&format!("users/{user}/password"), body).await.expect(200);
        stage.world.log_in(&stage.user.email, "another-password").await;
        let path = format!("agents/{agent}/budget");
        for (usd, put) in [(3.5, false), (4.25, true)] {
            let (method, path) =
                if put { (Method::PUT, format!("limits/{path}")) } else { (Method::PATCH, path.clone()) };
            let set = admin.send(method, &path, Some(&json!({"budget": usd}))).await.expect(200);
            assert_eq!(set["new_budget"], usd);
        }
        assert_eq!(stage.world.budget_of(agent).await.int("total_allocated"), 4_250_000);
        let history = essence(&admin.get(&format!("agents/{agent}/budget/history")).await);
        assert_eq!(history, essence(&admin.get(&format!("limits/agents/{agent}/budget/history")).await));
        assert_eq!(history, essence(&admin.get(&format!("limits/agents/{agent}/history")).await));
        assert_eq!(history.0, 200);
    }

    async fn checks_come_in_the_order_of_the_contract(stage: Stage) {
        let (anon, user, admin) = (stage.world.anon(), stage.user.client.clone(), stage.admin.clone());
        let stranger = stage.world.user("ben").await.client;
        // Method, media type, caller, role, JSON, fields, existence, ownership, state
        let path = format!("budget/leases/{}/settle", stage.lease.id);
        let odd = |client: &Client, path: &str| client.request(Method::POST, path).header("content-type", "text/csv").body("{");
        anon.send(Method::PATCH, &path, Some(&json!(1))).await.error(405, "METHOD_NOT_ALLOWED");
        anon.answer(odd(&anon, &path)).await.error(415, "UNSUPPORTED_MEDIA_TYPE");
        anon.send_raw(Method::POST, &path, "{").await.error(401, "AUTH_MISSING_TOKEN");
        user.send_raw(Method::POST, &path, "{").await.error(403, "INSUFFICIENT_PERMISSIONS");
        admin.send_raw(Method::POST, "budget/leases/none/settle", "{").await.error(400, "MALFORMED_JSON");
        admin.post("budget/leases/none/settle", json!({})).await.error(400, "VALIDATION_ERROR");
        let decision = json!({"outcome": "spent", "reason": "r"});
        admin.post("budget/leases/none/settle", decision.clone()).await.error(404, "LEASE_NOT_FOUND");
        admin.post(&path, decision).await.error(409, "LEASE_ACTIVE");

        let path = format!("budget/leases/{}/revoke", stage.lease.id);
        stranger.send_raw(Method::POST, &path, "{").await.error(400, "MALFORMED_JSON");
        stranger.post(&path, json!({})).await.error(400, "VALIDATION_ERROR");
        stranger.post(&path, json!({"reason": "r"})).await.error(404, "LEASE_NOT_FOUND");
        let path = format!("agents/{}/ic-token", stage.agent.id);
        stranger.post(&path, json!({"expires_in_days": 0})).await.error(400, "VALIDATION_ERROR");
        stranger.post("agents/999999/ic-token", json!({})).await.error(404, "AGENT_NOT_FOUND");
        stranger.post(&path, json!({})).await.error(403, "ACCESS_DENIED");
        user.post(&path, json!({})).await.error(409, "IC_TOKEN_EXISTS");

        // Where the credential is in the body, the body comes before the credential
        anon.send_raw(Method::POST, "budget/handshake", "{").await.error(400, "MALFORMED_JSON");
        let body = json!({"ic_token": "a.b.c", "requested_budget": 0});
        anon.post("budget/handshake", body).await.error(400, "VALIDATION_ERROR");
        anon.post("budget/handshake", json!({"ic_token": "a.b.c"})).await.error(401, "INVALID_IC_TOKEN");
    }
}
