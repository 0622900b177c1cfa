//! A log in memory, people whose rights change, and clients at the other end of a channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use kernel::{AgentId, Clock, ManualClock, Secret, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::{
    Admission, Boxed, Check, Entry, Event, Gate, Gone, Hub, HubSettings, Incoming, Log, LogError, Manner, Outgoing,
    Page, Passes, Refusal, Session, Sight, Standing, Transport,
};

struct Row {
    agent: Option<i64>,
    name: &'static str,
}

struct Stored {
    epoch: String,
    /// Those from `oldest` on.
    rows: Vec<Row>,
    oldest: i64,
    broken: bool,
    asked: usize,
}

/// A log in memory.
#[derive(Clone)]
pub(crate) struct MemoryLog {
    stored: Arc<Mutex<Stored>>,
    changes: watch::Sender<u64>,
}

impl MemoryLog {
    fn new() -> Self {
        let stored = Stored { epoch: "e1".into(), rows: Vec::new(), oldest: 1, broken: false, asked: 0 };
        Self { stored: Arc::new(Mutex::new(stored)), changes: watch::Sender::new(0) }
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().expect("not poisoned")
    }

    /// Commits an event; returns its place.
    pub(crate) fn emit(&self, agent: Option<i64>, name: &'static str) -> i64 {
        let mut stored = self.stored();
        stored.rows.push(Row { agent, name });
        let seq = stored.oldest + i64::try_from(stored.rows.len()).expect("few") - 1;
        drop(stored);
        self.changes.send_modify(|n| *n += 1);
        seq
    }

    pub(crate) fn emit_many(&self, agent: Option<i64>, count: usize) {
        for _ in 0..count {
            self.emit(agent, "llm_call");
        }
    }

    /// Forgets events up to a place.
    pub(crate) fn prune(&self, up_to: i64) {
        let mut stored = self.stored();
        while stored.oldest <= up_to && !stored.rows.is_empty() {
            stored.rows.remove(0);
            stored.oldest += 1;
        }
    }

    /// The store was replaced by another one.
    pub(crate) fn replace(&self, epoch: &str, last: i64) {
        let mut stored = self.stored();
        stored.epoch = epoch.into();
        stored.rows.clear();
        stored.oldest = last + 1;
        drop(stored);
        self.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn set_broken(&self, broken: bool) {
        self.stored().broken = broken;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.stored().asked
    }
}

impl Log for MemoryLog {
    fn page(&self, after: i64, limit: u32) -> Boxed<'_, Result<Page, LogError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut stored = self.stored();
            stored.asked += 1;
            if stored.broken {
                return Err(LogError("out of order".into()));
            }
            let epoch: Arc<str> = stored.epoch.as_str().into();
            let last = stored.oldest + i64::try_from(stored.rows.len()).expect("few") - 1;
            let rows = (stored.oldest..).zip(&stored.rows).filter(|(seq, _)| *seq > after).take(limit as usize);
            let events = rows.map(|(seq, row)| {
                let agent = row.agent.map(AgentId);
                Event::new(&epoch, Entry { seq, agent, name: row.name, payload: "{}", at: Timestamp::EPOCH })
            });
            Ok(Page { events: events.collect(), last, epoch })
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Tokens and what they are worth.
#[derive(Clone, Default)]
struct People(Arc<Mutex<HashMap<String, Standing>>>);

struct OneOf(People, String);

impl Check for OneOf {
    fn check(&self) -> Boxed<'_, Option<Standing>> {
        Box::pin(async { self.0.0.lock().expect("not poisoned").get(&self.1).cloned() })
    }
}

#[derive(Clone)]
struct Door {
    people: People,
    passes: Passes,
}

impl Gate for Door {
    fn admit(&self, token: Secret<String>) -> Boxed<'static, Result<Admission, Refusal>> {
        let (people, passes, name) = (self.people.clone(), self.passes.clone(), token.expose().clone());
        Box::pin(async move {
            let keys = vec![name.clone()];
            let issued = passes.issue(name.clone(), keys, Box::new(OneOf(people, name.clone()))).await;
            match issued {
                Some((pass, Standing::Sees(_))) => Ok(Admission { subject: format!("user_{name}"), role: None, pass }),
                Some((_, Standing::Ended(refusal))) => Err(refusal),
                None => Err(refusal("AUTH_INVALID_TOKEN")),
            }
        })
    }
}

fn refusal(code: &'static str) -> Refusal {
    Refusal { code, message: "no".into(), transient: false }
}

