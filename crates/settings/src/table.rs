//! Every setting, in one table.

use serde_json::Value;

use crate::Level;
use crate::Level::{Project, System, User};
use crate::kind::{BuiltIn, Kind, NULL};

/// Whom a setting is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever works with it.
    Everyone,
    /// Who runs the project or the installation: where messages go, how safety is kept.
    Operators,
}

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// Where it may be written.
    pub levels: &'static [Level],
    /// Whom it is meant for.
    pub audience: Audience,
    /// Whether its value may hold a secret, as the address of a webhook does: records of changes do not show it.
    pub is_secret: bool,
    kind: Kind,
    built_in: BuiltIn,
}

impl Key {
    const fn new(name: &'static str, levels: &'static [Level], kind: Kind, built_in: BuiltIn) -> Self {
        Self { name, levels, audience: Audience::Everyone, is_secret: false, kind, built_in }
    }

    const fn for_operators(self) -> Self {
        Self { audience: Audience::Operators, ..self }
    }

    const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// The part of the name before the point.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(section, _)| section)
    }

    /// The part of the name after the point.
    pub fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// What holds where nobody has set anything.
    pub fn built_in(&self) -> Value {
        self.built_in.value()
    }

    /// The value in the form in which it is kept, or why it will not do.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        self.kind.check(value)
    }
}

/// The setting of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const PERIODS: Kind =
    Kind::Word(&["today", "yesterday", "last-7-days", "last-30-days", "this-month", "last-month", "all-time"]);
const THRESHOLDS: &[i64] = &[50, 80, 95];
const OPERATORS: &[Level] = &[Project, System];

/// Every setting.
pub static KEYS: &[Key] = &[
    Key::new("display.theme", &[User], Kind::Word(&["light", "dark", "auto"]), BuiltIn::Word("auto")),
    Key::new("display.dashboard_layout", &[User], Kind::Word(&["grid", "list", "compact"]), BuiltIn::Word("grid")),
    Key::new("display.currency_format", &[User], Kind::Word(&["USD", "EUR", "GBP"]), BuiltIn::Word("USD")),
    Key::new("display.default_date_range", &[User], PERIODS, BuiltIn::Word("last-7-days")),
    Key::new("display.timezone", &[User], Kind::Zone, BuiltIn::Word("UTC")),
    Key::new("notifications.email_enabled", &[User, Project], Kind::Flag, BuiltIn::Flag(true)),
    Key::new("notifications.budget_alerts", &[User, Project], Kind::Flag, BuiltIn::Flag(true)),
    Key::new("notifications.agent_status_alerts", &[User, Project], Kind::Flag, BuiltIn::Flag(true)),
    Key::new(
        "notifications.notification_frequency",
        &[User, Project],
        Kind::Word(&["immediate", "daily", "weekly"]),
        BuiltIn::Word("immediate"),
    ),
    Key::new("notifications.webhook_url", &[Project], Kind::HttpsUrl, NULL).for_operators().secret(),
    Key::new("notifications.email_from", &[Project], Kind::Email, NULL).for_operators(),
    Key::new("operational.default_agent_budget", OPERATORS, Kind::Usd, BuiltIn::Int(100)),
    Key::new("operational.max_agents_per_user", OPERATORS, Kind::Int(1, 1_000_000_000), NULL),
    Key::new("operational.max_agents_per_project", &[System], Kind::Int(1, 1_000_000_000), NULL),
    Key::new("operational.auto_pause_threshold", OPERATORS, Kind::Int(0, 100), BuiltIn::Int(95)),
    Key::new("operational.budget_alert_levels", OPERATORS, Kind::Thresholds, BuiltIn::Ints(THRESHOLDS)),
    Key::new("providers.allowed_providers", &[Project], Kind::Slugs, NULL),
    Key::new("providers.default_provider", &[Project], Kind::Slug, NULL),
    Key::new("providers.allowed_provider_types", &[System], Kind::Slugs, NULL),
    Key::new("providers.default_rate_limit", &[System], Kind::Int(1, 100_000), BuiltIn::Int(100)),
    Key::new("providers.default_timeout_seconds", &[System], Kind::Int(1, 600), BuiltIn::Int(30)),
    Key::new("security.session_timeout_minutes", OPERATORS, Kind::Int(5, 43_200), BuiltIn::Int(480)).for_operators(),
    Key::new("security.api_token_max_age_days", OPERATORS, Kind::Int(1, 3_650), NULL).for_operators(),
    Key::new("security.password_min_length", &[System], Kind::Int(8, 128), BuiltIn::Int(8)).for_operators(),
    // Promised by no server yet, so nobody may believe that they hold
    Key::new("security.require_2fa", &[System], Kind::Only(false), BuiltIn::Flag(false)).for_operators(),
    Key::new("security.require_2fa_for_admin", &[System], Kind::Only(false), BuiltIn::Flag(false)).for_operators(),
    Key::new("security.ip_whitelist_enabled", &[System], Kind::Only(false), BuiltIn::Flag(false)).for_operators(),
    Key::new("security.allowed_ip_ranges", &[System], Kind::Networks, BuiltIn::Ints(&[])).for_operators(),
    Key::new("audit.retention_days", &[System], Kind::Int(30, 36_500), BuiltIn::Int(365)).for_operators(),
    Key::new("audit.log_mutations_only", &[System], Kind::Only(true), BuiltIn::Flag(true)).for_operators(),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KEYS, key};

    #[test]
    fn every_name_is_there_once_and_has_two_parts() {
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
        for key in KEYS {
            assert_eq!(format!("{}.{}", key.section(), key.leaf()), key.name);
            assert!(!key.leaf().contains('.') && !key.levels.is_empty(), "{}", key.name);
        }
        assert!(key("display.theme").is_some() && key("display").is_none());
    }

    #[test]
    fn what_is_built_in_could_be_written_unless_it_is_nothing() {
        for key in KEYS {
            let built_in = key.built_in();
            assert!(built_in.is_null() || key.check(&built_in) == Ok(built_in.clone()), "{}: {built_in}", key.name);
        }
    }
}
