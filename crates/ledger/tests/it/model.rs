//! The rules a second time, told by definition: nothing but lists of facts, every figure counted anew from them.
//!
//! The model shares the vocabulary of commands with the ledger and nothing of its arithmetic: no running balance, no
//! stretch of life, no window start. It is slow and plain on purpose.

use std::sync::LazyLock;

use kernel::{AgentId, BudgetNo, EndedBy, LeaseId, LeaseState, Money, ProjectId, Timestamp, UserId, Window, Zone};
use ledger::Scope;

use crate::verdict::Amounts;

/// The time zones of the histories: half and quarter hours, both hemispheres, clocks that change at midnight.
pub(crate) static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| {
    let names =
        ["UTC", "Europe/Zurich", "Asia/Kathmandu", "America/New_York", "Pacific/Apia", "America/Nuuk", "Africa/Cairo"];
    names.iter().map(|name| name.parse().expect("a time zone")).collect()
});

/// One thing that is known about a lease, in the order in which it became known.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A sign of life, of the agent or on the lease itself.
    Life(Timestamp),
    /// Somebody looked at the lease, and would have noticed that it has run out.
    Look(Timestamp),
    Report {
        id: String,
        cost: Money,
    },
    Event {
        cost: Money,
    },
    Stated(Money),
    Counter(i64),
    Claim(Money),
    Revoked(Timestamp),
    Decided(Money),
    Closed {
        at: Timestamp,
        by: EndedBy,
        successor: Option<LeaseId>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct ModelLease {
    pub(crate) id: LeaseId,
    pub(crate) agent: AgentId,
    pub(crate) owner: UserId,
    pub(crate) project: Option<ProjectId>,
    pub(crate) epoch: i64,
    pub(crate) amount: i128,
    pub(crate) at: Timestamp,
    /// When it runs out if nothing more is heard.
    pub(crate) first_deadline: Timestamp,
    /// The local day and month of the grant in each zone.
    local: Vec<LocalDate>,
    pub(crate) facts: Vec<Fact>,
}

/// What became of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) state: LeaseState,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) ended_by: Option<EndedBy>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelAgent {
    pub(crate) id: AgentId,
    pub(crate) owner: UserId,
    pub(crate) project: Option<ProjectId>,
    pub(crate) epoch: i64,
    pub(crate) lives: Vec<Timestamp>,
    pub(crate) events: Vec<String>,
    /// Key, meaning, lease.
    pub(crate) keys: Vec<(String, u8, LeaseId)>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelBudget {
    pub(crate) no: BudgetNo,
    pub(crate) scope: Scope,
    pub(crate) window: Window,
    /// Index into [`ZONES`].
    pub(crate) zone: usize,
    pub(crate) cap: i128,
    pub(crate) enabled: bool,
    pub(crate) opened: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) ttl_ms: i64,
    /// Whether amounts near the end of the range may occur.
    pub(crate) huge: bool,
    pub(crate) agents: Vec<ModelAgent>,
    pub(crate) leases: Vec<ModelLease>,
    pub(crate) budgets: Vec<ModelBudget>,
}

/// Days since the epoch and months since year 0 by the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LocalDate {
    day: i64,
    month: i64,
}

fn local(zone: usize, at: Timestamp) -> LocalDate {
    let instant = jiff::Timestamp::from_millisecond(at.millis()).expect("a time a calendar has");
    let zone = ZONES[zone].as_jiff();
    let date = zone.to_datetime(instant).date();
    let seconds = at.secs() + i64::from(zone.to_offset(instant).seconds());
    LocalDate { day: seconds.div_euclid(86_400), month: i64::from(date.year()) * 12 + i64::from(date.month()) }
}

/// A number for the window a date is in: rising, and the same for all instants of one window.
fn window_number(window: Window, date: LocalDate) -> i64 {
    match window {
        Window::None => 0,
        Window::Day => date.day,
        // 1970-01-01 was a Thursday
        Window::Week => (date.day + 3).div_euclid(7),
        Window::Month => date.month,
    }
}

