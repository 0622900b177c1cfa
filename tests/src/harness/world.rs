//! A server, the people who use it, and the things they set up.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Backend, Client, Database, Fields, Launch, Reply, ServerProcess, Start};

/// The administrator that every test server is created with.
pub(crate) const ADMIN_EMAIL: &str = "admin@example.com";
/// Their password.
pub(crate) const ADMIN_PASSWORD: &str = "correct-horse-battery";
/// The password of everybody else.
const PASSWORD: &str = "staple-of-other-users";

/// A server of the test's own on a fresh database.
pub(crate) struct World {
    // Order matters: the server ends before its database is dropped
    /// The server.
    pub(crate) server: ServerProcess,
    /// Its database.
    pub(crate) database: Database,
    anon: Client,
    admin: OnceCell<Client>,
    provider_key: OnceCell<i64>,
}

impl Start for World {
    async fn start(backend: Backend) -> Self {
        Self::builder(backend).start().await
    }
}

/// A world with settings of its own.
pub(crate) struct WorldBuilder {
    backend: Backend,
    environment: Vec<(String, String)>,
}

impl WorldBuilder {
    /// Sets an environment variable of the server.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server.
    pub(crate) async fn start(self) -> World {
        let database = Database::create(self.backend).await;
        let launch = Launch::on(&database).env("ADMIN_EMAIL", ADMIN_EMAIL).env("ADMIN_PASSWORD", ADMIN_PASSWORD);
        let launch = self.environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let server = ServerProcess::start(launch).await;
        let anon = Client::new(server.base());
        World { server, database, anon, admin: OnceCell::new(), provider_key: OnceCell::new() }
    }
}

/// Somebody with an account.
pub(crate) struct Person {
    /// `user_...`.
    pub(crate) id: String,
    /// What they log in with.
    pub(crate) email: String,
    /// The same.
    pub(crate) password: String,
    /// Logged in.
    pub(crate) client: Client,
}

impl World {
    /// A world with settings of its own.
    pub(crate) fn builder(backend: Backend) -> WorldBuilder {
        WorldBuilder { backend, environment: Vec::new() }
    }

    /// Which database it runs on.
    pub(crate) fn backend(&self) -> Backend {
        self.database.backend
    }

    /// One more server on the same data. Only PostgreSQL allows it.
    pub(crate) async fn another_server(&self) -> (ServerProcess, Client) {
        let server = ServerProcess::start(self.server.launch().clone()).await;
        let client = Client::new(server.base());
        (server, client)
    }

    /// Runs a subcommand of the server on the same data, such as `["ledger", "verify"]`.
    pub(crate) async fn command(&self, arguments: &[&str]) -> super::CommandOutput {
        self.server.launch().run(arguments).await
    }

    /// Stops the server, recomputes every balance and the chain of the journal, and starts the server again; panics if
    /// the books do not balance.
    pub(crate) async fn verify_books(&self) {
        self.server.stop().await;
        self.command(&["ledger", "verify"]).await.ok();
        self.server.start_again().await;
    }

    /// Nobody.
    pub(crate) fn anon(&self) -> Client {
        self.anon.clone()
    }

    /// The administrator.
    pub(crate) async fn admin(&self) -> Client {
        self.admin.get_or_init(|| self.log_in(ADMIN_EMAIL, ADMIN_PASSWORD)).await.clone()
    }

    /// Whoever logs in so.
    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Client {
        let session = self.anon.post("auth/login", json!({"email": email, "password": password})).await.expect(200);
        self.anon.with_token(session.text("user_token"))
    }

    /// A new person with the role `user`.
    pub(crate) async fn user(&self, name: &str) -> Person {
        self.person(name, "user").await
    }

    /// A new person who may look and not touch.
    pub(crate) async fn viewer(&self, name: &str) -> Person {
        self.person(name, "viewer").await
    }

