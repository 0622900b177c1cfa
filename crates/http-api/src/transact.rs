//! Changing something: one transaction in which the decision and its consequences are one.

use kernel::ErrorCode;
use persistence::{StoreError, Work};

use crate::{ApiError, ApiState};

/// How often a transaction that collided with another is tried.
const ATTEMPTS: usize = 4;

/// Why a transaction ends without a change.
pub(crate) enum Stop {
    /// The store failed.
    Store(StoreError),
    /// What was asked for is refused.
    Refused(ApiError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<ErrorCode> for Stop {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

impl From<Stop> for ApiError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Store(error) => error.into(),
            Stop::Refused(error) => error,
        }
    }
}

/// Runs `step` in one transaction and makes it durable. Nothing of it happened if `step` refuses; what must stay even
/// though the caller is refused (a failure that counts) is returned as a value.
///
/// `step` runs again where the transaction collided with another, so it must decide from what it reads in it. Slow work
/// belongs outside.
pub(crate) async fn transact<T>(
    api: &ApiState,
    mut step: impl AsyncFnMut(&mut Work) -> Result<T, Stop>,
) -> Result<T, ApiError> {
    let mut attempts_left = ATTEMPTS;
    loop {
        attempts_left -= 1;
        match attempt(api, &mut step).await {
            Err(Stop::Store(StoreError::Collision)) if attempts_left > 0 => {}
            done => return Ok(done?),
        }
    }
}

async fn attempt<T>(
    api: &ApiState,
    step: &mut impl AsyncFnMut(&mut Work) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let mut work = api.store.begin(api.clock.now()).await?;
    let value = step(&mut work).await?;
    work.commit(&*api.entropy).await?;
    Ok(value)
}
