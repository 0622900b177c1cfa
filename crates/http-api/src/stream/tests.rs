//! Who is let in, and streams of server-sent events through the real surface. WebSockets need a socket: see the end-to-end
//! tests.

use std::time::Duration;

use auth::Role;
use axum::body::Body as HttpBody;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use kernel::AgentId;
use persistence::OutboxEvent;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::testing::{Persona, TestApi};

/// The response's body as events come in.
struct Events {
    body: HttpBody,
    text: String,
    /// The last `id`.
    last: Option<String>,
}

impl Events {
    /// The next event: its type and data.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(id) = field("id: ") {
                    self.last = Some(id);
                }
                if let Some(data) = field("data: ") {
                    return Some((field("event: ").expect("a type"), serde_json::from_str(&data).expect("JSON")));
                }
            }
            let frame = timeout(Duration::from_secs(10), self.body.frame()).await.expect("something comes")?;
            self.text
                .push_str(std::str::from_utf8(&frame.expect("a frame").into_data().expect("data")).expect("UTF-8"));
        }
    }

    async fn places(&mut self, count: usize) -> Vec<i64> {
        let mut places = Vec::new();
        while places.len() < count {
            let (kind, data) = self.next().await.expect("it goes on");
            places.push(data["seq"].as_i64().unwrap_or_else(|| panic!("{kind}: {data}")));
        }
        places
    }
}

