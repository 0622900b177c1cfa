//! A day in the life of an installation, told by plain HTTP: from the first admin to the proof that the audit log is whole.

use crate::harness::*;

/// How often an operation stands in the audit log.
async fn audited(admin: &Client, operation: &str) -> usize {
    let log = admin.get(&format!("audit-logs?operation={operation}&limit=1000")).await.expect(200);
    let entries = log.list("data");
    assert!(entries.iter().all(|entry| entry["operation"] == operation), "{log}");
    entries.len()
}

/// Two admins, the only ones, do the same to each other at the same moment: one of them does it and is left.
async fn each_other(world: &World, deed: impl AsyncFn(Client, String) -> Reply) {
    let (first, second) = (world.admin().await, world.person("grace", "admin").await);
    let first_id = first.get("users?search=admin").await.expect(200)["users"][0].text("id").to_owned();
    let (one, other) =
        tokio::join!(deed(first.clone(), second.id.clone()), deed(second.client.clone(), first_id.clone()));
    assert!(one.is_success() != other.is_success(), "{} {} | {} {}", one.status, one.text, other.status, other.text);
    let (left, lost) = if one.is_success() { (&first, &second.client) } else { (&second.client, &first) };
    let admins = left.get("users?role=admin&is_active=true").await.expect(200);
    assert_eq!(admins.int("total"), 1, "{admins}");
    assert!(!lost.get("users").await.is_success(), "whoever lost has lost the rights too");
}

