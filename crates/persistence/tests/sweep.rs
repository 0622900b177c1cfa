//! The sweep: leases that ran out, and records that are kept for a while only.

use kernel::{AgentId, LeaseId, LeaseState};
use ledger::Command;
use persistence::{GRANT_REQUESTS_KEPT_MS, Item, Sweep};

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

async fn look(t: &TestStore, limit: u32) -> Sweep {
    t.store.leases_to_sweep(t.now(), limit).await.expect("looked")
}

/// What a server does from time to time; returns how many leases it expired.
async fn sweep(t: &TestStore, limit: u32) -> usize {
    let mut expired = 0;
    for _ in 0..50 {
        let found = look(t, limit).await;
        assert!(found.expired.len() + found.postponed.len() <= limit as usize);
        let items: Vec<Item> = found.expired.iter().map(expire).collect();
        expired += run(t, &items).await.iter().filter(|answer| answer.is_ok()).count();
        let mut work = t.begin().await;
        work.postpone_sweeps(&found.postponed).await.expect("postponed");
        t.commit(work).await;
        if !found.full {
            return expired;
        }
    }
    panic!("the sweep does not come to an end");
}

async fn state(t: &TestStore, id: &LeaseId) -> LeaseState {
    t.store.lease(id).await.expect("read").expect("there").lease.state
}

on_both_backends! {
    async fn silent_leases_are_found_when_their_time_is_over(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(10)), (2, usd(10))]).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        t.clock.advance_millis(1_000);
        done(&t, grant(2, &lease("b"), usd(5))).await;
        t.clock.advance_millis(TTL_MS - 1_001);
        assert!(look(&t, 10).await.is_empty());
        t.clock.advance_millis(1);
        assert_eq!(look(&t, 10).await, Sweep { expired: vec![lease("a")], postponed: vec![], full: false });
        assert_eq!(sweep(&t, 10).await, 1);
        assert_eq!((state(&t, &lease("a")).await, state(&t, &lease("b")).await), (LeaseState::Expired, LeaseState::Active));
        assert!(look(&t, 10).await.is_empty());
        assert_sound(&t).await;
    }

    async fn a_lease_that_shows_life_is_looked_at_again_when_that_is_over(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(10)), (2, usd(10))]).await;
        for (agent, name) in [(1, "by agent"), (2, "by report"), (2, "silent")] {
            done(&t, grant(agent, &lease(name), usd(5))).await;
        }
        t.clock.advance_millis(TTL_MS / 2);
        done(&t, Item::new(Command::Touch { agent: AgentId(1) })).await;
        done(&t, report(&t, &lease("by report"), "r", usd(1))).await;
        t.clock.advance_millis(TTL_MS / 2);
        let mut found = look(&t, 10).await;
        found.postponed.sort_unstable();
        let later = t.now().plus_millis(TTL_MS / 2);
        assert_eq!(found.expired, [lease("silent")]);
        assert_eq!(found.postponed, [(lease("by agent"), later), (lease("by report"), later)]);
        assert_eq!(sweep(&t, 10).await, 1);
        assert!(look(&t, 10).await.is_empty(), "neither is due");
        t.clock.set(later);
        assert_eq!(sweep(&t, 10).await, 2);
        assert_sound(&t).await;
    }

    async fn a_sweep_is_bounded_and_gets_through_whatever_is_overdue(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(1_000)), (2, usd(1_000))]).await;
        let items: Vec<Item> = (0..40).map(|n| grant(n % 2 + 1, &lease(n), usd(1))).collect();
        run(&t, &items).await;
        t.clock.advance_millis(TTL_MS - 1);
        done(&t, Item::new(Command::Touch { agent: AgentId(2) })).await;
        t.clock.advance_millis(1);
        let found = look(&t, 7).await;
        assert!(found.full && found.expired.len() + found.postponed.len() == 7);
        assert_eq!(sweep(&t, 7).await, 20);
        let open = t.store.open_lease_counts().await.expect("counted");
        assert_eq!((open.active, open.expired), (20, 20));
        assert_sound(&t).await;
    }

    async fn a_time_to_look_is_never_moved_back_nor_given_to_what_has_ended(t: TestStore) {
        one_agent(&t, usd(10)).await;
        run(&t, &[grant(1, &lease("a"), usd(1)), grant(1, &lease("b"), usd(1))]).await;
        done(&t, give_back(&lease("b"), None)).await;
        let mut work = t.begin().await;
        let early = t.now().plus_millis(1);
        let late = t.now().plus_millis(9 * TTL_MS);
        let moved = work.postpone_sweeps(&[(lease("a"), early), (lease("b"), late), (lease("nobody"), late)]).await;
        assert_eq!(moved.expect("answered"), 0);
        assert_eq!(work.postpone_sweeps(&[(lease("a"), late)]).await.expect("answered"), 1);
        assert_eq!(work.postpone_sweeps(&[]).await.expect("answered"), 0);
        t.commit(work).await;
    }

    async fn idempotency_keys_are_forgotten_after_a_day(t: TestStore) {
        one_agent(&t, usd(100)).await;
        for n in 0..5 {
            done(&t, grant_with(1, &lease(n), usd(1), Some((&format!("old {n}"), 1)))).await;
        }
        t.clock.advance_millis(GRANT_REQUESTS_KEPT_MS);
        done(&t, grant_with(1, &lease("x"), usd(1), Some(("new", 1)))).await;
        let prune = async |limit| {
            let mut work = t.begin().await;
            let gone = work.prune_grant_requests(limit).await.expect("pruned");
            t.commit(work).await;
            gone
        };
        assert_eq!(prune(10).await, 0, "a day old is not older than a day");
        t.clock.advance_millis(1);
        assert_eq!([prune(3).await, prune(3).await, prune(3).await], [3, 2, 0]);
        let again = done(&t, grant_with(1, &lease("y"), usd(1), Some(("new", 1)))).await;
        assert!(matches!(again, ledger::Outcome::Granted { duplicate: true, .. }));
        let anew = done(&t, grant_with(1, &lease("z"), usd(1), Some(("old 1", 2)))).await;
        assert!(matches!(anew, ledger::Outcome::Granted { duplicate: false, .. }));
        assert_sound(&t).await;
    }
}
