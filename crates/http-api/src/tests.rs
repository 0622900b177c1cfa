//! The surface as a client sees it: real routes and a few made for the purpose, behind the real outermost service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{get, post};
use kernel::validate::{Fields, FromFields};
use kernel::{ErrorCode, Secret, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::cors::Cors;
use crate::guard::BodySettings;
use crate::health::{CachedHealth, HealthReport};
use crate::limit::{LimitSettings, Limits, Rate};
use crate::{ApiError, ApiState, App, Body, HttpSettings, Params, Query, RequestContext, testing};

struct Surface {
    app: App,
    api: ApiState,
    _dir: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn state(health: HealthReport, metrics_token: Option<&str>) -> (ApiState, TempDir) {
    let (mut services, clock, dir) = testing::services().await;
    clock.set(Timestamp::from_secs(1_700_000_000));
    let limits = LimitSettings { budget_misses: Rate::per_minute(2), ..LimitSettings::default() };
    services.limits = Limits::new(limits, Arc::clone(&clock) as _);
    services.health = CachedHealth::new(Arc::new(health), clock);
    services.metrics_token = metrics_token.map(|token| Secret::new(token.to_owned()));
    services.started_at = Timestamp::from_secs(1_699_999_990);
    (ApiState::new(services), dir)
}

fn settings() -> HttpSettings {
    HttpSettings {
        cors: Cors::new(["https://dash.example"]),
        read_timeout: Duration::from_millis(50),
        body: BodySettings { timeout: Duration::from_millis(50), ..BodySettings::default() },
        ..HttpSettings::default()
    }
}

impl Surface {
    async fn real() -> Self {
        Self::with(HealthReport::HEALTHY, None).await
    }

    async fn with(health: HealthReport, metrics_token: Option<&str>) -> Self {
        let (api, dir) = state(health, metrics_token).await;
        Self { app: crate::app(api.clone(), settings()), api, _dir: dir }
    }

    /// Routes that do what the tests need.
    async fn made(routes: Router<ApiState>) -> Self {
        let (api, dir) = state(HealthReport::HEALTHY, None).await;
        Self { app: App::new(routes.with_state(api.clone()), api.clone(), settings()), api, _dir: dir }
    }

    async fn send(&self, request: Request<HttpBody>) -> Answer {
        let response = self.app.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10 << 20).await.expect("a body").to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(request(Method::GET, uri, &[], "")).await
    }
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<HttpBody>) -> Request<HttpBody> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).expect("a request")
}

const JSON: (&str, &str) = ("content-type", "application/json");

// system endpoints

