//! Where events come from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::event::Event;

/// A future without a name.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a log does not answer; repeat the question after a while.
#[derive(Debug)]
pub struct LogError(pub Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the log of events does not answer")
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// A stretch of the log, as it was at one instant.
#[derive(Debug)]
pub struct Page {
    /// Which numbering.
    pub epoch: Arc<str>,
    /// The place of the last event of all; 0 before the first.
    pub last: i64,
    /// The events asked for, ascending. Those that are kept have no holes between them.
    pub events: Vec<Event>,
}

/// The events, numbered 1, 2, 3 … without holes in the order of their commits.
pub trait Log: Send + Sync + 'static {
    /// The events after the place `after`, the oldest that are kept first, at most `limit`.
    fn page(&self, after: i64, limit: u32) -> Boxed<'_, Result<Page, LogError>>;

    /// Changes when there may be more. It may change without a reason; it may fail to (the log is looked at now and then
    /// in any case).
    fn changes(&self) -> watch::Receiver<u64>;
}
