//! Calls that events told of, kept as they were said: what answers about facts are compared with.

use std::collections::{BTreeMap, BTreeSet};

use analytics::CallStatus;
use kernel::{AgentId, LeaseId, Money, Timestamp};
use ledger::Spending;
use persistence::{EventFacts, EventMore, Folding, Item};

use crate::questions::Dice;
use crate::support::{START, TestStore};
use crate::world::*;

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;

const PROVIDERS: [&str; 3] = ["openai", "anthropic", "mistral"];
const MODELS: [&str; 4] = ["gpt-5", "Sonnet", "sonnet", "it's ü"];

/// A call as it was said, and whose it was then.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The number of its fact.
    pub(crate) id: i64,
    pub(crate) event: String,
    pub(crate) agent: i64,
    pub(crate) owner: String,
    /// Empty without one.
    pub(crate) project: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) status: CallStatus,
    pub(crate) error: Option<&'static str>,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cost: Money,
    pub(crate) at: Timestamp,
    pub(crate) request: Option<String>,
    pub(crate) lease: Option<LeaseId>,
}

impl Call {
    /// A small call of an agent at a time; of no project and nobody until it is told.
    pub(crate) fn new(agent: i64, event: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id: 0,
            event: event.into(),
            agent,
            owner: String::new(),
            project: String::new(),
            provider: "openai".into(),
            model: "gpt-5".into(),
            status: CallStatus::Completed,
            error: None,
            input: 100,
            output: 20,
            cost: Money::from_nanos(700_000),
            at,
            request: None,
            lease: None,
        }
    }

    /// The same, gone wrong.
    pub(crate) fn failed(self, error: Option<&'static str>) -> Self {
        Self { status: CallStatus::Failed, error, ..self }
    }

    fn item(&self) -> Item {
        let spending = Spending { id: self.event.clone(), cost: self.cost, occurred_at: self.at };
        let more = self.error.map(|code| EventMore { error_code: Some(code.to_owned()), ..EventMore::default() });
        let facts = EventFacts {
            status: self.status,
            model: self.model.clone(),
            provider: self.provider.clone(),
            provider_key: None,
            input_tokens: self.input,
            output_tokens: self.output,
            latency_ms: None,
            request_id: self.request.clone(),
            more: more.map(Box::new),
        };
        Item::event(AgentId(self.agent), self.lease.clone(), spending, facts)
    }
}

/// Every call so far, and who owns which agent, in which project, now.
pub(crate) struct Calls {
    pub(crate) all: Vec<Call>,
    pub(crate) agents: BTreeMap<i64, (String, String)>,
    pub(crate) leases: Vec<(i64, LeaseId)>,
}

impl Calls {
    /// Four agents of two owners, in two projects and in none. Two have two open leases each, so that a call that names
    /// none is attributed to none.
    pub(crate) async fn none(t: &TestStore) -> Self {
        let agents = [
            (1, "user_1", Some("proj_1")),
            (2, "user_1", None),
            (3, "user_2", Some("proj_1")),
            (4, "user_2", Some("proj_2")),
        ];
        people(t, &agents).await;
        allocate(t, &agents.map(|(agent, ..)| (agent, usd(100)))).await;
        t.clock.set(START.plus_millis(-40 * DAY));
        let mut leases = Vec::new();
        for (agent, name) in [(1, "a"), (1, "b"), (3, "x"), (3, "y")] {
            done(t, grant(agent, &lease(name), usd(5))).await;
            leases.push((agent, lease(name)));
        }
        t.clock.set(START);
        let agents =
            agents.map(|(agent, owner, project)| (agent, (owner.to_owned(), project.unwrap_or("").to_owned())));
        Self { all: Vec::new(), agents: agents.into(), leases }
    }

    /// The same with calls of the last ten days, many of them within one instant, before and after an agent moved.
    pub(crate) async fn some(t: &TestStore, dice: &mut Dice) -> Self {
        let mut calls = Self::none(t).await;
        calls.tell_random(t, dice, 120).await;
        calls.move_agent(t, 2, "user_2", "proj_2").await;
        calls.tell_random(t, dice, 120).await;
        calls
    }

