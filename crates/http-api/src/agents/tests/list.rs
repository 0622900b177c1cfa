//! Listing and showing agents.

use serde_json::{Value, json};

use super::world::{World, fields};

const AGENTS: &str = "/api/v1/agents";

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("an array").iter().map(|agent| agent["name"].as_str().expect("a name")).collect()
}

/// Agents with names and owners, a millisecond apart.
async fn filled() -> World {
    let w = World::new().await;
    w.project("p").await;
    for (name, owner, budget) in [("Zoe", &w.ada, 3), ("alf", &w.bob, 1), ("Ärmel", &w.ada, 2)] {
        let more = json!({"name": name, "owner_id": owner.id, "initial_budget_microdollars": budget});
        let id = w.agent_with(more).await;
        if name == "alf" {
            let more = json!({"tags": ["blue", "50%"], "project_id": "p"});
            w.t.put(&w.root, &format!("{AGENTS}/{id}"), more).await.expect(200);
        }
        w.t.clock.advance_millis(1);
    }
    w
}

#[tokio::test]
async fn an_admin_sees_all_youngest_first_and_a_user_their_own() {
    let w = filled().await;
    let all = w.t.get(&w.root, AGENTS).await;
    assert_eq!(names(&all.expect(200)), ["Ärmel", "alf", "Zoe"]);
    assert_eq!((all.header("x-total-count"), all.header("x-truncated")), (Some("3"), None));
    assert_eq!(names(&w.t.get(&w.ada, AGENTS).await.expect(200)), ["Ärmel", "Zoe"]);
    assert_eq!(w.t.get(&w.vera, AGENTS).await.expect(200), json!([]));
    w.t.get((), AGENTS).await.refused(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn filters_combine() {
    let w = filled().await;
    let listed = async |query: &str| names(&w.t.get(&w.root, &format!("{AGENTS}?{query}")).await.expect(200)).join(" ");
    assert_eq!(listed("name=%C3%84RM").await, "Ärmel", "contains, whatever the case");
    assert_eq!(listed("name=l").await, "Ärmel alf");
    assert_eq!(listed("name=l&tag=blue").await, "alf");
    assert_eq!(listed("tag=50%25").await, "alf", "labels match exactly");
    assert_eq!(listed("tag=50").await, "");
    assert_eq!(listed("project_id=p").await, "alf");
    assert_eq!(listed(&format!("owner_id={}", w.ada.id)).await, "Ärmel Zoe");
    assert_eq!(listed("status=inactive").await, "Ärmel alf Zoe");
    assert_eq!(listed("status=active").await, "");
    assert_eq!(listed("name=&status=").await, "Ärmel alf Zoe", "an empty value is none");
    let others = w.t.get(&w.ada, &format!("{AGENTS}?owner_id={}", w.bob.id)).await.expect(200);
    assert_eq!(others, json!([]), "a filter does not widen what one sees");
}

#[tokio::test]
async fn the_order_may_be_chosen() {
    let w = filled().await;
    for (sort, expected) in [
        ("name", "alf Zoe Ärmel"),
        ("-name", "Ärmel Zoe alf"),
        ("budget", "alf Ärmel Zoe"),
        ("-budget", "Zoe Ärmel alf"),
        ("created_at", "Zoe alf Ärmel"),
        ("-created_at", "Ärmel alf Zoe"),
        ("owner_id", "Ärmel alf Zoe"),
    ] {
        let list = w.t.get(&w.root, &format!("{AGENTS}?sort={sort}")).await.expect(200);
        assert_eq!(names(&list).join(" "), expected, "{sort}");
    }
}

#[tokio::test]
async fn pages_may_be_asked_for() {
    let w = filled().await;
    for size in ["per_page", "page_size", "limit"] {
        let page = w.t.get(&w.root, &format!("{AGENTS}?page=2&{size}=2")).await;
        assert_eq!(names(&page.expect(200)), ["Zoe"]);
        assert_eq!((page.header("x-total-count"), page.header("x-truncated")), (Some("3"), None));
    }
    assert_eq!(w.t.get(&w.root, &format!("{AGENTS}?page=9")).await.expect(200), json!([]));
    let error = w.t.get(&w.root, &format!("{AGENTS}?page=0&per_page=101&status=odd&include_deleted=x")).await;
    let error = error.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["include_deleted", "page", "per_page", "status"]);
}

#[tokio::test]
async fn deleted_agents_are_shown_to_admins_who_ask() {
    let w = filled().await;
    let zoe = w.t.get(&w.root, &format!("{AGENTS}?name=zoe")).await.expect(200)[0]["id"].clone();
    w.t.delete(&w.root, &format!("{AGENTS}/{zoe}")).await.expect(204);
    assert_eq!(names(&w.t.get(&w.root, AGENTS).await.expect(200)), ["Ärmel", "alf"]);
    let all = format!("{AGENTS}?include_deleted=true");
    assert_eq!(names(&w.t.get(&w.root, &all).await.expect(200)), ["Ärmel", "alf", "Zoe"]);
    assert_eq!(names(&w.t.get(&w.ada, &all).await.expect(200)), ["Ärmel"]);
}

#[tokio::test]
async fn one_agent_is_shown_to_its_owner_and_to_admins() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    for uri in [format!("{AGENTS}/{id}"), format!("{AGENTS}/agent_{id}")] {
        for who in [&w.ada, &w.root] {
            assert_eq!(w.t.get(who, &uri).await.expect(200)["id"], id);
        }
        for who in [&w.bob, &w.vera] {
            w.t.get(who, &uri).await.refused(403, "ACCESS_DENIED");
        }
    }
    for who in [&w.bob, &w.root] {
        w.t.get(who, &format!("{AGENTS}/99")).await.refused(404, "AGENT_NOT_FOUND");
        let error = w.t.get(who, &format!("{AGENTS}/x1")).await.refused(400, "INVALID_PARAMETER");
        assert_eq!(fields(&error), ["id"]);
    }
}

#[tokio::test]
async fn nothing_of_a_strangers_agent_can_be_read() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let below = ["", "/budget", "/budget/history", "/status", "/providers", "/ic-token"];
    let mut uris: Vec<String> = below.iter().map(|tail| format!("{AGENTS}/{id}{tail}")).collect();
    uris.extend(["budget", "budget/history", "history"].map(|tail| format!("/api/v1/limits/agents/{id}/{tail}")));
    for uri in uris {
        w.t.get(&w.bob, &uri).await.refused(403, "ACCESS_DENIED");
        w.t.get((), &uri).await.refused(401, "AUTH_MISSING_TOKEN");
        let gone = uri.replace(&format!("/{id}"), "/99");
        w.t.get(&w.bob, &gone).await.refused(404, "AGENT_NOT_FOUND");
        w.t.get(&w.ada, &uri).await.expect(200);
    }
}
