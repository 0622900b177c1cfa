//! The surface as tests use it: the real routes on a fresh database, with a clock moved by hand.
//!
//! ```ignore
//! let t = TestApi::start().await;
//! let (admin, ada) = (t.persona("root", Role::Admin).await, t.persona("ada", Role::User).await);
//! let users = t.get(&admin, "/api/v1/users").await.expect(200);
//! assert_eq!(users["total"], 2);
//! t.put(&ada, "/api/v1/users/x/role", json!({"role": "admin"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
//! t.clock.advance_millis(1_000);
//! assert_eq!(t.audited().await, ["USER_CREATED"]);
//! ```

#![allow(dead_code, reason = "a harness offers more than the tests of the day take")]

use std::sync::Arc;

use auth::password::PasswordHasher;
use auth::{Role, SigningKey, SigningKeys};
use axum::Router;
use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use kernel::entropy::SeededEntropy;
use kernel::{ManualClock, Secret, Timestamp, UserId};
use persistence::{
    AuditEntry, AuditFilter, CredentialUses, Directory, NewUser, Pipeline, PipelineOptions, Store, StoreOptions, Work,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use vault::{Kek, KeyRing, Vault};

use crate::health::{CachedHealth, HealthReport};
use crate::limit::{LimitSettings, Limits};
use crate::metrics::Metrics;
use crate::state::{Lending, Policy};
use crate::{ApiState, App, BuildInfo, HttpSettings, Services};

/// When every test begins: 2026-01-15T12:00:00Z, a Thursday.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_768_478_400);

/// The whole surface with what it stands on.
pub(crate) struct TestApi {
    /// The services, to look behind the surface.
    pub(crate) api: ApiState,
    /// The time.
    pub(crate) clock: Arc<ManualClock>,
    app: App,
    // Last: goes when the store is gone
    _dir: TempDir,
}

/// Somebody who has logged in.
pub(crate) struct Persona {
    /// Who.
    pub(crate) id: UserId,
    /// `<name>@example.com`.
    pub(crate) email: String,
    /// What they log in with.
    pub(crate) password: String,
    /// Their access token.
    pub(crate) token: String,
    /// Their refresh token.
    pub(crate) refresh_token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

/// What stands in the `Authorization` header: `()` for nothing, a [`Persona`], or a token.
pub(crate) trait Credential {
    /// The token.
    fn token(&self) -> Option<&str>;
}

impl Credential for () {
    fn token(&self) -> Option<&str> {
        None
    }
}

impl Credential for &Persona {
    fn token(&self) -> Option<&str> {
        Some(&self.token)
    }
}

impl Credential for &str {
    fn token(&self) -> Option<&str> {
        Some(self)
    }
}

impl Credential for &String {
    fn token(&self) -> Option<&str> {
        Some(self)
    }
}

/// Services on a fresh SQLite database, the clock they go by, and the directory to keep while they are in use.
pub(crate) async fn services() -> (Services, Arc<ManualClock>, TempDir) {
    let dir = tempfile::Builder::new().prefix("iron-http-").tempdir().expect("a temporary directory");
    let url = format!("sqlite://{}?mode=rwc", dir.path().join("control.db").display());
    let store = Store::open(&StoreOptions { url, connections: 4 }).await.expect("a fresh database opens");
    store.migrate().await.expect("a fresh database takes the schema");
    let clock = Arc::new(ManualClock::new(START));
    let entropy = Arc::new(SeededEntropy::new(1));
    let options = PipelineOptions::default();
    let (pipeline, _) =
        Pipeline::start(store.clone(), Arc::clone(&clock) as _, Arc::clone(&entropy) as _, options, Arc::new(|_| {}));
    let key = |byte| SigningKey::new(Secret::new(vec![byte; 32])).expect("not empty");
    let services = Services {
        clock: Arc::clone(&clock) as _,
        directory: Directory::new(store.clone(), 100),
        store,
        pipeline,
        uses: CredentialUses::default(),
        vault: Vault::new(KeyRing::fingerprinted(Kek::random(&*entropy), [])),
        entropy,
        keys: SigningKeys { sessions: key(1), ic_tokens: key(2) },
        hasher: PasswordHasher::new(PasswordHasher::MIN_COST).expect("allowed"),
        lifetimes: auth::session::Lifetimes::default(),
        lockout: auth::lockout::LockoutRules::default(),
        lending: Lending::default(),
        policy: Policy::default(),
        metrics: Metrics::new().expect("metrics"),
        limits: Limits::new(LimitSettings::default(), Arc::clone(&clock) as _),
        health: CachedHealth::new(Arc::new(HealthReport::HEALTHY), Arc::clone(&clock) as _),
        build: BuildInfo { version: "1.2.3", commit: "c", timestamp: "t", environment: "test".into() },
        metrics_token: None,
        started_at: START.plus_millis(-10_000),
    };
    (services, clock, dir)
}

impl TestApi {
    /// The real routes, everything set as by default.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other services or settings.
    pub(crate) async fn with(adjust: impl FnOnce(&mut Services)) -> Self {
        Self::with_settings(HttpSettings::default(), adjust).await
    }

    /// The same with both.
    pub(crate) async fn with_settings(settings: HttpSettings, adjust: impl FnOnce(&mut Services)) -> Self {
        let (mut services, clock, dir) = services().await;
        adjust(&mut services);
        let api = ApiState::new(services);
        Self { app: crate::app(api.clone(), settings), api, clock, _dir: dir }
    }

    /// Other routes than the real ones.
    pub(crate) async fn made(routes: Router<ApiState>) -> Self {
        let (services, clock, dir) = services().await;
        let api = ApiState::new(services);
        let app = App::new(routes.with_state(api.clone()), api.clone(), HttpSettings::default());
        Self { app, api, clock, _dir: dir }
    }

    /// Writes to the database past the surface.
    pub(crate) async fn write(&self, step: impl AsyncFnOnce(&mut Work)) {
        let mut work = self.api.store.begin(self.api.clock.now()).await.expect("a transaction");
        step(&mut work).await;
        work.commit(&*self.api.entropy).await.expect("a commit");
    }

    /// A user `<name>` with the password `<name>-password`, without a login.
    pub(crate) async fn user(&self, name: &str, role: Role) -> UserId {
        let password = format!("{name}-password");
        let new = NewUser {
            id: UserId::random(&*self.api.entropy),
            username: name.to_owned(),
            email: Some(format!("{name}@example.com")),
            password_hash: self.api.hasher.hash(&password, &*self.api.entropy),
            role,
            must_change_password: false,
        };
        self.write(async |work| work.create_user(&new).await.expect("stored").expect("free")).await;
        new.id
    }

    /// Such a user, logged in.
    pub(crate) async fn persona(&self, name: &str, role: Role) -> Persona {
        let id = self.user(name, role).await;
        self.login(id, &format!("{name}@example.com"), &format!("{name}-password")).await
    }

    /// Logs somebody in (once more).
    pub(crate) async fn login(&self, id: UserId, email: &str, password: &str) -> Persona {
        let credentials = json!({ "email": email, "password": password });
        let session = self.post((), "/api/v1/auth/login", credentials).await.expect(200);
        let text = |name: &str| session[name].as_str().expect("a token").to_owned();
        Persona {
            id,
            email: email.to_owned(),
            password: password.to_owned(),
            token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    /// GET.
    pub(crate) async fn get(&self, who: impl Credential, uri: &str) -> Reply {
        self.call(Method::GET, who, uri, None).await
    }

    /// POST.
    pub(crate) async fn post(&self, who: impl Credential, uri: &str, body: Value) -> Reply {
        self.call(Method::POST, who, uri, Some(body)).await
    }

    /// PUT.
    pub(crate) async fn put(&self, who: impl Credential, uri: &str, body: Value) -> Reply {
        self.call(Method::PUT, who, uri, Some(body)).await
    }

    /// DELETE without a body.
    pub(crate) async fn delete(&self, who: impl Credential, uri: &str) -> Reply {
        self.call(Method::DELETE, who, uri, None).await
    }

    /// Any request.
    pub(crate) async fn call(&self, method: Method, who: impl Credential, uri: &str, body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(uri).header("user-agent", "test/1.0");
        if let Some(token) = who.token() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(HttpBody::empty, |body| HttpBody::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    /// A request made by hand.
    pub(crate) async fn send(&self, request: Request<HttpBody>) -> Reply {
        let response = self.app.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 64 << 20).await.expect("a body").to_vec();
        Reply { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// The audit log, oldest first.
    pub(crate) async fn audit_log(&self) -> Vec<AuditEntry> {
        let log = self.api.store.audit_log(&AuditFilter::default(), None, 1_000).await.expect("the audit log");
        let mut entries = log.rows;
        entries.reverse();
        entries
    }

    /// The operations of the audit log, oldest first.
    pub(crate) async fn audited(&self) -> Vec<String> {
        self.audit_log().await.into_iter().map(|entry| entry.operation).collect()
    }
}

impl Reply {
    /// The body as JSON; `null` if there is none.
    pub(crate) fn json(&self) -> Value {
        if self.bytes.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body, after a look at the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The body of an error, after a look at its status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        body
    }
}
