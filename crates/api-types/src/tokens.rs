//! API tokens, by which programs act as their owner.

use kernel::validate::{Fields, FromFields, checked_text, is_slug, numeric_id};
use kernel::{AgentId, ApiTokenId, ProjectId, Secret, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most scopes of a token.
const MAX_SCOPES: usize = 20;
/// The most characters of a token that is to be looked at.
const MAX_TOKEN_CHARS: usize = 500;

/// An API token. What it is sent as is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 7))]
    pub id: ApiTokenId,
    /// Whose rights it has.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// The project whose provider key it fetches.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub project_id: Option<ProjectId>,
    /// The name.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<String>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub description: Option<String>,
    /// The agent it belongs to; it ends with the agent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required))]
    pub agent_id: Option<AgentId>,
    /// The provider it is meant for; informational.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub provider: Option<String>,
    /// What narrows it, `<read|write>:<resource|*>` each; none leave it all rights of its owner.
    #[cfg_attr(feature = "openapi", schema(example = json!(["read:agents"])))]
    pub scopes: Vec<String>,
    /// Its first characters, to know it by.
    #[cfg_attr(feature = "openapi", schema(example = "apitok_x7Gq"))]
    pub token_prefix: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// When it was last used, some seconds late; milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_used_at: Option<i64>,
    /// When it ends by itself, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub expires_at: Option<i64>,
    /// When it was revoked or replaced, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub revoked_at: Option<i64>,
    /// Neither revoked nor run out.
    pub is_active: bool,
}

/// A token with how often it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiTokenDetail {
    /// The token.
    #[serde(flatten)]
    pub token: ApiToken,
    /// How often it was used.
    pub usage_stats: ApiTokenUsageStats,
}

/// How often a token was used; some seconds late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiTokenUsageStats {
    /// Ever.
    pub total_requests: i64,
    /// Since midnight, UTC.
    pub requests_today: i64,
    /// In the last 60 minutes, to the minute.
    pub requests_last_hour: i64,
}

/// A new token. Shown once.
// No `Debug`: it must not reach a log.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedApiToken {
    /// The token as it is shown from now on.
    #[serde(flatten)]
    pub shown: ApiToken,
    /// What to send as `Authorization: Bearer …`.
    pub token: String,
    /// What to do with it.
    pub message: String,
}

/// A new token in place of another one. Shown once.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotatedApiToken {
    /// The new token.
    #[serde(flatten)]
    pub issued: IssuedApiToken,
    /// The one that has ended.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub rotated_from: ApiTokenId,
}

/// A token that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokedApiToken {
    /// Which one.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: ApiTokenId,
    /// Always `true`.
    pub revoked: bool,
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<String>,
    /// Milliseconds since the epoch.
    pub revoked_at: i64,
    /// The same in words.
    pub message: String,
}

/// A token as it stands in the list of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentToken {
    /// The id.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: ApiTokenId,
    /// Whose rights it has.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// The provider it is meant for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub provider: Option<String>,
    /// The name.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// When it was last used, some seconds late; milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_used_at: Option<i64>,
    /// Neither revoked nor run out.
    pub is_active: bool,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiTokenVerdict {
    /// Whether it is taken.
    pub valid: bool,
    /// Whose rights it has; only if it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_id: Option<UserId>,
    /// The project whose key it fetches, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub project_id: Option<ProjectId>,
    /// Which one it is; only if it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub token_id: Option<ApiTokenId>,
}

/// A provider key in the clear, for a person who works on a project.
// No `Debug`: it must not reach a log.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FetchedKey {
    /// The kind of the key.
    #[cfg_attr(feature = "openapi", schema(example = "openai"))]
    pub provider: String,
    /// The secret.
    pub api_key: String,
    /// Where the provider is reached, without a final `/v1`; absent for the provider's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

/// When a token is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEnd {
    /// When it is revoked.
    #[default]
    Never,
    /// So many days after it was made.
    Days(i64),
    /// At this instant.
    At(Timestamp),
}

/// A token to be made. At least one of `name`, `description` and `user_id` says whose or what for it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateApiToken {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whose rights it gets; admins may name somebody else.
    pub user_id: Option<UserId>,
    /// The project whose provider key it fetches.
    pub project_id: Option<ProjectId>,
    /// The agent it belongs to.
    pub agent_id: Option<AgentId>,
    /// The provider it is meant for.
    pub provider: Option<String>,
    /// When it ends.
    pub end: TokenEnd,
    /// What narrows it.
    pub scopes: Vec<String>,
}

