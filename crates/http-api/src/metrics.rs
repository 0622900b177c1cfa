//! What is measured, and its exposition for Prometheus.
//!
//! Names are `<subject>_<what>_<unit>`, durations in seconds. The registry belongs to whoever builds the server; nothing
//! here is global, so that several servers live in one process. Labels have few values: routes are patterns, never paths.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// All metrics of one server.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Requests.
    pub http: HttpMetrics,
    /// The write pipeline; set by whoever runs it.
    pub pipeline: PipelineMetrics,
    /// The live stream; set before each exposition.
    pub stream: StreamMetrics,
    /// Leases and money at risk; set before each exposition or by a job.
    pub money: MoneyMetrics,
}

/// Requests as they are answered.
#[derive(Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    /// Requests being answered now.
    pub in_flight: IntGauge,
    /// Handlers that panicked.
    pub panics: IntCounter,
}

/// The write pipeline.
#[derive(Clone)]
pub struct PipelineMetrics {
    /// Commands waiting.
    pub queue_depth: IntGauge,
    /// Commands per commit.
    pub batch_size: Histogram,
    /// Seconds from taking a batch to its commit.
    pub commit_seconds: Histogram,
    /// Commands refused because the queue was full.
    pub refused: IntCounter,
    /// Batches that failed as a whole.
    pub failed_batches: IntCounter,
}

/// The live stream.
#[derive(Clone)]
pub struct StreamMetrics {
    /// Connections that are open.
    pub connections: IntGauge,
    /// Subscriptions that are open.
    pub subscriptions: IntGauge,
    /// Event frames handed to connections.
    pub delivered: IntCounter,
    /// Events read from the outbox for all of them.
    pub published: IntCounter,
    /// Connections that were ended by the server, by `reason`.
    pub cut: IntCounterVec,
}

/// Leases and money at risk.
#[derive(Clone)]
pub struct MoneyMetrics {
    /// Leases by `state`.
    pub leases: IntGaugeVec,
    /// Micro-dollars lent or in suspense, by `part` (`leased`, `suspense`).
    pub exposure_microdollars: IntGaugeVec,
}

impl Metrics {
    /// A fresh registry with everything in it.
    ///
    /// # Errors
    /// A name or a bucket list that Prometheus does not take, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let latency = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];
        let http = HttpMetrics {
            requests: make.counters("http_requests_total", "Requests answered", &["method", "route", "status"])?,
            duration: make.histograms("http_request_duration_seconds", "Time to the response's head", &latency)?,
            in_flight: make.gauge("http_requests_in_flight", "Requests being answered")?,
            panics: make.counter("http_handler_panics_total", "Handlers that panicked")?,
        };
        let pipeline = PipelineMetrics {
            queue_depth: make.gauge("pipeline_queue_depth", "Commands waiting to be written")?,
            batch_size: make.histogram("pipeline_batch_size", "Commands per commit", &sizes)?,
            commit_seconds: make.histogram("pipeline_commit_seconds", "Time to write and commit a batch", &latency)?,
            refused: make.counter("pipeline_refused_total", "Commands refused because the queue was full")?,
            failed_batches: make.counter("pipeline_failed_batches_total", "Batches that failed as a whole")?,
        };
        let money = MoneyMetrics {
            leases: make.gauges("leases", "Leases by state", &["state"])?,
            exposure_microdollars: make.gauges("exposure_microdollars", "Money lent or in suspense", &["part"])?,
        };
        let stream = StreamMetrics {
            connections: make.gauge("stream_connections", "Connections of the live stream")?,
            subscriptions: make.gauge("stream_subscriptions", "Subscriptions of the live stream")?,
            delivered: make.counter("stream_delivered_total", "Event frames handed to connections")?,
            published: make.counter("stream_published_total", "Events read from the outbox for the live stream")?,
            cut: make.counters("stream_cut_total", "Connections ended by the server", &["reason"])?,
        };
        Ok(Self { registry, http, pipeline, stream, money })
    }

    /// The registry, for metrics of other crates.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// A metric that cannot be written, which is a mistake in the program.
    pub fn exposition(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl HttpMetrics {
    /// Counts one answered request. `route` is a pattern, or `unmatched`.
    pub(crate) fn answered(&self, method: &'static str, route: &str, status: &str, seconds: f64) {
        self.requests.with_label_values(&[method, route, status]).inc();
        self.duration.with_label_values(&[method, route]).observe(seconds);
    }
}

struct Make<'r>(&'r Registry);

impl Make<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64]) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, &["method", "route"])?)
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn requests_are_exposed_by_route_method_and_status() {
        let metrics = Metrics::new().expect("a registry");
        metrics.http.answered("GET", "/api/v1/agents/{id}", "200", 0.002);
        metrics.money.leases.with_label_values(&["active"]).set(3);
        let text = String::from_utf8(metrics.exposition().expect("written")).expect("text");
        for line in [
            "http_requests_total{method=\"GET\",route=\"/api/v1/agents/{id}\",status=\"200\"} 1",
            "http_request_duration_seconds_bucket{method=\"GET\",route=\"/api/v1/agents/{id}\",le=\"0.0025\"} 1",
            "leases{state=\"active\"} 3",
            "pipeline_queue_depth 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
