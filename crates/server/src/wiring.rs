//! Where the parts are put together: configuration and dependencies in, a server that listens out.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use auth::lockout::LockoutRules;
use auth::password::PasswordHasher;
use auth::session::Lifetimes;
use http_api::client_ip::TrustedProxies;
use http_api::cors::Cors;
use http_api::guard::BodySettings;
use http_api::health::{CachedHealth, Health, HealthReport};
use http_api::limit::Limits;
use http_api::metrics::Metrics;
use http_api::state::{Lending, Policy};
use http_api::stream::{Stream, StreamSettings};
use http_api::{ApiState, App, BuildInfo, HttpSettings, Services};
use kernel::{Clock, Entropy, Money, SystemClock, SystemEntropy};
use persistence::{CredentialUses, Directory, Pipeline, PipelineOptions, Store, StoreError, StoreOptions};
use tokio::task::JoinHandle;
use vault::Vault;
use ws_hub::HubSettings;

use crate::background::{Background, observer};
use crate::bootstrap::{FirstAdmin, first_admin};

use crate::config::Config;
use crate::config::types::DatabaseUrl;
use crate::listener::Listener;
use crate::secrets::{Missing, Secrets, SecretsError, resolve};
use crate::{data_dir, telemetry};

/// What a server takes from its surroundings instead of reaching for it.
#[derive(Clone)]
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Deps {
    /// The operating system's.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {directory}")]
    DataDir {
        /// Which one.
        directory: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The database cannot be opened or brought up to date.
    #[error("cannot use the database {url}")]
    Database {
        /// Its address without the password.
        url: String,
        /// Why not.
        source: StoreError,
    },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The database fails while the first start fills it.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// A metric is declared wrongly.
    #[error("cannot set up the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A server that listens, its database open and up to date.
pub struct Server {
    listener: Listener,
    address: SocketAddr,
    app: App,
    api: ApiState,
    store: Store,
    writer: JoinHandle<()>,
    background: Background,
    first_admin: Option<FirstAdmin>,
    notices: Vec<String>,
}

/// Opens the database that the configuration names, without touching its schema.
///
/// # Errors
/// [`StartError::DataDir`], [`StartError::Database`]
pub async fn open_store(config: &Config) -> Result<Store, StartError> {
    let directory = &config.data_dir;
    data_dir::create(directory)
        .map_err(|source| StartError::DataDir { directory: directory.display().to_string(), source })?;
    open(config, config.database_url()).await
}

/// The same for a database that exists: an embedded one is not created, so that a check of the wrong directory fails.
///
/// # Errors
/// [`StartError::Database`]
pub async fn open_existing_store(config: &Config) -> Result<Store, StartError> {
    open(config, config.database_url().existing()).await
}

/// The same only to be read, beside a server that may have it open.
///
/// # Errors
/// [`StartError::Database`]
pub async fn open_store_to_read(config: &Config) -> Result<Store, StartError> {
    let url = config.database_url().existing();
    Store::open_to_read(url.expose()).await.map_err(|source| StartError::Database { url: url.redacted(), source })
}

async fn open(config: &Config, url: DatabaseUrl) -> Result<Store, StartError> {
    let options = StoreOptions { url: url.expose().to_owned(), connections: config.database.connections };
    Store::open(&options).await.map_err(|source| StartError::Database { url: url.redacted(), source })
}

/// Brings the schema of an open database up to date.
///
/// # Errors
/// [`StartError::Database`]
pub async fn migrate(config: &Config, store: &Store) -> Result<(), StartError> {
    let url = config.database_url().redacted();
    store.migrate().await.map_err(|source| StartError::Database { url, source })
}

impl Server {
    /// Puts a server together and binds its socket. Nothing is served yet.
    ///
    /// # Errors
    /// [`StartError`]: the server refuses to start rather than to run without a part.
    pub async fn build(config: &Config, deps: Deps) -> Result<Self, StartError> {
        let store = open_store(config).await?;
        let (secrets, notices) = resolve(config, &*deps.entropy, Missing::Create)?;
        migrate(config, &store).await?;
        let mut secrets = secrets;
        let password = secrets.admin_password.take();
        let email = config.bootstrap.email();
        let first_admin = first_admin(&store, email, password, hasher(config), &*deps.clock, &*deps.entropy).await?;
        let metrics = Metrics::new()?;
        let options = PipelineOptions {
            queue: config.database.write_queue as usize,
            batch: config.database.write_batch as usize,
            lanes: config.database.write_lanes as usize,
            lease_ttl_ms: config.budget.lease_ttl_ms,
        };
        let (clock, entropy) = (Arc::clone(&deps.clock), Arc::clone(&deps.entropy));
        let (pipeline, writer) = Pipeline::start(store.clone(), clock, entropy, options, observer(&metrics));
        let api = ApiState::new(services(config, &deps, secrets, &store, pipeline, metrics)?);
        let background = Background::start(&api, config);
        let app = http_api::app(api.clone(), http_settings(config));
        let failed = |source| StartError::Listen { address: config.server.listen(), source };
        let listener = Listener::bind(&config.server).await.map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        Ok(Self { listener, address, app, api, store, writer, background, first_admin, notices })
    }

    /// Where it listens; with the port that the system chose, if it was to choose one.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers work with.
    pub const fn api(&self) -> &ApiState {
        &self.api
    }

    /// The admin that this start has created, if the store was empty.
    pub const fn first_admin(&self) -> Option<&FirstAdmin> {
        self.first_admin.as_ref()
    }

    /// What the operator should know.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Serves until `stop` is ready, finishes what has begun, and closes the database.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { listener, app, api, store, writer, background, .. } = self;
        let stream = api.stream.clone();
        let stop = async {
            stop.await;
            // Streams are told at once; the listener waits for those that are responses, we for the others
            stream.close(Duration::ZERO).await;
        };
        listener.serve(app, stop).await;
        let left = api.stream.close(STREAMS_CLOSE_WITHIN).await;
        if left > 0 {
            tracing::warn!(left, "cutting streams that did not end in time");
        }
        drop(background);
        if let Err(error) = crate::background::note_uses(api.clone()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last uses of tokens were not noted");
        }
        drop(api);
        // The pipeline ends when its last handle is gone; a connection that would not end holds one for a moment longer
        let _ = tokio::time::timeout(Duration::from_secs(5), writer).await;
        store.close().await;
    }
}

/// How long streams are given to end once the listener has closed: longer than each of them gives its client.
const STREAMS_CLOSE_WITHIN: Duration = Duration::from_secs(6);

/// How many agents are remembered between their requests.
const DIRECTORY_SIZE: usize = 20_000;

/// Hashes passwords at the cost that the configuration names, which was checked when it was read.
pub(crate) fn hasher(config: &Config) -> PasswordHasher {
    PasswordHasher::new(config.auth.bcrypt_cost).unwrap_or_default()
}

fn services(
    config: &Config,
    deps: &Deps,
    secrets: Secrets,
    store: &Store,
    pipeline: Pipeline,
    metrics: Metrics,
) -> Result<Services, StartError> {
    let clock = Arc::clone(&deps.clock);
    let micros = |amount: i64| Money::from_micros(amount).unwrap_or(Money::MAX_CAP);
    Ok(Services {
        store: store.clone(),
        pipeline,
        stream: Stream::new(store, stream_settings(config)),
        directory: Directory::new(store.clone(), DIRECTORY_SIZE),
        uses: CredentialUses::default(),
        vault: Vault::new(secrets.ring),
        keys: secrets.signing,
        hasher: hasher(config),
        lifetimes: Lifetimes {
            access_secs: config.auth.access_ttl_s.into(),
            refresh_secs: config.auth.refresh_ttl_s.into(),
        },
        lockout: LockoutRules {
            max_failures: config.auth.lockout_failures,
            lock_millis: i64::from(config.auth.lockout_s) * 1_000,
        },
        lending: Lending {
            default_grant: micros(config.budget.default_grant_microdollars),
            max_handshake: micros(config.budget.max_handshake_microdollars),
            max_refresh: micros(config.budget.max_refresh_microdollars),
            max_requested_total: micros(config.budget.max_requested_microdollars),
            ttl_ms: config.budget.lease_ttl_ms,
        },
        policy: Policy {
            allow_self_approval: config.budget.allow_self_approval,
            allow_user_agents: config.budget.allow_user_agents,
            allow_http_providers: config.providers.allow_http,
            enforce_password_change: config.auth.enforce_password_change,
            max_api_tokens: config.auth.max_api_tokens,
        },
        metrics,
        limits: Limits::new(config.limits.settings(), Arc::clone(&clock)),
        health: CachedHealth::new(Arc::new(StoreHealth(store.clone())), Arc::clone(&clock)),
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("IRON_BUILD_COMMIT").unwrap_or("unknown"),
            timestamp: option_env!("IRON_BUILD_TIMESTAMP").unwrap_or("unknown"),
            environment: config.deployment.environment().to_owned(),
        },
        metrics_token: secrets.metrics_token,
        started_at: clock.now(),
        entropy: Arc::clone(&deps.entropy),
        clock,
    })
}

