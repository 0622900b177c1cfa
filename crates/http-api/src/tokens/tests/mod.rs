//! API tokens as clients see them.

mod agents;
mod credential;
mod lifecycle;
mod scopes;

use serde_json::{Value, json};

use crate::agents::tests::world::World;
use crate::testing::{Credential, Persona};

const TOKENS: &str = "/api/v1/api-tokens";

impl World {
    /// A token of somebody's, with these fields; as it was answered.
    async fn issued(&self, who: impl Credential, fields: Value) -> Value {
        self.t.post(who, TOKENS, fields).await.expect(201)
    }

    /// A token of somebody's with all their rights, in the clear, and its id.
    async fn token(&self, who: &Persona) -> (String, i64) {
        secret(&self.issued(who, json!({"name": "t"})).await)
    }

    /// A token of somebody's with these scopes, in the clear.
    async fn scoped(&self, who: &Persona, scopes: &[&str]) -> String {
        secret(&self.issued(who, json!({"name": "t", "scopes": scopes})).await).0
    }

    /// The database is told of uses, as it is every few seconds.
    async fn flush(&self) {
        let api = &self.t.api;
        api.uses.flush(&api.store, api.clock.now(), &*api.entropy).await.expect("written");
    }
}

fn secret(issued: &Value) -> (String, i64) {
    (issued["token"].as_str().expect("a token").to_owned(), issued["id"].as_i64().expect("an id"))
}

fn one(id: i64) -> String {
    format!("{TOKENS}/{id}")
}
