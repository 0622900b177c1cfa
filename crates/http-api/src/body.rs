//! Request bodies.
//!
//! A body is handled in two steps, because the order of checks puts the caller between them: [`crate::guard`] checks its
//! media type and size and reads it into memory before any handler runs; the handler reads the JSON when it knows who
//! asks:
//!
//! ```ignore
//! async fn create(State(api): State<ApiState>, admin: Admin, body: Body) -> Result<impl IntoResponse, ApiError> {
//!     let request: CreateAgent = body.read()?;
//! ```

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use kernel::ErrorCode;
use kernel::validate::{self, FromFields};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The most bytes of an ordinary body, 2 MiB.
pub const MAX_BODY_BYTES: usize = 2 << 20;
/// The most bytes of a batch of events, 8 MiB.
pub const MAX_EVENT_BATCH_BYTES: usize = 8 << 20;

/// Routes that take more than an ordinary body.
const SPECIAL: &[(&str, BodyRules)] = &[
    ("/api/v1/analytics/events/batch", BodyRules { max_bytes: MAX_EVENT_BATCH_BYTES, also: Also::NdJson }),
    ("/api/v1/traces", BodyRules { max_bytes: MAX_EVENT_BATCH_BYTES, also: Also::Otlp }),
];

/// What a route takes as a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyRules {
    pub(crate) max_bytes: usize,
    also: Also,
}

/// What is taken beside plain `application/json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Also {
    Nothing,
    /// `application/x-ndjson`.
    NdJson,
    /// `application/x-protobuf`; either compressed with gzip.
    Otlp,
}

impl BodyRules {
    /// The rules of a route, by its pattern.
    pub(crate) fn of(route: &str) -> Self {
        let special = SPECIAL.iter().find(|(pattern, _)| *pattern == route).map(|(_, rules)| *rules);
        special.unwrap_or(Self { max_bytes: MAX_BODY_BYTES, also: Also::Nothing })
    }

    /// The media type of a body that is not empty, if the route takes it.
    pub(crate) fn media(self, headers: &HeaderMap) -> Result<Media, ApiError> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes)
            && !encoding.eq_ignore_ascii_case(b"identity")
            && !(self.also == Also::Otlp && encoding.eq_ignore_ascii_case(b"gzip"))
        {
            return Err(ApiError::new(
                ErrorCode::UnsupportedMediaType,
                "bodies compressed like this are not supported",
            ));
        }
        let text = match self.also {
            _ if is_media(headers, "application/json") => return Ok(Media::Json),
            Also::NdJson if is_media(headers, "application/x-ndjson") => return Ok(Media::NdJson),
            Also::Otlp if is_protobuf(headers) => return Ok(Media::Protobuf),
            Also::NdJson => "the body must be application/json or application/x-ndjson",
            Also::Otlp => "the body must be application/x-protobuf or application/json",
            Also::Nothing => return Err(ErrorCode::UnsupportedMediaType.into()),
        };
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, text))
    }
}

/// Whether the body is protobuf.
pub(crate) fn is_protobuf(headers: &HeaderMap) -> bool {
    is_media(headers, "application/x-protobuf")
}

fn is_media(headers: &HeaderMap, media: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
    value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(media)
}

/// The media type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Media {
    /// `application/json`, or no body at all.
    #[default]
    Json,
    /// `application/x-ndjson`: one JSON value a line.
    NdJson,
    /// `application/x-protobuf`, perhaps compressed.
    Protobuf,
}

/// The body of a request, in memory but not yet read as JSON. An extractor that never fails; empty where none was sent.
#[derive(Clone, Debug, Default)]
pub struct Body {
    bytes: Bytes,
    media: Media,
}

impl Body {
    pub(crate) const fn new(bytes: Bytes, media: Media) -> Self {
        Self { bytes, media }
    }

