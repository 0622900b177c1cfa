//! Putting the layers together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use figment::value::Value;

use super::Config;
use super::alias::{ALIASES, PRODUCTION_MARKS, SERVER_PORT, UNUSED};
use super::deployment::Mode;
use super::environment::Variable;
use super::keys::{self, Key, Kind};
use super::types::redact_url;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if one was named. It must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The environment of this process, and the file named on the command line or by `IRON_CONFIG`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = environment.get("IRON_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { file: file.or(named), environment }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }
}

/// A configuration that can be used.
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What the operator should know: aliases that lost to native settings, variables without effect.
    pub notices: Vec<String>,
    figment: Figment,
}

/// A configuration that cannot be used: every complaint that was found, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

/// Reads and checks the configuration.
///
/// # Errors
/// A file that cannot be read, unknown keys, values of the wrong type or out of range, contradictions.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let keys = keys::all();
    let mut notices = Vec::new();
    let mut native = Figment::new();
    if let Some(file) = &sources.file {
        // A named file that is not there must not count as an empty one
        if let Err(error) = std::fs::File::open(file) {
            return Err(ConfigError(vec![format!("cannot read {}: {error}", file.display())]));
        }
        native = native.merge(Toml::file_exact(file));
    }
    for variable in native_variables(sources, &keys) {
        native = native.merge(variable);
    }
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    for variable in aliases(sources, &keys, &native, &mut notices) {
        figment = figment.merge(variable);
    }
    figment = figment.merge(native);
    let mut config: Config = figment.extract().map_err(|error| ConfigError(explain(error)))?;
    if config.deployment.mode.is_none() {
        let production = PRODUCTION_MARKS.iter().any(|name| sources.variable(name).is_some());
        config.deployment.mode = Some(if production { Mode::Production } else { Mode::Pilot });
    }
    if sources.variable(UNUSED).is_some() {
        notices.push(format!("{UNUSED} has no effect: IP tokens are sealed with keys derived for each lease"));
    }
    let problems = config.check();
    if problems.is_empty() { Ok(Loaded { config, notices, figment }) } else { Err(ConfigError(problems)) }
}

/// `IRON__SECTION__KEY`. Names that are no key are kept, so that they are refused by name.
fn native_variables(sources: &Sources, keys: &[Key]) -> Vec<Variable> {
    let ours = sources.environment.keys().filter_map(|name| Some((name, name.strip_prefix("IRON__")?)));
    ours.filter_map(|(name, rest)| {
        let text = sources.variable(name)?;
        let path = rest.split("__").map(str::to_ascii_lowercase).collect::<Vec<_>>().join(".");
        let kind = keys.iter().find(|key| key.path == path).map_or(Kind::Text, |key| key.kind);
        Some(Variable::new(name, &path, kind, text))
    })
    .collect()
}

/// The aliases that count, which are those whose setting is not given natively.
fn aliases(sources: &Sources, keys: &[Key], native: &Figment, notices: &mut Vec<String>) -> Vec<Variable> {
    let mut counting = Vec::new();
    for alias in ALIASES {
        let Some(text) = sources.variable(alias.variable) else { continue };
        let kind = keys.iter().find(|key| key.path == alias.key).map_or(Kind::Text, |key| key.kind);
        // The values of modes and switches were never case-sensitive under these names
        let text = if alias.key == "deployment.mode" { text.trim().to_ascii_lowercase() } else { text.to_owned() };
        let variable = Variable::new(alias.variable, alias.key, kind, &text);
        let given = std::iter::once(&alias.key).chain(alias.also).find(|key| native.contains(key));
        if let Some(key) = given {
            if native.find_value(key).ok().as_ref().map(plain) != Some(plain(&variable.value)) {
                notices.push(format!("{} has no effect: {key} is set to something else", alias.variable));
            }
            continue;
        }
        if alias.variable == SERVER_PORT {
            // Below a host given natively, above the default
            counting.push(Variable::new(SERVER_PORT, "server.host", Kind::Text, "0.0.0.0"));
        }
        counting.push(variable);
    }
    counting
}

/// A value without the traces of where it came from.
fn plain(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Array(_, items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Num(_, n) => {
            let signed = n.to_i128().map(|n| n.to_string());
            signed.or_else(|| n.to_u128().map(|n| n.to_string())).unwrap_or_else(|| format!("{n:?}"))
        }
        Value::Bool(_, b) => b.to_string(),
        other => format!("{other:?}"),
    }
}

fn explain(error: figment::Error) -> Vec<String> {
    // Settings have no profiles; the one that figment names says nothing to the operator
    error.into_iter().map(|error| error.to_string().replace("key \"default.", "key \"")).collect()
}

/// A setting as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `server.port`.
    pub key: String,
    /// The value in TOML, `(secret)` or `(not set)`.
    pub value: String,
    /// `default`, a file or a variable.
    pub source: String,
}

impl Loaded {
    /// Every setting with its value and where it comes from, secrets left out.
    pub fn settings(&self) -> Vec<Setting> {
        keys::all().iter().map(|key| self.setting(key)).collect()
    }

    fn setting(&self, key: &Key) -> Setting {
        let value = self.figment.find_value(&key.path).ok().filter(|value| !matches!(value, Value::Empty(..)));
        let shown = match &value {
            None if key.path == "deployment.mode" => format!("{:?}", self.config.deployment.mode().as_str()),
            None if key.path == "database.url" => format!("{:?}", self.config.database_url().redacted()),
            None => "(not set)".to_owned(),
            Some(Value::String(_, url)) if key.url => format!("{:?}", redact_url(url)),
            Some(_) if key.secret => "(secret)".to_owned(),
            Some(value) => toml_of(value),
        };
        let metadata = value.as_ref().and_then(|value| self.figment.get_metadata(value.tag()));
        let source = match metadata {
            Some(metadata) => match metadata.source.as_ref().and_then(|source| source.file_path()) {
                Some(path) => path.display().to_string(),
                None if metadata.name.starts_with("environment") => metadata.name.to_string(),
                None => "default".to_owned(),
            },
            None => "default".to_owned(),
        };
        Setting { key: key.path.clone(), value: shown, source }
    }
}

fn toml_of(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Array(_, items) => format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        other => plain(other),
    }
}
