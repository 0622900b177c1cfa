//! Pictures of agents, and the cache of them.

use auth::{Role, TokenHash};
use kernel::{AgentId, FreezeId, Money};
use ledger::Scope;
use persistence::{AgentPicture, CoveringFreeze, Directory, Item, KeyWish, NewAgent, NoKey, Refused, Store};

use crate::residents::{
    agent, agent_as, directory_version, disable, key, new_agent, pid, project, sealed, token, uid, user,
};
use crate::support::START;
use crate::world::{grant, lease, run_one};

async fn picture(store: &Store, id: AgentId) -> AgentPicture {
    store.agent_picture(id).await.expect("a picture is taken").expect("of an agent")
}

on_both_backends! {
    async fn a_picture_shows_everything_that_decides(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let mut keys = Vec::new();
        for reference in ["lent", "assigned", "primary", "foreign"] {
            keys.push(key(&t, "openai", reference).await);
        }
        let new = NewAgent { primary_key: Some(keys[2]), project: Some(pid("proj_a")), ..new_agent("Ä", &anna) };
        let id = agent_as(&t, &new, 1_000).await;
        let mut token = token("token", &t);
        token.expires_at = Some(START.plus_millis(1_000));
        let mut work = t.begin().await;
        work.add_keys_to_agent(id, &[keys[1], keys[2]]).await.expect("assigned");
        work.assign_project_key(&pid("proj_a"), keys[0]).await.expect("assigned");
        work.set_ic_token(id, &token).await.expect("set");
        t.commit(work).await;
        disable(&t, keys[1]).await;
        let mut work = t.begin().await;
        work.set_freeze(&FreezeId::new("frz_1"), &Scope::Project(pid("proj_a")), "why", &anna).await.expect("frozen");
        t.commit(work).await;
        let shown = picture(&t.store, id).await;
        assert_eq!((shown.id, shown.name.as_str(), &shown.owner, &shown.project), (id, "Ä", &anna, &new.project));
        assert_eq!((shown.is_deleted, shown.epoch), (false, 2));
        assert_eq!(shown.ic_token_hash.as_deref(), Some(TokenHash::of("token").as_str()));
        assert_eq!(shown.ic_token_expires_at, token.expires_at);
        let scope = Scope::Project(pid("proj_a"));
        assert_eq!(shown.freeze, Some(CoveringFreeze { scope, reason: "why".to_owned(), frozen_at: START }));
        let found: Vec<_> = shown.keys.iter().map(|k| (k.key.id, k.key.is_enabled, k.is_primary)).collect();
        assert_eq!(found, [(keys[0], true, false), (keys[1], false, false), (keys[2], true, true)]);
        assert_eq!(shown.keys[2].key.secret, sealed("primary"));
        assert_eq!((shown.keys[2].key.secret_ref.as_str(), shown.keys[2].key.provider.as_str()), ("primary", "openai"));
        assert_eq!(shown.choose_key(KeyWish::default()).map(|k| k.key.id), Ok(keys[2]));
        assert_eq!(t.store.agent_picture(AgentId(999)).await.expect("asked"), None);
    }

    async fn an_agent_without_anything_has_a_picture_too(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let shown = picture(&t.store, id).await;
        assert_eq!((&shown.ic_token_hash, &shown.freeze, shown.keys.len()), (&None, &None, 0));
        assert_eq!(shown.choose_key(KeyWish::default()), Err(NoKey::Unassigned));
        let mut work = t.begin().await;
        work.delete_agent(id).await.expect("written");
        t.commit(work).await;
        assert!(picture(&t.store, id).await.is_deleted);
    }

    async fn the_oldest_of_several_freezes_is_shown_and_none_that_was_lifted(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        for scope in [Scope::Owner(anna.clone()), Scope::Agent(id), Scope::Organization] {
            t.clock.advance_millis(10);
            let mut work = t.begin().await;
            let freeze = FreezeId::random(&t.entropy);
            work.set_freeze(&freeze, &scope, &scope.key(), &anna).await.expect("frozen");
            t.commit(work).await;
        }
        for expected in ["owner:user_anna", "agent:1", "organization"] {
            let freeze = picture(&t.store, id).await.freeze.expect("frozen");
            assert_eq!((freeze.scope.key().as_str(), freeze.reason.as_str()), (expected, expected));
            let mut work = t.begin().await;
            work.lift_freeze(&freeze.scope, None, &anna).await.expect("answered").expect("lifted");
            t.commit(work).await;
        }
        assert_eq!(picture(&t.store, id).await.freeze, None);
    }

    async fn the_version_rises_with_every_change_and_is_the_one_the_ledger_checks(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let item = |version, n: i64| {
            let amount = Money::from_micros(1).expect("an amount");
            Item { directory_version: Some(version), ..grant(id.0, &lease(n), amount) }
        };
        let before = picture(&t.store, id).await.version;
        assert!(run_one(&t, item(before, 1)).await.is_ok());
        assert_eq!(picture(&t.store, id).await.version, before, "money is no part of the directory");
        let mut work = t.begin().await;
        work.set_ic_token(id, &token("x", &t)).await.expect("set");
        t.commit(work).await;
        let after = picture(&t.store, id).await.version;
        assert!(after > before);
        assert_eq!(run_one(&t, item(before, 2)).await, Err(Refused::StaleDirectory));
        assert!(run_one(&t, item(after, 3)).await.is_ok());
    }

    async fn a_work_that_is_given_up_changes_no_version(t: TestStore) {
        let before = directory_version(&t).await;
        let mut work = t.begin().await;
        work.create_agent(&new_agent("a", &uid("user_witness"))).await.expect("stored");
        drop(work);
        assert_eq!(directory_version(&t).await, before);
    }

    async fn the_cache_keeps_a_picture_until_it_is_told_otherwise(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let directory = Directory::new(t.store.clone(), 100);
        assert!(directory.get(AgentId(999)).await.expect("asked").is_none());
        assert!(directory.is_empty(), "nothing is kept of agents that never were");
        let first = directory.get(id).await.expect("asked").expect("found");
        let mut work = t.begin().await;
        work.set_ic_token(id, &token("x", &t)).await.expect("set");
        t.commit(work).await;
        assert_eq!(directory.get(id).await.expect("asked").as_ref(), Some(&first), "out of date, as it may be");
        let fresh = directory.fresh(id).await.expect("asked").expect("found");
        assert!(fresh.version > first.version && fresh.ic_token_hash.is_some());
        assert_eq!(directory.get(id).await.expect("asked"), Some(fresh));
        for forget in [Directory::clear as fn(&Directory), |directory: &Directory| directory.forget(AgentId(1))] {
            assert_eq!((id, directory.len()), (AgentId(1), 1));
            forget(&directory);
            assert!(directory.is_empty());
            directory.get(id).await.expect("asked");
        }
    }
}