#[tokio::test]
async fn health_is_found_under_its_three_names() {
    let surface = Surface::real().await;
    for uri in ["/api/health", "/api/v1/health", "/health", "//health/", "/v1/health"] {
        let answer = surface.get(uri).await;
        assert_eq!(answer.status, 200, "{uri}");
        let expected = json!({"status": "healthy", "timestamp": 1_700_000_000, "version": "1.2.3", "uptime_seconds": 10,
            "services": {"database": "healthy"}});
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn a_sick_database_is_a_503_of_the_same_shape() {
    let report = HealthReport { database: Err("does not answer"), ..HealthReport::HEALTHY };
    let surface = Surface::with(report, None).await;
    let answer = surface.get("/api/health").await;
    let body = answer.json();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!((&body["status"], &body["services"]), (&json!("unhealthy"), &json!({"database": "unhealthy"})));
    assert_eq!(body["errors"], json!([{"service": "database", "message": "does not answer"}]));
    let ready = surface.get("/readyz").await;
    let expected = json!({"status": "not_ready",
        "checks": {"database": "does not answer", "migrations": "ok", "crypto": "ok"}});
    assert_eq!((ready.status, ready.json()), (503, expected));
    assert_eq!(surface.get("/livez").await.status, 200, "the process itself is well");
}

#[tokio::test]
async fn the_version_names_the_build() {
    let body = Surface::real().await.get("/api/version").await.json();
    assert_eq!(body["version"], "1.2.3");
    assert_eq!((&body["supported_versions"], &body["deprecated_versions"]), (&json!(["v1"]), &json!([])));
    assert_eq!(body["build"], json!({"commit": "c", "timestamp": "t", "environment": "test"}));
}

#[tokio::test]
async fn metrics_ask_for_their_token_only_if_there_is_one() {
    let open = Surface::real().await;
    open.get("/livez").await;
    let answer = open.get("/metrics").await;
    let text = String::from_utf8(answer.bytes).expect("text");
    assert!(text.contains("http_requests_total{method=\"GET\",route=\"/livez\",status=\"200\"} 1"), "{text}");

    let closed = Surface::with(HealthReport::HEALTHY, Some("sesame")).await;
    assert_eq!(closed.get("/metrics").await.code(), "AUTH_MISSING_TOKEN");
    for (token, status) in [("Bearer wrong!", 401), ("bearer sesame", 200)] {
        let answer = closed.send(request(Method::GET, "/metrics", &[("authorization", token)], "")).await;
        assert_eq!(answer.status, status, "{token}");
    }
}

#[tokio::test]
async fn the_api_describes_itself_and_shows_it_without_help_from_elsewhere() {
    let surface = Surface::real().await;
    let document = surface.get("/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/api/v1/health"]["get"].is_object());
    let page = surface.get("/docs/").await;
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    let text = String::from_utf8(page.bytes).expect("text");
    assert!(!text.contains("http://") && !text.contains("https://"), "nothing is loaded from elsewhere");
    for part in ["/docs/docs.js", "/docs/docs.css"] {
        assert_eq!(surface.get(part).await.status, 200, "{part}");
    }
}

// what happens to every request

#[tokio::test]
async fn every_response_has_an_id_of_its_own_and_is_not_to_be_stored() {
    let surface = Surface::real().await;
    let sent = [("x-request-id", "mine")];
    for uri in ["/livez", "/nowhere"] {
        let answer = surface.send(request(Method::GET, uri, &sent, "")).await;
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert!(id.starts_with("req_") && id.len() == 40, "{id}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        if answer.status == 404 {
            assert_eq!(answer.json()["request_id"], id);
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let surface = Surface::real().await;
    let answer = surface.get("/api/v1/nothing").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "ROUTE_NOT_FOUND"));
    assert!(answer.json()["error"].is_string());
    let answer = surface.get("/api/v1/auth/nothing").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("ROUTE_NOT_FOUND")));
    for method in [Method::POST, Method::OPTIONS, Method::from_bytes(b"PURGE").expect("a method")] {
        let answer = surface.send(request(method, "/livez", &[], "")).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"));
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
}

#[tokio::test]
async fn methods_that_an_address_takes_as_a_second_name_are_allowed_too() {
    let surface = Surface::real().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/api-tokens/7/rotate", "POST,PUT"),
        (Method::DELETE, "/api/tokens/7/rotate/", "POST,PUT"),
        (Method::DELETE, "/api/v1/agents/7/budget", "GET,HEAD,PUT,PATCH"),
        (Method::PUT, "/api/v1/budget-requests", "GET,HEAD,POST"),
        (Method::GET, "/api/v1/budget-requests/b/approve", "PATCH,PUT"),
        // There as second names only
        (Method::GET, "/api/v1/api-tokens/7/revoke", "POST"),
        (Method::GET, "/api/v1/users/u/password", "PUT"),
        (Method::POST, "/api/v1/budget/requests/b/deny", "PUT,PATCH"),
    ] {
        let answer = surface.send(request(method.clone(), path, &[], "")).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_answered_where_get_is() {
    let answer = Surface::real().await.send(request(Method::HEAD, "/api/health", &[], "")).await;
    assert_eq!((answer.status, answer.bytes.len()), (200, 0));
    assert!(answer.header("content-length").is_some_and(|length| length != "0"));
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let surface = Surface::made(Router::new().route("/boom", get(boom))).await;
    let answer = surface.get("/boom").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "INTERNAL_ERROR"));
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("the secret"));
    assert_eq!(surface.api.metrics.http.panics.get(), 1);
    assert_eq!(surface.api.metrics.http.in_flight.get(), 0);
}

async fn boom() -> StatusCode {
    panic!("the secret");
}

