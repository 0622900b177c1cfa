//! When too many wrong passwords close an account for a while.
//!
//! The count belongs to the e-mail as it was typed (see [`crate::email::normalized`]), whether somebody has it or not,
//! so that an answer never tells which addresses exist. Login goes through three steps:
//!
//! 1. [`LockoutRules::check`] before anything else; a right password does not open a locked account.
//! 2. The password is checked, which takes long.
//! 3. [`LockoutRules::after_failure`] or [`LockoutRules::after_success`] on the state *as it is now*, read and written
//!    in one transaction. Many guesses may have been under way at once, and the ones that were counted last must meet
//!    the lock that the first ones set, even if one of them was right.

use kernel::Timestamp;

/// How many failures lock, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutRules {
    /// Failures in a row that lock the account.
    pub max_failures: u32,
    /// Length of the lock in milliseconds.
    pub lock_millis: i64,
}

impl Default for LockoutRules {
    fn default() -> Self {
        Self { max_failures: 10, lock_millis: 30 * 60 * 1_000 }
    }
}

/// What is stored for an e-mail. No row means [`LockoutState::CLEAR`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockoutState {
    /// Failures in a row since the last success or lock.
    pub failures: u32,
    /// Until when nobody may log in; may lie in the past.
    pub locked_until: Option<Timestamp>,
}

/// The account is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The first instant at which a login is looked at again.
    pub until: Timestamp,
    /// Whole seconds until then, at least 1.
    pub retry_after_secs: i64,
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// To be stored.
    pub state: LockoutState,
    /// Whether this very failure set the lock, which is worth an audit entry.
    pub locks: bool,
}

impl LockoutState {
    /// No failures and no lock: after a success, an unlock or a new password.
    pub const CLEAR: Self = Self { failures: 0, locked_until: None };

    /// Whether the row says nothing any more and may be deleted.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.failures == 0 && self.locked(now).is_none()
    }

    fn locked(&self, now: Timestamp) -> Option<Locked> {
        let until = self.locked_until.filter(|until| now < *until)?;
        let wait_millis = until.since(now);
        // Rounded up: who waits as long as told must not find the door still closed
        Some(Locked { until, retry_after_secs: wait_millis / 1_000 + i64::from(wait_millis % 1_000 > 0) })
    }
}

impl LockoutRules {
    /// Whether a login may be looked at.
    ///
    /// # Errors
    /// The lock, if there is one.
    pub fn check(&self, state: LockoutState, now: Timestamp) -> Result<(), Locked> {
        state.locked(now).map_or(Ok(()), Err)
    }

    /// The state after a wrong password.
    ///
    /// Under a lock nothing counts, so that nobody can keep an account closed by trying on. Once a lock has passed the
    /// count starts at zero.
    #[must_use]
    pub fn after_failure(&self, state: LockoutState, now: Timestamp) -> Failure {
        if state.locked(now).is_some() {
            return Failure { state, locks: false };
        }
        let failures = state.failures.saturating_add(1);
        if failures < self.max_failures {
            return Failure { state: LockoutState { failures, locked_until: None }, locks: false };
        }
        let until = now.plus_millis(self.lock_millis);
        Failure { state: LockoutState { failures: 0, locked_until: Some(until) }, locks: true }
    }

    /// The state after a right password.
    ///
    /// # Errors
    /// The lock that wrong guesses have set while this one was being checked: the login must not succeed.
    pub fn after_success(&self, state: LockoutState, now: Timestamp) -> Result<LockoutState, Locked> {
        self.check(state, now).map(|()| LockoutState::CLEAR)
    }
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::{Locked, LockoutRules, LockoutState};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const HALF_HOUR: i64 = 1_800_000;

    fn after_failures(count: u32, start: LockoutState, now: Timestamp) -> (LockoutState, u32) {
        let rules = LockoutRules::default();
        (0..count).fold((start, 0), |(state, locks), _| {
            let failure = rules.after_failure(state, now);
            (failure.state, locks + u32::from(failure.locks))
        })
    }

    #[test]
    fn the_tenth_failure_in_a_row_locks_for_half_an_hour() {
        let rules = LockoutRules::default();
        let (nine, _) = after_failures(9, LockoutState::CLEAR, NOW);
        assert_eq!(rules.check(nine, NOW), Ok(()));
        let tenth = rules.after_failure(nine, NOW);
        assert!(tenth.locks);
        let locked = Locked { until: NOW.plus_millis(HALF_HOUR), retry_after_secs: 1_800 };
        assert_eq!(rules.check(tenth.state, NOW), Err(locked));
    }

    #[test]
    fn failures_under_a_lock_neither_count_nor_lengthen_it() {
        let (locked, _) = after_failures(10, LockoutState::CLEAR, NOW);
        let (later, locks) = after_failures(50, locked, NOW.plus_millis(1_000));
        assert_eq!((later, locks), (locked, 0));
    }

    #[test]
    fn after_the_lock_the_count_starts_at_zero() {
        let (locked, _) = after_failures(10, LockoutState::CLEAR, NOW);
        let open = NOW.plus_millis(HALF_HOUR);
        assert!(LockoutRules::default().check(locked, open.plus_millis(-1)).is_err());
        assert_eq!(LockoutRules::default().check(locked, open), Ok(()));
        assert_eq!(after_failures(9, locked, open).1, 0);
        assert_eq!(after_failures(10, locked, open).1, 1);
    }

    #[test]
    fn a_success_clears_the_count() {
        let (nine, _) = after_failures(9, LockoutState::CLEAR, NOW);
        assert_eq!(LockoutRules::default().after_success(nine, NOW), Ok(LockoutState::CLEAR));
    }

    #[test]
    fn a_right_guess_among_many_at_once_meets_the_lock() {
        let (locked, _) = after_failures(10, LockoutState::CLEAR, NOW);
        assert!(LockoutRules::default().after_success(locked, NOW).is_err());
    }

    #[test]
    fn the_wait_is_rounded_up_and_never_zero() {
        let (locked, _) = after_failures(10, LockoutState::CLEAR, NOW);
        let wait = |ms| LockoutRules::default().check(locked, NOW.plus_millis(ms)).map_err(|l| l.retry_after_secs);
        assert_eq!((wait(1), wait(1_000), wait(HALF_HOUR - 1)), (Err(1_800), Err(1_799), Err(1)));
    }

    #[test]
    fn a_row_may_go_once_it_says_nothing() {
        let (locked, _) = after_failures(10, LockoutState::CLEAR, NOW);
        assert!(!locked.is_spent(NOW));
        assert!(locked.is_spent(NOW.plus_millis(HALF_HOUR)));
        assert!(!after_failures(1, LockoutState::CLEAR, NOW).0.is_spent(NOW));
    }
}
