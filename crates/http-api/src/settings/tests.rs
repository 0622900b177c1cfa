//! Settings as a client sees them, and what they do.

use kernel::ProjectId;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields};
use crate::testing::{Persona, START};

const USER: &str = "/api/v1/settings/user";
const SYSTEM: &str = "/api/v1/settings/system";
const MASTER: &str = "/api/v1/settings/project/proj_master_001";

fn project(id: &str) -> String {
    format!("/api/v1/settings/project/{id}")
}

async fn set(w: &World, uri: &str, body: Value) -> Value {
    w.t.put(&w.root, uri, body).await.expect(200)
}

async fn get(w: &World, who: &Persona, uri: &str) -> Value {
    w.t.get(who, uri).await.expect(200)
}

/// Asks to create an agent.
async fn ask_for_agent(w: &World, body: Value) -> crate::testing::Reply {
    let mut request = json!({"name": "bot", "initial_budget_microdollars": 1_000_000});
    crate::agents::tests::world::merge(&mut request, body);
    w.t.post(&w.root, "/api/v1/agents", request).await
}

#[tokio::test]
async fn a_user_has_what_is_built_in_until_somebody_sets_something() {
    let w = World::new().await;
    let shown = get(&w, &w.vera, USER).await;
    assert_eq!(shown["user_id"], json!(w.vera.id));
    let display = json!({"theme": "auto", "dashboard_layout": "grid", "currency_format": "USD",
        "default_date_range": "last-7-days", "timezone": "UTC"});
    assert_eq!(shown["settings"]["display"], display);
    assert_eq!(shown["settings"]["operational"]["default_agent_budget"], 100);
    assert_eq!(shown["inheritance"]["display.theme"], "system");
    assert!(shown.get("updated_at").is_none());
}

#[tokio::test]
async fn the_nearest_word_counts() {
    let w = World::new().await;
    w.project("p").await;
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    set(&w, MASTER, json!({"notifications": {"budget_alerts": false}})).await;
    set(&w, &project("p"), json!({"notifications": {"budget_alerts": true, "notification_frequency": "weekly"}})).await;
    w.t.put(&w.ada, USER, json!({"notifications": {"notification_frequency": "daily"}})).await.expect(200);
    let read = async |uri: &str, name: &str| {
        let shown = get(&w, &w.ada, uri).await;
        (
            shown["settings"]["notifications"][name].clone(),
            shown["inheritance"][format!("notifications.{name}")].clone(),
        )
    };
    let in_p = format!("{USER}?project_id=p");
    assert_eq!(read(USER, "budget_alerts").await, (json!(false), json!("project")), "the whole installation's");
    assert_eq!(read(&in_p, "budget_alerts").await, (json!(true), json!("project")));
    assert_eq!(read(&in_p, "notification_frequency").await, (json!("daily"), json!("user")));
    assert_eq!(read(USER, "email_enabled").await, (json!(true), json!("system")));
    w.t.get(&w.bob, &in_p).await.refused(404, "PROJECT_NOT_FOUND");
    w.t.get(&w.ada, &format!("{USER}?project_id=nowhere")).await.refused(404, "PROJECT_NOT_FOUND");
}

#[tokio::test]
async fn a_change_is_partial_and_null_takes_away() {
    let w = World::new().await;
    let first = json!({"display": {"theme": "dark", "currency_format": "EUR", "zzz": 1}, "zzz": true});
    let changed = w.t.put(&w.vera, USER, first).await.expect(200);
    assert_eq!(
        (&changed["settings"]["display"]["theme"], &changed["updated_at"]),
        (&json!("dark"), &json!(START.millis()))
    );
    w.t.clock.advance_millis(5);
    let second =
        w.t.put(&w.vera, USER, json!({"display": {"theme": null, "timezone": "Europe/Zurich"}})).await.expect(200);
    let display = &second["settings"]["display"];
    assert_eq!(
        (&display["theme"], &display["currency_format"], &display["timezone"]),
        (&json!("auto"), &json!("EUR"), &json!("Europe/Zurich"))
    );
    assert_eq!(second["updated_at"], START.millis() + 5);
    let states = (
        json!({"display.theme": "dark", "display.timezone": null}),
        json!({"display.theme": null, "display.timezone": "Europe/Zurich"}),
    );
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), (before, after)), ("SETTINGS_UPDATED", states));
    let reset = w.t.delete(&w.vera, USER).await.expect(200);
    assert_eq!((&reset["settings"]["display"]["currency_format"], reset["message"].is_string()), (&json!("USD"), true));
    assert_eq!(get(&w, &w.vera, USER).await["inheritance"]["display.timezone"], "system");
    assert_eq!(get(&w, &w.ada, USER).await["settings"]["display"]["theme"], "auto", "nobody else's");
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_trace() {
    let w = World::new().await;
    set(&w, SYSTEM, json!({"audit": {"retention_days": 90}})).await;
    let entries = w.t.audited().await.len();
    w.t.clock.advance_millis(5);
    let again = set(&w, SYSTEM, json!({"audit": {"retention_days": 90}, "display": null})).await;
    assert_eq!((&again["updated_at"], &again["updated_by"]), (&json!(START.millis()), &json!(w.root.id)));
    w.t.put(&w.ada, USER, json!({})).await.expect(200);
    w.t.delete(&w.ada, USER).await.expect(200);
    assert_eq!(w.t.audited().await.len(), entries);
}

