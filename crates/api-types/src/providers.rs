//! Provider keys, and who has them.

mod base_url;

use kernel::validate::{Fields, FromFields, Patch};
use kernel::{AgentId, ProjectId, ProviderKeyId, Secret, UserId};
use serde::{Deserialize, Serialize};

use crate::fields::{optional_texts, patch_note, required_ids};

pub use base_url::{BadBaseUrl, BaseUrl};

/// The most characters of a secret.
const MAX_SECRET: usize = 500;
/// The most characters of a description.
const MAX_DESCRIPTION: usize = 500;
/// The most models, and the most characters of one.
const MAX_MODELS: (usize, usize) = (200, 200);
/// The most agents that are named at once.
const MAX_AGENTS: usize = 1_000;

/// A provider key. Its secret is never told here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderKey {
    /// Its id, never reused.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 3))]
    pub id: ProviderKeyId,
    /// Which provider it is for.
    #[cfg_attr(feature = "openapi", schema(example = "openai"))]
    pub provider: String,
    /// Where the provider is reached, if not at its usual address.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub base_url: Option<String>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub description: Option<String>,
    /// Whether it is handed out.
    pub is_enabled: bool,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// When it was last handed out, to about a minute; milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_used_at: Option<i64>,
    /// When its secret was last replaced, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub rotated_at: Option<i64>,
    /// The secret's ends, to know it by.
    #[cfg_attr(feature = "openapi", schema(example = "sk-p...hij"))]
    pub masked_key: String,
    /// The projects that lend it to their agents.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub assigned_projects: Vec<ProjectId>,
    /// The models it is good for.
    pub models: Vec<String>,
    /// How many agents have it themselves.
    pub agent_count: i64,
}

/// The agents that have a key themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAgents {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_id: ProviderKeyId,
    /// The agents, by id; to a user those of their own.
    pub agents: Vec<KeyAgent>,
    /// How many.
    pub count: u64,
}

/// An agent that has a key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAgent {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub owner_id: UserId,
    /// Whether the key is its primary one.
    pub is_primary: bool,
}

/// A key that was taken from an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAgentRemoved {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_id: ProviderKeyId,
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// Always `true`.
    pub removed: bool,
    /// How many agents still have the key.
    pub count: u64,
}

/// A key that a project lends to its agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectKeyAssigned {
    /// The project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub project_id: ProjectId,
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_key_id: ProviderKeyId,
    /// Its kind.
    pub provider: String,
    /// Always `true`.
    pub assigned: bool,
}

/// A provider key to be stored.
// No `Debug`: it carries a secret.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateProviderKey {
    /// Which provider it is for, `[a-z0-9-]{1,50}`; never changes.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 50, example = "openai"))]
    pub provider: String,
    /// The secret, taken as it is; also taken as `credentials.api_key`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 1, max_length = 500))]
    pub api_key: Secret<String>,
    /// Where the provider is reached, `https://…`; also taken as `endpoint`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 2000))]
    pub base_url: Option<BaseUrl>,
    /// What it is for; also taken as `name`.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub description: Option<String>,
    /// At most 200 models of 1 to 200 characters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub models: Vec<String>,
    /// Whether it is handed out; `true` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub is_enabled: bool,
}

impl FromFields for CreateProviderKey {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        if !f.has("provider") {
            f.error("provider", "is required");
        }
        let provider = f.optional_slug("provider");
        let api_key = optional_secret(f);
        if !f.has("api_key") && !f.has("credentials") {
            f.error("api_key", "is required");
        }
        let base_url = optional(patch_url(f));
        let description = optional(patch_note(f, &DESCRIPTION, MAX_DESCRIPTION));
        let models = optional_texts(f, "models", MAX_MODELS.0, MAX_MODELS.1).unwrap_or_default();
        let is_enabled = f.optional_bool("is_enabled").unwrap_or(true);
        Some(Self { provider: provider?, api_key: api_key?, base_url, description, models, is_enabled })
    }
}

