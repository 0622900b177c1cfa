//! `[secrets]`: the keys that protect stored secrets.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::SecretText;

/// The keys that protect stored secrets.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsConfig {
    /// The key under which provider keys are stored: base64 of 32 bytes. Generated in the data directory if not given;
    /// must be given in production. **Without it stored provider keys cannot be read**: keep a copy.
    #[serde(skip_serializing)]
    pub master_key: Option<SecretText>,
    /// A file with that key, in place of `master_key`.
    pub master_key_file: Option<PathBuf>,
    /// Former master keys, each base64 of 32 bytes; still read, no longer written.
    #[serde(skip_serializing)]
    pub previous_keys: Vec<SecretText>,
    /// A file with former master keys, one a line, in place of `previous_keys`.
    pub previous_keys_file: Option<PathBuf>,
}

impl SecretsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.one_of("secrets.master_key", self.master_key.is_some(), self.master_key_file.is_some());
        problems.one_of("secrets.previous_keys", !self.previous_keys.is_empty(), self.previous_keys_file.is_some());
    }
}
