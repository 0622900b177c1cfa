//! `[auth]`: logins and tokens.

use std::path::PathBuf;

use auth::password::PasswordHasher;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::SecretText;

/// Logins and tokens.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The key that signs access tokens, used as raw bytes; at least 32 of them are advised. Generated in the data
    /// directory if not given; must be given in production, and the same on every server of one database.
    #[serde(skip_serializing)]
    pub jwt_secret: Option<SecretText>,
    /// A file with that key, in place of `jwt_secret`.
    pub jwt_secret_file: Option<PathBuf>,
    /// The key that signs agents' IC tokens; otherwise as `jwt_secret`. Changing it invalidates every IC token.
    #[serde(skip_serializing)]
    pub ic_token_secret: Option<SecretText>,
    /// A file with that key, in place of `ic_token_secret`.
    pub ic_token_secret_file: Option<PathBuf>,
    /// Seconds that an access token is valid.
    pub access_ttl_s: u32,
    /// Seconds that a refresh token is valid.
    pub refresh_ttl_s: u32,
    /// Whether a user who must change the password can do nothing else before.
    pub enforce_password_change: bool,
    /// How many API tokens that can be used one user may have.
    pub max_api_tokens: u32,
    /// The cost of a password hash: each step doubles the work.
    pub bcrypt_cost: u32,
    /// Failed logins in a row after which an account is locked.
    pub lockout_failures: u32,
    /// Seconds that it stays locked.
    pub lockout_s: u32,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            jwt_secret: None,
            jwt_secret_file: None,
            ic_token_secret: None,
            ic_token_secret_file: None,
            access_ttl_s: 28_800,
            refresh_ttl_s: 2_592_000,
            enforce_password_change: false,
            max_api_tokens: 50,
            bcrypt_cost: PasswordHasher::DEFAULT_COST,
            lockout_failures: 10,
            lockout_s: 1_800,
        }
    }
}

impl AuthConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.one_of("auth.jwt_secret", self.jwt_secret.is_some(), self.jwt_secret_file.is_some());
        problems.one_of("auth.ic_token_secret", self.ic_token_secret.is_some(), self.ic_token_secret_file.is_some());
        problems.range("auth.access_ttl_s", self.access_ttl_s, 1, 31_536_000);
        problems.range("auth.refresh_ttl_s", self.refresh_ttl_s, 1, 315_360_000);
        problems.range("auth.max_api_tokens", self.max_api_tokens, 1, 10_000);
        let [least, most] = [PasswordHasher::MIN_COST, PasswordHasher::MAX_COST];
        problems.range("auth.bcrypt_cost", self.bcrypt_cost, least, most);
        problems.range("auth.lockout_failures", self.lockout_failures, 1, 1_000_000);
        problems.range("auth.lockout_s", self.lockout_s, 1, 31_536_000);
    }
}
