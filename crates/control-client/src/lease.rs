//! One lease that this process holds, or has found in a journal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use budget_protocol::{ClosedLease, ReportItem};
use kernel::{LeaseId, LeaseState, Money, Timestamp};

use crate::ProviderAccess;
use crate::book::{Book, Call};
use crate::journal::{Journal, Record};

/// Where a lease stands on this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls may be paid from it.
    Open,
    /// A refresh is under way; no call may be paid from it until the outcome is known.
    Exchanging,
    /// No further call is paid from it; to be returned once its reservations are settled.
    Retired,
    /// The server closed it in a refresh; only reports are left.
    Exchanged(ClosedLease),
    /// The server does not know it.
    Lost,
}

/// A refresh whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) request_id: String,
    /// Micro-dollars.
    pub(crate) requested: i64,
    /// Micro-dollars.
    pub(crate) total_spent: i64,
}

/// A lease, its books and its journal.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    /// For reports about calls of which nothing else is known.
    pub(crate) provider: String,
    /// Absent where the key is not known: no call can be made.
    pub(crate) access: Option<ProviderAccess>,
    pub(crate) ttl_ms: i64,
    pub(crate) journal: Journal,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    book: Book,
    phase: Phase,
    /// By this process's clock; sooner than the server's, never later.
    usable_until: Timestamp,
    exchange: Option<Exchange>,
}

impl Lease {
    /// A lease that was granted in answer to a request sent at `asked_at`.
    pub(crate) fn granted(
        id: LeaseId,
        granted: Money,
        provider: String,
        access: Option<ProviderAccess>,
        ttl_ms: i64,
        asked_at: Timestamp,
        journal: Journal,
    ) -> Self {
        let phase = if access.is_some() { Phase::Open } else { Phase::Retired };
        let usable_until = usable_until(asked_at, ttl_ms);
        let state = State { book: Book::new(granted), phase, usable_until, exchange: None };
        Self { id, provider, access, ttl_ms, journal, state: Mutex::new(state) }
    }

