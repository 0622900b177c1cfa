//! One connection, from its first frame to its last.

mod waits;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kernel::{AgentId, Clock, ErrorCode, Secret};
use tokio::time::{Instant, sleep_until};

use crate::cursor::Cursor;
use crate::event::Event;
use crate::hub::{ConnectionSlot, Cut, Hub};
use crate::log::{Boxed, LogError, Page};
use crate::pass::{Pass, Refusal, Standing};
use crate::protocol::{self, ClientFrame, close};
use crate::sight::{Filter, Sight};
use crate::subscription::{Gap, MAX_WAITING_FRAMES, Scan, StartError, Started, Subscription};
use waits::{checked, pending_or, sight_of, told};

/// Frames that wait for their turn in one write.
const BATCH_FRAMES: usize = 256;
/// Bytes handed to the transport in one write.
const BATCH_BYTES: usize = 32 << 10;
/// Our own frames that may wait before no more of the client's are read.
const MAX_NOTICES: usize = 16;
/// How long a reader may be over its limits before it is cut off.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a write may take at all.
const STALL: Duration = Duration::from_secs(30);
/// How long a client is given to take in why it was cut off.
const LINGER: Duration = Duration::from_secs(5);
/// How long the log is left alone where it had nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// What comes from the other side.
#[derive(Debug)]
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// A sign of life without a meaning of its own.
    Life,
    /// A frame that is none of the protocol's, and why.
    Strange(&'static str),
    /// A frame that is too long; nothing after it can be read.
    TooLong,
    /// Nothing more will come.
    End,
}

/// What goes to the other side.
#[derive(Debug)]
pub enum Outgoing {
    /// An event.
    Event {
        /// Which one.
        event: Arc<Event>,
        /// Its frame for this subscription.
        frame: Bytes,
        /// The epoch it is numbered in.
        epoch: Arc<str>,
    },
    /// A sign of life, with the place up to which everything was sent.
    Heartbeat {
        /// The frame.
        frame: Bytes,
        /// The place, where there is a subscription.
        cursor: Option<Cursor>,
    },
    /// Any other frame.
    Notice {
        /// Its type.
        kind: &'static str,
        /// The frame.
        frame: Bytes,
        /// The place it moves the subscription to, if it does.
        cursor: Option<Cursor>,
    },
    /// A question for a sign of life.
    Ping,
    /// The last.
    Close {
        /// Why, as a number.
        code: u16,
        /// Why, in a few words.
        reason: &'static str,
    },
}

/// How frames reach the other side. None of its methods waits.
pub trait Transport: Send {
    /// The next thing that comes in; after [`Incoming::End`] nothing is asked any more.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming>;

    /// Takes a frame. It is kept until it can be written; no more than [`Transport::poll_flush`] has found room for is
    /// given, but for a bounded number.
    ///
    /// # Errors
    /// If the other side is gone.
    fn send(&mut self, frame: Outgoing) -> Result<(), Gone>;

    /// Ready when everything that was given has been written.
    ///
    /// # Errors
    /// If the other side is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>>;
}

/// The other side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Somebody whose credential is taken.
pub struct Admission {
    /// Who: `user_…` or `agent_<int>`.
    pub subject: String,
    /// What they are, for users.
    pub role: Option<&'static str>,
    /// What their credential is worth, kept up to date.
    pub pass: Pass,
}

/// Decides about credentials.
pub trait Gate: Send + Sync + 'static {
    /// Looks at a credential.
    fn admit(&self, token: Secret<String>) -> Boxed<'static, Result<Admission, Refusal>>;
}

/// Times of a session.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How long a client may take to say who it is.
    pub auth_within: Duration,
    /// How often there is a sign of life.
    pub heartbeat: Duration,
    /// Whether the other side is asked for signs of life, and how long it may take to give one.
    pub answer_within: Option<Duration>,
}

impl Manner {
    /// Of WebSockets.
    pub const WEB_SOCKET: Manner = Manner {
        auth_within: Duration::from_secs(10),
        heartbeat: Duration::from_secs(30),
        answer_within: Some(Duration::from_secs(60)),
    };
    /// Of server-sent events: nothing comes in.
    pub const SERVER_SENT: Manner =
        Manner { auth_within: Duration::from_secs(10), heartbeat: Duration::from_secs(15), answer_within: None };
}

/// One connection.
pub struct Session<T> {
    hub: Hub,
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
    manner: Manner,
    /// The agent that the address names.
    preset: Option<AgentId>,
    wire: Wire<T>,
    pass: Option<Pass>,
    subscription: Option<Subscription>,
    /// Something that takes time.
    job: Option<Boxed<'static, Done>>,
    times: Times,
    _slot: ConnectionSlot,
}

