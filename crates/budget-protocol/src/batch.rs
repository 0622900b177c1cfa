//! Many reports of one lease in one request.

use std::collections::BTreeMap;

use kernel::validate::{Fields, FromFields, read};
use kernel::{FieldErrors, LeaseId, LeaseState, Money};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::lease_id;
use crate::{MAX_ID, ReportItem, wire};

/// The largest number of reports in one request.
pub const MAX_BATCH: usize = 1_000;

/// One item of a batch: the call, or its request id (where that at least can be read) and what is wrong with it.
pub type BatchItem = Result<ReportItem, (Option<String>, FieldErrors)>;

/// A batch as the server reads it. Items are checked one by one, so that a bad one does not spoil its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// The lease all of them were paid from.
    pub lease_id: LeaseId,
    /// The holder's running total on this lease; merged by maximum.
    pub spent_total: Option<Money>,
    /// The items in their order, 1–[`MAX_BATCH`].
    pub items: Vec<BatchItem>,
}

/// Why a batch as a whole will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More than [`MAX_BATCH`] items (`BATCH_TOO_LARGE`).
    #[error("{count} reports in one batch, at most {MAX_BATCH} are taken")]
    TooLarge {
        /// How many there were.
        count: usize,
    },
    /// The fields around the items (`VALIDATION_ERROR`).
    #[error("{}", .0.summary())]
    Fields(FieldErrors),
}

/// The fields around the items; these are read by [`BatchReport::read`] on its own.
struct Envelope {
    lease_id: LeaseId,
    spent_total: Option<Money>,
}

impl FromFields for Envelope {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let lease_id = lease_id(f, "lease_id");
        let spent_total = f.optional_micros("spent_total_microdollars", 0, Money::MAX_CAP);
        match f.value("reports") {
            None => f.error("reports", "is required"),
            Some(Value::Array(items)) if items.is_empty() => {
                f.error("reports", format!("must have 1 to {MAX_BATCH} items"));
            }
            Some(Value::Array(_)) => {}
            Some(_) => f.error("reports", "must be a list"),
        }
        Some(Self { lease_id: lease_id?, spent_total })
    }
}

impl BatchReport {
    /// Reads a batch.
    pub fn read(body: &Value) -> Result<Self, BatchError> {
        let items = body.get("reports").and_then(Value::as_array);
        if let Some(count) = items.map(Vec::len).filter(|n| *n > MAX_BATCH) {
            return Err(BatchError::TooLarge { count });
        }
        let envelope = read::<Envelope>(body).map_err(BatchError::Fields)?;
        let items = items.into_iter().flatten().map(read_item).collect();
        Ok(Self { lease_id: envelope.lease_id, spent_total: envelope.spent_total, items })
    }
}

fn read_item(item: &Value) -> BatchItem {
    read::<ReportItem>(item).map_err(|errors| {
        let id = item.get("request_id").and_then(Value::as_str).map(str::trim);
        let id = id.filter(|id| kernel::validate::checked_text(id, 1, MAX_ID).is_ok());
        (id.map(str::to_owned), errors)
    })
}

/// A batch as a client writes it.
#[derive(Clone, Debug, Serialize)]
pub struct BatchReportBody<'a> {
    /// The lease all of them were paid from.
    pub lease_id: &'a LeaseId,
    /// The items, 1–[`MAX_BATCH`].
    pub reports: &'a [ReportItem],
    /// The holder's running total on this lease, rounded down to micro-dollars: it is merged by maximum with the
    /// exact items.
    #[serde(with = "optional_floor", skip_serializing_if = "Option::is_none")]
    pub spent_total_microdollars: Option<Money>,
}

