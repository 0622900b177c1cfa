//! `[bootstrap]`: what an empty store is filled with at the first start.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::SecretText;

/// What an empty store is filled with at the first start. Has no effect later.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// E-mail of the first admin. Default: `admin@localhost`.
    pub admin_email: Option<String>,
    /// Password of the first admin, 8 to 1000 characters. Default: a random one, printed once.
    #[serde(skip_serializing)]
    pub admin_password: Option<SecretText>,
    /// A file with that password, in place of `admin_password`.
    pub admin_password_file: Option<PathBuf>,
    /// Whether demo users are added, too. Refused in production.
    pub demo_seed: bool,
}

impl BootstrapConfig {
    /// The e-mail of the first admin.
    pub fn email(&self) -> &str {
        self.admin_email.as_deref().map(str::trim).unwrap_or("admin@localhost")
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let email = self.email();
        if email.is_empty() || email.chars().count() > 255 || email.matches('@').count() != 1 {
            problems.add("bootstrap.admin_email", "must have 1 to 255 characters and one @");
        }
        problems.one_of("bootstrap.admin_password", self.admin_password.is_some(), self.admin_password_file.is_some());
    }
}
