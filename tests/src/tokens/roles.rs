//! Who may write.

use crate::harness::*;

/// Every route that writes and is not said to be open to viewers, on objects that are the caller's own where they can be.
fn writes(agent: i64, key: i64, lease: &str, user: &str) -> Vec<(Method, String, Value)> {
    let scope = json!({"kind": "agent", "id": agent});
    let reason = json!({"reason": "because"});
    vec![
        (Method::POST, "agents".into(), json!({"name": "a", "initial_budget_microdollars": 1})),
        (Method::PUT, format!("agents/{agent}"), json!({"name": "b"})),
        (Method::DELETE, format!("agents/{agent}"), json!({})),
        (Method::PUT, format!("agents/{agent}/budget"), json!({"total_allocated_microdollars": 9_000_000})),
        (Method::POST, format!("agents/{agent}/providers"), json!({"provider_ids": [key]})),
        (Method::PUT, format!("agents/{agent}/providers"), json!({"provider_ids": []})),
        (Method::DELETE, format!("agents/{agent}/providers/{key}"), json!({})),
        (Method::POST, "providers".into(), json!({"provider": "openai", "api_key": "sk-1"})),
        (Method::PUT, format!("providers/{key}"), json!({"is_enabled": false})),
        (Method::DELETE, format!("providers/{key}"), json!({})),
        (Method::POST, format!("providers/{key}/agents"), json!({"agent_ids": [agent]})),
        (Method::PUT, format!("providers/{key}/agents"), json!({"agent_ids": []})),
        (Method::DELETE, format!("providers/{key}/agents/{agent}"), json!({})),
        (Method::POST, "projects".into(), json!({"name": "mine"})),
        (Method::PUT, "projects/proj_master_001".into(), json!({"name": "mine"})),
        (Method::DELETE, "projects/proj_master_001".into(), json!({})),
        (Method::POST, "projects/proj_master_001/provider".into(), json!({"provider_key_id": key})),
        (Method::DELETE, "projects/proj_master_001/provider".into(), json!({})),
        (Method::POST, "budgets".into(), json!({"scope": scope, "cap_microdollars": 1, "window": "day"})),
        (Method::POST, "budget/freeze".into(), json!({"scope": scope, "reason": "r"})),
        (Method::POST, "budget/unfreeze".into(), json!({"scope": scope, "reason": "r"})),
        (Method::POST, format!("budget/leases/{lease}/settle"), json!({"outcome": "unspent", "reason": "r"})),
        (Method::POST, "users".into(), json!({"username": "x", "password": "12345678", "email": "x@example.com"})),
        (Method::PUT, format!("users/{user}"), json!({"username": "y"})),
        (Method::PUT, format!("users/{user}/role"), json!({"role": "admin"})),
        (Method::PUT, format!("users/{user}/suspend"), reason.clone()),
        (Method::PUT, format!("users/{user}/activate"), json!({})),
        (Method::POST, format!("users/{user}/unlock"), json!({})),
        (Method::POST, format!("users/{user}/reset-password"), json!({"new_password": "12345678"})),
        (Method::DELETE, format!("users/{user}"), json!({})),
    ]
}

/// What owners may write and viewers may not.
fn owners_writes(agent: i64, lease: &str) -> Vec<(Method, String, Value)> {
    vec![
        (Method::DELETE, format!("agents/{agent}/ic-token"), json!({})),
        (Method::POST, format!("agents/{agent}/ic-token"), json!({})),
        (Method::POST, format!("budget/leases/{lease}/revoke"), json!({"reason": "r"})),
    ]
}

