//! The background task of a session: reports, looks ahead, ends leases that are over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::backoff::Backoff;
use crate::finish::LeaseSummary;
use crate::http::Failure;
use crate::lease::Lease;
use crate::session::Inner;
use crate::{ControlError, recover};

/// What a session asks of its reporter.
#[derive(Debug)]
pub(crate) enum Command {
    /// Report now.
    Flush(oneshot::Sender<Result<(), ControlError>>),
    /// Report, return, and end.
    Close(oneshot::Sender<Result<Vec<LeaseSummary>, ControlError>>),
}

/// Runs until the session is closed or dropped.
pub(crate) async fn run(inner: Arc<Inner>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let interval = inner.core.config.report_interval;
    let mut backoff = Backoff::new(inner.core.config.retry);
    let mut next = Instant::now() + interval;
    let mut not_before = Instant::now();
    loop {
        let mut flush = None;
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Flush(done)) => flush = Some(done),
                Some(Command::Close(done)) => {
                    let result = shutdown(&inner).await;
                    // A caller that has gone has nothing to do with the result
                    let _ = done.send(result);
                    return;
                }
                None => {
                    if let Err(error) = shutdown(&inner).await {
                        tracing::warn!(%error, "closing in the background failed; the journal has what is left");
                    }
                    return;
                }
            },
            () = inner.wake.notified() => {}
            () = sleep_until(next) => {}
        }
        if flush.is_none() && Instant::now() < not_before {
            next = not_before;
            continue;
        }
        if flush.is_some() {
            for lease in inner.all() {
                // A journal that cannot be written does not keep what was committed from being reported
                let _ = lease.journal.sync().await;
            }
        }
        let result = round(&inner).await;
        next = Instant::now() + interval;
        match &result {
            Ok(()) => backoff.reset(),
            Err(failure) => {
                not_before = Instant::now() + backoff.next(&*inner.core.config.entropy, None);
                next = next.max(not_before);
                tracing::warn!(error = %failure.error, "reports are kept and sent again");
            }
        }
        if let Some(done) = flush {
            // A caller that has gone has nothing to do with the result
            let _ = done.send(result.map_err(|failure| failure.error));
        }
    }
}

/// Does what there is to do, once. The first failure ends it: where one request fails the next would too.
async fn round(inner: &Arc<Inner>) -> Result<(), Failure> {
    for lease in inner.all() {
        report_all_ready(inner, &lease).await?;
    }
    retire(inner);
    for lease in inner.all().into_iter().filter(|lease| lease.is_over()) {
        // One attempt; the next round is the repetition
        match inner.core.settle(&lease, &BTreeSet::new(), Instant::now()).await {
            Ok(_) => inner.forget(&lease),
            Err(failure) if failure.retryable => return Err(failure),
            Err(failure) => {
                // Repeating it would hold up everything else: left to recovery, at the latest by the next process
                tracing::warn!(lease = %lease.short_id(), error = %failure.error, "a lease cannot be settled now");
                lease.journal.release().await;
                inner.forget(&lease);
                inner.strays.store(true, Ordering::SeqCst);
            }
        }
    }
    if inner.is_low() {
        // Not awaited: a slow handshake must not delay reports
        tokio::spawn(inner.clone().supply_ahead());
    }
    Ok(())
}

async fn report_all_ready(inner: &Inner, lease: &Lease) -> Result<(), Failure> {
    loop {
        match inner.core.report(lease).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(failure) if failure.error.lease_code() == Some(ErrorCode::LeaseNotFound) => {
                lease.lose();
                return Ok(());
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// A journal of this length is long enough: its lease is replaced, so that recovery stays quick.
const LONG_JOURNAL: u64 = 64 << 20;

/// Leases that have expired or are used up, and on which nothing is under way, are given back. The last usable one is
/// kept as long as it lasts: a refresh is better than a return and a handshake.
fn retire(inner: &Inner) {
    let now = inner.now();
    let mut usable = inner.all().iter().filter(|lease| lease.usable_left(now).is_some()).count();
    for lease in inner.all() {
        if lease.journal.length() > LONG_JOURNAL {
            lease.retire();
        }
        let is_usable = lease.usable_left(now).is_some();
        let spare = usable > 1;
        let retired =
            lease.retire_idle(now, |left, granted| spare && (left.is_zero() || inner.below_threshold(left, granted)));
        if retired && is_usable {
            usable -= 1;
        }
    }
}

/// Brings everything to an end.
async fn shutdown(inner: &Arc<Inner>) -> Result<Vec<LeaseSummary>, ControlError> {
    // A refresh that is under way decides which leases there are
    let _no_more = inner.supplying.lock().await;
    let drained = Instant::now() + inner.core.config.drain_timeout;
    while inner.all().iter().any(|lease| !lease.is_idle()) {
        if timeout_at(drained, inner.drained.notified()).await.is_err() {
            break;
        }
    }
    let (mut over, mut failed) = (Vec::new(), None);
    let deadline = Instant::now() + inner.core.config.close_timeout;
    for lease in inner.all() {
        lease.retire();
        let open = lease.commit_open(inner.now());
        if open > 0 {
            tracing::warn!(lease = %lease.short_id(), open, "closing with calls under way: charging their worst case");
        }
        if let Err(error) = lease.journal.sync().await {
            tracing::warn!(error, "the journal cannot be written");
        }
        match inner.core.settle(&lease, &BTreeSet::new(), deadline).await {
            Ok(summary) => {
                inner.forget(&lease);
                over.push(summary);
            }
            Err(failure) => {
                // Let go, so that its journal can be recovered by whoever comes next
                lease.journal.release().await;
                inner.forget(&lease);
                failed = Some(failure.error);
            }
        }
    }
    if failed.is_none() && inner.strays.swap(false, Ordering::SeqCst) {
        over.extend(recover::run(&inner.core).await?);
    }
    failed.map_or(Ok(over), Err)
}
