//! An agent's budget: what it may spend in all, and how that came to be.

use kernel::validate::{Fields, FromFields};
use kernel::{AgentId, Money, UserId};
use serde::{Deserialize, Serialize};

use super::AgentStatus;
use crate::fields::optional_note;
use crate::figures::{Percent, Usd};
use crate::paging::PageInfo;

/// The most characters of a reason.
pub(super) const MAX_REASON: usize = 500;
/// The least total that is set in dollars, one cent.
const MIN_USD: Money = Money::from_nanos(10_000_000);

/// An agent's budget, micro-dollars. `total_allocated` − `total_spent` = `budget_remaining`, unless that is below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentBudget {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// What it may spend in all.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_allocated: Money,
    /// What is committed of it: spent, lent to open leases, or in suspense.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_spent: Money,
    /// What is left to lend, at least zero.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub budget_remaining: Money,
    /// Lent or in suspense.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_reserved: Money,
    /// Known to be spent.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub spent: Money,
    /// Lent to open leases and not yet reported.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub leased: Money,
    /// Was lent to leases whose holder fell silent; not lent again.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub suspense: Money,
    /// The part of `spent` that went beyond what was lent.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub overrun: Money,
    /// `total_spent` in percent of `total_allocated`.
    pub percent_used: Percent,
    /// When the total was last changed, milliseconds since the epoch.
    pub updated_at: i64,
}

/// An agent's budget in US dollars, with the same in micro-dollars beside it (`total_…`, `budget_remaining`, `leased`,
/// `suspense`, `overrun`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentBudgetUsd {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// What it may spend in all, US dollars.
    pub budget: Usd,
    /// What is committed of it, US dollars; `total_spent` in another unit.
    pub spent: Usd,
    /// What is left to lend, US dollars.
    pub remaining: Usd,
    /// `spent` in percent of `budget`.
    pub percent_used: Percent,
    /// Whether the agent can go on spending.
    pub status: AgentStatus,
    /// What it may spend in all.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_allocated: Money,
    /// What is committed of it.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_spent: Money,
    /// What is left to lend.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub budget_remaining: Money,
    /// Lent or in suspense.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_reserved: Money,
    /// Lent to open leases and not yet reported.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub leased: Money,
    /// Was lent to leases whose holder fell silent; not lent again.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub suspense: Money,
    /// What was spent beyond what was lent.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub overrun: Money,
    /// When the total was last changed, milliseconds since the epoch.
    pub updated_at: i64,
}

/// Another total for an agent, micro-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetAgentBudget {
    /// What it may spend in all.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub total_allocated_microdollars: Money,
    /// Whether that may lie below what is committed; `false` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub force: bool,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub reason: Option<String>,
}

impl FromFields for SetAgentBudget {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let total = f.required_micros("total_allocated_microdollars", 1, Money::MAX_CAP);
        let force = f.optional_bool("force").unwrap_or(false);
        let reason = optional_note(f, "reason", MAX_REASON);
        Some(Self { total_allocated_microdollars: total?, force, reason })
    }
}

/// Another total for an agent, US dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeAgentBudget {
    /// What it may spend in all, US dollars with at most six decimals; also taken as `new_budget`.
    #[cfg_attr(feature = "openapi", schema(value_type = f64, minimum = 0.01, maximum = 1_000_000_000.0))]
    pub budget: Money,
    /// Needed to lower the total; `false` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub force: bool,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub reason: Option<String>,
}

impl FromFields for ChangeAgentBudget {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.spelling(&["budget", "new_budget"]);
        let budget = f.required_usd(name, MIN_USD, Money::MAX_CAP);
        let force = f.optional_bool("force").unwrap_or(false);
        let reason = optional_note(f, "reason", MAX_REASON);
        Some(Self { budget: budget?, force, reason })
    }
}

/// A total that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedBudget {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// What it was, US dollars.
    pub previous_budget: Usd,
    /// What it is, US dollars.
    pub new_budget: Usd,
    /// The difference, US dollars; negative where it was lowered.
    pub increase_amount: Usd,
    /// The same in percent of what it was.
    pub increase_percent: Percent,
    /// What is committed, US dollars.
    pub current_spent: Usd,
    /// What is left to lend, US dollars.
    pub new_remaining: Usd,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub reason: Option<String>,
    /// Who.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub modified_by: UserId,
    /// When, milliseconds since the epoch.
    pub modified_at: i64,
}

