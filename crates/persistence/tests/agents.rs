//! Agents: rows, books, keys, IC tokens, and how they are shown.

use auth::{Role, TokenHash};
use kernel::{AgentId, EndedBy, Money, ProviderKeyId, Window, Zone};
use ledger::{Command, Outcome, Rejection, Scope};
use persistence::{
    AgentActivity, AgentChange, AgentFilter, AgentSort, AgentStatus, BudgetSource, IcTokenSet, IcTokenView, Item,
    Listed, NewAgent, NewBudget, NewIcTokenRow, Page, Visibility,
};

use crate::residents::{
    agent, agent_as, changes_directory, disable, epoch, give_token, key, new_agent, pid, project, token, user,
};
use crate::support::{START, TTL_MS, TestStore};
use crate::world::{admin, budget, done, grant, lease, open, owner_scope, refresh, refused, report, usd};

const ALL: Page = Page::first(1_000);

async fn view(t: &TestStore, id: AgentId) -> persistence::AgentView {
    t.store.agent(id, t.now()).await.expect("read").expect("found")
}

async fn status(t: &TestStore, id: AgentId) -> AgentStatus {
    view(t, id).await.status
}

async fn listed(t: &TestStore, filter: &AgentFilter, sort: AgentSort, page: Page) -> (Vec<i64>, u64) {
    let Listed { rows, total } = t.store.agents(filter, sort, page, t.now()).await.expect("agents are listed");
    (rows.into_iter().map(|view| view.agent.id.0).collect(), total)
}

async fn keys_of(t: &TestStore, id: AgentId) -> (Vec<ProviderKeyId>, Option<ProviderKeyId>) {
    let keys = t.store.keys_of_agent(id).await.expect("read");
    let primary = t.store.agent_row(id).await.expect("read").expect("found").primary_key;
    assert_eq!(keys.iter().find(|key| key.is_primary).map(|key| key.id), primary);
    (keys.into_iter().map(|key| key.id).collect(), primary)
}

/// An agent of Anna's that can spend: a dollar, a key, a token.
async fn able(t: &TestStore) -> AgentId {
    let anna = user(t, "anna", Role::User).await;
    let key = key(t, "openai", "r1").await;
    let id = agent_as(t, &NewAgent { primary_key: Some(key), ..new_agent("a", &anna) }, 1_000_000).await;
    give_token(t, id, "token").await;
    id
}

