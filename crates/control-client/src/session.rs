//! A runtime's connection to its budget.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::entropy::random_uuid;
use kernel::{Money, Secret, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::finish::{Core, LeaseSummary};
use crate::http::Http;
use crate::journal::{JournalDir, Record};
use crate::lease::Lease;
use crate::reporter::{self, Command};
use crate::reservation::Reservation;
use crate::{ClientConfig, ControlError, Denied, ProviderAccess, ReserveError, recover};

/// How often a reservation borrows before it lets others go first.
const MOST_ATTEMPTS: u32 = 8;

/// Where sessions come from.
#[derive(Debug)]
pub struct ControlClient;

impl ControlClient {
    /// Recovers what dead processes left in the journal directory, then borrows the first tranche.
    ///
    /// A journal that cannot be recovered yet does not prevent the session. Must be called within a Tokio runtime; the
    /// session's reports are sent by a task of it.
    pub async fn connect(config: ClientConfig) -> Result<Session, ControlError> {
        let core = Self::core(config)?;
        let recovered = match recover::run(&core).await {
            Ok(recovered) => recovered,
            Err(error @ ControlError::Journal(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "recovery is left for later");
                Vec::new()
            }
        };
        let inner = Arc::new(Inner::new(core));
        inner.clone().first_lease().await?;
        let (commands, todo) = mpsc::unbounded_channel();
        tokio::spawn(reporter::run(inner.clone(), todo));
        Ok(Session { inner, commands, recovered })
    }

    /// Recovers what dead processes left in the journal directory, without borrowing anything.
    pub async fn recover(config: ClientConfig) -> Result<Vec<LeaseSummary>, ControlError> {
        recover::run(&Self::core(config)?).await
    }

    fn core(config: ClientConfig) -> Result<Core, ControlError> {
        let config = config.checked()?;
        let journal_error = |e| ControlError::Journal(format!("{}: {e}", config.journal_dir.display()));
        let dir = JournalDir::open(&config.journal_dir).map_err(journal_error)?;
        let (http, agent) = (Http::new(&config)?, config.agent());
        Ok(Core { config, http, dir, agent })
    }
}

/// What is lent and used at this moment, over all leases of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetStatus {
    /// Lent on the leases that are open.
    pub granted: Money,
    /// Charged on them.
    pub charged: Money,
    /// Reserved on them for calls that are under way.
    pub outstanding: Money,
    /// What new reservations can take without asking the control plane, in total; a single one must fit into one lease.
    pub left: Money,
    /// Charged since the session began, on all its leases.
    pub charged_in_session: Money,
    /// Settled calls that the control plane has not acknowledged.
    pub unreported: usize,
    /// Leases that are open.
    pub leases: usize,
}

/// A runtime's budget. Can be shared between tasks by reference or in an `Arc`.
///
/// Close it with [`Session::close`]. Dropping it does the same in the background, as far as the Tokio runtime lives long
/// enough; what was not done is done by the next process that uses the journal directory.
#[derive(Debug)]
pub struct Session {
    inner: Arc<Inner>,
    commands: mpsc::UnboundedSender<Command>,
    recovered: Vec<LeaseSummary>,
}