/// How an agent's total came to be what it is: one page of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetHistory {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// What the total is, US dollars.
    pub current_budget: Usd,
    /// The changes, newest first.
    pub modifications: Vec<BudgetModification>,
    /// All changes together, whatever the page.
    pub summary: BudgetHistorySummary,
    /// Where the page stands.
    pub pagination: PageInfo,
}

/// One change of a total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetModification {
    /// `bhist_<uuid>`.
    pub id: String,
    /// What it was, US dollars; zero before the first.
    pub previous_budget: Usd,
    /// What it was made, US dollars.
    pub new_budget: Usd,
    /// The difference, US dollars; negative where it was lowered.
    pub increase_amount: Usd,
    /// The same in percent of what it was; zero for the first.
    pub increase_percent: Percent,
    /// What it was, micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub previous_budget_microdollars: Money,
    /// What it was made, micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub new_budget_microdollars: Money,
    /// What changed it.
    pub kind: BudgetModificationKind,
    /// The budget request that was approved.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub request_id: Option<String>,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub reason: Option<String>,
    /// Who.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub modified_by: UserId,
    /// Their name now.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub modified_by_name: Option<String>,
    /// When, milliseconds since the epoch.
    pub modified_at: i64,
}

/// What changes a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BudgetModificationKind {
    /// The agent was made with it.
    Create,
    /// Somebody set it.
    Edit,
    /// A request was approved.
    Request,
}

/// All changes of a total together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetHistorySummary {
    /// What the agent began with, US dollars.
    pub initial_budget: Usd,
    /// What the total is, US dollars.
    pub current_budget: Usd,
    /// What later changes added, leaving aside those that took away; US dollars.
    pub total_increases: Usd,
    /// How many changes there were after the first.
    pub modification_count: u64,
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, read};
    use kernel::{AgentId, Money};
    use serde_json::{Value, json};

    use super::{AgentBudget, ChangeAgentBudget, SetAgentBudget};
    use crate::figures::Percent;

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn what_is_shown_adds_up_although_the_books_are_finer() {
        let (allocated, committed) = (Money::from_nanos(10_000), Money::from_nanos(3_001));
        let budget = AgentBudget {
            agent_id: AgentId(1),
            total_allocated: allocated,
            total_spent: committed,
            budget_remaining: allocated.minus_or_zero(committed),
            total_reserved: Money::from_nanos(1),
            spent: Money::from_nanos(3_000),
            leased: Money::from_nanos(1),
            suspense: Money::ZERO,
            overrun: Money::ZERO,
            percent_used: Percent::of(committed, allocated),
            updated_at: 5,
        };
        let expected = json!({"agent_id": 1, "total_allocated": 10, "total_spent": 4, "budget_remaining": 6,
            "total_reserved": 1, "spent": 3, "leased": 1, "suspense": 0, "overrun": 0, "percent_used": 30.01,
            "updated_at": 5});
        assert_eq!(serde_json::to_value(budget).ok(), Some(expected));
    }

    #[test]
    fn a_total_in_micro_dollars_is_whole_and_above_zero() {
        assert_eq!(failing::<SetAgentBudget>(json!({})), ["total_allocated_microdollars"]);
        for bad in [json!(0), json!(1.5), json!("7"), json!(-1), json!(1_000_000_000_000_001_i64)] {
            let body = json!({"total_allocated_microdollars": bad, "force": "yes", "reason": "x".repeat(501)});
            assert_eq!(failing::<SetAgentBudget>(body), ["force", "reason", "total_allocated_microdollars"]);
        }
    }

    #[test]
    fn a_total_in_dollars_has_two_names_and_is_at_least_a_cent() {
        for name in ["budget", "new_budget"] {
            let read = read::<ChangeAgentBudget>(&json!({name: 12.34})).expect("valid");
            assert_eq!(read.budget, Money::from_nanos(12_340_000_000));
            for bad in [json!(0.009), json!("12"), json!(-5), json!(1.000_000_1), json!(1_000_000_001_i64)] {
                assert_eq!(failing::<ChangeAgentBudget>(json!({name: bad})), [name], "{bad}");
            }
        }
        assert_eq!(failing::<ChangeAgentBudget>(json!({"reason": 5})), ["budget", "reason"]);
    }
}
