//! The hub: one reader of the log, any number of subscriptions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::event::Event;
use crate::log::{Log, LogError, Page};
use crate::ring::{Reach, Ring};

/// Sizes and times.
#[derive(Clone, Copy, Debug)]
pub struct HubSettings {
    /// Events that are kept for everybody.
    pub ring_events: usize,
    /// Bytes that they may have together.
    pub ring_bytes: usize,
    /// Events before the last one that are fetched when the first subscriber comes: those who come back after a restart
    /// find what they missed without asking the log one by one.
    pub warm_events: u32,
    /// How often the log is looked at without a reason, while there are subscribers.
    pub poll: Duration,
    /// How long the log is followed after the last subscriber has gone.
    pub linger: Duration,
    /// Subscribers that read the log themselves at the same time.
    pub readers: usize,
    /// Connections at once; see [`Hub::connect`].
    pub connections: usize,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            ring_events: 16_384,
            ring_bytes: 16 << 20,
            warm_events: 2_048,
            poll: Duration::from_secs(1),
            linger: Duration::from_secs(60),
            readers: 4,
            connections: 10_000,
        }
    }
}

/// Events that are read from the log in one step.
const PAGE: u32 = 1_024;
/// How long to wait after the log has failed.
const PAUSE: Duration = Duration::from_millis(250);

/// What has happened so far.
#[derive(Debug, Default)]
pub struct HubStats {
    delivered: AtomicU64,
    published: AtomicU64,
    cut: [AtomicU64; Cut::COUNT],
}

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its credential was not taken, or is no longer.
    Credential,
    /// It said nothing, at first or for too long.
    Silent,
    /// It did not read.
    Slow,
    /// What it had missed is no longer kept.
    Gap,
    /// The server goes away.
    Drain,
}

impl Cut {
    const COUNT: usize = 5;

    /// All of them.
    pub const ALL: [Cut; Cut::COUNT] = [Cut::Credential, Cut::Silent, Cut::Slow, Cut::Gap, Cut::Drain];

    /// A word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Gap => "gap",
            Self::Drain => "drain",
        }
    }
}

