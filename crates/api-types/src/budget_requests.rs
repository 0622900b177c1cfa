//! Requests that an agent's total becomes another one.

use kernel::validate::{Fields, FromFields};
use kernel::{AgentId, BudgetRequestId, Money, UserId};
use serde::{Deserialize, Serialize};

use crate::agents::AgentStatus;
use crate::fields::optional_note;
use crate::figures::Usd;
use crate::paging::PageInfo;

/// Characters of a justification.
const JUSTIFICATION: (usize, usize) = (20, 500);
/// The most characters of what a reviewer says.
const MAX_NOTES: usize = 1_000;
/// The least total that can be asked for: a micro-dollar.
const MIN_TOTAL: Money = Money::from_nanos(1_000);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BudgetRequestStatus {
    /// Nothing yet.
    Pending,
    /// The agent got another total.
    Approved,
    /// A reviewer said no.
    Rejected,
    /// It was taken back, or the agent or the requester is gone.
    Cancelled,
}

/// A request that an agent's total becomes another one. Amounts are totals in US dollars, times milliseconds since the
/// epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetRequest {
    /// `breq_<uuid>`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: BudgetRequestId,
    /// The same.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub request_id: BudgetRequestId,
    /// For which agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// Its name now.
    pub agent_name: String,
    /// Who asks.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub requester_id: UserId,
    /// Their name now.
    pub requester_name: String,
    /// The agent's total when it was asked for.
    pub current_budget_usd: Usd,
    /// What the total is to be.
    pub requested_budget_usd: Usd,
    /// `current_budget_usd` under another name.
    pub current_budget: Usd,
    /// `requested_budget_usd` under another name.
    pub requested_budget: Usd,
    /// Why.
    pub justification: String,
    /// What became of it.
    pub status: BudgetRequestStatus,
    /// When it was made.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// When it was approved or rejected.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub reviewed_at: Option<i64>,
    /// By whom.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub reviewed_by: Option<UserId>,
    /// Their name now.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub reviewed_by_name: Option<String>,
    /// What the reviewer says, or why it was cancelled.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub review_notes: Option<String>,
    /// The total that was approved.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub approved_budget_usd: Option<Usd>,
    /// When it was cancelled.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub cancelled_at: Option<i64>,
    /// By whom.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub cancelled_by: Option<UserId>,
    /// Their name now.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub cancelled_by_name: Option<String>,
}

/// Requests, all of them unless a page was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetRequestList {
    /// The requests.
    pub requests: Vec<BudgetRequest>,
    /// Where the page stands; one page of 10 000 where none was asked for.
    pub pagination: PageInfo,
}

/// A request beside what the agent has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetRequestDetail {
    /// The request.
    #[serde(flatten)]
    pub request: BudgetRequest,
    /// The agent's total now, US dollars.
    pub agent_current_budget: Usd,
    /// What is committed of it, US dollars.
    pub agent_spent: Usd,
    /// What is left to lend, US dollars.
    pub agent_remaining: Usd,
    /// Whether the agent can go on spending.
    pub agent_status: AgentStatus,
}

/// A request that was approved, and what that did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovedBudgetRequest {
    /// The request.
    #[serde(flatten)]
    pub request: BudgetRequest,
    /// `reviewed_at` under another name.
    pub approved_at: i64,
    /// Always `true`.
    pub budget_updated: bool,
    /// The agent's total.
    pub agent: ApprovedTotal,
    /// The entry in the agent's budget history, `bhist_<uuid>`.
    pub history_entry_id: String,
}

/// An agent's total around an approval, US dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovedTotal {
    /// Before.
    pub old_budget: Usd,
    /// Since.
    pub new_budget: Usd,
}

/// A request to be made. A requester that is named is ignored: it is the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateBudgetRequest {
    /// For which agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1))]
    pub agent_id: AgentId,
    /// What its total is to be, US dollars with at most six decimals, at most 10 000 unless configured otherwise; also taken
    /// as `requested_budget`.
    #[cfg_attr(feature = "openapi", schema(value_type = f64, exclusive_minimum = 0.0))]
    pub requested_budget_usd: Money,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(min_length = 20, max_length = 500))]
    pub justification: String,
}

