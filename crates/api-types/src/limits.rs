//! Limits of owners, and the token ceiling of the whole installation.

use kernel::validate::{Fields, FromFields, Patch};
use kernel::{LimitId, Money, ProjectId, UserId};
use serde::{Deserialize, Serialize};

/// The most that a quota counts: the largest whole number that every JSON reader takes.
const MAX_COUNT: i64 = (1 << 53) - 1;

/// What an owner, or an owner within a project, may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limit {
    /// Its id, never reused.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: LimitId,
    /// The owner.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// The project; `null`: whatever the project.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub project_id: Option<ProjectId>,
    /// Tokens in a day (UTC).
    #[cfg_attr(feature = "openapi", schema(required))]
    pub max_tokens_per_day: Option<i64>,
    /// Calls in 60 seconds.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub max_requests_per_minute: Option<i64>,
    /// Money in a calendar month (UTC), micro-dollars.
    #[serde(with = "budget_protocol::wire::optional_spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, required))]
    pub max_cost_per_month_microdollars: Option<Money>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// Tokens used today (UTC).
    pub used_tokens_today: i64,
    /// Calls in the last 60 seconds.
    pub used_requests_last_minute: i64,
    /// Known to be spent this calendar month (UTC), micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub used_cost_this_month_microdollars: Money,
    /// When the first of the figures that are limited starts anew, milliseconds since the epoch: the day for tokens, the
    /// month for money; a minute from now where only calls are limited.
    pub resets_at: i64,
}

/// A limit that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedLimit {
    /// The limit.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub id: LimitId,
    /// Always `true`.
    pub deleted: bool,
}

/// A limit to be set; at least one of the three numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateLimit {
    /// The owner.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// The project, if it is for one only.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub project_id: Option<ProjectId>,
    /// Tokens in a day.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub max_tokens_per_day: Option<i64>,
    /// Calls in 60 seconds.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub max_requests_per_minute: Option<i64>,
    /// Money in a calendar month, micro-dollars.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub max_cost_per_month_microdollars: Option<Money>,
}

impl FromFields for CreateLimit {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let user = f.required_str("user_id", 1, 255);
        let project_id = optional_project(f);
        let max_tokens_per_day = f.optional_int("max_tokens_per_day", 1, MAX_COUNT);
        let max_requests_per_minute = f.optional_int("max_requests_per_minute", 1, MAX_COUNT);
        let max_cost_per_month_microdollars = f.optional_micros("max_cost_per_month_microdollars", 1, Money::MAX_CAP);
        if NUMBERS.iter().all(|name| !f.has(name)) {
            f.error(NUMBERS[0], "at least one of the three limits is required");
        }
        Some(Self {
            user_id: UserId::new(user?),
            project_id,
            max_tokens_per_day,
            max_requests_per_minute,
            max_cost_per_month_microdollars,
        })
    }
}

const NUMBERS: [&str; 3] = ["max_tokens_per_day", "max_requests_per_minute", "max_cost_per_month_microdollars"];

fn optional_project(f: &mut Fields<'_>) -> Option<ProjectId> {
    let text = f.optional_str("project_id", 1, 100)?;
    if !ProjectId::is_well_formed(&text) {
        f.error("project_id", "must consist of letters, digits, _, . and -");
    }
    Some(ProjectId::new(text))
}

/// What is to change of a limit; what is not given stays, `null` takes a number away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateLimit {
    /// Tokens in a day.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1))]
    pub max_tokens_per_day: Patch<i64>,
    /// Calls in 60 seconds.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1))]
    pub max_requests_per_minute: Patch<i64>,
    /// Money in a calendar month, micro-dollars.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000_000_000_000_u64))]
    pub max_cost_per_month_microdollars: Patch<Money>,
}

impl FromFields for UpdateLimit {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let max_tokens_per_day = f.patch_int("max_tokens_per_day", 1, MAX_COUNT);
        let max_requests_per_minute = f.patch_int("max_requests_per_minute", 1, MAX_COUNT);
        let cost = f.patch_int("max_cost_per_month_microdollars", 1, Money::MAX_CAP.micros_floor());
        let max_cost_per_month_microdollars = match cost {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(micros) => Patch::Set(Money::from_micros(micros)?),
        };
        Some(Self { max_tokens_per_day, max_requests_per_minute, max_cost_per_month_microdollars })
    }
}

