//! `[stream]`: the live stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// The live stream. Pages that may open WebSockets are those of `server.allowed_origins`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// WebSockets and streams of server-sent events open at once; further ones are answered 503.
    pub max_connections: u32,
    /// Seconds for which events are kept, so that clients that come back get what they missed.
    pub retention_s: u32,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { max_connections: 10_000, retention_s: 86_400 }
    }
}

impl StreamConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.range("stream.max_connections", self.max_connections, 1, 1_000_000);
        problems.range("stream.retention_s", self.retention_s, 60, 31_536_000);
    }
}