impl Session {
    /// Reserves the most that a call can cost.
    ///
    /// The reservation is on disk when this returns; only then may the call be made. If the amount does not fit into
    /// what is left, more is borrowed first; if there is no more, the answer is [`ReserveError::Refused`]. Dropping the
    /// future leaves nothing behind.
    pub async fn reserve(&self, worst_case: Money) -> Result<Reservation, ReserveError> {
        if worst_case.is_negative() || worst_case > Money::MAX_CALL {
            return Err(ReserveError::NotAnAmount(worst_case));
        }
        let (mut asked, mut attempts): (Option<Box<Denied>>, u32) = (None, 0);
        let reservation = loop {
            if self.inner.is_closing() {
                return Err(ReserveError::Closed);
            }
            self.inner.check_backlog()?;
            if let Some(reservation) = self.inner.take(worst_case) {
                break reservation;
            }
            if let Some(denied) = asked {
                let status = self.inner.status();
                let (left, outstanding) = (self.inner.largest_left(), status.outstanding);
                return Err(ReserveError::Refused { worst_case, left, outstanding, denied });
            }
            // In a task of its own: a caller that gives up must not leave a refresh half done
            let supply = tokio::spawn(self.inner.clone().supply(worst_case));
            asked = match supply.await {
                // Others may take what was borrowed before this one gets to it; not for ever
                Ok(Ok(())) => {
                    attempts += 1;
                    (attempts >= MOST_ATTEMPTS).then(Box::default)
                }
                Ok(Err(ControlError::Denied(denied))) => Some(denied),
                Ok(Err(ControlError::Closed)) => return Err(ReserveError::Closed),
                Ok(Err(ControlError::Journal(error))) => return Err(ReserveError::Journal(error)),
                Ok(Err(error)) => return Err(ReserveError::Control(error)),
                Err(_) => return Err(ReserveError::Closed),
            };
        };
        let record =
            Record::Reserve { id: reservation.request_id().to_owned(), worst: reservation.worst_case().nanos() };
        match reservation.lease().journal.append(&record).await {
            Ok(()) if reservation.lease().confirm(reservation.request_id()) => Ok(reservation.live()),
            Ok(()) => Err(ReserveError::Closed),
            Err(error) => {
                // Nothing can be journaled for this lease any more; the next reservation takes another
                reservation.lease().retire();
                Err(ReserveError::Journal(error))
            }
        }
    }

    /// The provider and key that came with the newest lease. A call should use those of its own
    /// [`Reservation::access`].
    pub fn access(&self) -> Option<ProviderAccess> {
        lock(&self.inner.access).clone()
    }

    /// The provider key that came with the newest lease.
    pub fn provider_key(&self) -> Option<Arc<Secret<String>>> {
        self.access().map(|access| access.key)
    }

    /// What is lent and used at this moment.
    pub fn status(&self) -> BudgetStatus {
        self.inner.status()
    }

    /// What was recovered of dead processes when the session began.
    pub fn recovered(&self) -> &[LeaseSummary] {
        &self.recovered
    }

    /// Sends what is to be reported now rather than soon, once. An error leaves it for the next attempt.
    pub async fn flush(&self) -> Result<(), ControlError> {
        let (done, waiting) = oneshot::channel();
        self.commands.send(Command::Flush(done)).map_err(|_| ControlError::Closed)?;
        waiting.await.unwrap_or(Err(ControlError::Closed))
    }

    /// Refuses new reservations, waits for open ones (at most [`ClientConfig::drain_timeout`], then they are charged in
    /// full), reports everything and returns every lease. Lists the leases that were returned.
    ///
    /// An error means that something is left to do; it is in the journal, for the next process that uses the
    /// directory.
    pub async fn close(&self) -> Result<Vec<LeaseSummary>, ControlError> {
        self.inner.begin_closing();
        let (done, waiting) = oneshot::channel();
        self.commands.send(Command::Close(done)).map_err(|_| ControlError::Closed)?;
        waiting.await.unwrap_or(Err(ControlError::Closed))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The reporter sees the end of its commands and closes in the background
        self.inner.begin_closing();
    }
}

