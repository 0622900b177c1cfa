//! Budgets: policies on scopes.

mod scope;

use budget_protocol::Scope;
use kernel::validate::{Fields, FromFields, whole_number};
use kernel::{BudgetId, Money, UserId, Window, Zone};
use serde::{Deserialize, Serialize};

use crate::fields::optional_note;

pub use scope::ScopeRequest;

/// The most characters of a budget's name.
const MAX_NAME: usize = 100;
/// The most thresholds.
const MAX_THRESHOLDS: usize = 10;
/// The words of a request.
pub const WINDOWS: [(&str, Window); 4] =
    [("none", Window::None), ("day", Window::Day), ("week", Window::Week), ("month", Window::Month)];

/// A budget with the figures of its current window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Budget {
    /// `bud_<uuid>`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "bud_0b4a5c5e-6b1f-4f7e-9d67-1a9d1f6f2c11"))]
    pub id: BudgetId,
    /// What people call it.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub name: Option<String>,
    /// Whose money.
    pub scope: Scope,
    /// The most that may be spent, lent and in suspense in one window, micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub cap_microdollars: Money,
    /// Over which time the cap counts: `none`, `day`, `week` or `month`.
    #[serde(with = "budget_protocol::wire::window")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "month"))]
    pub window: Window,
    /// Whose midnight starts a window, an IANA time zone.
    #[cfg_attr(feature = "openapi", schema(example = "Europe/Zurich"))]
    pub time_zone: String,
    /// Percent of the cap at which people are told, ascending.
    #[cfg_attr(feature = "openapi", schema(example = json!([50, 80, 95])))]
    pub thresholds: Vec<i64>,
    /// Whether it limits grants.
    pub enabled: bool,
    /// Where it comes from, and so where it is edited.
    pub source: BudgetSource,
    /// First instant of the window, milliseconds since the epoch; `null` without one.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub window_start: Option<i64>,
    /// First instant after the window, milliseconds since the epoch; `null` without one.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub window_end: Option<i64>,
    /// Known to be spent, micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub spent: Money,
    /// Lent to open leases and not yet reported, micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub leased: Money,
    /// Was lent to leases whose holder fell silent, micro-dollars; not lent again.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub suspense: Money,
    /// The part of `spent` that went beyond what was lent, micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub overrun: Money,
    /// What may still be lent, micro-dollars, at least zero.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 0))]
    pub available: Money,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// Who made it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub created_by: Option<UserId>,
}

/// Where a budget comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BudgetSource {
    /// A policy that an administrator set.
    Policy,
    /// The allocation of an agent; edited there.
    AgentAllocation,
    /// The money column of a quota; edited there.
    Limit,
}

/// A budget that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedBudget {
    /// The budget.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: BudgetId,
    /// Always `true`.
    pub deleted: bool,
}

/// A budget to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateBudget {
    /// Whose money. It has no budget with this window yet.
    pub scope: ScopeRequest,
    /// The most that may be spent in one window, micro-dollars.
    #[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub cap_microdollars: Money,
    /// `none`, `day`, `week` (from Monday) or `month`; `none` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub window: Window,
    /// An IANA time zone; `UTC` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub time_zone: Zone,
    /// At most 10 percentages of the cap, 1 to 1000, ascending; those of the settings unless given.
    pub thresholds: Option<Vec<i64>>,
    /// What people call it.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub name: Option<String>,
    /// Whether it limits grants; `true` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub enabled: bool,
}

impl FromFields for CreateBudget {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let scope = f.required_object::<ScopeRequest>("scope");
        let cap = f.required_micros("cap_microdollars", 1, Money::MAX_CAP);
        let window = f.optional_word("window", &WINDOWS).unwrap_or(Window::None);
        let time_zone = optional_zone(f).unwrap_or(Zone::UTC);
        let thresholds = optional_thresholds(f);
        let name = optional_note(f, "name", MAX_NAME);
        let enabled = f.optional_bool("enabled").unwrap_or(true);
        Some(Self { scope: scope?, cap_microdollars: cap?, window, time_zone, thresholds, name, enabled })
    }
}

