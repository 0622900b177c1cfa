//! Rate limits.
//!
//! Counters live in this process's memory, bounded in number; several servers count separately. Two ways of counting: a
//! *window* opens with the first request and closes a fixed time later, and *smooth* gives one request back every
//! `window ÷ max` (the generic cell rate algorithm). Looking is separate from counting, because of failed logins only the
//! failures count, and the clock is an argument; that is what keeps a ready-made limiter from fitting here.

mod store;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use kernel::{ApiTokenId, Clock, UserId};

use crate::error::ApiError;
use store::{Counter, Method};

/// How often something may happen. `max` 0 turns the limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times per window.
    pub max: u32,
    /// Length of the window in seconds.
    pub window_s: u32,
}

impl Rate {
    /// `max` times per minute.
    pub const fn per_minute(max: u32) -> Self {
        Self { max, window_s: 60 }
    }
}

/// Every rate limit of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Failed logins of one e-mail from one address.
    pub failed_login_pair: Rate,
    /// Failed logins from one address.
    pub failed_login_ip: Rate,
    /// Reads of decrypted provider keys by one API token; smooth.
    pub keys_read: Rate,
    /// API tokens created or rotated by one user.
    pub token_changes: Rate,
    /// API token validations from one address.
    pub token_validations: Rate,
    /// Reads of one user.
    pub user_reads: Rate,
    /// Writes of one user.
    pub user_writes: Rate,
    /// Exports of one user.
    pub exports: Rate,
    /// Budget requests from one address that named an unknown token or lease.
    pub budget_misses: Rate,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            failed_login_pair: Rate { max: 10, window_s: 300 },
            failed_login_ip: Rate { max: 50, window_s: 300 },
            keys_read: Rate::per_minute(10),
            token_changes: Rate::per_minute(10),
            token_validations: Rate::per_minute(100),
            user_reads: Rate::per_minute(600),
            user_writes: Rate::per_minute(120),
            exports: Rate::per_minute(10),
            budget_misses: Rate::per_minute(30),
        }
    }
}

/// The counters. Every check answers with the 429 to return.
pub struct Limits {
    clock: Arc<dyn Clock>,
    failed_login_pair: Counter,
    failed_login_ip: Counter,
    keys_read: Counter,
    token_changes: Counter,
    token_validations: Counter,
    user_reads: Counter,
    user_writes: Counter,
    exports: Counter,
    budget_misses: Counter,
}

impl Limits {
    /// Counters that all stand at zero.
    pub fn new(settings: LimitSettings, clock: Arc<dyn Clock>) -> Self {
        let window = |rate| Counter::new(rate, Method::Window);
        Self {
            clock,
            failed_login_pair: window(settings.failed_login_pair),
            failed_login_ip: window(settings.failed_login_ip),
            keys_read: Counter::new(settings.keys_read, Method::Smooth),
            token_changes: window(settings.token_changes),
            token_validations: window(settings.token_validations),
            user_reads: window(settings.user_reads),
            user_writes: window(settings.user_writes),
            exports: window(settings.exports),
            budget_misses: window(settings.budget_misses),
        }
    }

    /// Before a login (or a check of the current password): whether too many have failed. Counts nothing.
    pub fn login(&self, email: &str, ip: IpAddr) -> Result<(), ApiError> {
        let (now, ip) = (self.clock.now(), network(ip));
        self.failed_login_ip
            .look(&ip, now)
            .and_then(|()| self.failed_login_pair.look(&(same_email(email), ip), now))
            .map_err(ApiError::rate_limited)
    }

    /// After a failed login.
    pub fn login_failed(&self, email: &str, ip: IpAddr) {
        let (now, ip) = (self.clock.now(), network(ip));
        // Already full counters stay full: the attempts that were under way together
        let _ = self.failed_login_ip.count(&ip, now);
        let _ = self.failed_login_pair.count(&(same_email(email), ip), now);
    }

