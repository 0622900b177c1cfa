//! An installation with people, to be filled with agents and keys through the real routes.

use auth::Role;
use serde_json::{Value, json};

use crate::Services;
use crate::testing::{Persona, TestApi};

/// Somebody of every kind.
pub(crate) struct World {
    /// The surface.
    pub(crate) t: TestApi,
    /// An admin.
    pub(crate) root: Persona,
    /// A user.
    pub(crate) ada: Persona,
    /// Another user.
    pub(crate) bob: Persona,
    /// A viewer.
    pub(crate) vera: Persona,
}

/// A secret that must not come out anywhere.
pub(crate) const SECRET: &str = "sk-canary-0123456789-tail";

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Services)) -> Self {
        let t = TestApi::with(adjust).await;
        let root = t.persona("root", Role::Admin).await;
        let ada = t.persona("ada", Role::User).await;
        let bob = t.persona("bob", Role::User).await;
        let vera = t.persona("vera", Role::Viewer).await;
        Self { t, root, ada, bob, vera }
    }

    /// An agent of somebody's with a budget of ten dollars.
    pub(crate) async fn agent(&self, owner: &Persona) -> i64 {
        self.agent_with(json!({"owner_id": owner.id})).await
    }

    /// An agent, of the admin unless said otherwise.
    pub(crate) async fn agent_with(&self, more: Value) -> i64 {
        let mut body = json!({"name": "bot", "initial_budget_microdollars": 10_000_000});
        merge(&mut body, more);
        let agent = self.t.post(&self.root, "/api/v1/agents", body).await.expect(201);
        agent["id"].as_i64().expect("an id")
    }

    /// A provider key.
    pub(crate) async fn key(&self, provider: &str) -> i64 {
        self.key_with(json!({"provider": provider})).await
    }

    /// A provider key, of openai unless said otherwise.
    pub(crate) async fn key_with(&self, more: Value) -> i64 {
        let mut body = json!({"provider": "openai", "api_key": SECRET});
        merge(&mut body, more);
        let key = self.t.post(&self.root, "/api/v1/providers", body).await.expect(201);
        key["id"].as_i64().expect("an id")
    }

    /// A project of this id.
    pub(crate) async fn project(&self, id: &str) {
        self.t.post(&self.root, "/api/v1/projects", json!({"id": id, "name": id})).await.expect(201);
    }

    /// An agent's IC token.
    pub(crate) async fn ic_token(&self, agent: i64) -> String {
        let uri = format!("/api/v1/agents/{agent}/ic-token/regenerate");
        let issued = self.t.post(&self.root, &uri, json!({})).await.expect(200);
        issued["ic_token"].as_str().expect("a token").to_owned()
    }

    /// An agent of somebody's that can borrow, and its IC token.
    pub(crate) async fn spender(&self, owner: &Persona) -> (i64, String) {
        let key = self.key("openai").await;
        let agent = self.agent_with(json!({"owner_id": owner.id, "provider_key_id": key})).await;
        (agent, self.ic_token(agent).await)
    }

    /// A lease over as much as is asked for, and its id.
    pub(crate) async fn lease(&self, ic_token: &str, micros: i64) -> String {
        let body = json!({"ic_token": ic_token, "requested_budget": micros});
        let lease = self.t.post((), "/api/v1/budget/handshake", body).await.expect(200);
        assert_eq!(lease["budget_granted"], micros);
        lease["lease_id"].as_str().expect("an id").to_owned()
    }

    /// Reports that so much was spent on a lease.
    pub(crate) async fn report(&self, lease: &str, id: &str, nanos: i64) {
        let body = json!({"lease_id": lease, "request_id": id, "tokens": 10, "model": "m", "provider": "openai",
            "cost_microdollars": nanos / 1_000, "cost_nanos": nanos});
        self.t.post((), "/api/v1/budget/report", body).await.expect(200);
    }

    /// The audit log as one text, to be searched for secrets.
    pub(crate) async fn audit_text(&self) -> String {
        self.t.audit_log().await.iter().map(|entry| format!("{entry:?}\n")).collect()
    }

    /// The youngest audit entry: its operation, and the states before and after.
    pub(crate) async fn last_audit(&self) -> (String, Value, Value) {
        let entry = self.t.audit_log().await.pop().expect("an entry");
        let read = |text: Option<String>| text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"));
        (entry.operation, read(entry.before), read(entry.after))
    }
}

/// The same request with other keys.
pub(crate) fn merge(body: &mut Value, more: Value) {
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
}

/// The keys of `fields`.
pub(crate) fn fields(error: &Value) -> Vec<&str> {
    error["fields"].as_object().expect("fields").keys().map(String::as_str).collect()
}