impl FromFields for CreateApiToken {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = plain(f, "name", 1, 100);
        let description = plain(f, "description", 0, 500).filter(|text| !text.is_empty());
        let user_id = f.optional_str("user_id", 1, 255).map(UserId::new);
        if !["name", "description", "user_id"].iter().any(|field| f.has(field)) {
            f.error("name", "is required, unless there is a description or a user_id");
        }
        let project_id = f.optional_str("project_id", 1, 100);
        if project_id.as_deref().is_some_and(|id| !ProjectId::is_well_formed(id)) {
            f.error("project_id", "must consist of letters, digits, _, . and -");
        }
        Some(Self {
            name,
            description,
            user_id,
            project_id: project_id.map(ProjectId::new),
            agent_id: agent(f),
            provider: plain(f, "provider", 1, 64),
            end: end(f),
            scopes: scopes(f),
        })
    }
}

/// What is to change of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateApiToken {
    /// Another provider it is meant for.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub provider: Option<String>,
    /// Another name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub name: Option<String>,
    /// Another description; a blank one clears it.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub description: Option<String>,
}

impl FromFields for UpdateApiToken {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let (provider, name) = (plain(f, "provider", 1, 64), plain(f, "name", 1, 100));
        Some(Self { provider, name, description: plain(f, "description", 0, 500) })
    }
}

/// A token to be looked at.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidateApiToken {
    /// The token.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 500))]
    pub token: Secret<String>,
}

impl FromFields for ValidateApiToken {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let token = f.required_str("token", 1, MAX_TOKEN_CHARS).map(Secret::new);
        Some(Self { token: token? })
    }
}

/// What [`CreateApiToken`] reads, for the description of the API.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = CreateApiToken)]
pub struct CreateApiTokenSchema {
    /// Its name. At least one of `name`, `description` and `user_id` is required.
    #[schema(min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// What it is for.
    #[schema(max_length = 500)]
    pub description: Option<String>,
    /// Whose rights it gets; admins may name somebody else.
    pub user_id: Option<String>,
    /// The project whose provider key it fetches.
    pub project_id: Option<String>,
    /// The agent it belongs to.
    pub agent_id: Option<i64>,
    /// The provider it is meant for.
    #[schema(min_length = 1, max_length = 64)]
    pub provider: Option<String>,
    /// After how many days it ends; also as text, and as `expires_in`.
    #[schema(minimum = 1, maximum = 3650)]
    pub expires_in_days: Option<i64>,
    /// When it ends, milliseconds since the epoch; in place of `expires_in_days`.
    pub expires_at: Option<i64>,
    /// One scope; more in `scopes`.
    #[schema(example = "read:agents")]
    pub scope: Option<String>,
    /// What narrows it, `<read|write>:<resource|*>` each.
    #[schema(max_items = 20)]
    pub scopes: Option<Vec<String>>,
}

/// A text that is shown in many places, some of them written without care: nothing that could be markup.
fn plain(f: &mut Fields<'_>, name: &str, min: usize, max: usize) -> Option<String> {
    let text = f.optional_str(name, min, max)?;
    if text.contains(['<', '>']) {
        f.error(name, "must not contain < or >");
        return None;
    }
    Some(text)
}

fn agent(f: &mut Fields<'_>) -> Option<AgentId> {
    match numeric_id(f.value("agent_id")?) {
        Ok(id) => Some(AgentId(id)),
        Err(why) => {
            f.error("agent_id", why);
            None
        }
    }
}

fn end(f: &mut Fields<'_>) -> TokenEnd {
    let name = f.spelling(&["expires_in_days", "expires_in"]);
    let days = f.value(name).map(numeric_id);
    let at = f.optional_instant("expires_at");
    match (days, at) {
        (None, None) => TokenEnd::Never,
        (None, Some(at)) => TokenEnd::At(at),
        (Some(Ok(days)), None) if days <= 3_650 => TokenEnd::Days(days),
        (Some(_), Some(_)) => {
            f.error("expires_at", format!("cannot be given beside {name}"));
            TokenEnd::Never
        }
        _ => {
            f.error(name, "must be 1 to 3650 days");
            TokenEnd::Never
        }
    }
}

/// Those of `scope`, separated by blanks or commas, and those of `scopes`; each once, in their order.
fn scopes(f: &mut Fields<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(text) = f.optional_str("scope", 0, 2_000) {
        for part in text.split([' ', ',']).filter(|part| !part.is_empty()) {
            match scope(part) {
                Ok(scope) => found.push(scope),
                Err(why) => f.error("scope", why),
            }
        }
    }
    let listed = f.optional_list("scopes", 0, MAX_SCOPES, |value| match value {
        Value::String(text) => scope(text.trim()),
        _ => Err("must be a string".to_owned()),
    });
    found.extend(listed.unwrap_or_default());
    let mut once: Vec<String> = Vec::with_capacity(found.len());
    for scope in found {
        if !once.contains(&scope) {
            once.push(scope);
        }
    }
    if once.len() > MAX_SCOPES {
        f.error("scopes", format!("must have at most {MAX_SCOPES} items"));
    }
    once
}

