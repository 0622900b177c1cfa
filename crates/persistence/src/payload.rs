//! JSON objects for the live stream, written by hand: there are several in every batch.
//!
//! Money is shown as everywhere: what is spent, lent or in suspense is rounded up, what is left, granted or capped is
//! rounded down, to whole micro-dollars; US dollars are the same figure with at most six decimals, never a float.

use std::fmt::Write as _;

use kernel::Money;
use ledger::Scope;

/// A JSON object that grows.
#[derive(Debug)]
pub(crate) struct Payload(String);

impl Payload {
    pub(crate) fn new() -> Self {
        Self(String::with_capacity(256))
    }

    fn name(&mut self, name: &str) -> &mut String {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        &mut self.0
    }

    pub(crate) fn null(mut self, name: &str) -> Self {
        self.name(name).push_str("null");
        self
    }

    pub(crate) fn flag(mut self, name: &str, value: bool) -> Self {
        self.name(name).push_str(if value { "true" } else { "false" });
        self
    }

    pub(crate) fn int(mut self, name: &str, value: i64) -> Self {
        let _ = write!(self.name(name), "{value}");
        self
    }

    pub(crate) fn opt_int(self, name: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(name, value),
            None => self.null(name),
        }
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        write_text(self.name(name), value);
        self
    }

    pub(crate) fn opt_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.null(name),
        }
    }

    /// Micro-dollars that are spent, lent or in suspense: rounded up.
    pub(crate) fn spent(self, name: &str, amount: Money) -> Self {
        self.int(name, amount.micros_ceil())
    }

    /// Micro-dollars that are left, granted or allowed: rounded down.
    pub(crate) fn left(self, name: &str, amount: Money) -> Self {
        self.int(name, amount.micros_floor())
    }

    /// Spent, in US dollars: rounded up to six decimals.
    pub(crate) fn spent_usd(mut self, name: &str, amount: Money) -> Self {
        write_usd(self.name(name), amount.micros_ceil());
        self
    }

    /// Left, in US dollars: rounded down to six decimals.
    pub(crate) fn left_usd(mut self, name: &str, amount: Money) -> Self {
        write_usd(self.name(name), amount.micros_floor());
        self
    }

    /// A scope as it stands in answers.
    pub(crate) fn scope(self, name: &str, scope: &Scope) -> Self {
        let object = Self::new().text("kind", scope.kind().as_str());
        self.object(
            name,
            match scope {
                Scope::Organization => object.null("id"),
                Scope::Project(project) => object.text("id", project.as_str()),
                Scope::Owner(owner) => object.text("id", owner.as_str()),
                Scope::OwnerProject(owner, project) => {
                    object.text("id", owner.as_str()).text("project_id", project.as_str())
                }
                Scope::Agent(agent) => object.int("id", agent.0),
            },
        )
    }

    pub(crate) fn object(mut self, name: &str, object: Self) -> Self {
        let object = object.finish();
        self.name(name).push_str(&object);
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

fn write_usd(json: &mut String, micros: i64) {
    json.push_str(&Money::usd_decimal_of_micros(micros));
}

/// Writes a JSON string.
pub(crate) fn write_text(json: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, Money, ProjectId, UserId};
    use ledger::Scope;
    use serde_json::{Value, json};

    use super::Payload;

    fn read(payload: Payload) -> Value {
        serde_json::from_str(&payload.finish()).expect("valid")
    }

    #[test]
    fn what_is_written_is_json_whatever_the_text() {
        let text = "a\"b\\c\nü";
        let payload = Payload::new().text("a", text).opt_text("b", None).opt_int("c", Some(-1)).flag("d", true);
        assert_eq!(
            read(payload.object("e", Payload::new())),
            json!({"a": text, "b": null, "c": -1, "d": true, "e": {}})
        );
    }

    #[test]
    fn money_is_rounded_against_whoever_spends_it() {
        let amount = Money::from_nanos(1_500_000_001);
        let payload =
            Payload::new().spent("a", amount).left("b", amount).spent_usd("c", amount).left_usd("d", Money::ZERO);
        assert_eq!(payload.finish(), r#"{"a":1500001,"b":1500000,"c":1.500001,"d":0}"#);
    }

    #[test]
    fn scopes_look_as_in_answers() {
        let (owner, project) = (UserId::new("user_1"), ProjectId::new("proj_1"));
        for (scope, shown) in [
            (Scope::Organization, json!({"kind": "organization", "id": null})),
            (Scope::Project(project.clone()), json!({"kind": "project", "id": "proj_1"})),
            (Scope::Owner(owner.clone()), json!({"kind": "owner", "id": "user_1"})),
            (
                Scope::OwnerProject(owner, project),
                json!({"kind": "owner_project", "id": "user_1", "project_id": "proj_1"}),
            ),
            (Scope::Agent(AgentId(7)), json!({"kind": "agent", "id": 7})),
        ] {
            assert_eq!(read(Payload::new().scope("scope", &scope)), json!({ "scope": shown }));
        }
    }
}