/// What is to change of a provider key; what is not given stays.
// No `Debug`: it may carry a secret.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateProviderKey {
    /// Cannot change; taken if it is the one the key has.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 50))]
    pub provider: Option<String>,
    /// Another secret in place of the one it has; also taken as `credentials.api_key`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 500))]
    pub api_key: Option<Secret<String>>,
    /// Where the provider is reached; an empty text or `null` clears. Also taken as `endpoint`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 2000))]
    pub base_url: Patch<BaseUrl>,
    /// What it is for; an empty text or `null` clears. Also taken as `name`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 500))]
    pub description: Patch<String>,
    /// At most 200 models of 1 to 200 characters, in place of those it has.
    pub models: Option<Vec<String>>,
    /// Whether it is handed out.
    pub is_enabled: Option<bool>,
}

impl FromFields for UpdateProviderKey {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let provider = f.optional_slug("provider");
        let api_key = optional_secret(f);
        let base_url = patch_url(f);
        let description = patch_note(f, &DESCRIPTION, MAX_DESCRIPTION);
        let models = optional_texts(f, "models", MAX_MODELS.0, MAX_MODELS.1);
        let is_enabled = f.optional_bool("is_enabled");
        Some(Self { provider, api_key, base_url, description, models, is_enabled })
    }
}

const DESCRIPTION: [&str; 2] = ["description", "name"];
const BASE_URL: [&str; 2] = ["base_url", "endpoint"];

struct Credentials {
    api_key: Secret<String>,
}

impl FromFields for Credentials {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { api_key: secret(f)? })
    }
}

fn optional_secret(f: &mut Fields<'_>) -> Option<Secret<String>> {
    if f.has("api_key") { secret(f) } else { f.optional_object::<Credentials>("credentials").map(|c| c.api_key) }
}

/// Keys travel in HTTP headers, where a line break that was pasted along would do harm.
fn secret(f: &mut Fields<'_>) -> Option<Secret<String>> {
    let secret = f.required_verbatim("api_key", 1, MAX_SECRET).map(Secret::new)?;
    if secret.expose().chars().any(char::is_control) {
        f.error("api_key", "must not contain line breaks or other control characters");
        return None;
    }
    if secret.expose().trim().is_empty() {
        f.error("api_key", "must not be blank");
        return None;
    }
    Some(secret)
}

fn patch_url(f: &mut Fields<'_>) -> Patch<BaseUrl> {
    let name = BASE_URL.into_iter().find(|name| f.mentions(name)).unwrap_or(BASE_URL[0]);
    match patch_note(f, &BASE_URL, BaseUrl::MAX_CHARS) {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(text) => match text.parse() {
            Ok(url) => Patch::Set(url),
            Err(why) => {
                let why: BadBaseUrl = why;
                f.error(name, why.to_string());
                Patch::Keep
            }
        },
    }
}

fn optional<T>(patch: Patch<T>) -> Option<T> {
    patch.apply(None)
}

/// Agents that are to have a key beside those that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddKeyAgents {
    /// 1 to 1000 agents, numbers or numeric strings.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub agent_ids: Vec<AgentId>,
}

impl FromFields for AddKeyAgents {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { agent_ids: agents(f, 1)? })
    }
}

/// The only agents that are to have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetKeyAgents {
    /// At most 1000 agents, numbers or numeric strings.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub agent_ids: Vec<AgentId>,
}

impl FromFields for SetKeyAgents {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { agent_ids: agents(f, 0)? })
    }
}

fn agents(f: &mut Fields<'_>, min: usize) -> Option<Vec<AgentId>> {
    let ids = required_ids(f, &["agent_ids"], min, MAX_AGENTS)?;
    Some(ids.into_iter().map(AgentId).collect())
}

/// A key that a project is to lend to its agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AssignProjectKey {
    /// The key; it takes the place of the project's key of the same kind.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_key_id: ProviderKeyId,
}

impl FromFields for AssignProjectKey {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { provider_key_id: ProviderKeyId(f.required_int("provider_key_id", 1, i64::MAX)?) })
    }
}

#[cfg(test)]
mod tests {
    use kernel::AgentId;
    use kernel::validate::{FromFields, Patch, read};
    use serde_json::{Value, json};