#[tokio::test]
async fn a_slow_read_is_given_up_and_a_slow_write_is_not() {
    async fn slow() -> &'static str {
        tokio::time::sleep(Duration::from_millis(200)).await;
        "done"
    }
    let surface = Surface::made(Router::new().route("/slow", get(slow).post(slow))).await;
    let answer = surface.get("/slow").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "QUERY_TIMEOUT"));
    assert_eq!(surface.send(request(Method::POST, "/slow", &[], "")).await.status, 200);
}

#[tokio::test]
async fn only_configured_origins_may_read_responses() {
    let surface = Surface::real().await;
    let ask = |origin: &'static str, method: Method, uri: &'static str| {
        let headers = [("origin", origin), ("access-control-request-method", "PUT")];
        request(method, uri, &headers, "")
    };
    let preflight = surface.send(ask("https://dash.example", Method::OPTIONS, "/api/v1/agents")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://dash.example"));
    assert_eq!(preflight.header("access-control-max-age"), Some("600"));
    assert!(preflight.header("access-control-allow-methods").is_some_and(|m| m.contains("PATCH")));
    assert!(preflight.header("access-control-allow-headers").is_some_and(|h| h.contains("idempotency-key")));
    assert!(preflight.header("x-request-id").is_some());
    assert_eq!(preflight.header("access-control-allow-credentials"), None);

    let failed = surface.send(ask("https://dash.example", Method::GET, "/api/v1/nothing")).await;
    assert_eq!(failed.header("access-control-allow-origin"), Some("https://dash.example"), "errors can be read, too");
    assert!(failed.header("access-control-expose-headers").is_some_and(|h| h.contains("x-total-count")));
    for method in [Method::OPTIONS, Method::GET] {
        let foreign = surface.send(ask("https://dash.example.evil", method, "/livez")).await;
        assert_eq!(foreign.header("access-control-allow-origin"), None);
        assert_eq!(foreign.header("vary"), Some("origin"));
    }
}

// bodies

struct Named(String);

impl FromFields for Named {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.required_str("name", 1, 10);
        f.optional_int("size", 0, 9);
        Some(Self(name?))
    }
}

/// Checks the caller before it reads the body, as every handler does.
async fn create(ctx: RequestContext, headers: HeaderMap, body: Body) -> Result<String, ApiError> {
    if !headers.contains_key("authorization") {
        return Err(ErrorCode::AuthMissingToken.into());
    }
    ctx.set_actor("user_1");
    let Named(name) = body.read()?;
    Ok(name)
}

