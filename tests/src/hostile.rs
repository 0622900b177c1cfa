//! Whatever is sent, the answer is the contract's error, never a 5xx, and nothing is half done.

mod addresses;
mod bodies;
mod fields;
mod sockets;
mod sweep;

use std::collections::BTreeSet;

use crate::harness::*;

/// Which codes come with which status.
const CODES: &[(u16, &[&str])] = &[
    (
        400,
        &[
            "VALIDATION_ERROR",
            "MALFORMED_JSON",
            "INVALID_PARAMETER",
            "BATCH_TOO_LARGE",
            "UNSUPPORTED_FORMAT",
            "INCOMPATIBLE_VERSION",
            "LEASE_NOT_ACTIVE",
            "BUDGET_BELOW_COMMITTED",
            "BUDGET_UNCHANGED",
            "BUDGET_DECREASE_REQUIRES_CONFIRMATION",
            "INVALID_SETTING_VALUE",
            "TOKEN_HAS_NO_PROJECT",
        ],
    ),
    (
        401,
        &[
            "AUTH_MISSING_TOKEN",
            "AUTH_INVALID_TOKEN",
            "AUTH_TOKEN_EXPIRED",
            "AUTH_TOKEN_REVOKED",
            "AUTH_REFRESH_REUSED",
            "AUTH_ACCOUNT_DISABLED",
            "AUTH_INVALID_CREDENTIALS",
            "INVALID_IC_TOKEN",
        ],
    ),
    (
        403,
        &[
            "INSUFFICIENT_PERMISSIONS",
            "INSUFFICIENT_SCOPE",
            "ACCESS_DENIED",
            "AUTH_ACCOUNT_LOCKED",
            "AUTH_ACCOUNT_DISABLED",
            "AUTH_SESSION_REQUIRED",
            "API_TOKEN_REQUIRED",
            "AGENT_TOKEN_NOT_ALLOWED",
            "BUDGET_EXHAUSTED",
            "AGENT_FROZEN",
            "SCOPE_FROZEN",
            "QUOTA_EXCEEDED",
            "NO_PROVIDER_ASSIGNED",
            "PROVIDER_KEY_NOT_ASSIGNED",
            "PROVIDER_KEY_DISABLED",
            "LEASE_AGENT_MISMATCH",
            "LEASE_REVOKED",
            "STALE_EPOCH",
            "SELF_APPROVAL",
            "OWNER_BUDGET_REQUIRED",
            "ORIGIN_NOT_ALLOWED",
        ],
    ),
    (
        404,
        &[
            "ROUTE_NOT_FOUND",
            "USER_NOT_FOUND",
            "AGENT_NOT_FOUND",
            "PROVIDER_NOT_FOUND",
            "PROVIDER_NOT_ASSIGNED",
            "NO_PROVIDER_KEY",
            "PROJECT_NOT_FOUND",
            "LEASE_NOT_FOUND",
            "REQUEST_NOT_FOUND",
            "LIMIT_NOT_FOUND",
            "TOKEN_NOT_FOUND",
            "BUDGET_NOT_FOUND",
            "FREEZE_NOT_FOUND",
            "TRACE_NOT_FOUND",
        ],
    ),
    (405, &["METHOD_NOT_ALLOWED"]),
    (
        409,
        &[
            "USER_EXISTS",
            "USER_ALREADY_SUSPENDED",
            "USER_ALREADY_ACTIVE",
            "USER_DELETED",
            "LAST_ADMIN",
            "SELF_MODIFICATION_FORBIDDEN",
            "IC_TOKEN_EXISTS",
            "TOKEN_ALREADY_REVOKED",
            "TOKEN_LIMIT_EXCEEDED",
            "LIMIT_EXISTS",
            "BUDGET_EXISTS",
            "MANAGED_ELSEWHERE",
            "PROJECT_EXISTS",
            "PROJECT_IN_USE",
            "PROJECT_PROTECTED",
            "REQUEST_ALREADY_REVIEWED",
            "IDEMPOTENCY_CONFLICT",
            "LEASE_ACTIVE",
            "LEASE_CLOSED",
            "AMOUNT_OVERFLOW",
        ],
    ),
    (413, &["PAYLOAD_TOO_LARGE"]),
    (415, &["UNSUPPORTED_MEDIA_TYPE"]),
];

