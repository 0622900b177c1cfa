//! One request and its repetitions, with what is known about its effect.

use std::sync::Arc;
use std::time::Duration;

use budget_protocol::ErrorBody;
use kernel::{Entropy, ErrorCode};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::{ClientConfig, ControlError, RetryPolicy};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A request that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: ControlError,
    /// Whether the server may have done what it was asked, although it did not say so.
    pub(crate) maybe_done: bool,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
}

impl Failure {
    fn certain(error: ControlError) -> Self {
        Self { error, maybe_done: false, retryable: false }
    }

    fn lost(reason: String) -> Self {
        let error = ControlError::Unavailable { reason, retry_after: None };
        Self { error, maybe_done: true, retryable: true }
    }

    const fn asked(&self) -> Option<Duration> {
        match &self.error {
            ControlError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// An answer that came in the end.
#[derive(Debug)]
pub(crate) struct Answer<R> {
    pub(crate) body: R,
    /// Whether an earlier attempt may have been carried out, or may yet be, although its answer was lost.
    pub(crate) after_doubt: bool,
}

/// The control plane, as far away as HTTP makes it.
pub(crate) struct Http {
    client: reqwest::Client,
    base_url: String,
    timeout: Duration,
    retry: RetryPolicy,
    entropy: Arc<dyn Entropy>,
}

impl Http {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ControlError> {
        let client = match &config.http {
            Some(client) => client.clone(),
            None => build(config.request_timeout, config.base_url.starts_with("https:"))?,
        };
        Ok(Self {
            client,
            base_url: config.base_url.clone(),
            timeout: config.request_timeout,
            retry: config.retry,
            entropy: config.entropy.clone(),
        })
    }

    /// Sends once.
    pub(crate) async fn post<R: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> Result<R, Failure> {
        let text = serde_json::to_vec(body)
            .map_err(|e| Failure::certain(ControlError::Protocol(format!("the request cannot be written: {e}"))))?;
        let sent = self
            .client
            .post(format!("{}/api/v1/budget/{verb}", self.base_url))
            .header(CONTENT_TYPE, "application/json")
            .timeout(self.timeout)
            .body(text)
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                // Without a connection nothing was sent
                let maybe_done = !error.is_connect();
                return Err(Failure { maybe_done, ..Failure::lost(describe(&error)) });
            }
        };
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let mut answer = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() <= MAX_ANSWER => answer.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(Failure::lost(format!("an answer of more than {MAX_ANSWER} bytes"))),
                Ok(None) => break,
                Err(error) => return Err(Failure::lost(describe(&error))),
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|e| Failure {
                error: ControlError::Protocol(e.to_string()),
                maybe_done: true,
                retryable: false,
            });
        }
        Err(refusal(status, asked.map(Duration::from_secs), &answer))
    }

    /// Sends until there is an answer, a definite refusal, or the deadline is over. The body must be one that the
    /// server recognises when it comes again.
    pub(crate) async fn post_until<R: DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl Serialize,
        deadline: Instant,
    ) -> Result<Answer<R>, Failure> {
        let mut backoff = Backoff::new(self.retry);
        let mut maybe_done = false;
        loop {
            let mut failure = match self.post(verb, body).await {
                Ok(body) => return Ok(Answer { body, after_doubt: maybe_done }),
                Err(failure) => failure,
            };
            // One lost answer is enough for doubt: a later refusal says nothing about the earlier attempt
            maybe_done |= failure.maybe_done;
            failure.maybe_done = maybe_done;
            let wait = backoff.next(&*self.entropy, failure.asked());
            if !failure.retryable || Instant::now() + wait > deadline {
                return Err(failure);
            }
            tracing::debug!(verb, error = %failure.error, wait_ms = wait.as_millis(), "trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// When a handshake or refresh that starts now is given up.
    pub(crate) fn patience(&self) -> Instant {
        Instant::now() + self.retry.give_up_after
    }
}

/// Types an answer that is not a success.
fn refusal(status: StatusCode, retry_after: Option<Duration>, answer: &[u8]) -> Failure {
    let Some(body) = ErrorBody::parse(answer) else {
        // Not the control plane's words: a proxy answered, which says nothing about the control plane
        return Failure::lost(format!("{status} without an error body"));
    };
    let overloaded = body.known_code() == Some(ErrorCode::Overloaded);
    let server_side = status.is_server_error();
    let retryable = server_side || matches!(status.as_u16(), 408 | 425 | 429);
    Failure {
        error: ControlError::from_body(status.as_u16(), retry_after, body),
        // An overloaded server refuses before it does anything
        maybe_done: server_side && !overloaded,
        retryable,
    }
}

/// The chain of causes; the URL is left out, it says nothing new.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "timed out".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An HTTP client as this crate uses it, for a runtime's own calls: no redirects, `ring` for cryptography, the operating
/// system's trust store. Where there is none (a small container), only plain HTTP works. Requests have no time limit of
/// their own; connecting has `connect_timeout`, at most 5 s.
///
/// Building a `reqwest::Client` without such a set-up panics, because no cryptography is chosen for the whole process:
/// that is the host program's to do.
pub fn http_client(connect_timeout: Duration) -> Result<reqwest::Client, ControlError> {
    build(connect_timeout, true).or_else(|error| {
        tracing::warn!(%error, "only plain HTTP");
        build(connect_timeout, false)
    })
}

pub(crate) fn build(timeout: Duration, https: bool) -> Result<reqwest::Client, ControlError> {
    let failed = |e: &dyn std::fmt::Display| ControlError::Config(format!("no HTTP client: {e}"));
    let builder = reqwest::Client::builder()
        .user_agent(concat!("iron-control-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        // A redirect would carry the IC token to another host
        .redirect(reqwest::redirect::Policy::none());
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(tls_config(https).map_err(|e| failed(&e))?);
    #[cfg(not(feature = "tls"))]
    let _ = https;
    builder.build().map_err(|e| failed(&e))
}

/// Built here rather than from the process's default, which is the host program's to choose. Where only plain HTTP is
/// spoken no certificates are loaded: a small container may have none.
#[cfg(feature = "tls")]
fn tls_config(https: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if https {
        builder.with_platform_verifier()?
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::refusal;

    #[test]
    fn a_refusal_of_the_control_plane_is_certain_and_final() {
        let failure = refusal(StatusCode::FORBIDDEN, None, br#"{"code":"AGENT_FROZEN"}"#);
        assert!(!failure.maybe_done && !failure.retryable);
    }

    #[test]
    fn a_failing_server_may_have_done_it_but_an_overloaded_one_has_not() {
        let failed = refusal(StatusCode::INTERNAL_SERVER_ERROR, None, br#"{"code":"INTERNAL_ERROR"}"#);
        assert!(failed.maybe_done && failed.retryable);
        let overloaded = refusal(StatusCode::SERVICE_UNAVAILABLE, None, br#"{"code":"OVERLOADED"}"#);
        assert!(!overloaded.maybe_done && overloaded.retryable);
        let limited = refusal(StatusCode::TOO_MANY_REQUESTS, None, br#"{"code":"RATE_LIMIT_EXCEEDED"}"#);
        assert!(!limited.maybe_done && limited.retryable);
    }

    #[test]
    fn words_of_a_proxy_prove_nothing() {
        let failure = refusal(StatusCode::NOT_FOUND, None, b"<html>no such page</html>");
        assert!(failure.maybe_done && failure.retryable);
    }

    #[test]
    fn a_client_for_plain_http_needs_no_certificates() {
        assert!(super::build(std::time::Duration::from_secs(1), false).is_ok());
    }
}
