//! Users as a client sees them.

use std::sync::Arc;

use auth::Role;
use axum::http::Method;
use kernel::{FreezeId, UserId};
use ledger::Scope;
use persistence::NewAgent;
use serde_json::{Value, json};

use crate::testing::{Persona, START, TestApi};

const USERS: &str = "/api/v1/users";

fn path(id: &UserId, tail: &str) -> String {
    format!("{USERS}/{id}{tail}")
}

async fn world() -> (TestApi, Persona) {
    let t = TestApi::start().await;
    let root = t.persona("root", Role::Admin).await;
    (t, root)
}

fn names(list: &Value) -> Vec<&str> {
    let users = list["users"].as_array().expect("a list");
    users.iter().map(|user| user["username"].as_str().expect("a name")).collect()
}

fn new_user(name: &str) -> Value {
    json!({"username": name, "password": "12345678", "email": format!("{name}@example.com")})
}

async fn login(t: &TestApi, name: &str, password: &str) -> crate::testing::Reply {
    let body = json!({"email": format!("{name}@example.com"), "password": password});
    t.post((), "/api/v1/auth/login", body).await
}

async fn agent(t: &TestApi, name: &str, owner: &UserId) -> kernel::AgentId {
    let new = NewAgent {
        name: name.to_owned(),
        providers: Vec::new(),
        description: None,
        tags: Vec::new(),
        owner: owner.clone(),
        project: None,
        primary_key: None,
    };
    let mut id = None;
    t.write(async |work| id = Some(work.create_agent(&new).await.expect("stored"))).await;
    id.expect("an id")
}

// Who may

#[tokio::test]
async fn only_admins_manage_users() {
    let (t, root) = world().await;
    for role in [Role::User, Role::Viewer] {
        let somebody = t.persona(role.as_str(), role).await;
        let routes = [
            (Method::POST, USERS.to_owned()),
            (Method::GET, USERS.to_owned()),
            (Method::GET, path(&root.id, "")),
            (Method::PUT, path(&root.id, "")),
            (Method::DELETE, path(&root.id, "")),
            (Method::PUT, path(&root.id, "/suspend")),
            (Method::PUT, path(&root.id, "/activate")),
            (Method::POST, path(&root.id, "/unlock")),
            (Method::PUT, path(&root.id, "/role")),
            (Method::POST, path(&root.id, "/reset-password")),
            (Method::PUT, path(&root.id, "/password")),
            (Method::GET, path(&root.id, "/permissions")),
            (Method::PUT, path(&somebody.id, "/role")),
            (Method::GET, path(&UserId::new("user_nobody"), "")),
        ];
        for (method, uri) in routes {
            // Neither the body nor the id is looked at before the role
            let body = (method != Method::GET).then(|| json!({"role": 1}));
            t.call(method.clone(), (), &uri, body.clone()).await.refused(401, "AUTH_MISSING_TOKEN");
            t.call(method, &somebody, &uri, body).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        }
    }
    assert!(t.audited().await.is_empty());
}

#[tokio::test]
async fn everybody_sees_themselves() {
    let (t, root) = world().await;
    let ada = t.persona("ada", Role::Viewer).await;
    let expected = json!({"id": ada.id, "username": "ada", "email": "ada@example.com", "role": "viewer",
        "is_active": true, "created_at": START.millis(), "updated_at": START.millis(), "last_login": START.millis(),
        "suspended_at": null, "deleted_at": null, "locked_until": null});
    assert_eq!(t.get(&ada, &path(&ada.id, "")).await.expect(200), expected);
    assert_eq!(t.get(&root, &path(&ada.id, "")).await.expect(200), expected);
    let permissions = t.get(&ada, &path(&ada.id, "/permissions")).await.expect(200);
    assert_eq!((&permissions["user_id"], &permissions["role"]), (&json!(ada.id), &json!("viewer")));
    assert!(permissions["permissions"].as_array().is_some_and(|list| list.contains(&json!("audit:own"))));
    assert_eq!(
        t.get(&root, &path(&root.id, "/permissions")).await.expect(200)["permissions"].as_array().map(Vec::len),
        Some(22)
    );
}