    /// A lease of a process that is gone.
    pub(crate) fn recovered(
        id: LeaseId,
        provider: String,
        book: Book,
        phase: Phase,
        exchange: Option<Exchange>,
        journal: Journal,
    ) -> Self {
        let state = State { book, phase, usable_until: Timestamp::EPOCH, exchange };
        Self { id, provider, access: None, ttl_ms: 0, journal, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Bookkeeping does not panic half-way; a panic elsewhere in a holder leaves the books consistent
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn granted_amount(&self) -> Money {
        self.lock().book.granted()
    }

    pub(crate) fn charged(&self) -> Money {
        self.lock().book.charged()
    }

    pub(crate) fn outstanding(&self) -> Money {
        self.lock().book.outstanding()
    }

    pub(crate) fn stated(&self) -> Money {
        self.lock().book.stated()
    }

    pub(crate) fn unreported(&self) -> usize {
        self.lock().book.pending_count()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    pub(crate) fn exchange(&self) -> Option<Exchange> {
        self.lock().exchange.clone()
    }

    /// What a new reservation may take now.
    pub(crate) fn usable_left(&self, now: Timestamp) -> Option<Money> {
        let state = self.lock();
        (state.phase == Phase::Open && now < state.usable_until).then(|| state.book.left())
    }

    /// Takes a reservation in memory. The caller journals it before anybody learns of it.
    pub(crate) fn reserve(&self, id: &str, worst: Money, now: Timestamp) -> bool {
        let mut state = self.lock();
        state.phase == Phase::Open && now < state.usable_until && state.book.reserve(id, worst)
    }

    /// The reservation is on disk; `false` if the lease was closed in the meantime and it was given back.
    pub(crate) fn confirm(&self, id: &str) -> bool {
        let confirmed = self.lock().book.confirm(id);
        if !confirmed {
            self.journal.append_soon(&Record::Cancel { id: id.to_owned() });
        }
        confirmed
    }

    /// Gives a reservation back. What is lost with this record is only exactness.
    pub(crate) fn cancel(&self, id: &str) {
        let mut state = self.lock();
        if state.book.cancel(id) {
            self.journal.append_soon(&Record::Cancel { id: id.to_owned() });
        }
    }

    /// Settles a reservation; `false` if it was settled before. `durable` is called when the item may be reported.
    pub(crate) fn commit(self: &Arc<Self>, id: &str, call: Call, durable: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.lock();
        let Some(record) = state.book.commit(id, call) else { return false };
        // Under the lock, so that the journal has the order of the books
        self.append_settled(&record, durable);
        true
    }

    /// Charges every open reservation in full.
    pub(crate) fn commit_open(self: &Arc<Self>, now: Timestamp) -> usize {
        let mut state = self.lock();
        let records = state.book.commit_open(&self.provider, now);
        records.iter().for_each(|record| self.append_settled(record, || {}));
        records.len()
    }

    fn append_settled(self: &Arc<Self>, record: &Record, durable: impl FnOnce() + Send + 'static) {
        let Record::Commit { seq, .. } = record else { return };
        let (lease, seq) = (self.clone(), *seq);
        self.journal.append_then(record, move |result| {
            if let Err(error) = result {
                // Reported all the same: the figure is right, only a crash now would charge the worst case
                tracing::error!(lease = %lease.short_id(), error, "a cost is not journaled");
            }
            lease.lock().book.ready(seq);
            durable();
        });
    }

    /// The next items to report and the running total to state with them.
    pub(crate) fn next_batch(&self, most: usize) -> (Vec<(i64, ReportItem)>, Money) {
        let state = self.lock();
        (state.book.next_batch(most), state.book.charged())
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.lock().book.has_ready()
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.lock().book.ready_count()
    }

    /// The server has booked these items, or refused them for good.
    pub(crate) fn acknowledge(&self, seqs: Vec<i64>, refused: u64) {
        let mut state = self.lock();
        state.book.acknowledge(&seqs, refused);
        self.journal.append_soon(&Record::Acknowledged { seqs, refused });
    }

    /// The server said where the lease stands, in answer to a sign of life sent at `asked_at`.
    pub(crate) fn seen(&self, status: LeaseState, asked_at: Timestamp) {
        let mut state = self.lock();
        match status {
            LeaseState::Active => state.usable_until = usable_until(asked_at, self.ttl_ms),
            // Its money is in suspense; a refresh still works
            LeaseState::Expired => state.usable_until = Timestamp::EPOCH,
            LeaseState::Revoked | LeaseState::Closed if state.phase == Phase::Open => {
                tracing::warn!(lease = %self.short_id(), status = status.as_str(), "the lease was ended by others");
                state.phase = Phase::Retired;
            }
            LeaseState::Revoked | LeaseState::Closed => {}
        }
    }

    /// No further call is paid from this lease.
    pub(crate) fn retire(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open | Phase::Exchanging) {
            state.phase = Phase::Retired;
        }
    }

    /// The server does not know it.
    pub(crate) fn lose(&self) {
        self.lock().phase = Phase::Lost;
    }

    /// Retires the lease if no reservation is open on it and `when` says so of what is left and what was granted.
    pub(crate) fn retire_idle(&self, now: Timestamp, when: impl FnOnce(Money, Money) -> bool) -> bool {
        let mut state = self.lock();
        let expired = now >= state.usable_until;
        let due = state.phase == Phase::Open
            && state.book.is_idle()
            && (expired || when(state.book.left(), state.book.granted()));
        if due {
            state.phase = Phase::Retired;
        }
        due
    }

    /// Whether nothing is under way on it and it only waits to be returned or forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        let ended = matches!(state.phase, Phase::Retired | Phase::Exchanged(_) | Phase::Lost);
        ended && state.book.is_idle()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lock().book.is_idle()
    }

    /// Closes the lease for calls in order to refresh it; `None` where reservations are open or it is no longer ours.
    pub(crate) fn begin_exchange(&self, request_id: String, requested: i64) -> Option<Exchange> {
        let mut state = self.lock();
        if state.phase != Phase::Open || !state.book.is_idle() {
            return None;
        }
        let total_spent = state.book.stated().micros_ceil();
        let exchange = Exchange { request_id, requested, total_spent };
        state.phase = Phase::Exchanging;
        state.exchange = Some(exchange.clone());
        Some(exchange)
    }

    /// The refresh certainly did not happen: the lease is as it was.
    pub(crate) fn reopen(&self) {
        let mut state = self.lock();
        state.exchange = None;
        if state.phase == Phase::Exchanging {
            state.phase = Phase::Open;
        }
        self.journal.append_soon(&Record::Refreshed { successor: None });
    }

    /// The refresh happened.
    pub(crate) fn exchanged(&self, closed: ClosedLease, successor: &LeaseId) {
        let mut state = self.lock();
        state.exchange = None;
        state.phase = Phase::Exchanged(closed);
        self.journal.append_soon(&Record::Refreshed { successor: Some(successor.as_str().to_owned()) });
    }

    /// Enough of the id to find it in the server's log; all of it would be a capability.
    pub(crate) fn short_id(&self) -> String {
        short(self.id.as_str())
    }
}

/// The first characters of a lease id, for logs.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(14).collect()
}

/// The last tenth of a lease's life (at most a minute) is left unused, for the way of the next sign of life.
const fn usable_until(asked_at: Timestamp, ttl_ms: i64) -> Timestamp {
    let tenth = ttl_ms / 10;
    let margin = if tenth < 60_000 { tenth } else { 60_000 };
    asked_at.plus_millis(ttl_ms - margin)
}
