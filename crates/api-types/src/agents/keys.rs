//! The provider keys of an agent.

use kernel::validate::{Fields, FromFields};
use kernel::{AgentId, ProviderKeyId};
use serde::{Deserialize, Serialize};

use crate::fields::required_ids;

/// The most keys that are assigned at once.
const MAX_KEYS: usize = 50;

/// The keys of an agent's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentKeys {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// The keys, the primary one first.
    pub providers: Vec<AgentKey>,
    /// How many.
    pub count: u64,
}

/// A key of an agent's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentKey {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: ProviderKeyId,
    /// What it is for; its kind if nobody said.
    pub name: String,
    /// Its kind.
    pub provider: String,
    /// Where the provider is reached, if not at its usual address.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub endpoint: Option<String>,
    /// The models it is good for.
    pub models: Vec<String>,
    /// Whether it is handed out.
    pub status: KeyStatus,
    /// Whether it is the primary one.
    pub is_primary: bool,
}

/// Whether a key is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
}

/// The keys of an agent's own after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentKeyIds {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// The keys, the primary one first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub providers: Vec<ProviderKeyId>,
    /// The primary one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required))]
    pub provider_key_id: Option<ProviderKeyId>,
    /// How many.
    pub count: u64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
}

/// A key that was taken from an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentKeyRemoved {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_id: ProviderKeyId,
    /// Always `true`.
    pub removed: bool,
    /// The keys it still has.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub remaining_providers: Vec<ProviderKeyId>,
    /// How many.
    pub count: u64,
    /// What follows, where it is worth a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Keys to be assigned beside those the agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddAgentKeys {
    /// 1 to 50 keys, numbers or numeric strings; also taken as `providers`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub provider_ids: Vec<ProviderKeyId>,
}

impl FromFields for AddAgentKeys {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { provider_ids: keys(f, 1)? })
    }
}

/// The only keys the agent is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetAgentKeys {
    /// At most 50 keys, numbers or numeric strings; also taken as `providers`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<i64>))]
    pub provider_ids: Vec<ProviderKeyId>,
}

impl FromFields for SetAgentKeys {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { provider_ids: keys(f, 0)? })
    }
}

fn keys(f: &mut Fields<'_>, min: usize) -> Option<Vec<ProviderKeyId>> {
    let ids = required_ids(f, &["provider_ids", "providers"], min, MAX_KEYS)?;
    Some(ids.into_iter().map(ProviderKeyId).collect())
}

#[cfg(test)]
mod tests {
    use kernel::ProviderKeyId;
    use kernel::validate::{FromFields, read};
    use serde_json::{Value, json};

    use super::{AddAgentKeys, SetAgentKeys};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn keys_are_numbers_or_numeric_strings_under_either_name() {
        let expected = vec![ProviderKeyId(1), ProviderKeyId(2)];
        for name in ["provider_ids", "providers"] {
            assert_eq!(
                read::<AddAgentKeys>(&json!({name: [1, "2"]})).map(|keys| keys.provider_ids),
                Ok(expected.clone())
            );
            assert_eq!(failing::<SetAgentKeys>(json!({name: [1, "x", 0, 1.5]})).len(), 3);
        }
    }

    #[test]
    fn an_empty_list_replaces_but_does_not_add() {
        assert_eq!(failing::<AddAgentKeys>(json!({"provider_ids": []})), ["provider_ids"]);
        assert!(failing::<SetAgentKeys>(json!({"provider_ids": []})).is_empty());
        assert_eq!(failing::<SetAgentKeys>(json!({})), ["provider_ids"]);
        assert_eq!(failing::<SetAgentKeys>(json!({"provider_ids": vec![1; 51]})), ["provider_ids"]);
    }
}
