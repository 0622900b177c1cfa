//! What dead processes left: their journals are brought to an end.

use std::collections::BTreeSet;
use std::sync::Arc;

use budget_protocol::{ClosedLease, HandshakeResponse};
use kernel::{ErrorCode, LeaseId, Money, Timestamp};

use crate::ControlError;
use crate::book::Book;
use crate::finish::{Core, Ending, LeaseSummary};
use crate::http::Failure;
use crate::journal::{FORMAT, Found, Journal, Record, Replay, Wish};
use crate::lease::{Exchange, Lease, Phase};

/// How long the server remembers an idempotency key; after that, repeating a lost request tells nothing.
const KEY_LIFE_MS: i64 = 24 * 3_600 * 1_000;

/// Recovers every abandoned journal. What cannot be recovered now stays for the next time; an unavailable control plane
/// ends the attempt.
pub(crate) async fn run(core: &Core) -> Result<Vec<LeaseSummary>, ControlError> {
    let dir = core.dir.clone();
    let scan = tokio::task::spawn_blocking(move || dir.scan())
        .await
        .map_err(|e| ControlError::Journal(e.to_string()))?
        .map_err(|e| ControlError::Journal(e.to_string()))?;
    let mut over = Vec::new();
    for found in scan.found {
        let path = found.journal.path().to_owned();
        match one(core, found, &scan.leases).await {
            Ok(summary) => over.extend(summary),
            Err(failure) => {
                tracing::warn!(path = %path.display(), error = %failure.error, "a journal is left for later");
                if failure.retryable {
                    return Err(failure.error);
                }
            }
        }
    }
    Ok(over)
}

/// The first record, and how old it is.
struct Head {
    ours: bool,
    wish: Option<Wish>,
    age_ms: i64,
}

fn head(core: &Core, replay: &Replay) -> Option<Head> {
    match replay.records.first() {
        Some(Record::Open { format: FORMAT, at, base_url, agent, wish }) if *base_url == core.config.base_url => {
            let age_ms = core.config.clock.now().since(Timestamp::from_millis(*at));
            Some(Head { ours: *agent == core.agent, wish: wish.clone(), age_ms })
        }
        _ => None,
    }
}

/// Brings one journal to an end; where that is not possible now, lets go of it.
async fn one(core: &Core, found: Found, journaled: &BTreeSet<String>) -> Result<Option<LeaseSummary>, Failure> {
    let Found { journal, replay } = found;
    let Some(head) = head(core, &replay) else {
        tracing::warn!(path = %journal.path().display(), "a journal of another control plane or version is left alone");
        journal.release().await;
        return Ok(None);
    };
    let known = replay.records.iter().find_map(|record| match record {
        Record::Lease { lease_id, provider, .. } => Some((LeaseId::new(lease_id.clone()), provider.clone())),
        _ => None,
    });
    let mut book = Book::default();
    replay.records.iter().for_each(|record| book.apply(record));
    let (id, provider) = match known {
        Some(known) => known,
        None => match find_lease(core, &head, &journal).await {
            Ok(Some(answer)) => {
                book.apply(&lease_record(&answer));
                (answer.lease_id, answer.provider)
            }
            nothing => {
                journal.release().await;
                return nothing.map(|_| None);
            }
        },
    };
    let (phase, exchange) = exchange_of(&replay, &id, book.granted(), book.charged());
    let lease = Arc::new(Lease::recovered(id, provider, book, phase, exchange, journal));
    let open = lease.commit_open(core.config.clock.now());
    if let Err(error) = lease.journal.sync().await {
        // Reported nevertheless; done again after another crash it would be the same items
        tracing::warn!(error, "a recovered journal cannot be written");
    }
    tracing::info!(lease = %lease.short_id(), open, unreported = lease.unreported(), "recovering a lease");
    let result = end(core, &lease, &head, replay.damaged, journaled).await;
    lease.journal.release().await;
    result
}

