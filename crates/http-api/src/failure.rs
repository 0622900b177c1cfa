//! What failures of the layers below mean to a client.

use kernel::ErrorCode;
use ledger::Rejection;
use persistence::{Refused, StoreError};
use serde_json::json;

use crate::ApiError;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::overloaded(),
            transient if transient.is_transient() => Self::unavailable(transient),
            defect => Self::internal(defect),
        }
    }
}

/// A refusal of the ledger that needs no more than its code and a text. Refusals that carry figures are spelled out by
/// the endpoints that can meet them.
impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match &rejection {
            Rejection::NoAllocation => Self::internal(rejection),
            Rejection::IdempotencyConflict { recorded: Some(recorded) } => {
                let details = json!({ "recorded_cost_microdollars": recorded.micros_ceil() });
                Self::new(ErrorCode::IdempotencyConflict, rejection.to_string()).details(details)
            }
            Rejection::BelowKnown { known } => {
                let why = format!("is below what is known to be spent, {}", known.micros_ceil());
                Self::field("spent_microdollars", why)
            }
            _ => Self::new(rejection.code(), rejection.to_string()),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Ledger(rejection) => rejection.into(),
            // Only after the caller has tried again with a fresh picture several times
            Refused::StaleDirectory => Self::unavailable("agents and keys keep changing"),
        }
    }
}
