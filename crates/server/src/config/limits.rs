//! `[limits]`: rate limits.

use http_api::limit::{LimitSettings, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Times per window; 0 turns the limit off.
    pub max: u32,
    /// Length of the window in seconds.
    pub window_s: u32,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Rate limits. They are counted by each server on its own.
        #[derive(Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitsConfig {
            $($(#[$doc])* pub $name: RateConfig,)*
        }

        impl Default for LimitsConfig {
            fn default() -> Self {
                let settings = LimitSettings::default();
                Self { $($name: RateConfig { max: settings.$name.max, window_s: settings.$name.window_s },)* }
            }
        }

        impl LimitsConfig {
            /// The settings of the HTTP surface.
            pub fn settings(&self) -> LimitSettings {
                LimitSettings { $($name: Rate { max: self.$name.max, window_s: self.$name.window_s },)* }
            }

            pub(super) fn check(&self, problems: &mut Problems) {
                $(problems.range(concat!("limits.", stringify!($name), ".window_s"), self.$name.window_s, 1, 86_400);)*
            }
        }
    };
}

limits! {
    /// Failed logins of one e-mail from one address.
    failed_login_pair,
    /// Failed logins from one address.
    failed_login_ip,
    /// Reads of decrypted provider keys by one API token, refilled smoothly.
    keys_read,
    /// API tokens created or rotated by one user.
    token_changes,
    /// Validations of API tokens from one address.
    token_validations,
    /// Reads of one user.
    user_reads,
    /// Writes of one user.
    user_writes,
    /// Exports of one user.
    exports,
    /// Budget requests from one address that named an unknown token or lease.
    budget_misses,
}
