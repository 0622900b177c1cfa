//! Seeded random histories: the databases answer as the pure ledger does, command by command, and end with the same books.

use std::collections::BTreeMap;
use std::sync::Arc;

use analytics::CallStatus;
use kernel::entropy::SeededEntropy;
use kernel::{AgentId, BudgetNo, Entropy, LeaseId, ManualClock, Money, Timestamp, Window};
use ledger::{Actor, AgentBook, Book, Command, Figure, Outcome, Scope, SettleOutcome, Spending};
use persistence::{
    Answer, BudgetFilter, EventFacts, Extra, Folding, Item, LeaseFilter, NewBudget, Page, Pipeline, PipelineOptions,
    Refused,
};

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

/// Draws for one history.
struct Dice(SeededEntropy);

impl Dice {
    /// From 0 up to and without `end`.
    fn roll(&self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % end as u64).expect("small")
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    /// Up to 12 dollars, down to the nano.
    fn money(&self) -> Money {
        let nanos = [0, 1, 999, 1_500_000_000, 4_000_000_000, 7_000_000_001, 12_000_000_000];
        Money::from_nanos(*self.pick(&nanos))
    }
}

/// A history on its way, in the database and in memory.
struct History<'a> {
    t: &'a TestStore,
    dice: Dice,
    book: Book,
    leases: Vec<LeaseId>,
    opened: usize,
    /// The pipeline and its clock, where most batches go through it.
    pipeline: Option<(Pipeline, Arc<ManualClock>)>,
}

const AGENTS: [(i64, &str, Option<&str>); 4] =
    [(1, "user_1", Some("proj_1")), (2, "user_1", Some("proj_2")), (3, "user_2", Some("proj_1")), (4, "user_2", None)];

impl<'a> History<'a> {
    async fn start(t: &'a TestStore, seed: u64) -> Self {
        people(t, &AGENTS).await;
        let mut book = Book::default();
        for (id, owner, project) in AGENTS {
            let agent = AgentBook {
                id: AgentId(id),
                owner: kernel::UserId::new(owner),
                project: project.map(kernel::ProjectId::new),
                epoch: 1,
                alive_since: Timestamp::EPOCH,
                alive_until: Timestamp::EPOCH,
            };
            book.agents.insert(agent.id, agent);
        }
        let mut history =
            Self { t, dice: Dice(SeededEntropy::new(seed)), book, leases: Vec::new(), opened: 0, pipeline: None };
        for (agent, ..) in AGENTS {
            history.open_budget(Scope::Agent(AgentId(agent)), Window::None).await;
        }
        history
    }

    /// Opens a budget here and there, unless the scope has one.
    async fn open_budget(&mut self, scope: Scope, window: Window) {
        self.opened += 1;
        let cap = usd(100 + 50 * self.dice.roll(12) as i64);
        let id = format!("bud_{}", self.opened);
        let zone = self.dice.pick(&["UTC", "Asia/Kathmandu", "America/New_York"]).parse().expect("a zone");
        let new = NewBudget { window, zone, ..budget(&id, scope.clone(), cap) };
        let mut work = self.t.begin().await;
        let answer = work.insert_budget(&new, &Actor::System, None).await.expect("answered");
        self.t.commit(work).await;
        let taken = self.book.budgets.values().any(|b| b.scope == scope && b.window == window);
        assert_eq!(answer.is_err(), taken, "{answer:?}");
        let Ok(view) = answer else { return };
        let opening = self.book.opening_balance(&view.budget, self.t.now()).expect("in range");
        let command = Command::Open { budget: view.budget, opening, actor: Actor::System, reason: None };
        let applied = ledger::apply(&self.book, &command, self.t.now(), TTL_MS).expect("opened");
        let Outcome::Budgeted { account, .. } = applied.outcome else { panic!("{:?}", applied.outcome) };
        assert_eq!(account, view.account, "the same opening balance");
        self.book.absorb(&applied);
    }

