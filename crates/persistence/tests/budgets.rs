//! Budgets: what they start from, what may be changed, and what goes on meanwhile.

use std::sync::Arc;

use kernel::{AgentId, BudgetId, Money, Window};
use ledger::{Account, Command, Outcome, Rejection, Scope, ScopeKind, SettleOutcome};
use persistence::{
    BudgetChange, BudgetFilter, BudgetRefusal, BudgetSource, Item, NewBudget, Page, Refused, Store, StoreError,
};

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

const DAY_MS: i64 = 86_400_000;

/// Leases in every state, of two agents, granted yesterday and today.
async fn mixed_history(t: &TestStore) {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_2", Some("proj_1")), (3, "user_2", None)]).await;
    allocate(t, &[(1, usd(1_000)), (2, usd(1_000)), (3, usd(1_000))]).await;
    for day in 0..2 {
        for agent in 1..=3 {
            let id = |name: &str| lease(format!("{name}_{agent}_{day}"));
            for (n, name) in ["active", "returned", "revoked", "settled", "over", "silent"].into_iter().enumerate() {
                done(t, grant(agent, &id(name), usd(10 + n as i64))).await;
                done(t, report(t, &id(name), "r", usd(agent))).await;
            }
            done(t, total(&id("active"), usd(4))).await;
            done(t, give_back(&id("returned"), None)).await;
            done(t, revoke(&id("revoked"))).await;
            done(t, revoke(&id("settled"))).await;
            done(t, settle(&id("settled"), SettleOutcome::Spent, None)).await;
            done(t, report(t, &id("over"), "big", usd(25))).await;
        }
        t.clock.advance_millis(DAY_MS);
        for agent in 1..=3 {
            done(t, expire(&lease(format!("silent_{agent}_{day}")))).await;
        }
    }
    t.clock.advance_millis(-DAY_MS);
}

