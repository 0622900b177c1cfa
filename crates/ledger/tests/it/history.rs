//! Random histories: what the world looks like, and what is asked of it.

use kernel::{AgentId, BudgetNo, EndedBy, LeaseId, Money, ProjectId, Timestamp, UserId, Window};
use ledger::{Actor, Budget, Command, Figure, IdempotencyKey, Scope, SettleOutcome, Spending};

use crate::model::ZONES;
use crate::random::Random;
use crate::world::{DAY_MS, HOUR_MS, admin, at};

/// A seed for the world, and a number for each step. Dropping any of them leaves a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) world: u64,
    pub(crate) steps: Vec<u64>,
}

impl History {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = Random(seed);
        let steps = 4 + random.below(44);
        Self { world: random.next(), steps: (0..steps).map(|_| random.next()).collect() }
    }
}

/// How a world starts.
pub(crate) struct Setting {
    pub(crate) now: Timestamp,
    pub(crate) ttl_ms: i64,
    pub(crate) agents: usize,
    /// Whether amounts near the end of the range may occur.
    pub(crate) huge: bool,
    pub(crate) allocations: Vec<Money>,
    pub(crate) budgets: Vec<NewBudget>,
}

#[derive(Clone, Debug)]
pub(crate) struct NewBudget {
    pub(crate) scope: Scope,
    pub(crate) cap: Money,
    pub(crate) window: Window,
    pub(crate) zone: usize,
    pub(crate) enabled: bool,
}

impl NewBudget {
    pub(crate) fn numbered(&self, no: BudgetNo) -> Budget {
        let Self { scope, cap, window, zone, enabled } = self.clone();
        Budget { no, scope, cap, window, zone: ZONES[zone].clone(), enabled, opened_window: Timestamp::EPOCH }
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask(Command),
    /// The clock moves, forward or back.
    Pass(i64),
    /// The clock moves to the end of a window of one of the budgets, or just before.
    Rollover {
        budget: usize,
        early_ms: i64,
    },
    Open(NewBudget),
    Adjust {
        budget: usize,
        cap: Money,
        enabled: bool,
    },
    Delete {
        budget: usize,
    },
    Move {
        agent: AgentId,
        owner: UserId,
        project: Option<ProjectId>,
    },
    Fence {
        agent: AgentId,
    },
    /// The sweep looks at every lease.
    Sweep,
    /// Something that was asked before is asked again.
    Repeat {
        back: usize,
    },
    /// The next steps are lost in a crash: nothing of them was durable.
    Crash {
        steps: usize,
    },
}

const OWNERS: [&str; 2] = ["ann", "bob"];
const PROJECTS: [&str; 2] = ["apollo", "gemini"];

fn owner(r: &mut Random) -> UserId {
    UserId::new(*r.pick(&OWNERS))
}

fn project(r: &mut Random) -> ProjectId {
    ProjectId::new(*r.pick(&PROJECTS))
}

pub(crate) fn home(r: &mut Random) -> (UserId, Option<ProjectId>) {
    (owner(r), if r.one_in(3) { None } else { Some(project(r)) })
}

/// Few and small, so that edges are met often.
fn cap(r: &mut Random, huge: bool) -> Money {
    if huge && r.one_in(2) {
        return Money::MAX_CAP;
    }
    let micros = *r.pick(&[0, 1, 5, 10, 20, 20, 50, 50, 100, 100, 200, 1_000]);
    Money::from_nanos(micros * 1_000)
}

fn requested(r: &mut Random) -> Money {
    Money::from_nanos(*r.pick(&[1, 2, 5, 10, 10, 20, 50, 1_000]) * 1_000)
}

fn cost(r: &mut Random, huge: bool) -> Money {
    if huge && r.one_in(6) {
        return *r.pick(&[Money::MAX_CALL, Money::MAX_CAP, Money::MAX_BALANCE]);
    }
    Money::from_nanos(*r.pick(&[0, 1, 500, 999, 1_000, 1_001, 2_000, 3_500, 5_000, 9_999, 25_000]))
}

fn new_budget(r: &mut Random, agents: usize, huge: bool) -> NewBudget {
    let windows = [Window::None, Window::Day, Window::Day, Window::Week, Window::Month];
    let mut window = *r.pick(&windows);
    let scope = match r.below(6) {
        0 | 1 => Scope::Organization,
        2 => Scope::Project(project(r)),
        3 => Scope::Owner(owner(r)),
        4 => Scope::OwnerProject(owner(r), project(r)),
        _ => {
            // Without a window it would be a second allocation
            window = *r.pick(&windows[1..]);
            Scope::Agent(agent(r, agents))
        }
    };
    NewBudget { scope, cap: cap(r, huge), window, zone: r.below(ZONES.len()), enabled: !r.one_in(6) }
}

fn agent(r: &mut Random, agents: usize) -> AgentId {
    AgentId(1 + i64::try_from(r.below(agents)).expect("a few agents"))
}

impl Setting {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut r = Random(seed);
        // Around midnights, a Monday, changes of the month, and of the clock in Zurich, New York, Nuuk and Cairo
        let starts = [
            "2026-11-20T12:00:00Z",
            "2026-11-22T23:50:00Z",
            "2026-12-31T23:00:00Z",
            "2026-03-28T22:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-11-01T05:30:00Z",
            "2026-10-24T23:30:00Z",
            "2026-10-29T20:30:00Z",
        ];
        let start = r.pick(&starts);
        let now = at(start).plus_millis(i64::try_from(r.below(7_200_000)).expect("two hours"));
        let ttl_ms = *r.pick(&[60_000, HOUR_MS, 6 * HOUR_MS]);
        let agents = 1 + r.below(3);
        let huge = r.one_in(16);
        let allocations = (0..agents).map(|_| cap(&mut r, huge)).collect();
        let budgets = (0..r.below(5)).map(|_| new_budget(&mut r, agents, huge)).collect();
        Self { now, ttl_ms, agents, huge, allocations, budgets }
    }
}

