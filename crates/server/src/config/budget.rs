//! `[budget]`: leases and how much is lent at once. Amounts are micro-dollars: 1 USD = 1,000,000.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// Leases and how much is lent at once. Amounts are micro-dollars: 1 USD = 1,000,000.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Milliseconds that a lease stays active after the last sign of life of its agent.
    pub lease_ttl_ms: i64,
    /// What is lent when a runtime does not say how much it wants.
    pub default_grant_microdollars: i64,
    /// The most that can be asked for at a handshake.
    pub max_handshake_microdollars: i64,
    /// The most that can be asked for at a refresh.
    pub max_refresh_microdollars: i64,
    /// The largest total that may be asked for in a budget request.
    pub max_requested_microdollars: i64,
    /// Whether administrators may approve budget requests of their own; the only active one always may.
    pub allow_self_approval: bool,
    /// Whether users may create agents of their own, within the budget of their owner scope.
    pub allow_user_agents: bool,
    /// Milliseconds between two looks for leases that have expired.
    pub sweep_interval_ms: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 21_600_000,
            default_grant_microdollars: 10_000_000,
            max_handshake_microdollars: 100_000_000,
            max_refresh_microdollars: 1_000_000_000,
            max_requested_microdollars: 10_000_000_000,
            allow_self_approval: false,
            allow_user_agents: false,
            sweep_interval_ms: 1_000,
        }
    }
}

impl BudgetConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        // A cap of 10^15 micro-dollars is the largest there is
        const LARGEST: i64 = 1_000_000_000_000_000;
        problems.range("budget.lease_ttl_ms", self.lease_ttl_ms, 1, 31_536_000_000);
        problems.range("budget.max_handshake_microdollars", self.max_handshake_microdollars, 1, LARGEST);
        problems.range("budget.max_refresh_microdollars", self.max_refresh_microdollars, 1, LARGEST);
        problems.range("budget.max_requested_microdollars", self.max_requested_microdollars, 1, LARGEST);
        let most = self.max_handshake_microdollars.min(self.max_refresh_microdollars);
        problems.range("budget.default_grant_microdollars", self.default_grant_microdollars, 1, most);
        problems.range("budget.sweep_interval_ms", self.sweep_interval_ms, 10, 3_600_000);
    }
}