impl HubStats {
    /// Event frames handed to connections.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Events read from the log for everybody.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Connections that were ended for this reason.
    pub fn cut(&self, reason: Cut) -> u64 {
        self.cut[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_delivered(&self, frames: u64) {
        self.delivered.fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn count_cut(&self, reason: Cut) {
        self.cut[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Where events come in and subscribers find them; a handle.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    log: Arc<dyn Log>,
    settings: HubSettings,
    ring: RwLock<Ring>,
    /// Changes with the ring.
    news: watch::Sender<()>,
    subscriptions: watch::Sender<usize>,
    /// Whether the ring's head is the log's, but for a moment.
    following: watch::Sender<bool>,
    connections: watch::Sender<usize>,
    closing: watch::Sender<bool>,
    readers: Semaphore,
    stats: HubStats,
}

impl Hub {
    /// A hub of that log. Somebody must run [`Hub::tail`].
    pub fn new(log: Arc<dyn Log>, settings: HubSettings) -> Self {
        Self(Arc::new(Inner {
            log,
            ring: RwLock::new(Ring::new(settings.ring_events.max(1), settings.ring_bytes)),
            news: watch::Sender::new(()),
            subscriptions: watch::Sender::new(0),
            following: watch::Sender::new(false),
            connections: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            readers: Semaphore::new(settings.readers.max(1)),
            stats: HubStats::default(),
            settings,
        }))
    }

    /// What has happened so far.
    pub fn stats(&self) -> &HubStats {
        &self.0.stats
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        *self.0.connections.borrow()
    }

    /// Subscriptions that are open.
    pub fn subscriptions(&self) -> usize {
        *self.0.subscriptions.borrow()
    }

    /// Takes a place for a connection, for as long as it is held; `None` where there is none left, or the hub closes.
    pub fn connect(&self) -> Option<ConnectionSlot> {
        if *self.0.closing.borrow() {
            return None;
        }
        let room = self.0.connections.send_if_modified(|count| {
            let room = *count < self.0.settings.connections;
            *count += usize::from(room);
            room
        });
        room.then(|| ConnectionSlot(self.clone()))
    }

    /// Tells every connection that the server goes away, and waits until they have gone, but not beyond `patience`.
    /// Returns how many are left.
    pub async fn close(&self, patience: Duration) -> usize {
        self.0.closing.send_replace(true);
        let mut connections = self.0.connections.subscribe();
        let gone = timeout(patience, connections.wait_for(|count| *count == 0)).await;
        if gone.is_ok() { 0 } else { self.connections() }
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }

    /// Counts a subscription for as long as it is held.
    pub(crate) fn subscribed(&self) -> Subscribed {
        self.0.subscriptions.send_modify(|count| *count += 1);
        Subscribed(self.clone())
    }

    /// Where the stream stands now.
    pub async fn head(&self) -> Result<(Arc<str>, i64), LogError> {
        if *self.0.following.borrow()
            && let Some(head) = self.ring().head()
        {
            return Ok(head);
        }
        let page = self.0.log.page(i64::MAX, 1).await?;
        Ok((page.epoch, page.last))
    }

    /// Whether the events after that place can be had without asking the log.
    pub(crate) fn reaches(&self, epoch: &str, after: i64) -> bool {
        *self.0.following.borrow() && self.ring().reaches(epoch, after)
    }

    pub(crate) fn read(&self, epoch: &str, after: i64, take: impl FnMut(&Arc<Event>) -> bool) -> Reach {
        self.ring().read(epoch, after, take)
    }

    /// Asks the log, with a bound on how many do so at once.
    pub(crate) async fn page(&self, after: i64, limit: u32) -> Result<Page, LogError> {
        // Never closed
        let _permit = self.0.readers.acquire().await;
        self.0.log.page(after, limit).await
    }

    fn ring(&self) -> std::sync::RwLockReadGuard<'_, Ring> {
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> std::sync::RwLockWriteGuard<'_, Ring> {
        self.0.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the log into the hub for as long as there are subscribers; until it is dropped.
    pub async fn tail(&self) {
        let mut subscriptions = self.0.subscriptions.subscribe();
        loop {
            // The sender lives in `self`
            let _ = subscriptions.wait_for(|count| *count > 0).await;
            self.follow(&mut subscriptions).await;
            self.0.following.send_replace(false);
        }
    }

    /// Follows the log until nobody has been interested for a while.
    async fn follow(&self, subscriptions: &mut watch::Receiver<usize>) {
        let mut changes = self.0.log.changes();
        let mut alone_since = None;
        let mut caught_up = false;
        loop {
            changes.mark_unchanged();
            let full = match self.step(caught_up).await {
                Ok(full) => full,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the live stream cannot read its log");
                    caught_up = false;
                    self.0.following.send_replace(false);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if full {
                continue;
            }
            caught_up = true;
            self.0.following.send_if_modified(|following| !std::mem::replace(following, true));
            // A log whose sender is gone is only looked at now and then
            let woken = timeout(self.0.settings.poll, changes.changed()).await;
            if matches!(woken, Ok(Err(_))) {
                sleep(self.0.settings.poll).await;
            }
            if *subscriptions.borrow_and_update() > 0 {
                alone_since = None;
            } else if alone_since.get_or_insert_with(Instant::now).elapsed() >= self.0.settings.linger {
                return;
            }
        }
    }

    /// Takes in what is new; true if there may be more.
    async fn step(&self, caught_up: bool) -> Result<bool, LogError> {
        let known = self.ring().head();
        let after = match &known {
            Some((_, head)) if caught_up => *head,
            _ => {
                let end = self.0.log.page(i64::MAX, 1).await?;
                let start = (end.last - i64::from(self.0.settings.warm_events)).max(0);
                match known {
                    // What is there goes on without a hole
                    Some((epoch, head)) if epoch == end.epoch && (start..=end.last).contains(&head) => head,
                    _ => {
                        self.ring_mut().reset(end.epoch, start);
                        self.0.news.send_replace(());
                        start
                    }
                }
            }
        };
        let page = self.0.log.page(after, PAGE).await?;
        let full = page.events.len() >= PAGE as usize;
        self.publish(page, after);
        Ok(full)
    }

    fn publish(&self, page: Page, after: i64) {
        if page.events.is_empty() {
            let mut ring = self.ring_mut();
            let moved = ring.head().is_none_or(|(epoch, head)| epoch != page.epoch || head > page.last);
            // Restored or replaced under us, or all of it pruned
            if moved || page.last > after {
                ring.reset(page.epoch, page.last);
                drop(ring);
                self.0.news.send_replace(());
            }
            return;
        }
        self.0.stats.published.fetch_add(page.events.len() as u64, Ordering::Relaxed);
        let mut ring = self.ring_mut();
        let same = ring.head().is_some_and(|(epoch, _)| epoch == page.epoch);
        if !same {
            let before = page.events.first().map_or(page.last, |event| event.seq() - 1);
            ring.reset(Arc::clone(&page.epoch), before);
        }
        for event in page.events {
            let event = Arc::new(event);
            if !ring.push(Arc::clone(&event)) {
                // Pruned before we came to it: whoever needs it will be told of the gap
                ring.reset(Arc::clone(&page.epoch), event.seq() - 1);
                ring.push(event);
            }
        }
        drop(ring);
        self.0.news.send_replace(());
    }
}

/// A place for a connection; given back when dropped.
pub struct ConnectionSlot(Hub);

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.0.connections.send_modify(|count| *count -= 1);
    }
}

/// Somebody is interested.
pub(crate) struct Subscribed(Hub);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.0.subscriptions.send_modify(|count| *count -= 1);
    }
}
