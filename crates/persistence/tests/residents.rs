//! Users, keys, projects and agents for the tests, made the way the program makes them.

use auth::{Role, TokenHash};
use kernel::{AgentId, BudgetId, Money, ProjectId, ProviderKeyId, Secret, UserId};
use persistence::{
    AgentFilter, AgentSort, NewAgent, NewAllocation, NewIcTokenRow, NewProject, NewProviderKey, NewUser, Page,
    ProviderKeyChange, Work,
};
use vault::SealedSecret;

use crate::support::TestStore;

pub(crate) fn uid(text: &str) -> UserId {
    UserId::new(text)
}

pub(crate) fn pid(text: &str) -> ProjectId {
    ProjectId::new(text)
}

pub(crate) fn new_user(name: &str, role: Role) -> NewUser {
    NewUser {
        id: UserId::new(format!("user_{name}")),
        username: name.to_owned(),
        email: Some(format!("{name}@example.test")),
        password_hash: Secret::new(format!("hash of {name}")),
        role,
        must_change_password: false,
    }
}

/// `user_<name>`, with the e-mail `<name>@example.test`.
pub(crate) async fn user(t: &TestStore, name: &str, role: Role) -> UserId {
    let (mut work, new) = (t.begin().await, new_user(name, role));
    work.create_user(&new).await.expect("the store answers").expect("the names are free");
    t.commit(work).await;
    new.id
}

pub(crate) async fn project(t: &TestStore, id: &str, name: &str) -> ProjectId {
    let (mut work, id) = (t.begin().await, ProjectId::new(id));
    let new = NewProject { id: id.clone(), name: name.to_owned(), description: None };
    assert!(work.create_project(&new).await.expect("the store answers"));
    t.commit(work).await;
    id
}

pub(crate) fn sealed(text: &str) -> SealedSecret {
    SealedSecret { kek_id: "kek_a".to_owned(), wrapped_key: vec![7; 60], ciphertext: text.as_bytes().to_vec() }
}

pub(crate) fn new_key(provider: &str, reference: &str) -> NewProviderKey {
    NewProviderKey {
        provider: provider.to_owned(),
        base_url: None,
        description: Some("a key".to_owned()),
        models: vec!["m-1".to_owned(), "m \"2\"".to_owned()],
        is_enabled: true,
        masked_key: "sk-a...xyz".to_owned(),
        secret_ref: reference.to_owned(),
        secret: sealed(reference),
    }
}

pub(crate) async fn key(t: &TestStore, provider: &str, reference: &str) -> ProviderKeyId {
    let mut work = t.begin().await;
    let id = work.create_provider_key(&new_key(provider, reference)).await.expect("a key is stored");
    t.commit(work).await;
    id
}

pub(crate) async fn disable(t: &TestStore, key: ProviderKeyId) {
    let mut work = t.begin().await;
    let change = ProviderKeyChange { is_enabled: Some(false), ..ProviderKeyChange::default() };
    assert!(work.update_provider_key(key, &change).await.expect("the store answers"));
    t.commit(work).await;
}

pub(crate) fn new_agent(name: &str, owner: &UserId) -> NewAgent {
    NewAgent {
        name: name.to_owned(),
        providers: vec!["openai".to_owned()],
        description: None,
        tags: Vec::new(),
        owner: owner.clone(),
        project: None,
        primary_key: None,
    }
}

/// An agent with an allocation.
pub(crate) async fn agent_as(t: &TestStore, new: &NewAgent, micros: i64) -> AgentId {
    let mut work = t.begin().await;
    let id = work.create_agent(new).await.expect("an agent is stored");
    let allocation = NewAllocation {
        id: BudgetId::new(format!("bud_{id}")),
        cap: Money::from_micros(micros).expect("an amount"),
        thresholds: vec![50, 80, 95],
        created_by: new.owner.clone(),
        reason: None,
    };
    work.open_agent_allocation(id, &allocation).await.expect("the allocation opens");
    t.commit(work).await;
    id
}

/// An agent of this owner with one dollar.
pub(crate) async fn agent(t: &TestStore, name: &str, owner: &UserId) -> AgentId {
    agent_as(t, &new_agent(name, owner), 1_000_000).await
}

pub(crate) fn token(text: &str, t: &TestStore) -> NewIcTokenRow {
    NewIcTokenRow { hash: TokenHash::of(text), created_at: t.now(), expires_at: None }
}

pub(crate) async fn give_token(t: &TestStore, agent: AgentId, text: &str) {
    let mut work = t.begin().await;
    let set = work.set_ic_token(agent, &token(text, t)).await.expect("the store answers");
    assert_eq!(set, persistence::IcTokenSet::Set);
    t.commit(work).await;
}

/// The epoch as the ledger has it.
pub(crate) async fn epoch(t: &TestStore, agent: AgentId) -> i64 {
    let book = t.store.book_of(&[agent], t.now()).await.expect("the book is read");
    book.agents[&agent].epoch
}

/// The version of the directory; what changes it ends cached pictures.
pub(crate) async fn directory_version(t: &TestStore) -> i64 {
    let owner = UserId::new("user_witness");
    let filter = AgentFilter { owner: Some(owner.clone()), ..AgentFilter::default() };
    let witness = t.store.agents(&filter, AgentSort::default(), Page::first(1), t.now()).await;
    let id = match witness.expect("agents are listed").rows.pop() {
        Some(view) => view.agent.id,
        None => {
            user(t, "witness", Role::User).await;
            agent(t, "witness", &owner).await
        }
    };
    t.store.agent_picture(id).await.expect("a picture is taken").expect("of the witness").version
}

/// Whether this ends cached pictures.
pub(crate) async fn changes_directory(t: &TestStore, change: impl AsyncFnOnce(&mut Work)) -> bool {
    let before = directory_version(t).await;
    let mut work = t.begin().await;
    change(&mut work).await;
    t.commit(work).await;
    directory_version(t).await > before
}
