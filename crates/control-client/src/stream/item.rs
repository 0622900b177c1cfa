//! What a subscription hands out.

use kernel::{AgentId, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// The type of an event, to select by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// What an agent is now.
    StateUpdate,
    /// What has happened to an agent, or to a wider scope.
    AgentEvent,
    /// A budget nears its end.
    CostAlert,
}

impl StreamKind {
    /// Its name in the stream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StateUpdate => "STATE_UPDATE",
            Self::AgentEvent => "AGENT_EVENT",
            Self::CostAlert => "COST_ALERT",
        }
    }
}

/// The next thing of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// Something happened.
    Event(StreamEvent),
    /// Some of what happened is no longer kept: read the state over REST, then go on.
    Gap(StreamGap),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Its place in the whole stream.
    pub seq: i64,
    /// The place before it for this subscription.
    pub prev: i64,
    /// Which numbering.
    pub epoch: String,
    /// When.
    pub timestamp: Timestamp,
    /// The agent it concerns, `None` for wider scopes.
    pub agent: Option<AgentId>,
    /// What.
    pub what: What,
}

impl StreamEvent {
    /// The cursor that must have come before.
    pub(super) fn before(&self) -> String {
        format!("{}:{}", self.epoch, self.prev)
    }
}

/// What happened; `data` as the contract of the stream describes it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// An agent is now in this state, such as `running`.
    StateUpdate {
        /// The state.
        state: String,
        /// Its figures.
        data: Value,
    },
    /// An agent's event, such as `lease_granted`.
    AgentEvent {
        /// Its name.
        event: String,
        /// Ids and figures.
        data: Value,
    },
    /// A budget nears its end.
    CostAlert {
        /// `warning` or `critical`.
        severity: String,
        /// The budget and its figures.
        data: Value,
    },
    /// A type that this version of the crate does not know.
    Other {
        /// Its type.
        kind: String,
        /// Its data.
        data: Value,
    },
}

/// Events that are lost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StreamGap {
    /// The first of them.
    pub from_seq: i64,
    /// The last of them.
    pub to_seq: i64,
    /// `retention`: too old; `epoch`: the store was restored or replaced.
    pub reason: String,
}

#[derive(Deserialize)]
struct Frame {
    r#type: String,
    seq: i64,
    prev: i64,
    epoch: String,
    timestamp: String,
    agent_id: Option<i64>,
    state: Option<String>,
    event: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    data: Value,
}

/// Reads an event's frame; `None` if it is none.
pub(super) fn event(text: &str) -> Option<StreamEvent> {
    let frame: Frame = serde_json::from_str(text).ok()?;
    let Frame { r#type: kind, seq, prev, epoch, timestamp, agent_id, state, event, severity, data } = frame;
    let what = match (kind.as_str(), state, event, severity) {
        ("STATE_UPDATE", Some(state), ..) => What::StateUpdate { state, data },
        ("AGENT_EVENT", _, Some(event), _) => What::AgentEvent { event, data },
        ("COST_ALERT", _, _, Some(severity)) => What::CostAlert { severity, data },
        _ => What::Other { kind, data },
    };
    let timestamp = Timestamp::from_rfc3339(&timestamp)?;
    Some(StreamEvent { seq, prev, epoch, timestamp, agent: agent_id.map(AgentId), what })
}

/// Reads the frame of a gap.
pub(super) fn gap(text: &str) -> Option<StreamGap> {
    serde_json::from_str(text).ok()
}

/// Code and text of an error, as far as there are any.
pub(super) fn error(text: &str) -> (String, String) {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{What, event};

    #[test]
    fn frames_are_read_by_their_types_and_new_types_are_passed_on() {
        let frame = |with: serde_json::Value| {
            let mut frame = json!({
                "seq": 2, "prev": 1, "epoch": "e", "timestamp": "2026-01-15T12:00:00Z", "agent_id": null, "data": {"x": 1},
            });
            for (key, value) in with.as_object().expect("an object") {
                frame[key] = value.clone();
            }
            event(&frame.to_string())
        };
        let data = json!({"x": 1});
        let what = |with| frame(with).map(|event| event.what);
        assert_eq!(
            what(json!({"type": "AGENT_EVENT", "event": "frozen"})),
            Some(What::AgentEvent { event: "frozen".into(), data: data.clone() })
        );
        assert_eq!(
            what(json!({"type": "STATE_UPDATE", "state": "idle"})),
            Some(What::StateUpdate { state: "idle".into(), data: data.clone() })
        );
        assert_eq!(what(json!({"type": "NEWS"})), Some(What::Other { kind: "NEWS".into(), data }));
        assert!(event("{}").is_none() && event("nonsense").is_none());
    }
}
