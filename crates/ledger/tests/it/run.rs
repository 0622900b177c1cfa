//! Runs a history through the ledger and the model side by side, and compares.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kernel::{AgentId, BudgetNo, LeaseId, Timestamp, Window};
use ledger::{AccountKey, AgentBook, Book, Command, Entry, EntryKind, Outcome, Scope};

use crate::history::{History, NewBudget, Setting, Step, Surroundings, home};
use crate::lean;
use crate::model::{Model, ModelAgent, ModelLease, Story};
use crate::random::Random;
use crate::verdict::{Amounts, Verdict, amounts, said};
use crate::world::{Answer, admin};

/// How many answers of each kind a history had; shows that a simulation reaches what it should.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

#[derive(Clone)]
struct Durable {
    book: Book,
    model: Model,
    entries: Vec<Entry>,
    leases: Vec<(LeaseId, AgentId)>,
}

struct Run {
    setting: Setting,
    now: Timestamp,
    state: Durable,
    /// What was there before the steps that a crash will undo, and how many are left until it does.
    doomed: Option<(Durable, usize)>,
    asked: Vec<Command>,
    next_lease: usize,
    next_budget: i64,
    tally: Tally,
    /// Whether each command sees only what a store would load for it.
    lean: bool,
}

/// Runs it; `Err` says what differed. Everything is compared at the end, and after each step where `thorough`.
pub(crate) fn run(history: &History, thorough: bool) -> Result<Tally, String> {
    let mut run = Run::start(history.world)?;
    for (n, number) in history.steps.iter().enumerate() {
        let step = run.surroundings().step(*number);
        run.take(&step).and_then(|()| if thorough { run.compare() } else { Ok(()) }).map_err(|what| {
            let at = run.now.to_rfc3339();
            format!("step {n} at {at}: {step:?}\n{what}")
        })?;
        run.approach_crash();
    }
    run.compare()?;
    Ok(run.tally)
}

