//! The transitions.

use kernel::{AgentId, EndedBy, LeaseId, LeaseState, Money, Timestamp};

use crate::{
    Account, AccountKey, Actor, AgentBook, AgentFigures, Applied, Book, Budget, Command, Delta, Entry, EntryKind,
    Figure, GrantRecord, IdempotencyKey, Lease, Outcome, Rejection, Scope, ScopeFigures, SettleOutcome, Settlement,
    Spending,
};

/// Runs one command against the book at the instant `now`. Signs of life keep leases active for `ttl_ms` milliseconds.
///
/// A rejection changes nothing. On success nothing has changed either until the caller [`Book::absorb`]s the result.
pub fn apply(book: &Book, command: &Command, now: Timestamp, ttl_ms: i64) -> Result<Applied, Rejection> {
    let mut draft = Draft::new(book, now, ttl_ms);
    let outcome = draft.run(command)?;
    Ok(draft.finish(outcome))
}

/// The changes of one command, laid over the book.
struct Draft<'a> {
    book: &'a Book,
    now: Timestamp,
    ttl_ms: i64,
    entries: Vec<Entry>,
    accounts: Vec<(AccountKey, Account)>,
    leases: Vec<Lease>,
    agent: Option<AgentBook>,
    budget: Option<Budget>,
    report: Option<((LeaseId, String), Money)>,
    event: Option<(AgentId, String)>,
    request: Option<((AgentId, String), GrantRecord)>,
}

/// What an entry says beside its accounts and its delta.
struct Note {
    kind: EntryKind,
    request_id: Option<String>,
    amount: Money,
    occurred_at: Timestamp,
    actor: Actor,
    reason: Option<String>,
}

impl<'a> Draft<'a> {
    fn new(book: &'a Book, now: Timestamp, ttl_ms: i64) -> Self {
        Self {
            book,
            now,
            ttl_ms,
            entries: Vec::new(),
            accounts: Vec::new(),
            leases: Vec::new(),
            agent: None,
            budget: None,
            report: None,
            event: None,
            request: None,
        }
    }

    fn finish(self, outcome: Outcome) -> Applied {
        Applied {
            outcome,
            entries: self.entries,
            accounts: self.accounts,
            leases: self.leases,
            agent: self.agent,
            budget: self.budget,
            report: self.report,
            event: self.event,
            request: self.request,
        }
    }

    fn run(&mut self, command: &Command) -> Result<Outcome, Rejection> {
        match command {
            Command::Grant { agent, lease, requested, request } => {
                self.grant(*agent, lease, *requested, request.as_ref())
            }
            Command::Report { lease, item, total, seq } => self.report(lease, item.as_ref(), *total, *seq),
            Command::Event { agent, lease, item } => self.event(*agent, lease.as_ref(), item),
            Command::Refresh { agent, old, new, requested, total, request } => {
                self.refresh(*agent, old, new, *requested, *total, request.as_ref())
            }
            Command::Return { lease, figure } => self.give_back(lease, *figure),
            Command::Expire { lease } => self.expire(lease),
            Command::Revoke { lease, by, actor, reason } => self.revoke(lease, *by, actor, reason),
            Command::Settle { lease, outcome, figure, actor, reason } => {
                self.settle(lease, *outcome, *figure, actor, reason)
            }
            Command::Open { budget, opening, actor, reason } => {
                self.open(budget.clone(), *opening, actor, reason.clone())
            }
            Command::Adjust { budget, cap, enabled, actor, reason } => {
                let found = self.book.budgets.get(budget).ok_or(Rejection::BudgetNotFound)?;
                self.adjust(found.clone(), *cap, *enabled, actor, reason.clone())
            }
            Command::Touch { agent } => {
                self.take_agent(*agent)?;
                self.saw_life()?;
                Ok(Outcome::Touched)
            }
        }
    }

    // ---- the overlay

    fn account(&self, key: AccountKey) -> Account {
        let changed = self.accounts.iter().find(|(k, _)| *k == key);
        changed.map_or_else(|| self.book.account(key), |(_, account)| *account)
    }

