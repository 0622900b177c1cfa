//! Freezes.

use auth::Role;
use kernel::{AgentId, FreezeId, Money};
use ledger::{Rejection, Scope, ScopeKind};
use persistence::{FreezeFilter, NewAgent, Page, SetFreeze, Visibility};

use crate::residents::{agent, agent_as, changes_directory, epoch, new_agent, pid, project, token, uid, user};
use crate::support::{START, TTL_MS, TestStore};
use crate::world::{done, grant, lease, owner_scope, project_scope, refresh, refused, usd};

async fn freeze(t: &TestStore, id: &str, scope: &Scope) -> SetFreeze {
    let mut work = t.begin().await;
    let set = work.set_freeze(&FreezeId::new(id), scope, &format!("why {id}"), &uid("user_admin")).await;
    t.commit(work).await;
    set.expect("the store answers")
}

async fn lift(t: &TestStore, scope: &Scope) -> bool {
    let mut work = t.begin().await;
    let lifted = work.lift_freeze(scope, Some("over"), &uid("user_admin")).await.expect("the store answers");
    t.commit(work).await;
    lifted.is_some()
}

async fn listed(t: &TestStore, filter: &FreezeFilter) -> Vec<String> {
    let listed = t.store.freezes(filter, Page::first(100)).await.expect("freezes are listed");
    assert_eq!(listed.total, listed.rows.len() as u64);
    listed.rows.into_iter().map(|freeze| freeze.id.to_string()).collect()
}

async fn covering(t: &TestStore, agent: AgentId) -> Vec<String> {
    let freezes = t.store.freezes_covering(agent).await.expect("read");
    freezes.into_iter().map(|freeze| freeze.id.to_string()).collect()
}

/// Agents 1 (Anna, project A), 2 (Anna, no project), 3 (Bert, project A).
async fn three_agents(t: &TestStore) -> [AgentId; 3] {
    let (anna, bert) = (user(t, "anna", Role::User).await, user(t, "bert", Role::User).await);
    let project = project(t, "proj_a", "A").await;
    let in_project = |owner| NewAgent { project: Some(project.clone()), ..new_agent("a", owner) };
    [
        agent_as(t, &in_project(&anna), 1_000_000).await,
        agent(t, "b", &anna).await,
        agent_as(t, &in_project(&bert), 1_000_000).await,
    ]
}