#[tokio::test]
async fn nothing_is_written_if_one_setting_fails_and_all_of_them_are_named() {
    let w = World::new().await;
    let body = json!({"display": {"theme": "pink", "currency_format": "EUR"}, "audit": {"retention_days": 60}});
    let error = w.t.put(&w.ada, USER, body).await.refused(400, "INVALID_SETTING_VALUE");
    assert_eq!(
        (fields(&error), &error["field"]),
        (vec!["audit.retention_days", "display.theme"], &json!("audit.retention_days"))
    );
    assert_eq!(get(&w, &w.ada, USER).await["settings"]["display"]["currency_format"], "USD");
    for (uri, body, name) in [
        (SYSTEM, json!({"security": {"require_2fa": true}}), "security.require_2fa"),
        (SYSTEM, json!({"security": {"session_timeout_minutes": 4}}), "security.session_timeout_minutes"),
        (SYSTEM, json!({"audit": {"log_mutations_only": false}}), "audit.log_mutations_only"),
        (SYSTEM, json!({"operational": {"budget_alert_levels": [80, 50]}}), "operational.budget_alert_levels"),
        (SYSTEM, json!({"operational": {"default_agent_budget": 0}}), "operational.default_agent_budget"),
        (SYSTEM, json!({"providers": {"allowed_providers": ["openai"]}}), "providers.allowed_providers"),
        (MASTER, json!({"notifications": {"webhook_url": "http://x.example"}}), "notifications.webhook_url"),
        (MASTER, json!({"operational": {"max_agents_per_project": 5}}), "operational.max_agents_per_project"),
        (USER, json!({"display": {"timezone": "Mars/Olympus"}}), "display.timezone"),
        (USER, json!({"display": 5}), "display"),
    ] {
        let error = w.t.put(&w.root, uri, body).await.refused(400, "INVALID_SETTING_VALUE");
        assert_eq!((fields(&error), &error["field"]), (vec![name], &json!(name)));
    }
    w.t.put(&w.ada, USER, json!([])).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(w.t.audited().await.iter().filter(|operation| *operation == "SETTINGS_UPDATED").count(), 0);
}

#[tokio::test]
async fn what_was_answered_may_be_edited_and_sent_back() {
    let w = World::new().await;
    let mut shown = get(&w, &w.root, SYSTEM).await;
    shown["settings"] = json!({"providers": {"default_rate_limit": 7}});
    assert_eq!(set(&w, SYSTEM, shown).await["settings"]["providers"]["default_rate_limit"], 7);
}

