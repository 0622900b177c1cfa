//! Logs and traces of this process. Metrics are made where the surface is put together.

mod otlp;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::telemetry::{LogFormat, TelemetryConfig};

pub use otlp::join_trace;

/// What was set up, to be shut down in the end.
#[must_use = "spans that wait to be sent are lost unless it is shut down"]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("telemetry.log_filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Traces cannot be sent.
    #[error("traces cannot be sent to {endpoint}")]
    Otlp {
        /// Where to.
        endpoint: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else in this process writes logs already.
    #[error("logs are set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logs (to standard error) and traces for the whole process. Must be called within the async runtime.
///
/// # Errors
/// If something in the configuration cannot be used, or if called twice.
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let writer = std::io::stderr;
    let logs = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(writer).boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
    };
    let provider = otlp::provider(config)?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("control-plane")).with_filter(otlp::only_ours())
    });
    tracing_subscriber::registry().with(traces).with(logs.with_filter(filter)).try_init()?;
    log_panics();
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Whether traces are sent.
    pub const fn traces(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what waits to be sent. Must be called while the async runtime still runs.
    pub async fn shutdown(self) {
        let Some(provider) = self.0 else { return };
        // Waits for the thread that sends, which needs the runtime: not on one of the runtime's own threads
        let ended = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Panics become a log line like any other, so that one format reaches whoever reads them.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace =
            (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(location, backtrace, "panicked: {message}");
    }));
}
