//! More money: a refresh where no reservation is open, an additional lease where one is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use budget_protocol::{HandshakeResponse, RefreshApproved, RefreshResponse, RuntimeVersion};
use kernel::entropy::random_uuid;
use kernel::{ErrorCode, Money};
use tokio::time::Instant;

use crate::http::Answer;
use crate::journal::{FORMAT, Journal, Record, Wish};
use crate::lease::{Exchange, Lease};
use crate::recover::{self, lease_record};
use crate::session::{Inner, lock};
use crate::{ControlError, Denied, ProviderAccess};

/// How much longer nobody asks ahead of need after that did not help, in pauses after a denial.
const AHEAD_PAUSES: u32 = 30;

impl Inner {
    /// The first lease of a session.
    pub(crate) async fn first_lease(self: Arc<Self>) -> Result<(), ControlError> {
        self.take_lease(Money::ZERO).await
    }

    /// Makes room for a reservation of `need`. `Ok` means that asking made sense, not that it fits now.
    pub(crate) async fn supply(self: Arc<Self>, need: Money) -> Result<(), ControlError> {
        let _one_at_a_time = self.supplying.lock().await;
        if self.is_closing() {
            return Err(ControlError::Closed);
        }
        // Somebody else may have borrowed, or been refused, while this one waited
        if self.fits(need) {
            return Ok(());
        }
        if let Some((until, denied)) = &*lock(&self.denied)
            && Instant::now() < *until
        {
            return Err(ControlError::Denied(denied.clone()));
        }
        let result = self.borrow_more(need).await;
        match &result {
            Err(ControlError::Denied(denied)) => self.remember(denied.clone()),
            // Less was granted than is needed; asking again at once would bring no more
            Ok(()) if !self.fits(need) => self.remember(Box::default()),
            _ => {}
        }
        result
    }

    /// Looks for money before it is needed.
    pub(crate) async fn supply_ahead(self: Arc<Self>) {
        let Ok(_one_at_a_time) = self.supplying.try_lock() else { return };
        let early = lock(&self.not_ahead_before).is_some_and(|until| Instant::now() < until);
        if early || self.is_closing() || !self.is_low() {
            return;
        }
        let result = self.borrow_more(Money::ZERO).await;
        if let Err(error) = &result {
            tracing::debug!(%error, "no more budget ahead of need");
        }
        if result.is_err() || self.is_low() {
            let pause = self.core.config.denial_pause.saturating_mul(AHEAD_PAUSES);
            *lock(&self.not_ahead_before) = Some(Instant::now() + pause);
        }
    }

    fn remember(&self, denied: Box<Denied>) {
        *lock(&self.denied) = Some((Instant::now() + self.core.config.denial_pause, denied));
    }

    async fn borrow_more(&self, need: Money) -> Result<(), ControlError> {
        let micros = self.core.config.tranche.max(need).micros_ceil();
        // The lease with most left: its remainder is certain to be granted again
        let mut leases = self.all();
        leases.sort_by_key(|lease| std::cmp::Reverse(lease.granted_amount().minus_or_zero(lease.charged())));
        for lease in leases {
            let request_id = format!("refresh_{}", random_uuid(&*self.core.config.entropy));
            let Some(exchange) = lease.begin_exchange(request_id, micros) else { continue };
            if self.exchange(&lease, &exchange).await? {
                return Ok(());
            }
            break;
        }
        self.take_lease(need).await
    }

    /// Exchanges a lease that is closed for calls. `Ok(false)` where a new handshake is the way.
    ///
    /// As long as it is possible that the server has exchanged it, or still will, the old lease stays closed: its
    /// remainder may have been lent to somebody else by now.
    async fn exchange(&self, lease: &Arc<Lease>, exchange: &Exchange) -> Result<bool, ControlError> {
        let Exchange { request_id, requested, total_spent } = exchange.clone();
        if let Err(error) = lease.journal.append(&Record::Refresh { request_id, requested, total_spent }).await {
            // Nothing was sent; but nothing can be journaled for this lease any more
            lease.reopen();
            lease.retire();
            self.wake.notify_one();
            return Err(ControlError::Journal(error));
        }
        let http = &self.core.http;
        let request = self.core.refresh_request(&lease.id, exchange);
        let asked_at = self.now();
        let doubtful = |error| {
            tracing::warn!(lease = %lease.short_id(), %error, "the outcome of a refresh is unknown: giving the lease up");
            lease.retire();
            self.wake.notify_one();
            Err(error)
        };
        match http.post_until::<RefreshResponse>("refresh", &request, http.patience()).await {
            Ok(Answer { body: RefreshResponse::Approved(next), .. }) => {
                let usable = match self.succeed(lease, &next, asked_at).await {
                    Ok(usable) => usable,
                    // Granted but not journaled: must not be used. Settling the old lease finds and returns it
                    Err(error) => return doubtful(error),
                };
                lease.exchanged(next.closed_lease, &next.lease_id);
                self.wake.notify_one();
                Ok(usable)
            }
            Ok(Answer { body: RefreshResponse::Denied(denied), after_doubt }) => {
                let error = ControlError::Denied(Box::new(denied.into()));
                // An earlier attempt may still be on its way and be granted later
                if after_doubt {
                    return doubtful(error);
                }
                lease.reopen();
                Err(error)
            }
            Err(failure) if failure.maybe_done => doubtful(failure.error),
            Err(failure) => {
                lease.reopen();
                let Some(code) = failure.error.lease_code() else { return Err(failure.error) };
                if code == ErrorCode::LeaseNotFound {
                    lease.lose();
                } else {
                    lease.retire();
                }
                self.wake.notify_one();
                tracing::info!(lease = %lease.short_id(), error = %failure.error, "the lease cannot be refreshed");
                Ok(false)
            }
        }
    }

