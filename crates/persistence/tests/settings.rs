//! What somebody has set.

use auth::Role;
use persistence::{NewAgent, SettingsOf};
use serde_json::{Value, json};
use settings::{Change, Overrides};

use crate::residents::{agent_as, new_agent, pid, project, uid, user};
use crate::support::{START, TestStore};

async fn put(t: &TestStore, whose: &SettingsOf, body: Value) {
    let change = Change::read(whose.level(), body.as_object().expect("an object")).expect("valid");
    let mut work = t.begin().await;
    work.settings_for_update(whose, &uid("user_root")).await.expect("locked");
    work.change_settings(whose, &change, &uid("user_root")).await.expect("written");
    t.commit(work).await;
}

async fn of(t: &TestStore, whose: &SettingsOf) -> Overrides {
    t.store.settings_of(whose).await.expect("read")
}

on_both_backends! {
    async fn what_was_set_is_read_and_each_level_has_its_own(t: TestStore) {
        let (system, a, b) = (SettingsOf::System, SettingsOf::Project(pid("a")), SettingsOf::Project(pid("b")));
        assert_eq!(of(&t, &system).await, Overrides::default());
        assert_eq!(t.store.settings_stamp(&system).await.expect("read"), None);
        put(&t, &system, json!({"operational": {"default_agent_budget": 12.5, "budget_alert_levels": [10, 20]}})).await;
        put(&t, &a, json!({"operational": {"default_agent_budget": 7}, "notifications": {"webhook_url": "https://ü.example/\u{1F600}"}})).await;
        assert_eq!(of(&t, &system).await.get("operational.default_agent_budget"), Some(&json!(12.5)));
        assert_eq!(of(&t, &system).await.get("operational.budget_alert_levels"), Some(&json!([10, 20])));
        assert_eq!(of(&t, &a).await.get("operational.default_agent_budget"), Some(&json!(7)));
        assert_eq!(of(&t, &a).await.get("notifications.webhook_url"), Some(&json!("https://ü.example/\u{1F600}")));
        assert_eq!(of(&t, &b).await, Overrides::default());
        let stamp = t.store.settings_stamp(&system).await.expect("read").expect("changed");
        assert_eq!((stamp.updated_at, stamp.updated_by), (START, uid("user_root")));
    }

    async fn a_change_sets_replaces_and_takes_away(t: TestStore) {
        let ada = SettingsOf::User(uid("user_ada"));
        put(&t, &ada, json!({"display": {"theme": "dark", "timezone": "Europe/Zurich"}})).await;
        put(&t, &ada, json!({"display": {"theme": "light", "timezone": null, "currency_format": "EUR"}})).await;
        let set = of(&t, &ada).await;
        let values = ["theme", "timezone", "currency_format"].map(|leaf| set.get(&format!("display.{leaf}")).cloned());
        assert_eq!(values, [Some(json!("light")), None, Some(json!("EUR"))]);
        put(&t, &ada, json!({"display": null})).await;
        assert_eq!(of(&t, &ada).await, Overrides::default());
    }

    async fn two_who_change_at_once_see_each_other(t: TestStore) {
        let set = async |n: i64| {
            let mut work = t.begin().await;
            let (before, _) = work.settings_for_update(&SettingsOf::System, &uid("user_root")).await.expect("locked");
            let body = json!({"operational": {"max_agents_per_project": n}});
            let change = Change::read(settings::Level::System, body.as_object().expect("an object")).expect("valid");
            work.change_settings(&SettingsOf::System, &change, &uid("user_root")).await.expect("written");
            t.commit(work).await;
            before.get("operational.max_agents_per_project").cloned()
        };
        let (first, second) = tokio::join!(set(5), set(6));
        let mut seen = [first, second];
        seen.sort_by_key(|value| value.as_ref().and_then(Value::as_i64));
        assert!(seen[0].is_none() && seen[1].is_some(), "the later one sees what the earlier one set: {seen:?}");
    }

    async fn the_projects_around_a_user_are_those_of_own_live_agents_and_the_one_for_everybody(t: TestStore) {
        for name in ["ada", "bob"] {
            user(&t, name, Role::User).await;
        }
        for (id, minutes) in [("a", 60), ("b", 30), ("c", 10)] {
            project(&t, id, id).await;
            put(&t, &SettingsOf::Project(pid(id)), json!({"security": {"session_timeout_minutes": minutes}})).await;
        }
        let master = SettingsOf::Project(pid("proj_master_001"));
        put(&t, &master, json!({"security": {"session_timeout_minutes": 90}})).await;
        let agent = async |owner: &str, project: &str| {
            agent_as(&t, &NewAgent { project: Some(pid(project)), ..new_agent("x", &uid(owner)) }, 1).await
        };
        agent("user_ada", "a").await;
        agent("user_bob", "b").await;
        let gone = agent("user_ada", "c").await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let mut work = t.begin().await;
        let name = "security.session_timeout_minutes";
        let mut minutes = work.project_settings_around(name, &uid("user_ada")).await.expect("read");
        minutes.sort_unstable();
        assert_eq!(minutes, [60, 90]);
        assert_eq!(work.project_settings_around(name, &uid("user_nobody")).await.expect("read"), [90]);
    }

    async fn a_project_takes_its_settings_with_it(t: TestStore) {
        project(&t, "a", "A").await;
        let whose = SettingsOf::Project(pid("a"));
        put(&t, &whose, json!({"providers": {"allowed_providers": ["openai"]}})).await;
        let mut work = t.begin().await;
        assert_eq!(work.delete_project(&pid("a")).await.expect("deleted"), Some(0));
        t.commit(work).await;
        assert_eq!(of(&t, &whose).await, Overrides::default());
        assert_eq!(t.store.settings_stamp(&whose).await.expect("read"), None);
    }
}
