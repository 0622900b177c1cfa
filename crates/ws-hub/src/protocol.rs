//! The frames beside events.

use std::str::FromStr;

use bytes::Bytes;
use kernel::{AgentId, ErrorCode, Secret, Timestamp};
use serde_json::{Map, Value, json};

use crate::cursor::Cursor;
use crate::event::Kind;
use crate::sight::Filter;
use crate::subscription::{Gap, Started};

/// Codes with which connections are closed.
pub mod close {
    /// The server goes away; come back.
    pub const GOING_AWAY: u16 = 1001;
    /// A frame was longer than frames may be.
    pub const TOO_BIG: u16 = 1009;
    /// The server cannot do it at the moment; come back.
    pub const TRY_LATER: u16 = 1013;
    /// Not authorised, or no longer.
    pub const UNAUTHORISED: u16 = 4401;
    /// No `AUTH` in time.
    pub const NO_AUTH: u16 = 4408;
    /// The reader is too slow.
    pub const TOO_SLOW: u16 = 4409;
    /// What was missed is no longer kept.
    pub const TOO_OLD: u16 = 4410;
}

/// Most agents that one subscription names.
const MAX_AGENTS: usize = 10_000;

/// What a client may say.
pub enum ClientFrame {
    /// Who it is.
    Auth {
        /// A user's token or an IC token.
        token: Secret<String>,
        /// Whether it wants everything visible from now on.
        subscribe: bool,
    },
    /// What it wants.
    Subscribe {
        /// About what.
        filter: Filter,
        /// After which place.
        since: Option<Cursor>,
        /// Whether it puts up with gaps.
        allow_gap: bool,
    },
}

/// A frame that will not do. The connection stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// The same for people.
    pub message: String,
}

impl FrameError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationError, message)
    }
}

impl ClientFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not exactly one of the frames: not JSON, not an object, another type, a key
    /// that the type does not have, a value that the key cannot have.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return Err(FrameError::new(ErrorCode::MalformedJson, "the frame is not JSON"));
        };
        let Value::Object(mut keys) = value else {
            return Err(FrameError::invalid("a frame is a JSON object"));
        };
        let kind = keys.remove("type");
        match kind.as_ref().and_then(Value::as_str) {
            Some("AUTH") => Self::auth(Keys(keys)),
            Some("SUBSCRIBE") => Self::subscribe(Keys(keys)),
            Some(other) => {
                let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(FrameError::invalid(format!("unknown type {shown}: it must be AUTH or SUBSCRIBE")))
            }
            None => Err(FrameError::invalid("type must be AUTH or SUBSCRIBE")),
        }
    }

    fn auth(mut keys: Keys) -> Result<Self, FrameError> {
        let (token, ic_token) = (keys.text("token")?, keys.text("ic_token")?);
        let subscribe = keys.flag("subscribe")?.unwrap_or(true);
        keys.finish()?;
        match token.or(ic_token).filter(|token| !token.is_empty()) {
            Some(token) => Ok(Self::Auth { token: Secret::new(token), subscribe }),
            None => Err(FrameError::invalid("token is required")),
        }
    }

    fn subscribe(mut keys: Keys) -> Result<Self, FrameError> {
        let agents = keys.list("agent_ids", "agents' ids", agent)?;
        let kinds =
            keys.list("types", "STATE_UPDATE, AGENT_EVENT and COST_ALERT", |v| v.as_str().and_then(Kind::parse))?;
        let since = match keys.text("since")? {
            Some(text) => Some(Cursor::from_str(&text).map_err(|bad| FrameError::invalid(format!("since is {bad}")))?),
            None => None,
        };
        let allow_gap = keys.flag("allow_gap")?.unwrap_or(false);
        keys.finish()?;
        Ok(Self::Subscribe { filter: Filter { agents, kinds }, since, allow_gap })
    }
}

/// A number, or the text forms that are taken everywhere.
fn agent(value: &Value) -> Option<AgentId> {
    match value {
        Value::Number(number) => number.as_i64().map(AgentId),
        Value::String(text) => AgentId::parse(text),
        _ => None,
    }
}

/// The keys of a frame that have not been read yet.
struct Keys(Map<String, Value>);

impl Keys {
    /// `null` is the same as absent.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, FrameError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(_) => Err(FrameError::invalid(format!("{key} must be a string"))),
        }
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, FrameError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(FrameError::invalid(format!("{key} must be true or false"))),
        }
    }

    fn list<T>(
        &mut self,
        key: &str,
        of: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, FrameError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let items = value.as_array().filter(|items| items.len() <= MAX_AGENTS);
        let read: Option<Vec<T>> = items.and_then(|items| items.iter().map(read).collect());
        read.map(Some).ok_or_else(|| FrameError::invalid(format!("{key} must be a list of {of}")))
    }

    fn finish(self) -> Result<(), FrameError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => {
                let shown: String = key.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(FrameError::invalid(format!("unknown key {shown}")))
            }
        }
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

