//! Agents, their budgets, their keys and their IC tokens.

mod budget;
mod ic_token;
mod keys;

use kernel::validate::{Fields, FromFields, Patch};
use kernel::{AgentId, Money, ProjectId, ProviderKeyId, UserId};
use serde::{Deserialize, Serialize};

use crate::fields::{optional_kinds, optional_note, optional_texts, patch_note};

pub use budget::{
    AgentBudget, AgentBudgetUsd, BudgetHistory, BudgetHistorySummary, BudgetModification, BudgetModificationKind,
    ChangeAgentBudget, ChangedBudget, SetAgentBudget,
};
pub use ic_token::{IcTokenInfo, IssueIcToken, IssuedIcToken, RegeneratedIcToken};
pub use keys::{AddAgentKeys, AgentKey, AgentKeyIds, AgentKeyRemoved, AgentKeys, KeyStatus, SetAgentKeys};

/// The most characters of an agent's name.
const MAX_NAME: usize = 200;
/// The most characters of a description.
const MAX_DESCRIPTION: usize = 1_000;
/// The most labels, and the most characters of one.
const MAX_TAGS: (usize, usize) = (20, 50);

/// Whether an agent can go on spending; the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    /// A freeze covers it.
    Frozen,
    /// Nothing is available in some scope.
    Exhausted,
    /// It has no IC token, or no enabled key.
    Inactive,
    /// None of these.
    Active,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agent {
    /// Its id, never reused.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, example = 12))]
    pub id: AgentId,
    /// Its name; others may have the same.
    pub name: String,
    /// The kinds of its keys, the primary one's first; as stated when it was made, if it has none. Informational.
    #[cfg_attr(feature = "openapi", schema(example = json!(["openai"])))]
    pub providers: Vec<String>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// Whose it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub owner_id: UserId,
    /// Its primary key.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required))]
    pub provider_key_id: Option<ProviderKeyId>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub description: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// The project it is in.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub project_id: Option<ProjectId>,
    /// Whether it can go on spending.
    pub status: AgentStatus,
    /// Whether it has an IC token.
    pub has_ic_token: bool,
    /// When that was made, seconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub ic_token_created_at: Option<i64>,
    /// Its budget.
    pub budget: AgentBudget,
}

/// How an agent stands at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStanding {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// Whether it can go on spending.
    pub status: AgentStatus,
    /// Its budget in short.
    pub budget: BudgetBrief,
    /// Its calls, as reports and events tell of them.
    pub requests: RequestCounts,
    /// Its active leases.
    pub open_leases: i64,
    /// When the last call was made, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_request_at: Option<i64>,
    /// The instant of all this, milliseconds since the epoch.
    pub checked_at: i64,
}

/// A budget in short, micro-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetBrief {
    /// What was allocated.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total: Money,
    /// What is committed of it: spent, lent, or in suspense.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub spent: Money,
    /// What is left.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub remaining: Money,
    /// `spent` in percent of `total`.
    pub percent_used: crate::figures::Percent,
}

/// How many calls there were, failed ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestCounts {
    /// In all.
    pub total: i64,
    /// Made since midnight UTC.
    pub today: i64,
    /// Made in the last sixty minutes.
    pub last_hour: i64,
}

/// An agent to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateAgent {
    /// Others may have the same.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// The kinds of provider it will use, each `[a-z0-9-]{1,50}`; informational.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub providers: Vec<String>,
    /// An enabled key, which becomes the primary one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub provider_key_id: Option<ProviderKeyId>,
    /// What it may spend in all, micro-dollars.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub initial_budget_microdollars: Money,
    /// An active user; the caller unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub owner_id: Option<UserId>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: Option<String>,
    /// At most 20 labels of 1 to 50 characters.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub tags: Vec<String>,
    /// The project it is in.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub project_id: Option<ProjectId>,
}

impl FromFields for CreateAgent {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.required_str("name", 1, MAX_NAME);
        let providers = optional_kinds(f, "providers").unwrap_or_default();
        let provider_key_id = f.optional_int("provider_key_id", 1, i64::MAX).map(ProviderKeyId);
        let budget = f.required_micros("initial_budget_microdollars", 1, Money::MAX_CAP);
        let owner_id = f.optional_str("owner_id", 1, 255).map(UserId::new);
        let description = optional_note(f, "description", MAX_DESCRIPTION);
        let tags = optional_texts(f, "tags", MAX_TAGS.0, MAX_TAGS.1).unwrap_or_default();
        let project_id = f.optional_str("project_id", 1, 100).map(ProjectId::new);
        Some(Self {
            name: name?,
            providers,
            provider_key_id,
            initial_budget_microdollars: budget?,
            owner_id,
            description,
            tags,
            project_id,
        })
    }
}