/// How many tokens the whole installation may use in a day, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCeiling {
    /// Tokens in a day; `null`: as many as one likes.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub limit: Option<i64>,
    /// Always `tokens`.
    pub unit: String,
    /// Always `day` (UTC).
    pub window: String,
    /// Used today.
    pub used: i64,
    /// What is left of today's, at least zero; `null` without a limit.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub remaining: Option<i64>,
    /// When the day ends, milliseconds since the epoch.
    pub resets_at: i64,
    /// When the limit was last set, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub updated_at: Option<i64>,
    /// By whom.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub updated_by: Option<UserId>,
}

/// Another token ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetTokenCeiling {
    /// Tokens in a day; `null` takes the ceiling away.
    #[cfg_attr(feature = "openapi", schema(required, minimum = 1))]
    pub limit: Option<i64>,
}

impl FromFields for SetTokenCeiling {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        match f.patch_int("limit", 1, MAX_COUNT) {
            Patch::Set(limit) => Some(Self { limit: Some(limit) }),
            Patch::Clear => Some(Self { limit: None }),
            Patch::Keep => {
                if !f.mentions("limit") {
                    f.error("limit", "is required; null takes the ceiling away");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, Patch, read};
    use kernel::{Money, UserId};
    use serde_json::{Value, json};

    use super::{CreateLimit, SetTokenCeiling, UpdateLimit};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_limit_has_an_owner_and_at_least_one_number() {
        assert_eq!(failing::<CreateLimit>(json!({})), ["max_tokens_per_day", "user_id"]);
        let nulls = json!({"user_id": "user_1", "max_tokens_per_day": null, "max_requests_per_minute": null});
        assert_eq!(failing::<CreateLimit>(nulls), ["max_tokens_per_day"]);
        for bad in [json!(0), json!(-1), json!(1.5), json!("7"), json!(1_u64 << 53)] {
            let body = json!({"user_id": "", "project_id": "a b", "max_tokens_per_day": bad,
                "max_requests_per_minute": bad, "max_cost_per_month_microdollars": bad});
            let names = [
                "max_cost_per_month_microdollars",
                "max_requests_per_minute",
                "max_tokens_per_day",
                "project_id",
                "user_id",
            ];
            assert_eq!(failing::<CreateLimit>(body), names, "{bad}");
        }
        let read = read::<CreateLimit>(&json!({"user_id": "user_1", "max_cost_per_month_microdollars": 5}));
        let read = read.expect("valid");
        assert_eq!((read.user_id, read.project_id, read.max_tokens_per_day), (UserId::new("user_1"), None, None));
        assert_eq!(read.max_cost_per_month_microdollars, Some(Money::from_nanos(5_000)));
        let dear = json!({"user_id": "u", "max_cost_per_month_microdollars": 1_000_000_000_000_001_i64});
        assert_eq!(failing::<CreateLimit>(dear), ["max_cost_per_month_microdollars"]);
    }

    #[test]
    fn a_change_keeps_sets_or_clears_each_number() {
        assert_eq!(read(&json!({})), Ok(UpdateLimit::default()));
        let body = json!({"max_tokens_per_day": 7, "max_requests_per_minute": null,
            "max_cost_per_month_microdollars": 9});
        let read = read::<UpdateLimit>(&body).expect("valid");
        assert_eq!((read.max_tokens_per_day, read.max_requests_per_minute), (Patch::Set(7), Patch::Clear));
        assert_eq!(read.max_cost_per_month_microdollars, Patch::Set(Money::from_nanos(9_000)));
        assert_eq!(failing::<UpdateLimit>(json!({"max_tokens_per_day": 0})), ["max_tokens_per_day"]);
    }

    #[test]
    fn a_ceiling_is_a_number_or_null_and_nothing_else() {
        assert_eq!(read(&json!({"limit": 5})), Ok(SetTokenCeiling { limit: Some(5) }));
        assert_eq!(read(&json!({"limit": null})), Ok(SetTokenCeiling { limit: None }));
        for bad in [json!({}), json!({"limit": 0}), json!({"limit": "5"}), json!({"limit": 1.5})] {
            assert_eq!(failing::<SetTokenCeiling>(bad), ["limit"]);
        }
    }
}
