//! The outbox: gapless, in the order of the commits, and pruned from its old end.

use kernel::AgentId;
use persistence::{OutboxEvent, StreamHead};

use crate::support::{START, TestStore};
use crate::world::*;

async fn emit(t: &TestStore, agents: &[Option<i64>]) {
    let mut work = t.begin().await;
    for agent in agents {
        work.emit(OutboxEvent { agent: agent.map(AgentId), kind: "frozen", payload: "{\"a\":\"\\\"ü\"}".to_owned() });
    }
    t.commit(work).await;
    t.clock.advance_millis(1_000);
}

async fn places(t: &TestStore, after: i64, limit: u32) -> Vec<i64> {
    t.store.events_after(after, limit).await.expect("read").iter().map(|event| event.seq).collect()
}

async fn head(t: &TestStore) -> StreamHead {
    t.store.stream_head().await.expect("read")
}

on_both_backends! {
    async fn events_are_read_after_a_place(t: TestStore) {
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (0, 1), "nothing yet");
        emit(&t, &[Some(1), None]).await;
        emit(&t, &[Some(2)]).await;
        assert_eq!(places(&t, 0, 10).await, [1, 2, 3]);
        assert_eq!(places(&t, 1, 1).await, [2]);
        assert!(places(&t, 3, 10).await.is_empty());
        let events = t.store.events_after(0, 2).await.expect("read");
        assert_eq!((events[0].agent, events[1].agent), (Some(AgentId(1)), None));
        assert_eq!((events[1].kind.as_str(), events[1].payload.as_str()), ("frozen", "{\"a\":\"\\\"ü\"}"));
        assert_eq!(events[1].created_at, START);
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (3, 1));
    }

    async fn an_event_whose_work_was_dropped_leaves_no_hole(t: TestStore) {
        emit(&t, &[None]).await;
        let mut work = t.begin().await;
        work.emit(OutboxEvent { agent: None, kind: "frozen", payload: "{}".to_owned() });
        drop(work);
        emit(&t, &[None]).await;
        assert_eq!(places(&t, 0, 10).await, [1, 2]);
    }

    async fn every_move_of_money_is_told_once(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let before = head(&t).await.last;
        done(&t, grant_with(1, &lease("a"), usd(5), Some(("key", 1)))).await;
        done(&t, grant_with(1, &lease("b"), usd(5), Some(("key", 1)))).await;
        done(&t, report(&t, &lease("a"), "r", usd(2))).await;
        done(&t, report(&t, &lease("a"), "r", usd(2))).await;
        done(&t, refresh(1, &lease("a"), &lease("c"), usd(5), None)).await;
        t.clock.advance_millis(crate::support::TTL_MS);
        done(&t, expire(&lease("c"))).await;
        done(&t, expire(&lease("c"))).await;
        done(&t, give_back(&lease("c"), None)).await;
        let told: Vec<_> = t.store.events_after(before, 20).await.expect("read").into_iter().map(|e| e.kind).collect();
        assert_eq!(told, ["lease_granted", "llm_call", "lease_refreshed", "lease_expired", "lease_returned"]);
    }

    async fn old_events_are_pruned_from_the_old_end(t: TestStore) {
        for _ in 0..5 {
            emit(&t, &[None, None]).await;
        }
        let prune = async |before, limit| {
            let mut work = t.begin().await;
            let gone = work.prune_events(before, limit).await.expect("pruned");
            t.commit(work).await;
            gone
        };
        assert_eq!(prune(START, 100).await, 0, "nothing is older");
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 3, "no more than asked for");
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 1);
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 0);
        assert_eq!((places(&t, 0, 100).await, head(&t).await.oldest), ((5..=10).collect(), 5));
        // A clock that was behind for a while leaves an old event among young ones: it stays, so that there is no hole
        t.execute("UPDATE outbox SET created_at = 0 WHERE seq = 8").await;
        assert_eq!(prune(START.plus_millis(3_000), 100).await, 2);
        assert_eq!(places(&t, 0, 100).await, [7, 8, 9, 10]);
        assert_eq!(prune(kernel::Timestamp::MAX, 100).await, 4);
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (10, 11));
        emit(&t, &[None]).await;
        assert_eq!(places(&t, 0, 100).await, [11], "numbers go on");
    }

    async fn a_store_keeps_its_epoch(t: TestStore) {
        let epoch = head(&t).await.epoch;
        assert_eq!(epoch.len(), 16);
        emit(&t, &[None]).await;
        assert_eq!(head(&t).await.epoch, epoch);
    }
}
