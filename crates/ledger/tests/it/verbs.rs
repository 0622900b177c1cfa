//! What the model answers to each command, and which facts it learns from it.

use kernel::{AgentId, EndedBy, LeaseId, LeaseState, Money, Timestamp};
use ledger::{Command, Figure, IdempotencyKey, SettleOutcome, Spending};

use crate::model::{Fact, Model, ModelBudget, ModelLease, ZONES};
use crate::verdict::{Said, Verdict};

fn wide(money: Money) -> i128 {
    i128::from(money.nanos())
}

/// The largest balance.
fn max() -> i128 {
    wide(Money::MAX_BALANCE)
}

/// Whole micro-dollars.
fn whole(nanos: i128) -> i128 {
    nanos.div_euclid(1_000) * 1_000
}

fn refused(verdict: Verdict) -> Said {
    (verdict, None)
}

impl Model {
    /// Answers and learns; where the command is refused, nothing is learned.
    pub(crate) fn answer(&mut self, command: &Command, now: Timestamp) -> Said {
        let before = self.huge.then(|| self.clone());
        let said = self.consider(command, now);
        match before {
            Some(before) if !self.in_range() => {
                *self = before;
                refused(Verdict::AmountOverflow)
            }
            _ => said,
        }
    }

    /// Whether every balance is one that books can hold.
    fn in_range(&self) -> bool {
        let holds = |budget: &ModelBudget| {
            let first = budget.window_of(budget.opened);
            let own = self.leases.iter().filter(|lease| budget.covers_lease(lease));
            let mut windows = own.map(|lease| budget.window_of_lease(lease)).filter(|window| *window >= first);
            windows.all(|window| {
                let [spent, leased, suspense, _] = self.account(budget, window);
                spent + leased + suspense <= max()
            })
        };
        self.leases.iter().all(|l| l.reported() <= max() && l.events() <= max()) && self.budgets.iter().all(holds)
    }

    fn consider(&mut self, command: &Command, now: Timestamp) -> Said {
        match command {
            Command::Grant { agent, lease, requested, request } => {
                self.grant(*agent, lease, *requested, request.as_ref(), now)
            }
            Command::Report { lease, item, total, seq } => self.report(lease, item.as_ref(), *total, *seq, now),
            Command::Event { agent, lease, item } => self.event(*agent, lease.as_ref(), item, now),
            Command::Refresh { agent, old, new, requested, total, request } => {
                self.refresh(*agent, old, new, *requested, *total, request.as_ref(), now)
            }
            Command::Return { lease, figure } => self.give_back(lease, *figure, now),
            Command::Expire { lease } => self.expire(lease, now),
            Command::Revoke { lease, .. } => self.revoke(lease, now),
            Command::Settle { lease, outcome, figure, .. } => self.settle(lease, *outcome, *figure, now),
            Command::Open { budget, .. } => {
                let zone = ZONES.iter().position(|z| *z == budget.zone).expect("a zone of the histories");
                self.budgets.push(ModelBudget {
                    no: budget.no,
                    scope: budget.scope.clone(),
                    window: budget.window,
                    zone,
                    cap: wide(budget.cap),
                    enabled: budget.enabled,
                    opened: now,
                });
                (Verdict::Budgeted, None)
            }
            Command::Adjust { budget, cap, enabled, .. } => {
                let found = self.budgets.iter_mut().find(|b| b.no == *budget).expect("a budget");
                (found.cap, found.enabled) = (wide(*cap), *enabled);
                (Verdict::Budgeted, None)
            }
            Command::Touch { agent } => {
                self.life(*agent, now);
                (Verdict::Touched, None)
            }
        }
    }

    fn life(&mut self, agent: AgentId, now: Timestamp) {
        self.agent_mut(agent).lives.push(now);
        for lease in self.leases.iter_mut().filter(|l| l.agent == agent) {
            lease.facts.push(Fact::Life(now));
        }
    }

    fn now(&self, lease: &ModelLease, now: Timestamp) -> LeaseState {
        lease.story_at(now, self.ttl_ms).state
    }

    /// Where a key was used: its lease, or a conflict.
    fn repeated(&self, agent: AgentId, request: Option<&IdempotencyKey>) -> Result<Option<LeaseId>, Verdict> {
        let Some(request) = request else { return Ok(None) };
        match self.agent(agent).keys.iter().find(|(key, ..)| *key == request.key) {
            Some((_, meaning, _)) if [*meaning; 32] != request.body_hash => Err(Verdict::Conflict { recorded: None }),
            found => Ok(found.map(|(_, _, lease)| lease.clone())),
        }
    }

    fn repeat(&mut self, id: &LeaseId, closed: Option<LeaseId>, stale: Verdict, now: Timestamp) -> Said {
        let lease = self.lease(id).expect("the lease of a key or refresh").clone();
        if self.now(&lease, now) != LeaseState::Active {
            return refused(Verdict::LeaseClosed);
        }
        if lease.epoch != self.agent(lease.agent).epoch {
            return refused(stale);
        }
        self.life(lease.agent, now);
        let verdict = Verdict::Granted { lease: lease.id, amount: lease.amount, closed, duplicate: true };
        (verdict, Some(self.figures(lease.agent)))
    }

