//! Kinds of values that several sections use.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use kernel::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret given in the configuration. Never serialised; its own error messages do not repeat it.
#[derive(Clone)]
pub struct SecretText(Secret<String>);

impl SecretText {
    /// Takes charge of a text.
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The secret.
    pub const fn secret(&self) -> &Secret<String> {
        &self.0
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    // The usual message would repeat what was found
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom("must be a text in quotes"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        self.visit_bool(true)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<String, E> {
        self.visit_bool(true)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        self.visit_bool(true)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self::new)
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // How the loader and `config print` know that it must not be shown
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// The address of a database. May hold a password, which is not shown.
#[derive(Clone)]
pub struct DatabaseUrl(Secret<String>);

impl DatabaseUrl {
    /// Takes charge of an address.
    pub fn new(url: String) -> Self {
        Self(Secret::new(url))
    }

    /// The address, password and all.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether it names a PostgreSQL server.
    pub fn is_postgres(&self) -> bool {
        self.expose().starts_with("postgres://") || self.expose().starts_with("postgresql://")
    }

    /// Whether it names an embedded database.
    pub fn is_sqlite(&self) -> bool {
        self.expose().starts_with("sqlite:")
    }

    /// The same address for looking at a database that exists: an embedded one is not created.
    pub fn existing(&self) -> Self {
        Self::new(self.expose().replace("mode=rwc", "mode=rw"))
    }

    /// The address without its password.
    pub fn redacted(&self) -> String {
        redact_url(self.expose())
    }
}

/// Replaces the password of a URL, given in its authority or as a parameter, by `***`.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let shown = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}:***@{host}", user.split(':').next().unwrap_or("")),
        None => authority.to_owned(),
    };
    let Some((path, query)) = tail.split_once('?') else { return format!("{scheme}://{shown}{tail}") };
    let parameters: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{shown}{path}?{}", parameters.join("&"))
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self::new)
    }
}

impl JsonSchema for DatabaseUrl {
    fn schema_name() -> Cow<'static, str> {
        "DatabaseUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri", "writeOnly": true })
    }
}

macro_rules! parsed_text {
    ($name:ident, $format:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

/// An address or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub ipnet::IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from).ok();
        let network = text.parse().ok().or_else(address);
        network.map(Self).ok_or_else(|| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

parsed_text!(Network, "cidr");

/// The origin of a page, `https://host` or `https://host:port`, as a browser sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A trailing slash is what people copy from the address bar; browsers never send it
        let text = text.trim().trim_end_matches('/');
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or("");
        let plain = host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b));
        if host.is_empty() || !plain {
            return Err(format!(
                "`{text}` is not an origin such as https://dashboard.example (in lower case, no path)"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

parsed_text!(Origin, "uri");

#[cfg(test)]
mod tests {
    use super::{Network, Origin, redact_url};

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        for (url, shown) in [
            (
                "postgres://iron:hunter2@db:5432/iron?sslmode=require",
                "postgres://iron:***@db:5432/iron?sslmode=require",
            ),
            ("postgres://db/iron?user=iron&password=hunter2", "postgres://db/iron?user=iron&password=***"),
            ("postgres://iron:a@b:c@db/iron", "postgres://iron:***@db/iron"),
            ("sqlite://data/control.db?mode=rwc", "sqlite://data/control.db?mode=rwc"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn origins_are_what_a_browser_sends() {
        let origin = |text: &str| text.parse::<Origin>().ok().map(|o| o.to_string());
        assert_eq!(origin("https://dash.example/").as_deref(), Some("https://dash.example"));
        assert_eq!(origin("http://localhost:5173").as_deref(), Some("http://localhost:5173"));
        for bad in ["*", "dash.example", "https://dash.example/app", "https://", "null", "https://Dash.Example"] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_single_address_is_a_network_too() {
        assert!("10.0.0.1".parse::<Network>().is_ok_and(|n| n.0.prefix_len() == 32));
        assert!("fd00::/8".parse::<Network>().is_ok());
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }
}