on_both_backends! {
    async fn a_budget_starts_from_what_its_scope_has_spent_and_lent(t: TestStore) {
        mixed_history(&t).await;
        let scopes = [
            Scope::Organization,
            project_scope("proj_1"),
            owner_scope("user_2"),
            Scope::OwnerProject(kernel::UserId::new("user_2"), kernel::ProjectId::new("proj_1")),
            Scope::Agent(AgentId(3)),
            owner_scope("nobody"),
        ];
        for (index, scope) in scopes.into_iter().enumerate() {
            for window in [Window::None, Window::Day, Window::Month] {
                if matches!((&scope, window), (Scope::Agent(_), Window::None)) {
                    continue;
                }
                let new = budget(&format!("bud_{index}_{}", window.as_str()), scope.clone(), usd(500));
                let view = open(&t, &NewBudget { window, zone: "Asia/Tokyo".parse().expect("a zone"), ..new }).await;
                let bounds = (view.window_start, view.window_end);
                let summed = t.store.scope_balance(&scope, bounds).await.expect("summed");
                assert_eq!(view.account, summed, "{scope:?} {window:?}");
                let empty = scope == owner_scope("nobody");
                assert_eq!(view.account == Account::default(), empty, "{scope:?} {window:?}");
            }
        }
        assert_sound(&t).await;
        // What happens to the leases later is posted on the new budgets too
        for agent in 1..=3 {
            done(&t, give_back(&lease(format!("active_{agent}_1")), Some(usd(9)))).await;
            done(&t, report(&t, &lease(format!("revoked_{agent}_0")), "late", usd(2))).await;
        }
        for view in t.store.budgets(&BudgetFilter::default(), t.now(), Page::first(100)).await.expect("listed").rows {
            let bounds = (view.window_start, view.window_end);
            let summed = t.store.scope_balance(&view.budget.scope, bounds).await.expect("summed");
            assert_eq!(view.account, summed, "{}", view.id);
        }
        assert_sound(&t).await;
    }

    async fn leases_granted_by_a_clock_that_was_ahead_count_in_their_own_window(t: TestStore) {
        people(&t, &[(1, "user_1", None)]).await;
        allocate(&t, &[(1, usd(100))]).await;
        t.clock.advance_millis(DAY_MS);
        done(&t, grant(1, &lease("ahead"), usd(5))).await;
        t.clock.advance_millis(-DAY_MS);
        let day = NewBudget { window: Window::Day, ..budget("bud_day", owner_scope("user_1"), usd(50)) };
        let opened = open(&t, &day).await;
        assert_eq!(opened.account, Account::default(), "today");
        t.clock.advance_millis(DAY_MS);
        done(&t, report(&t, &lease("ahead"), "r", usd(2))).await;
        let view = t.store.budget(&opened.id, t.now()).await.expect("read").expect("there");
        assert_eq!((view.account.spent, view.account.leased), (usd(2), usd(3)), "tomorrow");
        assert_sound(&t).await;
    }

    async fn a_scope_has_one_budget_for_each_window(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let first = open(&t, &budget("bud_1", owner_scope("user_1"), usd(5))).await;
        let mut work = t.begin().await;
        let again = work.insert_budget(&budget("bud_2", owner_scope("user_1"), usd(6)), &admin(), None).await;
        assert_eq!(again.expect("answered"), Err(BudgetRefusal::Exists));
        let other = NewBudget { window: Window::Day, ..budget("bud_2", owner_scope("user_1"), usd(6)) };
        work.insert_budget(&other, &admin(), None).await.expect("answered").expect("the work goes on after a refusal");
        t.commit(work).await;
        let mut work = t.begin().await;
        assert!(work.delete_budget(&first.id).await.expect("answered"));
        assert!(!work.delete_budget(&first.id).await.expect("answered"), "once");
        let new = budget("bud_3", owner_scope("user_1"), usd(6));
        work.insert_budget(&new, &admin(), None).await.expect("answered").expect("there is room again");
        t.commit(work).await;
        assert_eq!(t.store.budget(&first.id, t.now()).await.expect("read"), None);
        assert_sound(&t).await;
    }

    async fn several_budgets_are_opened_used_and_deleted_in_one_work(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let mut work = t.begin().await;
        work.run(&[grant(1, &lease("a"), usd(3))], TTL_MS).await.expect("run")[0].as_ref().expect("granted");
        for (id, window) in [("bud_1", Window::None), ("bud_2", Window::Day)] {
            let new = NewBudget { window, ..budget(id, owner_scope("user_1"), usd(5)) };
            let view = work.insert_budget(&new, &admin(), None).await.expect("answered").expect("opened");
            assert_eq!(view.account.leased, usd(3));
        }
        work.run(&[grant(1, &lease("b"), usd(9))], TTL_MS).await.expect("run")[0].as_ref().expect("granted");
        for id in ["bud_1", "bud_2"] {
            assert!(work.delete_budget(&BudgetId::new(id)).await.expect("answered"));
        }
        work.run(&[grant(1, &lease("c"), usd(9))], TTL_MS).await.expect("run")[0].as_ref().expect("granted");
        t.commit(work).await;
        let granted = async |name| t.store.lease(&lease(name)).await.expect("read").expect("there").lease.granted;
        assert_eq!([granted("a").await, granted("b").await, granted("c").await], [usd(3), usd(2), usd(9)]);
        assert_sound(&t).await;
    }

    async fn a_deleted_budget_limits_nothing_and_its_leases_go_on(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let owner = open(&t, &budget("bud_1", owner_scope("user_1"), usd(5))).await;
        done(&t, grant(1, &lease("a"), usd(9))).await;
        assert!(matches!(refused(&t, grant(1, &lease("b"), usd(9))).await, Rejection::BudgetExhausted { .. }));
        let mut work = t.begin().await;
        work.delete_budget(&owner.id).await.expect("deleted");
        t.commit(work).await;
        done(&t, grant(1, &lease("b"), usd(9))).await;
        done(&t, give_back(&lease("a"), Some(usd(1)))).await;
        assert_eq!(figures(&t, 1).await, [usd(1), usd(9), usd(0), usd(0)].map(Money::nanos));
        assert_sound(&t).await;
        let again = open(&t, &budget("bud_2", owner_scope("user_1"), usd(50))).await;
        assert_eq!(amounts(&again), [usd(1), usd(9), usd(0), usd(0)].map(Money::nanos), "never blind");
        assert_sound(&t).await;
    }

    async fn another_window_is_another_budget_under_the_same_id(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let day = NewBudget { window: Window::Day, ..budget("bud_1", owner_scope("user_1"), usd(5)) };
        let first = open(&t, &day).await;
        done(&t, grant(1, &lease("a"), usd(2))).await;
        let mut work = t.begin().await;
        assert!(work.delete_budget(&first.id).await.expect("answered"));
        let week = NewBudget { window: Window::Week, ..day };
        let second = work.insert_budget(&week, &admin(), None).await.expect("answered").expect("opened");
        t.commit(work).await;
        assert_eq!((second.id.clone(), second.account.leased), (first.id, usd(2)));
        assert!(second.budget.no > first.budget.no);
        assert_eq!(t.store.budget(&second.id, t.now()).await.expect("read"), Some(second));
        let mut work = t.begin().await;
        let taken = NewBudget { window: Window::Month, ..week };
        let failed = work.insert_budget(&taken, &admin(), None).await;
        assert!(matches!(failed, Err(StoreError::Duplicate(_))), "{failed:?}");
        drop(work);
        assert_sound(&t).await;
    }

    async fn the_allocation_of_an_agent_cannot_be_ended(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let mut work = t.begin().await;
        assert!(!work.delete_budget(&BudgetId::new("bud_agent_1")).await.expect("answered"));
        t.commit(work).await;
        done(&t, grant(1, &lease("a"), usd(2))).await;
    }

    async fn a_cap_may_be_lowered_below_what_is_committed_and_takes_nothing_back(t: TestStore) {
        one_agent(&t, usd(100)).await;
        done(&t, grant(1, &lease("a"), usd(60))).await;
        let id = BudgetId::new("bud_agent_1");
        let change = BudgetChange { cap: Some(usd(50)), ..BudgetChange::default() };
        let mut work = t.begin().await;
        let view = work.adjust_budget(&id, &change, &admin(), Some("less")).await.expect("answered").expect("changed");
        t.commit(work).await;
        assert_eq!((view.budget.cap, view.available()), (usd(50), usd(-10)));
        assert_eq!(view, allocation(&t, 1).await);
        assert!(matches!(refused(&t, grant(1, &lease("b"), usd(1))).await, Rejection::BudgetExhausted { .. }));
        done(&t, give_back(&lease("a"), None)).await;
        done(&t, grant(1, &lease("b"), usd(1))).await;
        assert_sound(&t).await;
    }

    async fn a_change_leaves_alone_what_it_does_not_name(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let new = NewBudget { name: Some("ours".into()), ..budget("bud_1", owner_scope("user_1"), usd(5)) };
        let before = open(&t, &new).await;
        let adjust = async |change: BudgetChange| {
            t.clock.advance_millis(1_000);
            let mut work = t.begin().await;
            let view = work.adjust_budget(&before.id, &change, &admin(), None).await;
            t.commit(work).await;
            view.expect("answered").expect("changed")
        };
        let off = adjust(BudgetChange { enabled: Some(false), ..BudgetChange::default() }).await;
        assert_eq!((off.budget.enabled, off.budget.cap, off.name.as_deref()), (false, usd(5), Some("ours")));
        let told = adjust(BudgetChange { thresholds: Some(vec![10]), ..BudgetChange::default() }).await;
        assert_eq!((told.thresholds.as_slice(), told.name.as_deref()), ([10].as_slice(), Some("ours")));
        let nameless = adjust(BudgetChange { name: Some(None), ..BudgetChange::default() }).await;
        assert_eq!((nameless.name, nameless.thresholds, nameless.updated_at), (None, vec![10], t.now()));
        let Outcome::Granted { lease: free, .. } = done(&t, grant(1, &lease("a"), usd(9))).await else { panic!() };
        assert_eq!(free.granted, usd(9), "a budget that is off limits nothing");
        let on = adjust(BudgetChange { enabled: Some(true), ..BudgetChange::default() }).await;
        assert_eq!(on.account.leased, usd(9), "but keeps its books");
        assert_sound(&t).await;
    }

    async fn what_does_not_exist_cannot_be_changed(t: TestStore) {
        one_agent(&t, usd(100)).await;
        let nobody = BudgetId::new("bud_nobody");
        let mut work = t.begin().await;
        let change = BudgetChange { cap: Some(usd(1)), ..BudgetChange::default() };
        let answer = work.adjust_budget(&nobody, &change, &admin(), None).await.expect("answered");
        assert_eq!(answer, Err(BudgetRefusal::NotFound));
        assert!(!work.delete_budget(&nobody).await.expect("answered"));
        assert_eq!(work.budget_no(&nobody).await.expect("answered"), None);
        assert_eq!(work.allocation_no(AgentId(9)).await.expect("answered"), None);
        let agentless = budget("bud_9", Scope::Agent(AgentId(9)), usd(1));
        let answer = work.insert_budget(&agentless, &admin(), None).await.expect("answered");
        assert_eq!(answer, Err(BudgetRefusal::Ledger(Rejection::AgentNotFound)));
        assert_eq!(work.budget_no(&agentless.id).await.expect("answered"), None, "and leaves no row behind");
        t.commit(work).await;
        assert_sound(&t).await;
    }

    async fn an_allocation_is_found_by_its_agent(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None), (3, "user_1", None)]).await;
        allocate(&t, &[(1, usd(7)), (2, usd(8))]).await;
        let day = budget("bud_day", Scope::Agent(AgentId(1)), usd(3));
        open(&t, &NewBudget { window: Window::Day, ..day }).await;
        done(&t, grant(2, &lease("a"), usd(5))).await;
        let found = t.store.allocations(&[1, 2, 3, 9].map(AgentId), t.now()).await.expect("read");
        let mut shown: Vec<_> = found.iter().map(|(id, v)| (id.0, v.budget.cap, v.account.leased)).collect();
        shown.sort_unstable();
        assert_eq!(shown, [(1, usd(7), usd(0)), (2, usd(8), usd(5))]);
        let mut work = t.begin().await;
        let no = work.allocation_no(AgentId(1)).await.expect("answered").expect("there");
        assert_eq!(no, found[&AgentId(1)].budget.no);
        let command = Command::Adjust { budget: no, cap: usd(1), enabled: true, actor: admin(), reason: None };
        work.run(&[Item::new(command)], TTL_MS).await.expect("run")[0].as_ref().expect("adjusted");
        t.commit(work).await;
        assert_eq!(allocation(&t, 1).await.budget.cap, usd(1));
        assert_sound(&t).await;
    }

    async fn budgets_are_listed_youngest_first_by_what_is_asked_for(t: TestStore) {
        people(&t, &[(1, "user_1", Some("proj_1")), (2, "user_2", None)]).await;
        allocate(&t, &[(1, usd(7))]).await;
        for (n, scope) in [Scope::Organization, owner_scope("user_1"), owner_scope("user_2")].into_iter().enumerate() {
            t.clock.advance_millis(1_000);
            for window in [Window::None, Window::Week] {
                let new = budget(&format!("bud_{n}_{}", window.as_str()), scope.clone(), usd(9));
                let source = if n == 1 { BudgetSource::Limit } else { BudgetSource::Policy };
                open(&t, &NewBudget { window, source, enabled: n != 2, ..new }).await;
            }
        }
        let list = async |filter: BudgetFilter, page: Page| {
            let listed = t.store.budgets(&filter, t.now(), page).await.expect("listed");
            (listed.rows.iter().map(|view| view.id.to_string()).collect::<Vec<_>>().join(" "), listed.total)
        };
        let any = BudgetFilter::default;
        let first = Page::first(100);
        let all = "bud_2_week bud_2_none bud_1_week bud_1_none bud_0_week bud_0_none bud_agent_1";
        assert_eq!(list(any(), first).await, (all.to_owned(), 7));
        assert_eq!(list(any(), Page { offset: 2, limit: 2 }).await, ("bud_1_week bud_1_none".to_owned(), 7));
        assert_eq!(list(any(), Page { offset: 20, limit: 2 }).await, (String::new(), 7));
        let owners = BudgetFilter { scope_kind: Some(ScopeKind::Owner), window: Some(Window::None), ..any() };
        assert_eq!(list(owners, first).await, ("bud_2_none bud_1_none".to_owned(), 2));
        let limits = BudgetFilter { source: Some(BudgetSource::Limit), ..any() };
        assert_eq!(list(limits, first).await, ("bud_1_week bud_1_none".to_owned(), 2));
        let off = BudgetFilter { enabled: Some(false), scope: Some(owner_scope("user_2")), ..any() };
        assert_eq!(list(off, first).await, ("bud_2_week bud_2_none".to_owned(), 2));
        let scopes = Scope::of_agent(AgentId(1), &kernel::UserId::new("user_1"), None);
        let of_agent = t.store.budgets_of(&scopes, t.now()).await.expect("read");
        let ids: Vec<_> = of_agent.iter().map(|view| view.id.as_str()).collect();
        assert_eq!(ids, ["bud_0_none", "bud_0_week", "bud_1_none", "bud_1_week", "bud_agent_1"], "widest first");
    }

    async fn a_balance_that_leaves_the_books_is_refused_not_wrapped(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        let most = Money::from_nanos(Money::MAX_BALANCE.nanos() / 2 + 1);
        allocate(&t, &[(1, usd(1)), (2, usd(1))]).await;
        for agent in [1, 2] {
            done(&t, grant(agent, &lease(agent), usd(1))).await;
            done(&t, total(&lease(agent), most)).await;
        }
        let mut work = t.begin().await;
        let answer = work.insert_budget(&budget("bud_1", owner_scope("user_1"), usd(1)), &admin(), None).await;
        assert_eq!(answer.expect("answered"), Err(BudgetRefusal::Ledger(Rejection::AmountOverflow)));
        t.commit(work).await;
        let huge = Money::from_nanos(i64::MAX - 1);
        t.execute(&format!("UPDATE leases SET stated = {}", huge.nanos())).await;
        let all = (kernel::Timestamp::EPOCH, None);
        let shown = t.store.scope_balance(&Scope::Organization, all).await.expect("a sum beyond 64 bits is no error");
        assert_eq!(shown.spent, Money::MAX_BALANCE);
    }

    async fn budgets_are_opened_and_changed_while_money_moves(t: TestStore) {
        let t = Arc::new(t);
        let agents: Vec<_> = (1..=4).map(|n| (n, "user_1", Some("proj_1"))).collect();
        people(&t, &agents).await;
        allocate(&t, &[1, 2, 3, 4].map(|n| (n, usd(1_000)))).await;
        let second = match Store::open(&t.options).await {
            Ok(store) => Some(store),
            Err(StoreError::InUse(_)) => None,
            Err(other) => panic!("{other:?}"),
        };
        let second = second.unwrap_or_else(|| t.store.clone());
        let mut tasks = Vec::new();
        for agent in 1..=4 {
            let (t, store) = (Arc::clone(&t), if agent % 2 == 0 { t.store.clone() } else { second.clone() });
            tasks.push(tokio::spawn(async move {
                for n in 0..25 {
                    let id = lease(format!("{agent}_{n}"));
                    let items =
                        [grant(agent, &id, usd(3)), report(&t, &id, "r", usd(1)), give_back(&id, None)];
                    for item in items {
                        let mut work = store.begin(t.now()).await.expect("begun");
                        let answer = work.run(&[item], TTL_MS).await.expect("nobody waits for anybody for ever").remove(0);
                        work.commit(&t.entropy).await.expect("committed");
                        assert!(matches!(answer, Ok(_) | Err(Refused::Ledger(Rejection::BudgetExhausted { .. } | Rejection::LeaseNotFound))));
                    }
                }
            }));
        }
        let scopes = [Scope::Organization, project_scope("proj_1"), owner_scope("user_1")];
        for (n, scope) in scopes.into_iter().enumerate() {
            let (t, store) = (Arc::clone(&t), if n % 2 == 0 { t.store.clone() } else { second.clone() });
            tasks.push(tokio::spawn(async move {
                for round in 0..6 {
                    let new = budget(&format!("bud_{n}_{round}"), scope.clone(), usd(500));
                    let mut work = store.begin(t.now()).await.expect("begun");
                    work.insert_budget(&new, &admin(), None).await.expect("answered").expect("opened");
                    work.commit(&t.entropy).await.expect("committed");
                    for cap in 0..5 {
                        let change = BudgetChange { cap: Some(usd(200 + cap)), ..BudgetChange::default() };
                        let mut work = store.begin(t.now()).await.expect("begun");
                        work.adjust_budget(&new.id, &change, &admin(), None).await.expect("no deadlock").expect("changed");
                        work.commit(&t.entropy).await.expect("committed");
                    }
                    let mut work = store.begin(t.now()).await.expect("begun");
                    assert!(work.delete_budget(&new.id).await.expect("deleted"));
                    if round == 5 {
                        let day = NewBudget { window: Window::Day, ..new };
                        work.insert_budget(&day, &admin(), None).await.expect("answered").expect("opened");
                    }
                    work.commit(&t.entropy).await.expect("committed");
                }
            }));
        }
        // And by number, as allocations are, on the budget that everybody's money counts in
        let hot = open(&t, &NewBudget { window: Window::Month, ..budget("bud_hot", owner_scope("user_1"), usd(900)) }).await;
        let adjusting = tokio::spawn({
            let (t, store) = (Arc::clone(&t), second.clone());
            async move {
                for cap in 0..40 {
                    let command =
                        Command::Adjust { budget: hot.budget.no, cap: usd(900 + cap), enabled: true, actor: admin(), reason: None };
                    let mut work = store.begin(t.now()).await.expect("begun");
                    let answer = work.run(&[Item::new(command)], TTL_MS).await.expect("no deadlock").remove(0);
                    work.commit(&t.entropy).await.expect("committed");
                    answer.expect("adjusted");
                }
            }
        });
        tasks.push(adjusting);
        for task in tasks {
            task.await.expect("a task ends well");
        }
        for view in t.store.budgets(&BudgetFilter::default(), t.now(), Page::first(100)).await.expect("listed").rows {
            let bounds = (view.window_start, view.window_end);
            let summed = t.store.scope_balance(&view.budget.scope, bounds).await.expect("summed");
            assert_eq!(view.account, summed, "{}", view.id);
        }
        assert_sound(&t).await;
        second.close().await;
    }
}
