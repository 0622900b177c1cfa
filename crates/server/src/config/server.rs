//! `[server]`: the listening socket and what it accepts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use super::types::{Network, Origin};

/// The listening socket and what it accepts.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address to listen on. `0.0.0.0` or `::` for all interfaces.
    pub host: IpAddr,
    /// The port to listen on. 0 lets the system choose one; it is printed at start.
    pub port: u16,
    /// Address and port in one, such as `127.0.0.1:3001`; takes the place of `host` and `port`.
    pub address: Option<SocketAddr>,
    /// Proxies in front of the server, as addresses or networks. Only from these is `X-Forwarded-For` believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins of pages that may use the API (CORS) and open WebSockets, such as `https://dashboard.example`.
    pub allowed_origins: Vec<Origin>,
    /// Connections open at once; further ones wait until one is closed.
    pub max_connections: u32,
    /// Seconds in which the head of a request must be complete. Also how long an idle connection is kept.
    pub header_timeout_s: u32,
    /// Seconds in which the body of a request must be complete.
    pub body_timeout_s: u32,
    /// Seconds after which a reading request is given up with 504.
    pub read_timeout_s: u32,
    /// Mebibytes that large request bodies may occupy together; beyond them requests are answered 503.
    pub body_memory_mib: u32,
    /// Seconds that requests under way are given to finish when the server is told to stop.
    pub drain_timeout_s: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 3001,
            address: None,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            max_connections: 10_000,
            header_timeout_s: 75,
            body_timeout_s: 30,
            read_timeout_s: 30,
            body_memory_mib: 256,
            drain_timeout_s: 20,
        }
    }
}

impl ServerConfig {
    /// Where to listen.
    pub fn listen(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| SocketAddr::new(self.host, self.port))
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        problems.range("server.max_connections", self.max_connections, 1, 1_000_000);
        problems.range("server.header_timeout_s", self.header_timeout_s, 1, 3_600);
        problems.range("server.body_timeout_s", self.body_timeout_s, 1, 3_600);
        problems.range("server.read_timeout_s", self.read_timeout_s, 1, 3_600);
        // At least two batches of events
        problems.range("server.body_memory_mib", self.body_memory_mib, 16, 65_536);
        problems.range("server.drain_timeout_s", self.drain_timeout_s, 0, 3_600);
    }
}