    fn put_account(&mut self, key: AccountKey, account: Account) {
        match self.accounts.iter_mut().find(|(k, _)| *k == key) {
            Some((_, slot)) => *slot = account,
            None => self.accounts.push((key, account)),
        }
    }

    /// Every command concerns one agent at most; its book is drafted from the start.
    fn take_agent(&mut self, id: AgentId) -> Result<(), Rejection> {
        let agent = self.book.agents.get(&id).ok_or(Rejection::AgentNotFound)?;
        self.agent = Some(agent.clone());
        Ok(())
    }

    fn agent(&self) -> Result<&AgentBook, Rejection> {
        self.agent.as_ref().ok_or(Rejection::AgentNotFound)
    }

    /// Notes a sign of life of the agent. Leases that ran out before it are expired first: afterwards nobody could say
    /// when they did.
    fn saw_life(&mut self) -> Result<(), Rejection> {
        let (now, ttl_ms) = (self.now, self.ttl_ms);
        let agent = self.agent()?;
        if agent.is_over(now) {
            let own = self.book.leases.of(agent.id);
            let untouched = own.filter(|lease| self.leases.iter().all(|drafted| drafted.id != lease.id));
            let mut ran_out: Vec<Lease> = untouched.filter(|lease| self.has_run_out(lease, agent)).cloned().collect();
            ran_out.sort_by(|a, b| a.id.cmp(&b.id));
            for mut lease in ran_out {
                self.put_aside(&mut lease, EndedBy::Expiry, &Actor::System, None)?;
            }
        }
        if let Some(agent) = &mut self.agent {
            agent.saw_life(now, ttl_ms);
        }
        Ok(())
    }

    /// The lease, its agent drafted; a lease that has run out is expired on the way, as the sweep would have done.
    fn take_lease(&mut self, id: &LeaseId) -> Result<Lease, Rejection> {
        let mut lease = self.book.leases.get(id).cloned().ok_or(Rejection::LeaseNotFound)?;
        match &self.agent {
            Some(agent) if agent.id != lease.agent => return Err(Rejection::LeaseAgentMismatch),
            Some(_) => {}
            None => self.take_agent(lease.agent)?,
        }
        if self.has_run_out(&lease, self.agent()?) {
            self.put_aside(&mut lease, EndedBy::Expiry, &Actor::System, None)?;
        }
        Ok(lease)
    }

    fn has_run_out(&self, lease: &Lease, agent: &AgentBook) -> bool {
        lease.state == LeaseState::Active && lease.expiry(agent) <= self.now
    }

    fn put_lease(&mut self, lease: Lease) {
        match self.leases.iter_mut().find(|l| l.id == lease.id) {
            Some(slot) => *slot = lease,
            None => self.leases.push(lease),
        }
    }

    fn figures(&self) -> Result<AgentFigures, Rejection> {
        let agent = self.agent()?;
        let scope = Scope::Agent(agent.id);
        let budget = self.book.budgets_of(&scope).find(|b| b.window == kernel::Window::None);
        let budget = budget.ok_or(Rejection::NoAllocation)?;
        Ok(AgentFigures { allocated: budget.cap, account: self.account(budget.account_at(self.now)) })
    }

    /// The enabled budget with the least available, the widest of equals.
    fn binding(&self) -> Result<ScopeFigures, Rejection> {
        let figures = self.book.figures_with(self.agent()?, self.now, |key| self.account(key))?;
        let enabled = figures.into_iter().filter(|f| f.budget.enabled);
        enabled.min_by_key(|f| f.available).ok_or(Rejection::NoAllocation)
    }

    /// What can be lent of what is available: whole micro-dollars, because a holder is told no finer figure.
    fn lendable(binding: &ScopeFigures) -> Money {
        Money::from_micros(binding.available.micros_floor()).unwrap_or(Money::ZERO)
    }

    // ---- postings

