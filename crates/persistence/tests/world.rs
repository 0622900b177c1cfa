//! A small world for tests of the money: people, projects, agents and budgets, and short ways to say what they do.

use kernel::{AgentId, BudgetId, LeaseId, Money, ProjectId, ProviderKeyId, UserId, Window, Zone};
use ledger::{Actor, Command, Figure, IdempotencyKey, Outcome, Rejection, Scope, SettleOutcome, Spending};
use persistence::{
    Answer, BudgetSource, BudgetView, CallFacts, Extra, Item, LeaseTerms, NewBudget, Refused, StoreError,
};

use crate::support::{TTL_MS, TestStore};

/// Whole US dollars.
pub(crate) fn usd(amount: i64) -> Money {
    Money::from_nanos(amount * 1_000_000_000)
}

pub(crate) fn lease(name: impl std::fmt::Display) -> LeaseId {
    LeaseId::new(format!("lease_{name}"))
}

pub(crate) fn owner_scope(owner: &str) -> Scope {
    Scope::Owner(UserId::new(owner))
}

pub(crate) fn project_scope(project: &str) -> Scope {
    Scope::Project(ProjectId::new(project))
}

pub(crate) fn admin() -> Actor {
    Actor::User(UserId::new("user_admin"))
}

// ---- commands

pub(crate) fn terms() -> LeaseTerms {
    LeaseTerms {
        provider: "openai".into(),
        provider_key: ProviderKeyId(1),
        runtime_id: Some("runtime \"1\"\n".into()),
        runtime_version: None,
    }
}

pub(crate) fn grant(agent: i64, id: &LeaseId, amount: Money) -> Item {
    grant_with(agent, id, amount, None)
}

/// A grant under an idempotency key; the second letter stands for the body.
pub(crate) fn grant_with(agent: i64, id: &LeaseId, amount: Money, key: Option<(&str, u8)>) -> Item {
    let request = key.map(|(key, body)| IdempotencyKey { key: key.into(), body_hash: [body; 32] });
    let command = Command::Grant { agent: AgentId(agent), lease: id.clone(), requested: amount, request };
    Item { extra: Extra::Terms(terms()), ..Item::new(command) }
}

pub(crate) fn refresh(agent: i64, old: &LeaseId, new: &LeaseId, amount: Money, total: Option<Money>) -> Item {
    let command = Command::Refresh {
        agent: AgentId(agent),
        old: old.clone(),
        new: new.clone(),
        requested: amount,
        total,
        request: None,
    };
    Item { extra: Extra::Terms(terms()), ..Item::new(command) }
}

pub(crate) fn report(t: &TestStore, id: &LeaseId, request: &str, cost: Money) -> Item {
    let item = Spending { id: request.into(), cost, occurred_at: t.now() };
    let command = Command::Report { lease: id.clone(), item: Some(item), total: None, seq: None };
    Item { extra: Extra::Call(call()), ..Item::new(command) }
}

pub(crate) fn call() -> CallFacts {
    CallFacts { model: "gpt-4o".into(), provider: "openai".into(), tokens: 1_200 }
}

/// A running total without an itemised report.
pub(crate) fn total(id: &LeaseId, total: Money) -> Item {
    Item::new(Command::Report { lease: id.clone(), item: None, total: Some(total), seq: Some(3) })
}

pub(crate) fn give_back(id: &LeaseId, spent: Option<Money>) -> Item {
    Item::new(Command::Return { lease: id.clone(), figure: spent.map(Figure::Spent) })
}

pub(crate) fn expire(id: &LeaseId) -> Item {
    Item::new(Command::Expire { lease: id.clone() })
}

pub(crate) fn revoke(id: &LeaseId) -> Item {
    let by = kernel::EndedBy::Revoke;
    Item::new(Command::Revoke { lease: id.clone(), by, actor: admin(), reason: "stop".into() })
}

pub(crate) fn settle(id: &LeaseId, outcome: SettleOutcome, figure: Option<Money>) -> Item {
    let reason = "it's settled".into();
    Item::new(Command::Settle { lease: id.clone(), outcome, figure, actor: admin(), reason })
}

// ---- the world

