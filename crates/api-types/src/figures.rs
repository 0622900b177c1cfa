//! Figures that are JSON numbers with decimals: US dollars and percentages.
//!
//! Both are kept as integers and written digit by digit; no float is computed with. Rounding happens once, from the
//! exact amount, where a figure is made.

use kernel::Money;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// US dollars with at most six decimals, as a JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = f64, example = 12.5))]
pub struct Usd(i64);

impl Usd {
    /// What is spent or committed: rounded up.
    pub const fn spent(amount: Money) -> Self {
        Self(amount.micros_ceil())
    }

    /// What is left or granted: rounded down.
    pub const fn left(amount: Money) -> Self {
        Self(amount.micros_floor())
    }

    /// Micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Usd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Money::usd_decimal_of_micros(self.0))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(self.to_string(), serializer)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let amount = Money::from_usd_decimal(&number.to_string());
        amount.map(Self::left).ok_or_else(|| de::Error::custom("not US dollars with at most six decimals"))
    }
}

/// A percentage with at most two decimals, as a JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = f64, example = 42.25))]
pub struct Percent(i64);

impl Percent {
    /// How much `part` is of `whole`, half a hundredth rounded away from zero. Of nothing, everything is 100 and nothing
    /// is 0.
    pub fn of(part: Money, whole: Money) -> Self {
        let [part, whole] = [part, whole].map(|m| i128::from(m.nanos()));
        if whole <= 0 {
            return Self(if part > 0 { 10_000 } else { 0 });
        }
        let half = if part < 0 { -whole } else { whole };
        let hundredths = (part * 20_000 + half) / (2 * whole);
        Self(i64::try_from(hundredths).unwrap_or(if part < 0 { i64::MIN } else { i64::MAX }))
    }

    /// By how much `new` exceeds `old`, in percent of `old`; negative where it is less.
    pub fn growth(old: Money, new: Money) -> Self {
        if old <= Money::ZERO {
            return Self::default();
        }
        // The difference of two balances stays in the range of balances, or near enough for a percentage
        Self::of(new.minus(old).unwrap_or(Money::MAX_BALANCE), old)
    }

    /// Hundredths of a percent.
    pub const fn hundredths(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, hundredths) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        let sign = if self.0 < 0 { "-" } else { "" };
        match hundredths {
            0 => write!(f, "{sign}{whole}"),
            tenths if tenths % 10 == 0 => write!(f, "{sign}{whole}.{}", tenths / 10),
            _ => write!(f, "{sign}{whole}.{hundredths:02}"),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(self.to_string(), serializer)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        // A percentage has the digits of an amount; a hundredth of a percent stands where 10⁷ nano-dollars would
        let read = Money::from_usd_decimal(&number.to_string()).map(Money::nanos);
        let read = read.filter(|n| n % 10_000_000 == 0).map(|n| Self(n / 10_000_000));
        read.ok_or_else(|| de::Error::custom("not a percentage with at most two decimals"))
    }
}

/// Writes the digits as they are.
fn number<S: Serializer>(digits: String, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(digits).map_err(ser::Error::custom)?.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use kernel::Money;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::{Percent, Usd};

    fn usd(text: &str) -> Money {
        Money::from_usd_decimal(text).expect("an amount")
    }

    #[test]
    fn dollars_are_written_digit_by_digit() {
        let written = |money| serde_json::to_string(&Usd::left(money)).expect("JSON");
        assert_eq!(written(usd("12.5")), "12.5");
        assert_eq!(written(usd("0.1")), "0.1");
        assert_eq!(written(usd("999999999.999999")), "999999999.999999");
        assert_eq!(written(usd("-3")), "-3");
    }

    #[test]
    fn spent_rounds_up_and_left_rounds_down() {
        let bit = Money::from_nanos(1_001);
        assert_eq!((Usd::spent(bit).micros(), Usd::left(bit).micros()), (2, 1));
    }

    #[test]
    fn percentages_have_two_decimals_and_may_exceed_a_hundred() {
        let of = |part: &str, whole: &str| Percent::of(usd(part), usd(whole)).to_string();
        assert_eq!(of("1", "3"), "33.33");
        assert_eq!(of("2", "3"), "66.67");
        assert_eq!(of("1", "2"), "50");
        assert_eq!(of("1", "1000"), "0.1");
        assert_eq!(of("3", "2"), "150");
        assert_eq!(of("-1", "3"), "-33.33");
        assert_eq!(of("-0.0001", "1"), "-0.01");
        assert_eq!((of("0", "0"), of("1", "0")), ("0".to_owned(), "100".to_owned()));
        assert_eq!(Percent::of(Money::MAX_BALANCE, Money::from_nanos(1)).hundredths(), i64::MAX);
    }

    #[test]
    fn growth_is_measured_by_what_was_there() {
        let growth = |old: &str, new: &str| Percent::growth(usd(old), usd(new)).to_string();
        assert_eq!((growth("100", "150"), growth("100", "25")), ("50".to_owned(), "-75".to_owned()));
        assert_eq!(growth("0", "5"), "0");
    }

    #[test]
    fn figures_go_both_ways_inside_a_flattened_body() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Inner {
            budget: Usd,
            percent_used: Percent,
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Outer {
            #[serde(flatten)]
            inner: Inner,
        }
        let outer = Outer {
            inner: Inner { budget: Usd::left(usd("0.000001")), percent_used: Percent::of(usd("1"), usd("3")) },
        };
        let text = serde_json::to_string(&outer).expect("JSON");
        assert_eq!(text, r#"{"budget":0.000001,"percent_used":33.33}"#);
        assert_eq!(serde_json::from_str::<Outer>(&text).expect("its own form"), outer);
        assert_eq!(serde_json::to_value(&outer).expect("JSON")["percent_used"], json!(33.33));
    }
}