/// Checks a failure field by field: its shape, its headers, and that its code belongs to its status.
#[track_caller]
pub(crate) fn check_failure(reply: &Reply, below_auth: bool) {
    let (body, text) = (&reply.body, &reply.text);
    let codes = CODES.iter().find(|(status, _)| *status == reply.status).map(|(_, codes)| *codes);
    let codes = codes.unwrap_or_else(|| panic!("no such status in the contract: {} {text}", reply.status));
    assert!(codes.contains(&reply.code()), "{} {text}", reply.status);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!((reply.header("cache-control"), reply.header("x-content-type-options")), ("no-store", "nosniff"));

    let known = ["error", "code", "message", "details", "fields", "request_id"];
    // Some codes add named keys
    let named = ["total_allocated", "total_spent", "budget_remaining", "binding_scope"];
    let keys = body.as_object().unwrap_or_else(|| panic!("no object: {text}")).keys();
    let extra = keys.filter(|key| !known.contains(&key.as_str())).collect::<Vec<_>>();
    assert!(extra.iter().all(|key| reply.code() == "BUDGET_EXHAUSTED" && named.contains(&key.as_str())), "{text}");
    for key in ["code", "message", "request_id"] {
        assert!(!body.text(key).is_empty(), "{text}");
    }
    let id = body.text("request_id").strip_prefix("req_").unwrap_or("");
    assert!(id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{text}");
    assert_eq!(body.text("request_id"), reply.header("x-request-id"));
    for (key, optional) in [("details", body.get("details")), ("fields", body.get("fields"))] {
        let said = optional.is_none_or(|value| value.as_object().is_some_and(|object| !object.is_empty()));
        assert!(said, "`{key}` is present only when it says something: {text}");
    }
    if let Some(fields) = body["fields"].as_object() {
        assert!(fields.values().all(Value::is_string), "{text}");
    }
    if below_auth {
        let error = body["error"].as_object().unwrap_or_else(|| panic!("an object below auth/: {text}"));
        for key in ["code", "message", "details", "fields"] {
            assert_eq!(error.get(key), body.get(key), "{key}: {text}");
        }
        assert!(error.keys().all(|key| ["code", "message", "details", "fields"].contains(&key.as_str())), "{text}");
    } else {
        assert_eq!(body["error"], body["message"], "{text}");
    }
    assert_eq!(reply.header("www-authenticate"), if reply.status == 401 { "Bearer" } else { "" }, "{text}");
    assert_eq!(!reply.header("allow").is_empty(), reply.status == 405, "{text}");
}

/// The failure is one of these fields alone.
#[track_caller]
pub(crate) fn check_fields(reply: &Reply, below_auth: bool, expected: &[&str]) {
    check_failure(reply, below_auth);
    assert_eq!((reply.status, reply.code()), (400, "VALIDATION_ERROR"), "{}", reply.text);
    let fields = reply.body["fields"].as_object().unwrap_or_else(|| panic!("no fields: {}", reply.text));
    let named = fields.keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(named, expected.iter().copied().collect(), "{}", reply.text);
}

/// Everything that could have changed, as far as an administrator sees it.
pub(crate) async fn picture(world: &World) -> Vec<String> {
    let admin = world.admin().await;
    let mut picture = Vec::new();
    for path in [
        "budget/journal?limit=1000",
        "budget/leases?limit=1000",
        "agents",
        "providers",
        "projects",
        "budgets",
        "users",
        "budget/freezes",
        "budget/freezes?active=false",
    ] {
        let reply = admin.get(path).await;
        assert!(reply.is_success(), "{path}: {}", reply.text);
        picture.push(reply.text);
    }
    picture
}

/// A world in which there is something of everything.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) admin: Client,
    pub(crate) user: Person,
    pub(crate) agent: Agent,
    pub(crate) lease: Lease,
    pub(crate) lost: Lease,
    pub(crate) key: i64,
    pub(crate) project: String,
    pub(crate) budget: String,
}

impl Start for Stage {
    async fn start(backend: Backend) -> Self {
        let world = World::start(backend).await;
        let admin = world.admin().await;
        let user = world.user("ada").await;
        let project = crate::caps::project(&world, "lab").await;
        let agent = crate::caps::agent_of(&world, &user.id, &project).await;
        let (lease, lost) = (agent.borrow(100_000).await, agent.borrow(1_000).await);
        lease.report("call-1", 1_000).await.expect(200);
        world.revoke(&lost.id).await;
        let budget = world.cap(json!({"kind": "organization"}), 5_000_000).await.text("id").to_owned();
        let key = world.provider_key().await;
        Self { world, admin, user, agent, lease, lost, key, project, budget }
    }
}

/// A route that takes a body, with one that it would take.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// Whether an administrator must be logged in; otherwise the credential is in the body, or there is none.
    pub(crate) as_admin: bool,
}

impl Route {
    /// Errors below `auth/` have their own form.
    pub(crate) fn below_auth(&self) -> bool {
        self.path.starts_with("auth/")
    }
}

impl Stage {
    /// Sends these bytes as that route's body.
    pub(crate) async fn send(&self, route: &Route, body: impl Into<reqwest::Body>) -> Reply {
        self.client(route).send_raw(route.method.clone(), &route.path, body).await
    }

    pub(crate) fn client(&self, route: &Route) -> Client {
        if route.as_admin { self.admin.clone() } else { self.world.anon() }
    }

