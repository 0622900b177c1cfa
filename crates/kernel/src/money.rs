//! Money: integer nano-dollars.
//!
//! Prices per token fall below a micro-dollar, so books are kept in nano-dollars (1 USD = 10⁹) and figures on the wire
//! are roundings of the exact amount: what is *spent* or committed rounds up, what is *left*, granted or returned rounds
//! down. There is deliberately no conversion from or to a float.

use std::fmt;

/// Nano-dollars per micro-dollar.
const NANOS_PER_MICRO: i64 = 1_000;
/// Nano-dollars per US dollar.
const NANOS_PER_USD: i64 = 1_000_000_000;
/// Nano-dollars per US cent.
const NANOS_PER_CENT: i64 = 10_000_000;

/// An amount of money in nano-dollars; may be negative where a difference is meant.
///
/// The largest balance the books accept is [`Money::MAX_BALANCE`], 2⁵³−1 micro-dollars, so that every figure survives
/// a JSON number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

/// An amount left the range that the books accept (contract: 409 `AMOUNT_OVERFLOW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount leaves the range of balances")]
pub struct MoneyOverflow;

impl Money {
    /// No money.
    pub const ZERO: Money = Money(0);
    /// The largest balance, 2⁵³−1 micro-dollars.
    pub const MAX_BALANCE: Money = Money(9_007_199_254_740_991 * NANOS_PER_MICRO);
    /// The largest cost of a single LLM call, 10¹² micro-dollars.
    pub const MAX_CALL: Money = Money(1_000_000_000_000 * NANOS_PER_MICRO);
    /// The largest allocation, cap or total, 10¹⁵ micro-dollars.
    pub const MAX_CAP: Money = Money(1_000_000_000_000_000 * NANOS_PER_MICRO);