    /// Tells of calls, all in one batch.
    pub(crate) async fn tell(&mut self, t: &TestStore, calls: impl IntoIterator<Item = Call>) {
        let first = self.all.len();
        for mut call in calls {
            (call.owner, call.project) = self.agents[&call.agent].clone();
            self.all.push(call);
        }
        let items: Vec<Item> = self.all[first..].iter().map(Call::item).collect();
        for answer in run(t, &items).await {
            answer.expect("counted");
        }
        let numbers = t.texts("SELECT CAST(id AS TEXT) || ' ' || event_id FROM facts").await;
        let numbers: BTreeMap<&str, &str> =
            numbers.iter().filter_map(|line| line.split_once(' ')).map(|(id, event)| (event, id)).collect();
        for call in &mut self.all[first..] {
            call.id = numbers[call.event.as_str()].parse().expect("a number");
        }
    }

    async fn tell_random(&mut self, t: &TestStore, dice: &mut Dice, count: i64) {
        let mut calls = Vec::new();
        for _ in 0..count {
            let agent = 1 + dice.int(4);
            let at = t.now().plus_millis(-match dice.below(3) {
                0 => dice.int(10) * DAY,
                1 => dice.int(12) * 900_000,
                _ => dice.int(10 * DAY),
            });
            let event = format!("e{}", self.all.len() + calls.len());
            let mut call = Call::new(agent, event, at);
            call.provider = (*dice.of(&PROVIDERS)).to_owned();
            call.model = (*dice.of(&MODELS)).to_owned();
            call.input = dice.int(5_000);
            call.output = dice.int(1_000_000_000);
            // On both sides of the micro-dollar that is shown
            call.cost = Money::from_nanos(dice.int(4) * 1_000 + dice.int(3) - 1).max(Money::ZERO);
            call.request = dice.one_in(3).then(|| format!("r{}", dice.int(1_000_000)));
            if dice.one_in(3) {
                let own: Vec<&LeaseId> =
                    self.leases.iter().filter(|(of, _)| *of == agent).map(|(_, lease)| lease).collect();
                call.lease = (!own.is_empty()).then(|| (*dice.of(&own)).clone());
            }
            if dice.one_in(4) {
                call = call.failed(*dice.of(&[None, Some("timeout"), Some("rate_limit")]));
            }
            calls.push(call);
        }
        self.tell(t, calls).await;
    }

    /// Gives an agent to somebody else.
    pub(crate) async fn move_agent(&mut self, t: &TestStore, agent: i64, owner: &str, project: &str) {
        for (table, id) in [("agents", "id"), ("agent_books", "agent_id")] {
            let sql = format!("UPDATE {table} SET owner_id = '{owner}', project_id = '{project}' WHERE {id} = {agent}");
            t.execute(&sql).await;
        }
        self.agents.insert(agent, (owner.to_owned(), project.to_owned()));
    }

    /// Those that fit, youngest first and the last told first within an instant.
    pub(crate) fn listed(&self, fits: impl Fn(&Call) -> bool) -> Vec<i64> {
        let mut found: Vec<(Timestamp, i64)> =
            self.all.iter().filter(|call| fits(call)).map(|call| (call.at, call.id)).collect();
        found.sort_unstable();
        found.into_iter().rev().map(|(_, id)| id).collect()
    }

    /// Whether somebody owns the agent of a call now.
    pub(crate) fn belongs_to(&self, call: &Call, user: &str) -> bool {
        self.agents[&call.agent].0 == user
    }

    /// The instants at which there was more than one call.
    pub(crate) fn ties(&self) -> usize {
        let instants: BTreeSet<Timestamp> = self.all.iter().map(|call| call.at).collect();
        self.all.len() - instants.len()
    }
}

/// Everything that can be folded is.
pub(crate) async fn fold(t: &TestStore) {
    while t.store.fold_rollups(t.now()).await.expect("folded") == Folding::More {}
    let last = t.store.fold().await.expect("read").last_fact;
    while t.store.fold_sketches(t.now(), last).await.expect("folded") == Folding::More {}
}
