//! What the server does by itself: expiring silent leases, forgetting what is no longer needed, measuring.
//!
//! Every step is bounded and may run on several servers at once: expiry is decided by the ledger, whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http_api::ApiState;
use kernel::{LeaseState, Timestamp};
use ledger::Command;
use persistence::{AuditPruned, Folding, Item, StoreError};
use tokio::task::JoinHandle;

use crate::config::Config;

/// How many leases are looked at in one step.
const SWEEP_BATCH: u32 = 500;
/// How many rows are forgotten in one step.
const PRUNE_BATCH: u32 = 1_000;
/// How often is looked for what can be forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_secs(300);
/// How often is looked for agents whose state may have changed though they did nothing.
const STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How often leases are counted for the metrics.
const GAUGE_INTERVAL: Duration = Duration::from_secs(15);
/// The longest that settings let an access token live, seconds: 30 days.
const LONGEST_ACCESS_S: i64 = 43_200 * 60;
/// A day, milliseconds.
const DAY_MS: i64 = 86_400_000;
/// How often the database is told when API tokens and logins were used.
const USES_INTERVAL: Duration = Duration::from_secs(10);
/// Milliseconds for which the minutes are kept in which API tokens were used.
const TOKEN_MINUTES_KEPT_MS: i64 = 2 * 86_400_000;

/// The tasks; they end when this is dropped.
pub(crate) struct Background(Vec<JoinHandle<()>>);

impl Background {
    /// Starts them.
    pub(crate) fn start(api: &ApiState, config: &Config) -> Self {
        let sweep = Duration::from_millis(u64::from(config.budget.sweep_interval_ms));
        let fold = Duration::from_millis(u64::from(config.analytics.fold_interval_ms));
        let kept_ms = i64::from(config.analytics.facts_retention_days) * 86_400_000;
        let seen = Arc::new(AtomicI64::new(0));
        let events_kept_ms = i64::from(config.stream.retention_s) * 1_000;
        let mut tasks = api.stream.start(&api.store);
        tasks.extend([
            tokio::spawn(every(sweep, api.clone(), "sweep", sweep_leases)),
            tokio::spawn(every(STATE_INTERVAL, api.clone(), "states", look_at_states)),
            tokio::spawn(every(PRUNE_INTERVAL, api.clone(), "audit retention", prune_audit)),
            tokio::spawn(every(USES_INTERVAL, api.clone(), "uses", note_uses)),
            tokio::spawn(every(PRUNE_INTERVAL, api.clone(), "prune", move |api| prune(api, events_kept_ms))),
            tokio::spawn(every(GAUGE_INTERVAL, api.clone(), "measure", measure)),
            tokio::spawn(every(fold, api.clone(), "fold", move |api| fold_facts(api, Arc::clone(&seen)))),
            tokio::spawn(every(PRUNE_INTERVAL, api.clone(), "prune facts", move |api| prune_facts(api, kept_ms))),
        ]);
        Self(tasks)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Runs `step` now and then; a failure is logged and the next turn tries again.
async fn every<F>(interval: Duration, api: ApiState, name: &'static str, step: impl Fn(ApiState) -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = step(api.clone()).await {
            tracing::warn!(task = name, error = &error as &dyn std::error::Error, "background work failed");
        }
    }
}

