//! The end of a lease: reports, return, and what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use budget_protocol::{
    BatchReportBody, BatchReportResponse, ItemStatus, RefreshRequest, RefreshResponse, ReturnFigure, ReturnRequest,
    ReturnResponse,
};
use kernel::{ErrorCode, LeaseId, Money};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::http::{Failure, Http};
use crate::journal::JournalDir;
use crate::lease::{Exchange, Lease, Phase, short};
use crate::{ClientConfig, ControlError};

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was returned; the rest is free again.
    Returned,
    /// It was exchanged for a new one in a refresh.
    Exchanged,
    /// An operator or owner had revoked it. The final figure is kept for whoever settles it; no money moved.
    Revoked,
    /// The control plane does not know it. Its journal is kept under another name.
    Unknown,
    /// Its journal is damaged. What could be read was reported; the lease is left to expire, so that an operator
    /// decides about the rest. The journal is kept under another name.
    Damaged,
}

/// A lease that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSummary {
    /// Which one it was.
    pub lease_id: LeaseId,
    /// How it ended.
    pub ending: Ending,
    /// What was lent.
    pub granted: Money,
    /// What was spent: as the control plane knows it where it said so, else as this side does.
    pub spent: Money,
    /// What flowed back.
    pub returned: Money,
}

/// What every part of a client needs.
pub(crate) struct Core {
    pub(crate) config: ClientConfig,
    pub(crate) http: Http,
    pub(crate) dir: JournalDir,
    /// Whose journals these are.
    pub(crate) agent: String,
}

impl Core {
    /// Reports what is ready, at most one request's worth. Whether there may be more.
    pub(crate) async fn report(&self, lease: &Lease) -> Result<bool, Failure> {
        let most = self.config.report_batch;
        let (items, charged) = lease.next_batch(most);
        if items.is_empty() {
            return Ok(false);
        }
        let (seqs, reports): (Vec<i64>, Vec<_>) = items.into_iter().unzip();
        let body = BatchReportBody {
            lease_id: &lease.id,
            reports: &reports,
            spent_total_microdollars: Some(charged.min(Money::MAX_CAP)),
        };
        let asked_at = self.config.clock.now();
        let answer: BatchReportResponse = self.http.post("report/batch", &body).await?;
        let (mut done, mut refused) = (Vec::with_capacity(seqs.len()), 0);
        for result in &answer.results {
            let Some(seq) = seqs.get(result.index) else { continue };
            done.push(*seq);
            if matches!(result.status, ItemStatus::Conflict | ItemStatus::Invalid) {
                refused += 1;
                let (id, error) = (&reports[result.index].request_id, result.error.as_deref().unwrap_or_default());
                tracing::error!(lease = %lease.short_id(), request_id = id, error, "a report was refused");
            }
        }
        let missing = done.len() < seqs.len();
        lease.acknowledge(done, refused);
        lease.seen(answer.lease_status, asked_at);
        if missing {
            let error = ControlError::Protocol("a batch was not answered item by item".to_owned());
            return Err(Failure { error, maybe_done: true, retryable: true });
        }
        Ok(lease.has_ready())
    }

