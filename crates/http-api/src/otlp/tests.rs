//! Spans as exporters send them.

use std::io::Write;

use axum::body::Body as HttpBody;
use axum::http::{Method, Request};
use flate2::Compression;
use flate2::write::GzEncoder;
use kernel::Clock as _;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value, json};

use super::wire::{ExportRequest, RpcStatus};
use crate::agents::tests::world::World;
use crate::testing::Reply;

const PROTOBUF: &str = "application/x-protobuf";

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_owned()))
}

fn chat(w: &World, number: u8) -> Span {
    let end = u64::try_from(w.t.clock.now().millis()).expect("after 1970") * 1_000_000;
    Span {
        trace_id: vec![7; 16],
        span_id: vec![number; 8],
        name: "chat gpt-4o".to_owned(),
        start_time_unix_nano: end - 1_500_000_000,
        end_time_unix_nano: end,
        attributes: vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "openai"),
            text("gen_ai.request.model", "gpt-4o"),
            attribute("gen_ai.usage.input_tokens", Any::IntValue(100)),
            attribute("gen_ai.usage.output_tokens", Any::IntValue(20)),
            attribute("gen_ai.usage.cost", Any::DoubleValue(0.000_7)),
            text("gen_ai.prompt", "canary: what was asked"),
        ],
        events: vec![Event { name: "canary: what was said".to_owned(), ..Event::default() }],
        ..Span::default()
    }
}

fn export(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", "bot")], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

impl World {
    async fn export(&self, token: Option<&str>, media: &str, encoding: Option<&str>, body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(Method::POST).uri("/v1/traces").header("content-type", media);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        self.t.send(request.body(HttpBody::from(body)).expect("a request")).await
    }

    /// Exports in protobuf and gives back what was not taken.
    async fn spans(&self, token: &str, spans: Vec<Span>) -> (i64, String) {
        let reply = self.export(Some(token), PROTOBUF, None, export(spans).encode_to_vec()).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(PROTOBUF)), "{}", reply.text());
        let answer = ExportTraceServiceResponse::decode(reply.bytes.as_slice()).expect("an answer");
        answer.partial_success.map_or((0, String::new()), |partial| (partial.rejected_spans, partial.error_message))
    }

    async fn charged(&self, agent: i64) -> i64 {
        let budget = self.t.get(&self.root, &format!("/api/v1/agents/{agent}/budget")).await.expect(200);
        budget["spent"].as_i64().expect("a figure")
    }
}

#[tokio::test]
async fn the_official_messages_are_understood_without_their_contents() {
    let w = World::new().await;
    let mut span = chat(&w, 1);
    let list = ArrayValue { values: vec![AnyValue { value: Some(Any::StringValue("canary".to_owned())) }] };
    span.attributes.push(attribute("gen_ai.input.messages", Any::ArrayValue(list)));
    span.status = Some(Status { message: "no".to_owned(), code: 2 });
    let read = ExportRequest::decode(export(vec![span.clone()]).encode_to_vec().as_slice()).expect("understood");
    let found = &read.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((&found.trace_id, &found.span_id), (&span.trace_id, &span.span_id));
    assert_eq!(found.start_time_unix_nano, span.start_time_unix_nano);
    assert_eq!(found.end_time_unix_nano, span.end_time_unix_nano);
    assert_eq!(found.status.as_ref().map(|s| (s.code, s.message.as_str())), Some((2, "no")));
    let value = |key: &str| found.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
    assert_eq!(value("gen_ai.usage.input_tokens").and_then(|v| v.int), Some(100));
    assert_eq!(value("gen_ai.usage.cost").and_then(|v| v.double), Some(0.000_7));
    assert_eq!(value("gen_ai.provider.name").and_then(|v| v.text).as_deref(), Some("openai"));
    assert!(!format!("{:?}", value("gen_ai.input.messages")).contains("canary"));
    assert!(!format!("{read:?}").contains("what was said"), "events of spans are not even read");
}

#[tokio::test]
async fn a_span_is_booked_once_however_often_it_is_exported() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let other = Span { attributes: vec![text("http.request.method", "GET")], ..chat(&w, 9) };
    for _ in 0..3 {
        assert_eq!(w.spans(&token, vec![chat(&w, 1), other.clone(), chat(&w, 2)]).await, (0, String::new()));
    }
    assert_eq!(w.charged(agent).await, 1_400);
}

