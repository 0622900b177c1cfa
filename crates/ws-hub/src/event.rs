//! An event as it is sent, made once and shared by everybody who sees it.

use std::ops::Range;

use bytes::Bytes;
use kernel::{AgentId, Timestamp};

/// Longest payload that is told as it is, in bytes; with its frame it stays below [`crate::MAX_FRAME_BYTES`].
const MAX_PAYLOAD_BYTES: usize = 63 << 10;

/// The type of an event's frame, and what subscriptions select by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What an agent is now.
    StateUpdate,
    /// What has happened to an agent, or to a wider scope.
    AgentEvent,
    /// A budget nears its end.
    CostAlert,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::StateUpdate, Kind::AgentEvent, Kind::CostAlert];

    /// Its name in frames.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StateUpdate => "STATE_UPDATE",
            Self::AgentEvent => "AGENT_EVENT",
            Self::CostAlert => "COST_ALERT",
        }
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// By the name under which a log keeps it: the type of the frame, or the name of an agent's event.
    fn of(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::AgentEvent)
    }
}

/// What a log has of an event.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its place, 1, 2, 3 … without holes.
    pub seq: i64,
    /// The agent it concerns, `None` for wider scopes.
    pub agent: Option<AgentId>,
    /// `STATE_UPDATE`, `COST_ALERT`, or the name of an agent's event, such as `lease_granted`.
    pub name: &'a str,
    /// A JSON object: for an agent's event its `data`, otherwise the keys that its type adds to the frame.
    pub payload: &'a str,
    /// When it happened.
    pub at: Timestamp,
}

/// An event and its frame.
#[derive(Debug)]
pub struct Event {
    seq: i64,
    agent: Option<AgentId>,
    kind: Kind,
    /// The frame for whoever has seen the event before it.
    text: Bytes,
    /// Where `prev` stands in it.
    prev: Range<usize>,
}

