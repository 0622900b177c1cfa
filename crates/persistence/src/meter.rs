//! Quotas that are far from full are not asked for each time.
//!
//! A reading says how much a scope had used at some moment. Whatever this process has recorded since, for anybody, is at
//! most added to it: while both together stay below the limit, the quota is not full, and the database need not be asked.
//! Otherwise it is, so a refusal rests on what stands there now. What other servers record is noticed after [`FRESH_MS`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::Timestamp;

use crate::limits::{Quota, QuotaKind};
use crate::{Extra, Item, Store, StoreError};

/// How long a reading may be used.
const FRESH_MS: i64 = 1_000;
/// The most readings that are kept.
const CAPACITY: usize = 10_000;

/// Readings, and what was recorded by this process.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    tokens: AtomicI64,
    requests: AtomicI64,
    readings: Mutex<HashMap<(QuotaKind, String), Reading>>,
}

/// How much a scope had used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// At least what counted when `recorded` was.
    used: i64,
    /// What this process had recorded, before it was asked.
    recorded: i64,
    at: Timestamp,
    /// Where the time that counts began; slides with requests.
    from: Timestamp,
}

impl Meter {
    /// Adds what a batch says of calls, repetitions included. To be called when it is durable and before anybody learns
    /// that: whoever knows of a call must not be told of a reading without it.
    pub(crate) fn record(&self, items: &[Item]) {
        let (mut tokens, mut requests) = (0_i64, 0);
        for item in items {
            let of_item = match &item.extra {
                Extra::Call(call) => call.tokens,
                Extra::Event(event) => event.input_tokens.saturating_add(event.output_tokens),
                Extra::None | Extra::Terms(_) | Extra::Key(_) => continue,
            };
            tokens = tokens.saturating_add(of_item);
            requests += 1;
        }
        if requests > 0 {
            self.tokens.fetch_add(tokens, Ordering::SeqCst);
            self.requests.fetch_add(requests, Ordering::SeqCst);
        }
    }

    fn recorded(&self, kind: QuotaKind) -> i64 {
        match kind {
            QuotaKind::TokensPerDay => self.tokens.load(Ordering::SeqCst),
            QuotaKind::RequestsPerMinute => self.requests.load(Ordering::SeqCst),
        }
    }

    /// Whether the quota is surely not full.
    fn has_room(&self, quota: &Quota, now: Timestamp) -> bool {
        let recorded = self.recorded(quota.kind);
        let Some(reading) = self.lock().get(&key(quota)).copied() else { return false };
        let counts = match quota.kind {
            QuotaKind::TokensPerDay => reading.from == quota.kind.window(now).0,
            // What has left the sliding minute since is room that is not counted on
            QuotaKind::RequestsPerMinute => true,
        };
        let since = recorded.wrapping_sub(reading.recorded);
        counts && (0..FRESH_MS).contains(&now.since(reading.at)) && reading.used.saturating_add(since) < quota.limit
    }

    fn keep(&self, quota: &Quota, recorded: i64, used: i64, now: Timestamp) {
        let mut readings = self.lock();
        if readings.len() >= CAPACITY {
            readings.clear();
        }
        readings.insert(key(quota), Reading { used, recorded, at: now, from: quota.kind.window(now).0 });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(QuotaKind, String), Reading>> {
        // The map is whole at every point where a panic could leave it
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(quota: &Quota) -> (QuotaKind, String) {
    (quota.kind, quota.scope.key())
}

impl Store {
    /// How much is used of a quota that is full; `None` while it is not.
    pub async fn full_quota(&self, quota: &Quota, now: Timestamp) -> Result<Option<i64>, StoreError> {
        if self.meter.has_room(quota, now) {
            return Ok(None);
        }
        // Before the question, so that nothing falls between the two
        let recorded = self.meter.recorded(quota.kind);
        let used = self.quota_used(quota.kind, &quota.scope, now).await?;
        self.meter.keep(quota, recorded, used, now);
        Ok((used >= quota.limit).then_some(used))
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, LimitId, Timestamp, UserId};
    use ledger::{Command, Scope};

    use super::{FRESH_MS, Meter};
    use crate::limits::{Quota, QuotaKind};
    use crate::{CallFacts, Extra, Item};

    fn quota(kind: QuotaKind, limit: i64) -> Quota {
        Quota { kind, scope: Scope::Owner(UserId::new("user_1")), limit, limit_id: Some(LimitId(1)) }
    }

    fn call(tokens: i64) -> Item {
        let facts = CallFacts { model: "m".to_owned(), provider: "p".to_owned(), tokens };
        Item { extra: Extra::Call(facts), ..Item::new(Command::Touch { agent: AgentId(1) }) }
    }

    #[test]
    fn a_reading_is_good_until_what_was_recorded_since_could_fill_the_quota() {
        let (meter, now) = (Meter::default(), Timestamp::from_secs(1_768_478_400));
        let tokens = quota(QuotaKind::TokensPerDay, 100);
        assert!(!meter.has_room(&tokens, now), "nothing is known");
        meter.record(&[call(1_000)]);
        meter.keep(&tokens, meter.recorded(tokens.kind), 40, now);
        assert!(meter.has_room(&tokens, now), "what was recorded before is in it");
        meter.record(&[call(30), Item::new(call(0).command), call(29)]);
        assert!(meter.has_room(&tokens, now), "99 of 100");
        assert!(!meter.has_room(&quota(QuotaKind::TokensPerDay, 99), now), "a lower limit of the same scope");
        meter.record(&[call(1)]);
        assert!(!meter.has_room(&tokens, now));
        assert!(!meter.has_room(&quota(QuotaKind::RequestsPerMinute, 100), now), "of which nothing is known");
    }

    #[test]
    fn requests_are_counted_one_by_one() {
        let (meter, now) = (Meter::default(), Timestamp::from_secs(1_768_478_400));
        let requests = quota(QuotaKind::RequestsPerMinute, 3);
        meter.keep(&requests, meter.recorded(requests.kind), 1, now);
        meter.record(&[call(1_000)]);
        assert!(meter.has_room(&requests, now));
        meter.record(&[call(0)]);
        assert!(!meter.has_room(&requests, now));
    }

    #[test]
    fn a_reading_is_good_for_a_second_and_not_beyond_its_day() {
        let now = Timestamp::from_rfc3339("2026-01-15T23:59:59.900Z").expect("a time");
        let (meter, tokens) = (Meter::default(), quota(QuotaKind::TokensPerDay, 100));
        meter.keep(&tokens, 0, 1, now);
        assert!(meter.has_room(&tokens, now.plus_millis(99)));
        assert!(!meter.has_room(&tokens, now.plus_millis(100)), "another day");
        assert!(!meter.has_room(&tokens, now.plus_millis(-1)), "the clock went back");
        let requests = quota(QuotaKind::RequestsPerMinute, 100);
        meter.keep(&requests, 0, 1, now);
        assert!(meter.has_room(&requests, now.plus_millis(FRESH_MS - 1)));
        assert!(!meter.has_room(&requests, now.plus_millis(FRESH_MS)));
    }
}