async fn bodies() -> Surface {
    Surface::made(Router::new().route("/api/v1/things", post(create).get(|| async { "list" }))).await
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let surface = bodies().await;
    let send = |method, uri, headers: Vec<(&'static str, &'static str)>, body: String| {
        surface.send(request(method, uri, &headers, body))
    };
    let big = "x".repeat(3 << 20);
    let auth = ("authorization", "Bearer x");
    let text = ("content-type", "text/plain");
    assert_eq!(send(Method::POST, "/nothing", vec![text], big.clone()).await.status, 404);
    assert_eq!(send(Method::PUT, "/api/v1/things", vec![text], big.clone()).await.status, 405);
    assert_eq!(send(Method::POST, "/api/v1/things", vec![text], "{}".into()).await.status, 415);
    assert_eq!(send(Method::POST, "/api/v1/things", vec![JSON], big).await.code(), "PAYLOAD_TOO_LARGE");
    assert_eq!(send(Method::POST, "/api/v1/things", vec![JSON], "{".into()).await.status, 401);
    assert_eq!(send(Method::POST, "/api/v1/things", vec![JSON, auth], "{".into()).await.code(), "MALFORMED_JSON");
    let answer = send(Method::POST, "/api/v1/things", vec![JSON, auth], r#"{"size": 1.5}"#.into()).await;
    let expected = json!({"name": "is required", "size": "must be a whole number"});
    assert_eq!((answer.status, &answer.json()["fields"]), (400, &expected));
    let answer = send(Method::POST, "/api/v1/things", vec![JSON, auth], r#"{"name": "a"}"#.into()).await;
    assert_eq!((answer.status, answer.bytes.as_slice()), (200, b"a".as_slice()));
}

#[tokio::test]
async fn an_empty_body_needs_no_media_type() {
    let surface = bodies().await;
    for headers in [vec![], vec![JSON], vec![("content-type", "text/plain")]] {
        let headers: Vec<_> = headers.into_iter().chain([("authorization", "Bearer x")]).collect();
        let answer = surface.send(request(Method::POST, "/api/v1/things", &headers, "")).await;
        assert_eq!(answer.json()["fields"], json!({"name": "is required"}), "read as {{}}");
    }
    let answer = surface.send(request(Method::GET, "/api/v1/things", &[JSON], "")).await;
    assert_eq!(answer.status, 200, "content types on a GET harm nobody");
}

/// A body in pieces of unknown total length.
fn chunked(pieces: Vec<Vec<u8>>) -> HttpBody {
    struct Pieces(std::collections::VecDeque<Vec<u8>>);
    impl axum::body::HttpBody for Pieces {
        type Data = bytes::Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>> {
            std::task::Poll::Ready(self.0.pop_front().map(|piece| Ok(http_body::Frame::data(piece.into()))))
        }
    }
    HttpBody::new(Pieces(pieces.into()))
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together_and_measured() {
    let surface = bodies().await;
    let headers = [JSON, ("authorization", "Bearer x")];
    let pieces = vec![b"{\"na".to_vec(), vec![], b"me\": \"ab\"}".to_vec()];
    let answer = surface.send(request(Method::POST, "/api/v1/things", &headers, chunked(pieces))).await;
    assert_eq!(answer.bytes, b"ab");
    let answer =
        surface.send(request(Method::POST, "/api/v1/things", &headers, chunked(vec![vec![b' '; 1 << 20]; 3]))).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    let answer = surface.send(request(Method::POST, "/api/v1/things", &headers[1..], chunked(vec![]))).await;
    assert_eq!(answer.code(), "VALIDATION_ERROR", "an empty one in pieces is still empty");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_the_connection() {
    struct Never;
    impl axum::body::HttpBody for Never {
        type Data = bytes::Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>> {
            std::task::Poll::Pending
        }
    }
    let answer = bodies().await.send(request(Method::POST, "/api/v1/things", &[JSON], HttpBody::new(Never))).await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
}

// paths, queries and budget misses

#[tokio::test]
async fn a_caller_without_rights_does_not_learn_that_an_id_is_bad() {
    async fn read(headers: HeaderMap, params: Params, query: Query) -> Result<String, ApiError> {
        if !headers.contains_key("authorization") {
            return Err(ErrorCode::AuthMissingToken.into());
        }
        let mut q = query.reader();
        let page = q.page(50);
        let page = q.finish(page)?;
        Ok(format!("{} {}", params.agent_id("id")?.0, page.page))
    }
    let surface = Surface::made(Router::new().route("/api/v1/agents/{id}", get(read))).await;
    let send =
        |uri: &'static str, headers: &'static [(&str, &str)]| surface.send(request(Method::GET, uri, headers, ""));
    assert_eq!(send("/api/v1/agents/x?page=0", &[]).await.status, 401);
    let auth = &[("authorization", "Bearer x")];
    assert_eq!(send("/api/v1/agents/x?page=0", auth).await.code(), "VALIDATION_ERROR");
    assert_eq!(send("/api/v1/agents/x", auth).await.code(), "INVALID_PARAMETER");
    assert_eq!(send("/api/v1/agents/%ff", auth).await.code(), "INVALID_PARAMETER");
    assert_eq!(send("/api/agents/agent_12/?page=2", auth).await.bytes, b"12 2");
}

#[tokio::test]
async fn trying_lease_ids_is_slowed_down_and_good_requests_are_not() {
    async fn report(State(_): State<ApiState>, body: Body) -> Result<&'static str, ApiError> {
        if body.is_empty() { Err(ErrorCode::LeaseNotFound.into()) } else { Ok("booked") }
    }
    let surface = Surface::made(Router::new().route("/api/v1/budget/report", post(report))).await;
    let miss = || surface.send(request(Method::POST, "/api/budget/report", &[], ""));
    assert_eq!((miss().await.status, miss().await.status), (404, 404));
    let third = miss().await;
    assert_eq!((third.status, third.code().as_str()), (429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!(third.json()["details"]["limit"], 2);
    assert!(third.header("retry-after").is_some() && third.header("ratelimit-reset").is_some());
    let good = surface.send(request(Method::POST, "/api/budget/report", &[JSON], "{}")).await;
    assert_eq!(good.bytes, b"booked");
}
