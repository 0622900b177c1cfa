//! Hashing passwords off the threads that serve requests, a bounded number at once.
//!
//! A hash takes a quarter of a second of a processor. Without a bound a wave of logins would take every processor from
//! the budget protocol, and the queue of waiting ones would only end in time-outs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use kernel::Secret;
use tokio::sync::Semaphore;

use crate::{ApiError, ApiState};

/// Hashes that may wait for one that runs: some seconds of work.
const WAITING_PER_SLOT: usize = 32;

/// How many hashes may run and wait.
pub(crate) struct HashSlots {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl HashSlots {
    /// As many at once as half of the processors, at least one.
    pub(crate) fn new() -> Self {
        let slots = (available_parallelism().map_or(1, NonZeroUsize::get) / 2).max(1);
        Self {
            running: Arc::new(Semaphore::new(slots)),
            admitted: Arc::new(Semaphore::new(slots * (1 + WAITING_PER_SLOT))),
        }
    }

    /// 503 `OVERLOADED` where too many wait already.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| ApiError::overloaded())?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(ApiError::internal)?;
        // The places go with the work, not with the request: a client that leaves does not make room
        let work = move || {
            let _places = (admitted, running);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
    }
}

/// Whether this is the password behind the stored hash. `None` stands for an account that does not exist: the same work,
/// and no.
pub(crate) async fn verify(
    api: &ApiState,
    password: &Secret<String>,
    stored: Option<&Secret<String>>,
) -> Result<bool, ApiError> {
    let (hasher, password, stored) = (api.hasher, password.clone(), stored.cloned());
    let verdict = api
        .hash_slots()
        .run(move || hasher.verify(password.expose(), stored.as_ref().map(|hash| hash.expose().as_str())));
    verdict.await?.map_err(ApiError::internal)
}

/// The form in which a new password is stored.
pub(crate) async fn hash(api: &ApiState, password: &Secret<String>) -> Result<Secret<String>, ApiError> {
    let (hasher, password, entropy) = (api.hasher, password.clone(), Arc::clone(&api.entropy));
    api.hash_slots().run(move || hasher.hash(password.expose(), &*entropy)).await
}

#[cfg(test)]
mod tests {
    use kernel::ErrorCode;

    use super::HashSlots;

    #[tokio::test]
    async fn more_than_can_wait_are_turned_away() {
        let slots = HashSlots::new();
        let waiting = slots.admitted.available_permits();
        let _taken = slots.admitted.try_acquire_many(u32::try_from(waiting).expect("a few")).expect("free");
        let refused = slots.run(|| ()).await.expect_err("full");
        assert_eq!(refused.code(), ErrorCode::Overloaded);
    }

    #[tokio::test]
    async fn places_are_free_again_afterwards() {
        let slots = HashSlots::new();
        for n in 0..200 {
            assert_eq!(slots.run(move || n).await.ok(), Some(n));
        }
    }
}