#[tokio::test]
async fn each_level_has_its_readers_and_writers() {
    let w = World::new().await;
    w.project("p").await;
    for who in [&w.ada, &w.vera] {
        w.t.get(who, SYSTEM).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, SYSTEM, json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &project("p"), json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.get(who, &project("p")).await.refused(404, "PROJECT_NOT_FOUND");
        w.t.get(who, MASTER).await.refused(403, "ACCESS_DENIED");
    }
    w.t.get((), USER).await.refused(401, "AUTH_MISSING_TOKEN");
    w.t.put(&w.root, &project("nowhere"), json!({})).await.refused(404, "PROJECT_NOT_FOUND");
    w.agent_with(json!({"owner_id": w.vera.id, "project_id": "p"})).await;
    set(&w, &project("p"), json!({"notifications": {"webhook_url": "https://hooks.example/x"}})).await;
    let shown = get(&w, &w.vera, &project("p")).await;
    assert_eq!(
        (&shown["project_id"], &shown["settings"]["notifications"]["webhook_url"]),
        (&json!("p"), &json!("https://hooks.example/x"))
    );
    assert!(shown["settings"].get("security").is_none() && shown["inheritance"].get("security.require_2fa").is_none());
    get(&w, &w.vera, MASTER).await;
    let own = get(&w, &w.vera, &format!("{USER}?project_id=p")).await;
    assert!(own["settings"].get("security").is_none() && own["settings"]["notifications"].get("webhook_url").is_none());
    assert_eq!(get(&w, &w.root, USER).await["settings"]["security"]["password_min_length"], 8);
    assert_eq!(get(&w, &w.root, &project("p")).await["settings"]["security"]["require_2fa"], false);
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let w = World::new().await;
    set(&w, SYSTEM, json!({"operational": {"max_agents_per_project": 3}})).await;
    let per_user = json!({"operational": {"max_agents_per_user": 4}});
    for uri in [SYSTEM, MASTER] {
        let error = w.t.put(&w.root, uri, per_user.clone()).await.refused(400, "INVALID_SETTING_VALUE");
        assert_eq!(error["field"], "operational.max_agents_per_user");
    }
    set(&w, SYSTEM, json!({"operational": {"max_agents_per_project": 4, "max_agents_per_user": 4}})).await;
}

#[tokio::test]
async fn secrets_in_settings_stay_out_of_the_record() {
    let w = World::new().await;
    set(&w, MASTER, json!({"notifications": {"webhook_url": "https://hooks.example/canary"}})).await;
    assert!(!w.audit_text().await.contains("canary"));
    assert_eq!(w.last_audit().await.2, json!({"notifications.webhook_url": "[REDACTED]"}));
}

#[tokio::test]
async fn a_user_has_no_more_agents_than_the_installation_allows() {
    let w = World::new().await;
    set(&w, SYSTEM, json!({"operational": {"max_agents_per_user": 2}})).await;
    let ada = json!({"owner_id": w.ada.id});
    let first = w.agent_with(ada.clone()).await;
    w.agent_with(ada.clone()).await;
    let refused = ask_for_agent(&w, ada.clone()).await.refused(403, "QUOTA_EXCEEDED");
    let details = json!({"quota": "max_agents_per_user", "scope": {"kind": "owner", "id": w.ada.id}, "limit": 2, "used": 2,
        "resets_at": null, "limit_id": null});
    assert_eq!(refused["details"], details);
    w.agent_with(json!({"owner_id": w.bob.id})).await;
    w.t.delete(&w.root, &format!("/api/v1/agents/{first}")).await.expect(204);
    ask_for_agent(&w, ada).await.expect(201);
}

#[tokio::test]
async fn a_project_has_its_own_number_of_agents_for_each_user() {
    let w = World::new().await;
    w.project("p").await;
    set(&w, SYSTEM, json!({"operational": {"max_agents_per_user": 1}})).await;
    set(&w, &project("p"), json!({"operational": {"max_agents_per_user": 2}})).await;
    w.agent(&w.ada).await;
    ask_for_agent(&w, json!({"owner_id": w.ada.id})).await.refused(403, "QUOTA_EXCEEDED");
    let in_p = json!({"owner_id": w.ada.id, "project_id": "p"});
    for _ in 0..2 {
        ask_for_agent(&w, in_p.clone()).await.expect(201);
    }
    let refused = ask_for_agent(&w, in_p).await.refused(403, "QUOTA_EXCEEDED");
    assert_eq!(refused["details"]["scope"], json!({"kind": "owner_project", "id": w.ada.id, "project_id": "p"}));
}

#[tokio::test]
async fn a_project_is_full_whoever_asks_and_however_many_at_once() {
    let w = World::new().await;
    w.project("p").await;
    set(&w, SYSTEM, json!({"operational": {"max_agents_per_project": 3}})).await;
    let ask = |owner: &Persona| ask_for_agent(&w, json!({"owner_id": owner.id, "project_id": "p"}));
    let replies = tokio::join!(ask(&w.ada), ask(&w.bob), ask(&w.vera), ask(&w.root), ask(&w.ada), ask(&w.bob));
    let statuses = [&replies.0, &replies.1, &replies.2, &replies.3, &replies.4, &replies.5].map(|reply| reply.status);
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
    assert_eq!(ask(&w.ada).await.refused(403, "QUOTA_EXCEEDED")["details"]["quota"], "max_agents_per_project");
    w.agent(&w.ada).await;
}