fn allowed_origins(config: &Config) -> Cors {
    Cors::new(config.server.allowed_origins.iter().map(|origin| origin.as_str()))
}

fn stream_settings(config: &Config) -> StreamSettings {
    let connections = usize::try_from(config.stream.max_connections).unwrap_or(usize::MAX);
    StreamSettings { hub: HubSettings { connections, ..HubSettings::default() }, origins: allowed_origins(config) }
}

fn http_settings(config: &Config) -> HttpSettings {
    let server = &config.server;
    HttpSettings {
        cors: allowed_origins(config),
        trusted_proxies: TrustedProxies::new(server.trusted_proxies.iter().map(|network| network.0).collect()),
        read_timeout: Duration::from_secs(server.read_timeout_s.into()),
        body: BodySettings {
            timeout: Duration::from_secs(server.body_timeout_s.into()),
            total_bytes: usize::try_from(server.body_memory_mib).unwrap_or(usize::MAX >> 20) << 20,
        },
        on_span: config.telemetry.otlp_endpoint.is_some().then_some(telemetry::join_trace),
    }
}

/// Asks the database for a sign of life.
struct StoreHealth(Store);

impl Health for StoreHealth {
    fn check(&self) -> Pin<Box<dyn Future<Output = HealthReport> + Send + '_>> {
        Box::pin(async {
            let answer = tokio::time::timeout(Duration::from_secs(2), self.0.ping()).await;
            let database = match answer {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the database does not answer");
                    Err("does not answer")
                }
                Err(_) => Err("does not answer in time"),
            };
            // The schema was brought up to date before the socket was bound, and the keys were read
            HealthReport { database, ..HealthReport::HEALTHY }
        })
    }
}