on_both_backends! {
    async fn a_day_from_the_first_admin_to_a_verified_audit_log(world: World) {
        let admin = world.admin().await;

        // Morning: people, a key, a project, an agent
        let (ada, vera) = (world.user("ada").await, world.viewer("vera").await);
        let second = json!({"username": "grace", "email": "grace@example.com", "password": "correct-horse-battery",
            "role": "admin"});
        let second = admin.post("users", second).await.expect(201);
        let grace = world.log_in("grace@example.com", "correct-horse-battery").await;
        let key = json!({"provider": "anthropic", "api_key": "sk-ant-first-0123456789", "models": ["claude"]});
        let key = admin.post("providers", key).await.expect(201).int("id");
        let project = admin.post("projects", json!({"name": "Search"})).await.expect(201);
        let project = project.text("id").to_owned();
        admin.post(&format!("projects/{project}/provider"), json!({"provider_key_id": key})).await.expect(200);
        let agent = json!({"name": "crawler", "owner_id": ada.id, "project_id": project,
            "initial_budget_microdollars": 5_000_000, "tags": ["nightly"]});
        let id = admin.post("agents", agent).await.expect(201).int("id");
        let shown = ada.client.get(&format!("agents/{id}")).await.expect(200);
        assert_eq!((shown.text("status"), shown.flag("has_ic_token")), ("inactive", false));
        let first = ada.client.post(&format!("agents/{id}/ic-token"), json!({})).await.expect(201);
        let agent = Agent { id, ic_token: first.text("ic_token").to_owned(), owner_id: ada.id.clone(), client: world.anon() };
        assert_eq!(ada.client.get(&format!("agents/{id}")).await.expect(200).text("status"), "active");

        // It works, and runs out
        let lease = agent.borrow(10_000_000).await;
        assert_eq!((lease.granted, lease.body.text("provider")), (5_000_000, "anthropic"));
        lease.report("night-1", 4_900_000).await.expect(200);
        agent.handshake(json!({})).await.error(403, "BUDGET_EXHAUSTED");

        // Its owner asks for more; who may not decide does not, and two who may decide once
        let ask = json!({"agent_id": id, "requested_budget_usd": 12.5, "justification": "the crawl takes all night"});
        let ask = ada.client.post("budget/requests", ask).await.expect(201).text("id").to_owned();
        ada.client.patch(&format!("budget/requests/{ask}/approve"), json!({})).await.error(403, "INSUFFICIENT_PERMISSIONS");
        vera.client.get(&format!("budget/requests/{ask}")).await.error(404, "REQUEST_NOT_FOUND");
        let verdicts = at_once(2, |who| {
            let (client, path) = (if who == 0 { admin.clone() } else { grace.clone() }, format!("budget-requests/{ask}/approve"));
            async move { client.put(&path, json!({"review_notes": "once"})).await }
        })
        .await;
        let (approved, refused): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(Reply::is_success);
        assert_eq!((approved.len(), refused.len()), (1, 1));
        let approved = approved.into_iter().next().expect("one").expect(200);
        assert_eq!((approved.text("status"), &approved["agent"]["new_budget"]), ("approved", &json!(12.5)));
        for late in refused {
            let error = late.error(409, "REQUEST_ALREADY_REVIEWED");
            assert_eq!(error["details"]["status"], "approved", "{error}");
        }
        assert_eq!(world.budget_of(id).await.int("total_allocated"), 12_500_000);
        assert_eq!(agent.borrow(1_000_000).await.granted, 1_000_000);

        // Everything is rotated: the provider's key, the agent's token, an API token, a password
        let before = agent.fetch_provider_key().await.expect(200).text("provider_key").to_owned();
        admin.put(&format!("providers/{key}"), json!({"api_key": "sk-ant-second-0123456789"})).await.expect(200);
        let after = agent.fetch_provider_key().await.expect(200).text("provider_key").to_owned();
        assert_eq!((before.as_str(), after.as_str()), ("sk-ant-first-0123456789", "sk-ant-second-0123456789"));
        let second_token = ada.client.post(&format!("agents/{id}/ic-token/regenerate"), json!({})).await.expect(200);
        agent.handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");
        let agent = agent.with_ic_token(second_token.text("ic_token"));
        agent.handshake(json!({"requested_budget": 1_000})).await.expect(200);
        let token = ada.client.post("api-tokens", json!({"name": "ci"})).await.expect(201);
        let rotated = ada.client.post(&format!("api-tokens/{}/rotate", token.int("id")), json!({})).await.expect(200);
        let with_old = world.anon().with_token(token.text("token"));
        with_old.get("agents").await.error(401, "AUTH_TOKEN_REVOKED");
        let with_new = world.anon().with_token(rotated.text("token"));
        assert_eq!(with_new.get("agents").await.expect(200)[0]["id"], id);
        let change = json!({"current_password": ada.password, "new_password": "another-staple-of-ada"});
        ada.client.post("auth/change-password", change).await.expect(204);
        ada.client.get("agents").await.expect(200);

        // Evening: Ada leaves. First nothing of hers gets anywhere, then she is gone and the agent goes on
        let path = format!("users/{}", ada.id);
        let suspended = admin.put(&format!("{path}/suspend"), json!({"reason": "leaves", "freeze_agents": true})).await;
        assert!(!suspended.expect(200).flag("is_active"));
        ada.client.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
        with_new.get("agents").await.error(401, "AUTH_ACCOUNT_DISABLED");
        agent.handshake(json!({})).await.error(403, "AGENT_FROZEN");
        let gone = admin.delete(&path).await.expect(200);
        assert_eq!((gone.flag("success"), gone.int("agents_count"), gone.int("api_tokens_revoked")), (true, 1, 1));
        let again = admin.delete(&path).await.expect(200);
        assert_eq!((again.int("agents_count"), again.int("api_tokens_revoked")), (0, 0));
        let agent_now = admin.get(&format!("agents/{id}")).await.expect(200);
        assert_ne!(agent_now["owner_id"], ada.id);
        agent.handshake(json!({"requested_budget": 1_000})).await.expect(200);
        admin.delete(&format!("agents/{id}")).await.expect(204);
        agent.handshake(json!({})).await.error(401, "INVALID_IC_TOKEN");

        // Night: the log tells the day, and is whole
        for (operation, times) in [
            ("USER_CREATED", 4), ("PROVIDER_CREATED", 1), ("PROJECT_CREATED", 1), ("AGENT_CREATED", 1), ("IC_TOKEN_CREATED", 1),
            ("BUDGET_REQUEST_CREATED", 1), ("BUDGET_REQUEST_APPROVED", 1), ("PROVIDER_ROTATED", 1), ("PROVIDER_KEY_FETCHED", 2),
            ("IC_TOKEN_REGENERATED", 1), ("API_TOKEN_CREATED", 1), ("API_TOKEN_ROTATED", 1), ("USER_PASSWORD_CHANGED", 1),
            ("USER_SUSPENDED", 1), ("USER_DELETED", 1), ("AGENT_DELETED", 1),
        ] {
            assert_eq!(audited(&admin, operation).await, times, "{operation}");
        }
        let own = grace.get("audit-logs/me").await.expect(200);
        assert!(own.list("data").iter().all(|entry| entry["user_id"] == second["id"]), "{own}");
        let verdict = admin.get("audit-logs/verify").await.expect(200);
        assert!(verdict.flag("ok") && verdict.int("checked") >= 17, "{verdict}");
        crate::books::verify(&world).await;
        world.server.stop().await;
        world.command(&["audit", "verify"]).await.ok();
    }

    async fn two_admins_who_delete_each_other_leave_one(world: World) {
        each_other(&world, async |client, other| client.delete(&format!("users/{other}")).await).await;
    }

    async fn two_admins_who_demote_each_other_leave_one(world: World) {
        let demote = async |client: Client, other: String| {
            client.put(&format!("users/{other}/role"), json!({"role": "user"})).await
        };
        each_other(&world, demote).await;
    }

    async fn two_admins_who_suspend_each_other_leave_one(world: World) {
        each_other(&world, async |client, other| client.put(&format!("users/{other}/suspend"), json!({})).await).await;
    }

    async fn a_demoted_admins_running_session_loses_its_rights_at_once(world: World) {
        let grace = world.person("grace", "admin").await;
        grace.client.get("users").await.expect(200);
        let path = format!("users/{}/role", grace.id);
        world.admin().await.put(&path, json!({"role": "user"})).await.expect(200);
        grace.client.get("users").await.error(403, "INSUFFICIENT_PERMISSIONS");
        grace.client.get("agents").await.expect(200);
    }
}
