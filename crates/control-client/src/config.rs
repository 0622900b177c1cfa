//! How a client is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use budget_protocol::{MAX_BATCH, RuntimeVersion};
use kernel::{Clock, Entropy, Money, ProviderKeyId, Secret, SystemClock, SystemEntropy};
use sha2::{Digest, Sha256};

use crate::ControlError;

/// How often and how long a request is repeated. Waits double from `first` to `longest`, each shortened at random by up
/// to half, so that runtimes that failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// After this time a handshake or refresh is given up, and its caller gets the last error. Reports are not given
    /// up before the session is closed.
    pub give_up_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            give_up_after: Duration::from_secs(30),
        }
    }
}

/// Settings of a client. [`ClientConfig::new`] fills in all but three; the fields are public.
pub struct ClientConfig {
    /// Where the control plane is, such as `https://control.example.com`; with or without a trailing `/`.
    pub base_url: String,
    /// The agent's credential.
    pub ic_token: Secret<String>,
    /// Where journals are kept, on a local file system; created (mode 0700) if it is missing. May be shared by any
    /// number of processes and agents of one user.
    pub journal_dir: PathBuf,
    /// The kind of provider wished for.
    pub provider: Option<String>,
    /// A particular provider key.
    pub provider_key_id: Option<ProviderKeyId>,
    /// How much to borrow at a time. Default 10 USD.
    pub tranche: Money,
    /// A name of this process, shown on its leases.
    pub runtime_id: Option<String>,
    /// The version of the runtime; the control plane takes part with majors 0 and 1.
    pub runtime_version: Option<RuntimeVersion>,
    /// Look for more money when less than this much of a lease is left, in percent; 0 waits until a call does not fit.
    /// Default 20.
    pub refresh_below_percent: u8,
    /// How long reports are collected before they are sent together. Default 1 s.
    pub report_interval: Duration,
    /// How many reports are sent together at most, and at how many they are sent at once. Default 200, at most 1000.
    pub report_batch: usize,
    /// With this many calls unreported, because the control plane is away, no further reservation is made.
    /// Default 50 000.
    pub most_unreported: usize,
    /// Repetition of requests.
    pub retry: RetryPolicy,
    /// How long a single request may take. Default 10 s.
    pub request_timeout: Duration,
    /// How long a refusal for lack of money is remembered: within it, what does not fit is refused without asking.
    /// Default 1 s.
    pub denial_pause: Duration,
    /// How long [`crate::Session::close`] waits for open reservations before it charges them in full. Default 5 s.
    pub drain_timeout: Duration,
    /// How long [`crate::Session::close`] tries to report and return after that. Default 30 s.
    pub close_timeout: Duration,
    /// Whether `http://` to a host other than this machine is allowed: the IC token would travel readable. Default no.
    pub allow_plain_http: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for request ids and waits.
    pub entropy: Arc<dyn Entropy>,
    /// An HTTP client of your own, for proxies or client certificates; it should not follow redirects.
    pub http: Option<reqwest::Client>,
}

impl ClientConfig {
    /// A client with the default settings.
    pub fn new(base_url: impl Into<String>, ic_token: Secret<String>, journal_dir: impl Into<PathBuf>) -> Self {
        Self {
            base_url: base_url.into(),
            ic_token,
            journal_dir: journal_dir.into(),
            provider: None,
            provider_key_id: None,
            tranche: Money::from_nanos(10_000_000_000),
            runtime_id: None,
            runtime_version: RuntimeVersion::parse(env!("CARGO_PKG_VERSION")),
            refresh_below_percent: 20,
            report_interval: Duration::from_secs(1),
            report_batch: 200,
            most_unreported: 50_000,
            retry: RetryPolicy::default(),
            request_timeout: Duration::from_secs(10),
            denial_pause: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(30),
            allow_plain_http: false,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            http: None,
        }
    }