    /// A new person.
    pub(crate) async fn person(&self, name: &str, role: &str) -> Person {
        let email = format!("{name}@example.com");
        let body = json!({"username": name, "email": email, "password": PASSWORD, "role": role});
        let user = self.admin().await.post("users", body).await.expect(201);
        let client = self.log_in(&email, PASSWORD).await;
        Person { id: user.text("id").to_owned(), email, password: PASSWORD.to_owned(), client }
    }

    /// The provider key that agents get unless they are told another; made when it is first asked for.
    pub(crate) async fn provider_key(&self) -> i64 {
        let make = || async { self.new_provider_key(json!({})).await.int("id") };
        *self.provider_key.get_or_init(make).await
    }

    /// A new provider key; `with` changes or adds fields of the request.
    pub(crate) async fn new_provider_key(&self, with: Value) -> Value {
        let body = merged(json!({"provider": "openai", "api_key": "sk-test-0123456789abcdef"}), with);
        self.admin().await.post("providers", body).await.expect(201)
    }

    /// A new agent with a budget in microdollars, the default provider key and an IC token.
    pub(crate) async fn agent(&self, budget: i64) -> Agent {
        self.agent_with(json!({"initial_budget_microdollars": budget})).await
    }

    /// A new agent with an IC token; `with` changes or adds fields of the request, null takes one away.
    pub(crate) async fn agent_with(&self, with: Value) -> Agent {
        let standard = json!({
            "name": "agent",
            "initial_budget_microdollars": 1_000_000,
            "provider_key_id": self.provider_key().await,
        });
        let agent = self.admin().await.post("agents", merged(standard, with)).await.expect(201);
        let id = agent.int("id");
        let ic_token = self.new_ic_token(id).await;
        Agent { id, ic_token, owner_id: agent.text("owner_id").to_owned(), client: self.anon() }
    }

    /// The first IC token of an agent.
    pub(crate) async fn new_ic_token(&self, agent: i64) -> String {
        let answer = self.admin().await.post(&format!("agents/{agent}/ic-token"), json!({})).await.expect(201);
        answer.text("ic_token").to_owned()
    }

    /// A new IC token in place of the old one.
    pub(crate) async fn regenerate_ic_token(&self, agent: i64) -> String {
        let path = format!("agents/{agent}/ic-token/regenerate");
        self.admin().await.post(&path, json!({})).await.expect(200).text("ic_token").to_owned()
    }

    /// The budget of an agent as the server shows it, in microdollars.
    pub(crate) async fn budget_of(&self, agent: i64) -> Value {
        self.admin().await.get(&format!("agents/{agent}/budget")).await.expect(200)
    }

    /// A lease as the server shows it.
    pub(crate) async fn lease(&self, id: &str) -> Value {
        self.admin().await.get(&format!("budget/leases/{id}")).await.expect(200)
    }

    /// A budget on a scope such as `{"kind": "owner", "id": "user_..."}`, in microdollars, without a window.
    pub(crate) async fn cap(&self, scope: Value, microdollars: i64) -> Value {
        let body = json!({"scope": scope, "cap_microdollars": microdollars});
        self.admin().await.post("budgets", body).await.expect(201)
    }

    /// The figures of a scope; `query` such as `scope_kind=owner&scope_id=user_...`.
    pub(crate) async fn exposure(&self, query: &str) -> Value {
        self.admin().await.get(&format!("budget/exposure?{query}")).await.expect(200)
    }

    /// Freezes a scope.
    pub(crate) async fn freeze(&self, scope: Value) -> Value {
        let body = json!({"scope": scope, "reason": "a test froze it"});
        self.admin().await.post("budget/freeze", body).await.expect(200)
    }

    /// Lifts a freeze.
    pub(crate) async fn unfreeze(&self, scope: Value) -> Value {
        let body = json!({"scope": scope, "reason": "a test lifted it"});
        self.admin().await.post("budget/unfreeze", body).await.expect(200)
    }

