//! Reservations: the money of one call, taken before the call.

use std::sync::Arc;

use kernel::Money;

use crate::ProviderAccess;
use crate::book::{Call, UNKNOWN};
use crate::lease::Lease;
use crate::session::Inner;

/// What a call turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The model that answered, at most 200 characters are reported.
    pub model: String,
    /// The provider that was called, at most 50 characters are reported.
    pub provider: String,
    /// Tokens of the call, in and out.
    pub tokens: u64,
    /// What the call cost, exactly.
    pub cost: Money,
}

impl Usage {
    /// A call.
    pub fn new(model: impl Into<String>, provider: impl Into<String>, tokens: u64, cost: Money) -> Self {
        Self { model: model.into(), provider: provider.into(), tokens, cost }
    }
}

/// What [`Reservation::commit`] booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// What was charged.
    pub charged: Money,
    /// By how much the call cost more than was reserved for it. If this is not nothing, the worst case was estimated
    /// too low, and the guarantee did not hold for this call.
    pub beyond: Money,
}

/// Where a reservation stands.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Not yet on disk: nobody can have made the call.
    Preparing,
    /// The call may be made.
    Live,
    /// Settled.
    Done,
}

/// Money for one call, on disk before the call is made.
///
/// Settle it with [`Reservation::commit`], or with [`Reservation::cancel`] if the call was certainly never sent.
/// Dropping it charges the worst case: a call of which nothing is known may have cost that much.
#[must_use = "dropping a reservation charges its worst case"]
#[derive(Debug)]
pub struct Reservation {
    inner: Arc<Inner>,
    lease: Arc<Lease>,
    access: ProviderAccess,
    id: String,
    worst: Money,
    stage: Stage,
}

impl Reservation {
    /// A reservation that was taken in memory and is not yet on disk.
    pub(crate) fn preparing(
        inner: Arc<Inner>,
        lease: Arc<Lease>,
        access: ProviderAccess,
        id: String,
        worst: Money,
    ) -> Self {
        Self { inner, lease, access, id, worst, stage: Stage::Preparing }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// It is on disk.
    pub(crate) fn live(mut self) -> Self {
        self.stage = Stage::Live;
        self
    }

    /// The id under which the call is reported; an analytics event about the same call should carry it too.
    pub fn request_id(&self) -> &str {
        &self.id
    }

    /// The lease that pays; an analytics event about the same call should name it. Knowing it is enough to report on
    /// the lease: keep it out of logs.
    pub fn lease_id(&self) -> &str {
        self.lease.id.as_str()
    }

    /// What was reserved.
    pub const fn worst_case(&self) -> Money {
        self.worst
    }

    /// The provider and key that this lease is for.
    pub const fn access(&self) -> &ProviderAccess {
        &self.access
    }

    /// Settles the call at its cost and queues the report.
    ///
    /// Does not wait and cannot fail: if the cost cannot be journaled it is still reported, and a crash before that
    /// charges the worst case. Fields out of range are cut to what a report may carry; a negative cost counts as
    /// unknown.
    pub fn commit(mut self, usage: Usage) -> Committed {
        self.stage = Stage::Done;
        let call = Call {
            cost: Some(usage.cost).filter(|cost| !cost.is_negative()),
            tokens: i64::try_from(usage.tokens).unwrap_or(i64::MAX).min(1_000_000_000),
            model: reportable(&usage.model, 200),
            provider: reportable(&usage.provider, 50),
            at: self.inner.now(),
        };
        let charged = call.cost.unwrap_or(self.worst);
        let beyond = charged.minus_or_zero(self.worst);
        if !beyond.is_zero() {
            let (worst, lease) = (self.worst, self.lease.short_id());
            tracing::warn!(lease, request_id = self.id, ?charged, ?worst, "a call cost more than was reserved for it");
        }
        self.settle(call);
        Committed { charged, beyond }
    }

    /// Gives the reservation back. Only for a call that was certainly never sent.
    pub fn cancel(mut self) {
        self.stage = Stage::Done;
        self.lease.cancel(&self.id);
        self.inner.settled(&self.lease);
    }

    fn settle(&self, call: Call) {
        let (inner, lease) = (self.inner.clone(), self.lease.clone());
        if !self.lease.commit(&self.id, call, move || inner.ready(&lease)) {
            tracing::warn!(request_id = self.id, "settled after the session was closed; the worst case was charged");
        }
        self.inner.settled(&self.lease);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.stage {
            Stage::Done => {}
            Stage::Preparing => {
                self.lease.cancel(&self.id);
                self.inner.settled(&self.lease);
            }
            Stage::Live => {
                let worst = self.worst;
                tracing::warn!(
                    request_id = self.id,
                    ?worst,
                    "the outcome of a call is unknown: charging its worst case"
                );
                self.settle(Call::unknown(&self.access.provider, self.inner.now()));
            }
        }
    }
}

/// Text that a report may carry: trimmed, without control characters, not empty, at most `most` characters.
fn reportable(text: &str, most: usize) -> String {
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).take(most).collect();
    // Cutting may have left a blank at the end, which the server would trim
    let clean = clean.trim();
    if clean.is_empty() { UNKNOWN.to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::reportable;

    #[test]
    fn names_are_cut_to_what_a_report_may_carry() {
        assert_eq!(reportable(" gpt\u{0}-5\n", 200), "gpt-5");
        assert_eq!(reportable(" \u{7} ", 200), "unknown");
        assert_eq!(reportable(&"ä".repeat(60), 50).chars().count(), 50);
    }
}