impl ModelBudget {
    pub(crate) fn window_of(&self, at: Timestamp) -> i64 {
        window_number(self.window, local(self.zone, at))
    }

    pub(crate) fn window_of_lease(&self, lease: &ModelLease) -> i64 {
        window_number(self.window, lease.local[self.zone])
    }

    pub(crate) fn covers(&self, agent: AgentId, owner: &UserId, project: Option<&ProjectId>) -> bool {
        match &self.scope {
            Scope::Organization => true,
            Scope::Project(own) => project == Some(own),
            Scope::Owner(own) => owner == own,
            Scope::OwnerProject(user, own) => owner == user && project == Some(own),
            Scope::Agent(own) => agent == *own,
        }
    }

    pub(crate) fn covers_lease(&self, lease: &ModelLease) -> bool {
        self.covers(lease.agent, &lease.owner, lease.project.as_ref())
    }
}

impl ModelLease {
    pub(crate) fn new(id: LeaseId, agent: &ModelAgent, amount: i128, at: Timestamp, first_deadline: Timestamp) -> Self {
        Self {
            id,
            agent: agent.id,
            owner: agent.owner.clone(),
            project: agent.project.clone(),
            epoch: agent.epoch,
            amount,
            at,
            first_deadline,
            local: (0..ZONES.len()).map(|zone| local(zone, at)).collect(),
            facts: Vec::new(),
        }
    }

    fn sum(&self, part: impl Fn(&Fact) -> Option<Money>) -> i128 {
        self.facts.iter().filter_map(part).map(|m| i128::from(m.nanos())).sum()
    }

    fn most(&self, part: impl Fn(&Fact) -> Option<Money>) -> Option<i128> {
        self.facts.iter().filter_map(part).map(|m| i128::from(m.nanos())).max()
    }

    pub(crate) fn reported(&self) -> i128 {
        self.sum(|f| if let Fact::Report { cost, .. } = f { Some(*cost) } else { None })
    }

    pub(crate) fn events(&self) -> i128 {
        self.sum(|f| if let Fact::Event { cost } = f { Some(*cost) } else { None })
    }

    pub(crate) fn stated(&self) -> Option<i128> {
        self.most(|f| if let Fact::Stated(total) = f { Some(*total) } else { None })
    }

    pub(crate) fn claimed(&self) -> Option<i128> {
        self.most(|f| if let Fact::Claim(figure) = f { Some(*figure) } else { None })
    }

    pub(crate) fn decided(&self) -> Option<i128> {
        self.most(|f| if let Fact::Decided(figure) = f { Some(*figure) } else { None })
    }

    pub(crate) fn known(&self) -> i128 {
        self.reported().max(self.events()).max(self.stated().unwrap_or(0)).max(self.decided().unwrap_or(0))
    }

    pub(crate) fn cost_of(&self, report: &str) -> Option<Money> {
        self.facts.iter().find_map(|f| match f {
            Fact::Report { id, cost } if id == report => Some(*cost),
            _ => None,
        })
    }

    pub(crate) fn successor(&self) -> Option<LeaseId> {
        self.facts.iter().find_map(|f| if let Fact::Closed { successor, .. } = f { successor.clone() } else { None })
    }

    /// Its story up to now, told from the start.
    pub(crate) fn story(&self, ttl_ms: i64) -> Story {
        self.told(ttl_ms, None)
    }

    /// Its story if somebody looked now.
    pub(crate) fn story_at(&self, now: Timestamp, ttl_ms: i64) -> Story {
        self.told(ttl_ms, Some(&Fact::Look(now)))
    }

