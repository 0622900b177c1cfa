//! What handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use auth::SigningKeys;
use auth::lockout::LockoutRules;
use auth::password::PasswordHasher;
use auth::session::Lifetimes;
use kernel::{Clock, Entropy, Money, Secret, Timestamp};
use persistence::{CredentialUses, Directory, Pipeline, Store};
use vault::Vault;

use crate::health::CachedHealth;
use crate::limit::Limits;
use crate::metrics::Metrics;
use crate::passwords::HashSlots;
use crate::settings::SettingsCache;

/// The services behind the handlers; a handle, cheap to clone. Handlers take `State(api): State<ApiState>`.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    services: Services,
    hash_slots: HashSlots,
    settings: SettingsCache,
}

/// Everything a handler may need, each a part with a job of its own. Built once, by the server or a test.
pub struct Services {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The database.
    pub store: Store,
    /// The queue in front of its writer: every command about budgets goes through it.
    pub pipeline: Pipeline,
    /// Pictures of agents, to check a request before it queues up.
    pub directory: Directory,
    /// When API tokens and logins were used, before the database is told.
    pub uses: CredentialUses,
    /// Opens and seals stored secrets.
    pub vault: Vault,
    /// Signs sessions and IC tokens.
    pub keys: SigningKeys,
    /// Hashes passwords; blocks, so it is called off the async threads.
    pub hasher: PasswordHasher,
    /// How long logins last.
    pub lifetimes: Lifetimes,
    /// When failed logins lock an account.
    pub lockout: LockoutRules,
    /// How much is lent, and for how long.
    pub lending: Lending,
    /// Policies of the installation.
    pub policy: Policy,
    /// What is measured.
    pub metrics: Metrics,
    /// Rate limits.
    pub limits: Limits,
    /// Whether the parts work.
    pub health: CachedHealth,
    /// What program this is.
    pub build: BuildInfo,
    /// What `/metrics` asks for; `None`: nothing.
    pub metrics_token: Option<Secret<String>>,
    /// When the server started.
    pub started_at: Timestamp,
}

/// How much is lent, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Lending {
    /// What a handshake or refresh asks for that names no amount.
    pub default_grant: Money,
    /// The most a handshake may ask for.
    pub max_handshake: Money,
    /// The most a refresh may ask for.
    pub max_refresh: Money,
    /// The largest total that may be asked for in a budget request.
    pub max_requested_total: Money,
    /// How long a lease stays active after a sign of life, milliseconds.
    pub ttl_ms: i64,
}

impl Default for Lending {
    fn default() -> Self {
        let usd = |n: i64| Money::from_nanos(n * 1_000_000_000);
        Self {
            default_grant: usd(10),
            max_handshake: usd(100),
            max_refresh: usd(1_000),
            max_requested_total: usd(10_000),
            ttl_ms: 21_600_000,
        }
    }
}

/// Policies of the installation.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether users may create agents within their own budget.
    pub allow_user_agents: bool,
    /// Whether reviewers may approve budget requests of their own.
    pub allow_self_approval: bool,
    /// Whether provider endpoints may be plain `http` beyond loopback.
    pub allow_http_providers: bool,
    /// Whether a user who must change the password can do nothing else before.
    pub enforce_password_change: bool,
    /// How many API tokens that can be used one user may have.
    pub max_api_tokens: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_user_agents: false,
            allow_http_providers: false,
            enforce_password_change: false,
            allow_self_approval: false,
            max_api_tokens: 50,
        }
    }
}

/// What program this is.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// The release, `1.2.3`.
    pub version: &'static str,
    /// The commit it was built from, or `unknown`.
    pub commit: &'static str,
    /// When it was built, RFC 3339, or `unknown`.
    pub timestamp: &'static str,
    /// Where it runs (`production`, …), from the configuration.
    pub environment: String,
}

impl ApiState {
    /// Makes the handle.
    pub fn new(services: Services) -> Self {
        Self(Arc::new(Inner { services, hash_slots: HashSlots::new(), settings: SettingsCache::default() }))
    }

    /// What is known of settings.
    pub(crate) fn settings_cache(&self) -> &SettingsCache {
        &self.0.settings
    }

    /// Where passwords are hashed.
    pub(crate) fn hash_slots(&self) -> &HashSlots {
        &self.0.hash_slots
    }
}

impl Deref for ApiState {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}
