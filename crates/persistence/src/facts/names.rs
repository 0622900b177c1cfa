//! The names that facts go by: ids of events and of reports.

use kernel::AgentId;
use sha2::{Digest, Sha256};

/// A name as it is stored: the first 63 bits of its SHA-256. What is found by it is compared with the name itself.
pub(crate) fn hash_of(name: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1).cast_signed()
}

/// A name of a fact of an agent, as it is stored and looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) agent: AgentId,
    pub(super) hash: i64,
}

impl Name {
    pub(super) fn new(agent: AgentId, name: &str) -> Self {
        Self { agent, hash: hash_of(name) }
    }
}

/// The names of one fact: the id of its event, that of the report which the event names, and that of its report. Each once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    names: [Option<Name>; 3],
    /// Whether the first is that of the event.
    of_event: bool,
}

impl Names {
    /// Of the ids, as they are.
    pub(super) fn new(agent: AgentId, event: Option<&str>, named: Option<&str>, report: Option<&str>) -> Self {
        let named = named.filter(|named| Some(*named) != event);
        let report = report.filter(|report| Some(*report) != event && Some(*report) != named);
        let names = [event, named, report].map(|name| name.map(|name| Name::new(agent, name)));
        Self { names, of_event: event.is_some() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Name> + use<> {
        self.names.into_iter().flatten()
    }

    pub(super) fn contains(&self, name: Name) -> bool {
        self.names.contains(&Some(name))
    }

    /// Whether the name is the id of the event.
    pub(super) fn is_of_event(&self, name: Name) -> bool {
        self.of_event && self.names[0] == Some(name)
    }
}