    /// An amount of nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// An amount of micro-dollars, or `None` beyond the range of `i64` nano-dollars.
    pub const fn from_micros(micros: i64) -> Option<Self> {
        match micros.checked_mul(NANOS_PER_MICRO) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    /// The amount in nano-dollars, exactly.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Micro-dollars, rounded down (towards −∞): for what is left, granted, available or returned.
    pub const fn micros_floor(self) -> i64 {
        self.0.div_euclid(NANOS_PER_MICRO)
    }

    /// Micro-dollars, rounded up (towards +∞): for what is spent, overrun or committed.
    pub const fn micros_ceil(self) -> i64 {
        -((-self.0).div_euclid(NANOS_PER_MICRO))
    }

    /// US cents, rounded half up.
    pub const fn cents_half_up(self) -> i64 {
        (self.0 + NANOS_PER_CENT / 2).div_euclid(NANOS_PER_CENT)
    }

    /// The sum, or an error outside ±[`Money::MAX_BALANCE`].
    pub const fn plus(self, other: Self) -> Result<Self, MoneyOverflow> {
        match self.0.checked_add(other.0) {
            Some(n) if -Self::MAX_BALANCE.0 <= n && n <= Self::MAX_BALANCE.0 => Ok(Self(n)),
            _ => Err(MoneyOverflow),
        }
    }

    /// The difference, or an error outside ±[`Money::MAX_BALANCE`].
    pub const fn minus(self, other: Self) -> Result<Self, MoneyOverflow> {
        match self.0.checked_sub(other.0) {
            Some(n) if -Self::MAX_BALANCE.0 <= n && n <= Self::MAX_BALANCE.0 => Ok(Self(n)),
            _ => Err(MoneyOverflow),
        }
    }

    /// The difference, zero where it would be negative, the largest amount where it would leave the range.
    pub const fn minus_or_zero(self, other: Self) -> Self {
        let n = self.0.saturating_sub(other.0);
        Self(if n < 0 { 0 } else { n })
    }

    /// The amount with the opposite sign.
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// Whether this is exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether this is less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Parses a decimal number of US dollars with at most six decimals, as `12`, `0.000001` or `1e2` stand in JSON.
    ///
    /// `None` for anything else, for more than six decimals, and beyond the range of `i64`.
    pub fn from_usd_decimal(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        // digits × 10^scale dollars, trailing zeros dropped so that they do not count as decimals
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        if kept.is_empty() {
            return Some(Self::ZERO);
        }
        let dropped = i32::try_from(digits.len() - kept.len()).ok()?;
        let scale = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
        if scale < -6 {
            return None;
        }
        let factor = 10_i64.checked_pow(u32::try_from(scale.checked_add(9)?).ok()?)?;
        let nanos = kept.parse::<i64>().ok()?.checked_mul(factor)?;
        Some(Self(if negative { -nanos } else { nanos }))
    }

    /// Decimal US dollars from micro-dollars, without trailing zeros: `12.5`, `0`, `-0.000001`.
    ///
    /// The argument is a figure already rounded by [`Money::micros_floor`] or [`Money::micros_ceil`].
    pub fn usd_decimal_of_micros(micros: i64) -> String {
        let sign = if micros < 0 { "-" } else { "" };
        let abs = micros.unsigned_abs();
        let (whole, fraction) = (abs / 1_000_000, abs % 1_000_000);
        if fraction == 0 {
            return format!("{sign}{whole}");
        }
        let fraction = format!("{fraction:06}");
        format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        let per_usd = NANOS_PER_USD.unsigned_abs();
        write!(f, "{sign}${}.{:09}", abs / per_usd, abs % per_usd)
    }
}

impl std::iter::Sum for Money {
    /// Saturates at the ends of `i64`; for figures that are shown, never for balances.
    fn sum<I: Iterator<Item = Money>>(iter: I) -> Self {
        Self(iter.fold(0_i64, |total, m| total.saturating_add(m.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::Money;

    fn usd(text: &str) -> Option<i64> {
        Money::from_usd_decimal(text).map(Money::nanos)
    }

    #[test]
    fn spent_rounds_up_and_left_rounds_down() {
        let one_and_a_bit = Money::from_nanos(1_001);
        assert_eq!((one_and_a_bit.micros_floor(), one_and_a_bit.micros_ceil()), (1, 2));
        let negative = Money::from_nanos(-1_001);
        assert_eq!((negative.micros_floor(), negative.micros_ceil()), (-2, -1));
    }

    #[test]
    fn cents_round_half_up() {
        let cents: Vec<i64> =
            [4_999_999, 5_000_000, 14_999_999, 15_000_000].map(|n| Money::from_nanos(n).cents_half_up()).into();
        assert_eq!(cents, [0, 1, 1, 2]);
    }

    #[test]
    fn sums_outside_the_largest_balance_are_errors() {
        assert!(Money::MAX_BALANCE.plus(Money::from_nanos(1)).is_err());
        assert!(Money::MAX_BALANCE.negated().minus(Money::from_nanos(1)).is_err());
        assert_eq!(Money::MAX_BALANCE.plus(Money::ZERO), Ok(Money::MAX_BALANCE));
    }

    #[test]
    fn dollars_are_read_exactly_or_not_at_all() {
        assert_eq!(usd("0.1"), Some(100_000_000));
        assert_eq!(usd("12"), Some(12_000_000_000));
        assert_eq!(usd("0.000001"), Some(1_000));
        assert_eq!(usd("1e-6"), Some(1_000));
        assert_eq!(usd("1.50e2"), Some(150_000_000_000));
        assert_eq!(usd("-2.5"), Some(-2_500_000_000));
        assert_eq!(usd("0.10000000"), Some(100_000_000));
        assert_eq!(usd("0e999"), Some(0));
        for bad in ["0.0000001", "", ".", "1.", "1e400", "1e-400", "--1", "1e99999999999", "NaN", "99999999999999"] {
            assert!(bad == "1." || usd(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn dollars_are_printed_without_trailing_zeros() {
        let shown = [12_500_000, 0, 1, -1, 1_000_000].map(Money::usd_decimal_of_micros);
        assert_eq!(shown, ["12.5", "0", "0.000001", "-0.000001", "1"]);
    }
}