/// Agents by number, with their owner and project.
pub(crate) async fn people(t: &TestStore, agents: &[(i64, &str, Option<&str>)]) {
    let mut sql = String::new();
    let mut owners: Vec<&str> = agents.iter().map(|(_, owner, _)| *owner).collect();
    let mut projects: Vec<&str> = agents.iter().filter_map(|(_, _, project)| *project).collect();
    owners.sort_unstable();
    owners.dedup();
    projects.sort_unstable();
    projects.dedup();
    for owner in owners {
        sql += &format!(
            "INSERT INTO users (id, username, username_key, password_hash, role, is_active, must_change_password, \
             created_at, updated_at) VALUES ('{owner}', '{owner}', '{owner}', '', 'user', 1, 0, 0, 0);"
        );
    }
    for project in projects {
        sql += &format!(
            "INSERT INTO projects (id, name, name_key, created_at, updated_at) \
             VALUES ('{project}', '{project}', '{project}', 0, 0);"
        );
    }
    for (id, owner, project) in agents {
        let project = project.map_or("NULL".to_owned(), |p| format!("'{p}'"));
        sql += &format!(
            "INSERT INTO agents (id, name, name_key, providers, tags, owner_id, project_id, created_at, updated_at) \
             VALUES ({id}, 'agent {id}', 'agent {id}', '[]', '[]', '{owner}', {project}, 0, 0);\
             INSERT INTO agent_books (agent_id, owner_id, project_id, epoch, alive_since, alive_until, chain_length, \
             chain_hash) SELECT {id}, '{owner}', {project}, 1, 0, 0, 0, chain_hash FROM agent_books WHERE agent_id = 0 \
             AND chain_length = 0;"
        );
    }
    t.execute(&sql).await;
}

/// A budget to be opened, without a window unless it is given one.
pub(crate) fn budget(id: &str, scope: Scope, cap: Money) -> NewBudget {
    NewBudget {
        id: BudgetId::new(id),
        scope,
        name: None,
        cap,
        window: Window::None,
        zone: Zone::UTC,
        thresholds: vec![50, 80, 95],
        enabled: true,
        source: BudgetSource::Policy,
        created_by: Some(UserId::new("user_admin")),
    }
}

pub(crate) async fn open(t: &TestStore, new: &NewBudget) -> BudgetView {
    let mut work = t.begin().await;
    let opened = work.insert_budget(new, &admin(), Some("first")).await.expect("the store answers");
    t.commit(work).await;
    opened.expect("the budget opens")
}

/// Gives each agent an allocation.
pub(crate) async fn allocate(t: &TestStore, agents: &[(i64, Money)]) {
    for (agent, cap) in agents {
        let new = budget(&format!("bud_agent_{agent}"), Scope::Agent(AgentId(*agent)), *cap);
        open(t, &NewBudget { source: BudgetSource::AgentAllocation, ..new }).await;
    }
}

/// One agent of one owner with an allocation: the smallest world money moves in.
pub(crate) async fn one_agent(t: &TestStore, cap: Money) {
    people(t, &[(1, "user_1", None)]).await;
    allocate(t, &[(1, cap)]).await;
}

pub(crate) async fn run(t: &TestStore, items: &[Item]) -> Vec<Answer> {
    try_run(t, items).await.expect("the batch is written")
}

pub(crate) async fn try_run(t: &TestStore, items: &[Item]) -> Result<Vec<Answer>, StoreError> {
    let mut work = t.begin().await;
    let answers = work.run(items, TTL_MS).await?;
    work.commit(&t.entropy).await?;
    Ok(answers)
}

pub(crate) async fn run_one(t: &TestStore, item: Item) -> Answer {
    run(t, &[item]).await.remove(0)
}

/// Runs one command that must succeed.
pub(crate) async fn done(t: &TestStore, item: Item) -> Outcome {
    run_one(t, item).await.expect("the command succeeds").outcome
}

/// Runs one command that the ledger must refuse.
pub(crate) async fn refused(t: &TestStore, item: Item) -> Rejection {
    match run_one(t, item).await {
        Err(Refused::Ledger(rejection)) => rejection,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Spent, leased, suspense and overrun of the agent's allocation, in nano-dollars.
pub(crate) async fn figures(t: &TestStore, agent: i64) -> [i64; 4] {
    amounts(&allocation(t, agent).await)
}

pub(crate) async fn allocation(t: &TestStore, agent: i64) -> BudgetView {
    let mut found = t.store.allocations(&[AgentId(agent)], t.now()).await.expect("allocations are read");
    found.remove(&AgentId(agent)).expect("the agent has an allocation")
}

pub(crate) fn amounts(view: &BudgetView) -> [i64; 4] {
    let account = view.account;
    [account.spent, account.leased, account.suspense, account.overrun].map(Money::nanos)
}

/// Nothing is wrong with the books.
pub(crate) async fn assert_sound(t: &TestStore) {
    let check = t.store.verify_ledger().await.expect("the ledger is checked");
    assert!(check.is_ok(), "{:#?}", check.problems);
}
