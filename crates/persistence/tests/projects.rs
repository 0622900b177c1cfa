//! Projects and the keys they lend.

use auth::Role;
use kernel::ProviderKeyId;
use persistence::{NewAgent, NewProject, Page, ProjectChange, Visibility};

use crate::residents::{agent_as, changes_directory, key, new_agent, pid, project, uid, user};
use crate::support::{START, TestStore};

const ALL: Page = Page::first(100);
const MASTER: &str = "proj_master_001";

async fn listed(t: &TestStore, who: &Visibility, search: Option<&str>, page: Page) -> (Vec<String>, u64) {
    let listed = t.store.projects(who, search, page).await.expect("projects are listed");
    (listed.rows.into_iter().map(|project| project.id.to_string()).collect(), listed.total)
}

async fn agent_in(t: &TestStore, owner: &str, project: &str) -> kernel::AgentId {
    let new = NewAgent { project: Some(pid(project)), ..new_agent("a", &uid(owner)) };
    agent_as(t, &new, 1_000).await
}

on_both_backends! {
    async fn the_master_project_is_there_from_the_start_and_counts_everything(t: TestStore) {
        let master = t.store.project(&pid(MASTER)).await.expect("read").expect("found");
        assert_eq!((master.name.as_str(), master.user_count, master.agent_count), ("Master Project", 0, 0));
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        project(&t, "proj_a", "A").await;
        agent_in(&t, "user_anna", "proj_a").await;
        let gone = agent_as(&t, &new_agent("b", &anna), 1_000).await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        work.delete_user(&bert).await.expect("written");
        t.commit(work).await;
        let master = t.store.project(&pid(MASTER)).await.expect("read").expect("found");
        assert_eq!((master.user_count, master.agent_count), (1, 1));
    }

    async fn a_project_counts_its_own_agents_and_their_owners(t: TestStore) {
        for name in ["anna", "bert"] {
            user(&t, name, Role::User).await;
        }
        project(&t, "proj_a", "A").await;
        for owner in ["user_anna", "user_anna", "user_bert"] {
            agent_in(&t, owner, "proj_a").await;
        }
        let found = t.store.project(&pid("proj_a")).await.expect("read").expect("found");
        assert_eq!((found.user_count, found.agent_count), (2, 3));
    }

    async fn a_project_is_made_once_and_changed(t: TestStore) {
        let new = NewProject { id: pid("proj_a"), name: "Ärger".to_owned(), description: Some("old".to_owned()) };
        let mut work = t.begin().await;
        assert!(work.create_project(&new).await.expect("written"));
        assert!(!work.create_project(&new).await.expect("answered"));
        t.commit(work).await;
        t.clock.advance_millis(9);
        let mut work = t.begin().await;
        let change = ProjectChange { name: Some("Öl".to_owned()), description: None };
        assert!(work.update_project(&new.id, &change).await.expect("written"));
        assert!(!work.update_project(&pid("proj_none"), &change).await.expect("answered"));
        t.commit(work).await;
        let found = t.store.project(&new.id).await.expect("read").expect("found");
        assert_eq!((found.name.as_str(), found.description.as_deref()), ("Öl", Some("old")));
        assert_eq!((found.created_at, found.updated_at), (START, t.now()));
        assert_eq!(listed(&t, &Visibility::All, Some("öL"), ALL).await.0, ["proj_a"]);
        assert_eq!(listed(&t, &Visibility::All, Some("ärger"), ALL).await.1, 0);
        let mut work = t.begin().await;
        let clear = ProjectChange { name: None, description: Some(None) };
        assert!(work.update_project(&new.id, &clear).await.expect("written"));
        t.commit(work).await;
        assert_eq!(t.store.project(&new.id).await.expect("read").expect("found").description, None);
    }

    async fn projects_are_listed_master_first_and_to_users_only_those_of_their_agents(t: TestStore) {
        user(&t, "anna", Role::User).await;
        for id in ["proj_a", "proj_b", "proj_c"] {
            t.clock.advance_millis(10);
            project(&t, id, id).await;
        }
        agent_in(&t, "user_anna", "proj_b").await;
        let gone = agent_in(&t, "user_anna", "proj_c").await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let all = &Visibility::All;
        assert_eq!(listed(&t, all, None, ALL).await, (vec![MASTER.into(), "proj_c".into(), "proj_b".into(), "proj_a".into()], 4));
        assert_eq!(listed(&t, all, None, Page { offset: 2, limit: 1 }).await, (vec!["proj_b".into()], 4));
        let anna = Visibility::Of(uid("user_anna"));
        assert_eq!(listed(&t, &anna, None, ALL).await, (vec![MASTER.into(), "proj_b".into()], 2));
        let visible = async |id: &str, who: &Visibility| t.store.project_is_visible(&pid(id), who).await.expect("read");
        assert!(visible("proj_b", &anna).await && visible(MASTER, &anna).await && visible("proj_a", all).await);
        assert!(!visible("proj_a", &anna).await && !visible("proj_c", &anna).await && !visible("proj_x", all).await);
    }

    async fn a_project_with_agents_is_removed_only_after_they_were_moved_out(t: TestStore) {
        user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let (gone, agent) = (agent_in(&t, "user_anna", "proj_a").await, agent_in(&t, "user_anna", "proj_a").await);
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let mut work = t.begin().await;
        assert_eq!(work.delete_project(&pid("proj_a")).await.expect("answered"), Some(1));
        assert!(work.hold_project(&pid("proj_a")).await.expect("read"));
        assert_eq!(work.move_agents_out_of(&pid("proj_a")).await.expect("moved"), 1);
        assert_eq!(work.delete_project(&pid("proj_a")).await.expect("removed"), Some(0));
        assert!(!work.hold_project(&pid("proj_a")).await.expect("read"));
        assert_eq!(work.delete_project(&pid("proj_a")).await.expect("answered"), None);
        t.commit(work).await;
        assert!(t.store.project(&pid("proj_a")).await.expect("read").is_none());
        let row = t.store.agent_row(agent).await.expect("read").expect("found");
        assert_eq!(row.project, None);
        let book = t.store.book_of(&[agent, gone], t.now()).await.expect("read");
        assert!(book.agents.values().all(|book| book.project.is_none()));
    }

    async fn a_project_lends_one_key_of_each_kind(t: TestStore) {
        project(&t, "proj_a", "A").await;
        let first = key(&t, "openai", "r1").await;
        let other = key(&t, "anthropic", "r2").await;
        let second = key(&t, "openai", "r3").await;
        let keys = async || {
            let keys = t.store.project_keys(&pid("proj_a")).await.expect("read");
            keys.into_iter().map(|key| (key.key, key.provider)).collect::<Vec<_>>()
        };
        for (at, key) in [first, other, second].into_iter().enumerate() {
            t.clock.advance_millis(10);
            let changed = changes_directory(&t, async |work| {
                assert!(work.assign_project_key(&pid("proj_a"), key).await.expect("assigned"));
            });
            assert!(changed.await, "{at}");
        }
        assert_eq!(keys().await, [(other, "anthropic".to_owned()), (second, "openai".to_owned())]);
        let changed = changes_directory(&t, async |work| {
            assert!(!work.assign_project_key(&pid("proj_a"), ProviderKeyId(999)).await.expect("answered"));
            assert_eq!(work.unassign_project_keys(&pid("proj_a"), Some(first)).await.expect("answered"), 0);
            assert_eq!(work.unassign_project_keys(&pid("proj_a"), Some(other)).await.expect("taken"), 1);
        });
        assert!(changed.await);
        assert_eq!(keys().await, [(second, "openai".to_owned())]);
        let mut work = t.begin().await;
        assert_eq!(work.unassign_project_keys(&pid("proj_a"), None).await.expect("taken"), 1);
        assert_eq!(work.unassign_project_keys(&pid("proj_a"), None).await.expect("answered"), 0);
    }

    async fn a_project_that_is_held_is_not_removed_meanwhile(t: TestStore) {
        user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let make = async || {
            let mut work = t.begin().await;
            let there = work.hold_project(&pid("proj_a")).await.expect("read");
            if there {
                let new = NewAgent { project: Some(pid("proj_a")), ..new_agent("a", &uid("user_anna")) };
                work.create_agent(&new).await.expect("an agent is stored");
            }
            t.commit(work).await;
            there
        };
        let remove = async || {
            let mut work = t.begin().await;
            let in_it = work.delete_project(&pid("proj_a")).await.expect("answered");
            t.commit(work).await;
            in_it == Some(0)
        };
        let (made, removed) = tokio::join!(make(), remove());
        assert!(made ^ removed);
    }
}
