//! The outermost service: one combined layer around the router instead of a tower of them.
//!
//! For every request, in this order: an id, the client's address, the clean-up of the path ([`crate::normalize`]), CORS,
//! the route with its time limit and a net under panics, the one shape of errors, the common headers, one log line and
//! the metrics. What is logged are patterns of routes, never paths, queries or bodies: those may hold secrets.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::ErrorCode;
use tokio::time::{Instant, timeout};
use tower::Service;
use tracing::{Instrument, Span};

use crate::alias;
use crate::client_ip::TrustedProxies;
use crate::context::{RequestContext, RequestTag};
use crate::cors::{Cors, Verdict};
use crate::error::{ApiError, Carried, Form, render_error, render_foreign};
use crate::guard::{BodySettings, GuardLayer, drain};
use crate::normalize::{AskedPath, normalize};
use crate::state::ApiState;

/// The header that carries the request's id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Routes whose misses are counted against the client's address: their credential is in the body.
const BUDGET_VERBS: [&str; 5] = [
    "/api/v1/budget/handshake",
    "/api/v1/budget/report",
    "/api/v1/budget/report/batch",
    "/api/v1/budget/refresh",
    "/api/v1/budget/return",
];
/// Asked by machines every few seconds: logged at debug level, not traced.
const PROBES: [&str; 4] = ["/api/v1/health", "/livez", "/readyz", "/metrics"];

/// How the surface behaves, whatever its routes.
#[derive(Clone)]
pub struct HttpSettings {
    /// Pages that may use the API.
    pub cors: Cors,
    /// Proxies in front of it.
    pub trusted_proxies: TrustedProxies,
    /// How long a GET may take to its response's head before it is given up with 504.
    pub read_timeout: Duration,
    /// Limits on bodies.
    pub body: BodySettings,
    /// Called with the span of each request and its headers, to join it to a trace begun by the client.
    pub on_span: Option<fn(&Span, &HeaderMap)>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            cors: Cors::default(),
            trusted_proxies: TrustedProxies::default(),
            read_timeout: Duration::from_secs(30),
            body: BodySettings::default(),
            on_span: None,
        }
    }
}

/// The whole HTTP surface as one service; a handle, cheap to clone.
///
/// A server calls [`App::handle`] with the socket's peer. As a `tower::Service` it takes the peer from a [`Peer`] among
/// the request's extensions.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    router: Router,
    api: ApiState,
    settings: HttpSettings,
}

/// The address at the other end of the socket.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What is known of a request when its response comes back.
struct Exchange {
    method: &'static str,
    context: RequestContext,
    tag: RequestTag,
    form: Form,
    verdict: Verdict,
    /// The id the client gave the request, for the log.
    client_request_id: Option<HeaderValue>,
    started: Instant,
}

impl App {
    /// Puts the surface together from routes that have their state.
    pub fn new(routes: Router, api: ApiState, settings: HttpSettings) -> Self {
        let router = routes
            .route_layer(GuardLayer::new(settings.body))
            .fallback(|request: Request| refuse(request, ErrorCode::RouteNotFound))
            .method_not_allowed_fallback(|request: Request| refuse(request, ErrorCode::MethodNotAllowed));
        Self(Arc::new(Inner { router, api, settings }))
    }

    /// Answers one request that came from `peer`.
    pub async fn handle(&self, mut request: Request, peer: IpAddr) -> Response {
        let Inner { router, api, settings } = &*self.0;
        let in_flight = InFlight::start(&api.metrics.http.in_flight);
        let started = Instant::now();
        let tag = RequestTag::random(&*api.entropy);
        let context = RequestContext::new(tag, settings.trusted_proxies.client_ip(peer, request.headers()));
        let exchange = Exchange {
            method: method_name(request.method()),
            context: context.clone(),
            tag,
            form: normalize(&mut request),
            verdict: settings.cors.judge(request.headers()),
            client_request_id: request.headers().get(X_REQUEST_ID).cloned(),
            started,
        };
        let response = match Cors::preflight(&exchange.verdict, &request) {
            Some(response) => response,
            None => {
                let span = self.span(&request, &exchange);
                request.extensions_mut().insert(context);
                let limit = matches!(*request.method(), Method::GET | Method::HEAD).then_some(settings.read_timeout);
                let answer = answer(router.clone().call(request), limit);
                let response = match answer.instrument(span.clone()).await {
                    Ok(response) => response,
                    Err(Failure::Late) => ApiError::from(ErrorCode::QueryTimeout).into_response(),
                    Err(Failure::Panic(message)) => {
                        api.metrics.http.panics.inc();
                        ApiError::internal(message).into_response()
                    }
                };
                if settings.on_span.is_some() {
                    record(&span, &exchange, response.status());
                }
                response
            }
        };
        let response = self.finish(exchange, response);
        drop(in_flight);
        response
    }

    fn span(&self, request: &Request, exchange: &Exchange) -> Span {
        if PROBES.contains(&request.uri().path()) {
            return Span::none();
        }
        let span = tracing::info_span!(
            "request",
            otel.kind = "server",
            http.request.method = exchange.method,
            request_id = exchange.tag.as_str(),
            // Known when the answer is; recorded only where traces are sent
            otel.name = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
            http.route = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        );
        if let Some(on_span) = self.0.settings.on_span {
            on_span(&span, request.headers());
        }
        span
    }