    /// Checks and tidies what was given.
    pub(crate) fn checked(mut self) -> Result<Self, ControlError> {
        let bad = |why: &str| Err(ControlError::Config(why.to_owned()));
        self.base_url = checked_url(&self.base_url, self.allow_plain_http, self.http.is_some())?;
        if self.ic_token.expose().trim().is_empty() {
            return bad("ic_token must not be blank");
        }
        if self.tranche < Money::from_nanos(1_000) || self.tranche > Money::MAX_CAP {
            return bad("tranche must be at least a micro-dollar and at most 10^15");
        }
        if !(1..=MAX_BATCH).contains(&self.report_batch) {
            return bad("report_batch must be 1 to 1000");
        }
        if self.refresh_below_percent > 100 {
            return bad("refresh_below_percent must be 0 to 100");
        }
        Ok(self)
    }

    /// Whose journals these are: the agent's name from the IC token where it can be read, else a fingerprint of the
    /// token. The name outlives a regenerated token.
    pub(crate) fn agent(&self) -> String {
        let token = self.ic_token.expose();
        let name = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok()).and_then(|bytes| {
            let claims: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            Some(claims.get("agent_id")?.as_str()?.chars().take(64).collect::<String>())
        });
        name.unwrap_or_else(|| {
            let hash = Sha256::new().chain_update("agent of an IC token: ").chain_update(token).finalize();
            format!("sha256:{}", hex::encode(&hash[..8]))
        })
    }
}

/// The address of a control plane, without a trailing `/`.
pub(crate) fn checked_url(text: &str, plain_http: bool, own_client: bool) -> Result<String, ControlError> {
    let bad = |why: &str| Err(ControlError::Config(why.to_owned()));
    let trimmed = text.trim().trim_end_matches('/').to_owned();
    let Ok(url) = reqwest::Url::parse(&trimmed) else {
        return bad("base_url must be an absolute URL");
    };
    let this_machine = url.host_str().is_some_and(is_loopback);
    match url.scheme() {
        "https" if cfg!(feature = "tls") || own_client => {}
        "https" => return bad("https needs the feature `tls` of control-client"),
        "http" if this_machine || plain_http => {}
        "http" => return bad("plain http would show the token; use https or set allow_plain_http"),
        _ => return bad("base_url must be http or https"),
    }
    Ok(trimmed)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use kernel::Secret;

    use super::ClientConfig;

    fn config(base_url: &str, token: &str) -> ClientConfig {
        ClientConfig::new(base_url, Secret::new(token.to_owned()), "unused")
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for ok in ["http://127.0.0.1:3001", "http://localhost/", "http://[::1]:3001"] {
            assert!(config(ok, "t").checked().is_ok(), "{ok}");
        }
        for bad in ["http://control.example.com", "http://10.0.0.1", "ftp://x", "control.example.com", ""] {
            assert!(config(bad, "t").checked().is_err(), "{bad}");
        }
        let mut internal = config("http://10.0.0.1", "t");
        internal.allow_plain_http = true;
        assert!(internal.checked().is_ok());
    }

    #[test]
    fn a_trailing_slash_does_not_matter() {
        assert_eq!(
            config("http://localhost:1//", "t").checked().map(|c| c.base_url).ok(),
            Some("http://localhost:1".into())
        );
    }

    #[test]
    fn the_agent_is_named_by_its_token_or_by_a_fingerprint() {
        // {"agent_id":"agent_12"}
        assert_eq!(config("http://localhost", "h.eyJhZ2VudF9pZCI6ImFnZW50XzEyIn0.s").agent(), "agent_12");
        let opaque = config("http://localhost", "opaque").agent();
        assert!(opaque.starts_with("sha256:") && !opaque.contains("opaque"));
        assert_ne!(opaque, config("http://localhost", "opaque2").agent());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let change = |f: fn(&mut ClientConfig)| {
            let mut c = config("http://localhost", "t");
            f(&mut c);
            c.checked().is_err()
        };
        assert!(change(|c| c.report_batch = 0) && change(|c| c.report_batch = 1_001));
        assert!(change(|c| c.refresh_below_percent = 101));
        assert!(change(|c| c.tranche = kernel::Money::from_nanos(999)));
        assert!(change(|c| c.ic_token = Secret::new("  ".into())));
    }
}