on_both_backends! {
    async fn a_freeze_raises_the_epoch_of_exactly_the_agents_it_covers(t: TestStore) {
        let [a, b, c] = three_agents(&t).await;
        let mut expected = [1, 1, 1];
        for (n, (scope, covers)) in [
            (Scope::Agent(b), [0, 1, 0]),
            (project_scope("proj_a"), [1, 0, 1]),
            (owner_scope("user_anna"), [1, 1, 0]),
            (Scope::OwnerProject(uid("user_anna"), pid("proj_a")), [1, 0, 0]),
            (Scope::Organization, [1, 1, 1]),
        ]
        .into_iter()
        .enumerate()
        {
            let set = freeze(&t, &format!("frz_{n}"), &scope).await;
            assert_eq!((set.created, set.agents_affected), (true, covers.iter().sum::<i64>()), "{scope:?}");
            assert_eq!((&set.freeze.scope, set.freeze.frozen_at, set.freeze.is_active()), (&scope, START, true));
            expected = [0, 1, 2].map(|n| expected[n] + covers[n]);
            assert_eq!([epoch(&t, a).await, epoch(&t, b).await, epoch(&t, c).await], expected, "{scope:?}");
        }
    }

    async fn freezing_what_is_frozen_gives_the_freeze_that_is_there(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let first = freeze(&t, "frz_1", &Scope::Agent(a)).await;
        t.clock.advance_millis(10);
        let again = freeze(&t, "frz_2", &Scope::Agent(a)).await;
        assert_eq!(again, SetFreeze { created: false, ..first });
        assert_eq!(epoch(&t, a).await, 2, "raised once");
    }

    async fn one_of_two_freezes_at_once_is_new(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let scope = owner_scope("user_anna");
        let (one, two) = tokio::join!(freeze(&t, "frz_1", &scope), freeze(&t, "frz_2", &scope));
        assert!(one.created ^ two.created);
        assert_eq!(one.freeze, two.freeze);
        assert_eq!(epoch(&t, a).await, 2);
    }

    async fn deleted_agents_are_not_counted(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let mut work = t.begin().await;
        work.delete_agent(a).await.expect("written");
        t.commit(work).await;
        assert_eq!(freeze(&t, "frz_1", &Scope::Organization).await.agents_affected, 2);
    }

    async fn a_freeze_tells_what_is_lent_to_whom_it_covers(t: TestStore) {
        let [a, b, c] = three_agents(&t).await;
        let amount = Money::from_micros(100).expect("an amount");
        for (n, agent) in [a, a, b, c].into_iter().enumerate() {
            done(&t, grant(agent.0, &lease(n), amount)).await;
        }
        done(&t, crate::world::give_back(&lease(0), None)).await;
        done(&t, crate::world::revoke(&lease(1))).await;
        let set = freeze(&t, "frz_1", &owner_scope("user_anna")).await;
        assert_eq!((set.agents_affected, set.open_leases), (2, 1));
        assert_eq!(set.exposure, Money::from_micros(200).expect("an amount"), "one lease lent, one in suspense");
    }

    async fn a_lease_from_before_a_freeze_is_not_refreshed_even_once_it_is_lifted(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let amount = Money::from_micros(100).expect("an amount");
        done(&t, grant(a.0, &lease(1), amount)).await;
        freeze(&t, "frz_1", &Scope::Organization).await;
        assert!(lift(&t, &Scope::Organization).await);
        assert_eq!(refused(&t, refresh(a.0, &lease(1), &lease(2), amount, None)).await, Rejection::StaleEpoch);
    }

    async fn a_freeze_and_a_new_token_in_one_work_raise_the_epoch_twice(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let mut work = t.begin().await;
        work.set_ic_token(a, &token("one", &t)).await.expect("set");
        work.replace_ic_token(a, &token("two", &t)).await.expect("replaced");
        work.set_freeze(&FreezeId::new("frz_1"), &Scope::Organization, "x", &uid("user_admin")).await.expect("frozen");
        let answers = work.run(&[grant(a.0, &lease(1), usd(1))], TTL_MS).await.expect("answered");
        assert!(answers[0].is_ok(), "the ledger knows no freezes");
        t.commit(work).await;
        assert_eq!(epoch(&t, a).await, 3);
    }

    async fn setting_and_lifting_end_pictures_of_agents(t: TestStore) {
        let (id, by) = (FreezeId::new("frz_1"), uid("user_admin"));
        let scope = Scope::Organization;
        assert!(changes_directory(&t, async |work| drop(work.set_freeze(&id, &scope, "x", &by).await)).await);
        assert!(!changes_directory(&t, async |work| drop(work.set_freeze(&id, &scope, "x", &by).await)).await);
        assert!(changes_directory(&t, async |work| drop(work.lift_freeze(&scope, None, &by).await)).await);
        assert!(!changes_directory(&t, async |work| drop(work.lift_freeze(&scope, None, &by).await)).await);
    }

    async fn a_lifted_freeze_keeps_its_story_and_the_scope_can_be_frozen_anew(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        let scope = Scope::Agent(a);
        assert!(!lift(&t, &scope).await);
        freeze(&t, "frz_1", &scope).await;
        t.clock.advance_millis(10);
        let mut work = t.begin().await;
        let lifted = work.lift_freeze(&scope, Some("over"), &uid("user_admin")).await.expect("answered").expect("there");
        t.commit(work).await;
        assert_eq!((lifted.unfrozen_at, lifted.unfreeze_reason.as_deref()), (Some(t.now()), Some("over")));
        assert_eq!((lifted.unfrozen_by.clone(), lifted.frozen_at), (Some(uid("user_admin")), START));
        assert_eq!(t.store.active_freeze(&scope).await.expect("read"), None);
        let stored = t.store.freezes(&FreezeFilter::default(), Page::first(1)).await.expect("listed").rows.remove(0);
        assert_eq!(stored, lifted);
        t.clock.advance_millis(10);
        let again = freeze(&t, "frz_2", &scope).await;
        assert!(again.created);
        assert_eq!(t.store.active_freeze(&scope).await.expect("read"), Some(again.freeze));
        assert_eq!(listed(&t, &FreezeFilter::default()).await, ["frz_2", "frz_1"]);
    }

    async fn the_freezes_that_cover_an_agent_are_listed_oldest_first(t: TestStore) {
        let [a, b, c] = three_agents(&t).await;
        for (id, scope) in [
            ("frz_project", project_scope("proj_a")),
            ("frz_anna", owner_scope("user_anna")),
            ("frz_b", Scope::Agent(b)),
            ("frz_lifted", Scope::Organization),
        ] {
            t.clock.advance_millis(10);
            freeze(&t, id, &scope).await;
        }
        lift(&t, &Scope::Organization).await;
        assert_eq!(covering(&t, a).await, ["frz_project", "frz_anna"]);
        assert_eq!(covering(&t, b).await, ["frz_anna", "frz_b"]);
        assert_eq!(covering(&t, c).await, ["frz_project"]);
        assert!(covering(&t, AgentId(999)).await.is_empty());
    }

    async fn freezes_are_filtered_and_users_see_those_that_cover_own_agents(t: TestStore) {
        let [a, ..] = three_agents(&t).await;
        user(&t, "carl", Role::User).await;
        for (id, scope) in [
            ("frz_a", Scope::Agent(a)),
            ("frz_project", project_scope("proj_a")),
            ("frz_anna", owner_scope("user_anna")),
            ("frz_carl", owner_scope("user_carl")),
            ("frz_org", Scope::Organization),
        ] {
            t.clock.advance_millis(10);
            freeze(&t, id, &scope).await;
        }
        lift(&t, &owner_scope("user_anna")).await;
        let all = FreezeFilter::default;
        let of = |user: &str| FreezeFilter { visible_to: Visibility::Of(uid(user)), ..all() };
        for (filter, expected) in [
            (all(), &["frz_org", "frz_carl", "frz_anna", "frz_project", "frz_a"][..]),
            (FreezeFilter { active: Some(true), ..all() }, &["frz_org", "frz_carl", "frz_project", "frz_a"]),
            (FreezeFilter { active: Some(false), ..all() }, &["frz_anna"]),
            (FreezeFilter { kind: Some(ScopeKind::Owner), ..all() }, &["frz_carl", "frz_anna"]),
            (FreezeFilter { scope_id: Some("proj_a".to_owned()), ..all() }, &["frz_project"]),
            (FreezeFilter { scope_id: Some(a.to_string()), kind: Some(ScopeKind::Agent), ..all() }, &["frz_a"]),
            (of("user_anna"), &["frz_org", "frz_anna", "frz_project", "frz_a"]),
            (of("user_bert"), &["frz_org", "frz_project"]),
            (of("user_carl"), &[]),
        ] {
            assert_eq!(listed(&t, &filter).await, expected, "{filter:?}");
        }
        let page = t.store.freezes(&all(), Page { offset: 1, limit: 1 }).await.expect("listed");
        assert_eq!((page.rows[0].id.as_str(), page.total), ("frz_carl", 5));
    }
}
