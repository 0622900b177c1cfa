//! What the live stream is told of each move.

use kernel::{EndedBy, LeaseState, Money};
use ledger::{AgentFigures, Applied, EntryKind, Lease, Outcome};
use serde_json::{Value, json};

use super::{Extra, Item};
use crate::Work;
use crate::work::OutboxEvent;

impl Work {
    /// Collects the events of one command. Amounts are micro-dollars: spent rounded up, granted and left rounded down.
    pub(super) fn emit_for(&mut self, item: &Item, applied: &Applied) {
        // Leases that ran out are noticed by whatever command comes next
        for entry in applied.entries.iter().filter(|entry| entry.kind == EntryKind::Expire) {
            let lease = applied.leases.iter().find(|lease| Some(&lease.id) == entry.lease.as_ref());
            if let Some(lease) = lease {
                self.emit(event("lease_expired", lease, json!({ "suspense": entry.amount.micros_floor() }), None));
            }
        }
        match &applied.outcome {
            Outcome::Granted { lease, closed, figures, duplicate: false } => {
                let kind = if closed.is_some() { "lease_refreshed" } else { "lease_granted" };
                let data = json!({
                    "budget_granted": lease.granted.micros_floor(),
                    "supersedes": lease.supersedes.as_ref().map(kernel::LeaseId::as_str),
                });
                self.emit(event(kind, lease, data, Some(figures)));
            }
            Outcome::Reported { lease, figures, duplicate: false } => {
                if let (Extra::Call(call), Some(((_, request), cost))) = (&item.extra, &applied.report) {
                    let data = json!({
                        "request_id": request, "model": call.model, "provider": call.provider, "tokens": call.tokens,
                        "cost_microdollars": cost.micros_ceil(),
                    });
                    self.emit(event("llm_call", lease, data, Some(figures)));
                }
            }
            Outcome::Ended { lease, figures, duplicate: false } => {
                let kind = match (lease.state, lease.ended_by) {
                    (LeaseState::Revoked, _) => "lease_revoked",
                    (LeaseState::Closed, Some(EndedBy::Settle)) => "lease_settled",
                    (LeaseState::Closed, _) => "lease_returned",
                    // Told above
                    (LeaseState::Active | LeaseState::Expired, _) => return,
                };
                let data = json!({
                    "spent": lease.known().micros_ceil(),
                    "returned": lease.returned().micros_floor(),
                    "suspense": lease.suspense().micros_floor(),
                });
                self.emit(event(kind, lease, data, Some(figures)));
            }
            Outcome::Budgeted { budget, account } => {
                let agent = if let ledger::Scope::Agent(agent) = &budget.scope { Some(*agent) } else { None };
                let payload = json!({
                    "scope": budget.scope.key(),
                    "cap_microdollars": budget.cap.micros_floor(),
                    "spent": account.spent.micros_ceil(),
                });
                self.emit(OutboxEvent { agent, kind: "budget_changed", payload: payload.to_string() });
            }
            _ => {}
        }
    }
}

fn event(kind: &'static str, lease: &Lease, mut data: Value, figures: Option<&AgentFigures>) -> OutboxEvent {
    if let Value::Object(map) = &mut data {
        map.insert("lease_id".to_owned(), lease.id.as_str().into());
        if let Some(figures) = figures {
            let micros = |m: Money| Value::from(m.micros_ceil());
            map.insert("budget_spent".to_owned(), micros(figures.account.spent));
            map.insert("budget_remaining".to_owned(), figures.remaining().micros_floor().into());
            map.insert("leased".to_owned(), micros(figures.account.leased));
            map.insert("suspense".to_owned(), micros(figures.account.suspense));
        }
    }
    OutboxEvent { agent: Some(lease.agent), kind, payload: data.to_string() }
}
