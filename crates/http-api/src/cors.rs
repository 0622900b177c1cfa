//! Which pages of other origins may use the API (Fetch standard, "CORS protocol").
//!
//! Origins are compared exactly as configured. No cookies are involved, so `Access-Control-Allow-Credentials` is never
//! sent. The answer to a preflight is made here; every other response, errors included, only gets its headers.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id, x-request-id";
const EXPOSED: &str = "x-request-id, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, \
     x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-total-count, x-truncated";
const MAX_AGE_S: &str = "600";

/// The allowed origins; empty: none.
#[derive(Clone, Debug, Default)]
pub struct Cors(Vec<HeaderValue>);

/// What a request's `Origin` is to us.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// No `Origin`, or nobody is allowed anyway.
    NotAsked,
    /// The origin, to be repeated in the response.
    Allowed(HeaderValue),
    Foreign,
}

impl Cors {
    /// Origins such as `https://dashboard.example`; those that cannot stand in a header are left out.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        Self(origins.into_iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// Whether pages of this origin may use the API.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }

    pub(crate) fn judge(&self, headers: &HeaderMap) -> Verdict {
        match headers.get(ORIGIN) {
            Some(origin) if self.allows(origin) => Verdict::Allowed(origin.clone()),
            Some(_) if !self.0.is_empty() => Verdict::Foreign,
            _ => Verdict::NotAsked,
        }
    }

    /// The answer to a preflight, if the request is one.
    pub(crate) fn preflight<B>(verdict: &Verdict, request: &Request<B>) -> Option<Response> {
        let asked = !matches!(verdict, Verdict::NotAsked)
            && request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asked {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        if let Verdict::Allowed(_) = verdict {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
        }
        Some(response)
    }

    /// Adds what a page needs to read the response.
    pub(crate) fn apply(verdict: Verdict, headers: &mut HeaderMap) {
        match verdict {
            Verdict::NotAsked => return,
            Verdict::Foreign => {}
            Verdict::Allowed(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            }
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}
