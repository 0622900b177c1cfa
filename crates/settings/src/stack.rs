//! Levels on top of each other.

use kernel::Money;
use serde_json::{Map, Value};

use crate::table::{KEYS, Key, key};
use crate::{Level, Overrides};

/// The settings that hold for somebody: what is set at each level that applies. Cheap to ask; reads nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    system: Overrides,
    project: Overrides,
    user: Overrides,
}

impl Settings {
    /// Of the installation.
    pub fn of_system(system: Overrides) -> Self {
        Self { system, ..Self::default() }
    }

    /// Of a project.
    pub fn of_project(system: Overrides, project: Overrides) -> Self {
        Self { system, project, ..Self::default() }
    }

    /// Of a user, as somebody in a project.
    pub fn of_user(system: Overrides, project: Overrides, user: Overrides) -> Self {
        Self { system, project, user }
    }

    /// The value of a setting and whose it is; the built-in one counts as the system's.
    pub fn value(&self, key: &Key) -> (Value, Level) {
        let levels = [(&self.user, Level::User), (&self.project, Level::Project), (&self.system, Level::System)];
        let set = levels.into_iter().find_map(|(set, level)| set.get(key.name).map(|value| (value.clone(), level)));
        set.unwrap_or_else(|| (key.built_in(), Level::System))
    }

    /// What is set for the whole installation under this name, if anything is.
    pub fn set_for_system(&self, name: &str) -> Option<&Value> {
        self.system.get(name)
    }

    /// The values of those settings, in their sections.
    pub fn tree(&self, shown: impl Fn(&Key) -> bool) -> Value {
        let mut tree = Map::new();
        for key in KEYS.iter().filter(|key| shown(key)) {
            let section = tree.entry(key.section()).or_insert_with(|| Map::new().into());
            section[key.leaf()] = self.value(key).0;
        }
        tree.into()
    }

    /// Whose the values of those settings are: `{"a.b": "system" | "project" | "user"}`.
    pub fn inheritance(&self, shown: impl Fn(&Key) -> bool) -> Value {
        let shown = KEYS.iter().filter(|key| shown(key));
        shown.map(|key| (key.name.to_owned(), self.value(key).1.as_str().into())).collect::<Map<_, _>>().into()
    }

    fn get(&self, name: &str) -> Value {
        key(name).map_or(Value::Null, |key| self.value(key).0)
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.get(name).as_i64()
    }

    fn slugs(&self, name: &str) -> Option<Vec<String>> {
        let Value::Array(items) = self.get(name) else { return None };
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// What an agent gets where nobody says how much.
    pub fn default_agent_budget(&self) -> Money {
        let Value::Number(number) = self.get("operational.default_agent_budget") else { return Money::ZERO };
        Money::from_usd_decimal(&number.to_string()).unwrap_or(Money::ZERO)
    }

    /// How many agents one user may have; `None`: any number.
    pub fn max_agents_per_user(&self) -> Option<i64> {
        self.int("operational.max_agents_per_user")
    }

    /// Whether [`Settings::max_agents_per_user`] was set for the project: it then counts agents in the project only.
    pub fn max_agents_per_user_is_the_projects(&self) -> bool {
        self.project.get("operational.max_agents_per_user").is_some()
    }

    /// How many agents a project may have; `None`: any number.
    pub fn max_agents_per_project(&self) -> Option<i64> {
        self.int("operational.max_agents_per_project")
    }

    /// Percent of a budget from which on alerts are critical, 0 to 100.
    pub fn auto_pause_threshold(&self) -> i64 {
        self.int("operational.auto_pause_threshold").unwrap_or(95)
    }

    /// Percent of a budget at which people are told, ascending.
    pub fn budget_alert_levels(&self) -> Vec<i64> {
        let Value::Array(levels) = self.get("operational.budget_alert_levels") else { return Vec::new() };
        levels.iter().filter_map(Value::as_i64).collect()
    }

    /// The kinds of provider that the project may use; `None`: all.
    pub fn allowed_providers(&self) -> Option<Vec<String>> {
        self.slugs("providers.allowed_providers")
    }

    /// The kind of provider that the project prefers.
    pub fn default_provider(&self) -> Option<String> {
        self.get("providers.default_provider").as_str().map(str::to_owned)
    }

    /// The kinds of provider that anybody may use; `None`: all.
    pub fn allowed_provider_types(&self) -> Option<Vec<String>> {
        self.slugs("providers.allowed_provider_types")
    }

    /// Whether keys of this kind may be used: by the installation, and by the project.
    pub fn allows_provider(&self, provider: &str) -> bool {
        let allows = |allowed: Option<Vec<String>>| allowed.is_none_or(|allowed| allowed.iter().any(|a| a == provider));
        allows(self.allowed_provider_types()) && allows(self.allowed_providers())
    }

    /// The most days that a new API token may live; `None`: any number.
    pub fn api_token_max_age_days(&self) -> Option<i64> {
        self.int("security.api_token_max_age_days")
    }

    /// The fewest characters of a new password.
    pub fn password_min_length(&self) -> usize {
        self.int("security.password_min_length").and_then(|n| usize::try_from(n).ok()).unwrap_or(8)
    }

    /// For how many days audit entries are kept.
    pub fn audit_retention_days(&self) -> i64 {
        self.int("audit.retention_days").unwrap_or(365)
    }
}

#[cfg(test)]
mod tests {
    use kernel::Money;
    use serde_json::{Value, json};

