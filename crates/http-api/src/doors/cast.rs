//! Everybody who may stand before a door, and one thing of every kind to ask for.

use auth::Role;
use axum::http::Method;
use serde_json::{Value, json};

use crate::testing::{Persona, Reply, TestApi};

/// The kinds of callers, those with the least power first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No credential at all.
    Nobody,
    /// A bearer token that is none.
    Garbage,
    /// An agent's IC token where a user's is asked for.
    IcToken,
    /// A refresh token, which is good for nothing but refreshing.
    RefreshToken,
    /// An access token whose login has ended.
    EndedSession,
    /// An access token that is past its time.
    Expired,
    /// An access token of a user who has been suspended.
    Suspended,
    /// An API token that was revoked.
    RevokedApiToken,
    /// A viewer who owns nothing.
    Viewer,
    /// A user who owns nothing.
    Stranger,
    /// An API token of the owner that may read projects and nothing else.
    NarrowApiToken,
    /// An API token of the owner with all the owner's rights.
    OwnersApiToken,
    /// The user whose agent, lease, tokens and requests are asked for.
    Owner,
    /// An admin.
    Admin,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Nobody,
        Self::Garbage,
        Self::IcToken,
        Self::RefreshToken,
        Self::EndedSession,
        Self::Expired,
        Self::Suspended,
        Self::RevokedApiToken,
        Self::Viewer,
        Self::Stranger,
        Self::NarrowApiToken,
        Self::OwnersApiToken,
        Self::Owner,
        Self::Admin,
    ];
}