#[tokio::test]
async fn an_unknown_user_is_not_found() {
    let (t, root) = world().await;
    let gone = UserId::new("user_gone");
    for uri in [path(&gone, ""), path(&gone, "/permissions")] {
        t.get(&root, &uri).await.refused(404, "USER_NOT_FOUND");
    }
    for (method, tail, body) in [
        (Method::PUT, "", json!({})),
        (Method::PUT, "/suspend", json!({})),
        (Method::PUT, "/activate", json!({})),
        (Method::POST, "/unlock", json!({})),
        (Method::PUT, "/role", json!({"role": "user"})),
        (Method::POST, "/reset-password", json!({"new_password": "12345678"})),
        (Method::DELETE, "", json!({})),
    ] {
        t.call(method, &root, &path(&gone, tail), Some(body)).await.refused(404, "USER_NOT_FOUND");
    }
    t.get(&root, &format!("{USERS}/%00")).await.refused(400, "INVALID_PARAMETER");
}

// Creating and listing

#[tokio::test]
async fn a_created_user_can_log_in() {
    let (t, root) = world().await;
    let body = json!({"username": " Ada ", "password": " 12345678", "email": "Ada@Example.com", "role": "viewer"});
    let created = t.post(&root, USERS, body).await.expect(201);
    assert!(created["id"].as_str().is_some_and(|id| id.starts_with("user_")));
    assert_eq!((&created["username"], &created["email"]), (&json!("Ada"), &json!("Ada@Example.com")));
    assert_eq!((&created["role"], &created["last_login"]), (&json!("viewer"), &Value::Null));
    login(&t, "ada", " 12345678").await.expect(200);
}

#[tokio::test]
async fn a_created_user_is_audited_without_the_password() {
    let (t, root) = world().await;
    let created = t.post(&root, USERS, new_user("ada")).await.expect(201);
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.resource_type.as_str()), ("USER_CREATED", "user"));
    assert_eq!(entry.resource_id.as_deref(), created["id"].as_str());
    assert_eq!(entry.actor.user, Some(root.id));
    let after: Value = serde_json::from_str(entry.after.as_deref().expect("a state")).expect("JSON");
    assert_eq!((&after["username"], &after["password"]), (&json!("ada"), &json!("[REDACTED]")));
    assert_eq!(entry.before, None);
}

#[tokio::test]
async fn names_and_e_mails_are_taken_once_whatever_their_case() {
    let (t, root) = world().await;
    t.post(&root, USERS, new_user("ada")).await.expect(201);
    let taken = |body: Value| {
        let (t, root) = (&t, &root);
        async move {
            let body = t.post(root, USERS, body).await.refused(409, "USER_EXISTS");
            body["fields"].as_object().expect("fields").keys().cloned().collect::<Vec<_>>()
        }
    };
    assert_eq!(taken(new_user("ADA")).await, ["email", "username"]);
    assert_eq!(taken(json!({"username": "Ada", "password": "12345678", "email": "b@c"})).await, ["username"]);
    assert_eq!(taken(json!({"username": "b", "password": "12345678", "email": " ADA@example.com"})).await, ["email"]);
    assert_eq!(t.audited().await, ["USER_CREATED"]);
}