async fn end(
    core: &Core,
    lease: &Arc<Lease>,
    head: &Head,
    damaged: bool,
    journaled: &BTreeSet<String>,
) -> Result<Option<LeaseSummary>, Failure> {
    let deadline = core.http.patience();
    if damaged {
        core.report_all(lease, deadline).await?;
        return Ok(Some(give_up(lease).await));
    }
    if lease.exchange().is_some() && !head.ours && head.age_ms < KEY_LIFE_MS {
        // Only its own agent's token finds the successor; the rest stays for it
        core.report_all(lease, deadline).await?;
        return Ok(None);
    }
    core.settle(lease, journaled, deadline).await.map(Some)
}

/// A damaged journal may have lost amounts: returning the lease could free money that was spent.
async fn give_up(lease: &Lease) -> LeaseSummary {
    tracing::error!(lease = %lease.short_id(), "a damaged journal: the lease is left to expire");
    if let Err(error) = lease.journal.set_aside().await {
        tracing::warn!(error, "a damaged journal cannot be set aside");
    }
    LeaseSummary {
        lease_id: lease.id.clone(),
        ending: Ending::Damaged,
        granted: lease.granted_amount(),
        spent: lease.charged(),
        returned: Money::ZERO,
    }
}

/// The process died between sending a handshake and journaling its answer. The same request brings the same lease.
async fn find_lease(core: &Core, head: &Head, journal: &Journal) -> Result<Option<HandshakeResponse>, Failure> {
    let too_old = head.age_ms >= KEY_LIFE_MS;
    let Some(wish) = head.wish.as_ref().filter(|_| head.ours && !too_old) else {
        if too_old || head.wish.is_none() {
            // Whatever was granted has expired by now, or never had a journal that was used
            discard(journal).await;
        }
        return Ok(None);
    };
    let request = wish.request(core.config.ic_token.clone());
    match core.http.post_until::<HandshakeResponse>("handshake", &request, core.http.patience()).await {
        Ok(answer) => {
            if let Err(error) = journal.append(&lease_record(&answer.body)).await {
                tracing::warn!(error, "a recovered journal cannot be written");
            }
            Ok(Some(answer.body))
        }
        Err(failure) if !failure.maybe_done && proves_nothing_is_lent(&failure.error) => {
            discard(journal).await;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Had the first attempt been granted, the repetition would have brought that lease before money was looked at.
fn proves_nothing_is_lent(error: &ControlError) -> bool {
    matches!(error, ControlError::Denied(_) | ControlError::Quota { .. })
        || error.lease_code() == Some(ErrorCode::LeaseClosed)
}

async fn discard(journal: &Journal) {
    if let Err(error) = journal.delete().await {
        tracing::warn!(error, "an empty journal cannot be removed");
    }
}

pub(crate) fn lease_record(answer: &HandshakeResponse) -> Record {
    Record::Lease {
        lease_id: answer.lease_id.as_str().to_owned(),
        granted: answer.budget_granted.nanos(),
        provider: answer.provider.clone(),
    }
}

/// Where a recovered lease stands, and the refresh whose outcome its process did not learn.
fn exchange_of(replay: &Replay, id: &LeaseId, granted: Money, spent: Money) -> (Phase, Option<Exchange>) {
    let mut state = (Phase::Retired, None);
    for record in &replay.records {
        match record {
            Record::Refresh { request_id, requested, total_spent } => {
                let (requested, total_spent) = (*requested, *total_spent);
                state.1 = Some(Exchange { request_id: request_id.clone(), requested, total_spent });
            }
            Record::Refreshed { successor: None } => state.1 = None,
            Record::Refreshed { successor: Some(_) } => {
                let returned = granted.minus_or_zero(spent);
                state = (Phase::Exchanged(ClosedLease { lease_id: id.clone(), spent, returned }), None);
            }
            _ => {}
        }
    }
    state
}