    fn post(
        &mut self,
        lease: Option<&Lease>,
        accounts: Vec<AccountKey>,
        delta: Delta,
        note: Note,
    ) -> Result<(), Rejection> {
        for key in &accounts {
            let old = self.account(*key);
            let new = Account {
                spent: old.spent.plus(delta.spent)?.plus(delta.overrun)?,
                leased: old.leased.plus(delta.leased)?,
                suspense: old.suspense.plus(delta.suspense)?,
                overrun: old.overrun.plus(delta.overrun)?,
            };
            new.committed()?;
            // Only damaged or half-loaded books get here; refused alone, it does not fail the batch it came with
            if [new.spent, new.leased, new.suspense, new.overrun].iter().any(|amount| amount.is_negative()) {
                return Err(Rejection::AmountOverflow);
            }
            self.put_account(*key, new);
        }
        let entry = Entry {
            kind: note.kind,
            agent: self.agent.as_ref().map(|a| a.id),
            lease: lease.map(|l| l.id.clone()),
            request_id: note.request_id,
            amount: note.amount,
            accounts,
            delta,
            occurred_at: note.occurred_at,
            recorded_at: self.now,
            actor: note.actor,
            reason: note.reason,
        };
        self.entries.push(entry);
        Ok(())
    }

    fn note(&self, kind: EntryKind, amount: Money, actor: Actor) -> Note {
        Note { kind, request_id: None, amount, occurred_at: self.now, actor, reason: None }
    }

    /// The delta that carries a lease's books from one picture of it to the next, whatever led there.
    fn delta(before: &Lease, after: &Lease) -> Result<Delta, Rejection> {
        let spent = after.covered().minus(before.covered())?;
        let overrun = after.overrun().minus(before.overrun())?;
        let leased = after.leased().minus(before.leased())?;
        let suspense = after.suspense().minus(before.suspense())?;
        let available = Money::ZERO.minus(spent)?.minus(overrun)?.minus(leased)?.minus(suspense)?;
        Ok(Delta { available, leased, suspense, spent, overrun })
    }

    /// Posts the difference between two pictures of a lease and keeps the later one.
    fn carry(&mut self, before: &Lease, after: Lease, note: Note) -> Result<(), Rejection> {
        let delta = Self::delta(before, &after)?;
        if delta != Delta::default() || after.state != before.state {
            let accounts = after.accounts(self.book);
            self.post(Some(&after), accounts, delta, note)?;
        }
        self.put_lease(after);
        Ok(())
    }

    /// Ends an active lease: its rest goes into suspense.
    fn put_aside(
        &mut self,
        lease: &mut Lease,
        by: EndedBy,
        actor: &Actor,
        reason: Option<String>,
    ) -> Result<(), Rejection> {
        let before = lease.clone();
        let (state, kind) = match by {
            EndedBy::Expiry => (LeaseState::Expired, EntryKind::Expire),
            _ => (LeaseState::Revoked, EntryKind::Revoke),
        };
        // An expiry ends the lease at the instant it ran out, whenever the sweep or the next command notices
        let ended_at = if by == EndedBy::Expiry { lease.expiry(self.agent()?) } else { self.now };
        lease.state = state;
        lease.ended_at = Some(ended_at);
        lease.ended_by = Some(by);
        lease.reason.clone_from(&reason);
        let note = Note { reason, ..self.note(kind, before.leased(), actor.clone()) };
        self.carry(&before, lease.clone(), note)
    }

    // ---- the commands

    /// Whether the idempotency key was used, and with which lease.
    fn repeated(&self, agent: AgentId, request: Option<&IdempotencyKey>) -> Result<Option<LeaseId>, Rejection> {
        let record = request.and_then(|r| self.book.requests.get(&(agent, r.key.clone())).map(|found| (r, found)));
        match record {
            Some((request, found)) if found.body_hash != request.body_hash => {
                Err(Rejection::IdempotencyConflict { recorded: None })
            }
            Some((_, found)) => Ok(Some(found.lease.clone())),
            None => Ok(None),
        }
    }