    async fn step(&mut self, step: usize) {
        match self.dice.roll(10) {
            0 => self.t.clock.advance_millis(*self.dice.pick(&[1, 60_000, TTL_MS / 2, TTL_MS, 13 * TTL_MS])),
            1 => {
                let owner = kernel::UserId::new(*self.dice.pick(&["user_1", "user_2"]));
                let project = kernel::ProjectId::new(*self.dice.pick(&["proj_1", "proj_2"]));
                let agent = Scope::Agent(AgentId(1 + self.dice.roll(4) as i64));
                let scopes = [
                    Scope::Organization,
                    Scope::Project(project.clone()),
                    Scope::Owner(owner.clone()),
                    Scope::OwnerProject(owner, project),
                    agent,
                ];
                let window = *self.dice.pick(&[Window::None, Window::Day, Window::Week, Window::Month]);
                self.open_budget(self.dice.pick(&scopes).clone(), window).await;
            }
            _ => {
                let items: Vec<Item> = (0..1 + self.dice.roll(12)).map(|n| self.item(&format!("{step}_{n}"))).collect();
                self.run(items).await;
            }
        }
    }

    fn item(&mut self, name: &str) -> Item {
        let agent = 1 + self.dice.roll(4) as i64;
        let new = lease(name);
        if self.leases.is_empty() || self.dice.roll(5) == 0 {
            let key = format!("key {}", self.dice.roll(9));
            let key = (self.dice.roll(2) == 0).then_some((key.as_str(), self.dice.roll(2) as u8));
            self.leases.push(new.clone());
            return grant_with(agent, &new, self.dice.money().max(usd(1)), key);
        }
        let old = self.dice.pick(&self.leases).clone();
        let owner = self.book.leases.get(&old).map_or(agent, |l| l.agent.0);
        let money = self.dice.money();
        match self.dice.roll(16) {
            12..16 => self.event(agent, &old, money),
            0..4 => {
                let request = format!("request {}", self.dice.roll(6));
                let mut item = report(self.t, &old, &request, money);
                if let Command::Report { total, seq, item: spending, .. } = &mut item.command {
                    *total = (self.dice.roll(3) == 0).then(|| self.dice.money());
                    *seq = (self.dice.roll(2) == 0).then(|| self.dice.roll(9) as i64);
                    *spending = spending.take().map(|s| Spending { occurred_at: Timestamp::from_millis(5), ..s });
                }
                item
            }
            4 => total(&old, money),
            5 => give_back(&old, (self.dice.roll(2) == 0).then_some(money)),
            6 => Item::new(Command::Return { lease: old, figure: Some(Figure::Returning(money)) }),
            7 => {
                self.leases.push(new.clone());
                let by = if self.dice.roll(9) == 0 { agent } else { owner };
                refresh(by, &old, &new, usd(2), (self.dice.roll(2) == 0).then_some(money))
            }
            8 => revoke(&old),
            9 => {
                let outcome = *self.dice.pick(&[SettleOutcome::Spent, SettleOutcome::Unspent]);
                settle(&old, outcome, (self.dice.roll(2) == 0).then_some(money))
            }
            10 => expire(&old),
            _ => {
                let numbers: Vec<BudgetNo> = self.book.budgets.keys().copied().collect();
                let cap = usd(10 * self.dice.roll(60) as i64);
                let (actor, enabled) = (admin(), self.dice.roll(4) > 0);
                Item::new(Command::Adjust { budget: *self.dice.pick(&numbers), cap, enabled, actor, reason: None })
            }
        }
    }

    /// An event of the agent, which may name a lease of another one, or none; of any time, and perhaps counted before.
    fn event(&self, agent: i64, lease: &LeaseId, cost: Money) -> Item {
        let offsets = [-14 * TTL_MS, -TTL_MS, -1_000_000, -60_000, -1, 0, 1, 200_000];
        let occurred_at = self.t.now().plus_millis(*self.dice.pick(&offsets));
        let spending = Spending { id: format!("event {}", self.dice.roll(200)), cost, occurred_at };
        let named = (self.dice.roll(2) == 0).then(|| lease.clone());
        let facts = EventFacts {
            status: CallStatus::Completed,
            model: "gpt-4o".into(),
            provider: "openai".into(),
            provider_key: None,
            input_tokens: 3,
            output_tokens: 4,
            latency_ms: None,
            request_id: (self.dice.roll(3) == 0).then(|| format!("request {}", self.dice.roll(6))),
            more: None,
        };
        Item::event(AgentId(agent), named, spending, facts)
    }