/// What a session, its tasks and its reservations share.
pub(crate) struct Inner {
    pub(crate) core: Core,
    pub(crate) leases: Mutex<Vec<Arc<Lease>>>,
    pub(crate) access: Mutex<Option<ProviderAccess>>,
    /// One at a time looks for more money.
    pub(crate) supplying: tokio::sync::Mutex<()>,
    /// The last refusal for lack of money, remembered until then.
    pub(crate) denied: Mutex<Option<(Instant, Box<Denied>)>>,
    /// Nobody looks for money ahead of need before then.
    pub(crate) not_ahead_before: Mutex<Option<Instant>>,
    /// A handshake of this session was given up, its outcome unknown; its journal is there to be recovered.
    pub(crate) strays: AtomicBool,
    /// Charged on leases that are over.
    pub(crate) charged_before: Mutex<Money>,
    closing: AtomicBool,
    /// Wakes the reporter before its time.
    pub(crate) wake: Notify,
    /// A reservation was settled.
    pub(crate) drained: Notify,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("status", &self.status()).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn new(core: Core) -> Self {
        Self {
            core,
            leases: Mutex::default(),
            access: Mutex::default(),
            supplying: tokio::sync::Mutex::default(),
            denied: Mutex::default(),
            not_ahead_before: Mutex::default(),
            strays: AtomicBool::new(false),
            charged_before: Mutex::default(),
            closing: AtomicBool::new(false),
            wake: Notify::new(),
            drained: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.core.config.clock.now()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn begin_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Lease>> {
        lock(&self.leases).clone()
    }

    /// Takes a reservation from the oldest lease that it fits into, so that remainders are used up.
    fn take(self: &Arc<Self>, worst: Money) -> Option<Reservation> {
        let now = self.now();
        let id = format!("call_{}", random_uuid(&*self.core.config.entropy));
        self.all().into_iter().find_map(|lease| {
            let access = lease.access.clone()?;
            let taken = lease.reserve(&id, worst, now);
            taken.then(|| Reservation::preparing(self.clone(), lease, access, id.clone(), worst))
        })
    }

    /// Calls that nobody is told about must not pile up without bound.
    fn check_backlog(&self) -> Result<(), ReserveError> {
        let unreported: usize = self.all().iter().map(|lease| lease.unreported()).sum();
        if unreported < self.core.config.most_unreported {
            return Ok(());
        }
        let reason = format!("{unreported} calls are not reported yet");
        Err(ReserveError::Control(ControlError::Unavailable { reason, retry_after: None }))
    }

    pub(crate) fn fits(&self, worst: Money) -> bool {
        let now = self.now();
        self.all().iter().any(|lease| lease.usable_left(now).is_some_and(|left| worst <= left))
    }

    fn largest_left(&self) -> Money {
        let now = self.now();
        self.all().iter().filter_map(|lease| lease.usable_left(now)).max().unwrap_or_default()
    }

    /// Whether what can be used is less than the threshold, while there is something to compare it with.
    pub(crate) fn is_low(&self) -> bool {
        let now = self.now();
        let usable: Vec<(Money, Money)> =
            self.all().iter().filter_map(|l| Some((l.usable_left(now)?, l.granted_amount()))).collect();
        let left = usable.iter().map(|(left, _)| *left).sum();
        usable.iter().map(|(_, granted)| *granted).max().is_some_and(|granted| self.below_threshold(left, granted))
    }

    pub(crate) fn below_threshold(&self, left: Money, granted: Money) -> bool {
        let percent = i128::from(self.core.config.refresh_below_percent);
        i128::from(left.nanos()) * 100 < i128::from(granted.nanos()) * percent
    }

    pub(crate) fn status(&self) -> BudgetStatus {
        let now = self.now();
        let mut status = BudgetStatus { charged_in_session: *lock(&self.charged_before), ..BudgetStatus::default() };
        let add = |a: &mut Money, b: Money| *a = a.plus(b).unwrap_or(Money::MAX_BALANCE);
        for lease in self.all() {
            add(&mut status.granted, lease.granted_amount());
            add(&mut status.charged, lease.charged());
            add(&mut status.charged_in_session, lease.charged());
            add(&mut status.outstanding, lease.outstanding());
            add(&mut status.left, lease.usable_left(now).unwrap_or_default());
            status.unreported += lease.unreported();
            status.leases += 1;
        }
        status
    }

    /// A lease is over: it leaves the list, its charges stay in the total.
    pub(crate) fn forget(&self, lease: &Arc<Lease>) {
        let mut leases = lock(&self.leases);
        if let Some(at) = leases.iter().position(|l| Arc::ptr_eq(l, lease)) {
            leases.remove(at);
            let mut before = lock(&self.charged_before);
            *before = before.plus(lease.charged()).unwrap_or(Money::MAX_BALANCE);
        }
    }

    /// A reservation of this lease was settled.
    pub(crate) fn settled(&self, lease: &Lease) {
        if lease.is_over() || self.is_low() {
            self.wake.notify_one();
        }
        self.drained.notify_one();
    }

    /// An item of this lease may be reported.
    pub(crate) fn ready(&self, lease: &Lease) {
        if lease.ready_count() >= self.core.config.report_batch {
            self.wake.notify_one();
        }
    }
}
