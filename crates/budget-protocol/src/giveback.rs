//! Return: a lease is settled and what is left of it given back.

use kernel::validate::{Fields, FromFields};
use kernel::{LeaseId, LeaseState, Money};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::report::lease_id;
use crate::wire;

/// How the holder states what it spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnFigure {
    /// This much was spent.
    Spent(Money),
    /// This much of the grant is left.
    Returning(Money),
}

impl ReturnFigure {
    /// What was spent of `granted`; never below nothing.
    pub const fn spent_of(self, granted: Money) -> Money {
        match self {
            Self::Spent(spent) => spent,
            Self::Returning(left) => granted.minus_or_zero(left),
        }
    }
}

/// What a runtime sends to end a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnRequest {
    /// The lease.
    pub lease_id: LeaseId,
    /// The final figure; without one the server's known spend decides.
    pub figure: Option<ReturnFigure>,
}

impl FromFields for ReturnRequest {
    /// Of `spent_microdollars`, `final_spent_usd` and `returning_usd` the first that is there counts; the others must
    /// still be amounts.
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let lease_id = lease_id(f, "lease_id");
        let spent = f.optional_micros("spent_microdollars", 0, Money::MAX_CAP);
        let spent_usd = f.optional_usd("final_spent_usd", Money::ZERO, Money::MAX_CAP);
        let returning_usd = f.optional_usd("returning_usd", Money::ZERO, Money::MAX_CAP);
        let figure =
            spent.or(spent_usd).map(ReturnFigure::Spent).or_else(|| returning_usd.map(ReturnFigure::Returning));
        Some(Self { lease_id: lease_id?, figure })
    }
}

impl Serialize for ReturnRequest {
    /// A stated spending is written as `spent_microdollars`, rounded up; what is given back as a decimal number of US
    /// dollars, rounded down.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("lease_id", &self.lease_id)?;
        match self.figure {
            Some(ReturnFigure::Spent(spent)) => map.serialize_entry("spent_microdollars", &spent.micros_ceil())?,
            Some(ReturnFigure::Returning(left)) => {
                let usd = Money::usd_decimal_of_micros(left.micros_floor().max(0));
                let raw = serde_json::value::RawValue::from_string(usd).map_err(serde::ser::Error::custom)?;
                map.serialize_entry("returning_usd", &raw)?;
            }
            None => {}
        }
        map.end()
    }
}

/// The lease is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReturnResponse {
    /// Always true.
    pub success: bool,
    /// What flowed back, micro-dollars.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub returned: Money,
    /// Known spend of the lease including the stated figure, micro-dollars.
    #[serde(with = "wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub spent: Money,
    /// Micro-dollars the agent has left.
    #[serde(with = "wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub agent_budget_remaining: Money,
    /// Always `closed`.
    #[serde(with = "wire::lease_state")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub lease_status: LeaseState,
    /// Whether the lease was closed before and no money moved.
    pub duplicate: bool,
    /// Whether known spend is above the grant.
    pub overrun: bool,
}

/// The body of a return as the API description shows it; read and written by hand through [`ReturnRequest`].
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = ReturnRequest)]
#[expect(dead_code, reason = "describes the form, is never built")]
pub struct ReturnRequestSchema {
    #[schema(min_length = 1, max_length = 100)]
    lease_id: String,
    /// Micro-dollars spent; counts before the other two.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    spent_microdollars: Option<i64>,
    /// US dollars spent, at most 6 decimals.
    #[schema(value_type = Option<f64>, minimum = 0)]
    final_spent_usd: Option<()>,
    /// US dollars of the grant that are left, at most 6 decimals.
    #[schema(value_type = Option<f64>, minimum = 0)]
    returning_usd: Option<()>,
}

#[cfg(test)]
mod tests {
    use kernel::Money;
    use kernel::validate::read;
    use serde_json::{Value, json};

    use super::{ReturnFigure, ReturnRequest};

    fn figure(body: Value) -> Option<ReturnFigure> {
        read::<ReturnRequest>(&body).expect("valid").figure
    }

    fn micros(n: i64) -> Money {
        Money::from_micros(n).expect("in range")
    }

    #[test]
    fn the_first_figure_present_counts() {
        let spent = |n| Some(ReturnFigure::Spent(micros(n)));
        let all = json!({"lease_id": "l", "spent_microdollars": 5, "final_spent_usd": 1, "returning_usd": 2});
        assert_eq!(figure(all), spent(5));
        assert_eq!(figure(json!({"lease_id": "l", "final_spent_usd": 0.25, "returning_usd": 2})), spent(250_000));
        let returning = figure(json!({"lease_id": "l", "spent_microdollars": null, "returning_usd": 2}));
        assert_eq!(returning, Some(ReturnFigure::Returning(micros(2_000_000))));
        assert_eq!(figure(json!({"lease_id": "l"})), None);
    }

    #[test]
    fn giving_back_more_than_was_granted_means_nothing_was_spent() {
        let returning = ReturnFigure::Returning(micros(12));
        assert_eq!(returning.spent_of(micros(10)), Money::ZERO);
        assert_eq!(returning.spent_of(micros(15)), micros(3));
    }

    #[test]
    fn amounts_that_are_none_are_refused() {
        for (name, bad) in [
            ("spent_microdollars", json!(1.5)),
            ("spent_microdollars", json!(-1)),
            ("spent_microdollars", json!(1_000_000_000_000_001_i64)),
            ("final_spent_usd", json!("1")),
            ("final_spent_usd", json!(0.000_000_1)),
            ("returning_usd", json!(-0.5)),
        ] {
            let errors = read::<ReturnRequest>(&json!({"lease_id": "l", name: bad})).expect_err("refused");
            assert_eq!(errors.iter().map(|(path, _)| path).collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for body in [
            json!({"lease_id": "l"}),
            json!({"lease_id": "l", "spent_microdollars": 7}),
            json!({"lease_id": "l", "returning_usd": 0.25}),
        ] {
            let request = read::<ReturnRequest>(&body).expect("valid");
            let text = serde_json::to_string(&request).expect("JSON");
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), body);
        }
    }
}