    fn finish(&self, exchange: Exchange, response: Response) -> Response {
        let mut response = self.shape(&exchange, response);
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, exchange.tag.header());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Cors::apply(exchange.verdict, headers);

        let elapsed = exchange.started.elapsed();
        let route = exchange.context.route().unwrap_or("unmatched");
        self.0.api.metrics.http.answered(exchange.method, route, status.as_str(), elapsed.as_secs_f64());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "http",
                    method = exchange.method,
                    route,
                    status = status.as_u16(),
                    duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                    request_id = exchange.tag.as_str(),
                    actor = exchange.context.actor(),
                    client_ip = %exchange.context.client_ip(),
                    client_request_id = exchange.client_request_id.as_ref().and_then(loggable),
                    "answered"
                )
            };
        }
        if PROBES.contains(&route) {
            line!(debug)
        } else {
            line!(info)
        }
        response
    }

    /// Gives whatever is not a success the one shape of errors. JSON written by a handler itself (the health check's 503)
    /// stays as it is.
    fn shape(&self, exchange: &Exchange, mut response: Response) -> Response {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return response;
        }
        if let Some(AlsoAllowed(methods)) = response.extensions_mut().remove() {
            allow(response.headers_mut(), &methods);
        }
        let mut carried = response.extensions_mut().remove::<Carried>();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND)
            && exchange.context.route().is_some_and(|route| BUDGET_VERBS.contains(&route))
            && let Err(refusal) = self.0.api.limits.budget_miss(exchange.context.client_ip())
        {
            carried = refusal.into_response().extensions_mut().remove::<Carried>();
        }
        let Some(Carried(error)) = carried else {
            let is_json =
                response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
            return if is_json {
                response
            } else {
                render_foreign(response.into_parts().0, exchange.tag.as_str(), exchange.form)
            };
        };
        if let Some(cause) = error.cause_chain() {
            let (request_id, route) = (exchange.tag.as_str(), exchange.context.route());
            if status.is_server_error() {
                tracing::error!(target: "http", request_id, route, code = error.code().as_str(), cause, "request failed");
            } else {
                tracing::debug!(target: "http", request_id, route, code = error.code().as_str(), cause, "request refused");
            }
        }
        render_error(response.into_parts().0, &error, exchange.tag.as_str(), exchange.form)
    }
}

impl Service<Request> for App {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let app = self.clone();
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0);
        Box::pin(async move { Ok(app.handle(request, peer).await) })
    }
}

/// Tells a trace what became of the request (OpenTelemetry semantic conventions for HTTP servers).
fn record(span: &Span, exchange: &Exchange, status: StatusCode) {
    let route = exchange.context.route().unwrap_or("");
    span.record("otel.name", format!("{} {route}", exchange.method).trim_end());
    span.record("http.route", route);
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

enum Failure {
    Late,
    Panic(String),
}

/// Runs a route under a time limit, if there is one, and survives its panics. The clock is only set where the route does
/// not answer at once.
async fn answer(
    route: impl Future<Output = Result<Response, Infallible>>,
    limit: Option<Duration>,
) -> Result<Response, Failure> {
    let mut route = pin!(route);
    let mut route = pin!(poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| route.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(response)),
        Err(payload) => Poll::Ready(Err(Failure::Panic(panic_message(&*payload)))),
    }));
    let Some(limit) = limit else { return route.await };
    match poll_fn(|cx| Poll::Ready(route.as_mut().poll(cx))).await {
        Poll::Ready(answer) => answer,
        Poll::Pending => timeout(limit, route).await.unwrap_or(Err(Failure::Late)),
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("handler panicked: {}", text.unwrap_or("(no message)"))
}

/// Methods that the address of a request takes by its second names. Beside the response, for the router writes its own
/// `Allow` last.
#[derive(Clone)]
struct AlsoAllowed(Vec<&'static str>);

/// Refuses a request that no handler takes, after its body is out of the way.
async fn refuse(request: Request, code: ErrorCode) -> Response {
    let deadline = Instant::now() + Duration::from_secs(10);
    let asked = request.extensions().get::<AskedPath>().map_or_else(|| request.uri().path(), |path| &path.0);
    let methods = alias::methods(asked);
    // An address that is there for some methods only is there
    let code = if methods.is_empty() { code } else { ErrorCode::MethodNotAllowed };
    let mut response = drain(request.into_body(), deadline, ApiError::from(code).into_response()).await;
    if !methods.is_empty() {
        response.extensions_mut().insert(AlsoAllowed(methods));
    }
    response
}

/// Adds methods to `Allow`.
fn allow(headers: &mut HeaderMap, methods: &[&'static str]) {
    let mut allowed = headers.get(ALLOW).and_then(|known| known.to_str().ok()).unwrap_or("").to_owned();
    for method in methods {
        if !allowed.split(',').any(|known| known == *method) {
            allowed.push_str(if allowed.is_empty() { "" } else { "," });
            allowed.push_str(method);
        }
    }
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        headers.insert(ALLOW, allowed);
    }
}

struct InFlight<'a>(&'a prometheus::IntGauge);

impl<'a> InFlight<'a> {
    fn start(gauge: &'a prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

/// Also when the client goes away and the request is dropped half-way.
impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The method as a label: one of a few, whatever was sent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// At most 128 visible ASCII characters.
fn loggable(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    ((1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}
