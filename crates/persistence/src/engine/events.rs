//! What the live stream is told of each move (§19.2).
//!
//! An outbox row's kind is `STATE_UPDATE`, `COST_ALERT`, or the `event` of an `AGENT_EVENT`. Of the last the payload is the
//! frame's `data`; of the others it holds the frame's further keys, `data` among them.

use analytics::CallStatus;
use kernel::{AgentId, BudgetId, EndedBy, LeaseId, LeaseState, Money, Timestamp};
use ledger::{Account, Applied, Budget, Command, EntryKind, Lease, Outcome, Scope};

use super::{Checkout, Extra, Item, LeaseTerms};
use crate::Work;
use crate::freezes::{Freeze, SetFreeze};
use crate::payload::Payload;
use crate::work::OutboxEvent;

/// One LLM request, however it was told of.
#[derive(Clone, Copy, Debug)]
pub struct LlmFact<'a> {
    /// The model that was called.
    pub model: &'a str,
    /// The provider that was called.
    pub provider: &'a str,
    /// Tokens in and out.
    pub tokens: i64,
    /// What it cost.
    pub cost: Money,
    /// The lease it was paid from, if one is known.
    pub lease: Option<&'a LeaseId>,
    /// The id of the event that told of it.
    pub event_id: Option<&'a str>,
    /// The id of the report that told of it, or that the event names.
    pub request_id: Option<&'a str>,
    /// Why it failed, where it is said.
    pub error_code: Option<&'a str>,
}

/// The event for one LLM request: `llm_call`, or `llm_error` if it failed. To be emitted once for each fact, in the
/// transaction that stores it.
pub fn llm_event(agent: AgentId, failed: bool, fact: &LlmFact<'_>) -> OutboxEvent {
    let data = Payload::new()
        .text("model", fact.model)
        .text("provider", fact.provider)
        .int("tokens", fact.tokens)
        .spent_usd("cost_usd", fact.cost)
        .spent("cost_microdollars", fact.cost)
        .opt_text("lease_id", fact.lease.map(LeaseId::as_str))
        .opt_text("event_id", fact.event_id)
        .opt_text("request_id", fact.request_id)
        .opt_text("error_code", fact.error_code);
    event(Some(agent), if failed { "llm_error" } else { "llm_call" }, data)
}

impl Work {
    /// Collects the events of one command. `news` says whether it told of a call that nothing had told of before: an event
    /// and the report of the same call are told of once.
    pub(super) fn emit_for(&mut self, item: &Item, applied: &Applied, checkout: &Checkout, news: bool) {
        let terms = |lease: &Lease| checkout.terms.get(&lease.id);
        // Leases that ran out are noticed by whatever command comes next
        for entry in applied.entries.iter().filter(|entry| entry.kind == EntryKind::Expire) {
            let lease = applied.leases.iter().find(|lease| Some(&lease.id) == entry.lease.as_ref());
            if let Some(lease) = lease {
                self.emit(event(Some(lease.agent), "lease_expired", lease_data(lease, terms(lease))));
            }
        }
        match &applied.outcome {
            Outcome::Granted { lease, closed, duplicate: false, .. } => {
                let data = lease_data(lease, terms(lease));
                let (kind, data) = match closed {
                    Some(closed) => ("lease_refreshed", data.object("closed_lease", closed_data(closed))),
                    None => ("lease_granted", data),
                };
                self.emit(event(Some(lease.agent), kind, data));
            }
            Outcome::Reported { lease, duplicate: false, .. } if news => {
                if let (Extra::Call(call), Some(((_, request), cost))) = (&item.extra, &applied.report) {
                    let fact = LlmFact {
                        model: &call.model,
                        provider: &call.provider,
                        tokens: call.tokens,
                        cost: *cost,
                        lease: Some(&lease.id),
                        event_id: None,
                        request_id: Some(request),
                        error_code: None,
                    };
                    self.emit(llm_event(lease.agent, false, &fact));
                }
            }
            Outcome::Counted { lease, duplicate: false } if news => {
                if let (Extra::Event(facts), Command::Event { agent, item: spending, .. }) =
                    (&item.extra, &item.command)
                {
                    let fact = LlmFact {
                        model: &facts.model,
                        provider: &facts.provider,
                        tokens: facts.input_tokens.saturating_add(facts.output_tokens),
                        cost: spending.cost,
                        lease: lease.as_ref().map(|lease| &lease.id),
                        event_id: Some(&spending.id),
                        request_id: facts.request_id.as_deref(),
                        error_code: facts.more.as_ref().and_then(|more| more.error_code.as_deref()),
                    };
                    self.emit(llm_event(*agent, facts.status == CallStatus::Failed, &fact));
                }
            }
            Outcome::Ended { lease, duplicate: false, .. } => {
                let kind = match (lease.state, lease.ended_by) {
                    (LeaseState::Revoked, _) => "lease_revoked",
                    (LeaseState::Closed, Some(EndedBy::Settle)) => "lease_settled",
                    (LeaseState::Closed, _) => "lease_returned",
                    // Told above
                    (LeaseState::Active | LeaseState::Expired, _) => return,
                };
                self.emit(event(Some(lease.agent), kind, lease_data(lease, terms(lease))));
            }
            Outcome::Budgeted { budget, account } => {
                if let Some(terms) = checkout.budget_terms.get(&budget.no) {
                    self.emit(budget_changed(&terms.id, budget, account, self.now));
                }
            }
            Outcome::Touched => {
                if let (Extra::Key(key), Some(agent)) = (&item.extra, &applied.agent) {
                    let data = Payload::new()
                        .int("agent_id", agent.id.0)
                        .int("provider_key_id", key.id.0)
                        .text("provider", &key.provider)
                        .int("epoch", agent.epoch);
                    self.emit(event(Some(agent.id), "key_fetched", data));
                }
            }
            _ => {}
        }
    }
}

