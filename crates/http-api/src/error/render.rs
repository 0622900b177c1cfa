//! What a client sees of an error.

use axum::body::Body;
use axum::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{StatusCode, response};
use axum::response::Response;
use kernel::ErrorCode;
use prost::Message;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use super::{Inner, text};
use crate::otlp::wire::RpcStatus;

/// The keys that every error may have, closed to [`super::ApiError::with`].
pub(super) const RESERVED: [&str; 6] = ["error", "code", "message", "details", "fields", "request_id"];

/// Which of its two forms an error body takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `error` is the text.
    Text,
    /// `error` is an object, as everywhere under `/api/v1/auth/`.
    Object,
    /// `google.rpc.Status` in protobuf, as OTLP has it, for those who have sent protobuf.
    Protobuf,
}

/// The body of every answer that is not a success. Below `/api/v1/auth/` the key `error` is an object
/// `{code, message, details?, fields?}` instead of a text. Some codes add named keys.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; the body itself is written key by key")]
pub struct ErrorBody {
    /// Readable text, the same as `message`.
    error: String,
    /// A code of the closed list, such as `VALIDATION_ERROR`. Codes never change.
    #[schema(example = "VALIDATION_ERROR")]
    code: String,
    /// Readable text; may change from release to release.
    message: String,
    /// Present only where a code has something to add.
    details: Option<std::collections::HashMap<String, Value>>,
    /// What is wrong with which field, by path (`a.b`, `list[2].x`); present only with field errors.
    fields: Option<std::collections::HashMap<String, String>>,
    /// The id of the request, as in the header `x-request-id`; finds it in the log.
    #[schema(example = "req_6f1c2a34-9d0e-4c57-8a8b-1f7d1f0f6c11")]
    request_id: String,
}

struct Written<'a> {
    inner: &'a Inner,
    request_id: &'a str,
    form: Form,
}

struct Nested<'a>(&'a Inner);

fn common<M: SerializeMap>(inner: &Inner, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("code", inner.code.as_str())?;
    map.serialize_entry("message", &inner.text)?;
    if let Some(details) = inner.details.as_ref().filter(|_| !inner.status.is_server_error()) {
        map.serialize_entry("details", details)?;
    }
    if let Some(fields) = inner.fields.as_ref().filter(|fields| !fields.is_empty()) {
        map.serialize_entry("fields", &fields.iter().collect::<std::collections::BTreeMap<_, _>>())?;
    }
    Ok(())
}

impl Serialize for Nested<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        common(self.0, &mut map)?;
        map.end()
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.form {
            Form::Text | Form::Protobuf => map.serialize_entry("error", &self.inner.text)?,
            Form::Object => map.serialize_entry("error", &Nested(self.inner))?,
        }
        common(self.inner, &mut map)?;
        if !self.inner.status.is_server_error() {
            for (key, value) in &self.inner.extra {
                map.serialize_entry(key, value)?;
            }
        }
        map.serialize_entry("request_id", self.request_id)?;
        map.end()
    }
}

/// Writes the body and the headers of an error into a response whose other headers (`Allow`, say) are kept.
pub(crate) fn render_error(mut parts: response::Parts, inner: &Inner, request_id: &str, form: Form) -> Response {
    parts.status = inner.status;
    let headers = &mut parts.headers;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if inner.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(inner.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from(inner.retry_after_s.unwrap_or(1)));
    }
    rate_headers(inner, headers);
    if form == Form::Protobuf {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let status = RpcStatus::of(inner.status.as_u16(), &inner.text);
        return Response::from_parts(parts, Body::from(status.encode_to_vec()));
    }
    let written = Written { inner, request_id, form };
    // Writing strings and JSON values into memory does not fail; an empty object would still be JSON
    let body = serde_json::to_vec(&written).unwrap_or_else(|_| b"{}".to_vec());
    Response::from_parts(parts, Body::from(body))
}

fn rate_headers(inner: &Inner, headers: &mut HeaderMap) {
    let Some(rate) = inner.rate else { return };
    let reset_at_s = u64::try_from(rate.reset_at.plus_millis(999).secs()).unwrap_or(0);
    let mut set = |name, value: u64| headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    set("ratelimit-limit", rate.limit.into());
    set("ratelimit-remaining", 0);
    set("ratelimit-reset", rate.retry_after_s);
    set("x-ratelimit-limit", rate.limit.into());
    set("x-ratelimit-remaining", 0);
    set("x-ratelimit-reset", reset_at_s);
}

/// Gives an error that some other layer produced (the router, an upgrade that was refused) the one shape.
pub(crate) fn render_foreign(parts: response::Parts, request_id: &str, form: Form) -> Response {
    let code = code_of(parts.status);
    let inner = Inner {
        code,
        // No route answers 422 or another status outside the contract
        status: StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        text: text::of(code).into(),
        details: None,
        fields: None,
        extra: Map::new(),
        retry_after_s: None,
        rate: None,
        cause: None,
    };
    render_error(parts, &inner, request_id, form)
}