impl Run {
    fn start(seed: u64) -> Result<Self, String> {
        let setting = Setting::of_seed(seed);
        let mut r = Random(seed ^ 1);
        let mut book = Book::default();
        let mut agents = Vec::new();
        for id in (1..).take(setting.agents).map(AgentId) {
            let (owner, project) = home(&mut r);
            let (epoch, never) = (1, Timestamp::EPOCH);
            let (alive_since, alive_until) = (never, never);
            let (o, p) = (owner.clone(), project.clone());
            book.agents.insert(id, AgentBook { id, owner: o, project: p, epoch, alive_since, alive_until });
            agents.push(ModelAgent { id, owner, project, epoch, lives: vec![], events: vec![], keys: vec![] });
        }
        let (ttl_ms, huge) = (setting.ttl_ms, setting.huge);
        let model = Model { ttl_ms, huge, agents, leases: Vec::new(), budgets: Vec::new() };
        let state = Durable { book, model, entries: Vec::new(), leases: Vec::new() };
        let now = setting.now;
        let (asked, tally) = (Vec::new(), Tally::new());
        let (doomed, lean) = (None, r.one_in(2));
        let mut run = Self { setting, now, state, doomed, asked, next_lease: 1, next_budget: 1, tally, lean };
        for (id, cap) in (1..).map(AgentId).zip(run.setting.allocations.clone()) {
            run.open(&NewBudget { scope: Scope::Agent(id), cap, window: Window::None, zone: 0, enabled: true })?;
        }
        for budget in run.setting.budgets.clone() {
            run.open(&budget)?;
        }
        Ok(run)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            now: self.now,
            setting: &self.setting,
            leases: &self.state.leases,
            fresh: LeaseId::new(format!("lease_{:03}", self.next_lease)),
            budgets: self.state.model.budgets.len(),
            asked: self.asked.len(),
        }
    }

    fn approach_crash(&mut self) {
        if let Some((before, left)) = self.doomed.take() {
            if left == 0 {
                self.state = before;
            } else {
                self.doomed = Some((before, left - 1));
            }
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask(command) => {
                self.asked.push(command.clone());
                self.ask(command)
            }
            Step::Pass(ms) => {
                // A calendar has to have the day
                let (first, last) = (86_400_000 * 366, Timestamp::MAX.millis() - 86_400_000 * 366);
                self.now = Timestamp::from_millis(self.now.plus_millis(*ms).millis().clamp(first, last));
                Ok(())
            }
            Step::Rollover { budget, early_ms } => {
                let no = self.state.model.budgets[*budget].no;
                if let Some(end) = self.state.book.budgets[&no].resets_at(self.now) {
                    self.now = end.plus_millis(-early_ms);
                }
                Ok(())
            }
            Step::Open(budget) => self.open(budget),
            Step::Adjust { budget, cap, enabled } => {
                let budget = &self.state.model.budgets[*budget];
                // The allocation of an agent is always enabled
                let enabled = *enabled || is_allocation(&budget.scope, budget.window);
                let command = Command::Adjust { budget: budget.no, cap: *cap, enabled, actor: admin(), reason: None };
                self.ask(&command)
            }
            Step::Delete { budget } => {
                let budget = &self.state.model.budgets[*budget];
                if !is_allocation(&budget.scope, budget.window) {
                    let no = budget.no;
                    self.state.model.budgets.retain(|b| b.no != no);
                    self.state.book.budgets.remove(&no);
                }
                Ok(())
            }
            Step::Move { agent, owner, project } => {
                let book = self.state.book.agents.get_mut(agent).expect("an agent");
                (book.owner, book.project) = (owner.clone(), project.clone());
                let model = self.state.model.agent_mut(*agent);
                (model.owner, model.project) = (owner.clone(), project.clone());
                Ok(())
            }
            Step::Fence { agent } => {
                self.state.book.agents.get_mut(agent).expect("an agent").epoch += 1;
                self.state.model.agent_mut(*agent).epoch += 1;
                Ok(())
            }
            Step::Sweep => {
                let leases: Vec<LeaseId> = self.state.leases.iter().map(|(id, _)| id.clone()).collect();
                leases.into_iter().try_for_each(|lease| self.ask(&Command::Expire { lease }))
            }
            Step::Repeat { back } => match self.asked.get(*back).cloned() {
                Some(mut command) => {
                    // A server makes a new id for each attempt
                    let fresh = self.surroundings().fresh;
                    if let Command::Grant { lease: id, .. } | Command::Refresh { new: id, .. } = &mut command {
                        *id = fresh;
                    }
                    self.ask(&command)
                }
                None => Ok(()),
            },
            Step::Crash { steps } => {
                if self.doomed.is_none() {
                    self.doomed = Some((self.state.clone(), *steps));
                }
                Ok(())
            }
        }
    }

    fn open(&mut self, new: &NewBudget) -> Result<(), String> {
        let taken = |b: &&ledger::Budget| b.scope == new.scope && b.window == new.window;
        if self.state.book.budgets.values().find(taken).is_some() {
            return Ok(());
        }
        let budget = new.numbered(BudgetNo(self.next_budget));
        self.next_budget += 1;
        match self.state.book.opening_balance(&budget, self.now) {
            Ok(opening) => self.ask(&Command::Open { budget, opening, actor: admin(), reason: None }),
            Err(_) if self.setting.huge => Ok(()),
            Err(overflow) => Err(overflow.to_string()),
        }
    }

    fn ask(&mut self, command: &Command) -> Result<(), String> {
        let about = self.about(command);
        let store = &self.state.book;
        let lean = self.lean.then(|| lean::book_for(store, command, self.now));
        let applied = ledger::apply(lean.as_ref().unwrap_or(store), command, self.now, self.setting.ttl_ms);
        let answer: Answer = applied.as_ref().map(|a| a.outcome.clone()).map_err(Clone::clone);
        if let (Command::Open { .. }, Err(ledger::Rejection::AmountOverflow), true) =
            (command, &answer, self.setting.huge)
        {
            return Ok(());
        }
        let expected = self.state.model.answer(command, self.now);
        let got = said(&answer, about);
        if got != expected {
            return Err(format!("the ledger says {got:?}\nthe model says  {expected:?}"));
        }
        *self.tally.entry(name(&got.0)).or_default() += 1;
        let Ok(applied) = applied else { return Ok(()) };
        let repeats = matches!(
            applied.outcome,
            Outcome::Granted { duplicate: true, .. } | Outcome::Counted { duplicate: true, .. }
        );
        let noticed_only = applied.entries.iter().all(|entry| entry.kind == EntryKind::Expire);
        if (repeats || matches!(applied.outcome, Outcome::Denied { .. })) && !noticed_only {
            return Err(format!("money moved: {:?}", applied.entries));
        }
        for entry in &applied.entries {
            conserved(entry)?;
        }
        self.state.book.absorb(&applied);
        self.state.entries.extend(applied.entries);
        if let Outcome::Granted { lease, duplicate: false, .. } = &applied.outcome {
            self.next_lease += 1;
            self.state.leases.push((lease.id.clone(), lease.agent));
            self.within_caps(lease)?;
        }
        Ok(())
    }

    /// Whom the figures of the answer are about.
    fn about(&self, command: &Command) -> AgentId {
        let lease = match command {
            Command::Grant { agent, .. }
            | Command::Refresh { agent, .. }
            | Command::Event { agent, .. }
            | Command::Touch { agent } => return *agent,
            Command::Report { lease, .. }
            | Command::Return { lease, .. }
            | Command::Expire { lease }
            | Command::Revoke { lease, .. }
            | Command::Settle { lease, .. } => lease,
            Command::Open { .. } | Command::Adjust { .. } => return AgentId(0),
        };
        self.state.book.leases.get(lease).map_or(AgentId(0), |l| l.agent)
    }

    /// No grant takes any enabled account of its scopes above its cap.
    fn within_caps(&self, lease: &ledger::Lease) -> Result<(), String> {
        let book = &self.state.book;
        for budget in book.budgets.values().filter(|b| b.enabled && lease.scopes().contains(&b.scope)) {
            let key = budget.account_at(self.now);
            if !lease.accounts(book).contains(&key) {
                return Err(format!("{lease:?} is not in the books of {budget:?}"));
            }
            let committed = book.account(key).committed().map_err(|e| e.to_string())?;
            if committed > budget.cap {
                return Err(format!("{committed:?} are committed under {budget:?}"));
            }
        }
        Ok(())
    }

    /// Compares everything the ledger holds with what follows from the facts.
    fn compare(&self) -> Result<(), String> {
        let Durable { book, model, .. } = &self.state;
        if book.leases.len() != model.leases.len() {
            return Err("leases were lost or made up".to_owned());
        }
        for lease in &model.leases {
            same_lease(&book.leases[&lease.id], lease, model.ttl_ms)?;
        }
        self.compare_accounts()?;
        self.compare_journal()
    }

    fn compare_accounts(&self) -> Result<(), String> {
        let Durable { book, model, .. } = &self.state;
        let mut seen = BTreeSet::new();
        for budget in &model.budgets {
            let first = budget.window_of(budget.opened);
            let held = &book.budgets[&budget.no];
            let mut windows: BTreeMap<i64, AccountKey> = BTreeMap::new();
            for lease in model.leases.iter().filter(|l| budget.window_of_lease(l) >= first) {
                let key = held.account_at(lease.at);
                let before = windows.insert(budget.window_of_lease(lease), key);
                if before.is_some_and(|before| before != key) {
                    return Err(format!("one window of {held:?} has two accounts: {before:?} and {key:?}"));
                }
            }
            for (window, key) in windows {
                let (got, expected) = (amounts(&book.account(key)), model.account(budget, window));
                if got != expected {
                    return Err(format!("{held:?} at {key:?} holds {got:?}, by definition {expected:?}"));
                }
                seen.insert(key);
            }
        }
        let live = book.accounts.iter().filter(|(key, _)| book.budgets.contains_key(&key.budget));
        let mut stray = live.filter(|(key, account)| !seen.contains(key) && amounts(account) != [0; 4]);
        stray.next().map_or(Ok(()), |found| Err(format!("no lease explains {found:?}")))
    }

    /// Every account is the sum of its postings.
    fn compare_journal(&self) -> Result<(), String> {
        let mut sums: HashMap<AccountKey, Amounts> = HashMap::new();
        for entry in &self.state.entries {
            let [_, leased, suspense, spent, overrun] = entry.delta.parts().map(|m| i128::from(m.nanos()));
            for key in &entry.accounts {
                let sum = sums.entry(*key).or_default();
                for (sum, part) in sum.iter_mut().zip([spent + overrun, leased, suspense, overrun]) {
                    *sum += part;
                }
            }
        }
        for (key, account) in &self.state.book.accounts {
            let (got, posted) = (amounts(account), sums.remove(key).unwrap_or_default());
            if got != posted || got.iter().any(|amount| *amount < 0) || got[3] > got[0] {
                return Err(format!("{key:?} holds {got:?}, posted were {posted:?}"));
            }
        }
        if sums.is_empty() { Ok(()) } else { Err(format!("posted on accounts that do not exist: {sums:?}")) }
    }
}