impl FromFields for CreateBudgetRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let agent_id = f.required_int("agent_id", 1, i64::MAX);
        let name = f.spelling(&["requested_budget_usd", "requested_budget"]);
        let requested_budget_usd = f.required_usd(name, MIN_TOTAL, Money::MAX_CAP);
        let justification = f.required_str("justification", JUSTIFICATION.0, JUSTIFICATION.1);
        Some(Self {
            agent_id: AgentId(agent_id?),
            requested_budget_usd: requested_budget_usd?,
            justification: justification?,
        })
    }
}

/// Yes to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApproveBudgetRequest {
    /// Another total than was asked for, US dollars with at most six decimals; also taken as `approved_budget`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<f64>, exclusive_minimum = 0.0, maximum = 1_000_000_000.0))]
    pub approved_budget_usd: Option<Money>,
    /// What the reviewer says.
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub review_notes: Option<String>,
    /// Whether the total may lie below what is committed; `false` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub force: bool,
}

impl FromFields for ApproveBudgetRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.spelling(&["approved_budget_usd", "approved_budget"]);
        let approved_budget_usd = f.optional_usd(name, MIN_TOTAL, Money::MAX_CAP);
        let review_notes = optional_note(f, "review_notes", MAX_NOTES);
        let force = f.optional_bool("force").unwrap_or(false);
        Some(Self { approved_budget_usd, review_notes, force })
    }
}

/// No to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RejectBudgetRequest {
    /// Why; also taken as `review_notes` or `reason`.
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub rejection_reason: Option<String>,
}

impl FromFields for RejectBudgetRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.spelling(&["rejection_reason", "review_notes", "reason"]);
        Some(Self { rejection_reason: optional_note(f, name, MAX_NOTES) })
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, read};
    use kernel::{AgentId, Money};
    use serde_json::{Value, json};

    use super::{ApproveBudgetRequest, CreateBudgetRequest, RejectBudgetRequest};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_request_names_every_field_that_fails() {
        let all = ["agent_id", "justification", "requested_budget_usd"];
        assert_eq!(failing::<CreateBudgetRequest>(json!({})), all);
        for bad in [json!(0), json!(-1), json!("12"), json!(1.000_000_1), json!(1_000_000_001_i64), json!(true)] {
            let body = json!({"agent_id": 0, "requested_budget_usd": bad, "justification": "too short          "});
            assert_eq!(failing::<CreateBudgetRequest>(body), all, "{bad}");
        }
        let body = json!({"agent_id": "1", "requested_budget": "1", "justification": "x".repeat(501)});
        assert_eq!(failing::<CreateBudgetRequest>(body), ["agent_id", "justification", "requested_budget"]);
    }

    #[test]
    fn amounts_are_exact_and_have_two_names() {
        for name in ["requested_budget_usd", "requested_budget"] {
            let body = json!({"agent_id": 3, name: 0.1, "justification": format!("  {}  ", "y".repeat(20)),
                "requester_id": 7});
            let read = read::<CreateBudgetRequest>(&body).expect("valid");
            assert_eq!((read.agent_id, read.requested_budget_usd), (AgentId(3), Money::from_nanos(100_000_000)));
            assert_eq!(read.justification, "y".repeat(20));
        }
        for name in ["approved_budget_usd", "approved_budget"] {
            let read = read::<ApproveBudgetRequest>(&json!({name: 999_999_999.999_999})).expect("valid");
            assert_eq!(read.approved_budget_usd, Some(Money::from_nanos(999_999_999_999_999_000)));
            assert_eq!(failing::<ApproveBudgetRequest>(json!({name: 0})), [name]);
        }
    }

    #[test]
    fn a_review_may_be_empty() {
        assert_eq!(read(&json!({})), Ok(ApproveBudgetRequest::default()));
        assert_eq!(read(&json!({"review_notes": "  "})), Ok(ApproveBudgetRequest::default()));
        assert_eq!(read(&json!({})), Ok(RejectBudgetRequest::default()));
        for name in ["rejection_reason", "review_notes", "reason"] {
            let read = read::<RejectBudgetRequest>(&json!({name: " no "})).expect("valid");
            assert_eq!(read.rejection_reason.as_deref(), Some("no"));
            assert_eq!(failing::<RejectBudgetRequest>(json!({name: "x".repeat(1_001)})), [name]);
        }
    }
}
