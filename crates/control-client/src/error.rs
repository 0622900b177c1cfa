//! What can go wrong, typed by what a caller may do about it.

use std::time::Duration;

use budget_protocol::ip_token::OpenError;
use budget_protocol::{Denial, ErrorBody, FrozenDetails, QuotaDetails, RefreshDenied, Scope};
use kernel::{ErrorCode, Money, Timestamp};

/// The control plane has no money for this agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// The scope that has nothing left.
    pub binding_scope: Option<Scope>,
    /// Allocated to the agent in total.
    pub total_allocated: Option<Money>,
    /// Spent by the agent in total.
    pub total_spent: Option<Money>,
    /// What the agent itself has left.
    pub budget_remaining: Option<Money>,
    /// When the window of the binding scope ends, if it has one.
    pub resets_at: Option<Timestamp>,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.binding_scope {
            Some(scope) => write!(f, "the budget of {scope} is exhausted")?,
            None => f.write_str("the budget is exhausted")?,
        }
        match self.resets_at {
            Some(at) => write!(f, " until {}", at.to_rfc3339()),
            None => Ok(()),
        }
    }
}

impl From<RefreshDenied> for Denied {
    fn from(denied: RefreshDenied) -> Self {
        Self {
            binding_scope: Some(denied.binding_scope),
            total_allocated: Some(denied.total_allocated),
            total_spent: Some(denied.total_spent),
            budget_remaining: Some(denied.budget_remaining),
            resets_at: denied.resets_at,
        }
    }
}

/// Why the control plane did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A setting will not do.
    #[error("configuration: {0}")]
    Config(String),
    /// The journal cannot be written or read; without it no call may be made.
    #[error("the journal cannot be used: {0}")]
    Journal(String),
    /// No money (`BUDGET_EXHAUSTED`, or a refresh that was denied).
    #[error("{0}")]
    Denied(Box<Denied>),
    /// An operator froze the agent or a scope that covers it (`AGENT_FROZEN`, `SCOPE_FROZEN`).
    #[error("{message}")]
    Frozen {
        /// What is frozen, why and since when, if the answer says so.
        details: Option<FrozenDetails>,
        /// The text of the answer.
        message: String,
    },
    /// A quota is used up (`QUOTA_EXCEEDED`).
    #[error("{message}")]
    Quota {
        /// Which one, if the answer says so.
        details: Option<Box<QuotaDetails>>,
        /// The text of the answer.
        message: String,
    },
    /// The IC token is not, or no longer, valid (`INVALID_IC_TOKEN`).
    #[error("the control plane does not accept the IC token")]
    InvalidToken,
    /// The agent has no usable provider key (`NO_PROVIDER_KEY`, `PROVIDER_KEY_NOT_ASSIGNED`).
    #[error("no provider key: {0}")]
    NoProviderKey(String),
    /// The control plane does not speak with this version of the runtime (`INCOMPATIBLE_VERSION`).
    #[error("{0}")]
    IncompatibleVersion(String),
    /// The lease is not one that can be used so (`LEASE_NOT_FOUND`, `LEASE_CLOSED`, `LEASE_REVOKED`,
    /// `LEASE_NOT_ACTIVE`, `LEASE_AGENT_MISMATCH`, `STALE_EPOCH`).
    #[error("{message} ({code})")]
    Lease {
        /// Which of these it is.
        code: ErrorCode,
        /// The text of the answer.
        message: String,
    },
    /// The provider key that came with the lease does not open with this IC token.
    #[error("the provider key cannot be opened")]
    SealedKey(#[source] OpenError),
    /// Any other refusal.
    #[error("{status} {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The code of the answer.
        code: String,
        /// The text of the answer, with the failing fields.
        message: String,
        /// Under which the server's log has it.
        request_id: Option<String>,
    },
    /// The control plane cannot be reached, is overloaded or failing. Trying again later may help.
    #[error("the control plane is not available: {reason}")]
    Unavailable {
        /// What happened at the last attempt.
        reason: String,
        /// When the server asked to be tried again.
        retry_after: Option<Duration>,
    },
    /// An answer that this client does not understand.
    #[error("the answer of the control plane is not understood: {0}")]
    Protocol(String),
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
}