    use super::Settings;
    use crate::{Audience, Change, Level, Overrides};

    fn set(level: Level, body: Value) -> Overrides {
        let change = Change::read(level, body.as_object().expect("an object")).expect("valid");
        change.applied_to(&Overrides::default())
    }

    #[test]
    fn the_nearest_level_wins_and_what_is_built_in_is_the_systems() {
        let system =
            set(Level::System, json!({"operational": {"auto_pause_threshold": 90, "default_agent_budget": 5}}));
        let project = set(
            Level::Project,
            json!({"operational": {"auto_pause_threshold": 80},
            "notifications": {"email_enabled": false, "budget_alerts": false}}),
        );
        let user = set(Level::User, json!({"notifications": {"email_enabled": true}}));
        let settings = Settings::of_user(system, project, user);
        let (tree, levels) = (settings.tree(|_| true), settings.inheritance(|_| true));
        for (name, value, level) in [
            ("notifications.email_enabled", json!(true), "user"),
            ("notifications.budget_alerts", json!(false), "project"),
            ("operational.auto_pause_threshold", json!(80), "project"),
            ("operational.default_agent_budget", json!(5), "system"),
            ("display.theme", json!("auto"), "system"),
        ] {
            let (section, leaf) = name.split_once('.').expect("two parts");
            assert_eq!((&tree[section][leaf], &levels[name]), (&value, &json!(level)), "{name}");
        }
        assert_eq!(settings.auto_pause_threshold(), 80);
        assert_eq!(settings.default_agent_budget(), Money::from_nanos(5_000_000_000));
    }

    #[test]
    fn what_is_not_to_be_shown_is_not() {
        let settings = Settings::default();
        let tree = settings.tree(|key| key.audience == Audience::Everyone);
        assert!(tree.get("security").is_none() && tree["notifications"].get("webhook_url").is_none());
        assert!(settings.inheritance(|key| key.section() != "security").get("security.require_2fa").is_none());
    }

    #[test]
    fn nothing_set_is_what_is_built_in() {
        let settings = Settings::default();
        assert_eq!(settings.default_agent_budget(), Money::from_nanos(100_000_000_000));
        assert_eq!((settings.max_agents_per_user(), settings.max_agents_per_project()), (None, None));
        assert_eq!((settings.auto_pause_threshold(), settings.budget_alert_levels()), (95, vec![50, 80, 95]));
        assert_eq!((settings.password_min_length(), settings.audit_retention_days()), (8, 365));
        assert_eq!(settings.api_token_max_age_days(), None);
        assert!(settings.allows_provider("anything"));
    }

    #[test]
    fn a_kind_of_provider_must_be_allowed_by_both() {
        let system = set(Level::System, json!({"providers": {"allowed_provider_types": ["openai", "mistral"]}}));
        let project = set(Level::Project, json!({"providers": {"allowed_providers": ["openai", "groq"]}}));
        let settings = Settings::of_project(system, project);
        let allowed = ["openai", "mistral", "groq"].map(|provider| settings.allows_provider(provider));
        assert_eq!(allowed, [true, false, false]);
    }
}
