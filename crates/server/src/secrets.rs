//! The secrets a server runs with: given, read from files, or made at the first start.
//!
//! There are no built-in secrets. Where none is given, a random one is created in the data directory, readable by this
//! user only, and used again at the next start; in production they must be given. Secrets that everybody knows are
//! refused in every mode.

mod file;
mod well_known;

use std::path::{Path, PathBuf};

use auth::{SigningKey, SigningKeys};
use kernel::entropy::random_base62;
use kernel::{Entropy, Secret};
use vault::{Kek, KeyRing};

use crate::config::Config;
use crate::config::types::SecretText;

/// Where generated secrets are kept, below the data directory.
const DIRECTORY: &str = "secrets";

/// The secrets of one server. Cannot be printed.
pub struct Secrets {
    /// Sign sessions and IC tokens.
    pub signing: SigningKeys,
    /// Opens and seals stored secrets.
    pub ring: KeyRing,
    /// What `/metrics` asks for.
    pub metrics_token: Option<Secret<String>>,
    /// The password of the first admin.
    pub admin_password: Option<Secret<String>>,
}

/// Secrets that cannot be used: every complaint, one a line. Never quotes a secret.
#[derive(Debug, thiserror::Error)]
#[error("the secrets cannot be used:\n  {}", .0.join("\n  "))]
pub struct SecretsError(pub Vec<String>);

/// Whether secrets that are missing are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// They are made and kept.
    Create,
    /// They stay missing: a check changes nothing.
    Report,
}

/// Finds every secret, and tells what the operator should know about them.
///
/// # Errors
/// Missing secrets in production, well-known ones, files that cannot be read or written, malformed keys.
pub fn resolve(
    config: &Config,
    entropy: &dyn Entropy,
    missing: Missing,
) -> Result<(Secrets, Vec<String>), SecretsError> {
    let mut finder = Finder { config, entropy, missing, problems: Vec::new(), notices: Vec::new() };
    let sessions = finder.signing_key(&JWT, config.auth.jwt_secret.as_ref(), config.auth.jwt_secret_file.as_deref());
    let ic_tokens = finder.signing_key(
        &IC_TOKEN,
        config.auth.ic_token_secret.as_ref(),
        config.auth.ic_token_secret_file.as_deref(),
    );
    let ring = finder.ring();
    let metrics = &config.telemetry;
    let metrics_token = finder.optional(
        "telemetry.metrics_token",
        metrics.metrics_token.as_ref(),
        metrics.metrics_token_file.as_deref(),
    );
    let bootstrap = &config.bootstrap;
    // Whoever logs in with it is asked for another; only its length is checked here
    let admin_password = finder.given(
        "bootstrap.admin_password",
        bootstrap.admin_password.as_ref(),
        bootstrap.admin_password_file.as_deref(),
    );
    if let Some(password) = &admin_password
        && !(8..=1_000).contains(&password.expose().chars().count())
    {
        finder.problems.push("bootstrap.admin_password: must have 8 to 1000 characters".to_owned());
    }
    match (sessions, ic_tokens, ring) {
        (Some(sessions), Some(ic_tokens), Some(ring)) if finder.problems.is_empty() => {
            let signing = SigningKeys { sessions, ic_tokens };
            Ok((Secrets { signing, ring, metrics_token, admin_password }, finder.notices))
        }
        _ => Err(SecretsError(finder.problems)),
    }
}

/// A secret that every server needs.
struct Needed {
    key: &'static str,
    alias: &'static str,
    /// Its file below the data directory.
    file: &'static str,
    make: fn(&dyn Entropy) -> Secret<String>,
}

const JWT: Needed = Needed { key: "auth.jwt_secret", alias: "JWT_SECRET", file: "jwt.secret", make: random_text };
const IC_TOKEN: Needed =
    Needed { key: "auth.ic_token_secret", alias: "IC_TOKEN_SECRET", file: "ic-token.secret", make: random_text };
const MASTER_KEY: Needed = Needed {
    key: "secrets.master_key",
    alias: "IRON_SECRETS_MASTER_KEY",
    file: "master.key",
    make: |entropy| Kek::random(entropy).to_base64(),
};

/// 64 characters, about 380 random bits.
fn random_text(entropy: &dyn Entropy) -> Secret<String> {
    Secret::new(random_base62(entropy, 64))
}

struct Finder<'a> {
    config: &'a Config,
    entropy: &'a dyn Entropy,
    missing: Missing,
    problems: Vec<String>,
    notices: Vec<String>,
}

