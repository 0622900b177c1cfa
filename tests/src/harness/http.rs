//! Requests as somebody, answers as status and JSON.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// Longest wait for an answer. A request that hangs is a failure with a name, not a test run that never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the server listens. Shared, because a server that starts again listens elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Base(Arc<RwLock<String>>);

impl Base {
    pub(super) fn set(&self, url: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = url;
    }

    pub(super) fn get(&self) -> String {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Trusts nobody: these tests speak plain HTTP. Where the client of agent runtimes is built too, `reqwest` has TLS but no
/// cryptography unless it is told one.
fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("ring knows today's protocols");
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// Somebody who talks to the server. Stays valid when the server starts again.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Base,
    bearer: Option<String>,
}

impl Client {
    pub(super) fn new(base: Base) -> Self {
        let builder = reqwest::Client::builder().timeout(PATIENCE).no_proxy().tls_backend_preconfigured(no_tls());
        let http = builder.build().expect("an HTTP client");
        Self { http, base, bearer: None }
    }

    /// The same, with this bearer token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    /// The bearer token it sends.
    pub(crate) fn token(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// The URL of a path: below `/api/v1/`, or from the root if it begins with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        let prefix = if path.starts_with('/') { "" } else { "/api/v1/" };
        format!("{}{prefix}{path}", self.base.get())
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    /// Sends a request with a JSON body or none; panics if there is no answer.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let name = format!("{method} {path}");
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{name}: no answer: {error:?}"))
    }

    /// As [`Client::send`] where the server may be killed in between.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        Reply::read(request.send().await?).await
    }

    /// Sends exactly these bytes, called `application/json`.
    pub(crate) async fn send_raw(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Reply {
        let request = self.request(method, path).header("content-type", "application/json").body(body);
        self.answer(request).await
    }

    /// A request to finish by hand, for odd headers and bodies.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The answer to such a request; panics if there is none.
    pub(crate) async fn answer(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        Reply::read(response).await.unwrap_or_else(|error| panic!("half an answer: {error:?}"))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as it came.
    pub(crate) text: String,
    /// The body as JSON; null where it is none.
    pub(crate) body: Value,
    /// The URL, for messages.
    url: String,
}

impl Reply {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let url = response.url().to_string();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { status, headers, text, body, url })
    }

    /// Whether it is a success.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, empty where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Its error code, empty where it has none.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The body of an answer with that status; panics with the answer otherwise.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.url, self.text);
        self.body
    }

    /// The body of any success; panics with the answer otherwise.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.is_success(), "{}: {} {}", self.url, self.status, self.text);
        self.body
    }

    /// The body of a failure with that status and code. Also checks the shape that every failure has.
    #[track_caller]
    pub(crate) fn error(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.code()), (status, code), "{}: {}", self.url, self.text);
        assert!(self.header("content-type").starts_with("application/json"), "{:?}", self.headers);
        let message = self.body["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "an error says something: {}", self.text);
        let id = self.body["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_") && id == self.header("x-request-id"), "{} {:?}", self.text, self.headers);
        // Errors below auth/ repeat code and text in an object, all others have the text alone
        match &self.body["error"] {
            Value::Object(error) => assert!(error["code"] == code && error["message"] == message, "{}", self.text),
            error => assert_eq!(error, message),
        }
        self.body
    }
}

/// Fields of a JSON object that must be there.
pub(crate) trait Fields {
    /// An integer.
    fn int(&self, key: &str) -> i64;
    /// A text.
    fn text(&self, key: &str) -> &str;
    /// A yes or no.
    fn flag(&self, key: &str) -> bool;
    /// The elements of a list.
    fn list(&self, key: &str) -> &[Value];
}

impl Fields for Value {
    #[track_caller]
    fn int(&self, key: &str) -> i64 {
        self[key].as_i64().unwrap_or_else(|| panic!("`{key}` is no integer in {self}"))
    }

    #[track_caller]
    fn text(&self, key: &str) -> &str {
        self[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {self}"))
    }

    #[track_caller]
    fn flag(&self, key: &str) -> bool {
        self[key].as_bool().unwrap_or_else(|| panic!("`{key}` is neither true nor false in {self}"))
    }

    #[track_caller]
    fn list(&self, key: &str) -> &[Value] {
        self[key].as_array().unwrap_or_else(|| panic!("`{key}` is no list in {self}"))
    }
}