    /// Revokes a lease.
    pub(crate) async fn revoke(&self, lease: &str) -> Value {
        let path = format!("budget/leases/{lease}/revoke");
        self.admin().await.post(&path, json!({"reason": "a test revoked it"})).await.expect(200)
    }
}

/// An agent as its runtime sees it: it holds an IC token and nothing else.
#[derive(Clone)]
pub(crate) struct Agent {
    /// Its id.
    pub(crate) id: i64,
    /// What it shows.
    pub(crate) ic_token: String,
    /// Whose it is.
    pub(crate) owner_id: String,
    /// Without credentials of its own.
    pub(crate) client: Client,
}

impl Agent {
    /// The same agent with another token.
    pub(crate) fn with_ic_token(&self, ic_token: &str) -> Self {
        Self { ic_token: ic_token.to_owned(), ..self.clone() }
    }

    /// The same agent, talking to another server.
    pub(crate) fn at(&self, client: &Client) -> Self {
        Self { client: client.clone(), ..self.clone() }
    }

    /// Asks for a lease; `with` changes or adds fields of the request.
    pub(crate) async fn handshake(&self, with: Value) -> Reply {
        self.client.post("budget/handshake", merged(json!({"ic_token": self.ic_token}), with)).await
    }

    /// A lease of up to so many microdollars; panics if nothing is granted.
    pub(crate) async fn borrow(&self, microdollars: i64) -> Lease {
        self.lease(self.handshake(json!({"requested_budget": microdollars})).await)
    }

    /// The lease that a handshake or a refresh granted; panics if it granted none.
    #[track_caller]
    pub(crate) fn lease(&self, reply: Reply) -> Lease {
        let body = reply.expect(200);
        Lease { id: body.text("lease_id").to_owned(), granted: body.int("budget_granted"), body, agent: self.clone() }
    }

    /// Asks for the provider key.
    pub(crate) async fn fetch_provider_key(&self) -> Reply {
        self.client.post("agents/provider-key", json!({"ic_token": self.ic_token})).await
    }
}

/// A lease as its holder sees it.
#[derive(Clone)]
pub(crate) struct Lease {
    /// `lease_...`.
    pub(crate) id: String,
    /// Microdollars it was granted with.
    pub(crate) granted: i64,
    /// The whole answer that granted it.
    pub(crate) body: Value,
    /// Whose it is.
    pub(crate) agent: Agent,
}

impl Lease {
    /// Reports one call of that many microdollars.
    pub(crate) async fn report(&self, request_id: &str, microdollars: i64) -> Reply {
        self.report_with(json!({"request_id": request_id, "cost_microdollars": microdollars})).await
    }

    /// Reports one call; `with` changes or adds fields of the request, null takes one away.
    pub(crate) async fn report_with(&self, with: Value) -> Reply {
        let standard = json!({
            "lease_id": self.id, "request_id": "call", "tokens": 100, "cost_microdollars": 1,
            "model": "gpt-4o", "provider": "openai",
        });
        self.agent.client.post("budget/report", merged(standard, with)).await
    }

    /// Asks for a new lease in place of this; `with` changes or adds fields of the request.
    pub(crate) async fn refresh(&self, with: Value) -> Reply {
        let standard = json!({"ic_token": self.agent.ic_token, "current_lease_id": self.id});
        self.agent.client.post("budget/refresh", merged(standard, with)).await
    }

    /// Gives it back; `with` may state a figure, such as `{"spent_microdollars": 5}`.
    pub(crate) async fn give_back(&self, with: Value) -> Reply {
        self.agent.client.post("budget/return", merged(json!({"lease_id": self.id}), with)).await
    }
}

/// An object with the fields of another put over its own; null takes a field away.
#[track_caller]
fn merged(mut object: Value, with: Value) -> Value {
    let (Value::Object(fields), Value::Object(with)) = (&mut object, with) else { panic!("both must be objects") };
    for (key, value) in with {
        if value.is_null() { drop(fields.remove(&key)) } else { drop(fields.insert(key, value)) }
    }
    object
}