/// Puts the rest of leases that ran out into suspense.
async fn sweep_leases(api: ApiState) -> Result<(), StoreError> {
    loop {
        let now = api.clock.now();
        let sweep = api.store.leases_to_sweep(now, SWEEP_BATCH).await?;
        if !sweep.expired.is_empty() {
            let expire = |lease| Item::new(Command::Expire { lease });
            let count = sweep.expired.len();
            api.pipeline.run(sweep.expired.into_iter().map(expire).collect()).await?;
            tracing::info!(count, "silent leases expired; their rest is in suspense");
        }
        if !sweep.postponed.is_empty() {
            let mut work = api.store.begin(now).await?;
            work.postpone_sweeps(&sweep.postponed).await?;
            work.commit(&*api.entropy).await?;
        }
        if !sweep.full {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// Tells the live stream of agents that fell silent, were freed by a new window, or are affected by what happened elsewhere.
async fn look_at_states(api: ApiState) -> Result<(), StoreError> {
    while api.store.look_at_states(api.clock.now(), &*api.entropy).await? {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Forgets what has served its time, in small steps so that nobody waits for long.
async fn prune(api: ApiState, events_kept_ms: i64) -> Result<(), StoreError> {
    loop {
        let now = api.clock.now();
        let mut work = api.store.begin(now).await?;
        // Not before the last access token of a session has run out
        let sessions_before = now.plus_millis(-api.lifetimes.access_secs.max(LONGEST_ACCESS_S) * 1_000);
        let mut most = work.prune_grant_requests(PRUNE_BATCH).await?;
        most = most.max(work.prune_sessions(sessions_before, PRUNE_BATCH).await?);
        most = most.max(work.prune_login_failures(now.plus_millis(-86_400_000)).await?);
        most = most.max(work.prune_api_token_uses(now.plus_millis(-TOKEN_MINUTES_KEPT_MS), PRUNE_BATCH).await?);
        most = most.max(work.prune_events(now.plus_millis(-events_kept_ms), PRUNE_BATCH).await?);
        work.commit(&*api.entropy).await?;
        if most < u64::from(PRUNE_BATCH) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Adds up hours, days and months that are over, and takes facts into the sketches: those that were there at the last turn,
/// because events and reports of one call mostly meet within that time.
async fn fold_facts(api: ApiState, seen: Arc<AtomicI64>) -> Result<(), StoreError> {
    let last = api.store.fold().await?.last_fact;
    let until = seen.swap(last, Ordering::Relaxed);
    while api.store.fold_rollups(api.clock.now()).await? == Folding::More {
        tokio::task::yield_now().await;
    }
    while api.store.fold_sketches(api.clock.now(), until).await? == Folding::More {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Forgets facts that are older than they are to be kept; 0 keeps them for ever.
async fn prune_facts(api: ApiState, kept_ms: i64) -> Result<(), StoreError> {
    if kept_ms == 0 {
        return Ok(());
    }
    loop {
        let now = api.clock.now();
        if api.store.prune_facts(now, now.plus_millis(-kept_ms), PRUNE_BATCH).await? < u64::from(PRUNE_BATCH) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removes audit entries whose time is over. By whole days, so that an idle server records one removal a day and not one
/// every few minutes.
async fn prune_audit(api: ApiState) -> Result<(), StoreError> {
    loop {
        let now = api.clock.now();
        let kept_days = api.settings_of(None).await?.audit_retention_days();
        let today = now.millis() - now.millis().rem_euclid(DAY_MS);
        let mut work = api.store.begin(now).await?;
        match work.prune_audit(Timestamp::from_millis(today - kept_days * DAY_MS), PRUNE_BATCH).await? {
            AuditPruned::Removed(0) => return Ok(()),
            AuditPruned::Removed(count) => {
                work.commit(&*api.entropy).await?;
                tracing::info!(count, kept_days, "old audit entries removed");
            }
            AuditPruned::Kept(seq, reason) => {
                tracing::error!(seq, reason, "the audit log is not as it was written; nothing of it is removed");
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tells the database when API tokens and logins were used.
pub(crate) async fn note_uses(api: ApiState) -> Result<(), StoreError> {
    api.uses.flush(&api.store, api.clock.now(), &*api.entropy).await
}

async fn measure(api: ApiState) -> Result<(), StoreError> {
    let open = api.store.open_leases(&ledger::Scope::Organization).await?;
    let money = &api.metrics.money;
    for (state, count) in [
        (LeaseState::Active, open.counts.active),
        (LeaseState::Expired, open.counts.expired),
        (LeaseState::Revoked, open.counts.revoked),
    ] {
        money.leases.with_label_values(&[state.as_str()]).set(count);
    }
    for (part, amount) in [("leased", open.leased), ("suspense", open.suspense)] {
        money.exposure_microdollars.with_label_values(&[part]).set(amount.micros_ceil());
    }
    Ok(())
}

/// Tells the metrics of every batch of the pipeline.
pub(crate) fn observer(metrics: &http_api::metrics::Metrics) -> persistence::Observer {
    let pipeline = metrics.pipeline.clone();
    Arc::new(move |batch| {
        pipeline.queue_depth.set(i64::try_from(batch.waiting).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a histogram; no money")]
        pipeline.batch_size.observe(batch.commands as f64);
        pipeline.commit_seconds.observe(batch.took.as_secs_f64());
        if !batch.committed {
            pipeline.failed_batches.inc();
        }
    })
}