/// What is to change of a budget; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateBudget {
    /// Cannot change; taken if it is the one the budget has.
    pub scope: Option<ScopeRequest>,
    /// Another cap, micro-dollars; may lie below what is committed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub cap_microdollars: Option<Money>,
    /// Another window, `none`, `day`, `week` or `month`: the budget starts from what that has seen.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub window: Option<Window>,
    /// Another IANA time zone, likewise.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub time_zone: Option<Zone>,
    /// At most 10 percentages of the cap, 1 to 1000, ascending.
    pub thresholds: Option<Vec<i64>>,
    /// Another name; an empty text takes it away.
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub name: Option<String>,
    /// Whether it limits grants.
    pub enabled: Option<bool>,
}

impl FromFields for UpdateBudget {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let scope = f.optional_object::<ScopeRequest>("scope");
        let cap_microdollars = f.optional_micros("cap_microdollars", 1, Money::MAX_CAP);
        let window = f.optional_word("window", &WINDOWS);
        let time_zone = optional_zone(f);
        let thresholds = optional_thresholds(f);
        let name = f.optional_str("name", 0, MAX_NAME);
        let enabled = f.optional_bool("enabled");
        Some(Self { scope, cap_microdollars, window, time_zone, thresholds, name, enabled })
    }
}

fn optional_zone(f: &mut Fields<'_>) -> Option<Zone> {
    let name = f.optional_str("time_zone", 1, 64)?;
    match name.parse() {
        Ok(zone) => Some(zone),
        Err(why) => {
            let why: kernel::calendar::UnknownZone = why;
            f.error("time_zone", format!("is {why}"));
            None
        }
    }
}

fn optional_thresholds(f: &mut Fields<'_>) -> Option<Vec<i64>> {
    let thresholds = f.optional_list("thresholds", 0, MAX_THRESHOLDS, |value| whole_number(value, 1, 1_000))?;
    if thresholds.is_sorted_by(|a, b| a < b) {
        return Some(thresholds);
    }
    f.error("thresholds", "must be ascending");
    None
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, read};
    use kernel::{Window, Zone};
    use serde_json::{Value, json};

    use super::{CreateBudget, UpdateBudget};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_new_budget_names_every_field_that_fails() {
        assert_eq!(failing::<CreateBudget>(json!({})), ["cap_microdollars", "scope"]);
        let bad = json!({"scope": {"kind": "team", "id": 1}, "cap_microdollars": 0, "window": "year",
            "time_zone": "Mars", "thresholds": [50, 20], "name": "x".repeat(101), "enabled": "no"});
        let names = ["cap_microdollars", "enabled", "name", "scope.kind", "thresholds", "time_zone", "window"];
        assert_eq!(failing::<CreateBudget>(bad), names);
    }

    #[test]
    fn a_new_budget_has_defaults() {
        let budget = read::<CreateBudget>(&json!({"scope": {"kind": "organization"}, "cap_microdollars": 1}));
        let budget = budget.expect("valid");
        assert_eq!((budget.window, budget.time_zone, budget.enabled), (Window::None, Zone::UTC, true));
        assert_eq!((budget.thresholds, budget.name), (None, None));
    }

    #[test]
    fn thresholds_are_ten_ascending_percentages_at_most() {
        let failing = |thresholds: Value| failing::<UpdateBudget>(json!({"thresholds": thresholds}));
        assert!(failing(json!([])).is_empty());
        assert!(failing(json!([1, 1000])).is_empty());
        assert_eq!(failing(json!([50, 50])), ["thresholds"]);
        assert_eq!(failing(json!((1..=11).collect::<Vec<_>>())), ["thresholds"]);
        assert_eq!(failing(json!([0, 1001, 1.5])), ["thresholds[0]", "thresholds[1]", "thresholds[2]"]);
    }

    #[test]
    fn a_change_may_be_empty() {
        assert_eq!(read::<UpdateBudget>(&json!({"name": null, "scope": null})), Ok(UpdateBudget::default()));
    }
}