#[tokio::test]
async fn spans_that_will_not_do_are_counted_and_do_not_spoil_their_neighbours() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let mut bad = chat(&w, 2);
    bad.attributes.push(attribute("gen_ai.usage.input_tokens", Any::IntValue(-1)));
    let nameless = Span { span_id: Vec::new(), ..chat(&w, 3) };
    let (count, why) = w.spans(&token, vec![bad, chat(&w, 1), nameless]).await;
    assert_eq!(count, 2);
    assert!(why.contains("gen_ai.usage.input_tokens") && why.contains("span id"), "{why}");
    assert_eq!(w.charged(agent).await, 700);
}

fn json_export(span: &Value) -> Value {
    json!({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "x"}, "spans": [span]}]}]})
}

#[tokio::test]
async fn json_is_taken_and_answered() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let end = (w.t.clock.now().millis() * 1_000_000).to_string();
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "parentSpanId": "", "kind": 3,
        "startTimeUnixNano": end, "endTimeUnixNano": end, "status": {},
        "events": [{"name": "canary", "attributes": [{"key": "x", "value": {"arrayValue": {}}}]}],
        "attributes": [
            {"key": "gen_ai.system", "value": {"stringValue": "openai"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "10"}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 5}},
            {"key": "gen_ai.prompt", "value": {"kvlistValue": {"values": [{"key": "a"}]}}},
            {"key": "iron.cost_micros", "value": {"intValue": "700"}},
            {"key": "nothing"},
        ],
    });
    let body = json_export(&span).to_string().into_bytes();
    let reply = w.export(Some(&token), "application/json", None, body).await;
    assert_eq!((reply.expect(200), reply.header("content-type")), (json!({}), Some("application/json")));
    assert_eq!(w.charged(agent).await, 700);
    let mut bad = span;
    bad["spanId"] = json!("");
    let body = json_export(&bad).to_string().into_bytes();
    let answer = w.export(Some(&token), "application/json", None, body).await.expect(200);
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
}

#[tokio::test]
async fn nothing_of_a_span_but_its_figures_is_stored() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    w.spans(&token, vec![chat(&w, 1)]).await;
    let traces = w.t.get(&w.root, "/api/v1/traces").await.expect(200);
    assert_eq!(traces["data"][0]["input_tokens"], 100);
    assert!(!traces.to_string().contains("canary"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn gzip_is_taken_up_to_the_size_it_grows_to() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let body = gzip(&export(vec![chat(&w, 1)]).encode_to_vec());
    assert_eq!(w.export(Some(&token), PROTOBUF, Some("gzip"), body.clone()).await.status, 200);
    assert_eq!(w.charged(agent).await, 700);
    let bomb = gzip(&vec![b' '; 100 << 20]);
    assert!(bomb.len() < 1 << 20);
    w.export(Some(&token), "application/json", Some("gzip"), bomb).await.refused(413, "PAYLOAD_TOO_LARGE");
    w.export(Some(&token), "application/json", Some("gzip"), b"{}".to_vec()).await.refused(400, "VALIDATION_ERROR");
    w.export(Some(&token), "application/json", Some("br"), body).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn failures_are_answered_in_the_encoding_of_the_request() {
    let w = World::new().await;
    let (agent, token) = w.spender(&w.ada).await;
    let body = || export(vec![chat(&w, 1)]).encode_to_vec();
    let failed = |reply: Reply| {
        assert_eq!(reply.header("content-type"), Some(PROTOBUF));
        (reply.status, RpcStatus::decode(reply.bytes.as_slice()).expect("a status").code)
    };
    assert_eq!(failed(w.export(None, PROTOBUF, None, body()).await), (401, 16));
    assert_eq!(failed(w.export(Some("nonsense"), PROTOBUF, None, body()).await), (401, 16));
    assert_eq!(failed(w.export(Some(&token), PROTOBUF, None, vec![0xff; 9]).await), (400, 3));
    assert_eq!(failed(w.export(Some(&token), PROTOBUF, None, vec![0; (8 << 20) + 1]).await), (413, 3));
    let json = |bytes: &[u8]| w.export(Some(&token), "application/json", None, bytes.to_vec());
    json(b"{").await.refused(400, "MALFORMED_JSON");
    json(b"{\"resourceSpans\": 7}").await.refused(400, "VALIDATION_ERROR");
    json(b"").await.expect(200);
    w.export(None, "application/json", None, b"{}".to_vec()).await.refused(401, "AUTH_MISSING_TOKEN");
    w.export(Some(&w.root.token), "application/json", None, b"{}".to_vec()).await.refused(401, "INVALID_IC_TOKEN");
    w.export(Some(&token), "text/plain", None, b"{}".to_vec()).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    w.ic_token(agent).await;
    assert_eq!(failed(w.export(Some(&token), PROTOBUF, None, Vec::new()).await), (401, 16), "replaced");
}
