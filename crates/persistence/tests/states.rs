//! What agents are doing: which state follows from what, and that each change is told once.

use auth::Role;
use kernel::entropy::SeededEntropy;
use kernel::{AgentId, BudgetId, FreezeId, Money, Window};
use ledger::{Command, Scope, SettleOutcome};
use persistence::{AgentChange, AgentState, BudgetChange, Item, NewAgent, NewBudget, ProviderKeyChange, Store, Work};
use serde_json::{Value, json};

use crate::residents::{agent_as, disable, give_token, key, new_agent, pid, project, token, uid, user};
use crate::support::{START, TTL_MS, TestStore};
use crate::world::*;

const MINUTE: i64 = 60_000;

/// A user with an agent that can begin: a token, a key and ten dollars.
async fn ready_agent(t: &TestStore) -> i64 {
    ready_agents(t, 1).await[0]
}

async fn ready_agents(t: &TestStore, count: usize) -> Vec<i64> {
    user(t, "1", Role::User).await;
    project(t, "proj_1", "One").await;
    let primary_key = Some(key(t, "openai", "ref_1").await);
    let mut agents = Vec::new();
    for number in 0..count {
        let project = Some(pid("proj_1"));
        let new = NewAgent { primary_key, project, ..new_agent(&format!("agent {number}"), &uid("user_1")) };
        let id = agent_as(t, &new, 10_000_000).await;
        give_token(t, id, &format!("token {number}")).await;
        agents.push(id.0);
    }
    agents
}

async fn state(t: &TestStore, agent: i64) -> AgentState {
    t.store.agent_state(AgentId(agent)).await.expect("read").expect("something was told")
}

/// The states told since a place, with the agent they are of.
async fn told(t: &TestStore, after: i64) -> Vec<(i64, String)> {
    let events = t.store.events_after(after, 10_000).await.expect("read");
    let states = events.into_iter().filter(|event| event.kind == "STATE_UPDATE");
    states
        .map(|event| {
            let payload: Value = serde_json::from_str(&event.payload).expect("JSON");
            (event.agent.expect("of an agent").0, payload["state"].as_str().expect("a state").to_owned())
        })
        .collect()
}

async fn head(t: &TestStore) -> i64 {
    t.store.stream_head().await.expect("read").last
}

async fn look(t: &TestStore) {
    while t.store.look_at_states(t.now(), &t.entropy).await.expect("looked") {}
}

async fn freeze(t: &TestStore, id: &str, scope: &Scope) {
    let mut work = t.begin().await;
    work.set_freeze(&FreezeId::new(id), scope, "why", &uid("user_admin")).await.expect("frozen");
    t.commit(work).await;
}

async fn lift(t: &TestStore, scope: &Scope) {
    let mut work = t.begin().await;
    work.lift_freeze(scope, None, &uid("user_admin")).await.expect("answers").expect("lifted");
    t.commit(work).await;
}

async fn cap(t: &TestStore, budget: &str, cap: Money) {
    let mut work = t.begin().await;
    let change = BudgetChange { cap: Some(cap), ..BudgetChange::default() };
    work.adjust_budget(&BudgetId::new(budget), &change, &admin(), None).await.expect("answers").expect("changed");
    t.commit(work).await;
}

async fn deed<T>(t: &TestStore, deed: impl AsyncFnOnce(&mut Work) -> T) -> T {
    let mut work = t.begin().await;
    let done = deed(&mut work).await;
    t.commit(work).await;
    done
}