/// What a step may refer to.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Timestamp,
    pub(crate) setting: &'a Setting,
    /// Every lease there has been, oldest first, with its agent.
    pub(crate) leases: &'a [(LeaseId, AgentId)],
    pub(crate) fresh: LeaseId,
    pub(crate) budgets: usize,
    pub(crate) asked: usize,
}

impl Surroundings<'_> {
    /// Makes a step of a number.
    pub(crate) fn step(&self, number: u64) -> Step {
        let mut random = Random(number);
        let r = &mut random;
        // Most verbs need a lease to act on
        let verb = if self.leases.is_empty() && !r.one_in(4) { 0 } else { r.below(100) };
        match verb {
            0..20 => Step::Ask(self.grant(r)),
            20..40 => Step::Ask(self.report(r)),
            40..47 => Step::Ask(self.event(r)),
            47..55 => Step::Ask(self.refresh(r)),
            55..63 => Step::Ask(self.give_back(r)),
            63..66 => Step::Ask(Command::Expire { lease: self.lease(r) }),
            66..69 => Step::Ask(Command::Revoke {
                lease: self.lease(r),
                by: EndedBy::Revoke,
                actor: admin(),
                reason: "because".to_owned(),
            }),
            69..73 => Step::Ask(self.settle(r)),
            73..75 => Step::Ask(Command::Touch { agent: agent(r, self.setting.agents) }),
            75..83 => Step::Pass(self.jump(r)),
            83..85 => Step::Rollover { budget: r.below(self.budgets), early_ms: *r.pick(&[0, 0, 1]) },
            85..88 => Step::Open(new_budget(r, self.setting.agents, self.setting.huge)),
            88..91 => {
                let cap = cap(r, self.setting.huge);
                Step::Adjust { budget: r.below(self.budgets), cap, enabled: !r.one_in(4) }
            }
            91 => Step::Delete { budget: r.below(self.budgets) },
            92 => {
                let agent = agent(r, self.setting.agents);
                let (owner, project) = home(r);
                Step::Move { agent, owner, project }
            }
            93 => Step::Fence { agent: agent(r, self.setting.agents) },
            94 => Step::Sweep,
            95..98 => Step::Repeat { back: r.below(self.asked) },
            _ => Step::Crash { steps: 1 + r.below(5) },
        }
    }

    fn jump(&self, r: &mut Random) -> i64 {
        let ttl = self.setting.ttl_ms;
        let forward = [1, 1_000, 60_000, HOUR_MS, ttl / 2, ttl - 1, ttl, ttl + 1, DAY_MS, 31 * DAY_MS];
        if r.one_in(6) { -*r.pick(&forward) } else { *r.pick(&forward) }
    }

    /// Mostly one of the last few leases.
    fn lease(&self, r: &mut Random) -> LeaseId {
        if self.leases.is_empty() || r.one_in(40) {
            return LeaseId::new("lease_unknown");
        }
        let last = self.leases.len();
        let recent = if r.one_in(4) { last } else { last.min(3) };
        self.leases[last - 1 - r.below(recent)].0.clone()
    }

    fn agent_of(&self, lease: &LeaseId, r: &mut Random) -> AgentId {
        let own = self.leases.iter().find(|(id, _)| id == lease).map(|(_, agent)| *agent);
        own.filter(|_| !r.one_in(20)).unwrap_or_else(|| agent(r, self.setting.agents))
    }

    fn request(r: &mut Random) -> Option<IdempotencyKey> {
        r.maybe(3, |r| IdempotencyKey {
            key: format!("k{}", r.below(3)),
            body_hash: [u8::try_from(r.below(6) / 5).expect("0 or 1"); 32],
        })
    }

    fn grant(&self, r: &mut Random) -> Command {
        let agent = agent(r, self.setting.agents);
        Command::Grant { agent, lease: self.fresh.clone(), requested: requested(r), request: Self::request(r) }
    }

    fn report(&self, r: &mut Random) -> Command {
        let lease = self.lease(r);
        let item = if r.one_in(5) { None } else { Some(self.spending(r, "r")) };
        let total = r.maybe(4, |r| cost(r, self.setting.huge));
        let seq = r.maybe(4, |r| 1 + i64::try_from(r.below(9)).expect("small"));
        Command::Report { lease, item, total, seq }
    }

    /// Ids repeat, mostly with the same cost.
    fn spending(&self, r: &mut Random, prefix: &str) -> Spending {
        let n = r.below(12);
        let id = format!("{prefix}{n}");
        let usual = cost(&mut Random(n as u64), self.setting.huge);
        let cost = if r.one_in(15) { cost(r, self.setting.huge) } else { usual };
        let ago = *r.pick(&[0, 0, 0, 1, 60_000, HOUR_MS, DAY_MS, -60_000]);
        Spending { id, cost, occurred_at: self.now.plus_millis(-ago) }
    }

    fn event(&self, r: &mut Random) -> Command {
        let named = self.lease(r);
        let agent = self.agent_of(&named, r);
        let lease = if r.one_in(2) { Some(named) } else { None };
        Command::Event { agent, lease, item: self.spending(r, "e") }
    }

    fn refresh(&self, r: &mut Random) -> Command {
        let old = self.lease(r);
        let agent = self.agent_of(&old, r);
        let total = r.maybe(3, |r| cost(r, false));
        // Near the end of the range a stated total would be refused for its size in more places than are worth telling
        let total = total.filter(|_| !self.setting.huge);
        let requested = requested(r);
        Command::Refresh { agent, old, new: self.fresh.clone(), requested, total, request: Self::request(r) }
    }

    fn give_back(&self, r: &mut Random) -> Command {
        let figure = match r.below(3) {
            0 => None,
            1 => Some(Figure::Spent(cost(r, self.setting.huge))),
            _ => Some(Figure::Returning(cost(r, self.setting.huge))),
        };
        Command::Return { lease: self.lease(r), figure }
    }

    fn settle(&self, r: &mut Random) -> Command {
        let outcome = *r.pick(&[SettleOutcome::Spent, SettleOutcome::Unspent]);
        let figure = r.maybe(2, |r| cost(r, self.setting.huge));
        Command::Settle { lease: self.lease(r), outcome, figure, actor: Actor::System, reason: "why".to_owned() }
    }
}