    /// Takes up the successor of a refreshed lease. Whether it can be used: its key is known only if it is the same.
    async fn succeed(
        &self,
        old: &Lease,
        next: &RefreshApproved,
        asked_at: kernel::Timestamp,
    ) -> Result<bool, ControlError> {
        let journal = self.new_journal(None).await?;
        let record = Record::Lease {
            lease_id: next.lease_id.as_str().to_owned(),
            granted: next.budget_granted.nanos(),
            provider: next.provider.clone(),
        };
        journal.append(&record).await.map_err(ControlError::Journal)?;
        let same = |access: &ProviderAccess| {
            access.provider_key_id == next.provider_key_id && access.provider == next.provider
        };
        let access = old.access.clone().filter(same);
        let usable = access.is_some();
        let (id, granted, provider) = (next.lease_id.clone(), next.budget_granted, next.provider.clone());
        self.add(Lease::granted(id, granted, provider, access, next.ttl_ms, asked_at, journal));
        Ok(usable)
    }

    /// Borrows by handshake.
    async fn take_lease(&self, need: Money) -> Result<(), ControlError> {
        // First what is left of a handshake that was given up, so that there is never more than one of them
        if self.strays.swap(false, Ordering::SeqCst)
            && let Err(error) = recover::run(&self.core).await
        {
            self.strays.store(true, Ordering::SeqCst);
            return Err(error);
        }
        let config = &self.core.config;
        let wish = Wish {
            request_id: format!("handshake_{}", random_uuid(&*config.entropy)),
            requested: config.tranche.max(need).micros_ceil(),
            provider: config.provider.clone(),
            provider_key_id: config.provider_key_id.map(|id| id.0),
            runtime_id: config.runtime_id.clone(),
            runtime_version: config.runtime_version.as_ref().map(RuntimeVersion::as_str).map(str::to_owned),
        };
        let request = wish.request(config.ic_token.clone());
        let journal = self.new_journal(Some(wish)).await?;
        let (http, asked_at) = (&self.core.http, self.now());
        let answer = match http.post_until::<HandshakeResponse>("handshake", &request, http.patience()).await {
            Ok(answer) => answer.body,
            Err(failure) => {
                if failure.maybe_done {
                    journal.release().await;
                    self.strays.store(true, Ordering::SeqCst);
                } else if let Err(error) = journal.delete().await {
                    tracing::warn!(error, "an unused journal cannot be removed");
                }
                return Err(failure.error);
            }
        };
        if let Err(error) = journal.append(&lease_record(&answer)).await {
            // The request is journaled: recovery finds the lease and returns it
            journal.release().await;
            self.strays.store(true, Ordering::SeqCst);
            return Err(ControlError::Journal(error));
        }
        let access = ProviderAccess::open(&config.ic_token, &answer);
        let lease = Lease::granted(
            answer.lease_id.clone(),
            answer.budget_granted,
            answer.provider.clone(),
            access.as_ref().ok().cloned(),
            answer.ttl_ms,
            asked_at,
            journal,
        );
        let lease = self.add(lease);
        match access {
            Ok(access) => {
                tracing::info!(lease = %lease.short_id(), granted = ?answer.budget_granted, "borrowed");
                *lock(&self.access) = Some(access);
                Ok(())
            }
            Err(error) => {
                // Money without a key is of no use: give it back at once
                let deadline = http.patience();
                match self.core.settle(&lease, &Default::default(), deadline).await {
                    Ok(_) => self.forget(&lease),
                    Err(failure) => tracing::warn!(error = %failure.error, "a useless lease is returned later"),
                }
                Err(error)
            }
        }
    }

    fn add(&self, lease: Lease) -> Arc<Lease> {
        let lease = Arc::new(lease);
        lock(&self.leases).push(lease.clone());
        lease
    }

    async fn new_journal(&self, wish: Option<Wish>) -> Result<Journal, ControlError> {
        let config = &self.core.config;
        let first = Record::Open {
            format: FORMAT,
            at: self.now().millis(),
            base_url: config.base_url.clone(),
            agent: self.core.agent.clone(),
            wish,
        };
        let (dir, entropy) = (self.core.dir.clone(), config.entropy.clone());
        tokio::task::spawn_blocking(move || dir.create(&*entropy, &first))
            .await
            .map_err(|e| ControlError::Journal(e.to_string()))?
            .map_err(|e| ControlError::Journal(e.to_string()))
    }
}
