//! What the bearer of a refresh token gets.
//!
//! A refresh token is spent when it is exchanged (RFC 9700 §4.14.2): if it is stolen, thief and owner will both try, and
//! the second of them shows that there are two. What is stored is one row for each token, found by its
//! [`crate::TokenHash`], and one for its session.

use kernel::Timestamp;

/// How long a spent refresh token still gets a pair, in milliseconds: two tabs of one browser refresh at once, and a
/// client whose connection broke asks again.
pub const REFRESH_GRACE_MILLIS: u64 = 10_000;

/// What is stored about a refresh token and its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshRecord {
    /// When it was first exchanged. A further exchange within the grace time leaves this as it is.
    pub rotated_at: Option<Timestamp>,
    /// From this instant on it is no longer taken.
    pub expires_at: Timestamp,
    /// When its session ended, if it has.
    pub session_ended_at: Option<Timestamp>,
}

/// What the bearer of a refresh token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshDecision {
    /// A new pair; the token is now spent.
    Rotate,
    /// A further pair of the same session; the token was spent a moment ago and stays so.
    GraceRotate,
    /// Nothing, and the session ends: the token was spent long ago, so somebody else has a copy (RFC 9700 §4.14.2).
    Reused,
    /// Nothing: it is too old.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// Nothing: its session has ended.
    Ended {
        /// Since when.
        at: Timestamp,
    },
}

impl RefreshRecord {
    /// What to do with the token now. To be carried out in the transaction that read the record, so that of two
    /// exchanges at once exactly one is the first.
    pub fn decide(&self, now: Timestamp) -> RefreshDecision {
        if now >= self.expires_at {
            // Before reuse: a spent token of last month tells nothing that would justify ending the login
            return RefreshDecision::Expired { at: self.expires_at };
        }
        // Of clocks of several servers one may be a little behind the one that wrote the row
        let in_grace = |spent: Timestamp| now.since(spent).unsigned_abs() < REFRESH_GRACE_MILLIS;
        match (self.rotated_at, self.session_ended_at) {
            (Some(spent), _) if !in_grace(spent) => RefreshDecision::Reused,
            (_, Some(at)) => RefreshDecision::Ended { at },
            (Some(_), None) => RefreshDecision::GraceRotate,
            (None, None) => RefreshDecision::Rotate,
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::{RefreshDecision, RefreshRecord};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn decide(spent_ago: Option<i64>, ends_in: i64, session_ended: bool) -> RefreshDecision {
        let record = RefreshRecord {
            rotated_at: spent_ago.map(|ms| NOW.plus_millis(-ms)),
            expires_at: NOW.plus_millis(ends_in),
            session_ended_at: session_ended.then_some(NOW),
        };
        record.decide(NOW)
    }

    #[test]
    fn an_unspent_token_is_exchanged() {
        assert_eq!(decide(None, 1, false), RefreshDecision::Rotate);
    }

    #[test]
    fn a_token_spent_less_than_ten_seconds_ago_gets_a_further_pair() {
        for ago in [0, 9_999, -500] {
            assert_eq!(decide(Some(ago), 60_000, false), RefreshDecision::GraceRotate, "{ago}");
        }
    }

    #[test]
    fn a_token_spent_ten_seconds_ago_was_stolen() {
        for ago in [10_000, 3_600_000, -10_000] {
            assert_eq!(decide(Some(ago), 60_000, false), RefreshDecision::Reused, "{ago}");
            assert_eq!(decide(Some(ago), 60_000, true), RefreshDecision::Reused, "{ago}, and shown once more");
        }
    }

    #[test]
    fn an_expired_token_is_expired_whatever_else_it_is() {
        for (spent, ended) in [(None, false), (Some(1), false), (Some(60_000), true)] {
            assert_eq!(decide(spent, 0, ended), RefreshDecision::Expired { at: NOW });
        }
    }

    #[test]
    fn no_token_outlives_its_session() {
        assert_eq!(decide(None, 60_000, true), RefreshDecision::Ended { at: NOW });
        assert_eq!(decide(Some(5_000), 60_000, true), RefreshDecision::Ended { at: NOW });
    }
}
