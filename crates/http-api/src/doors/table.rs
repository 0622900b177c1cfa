//! The rows: one for each route. Whoever adds a route says here who may come in.

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody is looked at.
    Anybody,
    /// The credential is an IC token in the body; a header is ignored.
    IcInBody,
    /// The credential is an IC token in the header.
    IcAsBearer,
    /// A WebSocket: the credential may also come in its first frame. Tried over real sockets, in the end-to-end tests.
    Upgrade,
    /// A stream without an end, for users and IC tokens. Only those who must be refused are tried here.
    Stream,
    /// The credential is the id of a lease in the body.
    LeaseInBody,
    /// Any active user; what is others' is left out, not refused.
    List,
    /// Any active user, logged in.
    Session,
    /// The user who is logged in so, and nobody else.
    OwnSession,
    /// Users with an API token.
    ApiToken,
    /// Any active user who is not a viewer.
    Writer,
    /// Admins.
    Admin,
    /// The owner of the thing, viewers included, and admins; others get this answer.
    Own(u16, &'static str),
    /// The owner of the thing if not a viewer, and admins; others get this answer.
    OwnWriter(u16, &'static str),
    /// The owner of the thing and nobody else, admins included.
    OwnerAlone(u16, &'static str),
}

/// A row.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) method: &'static str,
    /// As in the router.
    pub(super) path: &'static str,
    pub(super) who: Who,
    /// A body that is in order, so that what refuses is the door; empty for none.
    pub(super) body: &'static str,
    /// Codes that elsewhere mean a shut door, and here come from the thing itself.
    pub(super) may_answer: &'static [&'static str],
}

const fn door(method: &'static str, path: &'static str, who: Who) -> Door {
    Door { method, path, who, body: "", may_answer: &[] }
}

impl Door {
    const fn with(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    const fn answering(self, may_answer: &'static [&'static str]) -> Self {
        Self { may_answer, ..self }
    }
}

const FOREIGN: Who = Who::Own(403, "ACCESS_DENIED");
const FOREIGN_WRITER: Who = Who::OwnWriter(403, "ACCESS_DENIED");

const fn hidden(code: &'static str) -> Who {
    Who::Own(404, code)
}

const fn hidden_writer(code: &'static str) -> Who {
    Who::OwnWriter(404, code)
}

const REASON: &str = r#"{"reason": "doors"}"#;
const PASSWORD: &str = r#"{"new_password": "correct-horse"}"#;
const NEW_TOTAL: &str = r#"{"total_allocated_microdollars": 30000000}"#;
const NEW_TOTAL_USD: &str = r#"{"budget": 30}"#;
const KEYS: &str = r#"{"provider_ids": [$key]}"#;
const AGENTS: &str = r#"{"agent_ids": [$agent]}"#;
const SCOPE: &str = r#"{"scope": {"kind": "agent", "id": $agent}, "reason": "doors"}"#;
const IC: &str = r#"{"ic_token": "$ic"}"#;
const EVENT: &str = r#"{"ic_token": "$ic", "event_id": "doors-1", "timestamp_ms": 1768500000000,
    "event_type": "llm_request_completed", "model": "m", "provider": "openai", "input_tokens": 1, "output_tokens": 1}"#;
const BATCH: &str = r#"{"ic_token": "$ic", "events": [{"event_id": "doors-2", "timestamp_ms": 1768500000000,
    "event_type": "llm_request_failed", "model": "m", "provider": "openai"}]}"#;

