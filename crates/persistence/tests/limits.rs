//! Limits of owners, the token ceiling, and the quotas that an agent's picture shows.

use auth::Role;
use kernel::{AgentId, BudgetId, LimitId, Money, ProjectId, UserId, Window, Zone};
use ledger::Scope;
use persistence::{
    Limit, LimitFilter, LimitUse, NewAgent, NewLimit, Page, Quota, QuotaKind, TokenCeiling, Visibility, Work,
};

use crate::calls::{Call, Calls, fold};
use crate::questions::Dice;
use crate::residents::{agent, agent_as, changes_directory, new_agent, pid, project, uid, user};
use crate::support::TestStore;
use crate::world::{done, grant, lease, report, usd};

fn new_limit(user: &UserId, project: Option<&ProjectId>, tokens: Option<i64>, requests: Option<i64>) -> NewLimit {
    NewLimit {
        user: user.clone(),
        project: project.cloned(),
        tokens_per_day: tokens,
        requests_per_minute: requests,
        budget: None,
    }
}

/// Makes a limit, a little later than anything before.
async fn make(t: &TestStore, new: &NewLimit) -> Option<Limit> {
    t.clock.advance_millis(10);
    let mut work = t.begin().await;
    let made = work.create_limit(new).await.expect("answered");
    t.commit(work).await;
    made
}

async fn write<T>(t: &TestStore, step: impl AsyncFnOnce(&mut Work) -> T) -> T {
    let mut work = t.begin().await;
    let done = step(&mut work).await;
    t.commit(work).await;
    done
}

async fn quotas(t: &TestStore, agent: AgentId) -> Vec<Quota> {
    t.store.agent_picture(agent).await.expect("a picture is taken").expect("of an agent").quotas
}

async fn ids(t: &TestStore, filter: &LimitFilter) -> Vec<i64> {
    let listed = t.store.limits(filter, Page::first(100)).await.expect("listed");
    assert_eq!(listed.total, listed.rows.len() as u64);
    listed.rows.iter().map(|limit| limit.id.0).collect()
}

