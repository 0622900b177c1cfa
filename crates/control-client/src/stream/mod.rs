//! What happens, as it happens: a subscription to the live stream that comes back by itself.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use control_client::{StreamConfig, StreamItem, Subscription};
//! use kernel::Secret;
//!
//! let token = Secret::new(std::env::var("IC_TOKEN")?);
//! let mut stream = Subscription::new(StreamConfig::new("http://127.0.0.1:3001", token))?;
//! loop {
//!     match stream.next().await? {
//!         StreamItem::Event(event) => println!("{}: {:?}", event.seq, event.what),
//!         StreamItem::Gap(gap) => println!("{} to {} are lost: read the state again", gap.from_seq, gap.to_seq),
//!     }
//! }
//! # }
//! ```
//!
//! Every event visible to the token arrives once and in order, or a [`StreamItem::Gap`] says what does not. A connection
//! that breaks is opened again at the place where it was, after 1 s, doubled up to 30 s, with jitter. To go on after a
//! restart of one's own, store [`Subscription::cursor`] and give it back as [`StreamConfig::since`].
//!
//! It reads server-sent events. They resume by a header, need no answer, and pass through the HTTP client that this crate
//! has anyway, with its proxies and certificates; a WebSocket would bring a second client with the same settings to make,
//! for frames that would be the same.

mod item;
mod lines;

use std::sync::Arc;
use std::time::Duration;

use kernel::{AgentId, Entropy, Secret, SystemEntropy};
use reqwest::header::ACCEPT;
use tokio::time::{Instant, sleep_until, timeout};

pub use item::{StreamEvent, StreamGap, StreamItem, StreamKind, What};
use lines::{Block, Lines};

use crate::backoff::Backoff;
use crate::http::{build, describe};
use crate::{ControlError, RetryPolicy};

/// How a subscription is set up; the fields are public.
pub struct StreamConfig {
    /// Where the control plane is, such as `https://control.example.com`; with or without a trailing `/`.
    pub base_url: String,
    /// A login's access token, an API token or an IC token.
    pub token: Secret<String>,
    /// Only what concerns these agents; empty: everything visible.
    pub agents: Vec<AgentId>,
    /// Only events of these types; empty: all.
    pub kinds: Vec<StreamKind>,
    /// The place after which to begin, as [`Subscription::cursor`] told it; `None`: with what comes next.
    pub since: Option<String>,
    /// Whether events that are no longer kept are told as a [`StreamItem::Gap`]; otherwise they end the subscription with
    /// [`StreamError::CursorTooOld`]. Default yes.
    pub allow_gap: bool,
    /// Waits between attempts to connect; [`RetryPolicy::give_up_after`] does not count. Default 1 s, doubled up to 30 s.
    pub retry: RetryPolicy,
    /// How long a connection attempt may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long nothing at all may come before the connection counts as broken; the control plane gives a sign of life
    /// every 15 s. Default 45 s.
    pub silence: Duration,
    /// Whether `http://` to a host other than this machine is allowed: the token would travel readable. Default no.
    pub allow_plain_http: bool,
    /// Randomness for waits.
    pub entropy: Arc<dyn Entropy>,
    /// An HTTP client of your own, for proxies or client certificates; it should not follow redirects or limit the time of
    /// a request.
    pub http: Option<reqwest::Client>,
}

impl StreamConfig {
    /// A subscription to everything visible from now on.
    pub fn new(base_url: impl Into<String>, token: Secret<String>) -> Self {
        Self {
            base_url: base_url.into(),
            token,
            agents: Vec::new(),
            kinds: Vec::new(),
            since: None,
            allow_gap: true,
            retry: RetryPolicy {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(30),
                give_up_after: Duration::MAX,
            },
            connect_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            allow_plain_http: false,
            entropy: Arc::new(SystemEntropy),
            http: None,
        }
    }
}

/// Why a subscription ends. Whatever may pass by itself does not end it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The token is not taken, or no longer: 401, 403.
    #[error("the control plane does not let this token in: {message} ({code})")]
    NotAuthorised {
        /// The code, such as `AUTH_TOKEN_EXPIRED`.
        code: String,
        /// The same for people.
        message: String,
    },
    /// What came after the cursor is no longer kept, and gaps are not allowed.
    #[error("what came after the cursor is no longer kept")]
    CursorTooOld,
    /// The control plane does not understand the request; a defect of this crate, or another service.
    #[error("the control plane refuses the subscription: {status} {code}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code, if there is one.
        code: String,
        /// The same for people.
        message: String,
    },
}

/// A subscription.
pub struct Subscription {
    config: StreamConfig,
    http: reqwest::Client,
    backoff: Backoff,
    /// Not before this the next attempt is made.
    pause: Option<Instant>,
    connection: Option<Connection>,
    /// The place up to which everything was handed out.
    cursor: Option<String>,
    ended: Option<StreamError>,
}

struct Connection {
    response: reqwest::Response,
    lines: Lines,
}

impl Subscription {
    /// Sets a subscription up; nothing is sent before [`Subscription::next`].
    ///
    /// # Errors
    /// [`ControlError::Config`]
    pub fn new(mut config: StreamConfig) -> Result<Self, ControlError> {
        let base_url = crate::config::checked_url(&config.base_url, config.allow_plain_http, config.http.is_some())?;
        config.base_url = base_url;
        if config.token.expose().trim().is_empty() {
            return Err(ControlError::Config("token must not be blank".to_owned()));
        }
        let http = match &config.http {
            Some(http) => http.clone(),
            None => build(config.connect_timeout, config.base_url.starts_with("https:"))?,
        };
        let cursor = config.since.clone();
        let backoff = Backoff::new(config.retry);
        Ok(Self { config, http, backoff, pause: None, connection: None, cursor, ended: None })
    }