on_both_backends! {
    async fn an_agent_is_told_of_from_its_making_on(t: TestStore) {
        let agent = ready_agent(&t).await;
        assert_eq!(told(&t, 0).await, [(agent, "inactive".to_owned()), (agent, "idle".to_owned())]);
        let last = t.store.events_after(0, 100).await.expect("read").pop().expect("told");
        let payload: Value = serde_json::from_str(&last.payload).expect("JSON");
        assert_eq!(payload, json!({"state": "idle", "data": {
            "current_lead": null, "budget_spent": 0, "budget_remaining": 10, "budget_spent_microdollars": 0,
            "budget_remaining_microdollars": 10_000_000, "leased": 0, "suspense": 0, "open_leases": 0,
        }}));
    }

    async fn an_agent_runs_from_its_first_call_on_until_five_minutes_after_its_last(t: TestStore) {
        let agent = ready_agent(&t).await;
        done(&t, grant(agent, &lease("a"), usd(5))).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle, "money alone is no work");
        t.clock.advance_millis(MINUTE);
        done(&t, report(&t, &lease("a"), "r1", usd(1))).await;
        assert_eq!(state(&t, agent).await, AgentState::Running);
        t.clock.advance_millis(4 * MINUTE);
        done(&t, report(&t, &lease("a"), "r2", usd(1))).await;
        let before = head(&t).await;
        t.clock.advance_millis(MINUTE);
        look(&t).await;
        assert!(told(&t, before).await.is_empty(), "five minutes after the first call is one after the second");
        t.clock.advance_millis(4 * MINUTE - 1);
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Running);
        t.clock.advance_millis(1);
        for _ in 0..3 {
            look(&t).await;
        }
        assert_eq!(told(&t, before).await, [(agent, "idle".to_owned())], "once, however often it is looked");
        done(&t, report(&t, &lease("a"), "r1", usd(1))).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle, "a repeated report is no new call");
        done(&t, report(&t, &lease("a"), "r3", Money::ZERO)).await;
        assert_eq!(state(&t, agent).await, AgentState::Running, "a call that costs nothing is one");
        done(&t, give_back(&lease("a"), None)).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle, "without a lease nothing runs");
    }

    async fn two_servers_tell_of_a_silent_agent_once(t: TestStore) {
        let agents = ready_agents(&t, 3).await;
        for agent in &agents {
            done(&t, grant(*agent, &lease(agent), usd(5))).await;
            done(&t, report(&t, &lease(agent), "r", usd(1))).await;
        }
        let before = head(&t).await;
        t.clock.advance_millis(5 * MINUTE);
        let (one, two) = (SeededEntropy::new(5), SeededEntropy::new(6));
        let other = Store::open(&t.options).await.unwrap_or_else(|_| t.store.clone());
        let looks = tokio::join!(t.store.look_at_states(t.now(), &one), other.look_at_states(t.now(), &two));
        assert!(looks.0.is_ok() && looks.1.is_ok(), "{looks:?}");
        let mut all = told(&t, before).await;
        all.sort();
        assert_eq!(all, agents.iter().map(|agent| (*agent, "idle".to_owned())).collect::<Vec<_>>());
    }

    async fn an_agent_is_exhausted_when_it_holds_nothing_and_can_be_lent_nothing(t: TestStore) {
        let agent = ready_agent(&t).await;
        done(&t, grant(agent, &lease("a"), usd(10))).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle, "everything is lent, to itself");
        done(&t, report(&t, &lease("a"), "r1", Money::from_nanos(9_999_998_999))).await;
        assert_eq!(state(&t, agent).await, AgentState::Running, "there is a micro-dollar left");
        done(&t, report(&t, &lease("a"), "r2", Money::from_nanos(2))).await;
        assert_eq!(state(&t, agent).await, AgentState::Exhausted);
        let change = format!("bud_{agent}");
        cap(&t, &change, usd(20)).await;
        assert_eq!(state(&t, agent).await, AgentState::Running, "there is more, and its last call was just now");
        cap(&t, &change, usd(10)).await;
        done(&t, give_back(&lease("a"), None)).await;
        assert_eq!(state(&t, agent).await, AgentState::Exhausted);
    }

    async fn suspense_exhausts_and_its_settlement_frees(t: TestStore) {
        let agent = ready_agent(&t).await;
        done(&t, grant(agent, &lease("a"), usd(10))).await;
        t.clock.advance_millis(TTL_MS);
        done(&t, expire(&lease("a"))).await;
        assert_eq!(state(&t, agent).await, AgentState::Exhausted);
        done(&t, settle(&lease("a"), SettleOutcome::Unspent, None)).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle);
    }

    async fn a_wider_budget_exhausts_and_frees_all_who_draw_on_it(t: TestStore) {
        let agents = ready_agents(&t, 3).await;
        let owner = open(&t, &budget("bud_owner", owner_scope("user_1"), usd(4))).await;
        look(&t).await;
        let before = head(&t).await;
        done(&t, grant(agents[0], &lease("a"), usd(4))).await;
        look(&t).await;
        let all = async || {
            let mut states = Vec::new();
            for agent in &agents {
                states.push(state(&t, *agent).await);
            }
            states
        };
        let (idle, exhausted) = (AgentState::Idle, AgentState::Exhausted);
        assert_eq!(all().await, [idle, exhausted, exhausted], "the first holds what the others cannot have");
        done(&t, give_back(&lease("a"), Some(usd(1)))).await;
        look(&t).await;
        assert_eq!(all().await, [idle; 3]);
        cap(&t, owner.id.as_str(), usd(1)).await;
        look(&t).await;
        assert_eq!(all().await, [exhausted; 3]);
        deed(&t, async |work| work.delete_budget(&owner.id).await.expect("ended")).await;
        look(&t).await;
        assert_eq!(all().await, [idle; 3]);
        look(&t).await;
        let of_second = told(&t, before).await.into_iter().filter(|(agent, _)| *agent == agents[1]);
        let states: Vec<_> = of_second.map(|(_, state)| state).collect();
        assert_eq!(states, ["exhausted", "idle", "exhausted", "idle"], "each change once");
    }

    async fn a_new_window_frees_whom_the_old_one_exhausted(t: TestStore) {
        let agent = ready_agent(&t).await;
        let daily = NewBudget { window: Window::Day, ..budget("bud_day", Scope::Agent(AgentId(agent)), usd(1)) };
        open(&t, &daily).await;
        done(&t, grant(agent, &lease("a"), usd(1))).await;
        done(&t, give_back(&lease("a"), Some(usd(1)))).await;
        assert_eq!(state(&t, agent).await, AgentState::Exhausted);
        t.clock.set(START.plus_millis(12 * 60 * MINUTE - 1));
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Exhausted, "a millisecond before midnight");
        t.clock.advance_millis(1);
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle);
    }

    async fn a_freeze_is_followed_by_the_states_of_whom_it_covers(t: TestStore) {
        let agents = ready_agents(&t, 3).await;
        done(&t, grant(agents[0], &lease("a"), usd(4))).await;
        done(&t, report(&t, &lease("a"), "r", usd(1))).await;
        let before = head(&t).await;
        let scope = project_scope("proj_1");
        freeze(&t, "frz_1", &scope).await;
        let kinds: Vec<_> = t.store.events_after(before, 10).await.expect("read").into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["frozen", "STATE_UPDATE", "STATE_UPDATE", "STATE_UPDATE"]);
        assert_eq!(state(&t, agents[0]).await, AgentState::Frozen, "running or not");
        let before = head(&t).await;
        freeze(&t, "frz_2", &Scope::Agent(AgentId(agents[1]))).await;
        assert!(told(&t, before).await.is_empty(), "it was frozen");
        done(&t, report(&t, &lease("a"), "r2", usd(1))).await;
        assert_eq!(told(&t, before).await, [(agents[0], "frozen".to_owned())], "other figures, the same state");
        let before = head(&t).await;
        lift(&t, &scope).await;
        let mut states = told(&t, before).await;
        states.sort();
        assert_eq!(states, [(agents[0], "running".to_owned()), (agents[2], "idle".to_owned())]);
        lift(&t, &Scope::Agent(AgentId(agents[1]))).await;
        assert_eq!(state(&t, agents[1]).await, AgentState::Idle);
    }

    async fn a_freeze_of_many_is_told_soon_and_once(t: TestStore) {
        let mut sql = String::new();
        people(&t, &[(1, "user_1", None)]).await;
        for id in 2..=600 {
            sql += &format!(
                "INSERT INTO agents (id, name, name_key, providers, tags, owner_id, created_at, updated_at) \
                 VALUES ({id}, 'a', 'a', '[]', '[]', 'user_1', 0, 0);\
                 INSERT INTO agent_books (agent_id, owner_id, epoch, alive_since, alive_until, chain_length, chain_hash) \
                 SELECT {id}, 'user_1', 1, 0, 0, 0, chain_hash FROM agent_books WHERE agent_id = 0;"
            );
        }
        t.execute(&sql).await;
        look(&t).await;
        assert_eq!(told(&t, 0).await.len(), 600, "all are new");
        let before = head(&t).await;
        freeze(&t, "frz_1", &owner_scope("user_1")).await;
        assert!(told(&t, before).await.is_empty());
        look(&t).await;
        look(&t).await;
        let states = told(&t, before).await;
        assert!(states.len() == 600 && states.iter().all(|(_, state)| state == "frozen"));
        let before = head(&t).await;
        lift(&t, &owner_scope("user_1")).await;
        look(&t).await;
        assert_eq!(told(&t, before).await.len(), 600);
    }

    async fn tokens_make_an_agent_able_and_unable_to_begin(t: TestStore) {
        let agent = ready_agent(&t).await;
        let id = AgentId(agent);
        deed(&t, async |work| work.clear_ic_token(id).await.expect("cleared")).await;
        assert_eq!(state(&t, agent).await, AgentState::Inactive);
        let expires_at = Some(t.now().plus_millis(MINUTE));
        let new = persistence::NewIcTokenRow { expires_at, ..token("new", &t) };
        deed(&t, async |work| work.replace_ic_token(id, &new).await.expect("set")).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle);
        t.clock.advance_millis(MINUTE - 1);
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle);
        t.clock.advance_millis(1);
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Inactive, "it has ended by itself");
    }

    async fn keys_make_an_agent_able_and_unable_to_begin(t: TestStore) {
        let agent = ready_agent(&t).await;
        let id = AgentId(agent);
        let first = t.store.keys_of_agent(id).await.expect("read")[0].id;
        let now_it_is = async |wanted: AgentState, why: &str| {
            look(&t).await;
            assert_eq!(state(&t, agent).await, wanted, "{why}");
        };
        disable(&t, first).await;
        now_it_is(AgentState::Inactive, "disabled").await;
        let enable = ProviderKeyChange { is_enabled: Some(true), ..ProviderKeyChange::default() };
        deed(&t, async |work| work.update_provider_key(first, &enable).await.expect("changed")).await;
        now_it_is(AgentState::Idle, "enabled").await;
        deed(&t, async |work| work.set_keys_of_agent(id, &[]).await.expect("changed")).await;
        now_it_is(AgentState::Inactive, "taken away").await;
        deed(&t, async |work| work.assign_project_key(&pid("proj_1"), first).await.expect("lent")).await;
        now_it_is(AgentState::Idle, "lent by the project").await;
        deed(&t, async |work| work.unassign_project_keys(&pid("proj_1"), None).await.expect("lent no more")).await;
        now_it_is(AgentState::Inactive, "lent no more").await;
        deed(&t, async |work| work.add_agents_to_key(first, &[id]).await.expect("assigned")).await;
        now_it_is(AgentState::Idle, "assigned").await;
        deed(&t, async |work| work.delete_provider_key(first).await.expect("deleted")).await;
        now_it_is(AgentState::Inactive, "deleted").await;
        let second = key(&t, "openai", "ref_2").await;
        deed(&t, async |work| work.assign_project_key(&pid("proj_1"), second).await.expect("lent")).await;
        now_it_is(AgentState::Idle, "another").await;
        deed(&t, async |work| work.delete_provider_key(second).await.expect("deleted")).await;
        now_it_is(AgentState::Inactive, "deleted while the project lent it").await;
    }

    async fn an_agent_that_moves_takes_the_state_of_where_it_goes(t: TestStore) {
        let agent = ready_agent(&t).await;
        project(&t, "proj_2", "Two").await;
        freeze(&t, "frz_1", &project_scope("proj_2")).await;
        let change = AgentChange { project: Some(Some(pid("proj_2"))), ..AgentChange::default() };
        deed(&t, async |work| drop(work.update_agent(AgentId(agent), &change).await.expect("moved"))).await;
        assert_eq!(state(&t, agent).await, AgentState::Frozen);
        deed(&t, async |work| work.move_agents_out_of(&pid("proj_2")).await.expect("moved")).await;
        assert_eq!(state(&t, agent).await, AgentState::Idle);
    }

    async fn a_deleted_agent_stays_so_whatever_its_runtime_tells(t: TestStore) {
        let agent = ready_agent(&t).await;
        done(&t, grant(agent, &lease("a"), usd(5))).await;
        let before = head(&t).await;
        deed(&t, async |work| {
            work.agent_for_update(AgentId(agent)).await.expect("locked");
            for answer in work.run(&[revoke(&lease("a"))], TTL_MS).await.expect("run") {
                answer.expect("revoked");
            }
            work.delete_agent(AgentId(agent)).await.expect("deleted").expect("there was one");
        })
        .await;
        assert_eq!(told(&t, before).await, [(agent, "deleted".to_owned())], "one work tells of it once");
        let kinds: Vec<_> = t.store.events_after(before, 10).await.expect("read").into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["lease_revoked", "STATE_UPDATE"]);
        done(&t, report(&t, &lease("a"), "late", usd(1))).await;
        look(&t).await;
        assert_eq!(state(&t, agent).await, AgentState::Deleted);
    }

    async fn a_batch_tells_of_an_agent_once_after_what_caused_it(t: TestStore) {
        let agents = ready_agents(&t, 2).await;
        let before = head(&t).await;
        let (one, two) = (lease("one"), lease("two"));
        let mut items = vec![grant(agents[0], &one, usd(5)), grant(agents[1], &two, usd(5))];
        for n in 0..4 {
            items.push(report(&t, &one, &format!("r{n}"), usd(1)));
            items.push(report(&t, &two, &format!("r{n}"), usd(1)));
        }
        run(&t, &items).await;
        let kinds: Vec<_> = t.store.events_after(before, 50).await.expect("read").into_iter().map(|e| e.kind).collect();
        let expected = [&["lease_granted"; 2][..], &["llm_call"; 8], &["STATE_UPDATE"; 2]].concat();
        assert_eq!(kinds, expected);
        let last = t.store.events_after(before, 50).await.expect("read").pop().expect("told");
        let payload: Value = serde_json::from_str(&last.payload).expect("JSON");
        assert_eq!(payload, json!({"state": "running", "data": {
            "current_lead": null, "budget_spent": 4, "budget_remaining": 5, "budget_spent_microdollars": 4_000_000,
            "budget_remaining_microdollars": 5_000_000, "leased": 1_000_000, "suspense": 0, "open_leases": 1,
        }}));
    }

    async fn what_shows_nothing_new_tells_nothing(t: TestStore) {
        let agent = ready_agent(&t).await;
        done(&t, grant(agent, &lease("a"), usd(5))).await;
        done(&t, report(&t, &lease("a"), "r", usd(1))).await;
        let before = head(&t).await;
        done(&t, report(&t, &lease("a"), "r", usd(1))).await;
        done(&t, Item::new(Command::Touch { agent: AgentId(agent) })).await;
        done(&t, expire(&lease("a"))).await;
        cap(&t, &format!("bud_{agent}"), usd(10)).await;
        look(&t).await;
        assert_eq!(head(&t).await, before);
    }

    async fn a_work_that_is_given_up_tells_nothing_and_is_told_when_it_is_done_again(t: TestStore) {
        let agent = ready_agent(&t).await;
        let before = head(&t).await;
        let mut work = t.begin().await;
        work.run(&[grant(agent, &lease("a"), usd(10)), give_back(&lease("a"), Some(usd(10)))], TTL_MS).await.expect("run");
        drop(work);
        assert_eq!((state(&t, agent).await, head(&t).await), (AgentState::Idle, before));
        run(&t, &[grant(agent, &lease("a"), usd(10)), give_back(&lease("a"), Some(usd(10)))]).await;
        assert_eq!(told(&t, before).await, [(agent, "exhausted".to_owned())]);
    }

    async fn open_leases_are_counted_through_everything_that_ends_them(t: TestStore) {
        let agent = ready_agent(&t).await;
        let open = async || {
            let events = t.store.events_after(0, 10_000).await.expect("read");
            let last = events.iter().rev().find(|event| event.kind == "STATE_UPDATE").expect("told");
            let payload: Value = serde_json::from_str(&last.payload).expect("JSON");
            payload["data"]["open_leases"].as_i64().expect("a number")
        };
        let grants: Vec<Item> = (0..6).map(|n| grant(agent, &lease(n), usd(1))).collect();
        run(&t, &grants).await;
        assert_eq!(open().await, 6);
        done(&t, give_back(&lease(0), None)).await;
        done(&t, give_back(&lease(0), Some(usd(2)))).await;
        assert_eq!(open().await, 5);
        done(&t, refresh(agent, &lease(1), &lease("1b"), usd(1), None)).await;
        assert_eq!(open().await, 5);
        done(&t, revoke(&lease(2))).await;
        done(&t, settle(&lease(2), SettleOutcome::Spent, None)).await;
        assert_eq!(open().await, 4);
        t.clock.advance_millis(TTL_MS);
        // The first is found run out by its own report, the others by the sign of life that comes with the event
        done(&t, report(&t, &lease(3), "r", usd(1))).await;
        assert_eq!(open().await, 3);
        run(&t, &[expire(&lease(4)), expire(&lease(5)), expire(&lease("1b"))]).await;
        assert_eq!(open().await, 0);
        done(&t, give_back(&lease(4), None)).await;
        assert_eq!(open().await, 0);
    }
}