#[tokio::test]
async fn new_budgets_tell_at_the_percentages_that_are_set() {
    let w = World::new().await;
    w.project("p").await;
    set(&w, SYSTEM, json!({"operational": {"budget_alert_levels": [70, 90]}})).await;
    set(&w, &project("p"), json!({"operational": {"budget_alert_levels": [10]}})).await;
    let made = async |scope: Value, more: Value| {
        let mut body = json!({"scope": scope, "cap_microdollars": 1_000_000});
        crate::agents::tests::world::merge(&mut body, more);
        w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201)["thresholds"].clone()
    };
    assert_eq!(made(json!({"kind": "organization"}), json!({})).await, json!([70, 90]));
    assert_eq!(made(json!({"kind": "project", "id": "p"}), json!({})).await, json!([10]));
    assert_eq!(made(json!({"kind": "owner", "id": w.ada.id}), json!({"thresholds": [1, 2]})).await, json!([1, 2]));
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    let budgets = get(&w, &w.root, "/api/v1/budgets").await;
    let rows = budgets["data"].as_array().or_else(|| budgets.as_array()).expect("rows").clone();
    let own = rows.iter().find(|row| row["scope"] == json!({"kind": "agent", "id": agent})).expect("the allocation");
    assert_eq!(own["thresholds"], json!([10]));
}

#[tokio::test]
async fn only_allowed_kinds_of_provider_are_stored_and_assigned() {
    let w = World::new().await;
    w.project("p").await;
    let (openai, mistral) = (w.key("openai").await, w.key("mistral").await);
    set(&w, SYSTEM, json!({"providers": {"allowed_provider_types": ["openai", "mistral"]}})).await;
    set(&w, &project("p"), json!({"providers": {"allowed_providers": ["openai"], "default_provider": "openai"}})).await;
    let create = json!({"provider": "groq", "api_key": "sk-x"});
    let error = w.t.post(&w.root, "/api/v1/providers", create).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["provider"]);
    let assign = |key: i64| w.t.post(&w.root, "/api/v1/projects/p/provider", json_key(key));
    assert_eq!(fields(&assign(mistral).await.refused(400, "VALIDATION_ERROR")), ["provider_key_id"]);
    assign(openai).await.expect(200);
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p", "provider_key_id": openai})).await;
    let refused = ask_for_agent(&w, json!({"project_id": "p", "provider_key_id": mistral})).await;
    assert_eq!(fields(&refused.refused(400, "VALIDATION_ERROR")), ["provider_key_id"]);
    let uri = format!("/api/v1/agents/{agent}");
    let refused = w.t.put(&w.root, &uri, json!({"provider_key_id": mistral})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&refused), ["provider_key_id"]);
    let keys = json!({"provider_ids": [mistral]});
    for reply in [
        w.t.post(&w.root, &format!("{uri}/providers"), keys.clone()).await,
        w.t.put(&w.root, &format!("{uri}/providers"), keys).await,
    ] {
        assert_eq!(fields(&reply.refused(400, "VALIDATION_ERROR")), ["provider_ids"]);
    }
    let (agents, uri) = (json!({"agent_ids": [agent]}), format!("/api/v1/providers/{mistral}/agents"));
    for reply in [w.t.post(&w.root, &uri, agents.clone()).await, w.t.put(&w.root, &uri, agents).await] {
        assert_eq!(fields(&reply.refused(400, "VALIDATION_ERROR")), ["agent_ids"]);
    }
    ask_for_agent(&w, json!({"provider_key_id": mistral})).await.expect(201);
    let keys = get(&w, &w.root, &format!("/api/v1/agents/{agent}/providers")).await;
    assert_eq!(keys["count"], 1, "what was refused did not happen");
}

fn json_key(key: i64) -> Value {
    json!({"provider_key_id": key})
}

