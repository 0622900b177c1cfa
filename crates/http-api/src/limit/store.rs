//! Counters by key, bounded in number.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use kernel::Timestamp;

use super::Rate;
use crate::error::RateState;

const SHARDS: usize = 16;
/// Keys in one shard; 65,536 in all, about 2 MiB a limit when full.
const MAX_KEYS: usize = 4_096;

/// How a counter counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    /// `max` times from the first one until a window later.
    Window,
    /// `max` times at once, then one every `window ÷ max`.
    Smooth,
}

/// One limit, for any number of keys up to the bound. Keys are kept as keyed hashes.
pub(super) struct Counter {
    rate: Rate,
    method: Method,
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Cell>>; SHARDS],
}

/// Nothing is known of a key whose `until` has passed.
#[derive(Clone, Copy)]
struct Cell {
    /// End of the window; or, counting smoothly, when all is refilled. In milliseconds.
    until: i64,
    count: u32,
}

impl Counter {
    pub(super) fn new(rate: Rate, method: Method) -> Self {
        Self { rate, method, hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whether one more is allowed, without counting it.
    pub(super) fn look(&self, key: &impl Hash, now: Timestamp) -> Result<(), RateState> {
        self.with_cell(key, now, |cell| self.next(cell, now).map(|_| None))
    }

    /// Counts one more, or refuses it.
    pub(super) fn count(&self, key: &impl Hash, now: Timestamp) -> Result<(), RateState> {
        self.with_cell(key, now, |cell| self.next(cell, now).map(Some))
    }

    fn with_cell(
        &self,
        key: &impl Hash,
        now: Timestamp,
        step: impl FnOnce(Option<Cell>) -> Result<Option<Cell>, RateState>,
    ) -> Result<(), RateState> {
        if self.rate.max == 0 {
            return Ok(());
        }
        let hash = self.hasher.hash_one(key);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let mut cells = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        // A clock set back must not lock anybody out for longer than a window
        let window_ms = self.window_ms();
        let valid = |cell: &Cell| cell.until > now.millis() && cell.until - now.millis() <= window_ms;
        let known = cells.get(&hash).copied().filter(|cell| valid(cell));
        if let Some(cell) = step(known)? {
            if cells.len() >= MAX_KEYS && !cells.contains_key(&hash) {
                make_room(&mut cells, valid);
            }
            cells.insert(hash, cell);
        }
        Ok(())
    }

    fn window_ms(&self) -> i64 {
        i64::from(self.rate.window_s) * 1_000
    }

    /// The cell after one more.
    fn next(&self, cell: Option<Cell>, now: Timestamp) -> Result<Cell, RateState> {
        let (now_ms, window_ms) = (now.millis(), self.window_ms());
        match self.method {
            Method::Window => {
                let cell = cell.unwrap_or(Cell { until: now_ms.saturating_add(window_ms), count: 0 });
                if cell.count >= self.rate.max {
                    return Err(self.refusal(now_ms, cell.until));
                }
                Ok(Cell { count: cell.count + 1, ..cell })
            }
            Method::Smooth => {
                // The theoretical arrival time of the generic cell rate algorithm
                let each = (window_ms / i64::from(self.rate.max)).max(1);
                let until = cell.map_or(now_ms, |cell| cell.until).saturating_add(each);
                let allowed_at = until.saturating_sub(window_ms);
                if allowed_at > now_ms {
                    return Err(self.refusal(now_ms, allowed_at));
                }
                Ok(Cell { until, count: 0 })
            }
        }
    }

    fn refusal(&self, now_ms: i64, free_at_ms: i64) -> RateState {
        let wait_s = u64::try_from(free_at_ms.saturating_sub(now_ms)).unwrap_or(0).div_ceil(1_000).max(1);
        RateState {
            limit: self.rate.max,
            window_s: self.rate.window_s,
            retry_after_s: wait_s,
            reset_at: Timestamp::from_millis(free_at_ms),
        }
    }
}

/// Forgets what has passed; failing that, of a few entries the one that passes first. Whoever floods the table with
/// keys pushes out their own: a key that was just counted passes last.
fn make_room(cells: &mut HashMap<u64, Cell>, valid: impl Fn(&Cell) -> bool) {
    cells.retain(|_, cell| valid(cell));
    if cells.len() >= MAX_KEYS
        && let Some(key) = cells.iter().take(16).min_by_key(|(_, cell)| cell.until).map(|(key, _)| *key)
    {
        cells.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;

    use super::{Counter, MAX_KEYS, Method, SHARDS};
    use crate::limit::Rate;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_refusal_says_when_the_window_ends() {
        let counter = Counter::new(Rate { max: 2, window_s: 60 }, Method::Window);
        assert!(counter.count(&1, at(0)).is_ok() && counter.count(&1, at(1_000)).is_ok());
        let refusal = counter.count(&1, at(1_500)).expect_err("the third");
        assert_eq!((refusal.limit, refusal.window_s, refusal.retry_after_s), (2, 60, 59));
        assert_eq!(refusal.reset_at, at(60_000));
        assert!(counter.count(&1, at(60_000)).is_ok());
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let counter = Counter::new(Rate { max: 1, window_s: 60 }, Method::Window);
        assert!(counter.count(&1, at(10_000_000)).is_ok());
        assert!(counter.count(&1, at(0)).is_ok());
    }

    #[test]
    fn memory_is_bounded_however_many_keys_there_are() {
        let counter = Counter::new(Rate { max: 1, window_s: 60 }, Method::Window);
        for key in 0..(SHARDS * MAX_KEYS * 2) {
            assert!(counter.count(&key, at(5)).is_ok());
        }
        let kept: usize = counter.shards.iter().map(|s| s.lock().expect("not poisoned").len()).sum();
        assert!(kept <= SHARDS * MAX_KEYS, "{kept}");
    }
}