/// A hub that reads a log in memory.
pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) hub: Hub,
    door: Door,
    clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(HubSettings::default())
    }

    pub(crate) fn with(settings: HubSettings) -> Self {
        let log = MemoryLog::new();
        let hub = Hub::new(Arc::new(log.clone()), settings);
        let door = Door { people: People::default(), passes: Passes::default() };
        let (tail, keeper) = (hub.clone(), door.passes.clone());
        tokio::spawn(async move { tail.tail().await });
        tokio::spawn(async move { keeper.keep(Duration::from_secs(8)).await });
        let world = Self { log, hub, door, clock: Arc::new(ManualClock::new(Timestamp::EPOCH)) };
        world.let_see("admin", Sight::All);
        world
    }

    /// Changes what a token shows.
    pub(crate) fn let_see(&self, token: &str, sight: Sight) {
        self.set(token, Standing::Sees(sight));
    }

    /// Nothing can be found out about a token.
    pub(crate) fn forget(&self, token: &str) {
        self.door.people.0.lock().expect("not poisoned").remove(token);
        self.door.passes.touch(&[token]);
    }

    /// Ends a token.
    pub(crate) fn end(&self, token: &str) {
        self.set(token, Standing::Ended(refusal("AUTH_TOKEN_REVOKED")));
    }

    fn set(&self, token: &str, standing: Standing) {
        self.door.people.0.lock().expect("not poisoned").insert(token.to_owned(), standing);
        self.door.passes.touch(&[token]);
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&self) -> Client {
        self.connect_about(None)
    }

    pub(crate) fn connect_about(&self, agent: Option<i64>) -> Client {
        let (to_server, incoming) = mpsc::unbounded_channel();
        let (outgoing, frames) = mpsc::unbounded_channel();
        let open = watch::Sender::new(true);
        let transport = Channel { incoming, outgoing, open: open.subscribe(), waiter: None };
        let slot = self.hub.connect().expect("room");
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let gate = Arc::new(self.door.clone());
        let session = Session::new(self.hub.clone(), slot, gate, clock, Manner::WEB_SOCKET, transport);
        tokio::spawn(session.about(agent.map(AgentId)).run());
        Client { to_server, frames, open, last: None }
    }

    /// A connection with a credential and no subscription.
    pub(crate) async fn admitted(&self, token: &str) -> Client {
        let mut client = self.connect();
        client.say(json!({"type": "AUTH", "token": token, "subscribe": false}));
        assert_eq!(client.hear().await["type"], "AUTH_OK");
        client
    }

    /// A connection that is subscribed; returns the frame that says so as well.
    pub(crate) async fn subscribed(&self, token: &str, mut wish: Value) -> (Client, Value) {
        let mut client = self.admitted(token).await;
        wish["type"] = "SUBSCRIBE".into();
        client.say(wish);
        let answer = client.hear().await;
        assert_eq!(answer["type"], "SUBSCRIBED", "{answer}");
        (client, answer)
    }
}

/// The server's end of a connection in memory.
struct Channel {
    incoming: mpsc::UnboundedReceiver<Incoming>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Whether the client reads.
    open: watch::Receiver<bool>,
    waiter: Option<Boxed<'static, ()>>,
}

impl Transport for Channel {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        self.incoming.poll_recv(cx).map(|incoming| incoming.unwrap_or(Incoming::End))
    }

    fn send(&mut self, frame: Outgoing) -> Result<(), Gone> {
        self.outgoing.send(frame).map_err(|_| Gone)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.outgoing.is_closed() {
            return Poll::Ready(Err(Gone));
        }
        if *self.open.borrow() {
            self.waiter = None;
            return Poll::Ready(Ok(()));
        }
        let mut open = self.open.clone();
        let waiter =
            self.waiter.get_or_insert_with(|| Box::pin(async move { drop(open.wait_for(|open| *open).await) }));
        waiter.as_mut().poll(cx).map(|()| Ok(()))
    }
}

/// The client's end.
pub(crate) struct Client {
    to_server: mpsc::UnboundedSender<Incoming>,
    frames: mpsc::UnboundedReceiver<Outgoing>,
    open: watch::Sender<bool>,
    /// The last event or cursor.
    pub(crate) last: Option<String>,
}

/// What a client hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Frame(Value),
    Ping,
    Close(u16),
    End,
}

impl Client {
    pub(crate) fn say(&self, frame: Value) {
        self.say_text(&frame.to_string());
    }

    pub(crate) fn say_text(&self, text: &str) {
        let _ = self.to_server.send(Incoming::Text(text.to_owned()));
    }

    pub(crate) fn give_life(&self) {
        let _ = self.to_server.send(Incoming::Life);
    }

    /// Stops or goes on reading.
    pub(crate) fn read(&self, reads: bool) {
        self.open.send_replace(reads);
    }

    pub(crate) async fn next(&mut self) -> Heard {
        let heard = timeout(Duration::from_secs(300), self.frames.recv()).await.expect("something is heard");
        let read = |frame: &[u8]| serde_json::from_slice::<Value>(frame).expect("JSON");
        match heard {
            None => Heard::End,
            Some(Outgoing::Ping) => Heard::Ping,
            Some(Outgoing::Close { code, .. }) => Heard::Close(code),
            Some(Outgoing::Event { frame, epoch, event }) => {
                let (frame, seen) = (read(&frame), self.last.replace(format!("{epoch}:{}", event.seq())));
                if let Some(seen) = seen {
                    assert_eq!(seen, format!("{epoch}:{}", frame["prev"]), "nothing was lost");
                }
                Heard::Frame(frame)
            }
            Some(Outgoing::Heartbeat { frame, cursor } | Outgoing::Notice { frame, cursor, .. }) => {
                if let Some(cursor) = cursor {
                    self.last = Some(cursor.to_string());
                }
                Heard::Frame(read(&frame))
            }
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Heard::Frame(frame) => return frame,
                Heard::Ping => self.give_life(),
                other => panic!("a frame was expected: {other:?}"),
            }
        }
    }

    /// The places of the next events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let frame = self.hear().await;
            if let Some(seq) = frame["seq"].as_i64() {
                seen.push(seq);
            } else {
                assert_eq!(frame["type"], "HEARTBEAT", "{frame}");
            }
        }
        seen
    }

    /// The code of the error before the end, and of the close.
    pub(crate) async fn end(&mut self) -> (String, u16) {
        let mut code = String::new();
        loop {
            match self.next().await {
                Heard::Frame(frame) if frame["type"] == "ERROR" => {
                    code = frame["code"].as_str().unwrap_or_default().to_owned();
                }
                Heard::Close(number) => return (code, number),
                Heard::End => panic!("it ended without a close"),
                _ => {}
            }
        }
    }

    /// Whether nothing is heard for a while.
    pub(crate) async fn hears_nothing(&mut self) -> bool {
        timeout(Duration::from_secs(5), self.frames.recv()).await.is_err()
    }
}
