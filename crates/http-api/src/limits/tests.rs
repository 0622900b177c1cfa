//! Limits and quotas as clients and runtimes see them.

mod quotas;
mod rows;

use kernel::Timestamp;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, merge};
use crate::testing::{Persona, Reply};

const LIMITS: &str = "/api/v1/limits";
const CEILING: &str = "/api/v1/budget/limit";
const HANDSHAKE: &str = "/api/v1/budget/handshake";

/// The end of the month that tests begin in.
const NEXT_MONTH: &str = "2026-02-01T00:00:00Z";

fn millis(text: &str) -> i64 {
    Timestamp::from_rfc3339(text).expect("a time").millis()
}

async fn limit(w: &World, owner: &Persona, more: Value) -> Value {
    let mut body = json!({"user_id": owner.id});
    merge(&mut body, more);
    w.t.post(&w.root, LIMITS, body).await.expect(201)
}

fn uri(limit: &Value) -> String {
    format!("{LIMITS}/{}", limit["id"])
}

async fn money_budgets(w: &World) -> Vec<Value> {
    let page = w.t.get(&w.root, "/api/v1/budgets?source=limit").await.expect(200);
    page["data"].as_array().expect("rows").clone()
}

async fn borrow(w: &World, token: &str) -> Reply {
    w.t.post((), HANDSHAKE, json!({"ic_token": token, "requested_budget": 1_000})).await
}
