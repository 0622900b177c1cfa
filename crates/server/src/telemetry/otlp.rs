//! Traces, sent by OTLP over HTTP with binary Protobuf bodies.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterFn, filter_fn};

use super::TelemetryError;
use crate::config::telemetry::TelemetryConfig;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes what sends traces, if they are to be sent.
pub(super) fn provider(config: &TelemetryConfig) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let failed = |source| TelemetryError::Otlp { endpoint: endpoint.clone(), source };
    // Not a client of reqwest's own making: whether that has TLS, and with which cryptography, depends on what else is
    // built with it
    let client = control_client::http_client(TIMEOUT).map_err(|error| failed(error.into()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime { client, runtime: Handle::current() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_url(endpoint))
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| failed(error.into()))?;
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let share = Sampler::TraceIdRatioBased(f64::from(config.otlp_sample_percent) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}

/// The endpoint is the collector's; traces have a path of their own there (OTLP specification, "OTLP/HTTP Request").
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// Spans of this program. Those of the libraries that send them would beget further spans.
pub(super) fn only_ours() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| {
        let ours = ["http_api", "server", "persistence"];
        let crate_name = metadata.target().split("::").next().unwrap_or("");
        *metadata.level() <= tracing::Level::INFO && (ours.contains(&crate_name) || metadata.target() == "http")
    })
}

/// Makes a request's span part of the trace that its client began (W3C Trace Context).
pub fn join_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        // A span that is not recorded has no context to join
        let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
    }
}

/// Sends on the async runtime what a thread outside it asks to be sent.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for OnRuntime {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let mut request = reqwest::Request::try_from(request)?;
            *request.timeout_mut() = Some(TIMEOUT);
            let response = client.execute(request).await?;
            let mut answer = Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                *headers = response.headers().clone();
            }
            Ok::<_, HttpError>(answer.body(response.bytes().await?)?)
        });
        Box::pin(async move { sending.await? })
    }
}

#[cfg(test)]
mod tests {
    use super::traces_url;

    #[test]
    fn the_endpoint_is_the_collectors_with_or_without_the_path_of_traces() {
        for endpoint in ["http://localhost:4318", "http://localhost:4318/", "http://localhost:4318/v1/traces"] {
            assert_eq!(traces_url(endpoint), "http://localhost:4318/v1/traces");
        }
    }
}
