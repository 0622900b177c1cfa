//! Leases by id and by agent.

use std::collections::HashMap;
use std::ops::Deref;

use kernel::{AgentId, LeaseId};

use crate::Lease;

/// Leases by id, and found by agent without looking at the others. Reads like the map of its leases by id.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_id: HashMap<LeaseId, Lease>,
    by_agent: HashMap<AgentId, Vec<LeaseId>>,
}

impl Leases {
    /// Adds a lease, or replaces the one with its id. A lease never changes its agent.
    pub fn insert(&mut self, id: LeaseId, lease: Lease) {
        if let Some(known) = self.by_id.get_mut(&id) {
            *known = lease;
        } else {
            self.by_agent.entry(lease.agent).or_default().push(id.clone());
            self.by_id.insert(id, lease);
        }
    }

    /// Takes a lease out.
    pub fn remove(&mut self, id: &LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(id)?;
        if let Some(of_agent) = self.by_agent.get_mut(&lease.agent) {
            of_agent.retain(|other| other != id);
        }
        Some(lease)
    }

    /// Keeps those that `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(&Lease) -> bool) {
        self.by_id.retain(|_, lease| keep(lease));
        let by_id = &self.by_id;
        self.by_agent.retain(|_, of_agent| {
            of_agent.retain(|id| by_id.contains_key(id));
            !of_agent.is_empty()
        });
    }

    /// The leases of one agent.
    pub fn of(&self, agent: AgentId) -> impl Iterator<Item = &Lease> {
        let of_agent = self.by_agent.get(&agent).map_or(&[][..], Vec::as_slice);
        of_agent.iter().filter_map(|id| self.by_id.get(id))
    }
}

impl Deref for Leases {
    type Target = HashMap<LeaseId, Lease>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl Extend<(LeaseId, Lease)> for Leases {
    fn extend<T: IntoIterator<Item = (LeaseId, Lease)>>(&mut self, leases: T) {
        for (id, lease) in leases {
            self.insert(id, lease);
        }
    }
}

impl IntoIterator for Leases {
    type Item = (LeaseId, Lease);
    type IntoIter = std::collections::hash_map::IntoIter<LeaseId, Lease>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_id.into_iter()
    }
}