#[tokio::test]
async fn a_login_lasts_as_long_as_the_strictest_project_around_wants_it() {
    let w = World::new().await;
    w.project("p").await;
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    let lasts = async |who: &Persona| {
        let body = json!({"email": who.email, "password": who.password});
        w.t.post((), "/api/v1/auth/login", body).await.expect(200)["expires_in"].clone()
    };
    assert_eq!(lasts(&w.ada).await, 28_800);
    let minutes = |n: i64| json!({"security": {"session_timeout_minutes": n}});
    set(&w, SYSTEM, minutes(1_440)).await;
    assert_eq!(lasts(&w.ada).await, 86_400, "longer, if the installation wants it");
    set(&w, &project("p"), minutes(30)).await;
    assert_eq!((lasts(&w.ada).await, lasts(&w.bob).await), (json!(1_800), json!(86_400)));
    set(&w, MASTER, minutes(10)).await;
    assert_eq!((lasts(&w.ada).await, lasts(&w.bob).await), (json!(600), json!(600)));
    let again = w.t.post((), "/api/v1/auth/refresh", json!({"refresh_token": w.bob.refresh_token})).await.expect(200);
    assert_eq!(again["expires_in"], 600);
    w.t.clock.advance_millis(600_000);
    let token = again["access_token"].as_str().expect("a token").to_owned();
    w.t.get(&token, USER).await.refused(401, "AUTH_TOKEN_EXPIRED");
}

#[tokio::test]
async fn new_passwords_are_as_long_as_is_set() {
    let w = World::new().await;
    set(&w, SYSTEM, json!({"security": {"password_min_length": 12}})).await;
    let user = |password: &str| json!({"username": "eve", "password": password, "email": "eve@example.com"});
    let error = w.t.post(&w.root, "/api/v1/users", user("elevenchars")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["password"]);
    w.t.post(&w.root, "/api/v1/users", user("twelve chars")).await.expect(201);
    let uri = format!("/api/v1/users/{}/reset-password", w.bob.id);
    let reset = w.t.post(&w.root, &uri, json!({"new_password": "elevenchars"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&reset), ["new_password"]);
    let change = json!({"current_password": w.ada.password, "new_password": "elevenchars"});
    let refused = w.t.post(&w.ada, "/api/v1/auth/change-password", change).await.expect(400);
    assert_eq!((&refused["code"], fields(&refused)), (&json!("VALIDATION_ERROR"), vec!["new_password"]));
    let login = json!({"email": w.ada.email, "password": w.ada.password});
    w.t.post((), "/api/v1/auth/login", login).await.expect(200);
}

#[tokio::test]
async fn a_project_shows_what_is_set_for_its_agents() {
    let w = World::new().await;
    w.project("p").await;
    set(&w, SYSTEM, json!({"operational": {"default_agent_budget": 20.5, "max_agents_per_user": 3}})).await;
    set(
        &w,
        &project("p"),
        json!({"providers": {"allowed_providers": ["openai"]}, "operational": {"default_agent_budget": 5}}),
    )
    .await;
    let shown = async |id: &str| get(&w, &w.root, &format!("/api/v1/projects/{id}")).await["settings"].clone();
    assert_eq!(
        shown("p").await,
        json!({"default_agent_budget": 5, "max_agents_per_user": 3, "allowed_providers": ["openai"]})
    );
    let rest = json!({"default_agent_budget": 20.5, "max_agents_per_user": 3, "allowed_providers": []});
    assert_eq!(shown("proj_master_001").await, rest);
}

#[tokio::test]
async fn what_another_server_sets_holds_a_moment_later() {
    let w = World::new().await;
    let p = ProjectId::new("p");
    let threshold = async || w.t.api.settings_of(Some(&p)).await.expect("read").auto_pause_threshold();
    assert_eq!(threshold().await, 95);
    // Past this server's routes
    w.t.write(async |work| {
        let whose = persistence::SettingsOf::System;
        let body = json!({"operational": {"auto_pause_threshold": 60}});
        let change = ::settings::Change::read(whose.level(), body.as_object().expect("an object")).expect("valid");
        work.settings_for_update(&whose, &w.root.id).await.expect("locked");
        work.change_settings(&whose, &change, &w.root.id).await.expect("written");
    })
    .await;
    assert_eq!(threshold().await, 95);
    w.t.clock.advance_millis(2_000);
    assert_eq!(threshold().await, 60);
    set(&w, SYSTEM, json!({"operational": {"auto_pause_threshold": 70}})).await;
    assert_eq!(threshold().await, 70, "what this server sets holds at once");
}

/// The settings crate and that of the questions say the same words.
#[test]
fn the_default_period_is_one_that_questions_take() {
    let key = ::settings::key("display.default_date_range").expect("there");
    for word in ["today", "yesterday", "last-7-days", "last-30-days", "this-month", "last-month", "all-time"] {
        assert!(key.check(&json!(word)).is_ok(), "{word}");
    }
    assert!(key.check(&json!("next-week")).is_err());
}