    /// Every route of this server that takes a body with something in it.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let token = &self.agent.ic_token;
        let (agent, key, lease) = (self.agent.id, self.key, &self.lease.id);
        let report = json!({
            "request_id": "new", "tokens": 1, "cost_microdollars": 1, "model": "m", "provider": "p",
            "timestamp": 1_700_000_000_000_i64, "cost_nanos": 1_000, "spent_total_microdollars": 1, "seq": 1,
        });
        let mut single = report.clone();
        single["lease_id"] = json!(lease);
        let scope = json!({"kind": "agent", "id": agent});
        let open = |path: &str, body: Value| Route { method: Method::POST, path: path.into(), body, as_admin: false };
        let admin = |method: Method, path: String, body: Value| Route { method, path, body, as_admin: true };
        vec![
            open(
                "budget/handshake",
                json!({
                    "ic_token": token, "provider": "openai", "provider_key_id": key, "requested_budget": 1,
                    "runtime_id": "r", "runtime_version": "1.0.0", "request_id": "q",
                }),
            ),
            open("budget/report", single),
            open(
                "budget/report/batch",
                json!({
                    "lease_id": lease, "reports": [report], "spent_total_microdollars": 1,
                }),
            ),
            open(
                "budget/refresh",
                json!({
                    "ic_token": token, "current_lease_id": lease, "requested_budget": 1, "total_spent": 1,
                    "current_remaining": 1, "request_id": "q",
                }),
            ),
            open(
                "budget/return",
                json!({
                    "lease_id": lease, "spent_microdollars": 1, "final_spent_usd": 0.1, "returning_usd": 0.1,
                }),
            ),
            open("agents/provider-key", json!({"ic_token": token})),
            open("auth/login", json!({"email": "nobody@example.com", "password": "wrong"})),
            admin(
                Method::POST,
                "auth/change-password".into(),
                json!({
                    "current_password": ADMIN_PASSWORD, "new_password": "12345678",
                }),
            ),
            admin(
                Method::POST,
                "agents".into(),
                json!({
                    "name": "new", "initial_budget_microdollars": 1, "providers": ["openai"], "provider_key_id": key,
                    "owner_id": self.user.id, "description": "d", "tags": ["t"], "project_id": self.project,
                }),
            ),
            admin(
                Method::PUT,
                format!("agents/{agent}"),
                json!({
                    "name": "new", "providers": ["openai"], "provider_key_id": key, "budget": 2_000_000,
                    "owner_id": self.user.id, "description": "d", "tags": ["t"], "project_id": self.project,
                }),
            ),
            admin(
                Method::PUT,
                format!("agents/{agent}/budget"),
                json!({
                    "total_allocated_microdollars": 2_000_000, "force": true, "reason": "r",
                }),
            ),
            admin(Method::POST, format!("agents/{agent}/providers"), json!({"provider_ids": [key]})),
            admin(Method::PUT, format!("agents/{agent}/providers"), json!({"provider_ids": [key]})),
            admin(Method::POST, format!("agents/{agent}/ic-token/regenerate"), json!({"expires_in_days": 1})),
            admin(
                Method::POST,
                "providers".into(),
                json!({
                    "provider": "openai", "api_key": "sk-1", "base_url": "https://example.com", "description": "d",
                    "models": ["m"], "is_enabled": true,
                }),
            ),
            admin(
                Method::PUT,
                format!("providers/{key}"),
                json!({
                    "api_key": "sk-1", "base_url": "https://example.com", "description": "d", "models": ["m"],
                    "is_enabled": true,
                }),
            ),
            admin(Method::POST, format!("providers/{key}/agents"), json!({"agent_ids": [agent]})),
            admin(Method::POST, format!("projects/{}/provider", self.project), json!({"provider_key_id": key})),
            admin(Method::POST, "projects".into(), json!({"name": "new", "id": "new", "description": "d"})),
            admin(Method::PUT, format!("projects/{}", self.project), json!({"name": "new", "description": "d"})),
            admin(
                Method::POST,
                "budgets".into(),
                json!({
                    "scope": scope, "cap_microdollars": 1, "window": "day", "time_zone": "UTC", "thresholds": [50],
                    "name": "n", "enabled": true,
                }),
            ),
            admin(
                Method::PUT,
                format!("budgets/{}", self.budget),
                json!({
                    "cap_microdollars": 4_000_000, "thresholds": [50], "name": "n", "enabled": true,
                }),
            ),
            admin(Method::POST, "budget/freeze".into(), json!({"scope": scope, "reason": "r"})),
            admin(Method::POST, "budget/unfreeze".into(), json!({"scope": scope, "reason": "r"})),
            admin(
                Method::POST,
                format!("budget/leases/{}/settle", self.lost.id),
                json!({
                    "outcome": "spent", "spent_microdollars": 1, "reason": "r",
                }),
            ),
            admin(Method::POST, format!("budget/leases/{lease}/revoke"), json!({"reason": "r"})),
            admin(
                Method::POST,
                "users".into(),
                json!({
                    "username": "new", "password": "12345678", "email": "new@example.com", "role": "user",
                }),
            ),
            admin(Method::PUT, format!("users/{}", self.user.id), json!({"username": "n", "email": "n@example.com"})),
            admin(Method::PUT, format!("users/{}/role", self.user.id), json!({"role": "viewer"})),
            admin(
                Method::PUT,
                format!("users/{}/suspend", self.user.id),
                json!({
                    "reason": "r", "freeze_agents": false,
                }),
            ),
            admin(
                Method::POST,
                format!("users/{}/reset-password", self.user.id),
                json!({
                    "new_password": "12345678", "force_change": true,
                }),
            ),
        ]
    }
}
