//! `[deployment]`: what kind of installation this is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of installation this is. No kind deletes data.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeploymentConfig {
    /// Default: `production` on Kubernetes, AWS and Heroku (told by `KUBERNETES_SERVICE_HOST`, `AWS_EXECUTION_ENV` or
    /// `DYNO`), else `pilot`. In production secrets must be given and demo data is refused.
    pub mode: Option<Mode>,
    /// What `version` names as the environment. Default: the mode.
    pub environment: Option<String>,
}

/// A kind of installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Somebody tries it out.
    Pilot,
    /// Somebody works on it.
    Development,
    /// It matters.
    Production,
}

impl Mode {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pilot => "pilot",
            Self::Development => "development",
            Self::Production => "production",
        }
    }
}

impl DeploymentConfig {
    /// The mode; loading has filled in the default.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Pilot)
    }

    /// Whether it matters.
    pub fn is_production(&self) -> bool {
        self.mode() == Mode::Production
    }

    /// What `version` names as the environment.
    pub fn environment(&self) -> &str {
        self.environment.as_deref().unwrap_or(self.mode().as_str())
    }
}
