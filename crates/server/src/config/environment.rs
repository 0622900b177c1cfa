//! Settings from environment variables.
//!
//! figment's own reader guesses types from the text, so that the password `12345` becomes a number. Here the schema says
//! what each key is. Every variable is a provider of its own, so that messages and `config print` name it.

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::keys::Kind;

/// One setting from one variable.
pub(super) struct Variable {
    pub(super) name: String,
    /// `server.port`.
    pub(super) path: String,
    pub(super) value: Value,
}

impl Variable {
    pub(super) fn new(name: &str, path: &str, kind: Kind, text: &str) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), value: read(kind, text) }
    }
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("environment variable {}", self.name))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut segments: Vec<&str> = self.path.split('.').collect();
        let mut dict = Dict::new();
        if let Some(last) = segments.pop() {
            dict.insert(last.to_owned(), self.value.clone());
        }
        for segment in segments.into_iter().rev() {
            dict = Dict::from([(segment.to_owned(), Value::Dict(Tag::Default, dict))]);
        }
        Ok(Profile::Default.collect(dict))
    }
}

/// What cannot be read as its kind stays a text, which the section's type then refuses, naming the key.
fn read(kind: Kind, text: &str) -> Value {
    let trimmed = text.trim();
    match kind {
        Kind::Text => Value::from(text),
        Kind::Int => trimmed.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" => Value::from(true),
            "false" | "0" => Value::from(false),
            _ => Value::from(text),
        },
        Kind::List => {
            let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
            Value::from(items)
        }
    }
}