/// An installation with one of everything.
pub(super) struct Cast {
    pub(super) t: TestApi,
    pub(super) ic_token: String,
    admin: Persona,
    owner: Persona,
    stranger: Persona,
    viewer: Persona,
    ended: String,
    expired: String,
    suspended: String,
    api_token: String,
    narrow_api_token: String,
    revoked_api_token: String,
    old_ic_token: String,
    other_users_id: String,
    places: Vec<(&'static str, String)>,
}

impl Cast {
    pub(super) async fn assemble() -> Self {
        let t = TestApi::start().await;
        // Logged in so long ago that the access token has run out
        let expired = t.persona("early", Role::Admin).await.token;
        t.clock.advance_millis(8 * 3_600_000 + 1_000);
        let admin = t.persona("root", Role::Admin).await;
        let owner = t.persona("owner", Role::User).await;
        let stranger = t.persona("stranger", Role::User).await;
        let viewer = t.persona("viewer", Role::Viewer).await;
        let late = t.persona("late", Role::Admin).await;
        let ended = late.token.clone();
        t.post(&late, "/api/v1/auth/logout", json!({})).await.expect(204);
        let suspended = t.persona("suspended", Role::Admin).await;
        t.put(&admin, &format!("/api/v1/users/{}/suspend", suspended.id), json!({})).await.expect(200);

        let made = |value: Value, name: &str| match &value[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let key = json!({"provider": "openai", "api_key": "sk-doors-0123456789"});
        let key = made(t.post(&admin, "/api/v1/providers", key).await.expect(201), "id");
        t.post(&admin, "/api/v1/projects", json!({"id": "proj_doors", "name": "Doors"})).await.expect(201);
        let key_number: i64 = key.parse().expect("a number");
        let body = json!({"provider_key_id": key_number});
        t.post(&admin, "/api/v1/projects/proj_doors/provider", body).await.expect(200);
        let agent = json!({"name": "door", "initial_budget_microdollars": 10_000_000, "owner_id": owner.id,
            "provider_key_id": key_number, "project_id": "proj_doors"});
        let agent = made(t.post(&admin, "/api/v1/agents", agent).await.expect(201), "id");
        let regenerate = format!("/api/v1/agents/{agent}/ic-token/regenerate");
        let old_ic_token = made(t.post(&admin, &regenerate, json!({})).await.expect(200), "ic_token");
        let ic_token = made(t.post(&admin, &regenerate, json!({})).await.expect(200), "ic_token");
        let handshake = json!({"ic_token": ic_token, "requested_budget": 1_000_000});
        let lease = made(t.post((), "/api/v1/budget/handshake", handshake).await.expect(200), "lease_id");
        let report = json!({"lease_id": lease, "request_id": "doors", "tokens": 1, "model": "m", "provider": "openai",
            "cost_microdollars": 1});
        t.post((), "/api/v1/budget/report", report).await.expect(200);

        let token = async |body: Value| {
            let token = t.post(&owner, "/api/v1/api-tokens", body).await.expect(201);
            (made(token.clone(), "id"), made(token, "token"))
        };
        let (token_id, api_token) = token(json!({"name": "all", "project_id": "proj_doors"})).await;
        let narrow = json!({"name": "narrow", "project_id": "proj_doors", "scopes": ["read:projects"]});
        let (_, narrow_api_token) = token(narrow).await;
        let (revoked_id, revoked_api_token) = token(json!({"name": "revoked"})).await;
        t.delete(&owner, &format!("/api/v1/api-tokens/{revoked_id}")).await.expect(200);
        let (spare_token, _) = token(json!({"name": "to be asked for"})).await;

        let limit = json!({"user_id": owner.id, "max_tokens_per_day": 1_000_000});
        let limit = made(t.post(&admin, "/api/v1/limits", limit).await.expect(201), "id");
        let request = json!({"agent_id": agent.parse::<i64>().expect("a number"), "requested_budget_usd": 20,
            "justification": "more doors than expected"});
        let request = made(t.post(&owner, "/api/v1/budget/requests", request).await.expect(201), "id");
        let budget = json!({"scope": {"kind": "project", "id": "proj_doors"}, "cap_microdollars": 50_000_000});
        let budget = made(t.post(&admin, "/api/v1/budgets", budget).await.expect(201), "id");
        let traces = t.get(&owner, "/api/v1/traces").await.expect(200);
        let trace = made(traces["data"][0].clone(), "id");
        let sessions = t.get(&owner, "/api/v1/auth/sessions").await.expect(200);
        let session = made(sessions[0].clone(), "id");

        let places = vec![
            ("$agent", agent),
            ("$key", key),
            ("$owner", owner.id.to_string()),
            ("$stranger", stranger.id.to_string()),
            ("$project", "proj_doors".to_owned()),
            ("$lease", lease),
            ("$limit", limit),
            ("$request", request),
            ("$budget", budget),
            ("$trace", trace),
            ("$spare", spare_token),
            ("$token", token_id),
            ("$session", session),
            ("$ic", ic_token.clone()),
        ];
        Self {
            ic_token,
            expired,
            ended,
            suspended: suspended.token,
            api_token,
            narrow_api_token,
            revoked_api_token,
            old_ic_token,
            other_users_id: stranger.id.to_string(),
            admin,
            owner,
            stranger,
            viewer,
            places,
            t,
        }
    }

    /// Puts the things of this installation into a path or a body.
    pub(super) fn fill(&self, path: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, value) in &self.places {
            text = text.replace(place, value);
        }
        let below = path.strip_prefix("/api/v1/").unwrap_or(path);
        let id = match below.split('/').next().unwrap_or("") {
            "agents" => "$agent",
            "providers" => "$key",
            "users" => "$owner",
            "projects" => "$project",
            "settings" => "$project",
            "budgets" => "$budget",
            "api-tokens" => "$spare",
            "traces" => "$trace",
            "usage" => "$token",
            "auth" => "$session",
            "limits" if below.starts_with("limits/agents") => "$agent",
            "limits" => "$limit",
            "budget" if below.starts_with("budget/leases") => "$lease",
            "budget" => "$request",
            "ws" => "$agent",
            _ => "",
        };
        let value = |place: &str| self.places.iter().find(|(name, _)| *name == place).map_or("", |(_, value)| value);
        for (pattern, place) in [
            ("{id}", id),
            ("{key_id}", "$key"),
            ("{agent_id}", "$agent"),
            ("{project_id}", "$project"),
            ("{token_id}", "$token"),
            ("{session_id}", "$session"),
        ] {
            text = text.replace(pattern, value(place));
        }
        text.replace("{provider}", "openai")
    }

    /// Knocks at a door.
    pub(super) async fn knock(&self, kind: Kind, method: &Method, path: &str, body: Option<Value>) -> Reply {
        let token = match kind {
            Kind::Nobody => return self.t.call(method.clone(), (), path, body).await,
            Kind::Garbage => "garbage",
            Kind::IcToken => &self.ic_token,
            Kind::RefreshToken => &self.owner.refresh_token,
            Kind::EndedSession => &self.ended,
            Kind::Expired => &self.expired,
            Kind::Suspended => &self.suspended,
            Kind::RevokedApiToken => &self.revoked_api_token,
            Kind::Viewer => &self.viewer.token,
            Kind::Stranger => &self.stranger.token,
            Kind::NarrowApiToken => &self.narrow_api_token,
            Kind::OwnersApiToken => &self.api_token,
            Kind::Owner => &self.owner.token,
            Kind::Admin => &self.admin.token,
        };
        self.t.call(method.clone(), token, path, body).await
    }

    /// What is no IC token of the agent, though some of it once was or is another credential.
    pub(super) fn wrong_ic_tokens(&self) -> Vec<(&'static str, String)> {
        vec![
            ("a replaced IC token", self.old_ic_token.clone()),
            ("an access token", self.owner.token.clone()),
            ("a refresh token", self.owner.refresh_token.clone()),
            ("an API token", self.api_token.clone()),
            ("an id", self.other_users_id.clone()),
        ]
    }
}