struct Stage {
    api: TestApi,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Stage {
    async fn start() -> Self {
        let api = TestApi::start().await;
        let tasks = api.api.stream.start(&api.api.store);
        Self { api, tasks }
    }

    async fn emit(&self, agent: Option<i64>, kind: &'static str) {
        self.api
            .write(async |work| work.emit(OutboxEvent { agent: agent.map(AgentId), kind, payload: "{}".to_owned() }))
            .await;
    }

    async fn open(&self, token: &str, query: &str, last: Option<&str>) -> Events {
        let mut request = Request::builder().uri(format!("/api/v1/events/stream{query}"));
        request = request.header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.api.app.clone().oneshot(request.body(HttpBody::empty()).expect("a request")).await;
        let response = response.expect("infallible");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        Events { body: response.into_body(), text: String::new(), last: None }
    }

    /// An agent of theirs; its id.
    async fn agent_of(&self, admin: &Persona, owner: &Persona) -> i64 {
        let body = json!({"name": "a", "owner_id": owner.id.as_str(), "initial_budget_microdollars": 1_000_000});
        self.api.post(admin, "/api/v1/agents", body).await.expect(201)["id"].as_i64().expect("an id")
    }

    async fn epoch(&self) -> String {
        self.api.api.store.stream_head().await.expect("read").epoch
    }

    async fn head(&self) -> i64 {
        self.api.api.store.stream_head().await.expect("read").last
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_a_credential_that_is_taken() {
    let stage = Stage::start().await;
    let user = stage.api.persona("u", Role::User).await;
    stage.api.get((), "/api/v1/events/stream").await.refused(401, "AUTH_MISSING_TOKEN");
    for uri in ["/api/v1/events/stream", "/ws", "/ws/agents/1/events"] {
        stage.api.get("nonsense", uri).await.refused(401, "AUTH_INVALID_TOKEN");
        stage.api.get(user.refresh_token.as_str(), uri).await.refused(401, "AUTH_INVALID_TOKEN");
    }
    stage.api.post(&user, "/api/v1/auth/logout", json!({})).await;
    stage.api.get(&user, "/api/v1/events/stream").await.refused(401, "AUTH_TOKEN_REVOKED");
    stage.api.get(&user, "/ws").await.refused(401, "AUTH_TOKEN_REVOKED");
}

#[tokio::test]
async fn a_request_that_is_no_web_socket_is_told_so() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    for uri in ["/ws", "/api/v1/ws", "/api/ws", "/ws/"] {
        stage.api.get((), uri).await.refused(400, "VALIDATION_ERROR");
        stage.api.get(&admin, uri).await.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn pages_of_strangers_are_refused() {
    let stage = Stage::start().await;
    for (origin, status) in [("https://evil.example", 403), ("null", 403), ("http://here.example", 400)] {
        let request = Request::builder().uri("/ws").header("host", "here.example").header("origin", origin);
        let reply = stage.api.send(request.body(HttpBody::empty()).expect("a request")).await;
        assert_eq!(reply.status, status, "{origin}: {}", reply.text());
        if status == 403 {
            reply.refused(403, "ORIGIN_NOT_ALLOWED");
        }
    }
}

#[tokio::test]
async fn an_agent_in_the_address_must_be_there_and_theirs() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    let (one, two) = (stage.api.persona("u1", Role::User).await, stage.api.persona("u2", Role::Viewer).await);
    let agent = stage.agent_of(&admin, &one).await;
    let uri = format!("/ws/agents/agent_{agent}/events");
    stage.api.get(&two, &uri).await.refused(403, "ACCESS_DENIED");
    stage.api.get(&one, "/ws/agents/999/events").await.refused(404, "AGENT_NOT_FOUND");
    stage.api.get(&one, "/ws/agents/x/events").await.refused(400, "INVALID_PARAMETER");
    // Theirs, and then it is only the upgrade that is missing
    stage.api.get(&one, &uri).await.refused(400, "VALIDATION_ERROR");
    stage.api.get(&admin, &uri).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn everybody_sees_their_own_and_an_admin_everything() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    let (one, two) = (stage.api.persona("u1", Role::User).await, stage.api.persona("u2", Role::Viewer).await);
    let (first, second) = (stage.agent_of(&admin, &one).await, stage.agent_of(&admin, &two).await);
    let at = format!("?since={}:{}", stage.epoch().await, stage.head().await);
    let base = stage.head().await;
    stage.emit(Some(first), "llm_call").await;
    stage.emit(Some(second), "llm_call").await;
    stage.emit(None, "COST_ALERT").await;
    stage.emit(Some(first), "frozen").await;
    assert_eq!(stage.open(&admin.token, &at, None).await.places(4).await, [base + 1, base + 2, base + 3, base + 4]);
    assert_eq!(stage.open(&one.token, &at, None).await.places(2).await, [base + 1, base + 4]);
    let mut viewer = stage.open(&two.token, &at, None).await;
    assert_eq!(viewer.places(1).await, [base + 2]);
    let narrow = format!("{at}&agent_ids={first},{second}&types=AGENT_EVENT");
    assert_eq!(stage.open(&two.token, &narrow, None).await.places(1).await, [base + 2]);
    // Seen by resuming from the place that the stream named
    let last = viewer.last.clone().expect("a place");
    stage.emit(Some(second), "unfrozen").await;
    assert_eq!(stage.open(&two.token, "?since=x:1", Some(&last)).await.places(1).await, [base + 5], "the header wins");
}

#[tokio::test]
async fn a_place_that_is_not_kept_is_refused_before_the_first_byte_or_told_as_a_gap() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    for _ in 0..4 {
        stage.emit(None, "frozen").await;
    }
    let (epoch, head) = (stage.epoch().await, stage.head().await);
    stage
        .api
        .write(async |work| {
            work.prune_events(kernel::Timestamp::MAX, u32::try_from(head).expect("few") - 2).await.expect("pruned");
        })
        .await;
    let uri = format!("/api/v1/events/stream?since={epoch}:{}", head - 3);
    let refusal = stage.api.get(&admin, &uri).await.refused(410, "CURSOR_TOO_OLD");
    assert_eq!(refusal["details"], json!({"from_seq": head - 2, "to_seq": head - 2, "reason": "retention"}));
    stage.api.get(&admin, "/api/v1/events/stream?since=other:1").await.refused(410, "CURSOR_TOO_OLD");
    stage.api.get(&admin, "/api/v1/events/stream?since=1&types=x").await.refused(400, "VALIDATION_ERROR");
    let mut events = stage.open(&admin.token, &format!("?allow_gap=true&since={epoch}:{}", head - 3), None).await;
    let (kind, gap) = events.next().await.expect("a gap");
    assert_eq!((kind.as_str(), &gap["to_seq"]), ("GAP", &json!(head - 2)));
    assert_eq!(events.last, Some(format!("{epoch}:{}", head - 2)));
    assert_eq!(events.places(2).await, [head - 1, head]);
}

#[tokio::test]
async fn whoever_is_suspended_demoted_or_logged_out_is_cut_off_or_sees_less_at_once() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    let other = stage.api.persona("second", Role::Admin).await;
    let leaver = stage.api.persona("u1", Role::User).await;
    let suspended = stage.api.persona("u2", Role::User).await;
    let agent = stage.agent_of(&admin, &leaver).await;
    let (mut demoted, mut left) = (stage.open(&other.token, "", None).await, stage.open(&leaver.token, "", None).await);
    let mut gone = stage.open(&suspended.token, "", None).await;
    let uri = format!("/api/v1/users/{}/role", other.id);
    stage.api.put(&admin, &uri, json!({"role": "user"})).await.expect(200);
    stage.emit(Some(agent), "frozen").await;
    assert_eq!(left.next().await.expect("theirs").1["event"], "frozen");
    let given = stage.agent_of(&admin, &other).await;
    stage.emit(Some(given), "unfrozen").await;
    let (_, next) = demoted.next().await.expect("it goes on");
    assert_eq!(next["agent_id"], given, "nothing of the other agent in between");

    stage.api.post(&leaver, "/api/v1/auth/logout", json!({})).await;
    let (kind, error) = left.next().await.expect("a reason");
    assert_eq!((kind.as_str(), &error["code"]), ("ERROR", &json!("AUTH_TOKEN_REVOKED")));
    assert!(left.next().await.is_none(), "and the end");
    let uri = format!("/api/v1/users/{}/suspend", suspended.id);
    stage.api.put(&admin, &uri, json!({"reason": "x"})).await.expect(200);
    assert_eq!(gone.next().await.expect("a reason").1["code"], "AUTH_ACCOUNT_DISABLED");
    assert!(gone.next().await.is_none());
}

#[tokio::test]
async fn an_ic_token_sees_its_agent_until_it_is_replaced() {
    let stage = Stage::start().await;
    let admin = stage.api.persona("root", Role::Admin).await;
    let agent = stage.agent_of(&admin, &admin).await;
    let other = stage.agent_of(&admin, &admin).await;
    let uri = format!("/api/v1/agents/{agent}/ic-token");
    let made = stage.api.post(&admin, &uri, json!({})).await.expect(201);
    let mut events = stage.open(made["ic_token"].as_str().expect("a token"), "", None).await;
    stage.emit(Some(other), "frozen").await;
    stage.emit(Some(agent), "frozen").await;
    assert_eq!(events.next().await.expect("its own").1["agent_id"], agent);
    stage.api.call(Method::DELETE, &admin, &uri, None).await;
    let mut last = events.next().await.expect("the news of it, or the end");
    while last.0 != "ERROR" {
        last = events.next().await.expect("a reason");
    }
    assert_eq!(last.1["code"], "INVALID_IC_TOKEN");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_page_comes_with_its_script_and_nothing_else() {
    let stage = Stage::start().await;
    let page = stage.api.get((), "/docs/stream").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("stream.js"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    assert!(stage.api.get((), "/docs/stream.js").await.text().contains("SUBSCRIBE"));
}
