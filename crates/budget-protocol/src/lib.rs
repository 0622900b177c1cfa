//! The budget protocol as it stands on the wire: what an agent runtime says to the control plane and what it hears.
//!
//! Money is lent in leases. Four verbs move it:
//!
//! | verb | request | answer | module |
//! |---|---|---|---|
//! | handshake | [`HandshakeRequest`] | [`HandshakeResponse`] | [`handshake`] |
//! | report | [`ReportRequest`], [`BatchReport`] | [`ReportResponse`], [`BatchReportResponse`] | [`report`], [`batch`] |
//! | refresh | [`RefreshRequest`] | [`RefreshResponse`] | [`refresh`] |
//! | return | [`ReturnRequest`] | [`ReturnResponse`] | [`giveback`] |
//!
//! * Requests are read with [`kernel::validate::read`], which names *every* failing field and knows the tolerated
//!   spellings; they are written by `Serialize` in the canonical spelling.
//! * Amounts are [`kernel::Money`] and exact. How a field is rounded when it is written is part of its type: what is spent
//!   rounds up, what is left or granted rounds down and is never negative (see [`wire`]).
//! * Limits that are settings of the server are *not* checked here, only the hard bounds; see [`requested_budget`].
//!
//! Beside the messages: [`ip_token`] seals a provider key so that only the holder of the agent's IC token can open it,
//! [`transition`] says which events may end a lease, [`error_body`] reads the one error shape of the HTTP contract.
//!
//! The crate knows nothing of HTTP, of databases, or of how the server decides.

pub mod batch;
pub mod error_body;
pub mod giveback;
pub mod handshake;
pub mod idempotency;
pub mod ip_token;
pub mod refresh;
pub mod report;
pub mod scope;
pub mod transition;
pub mod version;
pub mod wire;

pub use batch::{
    BatchError, BatchItem, BatchReport, BatchReportBody, BatchReportResponse, BatchResult, ItemStatus, MAX_BATCH,
};
pub use error_body::{Denial, ErrorBody, ExhaustedDetails, FrozenDetails, QuotaDetails, VersionDetails};
pub use giveback::{ReturnFigure, ReturnRequest, ReturnResponse};
pub use handshake::{HandshakeRequest, HandshakeResponse};
pub use idempotency::{BodyHash, idempotency_key, requested_budget};
pub use kernel::{EndedBy, LeaseState};
pub use refresh::{ClosedLease, RefreshApproved, RefreshDenied, RefreshRequest, RefreshResponse};
pub use report::{ReportItem, ReportRequest, ReportResponse};
pub use scope::{Scope, ScopeId, ScopeKind};
pub use version::RuntimeVersion;

/// Longest lease id, request id and similar text that a body may carry, in characters.
pub(crate) const MAX_ID: usize = 100;
/// Longest IC token, in bytes (it is ASCII).
pub(crate) const MAX_IC_TOKEN: usize = 2_000;
/// The largest whole number that survives a JSON number, 2⁵³−1.
pub(crate) const MAX_INT: i64 = 9_007_199_254_740_991;

#[cfg(all(test, feature = "openapi"))]
mod openapi_tests {
    use utoipa::PartialSchema;

    fn schema<T: PartialSchema>() -> serde_json::Value {
        serde_json::to_value(T::schema()).expect("a schema is JSON")
    }

    #[test]
    fn the_description_of_a_refresh_requires_the_five_keys() {
        let schema = schema::<crate::refresh::RefreshBody>();
        let required = ["status", "budget_granted", "budget_remaining", "lease_id", "reason"];
        assert_eq!(schema["required"], serde_json::json!(required));
    }

    #[test]
    fn credentials_and_money_are_described_as_text_and_whole_numbers() {
        let schema = schema::<crate::HandshakeRequest>();
        assert_eq!(schema["required"], serde_json::json!(["ic_token"]));
        assert_eq!(schema["properties"]["ic_token"]["type"], "string");
        assert_eq!(schema["properties"]["requested_budget"]["type"], serde_json::json!(["integer", "null"]));
    }

    #[test]
    fn a_report_is_described_flat() {
        let text = schema::<crate::report::ReportRequestSchema>().to_string();
        assert!(text.contains("\"lease_id\"") && text.contains("\"cost_nanos\""), "{text}");
    }
}