    /// A read of decrypted provider keys.
    pub fn keys_read(&self, token: ApiTokenId) -> Result<(), ApiError> {
        self.keys_read.count(&token, self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// An API token is to be created or rotated.
    pub fn token_change(&self, user: &UserId) -> Result<(), ApiError> {
        self.token_changes.count(user, self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// An API token is to be validated by somebody unknown.
    pub fn token_validation(&self, ip: IpAddr) -> Result<(), ApiError> {
        self.token_validations.count(&network(ip), self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// A read of a user.
    pub fn user_read(&self, user: &UserId) -> Result<(), ApiError> {
        self.user_reads.count(user, self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// A write of a user.
    pub fn user_write(&self, user: &UserId) -> Result<(), ApiError> {
        self.user_writes.count(user, self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// An export of a user.
    pub fn export(&self, user: &UserId) -> Result<(), ApiError> {
        self.exports.count(user, self.clock.now()).map_err(ApiError::rate_limited)
    }

    /// A budget request named an unknown token or lease: beyond the limit such answers become 429, so that nobody finds
    /// out by trying. Good requests from the same address are not touched.
    pub(crate) fn budget_miss(&self, ip: IpAddr) -> Result<(), ApiError> {
        self.budget_misses.count(&network(ip), self.clock.now()).map_err(ApiError::rate_limited)
    }
}

/// One customer has a whole IPv6 /64 to choose from, so that counts as one address.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

fn same_email(email: &str) -> String {
    email.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use kernel::{ApiTokenId, ErrorCode, ManualClock, Timestamp, UserId};

    use super::{LimitSettings, Limits, Rate};

    fn limits() -> (Arc<ManualClock>, Limits) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000_000)));
        (Arc::clone(&clock), Limits::new(LimitSettings::default(), clock))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_failed_logins_count() {
        let (clock, limits) = limits();
        for _ in 0..100 {
            assert!(limits.login("a@b", ip("1.1.1.1")).is_ok(), "looking is free");
        }
        for _ in 0..10 {
            assert!(limits.login("a@b", ip("1.1.1.1")).is_ok());
            limits.login_failed(" A@B ", ip("1.1.1.1"));
        }
        let refusal = limits.login("a@b", ip("1.1.1.1")).expect_err("the eleventh");
        assert_eq!(refusal.code(), ErrorCode::RateLimitExceeded);
        assert!(limits.login("c@d", ip("1.1.1.1")).is_ok(), "another e-mail");
        assert!(limits.login("a@b", ip("2.2.2.2")).is_ok(), "another address");
        clock.advance_millis(300_000);
        assert!(limits.login("a@b", ip("1.1.1.1")).is_ok(), "five minutes later");
    }

    #[test]
    fn one_address_fails_fifty_times_whatever_the_e_mail() {
        let (_, limits) = limits();
        for n in 0..50 {
            let email = format!("u{n}@x");
            assert!(limits.login(&email, ip("1.1.1.1")).is_ok());
            limits.login_failed(&email, ip("1.1.1.1"));
        }
        assert!(limits.login("fresh@x", ip("1.1.1.1")).is_err());
    }

    #[test]
    fn reads_of_keys_refill_smoothly() {
        let (clock, limits) = limits();
        for _ in 0..10 {
            assert!(limits.keys_read(ApiTokenId(1)).is_ok());
        }
        assert!(limits.keys_read(ApiTokenId(1)).is_err());
        assert!(limits.keys_read(ApiTokenId(2)).is_ok(), "another token");
        clock.advance_millis(6_000);
        assert!(limits.keys_read(ApiTokenId(1)).is_ok(), "one more after a tenth of a minute");
        assert!(limits.keys_read(ApiTokenId(1)).is_err());
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let (_, limits) = limits();
        for n in 0..30 {
            assert!(limits.budget_miss(ip(&format!("2001:db8::{n:x}"))).is_ok());
        }
        assert!(limits.budget_miss(ip("2001:db8::ffff")).is_err());
        assert!(limits.budget_miss(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let settings = LimitSettings { user_writes: Rate::per_minute(0), ..LimitSettings::default() };
        let limits = Limits::new(settings, Arc::new(ManualClock::new(Timestamp::EPOCH)));
        for _ in 0..1_000 {
            assert!(limits.user_write(&UserId::new("u")).is_ok());
        }
    }
}
