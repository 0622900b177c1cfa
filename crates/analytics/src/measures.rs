//! What is counted, and along what it is told apart.

/// Along what a question tells facts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The agent.
    Agent,
    /// Who owned the agent then.
    Owner,
    /// Which project the agent was in then.
    Project,
    /// The kind of provider.
    Provider,
    /// The provider key.
    ProviderKey,
    /// The model.
    Model,
    /// Whether the call was completed or failed.
    Status,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Self; 7] =
        [Self::Agent, Self::Owner, Self::Project, Self::Provider, Self::ProviderKey, Self::Model, Self::Status];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Owner => "owner",
            Self::Project => "project",
            Self::Provider => "provider",
            Self::ProviderKey => "provider_key",
            Self::Model => "model",
            Self::Status => "status",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == text)
    }
}

/// Sums over facts. Exact, and wide enough for any number of the largest facts there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Calls that were completed.
    pub completed: i64,
    /// Calls that failed.
    pub failed: i64,
    /// Tokens sent.
    pub input_tokens: i64,
    /// Tokens received.
    pub output_tokens: i64,
    /// What they cost, nano-dollars.
    pub cost_nanos: i128,
}

impl Measures {
    /// Calls in all.
    pub const fn requests(&self) -> i64 {
        self.completed.saturating_add(self.failed)
    }

    /// Tokens in both directions.
    pub const fn total_tokens(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Whether there is no call in it.
    pub const fn is_empty(&self) -> bool {
        self.completed == 0 && self.failed == 0
    }

    /// Adds other sums.
    pub const fn add(&mut self, other: &Self) {
        self.completed = self.completed.saturating_add(other.completed);
        self.failed = self.failed.saturating_add(other.failed);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_nanos = self.cost_nanos.saturating_add(other.cost_nanos);
    }

    /// The cost, at most the largest amount that can be shown.
    pub fn cost(&self) -> kernel::Money {
        let nanos = self.cost_nanos.clamp(0, i128::from(kernel::Money::MAX_BALANCE.nanos()));
        kernel::Money::from_nanos(i64::try_from(nanos).unwrap_or(0))
    }

    /// The cost of one of `count` calls on average, to the nearest micro-dollar; nothing for none.
    pub fn cost_per(&self, count: i64) -> kernel::Money {
        let (unit, count) = (1_000, i128::from(count.max(0)));
        if count == 0 {
            return kernel::Money::ZERO;
        }
        let micros = (self.cost_nanos * 2 + count * unit) / (2 * count * unit);
        let largest = kernel::Money::MAX_BALANCE;
        i64::try_from(micros).ok().and_then(kernel::Money::from_micros).map_or(largest, |cost| cost.min(largest))
    }
}

impl std::iter::Sum for Measures {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |mut total, one| {
            total.add(&one);
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use kernel::Money;

    use super::{Dimension, Measures};

    fn costing(nanos: i128) -> Measures {
        Measures { completed: 1, cost_nanos: nanos, ..Measures::default() }
    }

    #[test]
    fn names_go_both_ways() {
        for dimension in Dimension::ALL {
            assert_eq!(Dimension::parse(dimension.as_str()), Some(dimension));
        }
        assert_eq!(Dimension::parse("colour"), None);
    }

    #[test]
    fn an_average_is_rounded_to_the_nearest_micro_dollar() {
        let average = |nanos, count| costing(nanos).cost_per(count).nanos();
        assert_eq!(average(2_999, 2), 1_000);
        assert_eq!(average(3_000, 2), 2_000, "half up");
        assert_eq!((average(0, 5), average(7, 0)), (0, 0));
        assert_eq!(costing(i128::MAX / 4).cost_per(1), Money::MAX_BALANCE);
    }

    #[test]
    fn sums_beyond_what_can_be_shown_stay_sums() {
        let total: Measures = [costing(i128::from(i64::MAX)); 3].into_iter().sum();
        assert_eq!((total.cost_nanos, total.completed), (3 * i128::from(i64::MAX), 3));
        assert_eq!(total.cost(), Money::MAX_BALANCE);
    }
}