pub(crate) fn auth_ok(at: Timestamp, subject: &str, role: Option<&str>, epoch: &str, head: i64) -> Bytes {
    bytes(&json!({
        "type": "AUTH_OK", "timestamp": at.to_rfc3339(), "subject": subject, "role": role, "epoch": epoch, "head": head,
    }))
}

pub(crate) fn subscribed(at: Timestamp, filter: &Filter, started: &Started) -> Bytes {
    let agents = filter.agents.as_ref().map(|agents| agents.iter().map(|agent| agent.0).collect::<Vec<_>>());
    let kinds = filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    bytes(&json!({
        "type": "SUBSCRIBED", "timestamp": at.to_rfc3339(), "agent_ids": agents, "types": kinds,
        "cursor": started.cursor.to_string(), "replaying": started.replaying,
    }))
}

pub(crate) fn heartbeat(at: Timestamp, cursor: Option<&Cursor>) -> Bytes {
    let cursor = cursor.map(Cursor::to_string);
    bytes(&json!({ "type": "HEARTBEAT", "timestamp": at.to_rfc3339(), "cursor": cursor }))
}

/// With the place after it, which may be of another epoch.
pub(crate) fn gap(at: Timestamp, gap: &Gap) -> Bytes {
    bytes(&json!({
        "type": "GAP", "timestamp": at.to_rfc3339(), "from_seq": gap.from, "to_seq": gap.to, "reason": gap.reason.as_str(),
        "cursor": gap.cursor.to_string(),
    }))
}

pub(crate) fn error(at: Timestamp, code: &str, message: &str) -> Bytes {
    bytes(&json!({ "type": "ERROR", "timestamp": at.to_rfc3339(), "error": message, "code": code, "message": message }))
}

/// What goes with a close where something is lost.
pub(crate) fn too_old(gap: &Gap) -> String {
    match gap.reason {
        crate::GapReason::Retention => format!("events {} to {} are no longer kept", gap.from, gap.to),
        crate::GapReason::Epoch => "the cursor is of another epoch: the store was restored or replaced".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, ErrorCode};

    use super::ClientFrame;
    use crate::event::Kind;

    fn refused(text: &str) -> (ErrorCode, String) {
        match ClientFrame::parse(text) {
            Ok(_) => panic!("{text} is taken"),
            Err(error) => (error.code, error.message),
        }
    }

    #[test]
    fn a_credential_may_have_either_name() {
        for text in [r#"{"type":"AUTH","token":" t "}"#, r#"{"type":"AUTH","ic_token":"t","token":null}"#] {
            let Ok(ClientFrame::Auth { token, subscribe }) = ClientFrame::parse(text) else { panic!("{text}") };
            assert_eq!((token.expose().as_str(), subscribe), ("t", true));
        }
        let Ok(ClientFrame::Auth { subscribe, .. }) =
            ClientFrame::parse(r#"{"type":"AUTH","token":"t","subscribe":false}"#)
        else {
            panic!("taken")
        };
        assert!(!subscribe);
    }

    #[test]
    fn a_subscription_is_read_with_all_it_may_have() {
        let text = r#"{"type":"SUBSCRIBE","agent_ids":[3,"4","agent_5"],"types":["COST_ALERT"],"since":"e:7","allow_gap":true}"#;
        let Ok(ClientFrame::Subscribe { filter, since, allow_gap }) = ClientFrame::parse(text) else { panic!("taken") };
        assert_eq!(filter.agents, Some([3, 4, 5].map(AgentId).to_vec()));
        assert_eq!(filter.kinds, Some(vec![Kind::CostAlert]));
        assert_eq!((since.map(|c| c.to_string()).as_deref(), allow_gap), (Some("e:7"), true));
        let Ok(ClientFrame::Subscribe { filter, since, allow_gap }) = ClientFrame::parse(r#"{"type":"SUBSCRIBE"}"#)
        else {
            panic!("taken")
        };
        assert!(filter.agents.is_none() && filter.kinds.is_none() && since.is_none() && !allow_gap);
    }

    #[test]
    fn anything_else_is_named() {
        assert_eq!(refused("{").0, ErrorCode::MalformedJson);
        for (text, named) in [
            ("[]", "object"),
            ("{}", "type"),
            (r#"{"type":"PUBLISH"}"#, "PUBLISH"),
            (r#"{"type":"AUTH"}"#, "token"),
            (r#"{"type":"AUTH","token":5}"#, "token"),
            (r#"{"type":"AUTH","token":"t","x":1}"#, "unknown key x"),
            (r#"{"type":"SUBSCRIBE","agent_ids":[1.5]}"#, "agent_ids"),
            (r#"{"type":"SUBSCRIBE","types":["HEARTBEAT"]}"#, "types"),
            (r#"{"type":"SUBSCRIBE","since":"7"}"#, "since"),
            (r#"{"type":"SUBSCRIBE","allow_gap":"yes"}"#, "allow_gap"),
            (r#"{"type":"SUBSCRIBE","topic":"x"}"#, "unknown key topic"),
        ] {
            let (code, message) = refused(text);
            assert!(code == ErrorCode::ValidationError && message.contains(named), "{text}: {message}");
        }
    }
}