impl ControlError {
    /// Types an error of the contract.
    pub(crate) fn from_body(status: u16, retry_after: Option<Duration>, body: ErrorBody) -> Self {
        let message = body.message.clone();
        let denial = body.denial();
        match (body.known_code(), denial) {
            (Some(ErrorCode::BudgetExhausted), Some(Denial::Exhausted(d))) => Self::Denied(Box::new(Denied {
                binding_scope: Some(d.binding_scope),
                total_allocated: Some(d.total_allocated),
                total_spent: Some(d.total_spent),
                budget_remaining: Some(d.budget_remaining),
                resets_at: d.resets_at,
            })),
            (Some(ErrorCode::BudgetExhausted), _) => Self::Denied(Box::default()),
            (Some(ErrorCode::AgentFrozen | ErrorCode::ScopeFrozen), denial) => {
                let details = if let Some(Denial::Frozen(details)) = denial { Some(details) } else { None };
                Self::Frozen { details, message }
            }
            (Some(ErrorCode::QuotaExceeded), denial) => {
                let details = if let Some(Denial::Quota(details)) = denial { Some(Box::new(details)) } else { None };
                Self::Quota { details, message }
            }
            (Some(ErrorCode::InvalidIcToken), _) => Self::InvalidToken,
            (
                Some(ErrorCode::NoProviderKey | ErrorCode::ProviderKeyNotAssigned | ErrorCode::ProviderKeyDisabled),
                _,
            ) => Self::NoProviderKey(message),
            (Some(ErrorCode::IncompatibleVersion), _) => Self::IncompatibleVersion(message),
            (
                Some(
                    code @ (ErrorCode::LeaseNotFound
                    | ErrorCode::LeaseClosed
                    | ErrorCode::LeaseRevoked
                    | ErrorCode::LeaseNotActive
                    | ErrorCode::LeaseAgentMismatch
                    | ErrorCode::StaleEpoch),
                ),
                _,
            ) => Self::Lease { code, message },
            _ if status >= 500 || status == 429 => {
                Self::Unavailable { reason: format!("{status} {}: {message}", body.code), retry_after }
            }
            _ => {
                let fields: String = body.fields.iter().map(|(path, why)| format!("; {path} {why}")).collect();
                let message = format!("{message}{fields}");
                Self::Refused { status, code: body.code, message, request_id: body.request_id }
            }
        }
    }

    /// The code of a lease that cannot be used.
    pub(crate) const fn lease_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Lease { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// US dollars for people, rounded up to micro-dollars.
fn up(amount: Money) -> String {
    Money::usd_decimal_of_micros(amount.micros_ceil())
}

/// US dollars for people, rounded down to micro-dollars.
fn down(amount: Money) -> String {
    Money::usd_decimal_of_micros(amount.micros_floor())
}

/// Why no reservation could be made. Nothing was reserved and nothing is owed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The amount does not fit into what is left, and the control plane lends no more. Where `outstanding` is not
    /// nothing, it may fit once those calls are settled.
    #[error("${} does not fit into the ${} that is left: {denied}", up(*worst_case), down(*left))]
    Refused {
        /// What was asked for.
        worst_case: Money,
        /// The most that would have fitted.
        left: Money,
        /// Reserved for calls that are under way.
        outstanding: Money,
        /// What the control plane said; empty where it lent, but less than was asked for.
        denied: Box<Denied>,
    },
    /// The amount is negative or above the largest cost of one call, [`Money::MAX_CALL`].
    #[error("${} is not the cost of a call", up(*.0))]
    NotAnAmount(Money),
    /// No more money could be asked for.
    #[error("no more budget: {0}")]
    Control(#[source] ControlError),
    /// The journal cannot be written. A call that is not journaled must not be made.
    #[error("the journal cannot be written: {0}")]
    Journal(String),
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use budget_protocol::ErrorBody;
    use serde_json::json;

    use super::ControlError;

    fn typed(status: u16, body: serde_json::Value) -> ControlError {
        ControlError::from_body(status, None, ErrorBody::parse(body.to_string().as_bytes()).expect("an error body"))
    }

    #[test]
    fn refusals_of_the_contract_are_typed() {
        assert!(matches!(typed(401, json!({"code": "INVALID_IC_TOKEN"})), ControlError::InvalidToken));
        assert!(matches!(typed(403, json!({"code": "BUDGET_EXHAUSTED"})), ControlError::Denied(_)));
        assert!(matches!(typed(404, json!({"code": "NO_PROVIDER_KEY"})), ControlError::NoProviderKey(_)));
        assert!(matches!(typed(503, json!({"code": "OVERLOADED"})), ControlError::Unavailable { .. }));
        assert!(matches!(typed(418, json!({"code": "NEW"})), ControlError::Refused { status: 418, .. }));
        let frozen = json!({
            "code": "AGENT_FROZEN", "message": "frozen",
            "details": {"scope": {"kind": "organization", "id": null}, "reason": "drill", "frozen_at": 5},
        });
        let ControlError::Frozen { details: Some(details), .. } = typed(403, frozen) else { panic!("not frozen") };
        assert_eq!(details.reason, "drill");
    }

    #[test]
    fn the_failing_fields_are_part_of_the_text() {
        let body = json!({"code": "VALIDATION_ERROR", "message": "no", "fields": {"a.b": "is required"}});
        assert_eq!(typed(400, body).to_string(), "400 VALIDATION_ERROR: no; a.b is required");
    }
}