/// What is to change of an agent; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateAgent {
    /// Another name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 200))]
    pub name: Option<String>,
    /// The kinds of provider it uses; informational.
    pub providers: Option<Vec<String>>,
    /// Another primary key, which must be enabled; `null` clears.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub provider_key_id: Patch<ProviderKeyId>,
    /// The new total, micro-dollars; also taken as `total_allocated_microdollars`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub budget: Option<Money>,
    /// Whether the new total may lie below what is committed; `false` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub force: bool,
    /// Why the total changes.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub reason: Option<String>,
    /// Another owner, who must be active.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub owner_id: Option<UserId>,
    /// What it is for; `null` clears.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 1000))]
    pub description: Patch<String>,
    /// At most 20 labels of 1 to 50 characters, in place of those it has.
    pub tags: Option<Vec<String>>,
    /// Another project; `null` clears.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub project_id: Patch<ProjectId>,
}

impl FromFields for UpdateAgent {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.optional_str("name", 1, MAX_NAME);
        let providers = optional_kinds(f, "providers");
        let provider_key_id = match f.patch_int("provider_key_id", 1, i64::MAX) {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(id) => Patch::Set(ProviderKeyId(id)),
        };
        let budget = f.spelling(&["budget", "total_allocated_microdollars"]);
        let budget = f.optional_micros(budget, 1, Money::MAX_CAP);
        let force = f.optional_bool("force").unwrap_or(false);
        let reason = optional_note(f, "reason", budget::MAX_REASON);
        let owner_id = f.optional_str("owner_id", 1, 255).map(UserId::new);
        let description = patch_note(f, &["description"], MAX_DESCRIPTION);
        let tags = optional_texts(f, "tags", MAX_TAGS.0, MAX_TAGS.1);
        // Only null clears: an empty text must not take an agent out from under its project's budget
        let project_id = match f.patch_str("project_id", 1, 100, false) {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(id) => Patch::Set(ProjectId::new(id)),
        };
        Some(Self { name, providers, provider_key_id, budget, force, reason, owner_id, description, tags, project_id })
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, Patch, read};
    use kernel::{Money, ProjectId, ProviderKeyId};
    use serde_json::{Value, json};

    use super::{CreateAgent, UpdateAgent};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_new_agent_names_every_field_that_fails() {
        assert_eq!(failing::<CreateAgent>(json!({})), ["initial_budget_microdollars", "name"]);
        let bad = json!({"name": " ", "providers": ["openai", "Open AI"], "provider_key_id": "1",
            "initial_budget_microdollars": 1.5, "owner_id": "", "description": "x".repeat(1_001),
            "tags": ["ok", "", 3], "project_id": ""});
        let names = [
            "description",
            "initial_budget_microdollars",
            "name",
            "owner_id",
            "project_id",
            "provider_key_id",
            "providers[1]",
            "tags[1]",
            "tags[2]",
        ];
        assert_eq!(failing::<CreateAgent>(bad), names);
        let too_many = json!({"name": "a", "initial_budget_microdollars": 1, "tags": vec!["t"; 21]});
        assert_eq!(failing::<CreateAgent>(too_many), ["tags"]);
    }

    #[test]
    fn an_initial_budget_is_whole_micro_dollars_within_bounds() {
        for bad in [json!(0), json!(-1), json!("1"), json!(1_000_000_000_000_001_i64), json!(1e3)] {
            let body = json!({"name": "a", "initial_budget_microdollars": bad});
            assert_eq!(failing::<CreateAgent>(body), ["initial_budget_microdollars"], "{bad}");
        }
        let most = json!({"name": "a", "initial_budget_microdollars": 1_000_000_000_000_000_i64});
        assert_eq!(read::<CreateAgent>(&most).map(|agent| agent.initial_budget_microdollars), Ok(Money::MAX_CAP));
    }

    #[test]
    fn null_clears_key_description_and_project_and_nothing_else() {
        let nulls = json!({"name": null, "provider_key_id": null, "budget": null, "owner_id": null,
            "description": null, "tags": null, "project_id": null});
        let expected = UpdateAgent {
            provider_key_id: Patch::Clear,
            description: Patch::Clear,
            project_id: Patch::Clear,
            ..UpdateAgent::default()
        };
        assert_eq!(read::<UpdateAgent>(&nulls), Ok(expected));
        assert_eq!(read::<UpdateAgent>(&json!({})), Ok(UpdateAgent::default()));
    }

    #[test]
    fn a_total_has_two_names() {
        for name in ["budget", "total_allocated_microdollars"] {
            let update = read::<UpdateAgent>(&json!({name: 5})).expect("valid");
            assert_eq!(update.budget, Money::from_micros(5));
            assert_eq!(failing::<UpdateAgent>(json!({name: 0.5})), [name]);
        }
    }

    #[test]
    fn a_change_reads_what_it_sets() {
        let update = read::<UpdateAgent>(&json!({"provider_key_id": 3, "project_id": "p", "tags": [" a "]}));
        let update = update.expect("valid");
        assert_eq!(update.provider_key_id, Patch::Set(ProviderKeyId(3)));
        assert_eq!(update.project_id, Patch::Set(ProjectId::new("p")));
        assert_eq!(update.tags, Some(vec!["a".to_owned()]));
    }
}
