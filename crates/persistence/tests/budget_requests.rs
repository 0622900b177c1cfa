//! Requests for another budget.

use auth::Role;
use kernel::{AgentId, BudgetRequestId, Money, UserId};
use persistence::{
    BudgetRequest, BudgetRequestEnd, BudgetRequestFilter, BudgetRequestSort, BudgetRequestStatus, NewBudgetRequest,
    Page, Store, Visibility,
};

use crate::residents::{agent, uid, user};
use crate::support::TestStore;

fn micros(n: i64) -> Money {
    Money::from_micros(n).expect("an amount")
}

fn rid(text: &str) -> BudgetRequestId {
    BudgetRequestId::new(text)
}

/// A request over so many micro-dollars, made a little later than anything before.
async fn ask(t: &TestStore, id: &str, agent: AgentId, requester: &UserId, wanted: i64) -> BudgetRequest {
    t.clock.advance_millis(10);
    let new = NewBudgetRequest {
        id: rid(id),
        agent,
        requester: requester.clone(),
        current: micros(1_000_000),
        requested: micros(wanted),
        justification: "the month is long".to_owned(),
    };
    let mut work = t.begin().await;
    let made = work.create_budget_request(&new).await.expect("made");
    t.commit(work).await;
    made
}

async fn end(t: &TestStore, id: &str, end: BudgetRequestEnd, notes: Option<&str>) -> Option<BudgetRequest> {
    let mut work = t.begin().await;
    let ended = work.end_budget_request(&rid(id), end, &uid("user_root"), notes).await.expect("answered");
    t.commit(work).await;
    ended
}

async fn ids(store: &Store, filter: &BudgetRequestFilter, sort: BudgetRequestSort) -> String {
    let listed = store.budget_requests(filter, sort, Page::first(100)).await.expect("listed");
    assert_eq!(listed.total, listed.rows.len() as u64);
    listed.rows.iter().map(|request| request.id.as_str().to_owned()).collect::<Vec<_>>().join(" ")
}