enum Done {
    Admitted { outcome: Result<Admission, Refusal>, head: Result<(Arc<str>, i64), LogError>, subscribe: bool },
    Subscribed { outcome: Result<(Subscription, Started), StartError> },
    Page(Result<Page, LogError>),
}

struct Times {
    /// By when there must be a credential.
    auth: Option<Instant>,
    heartbeat: Instant,
    /// Since when a sign of life is asked for.
    asked: Option<Instant>,
    /// Since when more waits than may.
    over: Option<Instant>,
    /// When the log may be asked again.
    page: Option<Instant>,
    /// When the connection is cut whether or not the other side has understood.
    end: Option<Instant>,
}

/// The transport with what is on its way to it.
struct Wire<T> {
    transport: T,
    notices: VecDeque<Outgoing>,
    /// Since when a write is under way.
    writing: Option<Instant>,
    receiving: bool,
}

enum Io {
    Received(Incoming),
    Written,
    Gone,
}

enum Woken {
    Io(Io),
    Job(Done),
    News,
    Checked,
    Closing,
    Time,
}

impl<T: Transport> Wire<T> {
    fn poll(&mut self, cx: &mut Context<'_>, listen: bool) -> Poll<Io> {
        if listen
            && self.receiving
            && self.notices.len() < MAX_NOTICES
            && let Poll::Ready(incoming) = self.transport.poll_receive(cx)
        {
            self.receiving = !matches!(incoming, Incoming::End | Incoming::TooLong);
            return Poll::Ready(Io::Received(incoming));
        }
        if self.writing.is_some()
            && let Poll::Ready(written) = self.transport.poll_flush(cx)
        {
            self.writing = None;
            return Poll::Ready(if written.is_ok() { Io::Written } else { Io::Gone });
        }
        Poll::Pending
    }

    fn notice(&mut self, kind: &'static str, frame: Bytes) {
        self.notices.push_back(Outgoing::Notice { kind, frame, cursor: None });
    }

    fn send(&mut self, frame: Outgoing) -> Result<(), Gone> {
        self.transport.send(frame)?;
        self.writing.get_or_insert_with(Instant::now);
        Ok(())
    }
}

impl<T: Transport> Session<T> {
    /// A connection of somebody who has yet to say who they are.
    pub fn new(
        hub: Hub,
        slot: ConnectionSlot,
        gate: Arc<dyn Gate>,
        clock: Arc<dyn Clock>,
        manner: Manner,
        transport: T,
    ) -> Self {
        let now = Instant::now();
        Self {
            hub,
            gate,
            clock,
            manner,
            preset: None,
            wire: Wire { transport, notices: VecDeque::new(), writing: None, receiving: true },
            pass: None,
            subscription: None,
            job: None,
            times: Times {
                auth: Some(now + manner.auth_within),
                heartbeat: now + manner.heartbeat,
                asked: None,
                over: None,
                page: None,
                end: None,
            },
            _slot: slot,
        }
    }

    /// The same with an agent that subscriptions are about where they name none.
    pub fn about(mut self, agent: Option<AgentId>) -> Self {
        self.preset = agent;
        self
    }

    /// The same of somebody whose credential came with the request: told at once that it was taken, and subscribed to
    /// everything visible.
    pub fn admitted(mut self, admission: Admission) -> Self {
        let hub = self.hub.clone();
        self.job = Some(Box::pin(async move {
            Done::Admitted { outcome: Ok(admission), head: hub.head().await, subscribe: true }
        }));
        self.times.auth = None;
        self
    }