    /// Reads the request: 400 `MALFORMED_JSON`, or 400 `VALIDATION_ERROR` with every field that fails. An empty body is
    /// read as `{}`.
    pub fn read<T: FromFields>(&self) -> Result<T, ApiError> {
        Ok(validate::read(&self.value()?)?)
    }

    /// The body as JSON of any shape; `{}` if it is empty.
    pub fn value(&self) -> Result<Value, ApiError> {
        if self.bytes.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        parse(&self.bytes)
    }

    /// The bytes as they came.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The media type.
    pub const fn media(&self) -> Media {
        self.media
    }

    /// Whether no body was sent.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Parses JSON from outside; nesting deeper than 128 levels is refused, so that no input exhausts the stack.
pub fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser's own text may repeat a part of the body, which may be a secret: only the place is told
        let place = format!("the body is not valid JSON: line {}, column {}", error.line(), error.column());
        ApiError::new(ErrorCode::MalformedJson, place)
    })
}

impl<S: Sync> FromRequestParts<S> for Body {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.remove::<Self>().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use bytes::Bytes;
    use kernel::validate::{Fields, FromFields};
    use kernel::{ErrorCode, Money};

    use super::{Body, BodyRules, MAX_BODY_BYTES, MAX_EVENT_BATCH_BYTES, Media};

    #[derive(Debug)]
    struct Sample {
        cost: Option<Money>,
    }

    impl FromFields for Sample {
        fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
            let cost = f.optional_micros("cost", 0, Money::MAX_CALL);
            Some(Self { cost })
        }
    }

    fn body(text: &str) -> Body {
        Body::new(Bytes::copy_from_slice(text.as_bytes()), Media::Json)
    }

    fn code(text: &str) -> ErrorCode {
        body(text).read::<Sample>().expect_err(text).code()
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(Body::default().read::<Sample>().expect("valid").cost, None);
    }

    #[test]
    fn wrong_syntax_and_wrong_shape_are_told_apart() {
        for bad in ["{", "{\"cost\":}", "nul", "{\"cost\":1}x", "\u{feff}{}", "{\"cost\":1e999}"] {
            assert_eq!(code(bad), ErrorCode::MalformedJson, "{bad}");
        }
        for bad in ["[]", "1", "null", "\"x\"", "{\"cost\":1.0}", "{\"cost\":-1}", "{\"cost\":99999999999999999999}"] {
            assert_eq!(code(bad), ErrorCode::ValidationError, "{bad}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_exhausting_the_stack() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(code(&deep), ErrorCode::MalformedJson);
    }

    #[test]
    fn a_parse_error_does_not_repeat_the_body() {
        let error = body("{\"password\": hunter2}").read::<Sample>().expect_err("malformed");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn only_batches_of_events_may_be_large_or_ndjson() {
        let ndjson = HeaderMap::from_iter([(
            "content-type".parse().expect("ok"),
            HeaderValue::from_static("application/x-ndjson"),
        )]);
        let batch = BodyRules::of("/api/v1/analytics/events/batch");
        assert_eq!((batch.max_bytes, batch.media(&ndjson).expect("taken")), (MAX_EVENT_BATCH_BYTES, Media::NdJson));
        let ordinary = BodyRules::of("/api/v1/agents");
        assert_eq!(ordinary.max_bytes, MAX_BODY_BYTES);
        assert_eq!(ordinary.media(&ndjson).expect_err("refused").code(), ErrorCode::UnsupportedMediaType);
    }

    #[test]
    fn json_is_taken_with_parameters_and_in_any_case() {
        let media = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([("content-type".parse().expect("ok"), HeaderValue::from_static(value))]);
            BodyRules::of("/x").media(&headers).is_ok()
        };
        assert!(media("application/json") && media("Application/JSON; charset=utf-8"));
        assert!(!media("text/plain") && !media("application/jsonp") && !media(""));
        assert!(BodyRules::of("/x").media(&HeaderMap::new()).is_err());
    }
}
