//! Configuration: one module per section, each with its keys, their documentation and its own checks.
//!
//! Defaults < TOML file (`--config` or `IRON_CONFIG`) < environment (`IRON__SECTION__KEY`), beside a few variables under
//! other names (see [`alias`]), which count only where the setting is not given natively. Unknown keys are refused. The
//! documentation of a key is its doc comment: `server config schema` prints them as a JSON Schema.
//!
//! An empty environment variable is the same as none.

pub mod alias;
pub mod analytics;
pub mod auth;
pub mod bootstrap;
pub mod budget;
pub mod database;
pub mod deployment;
mod environment;
pub mod keys;
pub mod limits;
mod load;
pub mod providers;
pub mod secrets;
pub mod server;
pub mod stream;
pub mod telemetry;
pub mod types;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, Loaded, Sources, load};

/// The configuration of the control plane.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory for the embedded database and for generated secrets. Created if it does not exist.
    pub data_dir: PathBuf,
    /// The listening socket and what it accepts.
    pub server: server::ServerConfig,
    /// Where the books are kept.
    pub database: database::DatabaseConfig,
    /// Logins and tokens.
    pub auth: auth::AuthConfig,
    /// The keys that protect stored secrets.
    pub secrets: secrets::SecretsConfig,
    /// Leases and how much is lent at once.
    pub budget: budget::BudgetConfig,
    /// Facts about LLM requests, and what is added up of them.
    pub analytics: analytics::AnalyticsConfig,
    /// The live stream.
    pub stream: stream::StreamConfig,
    /// Rate limits.
    pub limits: limits::LimitsConfig,
    /// Provider keys.
    pub providers: providers::ProvidersConfig,
    /// Logs, traces and metrics.
    pub telemetry: telemetry::TelemetryConfig,
    /// What an empty store is filled with at the first start.
    pub bootstrap: bootstrap::BootstrapConfig,
    /// What kind of installation this is.
    pub deployment: deployment::DeploymentConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            server: server::ServerConfig::default(),
            database: database::DatabaseConfig::default(),
            auth: auth::AuthConfig::default(),
            secrets: secrets::SecretsConfig::default(),
            budget: budget::BudgetConfig::default(),
            analytics: analytics::AnalyticsConfig::default(),
            stream: stream::StreamConfig::default(),
            limits: limits::LimitsConfig::default(),
            providers: providers::ProvidersConfig::default(),
            telemetry: telemetry::TelemetryConfig::default(),
            bootstrap: bootstrap::BootstrapConfig::default(),
            deployment: deployment::DeploymentConfig::default(),
        }
    }
}

/// What is wrong with a configuration, each complaint with its key.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds a complaint.
    pub fn add(&mut self, key: &str, why: impl std::fmt::Display) {
        self.0.push(format!("{key}: {why}"));
    }

    /// Complains unless the value is in the range.
    pub fn range<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.add(key, format_args!("must be {min} to {max}, not {value}"));
        }
    }

    /// Complains if a value is given both directly and as a file.
    pub fn one_of(&mut self, key: &str, value: bool, file: bool) {
        if value && file {
            self.add(key, format_args!("give either {key} or {key}_file, not both"));
        }
    }

    /// The complaints.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

impl Config {
    /// Checks every section, and what no section can check alone.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Problems::default();
        self.server.check(&mut problems);
        self.database.check(&mut problems);
        self.auth.check(&mut problems);
        self.secrets.check(&mut problems);
        self.budget.check(&mut problems);
        self.analytics.check(&mut problems);
        self.stream.check(&mut problems);
        self.limits.check(&mut problems);
        self.telemetry.check(&mut problems);
        self.bootstrap.check(&mut problems);
        if self.deployment.is_production() {
            if self.bootstrap.demo_seed {
                problems.add("bootstrap.demo_seed", "is refused in production");
            }
            if self.auth.bcrypt_cost < 10 {
                problems.add("auth.bcrypt_cost", "must be at least 10 in production");
            }
        }
        problems.into_vec()
    }

    /// The database's URL: as given, or the embedded one in the data directory.
    pub fn database_url(&self) -> types::DatabaseUrl {
        self.database.url.clone().unwrap_or_else(|| {
            types::DatabaseUrl::new(format!("sqlite://{}?mode=rwc", self.data_dir.join("control.db").display()))
        })
    }

    /// The JSON Schema of the configuration file, its documentation included.
    pub fn schema() -> schemars::Schema {
        let settings = schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<Self>()
    }
}