impl Event {
    /// Writes the frame of an event of that epoch.
    pub fn new(epoch: &str, entry: Entry<'_>) -> Self {
        use std::fmt::Write as _;
        let kind = Kind::of(entry.name);
        let mut text = String::with_capacity(entry.payload.len() + 192);
        // Writing to a string does not fail
        let _ = write!(text, r#"{{"type":"{}","seq":{},"prev":"#, kind.as_str(), entry.seq);
        let start = text.len();
        let _ = write!(text, "{}", entry.seq - 1);
        let prev = start..text.len();
        let _ = write!(text, r#","epoch":"{epoch}","timestamp":"{}","agent_id":"#, entry.at.to_rfc3339());
        let _ = match entry.agent {
            Some(agent) => write!(text, "{}", agent.0),
            None => text.write_str("null"),
        };
        let payload = object(entry);
        if kind == Kind::AgentEvent {
            let _ = write!(text, r#","event":{},"data":{payload}}}"#, serde_json::Value::from(entry.name));
        } else if payload.len() > 2 {
            // The payload's own keys, after ours
            text.push(',');
            text.push_str(&payload[1..]);
        } else {
            text.push('}');
        }
        if text.contains(['\n', '\r']) {
            // Allowed between the tokens of JSON; frames are lines in server-sent events
            text = text.replace(['\n', '\r'], " ");
        }
        Self { seq: entry.seq, agent: entry.agent, kind, text: Bytes::from(text), prev }
    }

    /// Its place.
    pub const fn seq(&self) -> i64 {
        self.seq
    }

    /// The agent it concerns.
    pub const fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Length of its frame in bytes, give or take the digits of `prev`.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// Its frame, UTF-8 without line breaks, for a subscription whose last event or cursor was `prev`.
    pub fn frame(&self, prev: i64) -> Bytes {
        if prev == self.seq - 1 {
            return self.text.clone();
        }
        let mut digits = [0_u8; 20];
        let digits = decimal(prev, &mut digits);
        let mut text = Vec::with_capacity(self.text.len() + digits.len());
        text.extend_from_slice(&self.text[..self.prev.start]);
        text.extend_from_slice(digits);
        text.extend_from_slice(&self.text[self.prev.end..]);
        Bytes::from(text)
    }
}

/// The payload, if it can be told.
fn object(entry: Entry<'_>) -> &str {
    let payload = entry.payload.trim();
    if payload.len() <= MAX_PAYLOAD_BYTES && payload.starts_with('{') && payload.ends_with('}') {
        return payload;
    }
    // A defect of whoever wrote it, which must not end the stream
    tracing::error!(seq = entry.seq, name = entry.name, bytes = payload.len(), "an event's payload cannot be told");
    "{}"
}

fn decimal(number: i64, buffer: &mut [u8; 20]) -> &[u8] {
    use std::io::Write as _;
    let mut rest = &mut buffer[..];
    // An i64 has at most 20 characters
    let _ = write!(rest, "{number}");
    let left = rest.len();
    &buffer[..20 - left]
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, Timestamp};
    use serde_json::{Value, json};

    use super::{Entry, Event, Kind};

    fn read(name: &str, agent: Option<i64>, payload: &str, prev: i64) -> Value {
        let at = Timestamp::from_millis(1_700_000_000_250);
        let event = Event::new("e1", Entry { seq: 12, agent: agent.map(AgentId), name, payload, at });
        serde_json::from_slice(&event.frame(prev)).expect("a frame is JSON")
    }

    #[test]
    fn what_happened_to_an_agent_is_named_and_has_its_data_apart() {
        assert_eq!(
            read("llm_call", Some(3), r#"{"model":"m"}"#, 11),
            json!({
                "type": "AGENT_EVENT", "seq": 12, "prev": 11, "epoch": "e1", "timestamp": "2023-11-14T22:13:20.25Z",
                "agent_id": 3, "event": "llm_call", "data": {"model": "m"},
            })
        );
    }

    #[test]
    fn states_and_alerts_add_their_keys_to_the_frame() {
        let state = read("STATE_UPDATE", Some(3), r#"{"state":"idle","data":{"leased":1}}"#, 4);
        assert_eq!((&state["state"], &state["data"]["leased"]), (&json!("idle"), &json!(1)));
        assert_eq!((&state["prev"], &state["event"]), (&json!(4), &Value::Null));
        let alert = read("COST_ALERT", None, r#"{"severity":"warning","data":{}}"#, 0);
        assert_eq!((&alert["agent_id"], &alert["severity"]), (&Value::Null, &json!("warning")));
        assert_eq!(read("COST_ALERT", None, "{}", 0)["seq"], 12);
    }

    #[test]
    fn the_frame_is_shared_where_nothing_lies_between() {
        let entry = Entry { seq: 12, agent: None, name: "frozen", payload: "{}", at: Timestamp::EPOCH };
        let event = Event::new("e1", entry);
        assert_eq!(event.frame(11).as_ptr(), event.frame(11).as_ptr());
        for prev in [0, 7, 10, 1_234_567_890_123] {
            let frame: Value = serde_json::from_slice(&event.frame(prev)).expect("JSON");
            assert_eq!(frame["prev"], prev);
        }
    }

    #[test]
    fn a_payload_that_cannot_be_told_does_not_end_the_stream() {
        let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(70_000));
        for bad in ["", "[]", "7", long.as_str()] {
            assert_eq!(read("frozen", None, bad, 11)["data"], json!({}), "{}", bad.len());
        }
        assert_eq!(read("frozen", None, "{\"a\":\n1}", 11)["data"]["a"], 1);
        let entry = Entry { seq: 1, agent: None, name: "frozen", payload: "{\n}", at: Timestamp::EPOCH };
        assert!(!Event::new("e", entry).frame(0).contains(&b'\n'));
    }

    #[test]
    fn kinds_are_read_by_their_names() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("HEARTBEAT"), None);
    }
}
