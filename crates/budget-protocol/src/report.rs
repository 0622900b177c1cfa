//! Report: what one LLM call cost.

use kernel::validate::{Fields, FromFields};
use kernel::{LeaseId, LeaseState, Money, Timestamp};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::{MAX_ID, MAX_INT, wire};

/// The largest exact cost of one call, in nano-dollars.
const MAX_COST_NANOS: i64 = 1_000_000_000_000_000;

/// One LLM call, without the lease it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportItem {
    /// The holder's id of the call, distinct within the lease, 1–100 characters.
    pub request_id: String,
    /// Tokens of the call, 0…10⁹.
    pub tokens: i64,
    /// What the call cost, exactly: `cost_nanos` where it was given, else `cost_microdollars`.
    pub cost: Money,
    /// 1–200 characters.
    pub model: String,
    /// Any name, 1–50 characters.
    pub provider: String,
    /// When the call was made; absent means now.
    pub timestamp: Option<Timestamp>,
    /// The holder's running total on this lease; merged by maximum.
    pub spent_total: Option<Money>,
    /// The holder's report counter, from 1; gaps are shown on the lease.
    pub seq: Option<i64>,
}

impl FromFields for ReportItem {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let request_id = f.required_str("request_id", 1, MAX_ID);
        let tokens = f.required_int("tokens", 0, 1_000_000_000);
        let stated = f.required_micros("cost_microdollars", 0, Money::MAX_CALL);
        let exact = f.optional_int("cost_nanos", 0, MAX_COST_NANOS).map(Money::from_nanos);
        let model = f.required_str("model", 1, 200);
        let provider = f.required_str("provider", 1, 50);
        let timestamp = f.optional_instant("timestamp");
        let spent_total = f.optional_micros("spent_total_microdollars", 0, Money::MAX_CAP);
        let seq = f.optional_int("seq", 1, MAX_INT);
        if let (Some(stated), Some(exact)) = (stated, exact)
            && stated.micros_floor() != exact.micros_floor()
            && stated.micros_floor() != exact.micros_ceil()
        {
            f.error("cost_nanos", "must round to cost_microdollars");
        }
        Some(Self {
            request_id: request_id?,
            tokens: tokens?,
            cost: exact.or(stated)?,
            model: model?,
            provider: provider?,
            timestamp,
            spent_total,
            seq,
        })
    }
}

impl ReportItem {
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("request_id", &self.request_id)?;
        map.serialize_entry("tokens", &self.tokens)?;
        map.serialize_entry("cost_microdollars", &self.cost.micros_ceil())?;
        if self.cost.micros_ceil() != self.cost.micros_floor() {
            map.serialize_entry("cost_nanos", &self.cost.nanos())?;
        }
        map.serialize_entry("model", &self.model)?;
        map.serialize_entry("provider", &self.provider)?;
        if let Some(at) = self.timestamp {
            // Small numbers would be read as seconds
            if at.millis() < 100_000_000_000 {
                map.serialize_entry("timestamp", &at.to_rfc3339())?;
            } else {
                map.serialize_entry("timestamp", &at.millis())?;
            }
        }
        if let Some(total) = self.spent_total {
            map.serialize_entry("spent_total_microdollars", &total.micros_floor())?;
        }
        if let Some(seq) = self.seq {
            map.serialize_entry("seq", &seq)?;
        }
        Ok(())
    }
}

impl Serialize for ReportItem {
    /// The canonical form. `spent_total` is a lower bound that the server merges by maximum with the exact items, so
    /// it rounds down: rounding up would charge a part of a micro-dollar that nobody spent.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

/// One LLM call on a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// The lease it was paid from.
    pub lease_id: LeaseId,
    /// The call.
    pub item: ReportItem,
}

/// Reads the lease that a report or return is about.
pub(crate) fn lease_id(fields: &mut Fields<'_>, name: &str) -> Option<LeaseId> {
    fields.required_str(name, 1, MAX_ID).map(LeaseId::new)
}

impl FromFields for ReportRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let lease_id = lease_id(f, "lease_id");
        let item = ReportItem::from_fields(f);
        Some(Self { lease_id: lease_id?, item: item? })
    }
}

impl Serialize for ReportRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("lease_id", &self.lease_id)?;
        self.item.write(&mut map)?;
        map.end()
    }
}

/// The report is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportResponse {
    /// Always true.
    pub success: bool,
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
    /// Whether this request id was booked before, at the same cost.
    pub duplicate: bool,
    /// Whether known spend is above the grant.
    pub overrun: bool,
}

