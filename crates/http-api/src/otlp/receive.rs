//! POST `/api/v1/traces` (`/v1/traces`): spans of agents.

use std::borrow::Cow;
use std::io::Read;

use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use kernel::ErrorCode;
use prost::Message;

use super::span;
use super::wire::{ExportRequest, ExportResponse, PartialSuccess};
use crate::bearer::bearer;
use crate::body::{MAX_EVENT_BATCH_BYTES, is_protobuf};
use crate::events::{Intake, Told};
use crate::{ApiError, ApiState, Body, RequestContext};

/// How many requests are booked in one transaction at most, so that an agent with much to say does not hold up others.
const CHUNK: usize = 1_000;

/// How many reasons for rejected spans are told.
const REASONS: usize = 3;

/// Receives OpenTelemetry spans
///
/// OTLP/HTTP, protobuf or JSON, as it is or compressed with gzip, at most 8 MiB before and after; also as `/v1/traces`, so
/// that `OTEL_EXPORTER_OTLP_ENDPOINT` is the address of the server and `OTEL_EXPORTER_OTLP_HEADERS` holds
/// `Authorization=Bearer <IC token>`.
///
/// Spans that follow the semantic conventions for generative AI become events: `gen_ai.provider.name` or `gen_ai.system`,
/// `gen_ai.response.model` or `gen_ai.request.model`, `gen_ai.usage.*`, the span's status and times. Cost is read from
/// `iron.cost_nanos`, `iron.cost_micros`, or `gen_ai.usage.cost` in US dollars; `iron.lease_id` and `iron.request_id` name
/// the lease and the report of the same call. A span's ids make its event's id, so exports may be repeated. All other spans
/// are ignored, and prompts, completions and other contents are never stored.
///
/// Never 429. Failures are answered in protobuf (`google.rpc.Status`) where the request is in protobuf.
#[utoipa::path(
    post,
    path = "/api/v1/traces",
    tag = "events",
    request_body(content(
        (Object = "application/json"),
        (Vec<u8> = "application/x-protobuf"),
    ), description = "`ExportTraceServiceRequest`"),
    responses(
        (status = 200, description = "`ExportTraceServiceResponse`, in the encoding of the request; `partialSuccess` tells \
            how many spans were LLM requests that will not do", body = Object),
        (status = 400, description = "It cannot be read"),
        (status = 401, description = "`AUTH_MISSING_TOKEN`, `INVALID_IC_TOKEN`"),
        (status = 503, description = "`OVERLOADED`: send it again after `Retry-After` seconds"),
    ),
)]
pub(crate) async fn receive_spans(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let token = bearer(&headers).ok_or(ErrorCode::AuthMissingToken)?;
    let mut intake = Intake::new(&api);
    let sender = intake.sender(Cow::Borrowed(token))?;
    intake.require(sender).await?;
    let encoding = Encoding::of(&headers);
    let request = encoding.read(&plain(&headers, body.bytes())?)?;
    let now = api.clock.now();
    let mut rejected = Rejected::default();
    let mut chunk = 0;
    let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    for span in spans {
        match span::event(span, now) {
            Ok(None) => {}
            Ok(Some(event)) => {
                intake.add(sender, event);
                chunk += 1;
            }
            Err(why) => rejected.add(&why),
        }
        if chunk == CHUNK {
            rejected.told(intake.book(&context).await?);
            chunk = 0;
        }
    }
    rejected.told(intake.book(&context).await?);
    encoding.answer(&ExportResponse { partial_success: rejected.finish() })
}

/// How messages are written.
#[derive(Clone, Copy)]
enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Self {
        if is_protobuf(headers) { Self::Protobuf } else { Self::Json }
    }

    fn read(self, bytes: &[u8]) -> Result<ExportRequest, ApiError> {
        match self {
            Self::Json if bytes.is_empty() => Ok(ExportRequest::default()),
            Self::Json => serde_json::from_slice(bytes).map_err(|error| {
                let place = format!("the body is no OTLP request: line {}, column {}", error.line(), error.column());
                let code = if error.is_data() { ErrorCode::ValidationError } else { ErrorCode::MalformedJson };
                ApiError::new(code, place)
            }),
            Self::Protobuf => ExportRequest::decode(bytes)
                .map_err(|_| ApiError::new(ErrorCode::ValidationError, "the body is no OTLP request in protobuf")),
        }
    }

    fn answer(self, response: &ExportResponse) -> Result<Response, ApiError> {
        let (media, bytes) = match self {
            Self::Json => ("application/json", serde_json::to_vec(response).map_err(ApiError::internal)?),
            Self::Protobuf => ("application/x-protobuf", response.encode_to_vec()),
        };
        Ok(([(CONTENT_TYPE, HeaderValue::from_static(media))], bytes).into_response())
    }
}

/// The body without its compression. What it grows to is bounded like what it is.
fn plain(headers: &HeaderMap, bytes: &Bytes) -> Result<Bytes, ApiError> {
    let is_gzip = headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if !is_gzip || bytes.is_empty() {
        return Ok(bytes.clone());
    }
    let limit = MAX_EVENT_BATCH_BYTES as u64 + 1;
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes.as_ref())
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(|_| ApiError::new(ErrorCode::ValidationError, "the body is not compressed with gzip"))?;
    if plain.len() > MAX_EVENT_BATCH_BYTES {
        return Err(ErrorCode::PayloadTooLarge.into());
    }
    Ok(plain.into())
}

/// Spans that were LLM requests and will not do.
#[derive(Default)]
struct Rejected {
    count: i64,
    reasons: Vec<String>,
}

impl Rejected {
    fn add(&mut self, why: &str) {
        self.count += 1;
        if self.reasons.len() < REASONS && self.reasons.iter().all(|known| known != why) {
            self.reasons.push(why.to_owned());
        }
    }

    fn told(&mut self, told: Vec<Told>) {
        for refusal in told.into_iter().filter_map(Result::err) {
            self.add(&refusal.text);
        }
    }

    fn finish(self) -> Option<PartialSuccess> {
        (self.count > 0).then(|| PartialSuccess { rejected_spans: self.count, error_message: self.reasons.join("; ") })
    }
}
