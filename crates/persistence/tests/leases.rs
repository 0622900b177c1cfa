//! Reading, listing and counting leases.

use kernel::{AgentId, LeaseId, LeaseState, Timestamp, UserId};
use ledger::{Command, Outcome, Scope};
use persistence::{Item, LeaseCursor, LeaseFilter, LeaseView, OpenCounts, Visibility};

use crate::support::{START, TTL_MS, TestStore};
use crate::world::*;

/// Two owners, three agents, leases in every state, a second apart but for the last two.
async fn some_leases(t: &TestStore) {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_1", None), (3, "user_2", Some("proj_1"))]).await;
    allocate(t, &[(1, usd(100)), (2, usd(100)), (3, usd(100))]).await;
    for (agent, name) in [(1, "a"), (2, "b"), (3, "c"), (1, "d"), (3, "e")] {
        done(t, grant(agent, &lease(name), usd(10))).await;
        t.clock.advance_millis(1_000);
    }
    run(t, &[grant(1, &lease("f"), usd(10)), grant(1, &lease("g"), usd(10))]).await;
    done(t, report(t, &lease("a"), "r", usd(4))).await;
    done(t, give_back(&lease("b"), Some(usd(3)))).await;
    done(t, revoke(&lease("c"))).await;
    done(t, revoke(&lease("d"))).await;
}

async fn all(t: &TestStore, filter: &LeaseFilter, limit: u32) -> Vec<LeaseView> {
    let (mut views, mut cursor): (Vec<LeaseView>, Option<LeaseCursor>) = (Vec::new(), None);
    for _ in 0..100 {
        let slice = t.store.leases(filter, cursor.as_ref(), limit).await.expect("listed");
        assert!(slice.rows.len() <= limit as usize);
        views.extend(slice.rows);
        let Some(next) = slice.next else { return views };
        cursor = Some(next.to_string().parse().expect("a cursor goes over the wire and back"));
    }
    panic!("the list has no end");
}

async fn names(t: &TestStore, filter: LeaseFilter) -> String {
    let views = all(t, &filter, 2).await;
    views.iter().map(|view| view.lease.id.as_str().trim_start_matches("lease_")).collect::<Vec<_>>().join("")
}

