//! Who is told of commits, in this process and in others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth::Role;
use kernel::{AgentId, Timestamp, UserId};
use persistence::{Backend, OutboxEvent, RightsChange, RightsOf, Store};
use tokio::time::timeout;

use crate::support::TestStore;
use crate::world::*;

type Told = Arc<Mutex<Vec<RightsChange>>>;

fn listen(store: &Store) -> Told {
    let told = Told::default();
    let to = Arc::clone(&told);
    store.on_rights_change(move |change| to.lock().expect("not poisoned").push(change.clone()));
    told
}

async fn emit(t: &TestStore) {
    let mut work = t.begin().await;
    work.emit(OutboxEvent { agent: Some(AgentId(1)), kind: "frozen", payload: "{}".to_owned() });
    t.commit(work).await;
}

fn keys(told: &Told) -> Vec<String> {
    let mut keys = Vec::new();
    for change in told.lock().expect("not poisoned").drain(..) {
        match change {
            RightsChange::Of(of) => keys.extend(of),
            RightsChange::Anybody => keys.push("*".to_owned()),
        }
    }
    keys
}

on_both_backends! {
    async fn a_commit_with_events_wakes_whoever_follows_them(t: TestStore) {
        let changes = t.store.outbox_changes();
        let mut work = t.begin().await;
        work.directory_changes();
        t.commit(work).await;
        assert!(!changes.has_changed().expect("open"), "nothing to follow");
        emit(&t).await;
        assert!(changes.has_changed().expect("open"), "before the commit returns");
    }

    async fn a_page_says_where_the_stream_stands(t: TestStore) {
        let empty = t.store.stream_page(0, 10).await.expect("read");
        assert_eq!((empty.last, empty.events.len(), empty.epoch.len()), (0, 0, 16));
        for _ in 0..5 {
            emit(&t).await;
        }
        let page = t.store.stream_page(1, 2).await.expect("read");
        assert_eq!((page.last, page.epoch), (5, empty.epoch));
        assert_eq!(page.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(page.events, t.store.events_after(1, 2).await.expect("read"));
        let end = t.store.stream_page(i64::MAX, 1).await.expect("read");
        assert_eq!((end.last, end.events.len()), (5, 0));
        let mut work = t.begin().await;
        work.prune_events(Timestamp::MAX, 100).await.expect("pruned");
        t.commit(work).await;
        let pruned = t.store.stream_page(2, 10).await.expect("read");
        assert_eq!((pruned.last, pruned.events.len()), (5, 0));
    }

    async fn whose_rights_change_is_told_before_the_commit_returns(t: TestStore) {
        one_agent(&t, usd(1)).await;
        let told = listen(&t.store);
        let owner = t.store.agent_picture(AgentId(1)).await.expect("read").expect("there").owner;
        let mut work = t.begin().await;
        assert!(work.set_user_role(&owner, Role::Viewer).await.expect("changed"));
        assert!(keys(&told).is_empty(), "not yet");
        t.commit(work).await;
        assert_eq!(keys(&told), [RightsOf::User(&owner).key()]);

        let mut work = t.begin().await;
        work.suspend_user(&owner).await.expect("suspended");
        work.end_sessions_of(&owner, None, "suspended").await.expect("ended");
        drop(work);
        assert!(keys(&told).is_empty(), "it did not happen");

        let mut work = t.begin().await;
        work.clear_ic_token(AgentId(1)).await.expect("cleared");
        work.delete_agent(AgentId(1)).await.expect("deleted");
        t.commit(work).await;
        assert!(keys(&told).contains(&"agent:1".to_owned()));
    }

    async fn an_owner_has_the_agents_that_it_had(t: TestStore) {
        one_agent(&t, usd(1)).await;
        let owner = t.store.agent_picture(AgentId(1)).await.expect("read").expect("there").owner;
        assert_eq!(t.store.agents_owned_by(&owner).await.expect("read"), [AgentId(1)]);
        let mut work = t.begin().await;
        work.delete_agent(AgentId(1)).await.expect("deleted");
        t.commit(work).await;
        assert_eq!(t.store.agents_owned_by(&owner).await.expect("read"), [AgentId(1)]);
        assert!(t.store.agents_owned_by(&UserId::new("nobody")).await.expect("read").is_empty());
        assert_eq!(t.store.ic_token_hash(AgentId(1)).await.expect("read"), None);
    }

    async fn another_server_hears_of_commits(t: TestStore) {
        if t.store.backend() == Backend::Sqlite {
            // There is no other; and listening for one ends at once
            return t.store.hear_others().await;
        }
        let other = Store::open(&t.options).await.expect("a second server");
        let told = listen(&other);
        let mut changes = other.outbox_changes();
        let hearing = tokio::spawn({
            let other = other.clone();
            async move { other.hear_others().await }
        });
        // Once it hears, it looks at everything
        timeout(Duration::from_secs(10), changes.changed()).await.expect("in time").expect("open");
        assert_eq!(keys(&told), ["*"]);
        changes.mark_unchanged();
        let mut work = t.begin().await;
        work.rights_change(RightsOf::User(&UserId::new("user_a")));
        work.emit(OutboxEvent { agent: None, kind: "frozen", payload: "{}".to_owned() });
        t.commit(work).await;
        timeout(Duration::from_secs(10), changes.changed()).await.expect("in time").expect("open");
        assert_eq!(keys(&told), ["user:user_a"], "rights are told first");
        other.close().await;
        timeout(Duration::from_secs(10), hearing).await.expect("it ends with the store").expect("well");
    }
}
