//! The live stream over HTTP: WebSockets and server-sent events.
//!
//! What the stream *is* is decided in [`ws_hub`]; here it meets the store ([`source`]: rows become events), the callers
//! ([`access`]: who sees what, looked at again while a connection lasts) and the wire ([`ws`], [`sse`]).

pub(crate) mod access;
pub mod page;
mod source;
pub mod sse;
mod sse_body;
#[cfg(test)]
mod tests;
pub mod ws;
mod ws_socket;

use std::sync::Arc;
use std::time::Duration;

use persistence::{RightsChange, Store};
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use ws_hub::{Cut, Hub, HubSettings, Passes};

use crate::ApiState;
use crate::cors::Cors;
use crate::metrics::StreamMetrics;

/// How often all credentials of open connections are looked at: at least each 10 seconds, with time to do it.
const CHECK_INTERVAL: Duration = Duration::from_secs(8);

/// How the stream behaves.
#[derive(Clone, Default)]
pub struct StreamSettings {
    /// Sizes and times of the hub.
    pub hub: HubSettings,
    /// Pages that may open WebSockets.
    pub origins: Cors,
}

/// The stream of one server; a handle.
#[derive(Clone)]
pub struct Stream {
    hub: Hub,
    passes: Passes,
    origins: Cors,
}

impl Stream {
    /// A stream of what the store's outbox tells. [`Stream::start`] makes it flow.
    pub fn new(store: &Store, settings: StreamSettings) -> Self {
        let hub = Hub::new(Arc::new(source::Outbox::new(store.clone())), settings.hub);
        let passes = Passes::default();
        let touched = passes.clone();
        store.on_rights_change(move |change| match change {
            RightsChange::Of(keys) => touched.touch(keys),
            RightsChange::Anybody => touched.touch_all(),
        });
        Self { hub, passes, origins: settings.origins }
    }

    /// Starts the tasks that follow the outbox and look after credentials; abort them in the end.
    pub fn start(&self, store: &Store) -> Vec<JoinHandle<()>> {
        let (hub, passes, store) = (self.hub.clone(), self.passes.clone(), store.clone());
        vec![
            tokio::spawn(async move { hub.tail().await }),
            tokio::spawn(async move { passes.keep(CHECK_INTERVAL).await }),
            tokio::spawn(async move { store.hear_others().await }),
        ]
    }

    /// Tells every connection that the server goes away and waits until they have gone, but not beyond `patience`. Returns
    /// how many are left.
    pub async fn close(&self, patience: Duration) -> usize {
        self.hub.close(patience).await
    }

    /// Brings the metrics up to date.
    pub(crate) fn measure(&self, metrics: &StreamMetrics) {
        let stats = self.hub.stats();
        metrics.connections.set(i64::try_from(self.hub.connections()).unwrap_or(i64::MAX));
        metrics.subscriptions.set(i64::try_from(self.hub.subscriptions()).unwrap_or(i64::MAX));
        let raise = |counter: &prometheus::IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&metrics.delivered, stats.delivered());
        raise(&metrics.published, stats.published());
        for reason in Cut::ALL {
            raise(&metrics.cut.with_label_values(&[reason.as_str()]), stats.cut(reason));
        }
    }
}

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(ws::stream_socket))
        .routes(routes!(ws::agent_socket))
        .routes(routes!(sse::event_stream))
        .routes(routes!(page::stream_page))
        .route("/docs/stream.js", axum::routing::get(page::script))
}