fn code_of(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        401 => ErrorCode::AuthMissingToken,
        403 => ErrorCode::AccessDenied,
        404 => ErrorCode::RouteNotFound,
        405 => ErrorCode::MethodNotAllowed,
        410 => ErrorCode::EndpointDeprecated,
        413 => ErrorCode::PayloadTooLarge,
        415 => ErrorCode::UnsupportedMediaType,
        429 => ErrorCode::RateLimitExceeded,
        503 => ErrorCode::ServiceUnavailable,
        504 => ErrorCode::QueryTimeout,
        500.. => ErrorCode::InternalError,
        _ => ErrorCode::ValidationError,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use kernel::{ErrorCode, FieldErrors, Timestamp};
    use serde_json::{Value, json};

    use super::{Form, render_error, render_foreign};
    use crate::error::{ApiError, Carried, RateState};

    async fn rendered(error: ApiError, form: Form) -> (axum::http::response::Parts, Value) {
        let (parts, _) = error.into_response().into_parts();
        let carried = parts.extensions.get::<Carried>().cloned().expect("the error travels with the response");
        let (parts, body) = render_error(parts, &carried.0, "req_1", form).into_parts();
        let bytes = to_bytes(body, 100_000).await.expect("a body in memory");
        (parts, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn an_error_is_a_text_with_its_code_and_the_request_id() {
        let (parts, body) = rendered(ErrorCode::AgentNotFound.into(), Form::Text).await;
        assert_eq!(parts.status, 404);
        let expected = json!({"error": "agent not found", "code": "AGENT_NOT_FOUND", "message": "agent not found",
            "request_id": "req_1"});
        assert_eq!(body, expected, "details and fields are present only when they say something");
    }

    #[tokio::test]
    async fn below_auth_the_error_is_an_object_and_code_and_message_stay_on_top() {
        let mut fields = FieldErrors::one("email", "is required");
        fields.add("password", "is required");
        let (_, body) = rendered(fields.into(), Form::Object).await;
        assert_eq!(body["error"]["code"], "VALIDATION_ERROR");
        assert_eq!(body["error"]["fields"], json!({"email": "is required", "password": "is required"}));
        assert_eq!((&body["code"], &body["request_id"]), (&json!("VALIDATION_ERROR"), &json!("req_1")));
        assert_eq!(body["message"], body["error"]["message"]);
    }

    #[tokio::test]
    async fn a_5xx_says_nothing_of_its_cause() {
        let error = ApiError::new(ErrorCode::InternalError, "table users is gone")
            .details(json!({"table": "users"}))
            .with("table", "users")
            .cause("disk on fire");
        let (parts, body) = rendered(error, Form::Text).await;
        assert_eq!(parts.status, 500);
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(4));
        assert_eq!(body["message"], "an internal error occurred");
    }

    #[tokio::test]
    async fn a_429_says_when_to_come_back_in_headers_and_details() {
        let rate = RateState { limit: 10, window_s: 60, retry_after_s: 7, reset_at: Timestamp::from_millis(9_001) };
        let (parts, body) = rendered(ApiError::rate_limited(rate), Form::Text).await;
        let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        assert_eq!(header("retry-after").as_deref(), Some("7"));
        assert_eq!(header("ratelimit-limit").as_deref(), Some("10"));
        assert_eq!(header("ratelimit-remaining").as_deref(), Some("0"));
        assert_eq!(header("ratelimit-reset").as_deref(), Some("7"));
        assert_eq!(header("x-ratelimit-reset").as_deref(), Some("10"), "epoch seconds, rounded up");
        assert_eq!(body["details"], json!({"limit": 10, "window_seconds": 60, "retry_after": 7, "reset_at": 9_001}));
    }

    #[tokio::test]
    async fn a_401_names_the_scheme_and_a_503_the_time_to_retry() {
        let (parts, _) = rendered(ErrorCode::AuthMissingToken.into(), Form::Text).await;
        assert_eq!(parts.headers["www-authenticate"], "Bearer");
        let disabled = ApiError::from(ErrorCode::AuthAccountDisabled).status(axum::http::StatusCode::UNAUTHORIZED);
        assert_eq!(rendered(disabled, Form::Text).await.0.headers["www-authenticate"], "Bearer");
        let (parts, _) = rendered(ApiError::overloaded(), Form::Text).await;
        assert_eq!(parts.headers["retry-after"], "1");
    }

    #[tokio::test]
    async fn errors_of_other_layers_get_the_one_shape_and_keep_their_headers() {
        let response = (axum::http::StatusCode::METHOD_NOT_ALLOWED, [("allow", "GET,HEAD")], "no").into_response();
        let response = render_foreign(response.into_parts().0, "req_1", Form::Text);
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET,HEAD".parse().expect("ok")));
        assert_eq!(response.headers()["content-type"], "application/json");
        let response = axum::http::StatusCode::UNPROCESSABLE_ENTITY.into_response();
        assert_eq!(render_foreign(response.into_parts().0, "req_1", Form::Text).status(), 400);
    }

    #[test]
    fn every_code_has_a_text() {
        for code in ErrorCode::ALL {
            assert!(super::text::of(*code).len() > 8, "{code}");
        }
    }
}
