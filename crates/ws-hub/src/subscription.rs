//! One subscriber's way through the stream.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::event::Event;
use crate::hub::{Hub, Subscribed};
use crate::log::{LogError, Page};
use crate::ring::Reach;
use crate::sight::{Filter, Sight};

/// Frames that may wait for one reader.
pub const MAX_WAITING_FRAMES: usize = 1_000;
/// Bytes that they may have together.
pub const MAX_WAITING_BYTES: usize = 1 << 20;
/// Events that a subscription reads from the log in one step.
const PAGE: u32 = 128;

/// Events that a subscription will not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: i64,
    /// The last of them.
    pub to: i64,
    /// Why.
    pub reason: GapReason,
    /// Where the subscription goes on.
    pub cursor: Cursor,
}

/// Why events cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// They are older than what is kept.
    Retention,
    /// They are of another epoch: the store was restored or replaced.
    Epoch,
}

impl GapReason {
    /// Its name in frames.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Epoch => "epoch",
        }
    }
}

/// Why a subscription does not begin.
#[derive(Debug)]
pub enum StartError {
    /// What was missed cannot be had, and the subscriber does not put up with that.
    TooOld(Gap),
    /// The log does not answer.
    Log(LogError),
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// How a subscription began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Where: everything visible after this follows, but for what is lost.
    pub cursor: Cursor,
    /// Whether there is something to catch up with.
    pub replaying: bool,
    /// What is lost, if anything.
    pub gap: Option<Gap>,
}

/// What looking for new events came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Everything there is has been looked at.
    UpToDate,
    /// There is more; as many wait as may.
    More,
    /// What comes next must be read from the log: [`Subscription::next_page`].
    Behind,
}

/// A place in the stream that moves on. What it passes and is seen waits in a bounded queue.
pub struct Subscription {
    hub: Hub,
    filter: Filter,
    allow_gap: bool,
    epoch: Arc<str>,
    /// Everything up to here was looked at.
    position: i64,
    /// The last event or cursor the subscriber was told.
    told: i64,
    waiting: VecDeque<Arc<Event>>,
    waiting_bytes: usize,
    /// Whether it has ever been up to date.
    is_live: bool,
    _counted: Subscribed,
}

impl Subscription {
    /// Begins after `since`, or with what comes next.
    ///
    /// # Errors
    /// [`StartError::TooOld`] unless the subscriber puts up with gaps.
    pub async fn start(
        hub: &Hub,
        filter: Filter,
        since: Option<&Cursor>,
        allow_gap: bool,
    ) -> Result<(Self, Started), StartError> {
        // Before anything is asked: from here on the log is followed
        let counted = hub.subscribed();
        let (at, head, gap) = place(hub, since).await?;
        if let Some(gap) = gap.clone().filter(|_| !allow_gap) {
            return Err(StartError::TooOld(gap));
        }
        // Not beyond a gap that it has not been told of yet
        let cursor = since.cloned().unwrap_or_else(|| at.clone());
        let subscription = Self {
            hub: hub.clone(),
            filter,
            allow_gap,
            epoch: at.epoch,
            position: at.seq,
            told: at.seq,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_live: false,
            _counted: counted,
        };
        Ok((subscription, Started { replaying: at.seq < head, cursor, gap }))
    }

