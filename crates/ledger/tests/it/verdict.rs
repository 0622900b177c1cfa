//! What was answered, reduced to what a caller can see, so that the ledger and the model can be compared.

use kernel::{AgentId, BudgetNo, LeaseId, LeaseState, Money};
use ledger::{Account, Outcome, Rejection};

use crate::world::Answer;

/// `spent, leased, suspense, overrun` in nano-dollars, wide enough never to overflow.
pub(crate) type Amounts = [i128; 4];

pub(crate) fn amounts(account: &Account) -> Amounts {
    [account.spent, account.leased, account.suspense, account.overrun].map(|m| i128::from(m.nanos()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted { lease: LeaseId, amount: i128, closed: Option<LeaseId>, duplicate: bool },
    Denied { binding: BudgetNo, available: i128 },
    Reported { state: LeaseState, known: i128, duplicate: bool },
    Counted { lease: Option<LeaseId>, duplicate: bool },
    Ended { state: LeaseState, known: i128, duplicate: bool },
    ClaimNoted { claimed: Option<i128> },
    Budgeted,
    Touched,
    Exhausted { binding: BudgetNo, available: i128 },
    Conflict { recorded: Option<i128> },
    BelowKnown { known: i128 },
    LeaseNotFound,
    LeaseAgentMismatch,
    LeaseClosed,
    LeaseActive,
    LeaseRevoked,
    LeaseEnded,
    StaleEpoch,
    AmountOverflow,
    Unexpected(String),
}

/// A verdict, and the allocation and account of the agent that came with it.
pub(crate) type Said = (Verdict, Option<(AgentId, i128, Amounts)>);

fn wide(money: Money) -> i128 {
    i128::from(money.nanos())
}

/// Reads the ledger's answer; `agent` is whom the figures are about.
pub(crate) fn said(answer: &Answer, agent: AgentId) -> Said {
    let (verdict, figures) = match answer {
        Ok(outcome) => of_outcome(outcome),
        Err(rejection) => return of_rejection(rejection, agent),
    };
    (verdict, figures.map(|f| (agent, wide(f.allocated), amounts(&f.account))))
}

fn of_outcome(outcome: &Outcome) -> (Verdict, Option<&ledger::AgentFigures>) {
    match outcome {
        Outcome::Granted { lease, closed, figures, duplicate } => {
            let closed = closed.as_ref().map(|l| l.id.clone());
            let amount = wide(lease.granted);
            (Verdict::Granted { lease: lease.id.clone(), amount, closed, duplicate: *duplicate }, Some(figures))
        }
        Outcome::Denied { figures, binding } => {
            (Verdict::Denied { binding: binding.budget.no, available: wide(binding.available) }, Some(figures))
        }
        Outcome::Reported { lease, figures, duplicate } => {
            let (state, known) = (lease.state, wide(lease.known()));
            (Verdict::Reported { state, known, duplicate: *duplicate }, Some(figures))
        }
        Outcome::Counted { lease, duplicate } => {
            (Verdict::Counted { lease: lease.as_ref().map(|l| l.id.clone()), duplicate: *duplicate }, None)
        }
        Outcome::Ended { lease, figures, duplicate } => {
            let (state, known) = (lease.state, wide(lease.known()));
            (Verdict::Ended { state, known, duplicate: *duplicate }, Some(figures))
        }
        Outcome::ClaimNoted { lease } => (Verdict::ClaimNoted { claimed: lease.claimed.map(wide) }, None),
        Outcome::Budgeted { .. } => (Verdict::Budgeted, None),
        Outcome::Touched => (Verdict::Touched, None),
    }
}

fn of_rejection(rejection: &Rejection, agent: AgentId) -> Said {
    let verdict = match rejection {
        Rejection::BudgetExhausted { figures, binding } => {
            let verdict = Verdict::Exhausted { binding: binding.budget.no, available: wide(binding.available) };
            return (verdict, Some((agent, wide(figures.allocated), amounts(&figures.account))));
        }
        Rejection::LeaseNotFound => Verdict::LeaseNotFound,
        Rejection::LeaseAgentMismatch => Verdict::LeaseAgentMismatch,
        Rejection::LeaseClosed => Verdict::LeaseClosed,
        Rejection::LeaseActive => Verdict::LeaseActive,
        Rejection::LeaseRevoked => Verdict::LeaseRevoked,
        Rejection::LeaseEnded => Verdict::LeaseEnded,
        Rejection::StaleEpoch => Verdict::StaleEpoch,
        Rejection::IdempotencyConflict { recorded } => Verdict::Conflict { recorded: recorded.map(wide) },
        Rejection::BelowKnown { known } => Verdict::BelowKnown { known: wide(*known) },
        Rejection::AmountOverflow => Verdict::AmountOverflow,
        other @ (Rejection::AgentNotFound | Rejection::BudgetNotFound | Rejection::NoAllocation) => {
            Verdict::Unexpected(other.to_string())
        }
    };
    (verdict, None)
}
