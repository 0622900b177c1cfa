//! The messages of OTLP, as far as they are read.
//!
//! Only the fields that count are declared. What is not declared (events, links and the contents they carry, lists and maps
//! of attributes) is skipped in both encodings, so no prompt is ever taken apart. Field numbers and names are those of
//! `opentelemetry-proto` 1.x, which are stable; a test compares them with the official messages.

use prost::Message;
use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

/// Spans of one resource.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) scope_spans: Vec<ScopeSpans>,
}

/// Spans of one instrumentation.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) spans: Vec<Span>,
}

/// One operation.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) span_id: Vec<u8>,
    #[prost(fixed64, tag = "7")]
    #[serde(deserialize_with = "number")]
    pub(crate) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    #[serde(deserialize_with = "number")]
    pub(crate) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "15")]
    pub(crate) status: Option<Status>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

/// The value of an attribute; a list or a map is no value here.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AnyValue {
    #[prost(string, optional, tag = "1")]
    #[serde(rename = "stringValue")]
    pub(crate) text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    #[serde(rename = "intValue", deserialize_with = "optional_number")]
    pub(crate) int: Option<i64>,
    #[prost(double, optional, tag = "4")]
    #[serde(rename = "doubleValue", deserialize_with = "optional_number")]
    pub(crate) double: Option<f64>,
}

/// How a span ended.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub(crate) message: String,
    /// 0 unset, 1 ok, 2 error.
    #[prost(int32, tag = "3")]
    #[serde(deserialize_with = "status_code")]
    pub(crate) code: i32,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// What of an export was not taken.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartialSuccess {
    // 64-bit numbers stand in JSON as text
    #[prost(int64, tag = "1")]
    #[serde(serialize_with = "as_text")]
    pub(crate) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

/// `google.rpc.Status`, the body of a failure that is answered in protobuf.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

impl RpcStatus {
    /// The failure of an HTTP status.
    pub(crate) fn of(status: u16, message: &str) -> Self {
        let code = match status {
            400 | 413 | 415 => 3, // INVALID_ARGUMENT
            401 => 16,            // UNAUTHENTICATED
            403 => 7,             // PERMISSION_DENIED
            404 | 405 => 12,      // UNIMPLEMENTED
            429 => 8,             // RESOURCE_EXHAUSTED
            503 => 14,            // UNAVAILABLE
            504 => 4,             // DEADLINE_EXCEEDED
            _ => 13,              // INTERNAL
        };
        Self { code, message: message.to_owned() }
    }
}

/// `null` is the default, as JSON of protobuf has it.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A number, or a number in a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

/// What a [`Number`] can be read as.
trait FromNumber: Sized {
    fn from_number(number: Number) -> Option<Self>;
}

impl FromNumber for u64 {
    fn from_number(number: Number) -> Option<Self> {
        match number {
            Number::Unsigned(n) => Some(n),
            Number::Text(text) => text.parse().ok(),
            Number::Signed(_) | Number::Float(_) => None,
        }
    }
}

impl FromNumber for i64 {
    fn from_number(number: Number) -> Option<Self> {
        match number {
            Number::Unsigned(n) => n.try_into().ok(),
            Number::Signed(n) => Some(n),
            Number::Text(text) => text.parse().ok(),
            Number::Float(_) => None,
        }
    }
}

impl FromNumber for f64 {
    fn from_number(number: Number) -> Option<Self> {
        match number {
            Number::Unsigned(n) => n.to_string().parse().ok(),
            Number::Signed(n) => n.to_string().parse().ok(),
            Number::Float(n) => Some(n),
            Number::Text(text) => text.parse().ok(),
        }
    }
}

fn optional_number<'de, D: Deserializer<'de>, T: FromNumber>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    // What stands there is not repeated: it may be a part of a prompt that went astray
    T::from_number(number).map(Some).ok_or_else(|| D::Error::custom("a number is no number of its kind"))
}

fn number<'de, D: Deserializer<'de>, T: FromNumber + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(optional_number(deserializer)?.unwrap_or_default())
}

fn hex_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    hex::decode(text).map_err(|_| D::Error::invalid_value(Unexpected::Other("an id"), &"hexadecimal digits"))
}

/// The code of a status: a number by the specification, a name by some writers.
fn status_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code {
        Number(i32),
        Name(String),
    }
    Ok(match Option::<Code>::deserialize(deserializer)? {
        Some(Code::Number(code)) => code,
        Some(Code::Name(name)) if name == "STATUS_CODE_ERROR" => 2,
        Some(Code::Name(name)) if name == "STATUS_CODE_OK" => 1,
        Some(Code::Name(_)) | None => 0,
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_text<S: serde::Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