    use super::{AddKeyAgents, AssignProjectKey, CreateProviderKey, SetKeyAgents, UpdateProviderKey};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    fn create(body: Value) -> CreateProviderKey {
        read(&body).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn update(body: Value) -> UpdateProviderKey {
        read(&body).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn a_new_key_names_every_field_that_fails() {
        assert_eq!(failing::<CreateProviderKey>(json!({})), ["api_key", "provider"]);
        let bad = json!({"provider": "Open AI", "api_key": "x".repeat(501), "base_url": "ftp://x",
            "description": "x".repeat(501), "models": ["", "m".repeat(201)], "is_enabled": 1});
        let names = ["api_key", "base_url", "description", "is_enabled", "models[0]", "models[1]", "provider"];
        assert_eq!(failing::<CreateProviderKey>(bad), names);
    }

    #[test]
    fn a_secret_has_two_names_and_is_taken_as_it_is() {
        assert_eq!(create(json!({"provider": "p", "api_key": " sk "})).api_key.expose(), " sk ");
        let nested = create(json!({"provider": "p", "credentials": {"api_key": "sk"}}));
        assert_eq!(nested.api_key.expose(), "sk");
        let path =
            |credentials: Value| failing::<CreateProviderKey>(json!({"provider": "p", "credentials": credentials}));
        assert_eq!(path(json!({})), ["credentials.api_key"]);
        assert_eq!(path(json!("sk")), ["credentials"]);
        assert_eq!(path(json!({"api_key": "sk\n"})), ["credentials.api_key"]);
    }

    #[test]
    fn a_secret_is_neither_blank_nor_has_line_breaks() {
        for bad in ["", "  ", "sk-1\n", "sk\u{0}"] {
            assert_eq!(failing::<CreateProviderKey>(json!({"provider": "p", "api_key": bad})), ["api_key"], "{bad:?}");
            assert_eq!(failing::<UpdateProviderKey>(json!({"api_key": bad})), ["api_key"], "{bad:?}");
        }
    }

    #[test]
    fn a_complaint_does_not_repeat_the_secret() {
        let errors = read::<CreateProviderKey>(&json!({"provider": "p", "api_key": "sk-canary\n"})).err();
        assert!(!format!("{errors:?}").contains("canary"));
    }

    #[test]
    fn address_and_description_have_two_names() {
        let key = create(json!({"provider": "p", "api_key": "k", "endpoint": "https://x.example", "name": " n "}));
        assert_eq!(key.base_url.map(|url| url.as_str().to_owned()).as_deref(), Some("https://x.example"));
        assert_eq!((key.description.as_deref(), key.is_enabled), (Some("n"), true));
        let bad = json!({"provider": "p", "api_key": "k", "endpoint": "x", "name": 1});
        assert_eq!(failing::<CreateProviderKey>(bad), ["endpoint", "name"]);
    }

    #[test]
    fn empty_or_null_clears_address_and_description() {
        for nothing in [json!(""), Value::Null] {
            let key = update(json!({"base_url": nothing, "description": nothing}));
            assert_eq!((key.base_url, key.description), (Patch::Clear, Patch::Clear));
        }
        let key = update(json!({}));
        assert!(key.base_url.is_keep() && key.description.is_keep() && key.api_key.is_none());
    }

    #[test]
    fn agents_are_numbers_or_numeric_strings() {
        let read = read::<AddKeyAgents>(&json!({"agent_ids": [1, "2"]})).map(|request| request.agent_ids);
        assert_eq!(read, Ok(vec![AgentId(1), AgentId(2)]));
        assert_eq!(failing::<AddKeyAgents>(json!({"agent_ids": []})), ["agent_ids"]);
        assert!(failing::<SetKeyAgents>(json!({"agent_ids": []})).is_empty());
        assert_eq!(failing::<SetKeyAgents>(json!({"agent_ids": [1, -1]})), ["agent_ids[1]"]);
        assert_eq!(failing::<AssignProjectKey>(json!({"provider_key_id": "1"})), ["provider_key_id"]);
    }
}