on_both_backends! {
    async fn a_lease_is_read_with_its_terms_and_its_agent(t: TestStore) {
        some_leases(&t).await;
        let view = t.store.lease(&lease("a")).await.expect("read").expect("there");
        assert_eq!((view.lease.granted, view.lease.reported, view.lease.report_count), (usd(10), usd(4), 1));
        assert_eq!((view.lease.owner.as_str(), view.agent_owner.as_str()), ("user_1", "user_1"));
        assert_eq!((view.agent_name.as_str(), view.terms), ("agent 1", terms()));
        assert_eq!(view.lease.created_at, START);
        assert_eq!(t.store.lease(&lease("nobody")).await.expect("read"), None);
        assert_eq!(t.store.lease(&LeaseId::new("' OR 1=1 --")).await.expect("read"), None);
    }

    async fn a_lease_expires_with_the_last_sign_of_life_of_its_agent(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        t.clock.advance_millis(TTL_MS / 2);
        done(&t, Item::new(Command::Touch { agent: AgentId(1) })).await;
        let view = async || t.store.lease(&lease("a")).await.expect("read").expect("there");
        let end = START.plus_millis(TTL_MS / 2 + TTL_MS);
        assert_eq!((view().await.expires_at, view().await.lease.expires_at), (end, START.plus_millis(TTL_MS)));
        assert!(!view().await.has_run_out(end.plus_millis(-1)));
        assert!(view().await.has_run_out(end));
        t.clock.set(end.plus_millis(5_000));
        done(&t, expire(&lease("a"))).await;
        let view = view().await;
        assert_eq!((view.lease.state, view.expires_at, view.lease.ended_at), (LeaseState::Expired, end, Some(end)));
        assert!(!view.has_run_out(Timestamp::MAX));
    }

    async fn leases_are_listed_youngest_first_and_each_once(t: TestStore) {
        some_leases(&t).await;
        assert_eq!(names(&t, LeaseFilter::default()).await, "gfedcba");
        let slice = t.store.leases(&LeaseFilter::default(), None, 3).await.expect("listed");
        // A lease that comes while somebody reads does not disturb
        done(&t, grant(2, &lease("z"), usd(1))).await;
        let rest = t.store.leases(&LeaseFilter::default(), slice.next.as_ref(), 10).await.expect("listed");
        let ids: Vec<_> = rest.rows.iter().map(|view| view.lease.id.as_str()).collect();
        assert_eq!((ids.join(" "), rest.next), ("lease_d lease_c lease_b lease_a".to_owned(), None));
    }

    async fn conditions_on_leases_narrow_together(t: TestStore) {
        some_leases(&t).await;
        let any = LeaseFilter::default;
        assert_eq!(names(&t, LeaseFilter { agents: vec![AgentId(1)], ..any() }).await, "gfda");
        assert_eq!(names(&t, LeaseFilter { agents: vec![AgentId(2), AgentId(3)], ..any() }).await, "ecb");
        assert_eq!(names(&t, LeaseFilter { states: vec![LeaseState::Active], ..any() }).await, "gfea");
        let waiting = vec![LeaseState::Revoked, LeaseState::Expired];
        assert_eq!(names(&t, LeaseFilter { states: waiting.clone(), ..any() }).await, "dc");
        assert_eq!(names(&t, LeaseFilter { states: vec![LeaseState::Closed, LeaseState::Revoked], ..any() }).await, "dcb");
        let owner = Some(UserId::new("user_2"));
        assert_eq!(names(&t, LeaseFilter { owner: owner.clone(), ..any() }).await, "ec");
        assert_eq!(names(&t, LeaseFilter { owner, states: waiting, ..any() }).await, "c");
        let project = Some(kernel::ProjectId::new("proj_1"));
        assert_eq!(names(&t, LeaseFilter { project, ..any() }).await, "gfedca");
        let (from, to) = (Some(START.plus_millis(1_000)), Some(START.plus_millis(3_000)));
        assert_eq!(names(&t, LeaseFilter { from, to, ..any() }).await, "cb", "from is included, to is not");
        let nobody = Some(UserId::new("x' OR '1'='1"));
        assert_eq!(names(&t, LeaseFilter { owner: nobody, ..any() }).await, "");
    }

    async fn a_user_sees_the_leases_of_the_agents_they_own_now(t: TestStore) {
        some_leases(&t).await;
        let of = |user: &str| LeaseFilter { visible_to: Visibility::Of(UserId::new(user)), ..LeaseFilter::default() };
        assert_eq!(names(&t, of("user_1")).await, "gfdba");
        assert_eq!(names(&t, of("user_2")).await, "ec");
        t.execute("UPDATE agents SET owner_id = 'user_2' WHERE id = 2").await;
        assert_eq!(names(&t, of("user_1")).await, "gfda");
        let handed_over = LeaseFilter { agents: vec![AgentId(2)], ..of("user_2") };
        let view = all(&t, &handed_over, 5).await.remove(0);
        assert_eq!((view.agent_owner.as_str(), view.lease.owner.as_str()), ("user_2", "user_1"));
    }

    async fn open_leases_are_counted_and_summed(t: TestStore) {
        some_leases(&t).await;
        let counts = OpenCounts { active: 4, expired: 0, revoked: 2 };
        assert_eq!(t.store.open_lease_counts().await.expect("counted"), counts);
        let all = t.store.open_leases(&Scope::Organization).await.expect("summed");
        assert_eq!((all.counts, all.leased, all.suspense), (counts, usd(36), usd(20)));
        assert_eq!(all.exposure(), usd(56));
        let agent = t.store.open_leases(&Scope::Agent(AgentId(3))).await.expect("summed");
        assert_eq!((agent.counts.active, agent.counts.revoked, agent.exposure()), (1, 1, usd(20)));
        let owner = t.store.open_leases(&owner_scope("user_1")).await.expect("summed");
        assert_eq!((owner.leased, owner.suspense), (usd(26), usd(10)));
        t.clock.advance_millis(2 * TTL_MS);
        done(&t, expire(&lease("a"))).await;
        assert_eq!(t.store.open_lease_counts().await.expect("counted").expired, 1);
        let nothing = t.store.open_leases(&project_scope("nobody")).await.expect("summed");
        assert_eq!(nothing, persistence::OpenLeases::default());
    }

    async fn the_active_leases_of_an_agent_can_be_revoked_together(t: TestStore) {
        some_leases(&t).await;
        let mut work = t.begin().await;
        let active = work.active_leases(AgentId(1)).await.expect("read");
        assert_eq!(active, [lease("a"), lease("f"), lease("g")]);
        let items: Vec<Item> = active.iter().map(revoke).collect();
        for answer in work.run(&items, TTL_MS).await.expect("run") {
            assert!(matches!(answer.expect("revoked").outcome, Outcome::Ended { duplicate: false, .. }));
        }
        assert_eq!(work.active_leases(AgentId(1)).await.expect("read"), []);
        t.commit(work).await;
        assert_eq!(t.store.open_leases(&Scope::Agent(AgentId(1))).await.expect("summed").leased, usd(0));
        assert_sound(&t).await;
    }
}