/// All of them.
pub(super) const ROWS: &[Door] = &[
    // §2
    door("GET", "/livez", Who::Anybody),
    door("GET", "/readyz", Who::Anybody),
    door("GET", "/metrics", Who::Anybody),
    door("GET", "/docs", Who::Anybody),
    door("GET", "/api/v1/health", Who::Anybody),
    door("GET", "/api/v1/version", Who::Anybody),
    door("GET", "/api/v1/openapi.json", Who::Anybody),
    // §3
    door("POST", "/api/v1/auth/login", Who::Anybody)
        .with(r#"{"email": "owner@example.com", "password": "owner-password"}"#),
    door("POST", "/api/v1/auth/refresh", Who::Anybody)
        .with(r#"{"refresh_token": "unknown"}"#)
        .answering(&["AUTH_INVALID_TOKEN"]),
    door("POST", "/api/v1/auth/logout", Who::Anybody)
        .answering(&["AUTH_MISSING_TOKEN", "AUTH_SESSION_REQUIRED"]),
    door("POST", "/api/v1/auth/validate", Who::Anybody).answering(&["AUTH_MISSING_TOKEN"]),
    door("POST", "/api/v1/auth/change-password", Who::Session)
        .with(r#"{"current_password": "wrong-password", "new_password": "correct-horse"}"#),
    door("GET", "/api/v1/auth/sessions", Who::Session),
    door("DELETE", "/api/v1/auth/sessions", Who::Session),
    door("DELETE", "/api/v1/auth/sessions/{id}", Who::OwnSession),
    // §4
    door("GET", "/api/v1/users", Who::Admin),
    door("POST", "/api/v1/users", Who::Admin)
        .with(r#"{"username": "new", "email": "new@example.com", "password": "correct-horse"}"#),
    door("GET", "/api/v1/users/{id}", Who::Own(403, "INSUFFICIENT_PERMISSIONS")),
    door("PUT", "/api/v1/users/{id}", Who::Admin).with(r#"{"username": "renamed"}"#),
    door("DELETE", "/api/v1/users/{id}", Who::Admin),
    door("PUT", "/api/v1/users/{id}/suspend", Who::Admin),
    door("PUT", "/api/v1/users/{id}/activate", Who::Admin),
    door("POST", "/api/v1/users/{id}/unlock", Who::Admin),
    door("PUT", "/api/v1/users/{id}/role", Who::Admin).with(r#"{"role": "viewer"}"#),
    door("POST", "/api/v1/users/{id}/reset-password", Who::Admin).with(PASSWORD),
    door("GET", "/api/v1/users/{id}/permissions", Who::Own(403, "INSUFFICIENT_PERMISSIONS")),
    // §5
    door("GET", "/api/v1/agents", Who::List),
    door("POST", "/api/v1/agents", Who::Admin).with(r#"{"name": "new", "initial_budget_microdollars": 1000000}"#),
    door("GET", "/api/v1/agents/{id}", FOREIGN),
    door("PUT", "/api/v1/agents/{id}", Who::Admin).with(r#"{"name": "renamed"}"#),
    door("DELETE", "/api/v1/agents/{id}", Who::Admin),
    door("GET", "/api/v1/agents/{id}/budget", FOREIGN),
    door("PUT", "/api/v1/agents/{id}/budget", Who::Admin).with(NEW_TOTAL),
    door("GET", "/api/v1/agents/{id}/status", FOREIGN),
    door("GET", "/api/v1/agents/{id}/tokens", FOREIGN),
    door("POST", "/api/v1/agents/{id}/tokens", FOREIGN_WRITER).with(r#"{"name": "for the agent"}"#),
    door("GET", "/api/v1/agents/{id}/providers", FOREIGN),
    door("POST", "/api/v1/agents/{id}/providers", Who::Admin).with(KEYS),
    door("PUT", "/api/v1/agents/{id}/providers", Who::Admin).with(KEYS),
    door("DELETE", "/api/v1/agents/{id}/providers/{key_id}", Who::Admin),
    door("POST", "/api/v1/agents/{id}/ic-token", FOREIGN_WRITER),
    door("GET", "/api/v1/agents/{id}/ic-token", FOREIGN),
    door("DELETE", "/api/v1/agents/{id}/ic-token", FOREIGN_WRITER),
    door("POST", "/api/v1/agents/{id}/ic-token/regenerate", FOREIGN),
    door("POST", "/api/v1/agents/provider-key", Who::IcInBody).with(IC),
    // §6
    door("GET", "/api/v1/providers", Who::List),
    door("POST", "/api/v1/providers", Who::Admin).with(r#"{"provider": "openai", "api_key": "sk-doors-9876543210"}"#),
    door("GET", "/api/v1/providers/{id}", hidden("PROVIDER_NOT_FOUND")),
    door("PUT", "/api/v1/providers/{id}", Who::Admin).with(r#"{"description": "new"}"#),
    door("DELETE", "/api/v1/providers/{id}", Who::Admin),
    door("GET", "/api/v1/providers/{id}/agents", hidden("PROVIDER_NOT_FOUND")),
    door("POST", "/api/v1/providers/{id}/agents", Who::Admin).with(AGENTS),
    door("PUT", "/api/v1/providers/{id}/agents", Who::Admin).with(AGENTS),
    door("DELETE", "/api/v1/providers/{id}/agents/{agent_id}", Who::Admin),
    door("POST", "/api/v1/projects/{id}/provider", Who::Admin).with(r#"{"provider_key_id": $key}"#),
    door("DELETE", "/api/v1/projects/{id}/provider", Who::Admin),
    door("GET", "/api/v1/keys", Who::ApiToken),
    // §7
    door("POST", "/api/v1/budget/handshake", Who::IcInBody).with(IC),
    door("POST", "/api/v1/budget/refresh", Who::IcInBody).with(r#"{"ic_token": "$ic", "current_lease_id": "$lease"}"#),
    door("POST", "/api/v1/budget/report", Who::LeaseInBody).with(
        r#"{"lease_id": "$lease", "request_id": "again", "tokens": 1, "model": "m", "provider": "p", "cost_microdollars": 1}"#,
    ),
    door("POST", "/api/v1/budget/report/batch", Who::LeaseInBody).with(r#"{"lease_id": "$lease", "reports": []}"#),
    door("POST", "/api/v1/budget/return", Who::LeaseInBody).with(r#"{"lease_id": "$lease"}"#),
    // §8
    door("GET", "/api/v1/budget/leases", Who::List),
    door("GET", "/api/v1/budget/leases/{id}", hidden("LEASE_NOT_FOUND")),
    door("POST", "/api/v1/budget/leases/{id}/settle", Who::Admin).with(r#"{"outcome": "spent", "reason": "doors"}"#),
    door("POST", "/api/v1/budget/leases/{id}/revoke", hidden_writer("LEASE_NOT_FOUND")).with(REASON),
    door("POST", "/api/v1/budget/freeze", Who::Admin).with(SCOPE),
    door("POST", "/api/v1/budget/unfreeze", Who::Admin).with(SCOPE),
    door("GET", "/api/v1/budget/freezes", Who::List),
    door("GET", "/api/v1/budget/exposure?scope_kind=agent&scope_id=$agent", FOREIGN),
    door("GET", "/api/v1/budget/explain?agent_id=$agent", FOREIGN),
    door("GET", "/api/v1/budget/journal", Who::List),
    // §9
    door("GET", "/api/v1/budgets", Who::Admin),
    door("POST", "/api/v1/budgets", Who::Admin)
        .with(r#"{"scope": {"kind": "organization"}, "cap_microdollars": 90000000}"#),
    door("GET", "/api/v1/budgets/{id}", Who::Admin),
    door("PUT", "/api/v1/budgets/{id}", Who::Admin).with(r#"{"name": "renamed"}"#),
    door("PATCH", "/api/v1/budgets/{id}", Who::Admin).with(r#"{"name": "renamed"}"#),
    door("DELETE", "/api/v1/budgets/{id}", Who::Admin),
    // §10
    door("GET", "/api/v1/budget/requests", Who::List),
    door("POST", "/api/v1/budget/requests", FOREIGN_WRITER).with(
        r#"{"agent_id": $agent, "requested_budget_usd": 25, "justification": "as many doors as there are rows"}"#,
    ),
    door("GET", "/api/v1/budget/requests/me", Who::List),
    door("GET", "/api/v1/budget/requests/{id}", hidden("REQUEST_NOT_FOUND")),
    door("PATCH", "/api/v1/budget/requests/{id}/approve", Who::Admin),
    door("PATCH", "/api/v1/budget/requests/{id}/reject", Who::Admin),
    door("DELETE", "/api/v1/budget/requests/{id}", hidden_writer("REQUEST_NOT_FOUND")),
    door("GET", "/api/v1/budget-requests", Who::List),
    door("GET", "/api/v1/budget-requests/me", Who::List),
    // §11
    door("GET", "/api/v1/limits", Who::List),
    door("POST", "/api/v1/limits", Who::Admin).with(r#"{"user_id": "$stranger", "max_tokens_per_day": 5}"#),
    door("GET", "/api/v1/limits/{id}", hidden("LIMIT_NOT_FOUND")),
    door("PUT", "/api/v1/limits/{id}", Who::Admin).with(r#"{"max_tokens_per_day": 5}"#),
    door("DELETE", "/api/v1/limits/{id}", Who::Admin),
    door("GET", "/api/v1/limits/agents/{id}/budget", FOREIGN),
    door("PUT", "/api/v1/limits/agents/{id}/budget", Who::Admin).with(NEW_TOTAL_USD),
    door("GET", "/api/v1/limits/agents/{id}/budget/history", FOREIGN),
    door("GET", "/api/v1/budget/limit", Who::List),
    door("PUT", "/api/v1/budget/limit", Who::Admin).with(r#"{"limit": 1000000}"#),
    // §12
    door("POST", "/api/v1/analytics/events", Who::IcInBody).with(EVENT),
    door("POST", "/api/v1/analytics/events/batch", Who::IcInBody).with(BATCH),
    door("GET", "/api/v1/analytics/spending/total", Who::List),
    door("GET", "/api/v1/analytics/spending/by-agent", Who::List),
    door("GET", "/api/v1/analytics/spending/by-provider", Who::List),
    door("GET", "/api/v1/analytics/spending/avg-per-request", Who::List),
    door("GET", "/api/v1/analytics/spending/by-period", Who::List),
    door("GET", "/api/v1/analytics/spending/export", Who::List),
    door("GET", "/api/v1/analytics/spending", Who::List),
    door("GET", "/api/v1/analytics/budget/status", Who::List),
    door("GET", "/api/v1/analytics/usage/requests", Who::List),
    door("GET", "/api/v1/analytics/usage/tokens/by-agent", Who::List),
    door("GET", "/api/v1/analytics/usage/models", Who::List),
    door("GET", "/api/v1/analytics/usage/by-agent", Who::List),
    door("GET", "/api/v1/analytics/usage/by-provider", Who::List),
    door("GET", "/api/v1/analytics/usage/export", Who::List),
    door("GET", "/api/v1/analytics/usage", Who::List),
    door("GET", "/api/v1/analytics/events/list", Who::List),
    door("GET", "/api/v1/analytics/metrics", Who::List),
    door("GET", "/api/v1/analytics/errors", Who::List),
    door("GET", "/api/v1/analytics/query", Who::List),
    door("GET", "/api/v1/analytics/forecast", Who::List),
    // §13
    door("GET", "/api/v1/api-tokens", Who::List),
    door("POST", "/api/v1/api-tokens", Who::Writer).with(r#"{"name": "new"}"#),
    door("GET", "/api/v1/api-tokens/{id}", hidden("TOKEN_NOT_FOUND")),
    door("PUT", "/api/v1/api-tokens/{id}", hidden_writer("TOKEN_NOT_FOUND")).with(r#"{"name": "renamed"}"#),
    door("POST", "/api/v1/api-tokens/{id}/rotate", Who::OwnerAlone(404, "TOKEN_NOT_FOUND")),
    door("DELETE", "/api/v1/api-tokens/{id}", hidden_writer("TOKEN_NOT_FOUND")),
    door("POST", "/api/v1/api-tokens/validate", Who::Anybody).with(r#"{"token": "apitok_unknown"}"#),
    // §14
    door("GET", "/api/v1/usage", Who::List),
    door("GET", "/api/v1/usage/by-project", Who::List),
    door("GET", "/api/v1/usage/by-project/{project_id}", Who::List),
    door("GET", "/api/v1/usage/by-provider", Who::List),
    door("GET", "/api/v1/usage/by-provider/{provider}", Who::List),
    door("GET", "/api/v1/usage/token/{id}", hidden("TOKEN_NOT_FOUND")),
    door("GET", "/api/v1/usage/export", Who::List),
    // §15
    door("GET", "/api/v1/traces", Who::List),
    door("GET", "/api/v1/traces/{id}", hidden("TRACE_NOT_FOUND")),
    door("GET", "/api/v1/traces/export", Who::List),
    door("POST", "/api/v1/traces", Who::IcAsBearer),
    // §16
    door("GET", "/api/v1/projects", Who::List),
    door("POST", "/api/v1/projects", Who::Admin).with(r#"{"name": "new"}"#),
    door("GET", "/api/v1/projects/{id}", hidden("PROJECT_NOT_FOUND")),
    door("PUT", "/api/v1/projects/{id}", Who::Admin).with(r#"{"name": "renamed"}"#),
    door("DELETE", "/api/v1/projects/{id}", Who::Admin),
    // §17
    door("GET", "/api/v1/settings/user", Who::List),
    door("PUT", "/api/v1/settings/user", Who::List).with(r#"{"display": {"theme": "dark"}}"#),
    door("DELETE", "/api/v1/settings/user", Who::List),
    door("GET", "/api/v1/settings/project/{id}", hidden("PROJECT_NOT_FOUND")),
    door("PUT", "/api/v1/settings/project/{id}", Who::Admin).with("{}"),
    door("GET", "/api/v1/settings/system", Who::Admin),
    door("PUT", "/api/v1/settings/system", Who::Admin).with("{}"),
    // §18
    door("GET", "/api/v1/audit-logs", Who::Admin),
    door("GET", "/api/v1/audit-logs/me", Who::List),
    door("GET", "/api/v1/audit-logs/verify", Who::Admin),
    // §19
    door("GET", "/ws", Who::Upgrade),
    door("GET", "/ws/agents/{id}/events", Who::Upgrade),
    door("GET", "/api/v1/events/stream", Who::Stream),
    door("GET", "/docs/stream", Who::Anybody),
];
