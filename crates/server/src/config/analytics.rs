//! `[analytics]`: facts about LLM requests, and what is added up of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// Facts about LLM requests, and what is added up of them.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// Days for which each LLM request is kept as a fact of its own, for lists and traces; 0 keeps them for ever. What
    /// was added up of them stays in either case.
    pub facts_retention_days: u32,
    /// Milliseconds between two looks for hours and days that are over, whose requests are then added up.
    pub fold_interval_ms: u32,
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        Self { facts_retention_days: 400, fold_interval_ms: 10_000 }
    }
}

impl AnalyticsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        // A fact may come 31 days late, and its time must not be forgotten then
        if self.facts_retention_days != 0 {
            problems.range("analytics.facts_retention_days", self.facts_retention_days, 40, 36_500);
        }
        problems.range("analytics.fold_interval_ms", self.fold_interval_ms, 50, 3_600_000);
    }
}