    /// Runs a batch here and there, and compares every answer.
    async fn run(&mut self, items: Vec<Item>) {
        let answers = match &self.pipeline {
            // Now and then somebody else writes too
            Some((pipeline, clock)) if self.dice.roll(5) > 0 => {
                clock.set(self.t.now());
                pipeline.run(items.clone()).await.expect("the batch is written")
            }
            _ => run(self.t, &items).await,
        };
        for (item, answer) in items.into_iter().zip(answers) {
            let applied = ledger::apply(&self.book, &item.command, self.t.now(), TTL_MS);
            match (&applied, &answer) {
                (Ok(applied), Ok(done)) => assert_eq!(applied.outcome, done.outcome, "{:?}", item.command),
                (Err(ours), Err(Refused::Ledger(theirs))) => assert_eq!(ours, theirs, "{:?}", item.command),
                (ours, theirs) => panic!("{:?}: {ours:?} here, {theirs:?} there", item.command),
            }
            assert_terms(&item, &answer);
            if let Ok(applied) = applied {
                self.book.absorb(&applied);
            }
        }
    }

    /// What is stored is what the pure ledger has.
    async fn compare(&self) {
        let filter = LeaseFilter::default();
        let stored = self.t.store.leases(&filter, None, 10_000).await.expect("listed").rows;
        let stored: BTreeMap<_, _> = stored.into_iter().map(|view| (view.lease.id.clone(), view.lease)).collect();
        let ours: BTreeMap<_, _> = self.book.leases.clone().into_iter().collect();
        assert_eq!(stored, ours);
        let now = self.t.now();
        let budgets =
            self.t.store.budgets(&BudgetFilter::default(), now, Page::first(1_000)).await.expect("listed").rows;
        assert_eq!(budgets.len(), self.book.budgets.len());
        for view in budgets {
            assert_eq!(view.budget, self.book.budgets[&view.budget.no]);
            assert_eq!(view.account, self.book.account(view.budget.account_at(now)), "{:?}", view.budget);
            // And both are what the leases bring in
            let balance = self.book.opening_balance(&view.budget, now).expect("in range");
            assert_eq!(view.account, balance, "{:?}", view.budget);
            let bounds = (view.window_start, view.window_end);
            let summed = self.t.store.scope_balance(&view.budget.scope, bounds).await.expect("summed");
            assert_eq!(summed, balance);
        }
        assert_sound(self.t).await;
        while self.t.store.fold_rollups(now).await.expect("folded") == Folding::More {}
        let check = self.t.store.check_rollups(false).await.expect("checked");
        assert!(check.is_ok() && check.facts > 0, "{check:?}");
    }
}

fn assert_terms(item: &Item, answer: &Answer) {
    let granted = matches!(answer.as_ref().map(|done| &done.outcome), Ok(Outcome::Granted { .. }));
    if granted {
        assert!(matches!(item.extra, Extra::Terms(_)));
        assert_eq!(answer.as_ref().expect("granted").terms, Some(terms()));
    }
}

async fn live(t: &TestStore, through_pipeline: bool) {
    let seed = std::env::var("IRON_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_260_115);
    eprintln!("IRON_TEST_SEED={seed}");
    let mut history = History::start(t, seed).await;
    let mut task = None;
    if through_pipeline {
        let clock = Arc::new(ManualClock::new(t.now()));
        let options = PipelineOptions { lease_ttl_ms: TTL_MS, ..PipelineOptions::default() };
        let entropy = Arc::new(SeededEntropy::new(seed));
        let (pipeline, running) =
            Pipeline::start(t.store.clone(), Arc::<ManualClock>::clone(&clock), entropy, options, Arc::new(|_| {}));
        history.pipeline = Some((pipeline, clock));
        task = Some(running);
    }
    for step in 0..160 {
        history.step(step).await;
        if step % 40 == 39 {
            history.compare().await;
        }
    }
    let granted = history.book.leases.len();
    assert!(granted > 20, "a history in which something happens: {granted} leases");
    drop(history);
    if let Some(task) = task {
        task.await.expect("the pipeline ends");
    }
}

on_both_backends! {
    async fn the_database_agrees_with_the_pure_ledger(t: TestStore) {
        live(&t, false).await;
    }

    async fn the_pipeline_agrees_with_the_pure_ledger(t: TestStore) {
        live(&t, true).await;
    }
}