/// The body of a report as the API description shows it; read and written by hand through [`ReportRequest`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = ReportRequest)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct ReportRequestSchema {
    #[schema(min_length = 1, max_length = 100)]
    lease_id: String,
    #[schema(inline)]
    #[serde(flatten)]
    item: ReportItemSchema,
}

/// One call as the API description shows it; read and written by hand through [`ReportItem`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = ReportItem)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct ReportItemSchema {
    /// One per LLM call, distinct within the lease.
    #[schema(min_length = 1, max_length = 100)]
    request_id: String,
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    tokens: i64,
    /// Micro-dollars.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    cost_microdollars: i64,
    /// The exact cost in nano-dollars; must round, up or down, to `cost_microdollars`.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    cost_nanos: Option<i64>,
    #[schema(min_length = 1, max_length = 200)]
    model: String,
    #[schema(min_length = 1, max_length = 50)]
    provider: String,
    /// Milliseconds, seconds (below 10¹¹) or RFC 3339; default now.
    timestamp: Option<TimestampSchema>,
    /// Micro-dollars, the holder's running total on this lease; merged by maximum.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    spent_total_microdollars: Option<i64>,
    /// The holder's report counter.
    #[schema(minimum = 1)]
    seq: Option<i64>,
}

/// An instant as a number or as text.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = Instant)]
#[serde(untagged)]
pub enum TimestampSchema {
    /// Milliseconds, or seconds below 10¹¹.
    Number(i64),
    /// RFC 3339.
    Text(String),
}

#[cfg(test)]
mod tests {
    use kernel::validate::read;
    use serde_json::{Value, json};

    use super::ReportRequest;

    fn body() -> Value {
        json!({
            "lease_id": "lease_1", "request_id": "r1", "tokens": 10, "cost_microdollars": 5, "model": "m",
            "provider": "openai",
        })
    }

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut body = body();
        for (name, value) in changes {
            body[*name] = value.clone();
        }
        body
    }

    fn failing(body: &Value) -> Vec<String> {
        let errors = read::<ReportRequest>(body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn every_missing_field_is_named() {
        let names = ["cost_microdollars", "lease_id", "model", "provider", "request_id", "tokens"];
        assert_eq!(failing(&json!({})), names);
    }

    #[test]
    fn the_exact_cost_may_round_up_or_down_to_the_stated_one() {
        for (nanos, ok) in [(4_000, false), (4_001, true), (5_000, true), (5_999, true), (6_000, false)] {
            let body = with(&[("cost_nanos", json!(nanos))]);
            assert_eq!(failing(&body).is_empty(), ok, "{nanos}");
            if ok {
                let request = read::<ReportRequest>(&body).expect("valid");
                assert_eq!(request.item.cost.nanos(), nanos);
            }
        }
        assert_eq!(read::<ReportRequest>(&body()).expect("valid").item.cost.nanos(), 5_000);
    }

    #[test]
    fn instants_are_milliseconds_seconds_or_text() {
        let at = |value: Value| {
            let request = read::<ReportRequest>(&with(&[("timestamp", value)])).expect("valid");
            request.item.timestamp.expect("given").millis()
        };
        assert_eq!(at(json!(1_770_000_000)), 1_770_000_000_000);
        assert_eq!(at(json!(1_770_000_000_000_i64)), 1_770_000_000_000);
        assert_eq!(at(json!("2026-02-02T02:40:00Z")), 1_770_000_000_000);
        for bad in [json!("yesterday"), json!(1.5), json!(-1), json!(true)] {
            assert_eq!(failing(&with(&[("timestamp", bad)])), ["timestamp"]);
        }
    }

    #[test]
    fn numbers_out_of_range_and_floats_are_refused() {
        for (name, bad) in [
            ("tokens", json!(1_000_000_001)),
            ("tokens", json!(1.0)),
            ("cost_microdollars", json!(-1)),
            ("cost_microdollars", json!(1_000_000_000_001_i64)),
            ("cost_nanos", json!(-5)),
            ("seq", json!(0)),
            ("spent_total_microdollars", json!("7")),
            ("model", json!("m".repeat(201))),
            ("provider", json!("a\u{0}b")),
        ] {
            assert_eq!(failing(&with(&[(name, bad.clone())])), [name], "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let full = with(&[
            ("cost_nanos", json!(4_500)),
            ("timestamp", json!(1_770_000_000_000_i64)),
            ("spent_total_microdollars", json!(9)),
            ("seq", json!(3)),
        ]);
        for body in [body(), full, with(&[("timestamp", json!("1970-01-01T00:00:01Z"))])] {
            let request = read::<ReportRequest>(&body).expect("valid");
            assert_eq!(serde_json::to_value(&request).expect("JSON"), body);
        }
    }
}