on_both_backends! {
    async fn a_request_is_kept_with_everything_that_becomes_of_it(t: TestStore) {
        let (root, anna) = (user(&t, "root", Role::Admin).await, user(&t, "anna", Role::User).await);
        let agent = agent(&t, "bot", &anna).await;
        let made = ask(&t, "r1", agent, &anna, 5_000_000).await;
        let expected = BudgetRequest {
            id: rid("r1"),
            agent,
            agent_name: "bot".to_owned(),
            requester: anna.clone(),
            requester_name: "anna".to_owned(),
            current: micros(1_000_000),
            requested: micros(5_000_000),
            justification: "the month is long".to_owned(),
            status: BudgetRequestStatus::Pending,
            created_at: t.now(),
            updated_at: t.now(),
            reviewed_at: None,
            reviewed_by: None,
            reviewed_by_name: None,
            notes: None,
            approved: None,
            cancelled_at: None,
            cancelled_by: None,
            cancelled_by_name: None,
        };
        assert_eq!(made, expected);
        t.clock.advance_millis(5);
        let approved = end(&t, "r1", BudgetRequestEnd::Approved(micros(4_000_000)), Some("less")).await;
        let expected = BudgetRequest {
            status: BudgetRequestStatus::Approved,
            updated_at: t.now(),
            reviewed_at: Some(t.now()),
            reviewed_by: Some(root),
            reviewed_by_name: Some("root".to_owned()),
            notes: Some("less".to_owned()),
            approved: Some(micros(4_000_000)),
            ..expected
        };
        assert_eq!(approved.as_ref(), Some(&expected));
        let read = t.store.budget_request(&rid("r1"), &Visibility::All).await.expect("read");
        assert_eq!(read, Some(expected));
        assert_eq!(t.store.budget_request(&rid("r0"), &Visibility::All).await.expect("read"), None);
    }

    async fn a_request_ends_once(t: TestStore) {
        user(&t, "root", Role::Admin).await;
        let anna = user(&t, "anna", Role::User).await;
        let agent = agent(&t, "bot", &anna).await;
        for (id, first) in [("r1", BudgetRequestEnd::Rejected), ("r2", BudgetRequestEnd::Cancelled)] {
            ask(&t, id, agent, &anna, 2).await;
            let ended = end(&t, id, first, None).await.expect("it was pending");
            for again in [BudgetRequestEnd::Approved(micros(1)), BudgetRequestEnd::Rejected, BudgetRequestEnd::Cancelled] {
                assert_eq!(end(&t, id, again, Some("again")).await, None, "{again:?} after {first:?}");
            }
            assert_eq!(t.store.budget_request(&rid(id), &Visibility::All).await.expect("read"), Some(ended));
        }
        assert_eq!(end(&t, "r3", BudgetRequestEnd::Rejected, None).await, None, "there is none");
    }

    async fn of_reviewers_at_once_one_wins(t: TestStore) {
        user(&t, "root", Role::Admin).await;
        let anna = user(&t, "anna", Role::User).await;
        let agent = agent(&t, "bot", &anna).await;
        for round in 0..8 {
            let id = format!("r{round}");
            ask(&t, &id, agent, &anna, 2).await;
            let review = async |number: i64| {
                let mut work = t.begin().await;
                work.agent_for_update(agent).await.expect("locked");
                let found = work.budget_request_for_update(&rid(&id)).await.expect("read").expect("there");
                let pending = found.status == BudgetRequestStatus::Pending;
                let end = if number % 2 == 0 { BudgetRequestEnd::Approved(micros(9)) } else { BudgetRequestEnd::Rejected };
                let won = work.end_budget_request(&rid(&id), end, &uid("user_root"), None).await.expect("answered");
                t.commit(work).await;
                assert_eq!(won.is_some(), pending, "what was seen under the lock holds");
                usize::from(pending)
            };
            let (a, b, c, d) = tokio::join!(review(0), review(1), review(2), review(3));
            assert_eq!(a + b + c + d, 1, "round {round}");
        }
    }

    async fn lists_are_filtered_sorted_and_seen_by_those_concerned(t: TestStore) {
        user(&t, "root", Role::Admin).await;
        let (anna, ben) = (user(&t, "anna", Role::User).await, user(&t, "ben", Role::User).await);
        let (hers, his) = (agent(&t, "hers", &anna).await, agent(&t, "his", &ben).await);
        ask(&t, "r1", hers, &anna, 30).await;
        ask(&t, "r2", his, &ben, 10).await;
        ask(&t, "r3", hers, &ben, 20).await;
        let made_third = t.now();
        end(&t, "r1", BudgetRequestEnd::Rejected, None).await.expect("pending");
        let all = BudgetRequestFilter::default;
        let by = BudgetRequestSort::default();
        assert_eq!(ids(&t.store, &all(), by).await, "r3 r2 r1");
        assert_eq!(ids(&t.store, &all(), BudgetRequestSort::CreatedAscending).await, "r1 r2 r3");
        assert_eq!(ids(&t.store, &all(), BudgetRequestSort::RequestedDescending).await, "r1 r3 r2");
        assert_eq!(ids(&t.store, &all(), BudgetRequestSort::RequestedAscending).await, "r2 r3 r1");
        let seen = |user: &UserId| BudgetRequestFilter { visible_to: Visibility::Of(user.clone()), ..all() };
        assert_eq!(ids(&t.store, &seen(&anna), by).await, "r3 r1", "own ones, and those for own agents");
        assert_eq!(ids(&t.store, &seen(&ben), by).await, "r3 r2");
        assert_eq!(ids(&t.store, &seen(&uid("user_root")), by).await, "");
        assert_eq!(t.store.budget_request(&rid("r2"), &Visibility::Of(anna.clone())).await.expect("read"), None);
        assert_eq!(ids(&t.store, &BudgetRequestFilter { agent: Some(hers), ..all() }, by).await, "r3 r1");
        assert_eq!(ids(&t.store, &BudgetRequestFilter { requester: Some(ben), ..all() }, by).await, "r3 r2");
        let rejected = BudgetRequestFilter { statuses: vec![BudgetRequestStatus::Rejected], ..all() };
        assert_eq!(ids(&t.store, &rejected, by).await, "r1");
        let two = vec![BudgetRequestStatus::Rejected, BudgetRequestStatus::Pending];
        assert_eq!(ids(&t.store, &BudgetRequestFilter { statuses: two, ..all() }, by).await, "r3 r2 r1");
        assert_eq!(ids(&t.store, &BudgetRequestFilter { from: Some(made_third), ..all() }, by).await, "r3");
        assert_eq!(ids(&t.store, &BudgetRequestFilter { to: Some(made_third), ..all() }, by).await, "r2 r1");
        let page = t.store.budget_requests(&all(), by, Page { offset: 1, limit: 1 }).await.expect("listed");
        assert_eq!((page.total, page.rows[0].id.as_str()), (3, "r2"));
    }

    async fn what_is_pending_ends_with_its_agent_or_its_requester(t: TestStore) {
        let (root, anna) = (user(&t, "root", Role::Admin).await, user(&t, "anna", Role::User).await);
        let ben = user(&t, "ben", Role::User).await;
        let (one, two) = (agent(&t, "one", &anna).await, agent(&t, "two", &anna).await);
        ask(&t, "r1", one, &anna, 2).await;
        ask(&t, "r2", one, &ben, 2).await;
        ask(&t, "r3", two, &anna, 2).await;
        ask(&t, "r4", two, &ben, 2).await;
        ask(&t, "r5", one, &anna, 2).await;
        end(&t, "r5", BudgetRequestEnd::Rejected, None).await.expect("pending");
        let mut work = t.begin().await;
        work.agent_for_update(one).await.expect("locked");
        let gone = work.cancel_requests_for(one, &root, "the agent was deleted").await.expect("cancelled");
        assert_eq!(gone.iter().map(|request| request.id.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!((gone[0].notes.as_deref(), &gone[0].cancelled_by), (Some("the agent was deleted"), &Some(root.clone())));
        assert_eq!((gone[0].cancelled_at, gone[0].cancelled_by_name.as_deref()), (Some(t.now()), Some("root")));
        t.commit(work).await;
        let mut work = t.begin().await;
        let gone = work.cancel_requests_of(&anna, &root, "gone").await.expect("cancelled");
        assert_eq!(gone.iter().map(|request| request.id.as_str()).collect::<Vec<_>>(), ["r3"]);
        assert!(work.cancel_requests_of(&anna, &root, "gone").await.expect("cancelled").is_empty());
        t.commit(work).await;
        let pending = BudgetRequestFilter { statuses: vec![BudgetRequestStatus::Pending], ..BudgetRequestFilter::default() };
        assert_eq!(ids(&t.store, &pending, BudgetRequestSort::default()).await, "r4");
    }
}