impl Finder<'_> {
    /// A secret given directly or as a file, and not one that everybody knows.
    fn optional(&mut self, key: &str, value: Option<&SecretText>, path: Option<&Path>) -> Option<Secret<String>> {
        let found = self.given(key, value, path)?;
        if well_known::is(found.expose()) {
            self.problems.push(format!("{key}: is a well-known secret; use a random one (`openssl rand -base64 48`)"));
            return None;
        }
        Some(found)
    }

    /// A secret given directly or as a file.
    fn given(&mut self, key: &str, value: Option<&SecretText>, path: Option<&Path>) -> Option<Secret<String>> {
        let found = match (value, path) {
            (Some(value), _) => value.secret().clone(),
            (None, Some(path)) => match file::read(path) {
                Ok(found) => found,
                Err(error) => {
                    self.problems.push(format!("{key}_file: cannot read {}: {error}", path.display()));
                    return None;
                }
            },
            (None, None) => return None,
        };
        if found.expose().is_empty() {
            self.problems.push(format!("{key}: is empty"));
            return None;
        }
        Some(found)
    }

    /// A secret that is made if it is not given.
    fn needed(&mut self, needed: &Needed, value: Option<&SecretText>, path: Option<&Path>) -> Option<Secret<String>> {
        if value.is_some() || path.is_some() {
            return self.optional(needed.key, value, path);
        }
        let Needed { key, alias, .. } = needed;
        if self.config.deployment.is_production() {
            self.problems.push(format!("{key}: must be given in production ({key}, {key}_file or {alias})"));
            return None;
        }
        let kept: PathBuf = self.config.data_dir.join(DIRECTORY).join(needed.file);
        if self.missing == Missing::Report && !kept.exists() {
            self.notices.push(format!("{key} is not given; the first start creates {}", kept.display()));
            return Some((needed.make)(self.entropy));
        }
        match file::read_or_create(&kept, || (needed.make)(self.entropy), self.entropy) {
            Ok(found) => {
                if found.created && self.config.database_url().is_postgres() {
                    let why = "other servers of the same database need the same one";
                    self.notices.push(format!("{key} was created in {}; {why}", kept.display()));
                }
                if found.readable_by_others {
                    self.notices.push(format!("{} can be read by other users; make it mode 0600", kept.display()));
                }
                Some(found.secret)
            }
            Err(error) => {
                self.problems.push(format!("{key}: cannot keep it in {}: {error}", kept.display()));
                None
            }
        }
    }

    fn signing_key(&mut self, needed: &Needed, value: Option<&SecretText>, path: Option<&Path>) -> Option<SigningKey> {
        let text = self.needed(needed, value, path)?;
        let key = SigningKey::new(Secret::new(text.expose().clone().into_bytes()));
        match key {
            Ok(key) => {
                if key.is_short() {
                    let least = SigningKey::SOUND_LEN;
                    self.notices.push(format!("{} is shorter than {least} bytes; use a longer one", needed.key));
                }
                Some(key)
            }
            Err(error) => {
                self.problems.push(format!("{}: {error}", needed.key));
                None
            }
        }
    }

    fn ring(&mut self) -> Option<KeyRing> {
        let section = &self.config.secrets;
        let text = self.needed(&MASTER_KEY, section.master_key.as_ref(), section.master_key_file.as_deref());
        let mut older: Vec<Secret<String>> = section.previous_keys.iter().map(|key| key.secret().clone()).collect();
        if let Some(path) = &section.previous_keys_file {
            match file::read(path) {
                Ok(lines) => older.extend(
                    lines
                        .expose()
                        .lines()
                        .map(str::trim)
                        .filter(|line| !line.is_empty())
                        .map(|l| Secret::new(l.to_owned())),
                ),
                Err(error) => {
                    self.problems.push(format!("secrets.previous_keys_file: cannot read {}: {error}", path.display()));
                }
            }
        }
        let active = self.kek("secrets.master_key", &text?);
        let older: Vec<Option<Kek>> = older.iter().map(|key| self.kek("secrets.previous_keys", key)).collect();
        Some(KeyRing::fingerprinted(active?, older.into_iter().collect::<Option<Vec<_>>>()?))
    }

    fn kek(&mut self, key: &str, text: &Secret<String>) -> Option<Kek> {
        match Kek::from_base64(text.expose()) {
            Ok(kek) => Some(kek),
            Err(error) => {
                self.problems.push(format!("{key}: {error}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