/// What a budget is now, in its current window.
pub(crate) fn budget_changed(id: &BudgetId, budget: &Budget, account: &Account, now: Timestamp) -> OutboxEvent {
    event(own_agent(&budget.scope), "budget_changed", budget_data(id, budget, account, now))
}

/// A budget that has ended, as it was.
pub(crate) fn budget_ended(id: &BudgetId, budget: &Budget, account: &Account, now: Timestamp) -> OutboxEvent {
    event(own_agent(&budget.scope), "budget_changed", budget_data(id, budget, account, now).flag("deleted", true))
}

/// A scope that was frozen.
pub(crate) fn frozen(set: &SetFreeze) -> OutboxEvent {
    let data = freeze_data(&set.freeze)
        .int("agents_affected", set.agents_affected)
        .int("open_leases", set.open_leases)
        .spent("exposure", set.exposure);
    event(own_agent(&set.freeze.scope), "frozen", data)
}

/// A freeze that was lifted.
pub(crate) fn unfrozen(freeze: &Freeze) -> OutboxEvent {
    event(own_agent(&freeze.scope), "unfrozen", freeze_data(freeze))
}

/// An IC token that was made, replaced or taken away; the token itself is told to nobody.
pub(crate) fn ic_token_changed(
    agent: AgentId,
    created_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
) -> OutboxEvent {
    let data = Payload::new()
        .int("agent_id", agent.0)
        .flag("has_ic_token", created_at.is_some())
        .opt_int("created_at", created_at.map(Timestamp::secs))
        .opt_int("expires_at", expires_at.map(Timestamp::secs));
    event(Some(agent), "ic_token_changed", data)
}

/// Events of wider scopes than an agent are nobody's in particular: administrators see them.
pub(super) const fn own_agent(scope: &Scope) -> Option<AgentId> {
    if let Scope::Agent(agent) = scope { Some(*agent) } else { None }
}

pub(super) fn event(agent: Option<AgentId>, kind: &'static str, payload: Payload) -> OutboxEvent {
    OutboxEvent { agent, kind, payload: payload.finish() }
}

fn lease_data(lease: &Lease, terms: Option<&LeaseTerms>) -> Payload {
    Payload::new()
        .text("lease_id", lease.id.as_str())
        .int("agent_id", lease.agent.0)
        .text("owner_id", lease.owner.as_str())
        .opt_text("project_id", lease.project.as_ref().map(kernel::ProjectId::as_str))
        .text("state", lease.state.as_str())
        .left("granted", lease.granted)
        .spent("spent", lease.known())
        .left("remaining", lease.leased())
        .spent("suspense", lease.suspense())
        .left("returned", lease.returned())
        .spent("overrun", lease.overrun())
        .opt_text("provider", terms.map(|terms| terms.provider.as_str()))
        .opt_int("provider_key_id", terms.map(|terms| terms.provider_key.0))
        .int("epoch", lease.epoch)
        .opt_text("ended_by", lease.ended_by.map(EndedBy::as_str))
        .opt_text("reason", lease.reason.as_deref())
        .opt_text("supersedes", lease.supersedes.as_ref().map(LeaseId::as_str))
        .opt_text("superseded_by", lease.superseded_by.as_ref().map(LeaseId::as_str))
}

/// The lease that a refresh has settled, as in its answer.
fn closed_data(lease: &Lease) -> Payload {
    Payload::new().text("lease_id", lease.id.as_str()).spent("spent", lease.known()).left("returned", lease.returned())
}

fn budget_data(id: &BudgetId, budget: &Budget, account: &Account, now: Timestamp) -> Payload {
    let (start, end) = budget.window.bounds(&budget.zone, now);
    let available = account.available(budget.cap).unwrap_or(Money::ZERO);
    Payload::new()
        .text("id", id.as_str())
        .scope("scope", &budget.scope)
        .left("cap_microdollars", budget.cap)
        .text("window", budget.window.as_str())
        .flag("enabled", budget.enabled)
        .opt_int("window_start", end.map(|_| start.millis()))
        .opt_int("window_end", end.map(Timestamp::millis))
        .spent("spent", account.spent)
        .spent("leased", account.leased)
        .spent("suspense", account.suspense)
        .spent("overrun", account.overrun)
        .left("available", available.max(Money::ZERO))
}

fn freeze_data(freeze: &Freeze) -> Payload {
    Payload::new()
        .text("id", freeze.id.as_str())
        .scope("scope", &freeze.scope)
        .text("reason", &freeze.reason)
        .flag("active", freeze.is_active())
        .int("frozen_at", freeze.frozen_at.millis())
        .text("frozen_by", freeze.frozen_by.as_str())
        .opt_int("unfrozen_at", freeze.unfrozen_at.map(Timestamp::millis))
        .opt_text("unfrozen_by", freeze.unfrozen_by.as_ref().map(kernel::UserId::as_str))
        .opt_text("unfreeze_reason", freeze.unfreeze_reason.as_deref())
}
