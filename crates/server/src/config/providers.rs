//! `[providers]`: provider keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Provider keys.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProvidersConfig {
    /// Whether a provider's base URL may be plain `http` on hosts other than the loopback ones.
    pub allow_http: bool,
}
