//! Changing something: one transaction in which the decision and its consequences are one.

use kernel::ErrorCode;
use persistence::StoreError;

use crate::ApiError;

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

/// Runs a block in one transaction and makes it durable: `transact!(api, async |work| { … }).await?`.
///
/// In the block `work` is the `&mut Work`, and `?` takes store errors, [`ApiError`]s and error codes. Nothing of it happened
/// if the block ends with an error; what must stay even though the caller is refused (a failure that counts) is returned as
/// a value. The block runs again where the transaction collided with another, so it must decide from what it reads in it.
/// Slow work belongs outside.
///
/// A macro, for want of a function: the compiler cannot yet see that the future of an async closure that borrows is `Send`,
/// as those of handlers must be.
macro_rules! transact {
    ($api:expr, async |$work:ident| $block:block) => {
        async {
            let api: &$crate::ApiState = &$api;
            let mut attempts = $crate::transact::Attempts::new();
            loop {
                let attempt = async {
                    let mut work = api.store.begin(api.clock.now()).await?;
                    let value = {
                        let $work: &mut persistence::Work = &mut work;
                        let step = async { $block };
                        $crate::transact::stopped(step.await)?
                    };
                    work.commit(&*api.entropy).await?;
                    Ok(value)
                };
                if let Some(done) = attempts.settle(attempt.await) {
                    break done;
                }
            }
        }
    };
}
pub(crate) use transact;

/// Tells the compiler what a block of [`transact!`] ends with.
pub(crate) const fn stopped<T>(result: Result<T, Stop>) -> Result<T, Stop> {
    result
}

/// Counts how often a transaction was tried.
pub(crate) struct Attempts(usize);

impl Attempts {
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    /// What the transaction comes to; `None` if it is to be tried again.
    pub(crate) fn settle<T>(&mut self, done: Result<T, Stop>) -> Option<Result<T, ApiError>> {
        self.0 += 1;
        match done {
            Err(Stop::Store(StoreError::Collision)) if self.0 < ATTEMPTS => None,
            done => Some(done.map_err(ApiError::from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::ErrorCode;
    use persistence::StoreError;

    use super::{ATTEMPTS, Attempts, Stop};

    #[test]
    fn only_a_collision_is_tried_again_and_not_for_ever() {
        let mut attempts = Attempts::new();
        for _ in 1..ATTEMPTS {
            assert!(attempts.settle::<()>(Err(StoreError::Collision.into())).is_none());
        }
        let last = attempts.settle::<()>(Err(StoreError::Collision.into())).expect("the end").expect_err("collided");
        assert_eq!(last.code(), ErrorCode::ServiceUnavailable);
        let refused = Attempts::new().settle::<()>(Err(Stop::from(ErrorCode::LastAdmin))).expect("the end");
        assert_eq!(refused.expect_err("refused").code(), ErrorCode::LastAdmin);
    }
}
