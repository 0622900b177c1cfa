//! What somebody has set at one level, and what somebody wants to set.

use std::collections::BTreeMap;

use kernel::validate::FieldErrors;
use serde_json::{Map, Value};

use crate::table::{KEYS, Key, key};
use crate::{Level, Settings};

/// What is set at one level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(BTreeMap<&'static str, Value>);

impl Overrides {
    /// Of names and values as they are stored, those that are still settings of this level. What is not holds no longer.
    pub fn load(level: Level, stored: impl IntoIterator<Item = (String, String)>) -> Self {
        let known = stored.into_iter().filter_map(|(name, value)| {
            let key = key(&name).filter(|key| key.levels.contains(&level))?;
            let value = key.check(&serde_json::from_str(&value).ok()?).ok()?;
            Some((key.name, value))
        });
        Self(known.collect())
    }

    /// What is set under this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// What is to be set at one level, `None` to be taken away. Only what differs from what is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change(BTreeMap<&'static str, Option<Value>>);

impl Change {
    /// Reads a change from an object of sections: what is not mentioned stays, `null` takes away what was set (of a whole
    /// section too), what is no setting is ignored.
    ///
    /// # Errors
    /// Every setting that does not take its value, or may not be written at this level.
    pub fn read(level: Level, sections: &Map<String, Value>) -> Result<Self, FieldErrors> {
        let (mut change, mut errors) = (Self::default(), FieldErrors::default());
        for key in KEYS {
            let section = match sections.get(key.section()) {
                None => continue,
                Some(section) => section,
            };
            match section {
                // What this level cannot have is not there to be taken away
                Value::Null if key.levels.contains(&level) => change.want(key, None),
                Value::Null => {}
                Value::Object(section) => match section.get(key.leaf()) {
                    None => {}
                    Some(_) if !key.levels.contains(&level) => {
                        errors.add(key.name, format!("cannot be set for a {}", noun(level)));
                    }
                    Some(Value::Null) => change.want(key, None),
                    Some(value) => match key.check(value) {
                        Ok(value) => change.want(key, Some(value)),
                        Err(why) => errors.add(key.name, why),
                    },
                },
                _ => errors.add(key.section(), "must be an object"),
            }
        }
        if errors.is_empty() { Ok(change) } else { Err(errors) }
    }

    /// The change that takes away everything.
    pub fn clearing(overrides: &Overrides) -> Self {
        Self(overrides.0.keys().map(|name| (*name, None)).collect())
    }

    fn want(&mut self, key: &'static Key, value: Option<Value>) {
        self.0.insert(key.name, value);
    }

