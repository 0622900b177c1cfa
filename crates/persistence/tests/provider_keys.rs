//! Provider keys.

use auth::Role;
use kernel::ProviderKeyId;
use persistence::{
    NewAgent, NewProviderKey, Page, ProviderKeyChange, ProviderKeyFilter, SealedProviderKey, StoreError, Visibility,
};

use crate::residents::{
    agent, agent_as, changes_directory, disable, key, new_agent, new_key, pid, project, sealed, uid, user,
};
use crate::support::{START, TestStore};

const ALL: Page = Page::first(100);

async fn listed(t: &TestStore, filter: &ProviderKeyFilter) -> Vec<ProviderKeyId> {
    let listed = t.store.provider_keys(filter, ALL).await.expect("keys are listed");
    assert_eq!(listed.total, listed.rows.len() as u64);
    listed.rows.into_iter().map(|key| key.id).collect()
}

async fn sealed_key(t: &TestStore, id: ProviderKeyId) -> SealedProviderKey {
    t.store.sealed_provider_key(id).await.expect("read").expect("found")
}

on_both_backends! {
    async fn a_key_is_kept_as_it_was_given(t: TestStore) {
        let new = NewProviderKey { base_url: Some("https://x.test".to_owned()), ..new_key("openai", "ref_1") };
        let mut work = t.begin().await;
        let id = work.create_provider_key(&new).await.expect("stored");
        t.commit(work).await;
        let shown = t.store.provider_key(id).await.expect("read").expect("found");
        assert_eq!((shown.provider.as_str(), shown.base_url.as_deref()), ("openai", Some("https://x.test")));
        assert_eq!((shown.description.as_deref(), shown.models), (Some("a key"), new.models));
        assert_eq!((shown.is_enabled, shown.masked_key.as_str()), (true, "sk-a...xyz"));
        assert_eq!((shown.created_at, shown.updated_at, shown.last_used_at, shown.rotated_at), (START, START, None, None));
        assert_eq!((shown.assigned_projects, shown.agent_count), (vec![], 0));
        let with_secret = sealed_key(&t, id).await;
        assert_eq!((with_secret.secret_ref.as_str(), &with_secret.secret), ("ref_1", &sealed("ref_1")));
        assert!(t.store.provider_key(ProviderKeyId(999)).await.expect("read").is_none());
        assert!(t.store.sealed_provider_key(ProviderKeyId(999)).await.expect("read").is_none());
    }

    async fn what_a_secret_is_bound_to_is_never_used_twice(t: TestStore) {
        key(&t, "openai", "ref_1").await;
        let mut work = t.begin().await;
        let again = work.create_provider_key(&new_key("openai", "ref_1")).await;
        assert!(matches!(again, Err(StoreError::Duplicate(_))));
    }

    async fn keys_are_listed_youngest_first_by_filter(t: TestStore) {
        let first = key(&t, "openai", "r1").await;
        let second = key(&t, "anthropic", "r2").await;
        t.clock.advance_millis(10);
        let third = key(&t, "openai", "r3").await;
        disable(&t, first).await;
        assert_eq!(listed(&t, &ProviderKeyFilter::default()).await, [third, second, first]);
        let openai = ProviderKeyFilter { provider: Some("openai".to_owned()), ..ProviderKeyFilter::default() };
        assert_eq!(listed(&t, &openai).await, [third, first]);
        let enabled = ProviderKeyFilter { is_enabled: Some(true), ..openai };
        assert_eq!(listed(&t, &enabled).await, [third]);
        let page = Page { offset: 1, limit: 1 };
        let page = t.store.provider_keys(&ProviderKeyFilter::default(), page).await.expect("listed");
        assert_eq!((page.rows[0].id, page.total), (second, 3));
    }

    async fn a_user_sees_keys_that_own_agents_or_their_projects_have(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        project(&t, "proj_a", "A").await;
        let mut keys = Vec::new();
        for reference in ["primary", "assigned", "project", "foreign", "free", "of a deleted agent"] {
            keys.push(key(&t, "openai", reference).await);
        }
        let new = NewAgent { primary_key: Some(keys[0]), project: Some(pid("proj_a")), ..new_agent("a", &anna) };
        let own = agent_as(&t, &new, 1_000).await;
        let foreign = agent(&t, "b", &bert).await;
        let gone = agent_as(&t, &NewAgent { primary_key: Some(keys[5]), ..new_agent("c", &anna) }, 1_000).await;
        let mut work = t.begin().await;
        assert!(work.add_keys_to_agent(own, &[keys[1]]).await.expect("assigned"));
        assert!(work.assign_project_key(&pid("proj_a"), keys[2]).await.expect("assigned"));
        assert!(work.add_keys_to_agent(foreign, &[keys[3], keys[0]]).await.expect("assigned"));
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let visible = ProviderKeyFilter { visible_to: Visibility::Of(anna.clone()), ..ProviderKeyFilter::default() };
        assert_eq!(listed(&t, &visible).await, [keys[2], keys[1], keys[0]]);
        let one = ProviderKeyFilter { id: Some(keys[3]), ..visible };
        assert!(listed(&t, &one).await.is_empty());
        let shown = t.store.provider_key(keys[0]).await.expect("read").expect("found");
        assert_eq!((shown.agent_count, shown.assigned_projects), (2, vec![]));
        let shown = t.store.provider_key(keys[2]).await.expect("read").expect("found");
        assert_eq!((shown.agent_count, shown.assigned_projects), (0, vec![pid("proj_a")]));
        assert_eq!(t.store.provider_key(keys[5]).await.expect("read").expect("found").agent_count, 0);
        let holders = t.store.holders_of_key(keys[0], &Visibility::All).await.expect("read");
        let holders: Vec<_> = holders.iter().map(|h| (h.id, h.owner.as_str(), h.is_primary)).collect();
        assert_eq!(holders, [(own, "user_anna", true), (foreign, "user_bert", false)]);
        let holders = t.store.holders_of_key(keys[0], &Visibility::Of(anna)).await.expect("read");
        assert_eq!(holders.iter().map(|h| h.id).collect::<Vec<_>>(), [own]);
    }

    async fn an_agent_with_a_key_as_primary_and_assigned_counts_once(t: TestStore) {
        user(&t, "anna", Role::User).await;
        let key = key(&t, "openai", "r1").await;
        let agent = agent_as(&t, &NewAgent { primary_key: Some(key), ..new_agent("a", &uid("user_anna")) }, 1_000).await;
        let mut work = t.begin().await;
        work.add_keys_to_agent(agent, &[key]).await.expect("assigned");
        t.commit(work).await;
        assert_eq!(t.store.provider_key(key).await.expect("read").expect("found").agent_count, 1);
        assert_eq!(t.store.holders_of_key(key, &Visibility::All).await.expect("read").len(), 1);
    }

    async fn a_key_changes_field_by_field(t: TestStore) {
        let id = key(&t, "openai", "r1").await;
        t.clock.advance_millis(10);
        let change = ProviderKeyChange {
            base_url: Some(Some("https://y.test".to_owned())),
            models: Some(vec!["m".to_owned()]),
            ..ProviderKeyChange::default()
        };
        let changed = changes_directory(&t, async |work| {
            assert!(work.update_provider_key(id, &change).await.expect("written"));
        });
        assert!(changed.await);
        let shown = t.store.provider_key(id).await.expect("read").expect("found");
        assert_eq!((shown.base_url.as_deref(), shown.description.as_deref()), (Some("https://y.test"), Some("a key")));
        assert_eq!((shown.models, shown.is_enabled, shown.updated_at), (vec!["m".to_owned()], true, t.now()));
        assert_eq!(shown.rotated_at, None);
        let mut work = t.begin().await;
        let clear = ProviderKeyChange {
            base_url: Some(None),
            description: Some(None),
            is_enabled: Some(false),
            ..ProviderKeyChange::default()
        };
        assert!(work.update_provider_key(id, &clear).await.expect("written"));
        assert!(!work.update_provider_key(ProviderKeyId(999), &clear).await.expect("answered"));
        t.commit(work).await;
        let shown = t.store.provider_key(id).await.expect("read").expect("found");
        assert_eq!((shown.base_url, shown.description, shown.is_enabled), (None, None, false));
    }

    async fn a_rotated_key_has_another_secret_bound_to_the_same_row(t: TestStore) {
        let id = key(&t, "openai", "r1").await;
        t.clock.advance_millis(10);
        let mut work = t.begin().await;
        let before = work.sealed_provider_key_for_update(id).await.expect("read").expect("found");
        let secret = Some((sealed("new"), "sk-b...abc".to_owned()));
        let change = ProviderKeyChange { secret, ..ProviderKeyChange::default() };
        assert!(work.update_provider_key(id, &change).await.expect("written"));
        t.commit(work).await;
        let after = sealed_key(&t, id).await;
        assert_eq!(after, SealedProviderKey { secret: sealed("new"), ..before });
        let shown = t.store.provider_key(id).await.expect("read").expect("found");
        assert_eq!((shown.masked_key.as_str(), shown.rotated_at), ("sk-b...abc", Some(t.now())));
    }

    async fn a_removed_key_is_gone_from_agents_and_projects_and_its_id_is_not_used_again(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let (first, second) = (key(&t, "openai", "r1").await, key(&t, "openai", "r2").await);
        let new = NewAgent { primary_key: Some(second), ..new_agent("a", &anna) };
        let (with_other, without) = (agent_as(&t, &new, 1_000).await, agent_as(&t, &new, 1_000).await);
        let mut work = t.begin().await;
        work.add_keys_to_agent(with_other, &[second, first]).await.expect("assigned");
        work.assign_project_key(&pid("proj_a"), second).await.expect("assigned");
        t.commit(work).await;
        let changed = changes_directory(&t, async |work| {
            assert!(work.delete_provider_key(second).await.expect("removed"));
            assert!(!work.delete_provider_key(second).await.expect("answered"));
        });
        assert!(changed.await);
        let primary = async |id| t.store.agent_row(id).await.expect("read").expect("found").primary_key;
        assert_eq!((primary(with_other).await, primary(without).await), (Some(first), None));
        assert!(t.store.project_keys(&pid("proj_a")).await.expect("read").is_empty());
        assert!(key(&t, "openai", "r3").await > second);
    }

    async fn the_last_use_moves_forward_and_changes_nothing_else(t: TestStore) {
        let (first, second) = (key(&t, "openai", "r1").await, key(&t, "openai", "r2").await);
        let touch = |at| async move { (first, at) };
        let later = t.now().plus_millis(90_000);
        for at in [later, t.now()] {
            let used = touch(at).await;
            let changed = changes_directory(&t, async |work| {
                work.touch_provider_keys(&[used]).await.expect("written");
            });
            assert!(!changed.await, "the use of a key ends no picture");
        }
        let shown = t.store.provider_key(first).await.expect("read").expect("found");
        assert_eq!((shown.last_used_at, shown.updated_at), (Some(later), START));
        assert_eq!(t.store.provider_key(second).await.expect("read").expect("found").last_used_at, None);
    }

    async fn secrets_are_rewrapped_in_steps_and_never_over_a_change(t: TestStore) {
        let mut keys = Vec::new();
        for reference in ["r1", "r2", "r3"] {
            keys.push(key(&t, "openai", reference).await);
        }
        let left = async |after, limit| {
            let left = t.store.provider_keys_to_rewrap("kek_b", after, limit).await.expect("read");
            left.into_iter().map(|key| key.id).collect::<Vec<_>>()
        };
        assert_eq!(left(None, 2).await, keys[..2]);
        assert_eq!(left(Some(keys[1]), 2).await, keys[2..]);
        let before = sealed_key(&t, keys[0]).await;
        let mut after = before.secret.clone();
        (after.kek_id, after.wrapped_key) = ("kek_b".to_owned(), vec![8; 60]);
        let changed = changes_directory(&t, async |work| {
            assert!(work.rewrap_provider_key(&before, &after).await.expect("written"));
            assert!(!work.rewrap_provider_key(&before, &after).await.expect("answered"), "it has changed since");
        });
        assert!(changed.await);
        assert_eq!(sealed_key(&t, keys[0]).await, SealedProviderKey { secret: after, ..before });
        assert_eq!(left(None, 10).await, keys[1..]);
    }

    async fn held_keys_are_those_that_exist(t: TestStore) {
        let (first, second) = (key(&t, "openai", "r1").await, key(&t, "anthropic", "r2").await);
        disable(&t, first).await;
        let mut work = t.begin().await;
        let held = work.hold_provider_keys(&[second, ProviderKeyId(999), first]).await.expect("held");
        let held: Vec<_> = held.iter().map(|key| (key.id, key.provider.as_str(), key.is_enabled)).collect();
        assert_eq!(held, [(first, "openai", false), (second, "anthropic", true)]);
        assert!(work.hold_provider_keys(&[]).await.expect("answered").is_empty());
    }
}