    /// What it is about.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Which numbering its events are of.
    pub(crate) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.epoch)
    }

    /// Whether it has caught up once.
    pub(crate) const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether as many frames wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING_FRAMES || self.waiting_bytes >= MAX_WAITING_BYTES
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts what is new and seen into the queue, until `room` frames wait.
    pub(crate) fn scan(&mut self, sight: &Sight, room: usize) -> Scan {
        let Self { hub, filter, waiting, waiting_bytes, epoch, position, .. } = self;
        let mut stopped = false;
        let reach = hub.read(epoch, *position, |event| {
            if filter.takes(event) && sight.shows(event) {
                if waiting.len() >= room || *waiting_bytes >= MAX_WAITING_BYTES {
                    stopped = true;
                    return false;
                }
                *waiting_bytes += event.size();
                waiting.push_back(Arc::clone(event));
            }
            true
        });
        match reach {
            Reach::To(to) => {
                self.position = to;
                if stopped {
                    return Scan::More;
                }
                self.is_live = true;
                Scan::UpToDate
            }
            Reach::Behind | Reach::Elsewhere => Scan::Behind,
        }
    }

    /// Reads what comes next from the log; give it to [`Subscription::turn`].
    pub(crate) fn next_page(&self) -> impl Future<Output = Result<Page, LogError>> + Send + use<> {
        let (hub, position) = (self.hub.clone(), self.position);
        async move { hub.page(position, PAGE).await }
    }

    /// Puts a page of the log into the queue. Returns what is lost, if anything.
    ///
    /// # Errors
    /// The gap, unless the subscriber puts up with gaps.
    pub(crate) fn turn(&mut self, page: Page, sight: &Sight) -> Result<Option<Gap>, Gap> {
        let first = page.events.first().map_or(page.last + 1, Event::seq);
        let gap = if page.epoch != self.epoch || page.last < self.position {
            let cursor = Cursor { epoch: Arc::clone(&page.epoch), seq: page.last };
            Some(Gap { from: self.position + 1, to: page.last, reason: GapReason::Epoch, cursor })
        } else if first > self.position + 1 {
            let cursor = Cursor { epoch: Arc::clone(&page.epoch), seq: first - 1 };
            Some(Gap { from: self.position + 1, to: first - 1, reason: GapReason::Retention, cursor })
        } else {
            None
        };
        if let Some(gap) = &gap {
            if !self.allow_gap {
                return Err(gap.clone());
            }
            self.epoch = Arc::clone(&gap.cursor.epoch);
            self.position = gap.cursor.seq;
            self.told = gap.cursor.seq;
        }
        for event in page.events {
            if event.seq() == self.position + 1 {
                self.position += 1;
                if self.filter.takes(&event) && sight.shows(&event) {
                    self.waiting_bytes += event.size();
                    self.waiting.push_back(Arc::new(event));
                }
            }
        }
        Ok(gap)
    }

    /// The next frame, if one waits that is still seen.
    pub(crate) fn next(&mut self, sight: &Sight) -> Option<(Arc<Event>, Bytes)> {
        while let Some(event) = self.waiting.pop_front() {
            self.waiting_bytes -= event.size();
            if sight.shows(&event) {
                let frame = event.frame(self.told);
                self.told = event.seq();
                return Some((event, frame));
            }
        }
        None
    }

    /// A cursor to tell the subscriber: everything it sees up to there has been sent. The next event's `prev` is this.
    pub(crate) fn mark(&mut self) -> Cursor {
        if self.waiting.is_empty() {
            self.told = self.position;
        }
        Cursor { epoch: Arc::clone(&self.epoch), seq: self.told }
    }
}

/// Where to begin, where the stream's end is, and what is lost.
async fn place(hub: &Hub, since: Option<&Cursor>) -> Result<(Cursor, i64, Option<Gap>), LogError> {
    let Some(since) = since else {
        let (epoch, head) = hub.head().await?;
        return Ok((Cursor { epoch, seq: head }, head, None));
    };
    if hub.reaches(&since.epoch, since.seq) {
        let (epoch, head) = hub.head().await?;
        if epoch == since.epoch {
            return Ok((since.clone(), head, None));
        }
    }
    let page = hub.page(since.seq, 1).await?;
    let at = |seq| Cursor { epoch: Arc::clone(&page.epoch), seq };
    if page.epoch != since.epoch || since.seq > page.last {
        let gap =
            Gap { from: since.seq.saturating_add(1), to: page.last, reason: GapReason::Epoch, cursor: at(page.last) };
        return Ok((at(page.last), page.last, Some(gap)));
    }
    let first = page.events.first().map_or(page.last + 1, Event::seq);
    let gap = (first > since.seq + 1).then(|| Gap {
        from: since.seq + 1,
        to: first - 1,
        reason: GapReason::Retention,
        cursor: at(first - 1),
    });
    Ok((at(first - 1), page.last, gap))
}