    fn told(&self, ttl_ms: i64, last: Option<&Fact>) -> Story {
        let mut story = Story { state: LeaseState::Active, ended_at: None, ended_by: None };
        let mut deadline = self.first_deadline;
        for fact in self.facts.iter().chain(last) {
            match fact {
                Fact::Life(at) | Fact::Look(at) if story.state == LeaseState::Active && *at >= deadline => {
                    let (ended_at, ended_by) = (Some(deadline), Some(EndedBy::Expiry));
                    story = Story { state: LeaseState::Expired, ended_at, ended_by };
                }
                Fact::Life(at) => deadline = deadline.max(at.plus_millis(ttl_ms)),
                Fact::Revoked(at) => {
                    let (ended_at, ended_by) = (Some(*at), Some(EndedBy::Revoke));
                    story = Story { state: LeaseState::Revoked, ended_at, ended_by };
                }
                Fact::Closed { at, by, .. } => {
                    let ended_at = story.ended_at.or(Some(*at));
                    story = Story { state: LeaseState::Closed, ended_at, ended_by: Some(*by) };
                }
                _ => {}
            }
        }
        story
    }

    /// What it brings into the account of its window.
    fn contribution(&self, ttl_ms: i64) -> Amounts {
        let known = self.known();
        let rest = (self.amount - known).max(0);
        let overrun = (known - self.amount).max(0);
        match self.story(ttl_ms).state {
            LeaseState::Active => [known, rest, 0, overrun],
            LeaseState::Expired | LeaseState::Revoked => [known, 0, rest, overrun],
            LeaseState::Closed => [known, 0, 0, overrun],
        }
    }
}

impl Model {
    pub(crate) fn agent(&self, id: AgentId) -> &ModelAgent {
        self.agents.iter().find(|a| a.id == id).expect("an agent")
    }

    pub(crate) fn agent_mut(&mut self, id: AgentId) -> &mut ModelAgent {
        self.agents.iter_mut().find(|a| a.id == id).expect("an agent")
    }

    pub(crate) fn lease(&self, id: &LeaseId) -> Option<&ModelLease> {
        self.leases.iter().find(|l| l.id == *id)
    }

    pub(crate) fn learn(&mut self, lease: &LeaseId, fact: Fact) {
        self.leases.iter_mut().find(|l| l.id == *lease).expect("a lease").facts.push(fact);
    }

    /// The amounts of a budget in one of its windows.
    pub(crate) fn account(&self, budget: &ModelBudget, window: i64) -> Amounts {
        let mut total = [0; 4];
        for lease in self.leases.iter().filter(|l| budget.covers_lease(l) && budget.window_of_lease(l) == window) {
            for (sum, part) in total.iter_mut().zip(lease.contribution(self.ttl_ms)) {
                *sum += part;
            }
        }
        total
    }

    /// The allocation of an agent, and what is committed of it.
    pub(crate) fn figures(&self, agent: AgentId) -> (AgentId, i128, Amounts) {
        let own = self.budgets.iter().find(|b| b.scope == Scope::Agent(agent) && b.window == Window::None);
        let own = own.expect("an allocation");
        (agent, own.cap, self.account(own, 0))
    }

    /// The budget with the least available for this agent: the widest of equals, the oldest of those.
    pub(crate) fn least(&self, agent: AgentId, now: Timestamp) -> (BudgetNo, i128) {
        let agent = self.agent(agent);
        let mut least: Option<(i128, ledger::ScopeKind, BudgetNo)> = None;
        for budget in self.budgets.iter().filter(|b| b.enabled) {
            if !budget.covers(agent.id, &agent.owner, agent.project.as_ref()) {
                continue;
            }
            let window = budget.window_of(now);
            let available = if window < budget.window_of(budget.opened) {
                // Before its first window it has no books, and nothing to lend
                0
            } else {
                let [spent, leased, suspense, _] = self.account(budget, window);
                budget.cap - spent - leased - suspense
            };
            let candidate = (available, budget.scope.kind(), budget.no);
            if least.is_none_or(|least| candidate < least) {
                least = Some(candidate);
            }
        }
        let (available, _, no) = least.expect("an enabled allocation");
        (no, available)
    }
}
