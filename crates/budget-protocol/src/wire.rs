//! How values of the kernel are written as JSON; to be used with `#[serde(with = "…")]`.
//!
//! Rounding happens here, once, from the exact amount. A field's direction is fixed where the field is declared, so no
//! caller can round the wrong way.

use kernel::{Money, Timestamp};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Whole micro-dollars as they arrive.
fn read_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    let micros = i64::deserialize(deserializer)?;
    Money::from_micros(micros).ok_or_else(|| D::Error::custom("an amount beyond the range of balances"))
}

/// Micro-dollars rounded up: what is spent, lent, in suspense or overrun.
pub mod spent {
    use super::{Deserializer, Money, Serializer};

    /// Writes whole micro-dollars, rounded up.
    pub fn serialize<S: Serializer>(amount: &Money, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(amount.micros_ceil())
    }

    /// Reads whole micro-dollars.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        super::read_micros(deserializer)
    }
}

/// Micro-dollars rounded down and never negative: what is granted, left, available or returned.
pub mod left {
    use super::{Deserializer, Money, Serializer};

    /// Writes whole micro-dollars, rounded down; zero for what is below nothing.
    pub fn serialize<S: Serializer>(amount: &Money, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(amount.micros_floor().max(0))
    }

    /// Reads whole micro-dollars.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        super::read_micros(deserializer)
    }
}

/// As [`spent`], for a figure that may be missing.
pub mod optional_spent {
    use super::{Deserialize, Deserializer, Error, Money, Serializer};

    /// Writes whole micro-dollars, rounded up, or `null`.
    pub fn serialize<S: Serializer>(amount: &Option<Money>, serializer: S) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => serializer.serialize_some(&amount.micros_ceil()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads whole micro-dollars or `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
        let read = |micros| Money::from_micros(micros).ok_or_else(|| D::Error::custom("an amount beyond the range"));
        Option::<i64>::deserialize(deserializer)?.map(read).transpose()
    }
}

/// Milliseconds since the Unix epoch.
pub mod millis {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes milliseconds.
    pub fn serialize<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(instant.millis())
    }

    /// Reads milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

/// Milliseconds since the Unix epoch, or `null`.
pub mod optional_millis {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes milliseconds or `null`.
    pub fn serialize<S: Serializer>(instant: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => serializer.serialize_some(&instant.millis()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads milliseconds or `null`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_millis))
    }
}

/// Writes the name of a closed set, reads it back, and refuses anything else.
macro_rules! by_name {
    ($(#[$doc:meta])* $module:ident, $type:ty) => {
        $(#[$doc])*
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            /// Writes the name.
            pub fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(value.as_str())
            }

            /// Reads the name.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                <$type>::parse(&name).ok_or_else(|| D::Error::custom("an unknown name"))
            }
        }
    };
}

by_name! {
    /// The name of a [`kernel::LeaseState`].
    lease_state, kernel::LeaseState
}
by_name! {
    /// The name of a budget [`kernel::Window`].
    window, kernel::Window
}