fn scope(text: &str) -> Result<String, String> {
    let why = || "must be read or write, a colon, and a resource or *".to_owned();
    let (access, resource) = text.split_once(':').ok_or_else(why)?;
    if matches!(access, "read" | "write") && (resource == "*" || is_slug(resource)) {
        checked_text(text, 1, 100).map(str::to_owned)
    } else {
        Err(why())
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, read};
    use kernel::{AgentId, Timestamp};
    use serde_json::{Value, json};

    use super::{CreateApiToken, TokenEnd, UpdateApiToken, ValidateApiToken};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    fn create(body: Value) -> CreateApiToken {
        read(&body).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn a_token_says_in_one_of_three_ways_what_it_is_for() {
        for body in [json!({"name": "n"}), json!({"description": "d"}), json!({"user_id": "u"})] {
            assert!(failing::<CreateApiToken>(body.clone()).is_empty(), "{body}");
        }
        for body in [json!({}), json!({"name": null, "provider": "openai"})] {
            assert_eq!(failing::<CreateApiToken>(body), ["name"]);
        }
    }

    #[test]
    fn every_field_that_fails_is_named() {
        let body = json!({"name": "<b>", "description": "a\u{7}", "user_id": 1, "project_id": "a/b", "agent_id": 0,
            "provider": "x".repeat(65), "expires_in_days": 0, "scopes": ["read:agents", "all", 3], "scope": "x"});
        let expected = [
            "agent_id",
            "description",
            "expires_in_days",
            "name",
            "project_id",
            "provider",
            "scope",
            "scopes[1]",
            "scopes[2]",
            "user_id",
        ];
        assert_eq!(failing::<CreateApiToken>(body), expected);
        assert_eq!(failing::<CreateApiToken>(json!({"name": "n", "scopes": vec!["read:a"; 21]})), ["scopes"]);
    }

    #[test]
    fn an_end_is_days_as_number_or_text_or_an_instant() {
        for (body, end) in [
            (json!({}), TokenEnd::Never),
            (json!({"expires_in_days": 30}), TokenEnd::Days(30)),
            (json!({"expires_in_days": "30"}), TokenEnd::Days(30)),
            (json!({"expires_in": "3650"}), TokenEnd::Days(3_650)),
            (json!({"expires_at": 1_800_000_000_000_i64}), TokenEnd::At(Timestamp::from_secs(1_800_000_000))),
        ] {
            let mut body = body;
            body["name"] = "n".into();
            assert_eq!(create(body).end, end);
        }
        for bad in [json!(0), json!(3_651), json!("x"), json!(1.5), json!(true)] {
            assert_eq!(failing::<CreateApiToken>(json!({"name": "n", "expires_in": bad})), ["expires_in"]);
        }
        let both = json!({"name": "n", "expires_in_days": 1, "expires_at": 1_800_000_000_000_i64});
        assert_eq!(failing::<CreateApiToken>(both), ["expires_at"]);
    }

    #[test]
    fn scopes_come_from_both_fields_each_once() {
        let body = json!({"name": "n", "scope": "read:agents, write:tokens", "scopes": ["read:*", "read:agents"]});
        assert_eq!(create(body).scopes, ["read:agents", "write:tokens", "read:*"]);
        let token = create(json!({"name": " n ", "description": " ", "agent_id": "7"}));
        assert_eq!((token.scopes.len(), token.description, token.agent_id), (0, None, Some(AgentId(7))));
    }

    #[test]
    fn a_change_may_be_empty_and_a_blank_description_clears() {
        let change = read::<UpdateApiToken>(&json!({"description": " "})).expect("valid");
        assert_eq!((change.description.as_deref(), change.name), (Some(""), None));
        assert_eq!(failing::<UpdateApiToken>(json!({"name": "", "provider": "a>b"})), ["name", "provider"]);
    }

    #[test]
    fn a_token_to_be_looked_at_has_at_most_500_characters() {
        assert_eq!(failing::<ValidateApiToken>(json!({})), ["token"]);
        assert_eq!(failing::<ValidateApiToken>(json!({"token": "x".repeat(501)})), ["token"]);
        assert!(failing::<ValidateApiToken>(json!({"token": "x"})).is_empty());
    }
}
