//! The one error type of the HTTP surface.
//!
//! A handler returns [`ApiError`]; what the client sees of it is written by the outermost service
//! ([`crate::service::App`]), because only there are the request id and the form of the body known (below
//! `/api/v1/auth/` the key `error` is an object, elsewhere a text). Causes go to the log, never to the client.

mod render;
mod text;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kernel::{ErrorCode, FieldErrors, Timestamp};
use serde_json::{Map, Value};

pub use render::ErrorBody;
pub(crate) use render::{Form, render_error, render_foreign};

/// Why a request was refused or failed. Small to move; built up by chaining.
///
/// ```ignore
/// Err(ApiError::new(ErrorCode::BudgetBelowCommitted, "the new total is below what is committed")
///     .details(json!({"total_spent": spent, "requested": requested})))
/// ```
#[must_use]
pub struct ApiError(Box<Inner>);

pub(crate) struct Inner {
    code: ErrorCode,
    status: StatusCode,
    text: Cow<'static, str>,
    details: Option<Value>,
    fields: Option<FieldErrors>,
    extra: Map<String, Value>,
    retry_after_s: Option<u64>,
    rate: Option<RateState>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the `RateLimit-*` headers of a 429 say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// Requests allowed per window.
    pub limit: u32,
    /// Length of the window in seconds.
    pub window_s: u32,
    /// Seconds until a request is allowed again, at least 1.
    pub retry_after_s: u64,
    /// When that is.
    pub reset_at: Timestamp,
}

/// The error on its way to the outermost service.
#[derive(Clone)]
pub(crate) struct Carried(pub(crate) Arc<Inner>);

impl ApiError {
    /// An error with a text of its own. Texts of 5xx codes are constant: what is given here is then ignored.
    pub fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let text = if status.is_server_error() { Cow::Borrowed(text::of(code)) } else { text.into() };
        Self(Box::new(Inner {
            code,
            status,
            text,
            details: None,
            fields: None,
            extra: Map::new(),
            retry_after_s: None,
            rate: None,
            cause: None,
        }))
    }

    /// 500: something of ours is broken. The cause is logged together with the request id.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::from(ErrorCode::InternalError).cause(cause)
    }

    /// 503: a part is out of reach for now; the client may repeat the request.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::from(ErrorCode::ServiceUnavailable).cause(cause)
    }

    /// 503: more work waits than the server takes on.
    pub fn overloaded() -> Self {
        Self::from(ErrorCode::Overloaded)
    }

    /// 400 `VALIDATION_ERROR` about one field of the body or one query parameter.
    pub fn field(path: impl Into<String>, why: impl Into<String>) -> Self {
        FieldErrors::one(path, why).into()
    }

    /// 400 `INVALID_PARAMETER`: a part of the path cannot be what it stands for.
    pub fn parameter(name: &str, why: &str) -> Self {
        Self::new(ErrorCode::InvalidParameter, format!("{name} {why}")).fields(FieldErrors::one(name, why))
    }

    /// 429, with the headers that go with it.
    pub fn rate_limited(rate: RateState) -> Self {
        let mut error =
            Self::from(ErrorCode::RateLimitExceeded).retry_after(rate.retry_after_s).details(serde_json::json!({
                "limit": rate.limit,
                "window_seconds": rate.window_s,
                "retry_after": rate.retry_after_s,
                "reset_at": rate.reset_at.millis(),
            }));
        error.0.rate = Some(rate);
        error
    }

    /// Sets `details`. Not sent with a 5xx.
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Sets `fields`.
    pub fn fields(mut self, fields: FieldErrors) -> Self {
        self.0.fields = Some(fields);
        self
    }

    /// Adds a named key beside `code` and `message`, as some codes have. Not sent with a 5xx.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        debug_assert!(!render::RESERVED.contains(&key), "{key} belongs to every error");
        self.0.extra.insert(key.to_owned(), value.into());
        self
    }

    /// Sets `Retry-After`, in seconds. A 429 or 503 without it says 1.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Another status than the code's usual one; for `AUTH_ACCOUNT_DISABLED`, which is 403 at login and 401 elsewhere.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// What lies behind it, for the log only.
    pub fn cause(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }
}

impl From<ErrorCode> for ApiError {
    /// The error with its usual text.
    fn from(code: ErrorCode) -> Self {
        Self::new(code, text::of(code))
    }
}

impl From<FieldErrors> for ApiError {
    /// 400 `VALIDATION_ERROR` naming every field.
    fn from(fields: FieldErrors) -> Self {
        Self::new(ErrorCode::ValidationError, fields.summary()).fields(fields)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(Carried(Arc::from(self.0)));
        response
    }
}

impl std::fmt::Debug for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.text)
    }
}

impl Inner {
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The cause and the causes of the cause, in one line.
    pub(crate) fn cause_chain(&self) -> Option<String> {
        let mut next: Option<&dyn StdError> = self.cause.as_deref().map(|cause| cause as &dyn StdError);
        let mut chain = String::new();
        while let Some(cause) = next {
            if !chain.is_empty() {
                chain.push_str(": ");
            }
            chain.push_str(&cause.to_string());
            next = cause.source();
        }
        (!chain.is_empty()).then_some(chain)
    }
}