    fn keep_request(&mut self, agent: AgentId, request: Option<&IdempotencyKey>, lease: &LeaseId) {
        self.request =
            request.map(|r| ((agent, r.key.clone()), GrantRecord { body_hash: r.body_hash, lease: lease.clone() }));
    }

    /// The answer to a grant or refresh that was granted before; `stale` where its lease is older than the epoch, which
    /// gets no key any more.
    fn repeat_grant(&mut self, id: &LeaseId, closed: Option<Lease>, stale: Rejection) -> Result<Outcome, Rejection> {
        let mut lease = self.take_lease(id)?;
        if lease.state != LeaseState::Active {
            return Err(Rejection::LeaseClosed);
        }
        if lease.epoch != self.agent()?.epoch {
            return Err(stale);
        }
        self.saw_life()?;
        self.show_life(&mut lease);
        self.put_lease(lease.clone());
        Ok(Outcome::Granted { lease, closed, figures: self.figures()?, duplicate: true })
    }

    fn grant(
        &mut self,
        agent: AgentId,
        lease: &LeaseId,
        requested: Money,
        request: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Rejection> {
        self.take_agent(agent)?;
        if let Some(first) = self.repeated(agent, request)? {
            return self.repeat_grant(&first, None, Rejection::LeaseClosed);
        }
        let binding = self.binding()?;
        let lendable = Self::lendable(&binding);
        if lendable <= Money::ZERO {
            return Err(Rejection::BudgetExhausted { figures: self.figures()?, binding: Box::new(binding) });
        }
        self.saw_life()?;
        let lease = self.lend(lease, requested.min(lendable), None, request)?;
        Ok(Outcome::Granted { lease, closed: None, figures: self.figures()?, duplicate: false })
    }

    /// Opens a lease over `amount`, which the caller has found to be available.
    fn lend(
        &mut self,
        id: &LeaseId,
        amount: Money,
        supersedes: Option<LeaseId>,
        request: Option<&IdempotencyKey>,
    ) -> Result<Lease, Rejection> {
        let agent = self.agent()?;
        let lease = Lease {
            id: id.clone(),
            agent: agent.id,
            owner: agent.owner.clone(),
            project: agent.project.clone(),
            epoch: agent.epoch,
            granted: amount,
            state: LeaseState::Active,
            reported: Money::ZERO,
            stated: None,
            events: Money::ZERO,
            settlement: None,
            claimed: None,
            report_count: 0,
            highest_seq: None,
            created_at: self.now,
            seen_at: self.now,
            // Later than now + TTL only where the clock was set back: see `Lease::expiry`
            expires_at: agent.alive_until.max(self.now.plus_millis(self.ttl_ms)),
            ended_at: None,
            ended_by: None,
            reason: None,
            supersedes,
            superseded_by: None,
        };
        let delta = Delta { available: amount.negated(), leased: amount, ..Delta::default() };
        let request_id = request.map(|r| r.key.clone());
        let note = Note { request_id, ..self.note(EntryKind::Grant, amount, Actor::Agent(lease.agent)) };
        let accounts = lease.accounts(self.book);
        self.post(Some(&lease), accounts, delta, note)?;
        self.put_lease(lease.clone());
        self.keep_request(lease.agent, request, id);
        Ok(lease)
    }

    fn report(
        &mut self,
        id: &LeaseId,
        item: Option<&Spending>,
        total: Option<Money>,
        seq: Option<i64>,
    ) -> Result<Outcome, Rejection> {
        let before = self.take_lease(id)?;
        let known_cost = item.and_then(|item| self.book.reports.get(&(id.clone(), item.id.clone())));
        if let (Some(recorded), Some(item)) = (known_cost, item)
            && *recorded != item.cost
        {
            return Err(Rejection::IdempotencyConflict { recorded: Some(*recorded) });
        }
        let duplicate = known_cost.is_some();
        let mut after = before.clone();
        if let (false, Some(item)) = (duplicate, item) {
            after.reported = after.reported.plus(item.cost)?;
            after.report_count += 1;
            self.report = Some(((id.clone(), item.id.clone()), item.cost));
        }
        after.stated = after.stated.max(total);
        after.highest_seq = after.highest_seq.max(seq);
        self.show_life(&mut after);
        let grown = after.known().minus(before.known())?;
        let kind = if before.state == LeaseState::Active { EntryKind::Report } else { EntryKind::Late };
        let note = Note {
            request_id: item.map(|item| item.id.clone()),
            occurred_at: item.map_or(self.now, |item| item.occurred_at),
            ..self.note(kind, grown, Actor::Agent(before.agent))
        };
        self.carry(&before, after.clone(), note)?;
        Ok(Outcome::Reported { lease: after, figures: self.figures()?, duplicate })
    }

    /// A sign of life on the lease itself, by whoever holds its id.
    fn show_life(&self, lease: &mut Lease) {
        lease.seen_at = lease.seen_at.max(self.now);
        if lease.state == LeaseState::Active {
            lease.expires_at = lease.expires_at.max(self.now.plus_millis(self.ttl_ms));
        }
    }

    fn event(&mut self, agent: AgentId, named: Option<&LeaseId>, item: &Spending) -> Result<Outcome, Rejection> {
        self.take_agent(agent)?;
        if self.book.events.contains_key(&(agent, item.id.clone())) {
            self.saw_life()?;
            return Ok(Outcome::Counted { lease: None, duplicate: true });
        }
        self.event = Some((agent, item.id.clone()));
        let own = named.filter(|id| self.book.leases.get(*id).is_some_and(|l| l.agent == agent)).cloned();
        let attributed = match own {
            Some(named) => Some(named),
            None => self.only_lease_at(item.occurred_at)?,
        };
        let Some(id) = attributed else {
            self.saw_life()?;
            return Ok(Outcome::Counted { lease: None, duplicate: false });
        };
        let before = self.take_lease(&id)?;
        let mut after = before.clone();
        after.events = after.events.plus(item.cost)?;
        self.show_life(&mut after);
        self.saw_life()?;
        let grown = after.known().minus(before.known())?;
        let kind = if before.state == LeaseState::Active { EntryKind::Event } else { EntryKind::Late };
        let note = Note {
            request_id: Some(item.id.clone()),
            occurred_at: item.occurred_at,
            ..self.note(kind, grown, Actor::Agent(agent))
        };
        self.carry(&before, after.clone(), note)?;
        Ok(Outcome::Counted { lease: Some(after), duplicate: false })
    }

    /// The one lease of the agent that was active at `at`, if exactly one was. A lease that has run out counts until
    /// then, whether or not that was noticed before.
    fn only_lease_at(&self, at: Timestamp) -> Result<Option<LeaseId>, Rejection> {
        let agent = self.agent()?;
        let end =
            |lease: &Lease| lease.ended_at.or_else(|| self.has_run_out(lease, agent).then(|| lease.expiry(agent)));
        let active = |lease: &&Lease| lease.created_at <= at && end(lease).is_none_or(|ended| at < ended);
        let mut candidates = self.book.leases.of(agent.id).filter(active);
        let first = candidates.next().map(|lease| lease.id.clone());
        Ok(first.filter(|_| candidates.next().is_none()))
    }

    fn refresh(
        &mut self,
        agent: AgentId,
        old: &LeaseId,
        new: &LeaseId,
        requested: Money,
        total: Option<Money>,
        request: Option<&IdempotencyKey>,
    ) -> Result<Outcome, Rejection> {
        self.take_agent(agent)?;
        if let Some(first) = self.repeated(agent, request)? {
            let closed = self.book.leases.get(old).cloned();
            return self.repeat_grant(&first, closed, Rejection::StaleEpoch);
        }
        let before = self.take_lease(old)?;
        match before.state {
            LeaseState::Revoked => return Err(Rejection::LeaseRevoked),
            LeaseState::Closed => {
                let successor = before.superseded_by.clone().ok_or(Rejection::LeaseClosed)?;
                return self.repeat_grant(&successor, Some(before), Rejection::StaleEpoch);
            }
            LeaseState::Active | LeaseState::Expired => {}
        }
        if before.epoch != self.agent()?.epoch {
            return Err(Rejection::StaleEpoch);
        }
        // A denied refresh changes nothing, so whether there is anything beside the old rest is asked first
        let mut closed = before.clone();
        closed.stated = closed.stated.max(total);
        let beside = self.binding_beside(&before, &closed)?;
        if Self::lendable(&beside) <= Money::ZERO {
            self.saw_life()?;
            return Ok(Outcome::Denied { figures: self.figures()?, binding: beside });
        }
        self.saw_life()?;
        closed.seen_at = closed.seen_at.max(self.now);
        self.close(&mut closed, EndedBy::Refresh);
        closed.superseded_by = Some(new.clone());
        let note = self.note(EntryKind::Refresh, closed.returned(), Actor::Agent(agent));
        self.carry(&before, closed.clone(), note)?;
        let binding = self.binding()?;
        let lease = self.lend(new, requested.min(Self::lendable(&binding)), Some(old.clone()), request)?;
        Ok(Outcome::Granted { lease, closed: Some(closed), figures: self.figures()?, duplicate: false })
    }

    /// The binding budget as it would be with the stated spending booked but the old lease's rest still lent.
    fn binding_beside(&self, before: &Lease, stated: &Lease) -> Result<ScopeFigures, Rejection> {
        let beyond = stated.overrun().minus(before.overrun())?;
        let touched = before.accounts(self.book);
        let figures = self.book.figures_with(self.agent()?, self.now, |key| {
            let mut account = self.account(key);
            if touched.contains(&key) {
                account.spent = account.spent.plus(beyond).unwrap_or(Money::MAX_BALANCE);
            }
            account
        })?;
        let enabled = figures.into_iter().filter(|f| f.budget.enabled);
        enabled.min_by_key(|f| f.available).ok_or(Rejection::NoAllocation)
    }

    fn close(&self, lease: &mut Lease, by: EndedBy) {
        lease.ended_at = lease.ended_at.or(Some(self.now));
        lease.ended_by = Some(by);
        lease.state = LeaseState::Closed;
    }

    fn give_back(&mut self, id: &LeaseId, figure: Option<Figure>) -> Result<Outcome, Rejection> {
        let before = self.take_lease(id)?;
        let stated = figure.map(|figure| match figure {
            Figure::Spent(spent) => spent,
            Figure::Returning(rest) => before.granted.minus_or_zero(rest),
        });
        let mut after = before.clone();
        match before.state {
            LeaseState::Revoked => {
                after.claimed = after.claimed.max(stated);
                self.put_lease(after.clone());
                return Ok(Outcome::ClaimNoted { lease: after });
            }
            LeaseState::Closed if stated.is_none_or(|s| s <= before.known()) => {
                return Ok(Outcome::Ended { lease: before, figures: self.figures()?, duplicate: true });
            }
            LeaseState::Closed => {
                after.stated = after.stated.max(stated);
                let grown = after.known().minus(before.known())?;
                let note = self.note(EntryKind::Late, grown, Actor::Agent(before.agent));
                self.carry(&before, after.clone(), note)?;
            }
            LeaseState::Active | LeaseState::Expired => {
                after.stated = after.stated.max(stated);
                after.seen_at = after.seen_at.max(self.now);
                self.close(&mut after, EndedBy::Return);
                let note = self.note(EntryKind::Return, after.returned(), Actor::Agent(before.agent));
                self.carry(&before, after.clone(), note)?;
            }
        }
        Ok(Outcome::Ended { lease: after, figures: self.figures()?, duplicate: false })
    }

    fn expire(&mut self, id: &LeaseId) -> Result<Outcome, Rejection> {
        let lease = self.take_lease(id)?;
        let duplicate = self.entries.is_empty();
        Ok(Outcome::Ended { lease, figures: self.figures()?, duplicate })
    }

    fn revoke(&mut self, id: &LeaseId, by: EndedBy, actor: &Actor, reason: &str) -> Result<Outcome, Rejection> {
        let mut lease = self.take_lease(id)?;
        let duplicate = match lease.state {
            LeaseState::Active => {
                self.put_aside(&mut lease, by, actor, Some(reason.to_owned()))?;
                false
            }
            LeaseState::Revoked => true,
            LeaseState::Expired => return Err(Rejection::LeaseEnded),
            LeaseState::Closed => return Err(Rejection::LeaseClosed),
        };
        Ok(Outcome::Ended { lease, figures: self.figures()?, duplicate })
    }

    fn settle(
        &mut self,
        id: &LeaseId,
        outcome: SettleOutcome,
        figure: Option<Money>,
        actor: &Actor,
        reason: &str,
    ) -> Result<Outcome, Rejection> {
        let before = self.take_lease(id)?;
        match before.state {
            LeaseState::Active => return Err(Rejection::LeaseActive),
            LeaseState::Closed => return Err(Rejection::LeaseClosed),
            LeaseState::Expired | LeaseState::Revoked => {}
        }
        let known = before.known();
        let spent = match (figure, outcome) {
            (Some(figure), _) if figure < known => return Err(Rejection::BelowKnown { known }),
            (Some(figure), _) => figure,
            (None, SettleOutcome::Spent) => before.granted.max(known),
            (None, SettleOutcome::Unspent) => known,
        };
        let mut after = before.clone();
        after.settlement = Some(Settlement {
            presumed_spent: outcome == SettleOutcome::Spent,
            spent,
            reason: reason.to_owned(),
            by: actor.to_text(),
            at: self.now,
        });
        self.close(&mut after, EndedBy::Settle);
        let charged = spent.minus(known)?;
        let note = Note { reason: Some(reason.to_owned()), ..self.note(EntryKind::Settle, charged, actor.clone()) };
        self.carry(&before, after.clone(), note)?;
        Ok(Outcome::Ended { lease: after, figures: self.figures()?, duplicate: false })
    }

    fn open(
        &mut self,
        mut budget: Budget,
        opening: Account,
        actor: &Actor,
        reason: Option<String>,
    ) -> Result<Outcome, Rejection> {
        let key = budget.account_at(self.now);
        budget.opened_window = key.window_start;
        if let Scope::Agent(agent) = budget.scope {
            self.take_agent(agent)?;
        }
        let note = Note { reason, ..self.note(EntryKind::Allocate, budget.cap, actor.clone()) };
        self.post_opening(key, &opening, note)?;
        for (key, later) in self.book.later_balances(&budget, self.now)? {
            let note = self.note(EntryKind::Allocate, Money::ZERO, actor.clone());
            self.post_opening(key, &later, note)?;
        }
        self.budget = Some(budget.clone());
        Ok(Outcome::Budgeted { account: self.account(key), budget })
    }

    /// Posts what an account starts from; the note's amount is the cap that is new with it.
    fn post_opening(&mut self, key: AccountKey, opening: &Account, note: Note) -> Result<(), Rejection> {
        let delta = Delta {
            available: opening.available(note.amount)?,
            leased: opening.leased,
            suspense: opening.suspense,
            spent: opening.spent.minus(opening.overrun)?,
            overrun: opening.overrun,
        };
        self.post(None, vec![key], delta, note)
    }

    fn adjust(
        &mut self,
        mut budget: Budget,
        cap: Money,
        enabled: bool,
        actor: &Actor,
        reason: Option<String>,
    ) -> Result<Outcome, Rejection> {
        let key = budget.account_at(self.now);
        let change = cap.minus(budget.cap)?;
        budget.cap = cap;
        budget.enabled = enabled;
        if let Scope::Agent(agent) = budget.scope {
            self.take_agent(agent)?;
        }
        if !change.is_zero() {
            let delta = Delta { available: change, ..Delta::default() };
            let note = Note { reason, ..self.note(EntryKind::Adjust, change, actor.clone()) };
            self.post(None, vec![key], delta, note)?;
        }
        self.budget = Some(budget.clone());
        Ok(Outcome::Budgeted { account: self.account(key), budget })
    }
}