    /// What of it differs from what is set.
    #[must_use]
    pub fn against(&self, overrides: &Overrides) -> Self {
        let differs = |(name, value): &(&&'static str, &Option<Value>)| overrides.0.get(**name) != value.as_ref();
        Self(self.0.iter().filter(differs).map(|(name, value)| (*name, value.clone())).collect())
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with what is to be set, `None` to be taken away.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&Value>)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// What is set afterwards.
    #[must_use]
    pub fn applied_to(&self, overrides: &Overrides) -> Overrides {
        let mut after = overrides.clone();
        for (name, value) in &self.0 {
            match value {
                Some(value) => after.0.insert(name, value.clone()),
                None => after.0.remove(name),
            };
        }
        after
    }

    /// For the record: what was set, and what is set now, of what changes. Secrets are not shown.
    pub fn states(&self, before: &Overrides) -> (Value, Value) {
        let shown = |name: &str, value: Option<&Value>| match value {
            Some(_) if key(name).is_some_and(|key| key.is_secret) => "[REDACTED]".into(),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        let states = |of: &dyn Fn(&'static str) -> Value| -> Value {
            self.0.keys().map(|name| ((*name).to_owned(), of(name))).collect::<Map<_, _>>().into()
        };
        let old = states(&|name| shown(name, before.0.get(name)));
        let new = states(&|name| shown(name, self.0.get(name).and_then(Option::as_ref)));
        (old, new)
    }

    /// Whether the settings that this change leaves fit together, at the level that it is made at.
    ///
    /// # Errors
    /// The settings that do not, of those that change.
    pub fn fits(&self, after: &Settings) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        let mut complain = |names: [&'static str; 2], why: &str| {
            let blamed = names.iter().find(|name| self.0.contains_key(*name));
            if let Some(name) = blamed {
                errors.add(*name, why);
            }
        };
        if let (Some(user), Some(project)) = (after.max_agents_per_user(), after.max_agents_per_project())
            && user > project
        {
            let names = ["operational.max_agents_per_user", "operational.max_agents_per_project"];
            complain(names, "max_agents_per_user must not be more than max_agents_per_project");
        }
        if let (Some(default), Some(allowed)) = (after.default_provider(), after.allowed_providers())
            && !allowed.contains(&default)
        {
            let names = ["providers.default_provider", "providers.allowed_providers"];
            complain(names, "default_provider must be one of allowed_providers");
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

const fn noun(level: Level) -> &'static str {
    match level {
        Level::System => "whole installation",
        Level::Project => "project",
        Level::User => "user",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Change, Overrides};
    use crate::{Level, Settings};

    fn read(level: Level, body: Value) -> Result<Change, Vec<String>> {
        let read = Change::read(level, body.as_object().expect("an object"));
        read.map_err(|errors| errors.iter().map(|(name, _)| name.to_owned()).collect())
    }

    fn set(level: Level, body: Value) -> Overrides {
        read(level, body).expect("valid").applied_to(&Overrides::default())
    }

    #[test]
    fn what_is_not_mentioned_stays_and_null_takes_away() {
        let before = set(
            Level::User,
            json!({"display": {"theme": "dark", "timezone": "Europe/Zurich"},
            "notifications": {"email_enabled": false}}),
        );
        let change =
            read(Level::User, json!({"display": {"theme": null, "currency_format": "EUR", "zzz": 1}, "zzz": {}}));
        let after = change.expect("valid").applied_to(&before);
        let left = set(
            Level::User,
            json!({"display": {"currency_format": "EUR", "timezone": "Europe/Zurich"},
            "notifications": {"email_enabled": false}}),
        );
        assert_eq!(after, left);
        let section = read(Level::User, json!({"display": null})).expect("valid").applied_to(&after);
        assert_eq!(section, set(Level::User, json!({"notifications": {"email_enabled": false}})));
    }

    #[test]
    fn every_setting_that_will_not_do_is_named() {
        let body = json!({"display": {"theme": "pink", "timezone": "Mars"}, "security": {"password_min_length": 10},
            "operational": 5, "notifications": {"email_enabled": true}});
        let names = ["display.theme", "display.timezone", "operational", "security.password_min_length"];
        assert_eq!(read(Level::User, body), Err(names.map(str::to_owned).to_vec()));
        let foreign = json!({"display": {"theme": null}});
        assert_eq!(read(Level::System, foreign), Err(vec!["display.theme".to_owned()]), "not even to take it away");
        assert!(read(Level::System, json!({"display": null})).expect("nothing of it").is_empty());
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let before = set(Level::System, json!({"audit": {"retention_days": 60}}));
        let change = read(Level::System, json!({"audit": {"retention_days": 60}, "operational": null})).expect("valid");
        assert!(change.against(&before).is_empty());
        let change = read(Level::System, json!({"audit": {"retention_days": 90}})).expect("valid").against(&before);
        let states = (json!({"audit.retention_days": 60}), json!({"audit.retention_days": 90}));
        assert_eq!(change.states(&before), states);
    }

    #[test]
    fn secrets_do_not_get_into_the_record() {
        let hook = json!({"notifications": {"webhook_url": "https://hooks.example/secret"}});
        let before = set(Level::Project, hook.clone());
        let (old, new) = Change::clearing(&before).states(&before);
        assert_eq!(
            (&old["notifications.webhook_url"], &new["notifications.webhook_url"]),
            (&json!("[REDACTED]"), &Value::Null)
        );
        let (old, new) = read(Level::Project, hook).expect("valid").states(&Overrides::default());
        assert!(!format!("{old}{new}").contains("secret"));
    }

    #[test]
    fn settings_must_fit_together() {
        let fits = |level, system: Value, project: Value, body: Value| {
            let change = read(level, body).expect("valid");
            let (system, project) = (set(Level::System, system), set(Level::Project, project));
            let after = match level {
                Level::System => Settings::of_system(change.applied_to(&system)),
                _ => Settings::of_project(system, change.applied_to(&project)),
            };
            change.fits(&after).map_err(|e| e.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
        };
        let per_project = json!({"operational": {"max_agents_per_project": 5}});
        let per_user = |n: i64| json!({"operational": {"max_agents_per_user": n}});
        let blamed = |name: &str| Err(vec![format!("operational.{name}")]);
        assert_eq!(fits(Level::System, per_project.clone(), json!({}), per_user(6)), blamed("max_agents_per_user"));
        assert_eq!(fits(Level::System, per_project.clone(), json!({}), per_user(5)), Ok(()));
        assert_eq!(fits(Level::System, per_user(6), json!({}), per_project.clone()), blamed("max_agents_per_project"));
        assert_eq!(fits(Level::Project, per_project, json!({}), per_user(6)), blamed("max_agents_per_user"));
        let allowed = json!({"providers": {"allowed_providers": ["openai"]}});
        let default = json!({"providers": {"default_provider": "mistral"}});
        let refused = fits(Level::Project, json!({}), allowed, default.clone());
        assert_eq!(refused, Err(vec!["providers.default_provider".to_owned()]));
        assert_eq!(fits(Level::Project, json!({}), json!({}), default), Ok(()));
    }

    #[test]
    fn what_is_stored_but_no_longer_a_setting_does_not_hold() {
        let rows = [
            ("display.theme", "\"dark\""),
            ("display.theme2", "1"),
            ("audit.retention_days", "90"),
            ("display.timezone", "{"),
        ];
        let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = Overrides::load(Level::User, rows);
        assert_eq!(loaded, set(Level::User, json!({"display": {"theme": "dark"}})));
        assert_eq!(loaded.get("display.theme"), Some(&json!("dark")));
    }
}
