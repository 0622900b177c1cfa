//! What handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use kernel::{Clock, Entropy, Secret, Timestamp};

use crate::health::CachedHealth;
use crate::limit::Limits;
use crate::metrics::Metrics;

/// The services behind the handlers; a handle, cheap to clone. Handlers take `State(api): State<ApiState>`.
#[derive(Clone)]
pub struct ApiState(Arc<Services>);

/// Everything a handler may need, each a part with a job of its own. Built once, by the server or a test.
pub struct Services {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
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
        Self(Arc::new(services))
    }
}

impl Deref for ApiState {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}