    fn lend(
        &mut self,
        id: &LeaseId,
        agent: AgentId,
        requested: Money,
        request: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> i128 {
        let amount = wide(requested).min(whole(self.least(agent, now).1));
        let agent = self.agent_mut(agent);
        agent.keys.extend(request.map(|r| (r.key.clone(), r.body_hash[0], id.clone())));
        let agent = agent.clone();
        // The handshake is a sign of life itself; one from a clock that was ahead lasts longer
        let latest = agent.lives.iter().copied().max().unwrap_or(now).max(now);
        self.leases.push(ModelLease::new(id.clone(), &agent, amount, now, latest.plus_millis(self.ttl_ms)));
        amount
    }

    fn grant(
        &mut self,
        agent: AgentId,
        id: &LeaseId,
        requested: Money,
        request: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> Said {
        match self.repeated(agent, request) {
            Err(conflict) => return refused(conflict),
            Ok(Some(first)) => return self.repeat(&first, None, Verdict::LeaseClosed, now),
            Ok(None) => {}
        }
        let (binding, available) = self.least(agent, now);
        if whole(available) <= 0 {
            return (Verdict::Exhausted { binding, available }, Some(self.figures(agent)));
        }
        self.life(agent, now);
        let amount = self.lend(id, agent, requested, request, now);
        let verdict = Verdict::Granted { lease: id.clone(), amount, closed: None, duplicate: false };
        (verdict, Some(self.figures(agent)))
    }

    fn report(
        &mut self,
        id: &LeaseId,
        item: Option<&Spending>,
        total: Option<Money>,
        seq: Option<i64>,
        now: Timestamp,
    ) -> Said {
        let Some(lease) = self.lease(id).cloned() else { return refused(Verdict::LeaseNotFound) };
        let recorded = item.and_then(|item| lease.cost_of(&item.id));
        if let (Some(recorded), Some(item)) = (recorded, item)
            && recorded != item.cost
        {
            return refused(Verdict::Conflict { recorded: Some(wide(recorded)) });
        }
        let mut facts = vec![Fact::Life(now)];
        if let (None, Some(item)) = (recorded, item) {
            facts.push(Fact::Report { id: item.id.clone(), cost: item.cost });
        }
        facts.extend(total.map(Fact::Stated));
        facts.extend(seq.map(Fact::Counter));
        self.learn_all(id, facts);
        let lease = self.lease(id).expect("the lease");
        let (state, known) = (lease.story(self.ttl_ms).state, lease.known());
        (Verdict::Reported { state, known, duplicate: recorded.is_some() }, Some(self.figures(lease.agent)))
    }

    fn learn_all(&mut self, id: &LeaseId, facts: Vec<Fact>) {
        for fact in facts {
            self.learn(id, fact);
        }
    }

    fn event(&mut self, agent: AgentId, named: Option<&LeaseId>, item: &Spending, now: Timestamp) -> Said {
        if self.agent(agent).events.contains(&item.id) {
            self.life(agent, now);
            return (Verdict::Counted { lease: None, duplicate: true }, None);
        }
        let own = named.filter(|id| self.lease(id).is_some_and(|l| l.agent == agent)).cloned();
        let lease = own.or_else(|| self.only_lease_at(agent, item.occurred_at, now));
        if let Some(id) = &lease {
            self.learn_all(id, vec![Fact::Life(now), Fact::Event { cost: item.cost }]);
        }
        self.agent_mut(agent).events.push(item.id.clone());
        self.life(agent, now);
        (Verdict::Counted { lease, duplicate: false }, None)
    }

    fn only_lease_at(&self, agent: AgentId, at: Timestamp, now: Timestamp) -> Option<LeaseId> {
        let was_active = |lease: &&ModelLease| {
            let end = lease.story_at(now, self.ttl_ms).ended_at;
            lease.agent == agent && lease.at <= at && end.is_none_or(|end| at < end)
        };
        let active: Vec<&ModelLease> = self.leases.iter().filter(was_active).collect();
        if let [only] = active.as_slice() { Some(only.id.clone()) } else { None }
    }

    fn refresh(
        &mut self,
        agent: AgentId,
        old: &LeaseId,
        new: &LeaseId,
        requested: Money,
        total: Option<Money>,
        request: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> Said {
        match self.repeated(agent, request) {
            Err(conflict) => return refused(conflict),
            Ok(Some(first)) => {
                let closed = self.lease(old).map(|l| l.id.clone());
                return self.repeat(&first, closed, Verdict::StaleEpoch, now);
            }
            Ok(None) => {}
        }
        let Some(lease) = self.lease(old).cloned() else { return refused(Verdict::LeaseNotFound) };
        if lease.agent != agent {
            return refused(Verdict::LeaseAgentMismatch);
        }
        match self.now(&lease, now) {
            LeaseState::Revoked => return refused(Verdict::LeaseRevoked),
            LeaseState::Closed => match lease.successor() {
                Some(successor) => return self.repeat(&successor, Some(old.clone()), Verdict::StaleEpoch, now),
                None => return refused(Verdict::LeaseClosed),
            },
            LeaseState::Active | LeaseState::Expired => {}
        }
        if lease.epoch != self.agent(agent).epoch {
            return refused(Verdict::StaleEpoch);
        }
        // What would be available if the total were known and the rest still lent
        self.learn(old, Fact::Look(now));
        if let Some(total) = total {
            self.learn(old, Fact::Stated(total));
        }
        let (binding, available) = self.least(agent, now);
        if whole(available) <= 0 {
            if total.is_some() {
                self.leases.iter_mut().find(|l| l.id == *old).expect("the lease").facts.pop();
            }
            self.life(agent, now);
            return (Verdict::Denied { binding, available }, Some(self.figures(agent)));
        }
        self.life(agent, now);
        self.learn(old, Fact::Closed { at: now, by: EndedBy::Refresh, successor: Some(new.clone()) });
        let amount = self.lend(new, agent, requested, request, now);
        let verdict = Verdict::Granted { lease: new.clone(), amount, closed: Some(old.clone()), duplicate: false };
        (verdict, Some(self.figures(agent)))
    }

    fn ended(&self, id: &LeaseId, duplicate: bool) -> Said {
        let lease = self.lease(id).expect("a lease");
        let (state, known) = (lease.story(self.ttl_ms).state, lease.known());
        (Verdict::Ended { state, known, duplicate }, Some(self.figures(lease.agent)))
    }

    fn give_back(&mut self, id: &LeaseId, figure: Option<Figure>, now: Timestamp) -> Said {
        let Some(lease) = self.lease(id).cloned() else { return refused(Verdict::LeaseNotFound) };
        let stated = figure.map(|figure| match figure {
            Figure::Spent(spent) => spent,
            Figure::Returning(rest) => {
                Money::from_nanos(i64::try_from((lease.amount - wide(rest)).max(0)).expect("at most the grant"))
            }
        });
        let mut facts = vec![Fact::Look(now)];
        match self.now(&lease, now) {
            LeaseState::Revoked => {
                if let Some(stated) = stated {
                    self.learn(id, Fact::Claim(stated));
                }
                let claimed = self.lease(id).expect("the lease").claimed();
                return (Verdict::ClaimNoted { claimed }, None);
            }
            LeaseState::Closed if stated.is_none_or(|s| wide(s) <= lease.known()) => return self.ended(id, true),
            LeaseState::Closed => facts.extend(stated.map(Fact::Stated)),
            LeaseState::Active | LeaseState::Expired => {
                facts.extend(stated.map(Fact::Stated));
                facts.push(Fact::Closed { at: now, by: EndedBy::Return, successor: None });
            }
        }
        self.learn_all(id, facts);
        self.ended(id, false)
    }

    fn expire(&mut self, id: &LeaseId, now: Timestamp) -> Said {
        let Some(lease) = self.lease(id) else { return refused(Verdict::LeaseNotFound) };
        let before = lease.story(self.ttl_ms).state;
        self.learn(id, Fact::Look(now));
        let after = self.lease(id).expect("the lease").story(self.ttl_ms).state;
        self.ended(id, before == after)
    }

    fn revoke(&mut self, id: &LeaseId, now: Timestamp) -> Said {
        let Some(lease) = self.lease(id) else { return refused(Verdict::LeaseNotFound) };
        match self.now(lease, now) {
            LeaseState::Active => {
                self.learn(id, Fact::Revoked(now));
                self.ended(id, false)
            }
            LeaseState::Revoked => self.ended(id, true),
            LeaseState::Expired => refused(Verdict::LeaseEnded),
            LeaseState::Closed => refused(Verdict::LeaseClosed),
        }
    }

    fn settle(&mut self, id: &LeaseId, outcome: SettleOutcome, figure: Option<Money>, now: Timestamp) -> Said {
        let Some(lease) = self.lease(id) else { return refused(Verdict::LeaseNotFound) };
        match self.now(lease, now) {
            LeaseState::Active => return refused(Verdict::LeaseActive),
            LeaseState::Closed => return refused(Verdict::LeaseClosed),
            LeaseState::Expired | LeaseState::Revoked => {}
        }
        let known = lease.known();
        let charged = match (figure, outcome) {
            (Some(figure), _) => wide(figure),
            (None, SettleOutcome::Spent) => lease.amount.max(known),
            (None, SettleOutcome::Unspent) => known,
        };
        if charged < known {
            return refused(Verdict::BelowKnown { known });
        }
        let charged = Money::from_nanos(i64::try_from(charged).expect("in range"));
        let closed = Fact::Closed { at: now, by: EndedBy::Settle, successor: None };
        let facts = vec![Fact::Look(now), Fact::Decided(charged), closed];
        self.learn_all(id, facts);
        self.ended(id, false)
    }
}