on_both_backends! {
    async fn a_viewer_cannot_write(world: World) {
        let viewer = world.viewer("vera").await;
        let agent = world.agent_with(json!({"owner_id": viewer.id})).await;
        let lease = agent.borrow(1_000).await;
        let key = world.provider_key().await;
        let all = writes(agent.id, key, &lease.id, &viewer.id).into_iter();
        for (method, path, body) in all.chain(owners_writes(agent.id, &lease.id)) {
            viewer.client.send(method.clone(), &path, Some(&body)).await.error(403, "INSUFFICIENT_PERMISSIONS");
            // The role comes before the fields and before the object
            viewer.client.send(method, &path, Some(&json!({}))).await.error(403, "INSUFFICIENT_PERMISSIONS");
        }
        // It reads its own
        for path in ["agents", "budget/leases", "budget/journal", "providers", "projects", "budget/freezes"] {
            viewer.client.get(path).await.expect(200);
        }
        assert_eq!(world.lease(&lease.id).await.text("state"), "active");
        // The few things that it may do
        let path = format!("agents/{}/ic-token/regenerate", agent.id);
        let token = viewer.client.post(&path, json!({})).await.expect(200);
        assert!(token.flag("old_token_invalidated"));
        agent.handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");
        agent.with_ic_token(token.text("ic_token")).handshake(json!({"requested_budget": 1})).await.expect(200);
        let body = json!({"current_password": viewer.password, "new_password": "another-password"});
        viewer.client.post("auth/change-password", body).await.expect(204);
        world.log_in(&viewer.email, "another-password").await.post("auth/logout", json!({})).await.expect(204);
    }

    async fn a_user_writes_only_what_owners_may(world: World) {
        let user = world.user("uma").await;
        let agent = world.agent_with(json!({"owner_id": user.id})).await;
        let lease = agent.borrow(1_000).await;
        let key = world.provider_key().await;
        for (method, path, body) in writes(agent.id, key, &lease.id, &user.id) {
            user.client.send(method, &path, Some(&body)).await.error(403, "INSUFFICIENT_PERMISSIONS");
        }
        for (method, path, body) in owners_writes(agent.id, &lease.id) {
            assert!(user.client.send(method, &path, Some(&body)).await.is_success(), "{path}");
        }
    }

    async fn what_is_anothers_is_not_shown_and_not_touched(world: World) {
        let (ada, ben) = (world.user("ada").await, world.user("ben").await);
        let agent = world.agent_with(json!({"owner_id": ada.id})).await;
        let lease = agent.borrow(1_000).await;
        let id = agent.id;
        let mine = [
            format!("agents/{id}"), format!("agents/{id}/budget"), format!("agents/{id}/ic-token"),
            format!("agents/{id}/providers"), format!("agents/{id}/status"), format!("budget/leases/{}", lease.id),
            format!("budget/explain?agent_id={id}"), format!("budget/journal?agent_id={id}"),
            format!("budget/exposure?scope_kind=agent&scope_id={id}"),
            format!("budget/exposure?scope_kind=owner&scope_id={}", ada.id), format!("users/{}", ada.id),
        ];
        for path in &mine {
            ada.client.get(path).await.expect(200);
            let reply = ben.client.get(path).await;
            match path.split('/').next() {
                Some("users") => reply.error(403, "INSUFFICIENT_PERMISSIONS"),
                _ if path.starts_with("budget/leases/") => reply.error(404, "LEASE_NOT_FOUND"),
                _ => reply.error(403, "ACCESS_DENIED"),
            };
        }
        for (method, path, body) in owners_writes(id, &lease.id) {
            let reply = ben.client.send(method, &path, Some(&body)).await;
            if path.starts_with("agents") { reply.error(403, "ACCESS_DENIED") } else { reply.error(404, "LEASE_NOT_FOUND") };
        }
        ben.client.post(&format!("agents/{id}/ic-token/regenerate"), json!({})).await.error(403, "ACCESS_DENIED");
        for path in ["agents", "budget/leases", "budget/journal", "providers"] {
            let listed = ben.client.get(path).await.expect(200);
            let rows = listed.as_array().or(listed["data"].as_array()).expect("a list");
            assert!(rows.is_empty(), "{path}: {listed}");
        }
        for path in ["budget/exposure?scope_kind=organization", "budget/exposure?scope_kind=project&scope_id=proj_master_001"] {
            ben.client.get(path).await.error(403, "ACCESS_DENIED");
        }
        agent.handshake(json!({"requested_budget": 1})).await.expect(200);
    }
}