    /// The place up to which everything was handed out, `<epoch>:<seq>`; `None` before the first connection of a
    /// subscription without one. It also moves on while nothing visible happens.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The next event or gap, however long it takes. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`StreamError`]: it has ended, and every further call says the same.
    pub async fn next(&mut self) -> Result<StreamItem, StreamError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        loop {
            if let Some(item) = self.buffered()? {
                return Ok(item);
            }
            if let Some(connection) = &mut self.connection {
                match timeout(self.config.silence, connection.response.chunk()).await {
                    Ok(Ok(Some(chunk))) => {
                        connection.lines.push(&chunk);
                        continue;
                    }
                    Ok(Ok(None)) => tracing::debug!("the live stream has ended; coming back"),
                    Ok(Err(error)) => tracing::debug!(error = describe(&error), "the live stream broke; coming back"),
                    Err(_) => tracing::debug!("the live stream has gone silent; coming back"),
                }
                self.retry(None);
            }
            if let Some(pause) = self.pause {
                sleep_until(pause).await;
                self.pause = None;
            }
            self.connect().await?;
        }
    }

    /// What has come and was not handed out yet.
    fn buffered(&mut self) -> Result<Option<StreamItem>, StreamError> {
        while let Some(connection) = &mut self.connection {
            let Some(block) = connection.lines.next() else { return Ok(None) };
            self.backoff.reset();
            if let Some(item) = self.take(block)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn take(&mut self, block: Block) -> Result<Option<StreamItem>, StreamError> {
        let Block { id, event, data } = block;
        let Some(data) = data else {
            self.cursor = id.or(self.cursor.take());
            return Ok(None);
        };
        let read = match event.as_deref() {
            Some("ERROR") => return self.told(&data).map(|()| None),
            Some("GAP") => item::gap(&data).map(StreamItem::Gap),
            _ => item::event(&data).map(StreamItem::Event),
        };
        let Some(read) = read else {
            tracing::warn!(event, "an event of the live stream is not understood and left out");
            self.cursor = id.or(self.cursor.take());
            return Ok(None);
        };
        if let (StreamItem::Event(event), Some(cursor)) = (&read, &self.cursor)
            && *cursor != event.before()
        {
            // Somebody between us and the control plane has lost something: it is asked for again
            tracing::warn!(cursor, before = event.before(), "the live stream has a hole; coming back");
            self.retry(None);
            return Ok(None);
        }
        self.cursor = id.or(self.cursor.take());
        Ok(Some(read))
    }

    /// The control plane says why it ends the stream.
    fn told(&mut self, data: &str) -> Result<(), StreamError> {
        let (code, message) = item::error(data);
        tracing::debug!(code, message, "the control plane ends the live stream");
        self.connection = None;
        match code.as_str() {
            "CURSOR_TOO_OLD" => self.end(StreamError::CursorTooOld),
            "READER_TOO_SLOW" | "SERVICE_UNAVAILABLE" | "" => {
                self.retry(None);
                Ok(())
            }
            _ => self.end(StreamError::NotAuthorised { code, message }),
        }
    }

    fn end(&mut self, error: StreamError) -> Result<(), StreamError> {
        self.connection = None;
        self.ended = Some(error.clone());
        Err(error)
    }

    fn retry(&mut self, asked: Option<Duration>) {
        self.connection = None;
        self.pause = Some(Instant::now() + self.backoff.next(&*self.config.entropy, asked));
    }

    async fn connect(&mut self) -> Result<(), StreamError> {
        let config = &self.config;
        let agents = config.agents.iter().map(|agent| agent.0.to_string()).collect::<Vec<_>>().join(",");
        let kinds = config.kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",");
        let mut url = format!("{}/api/v1/events/stream?allow_gap={}", config.base_url, config.allow_gap);
        for (name, value) in [("agent_ids", agents), ("types", kinds)] {
            // Numbers and names, which need no escapes
            if !value.is_empty() {
                url.push_str(&format!("&{name}={value}"));
            }
        }
        let token = config.token.expose().trim();
        let mut request = self.http.get(url).header(ACCEPT, "text/event-stream").bearer_auth(token);
        if let Some(cursor) = &self.cursor {
            request = request.header("last-event-id", cursor);
        }
        let mut response = match timeout(config.connect_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::debug!(error = describe(&error), "the live stream cannot be reached; trying again");
                self.retry(None);
                return Ok(());
            }
            Err(_) => {
                self.retry(None);
                return Ok(());
            }
        };
        let status = response.status().as_u16();
        if status == 200 {
            self.connection = Some(Connection { response, lines: Lines::default() });
            return Ok(());
        }
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = timeout(config.connect_timeout, response.chunk()).await
            && body.len() < 64 << 10
        {
            body.extend_from_slice(&chunk);
        }
        let (code, message) = item::error(&String::from_utf8_lossy(&body));
        match status {
            410 => self.end(StreamError::CursorTooOld),
            401 | 403 => self.end(StreamError::NotAuthorised { code, message }),
            400 | 405..=499 if status != 408 && status != 429 => {
                self.end(StreamError::Refused { status, code, message })
            }
            // 404 too: a proxy whose service is being replaced
            _ => {
                tracing::debug!(status, code, "the live stream is not to be had; trying again");
                self.retry(asked.map(Duration::from_secs));
                Ok(())
            }
        }
    }
}