fn is_allocation(scope: &Scope, window: Window) -> bool {
    matches!(scope, Scope::Agent(_)) && window == Window::None
}

/// Money is neither made nor lost: a move adds up to zero, a cap to its change.
fn conserved(entry: &Entry) -> Result<(), String> {
    let total: i128 = entry.delta.parts().iter().map(|m| i128::from(m.nanos())).sum();
    let expected = match entry.kind {
        EntryKind::Allocate | EntryKind::Adjust => i128::from(entry.amount.nanos()),
        _ => 0,
    };
    let distinct: BTreeSet<&AccountKey> = entry.accounts.iter().collect();
    if total == expected && distinct.len() == entry.accounts.len() && !entry.accounts.is_empty() {
        Ok(())
    } else {
        Err(format!("not conserved: {entry:?}"))
    }
}

fn same_lease(got: &ledger::Lease, model: &ModelLease, ttl_ms: i64) -> Result<(), String> {
    let wide = |m: kernel::Money| i128::from(m.nanos());
    let story = Story { state: got.state, ended_at: got.ended_at, ended_by: got.ended_by };
    let counters = model.facts.iter().filter_map(|f| match f {
        crate::model::Fact::Counter(seq) => Some(*seq),
        _ => None,
    });
    let reports = model.facts.iter().filter(|f| matches!(f, crate::model::Fact::Report { .. })).count();
    let same = story == model.story(ttl_ms)
        && wide(got.granted) == model.amount
        && wide(got.granted) % 1_000 == 0
        && wide(got.known()) == model.known()
        && wide(got.reported) == model.reported()
        && wide(got.events) == model.events()
        && got.stated.map(wide) == model.stated()
        && got.claimed.map(wide) == model.claimed()
        && got.settlement.as_ref().map(|s| wide(s.spent)) == model.decided()
        && got.superseded_by == model.successor()
        && got.highest_seq == counters.max()
        && got.report_count == i64::try_from(reports).unwrap_or(-1)
        && got.epoch == model.epoch;
    if same { Ok(()) } else { Err(format!("{got:?}\nby definition {model:?}\n{:?}", model.story(ttl_ms))) }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Granted { duplicate: true, .. } => "granted again",
        Verdict::Granted { closed: Some(_), .. } => "refreshed",
        Verdict::Granted { .. } => "granted",
        Verdict::Denied { .. } => "denied",
        Verdict::Reported { duplicate: true, .. } => "reported again",
        Verdict::Reported { .. } => "reported",
        Verdict::Counted { duplicate: true, .. } => "counted again",
        Verdict::Counted { lease: Some(_), .. } => "counted on a lease",
        Verdict::Counted { .. } => "counted on none",
        Verdict::Ended { duplicate: true, .. } => "ended again",
        Verdict::Ended { .. } => "ended",
        Verdict::ClaimNoted { .. } => "claim noted",
        Verdict::Budgeted => "budgeted",
        Verdict::Touched => "touched",
        Verdict::Exhausted { .. } => "exhausted",
        Verdict::Conflict { .. } => "conflict",
        Verdict::BelowKnown { .. } => "below known",
        Verdict::LeaseNotFound => "lease not found",
        Verdict::LeaseAgentMismatch => "lease of another agent",
        Verdict::LeaseClosed => "lease closed",
        Verdict::LeaseActive => "lease active",
        Verdict::LeaseRevoked => "lease revoked",
        Verdict::LeaseEnded => "lease ended",
        Verdict::StaleEpoch => "stale epoch",
        Verdict::AmountOverflow => "amount overflow",
        Verdict::Unexpected(_) => "unexpected",
    }
}

/// The names above; a long simulation must meet all of them.
pub(crate) const EVERY_ANSWER: [&str; 25] = [
    "granted again",
    "refreshed",
    "granted",
    "denied",
    "reported again",
    "reported",
    "counted again",
    "counted on a lease",
    "counted on none",
    "ended again",
    "ended",
    "claim noted",
    "budgeted",
    "touched",
    "exhausted",
    "conflict",
    "below known",
    "lease not found",
    "lease of another agent",
    "lease closed",
    "lease active",
    "lease revoked",
    "lease ended",
    "stale epoch",
    "amount overflow",
];