    /// The same of somebody who has also said what they want; nothing is said of it.
    pub fn subscribed(mut self, pass: Pass, subscription: Subscription, started: &Started) -> Self {
        let now = self.clock.now();
        if let Some(gap) = &started.gap {
            self.wire.notices.push_back(Outgoing::Notice {
                kind: "GAP",
                frame: protocol::gap(now, gap),
                cursor: Some(gap.cursor.clone()),
            });
        }
        self.pass = Some(pass);
        self.subscription = Some(subscription);
        self.times.auth = None;
        self
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) {
        let mut news = self.hub.news();
        let mut closing = self.hub.closing();
        let mut timer = Box::pin(sleep_until(self.deadline()));
        loop {
            news.mark_unchanged();
            if self.advance().is_err() {
                return;
            }
            if self.is_over() {
                return;
            }
            let deadline = self.deadline();
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
            let wants_news = self.wants_news();
            let leaving = self.times.end.is_some();
            // While a question about the client is open, what it says next waits
            let listen = self.job.is_none() || self.subscription.is_some();
            let Self { wire, pass, job, .. } = &mut self;
            let woken = tokio::select! {
                biased;
                io = poll_fn(|cx| wire.poll(cx, listen)) => Woken::Io(io),
                done = pending_or(job) => Woken::Job(done),
                () = checked(pass), if !leaving => Woken::Checked,
                () = told(&mut closing), if !leaving => Woken::Closing,
                // The sender lives in the hub that we hold
                _ = news.changed(), if wants_news => Woken::News,
                () = timer.as_mut() => Woken::Time,
            };
            match woken {
                Woken::Io(Io::Gone) => return,
                Woken::Io(Io::Received(incoming)) => self.receive(incoming),
                Woken::Job(done) => {
                    self.job = None;
                    self.finish(done);
                }
                Woken::Closing => {
                    self.hub.stats().count_cut(Cut::Drain);
                    self.leave(close::GOING_AWAY, "the server goes away");
                }
                Woken::Time => self.check_times(),
                Woken::Io(Io::Written) | Woken::Checked | Woken::News => {}
            }
        }
    }

    /// Whether both sides have said their last.
    fn is_over(&self) -> bool {
        let written = self.wire.writing.is_none() && self.wire.notices.is_empty();
        written && !self.wire.receiving && self.times.end.is_some()
    }

    fn wants_news(&self) -> bool {
        let Some(subscription) = &self.subscription else { return false };
        self.times.end.is_none() && !(self.wire.writing.is_some() && subscription.is_full())
    }

    fn deadline(&self) -> Instant {
        let Times { auth, heartbeat, asked, over, page, end } = &self.times;
        if let Some(end) = end {
            return *end;
        }
        let answer = asked.zip(self.manner.answer_within).map(|(asked, within)| asked + within);
        let over = over.map(|since| since + PATIENCE);
        let stall = self.wire.writing.map(|since| since + STALL);
        let page = page.filter(|_| self.job.is_none());
        [*auth, answer, over, stall, page].into_iter().flatten().fold(*heartbeat, Instant::min)
    }

    fn check_times(&mut self) {
        let now = Instant::now();
        let passed = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if self.times.end.is_some() {
            if passed(self.times.end) {
                self.wire.receiving = false;
                self.wire.notices.clear();
                self.wire.writing = None;
            }
        } else if passed(self.times.auth) {
            self.cut(Cut::Silent, close::NO_AUTH, "AUTH_MISSING_TOKEN", "no AUTH in time", "no AUTH in time");
        } else if passed(self.times.asked.zip(self.manner.answer_within).map(|(asked, within)| asked + within)) {
            self.cut(Cut::Silent, close::GOING_AWAY, "TIMEOUT", "no sign of life", "no sign of life");
        } else if passed(self.times.over.map(|since| since + PATIENCE))
            || passed(self.wire.writing.map(|since| since + STALL))
        {
            let why = "too many frames are waiting to be read";
            self.cut(Cut::Slow, close::TOO_SLOW, "READER_TOO_SLOW", why, "reader too slow");
        } else {
            if passed(self.times.page) {
                self.times.page = None;
            }
            if self.times.heartbeat <= now {
                self.times.heartbeat = now + self.manner.heartbeat;
                self.heartbeat(now);
            }
        }
    }

