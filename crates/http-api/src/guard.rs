//! Stands between routing and every handler: notes which route matched, and takes in the body.
//!
//! A body is refused by its media type and its size before the caller is looked at, and it is read here and nowhere else, so
//! that no route can forget the limits. Memory is bounded: bodies above [`SMALL_BYTES`] draw on a common allowance, and
//! a body must arrive within a time limit, so that slow senders cost nobody else anything.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kernel::ErrorCode;
use pin_project_lite::pin_project;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::{Layer, Service};

use crate::body::{Body, BodyRules};
use crate::context::RequestContext;
use crate::error::ApiError;

/// Bodies up to this size are not counted against the common allowance.
const SMALL_BYTES: usize = 64 << 10;
/// What a refused body may still send before the connection is cut: a client that is busy sending does not read the
/// refusal.
const MAX_DRAIN_BYTES: u64 = 32 << 20;

/// Limits on taking in bodies.
#[derive(Clone, Copy, Debug)]
pub struct BodySettings {
    /// How long a body may take to arrive.
    pub timeout: Duration,
    /// Bytes that all bodies above 64 KiB may occupy together.
    pub total_bytes: usize,
}

impl Default for BodySettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), total_bytes: 256 << 20 }
    }
}

/// Puts a [`Guard`] in front of every route.
#[derive(Clone)]
pub(crate) struct GuardLayer(Arc<Intake>);

struct Intake {
    timeout: Duration,
    /// In KiB, so that the semaphore's range suffices.
    allowance: Semaphore,
}

impl GuardLayer {
    pub(crate) fn new(settings: BodySettings) -> Self {
        let kib = (settings.total_bytes >> 10).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Intake { timeout: settings.timeout, allowance: Semaphore::new(kib) }))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, intake: Arc::clone(&self.0) }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    inner: S,
    intake: Arc<Intake>,
}

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>().cloned();
        if let (Some(route), Some(context)) = (&route, extensions.get::<RequestContext>()) {
            context.set_route(route.clone());
        }
        if request.body().is_end_stream() {
            return GuardFuture::Plain { future: self.inner.call(request) };
        }
        let rules = BodyRules::of(route.as_ref().map_or("", MatchedPath::as_str));
        let intake = Arc::clone(&self.intake);
        let mut inner = self.inner.clone();
        let future = Box::pin(async move {
            let body = std::mem::take(request.body_mut());
            let _permit = match intake.take_in(rules, request.headers(), body).await {
                Ok((body, permit)) => {
                    request.extensions_mut().insert(body);
                    permit
                }
                Err(refusal) => return Ok(refusal),
            };
            inner.call(request).await
        });
        GuardFuture::WithBody { future }
    }
}

pin_project! {
    /// The answer to a request with or without a body.
    #[project = Projected]
    pub(crate) enum GuardFuture<F> {
        Plain { #[pin] future: F },
        WithBody { future: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for GuardFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Plain { future } => future.poll(cx),
            Projected::WithBody { future } => future.as_mut().poll(cx),
        }
    }
}

impl Intake {
    async fn take_in(
        &self,
        rules: BodyRules,
        headers: &axum::http::HeaderMap,
        mut body: HttpBody,
    ) -> Result<(Body, Option<SemaphorePermit<'_>>), Response> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let refusal = match tokio::time::timeout_at(deadline, self.read(rules, headers, &mut body)).await {
            Ok(Ok(taken)) => return Ok(taken),
            Ok(Err(refusal)) => refusal,
            // Facts about money must not be lost to a slow line: a client repeats what was refused with a 5xx
            Err(_) => {
                let late = ApiError::unavailable("the request body did not arrive in time");
                return Err(and_close(late.into_response()));
            }
        };
        Err(drain(body, deadline, refusal.into_response()).await)
    }

    async fn read(
        &self,
        rules: BodyRules,
        headers: &axum::http::HeaderMap,
        body: &mut HttpBody,
    ) -> Result<(Body, Option<SemaphorePermit<'_>>), ApiError> {
        let declared = body.size_hint();
        if declared.lower() > rules.max_bytes as u64 {
            return Err(ErrorCode::PayloadTooLarge.into());
        }
        let Some(first) = next_data(body).await? else {
            // Chunked, and nothing came: empty, whatever the media type
            return Ok((Body::default(), None));
        };
        let media = rules.media(headers)?;
        if body.is_end_stream() && first.len() <= rules.max_bytes.min(SMALL_BYTES) {
            return Ok((Body::new(first, media), None));
        }
        let mut permit = None;
        let expected = usize::try_from(declared.exact().unwrap_or(0)).unwrap_or(0).min(SMALL_BYTES);
        let mut bytes = BytesMut::with_capacity(expected.max(first.len()));
        let mut next = Some(first);
        while let Some(data) = next {
            let length = bytes.len() + data.len();
            if length > rules.max_bytes {
                return Err(ErrorCode::PayloadTooLarge.into());
            }
            if length > SMALL_BYTES && permit.is_none() {
                // A body of a stated length has that length; of another one nobody knows
                let stated = declared.exact().and_then(|length| usize::try_from(length).ok());
                let most = stated.unwrap_or(rules.max_bytes).min(rules.max_bytes);
                let kib = u32::try_from(most.div_ceil(1 << 10)).unwrap_or(u32::MAX);
                permit = Some(self.allowance.try_acquire_many(kib).map_err(|_| ApiError::overloaded())?);
            }
            bytes.extend_from_slice(&data);
            next = next_data(body).await?;
        }
        Ok((Body::new(bytes.freeze(), media), permit))
    }
}

/// The next piece that is not empty; `None` at the end.
async fn next_data(body: &mut HttpBody) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| ApiError::new(ErrorCode::MalformedJson, "the body could not be read to its end"))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads what is left of a body and throws it away, within limits; beyond them the connection is closed.
pub(crate) async fn drain(mut body: HttpBody, deadline: tokio::time::Instant, response: Response) -> Response {
    if body.size_hint().lower() > MAX_DRAIN_BYTES {
        return and_close(response);
    }
    let drained = tokio::time::timeout_at(deadline, async {
        let mut seen = 0_u64;
        while let Ok(Some(data)) = next_data(&mut body).await {
            seen += data.len() as u64;
            if seen > MAX_DRAIN_BYTES {
                return false;
            }
        }
        true
    });
    if drained.await == Ok(true) { response } else { and_close(response) }
}

fn and_close(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