#[tokio::test]
async fn of_parallel_creations_of_one_name_one_wins() {
    let (t, root) = world().await;
    let (t, root) = (Arc::new(t), Arc::new(root));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (t, root) = (Arc::clone(&t), Arc::clone(&root));
        tasks.spawn(async move { t.post(&*root, USERS, new_user("ada")).await.status });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_bad_creation_names_every_field() {
    let (t, root) = world().await;
    let body = json!({"username": "", "password": "short", "email": "nobody", "role": "root"});
    let body = t.post(&root, USERS, body).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(body["fields"].as_object().map(serde_json::Map::len), Some(4));
    t.post(&root, USERS, json!({})).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn the_list_is_youngest_first_filtered_and_paged() {
    let (t, root) = world().await;
    for (name, role) in [("ada", Role::User), ("bob", Role::Viewer), ("cyd", Role::User)] {
        t.clock.advance_millis(1);
        t.user(name, role).await;
    }
    let list = async |query: &str| t.get(&root, &format!("{USERS}{query}")).await.expect(200);
    let all = list("").await;
    assert_eq!(names(&all), ["cyd", "bob", "ada", "root"]);
    assert_eq!((&all["total"], &all["page"], &all["page_size"]), (&json!(4), &json!(1), &json!(100)));
    assert_eq!(names(&list("?role=user").await), ["cyd", "ada"]);
    assert_eq!(names(&list("?search=B%40EX").await), ["bob"]);
    let second = list("?page=2&page_size=3").await;
    assert_eq!((names(&second), &second["total"], &second["page_size"]), (vec!["root"], &json!(4), &json!(3)));
    assert!(names(&list("?page=9&per_page=3").await).is_empty());
    assert_eq!(list("?page_size=5000").await["page_size"], 100);
    let users = list("?is_active=true").await["users"].as_array().map(Vec::len);
    assert_eq!(users, Some(4));
    for bad in ["?page=0", "?page_size=0", "?page=x", "?role=root", "?is_active=2"] {
        t.get(&root, &format!("{USERS}{bad}")).await.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn deleted_users_are_listed_only_when_asked_for() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    t.delete(&root, &path(&ada, "")).await.expect(200);
    assert_eq!(names(&t.get(&root, USERS).await.expect(200)), ["root"]);
    let all = t.get(&root, &format!("{USERS}?include_deleted=true&is_active=false")).await.expect(200);
    assert_eq!(names(&all), ["ada"]);
    let shown = t.get(&root, &path(&ada, "")).await.expect(200);
    assert_eq!((&shown["is_active"], &shown["deleted_at"]), (&json!(false), &json!(START.millis())));
}

// Changing

#[tokio::test]
async fn a_user_is_renamed_and_logs_in_by_the_new_e_mail() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    t.clock.advance_millis(5);
    let user = t.put(&root, &path(&ada, ""), json!({"email": "lovelace@example.com"})).await.expect(200);
    assert_eq!((&user["username"], &user["email"]), (&json!("ada"), &json!("lovelace@example.com")));
    assert_eq!(user["updated_at"], START.plus_millis(5).millis());
    login(&t, "lovelace", "ada-password").await.expect(200);
    login(&t, "ada", "ada-password").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    t.put(&root, &path(&ada, ""), json!({"username": "ROOT"})).await.refused(409, "USER_EXISTS");
    t.put(&root, &path(&ada, ""), json!({"username": "Ada"})).await.expect(200);
    t.put(&root, &path(&ada, ""), json!({})).await.expect(200);
    assert_eq!(t.audited().await, ["USER_UPDATED", "USER_UPDATED"]);
}

#[tokio::test]
async fn a_suspended_user_is_out_until_activated() {
    let (t, root) = world().await;
    let ada = t.persona("ada", Role::User).await;
    let user = t.put(&root, &path(&ada.id, "/suspend"), json!({"reason": "left"})).await.expect(200);
    assert_eq!((&user["is_active"], &user["suspended_at"]), (&json!(false), &json!(START.millis())));
    t.get(&ada, &path(&ada.id, "")).await.refused(401, "AUTH_ACCOUNT_DISABLED");
    t.put(&root, &path(&ada.id, "/suspend"), json!({})).await.refused(409, "USER_ALREADY_SUSPENDED");
    let user = t.call(Method::PUT, &root, &path(&ada.id, "/activate"), None).await.expect(200);
    assert_eq!((&user["is_active"], &user["suspended_at"]), (&json!(true), &Value::Null));
    t.get(&ada, &path(&ada.id, "")).await.refused(401, "AUTH_TOKEN_REVOKED");
    login(&t, "ada", "ada-password").await.expect(200);
    t.call(Method::PUT, &root, &path(&ada.id, "/activate"), None).await.refused(409, "USER_ALREADY_ACTIVE");
    let log = t.audit_log().await;
    assert_eq!(
        log.iter().map(|entry| entry.operation.as_str()).collect::<Vec<_>>(),
        ["USER_SUSPENDED", "USER_ACTIVATED"]
    );
    assert!(log[0].metadata.contains(r#""reason":"left""#));
}

#[tokio::test]
async fn a_suspension_freezes_the_agents_only_if_asked_to() {
    let (t, root) = world().await;
    let (ada, bob) = (t.user("ada", Role::User).await, t.user("bob", Role::User).await);
    t.call(Method::PUT, &root, &path(&ada, "/suspend"), None).await.expect(200);
    assert_eq!(t.api.store.active_freeze(&Scope::Owner(ada)).await.expect("read"), None);
    let body = json!({"reason": "x".repeat(1_000), "freeze_agents": true});
    t.put(&root, &path(&bob, "/suspend"), body).await.expect(200);
    let freeze = t.api.store.active_freeze(&Scope::Owner(bob)).await.expect("read").expect("set");
    assert_eq!((freeze.frozen_by, freeze.reason.len()), (root.id, 500));
    assert_eq!(t.audited().await, ["USER_SUSPENDED", "FREEZE_SET", "USER_SUSPENDED"]);
}

#[tokio::test]
async fn a_freeze_that_was_there_before_a_suspension_stays_as_it_is() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    let (id, scope) = (FreezeId::new("frz_1"), Scope::Owner(ada.clone()));
    t.write(async |work| assert!(work.set_freeze(&id, &scope, "before", &root.id).await.expect("set").created)).await;
    t.put(&root, &path(&ada, "/suspend"), json!({"freeze_agents": true})).await.expect(200);
    assert_eq!(t.api.store.active_freeze(&scope).await.expect("read").map(|freeze| freeze.id), Some(id));
    assert_eq!(t.audited().await, ["USER_SUSPENDED"]);
}

#[tokio::test]
async fn a_locked_user_is_unlocked_as_often_as_one_likes() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    for _ in 0..10 {
        login(&t, "ada", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    let until = START.plus_millis(1_800_000).millis();
    assert_eq!(t.get(&root, &path(&ada, "")).await.expect(200)["locked_until"], until);
    for _ in 0..2 {
        let user = t.call(Method::POST, &root, &path(&ada, "/unlock"), None).await.expect(200);
        assert_eq!(user["locked_until"], Value::Null);
    }
    assert_eq!(t.audited().await, ["LOGIN_FAILED_LOCKED", "USER_UNLOCKED", "USER_UNLOCKED"]);
    // The address has failed ten times all the same; that limit is another one
    t.clock.advance_millis(300_000);
    login(&t, "ada", "ada-password").await.expect(200);
}

#[tokio::test]
async fn a_lock_that_has_passed_is_not_shown() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    for _ in 0..10 {
        login(&t, "ada", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    t.clock.advance_millis(1_800_000);
    assert_eq!(t.get(&root, &path(&ada, "")).await.expect(200)["locked_until"], Value::Null);
}

#[tokio::test]
async fn an_activation_clears_the_lock_too() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    for _ in 0..10 {
        login(&t, "ada", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    t.put(&root, &path(&ada, "/suspend"), json!({})).await.expect(200);
    let user = t.put(&root, &path(&ada, "/activate"), json!({})).await.expect(200);
    assert_eq!(user["locked_until"], Value::Null);
}

#[tokio::test]
async fn a_new_role_holds_from_the_next_request_on() {
    let (t, root) = world().await;
    let ada = t.persona("ada", Role::User).await;
    let user = t.put(&root, &path(&ada.id, "/role"), json!({"role": "admin"})).await.expect(200);
    assert_eq!(user["role"], "admin");
    t.get(&ada, USERS).await.expect(200);
    t.put(&ada, &path(&root.id, "/role"), json!({"role": "viewer"})).await.expect(200);
    t.get(&root, USERS).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    t.put(&ada, &path(&root.id, "/role"), json!({"role": "boss"})).await.refused(400, "VALIDATION_ERROR");
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.actor.user), ("USER_ROLE_CHANGED", Some(ada.id)));
    assert!(entry.before.is_some_and(|s| s.contains("admin")) && entry.after.is_some_and(|s| s.contains("viewer")));
}

#[tokio::test]
async fn a_reset_password_ends_logins_clears_the_lock_and_asks_for_a_change() {
    let (t, root) = world().await;
    let ada = t.persona("ada", Role::User).await;
    for _ in 0..10 {
        login(&t, "ada", "wrong").await.refused(401, "AUTH_INVALID_CREDENTIALS");
    }
    let body = json!({"new_password": "a new password"});
    let user = t.post(&root, &path(&ada.id, "/reset-password"), body).await.expect(200);
    assert_eq!(user["locked_until"], Value::Null);
    t.get(&ada, &path(&ada.id, "")).await.refused(401, "AUTH_TOKEN_REVOKED");
    t.clock.advance_millis(300_000);
    let session = login(&t, "ada", "a new password").await.expect(200);
    assert_eq!(session["user"]["must_change_password"], true);
    let entry = t.audit_log().await.pop().expect("an entry");
    assert_eq!(entry.operation, "USER_PASSWORD_RESET");
    assert!(!entry.after.expect("a state").contains("a new password"));
}

#[tokio::test]
async fn the_password_has_a_second_address() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    let body = json!({"new_password": "a new password", "force_change": false});
    t.put(&root, &path(&ada, "/password"), body).await.expect(200);
    assert_eq!(login(&t, "ada", "a new password").await.expect(200)["user"]["must_change_password"], false);
}

// Deleting

#[tokio::test]
async fn a_deleted_users_agents_go_to_the_admin_who_deletes() {
    let (t, root) = world().await;
    let ada = t.persona("ada", Role::User).await;
    let (one, two) = (agent(&t, "one", &ada.id).await, agent(&t, "two", &ada.id).await);
    let deleted = t.delete(&root, &path(&ada.id, "")).await.expect(200);
    let moved = |id, name| json!({"agent_id": id, "name": name, "new_owner_id": root.id, "new_project_id": null});
    assert_eq!(deleted["agents_affected"], json!([moved(one, "one"), moved(two, "two")]));
    let counts = ["agents_count", "budget_requests_cancelled", "api_tokens_revoked"].map(|key| deleted[key].clone());
    assert_eq!(counts, [json!(2), json!(0), json!(0)]);
    assert_eq!((&deleted["success"], &deleted["username"]), (&json!(true), &json!("ada")));
    assert_eq!((&deleted["is_active"], &deleted["deleted_at"]), (&json!(false), &json!(START.millis())));
    let owner = t.api.store.agent_row(one).await.expect("read").map(|agent| agent.owner);
    assert_eq!(owner, Some(root.id.clone()));
    t.get(&ada, &path(&ada.id, "")).await.refused(401, "AUTH_ACCOUNT_DISABLED");
    let body = login(&t, "ada", "ada-password").await.refused(403, "AUTH_ACCOUNT_DISABLED");
    assert_eq!(body["details"]["user_id"], json!(ada.id));

    let again = t.delete(&root, &path(&ada.id, "")).await.expect(200);
    assert_eq!((&again["agents_count"], &again["agents_affected"]), (&json!(0), &json!([])));
    assert_eq!(t.audited().await, ["USER_DELETED"]);
}

#[tokio::test]
async fn agents_may_go_to_another_active_user_and_to_nobody_else() {
    let (t, root) = world().await;
    let [ada, bob, eve] =
        [t.user("ada", Role::User).await, t.user("bob", Role::User).await, t.user("eve", Role::User).await];
    let id = agent(&t, "one", &ada).await;
    t.put(&root, &path(&eve, "/suspend"), json!({})).await.expect(200);
    for heir in ["user_nobody", eve.as_str(), ada.as_str()] {
        let body = t.delete(&root, &path(&ada, &format!("?reassign_to={heir}"))).await.refused(400, "VALIDATION_ERROR");
        assert!(body["fields"]["reassign_to"].is_string());
    }
    t.delete(&root, &path(&ada, &format!("?reassign_to={bob}"))).await.expect(200);
    assert_eq!(t.api.store.agent_row(id).await.expect("read").map(|agent| agent.owner), Some(bob));
}

#[tokio::test]
async fn a_deleted_user_is_not_changed_any_more() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    t.delete(&root, &path(&ada, "")).await.expect(200);
    for (method, tail, body) in [
        (Method::PUT, "", json!({"username": "x"})),
        (Method::PUT, "/suspend", json!({})),
        (Method::PUT, "/activate", json!({})),
        (Method::PUT, "/role", json!({"role": "user"})),
        (Method::POST, "/reset-password", json!({"new_password": "12345678"})),
    ] {
        t.call(method, &root, &path(&ada, tail), Some(body)).await.refused(409, "USER_DELETED");
    }
    t.post(&root, USERS, new_user("ada")).await.refused(409, "USER_EXISTS");
}

// Oneself and the last admin

#[tokio::test]
async fn nobody_takes_their_own_rights_away() {
    let (t, root) = world().await;
    t.user("other", Role::Admin).await;
    let body = json!({"role": "viewer"});
    t.put(&root, &path(&root.id, "/role"), body).await.refused(409, "SELF_MODIFICATION_FORBIDDEN");
    t.put(&root, &path(&root.id, "/suspend"), json!({})).await.refused(409, "SELF_MODIFICATION_FORBIDDEN");
    t.delete(&root, &path(&root.id, "")).await.refused(409, "SELF_MODIFICATION_FORBIDDEN");
}

#[tokio::test]
async fn of_admins_who_remove_each_other_at_once_the_last_one_stays() {
    for (method, tail, body) in [
        (Method::PUT, "/role", json!({"role": "user"})),
        (Method::PUT, "/suspend", json!({})),
        (Method::DELETE, "", json!({})),
    ] {
        let (t, root) = world().await;
        let other = t.persona("other", Role::Admin).await;
        let (one, two) = (path(&other.id, tail), path(&root.id, tail));
        // Both are past the check of their role before either of them can write
        let writer = t.api.store.begin(START).await.expect("the only writer");
        let (first, second, ()) = tokio::join!(
            t.call(method.clone(), &root, &one, Some(body.clone())),
            t.call(method.clone(), &other, &two, Some(body.clone())),
            async {
                tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
                drop(writer);
            },
        );
        let (done, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        done.expect(200);
        refused.refused(409, "LAST_ADMIN");
        assert_eq!(t.audited().await.len(), 1);
    }
}

#[tokio::test]
async fn an_admin_who_was_removed_a_moment_ago_removes_nobody_any_more() {
    let (t, root) = world().await;
    let (other, third) = (t.persona("other", Role::Admin).await, t.persona("third", Role::Admin).await);
    let (one, two) = (path(&other.id, ""), path(&third.id, "/role"));
    let writer = t.api.store.begin(START).await.expect("the only writer");
    let (first, second, ()) = tokio::join!(
        t.delete(&root, &one),
        async {
            // Behind the other one in the queue for the writer
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            t.put(&other, &two, json!({"role": "viewer"})).await
        },
        async {
            tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
            drop(writer);
        },
    );
    first.expect(200);
    second.refused(403, "INSUFFICIENT_PERMISSIONS");
    assert_eq!(t.get(&root, "/api/v1/users?role=admin").await.expect(200)["total"], 2);
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_is_not_audited() {
    let (t, root) = world().await;
    let ada = t.user("ada", Role::User).await;
    t.put(&root, &path(&root.id, "/suspend"), json!({"freeze_agents": true}))
        .await
        .refused(409, "SELF_MODIFICATION_FORBIDDEN");
    t.put(&root, &path(&ada, ""), json!({"username": "root"})).await.refused(409, "USER_EXISTS");
    assert_eq!(t.api.store.active_freeze(&Scope::Owner(root.id.clone())).await.expect("read"), None);
    assert!(t.audited().await.is_empty());
}