on_both_backends! {
    async fn an_owner_has_one_limit_and_one_for_each_project(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b) = (project(&t, "proj_a", "A").await, project(&t, "proj_b", "B").await);
        let mut made = Vec::new();
        for project in [None, Some(&a), Some(&b)] {
            let new = new_limit(&anna, project, Some(5), None);
            made.push(make(&t, &new).await.expect("the first"));
            assert_eq!(make(&t, &new).await, None, "the second");
        }
        let first = Limit {
            id: made[0].id,
            user: anna.clone(),
            project: None,
            tokens_per_day: Some(5),
            requests_per_minute: None,
            budget: None,
            created_at: made[0].created_at,
            updated_at: made[0].created_at,
        };
        assert_eq!(t.store.limit(made[0].id, &Visibility::All).await.expect("read"), Some(first));
        assert_eq!(made[1].scope(), Scope::OwnerProject(anna.clone(), a));
        assert_eq!(t.store.limit_of(&Scope::Owner(anna.clone())).await.expect("read"), Some(made[0].id));
        assert_eq!(t.store.limit_of(&made[2].scope()).await.expect("read"), Some(made[2].id));
        assert_eq!(t.store.limit_of(&Scope::Owner(uid("user_x"))).await.expect("read"), None);
    }

    async fn limits_at_once_for_one_owner_are_one(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let new = new_limit(&anna, None, Some(5), None);
        let one = async || {
            let mut work = t.begin().await;
            let made = work.create_limit(&new).await.expect("answered");
            t.commit(work).await;
            usize::from(made.is_some())
        };
        let (a, b, c) = tokio::join!(one(), one(), one());
        assert_eq!(a + b + c, 1);
    }

    async fn a_limit_is_changed_and_removed(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let limit = make(&t, &new_limit(&anna, None, Some(5), None)).await.expect("made");
        t.clock.advance_millis(5);
        let wanted = Limit {
            tokens_per_day: None,
            requests_per_minute: Some(7),
            budget: Some(BudgetId::new("bud_1")),
            ..limit.clone()
        };
        let changed = write(&t, async |work| {
            assert_eq!(work.limit_for_update(limit.id).await.expect("read"), Some(limit.clone()));
            work.update_limit(&wanted).await.expect("changed")
        }).await;
        assert_eq!(changed, Limit { updated_at: t.now(), ..wanted });
        assert_eq!(t.store.limit(limit.id, &Visibility::All).await.expect("read"), Some(changed));
        assert!(write(&t, async |work| work.delete_limit(limit.id).await.expect("answered")).await);
        assert!(!write(&t, async |work| work.delete_limit(limit.id).await.expect("answered")).await);
        assert_eq!(t.store.limit(limit.id, &Visibility::All).await.expect("read"), None);
        let again = make(&t, &new_limit(&anna, None, Some(5), None)).await.expect("made");
        assert!(again.id > limit.id, "ids are never used again");
        assert_eq!(write(&t, async |work| work.limit_for_update(limit.id).await.expect("read")).await, None);
    }

    async fn limits_are_listed_for_those_concerned_youngest_first(t: TestStore) {
        let (anna, ben) = (user(&t, "anna", Role::User).await, user(&t, "ben", Role::User).await);
        let a = project(&t, "proj_a", "A").await;
        let mut made = Vec::new();
        for (user, project) in [(&anna, None), (&ben, None), (&anna, Some(&a))] {
            made.push(make(&t, &new_limit(user, project, Some(1), None)).await.expect("made").id.0);
        }
        let all = LimitFilter::default;
        assert_eq!(ids(&t, &all()).await, [made[2], made[1], made[0]]);
        let seen = |user: &UserId| Visibility::Of(user.clone());
        assert_eq!(ids(&t, &LimitFilter { visible_to: seen(&anna), ..all() }).await, [made[2], made[0]]);
        assert_eq!(ids(&t, &LimitFilter { user: Some(ben.clone()), ..all() }).await, [made[1]]);
        assert_eq!(ids(&t, &LimitFilter { project: Some(a.clone()), ..all() }).await, [made[2]]);
        assert_eq!(t.store.limit(LimitId(made[1]), &seen(&anna)).await.expect("read"), None);
        let page = t.store.limits(&all(), Page { offset: 1, limit: 1 }).await.expect("listed");
        assert_eq!((page.total, page.rows[0].id.0), (3, made[1]));
        let of_project = write(&t, async |work| work.limits_for_update(&a).await.expect("read")).await;
        assert_eq!(of_project.iter().map(|limit| limit.id.0).collect::<Vec<_>>(), [made[2]]);
    }

    async fn the_token_ceiling_is_set_and_taken_away(t: TestStore) {
        let root = user(&t, "root", Role::Admin).await;
        assert_eq!(t.store.token_ceiling().await.expect("read"), TokenCeiling::default());
        for limit in [Some(1_000), None] {
            t.clock.advance_millis(5);
            let before = t.store.token_ceiling().await.expect("read");
            let set = write(&t, async |work| work.set_token_ceiling(limit, &root).await.expect("set")).await;
            let expected =
                TokenCeiling { tokens_per_day: limit, updated_at: Some(t.now()), updated_by: Some(root.clone()) };
            assert_eq!(set, (before, expected.clone()));
            assert_eq!(t.store.token_ceiling().await.expect("read"), expected);
        }
    }

    async fn an_agents_picture_shows_every_quota_that_counts(t: TestStore) {
        let (anna, ben) = (user(&t, "anna", Role::User).await, user(&t, "ben", Role::User).await);
        let a = project(&t, "proj_a", "A").await;
        let in_project = NewAgent { project: Some(pid("proj_a")), ..new_agent("in", &anna) };
        let (inside, outside) = (agent_as(&t, &in_project, 1_000).await, agent(&t, "out", &anna).await);
        assert!(quotas(&t, inside).await.is_empty());
        let own = make(&t, &new_limit(&anna, None, Some(5), Some(6))).await.expect("made");
        let pair = make(&t, &new_limit(&anna, Some(&a), None, Some(7))).await.expect("made");
        make(&t, &new_limit(&ben, Some(&a), Some(1), Some(1))).await.expect("made");
        write(&t, async |work| work.set_token_ceiling(Some(9), &ben).await.expect("set")).await;
        let quota = |kind, scope: Scope, limit, limit_id| Quota { kind, scope, limit, limit_id };
        let mut expected = vec![
            quota(QuotaKind::TokensPerDay, Scope::Organization, 9, None),
            quota(QuotaKind::TokensPerDay, own.scope(), 5, Some(own.id)),
            quota(QuotaKind::RequestsPerMinute, own.scope(), 6, Some(own.id)),
        ];
        assert_eq!(quotas(&t, outside).await, expected);
        expected.push(quota(QuotaKind::RequestsPerMinute, pair.scope(), 7, Some(pair.id)));
        assert_eq!(quotas(&t, inside).await, expected);
    }

    async fn what_limits_have_used_together_is_what_each_has_used(t: TestStore) {
        let mut calls = Calls::some(&t, &mut Dice(31)).await;
        let near = [-60_000, -59_999, -30_000, 0, 60_000].into_iter().enumerate();
        let near = near.map(|(n, ms)| Call::new(1 + n as i64 % 4, format!("near {n}"), t.now().plus_millis(ms)));
        calls.tell(&t, near).await;
        fold(&t).await;
        done(&t, report(&t, &lease("a"), "r1", usd(2))).await;
        t.clock.advance_millis(1_000);
        done(&t, grant(1, &lease("c"), usd(5))).await;
        done(&t, report(&t, &lease("c"), "r2", usd(3))).await;
        let mut limits = Vec::new();
        for owner in ["user_1", "user_2"] {
            for project in [None, Some("proj_1"), Some("proj_2")] {
                let new = new_limit(&uid(owner), project.map(pid).as_ref(), Some(5), None);
                limits.push(make(&t, &new).await.expect("made"));
            }
        }
        limits.reverse();
        let (now, month) = (t.now(), Window::Month.bounds(&Zone::UTC, t.now()));
        let used = t.store.limits_used(&limits, month, now).await.expect("read");
        let some = |of: fn(&LimitUse) -> bool| used.iter().any(of) && !used.iter().all(of);
        assert!(some(|used| used.requests_last_minute > 0) && some(|used| used.spent > Money::ZERO));
        assert!(used.iter().any(|used| used.tokens_today > 0));
        let mut each = Vec::new();
        for limit in &limits {
            let quota = async |kind| t.store.quota_used(kind, &limit.scope(), now).await.expect("read");
            each.push(LimitUse {
                tokens_today: quota(QuotaKind::TokensPerDay).await,
                requests_last_minute: quota(QuotaKind::RequestsPerMinute).await,
                spent: t.store.scope_balance(&limit.scope(), month).await.expect("read").spent,
            });
        }
        assert_eq!(used, each);
        // Against the calls themselves
        let midnight = Window::Day.bounds(&Zone::UTC, now).0;
        let counted = |of: &dyn Fn(&Call) -> bool| calls.all.iter().filter(|call| of(call)).count() as i64;
        for (limit, used) in limits.iter().zip(&used) {
            let mine = |call: &Call| {
                call.owner == limit.user.as_str() && limit.project.as_ref().is_none_or(|p| p.as_str() == call.project)
            };
            let reports = if limit.user.as_str() == "user_1" && limit.project != Some(pid("proj_2")) { 2 } else { 0 };
            let minute = counted(&|call| mine(call) && call.at.since(now) > -60_000 && call.at <= now);
            assert_eq!(used.requests_last_minute, minute + reports, "{limit:?}");
            let tokens = calls.all.iter().filter(|call| mine(call) && call.at >= midnight);
            let tokens = tokens.map(|call| call.input + call.output).sum::<i64>();
            // A report says how many tokens there were in all
            assert_eq!(used.tokens_today, tokens + reports * 1_200, "{limit:?}");
        }
        let with_budget = Limit { budget: Some(BudgetId::new("bud_1")), ..limits[5].clone() };
        let used = t.store.limits_used(&[with_budget], month, now).await.expect("read");
        assert_eq!(used[0], LimitUse { spent: Money::ZERO, ..each[5] }, "the budget has that figure");
        assert_eq!(t.store.limits_used(&[], month, now).await.expect("read"), []);
    }

    async fn every_change_of_a_quota_ends_cached_pictures(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let new = new_limit(&anna, None, Some(5), None);
        assert!(changes_directory(&t, async |work| drop(work.create_limit(&new).await.expect("made"))).await);
        let limit = t.store.limits(&LimitFilter::default(), Page::first(1)).await.expect("listed").rows.remove(0);
        assert!(changes_directory(&t, async |work| drop(work.update_limit(&limit).await.expect("changed"))).await);
        assert!(changes_directory(&t, async |work| assert!(work.delete_limit(limit.id).await.expect("gone"))).await);
        assert!(changes_directory(&t, async |work| drop(work.set_token_ceiling(Some(1), &anna).await.expect("set"))).await);
    }
}