    /// Nothing while a write is under way: what waits is sign of life enough, and a reader that does not read is not to
    /// be sent more.
    fn heartbeat(&mut self, now: Instant) {
        if self.manner.answer_within.is_some() {
            self.times.asked.get_or_insert(now);
        }
        let admitted = self.pass.is_some();
        if self.wire.writing.is_some() || !admitted {
            return;
        }
        let cursor = self.subscription.as_mut().map(Subscription::mark);
        let frame = protocol::heartbeat(self.clock.now(), cursor.as_ref());
        self.wire.notices.push_back(Outgoing::Heartbeat { frame, cursor });
        if self.manner.answer_within.is_some() {
            self.wire.notices.push_back(Outgoing::Ping);
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        self.times.asked = None;
        if self.times.end.is_some() && !matches!(incoming, Incoming::End) {
            return;
        }
        match incoming {
            Incoming::Life => {}
            Incoming::Text(text) => match ClientFrame::parse(&text) {
                Ok(frame) => self.obey(frame),
                Err(error) => self.complain(error.code.as_str(), &error.message),
            },
            Incoming::Strange(why) => self.complain(ErrorCode::ValidationError.as_str(), why),
            Incoming::TooLong => {
                self.complain(ErrorCode::PayloadTooLarge.as_str(), "a frame has at most 64 KiB");
                self.leave(close::TOO_BIG, "frame too long");
            }
            Incoming::End => {
                self.subscription = None;
                self.job = None;
                self.times.end.get_or_insert(Instant::now() + LINGER);
            }
        }
    }

    fn obey(&mut self, frame: ClientFrame) {
        match (frame, &self.pass) {
            (ClientFrame::Auth { token, subscribe }, None) => {
                let admitted = self.gate.admit(token);
                let hub = self.hub.clone();
                self.times.auth = None;
                self.job = Some(Box::pin(async move {
                    let outcome = admitted.await;
                    let head = hub.head().await;
                    Done::Admitted { outcome, head, subscribe }
                }));
            }
            (ClientFrame::Auth { .. }, Some(_)) => {
                self.complain(ErrorCode::ValidationError.as_str(), "this connection has its credential");
            }
            (ClientFrame::Subscribe { .. }, None) => {
                self.complain(ErrorCode::AuthMissingToken.as_str(), "AUTH comes first");
            }
            (ClientFrame::Subscribe { filter, since, allow_gap }, Some(_)) => self.subscribe(filter, since, allow_gap),
        }
    }

    fn subscribe(&mut self, mut filter: Filter, since: Option<Cursor>, allow_gap: bool) {
        if let (None, Some(agent)) = (&filter.agents, self.preset) {
            filter.agents = Some(vec![agent]);
        }
        let (hub, pass) = (self.hub.clone(), self.pass.clone());
        // What it was about is over; the new place is told
        self.subscription = None;
        self.job = Some(Box::pin(async move {
            let sight = match pass {
                Some(pass) => sight_of(pass).await,
                None => Sight::of([]),
            };
            let outcome = Subscription::start(&hub, filter.within(&sight), since.as_ref(), allow_gap).await;
            Done::Subscribed { outcome }
        }));
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Admitted { outcome: Err(refusal), .. } => self.refuse(&refusal),
            Done::Admitted { outcome: Ok(_), head: Err(error), .. } => self.fail(&error),
            Done::Admitted { outcome: Ok(admission), head: Ok((epoch, head)), subscribe } => {
                self.admit(admission, &epoch, head, subscribe);
            }
            Done::Subscribed { outcome: Ok((subscription, started)) } => {
                let now = self.clock.now();
                let frame = protocol::subscribed(now, subscription.filter(), &started);
                let cursor = Some(started.cursor.clone());
                self.wire.notices.push_back(Outgoing::Notice { kind: "SUBSCRIBED", frame, cursor });
                if let Some(gap) = &started.gap {
                    self.tell_gap(gap);
                }
                self.subscription = Some(subscription);
                self.times.over = None;
                self.times.page = None;
            }
            Done::Subscribed { outcome: Err(StartError::TooOld(gap)) } => self.refuse_gap(&gap),
            Done::Subscribed { outcome: Err(StartError::Log(error)) } => self.fail(&error),
            Done::Page(page) => self.turn(page),
        }
    }

    fn admit(&mut self, admission: Admission, epoch: &Arc<str>, head: i64, subscribe: bool) {
        let Admission { subject, role, pass } = admission;
        if let (Some(agent), Some(Standing::Sees(sight))) = (self.preset, pass.standing())
            && !sight.includes(agent)
        {
            let refusal = Refusal {
                code: ErrorCode::AccessDenied.as_str(),
                message: "this agent is not yours to see".to_owned(),
                transient: false,
            };
            return self.refuse(&refusal);
        }
        let frame = protocol::auth_ok(self.clock.now(), &subject, role, epoch, head);
        self.wire.notice("AUTH_OK", frame);
        self.pass = Some(pass);
        if subscribe {
            // From the head that was just told
            let since = Cursor { epoch: Arc::clone(epoch), seq: head };
            self.subscribe(Filter::default(), Some(since), true);
        }
    }

