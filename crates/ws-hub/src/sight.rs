//! Who sees what, and who has asked for what.

use std::collections::HashSet;
use std::sync::Arc;

use kernel::AgentId;

use crate::event::{Event, Kind};

/// What somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Everything, also what concerns no single agent.
    All,
    /// What concerns these agents.
    Agents(Arc<HashSet<AgentId>>),
}

impl Sight {
    /// Of these agents only.
    pub fn of(agents: impl IntoIterator<Item = AgentId>) -> Self {
        Self::Agents(Arc::new(agents.into_iter().collect()))
    }

    /// Whether an agent is seen.
    pub fn includes(&self, agent: AgentId) -> bool {
        match self {
            Self::All => true,
            Self::Agents(agents) => agents.contains(&agent),
        }
    }

    /// Whether an event is seen.
    pub fn shows(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Agents(agents) => event.agent().is_some_and(|agent| agents.contains(&agent)),
        }
    }
}

/// What a subscription is about. What is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Events that concern one of these agents, ascending.
    pub agents: Option<Vec<AgentId>>,
    /// Events of one of these types.
    pub kinds: Option<Vec<Kind>>,
}

impl Filter {
    /// The same without agents that are not seen; in order, each once.
    pub fn within(mut self, sight: &Sight) -> Self {
        if let Some(agents) = &mut self.agents {
            agents.retain(|agent| sight.includes(*agent));
            agents.sort_unstable();
            agents.dedup();
        }
        self
    }

    /// Whether an event is asked for.
    pub fn takes(&self, event: &Event) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind()))
            && self
                .agents
                .as_ref()
                .is_none_or(|agents| event.agent().is_some_and(|agent| agents.binary_search(&agent).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, Timestamp};

    use super::{Filter, Sight};
    use crate::event::{Entry, Event, Kind};

    fn event(agent: Option<i64>, name: &str) -> Event {
        let agent = agent.map(AgentId);
        Event::new("e", Entry { seq: 1, agent, name, payload: "{}", at: Timestamp::EPOCH })
    }

    #[test]
    fn who_sees_agents_sees_nothing_beyond_them() {
        let own = Sight::of([AgentId(1), AgentId(2)]);
        assert!(own.shows(&event(Some(1), "frozen")) && !own.shows(&event(Some(3), "frozen")));
        assert!(!own.shows(&event(None, "COST_ALERT")) && Sight::All.shows(&event(None, "COST_ALERT")));
    }

    #[test]
    fn agents_that_are_not_seen_are_left_out() {
        let filter = Filter { agents: Some([3, 1, 2, 1].map(AgentId).to_vec()), kinds: None };
        let own = filter.clone().within(&Sight::of([AgentId(1), AgentId(3)]));
        assert_eq!(own.agents, Some(vec![AgentId(1), AgentId(3)]));
        assert_eq!(filter.within(&Sight::of([])).agents, Some(vec![]), "nothing is not everything");
    }

    #[test]
    fn agents_and_types_narrow_together() {
        let filter = Filter { agents: Some(vec![AgentId(1)]), kinds: Some(vec![Kind::CostAlert]) };
        assert!(filter.takes(&event(Some(1), "COST_ALERT")));
        for (agent, name) in [(Some(1), "frozen"), (Some(2), "COST_ALERT"), (None, "COST_ALERT")] {
            assert!(!filter.takes(&event(agent, name)));
        }
        assert!(Filter::default().takes(&event(None, "frozen")));
    }
}
