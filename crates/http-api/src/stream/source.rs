//! The outbox as the log that the hub reads.

use std::sync::{Arc, Mutex, PoisonError};

use persistence::{Store, StoredEvent};
use tokio::sync::watch;
use ws_hub::{Boxed, Entry, Event, Log, LogError, Page};

pub(super) struct Outbox {
    store: Store,
    /// The epoch, shared by all pages of it.
    epoch: Mutex<Arc<str>>,
}

impl Outbox {
    pub(super) fn new(store: Store) -> Self {
        Self { store, epoch: Mutex::new(Arc::from("")) }
    }

    fn epoch(&self, epoch: &str) -> Arc<str> {
        let mut known = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if **known != *epoch {
            *known = Arc::from(epoch);
        }
        Arc::clone(&known)
    }
}

impl Log for Outbox {
    fn page(&self, after: i64, limit: u32) -> Boxed<'_, Result<Page, LogError>> {
        Box::pin(async move {
            let page = self.store.stream_page(after, limit).await.map_err(|error| LogError(Box::new(error)))?;
            let epoch = self.epoch(&page.epoch);
            let events = page.events.iter().map(|row| event(&epoch, row)).collect();
            Ok(Page { epoch, last: page.last, events })
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.outbox_changes()
    }
}

fn event(epoch: &str, row: &StoredEvent) -> Event {
    let StoredEvent { seq, agent, kind, payload, created_at } = row;
    Event::new(epoch, Entry { seq: *seq, agent: *agent, name: kind, payload, at: *created_at })
}