    fn turn(&mut self, page: Result<Page, LogError>) {
        let Some(subscription) = &mut self.subscription else { return };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a subscriber has to wait for the log");
                self.times.page = Some(Instant::now() + PAUSE);
                return;
            }
        };
        let empty = page.events.is_empty();
        let sight = match self.pass.as_ref().and_then(Pass::standing) {
            Some(Standing::Sees(sight)) => sight,
            // Asked for again once it is known who sees what
            _ => return,
        };
        match subscription.turn(page, &sight) {
            Err(gap) => self.refuse_gap(&gap),
            Ok(gap) => {
                if let Some(gap) = gap {
                    self.tell_gap(&gap);
                }
                if empty {
                    self.times.page = Some(Instant::now() + PAUSE);
                }
            }
        }
    }

    fn tell_gap(&mut self, gap: &Gap) {
        let frame = protocol::gap(self.clock.now(), gap);
        self.wire.notices.push_back(Outgoing::Notice { kind: "GAP", frame, cursor: Some(gap.cursor.clone()) });
    }

    fn refuse_gap(&mut self, gap: &Gap) {
        let why = protocol::too_old(gap);
        self.cut(Cut::Gap, close::TOO_OLD, ErrorCode::CursorTooOld.as_str(), &why, "cursor too old");
    }

    fn refuse(&mut self, refusal: &Refusal) {
        if refusal.transient {
            self.complain(refusal.code, &refusal.message);
            self.leave(close::TRY_LATER, "try again later");
        } else {
            self.cut(Cut::Credential, close::UNAUTHORISED, refusal.code, &refusal.message, "not authorised");
        }
    }

    /// The log does not answer.
    fn fail(&mut self, error: &LogError) {
        tracing::warn!(error = error as &dyn std::error::Error, "a subscription could not begin");
        self.complain(ErrorCode::ServiceUnavailable.as_str(), "the stream cannot be read at the moment");
        self.leave(close::TRY_LATER, "try again later");
    }

    fn complain(&mut self, code: &str, message: &str) {
        let frame = protocol::error(self.clock.now(), code, message);
        self.wire.notice("ERROR", frame);
    }

    fn cut(&mut self, why: Cut, close: u16, code: &str, message: &str, reason: &'static str) {
        self.hub.stats().count_cut(why);
        self.complain(code, message);
        self.leave(close, reason);
    }

    /// Says goodbye. What waits is not sent any more.
    fn leave(&mut self, code: u16, reason: &'static str) {
        self.subscription = None;
        self.job = None;
        self.wire.notices.push_back(Outgoing::Close { code, reason });
        self.times.end = Some(Instant::now() + LINGER);
    }

    /// Hands over what can be handed over, and asks for what is needed to go on.
    fn advance(&mut self) -> Result<(), Gone> {
        if self.times.end.is_some() {
            // Behind what is being written, so that the reason arrives if anything does
            while let Some(notice) = self.wire.notices.pop_front() {
                self.wire.send(notice)?;
            }
            return Ok(());
        }
        let standing = match &self.pass {
            None => None,
            Some(pass) => match pass.standing() {
                Some(Standing::Ended(refusal)) => {
                    self.refuse(&refusal);
                    return self.advance();
                }
                Some(Standing::Sees(sight)) => Some(sight),
                // Nothing more is sent until it is known who sees what
                None => None,
            },
        };
        if self.wire.writing.is_some() {
            if let Some(sight) = &standing {
                self.gather(sight);
            }
            return Ok(());
        }
        while let Some(notice) = self.wire.notices.pop_front() {
            self.wire.send(notice)?;
        }
        let Some(sight) = standing else { return Ok(()) };
        let Some(subscription) = &mut self.subscription else { return Ok(()) };
        let mut behind = false;
        if subscription.is_empty() {
            behind = subscription.scan(&sight, BATCH_FRAMES) == Scan::Behind;
        }
        self.times.over = None;
        let (mut frames, mut bytes) = (0, 0);
        let epoch = subscription.epoch();
        while bytes < BATCH_BYTES
            && let Some((event, frame)) = subscription.next(&sight)
        {
            frames += 1;
            bytes += frame.len();
            self.wire.send(Outgoing::Event { event, frame, epoch: Arc::clone(&epoch) })?;
        }
        if frames > 0 {
            self.hub.stats().count_delivered(frames);
        } else if behind && self.job.is_none() && self.times.page.is_none() {
            let page = subscription.next_page();
            self.job = Some(Box::pin(async move { Done::Page(page.await) }));
        }
        Ok(())
    }

    /// The reader is busy: what comes meanwhile waits, within limits.
    fn gather(&mut self, sight: &Sight) {
        let Some(subscription) = &mut self.subscription else { return };
        let more = subscription.scan(sight, MAX_WAITING_FRAMES);
        // Before it has caught up, what it has missed is no fault of its reading
        if subscription.is_live() && (more == Scan::More || subscription.is_full()) {
            self.times.over.get_or_insert_with(Instant::now);
        }
    }
}
