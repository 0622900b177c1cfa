//! The list of all keys, derived from the schema: what the environment is read by and what `config print` walks.

use serde_json::Value;

use super::Config;

/// One setting.
#[derive(Clone, Debug)]
pub struct Key {
    /// `server.port`.
    pub path: String,
    /// How its text in the environment is read.
    pub kind: Kind,
    /// Whether it must not be shown.
    pub secret: bool,
    /// Whether it is an address that may be shown without its password.
    pub url: bool,
    /// What it is for.
    pub doc: String,
}

/// How the text of an environment variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is; also where it looks like a number.
    Text,
    /// A whole number.
    Int,
    /// `true`, `false`, `1` or `0`.
    Bool,
    /// Texts separated by commas.
    List,
}

impl Key {
    /// The environment variable, `IRON__SERVER__PORT`.
    pub fn variable(&self) -> String {
        format!("IRON__{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// All settings, in the order of their names.
pub fn all() -> Vec<Key> {
    let mut keys = Vec::new();
    walk("", Config::schema().as_value(), &mut keys);
    keys
}

fn walk(path: &str, schema: &Value, keys: &mut Vec<Key>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, property, keys);
        }
        return;
    }
    let has_type = |name: &str| types(schema).contains(&name);
    let kind = if has_type("array") {
        Kind::List
    } else if has_type("integer") {
        Kind::Int
    } else if has_type("boolean") {
        Kind::Bool
    } else {
        Kind::Text
    };
    let marked = |mark: &dyn Fn(&Value) -> bool| alternatives(schema).any(mark) || mark(&schema["items"]);
    keys.push(Key {
        path: path.to_owned(),
        kind,
        secret: marked(&|schema| schema["writeOnly"] == true),
        url: marked(&|schema| schema["format"] == "uri" && schema["writeOnly"] == true),
        doc: schema["description"].as_str().unwrap_or("").to_owned(),
    });
}

/// The schema itself and, where it is a choice (an optional value is one), what can be chosen.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let choices = schema["anyOf"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    std::iter::once(schema).chain(choices)
}

fn types(schema: &Value) -> Vec<&str> {
    let of = |schema: &'_ Value| -> Vec<String> {
        match &schema["type"] {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    };
    let names: Vec<String> = alternatives(schema).flat_map(of).collect();
    ["array", "integer", "boolean", "string"].into_iter().filter(|name| names.iter().any(|n| n == name)).collect()
}
