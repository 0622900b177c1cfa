//! `[telemetry]`: logs, traces and metrics.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::SecretText;

/// Logs, traces and metrics.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, as directives `target=level`, such as `info,sqlx=warn`.
    pub log_filter: String,
    /// How it is written to standard error.
    pub log_format: LogFormat,
    /// Where traces are sent by OTLP over HTTP, such as `http://localhost:4318`. No traces without it.
    pub otlp_endpoint: Option<String>,
    /// How many in a hundred traces that begin here are sent; those begun by a client follow its choice.
    pub otlp_sample_percent: u8,
    /// The name of this service in traces.
    pub service_name: String,
    /// The bearer token that `/metrics` asks for. Open without it.
    #[serde(skip_serializing)]
    pub metrics_token: Option<SecretText>,
    /// A file with that token, in place of `metrics_token`.
    pub metrics_token_file: Option<PathBuf>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_filter: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_sample_percent: 100,
            service_name: "iron-control-plane".to_owned(),
            metrics_token: None,
            metrics_token_file: None,
        }
    }
}

impl TelemetryConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log_filter) {
            problems.add("telemetry.log_filter", error);
        }
        if self.otlp_endpoint.as_ref().is_some_and(|url| !url.starts_with("http://")) {
            let why = "must begin with http:// (send to a collector nearby; it forwards over https)";
            problems.add("telemetry.otlp_endpoint", why);
        }
        problems.range("telemetry.otlp_sample_percent", self.otlp_sample_percent, 0, 100);
        problems.one_of("telemetry.metrics_token", self.metrics_token.is_some(), self.metrics_token_file.is_some());
    }
}