mod optional_floor {
    use kernel::Money;
    use serde::{Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(amount: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
        amount.map(Money::micros_floor).serialize(serializer)
    }
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ItemStatus {
    /// Booked.
    Recorded,
    /// Booked before, at the same cost; nothing was booked now.
    Duplicate,
    /// Booked before, at another cost; nothing was booked now.
    Conflict,
    /// Its fields will not do; nothing was booked.
    Invalid,
}

/// The answer about one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResult {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Its request id, `null` where it could not be read.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub request_id: Option<String>,
    /// What became of it.
    pub status: ItemStatus,
    /// The error code, for `conflict` and `invalid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A readable text, for `conflict` and `invalid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The failing fields, for `invalid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

impl BatchResult {
    /// An item that was booked now (`duplicate: false`) or before.
    pub const fn booked(index: usize, request_id: String, duplicate: bool) -> Self {
        let status = if duplicate { ItemStatus::Duplicate } else { ItemStatus::Recorded };
        Self { index, request_id: Some(request_id), status, code: None, error: None, fields: None }
    }

    /// An item whose request id was booked at another cost.
    pub fn conflict(index: usize, request_id: String, recorded: Money) -> Self {
        Self {
            index,
            request_id: Some(request_id),
            status: ItemStatus::Conflict,
            code: Some(kernel::ErrorCode::IdempotencyConflict.as_str().to_owned()),
            error: Some(format!("this request id was reported at {} microdollars", recorded.micros_ceil())),
            fields: None,
        }
    }

    /// An item that could not be read.
    pub fn invalid(index: usize, request_id: Option<String>, errors: &FieldErrors) -> Self {
        Self {
            index,
            request_id,
            status: ItemStatus::Invalid,
            code: Some(kernel::ErrorCode::ValidationError.as_str().to_owned()),
            error: Some(errors.summary()),
            fields: Some(errors.iter().map(|(path, why)| (path.to_owned(), why.to_owned())).collect()),
        }
    }
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchReportResponse {
    /// Whether no item failed.
    pub success: bool,
    /// Items booked now.
    pub recorded: usize,
    /// Items booked before.
    pub duplicates: usize,
    /// Items in conflict or invalid.
    pub failed: usize,
    /// One answer per item, in the order of the request.
    pub results: Vec<BatchResult>,
    /// Micro-dollars the agent has left.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub budget_remaining: Money,
    /// Micro-dollars allocated to the agent in total.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub budget_limit: Money,
    /// Known spend of the lease, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub lease_spent: Money,
    /// What is left of the lease, micro-dollars.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub lease_remaining: Money,
    /// The state of the lease: `active`, `expired`, `revoked` or `closed`.
    #[serde(with = "wire::lease_state")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub lease_status: LeaseState,
    /// Whether known spend is above the grant.
    pub overrun: bool,
}

impl BatchReportResponse {
    /// The four counters that follow from the answers per item: `(success, recorded, duplicates, failed)`.
    pub fn count(results: &[BatchResult]) -> (bool, usize, usize, usize) {
        let of = |status| results.iter().filter(|r| r.status == status).count();
        let failed = of(ItemStatus::Conflict) + of(ItemStatus::Invalid);
        (failed == 0, of(ItemStatus::Recorded), of(ItemStatus::Duplicate), failed)
    }
}

/// The body of a batch as the API description shows it; read by hand through [`BatchReport`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = BatchReport)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct BatchReportSchema {
    #[schema(min_length = 1, max_length = 100)]
    lease_id: String,
    #[schema(min_items = 1, max_items = 1000)]
    reports: Vec<crate::report::ReportItemSchema>,
    /// Micro-dollars, the holder's running total on this lease; merged by maximum.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    spent_total_microdollars: Option<i64>,
}

#[cfg(test)]
mod tests {
    use kernel::{LeaseId, Money};
    use serde_json::{Value, json};

    use super::{BatchError, BatchReport, BatchReportBody, BatchReportResponse, BatchResult};

    fn item(id: &str) -> Value {
        json!({"request_id": id, "tokens": 1, "cost_microdollars": 2, "model": "m", "provider": "p"})
    }

    #[test]
    fn bad_items_do_not_spoil_good_ones() {
        let body =
            json!({"lease_id": "l", "reports": [item("a"), {"request_id": "b"}, 7, item("c"), {"request_id": 5}]});
        let batch = BatchReport::read(&body).expect("a batch");
        let good: Vec<bool> = batch.items.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, true, false]);
        let ids: Vec<_> = batch.items.iter().filter_map(|i| i.as_ref().err()).map(|(id, _)| id.as_deref()).collect();
        assert_eq!(ids, [Some("b"), None, None]);
    }

    #[test]
    fn more_than_a_thousand_is_an_outcome_of_its_own() {
        let many = |n: usize| json!({"lease_id": "l", "reports": vec![item("a"); n]});
        assert_eq!(BatchReport::read(&many(1_001)), Err(BatchError::TooLarge { count: 1_001 }));
        assert_eq!(BatchReport::read(&many(1_000)).map(|b| b.items.len()), Ok(1_000));
    }

    #[test]
    fn the_fields_around_the_items_are_all_named() {
        for (body, names) in [
            (json!({}), &["lease_id", "reports"][..]),
            (json!({"lease_id": "l", "reports": []}), &["reports"]),
            (json!({"lease_id": "l", "reports": {}}), &["reports"]),
            (
                json!({"lease_id": 1, "reports": null, "spent_total_microdollars": -1}),
                &["lease_id", "reports", "spent_total_microdollars"],
            ),
            (json!([]), &[""]),
        ] {
            let Err(BatchError::Fields(errors)) = BatchReport::read(&body) else { panic!("{body} was taken") };
            assert_eq!(errors.iter().map(|(path, _)| path).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn what_a_client_writes_the_server_reads() {
        let read = BatchReport::read(&json!({"lease_id": "l", "reports": [item("a")]})).expect("a batch");
        let items: Vec<_> = read.items.into_iter().flatten().collect();
        let body = BatchReportBody {
            lease_id: &LeaseId::new("l"),
            reports: &items,
            spent_total_microdollars: Some(Money::from_nanos(1_999)),
        };
        let again = BatchReport::read(&serde_json::to_value(&body).expect("JSON")).expect("a batch");
        assert_eq!(again.spent_total, Money::from_micros(1));
        assert_eq!(again.items.into_iter().flatten().collect::<Vec<_>>(), items);
    }

    #[test]
    fn counters_follow_from_the_items() {
        let results = [
            BatchResult::booked(0, "a".into(), false),
            BatchResult::booked(1, "b".into(), true),
            BatchResult::conflict(2, "c".into(), Money::from_nanos(1)),
            BatchResult::invalid(3, None, &kernel::FieldErrors::one("tokens", "is required")),
        ];
        assert_eq!(BatchReportResponse::count(&results), (false, 1, 1, 2));
        let written = serde_json::to_value(&results[3]).expect("JSON");
        assert_eq!(written["request_id"], Value::Null);
        assert_eq!(written["fields"]["tokens"], "is required");
        assert!(serde_json::to_value(&results[0]).expect("JSON").get("code").is_none());
    }
}