on_both_backends! {
    async fn a_new_agent_has_a_row_a_book_and_an_allocation(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        project(&t, "proj_a", "A").await;
        let new = NewAgent {
            description: Some("it's".to_owned()),
            tags: vec!["x".to_owned(), "\"y\"".to_owned()],
            project: Some(pid("proj_a")),
            ..new_agent("Ärger", &anna)
        };
        let id = agent_as(&t, &new, 5_000).await;
        let shown = view(&t, id).await;
        assert_eq!((shown.agent.name.as_str(), shown.agent.description.as_deref()), ("Ärger", Some("it's")));
        assert_eq!((&shown.agent.tags, &shown.agent.owner, &shown.agent.project), (&new.tags, &anna, &new.project));
        assert_eq!((shown.agent.created_at, shown.agent.updated_at, shown.agent.deleted_at), (START, START, None));
        assert_eq!((shown.epoch, shown.budget.as_ref().map(|id| id.as_str().to_owned())), (1, Some(format!("bud_{id}"))));
        assert_eq!(shown.figures.allocated, Money::from_micros(5_000).expect("an amount"));
        assert_eq!((shown.figures.committed(), shown.budget_updated_at), (Money::ZERO, START));
        assert_eq!(t.store.agent_row(id).await.expect("read"), Some(shown.agent));
        assert!(t.store.agent(AgentId(999), t.now()).await.expect("read").is_none());
        assert!(t.store.agent_row(AgentId(0)).await.expect("read").is_none(), "the system's chain is no agent");
    }

    async fn an_agent_is_changed_field_by_field(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        t.clock.advance_millis(10);
        let change = AgentChange {
            name: Some("Öl".to_owned()),
            tags: Some(vec!["t".to_owned()]),
            description: Some(Some("d".to_owned())),
            ..AgentChange::default()
        };
        let changed = changes_directory(&t, async |work| {
            let after = work.update_agent(id, &change).await.expect("written").expect("found");
            assert_eq!((after.name.as_str(), after.updated_at), ("Öl", work.now()));
            assert_eq!(work.update_agent(AgentId(999), &change).await.expect("answered"), None);
        });
        assert!(changed.await);
        let row = t.store.agent_row(id).await.expect("read").expect("found");
        assert_eq!((row.name.as_str(), row.description.as_deref(), row.tags), ("Öl", Some("d"), vec!["t".to_owned()]));
        assert_eq!((row.stated_providers, row.owner), (vec!["openai".to_owned()], anna));
        let mut work = t.begin().await;
        let clear = AgentChange { description: Some(None), ..AgentChange::default() };
        assert_eq!(work.update_agent(id, &clear).await.expect("written").expect("found").description, None);
    }

    async fn a_moved_agent_takes_its_future_leases_with_it(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        project(&t, "proj_a", "A").await;
        let id = agent(&t, "a", &anna).await;
        open(&t, &budget("bud_bert", owner_scope("user_bert"), usd(10))).await;
        let amount = Money::from_micros(100).expect("an amount");
        done(&t, grant(id.0, &lease(1), amount)).await;
        let mut work = t.begin().await;
        let change =
            AgentChange { owner: Some(bert.clone()), project: Some(Some(pid("proj_a"))), ..AgentChange::default() };
        work.update_agent(id, &change).await.expect("written").expect("found");
        // The same work already lends to the new owner
        let answers = work.run(&[grant(id.0, &lease(2), amount)], TTL_MS).await.expect("answered");
        let Ok(done) = &answers[0] else { panic!("{answers:?}") };
        let Outcome::Granted { lease: granted, .. } = &done.outcome else { panic!("{answers:?}") };
        assert_eq!((&granted.owner, &granted.project), (&bert, &Some(pid("proj_a"))));
        t.commit(work).await;
        let book = t.store.book_of(&[id], t.now()).await.expect("read");
        assert_eq!((&book.agents[&id].owner, &book.agents[&id].project), (&bert, &Some(pid("proj_a"))));
        let standing = t.store.standing_of(&[id], t.now()).await.expect("read");
        let figures = standing.figures(id).expect("in range");
        let of_bert = figures.iter().find(|f| f.budget.scope == owner_scope("user_bert")).expect("his budget counts");
        assert_eq!(of_bert.account.leased, amount, "only what was lent after the move");
    }

    async fn what_changes_between_two_runs_of_one_work_is_seen_by_the_second(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let id = agent(&t, "a", &anna).await;
        give_token(&t, id, "token").await;
        let amount = Money::from_micros(100).expect("an amount");
        let lend = async |work: &mut persistence::Work, n: i64| {
            let answers = work.run(&[grant(id.0, &lease(n), amount)], TTL_MS).await.expect("answered");
            let Ok(done) = &answers[0] else { panic!("{answers:?}") };
            let Outcome::Granted { lease, .. } = &done.outcome else { panic!("{answers:?}") };
            (lease.owner.clone(), lease.epoch)
        };
        let mut work = t.begin().await;
        assert_eq!(lend(&mut work, 1).await, (anna, 1));
        let change = AgentChange { owner: Some(bert.clone()), ..AgentChange::default() };
        work.update_agent(id, &change).await.expect("written").expect("found");
        assert_eq!(lend(&mut work, 2).await, (bert.clone(), 1));
        work.clear_ic_token(id).await.expect("written");
        assert_eq!(lend(&mut work, 3).await, (bert.clone(), 2));
        let freeze = kernel::FreezeId::new("frz_1");
        work.set_freeze(&freeze, &Scope::Organization, "stop", &bert).await.expect("frozen");
        assert_eq!(lend(&mut work, 4).await, (bert.clone(), 3));
        t.commit(work).await;
        assert_eq!(epoch(&t, id).await, 3);
    }

    async fn a_deleted_agent_is_gone_but_its_row_stays(t: TestStore) {
        let id = able(&t).await;
        let before = epoch(&t, id).await;
        let changed = changes_directory(&t, async |work| {
            assert_eq!(work.delete_agent(id).await.expect("written").map(|agent| agent.id), Some(id));
            assert_eq!(work.delete_agent(id).await.expect("answered"), None);
        });
        assert!(changed.await);
        assert!(t.store.agent(id, t.now()).await.expect("read").is_none());
        let row = t.store.agent_row(id).await.expect("read").expect("found");
        assert_eq!((row.deleted_at, row.ic_token_created_at), (Some(START), None));
        assert_eq!(epoch(&t, id).await, before + 1);
        let mut work = t.begin().await;
        assert_eq!(work.update_agent(id, &AgentChange::default()).await.expect("answered"), None);
        assert_eq!(work.set_ic_token(id, &token("x", &t)).await.expect("answered"), IcTokenSet::NoAgent);
        assert_eq!(work.replace_ic_token(id, &token("x", &t)).await.expect("answered"), None);
        assert!(!work.add_keys_to_agent(id, &[]).await.expect("answered"));
    }

    async fn agents_are_counted_by_owner_and_project(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let project = project(&t, "proj_a", "A").await;
        for (owner, in_project) in [(&anna, true), (&anna, false), (&bert, true)] {
            let new = NewAgent { project: in_project.then(|| project.clone()), ..new_agent("a", owner) };
            agent_as(&t, &new, 1).await;
        }
        let gone = agent(&t, "a", &anna).await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        let mut counts = Vec::new();
        for (owner, project) in
            [(None, None), (Some(&anna), None), (None, Some(&project)), (Some(&bert), Some(&project))]
        {
            counts.push(work.count_agents(owner, project).await.expect("counted"));
        }
        assert_eq!(counts, [3, 2, 2, 1]);
    }

    async fn all_agents_of_a_user_are_given_to_another(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let project = project(&t, "proj_a", "A").await;
        let first = agent_as(&t, &NewAgent { project: Some(project.clone()), ..new_agent("a", &anna) }, 1).await;
        let (second, gone, other) =
            (agent(&t, "b", &anna).await, agent(&t, "c", &anna).await, agent(&t, "d", &bert).await);
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let changed = changes_directory(&t, async |work| {
            let moved = work.reassign_agents(&anna, &bert).await.expect("written");
            let moved: Vec<_> = moved.iter().map(|m| (m.id, m.name.as_str(), m.project.clone())).collect();
            assert_eq!(moved, [(first, "a", Some(project.clone())), (second, "b", None)]);
            assert!(work.reassign_agents(&anna, &bert).await.expect("answered").is_empty());
        });
        assert!(changed.await);
        let book = t.store.book_of(&[first, second, gone, other], t.now()).await.expect("read");
        for (id, owner) in [(first, &bert), (second, &bert), (gone, &anna), (other, &bert)] {
            assert_eq!(&book.agents[&id].owner, owner);
            assert_eq!(&t.store.agent_row(id).await.expect("read").expect("found").owner, owner);
        }
    }

    // ---- keys

    async fn added_keys_leave_the_primary_one_and_an_agent_without_one_gets_the_first(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b, c) = (key(&t, "openai", "a").await, key(&t, "openai", "b").await, key(&t, "mistral", "c").await);
        let with = agent_as(&t, &NewAgent { primary_key: Some(a), ..new_agent("a", &anna) }, 1).await;
        let without = agent(&t, "b", &anna).await;
        let changed = changes_directory(&t, async |work| {
            assert!(work.add_keys_to_agent(with, &[c, b, c]).await.expect("written"));
            assert!(work.add_keys_to_agent(without, &[c]).await.expect("written"));
            assert!(work.add_keys_to_agent(without, &[b, c, a]).await.expect("written"));
            assert!(!work.add_keys_to_agent(AgentId(999), &[b]).await.expect("answered"));
        });
        assert!(changed.await);
        assert_eq!(keys_of(&t, with).await, (vec![a, c, b], Some(a)));
        assert_eq!(keys_of(&t, without).await, (vec![c, b, a], Some(c)));
        let shown = t.store.keys_of_agent(with).await.expect("read");
        assert_eq!((shown[1].provider.as_str(), shown[1].is_enabled), ("mistral", true));
        assert_eq!(shown[1].models, ["m-1", "m \"2\""]);
        let shown = view(&t, with).await;
        assert_eq!(shown.providers(), ["openai", "mistral"]);
    }

    async fn replaced_keys_keep_the_primary_one_only_if_it_is_among_them(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b, c) = (key(&t, "openai", "a").await, key(&t, "openai", "b").await, key(&t, "mistral", "c").await);
        let id = agent_as(&t, &NewAgent { primary_key: Some(a), ..new_agent("a", &anna) }, 1).await;
        let set = async |keys: &[ProviderKeyId]| {
            let mut work = t.begin().await;
            assert!(work.set_keys_of_agent(id, keys).await.expect("written"));
            t.commit(work).await;
            keys_of(&t, id).await
        };
        assert_eq!(set(&[b, a]).await, (vec![a, b], Some(a)));
        assert_eq!(set(&[c, b]).await, (vec![c, b], Some(c)));
        assert_eq!(set(&[]).await, (vec![], None));
        let mut work = t.begin().await;
        assert!(!work.set_keys_of_agent(AgentId(999), &[a]).await.expect("answered"));
    }

    async fn a_removed_primary_key_is_followed_by_the_first_that_was_assigned(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b, c) = (key(&t, "openai", "a").await, key(&t, "openai", "b").await, key(&t, "mistral", "c").await);
        let id = agent_as(&t, &NewAgent { primary_key: Some(a), ..new_agent("a", &anna) }, 1).await;
        let mut work = t.begin().await;
        work.add_keys_to_agent(id, &[c, b]).await.expect("written");
        t.commit(work).await;
        let remove = async |key| {
            let mut work = t.begin().await;
            let had = work.remove_key_from_agent(id, key).await.expect("written");
            t.commit(work).await;
            (had, keys_of(&t, id).await)
        };
        assert_eq!(remove(b).await, (true, (vec![a, c], Some(a))));
        assert_eq!(remove(b).await, (false, (vec![a, c], Some(a))));
        assert_eq!(remove(a).await, (true, (vec![c], Some(c))));
        assert_eq!(remove(c).await, (true, (vec![], None)));
    }

    async fn another_primary_key_takes_the_place_of_one_that_was_not_assigned(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b, c) = (key(&t, "openai", "a").await, key(&t, "openai", "b").await, key(&t, "mistral", "c").await);
        let id = agent_as(&t, &NewAgent { primary_key: Some(a), ..new_agent("a", &anna) }, 1).await;
        let make_primary = async |key| {
            let mut work = t.begin().await;
            let change = AgentChange { primary_key: Some(key), ..AgentChange::default() };
            work.update_agent(id, &change).await.expect("written").expect("found");
            t.commit(work).await;
            keys_of(&t, id).await
        };
        assert_eq!(make_primary(Some(b)).await, (vec![b], Some(b)));
        let mut work = t.begin().await;
        work.add_keys_to_agent(id, &[c]).await.expect("written");
        t.commit(work).await;
        assert_eq!(make_primary(Some(c)).await, (vec![c], Some(c)));
        assert_eq!(make_primary(None).await, (vec![c], None), "cleared; what was assigned stays");
    }

    async fn agents_are_assigned_to_a_key_by_adding_and_by_replacing(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (a, b) = (key(&t, "openai", "a").await, key(&t, "openai", "b").await);
        let mut agents = Vec::new();
        for name in ["x", "y", "z"] {
            agents.push(agent(&t, name, &anna).await);
        }
        let [x, y, z] = agents[..] else { panic!("three agents") };
        let mut work = t.begin().await;
        assert_eq!(work.add_agents_to_key(a, &[y, AgentId(999), x]).await.expect("written"), [x, y]);
        assert_eq!(work.add_agents_to_key(b, &[y]).await.expect("written"), [y]);
        t.commit(work).await;
        assert_eq!(keys_of(&t, y).await, (vec![a, b], Some(a)));
        let changed = changes_directory(&t, async |work| {
            assert_eq!(work.set_agents_of_key(a, &[z, x]).await.expect("written"), [x, z]);
        });
        assert!(changed.await);
        assert_eq!(keys_of(&t, x).await, (vec![a], Some(a)));
        assert_eq!(keys_of(&t, y).await, (vec![b], Some(b)));
        assert_eq!(keys_of(&t, z).await, (vec![a], Some(a)));
        let mut work = t.begin().await;
        assert!(work.set_agents_of_key(a, &[]).await.expect("written").is_empty());
        t.commit(work).await;
        assert!(t.store.holders_of_key(a, &Visibility::All).await.expect("read").is_empty());
    }

    async fn keys_are_shown_primary_first_then_as_assigned_then_of_the_project(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let project = project(&t, "proj_a", "A").await;
        let (a, b, c) = (key(&t, "openai", "a").await, key(&t, "mistral", "b").await, key(&t, "xai", "c").await);
        let new = NewAgent { primary_key: Some(c), project: Some(project.clone()), ..new_agent("a", &anna) };
        let id = agent_as(&t, &new, 1).await;
        let mut work = t.begin().await;
        work.add_keys_to_agent(id, &[b]).await.expect("written");
        work.assign_project_key(&project, a).await.expect("written");
        work.assign_project_key(&project, c).await.expect("written");
        t.commit(work).await;
        let shown = view(&t, id).await;
        let keys: Vec<_> = shown.keys.iter().map(|key| (key.id, key.is_of_project)).collect();
        assert_eq!(keys, [(c, false), (b, false), (a, true)]);
        assert_eq!(shown.providers(), ["xai", "mistral", "openai"]);
    }

    // ---- IC tokens

    async fn the_first_token_is_set_once_even_by_two_at_once(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let set = async |text: &str| {
            let mut work = t.begin().await;
            let set = work.set_ic_token(id, &token(text, &t)).await.expect("answered");
            t.commit(work).await;
            set
        };
        let (a, b) = tokio::join!(set("one"), set("two"));
        assert!(matches!((a, b), (IcTokenSet::Set, IcTokenSet::Exists) | (IcTokenSet::Exists, IcTokenSet::Set)));
        let winner = if a == IcTokenSet::Set { "one" } else { "two" };
        let picture = t.store.agent_picture(id).await.expect("read").expect("found");
        assert_eq!(picture.ic_token_hash.as_deref(), Some(TokenHash::of(winner).as_str()));
        assert_eq!(epoch(&t, id).await, 1, "nothing was replaced");
    }

    async fn a_replaced_or_removed_token_raises_the_epoch_and_ends_refreshes(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let replace = async |text: &str| {
            let mut work = t.begin().await;
            let had = work.replace_ic_token(id, &token(text, &t)).await.expect("written");
            t.commit(work).await;
            (had, epoch(&t, id).await)
        };
        assert_eq!(replace("one").await, (Some(false), 1));
        let amount = Money::from_micros(100).expect("an amount");
        done(&t, grant(id.0, &lease(1), amount)).await;
        assert_eq!(replace("two").await, (Some(true), 2));
        assert_eq!(refused(&t, refresh(id.0, &lease(1), &lease(2), amount, None)).await, Rejection::StaleEpoch);
        let clear = async || {
            let mut work = t.begin().await;
            let had = work.clear_ic_token(id).await.expect("written");
            t.commit(work).await;
            (had, epoch(&t, id).await)
        };
        assert_eq!(clear().await, (Some(true), 3));
        assert_eq!(clear().await, (Some(false), 3));
        assert_eq!(t.store.ic_token(id, TTL_MS).await.expect("read"), None);
        let mut work = t.begin().await;
        assert_eq!(work.clear_ic_token(AgentId(999)).await.expect("answered"), None);
        assert_eq!(work.replace_ic_token(AgentId(999), &token("x", &t)).await.expect("answered"), None);
    }

    async fn changes_of_tokens_end_pictures_of_the_agent(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let first = token("one", &t);
        assert!(changes_directory(&t, async |work| {
            work.set_ic_token(id, &first).await.expect("set");
        }).await);
        assert!(changes_directory(&t, async |work| {
            work.replace_ic_token(id, &first).await.expect("set");
        }).await);
        assert!(changes_directory(&t, async |work| {
            work.clear_ic_token(id).await.expect("cleared");
        }).await);
    }

    async fn a_token_shows_when_it_was_made_and_the_agents_last_sign_of_life_since(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let expires_at = Some(START.plus_millis(999_000));
        let mut work = t.begin().await;
        work.set_ic_token(id, &NewIcTokenRow { expires_at, ..token("one", &t) }).await.expect("set");
        t.commit(work).await;
        let shown = async || t.store.ic_token(id, TTL_MS).await.expect("read");
        assert_eq!(shown().await, Some(IcTokenView { created_at: START, expires_at, last_used_at: None }));
        t.clock.advance_millis(5_000);
        done(&t, Item::new(Command::Touch { agent: id })).await;
        let last_used_at = Some(START.plus_millis(5_000));
        assert_eq!(shown().await, Some(IcTokenView { created_at: START, expires_at, last_used_at }));
        t.clock.advance_millis(5_000);
        let mut work = t.begin().await;
        work.replace_ic_token(id, &token("two", &t)).await.expect("replaced");
        t.commit(work).await;
        assert_eq!(shown().await.and_then(|token| token.last_used_at), None, "that was the other token");
    }

    // ---- status

    async fn an_agent_that_can_spend_is_active(t: TestStore) {
        let id = able(&t).await;
        assert_eq!(status(&t, id).await, AgentStatus::Active);
    }

    async fn an_agent_without_a_token_that_can_be_used_is_inactive(t: TestStore) {
        let id = able(&t).await;
        let mut work = t.begin().await;
        let expires_at = Some(START.plus_millis(1_000));
        work.replace_ic_token(id, &NewIcTokenRow { expires_at, ..token("x", &t) }).await.expect("replaced");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Active);
        t.clock.advance_millis(1_000);
        assert_eq!(status(&t, id).await, AgentStatus::Inactive);
        let mut work = t.begin().await;
        work.clear_ic_token(id).await.expect("cleared");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Inactive);
    }

    async fn an_agent_without_an_enabled_key_is_inactive_unless_its_project_lends_one(t: TestStore) {
        let id = able(&t).await;
        let project = project(&t, "proj_a", "A").await;
        disable(&t, ProviderKeyId(1)).await;
        assert_eq!(status(&t, id).await, AgentStatus::Inactive);
        let lent = key(&t, "openai", "lent").await;
        let mut work = t.begin().await;
        work.assign_project_key(&project, lent).await.expect("assigned");
        let change = AgentChange { project: Some(Some(project)), ..AgentChange::default() };
        work.update_agent(id, &change).await.expect("written");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Active);
    }

    async fn an_agent_is_exhausted_when_any_enabled_budget_of_its_scopes_is(t: TestStore) {
        let id = able(&t).await;
        let own = NewBudget {
            window: Window::Day,
            zone: "Europe/Berlin".parse::<Zone>().expect("a zone"),
            ..budget("bud_day", owner_scope("user_anna"), Money::from_micros(100).expect("an amount"))
        };
        open(&t, &own).await;
        assert_eq!(status(&t, id).await, AgentStatus::Active);
        done(&t, grant(id.0, &lease(1), Money::from_micros(100).expect("an amount"))).await;
        assert_eq!(status(&t, id).await, AgentStatus::Exhausted);
        let shown = view(&t, id).await;
        assert_eq!(shown.figures.remaining(), Money::from_micros(999_900).expect("an amount"), "its own is not");
        // 23:00 UTC is midnight in Berlin in winter: another window of the day's budget
        t.clock.set(START.plus_millis(11 * 3_600_000 - 1));
        assert_eq!(status(&t, id).await, AgentStatus::Exhausted);
        t.clock.set(START.plus_millis(11 * 3_600_000));
        assert_eq!(status(&t, id).await, AgentStatus::Active);
        t.clock.set(START);
        let change = persistence::BudgetChange { enabled: Some(false), ..persistence::BudgetChange::default() };
        let mut work = t.begin().await;
        work.adjust_budget(&own.id, &change, &admin(), None).await.expect("answered").expect("changed");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Active, "a budget that is not enabled limits nothing");
    }

    async fn less_than_a_micro_dollar_is_nothing(t: TestStore) {
        let id = able(&t).await;
        let almost = Money::from_nanos(999);
        let mut work = t.begin().await;
        let change = persistence::BudgetChange { cap: Some(almost), ..persistence::BudgetChange::default() };
        let budget = kernel::BudgetId::new(format!("bud_{id}"));
        work.adjust_budget(&budget, &change, &admin(), None).await.expect("answered").expect("changed");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Exhausted);
    }

    async fn frozen_is_told_before_exhausted_and_exhausted_before_inactive(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent_as(&t, &new_agent("a", &anna), 0).await;
        assert_eq!(status(&t, id).await, AgentStatus::Exhausted);
        let mut work = t.begin().await;
        let freeze = kernel::FreezeId::new("frz_1");
        work.set_freeze(&freeze, &Scope::Organization, "stop", &anna).await.expect("frozen");
        t.commit(work).await;
        assert_eq!(status(&t, id).await, AgentStatus::Frozen);
    }

    async fn an_agent_without_an_allocation_is_shown_and_exhausted(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let mut work = t.begin().await;
        let id = work.create_agent(&new_agent("a", &anna)).await.expect("stored");
        t.commit(work).await;
        let shown = view(&t, id).await;
        assert_eq!((shown.status, shown.budget, shown.figures.allocated), (AgentStatus::Exhausted, None, Money::ZERO));
    }

    // ---- lists

    async fn agents_are_listed_in_every_order(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        for (name, micros) in [("beta", 30), ("Alpha", 20), ("Äther", 10), ("beta", 40)] {
            t.clock.advance_millis(10);
            agent_as(&t, &new_agent(name, &anna), micros).await;
        }
        let all = AgentFilter::default();
        for (sort, expected) in [
            (AgentSort::CreatedDescending, [4, 3, 2, 1]),
            (AgentSort::CreatedAscending, [1, 2, 3, 4]),
            (AgentSort::NameAscending, [2, 1, 4, 3]),
            (AgentSort::NameDescending, [3, 4, 1, 2]),
            (AgentSort::BudgetAscending, [3, 2, 1, 4]),
            (AgentSort::BudgetDescending, [4, 1, 2, 3]),
        ] {
            assert_eq!(listed(&t, &all, sort, ALL).await, (expected.to_vec(), 4), "{sort:?}");
            let page = Page { offset: 1, limit: 2 };
            assert_eq!(listed(&t, &all, sort, page).await, (expected[1..3].to_vec(), 4), "{sort:?}");
        }
    }

    async fn agents_are_filtered_by_what_is_given(t: TestStore) {
        let (anna, bert) = (user(&t, "anna", Role::User).await, user(&t, "bert", Role::User).await);
        let project = project(&t, "proj_a", "A").await;
        let tagged = NewAgent { tags: vec!["prod".to_owned(), "a,b".to_owned()], ..new_agent("Ünit_1", &anna) };
        agent_as(&t, &tagged, 10).await;
        agent_as(&t, &NewAgent { project: Some(project.clone()), ..new_agent("unit%2", &anna) }, 10).await;
        agent_as(&t, &new_agent("other", &bert), 10).await;
        let gone = agent_as(&t, &new_agent("gone", &bert), 10).await;
        let mut work = t.begin().await;
        work.delete_agent(gone).await.expect("written");
        t.commit(work).await;
        let all = AgentFilter::default;
        let text = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (all(), vec![3, 2, 1]),
            (AgentFilter { include_deleted: true, ..all() }, vec![4, 3, 2, 1]),
            (AgentFilter { visible_to: Visibility::Of(anna.clone()), ..all() }, vec![2, 1]),
            (AgentFilter { visible_to: Visibility::Of(anna.clone()), owner: Some(bert.clone()), ..all() }, vec![]),
            (AgentFilter { owner: Some(bert.clone()), ..all() }, vec![3]),
            (AgentFilter { project: Some(project), ..all() }, vec![2]),
            (AgentFilter { name: text("ünIT_"), ..all() }, vec![1]),
            (AgentFilter { name: text("%"), ..all() }, vec![2]),
            (AgentFilter { name: text("o"), ..all() }, vec![3]),
            (AgentFilter { tag: text("prod"), ..all() }, vec![1]),
            (AgentFilter { tag: text("a,b"), ..all() }, vec![1]),
            (AgentFilter { tag: text("pro"), ..all() }, vec![]),
            (AgentFilter { id: Some(AgentId(2)), ..all() }, vec![2]),
        ] {
            let total = expected.len() as u64;
            assert_eq!(listed(&t, &filter, AgentSort::default(), ALL).await, (expected, total), "{filter:?}");
        }
    }

    async fn a_filter_by_status_pages_over_the_agents_in_it(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        for micros in [10, 0, 10, 0, 10] {
            t.clock.advance_millis(10);
            agent_as(&t, &new_agent("a", &anna), micros).await;
        }
        let of = |status| AgentFilter { status: Some(status), ..AgentFilter::default() };
        let sort = AgentSort::CreatedAscending;
        assert_eq!(listed(&t, &of(AgentStatus::Exhausted), sort, ALL).await, (vec![2, 4], 2));
        let page = Page { offset: 1, limit: 1 };
        assert_eq!(listed(&t, &of(AgentStatus::Inactive), sort, page).await, (vec![3], 3));
        assert_eq!(listed(&t, &of(AgentStatus::Frozen), sort, ALL).await, (vec![], 0));
    }

    async fn a_long_list_has_every_agents_own_figures(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        // More than a set-based statement takes at once
        let mut work = t.begin().await;
        for n in 0..600 {
            let id = work.create_agent(&new_agent("a", &anna)).await.expect("stored");
            let allocation = persistence::NewAllocation {
                id: kernel::BudgetId::new(format!("bud_{id}")),
                cap: Money::from_micros(n).expect("an amount"),
                thresholds: vec![],
                created_by: anna.clone(),
                reason: None,
            };
            work.open_agent_allocation(id, &allocation).await.expect("opens");
        }
        t.commit(work).await;
        let sort = AgentSort::CreatedAscending;
        let views = t.store.agents(&AgentFilter::default(), sort, ALL, t.now()).await.expect("listed").rows;
        assert_eq!(views.len(), 600);
        for (n, view) in (0..).zip(&views) {
            assert_eq!(view.figures.allocated, Money::from_micros(n).expect("an amount"));
            assert_eq!(view.status, if n == 0 { AgentStatus::Exhausted } else { AgentStatus::Inactive });
        }
    }

    // ---- the rest

    async fn activity_counts_reports_and_active_leases(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        let (day, hour) = (START.plus_millis(-12 * 3_600_000), START);
        let activity = async || t.store.agent_activity(id, day, hour).await.expect("read");
        assert_eq!(activity().await, AgentActivity::default());
        let amount = Money::from_micros(100).expect("an amount");
        t.clock.set(START.plus_millis(-13 * 3_600_000));
        done(&t, grant(id.0, &lease(1), amount)).await;
        done(&t, report(&t, &lease(1), "r1", amount)).await;
        t.clock.set(START.plus_millis(-60_000));
        done(&t, grant(id.0, &lease(2), amount)).await;
        done(&t, report(&t, &lease(2), "r1", amount)).await;
        t.clock.set(START.plus_millis(60_000));
        done(&t, report(&t, &lease(2), "r2", amount)).await;
        let revoke =
            Command::Revoke { lease: lease(2), by: EndedBy::AgentDeleted, actor: admin(), reason: "x".to_owned() };
        done(&t, Item::new(revoke)).await;
        let seen = activity().await;
        assert_eq!((seen.requests_total, seen.requests_today, seen.requests_last_hour), (3, 2, 1));
        assert_eq!(seen.last_request_at, Some(t.now()));
    }

    async fn the_standing_of_no_agents_is_empty(t: TestStore) {
        let standing = t.store.standing_of(&[], t.now()).await.expect("read");
        assert!(standing.book().agents.is_empty() && standing.budgets().is_empty());
        let unknown = t.store.standing_of(&[AgentId(999)], t.now()).await.expect("read");
        assert!(unknown.agent(AgentId(999)).is_none() && unknown.figures(AgentId(999)).expect("none").is_empty());
    }

    async fn the_standing_says_where_each_budget_comes_from(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let id = agent(&t, "a", &anna).await;
        open(&t, &budget("bud_org", Scope::Organization, usd(5))).await;
        let standing = t.store.standing_of(&[id], t.now()).await.expect("read");
        let figures = standing.figures(id).expect("in range");
        let kinds: Vec<_> = figures.iter().map(|f| f.budget.scope.clone()).collect();
        assert_eq!(kinds, [Scope::Organization, Scope::Agent(id)], "widest first");
        let info = |n: usize| standing.info(figures[n].budget.no).expect("stored");
        assert_eq!((info(0).id.as_str(), info(0).source), ("bud_org", BudgetSource::Policy));
        assert_eq!(info(1).source, BudgetSource::AgentAllocation);
        assert_eq!(standing.allocation(id).map(|(info, _)| info), Some(info(1).clone()));
    }
}