    /// Reports everything, until the deadline.
    pub(crate) async fn report_all(&self, lease: &Lease, deadline: Instant) -> Result<(), Failure> {
        let mut backoff = Backoff::new(self.config.retry);
        loop {
            match self.report(lease).await {
                Ok(true) => backoff.reset(),
                Ok(false) => return Ok(()),
                Err(failure) => {
                    let wait = backoff.next(&*self.config.entropy, None);
                    if !failure.retryable || Instant::now() + wait > deadline {
                        return Err(failure);
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Ends a lease on which no reservation is open: reports, returns it, finds the successor of a refresh whose answer
    /// was lost, and removes the journal. On failure the journal stays, and all of it can be done again.
    ///
    /// `journaled` are leases that have journals of their own.
    pub(crate) async fn settle(
        &self,
        lease: &Arc<Lease>,
        journaled: &BTreeSet<String>,
        deadline: Instant,
    ) -> Result<LeaseSummary, Failure> {
        match self.report_all(lease, deadline).await {
            Err(failure) if failure.error.lease_code() == Some(ErrorCode::LeaseNotFound) => lease.lose(),
            result => result?,
        }
        let (charged, granted) = (lease.charged(), lease.granted_amount());
        let ended =
            |ending, spent, returned| LeaseSummary { lease_id: lease.id.clone(), ending, granted, spent, returned };
        let summary = match lease.phase() {
            Phase::Exchanged(closed) => ended(Ending::Exchanged, closed.spent, closed.returned),
            Phase::Lost => ended(Ending::Unknown, charged, Money::ZERO),
            _ => match self.give_back(&lease.id, lease.stated(), deadline).await? {
                Returned::Done(answer) => ended(Ending::Returned, answer.spent, answer.returned),
                Returned::Revoked => ended(Ending::Revoked, charged, Money::ZERO),
                Returned::Unknown => ended(Ending::Unknown, charged, Money::ZERO),
            },
        };
        if let Some(exchange) = lease.exchange() {
            self.find_successor(lease, &exchange, journaled, deadline).await?;
        }
        let removed = if summary.ending == Ending::Unknown {
            tracing::error!(lease = %lease.short_id(), "the control plane does not know this lease");
            lease.journal.set_aside().await
        } else {
            lease.journal.delete().await
        };
        if let Err(error) = removed {
            // Harmless: the next recovery returns a closed lease again, which moves nothing
            tracing::warn!(error, "a journal that is done cannot be removed");
        }
        let (lease, spent, returned) = (lease.short_id(), summary.spent, summary.returned);
        tracing::info!(lease, ending = ?summary.ending, ?granted, ?spent, ?returned, "a lease is over");
        Ok(summary)
    }

    async fn give_back(&self, id: &LeaseId, spent: Money, deadline: Instant) -> Result<Returned, Failure> {
        let request = ReturnRequest { lease_id: id.clone(), figure: Some(ReturnFigure::Spent(spent)) };
        match self.http.post_until::<ReturnResponse>("return", &request, deadline).await {
            Ok(answer) => Ok(Returned::Done(answer.body)),
            Err(failure) => match failure.error.lease_code() {
                Some(ErrorCode::LeaseNotActive | ErrorCode::LeaseRevoked) => Ok(Returned::Revoked),
                Some(ErrorCode::LeaseNotFound) => Ok(Returned::Unknown),
                _ => Err(failure),
            },
        }
    }

    /// A refresh was sent and its answer lost. The old lease is returned by now; had the refresh been carried out
    /// before, the same request brings the successor again, of which nothing was spent.
    async fn find_successor(
        &self,
        lease: &Lease,
        exchange: &Exchange,
        journaled: &BTreeSet<String>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let request = self.refresh_request(&lease.id, exchange);
        match self.http.post_until::<RefreshResponse>("refresh", &request, deadline).await {
            Ok(answer) => match answer.body {
                RefreshResponse::Approved(next) if journaled.contains(next.lease_id.as_str()) => {}
                RefreshResponse::Approved(next) => {
                    tracing::info!(lease = short(next.lease_id.as_str()), "the successor of a lost refresh was found");
                    self.give_back(&next.lease_id, Money::ZERO, deadline).await?;
                }
                RefreshResponse::Denied(_) => {}
            },
            Err(failure) => match failure.error.lease_code() {
                Some(ErrorCode::StaleEpoch | ErrorCode::LeaseAgentMismatch) => {
                    tracing::warn!(lease = %lease.short_id(), "a lost refresh cannot be resolved; its lease will expire");
                }
                Some(_) => {}
                None => return Err(failure),
            },
        }
        Ok(())
    }

    pub(crate) fn refresh_request(&self, lease_id: &LeaseId, exchange: &Exchange) -> RefreshRequest {
        RefreshRequest {
            requested_budget: Money::from_micros(exchange.requested),
            total_spent: Money::from_micros(exchange.total_spent),
            request_id: Some(exchange.request_id.clone()),
            ..RefreshRequest::new(self.config.ic_token.clone(), lease_id.clone())
        }
    }
}

/// What a return came to.
enum Returned {
    Done(ReturnResponse),
    Revoked,
    Unknown,
}
